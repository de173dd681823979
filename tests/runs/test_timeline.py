"""A run from its beginning to its end: what each step spent its time on, and the state that it left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stanchion.errors import RunNotFound
from stanchion.runs.ledger import Ledger
from stanchion.runs.timeline import made_from, path_taken, read_input, read_step, step_lines, too_large
from stanchion.store import Database

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    """A moment so many seconds after the start, as tables have it."""
    return (START + timedelta(seconds=seconds)).isoformat()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    opened = Database(tmp_path / "runs.db")
    yield opened
    opened.close()


def put(database: Database, table: str, **columns: Any) -> None:
    """Write one row."""
    values = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in columns.items()}
    database.write_now(lambda tables: tables.table(table).insert(values))


def put_run(database: Database, run_id: str = "run1", **columns: Any) -> None:
    """Write a run that is done."""
    usual = {"workflow": "w", "reference": "w", "version": "1", "model": "none", "input_id": "i", "status": "done"}
    times = {"created_at": at(0), "prompts": {}, "started_at": at(0), "ended_at": at(100), "token": 0}
    put(database, "runs", id=run_id, **{**usual, **times, **columns})


def put_step(database: Database, position: int, node: str, start: float, end: float | None, **columns: Any) -> None:
    """Write a step of `run1`."""
    times = {"started_at": at(start), "ended_at": None if end is None else at(end)}
    ms = None if end is None else (end - start) * 1000
    usual = {
        "run_id": "run1",
        "task_id": f"task{position}",
        "position": position,
        "node": node,
        "attempts": 1,
        "ms": ms,
    }
    put(database, "steps", **{**usual, **times, **columns})


def put_attempt(database: Database, number: int, status: str, start: float, end: float | None) -> None:
    """Write a request of the one call of the first step."""
    usual = {"call_id": "call1", "run_id": "run1", "task_id": "task1", "workflow": "w", "tenant": "", "model": "m:m"}
    rest = {"owner": "o", "day": "2026-03-01", "probe": 0, "tokens": 1, "cost": 0, "kind": "overloaded"}
    times = {"started_at": at(start), "ended_at": None if end is None else at(end)}
    put(database, "attempts", number=number, status=status, **usual, **rest, **times)


def spans(database: Database, position: int = 1) -> list[tuple[str, float, float | None]]:
    """What a step spent its time on, in seconds after the start."""
    (line,) = step_lines(database, Ledger(database).run("run1"), first=position, number=1)
    return [
        (span.doing, (span.start - START).total_seconds(), span.end and (span.end - START).total_seconds())
        for span in line.spans
    ]


def test_requests_and_the_waits_between_them_are_told_apart(database: Database) -> None:
    """Of a call that was answered at the second request: what failed, the wait, and what was answered."""
    put_run(database)
    put_step(database, 1, "model", 0, 10)
    put_attempt(database, 1, "failed", 1, 2)
    put_attempt(database, 2, "answered", 5, 9)

    assert spans(database) == [("running", 0, 10), ("failed call", 1, 2), ("calling", 5, 9), ("backing off", 2, 5)]


def test_waiting_in_the_queue_is_told(database: Database) -> None:
    """The first step shows how long nobody worked on the run."""
    put_run(database, started_at=at(30))
    put_step(database, 1, "intake", 30, 31)

    assert spans(database) == [("queued", 0, 30), ("running", 30, 31)]


def test_a_step_that_waits_for_a_person_is_not_at_work(database: Database) -> None:
    """From the question on, a step waits; it has no end while nobody has answered."""
    put_run(database, status="waiting", ended_at=None)
    put_step(database, 1, "review", 0, None)
    put(database, "reviews", id="r1", run_id="run1", interrupt_id="x", node="review", status="asked", asked_at=at(1))

    assert spans(database) == [("waiting", 1, None)]


def test_an_answer_ends_the_wait_and_begins_a_queue(database: Database) -> None:
    """Between the answer and its being taken, nobody worked on the run."""
    put_run(database)
    put_step(database, 1, "review", 60, 61)
    put(
        database, "reviews", id="r1", run_id="run1", interrupt_id="x", node="review", status="answered",
        asked_at=at(1), answered_at=at(50), resumed_at=at(60), answered_by="ada",
    )  # fmt: skip

    assert spans(database) == [("waiting", 1, 50), ("queued", 50, 60), ("running", 60, 61)]


def test_a_question_belongs_to_the_visit_that_asked_it(database: Database) -> None:
    """Where a loop comes to a node twice, each visit has its own question."""
    put_run(database)
    put_step(database, 1, "review", 5, 6)
    put_step(database, 2, "review", 20, 21)
    for number, asked in ((1, 2), (2, 15)):
        put(
            database, "reviews", id=f"r{number}", run_id="run1", interrupt_id=f"x{number}", node="review",
            status="answered", asked_at=at(asked), answered_at=at(asked + 3),
        )  # fmt: skip

    assert spans(database, 1)[0] == ("waiting", 2, 5)
    assert spans(database, 2)[0] == ("waiting", 15, 18)
    assert [review.id for review in read_step(database, "run1", 2).reviews] == ["r2"]


def test_a_step_under_way_goes_on_and_one_of_a_dead_run_does_not(database: Database) -> None:
    """A step without an end is at work only while its run is."""
    put_run(database, status="running", ended_at=None)
    put_step(database, 1, "model", 3, None)
    assert spans(database) == [("running", 3, None)]

    database.write_now(lambda tables: tables.conn.execute("UPDATE runs SET status = 'cancelled'"))
    assert spans(database) == [("running", 3, 3)]


def test_steps_come_in_pages_without_their_states(database: Database) -> None:
    """Some of many steps are read, in order, and the whole path is known."""
    put_run(database)
    rows = [
        {
            "run_id": "run1", "task_id": f"t{n}", "position": n, "node": f"n{n % 3}", "attempts": 1,
            "started_at": at(n), "ended_at": at(n + 1), "ms": 1000.0, "state_in": '{"a": 1}',
        }
        for n in range(1, 251)
    ]  # fmt: skip
    database.write_now(lambda tables: tables.table("steps").insert_all(rows))
    lines = step_lines(database, Ledger(database).run("run1"), first=101, number=50)

    assert [line.position for line in lines] == list(range(101, 151))
    assert "state_in" not in type(lines[0]).model_fields
    assert len(path_taken(database, "run1")) == 250


def test_what_a_reducer_kept_stands_in_the_state_after(database: Database) -> None:
    """What the next step was given says what came of a step's writing; what it did not write is not its doing."""
    put_run(database)
    before, wrote = {"found": {"a": 1}, "other": 1}, {"found": {"b": 2}}
    put_step(database, 1, "one", 0, 1, state_in=before, state_out=wrote)
    put_step(database, 2, "two", 2, 3, state_in={"found": {"a": 1, "b": 2}, "other": 5}, state_out={"found": {"c": 3}})

    assert read_step(database, "run1", 1).after == {"found": {"a": 1, "b": 2}, "other": 1}
    assert read_step(database, "run1", 2).after == {"found": {"c": 3}, "other": 5}  # there is no next step


def test_a_parallel_step_is_not_the_next_one(database: Database) -> None:
    """A step that began before this one ended was given the same state, so it says nothing of what came of it."""
    put_run(database)
    put_step(database, 1, "one", 0, 5, state_in={"n": 0}, state_out={"n": 1})
    put_step(database, 2, "beside", 1, 2, state_in={"n": 0}, state_out={})
    put_step(database, 3, "next", 6, 7, state_in={"n": 7}, state_out={})

    assert read_step(database, "run1", 1).after == {"n": 7}


def test_a_state_that_was_too_large_is_not_taken_for_a_state(database: Database) -> None:
    """What the ledger left out is said, and no state after is made up from it."""
    put_run(database)
    left_out = {"left out": "300000 characters; the checkpoint holds it whole"}
    put_step(database, 1, "one", 0, 1, state_in=left_out, state_out={"n": 1})
    found = read_step(database, "run1", 1)

    assert too_large(found.step.state_in)
    assert found.after is None
    assert too_large({"left out": 5}) is None
    assert too_large({"n": 1}) is None


def test_a_step_that_is_not_there(database: Database) -> None:
    """Asking for a step that the run has not taken is an error that says so."""
    put_run(database)
    with pytest.raises(RunNotFound, match="no step 3"):
        read_step(database, "run1", 3)


def test_where_runs_come_from(database: Database) -> None:
    """The runs made from a run are found, and what a run began with."""
    put_run(database, input={"text": "hello"})
    put_run(database, "run2", origin="run1", created_at=at(5))
    put_run(database, "run3", origin="run1", created_at=at(4))

    assert made_from(database, "run1") == ["run3", "run2"]
    assert read_input(database, "run1") == {"text": "hello"}
    assert read_input(database, "run2") is None
