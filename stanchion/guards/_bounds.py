"""What an answer may not be before anybody looks into it: too deep, too large, or holding what is not JSON."""

from __future__ import annotations

import math
import re
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

_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")

_HOLDERS = (dict, list, tuple)

_HUGE = 10**LONGEST_NUMBER


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
        foreign: one failed check for each value that is not JSON: a number that is infinite, undefined or endless, a
            text with half a character (a lone surrogate), which no database and no file would take.
    """

    refusal: Check | None
    foreign: list[Check]


def bounds(answer: Any) -> Bounds:
    """Measure an answer without recursion.

    Args:
        answer: what a JSON parser returned; anything else counts as one character.
    """
    size = 0
    foreign: list[Check] = []
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
            if not (_is_json(key) and _is_json(value)):
                foreign.append(failed("schema", _keys(holder, key), _NOT_JSON))
            if size > LARGEST:
                return _refused(f"the answer is larger than {LARGEST:,} characters")
    return Bounds(None, foreign)


def _refused(reason: str) -> Bounds:
    return Bounds(failed("size", (), reason), [])


_NOT_JSON = f"is neither well-formed text nor a finite number of at most {LONGEST_NUMBER:,} digits"


def _entries(holder: Any) -> Iterable[tuple[Any, Any]]:
    return holder.items() if isinstance(holder, dict) else enumerate(holder)


def _is_json(value: Any) -> bool:
    """Whether this text or number is one in JSON too; what is neither is pydantic's to judge."""
    if isinstance(value, str):
        return value.isascii() or not _HALF_A_CHARACTER.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -_HUGE < value < _HUGE


def _keys(holder: _Holder, key: str | int) -> Keys:
    steps: list[str | int] = [key]
    above: _Holder | None = holder
    while above is not None:
        steps.append(above.key)
        above = above.within
    return tuple(reversed(steps))[2:]  # without the list around the answer
