"""The system clock, the fake clock, and ids."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from stanchion.clock import SystemClock, new_id
from stanchion.errors import UsageError
from stanchion.testing import FakeClock, counting_ids


def test_a_fake_clock_stands_still_until_it_is_advanced() -> None:
    """Both hands of a fake clock move by exactly what it is advanced."""
    clock = FakeClock()
    assert (clock.now(), clock.monotonic()) == (datetime(2024, 1, 1, tzinfo=UTC), 0.0)

    clock.advance(90)

    assert (clock.now(), clock.monotonic()) == (datetime(2024, 1, 1, 0, 1, 30, tzinfo=UTC), 90.0)


def test_sleeping_on_a_fake_clock_moves_it_without_waiting_and_lets_others_run() -> None:
    """A sleep of a year is over at once, but not before other tasks had their turn."""
    clock, heard = FakeClock(), []

    async def sleep_while_another_speaks() -> None:
        other = asyncio.create_task(asyncio.to_thread(heard.append, "never waited for"))
        speaker = asyncio.create_task(_speak(heard))
        await clock.sleep(timedelta(days=366).total_seconds())
        assert "spoke" in heard
        await asyncio.gather(other, speaker)

    asyncio.run(sleep_while_another_speaks())

    assert clock.now() == datetime(2025, 1, 1, tzinfo=UTC)


async def _speak(heard: list[str]) -> None:
    heard.append("spoke")


def test_a_fake_clock_speaks_utc_whatever_it_was_started_with() -> None:
    """A start in another zone is the same moment in UTC."""
    clock = FakeClock(datetime(2024, 1, 1, 8, tzinfo=timezone(timedelta(hours=8))))
    assert clock.now() == datetime(2024, 1, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


def test_a_fake_clock_refuses_to_go_back_or_to_start_without_a_zone() -> None:
    """Misuse gets an error that names the remedy."""
    with pytest.raises(UsageError, match="not be negative"):
        FakeClock().advance(-1)
    with pytest.raises(UsageError, match="time zone"):
        FakeClock(datetime(2024, 1, 1))  # noqa: DTZ001 - the mistake


def test_the_system_clock_is_aware_and_never_goes_back() -> None:
    """The real clock speaks UTC, and its monotonic hand does not go back over a sleep."""
    clock = SystemClock()
    before = clock.monotonic()
    asyncio.run(clock.sleep(0))
    assert clock.monotonic() >= before
    assert clock.now().tzinfo is UTC


def test_ids_are_short_and_unlike() -> None:
    """A thousand ids are all different, and so are nearly all their beginnings, which people type."""
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert len({one[:6] for one in ids}) > 990
    assert {len(one) for one in ids} == {12}
    assert set("".join(ids)) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_counting_ids_count_from_one_per_source() -> None:
    """Each source counts for itself."""
    runs, steps = counting_ids(), counting_ids("step")
    assert [runs(), runs(), steps()] == ["run-1", "run-2", "step-1"]
