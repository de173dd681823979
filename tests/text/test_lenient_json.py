"""What a model's answer is read as, and what is refused rather than guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.text.lenient_json import MAX_CHARS, Unparseable, read_json

FENCED = "taken out of a code fence"
IN_PROSE = "taken out of the text around it"
CUT_OFF = "cut off: completed"
REPAIRED = "repaired"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
objects = st.dictionaries(texts, values, max_size=4)
prose = st.text(st.characters(exclude_characters="{}[]", exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize(
    ("text", "value", "note"),
    [
        ('{"total": "31.00"}', {"total": "31.00"}, ""),
        ("[1, 2]", [1, 2], ""),
        ('\ufeff {"a": 1}\n', {"a": 1}, ""),
        ('{"a": 1, "a": 1}', {"a": 1}, ""),
        ('```json\n{"a": 1}\n```', {"a": 1}, FENCED),
        ('```JSON\n{"a": "``` {"}\n```', {"a": "``` {"}, FENCED),
        ('```\n{"a": 1}', {"a": 1}, FENCED),
        ('Sure! {"a": 1} Anything else?', {"a": 1}, IN_PROSE),
        ('Use {x}, see [1] and [note: here]: {"a": 1}', {"a": 1}, IN_PROSE),
        ('{"a": 1}\nAgain: {"a": 1}', {"a": 1}, IN_PROSE),
        ('\\{"a": 1}', {"a": 1}, IN_PROSE),
        ('{"a": 1,}', {"a": 1}, REPAIRED),
        ("{'a': None, 'b': True}", {"a": None, "b": True}, REPAIRED),
        ('{a: "b"}', {"a": "b"}, REPAIRED),
        ('{"a": 1 "b": 2}', {"a": 1, "b": 2}, REPAIRED),
        ('{"a": 1, // why\n "b": 2}', {"a": 1, "b": 2}, REPAIRED),
        ('{"size": "5" pipe", "b": 1}', {"size": '5" pipe', "b": 1}, REPAIRED),
        ('{"a": 1, "size": "5" pipe", "b": 1}', {"a": 1, "size": '5" pipe', "b": 1}, REPAIRED),
        ('{"a": [1, 2}', {"a": [1, 2]}, REPAIRED),
        ('{"a": "x\ny"}', {"a": "x\ny"}, REPAIRED),
        ("{“a”: “b”}", {"a": "b"}, REPAIRED),
        ('{"a": {"b": "c"', {"a": {"b": "c"}}, CUT_OFF),
        ('{"a": 1, "b": true', {"a": 1, "b": True}, CUT_OFF),
        ('{"a": 1, "b": "hal', {"a": 1}, CUT_OFF),
        ('{"a": 1, "b": "hal\\', {"a": 1}, CUT_OFF),
        ('{"a": 1, "b": 12', {"a": 1}, CUT_OFF),
        ('{"a": 1, "b"', {"a": 1}, CUT_OFF),
        ('```json\n{"a": "b", "c": "d"\n```', {"a": "b", "c": "d"}, CUT_OFF),
    ],
)
def test_reads_what_models_write_and_says_what_it_did(text: str, value: Any, note: str) -> None:
    """An answer that can be read without guessing gives its value, and a note unless it was plain JSON."""
    assert read_json(text) == (value, note)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot help with that.",
        '"text"',
        "3",
        "null",
        "{x}",
        "[see ref]",
        '{"a": 1} or {"a": 2}',
        '{"a": 1} or {"a": 2,}',
        '{"a": 1, "a": 2}',
        '{"a": 1, "a": 2,}',
        '{"a": , "b": 1}',
        '{"a": 12',
        '{"a": "hal',
        '{"a": 1e999}',
        '{"a": 1e999,}',
        '{"a": "\\ud800"}',
        '{"a": "\ud800"}',
        '{"a": ' + "9" * 20 + "}",
        '{"a": 1 "b": 2, "c',
        '[{"a":1, [”```json[”```json]]]',
    ],
)
def test_refuses_rather_than_guesses(text: str) -> None:
    """An answer with no object, several, or one that could mean two things is Unparseable."""
    with pytest.raises(Unparseable):
        read_json(text)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "9" * 5_000])
def test_numbers_outside_json_never_come_back_as_numbers(constant: str) -> None:
    """What JSON has no number for is at most text, which the checks after the parser see."""
    try:
        value = read_json('{"a": ' + constant + "}").value["a"]
    except Unparseable:
        return
    assert isinstance(value, str)


def test_of_a_truncated_answer_nothing_is_repaired() -> None:
    """Once the model is known to have been stopped, broken JSON is refused where it would be repaired otherwise."""
    assert read_json("{'a': 1}").note == REPAIRED
    with pytest.raises(Unparseable):
        read_json("{'a': 1}", truncated=True)


def test_messages_hold_nothing_of_the_answer() -> None:
    """An error about an answer can be logged: it never repeats the answer."""
    with pytest.raises(Unparseable) as refusal:
        read_json('{"secret": 1, "secret": 2}')
    assert "secret" not in str(refusal.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "unit",
    ["{", "[", '{"a":', '"', "\\", "{x} ", '{"a":1}', '{"a":1,', '{"a" ', "`", "'", '{"a":"', "}", "=)}", "]_\\é"],
)
def test_long_answers_take_linear_time(unit: str) -> None:
    """A long answer of anything is answered or refused at once: a quadratic step would take minutes."""
    for start in ("", '{"a": "', '{"a": 1, '):
        try:
            read_json(start + unit * (300_000 // len(unit)))
        except Unparseable:
            continue


def test_longer_answers_are_not_looked_at() -> None:
    """Beyond the cap even strict JSON is refused."""
    with pytest.raises(Unparseable, match="longer"):
        read_json("[" + " " * MAX_CHARS + "]")


@settings(max_examples=200)
@given(objects, prose, prose, st.sampled_from(["{}", "```json\n{}\n```", "```\n{}```", "\n{}\n"]), st.booleans())
def test_an_object_in_any_wrapping_comes_back_equal(
    value: dict[str, Any], before: str, after: str, wrapping: str, escaped: bool
) -> None:
    """Whatever prose or fence stands around one object, the object is what is read."""
    text = before + wrapping.replace("{}", json.dumps(value, ensure_ascii=escaped)) + after
    assert read_json(text).value == value


@settings(max_examples=300)
@given(objects, st.data())
def test_an_answer_cut_anywhere_holds_no_half_value(value: dict[str, Any], data: st.DataObject) -> None:
    """Every value read from the beginning of an answer is a value of the whole answer, in its place."""
    whole = json.dumps(value)
    part = whole[: data.draw(st.integers(1, len(whole)))]
    try:
        read = read_json(part, truncated=True).value
    except Unparseable:
        return
    assert _is_part(read, value)


def _is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and _is_part(inner, whole[key]) for key, inner in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(_is_part, part, whole))
    return bool(part == whole)


@settings(max_examples=500)
@given(st.text(max_size=40) | st.text("{}[]\":,'\\ \n`aen1.-“/*#", max_size=40), st.booleans())
def test_any_text_gives_safe_json_or_unparseable(text: str, truncated: bool) -> None:
    """No text makes another exception, and what is read is finite, valid JSON."""
    try:
        value = read_json(text, truncated=truncated).value
    except Unparseable:
        return
    assert isinstance(value, dict | list)
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
