"""Dates as documents print them, read without asking what day it is today.

Numeric forms are read here; the names of months are dateparser's, in a fixed list of languages, one word at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from functools import lru_cache
from typing import NamedTuple

LANGUAGES = ["en", "ms"]
"""ISO 639-1 codes whose month names are known."""

MOST_DATES = 500
"""Dates read from one text; a document with more is no document, and reading stops there."""

# A time may be glued to the year: 29/03/1813:24, 29/03/201813:24. A letter between digits hides a digit: 20Z8.
_YEAR = r"(?P<year>(?:19|20)\d\d(?!:\d)|\d\d)(?!\d(?!\d?:\d)|[a-z]\d)"
_NUMERIC = re.compile(
    rf"(?<!\d)(?<!\d[-/.])(?P<first>\d{{1,2}})(?P<sep>[ ]?[-/.][ ]?)(?P<second>\d{{1,2}})(?P=sep){_YEAR}"
    r"(?!(?P=sep)\d)",
    re.I,
)
_SPACED = re.compile(r"(?<![\w/.-])(?<!\d )(?P<first>\d\d) (?P<second>\d\d) (?P<year>20\d\d)(?![\w/-]|[ .]\d)")
_YEAR_FIRST = re.compile(
    r"(?<!\d)(?<!\d[-/.])(?P<year>(?:19|20)\d\d)(?P<sep>[-/.])(?P<month>\d{1,2})(?P=sep)(?P<day>\d{1,2})(?!\d(?!\d?:\d))"
)
_NAMED = re.compile(
    rf"(?<![\w/.-])(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[ .,/'-]{{0,3}}(?P<name>[a-z]{{3,9}})[ .,/'-]{{0,3}}{_YEAR}"
    r"(?![ ,]{1,2}20\d\d\b)",  # #19- JAN 18 2018 begins with the name
    re.I,
)
_NAME_FIRST = re.compile(
    rf"(?<![a-z])(?P<name>[a-z]{{3,9}})[ .]{{1,2}}(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,[ ]?|[ ]){_YEAR}", re.I
)
_COMPACT = re.compile(r"(?<![\w/.-])(?P<year>20\d\d)(?P<month>0[1-9]|1[0-2])(?P<day>[0-3]\d)(?![\w.-])")
_COMPACT_DAY_FIRST = re.compile(r"(?<![\w/.-])(?P<day>[0-3]\d)(?P<month>0[1-9]|1[0-2])(?P<year>20\d\d)(?![\w/.-])")

_LOOKALIKES = str.maketrans("OoIl|SB", "0011158")
_D = r"[\dOoIl|SB]"
_MISREAD = re.compile(
    rf"(?<![A-Za-z\d])(?:{_D}{{1,2}}(?P<sep>[-/.]){_D}{{1,2}}(?P=sep)(?:[2Z]{_D}{{3}}|{_D}{{2}})(?![A-Za-z])"
    rf"|2{_D}{{3}}(?P<sep2>[-/.]){_D}{{1,2}}(?P=sep2){_D}{{1,2}}(?![A-Za-z])|2[0Oo]{_D}{{2}}(?![A-Za-z\d]))"
)
"""What has a date's shape once letters that character recognition takes for digits are read as those."""


class SeenDate(NamedTuple):
    """A date and where it stands.

    Args:
        value: the date.
        start: offset of its first character in the text.
        end: offset after its last character.
        ambiguous: whether day and month could be swapped and give another date.
    """

    value: date
    start: int
    end: int
    ambiguous: bool


def find_dates(text: str, *, day_first: bool = True) -> list[SeenDate]:
    """Find the dates written in a text, in the order in which they stand.

    Args:
        text: any text; only its first `MOST_DATES` dates of each form are read.
        day_first: whether 03/04/2018 is in April; where only one order makes a date, that one is taken.

    Returns:
        The dates; of two that overlap, the longer.
    """

    def numeric(match: re.Match[str]) -> SeenDate | None:
        return _read_numeric(match, day_first=day_first)

    text = _MISREAD.sub(_as_digits, text)  # of the same length, so that places stay
    seen: list[SeenDate] = []
    for pattern, read in _forms(numeric):
        for count, match in enumerate(pattern.finditer(text)):
            if count == MOST_DATES:
                break
            if (found := read(match)) is not None:
                seen.append(found)
    return list(_without_overlaps(seen))


def parse_date(text: str, *, day_first: bool = True) -> date | None:
    """Read a text that is a date, possibly with a time, a weekday or punctuation around it.

    Args:
        text: such as "02 APR 2018", "4/02/2017 10:15" or "2016-07-31".
        day_first: as for `find_dates`.

    Returns:
        The date, or None where the text holds no date or several different ones.
    """
    values = {seen.value for seen in find_dates(text, day_first=day_first)}
    return values.pop() if len(values) == 1 else None


def _as_digits(match: re.Match[str]) -> str:
    """The match with its look-alike letters as digits; what has fewer than three digits of its own stays."""
    return match[0].translate(_LOOKALIKES) if sum(map(str.isdigit, match[0])) >= 3 else match[0]


_Reader = Callable[[re.Match[str]], SeenDate | None]


def _forms(numeric: _Reader) -> list[tuple[re.Pattern[str], _Reader]]:
    return [
        (_YEAR_FIRST, _read_parts),
        (_NUMERIC, numeric),
        (_SPACED, numeric),
        (_NAMED, _read_named),
        (_NAME_FIRST, _read_named),
        (_COMPACT, _read_parts),
        (_COMPACT_DAY_FIRST, _read_parts),
    ]


def _read_numeric(match: re.Match[str], *, day_first: bool) -> SeenDate | None:
    first, second, year = int(match["first"]), int(match["second"]), _full_year(match["year"])
    usual, swapped = _date(year, second, first), _date(year, first, second)
    if not day_first:
        usual, swapped = swapped, usual
    value = usual or swapped
    if value is None:
        return None
    return SeenDate(value, match.start(), match.end(), None not in (usual, swapped) and usual != swapped)


def _read_parts(match: re.Match[str]) -> SeenDate | None:
    value = _date(int(match["year"]), int(match["month"]), int(match["day"]))
    return SeenDate(value, match.start(), match.end(), ambiguous=False) if value else None


def _read_named(match: re.Match[str]) -> SeenDate | None:
    month = _month(match["name"].lower())
    value = _date(_full_year(match["year"]), month, int(match["day"])) if month else None
    return SeenDate(value, match.start(), match.end(), ambiguous=False) if value else None


@lru_cache(maxsize=1024)
def _month(name: str) -> int | None:
    """The number of the month with this name, full or shortened, in one of `LANGUAGES`."""
    import dateparser  # costs 60 ms, and most documents name no month

    # Day and year are given, so that nothing is left for dateparser to fill in from today's date.
    parsed = dateparser.parse(f"1 {name} 2000", languages=LANGUAGES, settings={"PARSERS": ["absolute-time"]})
    return parsed.month if parsed and (parsed.year, parsed.day) == (2000, 1) else None


def _full_year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if year < 69 else 1900)  # POSIX's reading of two digits, as strptime's %y


def _date(year: int, month: int, day: int) -> date | None:
    with suppress(ValueError):
        return date(year, month, day)
    return None


def _without_overlaps(seen: list[SeenDate]) -> Iterator[SeenDate]:
    end = 0
    for item in sorted(seen, key=lambda item: (item.start, -item.end)):
        if item.start >= end:
            yield item
            end = item.end
