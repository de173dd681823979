"""Texts of others are shown as they are: no Markdown, no icon, no link, no formula, no half character."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.ui.safe import block, csv_text, line, names_in, plain
from tests.ui.pages import read

ANYTHING = st.text(st.characters(), max_size=300)


@settings(max_examples=200)
@given(ANYTHING)
def test_plain_says_the_same_as_line(text: str) -> None:
    """Escapes change nothing that people read."""
    assert read(plain(text)) == line(text).replace("\u2060", "")


@settings(max_examples=200)
@given(ANYTHING)
def test_plain_leaves_no_mark_of_markdown(text: str) -> None:
    """Every character that Markdown could take for a mark has a backslash before it."""
    assert not re.search(r"[!-/:-@\[-`{-~]", re.sub(r"\\[!-/:-@\[-`{-~]", "", plain(text)))


@pytest.mark.parametrize(
    ("text", "found_later"),
    [
        (":smile: :+1:", r":[\w+-]+:"),
        ("see https://evil.test/a", r"https?://"),
        ("see WWW.evil.test", r"(?i)www\."),
        ("write ann@evil.test", r"@\w"),
        (":material/home:", r":material/"),
    ],
)
def test_plain_breaks_what_is_looked_for_after_the_escapes(text: str, found_later: str) -> None:
    """Emoji names, links and addresses are looked for in the text that is left once the escapes are gone."""
    assert not re.search(found_later, plain(text).replace("\\", ""))


@settings(max_examples=200)
@given(st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lu", "Zs", "Po"]), max_size=100))
def test_everything_can_be_sent_to_a_browser(text: str) -> None:
    """No half character, control character or change of direction reaches a page."""
    for shown in (line(text), block(text)):
        shown.encode()
        assert all(character.isprintable() or character in "\n\t" for character in shown)


@pytest.mark.parametrize("nothing", [None, ""])
def test_nothing_is_a_dash(nothing: str | None) -> None:
    """Nothing is shown as a dash, so that a cell is never just empty."""
    assert line(nothing) == plain(nothing) == block(nothing) == "–"


def test_what_is_too_long_is_cut_and_said() -> None:
    """Long texts are cut in time that does not grow with them, and it is said."""
    huge = "[" * 20_000_000
    assert len(line(huge)) == 200
    assert line(huge).endswith("…")
    assert block(huge, longest=10).endswith("(19,999,990 more characters)")


@settings(max_examples=200)
@given(st.one_of(ANYTHING, st.builds("{}{}".format, st.sampled_from("=+-@\t\r＝"), ANYTHING)))
def test_no_cell_of_an_export_is_a_formula(text: str) -> None:
    """A cell that a spreadsheet would take for a formula begins with an apostrophe."""
    _, (cell,) = csv.reader(io.StringIO(csv_text(["a"], [[text + "."]])))
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠"))


@settings(max_examples=200)
@given(st.lists(st.sampled_from([*"=+-@;,\t\n\"' a1", "\uff1d", "\uff20"]), max_size=20).map("".join))
def test_no_part_of_a_cell_is_a_formula(text: str) -> None:
    """Where a spreadsheet or a person takes a cell apart, at `;`, `,`, a tab or a line break, no part is a formula."""
    _, (cell,) = csv.reader(io.StringIO(csv_text(["a"], [[text + "."]])))
    for part in re.split(r"[;,\t\n]", cell):
        assert not part.lstrip(' "').startswith(("=", "+", "-", "@", "\uff1d", "\uff20")), cell


def test_an_export_of_hostile_text_takes_linear_time() -> None:
    """A cell of a million quotes and separators is written at once."""
    assert csv_text(["a"], [["; \"' " * 1_000_000]])


def test_names_in_a_text_are_given_whole() -> None:
    """Addresses and names of models, which `plain` alters, are found to be shown as they are."""
    said = "ann@example.com has no role here: ask 'eve@example.com' about openai:gpt-4o. ann@example.com"
    assert names_in(said) == ["ann@example.com", "eve@example.com", "openai:gpt-4o"]
    assert names_in("Nothing here: no name.") == []
    assert len(names_in("a@b " + " ".join(f"a@b{number}" for number in range(100)))) == 5


def test_numbers_of_an_export_stay_numbers() -> None:
    """A negative number is no formula."""
    assert csv_text(["a", "b"], [[-1.5, None]]) == "a,b\r\n-1.5,\r\n"
