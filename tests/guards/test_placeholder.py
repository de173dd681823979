"""Placeholder: what a model writes where it has nothing to say."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from guardrails.validator_base import PassResult

from stanchion.guards import Placeholder


def passes(value):
    return isinstance(Placeholder().validate(value, {}), PassResult)


@pytest.mark.parametrize(
    "value",
    """YYYY-MM-DD|yyyy/mm/dd|DD.MM.YYYY|dd mm yy|HH:MM|HH:MM:SS|0000-00-00|00/00/0000|N/A|n/a|N.A.|NA|unknown|Unknown
|UNKNOWN|not  available|None|null|NULL|nil|undefined|string|str|number|-|--|—|...|…|?|???|*|_|<company>|<Company Name>
|[address]|{{company}}|{total}|${name}|xxx|XXXX|John Doe|JANE DOE|Lorem ipsum dolor sit amet|lorem ipsum|TBD|
to be determined|"N/A"|'unknown'| N/A |Company Name|Your Company|123 Main Street, Anytown, USA|user@example.com
""".replace("\n", "").split("|"),
)
def test_a_placeholder_fails(value):
    """Whatever its case, spaces and quotes."""
    assert not passes(value)


@pytest.mark.parametrize("value", ["", " ", "\n\t", " " * 1_000_000])
def test_nothing_fails_as_empty(value):
    """Blanks are no value."""
    assert Placeholder().validate(value, {}).error_message == "is empty"


@pytest.mark.parametrize("value", [date.min, date(1900, 1, 1), date(1970, 1, 1), date.max])
def test_the_ends_of_a_calendar_fail(value):
    """Where a date is a default, it was not read."""
    assert not passes(value)


@pytest.mark.parametrize(
    "value",
    """Ng|Li|O|Bo|Na|Nil|Null|Nan|Date|Name|Foo|Bar|X|Y|3M|7-Eleven|99|0|0.00|H&M|C&A|D|DD|MM|Dy|Mr. D.I.Y.|IKEA|B&Q|AA
|XX|Doe|John|John Smith|Jane|Acme Sdn Bhd|Unknown Pleasures|None Such Books|The N/A Shop|Not Available Records|Null & Co
|String Quartet|Test|Box [A]|<3|a < b > c|$5|RM|MYR|Lorem|Ipsum|李|ร้าน|☕|❤|Max|Sample Coffee Roasters|5|-5
|+60 3 5550|A-|Example Street 5|12-03-2018|01:30|0-0|Md|My|Ym""".replace("\n", "").split("|"),
)
def test_a_real_value_passes(value):
    """Short names, trade names that contain a placeholder's word, and names that are one in another case."""
    assert passes(value)


@pytest.mark.parametrize("value", [0, Decimal(0), False, 1.5, date(2018, 1, 1), [], None])
def test_what_is_no_text_passes(value):
    """Numbers and lists have no placeholders that could be told from values."""
    assert passes(value)


@pytest.mark.parametrize("piece", ["{", "<", "[", "y", "x", "-", "0-", "${", " ", "y-"])
@pytest.mark.timeout(10)
def test_a_hostile_text_is_answered_at_once(piece):
    """A million repetitions of what a placeholder starts with take no time."""
    passes(piece * 1_000_000)
    for length in range(60, 101):
        passes(piece * length)
