"""How models stand, and the operator's hand on their breakers, from Python."""

from __future__ import annotations

from typing import Any

import pytest

from stanchion.errors import NotAllowed, UsageError
from stanchion.guards.limits.standing import Breakers
from stanchion.people import Person
from stanchion.store import Database
from stanchion.store.trail import Trail
from stanchion.testing import FakeClock
from tests.guards.limits.conftest import MODEL


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until it is told."""
    return FakeClock()


@pytest.fixture
def breakers(database: Database, clock: FakeClock) -> Breakers:
    """The breakers of an empty database."""
    return Breakers(database, clock)


def test_a_model_that_nobody_asked_is_closed(breakers: Breakers) -> None:
    """It stands as one that was never touched, and asking for it adds nothing."""
    one = breakers.of(MODEL)

    assert (one.breaker, one.forced, one.forced_by, one.changed_at, one.calls) == ("closed", False, None, None, 0)
    assert breakers.standing() == []


@pytest.mark.parametrize("state", ["open", "closed"])
def test_a_forced_breaker_says_by_whom_why_and_since_when(breakers: Breakers, clock: FakeClock, state: Any) -> None:
    """What was forced stands there as forced, from that moment on."""
    forced = breakers.force(MODEL, state, by="ada", reason="maintenance")

    assert (forced.breaker, forced.forced, forced.forced_by, forced.reason) == (state, True, "ada", "maintenance")
    assert forced.changed_at == clock.now()
    assert breakers.standing() == [forced]


@pytest.mark.parametrize("state", ["open", "closed"])
def test_a_released_breaker_is_not_forced(breakers: Breakers, clock: FakeClock, state: Any) -> None:
    """Released, it is closed by itself and nobody holds it."""
    breakers.force(MODEL, state, by="ada", reason="maintenance")
    clock.advance(60)
    released = breakers.release(MODEL, by="tom", reason="over")

    assert (released.breaker, released.forced, released.forced_by) == ("closed", False, None)
    assert (released.reason, released.changed_at) == ("over", clock.now())
    assert breakers.of(MODEL) == released


def test_a_row_that_still_names_who_released_it_is_not_forced(breakers: Breakers, database: Database) -> None:
    """Databases of before kept the name at a release; whether it is forced does not hang on it."""
    breakers.force(MODEL, "open", by="ada", reason="maintenance")
    database.write_now(lambda tables: tables.conn.execute("UPDATE breakers SET forced = NULL"))

    assert (breakers.of(MODEL).forced, breakers.of(MODEL).forced_by) == (False, None)


def test_releasing_what_is_not_forced_leaves_it(breakers: Breakers, database: Database) -> None:
    """No row and no event come of it, and a breaker that opened by itself stays open."""
    breakers.release(MODEL, by="ada", reason="over")
    assert breakers.standing() == []
    assert Trail(database).entries() == []
    assert database.read("SELECT * FROM breaker_events") == []

    opened = "INSERT INTO breakers (model, state, until, changed_at) VALUES (?, 'open', 9e9, '2026-01-01T00:00:00Z')"
    database.write_now(lambda tables: tables.conn.execute(opened, [MODEL]))
    assert breakers.release(MODEL, by="ada", reason="over").breaker == "open"


def test_what_operators_do_to_a_breaker_stands_in_the_trail(
    breakers: Breakers, database: Database, clock: FakeClock
) -> None:
    """Who, how they are known, what, why and what held before; the times are those of the breaker."""
    ada = Person("ada@example.org", frozenset({"operator"}), "login")
    forced = breakers.force(MODEL, "open", by=ada, reason="maintenance")
    breakers.force(MODEL, "closed", by="tom", reason="a drill")
    breakers.release(MODEL, by="tom", reason="over")

    entries = Trail(database).entries()[::-1]
    assert [(entry.what, entry.subject, entry.by, entry.known_by, entry.facts, entry.content) for entry in entries] == [
        ("breaker forced open", MODEL, ada.name, "login", {"forced_before": None}, {"reason": "maintenance"}),
        ("breaker forced closed", MODEL, "tom", "claim", {"forced_before": "open"}, {"reason": "a drill"}),
        ("breaker released", MODEL, "tom", "claim", {"forced_before": "closed"}, {"reason": "over"}),
    ]
    assert forced.forced_by == ada.name
    assert entries[0].at == clock.now().isoformat()
    assert Trail(database).verify().ok


@pytest.mark.parametrize("roles", [set(), {"viewer"}, {"reviewer"}])
def test_only_operators_touch_breakers(breakers: Breakers, database: Database, roles: set[str]) -> None:
    """Who logged in without the role changes nothing and leaves no trace."""
    eve = Person("eve@example.org", frozenset(roles), "login")
    with pytest.raises(NotAllowed, match="operator"):
        breakers.force(MODEL, "open", by=eve, reason="x")
    with pytest.raises(NotAllowed, match="operator"):
        breakers.release(MODEL, by=eve, reason="x")
    assert breakers.standing() == []
    assert Trail(database).entries() == []


@pytest.mark.parametrize("name", ["", " ", "none", "(object)", f"{MODEL} (object)"])
def test_a_name_that_no_call_bears_is_refused(breakers: Breakers, name: str) -> None:
    """Neither forced, released nor looked up; nothing is written."""
    with pytest.raises(UsageError):
        breakers.force(name, "open", by="ada", reason="x")
    with pytest.raises(UsageError):
        breakers.release(name, by="ada", reason="x")
    with pytest.raises(UsageError):
        breakers.of(name)
    assert breakers.standing() == []


@pytest.mark.parametrize(("state", "by", "reason"), [("ajar", "ada", "x"), ("open", " ", "x"), ("open", "ada", " ")])
def test_half_an_order_is_refused(breakers: Breakers, state: Any, by: str, reason: str) -> None:
    """A state there is not, nobody's name or no reason change nothing."""
    with pytest.raises(UsageError):
        breakers.force(MODEL, state, by=by, reason=reason)
    assert breakers.standing() == []
