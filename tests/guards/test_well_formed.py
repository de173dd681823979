"""WellFormed: text that a person could have written, not what broke on the way."""

from __future__ import annotations

import pytest
from guardrails.validator_base import PassResult
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.guards import WellFormed


def look(value, **arguments):
    return WellFormed(**arguments).validate(value, {})


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Blue Harbour Books Sdn. Bhd. (123456-X)",
        "12 Quay Street\n\t45600 Port Ashby\r\n",
        "Café Zürich – „Größe“",
        "株式会社ローソン",
        "مكتبة",
        "ร้านหนังสือ",
        "👩\u200d🍳 Kitchen",
        "a < b, c > d & e; 3<4>2",
        "H&M; AT&T",
    ],
)
def test_text_as_people_write_it_passes(value):
    """In any script, over several lines, with signs that only look like markup."""
    assert isinstance(look(value), PassResult)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("Blue\x00Harbour", "holds a control character at character 5"),
        ("\x1b[31mred", "holds a control character at character 1"),
        ("evil\u202etxt", "holds a control character at character 5"),
        ("\ud800", "holds a control character at character 1"),
        ("Caf\ufffd", "holds a replacement character at character 4"),
        ("<b>Blue</b>", "holds an HTML tag or entity at character 1"),
        ("Blue<br/>Harbour", "holds an HTML tag or entity at character 5"),
        ("Blue &amp; Harbour", "holds an HTML tag or entity at character 6"),
        ("Blue&#39;s", "holds an HTML tag or entity at character 5"),
        ("CafÃ© ZÃ¼rich", "holds wrongly decoded letters"),
        ("x" * 1_001, "has 1,001 characters, more than 1,000"),
        (5, "a value of type int is not a text"),
    ],
)
def test_text_that_broke_on_the_way_fails_and_says_how(value, reason):
    """With the place, but without the text."""
    assert look(value).error_message == reason


def test_lengths_are_bounds():
    """Blanks around a text do not make it long enough."""
    assert isinstance(look("ab", shortest=2, longest=2), PassResult)
    assert look(" a ", shortest=2).error_message == "has 1 characters, fewer than 2"
    assert look("abc", longest=2).error_message == "has 3 characters, more than 2"


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(st.characters(codec="ascii", categories=["Lu", "Ll", "Nd", "Zs"]), max_size=200))
def test_plain_words_always_pass(value):
    """No sequence of letters, digits and spaces is malformed."""
    assert isinstance(look(value), PassResult)


@pytest.mark.parametrize("piece", ["<a", "<", "&", "&a", "Ã", "é", "<!-", "</"])
@pytest.mark.timeout(20)
def test_a_hostile_text_takes_linear_time(piece):
    """Beginnings of markup and of mojibake, repeated a hundred thousand times."""
    look(piece * 100_000, longest=1_000_000)
