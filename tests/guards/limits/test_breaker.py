"""The circuit breaker: when it opens, who may try meanwhile, and what closes it again."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.errors import BreakerOpen, BudgetExceeded
from stanchion.guards.limits import breaker
from stanchion.guards.limits.gate import End, Gate
from stanchion.guards.limits.policy import Policy
from stanchion.guards.limits.traffic import SLOT
from stanchion.store import Database
from tests.guards.limits.conftest import FAILED, MODEL, WELL, OneAtATime, WallClock

SLOW = End("answered", 31.0, spent=0, tokens=0)
NOT_ITS_FAULT = End("failed", 0.1, kind="invalid_request", spent=0)
POLICY = Policy(breaker={"least_calls": 10, "probes": 2})


def is_open(world: OneAtATime) -> bool:
    """Whether the next call is refused; one that passes ends well."""
    try:
        ticket = world.begin()
    except BreakerOpen:
        return True
    world.end(ticket)
    return False


@pytest.fixture
def world() -> OneAtATime:
    """Calls to one model under the default breaker."""
    return OneAtATime(POLICY)


@pytest.fixture
def tripped(world: OneAtATime) -> OneAtATime:
    """The same after ten failures."""
    world.calls(10, FAILED)
    return world


# --- Opening  ---


@pytest.mark.parametrize(
    ("well", "badly", "end", "opens"),
    [
        (0, 9, FAILED, False),  # fewer calls than say something
        (0, 10, FAILED, True),
        (5, 5, FAILED, True),
        (6, 5, FAILED, False),
        (0, 9, SLOW, False),
        (2, 8, SLOW, True),
        (3, 8, SLOW, False),
        (0, 50, NOT_ITS_FAULT, False),  # a 400 says that the provider is there
    ],
)
def test_it_opens_at_its_rate_of_failures_or_slow_calls(
    world: OneAtATime, well: int, badly: int, end: End, opens: bool
) -> None:
    """Half failed, or four in five slow, of at least ten; what is the caller's fault does not count."""
    world.calls(well)
    world.calls(badly, end)

    assert is_open(world) is opens


def test_only_the_window_counts(world: OneAtATime) -> None:
    """Nine failures that are older than the window, to the slot, add nothing to nine new ones."""
    world.calls(9, FAILED)
    world.clock.advance(60 + SLOT)
    world.calls(9, FAILED)
    assert not is_open(world)

    world.clock.advance(59)
    world.calls(1, FAILED)
    assert is_open(world)


def test_a_window_shorter_than_a_slot_is_one() -> None:
    """A breaker that looks at one second opens too, wherever in a slot that second begins."""
    world = OneAtATime(Policy(breaker={"window": "1s"}))
    world.clock.advance(3)
    world.calls(10, FAILED)

    assert is_open(world)


def test_a_refusal_says_why_and_how_long(tripped: OneAtATime) -> None:
    """Whoever is refused reads what was seen of the model, and when it is tried again."""
    tripped.clock.advance(10)
    with pytest.raises(BreakerOpen, match=r"of openai:gpt-4o-mini is open for another 20 s: 10 of 10 calls failed"):
        tripped.begin()


def test_each_model_has_its_own(tripped: OneAtATime) -> None:
    """One model that is down stands in no other's way."""
    assert tripped.begin("openai:gpt-4o").probe is False


# --- Half open  ---


def test_nothing_passes_while_it_is_open(tripped: OneAtATime) -> None:
    """Until `open_for` has passed every call is refused, to the last moment."""
    for _ in range(29):
        assert is_open(tripped)
        tripped.clock.advance(1)
    tripped.clock.advance(0.999)

    assert is_open(tripped)


def test_then_a_few_probes_go_at_a_time(tripped: OneAtATime) -> None:
    """Two may be under way at once; the third goes when one has ended."""
    tripped.clock.advance(30)
    first, second = tripped.begin(), tripped.begin()
    assert (first.probe, second.probe) == (True, True)
    with pytest.raises(BreakerOpen, match="a few calls are trying"):
        tripped.begin()

    tripped.end(first)
    assert tripped.begin().probe


def test_as_many_successes_close_it(tripped: OneAtATime) -> None:
    """After two probes that went well calls pass as before, and old failures are forgotten."""
    tripped.clock.advance(30)
    tripped.calls(2)

    assert [tripped.begin().probe for _ in range(5)] == [False] * 5
    tripped.calls(9, FAILED)
    assert not is_open(tripped)


@pytest.mark.parametrize("end", [FAILED, SLOW])
def test_one_bad_probe_opens_it_again(tripped: OneAtATime, end: End) -> None:
    """A probe that fails, or is slow, closes the way for another `open_for`."""
    tripped.clock.advance(30)
    tripped.calls(1)
    tripped.end(tripped.begin(), end)

    tripped.clock.advance(29)
    assert is_open(tripped)
    tripped.clock.advance(1)
    assert tripped.begin().probe


@pytest.mark.parametrize(
    "end", [End("unknown", 1.0), End("failed", 0.0, kind="cancelled"), End("failed", 0.0, kind="unavailable")]
)
def test_a_probe_that_says_nothing_proves_nothing(tripped: OneAtATime, end: End) -> None:
    """Probes that were cancelled, or never reached the provider, do not close it; others may try."""
    tripped.clock.advance(30)
    tripped.calls(5, end)

    assert tripped.begin().probe


def test_a_late_end_from_before_is_no_probe(tripped: OneAtATime) -> None:
    """Calls that were under way when it opened neither close nor open it again."""
    other = OneAtATime(POLICY)
    stragglers = [other.begin() for _ in range(20)]
    for ticket in stragglers[:10]:
        other.end(ticket, FAILED)
    other.clock.advance(30)
    probe = other.begin()
    for ticket in stragglers[10:15]:
        other.end(ticket, FAILED)
    for ticket in stragglers[15:]:
        other.end(ticket)
    other.end(probe)

    assert other.begin().probe


CALLS = st.sampled_from([WELL, FAILED, SLOW, NOT_ITS_FAULT])


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 3.0, 31.0]), st.booleans(), CALLS), max_size=60),
    st.integers(1, 3),
)
def test_whatever_happens_few_pass_while_it_is_not_closed(story: list[tuple[float, bool, End]], probes: int) -> None:
    """No call passes within `open_for` of its opening, and never more than `probes` are under way until it closes."""
    world = OneAtATime(Policy(breaker={"least_calls": 3, "probes": probes}))
    under_way = []
    for seconds, ends_one, end in story:
        world.clock.advance(seconds)
        if ends_one and under_way:
            world.end(under_way.pop(0), end)
            continue
        state = world.sql("SELECT state, until FROM breakers") or [("closed", 0.0)]
        tried = [ticket for ticket in under_way if ticket.probe]
        try:
            ticket = world.begin()
        except BreakerOpen:
            assert state[0][0] != "closed"
            continue
        under_way.append(ticket)
        if state[0][0] != "closed":
            assert ticket.probe
            assert len(tried) < probes
            assert state[0][0] == "half_open" or world.clock.now().timestamp() >= state[0][1]


# --- By hand  ---


@pytest.mark.parametrize("end", [WELL, FAILED])
def test_forced_open_lets_nothing_pass(world: OneAtATime, end: End) -> None:
    """Whatever the calls under way do, and however long it lasts: the refusal says who did it and why."""
    under_way = [world.begin() for _ in range(20)]
    world.change(partial(breaker.force, model=MODEL, state="open", by="mia", reason="costs too much", at="now"))
    for ticket in under_way:
        world.end(ticket, end)
    world.clock.advance(3600)

    with pytest.raises(BreakerOpen, match="mia opened the circuit breaker of openai:gpt-4o-mini: costs too much"):
        world.begin()


def test_forced_closed_lets_everything_pass(tripped: OneAtATime) -> None:
    """Forced closed, calls pass though all fail; released, it begins anew."""
    tripped.change(partial(breaker.force, model=MODEL, state="closed", by="mia", reason="drill", at="now"))
    tripped.calls(30, FAILED)
    assert tripped.begin().probe is False
    assert tripped.sql("SELECT forced, forced_by, reason FROM breakers") == [("closed", "mia", "drill")]

    tripped.change(partial(breaker.force, model=MODEL, state=None, by="mia", reason="over", at="now"))
    tripped.calls(9, FAILED)
    assert not is_open(tripped)
    tripped.calls(1, FAILED)
    assert is_open(tripped)


def test_every_change_is_on_record(tripped: OneAtATime) -> None:
    """Openings, trials, closings and what people did stand there in order, with who and why."""
    tripped.clock.advance(30)
    tripped.calls(2)
    tripped.change(partial(breaker.force, model=MODEL, state="open", by="mia", reason="costs", at="now"))
    tripped.change(partial(breaker.force, model=MODEL, state=None, by="tom", reason="fine", at="now"))

    assert tripped.sql("SELECT what, by, reason FROM breaker_events") == [
        ("open", None, "10 of 10 calls failed within 60 s"),
        ("half_open", None, "10 of 10 calls failed within 60 s"),
        ("closed", None, "it answers again"),
        ("forced open", "mia", "costs"),
        ("released", "tom", "fine"),
    ]


# --- Clocks and processes  ---


@pytest.mark.parametrize("jump", [-86_400.0, -20.0, 86_400.0])
def test_a_clock_that_is_set_does_not_lock_it(tripped: OneAtATime, jump: float) -> None:
    """Set back or forward, it is tried again within twice `open_for`, and closes."""
    tripped.clock.set_by = jump
    tripped.clock.advance(60)
    tripped.calls(2)

    assert tripped.begin().probe is False


def test_processes_on_one_file_share_it(database: Database, same_file: Database) -> None:
    """Five failures here and five there open it for both."""
    clock = WallClock()
    here = OneAtATime(POLICY, Gate(database, clock, owner="here"), clock)
    there = OneAtATime(POLICY, Gate(same_file, clock, owner="there"), clock)
    here.calls(5, FAILED)
    there.calls(5, FAILED)

    assert is_open(here)
    assert is_open(there)


def test_the_probes_of_a_dead_process_are_not_waited_for(database: Database, same_file: Database) -> None:
    """A process that died while it tried does not keep the others from trying."""
    clock = WallClock()
    dead = OneAtATime(POLICY, Gate(database, clock, owner="dead"), clock)
    living = OneAtATime(POLICY, Gate(same_file, clock, owner="living", is_alive=lambda name: name != "dead"), clock)
    dead.calls(10, FAILED)
    clock.advance(30)
    dead.begin(), dead.begin()

    assert is_open(living)
    assert living.begin().probe


def test_a_call_that_is_refused_otherwise_takes_no_probe() -> None:
    """Whoever is let through to try and has no money leaves the place to the next."""
    world = OneAtATime(Policy(breaker={"probes": 1}, money={"day": "$0.01"}))
    world.calls(10, FAILED)
    world.clock.advance(30)
    with pytest.raises(BudgetExceeded):
        world.begin(need=1_000_000_000)

    assert world.begin().probe
