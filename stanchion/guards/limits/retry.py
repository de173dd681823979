"""How long to wait before another attempt: capped exponential backoff with full jitter.

Source: M. Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015: of the ways compared there, a wait
drawn evenly between nothing and the whole backoff makes the fewest requests collide.
"""

from __future__ import annotations

import random

from stanchion.guards.limits.policy import Retry


def wait_before(attempt: int, retry: Retry, retry_after: float | None, chance: random.Random) -> float:
    """Return the seconds to wait before an attempt.

    Args:
        attempt: its number; 2 is the first retry.
        retry: `first` is the longest wait before it, doubled for each further one up to `longest`.
        retry_after: seconds that the provider asked for; they are waited whole, and a jitter on top, so that those
            who were sent away together do not come back together.
        chance: where the jitter comes from.
    """
    first, longest = retry.first.total_seconds(), retry.longest.total_seconds()
    backoff = min(longest, first * 2.0 ** (attempt - 2))
    if retry_after is None:
        return chance.uniform(0.0, backoff)
    return retry_after + chance.uniform(0.0, first)
