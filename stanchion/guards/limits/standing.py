"""How things stand with every model and every budget now, for people who operate."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stanchion.clock import Clock
from stanchion.guards.limits.money import BILLIONTHS
from stanchion.guards.limits.moment import moment
from stanchion.guards.limits.traffic import SLOT
from stanchion.store import Database

MINUTE = 60.0


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelStanding(_Row):
    """One model: its breaker, and what was asked of it in the last minute.

    Args:
        model: its usual string.
        breaker: `closed`, `open` or `half_open`; forced or not.
        forced_by: the operator who forced it; None where nobody did.
        reason: why it is as it is.
        opens_again: when an open breaker lets the first calls try; None where it is not open, or forced.
        in_flight: requests under way.
        calls: calls of the last minute.
        retries: further attempts of the last minute.
        failures: requests of the last minute that failed through the provider.
    """

    model: str
    breaker: Literal["closed", "open", "half_open"]
    forced_by: str | None
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


_MODELS = """
    SELECT model,
        coalesce(b.forced, b.state, 'closed') AS breaker, b.forced_by, coalesce(b.reason, '') AS reason,
        CASE WHEN b.forced IS NULL AND b.state = 'open' THEN b.until END AS opens_again,
        (SELECT count(*) FROM attempts WHERE attempts.model = m.model AND status = 'started') AS in_flight,
        coalesce(t.calls, 0) AS calls, coalesce(t.retries, 0) AS retries, coalesce(t.failures, 0) AS failures
    FROM (SELECT model FROM traffic UNION SELECT model FROM breakers) AS m
    LEFT JOIN breakers AS b USING (model)
    LEFT JOIN (SELECT model, sum(calls) AS calls, sum(retries) AS retries, sum(failures) AS failures
               FROM traffic WHERE slot > :since GROUP BY model) AS t USING (model)
    ORDER BY model
"""
