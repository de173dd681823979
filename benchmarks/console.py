"""What the console's pages read, with 100,000 runs and 1,000,000 steps: alone, and while 50 runs a second are written.

The database is generated once (7 GB, two minutes) in a folder that can be named and used again; each measurement adds
the runs that it writes. Reads are those of the library that the pages call; a list of runs is read with every filter
and every sort, and its slowest sort counts. The writer is a process of its own and writes each run as a worker does:
accepted, each step begun and ended, ended; 22 transactions on average.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import crowd
from stanchion.errors import StoreError
from stanchion.guards.limits.standing import models_standing, spending
from stanchion.runs.finding import SORTS, RunFilter, choices, count_runs, find_runs
from stanchion.runs.ledger import Ledger, time_bucket
from stanchion.runs.operations import Operations
from stanchion.runs.reviews import Reviews
from stanchion.runs.timeline import path_taken, read_input, read_step, step_lines
from stanchion.runs.worker import workers
from stanchion.store import Database
from stanchion.store.trail import Trail
from stanchion.testing import FakeClock
from stanchion.watch.overview import overview

AIM_MS = 150.0
AIM_WRITE_MS = 50.0  # p95 of one transaction while everything is read; a step of a run waits for two of them
RUNS_A_SECOND = 50
TIMES = 20
OF_THE_END = ("state_out", "ended_at", "ms")

FILTERS: dict[str, dict[str, Any]] = {
    "everything": {},
    "a word of most runs": {"text": "agree"},
    "a word of some runs": {"text": "harbor"},
    "the beginning of a word": {"text": "pap"},
    "three words": {"text": "harbor paper total"},
    "a number": {"text": "12.50"},
    "an input id": {"text": "harbor-050000"},
    "the beginning of an id": {"text": "7k3x"},
    "a workflow": {"workflow": "receipts"},
    "a rare workflow": {"workflow": "claims"},
    **{f"standing: {standing}": {"standing": standing} for standing in crowd.STANDINGS},
    "standing: paused": {"standing": "paused"},
    "a rung": {"rung": "fallback"},
    "a version": {"version": "2"},
    "a model": {"model": "ollama:qwen3"},
    "a tenant": {"tenant": "tenant-7"},
    "a step": {"step": "thorough"},
    "a step that none has been at": {"step": "nowhere"},
    "an error": {"error": "LoopLimit"},
    "a week": {"since": "2026-10-01", "until": "2026-10-08"},
    "cost": {"min_cost": "0.002", "max_cost": "0.01"},
    "time": {"min_seconds": "2"},
    "six filters at once": {
        "text": "paper", "workflow": "receipts", "standing": "accepted", "step": "model", "since": "2026-09-01",
        "min_seconds": "0.5",
    },
}  # fmt: skip

Read = Callable[[], Any]


def reads(database: Database) -> dict[str, list[Read]]:
    """Return what is read, by its name in the table; of several ways to read it, the slowest counts."""
    ledger, clock, chance = Ledger(database), FakeClock(crowd.END), random.Random(1)
    shown = [line.id for line in find_runs(database, RunFilter(step="decide"), limit=200)]

    def some_run() -> Any:
        return ledger.run(chance.choice(shown))

    return {
        "Home: a day": [partial(overview, database, clock=clock)],
        "Home: a week": [partial(overview, database, clock=clock, hours=168)],
        "Home: 31 days": [partial(overview, database, clock=clock, hours=744)],
        "Home: a week of one workflow": [partial(overview, database, clock=clock, hours=168, workflow="receipts")],
        **{
            f"Runs: {name}": [
                *(partial(find_runs, database, RunFilter(**wanted, sort=sort)) for sort in SORTS),
                partial(count_runs, database, RunFilter(**wanted)),
            ]
            for name, wanted in FILTERS.items()
        },
        "Runs: the thousandth page": [
            partial(find_runs, database, RunFilter(sort=sort), offset=50_000) for sort in SORTS
        ],
        "Runs: what filters can be set to": [partial(choices, database)],
        "Run: its row": [some_run],
        "Run: steps, calls, verdicts, reviews": [lambda: _whole(ledger, chance.choice(shown))],
        "Run: path and waterfall": [lambda: (path_taken(database, (run := some_run()).id), step_lines(database, run))],
        "Run: a step in full": [lambda: read_step(database, chance.choice(shown), 3)],
        "Run: the document": [lambda: read_input(database, chance.choice(shown))],
        "Reviews: the queue": [Reviews(database).waiting, Reviews(database).number_waiting],
        "Reviews: the queue of a workflow": [partial(Reviews(database).waiting, workflow="claims")],
        "Operations: models and money": [lambda: (models_standing(database, clock), spending(database))],
        "Operations: workers, paused": [lambda: (workers(database), Operations(database).paused_workflows())],
        "Trail: the latest": [Trail(database).entries],
    }


def _whole(ledger: Ledger, run_id: str) -> Any:
    return (
        ledger.steps(run_id),
        ledger.calls(run_id),
        ledger.verdicts(run_id),
        ledger.reviews(run_id=run_id, status=None),
    )


def timed(read: Read, clock: Callable[[], float] = time.perf_counter) -> float:
    """Milliseconds that a read takes."""
    start = clock()
    read()
    return 1000 * (clock() - start)


def alone(ways: list[Read], times: int) -> dict[str, float]:
    """Median and 95th percentile of the slowest way to read something, once the cache is warm; and of its CPU time."""
    for read in ways:
        timed(read)
    p50, p95, _ = max((spread([timed(read) for _ in range(times)]) for read in ways), key=lambda taken: taken[1])
    busy = max(spread([timed(read, time.process_time) for _ in range(times)])[1] for read in ways)
    return {"p50": p50, "p95": p95, "p95 of CPU time": busy}


def spread(taken: list[float]) -> tuple[float, float, float]:
    """Median, 95th percentile and maximum."""
    return statistics.median(taken), statistics.quantiles(taken, n=20, method="inclusive")[-1], max(taken)


# --- Writing meanwhile  ---


def write_for(path: Path, seconds: float) -> dict[str, Any]:
    """Write runs for some seconds, in this process; return how long each transaction was waited for."""
    return asyncio.run(_write_for(path, seconds))


async def _write_for(path: Path, seconds: float) -> dict[str, Any]:
    database = Database(path)
    (row,) = database.read("SELECT count(*) AS number FROM runs")
    coming, waits, errors = crowd.runs_to_come(row["number"]), [], 0

    async def write_one(one: crowd.Everything) -> None:
        nonlocal errors
        for piece in _pieces(one):
            start = time.perf_counter()
            try:
                await database.write(piece)
            except StoreError:
                errors += 1
            waits.append(1000 * (time.perf_counter() - start))

    start = time.perf_counter()
    tasks = []
    while (now := time.perf_counter() - start) < seconds:
        if len(tasks) <= now * RUNS_A_SECOND:
            tasks.append(asyncio.create_task(write_one(next(coming))))
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    took = time.perf_counter() - start
    database.close()
    return {"runs a second": len(tasks) / took, "waits": waits, "errors": errors}


def _pieces(one: crowd.Everything) -> Iterator[Callable[[Any], None]]:
    """Yield a run's transactions, in order."""
    yield lambda tables: crowd.insert(tables.conn, "runs", [one.started])
    for step in one.steps:
        yield partial(_begin_step, step)
        yield partial(_end_step, one, step)
    yield lambda tables: _end(tables, one)


def _begin_step(step: dict[str, Any], tables: Any) -> None:
    crowd.insert(tables.conn, "steps", [{**step, **dict.fromkeys(OF_THE_END)}])


def _end_step(one: crowd.Everything, step: dict[str, Any], tables: Any) -> None:
    tables.conn.execute(
        """UPDATE steps SET state_out = :state_out, ended_at = :ended_at, ms = :ms
           WHERE run_id = :run_id AND task_id = :task_id""",
        step,
    )
    tables.conn.execute(
        "INSERT INTO step_times VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET steps = steps + 1",
        [step["ended_at"][:13], one.started["workflow"], step["node"], time_bucket(step["ms"])],
    )
    for table in ("verdicts", "calls"):
        crowd.insert(tables.conn, table, [row for row in getattr(one, table) if row["task_id"] == step["task_id"]])


def _end(tables: Any, one: crowd.Everything) -> None:
    crowd.insert(tables.conn, "reviews", one.reviews)
    crowd.end(tables.conn, one)


def meanwhile(path: Path, database: Database, seconds: float) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Read everything in turns while another process writes; return what each read took, and how the writer fared."""
    everything = [(name, read) for name, ways in reads(database).items() for read in ways]
    random.Random(2).shuffle(everything)
    taken: dict[str, list[float]] = {name: [] for name, _ in everything}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(time.monotonic)  # it has imported everything
        writing = pool.apply_async(write_for, [path, seconds])
        while not writing.ready():
            for name, read in everything:
                taken[name].append(timed(read))
        return taken, writing.get()


def measure(folder: Path, runs: int, seconds: float) -> dict[str, Any]:
    """Generate where needed, then measure."""
    path = crowd.make(folder, runs)
    database = Database(path)
    (rows,) = database.read("SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM steps) AS steps")
    quiet = {name: alone(ways, TIMES) for name, ways in reads(database).items()}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        undisturbed = pool.apply(write_for, [path, seconds])
    busy, disturbed = meanwhile(path, database, seconds)
    database.close()
    return {
        **rows,
        "gigabytes": path.stat().st_size / 1e9,
        "reads": {name: {**taken, "while writing": _named(busy[name])} for name, taken in quiet.items()},
        "writes": {"alone": _told(undisturbed), "while reading": _told(disturbed)},
        "aims": {"read p95": AIM_MS, "write p95": AIM_WRITE_MS},
    }


def _told(written: dict[str, Any]) -> dict[str, Any]:
    return {"runs a second": written["runs a second"], **_named(written["waits"]), "errors": written["errors"]}


def _named(taken: list[float]) -> dict[str, float]:
    return dict(zip(("p50", "p95", "max"), spread(taken), strict=True))


def broken(result: dict[str, Any]) -> list[str]:
    """Name the aims that were missed."""
    slow = [
        name
        for name, taken in result["reads"].items()
        if max(taken["p95"], taken["while writing"]["p95"]) > result["aims"]["read p95"]
    ]
    writer = result["writes"]["while reading"]
    if writer["p95"] > result["aims"]["write p95"] or writer["errors"]:
        slow.append("writing while reading")
    return slow


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f"{result['runs']:,} runs, {result['steps']:,} steps, {result['gigabytes']:.1f} GB; milliseconds")
    print(f"{'':38}{'alone':^26}  {'while writing':^17}")
    print(f"{'read':38}{'p50':>8} {'p95':>8} {'CPU p95':>8}  {'p95':>8} {'max':>8}   aim for p95: {AIM_MS:.0f}")
    for name, taken in result["reads"].items():
        busy = taken["while writing"]
        quiet = f"{taken['p50']:8.1f} {taken['p95']:8.1f} {taken['p95 of CPU time']:8.1f}"
        print(f"{name:38}{quiet}  {busy['p95']:8.1f} {busy['max']:8.1f}")
    print(f"\n{'one transaction of a writer':38}{'p50':>8} {'p95':>8}  {'max':>8}   aim for p95: {AIM_WRITE_MS:.0f}")
    for name, wait in result["writes"].items():
        rate, errors = f"{wait['runs a second']:.0f} runs a second", f"{wait['errors']} errors"
        print(f"{f'{name}, {rate}':38}{wait['p50']:8.1f} {wait['p95']:8.1f}  {wait['max']:8.1f}   {errors}")


def main() -> None:
    """Print the figures; exit with 1 where an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long is written, alone and while reading")
    parser.add_argument("--folder", type=Path, help="keep the database here and use it again; by default it is deleted")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stanchion-console-") as folder:
        result = measure(options.folder or Path(folder), options.runs, options.seconds)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)
    if missed := broken(result):
        sys.exit(f"Missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
