"""What an answer may not be before anybody looks into it: too deep, too large, or holding what is no JSON number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from stanchion.guards._paths import Keys
from stanchion.guards._reasons import failed
from stanchion.verdict import Check

DEEPEST = 100
"""Levels of objects and lists in one answer; a document needs five."""

LARGEST = 1_000_000
"""Characters of all keys and values of one answer."""

LONGEST_NUMBER = 1_000
"""Decimal digits of an integer; Python itself refuses to print one of more than 4,300."""

_HOLDERS = (dict, list, tuple)

_MOST_BITS = int(LONGEST_NUMBER / math.log10(2))


class _Holder(NamedTuple):
    """An object or a list of the answer, and how it was reached."""

    value: Any
    depth: int
    key: str | int
    within: _Holder | None


class Bounds(NamedTuple):
    """What was found.

    Args:
        refusal: why the answer is not looked into at all, or None.
        numbers: one failed check for each number that JSON does not know: infinite, undefined, or endless.
    """

    refusal: Check | None
    numbers: list[Check]


def bounds(answer: Any) -> Bounds:
    """Measure an answer without recursion.

    Args:
        answer: what a JSON parser returned; anything else counts as one character.
    """
    size = 0
    numbers: list[Check] = []
    holders = [_Holder([answer], 0, "", None)]
    while holders:
        holder = holders.pop()
        for key, value in _entries(holder.value):
            size += len(key) if isinstance(key, str) else 1
            if isinstance(value, str):
                size += len(value)
            elif isinstance(value, _HOLDERS):
                if holder.depth == DEEPEST:
                    return _refused(f"the answer is nested deeper than {DEEPEST} levels")
                holders.append(_Holder(value, holder.depth + 1, key, holder))
            elif not _is_json_number(value):
                numbers.append(failed("schema", _keys(holder, key), _NO_NUMBER))
            if size > LARGEST:
                return _refused(f"the answer is larger than {LARGEST:,} characters")
    return Bounds(None, numbers)


def _refused(reason: str) -> Bounds:
    return Bounds(failed("size", (), reason), [])


_NO_NUMBER = f"is not a finite number of at most {LONGEST_NUMBER:,} digits"


def _entries(holder: Any) -> Iterable[tuple[Any, Any]]:
    return holder.items() if isinstance(holder, dict) else enumerate(holder)


def _is_json_number(value: Any) -> bool:
    """Whether this is not a number that JSON does not know; what is no number at all is pydantic's to judge."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or value.bit_length() <= _MOST_BITS


def _keys(holder: _Holder, key: str | int) -> Keys:
    steps: list[str | int] = [key]
    above: _Holder | None = holder
    while above is not None:
        steps.append(above.key)
        above = above.within
    return tuple(reversed(steps))[2:]  # without the list around the answer
