"""Reviews without runs: rows as a runner leaves them when it has asked, for tests of what people may do with them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stanchion import RunContext, Workflow
from stanchion.guards import json_schema
from stanchion.nodes import WorkflowState, outcome, review
from stanchion.people import Person
from stanchion.question import Question
from stanchion.runs.reviews import Reviews
from stanchion.store import Database
from stanchion.testing import FakeClock

LIMIT = 1_000  # euro, from which two people are asked
SOURCE = "Invoice A1, to pay: 5 euro."
PROPOSAL = {"number": "A1", "total": 5, "note": ""}
ALL: dict[str, Any] = {"confidence": 0.5, "proposal": PROPOSAL, "source": SOURCE, "stake_field": "total"}
"""What every question says that does not say otherwise."""


class Payment(BaseModel):
    """What is asked about."""

    number: str
    total: int
    note: str = ""


def payments() -> Workflow:
    """A question and its outcome; two people from 1,000 euro on."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("review", review(Payment, stake="total", two_people_from=LIMIT))
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "review")
    builder.add_edge("review", "outcome")
    builder.add_edge("outcome", END)
    return Workflow(builder.compile(), name="payments", version="1", output=Payment)


workflow = payments()
"""For processes of their own, which load it by name: `tests.runs.asking:workflow`."""


def person(name: str, *roles: str) -> Person:
    """Somebody who logged in, with these roles; a reviewer where none is named."""
    return Person(name, frozenset(roles or ("reviewer",)), "login")


class Desk:
    """A database with questions in it, and the clock that everybody goes by."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, synchronous="NORMAL")
        self.clock = FakeClock()
        self.reviews = Reviews(self.database, clock=self.clock, workflow=workflow)

    def ask(self, name: str = "r1", *, status: str = "waiting", **said: Any) -> str:
        """Ask one more question, in a run of its own; `said` are fields of the question, or columns of the review."""
        fields = {name: said.pop(name) for name in list(said) if name in Question.model_fields}
        rules = {"form": json_schema(Payment), "two_people_from": LIMIT}
        asked = Question(**{"question": "Right?", **ALL, **rules, **fields})
        due = None if asked.expires_after is None else self.clock.now() + timedelta(seconds=asked.expires_after)
        run = {
            "id": f"run-{name}",
            "workflow": "payments",
            "reference": "tests.runs.asking:workflow",
            "version": "1",
            "model": "none",
            "prompts": "{}",
            "input_id": f"input-{name}",
            "input": json.dumps({"text": SOURCE}),
            "status": status,
            "created_at": self.now,
        }
        row = {
            "id": name,
            "run_id": run["id"],
            "interrupt_id": f"interrupt-{name}",
            "node": "review",
            "status": "asked",
            "question": asked.model_dump_json(by_alias=True),
            "asked_at": self.now,
            "workflow": "payments",
            **{key: getattr(asked, key) for key in ("role", "people", "stake", "priority", "sampled")},
            "due_at": due and due.isoformat(),
        }
        self.write("runs", run)
        self.write("reviews", {**row, **said})
        return name

    def write(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row."""
        self.database.write_now(lambda tables: tables.table(table).insert(row))

    def change(self, sql: str, *parameters: Any) -> None:
        """Change rows behind everybody's back."""
        self.database.write_now(lambda tables: tables.conn.execute(sql, parameters).rowcount)

    def row(self, name: str = "r1") -> dict[str, Any]:
        """A review as it stands in the table."""
        (row,) = self.database.read("SELECT * FROM reviews WHERE id = ?", [name])
        return row

    def trail(self) -> list[dict[str, Any]]:
        """What the trail says, oldest first."""
        return self.database.read("SELECT by, known_by, what, subject, facts, content FROM trail ORDER BY seq")

    @property
    def now(self) -> str:
        """The present time."""
        return self.clock.now().isoformat()
