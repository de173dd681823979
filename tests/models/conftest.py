"""What the tests of models share: a question, a place in a run, and a journal on a temporary database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

from stanchion import Prompt
from stanchion.guards.limits.policy import Policy
from stanchion.models.door import Door, Place, Request
from stanchion.models.providers import Model
from stanchion.store import Database
from stanchion.store.calls import Journal
from stanchion.testing import FakeClock, counting_ids

PROMPT = Prompt(id="notes.extract", version="2", system="Answer with JSON.", user="$text")
SCHEMA: dict[str, Any] = {
    "title": "Note",
    "type": "object",
    "properties": {"total": {"type": "integer"}},
    "required": ["total"],
}
ONE_ATTEMPT = Policy(retry={"attempts": 1})
PLACE = Place("run-1", "task-1", "model")


def question(text: str = "Total 5") -> Request:
    """The question that opens a conversation about a text."""
    return Request(PROMPT, PROMPT.opening(text=text), SCHEMA)


def ask(door: Door, request: Request | None = None, place: Place = PLACE) -> AIMessage:
    """What a door brings back, in a loop of its own."""
    return asyncio.run(door.ask(request or question(), place))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where a test's calls are kept."""
    return tmp_path / "calls.db"


@pytest.fixture
def database(db: Path) -> Iterator[Database]:
    """A database with the one run that calls are made for."""
    database = Database(db)
    run = {
        "id": PLACE.run_id,
        "workflow": "notes",
        "reference": "notes",
        "version": "1",
        "model": "scripted",
        "input_id": "x",
        "status": "running",
        "created_at": "2024-01-01",
    }
    database.submit(lambda tables: tables.table("runs").insert(run))
    yield database
    database.close()


@pytest.fixture
def make_door(database: Database):
    """Make a door to a model or chat model, with a journal, a clock that stands still and ids that count."""
    ids = counting_ids("call")

    def make(chat: Any, name: str = "openai:gpt-4o-mini", **options: Any) -> Door:
        model = chat if isinstance(chat, Model) else Model(name, chat)
        options = {"policy": ONE_ATTEMPT, **options}
        return Door(model, Journal(database), clock=FakeClock(), ids=ids, **options)

    return make


@pytest.fixture
def calls(database: Database):
    """Read the calls that are on record, in order."""
    return lambda: database.read("SELECT * FROM calls ORDER BY rowid")
