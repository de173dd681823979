"""Caps on money: reserved before a call, settled after it, in one transaction each, so that nobody overshoots.

Amounts are whole billionths of a US dollar, rounded up: SQLite adds them without losing any.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from typing import NamedTuple

from stanchion.errors import BudgetExceeded
from stanchion.guards.limits.policy import Money
from stanchion.guards.limits.quantities import written_share

BILLIONTHS = 1_000_000_000


class Spender(NamedTuple):
    """For whom a call is made.

    Args:
        call_id: the logical call.
        run_id: empty outside our runner.
        task_id: LangGraph's id of the step's execution.
        workflow: its name.
        tenant: on whose behalf; empty where nobody is told apart.
        day: in UTC.
    """

    call_id: str
    run_id: str
    task_id: str
    workflow: str
    tenant: str
    day: str


class Room(NamedTuple):
    """Whether there is money for a call.

    Args:
        wait: others have reserved so much that it must wait for them to settle.
        shared: whoever waits for the same waits behind it.
        warning: which cap is nearly spent; empty where none is.
    """

    wait: bool = False
    shared: bool = False
    warning: str = ""


class _Scope(NamedTuple):
    key: str
    cap: Decimal
    spent: int
    reserved: int
    shared: bool


def room(connection: sqlite3.Connection, spender: Spender, need: int, caps: Money, *, before: int = 0) -> Room:
    """Say whether a request that may cost so much can be paid under every cap.

    Args:
        connection: inside a transaction.
        spender: for whom.
        need: billionths of a dollar.
        caps: the limits.
        before: billionths of a dollar that the attempts before it may have cost.

    Raises:
        BudgetExceeded: it cannot, whatever the calls under way will cost.
    """
    warning = ""
    waits: list[bool] = []  # for what is only reserved: for a sum that others wait for too?
    for scope in _scopes(connection, spender, caps, before):
        cap = in_billionths(scope.cap)
        if scope.spent + need > cap:
            raise BudgetExceeded(
                f"The call may cost {in_dollars(need)}, and of money.{scope.key} ({in_dollars(cap)}) "
                f"{in_dollars(max(0, cap - scope.spent))} is left."
            )
        if scope.spent + scope.reserved + need > cap:
            waits.append(scope.shared)
        if scope.spent + scope.reserved + need > caps.soft * cap and not warning:
            warning = (
                f"More than {written_share(caps.soft)} of money.{scope.key} ({in_dollars(cap)}) is spent or reserved."
            )
    return Room(wait=bool(waits), shared=any(waits), warning=warning)


def reserve(connection: sqlite3.Connection, spender: Spender, need: int) -> None:
    """Reserve money; the row of the attempt says how much.

    Args:
        connection: inside a transaction.
        spender: for whom.
        need: billionths of a dollar.
    """
    connection.execute(
        """INSERT INTO spending (day, workflow, tenant, reserved) VALUES (:day, :workflow, :tenant, :need)
           ON CONFLICT (day, workflow, tenant) DO UPDATE SET reserved = reserved + :need""",
        {**spender._asdict(), "need": need},
    )


def settle(connection: sqlite3.Connection, spender: Spender, reserved: int, spent: int) -> None:
    """Turn a reservation into what was spent.

    Args:
        connection: inside a transaction.
        spender: for whom, and on the day of the reservation.
        reserved: billionths of a dollar, as reserved.
        spent: billionths of a dollar; what is unknown counts as spent whole.
    """
    connection.execute(
        """UPDATE spending SET reserved = reserved - :reserved, spent = spent + :spent
           WHERE day = :day AND workflow = :workflow AND tenant = :tenant""",
        {**spender._asdict(), "reserved": reserved, "spent": spent},
    )


def in_billionths(dollars: Decimal) -> int:
    """Return an amount as it is counted, rounded up.

    Args:
        dollars: US dollars.
    """
    return int((dollars * BILLIONTHS).to_integral_value(ROUND_CEILING))


def in_dollars(billionths: int) -> str:
    """Return an amount as people read it.

    Args:
        billionths: of a US dollar.
    """
    dollars = Decimal(billionths) / BILLIONTHS
    return f"${dollars:.2f}" if dollars == dollars.quantize(Decimal("0.01")) else f"${dollars:.6f}"


def _scopes(connection: sqlite3.Connection, spender: Spender, caps: Money, before: int) -> Iterator[_Scope]:
    if caps.call is not None:
        yield _Scope("call", caps.call, before, 0, False)
    if spender.run_id and caps.step is not None:
        yield _Scope(
            "step", caps.step, *_of_attempts(connection, "run_id = :run_id AND task_id = :task_id", spender), False
        )
    if spender.run_id and caps.run is not None:
        yield _Scope("run", caps.run, *_of_attempts(connection, "run_id = :run_id", spender), False)
    if caps.workflow is not None:
        yield _Scope("workflow", caps.workflow, *_of_day(connection, "workflow = :workflow", spender), True)
    if caps.day is not None:
        yield _Scope("day", caps.day, *_of_day(connection, "TRUE", spender), True)
    if spender.tenant and caps.tenant is not None:
        # not shared, though the tenant's other calls wait for it too: other tenants stand in the same line
        yield _Scope("tenant", caps.tenant, *_of_day(connection, "tenant = :tenant", spender), False)


def _of_attempts(connection: sqlite3.Connection, whose: str, spender: Spender) -> tuple[int, int]:
    row = connection.execute(
        f"""SELECT coalesce(sum(cost) FILTER (WHERE status <> 'started'), 0),
            coalesce(sum(cost) FILTER (WHERE status = 'started'), 0) FROM attempts WHERE {whose}""",  # noqa: S608
        spender._asdict(),
    ).fetchone()
    return row[0], row[1]


def _of_day(connection: sqlite3.Connection, whose: str, spender: Spender) -> tuple[int, int]:
    row = connection.execute(
        f"""SELECT coalesce(sum(spent), 0), coalesce(sum(reserved), 0) FROM spending
            WHERE day = :day AND {whose}""",  # noqa: S608
        spender._asdict(),
    ).fetchone()
    return row[0], row[1]
