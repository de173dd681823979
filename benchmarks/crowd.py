"""A database as three months of work leave it: runs of four workflows, with everything that belongs to them.

States, documents, requests and verdicts are as long as those of the demo's receipts (on average 3.6 and 1.8 kB for a
step's states, 3.3 and 0.5 kB for a call, 0.6 kB for a verdict, 3 kB for a question). Tables and roll-ups are written in
bulk, in the words of `stanchion.runs.ledger`; text search and lists of choices come from the database's own triggers.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from stanchion.runs.ledger import time_bucket
from stanchion.store import Database

END = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)  # the moment at which the database is looked at
DAYS = 90
STEPS = 10  # per run, on average
TRANSACTION = 1_000  # runs

WORKFLOWS = {"receipts": 60, "invoices": 25, "triage": 12, "claims": 3}
NODES = ("intake", "rules", "model", "repair", "thorough", "decide", "review", "outcome")
MODELS = {"openai:gpt-4o-mini": 55, "anthropic:claude-haiku": 30, "none": 10, "ollama:qwen3": 5}
TENANTS = [f"tenant-{number}" for number in range(40)]
STANDINGS = {
    "accepted": 780, "reviewed": 80, "rejected": 10, "expired": 5, "refused": 50, "failed": 15,
    "review": 45, "queued": 5, "running": 5, "cancelled": 5,
}  # fmt: skip
ERRORS = {"BudgetExceeded": 5, "StepOutOfTime": 4, "KeyError": 3, "LoopLimit": 2, "OutputParserException": 1}
STATUSES = {"review": "waiting", "queued": "queued", "running": "running", "cancelled": "cancelled"}
ASKED = {"reviewed": "answered", "rejected": "answered", "expired": "expired", "review": "asked"}
NAMES = (
    "acorn", "amber", "anchor", "aspen", "atlas", "baker", "basil", "beacon", "birch", "bramble", "bridge",
    "canyon", "cedar", "cherry", "cobalt", "copper", "coral", "crane", "crystal", "delta", "denim", "eagle",
    "ember", "fern", "field", "finch", "forge", "garnet", "ginger", "glacier", "granite", "harbor", "hazel",
    "heron", "indigo", "iris", "island", "ivory", "jasmine", "juniper", "kestrel", "lagoon", "lantern", "laurel",
    "lemon", "lily", "linden", "lotus", "maple", "marble", "meadow",
)  # fmt: skip
KINDS = ("Trading", "Stationery", "Hardware", "Café", "Pharmacy", "Bookshop", "Bakery", "Électronique", "Motors")
GOODS = ("paper", "pen", "lamp", "coffee", "bread", "cable", "book", "chair", "soap", "screw", "filter", "battery")


@dataclass
class Everything:
    """One run with all its rows; `started` are the columns it is accepted with, `ended` those it gets at its rest."""

    started: dict[str, Any]
    ended: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    reviews: list[dict[str, Any]] = field(default_factory=list)


def make(folder: Path, runs: int) -> Path:
    """Make the database, unless it is there.

    Args:
        folder: where it is kept.
        runs: how many; ten times as many steps.
    """
    path = folder / f"console-{runs}.db"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"console-{runs}.part"
    part.unlink(missing_ok=True)
    Database(part).close()
    _fill(part, runs)
    for left in folder.glob(f"{part.name}[-.]*"):
        left.unlink()
    return part.rename(path)


def _fill(path: Path, runs: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-800000", "secure_delete=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    hours: Counter[tuple[str, str, str]] = Counter()
    times: Counter[tuple[str, str, str, int]] = Counter()
    spent: Counter[tuple[str, str, str]] = Counter()
    for start in range(0, runs, TRANSACTION):
        connection.execute("BEGIN")
        batch = [everything(number, runs) for number in range(start, min(runs, start + TRANSACTION))]
        write(connection, batch)
        connection.execute("COMMIT")
        for one in batch:
            count(one, hours, times, spent)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO run_counts VALUES (?, ?, ?, ?)", [(*key, n) for key, n in hours.items()])
    connection.executemany("INSERT INTO step_times VALUES (?, ?, ?, ?, ?)", [(*key, n) for key, n in times.items()])
    connection.executemany("INSERT INTO spending VALUES (?, ?, ?, 0, ?)", [(*key, n) for key, n in spent.items()])
    connection.executemany(
        "INSERT INTO breakers (model, state, changed_at) VALUES (?, 'closed', ?)",
        [(model, END.isoformat()) for model in MODELS],
    )
    connection.execute("COMMIT")
    connection.close()


def write(connection: sqlite3.Connection, batch: Iterable[Everything]) -> None:
    """Write runs with all that belongs to them, in the transaction that is going on."""
    batch = list(batch)
    insert(connection, "runs", [one.started for one in batch])
    for table in ("steps", "calls", "verdicts", "reviews"):
        insert(connection, table, [row for one in batch for row in getattr(one, table)])
    for one in batch:
        end(connection, one)


def insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows, all of the same columns."""
    if rows:
        names = rows[0].keys()
        marks = ", ".join(f":{name}" for name in names)
        connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)


def end(connection: sqlite3.Connection, one: Everything) -> None:
    """Write what a run has come to."""
    columns = ", ".join(f"{name} = :{name}" for name in one.ended)
    connection.execute(f"UPDATE runs SET {columns} WHERE id = :id", {**one.ended, "id": one.started["id"]})


def count(one: Everything, hours: Counter[Any], times: Counter[Any], spent: Counter[Any]) -> None:
    """Add a run to the roll-ups."""
    workflow = one.started["workflow"]
    if one.ended["ended_at"]:
        hours[one.ended["ended_at"][:13], workflow, one.ended["outcome"] or one.ended["status"]] += 1
    for step in one.steps:
        if step["ended_at"]:
            times[step["ended_at"][:13], workflow, step["node"], time_bucket(step["ms"])] += 1
    spent[one.started["created_at"][:10], workflow, one.started["tenant"]] += one.ended["cost"] or 0


# --- One run  ---


def everything(number: int, of: int, at: datetime | None = None) -> Everything:
    """Return a run with all its rows: the same for the same number.

    Args:
        number: which, from 0, the oldest.
        of: how many there are.
        at: when it was accepted; by default they are spread over the days before `END`.
    """
    chance = random.Random(number)
    age = timedelta(days=DAYS) * (1 - (number + chance.random()) / of) if of else timedelta()
    created = at or END - age
    standing = _one_of(chance, STANDINGS)
    workflow, model = _one_of(chance, WORKFLOWS), _one_of(chance, MODELS)
    run_id = "".join(chance.choices("0123456789abcdefghjkmnpqrstvwxyz", k=12))
    store, text, output = _document(chance)
    one = Everything(
        started={
            "id": run_id,
            "workflow": workflow,
            "reference": workflow,
            "version": str(1 + number * 4 // max(of, number + 1)),
            "model": model,
            "prompts": json.dumps({f"{workflow}.extract": {"version": "1", "hash": "0123456789ab"}}),
            "input_id": f"{store.split()[0].lower()}-{number:06}",
            "input": json.dumps({"text": text}),
            "recorded": None,
            "status": "queued",
            "tenant": chance.choice(TENANTS),
            "created_at": created.isoformat(),
        },
        ended={},
    )
    moment = _add_steps(one, chance, text, output, 0 if standing == "queued" else STEPS + _swing(number), created)
    _end(one, chance, standing, output, moment)
    if standing in ASKED:
        _ask(one, chance, ASKED[standing], text, moment)
    return one


def _one_of(chance: random.Random, weights: dict[str, int]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]


def _swing(number: int) -> int:
    """By how many steps a run is longer or shorter than most; in all it makes up for those queued, which have none."""
    return (number // 2 % 5) * (1 if number % 2 else -1) + (number % 15 == 0)


def _document(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    store = f"{chance.choice(NAMES)} {chance.choice(NAMES)} {chance.choice(KINDS)}".title()
    items = [
        {"name": f"{chance.choice(NAMES)} {chance.choice(GOODS)}", "total_price": f"{chance.random() * 90:.2f}"}
        for _ in range(chance.randint(2, 8))
    ]
    total = f"{sum(float(item['total_price']) for item in items):.2f}"
    day = f"20{chance.randint(18, 26)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
    lines = [store, f"{chance.randint(1, 400)} {chance.choice(NAMES).title()} Street", f"Date {day}"]
    lines += [f"{item['name']:<34} {item['total_price']:>10}" for item in items] + [f"TOTAL {total}"]
    return store, "\n".join(lines), {"company": store, "date": day, "total": total, "items": items}


def _add_steps(
    one: Everything, chance: random.Random, text: str, output: dict[str, Any], steps: int, moment: datetime
) -> datetime:
    run_id = one.started["id"]
    check = {"guard": "stanchion/grounded", "path": "total", "status": "pass", "reason": "", "evidence": None}
    candidate = {"rung": "rules", "output": output, "found": {}, "checks": [check] * 10, "claimed": None}
    checks = json.dumps([check] * 6)
    state_in = json.dumps({"document": {"text": text}, "source": {"text": text}, "candidates": [candidate] * 2})
    state_out = json.dumps(
        {"candidates": [candidate], "notes": text, "verdict": {"decision": "accept", "reason": "agreed"}}
    )
    for position in range(1, steps + 1):
        node = NODES[0] if position == 1 else NODES[-1] if position == steps else NODES[1 + position % 6]
        ms = chance.lognormvariate(6.5 if node == "model" else 1.5, 0.8)
        began, moment = moment, moment + timedelta(milliseconds=ms)
        task = f"{chance.getrandbits(128):032x}"
        times = {"started_at": began.isoformat(), "ended_at": moment.isoformat(), "ms": round(ms, 3)}
        which = {"run_id": run_id, "task_id": task, "node": node}
        content = {"state_in": state_in, "state_out": state_out, "error": None}
        one.steps.append({**which, "position": position, "attempts": 1, **content, **times})
        confidence = round(chance.betavariate(9, 1), 4)
        one.verdicts.append(
            {**which, "decision": "accept", "confidence": confidence, "reason": "The rules agree.", "checks": checks}
        )
        if node == "model" and one.started["model"] != "none":
            one.calls.append({**which, **times, **_call(one, chance, text, output)})
    return moment


def _call(one: Everything, chance: random.Random, text: str, output: dict[str, Any]) -> dict[str, Any]:
    system = {"type": "system", "data": {"content": "Answer with JSON that fits this schema. " * 60}}
    return {
        "id": f"{chance.getrandbits(60):015x}",
        "key": f"{chance.getrandbits(256):064x}",
        "model": one.started["model"],
        "prompt": f"{one.started['workflow']}.extract",
        "prompt_version": "1",
        "prompt_hash": "0123456789ab",
        "status": "answered",
        "request": json.dumps([system, {"type": "human", "data": {"content": text}}]),
        "answer": json.dumps({"type": "ai", "data": {"content": json.dumps(output)}}),
        "input_tokens": 900,
        "output_tokens": 150,
        "cost_usd": None if one.started["model"].startswith("ollama") else f"{chance.random() / 500:.6f}",
    }


def _end(one: Everything, chance: random.Random, standing: str, output: dict[str, Any], moment: datetime) -> None:
    ended = standing not in ("review", "queued", "running")
    failed = standing == "failed"
    held = not ended and chance.random() < 0.1
    reasons = {"accepted": "The rungs agree.", "refused": "The document is empty.", "review": "Is the total right?"}
    costs = [call["cost_usd"] for call in one.calls]
    one.ended = {
        "status": STATUSES.get(standing, "done"),
        "outcome": None if standing in STATUSES else standing,
        "reason": reasons.get(standing, f"It was {standing} after {len(one.steps)} steps."),
        "rung": None if failed or not one.steps else chance.choice(("rules", "model", "repair", "fallback", "human")),
        "confidence": None if failed or not one.steps else round(chance.betavariate(9, 1), 4),
        "output": None if failed or not one.steps else json.dumps(output),
        "ended_at": moment.isoformat() if ended else None,
        "started_at": one.started["created_at"] if one.steps else None,
        "worked_ms": sum(step["ms"] for step in one.steps),
        "made_calls": len(costs),
        "cost": None if None in costs else round(sum(map(float, costs)) * 1e9),
        "path": f"/{'/'.join(dict.fromkeys(step['node'] for step in one.steps))}/" if one.steps else "",
        "error_class": _one_of(chance, ERRORS) if failed else None,
        "paused_at": moment.isoformat() if held else None,
    }


def _ask(one: Everything, chance: random.Random, status: str, text: str, at: datetime) -> None:
    proposal = json.loads(one.ended["output"])
    question = {
        "question": "Is the total right?",
        "reason": "The rungs disagree.",
        "proposal": proposal,
        "alternatives": {"rules": proposal, "model": proposal},
        "source": text,
        "schema": {"type": "object", "description": "what a receipt is " * 40},
    }
    answered = at.isoformat() if status == "answered" else None
    one.reviews.append(
        {
            "id": "".join(chance.choices("0123456789abcdefghjkmnpqrstvwxyz", k=12)),
            "run_id": one.started["id"],
            "workflow": one.started["workflow"],
            "interrupt_id": f"{chance.getrandbits(128):032x}",
            "node": "review",
            "status": status,
            "question": json.dumps(question),
            "action": "approve" if answered else None,
            "answered_by": "ann@example.com" if answered else None,
            "asked_at": at.isoformat(),
            "answered_at": answered,
            "resumed_at": answered,
            "due_at": (at + timedelta(days=DAYS)).isoformat() if chance.random() < 0.5 else None,
            "priority": round(chance.expovariate(0.1), 3),
        }
    )


def runs_to_come(first: int) -> Iterator[Everything]:
    """Return runs that are accepted now, one after the other."""
    number = first
    while True:
        yield everything(number, 0, datetime.now(UTC))
        number += 1
