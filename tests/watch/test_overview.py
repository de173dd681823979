"""The overview: it counts what the ledger writes, looks at one hour after the other, and reads no table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.errors import UsageError
from stanchion.runs.ledger import time_bucket
from stanchion.store import Database
from stanchion.testing import FakeClock
from stanchion.watch.overview import Ended, Overview, Unfinished, overview, percentile

NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
SMALL = {"paused_workflows", "traffic", "breakers"}  # a row per workflow or model, or of the last minutes


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "runs.db")
    yield made
    made.close()


def insert(database: Database, table: str, *rows: dict[str, Any]) -> None:
    database.write_now(lambda tables: tables.table(table).insert_all(rows))


def look(database: Database, **options: Any) -> Overview:
    return overview(database, clock=FakeClock(NOW), **options)


def run(run_id: str, status: str, **more: Any) -> dict[str, Any]:
    which = {"id": run_id, "input_id": run_id, "workflow": "receipts", "reference": "receipts", "version": "1"}
    return {**which, "model": "none", "status": status, "created_at": NOW.isoformat(), "paused_at": None, **more}


def review(review_id: str, run_id: str, waited: timedelta, **more: Any) -> dict[str, Any]:
    which = {"id": review_id, "run_id": run_id, "interrupt_id": review_id, "node": "review", "workflow": "receipts"}
    return {**which, "status": "asked", "asked_at": (NOW - waited).isoformat(), "due_at": None, **more}


def test_an_empty_database_has_an_overview(database: Database) -> None:
    """Nothing is a state like any other: all numbers are 0, all lists empty."""
    seen = look(database)

    assert (seen.ended, seen.steps, seen.spent_today, seen.models, seen.paused) == ([], [], [], [], [])
    assert (seen.waiting.reviews, seen.waiting.overdue, seen.waiting.oldest, seen.waiting.next_due) == (
        0,
        0,
        None,
        None,
    )
    assert seen.unfinished == Unfinished()


def test_outcomes_are_counted_per_hour(database: Database) -> None:
    """Hours within sight are summed over all workflows, or of one; the hour going on is one of them."""
    rows = [(0, "receipts", 3), (0, "invoices", 2), (23, "receipts", 7), (24, "receipts", 100)]
    for ago, workflow, number in rows:
        hour = (NOW - ago * HOUR).isoformat()[:13]
        insert(database, "run_counts", {"hour": hour, "workflow": workflow, "outcome": "accepted", "runs": number})
    first, last = NOW.replace(hour=13, minute=0) - 24 * HOUR, NOW.replace(minute=0)

    seen = look(database)
    assert seen.since == first
    assert seen.ended == [
        Ended(hour=first, outcome="accepted", runs=7),
        Ended(hour=last, outcome="accepted", runs=5),
    ]
    assert look(database, hours=1, workflow="invoices").ended == [Ended(hour=last, outcome="accepted", runs=2)]


def test_waiting_reviews_are_told_with_their_age(database: Database) -> None:
    """Only what is still asked waits; what is past its time is overdue, and the next that will be is named."""
    insert(database, "runs", *(run(f"r{number}", "waiting") for number in range(5)))
    insert(
        database,
        "reviews",
        review("a", "r0", 5 * HOUR, due_at=(NOW - HOUR).isoformat()),
        review("b", "r1", 3 * HOUR, due_at=(NOW + 2 * HOUR).isoformat()),
        review("c", "r2", 2 * HOUR, due_at=(NOW + HOUR).isoformat()),
        review("d", "r3", HOUR, workflow="invoices"),
        review("e", "r4", 9 * HOUR, status="answered"),
    )

    waiting = look(database).waiting
    assert (waiting.reviews, waiting.overdue) == (4, 1)
    assert (waiting.oldest, waiting.next_due) == (NOW - 5 * HOUR, NOW + HOUR)
    of_one = look(database, workflow="invoices").waiting
    assert (of_one.reviews, of_one.oldest, of_one.next_due) == (1, NOW - HOUR, None)


def test_unfinished_runs_are_counted_by_where_they_stand(database: Database) -> None:
    """A run that is held back counts as that and nothing else; runs that have ended do not count."""
    held = {"paused_at": NOW.isoformat()}
    insert(database, "runs", run("a", "queued"), run("b", "running"), run("c", "running"), run("d", "waiting"))
    insert(database, "runs", run("e", "waiting", **held), run("f", "queued", **held), run("g", "done"))
    insert(database, "runs", run("h", "cancelled", **held), run("i", "queued", workflow="invoices"))

    assert look(database).unfinished == Unfinished(queued=2, running=2, review=1, paused=2)
    assert look(database, workflow="invoices").unfinished == Unfinished(queued=1)


def test_step_times_are_told_per_node(database: Database) -> None:
    """Histograms of several hours are added up; half, and 95 of 100, ended within what is told, give or take 5 %."""
    hour = NOW.isoformat()[:13]
    before = (NOW - HOUR).isoformat()[:13]
    times = [
        (hour, "model", 800.0, 60),
        (before, "model", 800.0, 34),
        (hour, "model", 3_000.0, 6),
        (hour, "rules", 2.0, 1),
    ]
    for at, node, ms, number in times:
        where = {"hour": at, "workflow": "receipts", "node": node}
        insert(database, "step_times", {**where, "bucket": time_bucket(ms), "steps": number})

    model, rules = look(database).steps
    assert (model.workflow, model.node, model.steps) == ("receipts", "model", 100)
    assert (model.p50_ms, model.p95_ms) == (pytest.approx(800, rel=0.05), pytest.approx(3_000, rel=0.05))
    assert (rules.node, rules.p95_ms) == ("rules", pytest.approx(2, rel=0.05))
    assert look(database, workflow="invoices").steps == []


def test_weeks_are_told_by_the_day(database: Database) -> None:
    """Of more than 48 hours, whole days are told; what comes to a bucket later is counted there too."""
    where = {"workflow": "receipts", "node": "model", "bucket": 70}
    for ago in (0, 5, 7 * 24, 8 * 24):
        insert(database, "step_times", {**where, "hour": (NOW - ago * HOUR).isoformat()[:13], "steps": 10})
    database.write_now(lambda tables: tables.conn.execute("UPDATE step_times SET steps = steps + 1"))

    assert [look(database, hours=hours).steps[0].steps for hours in (1, 48, 49, 168, 744)] == [11, 22, 22, 33, 44]


@given(times=st.lists(st.floats(1.0, 1e7), min_size=1, max_size=60), share=st.floats(0.01, 1.0))
def test_a_percentile_is_within_five_percent(times: list[float], share: float) -> None:
    """The histogram gives the nearest rank of the times themselves, but for the width of a bucket."""
    counts = sorted(
        {bucket: [time_bucket(ms) for ms in times].count(bucket) for bucket in map(time_bucket, times)}.items()
    )
    exact = sorted(times)[math.ceil(share * len(times)) - 1]

    assert percentile(counts, share) == pytest.approx(exact, rel=0.05)


def test_only_the_money_of_today_is_told(database: Database) -> None:
    """Tenants are added up per workflow; yesterday is not today."""
    row = {"workflow": "receipts", "reserved": 0}
    insert(database, "spending", {**row, "day": "2026-11-19", "tenant": "a", "spent": 9_000_000_000})
    insert(database, "spending", {**row, "day": "2026-11-20", "tenant": "a", "spent": 1_000_000_000})
    insert(database, "spending", {**row, "day": "2026-11-20", "tenant": "b", "spent": 500_000_000, "reserved": 1})

    (today,) = look(database).spent_today
    assert (today.workflow, today.spent_usd, today.reserved_usd) == ("receipts", Decimal("1.5"), Decimal("1E-9"))


def test_what_is_held_back_is_told(database: Database) -> None:
    """A paused workflow is named with who paused it and why, and so is every model that was asked."""
    held = {"workflow": "receipts", "at": NOW.isoformat(), "by": "ann", "reason": "wrong totals"}
    insert(database, "paused_workflows", held)
    insert(database, "breakers", {"model": "openai:gpt-4o-mini", "state": "open", "changed_at": NOW.isoformat()})

    seen = look(database, workflow="receipts")
    assert [one.model_dump(mode="python") for one in seen.paused] == [{**held, "at": NOW}]
    assert [(model.model, model.breaker) for model in seen.models] == [("openai:gpt-4o-mini", "open")]
    assert look(database, workflow="invoices").paused == []


@pytest.mark.parametrize("hours", [0, -1, 745])
def test_how_far_it_looks_back_is_bounded(database: Database, hours: int) -> None:
    """Nothing and more than 31 days are refused: the months before would be read for a picture that shows hours."""
    with pytest.raises(UsageError, match="1 to 744"):
        look(database, hours=hours)


@pytest.mark.parametrize("hours", [24, 168])
@pytest.mark.parametrize("workflow", [None, "receipts"])
def test_no_part_of_it_reads_a_table(
    database: Database, monkeypatch: pytest.MonkeyPatch, workflow: str | None, hours: int
) -> None:
    """Each query seeks in an index or a key; what is read whole has a row per workflow or model."""
    plans: list[str] = []
    read = database.read

    def overheard(sql: str, parameters: Any = ()) -> list[dict[str, Any]]:
        plans.extend(row["detail"] for row in read(f"EXPLAIN QUERY PLAN {sql}", parameters))
        return read(sql, parameters)

    monkeypatch.setattr(database, "read", overheard)
    look(database, workflow=workflow, hours=hours)

    scanned = {found[1] for plan in plans if (found := re.match(r"SCAN (\w+)(?! USING COVERING INDEX)\b", plan))}
    assert scanned & {row["name"] for row in read("SELECT name FROM sqlite_master")} <= SMALL
    for index in ("reviews USING COVERING INDEX reviews_queued", "runs USING COVERING INDEX runs_unfinished"):
        assert any(index in plan for plan in plans)
