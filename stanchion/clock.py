"""The one place where time and ids come from, so that a test can hand in its own.

Nothing else in Stanchion reads a clock, sleeps or draws an id: who needs one takes a `Clock` or `Ids` as an argument.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

Ids = Callable[[], str]
"""Gives another id, different from all before, each time it is called; `new_id` is one."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no letter looks like a digit
_LENGTH = 12  # 60 bits: among ten million ids two are the same once in 20,000 databases


class Clock(Protocol):
    """What Stanchion asks of a clock."""

    def now(self) -> datetime:
        """Say what time it is, aware and in UTC, to be written down and shown."""
        ...

    def monotonic(self) -> float:
        """Count seconds from no particular moment, never backwards, to measure how long something took."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait without holding up anybody else."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Say what time it is, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Count seconds, never backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait without holding up anybody else."""
        await asyncio.sleep(seconds)


def new_id() -> str:
    """Draw a random id of 12 lower-case letters and digits; its first few are enough to name it on a command line."""
    number = secrets.randbits(5 * _LENGTH)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(0, 5 * _LENGTH, 5))
