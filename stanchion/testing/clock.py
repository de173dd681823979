"""Time that stands still until a test moves it, and ids that a person can predict."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import UTC, datetime, timedelta

from stanchion.clock import Ids
from stanchion.errors import UsageError


class FakeClock:
    """A `stanchion.clock.Clock` that moves only when told to, or when somebody sleeps on it.

    Args:
        start: what `now()` says at first; aware.

    Raises:
        UsageError: if `start` has no time zone.
    """

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> None:
        if start.tzinfo is None:
            raise UsageError("FakeClock needs a start with a time zone, such as datetime(2024, 1, 1, tzinfo=UTC)")
        self._start = start.astimezone(UTC)
        self._elapsed = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Say what time it is: the start and all that was advanced or slept since."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Count the seconds since the start."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: how much; not negative.

        Raises:
            UsageError: if `seconds` is negative.
        """
        if seconds < 0:
            raise UsageError(f"FakeClock cannot go back: advance({seconds}) must not be negative")
        with self._lock:
            self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        """Let time pass without waiting for it; others get their turn as in a real sleep."""
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)


def counting_ids(prefix: str = "run") -> Ids:
    """Make a source of ids that counts: `run-1`, `run-2`, and so on.

    Args:
        prefix: what stands before the number.
    """
    numbers = itertools.count(1)
    return lambda: f"{prefix}-{next(numbers)}"
