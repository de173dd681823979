"""How numbers, times and standings are written on a page."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

MARKS = {
    "accepted": "✓",
    "reviewed": "✓",
    "rejected": "✗",
    "expired": "○",
    "refused": "–",
    "failed": "!",
    "queued": "…",
    "running": "▶",
    "review": "?",
    "paused": "‖",
    "cancelled": "⊘",
}
"""A mark for each standing, so that none is told by its colour alone."""


def standing(word: str) -> str:
    """Return where a run stands, with a mark, as text.

    Args:
        word: `Run.standing`.
    """
    return f"{MARKS.get(word, '·')} {word}"


def counted(number: int, one: str, many: str = "") -> str:
    """Return how many of something there are, in words that fit the number.

    Args:
        number: of them.
        one: what follows a 1, such as `run failed`.
        many: what follows any other number, such as `runs failed`; by default the same with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def money(dollars: Decimal | None) -> str:
    """Return US dollars as people read them.

    Args:
        dollars: None where unknown.
    """
    if dollars is None:
        return "unknown"
    return "$0" if not dollars else f"${dollars:,.4f}" if abs(dollars) < 1 else f"${dollars:,.2f}"


def duration(ms: float | None) -> str:
    """Return a length of time in its fitting unit.

    Args:
        ms: milliseconds; None where it is not known.
    """
    if ms is None:
        return "–"
    for most, unit, size in (
        (1_000, "ms", 1),
        (60_000, "s", 1_000),
        (3_600_000, "min", 60_000),
        (86_400_000, "h", 3.6e6),
    ):
        if ms < most:
            return f"{_short(ms / size)} {unit}"
    return f"{_short(ms / 86_400_000)} days"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}".removesuffix(".0")


def since(then: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in words.

    Args:
        then: when; None where it never was.
        now: the present time.
    """
    if then is None:
        return "never"
    seconds = (now - then).total_seconds()
    return (
        "now"
        if abs(seconds) < 1
        else f"{duration(seconds * 1_000)} ago"
        if seconds > 0
        else f"in {duration(-seconds * 1_000)}"
    )


def moment(then: datetime | None) -> str:
    """Return a moment to the second, in UTC.

    Args:
        then: when; None where it never was.
    """
    return "–" if then is None else f"{then:%Y-%m-%d %H:%M:%S}"
