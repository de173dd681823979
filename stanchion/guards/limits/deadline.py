"""The moment by which something must be over, handed down from run to step to attempt to HTTP request."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from stanchion.clock import Clock

F = TypeVar("F", bound=Callable[..., Any])


class Deadline(NamedTuple):
    """A moment, and whose it is.

    Args:
        at: on the clock's `monotonic`, in seconds.
        what: the limit in words, for messages: `the 2 min of the step model`.
    """

    at: float
    what: str

    @property
    def named(self) -> str:
        """The limit in words, at the beginning of a sentence."""
        return self.what[:1].upper() + self.what[1:]

    def remaining(self, clock: Clock) -> float:
        """Return the seconds that are left; 0 where it has passed.

        Args:
            clock: the one that `at` was read from.
        """
        return max(0.0, self.at - clock.monotonic())


def in_words(seconds: float) -> str:
    """Return a length of time as people say it: `90 ms`, `30 s`, `2 min`, `1.5 h`.

    Args:
        seconds: how long.
    """
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def when_late(answer: Callable[[Any, str], Any]) -> Callable[[F], F]:
    """Decorate a node with its cheap edge: what it answers where it is given up at the end of its step's budget.

    Args:
        answer: takes the state and the reason in words, and returns the update of the state; it must not wait.
    """

    def mark(node: F) -> F:
        node.when_late = answer  # type: ignore[attr-defined]
        return node

    return mark


step_deadline: ContextVar[Deadline | None] = ContextVar("step_deadline", default=None)
"""When the step that is running should be over: its own budget's end or the run's, whichever is earlier."""
