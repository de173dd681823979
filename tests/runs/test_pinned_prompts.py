"""A run goes on with the prompts that it started with, whatever the labels and the workflow's file say by then."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from stanchion import Input, Prompt, RunContext, Runner, Workflow
from stanchion.errors import StoreError, UsageError
from stanchion.models.pinned import as_version
from stanchion.nodes import WorkflowState, decision, intake, outcome, repair, structured
from stanchion.store.prompts import PromptLabels
from stanchion.testing import ScriptedModel
from tests.runs.conftest import Invoice, answer, document, run, waiting

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def wording(version: str) -> Prompt:
    """A version of the prompt, whose texts say which one it is."""
    texts = {"system": f"System {version}: $schema", "user": f"User {version}: $text", "repair": f"Repair {version}."}
    return Prompt(id="invoices.extract", version=version, **texts)


def pause(state: WorkflowState) -> dict[str, Any]:
    """Ask a person whether to go on."""
    interrupt({"question": "Shall the model try again?"})
    return {}


def workflow(version: str = "1") -> Workflow:
    """A model, a person who is asked before a repair, and the repair: the prompt of this version in its code."""
    prompt = wording(version)
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("intake", intake())
    builder.add_node("model", structured(prompt, Invoice))
    builder.add_node("pause", pause)
    builder.add_node("repair", repair(prompt, Invoice))
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "intake")
    builder.add_conditional_edges("intake", decision, {"accept": "model", "refuse": "outcome"})
    after = {"accept": "outcome", "repair": "pause", "fall_back": "outcome", "review": "outcome"}
    builder.add_conditional_edges("model", decision, after)
    builder.add_edge("pause", "repair")
    builder.add_edge("repair", "outcome")
    builder.add_edge("outcome", END)
    return Workflow(builder.compile(), name="invoices", version="3", prompts=[prompt])


def labels(runner: Runner) -> PromptLabels:
    return PromptLabels(runner.ledger.database)


def point(runner: Runner, label: str, version: str) -> None:
    """Let a label point at a version."""
    labels(runner).move("invoices.extract", label, as_version(wording(version)), by="ana", reason="a better wording")


def pinned(done: Any) -> tuple[str, str]:
    pin = done.prompts["invoices.extract"]
    return pin["version"], pin["hash"]


@pytest.mark.parametrize(("label", "moved", "used"), [
    ("production", {}, "1"),
    ("production", {"production": "2", "candidate": "3"}, "2"),
    ("candidate", {"production": "2", "candidate": "3"}, "3"),
    ("candidate", {"production": "2"}, "1"),
    ("production", {"candidate": "3"}, "1"),
])  # fmt: skip
def test_new_runs_start_with_what_their_label_points_at(make_runner, label: str, moved: dict, used: str) -> None:
    """The model is asked in that wording, and run and call have it on record; an unmoved label is the file's."""
    model = ScriptedModel([answer()])

    async def story() -> Any:
        async with make_runner(workflow("1"), model=model, prompts=label) as runner:
            for name, version in moved.items():
                point(runner, name, version)
            (done,) = await runner.start([document()])
            return done, runner.ledger.calls(done.id)

    done, (call,) = run(story())

    assert (done.outcome, pinned(done)) == ("accepted", (used, wording(used).hash))
    assert (call.prompt_version, call.prompt_hash) == (used, wording(used).hash)
    assert model.history[0][0].text.startswith(f"System {used}: ")
    assert model.history[0][1].text.startswith(f"User {used}: ")


@pytest.mark.parametrize("moved", [False, True], ids=["the file changed", "the label moved too"])
def test_a_run_that_waited_is_repaired_in_its_own_words(make_runner, moved: bool) -> None:
    """After a person answered, the repair asks as the run began, though new runs would start with something else."""
    model = ScriptedModel(["no JSON", answer()])

    async def story() -> Any:
        async with make_runner(workflow("1"), model=model) as runner:
            one, asked = await waiting(runner)
        async with make_runner(workflow("2"), model=model) as runner:
            if moved:
                point(runner, "production", "3")
            await runner.answer(asked.id, "approve", by="ana")
            return runner.ledger.run(one.id), runner.ledger.calls(one.id)

    done, calls = run(story())

    assert model.history[1][-1].text == "Repair 1."
    assert {call.prompt_hash for call in calls} == {wording("1").hash}
    assert pinned(done) == ("1", wording("1").hash)


def test_a_run_of_a_dead_process_goes_on_in_its_own_words(make_runner) -> None:
    """Queued, taken up, and its process killed before it asked: the next process asks what it would have asked."""
    model = ScriptedModel([answer()])

    async def story() -> Any:
        async with make_runner(workflow("1"), model=model, prompts="candidate") as runner:
            point(runner, "candidate", "2")
            await runner.queue([document()])
            with sqlite3.connect(runner.ledger.database.path) as other:
                other.execute("UPDATE runs SET status = 'running', owner = 'long gone'")
            point(runner, "candidate", "3")
        async with make_runner(workflow("4"), model=model) as runner:
            return await runner.resume()

    (done,) = run(story())

    assert (done.outcome, pinned(done)) == ("accepted", ("2", wording("2").hash))
    assert model.history[0][0].text.startswith("System 2: ")


def test_a_version_that_changed_without_a_new_name_is_told_apart(make_runner) -> None:
    """A file whose wording changed and whose version did not: the run that began before keeps the old wording."""
    model = ScriptedModel([answer()])
    changed = wording("2").model_copy(update={"version": "1"})

    async def story() -> Any:
        async with make_runner(workflow("1"), model=model) as runner:
            await runner.queue([document()])
        async with make_runner(replace(workflow("2"), prompts=[changed]), model=model) as runner:
            return await runner.resume()

    run(story())

    assert model.history[0][0].text.startswith("System 1: ")


def forget_texts(runner: Runner) -> None:
    runner.ledger.database.write_now(lambda tables: tables["prompts"].delete_where())


def test_a_run_whose_text_is_gone_stays_until_it_is_back(make_runner) -> None:
    """It never asks in other words: the error says what is missing; put back under any version, the run goes on."""
    model = ScriptedModel([answer()])

    async def story() -> Any:
        async with make_runner(workflow("1"), model=model) as runner:
            (run_id,) = await runner.queue([document()])
            forget_texts(runner)
        async with make_runner(workflow("2"), model=model) as runner:
            with pytest.raises(StoreError, match=rf"{run_id} started with version 1 .*stanchion prompts add"):
                await runner.resume()
            left = runner.ledger.run(run_id)
            again = wording("1").model_copy(update={"version": "1 again"})
            labels(runner).add(as_version(again, added_by="ana"), own=as_version(wording("2")))
            (done,) = await runner.resume()
            return left, done, runner.ledger.calls(run_id)

    left, done, (call,) = run(story())

    assert (left.status, left.outcome) == ("queued", None)
    assert done.outcome == "accepted"
    assert (call.prompt_version, call.prompt_hash) == ("1", wording("1").hash)
    assert len(model.history) == 1


def test_a_run_that_asks_nobody_misses_no_text(make_runner) -> None:
    """A document that is refused at the door needs no prompt, so it ends though the text is gone."""

    async def story() -> Any:
        async with make_runner(workflow("1"), model="none") as runner:
            await runner.queue([Input(id="empty", document={"text": ""})])
            forget_texts(runner)
        async with make_runner(workflow("2"), model="none") as runner:
            return await runner.resume()

    assert run(story())[0].outcome == "refused"


@pytest.mark.parametrize("version_now", ["1", "1b"])
def test_a_run_from_before_texts_were_kept_goes_on(make_runner, version_now: str) -> None:
    """A database of an older Stanchion has hashes and no texts: where the file still has the text, none is missed."""
    now = wording("1").model_copy(update={"version": version_now})

    async def story() -> Any:
        async with make_runner(workflow("1"), model=ScriptedModel([answer()])) as runner:
            await runner.queue([document()])
            forget_texts(runner)
        async with make_runner(replace(workflow("1"), prompts=[now]), model=ScriptedModel([answer()])) as runner:
            return await runner.resume()

    assert run(story())[0].outcome == "accepted"


def test_a_node_of_ones_own_gets_the_pinned_version() -> None:
    """`pinned` gives what the run started with; outside our runner, or where nothing is pinned, what it was given."""
    context = RunContext(prompts={"invoices.extract": wording("1")})

    assert context.pinned(wording("2")) == wording("1")
    assert RunContext().pinned(wording("2")) == wording("2")


def test_a_runner_refuses_a_label_that_there_is_not(make_runner) -> None:
    """Before anything is accepted, the error names the labels that there are."""
    with pytest.raises(UsageError, match="no label 'prod'; there are production and candidate"):
        make_runner(prompts="prod")
