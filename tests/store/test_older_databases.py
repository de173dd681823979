"""Databases that an older Stanchion wrote: opening one brings it to the present tables, and nothing in it is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
from sqlite_utils.migrations import Migrations

from stanchion.runs.finding import RunFilter, count_runs, find_runs
from stanchion.runs.ledger import Ledger
from stanchion.runs.reviews import Reviews
from stanchion.store import Database, migrations

BEFORE_PEOPLE = (migrations.m001_ledger, migrations.m002_prompts, migrations.m003_limits)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database as it was before reviews had rules, with a run that ended and one that waits."""
    path = tmp_path / "old.db"
    tables = sqlite_utils.Database(path)
    known = Migrations("stanchion")
    for migration in BEFORE_PEOPLE:
        known()(migration)
    known.apply(tables)
    run: dict[str, Any] = {"workflow": "invoices", "reference": "invoices", "version": "3", "model": "openai:gpt-4o"}
    made = {"created_at": "2024-01-01T00:00:00+00:00", "prompts": "{}", "tenant": ""}
    ended = {"id": "r1", "input_id": "inv-1", "status": "done", "outcome": "accepted", "output": '{"shop": "Ottilie"}'}
    waits = {"id": "r2", "input_id": "inv-2", "status": "waiting", "output": None}
    tables.table("runs").insert_all([{**run, **made, **ended}, {**run, **made, **waits}])
    step = {"run_id": "r1", "attempts": 1, "started_at": made["created_at"]}
    tables.table("steps").insert_all(
        [
            {**step, "task_id": f"t{at}", "node": node, "position": at}
            for at, node in enumerate(("intake", "model", "intake"))
        ]
    )
    call = {
        "run_id": "r1",
        "task_id": "t1",
        "node": "model",
        "key": "k",
        "model": "openai:gpt-4o",
        "status": "answered",
    }
    tables.table("calls").insert_all(
        [{**call, "id": f"c{at}", "cost_usd": "0.001", "started_at": made["created_at"]} for at in range(2)]
    )
    asked = {"id": "q1", "run_id": "r2", "interrupt_id": "i1", "node": "review", "status": "asked"}
    tables.table("reviews").insert({**asked, "question": '{"question": "Right?"}', "asked_at": made["created_at"]})
    tables.close()
    return path


def test_old_runs_are_listed_and_found_like_new_ones(old: Path) -> None:
    """Lists show an old run's path, calls and money, and a search finds it by what it gave out."""
    database = Database(old)
    (found,) = find_runs(database, RunFilter(text="ottilie"))
    (at_model,) = find_runs(database, RunFilter(step="model"))
    run = Ledger(database).run("r1")
    number = count_runs(database, RunFilter())
    database.close()

    assert (found.id, at_model.id, number) == ("r1", "r1", 2)
    assert run.path == ("intake", "model")
    assert str(run.cost_usd) == "0.002"


def test_an_old_question_waits_like_a_new_one(old: Path) -> None:
    """A review that was asked before stands in the queue of its workflow, and anybody who reviews may take it."""
    database = Database(old)
    (waiting,) = Reviews(database).waiting(workflow="invoices")
    (taken,) = Reviews(database).claim_next(by="Ada")
    database.close()

    assert (waiting.id, taken.id, taken.role, taken.people) == ("q1", "q1", "reviewer", 1)


def test_an_old_database_is_brought_up_to_date_once(old: Path) -> None:
    """Opening it a second time changes nothing more."""
    first = Database(old)
    tables = first.read("SELECT name, sql FROM sqlite_master ORDER BY name")
    first.close()
    second = Database(old)
    again = second.read("SELECT name, sql FROM sqlite_master ORDER BY name")
    second.close()

    assert again == tables
