"""Whose turn it is: one at a time, run by run, and nobody who gave up is waited for."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.guards.limits.turns import Turns


async def settle_down() -> None:
    """Let everybody do what can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


def order(runs: list[str], *, cancelled: set[int] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """In which order those who came in this order, behind somebody, have their turns."""
    served: list[str] = []

    async def have_turn(turns: Turns, run: str) -> None:
        async with turns.turn(run):
            served.append(run)
            await asyncio.sleep(0)

    async def story() -> None:
        turns = Turns()
        async with turns.turn("whoever is first"):
            tasks = []
            for run in runs:
                tasks.append(asyncio.create_task(have_turn(turns, run)))
                await settle_down()
            for number in cancelled:
                tasks[number].cancel()
            assert turns.anybody
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not turns.anybody

    asyncio.run(story())
    return served


def test_whoever_comes_first_is_served_first() -> None:
    """Of runs with one call each, the one that waits longest is next."""
    assert order(["a", "b", "c", "d"]) == ["a", "b", "c", "d"]


def test_a_run_with_many_calls_stands_in_line_once() -> None:
    """Sixty calls of one run, then one of another: the second turn is the other's."""
    assert order(["big"] * 60 + ["small"]) == ["big", "small"] + ["big"] * 59


def test_runs_take_turns() -> None:
    """Each run has one turn before any has its second."""
    assert order(["a", "a", "a", "b", "b", "c"]) == ["a", "b", "c", "a", "b", "a"]


def test_whoever_gave_up_is_passed_over() -> None:
    """The turn of a caller that was cancelled goes to the next."""
    assert order(["a", "b", "c"], cancelled={0, 1}) == ["c"]
    assert order(["a", "b", "c"], cancelled={0, 1, 2}) == []


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.data())
def test_everybody_who_stays_is_served_once(runs: list[str], data: st.DataObject) -> None:
    """Whoever else gives up, each of the others has its turn, and the line is empty afterwards."""
    cancelled = data.draw(st.sets(st.integers(0, len(runs) - 1)))

    assert sorted(order(runs, cancelled=cancelled)) == sorted(
        run for number, run in enumerate(runs) if number not in cancelled
    )


def test_a_turn_given_to_one_who_just_gave_up_goes_on() -> None:
    """Cancelled in the very moment in which its turn comes, a caller passes it on."""

    async def story() -> bool:
        turns = Turns()
        entered = turns.turn("first")
        await entered.__aenter__()
        unlucky = asyncio.create_task(turns.turn("unlucky").__aenter__())
        await settle_down()
        await entered.__aexit__(None, None, None)  # the turn is given,
        unlucky.cancel()  # and its owner has not woken yet
        await settle_down()
        return turns.anybody

    assert asyncio.run(story()) is False


def test_an_error_gives_the_turn_back() -> None:
    """Whoever fails while it is its turn does not keep it."""

    async def story() -> bool:
        turns = Turns()
        with pytest.raises(KeyError):
            async with turns.turn("a"):
                raise KeyError
        return turns.anybody

    assert asyncio.run(story()) is False
