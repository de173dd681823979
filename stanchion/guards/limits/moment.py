"""The present time in the forms that limits need, read once for a whole transaction."""

from __future__ import annotations

from typing import NamedTuple

from stanchion.clock import Clock


class Moment(NamedTuple):
    """A moment that all processes on a database understand: a wall clock's, which may be set back.

    Args:
        epoch: seconds since 1970.
        iso: the same as it is written down.
    """

    epoch: float
    iso: str

    @property
    def day(self) -> str:
        """The day in UTC, for caps per day."""
        return self.iso[:10]


def moment(clock: Clock) -> Moment:
    """Read the present time.

    Args:
        clock: where it comes from.
    """
    now = clock.now()
    return Moment(now.timestamp(), now.isoformat())
