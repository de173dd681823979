"""How things stand with every model and every budget now, for people who operate."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from stanchion.clock import Clock
from stanchion.errors import UsageError
from stanchion.guards.limits import breaker
from stanchion.guards.limits.moment import moment
from stanchion.guards.limits.money import BILLIONTHS
from stanchion.guards.limits.traffic import SLOT
from stanchion.people import Person, as_person
from stanchion.store import Database
from stanchion.store.trail import Add, Trail

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

MINUTE = 60.0


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelStanding(_Row):
    """One model: its breaker, and what was asked of it in the last minute.

    Args:
        model: its usual string.
        breaker: `closed`, `open` or `half_open`.
        forced: an operator holds it there until it is released.
        forced_by: that operator; None where it is not forced.
        changed_at: since when it is as it is; None where it never changed.
        reason: why it is as it is.
        opens_again: when an open breaker lets the first calls try; None where it is not open, or forced.
        in_flight: requests under way.
        calls: calls of the last minute.
        retries: further attempts of the last minute.
        failures: requests of the last minute that failed through the provider.
    """

    model: str
    breaker: Literal["closed", "open", "half_open"]
    forced: bool
    forced_by: str | None
    changed_at: datetime | None
    reason: str
    opens_again: datetime | None
    in_flight: int
    calls: int
    retries: int
    failures: int


class Spending(_Row):
    """What one workflow and tenant spent on a day.

    Args:
        day: in UTC.
        workflow: its name.
        tenant: on whose behalf; empty where nobody is told apart.
        spent_usd: US dollars; calls with an unknown end count as what they could have cost.
        reserved_usd: US dollars that calls under way may cost.
    """

    day: str
    workflow: str
    tenant: str
    spent_usd: Decimal
    reserved_usd: Decimal


class Breakers:
    """The circuit breakers of all models on a database, for people who operate.

    Args:
        database: which holds them.
        clock: for the present time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._trail = Trail(database, clock)

    def standing(self) -> list[ModelStanding]:
        """Return every model that was ever asked or forced, by name."""
        return models_standing(self._database, self._clock)

    def of(self, model: str) -> ModelStanding:
        """Return how one model stands; one that was never asked nor forced is closed.

        Args:
            model: its usual string, such as `openai:gpt-4o-mini`.

        Raises:
            UsageError: no model has this name.
        """
        model = _checked(model)
        return next((one for one in self.standing() if one.model == model), _untouched(model))

    def force(self, model: str, state: Literal["open", "closed"], *, by: Person | str, reason: str) -> ModelStanding:
        """Hold a breaker open or closed until it is released, whatever the model does, and say so in the trail.

        Args:
            model: its usual string, such as `openai:gpt-4o-mini`; it need not have been asked yet.
            state: `open` lets no call pass, `closed` every one.
            by: who does it.
            reason: why; whoever it stops is told.

        Raises:
            NotAllowed: it takes an operator.
            UsageError: no model has this name, there is no such state, or who or why is missing.
        """
        if state not in ("open", "closed"):
            raise UsageError(f"A circuit breaker is forced open or closed; not {state!r}.")
        return self._change(model, state, by, reason)

    def release(self, model: str, *, by: Person | str, reason: str) -> ModelStanding:
        """Let a forced breaker decide by itself again, beginning closed; one that is not forced stays as it is.

        Args:
            model: its usual string, such as `openai:gpt-4o-mini`.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes an operator.
            UsageError: no model has this name, or who or why is missing.
        """
        return self._change(model, None, by, reason)

    def _change(self, model: str, state: str | None, by: Person | str, reason: str) -> ModelStanding:
        person = as_person(by)
        person.must("operator", "force or release circuit breakers")
        model, reason, at = _checked(model), reason.strip(), moment(self._clock).iso
        if not reason:
            raise UsageError("Say why a circuit breaker is changed: whoever it stops is told.")

        def work(tables: Tables, add: Add) -> None:
            before = _forced(tables, model)
            breaker.force(tables.conn, model, state, by=person.name, reason=reason, at=at)
            if state or before:
                what = f"breaker forced {state}" if state else "breaker released"
                add(person, what, subject=model, facts={"forced_before": before}, content={"reason": reason})

        self._trail.decide(work)
        return self.of(model)


def models_standing(database: Database, clock: Clock) -> list[ModelStanding]:
    """Return every model that was ever asked or forced, by name.

    Args:
        database: where calls are counted.
        clock: for the present time.
    """
    now = moment(clock).epoch
    rows = database.read(_MODELS, {"since": int((now - MINUTE) // SLOT), "now": now})
    return [ModelStanding(**row) for row in rows]


def spending(database: Database, *, days: int = 7) -> list[Spending]:
    """Return what was spent, the latest day first.

    Args:
        database: where money is counted.
        days: how many days back.
    """
    rows = database.read(
        """SELECT * FROM spending WHERE day IN (SELECT DISTINCT day FROM spending ORDER BY day DESC LIMIT ?)
           ORDER BY day DESC, workflow, tenant""",
        [days],
    )
    return [
        Spending(
            day=row["day"],
            workflow=row["workflow"],
            tenant=row["tenant"],
            spent_usd=Decimal(row["spent"]) / BILLIONTHS,
            reserved_usd=Decimal(row["reserved"]) / BILLIONTHS,
        )
        for row in rows
    ]


def _forced(tables: Tables, model: str) -> str | None:
    row = tables.conn.execute("SELECT forced FROM breakers WHERE model = ?", [model]).fetchone()
    return row[0] if row else None


def _checked(model: str) -> str:
    name = model.strip()
    bare = name.removesuffix("(object)").rstrip()  # runs record an object's name so; limits know it without
    if bare in ("", "none"):
        raise UsageError(f"{model!r} names no model that has a circuit breaker; one is such as openai:gpt-4o-mini.")
    if bare != name:
        raise UsageError(f"The circuit breaker of {name!r} goes by the name without (object): use {bare!r}.")
    return name


def _untouched(model: str) -> ModelStanding:
    nothing: dict[str, Any] = dict.fromkeys(("forced_by", "changed_at", "opens_again"))
    counts: dict[str, Any] = dict.fromkeys(("in_flight", "calls", "retries", "failures"), 0)
    return ModelStanding(model=model, breaker="closed", forced=False, reason="", **nothing, **counts)


_MODELS = """
    SELECT model,
        coalesce(b.forced, b.state, 'closed') AS breaker, b.forced IS NOT NULL AS forced,
        CASE WHEN b.forced IS NOT NULL THEN b.forced_by END AS forced_by, b.changed_at,
        coalesce(b.reason, '') AS reason,
        CASE WHEN b.forced IS NULL AND b.state = 'open' THEN b.until END AS opens_again,
        (SELECT count(*) FROM attempts WHERE attempts.model = m.model AND status = 'started') AS in_flight,
        coalesce(t.calls, 0) AS calls, coalesce(t.retries, 0) AS retries, coalesce(t.failures, 0) AS failures
    FROM (SELECT model FROM traffic UNION SELECT model FROM breakers) AS m
    LEFT JOIN breakers AS b USING (model)
    LEFT JOIN (SELECT model, sum(calls) AS calls, sum(retries) AS retries, sum(failures) AS failures
               FROM traffic WHERE slot > :since GROUP BY model) AS t USING (model)
    ORDER BY model
"""
