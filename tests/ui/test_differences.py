"""What a step changed: every difference found, in bounded time, whatever the values hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.ui.differences import AROUND, LONGEST_TEXT, Change, Differences, Piece, as_html, differences, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


def changes(before: Any, after: Any) -> list[tuple[str, str, str, str]]:
    """Return differences as kind, path and the two texts."""

    def words(pieces: tuple[Piece, ...]) -> str:
        return "".join(piece.text for piece in pieces)

    return [(one.kind, one.path, words(one.before), words(one.after)) for one in differences(before, after).changes]


def marked(pieces: tuple[Piece, ...]) -> str:
    """Return what is marked in one side of a change."""
    return "".join(piece.text for piece in pieces if piece.marked)


@settings(max_examples=150)
@given(JSON, JSON)
def test_there_are_differences_exactly_where_the_values_differ(before: Any, after: Any) -> None:
    """Two values have no differences if and only if their JSON is the same, whatever the order of their keys."""
    same = json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)

    assert (not differences(before, after).changes) == same


@settings(max_examples=80)
@given(JSON, JSON)
def test_turned_around_what_was_added_is_removed(before: Any, after: Any) -> None:
    """Comparing the other way around finds as many places, with added and removed swapped."""
    kinds = {"added": "removed", "removed": "added", "changed": "changed"}
    there, back = differences(before, after, most=10_000), differences(after, before, most=10_000)

    assert sorted(kinds[one.kind] for one in there.changes) == sorted(one.kind for one in back.changes)


@settings(max_examples=150)
@given(st.text(max_size=120), st.text(max_size=120), st.text(max_size=30), st.text(max_size=30))
def test_what_is_marked_holds_the_change(lead: str, tail: str, old: str, new: str) -> None:
    """Texts that share a beginning and an end are the same but for what is marked."""
    found = differences(f"{lead}\n{old}{tail}", f"{lead}\n{new}{tail}").changes

    assert bool(found) == (old != new)
    for one in found:
        unmarked = [[piece.text for piece in side if not piece.marked] for side in (one.before, one.after)]
        assert unmarked[0] == unmarked[1]
        assert marked(one.before) != marked(one.after)


@settings(max_examples=80)
@given(JSON, JSON)
def test_no_value_becomes_markup(before: Any, after: Any) -> None:
    """What stands in a value is never HTML on the page: every bracket is one of ours."""
    ours = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "ins", "del", "details", "summary", "strong"}
    html = as_html(differences(before, after))

    for tag in html.split("<")[1:]:
        assert tag.lstrip("/").replace(">", " ").split(" ")[0] in ours


def test_nested_values_are_told_path_by_path() -> None:
    """A change deep inside is named by its path, and says how it was and how it is."""
    before = {"output": {"total": "30.00", "items": [{"name": "a"}, {"name": "b"}]}, "gone": 1}
    after = {"output": {"total": "28.30", "items": [{"name": "a"}, {"name": "c"}]}, "come": None}

    assert changes(before, after) == [
        ("changed", "output.total", '"30.00"', '"28.30"'),
        ("changed", "output.items[1].name", '"b"', '"c"'),
        ("removed", "gone", "1", ""),
        ("added", "come", "", "null"),
    ]


def test_an_item_added_in_front_is_one_difference() -> None:
    """What follows an inserted item is not taken for changed."""
    assert changes([1, 2, 3], [0, 1, 2, 3]) == [("added", "[0]", "", "0")]
    assert changes([1, 2, 3, 4], [1, 4]) == [("removed", "[1]", "2", ""), ("removed", "[2]", "3", "")]


def test_a_number_a_text_and_a_truth_value_are_not_the_same() -> None:
    """True is not 1, 1 is not 1.0, and "1" is neither."""
    assert [one[2:] for one in changes({"a": 1, "b": 1, "c": 1}, {"a": True, "b": 1.0, "c": "1"})] == [
        ("1", "true"),
        ("1", "1.0"),
        ("1", '"1"'),
    ]


def test_a_large_value_that_was_added_is_told_by_its_parts() -> None:
    """What fits a line stands in one; what does not is told part by part, a long list by its beginning."""
    small, long = {"a": 1}, "x" * 130
    added = {"small": small, "large": {"one": long, "two": [long]}, "many": [{"n": n} for n in range(99)]}
    found = {path: text for _, path, _, text in changes({}, {"new": added})}

    assert found["new.small"] == '{"a": 1}'
    assert {"new.large.one", "new.large.two[0]"} <= set(found)
    assert found["new.many"].startswith('99 items: [{"n": 0}')
    assert found["new.many"].endswith("…")


def test_a_long_text_is_shortened_around_the_change() -> None:
    """Of a text of a million characters, the changed word is shown with a little of what is around it."""
    lead, tail = "lead " * 100_000, " tail" * 100_000
    (one,) = differences(f"{lead}old{tail}", f"{lead}new{tail}").changes

    assert marked(one.before) == "old"
    assert marked(one.after) == "new"
    assert sum(len(piece.text) for piece in one.before) < 2 * AROUND + 10


def test_a_text_that_changed_as_a_whole_leaves_out_its_middle() -> None:
    """Both ends are shown, and how long it was."""
    ((_, _, before, after),) = changes("a" * 10_000, "b" * 10_000)

    assert len(before) <= LONGEST_TEXT
    assert len(after) <= LONGEST_TEXT
    assert "10,002 characters" in before  # with its quotes


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({str(n): n for n in range(100_000)}, {str(n): n + 1 for n in range(100_000)}),
        ({}, {str(n): {"k": "v" * 50} for n in range(100_000)}),
        ({"text": "x y " * 2_500_000}, {"text": "x y " * 2_500_000 + "!"}),
        ({"text": "a" * 10_000_000}, {"text": "b" * 10_000_000}),
        ([{"k": n} for n in range(100_000)], [{"k": -n} for n in range(100_000)]),
        (_deep(50_000), _deep(60_000)),
        ({"a": "\ud800" * 1000}, {"a": "\x00\udfff"}),
    ],
    ids=["keys changed", "keys added", "text ends otherwise", "text changed", "items", "brackets", "half characters"],
)
def test_nothing_is_too_large(before: Any, after: Any) -> None:
    """Ten megabytes, 100,000 keys or 60,000 brackets give some differences that fit a page, and never hang."""
    found = differences(before, after)
    html = as_html(found)

    assert found.changes
    assert len(html) < 400_000
    html.encode()  # half a character never reaches the browser


def test_more_differences_than_are_shown_are_told() -> None:
    """The comparison stops at the cap, and the page says that there are more."""
    found = differences({}, {str(n): n for n in range(100)}, most=10)

    assert len(found.changes) == 10
    assert not found.complete
    assert "there are more" in as_html(found)
    assert "there are more" not in as_html(differences({}, {"a": 1}))


def test_a_change_is_told_by_word_and_sign_not_by_colour_alone() -> None:
    """Added, removed and changed are words on the page."""
    html = as_html(differences({"a": 1, "b": 1}, {"b": 2, "c": 3}))

    assert all(word in html for word in ("+ added", "− removed", "~ changed"))


def test_text_of_a_document_is_shown_as_it_is() -> None:
    """A script tag in a value, or in a key, is text."""
    html = as_html(Differences((Change("<b>", "added", after=(Piece("<script>x</script>"),)),)))

    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html


def test_shown_is_bounded() -> None:
    """A value is never longer on the page than asked for, and only a text of several lines has no quotes."""
    assert shown({"a": "x" * 10_000_000}, 100).endswith("…")
    assert len(shown({"a": "x" * 10_000_000}, 100)) == 100
    assert shown("a") == '"a"'
    assert shown("a\nb") == "a\nb"
