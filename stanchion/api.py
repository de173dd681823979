"""Plain synchronous use from Python: one line to run, one to look at the result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stanchion.blocking import wait_for
from stanchion.runs.inputs import Input
from stanchion.runs.records import Run
from stanchion.runs.runner import Runner
from stanchion.workflow import Workflow

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel


def run(
    workflow: Workflow | str,
    document: dict[str, Any],
    *,
    model: str | BaseChatModel | None = None,
    db: Path | str | None = None,
    input_id: str = "input",
    tenant: str = "",
) -> Run:
    """Run one document through a workflow and return the run as it then stands.

    Args:
        workflow: a `Workflow`, or a name or `module:attribute` that loads one.
        document: what the workflow's first node takes, such as `{"text": ...}`.
        model: the model's usual string or a LangChain chat model; `STANCHION_MODEL`, else `none`.
        db: the database file; `STANCHION_DB`, else `.stanchion/stanchion.db`.
        input_id: your own id of the document.
        tenant: on whose behalf, for the cap `money.tenant`.

    Raises:
        WorkflowError: there is no such workflow.
        StoreError: the database cannot be used.
    """
    (one,) = run_all(workflow, [Input(id=input_id, document=document)], model=model, db=db, tenant=tenant)
    return one


def run_all(
    workflow: Workflow | str,
    inputs: Iterable[Input],
    *,
    model: str | BaseChatModel | None = None,
    db: Path | str | None = None,
    concurrency: int = 8,
    tenant: str = "",
) -> list[Run]:
    """Run many documents through a workflow, several at a time; return the runs in the inputs' order.

    Args:
        workflow: a `Workflow`, or a name or `module:attribute` that loads one.
        inputs: from `stanchion.runs.inputs.read_inputs`, or made by hand.
        model: the model's usual string or a LangChain chat model; `STANCHION_MODEL`, else `none`.
        db: the database file; `STANCHION_DB`, else `.stanchion/stanchion.db`.
        concurrency: how many at a time.
        tenant: on whose behalf, for the cap `money.tenant`.

    Raises:
        WorkflowError: there is no such workflow.
        StoreError: the database cannot be used; what was queued goes on with `resume`.
    """

    async def work() -> list[Run]:
        async with Runner(workflow, model=model, db=db, concurrency=concurrency, tenant=tenant) as runner:
            return await runner.start(inputs)

    return wait_for(work())


def resume(
    workflow: Workflow | str,
    *,
    model: str | BaseChatModel | None = None,
    db: Path | str | None = None,
    concurrency: int = 8,
) -> list[Run]:
    """Go on with every run of a workflow that can go on: queued, cut off by a crash, or answered by a person.

    Args:
        workflow: a `Workflow`, or a name or `module:attribute` that loads one.
        model: as for `run_all`.
        db: as for `run_all`.
        concurrency: how many at a time.

    Raises:
        WorkflowError: there is no such workflow.
        StoreError: the database cannot be used.
        ModelNotLoadable: a run's model cannot be loaded here; everything else was brought as far as it went.
    """

    async def work() -> list[Run]:
        async with Runner(workflow, model=model, db=db, concurrency=concurrency) as runner:
            return await runner.resume()

    return wait_for(work())
