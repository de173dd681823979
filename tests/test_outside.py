"""A project outside this repository: the built wheel, its own workflow, node and guard, and the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [pytest.mark.xdist_group("outside"), pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]

WORKFLOW = '''
"""Support tickets: somebody else's workflow, made of Stanchion's nodes and one of its own."""

import re
from typing import Annotated, Any

from guardrails.validator_base import FailResult, PassResult, ValidationResult, Validator, register_validator
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stanchion import Candidate, RunContext, Verdict, Workflow
from stanchion.guards import Grounded
from stanchion.nodes import WorkflowState, decide, decision, intake, outcome, review


@register_validator(name="tickets/calm", data_type="string")
class Calm(Validator):
    """Nobody should act on a ticket that shouts before a person has seen it."""

    def _validate(self, value: Any, metadata: dict[str, Any]) -> ValidationResult:
        return FailResult(error_message="It shouts.") if "!" in value else PassResult()


class Ticket(BaseModel):
    number: Annotated[int, Grounded()]
    subject: Annotated[str, Calm()]


def read(state: WorkflowState) -> dict[str, Any]:
    number = re.search(r"#([0-9]+)", state["source"].text)
    subject = re.search(r"Subject: (.*)", state["source"].text)
    output = {"number": number and number[1], "subject": subject and subject[1]}
    return {
        "candidates": {"rules": Candidate(rung="rules", output=output)},
        "verdict": Verdict(decision="accept"),
    }


builder = StateGraph(WorkflowState, context_schema=RunContext)
builder.add_node("intake", intake())
builder.add_node("read", read)
builder.add_node("decide", decide(Ticket, critical=("number",), accept_at=0.8))
builder.add_node("review", review(Ticket))
builder.add_node("outcome", outcome())
builder.add_edge(START, "intake")
builder.add_conditional_edges("intake", decision, {"accept": "read", "refuse": "outcome"})
builder.add_edge("read", "decide")
builder.add_conditional_edges("decide", decision, {"accept": "outcome", "review": "review"})
builder.add_edge("review", "outcome")
builder.add_edge("outcome", END)
graph = builder.compile(name="tickets")

workflow = Workflow(
    graph,
    name="tickets",
    version="2024-01",
    output=Ticket,
    compare={"number": lambda ours, truth: ours == truth},
    critical=("number",),
)
'''
ROWS = [
    {"id": "calm", "input": {"text": "Ticket #17\nSubject: The printer is slow"}, "truth": {"number": 17}},
    {"id": "loud", "input": {"text": "Ticket #18\nSubject: HELP!!!"}, "truth": {"number": 18}},
    {"id": "empty", "input": {"text": ""}, "truth": {"number": 19}},
]


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


Stanchion = Callable[..., Ended]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources and installed by itself; what it depends on is installed already."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "stanchion", source / "stanchion", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _must([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source)])
    (wheel,) = folder.glob("stanchion-*.whl")
    _must([*PIP, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)])
    shutil.rmtree(source)
    return folder / "site"


@pytest.fixture(scope="module")
def stanchion(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Stanchion:
    """Run a line of shell in the project's folder, where `stanchion` is the installed one."""
    project = tmp_path_factory.mktemp("tickets")
    (project / "tickets.py").write_text(WORKFLOW)
    (project / "langgraph.json").write_text(
        json.dumps({"dependencies": ["."], "graphs": {"tickets": "./tickets.py:graph"}})
    )
    (project / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    path = os.pathsep.join([str(site / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(site), "COLUMNS": "120"}

    def run(line: str) -> Ended:
        done = subprocess.run(line, shell=True, cwd=project, env=environment, capture_output=True, text=True)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def _must(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_installed_package_is_meant(stanchion: Stanchion, site: Path) -> None:
    """Outside, `stanchion` is what the wheel brought, not this repository."""
    done = stanchion(f'"{sys.executable}" -c "import stanchion; print(stanchion.__file__)"')

    assert Path(done.out.strip()) == site / "stanchion" / "__init__.py"


def test_its_own_workflow_is_run_reviewed_and_evaluated(stanchion: Stanchion) -> None:
    """Run: the calm ticket is accepted, the loud one waits because of the project's own guard; review; evaluate."""
    ran = stanchion("stanchion run tickets rows.jsonl --json")
    assert (ran.code, ran.err) == (0, "")
    runs = {run["input_id"]: run for run in json.loads(ran.out)}
    assert {name: run["outcome"] or run["status"] for name, run in runs.items()} == {
        "calm": "accepted",
        "loud": "waiting",
        "empty": "refused",
    }
    assert runs["calm"]["output"] == {"number": 17, "subject": "The printer is slow"}
    assert runs["loud"]["reason"] == "subject: It shouts."
    assert runs["calm"]["version"] == "2024-01"

    answered = stanchion(f"stanchion review {runs['loud']['id'][:8]} --edit 'subject=Help' --by Ada --json")
    assert (answered.code, answered.err) == (0, "")
    assert json.loads(answered.out)["output"] == {"number": 18, "subject": "Help"}

    evaluated = stanchion("stanchion eval tickets rows.jsonl --json --out out.jsonl && cat out.jsonl >&2")
    assert evaluated.code == 0
    report = json.loads(evaluated.out)
    assert (report["coverage"]["count"], report["silent_errors"]["count"]) == (1, 0)
    rows = [json.loads(line) for line in evaluated.err.splitlines()]
    assert [(row["id"], row["outcome"]) for row in rows] == [
        ("calm", "accepted"),
        ("loud", "review"),
        ("empty", "refused"),
    ]
    guards = [check["guard"] for verdict in rows[1]["verdicts"] for check in verdict["checks"] or []]
    assert "tickets/calm" in guards


def test_the_demo_works_and_so_do_the_commands_that_it_prints(stanchion: Stanchion) -> None:
    """Dataset and prompts came with the wheel; the commands are pasted into the shell as they stand."""
    demo = stanchion("stanchion demo")
    assert (demo.code, demo.err) == (0, "")
    assert "! failed" not in demo.out

    console, *commands = [line.strip() for line in demo.out.splitlines() if line.startswith("  stanchion ")]
    assert console.startswith("stanchion console ")  # goes on until it is interrupted; tests/ui/browser starts it
    assert len(commands) == 2
    for command in commands:
        pasted = stanchion(command)
        assert (pasted.code, pasted.err) == (0, "")
        assert pasted.out
