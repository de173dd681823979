"""Requests and tokens per minute, and calls in flight: no minute ever holds more, and the limit is used up."""

from __future__ import annotations

import math
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.guards.limits import pacing
from stanchion.guards.limits.policy import Rate
from tests.guards.limits.conftest import MODEL, at, new_tables

JUST = 1e-4  # seconds: what 1970 plus a fraction of a second cannot say in a float
START = 1_704_067_200.0


def most_in_a_minute(sent: list[tuple[float, float]]) -> float:
    """The largest sum of amounts within any 60 seconds."""
    return max(
        (sum(amount for at_, amount in sent if begin <= at_ < begin + 60 - JUST) for begin, _ in sent), default=0.0
    )


def send(connection: sqlite3.Connection, rate: Rate, now: float, tokens: int = 0) -> float:
    """Wait until a request may go, as the gate does, and return the moment."""
    for _ in range(10):
        wait = pacing.wait_for_room(connection, MODEL, rate, tokens, at(now))
        if not wait:
            return now
        now += wait + 1e-6
    raise AssertionError("it never may")


@settings(max_examples=60)
@given(
    st.one_of(st.integers(1, 200).map(lambda number: f"{number}/min"), st.integers(1, 100).map("{}/h".format)),
    st.lists(st.floats(0, 40), min_size=1, max_size=60),
)
def test_no_minute_holds_more_requests(requests: str, pauses: list[float]) -> None:
    """Whenever requests come, in no 60 seconds more go than the limit says, and not fewer than one."""
    connection, rate, now = new_tables(), Rate(requests=requests), START
    sent = []
    for pause in pauses:
        now = send(connection, rate, now + pause)
        sent.append((now, 1.0))

    assert most_in_a_minute(sent) <= math.ceil(rate.requests)  # 61/h: one a minute, and a second just before it ends


@settings(max_examples=100)
@given(
    st.integers(10, 1000),
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40),
)
def test_no_minute_holds_more_tokens(limit: int, calls: list[tuple[float, float, float]]) -> None:
    """However large the calls are, and however little of what they were counted for they use in the end."""
    connection, rate, now = new_tables(), Rate(tokens=f"{limit}/min"), START
    sent = []
    for pause, size, share in calls:
        counted = int(size * limit)
        now = send(connection, rate, now + pause, counted)
        used = int(share * counted)
        pacing.give_back(connection, MODEL, rate, counted, used)
        sent.append((now, float(used)))

    assert most_in_a_minute(sent) <= limit


@pytest.mark.parametrize("limit", [1, 7, 60, 500])
def test_the_limit_is_used_up(limit: int) -> None:
    """Over ten minutes of asking without a pause at least nine tenths of what is allowed goes."""
    connection, rate, now, sent = new_tables(), Rate(requests=f"{limit}/min"), START, 0
    while (now := send(connection, rate, now)) < START + 600:
        sent += 1

    assert 9 * limit <= sent <= 10 * limit + 1


def test_a_tenth_of_a_minute_goes_at_once(connection: sqlite3.Connection) -> None:
    """Sixty a minute: six go together, the seventh is told how long to wait."""
    waits = [pacing.wait_for_room(connection, MODEL, Rate(requests="60/min"), 0, at(START)) for _ in range(7)]

    assert waits == pytest.approx([0.0] * 6 + [60 / 54], abs=JUST)


@pytest.mark.parametrize("rate", [Rate(requests="1/h"), Rate(requests="5/h")])
def test_rare_requests_are_rare(connection: sqlite3.Connection, rate: Rate) -> None:
    """One an hour means an hour between two, however slow that is."""
    assert send(connection, rate, START) == START
    assert send(connection, rate, START + 70) == pytest.approx(START + 60 / rate.requests, abs=JUST)


def test_a_call_larger_than_a_minute_can_go(connection: sqlite3.Connection) -> None:
    """It counts as a whole minute's tokens: it goes when nothing went for a minute, and nothing goes for one after."""
    rate = Rate(tokens="1000/min")

    assert send(connection, rate, START, 5000) == START
    assert send(connection, rate, START, 10) >= START + 58


def test_what_a_large_call_did_not_use_is_given_back(connection: sqlite3.Connection) -> None:
    """A call counted for a whole minute that used half of it leaves the other half, and no more."""
    rate = Rate(tokens="1000/min")
    send(connection, rate, START, 5000)
    pacing.give_back(connection, MODEL, rate, 5000, 500)

    assert send(connection, rate, START, 100) == pytest.approx(START + 500 * 60 / 900, abs=0.1)


def test_tokens_beyond_the_estimate_are_counted(connection: sqlite3.Connection) -> None:
    """A call that read more than was thought makes the next ones wait."""
    rate = Rate(tokens="1000/min")
    send(connection, rate, START, 10)
    pacing.give_back(connection, MODEL, rate, 10, 900)

    assert send(connection, rate, START, 100) >= START + 50


def test_a_refused_request_takes_nothing(connection: sqlite3.Connection) -> None:
    """Asking a hundred times too early does not put off when it may go."""
    rate = Rate(requests="1/min")
    send(connection, rate, START)
    waits = [pacing.wait_for_room(connection, MODEL, rate, 0, at(START + 1)) for _ in range(100)]

    assert waits == pytest.approx([59.0] * 100, abs=JUST)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_does_not_stop_requests(connection: sqlite3.Connection, jump: float) -> None:
    """Set back by a day, a minute's wait stays one of minutes."""
    rate = Rate(requests="1/min", tokens="100/min")
    send(connection, rate, START, 100)

    assert send(connection, rate, START + jump, 100) <= START + jump + 120


def test_without_limits_nothing_is_written(connection: sqlite3.Connection) -> None:
    """Who limits no rate pays for no row."""
    assert pacing.wait_for_room(connection, MODEL, Rate(), 10**9, at(START)) == 0.0
    assert connection.execute("SELECT count(*) FROM pacing").fetchone() == (0,)
