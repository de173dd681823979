"""How long to wait before another attempt."""

from __future__ import annotations

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.guards.limits.policy import Retry
from stanchion.guards.limits.retry import wait_before


@given(st.integers(2, 10), st.integers(0, 2**32))
def test_a_wait_is_drawn_from_nothing_to_the_backoff(attempt: int, seed: int) -> None:
    """The longest wait doubles from attempt to attempt, and is capped."""
    retry = Retry(first="0.5s", longest="20s")

    assert 0 <= wait_before(attempt, retry, None, random.Random(seed)) <= min(20, 0.5 * 2 ** (attempt - 2))


@pytest.mark.parametrize(("attempt", "average"), [(2, 0.25), (3, 0.5), (4, 1.0), (10, 10.0)])
def test_the_jitter_is_full(attempt: int, average: float) -> None:
    """Waits are spread evenly over the whole backoff, so on average they are half of it."""
    chance = random.Random(1)
    waits = [wait_before(attempt, Retry(), None, chance) for _ in range(2000)]

    assert mean(waits) == pytest.approx(average, rel=0.1)
    assert min(waits) < 0.05 * average


@given(st.floats(0, 3600), st.integers(2, 10), st.integers(0, 2**32))
def test_what_the_provider_asks_for_is_waited_whole(retry_after: float, attempt: int, seed: int) -> None:
    """Never less than Retry-After, however long, and a little more, so that not all come back together."""
    wait = wait_before(attempt, Retry(), retry_after, random.Random(seed))

    assert retry_after <= wait <= retry_after + 0.5


def test_the_same_seed_gives_the_same_waits() -> None:
    """Jitter can be repeated."""
    one, other = ([wait_before(n, Retry(), None, random.Random(7)) for n in range(2, 9)] for _ in range(2))

    assert one == other
    assert len(set(one)) == len(one)
