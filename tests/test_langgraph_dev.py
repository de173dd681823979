"""LangGraph's own development server loads our graphs: they are ordinary LangGraph, and block no event loop."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stanchion.testing import OpenAIServer

pytestmark = [
    pytest.mark.xdist_group("langgraph-dev"),
    pytest.mark.skipif(
        importlib.util.find_spec("langgraph_api") is None,
        reason="langgraph-cli[inmem] is not installed; the development extra brings it",
    ),
]

ROOT = Path(__file__).parents[1]
QUIET = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGGRAPH_NO_VERSION_CHECK": "true", "LANGSMITH_TRACING": "false"}
MOST_POLLS = 300

UNCLEAR = "CORNER SHOP\nsomething 12.00\nsomething 13.50"
NO_DATE_BY_RULES = "CORNER SHOP\nON THE FIRST DAY OF MARCH 2024\nTEA 12.00\nTOTAL 12.00\nCASH 12.00"


class Server(NamedTuple):
    """A running `langgraph dev`."""

    client: Any
    log: Path
    model: OpenAIServer

    def run(self, thread: Any, **what: Any) -> dict[str, Any]:
        """Bring a thread as far as it goes; the state that it then has."""
        state = self.client.runs.wait(thread["thread_id"], "receipts", **what)
        assert "__error__" not in state, state
        assert "BlockingError" not in self.log.read_text(encoding="utf-8")
        return dict(state)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`langgraph dev` on a copy of our langgraph.json, in a folder of its own, where it may leave its files."""
    from langgraph_sdk import get_sync_client

    folder = tmp_path_factory.mktemp("langgraph")
    shutil.copy(ROOT / "langgraph.json", folder)
    (folder / "stanchion").symlink_to(ROOT / "stanchion")
    log = folder / "log.txt"
    answer = '{"company": "CORNER SHOP", "date": "2024-03-01", "total": "12.00"}'
    with OpenAIServer(lambda _request: answer) as model, _started(folder, log, model.url) as url:
        yield Server(get_sync_client(url=url), log, model)


@contextmanager
def _started(folder: Path, log: Path, model_url: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets = {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": model_url}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "langgraph_cli", "dev", "--no-browser", "--no-reload", "--port", str(port)],
            cwd=folder,
            env={**os.environ, **QUIET, **secrets, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        if not any(_answers(url, process) for _ in range(MOST_POLLS)):
            pytest.fail(f"langgraph dev did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server is up; waits a moment where it is not."""
    try:
        with urllib.request.urlopen(f"{url}/ok", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            return False
        pytest.fail(f"langgraph dev ended with code {process.returncode}")


def test_the_graphs_of_langgraph_json_are_listed(server: Server) -> None:
    """Every graph that our langgraph.json names is offered as an assistant."""
    listed = server.client.assistants.search()

    assert {item["graph_id"] for item in listed} == {"receipts"}


def test_studio_can_draw_forms_for_state_and_context(server: Server) -> None:
    """Input and context have JSON schemas, and what only our runner hands in is no part of them."""
    (assistant,) = server.client.assistants.search()
    schemas = server.client.assistants.get_schemas(assistant["assistant_id"])

    assert "document" in schemas["input_schema"]["properties"]
    assert set(schemas["context_schema"]["properties"]) == {"model", "today", "run_id", "tenant"}


def test_a_run_waits_for_a_person_and_takes_the_edit(server: Server) -> None:
    """A receipt that nobody can read stops at the review with its question; an edit ends it as reviewed."""
    thread = server.client.threads.create()
    server.run(thread, input={"document": {"text": UNCLEAR}}, context={"model": "none"})
    waiting = server.client.threads.get_state(thread["thread_id"])

    assert waiting["next"] == ["review"]
    question = waiting["tasks"][0]["interrupts"][0]["value"]
    assert question["question"] == "Is this what the receipt says?"
    assert "schema" in question

    edited = {"date": "2024-01-01", "total": "25.50"}
    answer = {"action": "edit", "output": edited, "by": "Ada"}
    done = server.run(thread, command={"resume": answer})

    assert done["outcome"]["kind"] == "reviewed"
    assert done["outcome"]["output"].items() >= edited.items()
    assert done["outcome"]["rung"] == "human"


def test_a_proposal_is_approved(server: Server) -> None:
    """Approval ends the run with what was proposed."""
    thread = server.client.threads.create()
    document = {"text": f"{UNCLEAR}\n01/03/2024"}
    server.run(thread, input={"document": document}, context={"model": "none"})
    waiting = server.client.threads.get_state(thread["thread_id"])
    proposal = waiting["tasks"][0]["interrupts"][0]["value"]["proposal"]
    done = server.run(thread, command={"resume": {"action": "approve", "by": "Ada"}})

    assert proposal["date"] == "2024-03-01"
    assert (done["outcome"]["kind"], done["outcome"]["output"]) == ("reviewed", proposal)


def test_a_model_is_asked_without_blocking_the_server(server: Server) -> None:
    """A model named in the context is loaded and asked inside the server, which refuses whatever blocks its loop."""
    thread = server.client.threads.create()
    done = server.run(
        thread, input={"document": {"text": NO_DATE_BY_RULES}}, context={"model": "openai:gpt-4o-2024-05-13"}
    )

    assert server.model.count >= 1
    assert done["candidates"]["model"]["output"]["total"] == "12.00"
