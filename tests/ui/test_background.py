"""Runs go on while nobody waits for them; where a worker runs, it does the work; what goes wrong is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from stanchion.clock import SystemClock
from stanchion.runs.ledger import Ledger
from stanchion.runs.operations import Operations
from stanchion.store import Database, Owner
from stanchion.ui.background import Background

Put = Callable[[str], Path]


def queued(store: Database) -> tuple[str, str]:
    """A run that waits to be worked on, as the background takes it."""
    (old,) = Ledger(store).runs()
    (new,) = Operations(store).rerun([old.id], by="me", reason="again")
    return new.reference, new.id


def finish(background: Background) -> None:
    """Wait until everything that was asked of the background is done."""

    async def others() -> None:
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))

    while background.busy():
        asyncio.run_coroutine_threadsafe(others(), background._loop).result(60)


def test_a_run_goes_on_while_nobody_waits(database: Put) -> None:
    """What is resumed is busy at once, and comes to its end."""
    store = Database(database("one"))
    background = Background(store, SystemClock())
    reference, run_id = queued(store)
    background.resume([(reference, run_id), (reference, run_id)])
    assert background.busy() <= {run_id}
    finish(background)
    assert Ledger(store).run(run_id).outcome == "accepted"
    assert background.troubles() == []


def test_a_worker_is_left_to_do_it(database: Put) -> None:
    """Where a worker is alive, the console does nothing itself."""
    store = Database(database("one"))
    background = Background(store, SystemClock())
    reference, run_id = queued(store)
    owner = Owner(store.path, "worker")
    now = SystemClock().now().isoformat()
    store.write_now(
        lambda tables: tables.conn.execute(
            "INSERT INTO workers (name, pid, host, workflows, started_at, seen_at) VALUES (?, 1, 'here', '[]', ?, ?)",
            [owner.name, now, now],
        )
    )
    background.resume([(reference, run_id)])
    finish(background)
    assert Ledger(store).run(run_id).status == "queued"
    owner.release()


def test_what_goes_wrong_is_told_and_others_go_on(database: Put) -> None:
    """A workflow that cannot be loaded is told in words, with its run; a run of another workflow ends all the same."""
    store = Database(database("one"))
    background = Background(store, SystemClock())
    reference, run_id = queued(store)
    background.resume([("nowhere:workflow", run_id), (reference, run_id)])
    finish(background)
    (trouble,) = background.troubles()
    assert trouble.run_ids == (run_id,)
    assert "nowhere" in trouble.what
    assert Ledger(store).run(run_id).outcome == "accepted"


def test_a_defect_is_told_without_its_words(database: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of a defect may be a document's: only its kind is told."""
    store = Database(database("one"))
    background = Background(store, SystemClock())
    reference, run_id = queued(store)

    def broken(*_: object) -> bool:
        raise KeyError("the document's words")

    monkeypatch.setattr("stanchion.runs.worker.worker_running", broken)
    background.resume([(reference, run_id)])
    finish(background)
    (trouble,) = background.troubles()
    assert "KeyError" in trouble.what
    assert "document" not in trouble.what
