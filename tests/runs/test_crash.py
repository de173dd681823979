"""kill -9 at any moment: every input ends with one outcome, and no answer that was kept is asked for again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stanchion import Input, Runner
from stanchion.graphs.demo import DATASET
from stanchion.graphs.receipts import workflow
from stanchion.testing import OpenAIServer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

NAMES = ["stationery-clean", "pharmacy-clean", "hardware-total-in-words-then-repaired", "letter-not-a-receipt"]
POINTS = [
    ("queued", 1),
    ("claimed", 3),
    ("checkpoint", 1),
    ("checkpoint", 2),
    ("checkpoint", 13),
    ("step started", 5),
    ("step ended", 9),
    ("call started", 2),
    ("call answered", 1),
    ("call answered", 4),
    ("waiting", 1),
    ("ended", 2),
]


def rows() -> list[dict[str, Any]]:
    """Eight documents, each with a reference of its own, whose model answers are known."""
    known = {row["id"]: row for row in map(json.loads, DATASET.read_text(encoding="utf-8").splitlines())}
    chosen = [known[name] for name in NAMES] * 2
    return [
        {
            "id": f"r{n}",
            "document": {"text": f"{row['input']['text']}\nREF{n:04}"},
            "answers": row["recorded"]["demo"],
            "waits": row["id"].startswith("letter"),
        }
        for n, row in enumerate(chosen)
    ]


def reply(request: dict[str, Any]) -> str:
    """Answer as the demo's record does: the first answer, then its repair."""
    n = int(reference(request)[3:])
    answers = rows()[n]["answers"]
    answers = answers if isinstance(answers, list) else [answers]
    given = sum(message["role"] == "assistant" for message in request["messages"])
    found = answers[min(given, len(answers) - 1)]
    return found if isinstance(found, str) else json.dumps(found)


def reference(request: dict[str, Any]) -> str:
    """The document that a request is about."""
    text = request["messages"][1]["content"]
    return str(text[text.rindex("REF") :][:7])


@pytest.fixture(scope="module")
def forge() -> Iterator[Any]:
    """A process that runs commands in forked children and says how each ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.runs.dying"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    def run(command: dict[str, Any]) -> int:
        print(json.dumps(command), file=process.stdin, flush=True)
        return int(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("die", POINTS, ids=lambda point: f"{point[0].replace(' ', '-')}-{point[1]}")
def test_nothing_is_lost_or_paid_twice(forge: Any, tmp_path: Path, die: tuple[str, int]) -> None:
    """Killed at a named point, then resumed: eight inputs, eight ends, and each kept answer was asked for once."""
    db = tmp_path / "runs.db"
    documents = [{"id": row["id"], "document": row["document"]} for row in rows()]
    with OpenAIServer(reply) as server:
        command = {"db": str(db), "url": server.url, "documents": documents, "resume": False}
        assert forge({**command, "die": die}) == -signal.SIGKILL
        before = calls(db)
        assert forge({**command, "resume": True, "die": None}) == 0
        asked = Counter((reference(item.body), len(item.body["messages"])) for item in server.requests)

    after = read(db, "SELECT input_id, status, outcome FROM runs")
    assert sorted(row["input_id"] for row in after) == sorted(row["id"] for row in documents)
    expected = {row["id"]: ("waiting", None) if row["waits"] else ("done", "accepted") for row in rows()}
    assert {row["input_id"]: (row["status"], row["outcome"]) for row in after} == expected
    assert steps_in_ledger(db) == steps_in_checkpoints(db)
    assert all(asked[call] == 1 for call, status in before.items() if status == "answered")
    unknown = sum(status == "started" for status in before.values())
    assert sum(asked.values()) <= len(asked) + unknown


def test_a_run_killed_between_answer_and_resume_takes_the_answer_once(forge: Any, tmp_path: Path) -> None:
    """A review answered just before the kill is not asked again: resume applies the answer, once."""
    db = tmp_path / "runs.db"

    async def ask_and_answer_without_resuming() -> None:
        async with Runner(workflow, db=db, model="none") as runner:
            await runner.start([Input(id="x", document={"text": "CORNER SHOP\nsomething 12.00\nsomething 13.50"})])
            (asked,) = runner.ledger.reviews()
            runner.reviews.answer(asked.id, "reject", by="Ada", reason="No receipt.")

    asyncio.run(ask_and_answer_without_resuming())
    command = {"db": str(db), "url": "http://127.0.0.1:1", "documents": [], "resume": True, "die": None}
    assert forge(command) == 0
    assert forge(command) == 0

    assert read(db, "SELECT outcome, reason FROM runs") == [{"outcome": "rejected", "reason": "No receipt."}]
    assert len(read(db, "SELECT * FROM steps WHERE node = 'outcome'")) == 1


def steps_in_ledger(db: Path) -> set[tuple[str, str]]:
    """Which steps of which runs the ledger has as ended."""
    return {(row["run_id"], row["task_id"]) for row in read(db, "SELECT * FROM steps WHERE ended_at IS NOT NULL")}


def steps_in_checkpoints(db: Path) -> set[tuple[str, str]]:
    """Which steps LangGraph has the writes of; its own start, and steps that asked a person, left out."""
    rows = read(db, "SELECT DISTINCT thread_id, task_id, channel FROM writes")
    others = {row["task_id"] for row in rows if row["channel"] in {"__interrupt__", "branch:to:intake"}}
    return {(row["thread_id"], row["task_id"]) for row in rows if row["task_id"] not in others}


def read(db: Path, sql: str) -> list[dict[str, Any]]:
    """Read with plain sqlite3, as somebody would who does not trust us."""
    with sqlite3.connect(db) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def calls(db: Path) -> dict[tuple[str, int], str]:
    """What the file knew of each call at the moment of death: document and length of conversation to status."""
    return {
        (text[text.rindex("REF") :][:7], len(messages)): row["status"]
        for row in read(db, "SELECT request, status FROM calls")
        for messages in [json.loads(row["request"])]
        for text in [messages[1]["data"]["content"]]
    }
