"""Quantities that carry their unit: "90s", "$0.50", "10%", "500/min"; a bare number says nothing and is refused.

Each kind has a reader, which takes what a person wrote (or a Python value that carries its unit in its type), and a
writer, whose text reads back as the same value; so a policy that was dumped is a policy that can be read again.
Readers raise a ValueError that says what is taken; whoever knows the key puts it in front.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

LONGEST_TEXT = 40
"""Characters of a quantity: more than anybody needs, and few enough that no text can keep us busy."""

SHORTEST_DURATION, LONGEST_DURATION = timedelta(milliseconds=1), timedelta(days=30)
LEAST_DOLLARS, MOST_DOLLARS = Decimal("0.000001"), Decimal("1000000")
LEAST_PER_MINUTE, MOST_PER_MINUTE = 1 / 60, 1e9
MOST_COUNTED = 1_000_000_000

NUMBER = r"([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?)"
DURATION = re.compile(NUMBER + r" ?(ms|s|m|h)")
DOLLARS = re.compile(rf"\$ ?{NUMBER}|{NUMBER} ?USD")
PERCENT = re.compile(NUMBER + r" ?%")
RATE = re.compile(NUMBER + r" ?/ ?(s|min|h)")

MICROSECONDS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000}
TIMES_A_MINUTE = {"s": Decimal(60), "min": Decimal(1), "h": 1 / Decimal(60)}


def duration(value: object) -> timedelta:
    """Return a length of time.

    Args:
        value: a text such as `500ms`, `90s`, `2m` or `1.5h`, or a timedelta; from 1 ms to 30 days.

    Raises:
        ValueError: it is no such thing, or out of bounds.
    """
    if isinstance(value, timedelta):
        read = value
    else:
        match = _match(DURATION, value, 'a duration with its unit (ms, s, m, h), such as "90s"')
        microseconds = int(Decimal(match[1]) * MICROSECONDS[match[2]])
        read = timedelta(microseconds=min(microseconds, 1_000 * MICROSECONDS["h"]))  # which is out of bounds
    if not SHORTEST_DURATION <= read <= LONGEST_DURATION:
        raise ValueError(f'takes a duration from 1 ms to 30 days, such as "90s"; not {shown(value)}')
    return read


def written_duration(value: timedelta) -> str:
    """Return a length of time as `duration` reads it, in the largest unit that needs no fraction.

    Args:
        value: any.
    """
    microseconds = value // timedelta(microseconds=1)
    for unit, size in MICROSECONDS.items():
        if microseconds % size == 0:
            return f"{microseconds // size}{unit}"
    return f"{Decimal(microseconds) / 1000:f}ms"


def dollars(value: object) -> Decimal:
    """Return an amount of US dollars.

    Args:
        value: a text such as `$0.50` or `0.50 USD`, or a Decimal; from $0.000001 to $1,000,000.

    Raises:
        ValueError: it is no such thing, or out of bounds.
    """
    if isinstance(value, Decimal):
        read = value
    else:
        match = _match(DOLLARS, value, 'US dollars, such as "$0.50"')
        read = Decimal(match[1] or match[2])
    if not (read.is_finite() and LEAST_DOLLARS <= read <= MOST_DOLLARS):
        raise ValueError(f'takes US dollars from $0.000001 to $1000000, such as "$0.50"; not {shown(value)}')
    return read


def written_dollars(value: Decimal) -> str:
    """Return US dollars as `dollars` reads them, with at least two decimals.

    Args:
        value: any.
    """
    shortest = value.normalize()
    return f"${shortest:f}" if int(shortest.as_tuple().exponent) < -2 else f"${shortest:.2f}"


def share(value: object) -> float:
    """Return a share of a whole, above 0 and up to 1.

    Args:
        value: a text such as `10%`.

    Raises:
        ValueError: it is no such thing, or out of bounds.
    """
    read = share_or_nothing(value)
    if read == 0:
        raise ValueError(f'takes a share above 0%, such as "10%"; not {shown(value)}')
    return read


def share_or_nothing(value: object) -> float:
    """Return a share of a whole, 0 to 1.

    Args:
        value: a text such as `10%` or `0%`.

    Raises:
        ValueError: it is no such thing, or out of bounds.
    """
    match = _match(PERCENT, value, 'a share of a whole in percent, such as "10%"')
    percent = Decimal(match[1])
    if percent > 100:
        raise ValueError(f'takes a share up to 100%, such as "10%"; not {shown(value)}')
    return float(percent / 100)


def written_share(value: float) -> str:
    """Return a share as `share` reads it.

    Args:
        value: 0 to 1.
    """
    return f"{(Decimal(repr(value)) * 100).normalize():f}%"


def per_minute(value: object) -> float:
    """Return how often a minute.

    Args:
        value: a text such as `10/s`, `500/min` or `200_000/min`; from once an hour to 1,000,000,000 a minute.

    Raises:
        ValueError: it is no such thing, or out of bounds.
    """
    match = _match(RATE, value, 'a rate with its unit (/s, /min, /h), such as "500/min"')
    read = float(Decimal(match[1]) * TIMES_A_MINUTE[match[2]])
    if not LEAST_PER_MINUTE <= read <= MOST_PER_MINUTE:
        raise ValueError(f'takes a rate from 1/h to 1_000_000_000/min, such as "500/min"; not {shown(value)}')
    return read


def written_rate(value: float) -> str:
    """Return a rate as `per_minute` reads it.

    Args:
        value: how often a minute.
    """
    return f"{int(value) if value.is_integer() else value}/min"


def count(least: int, most: int = MOST_COUNTED) -> BeforeValidator:
    """Return a pydantic validator for a whole number of something that is counted.

    Args:
        least: the smallest that has a meaning.
        most: the largest that has one.
    """
    example = min(max(least, 3), most)

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"takes a whole number from {least} to {most}, such as {example}; not {shown(value)}")
        return value

    return BeforeValidator(read)


def shown(value: object) -> str:
    """Return a value that was refused as a message can show it: short, on one line, never the whole of a table.

    Args:
        value: anything.
    """
    if isinstance(value, str):
        return repr(value[: LONGEST_TEXT + 1]) if len(value) <= LONGEST_TEXT else f"{value[:LONGEST_TEXT]!r}…"
    if isinstance(value, int) and value.bit_length() > 100:  # Python itself refuses to write the longest
        return "a number of that size"
    if isinstance(value, int | float | Decimal | timedelta):
        return str(value)[:LONGEST_TEXT].lower() if isinstance(value, bool) else str(value)[:LONGEST_TEXT]
    names = {dict: "a table", list: "a list", type(None): "nothing"}
    return names.get(type(value), f"a {type(value).__name__}"[:LONGEST_TEXT])


def _match(pattern: re.Pattern[str], value: object, taken: str) -> re.Match[str]:
    match = pattern.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= LONGEST_TEXT else None
    if match is None:
        raise ValueError(f"takes {taken}; not {shown(value)}")
    return match


Duration = Annotated[timedelta, BeforeValidator(duration), PlainSerializer(written_duration, return_type=str)]
"""A length of time, written such as "90s"."""

Usd = Annotated[Decimal, BeforeValidator(dollars), PlainSerializer(written_dollars, return_type=str)]
"""US dollars, written such as "$0.50"."""

Share = Annotated[float, BeforeValidator(share), PlainSerializer(written_share, return_type=str)]
"""A share of a whole, above 0 and up to 1, written such as "10%"."""

ShareOrNothing = Annotated[float, BeforeValidator(share_or_nothing), PlainSerializer(written_share, return_type=str)]
"""A share of a whole, 0 to 1, written such as "10%"."""

PerMinute = Annotated[float, BeforeValidator(per_minute), PlainSerializer(written_rate, return_type=str)]
"""How often a minute, written such as "500/min"."""
