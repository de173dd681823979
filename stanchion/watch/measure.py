"""Runs a workflow over a dataset and scores every row against the truth; `evaluation` counts what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stanchion.errors import DatasetError
from stanchion.runs.inputs import Input
from stanchion.runs.ledger import Ledger
from stanchion.runs.recorder import Observe
from stanchion.runs.records import Run
from stanchion.runs.runner import Runner
from stanchion.text.names import normal_name
from stanchion.watch.evaluation import Row
from stanchion.workflow import Workflow


async def measure(
    workflow: Workflow,
    inputs: Sequence[Input],
    *,
    db: Path,
    model: str | None = None,
    concurrency: int = 8,
    observe: Observe = lambda _event, _run_id: None,
) -> list[Row]:
    """Run every row and score it; nobody answers reviews, so what would go to a person stays at `review`.

    Args:
        workflow: with `compare`, which says when a field counts as right.
        inputs: rows of a dataset, with their truth.
        db: where the runs are kept.
        model: the model's usual string; `recorded:NAME` answers with the rows' recorded answers.
        concurrency: how many runs at a time.
        observe: is told what happens, as a `Runner`'s observer.

    Returns:
        one scored row for each input, in the inputs' order.

    Raises:
        DatasetError: a row cannot be read, no row has a truth, or none an answer of the recorded model.
    """
    _refuse_unusable(inputs, model or "")

    async with Runner(workflow, db=db, model=model, concurrency=concurrency, observe=observe) as runner:
        runs = await runner.start(inputs)
        return [_row(workflow, item, run, runner.ledger) for item, run in zip(inputs, runs, strict=True)]


def _refuse_unusable(inputs: Sequence[Input], model: str) -> None:
    for item in inputs:
        if item.truth is None and "problem" in item.document:
            raise DatasetError(f"The row {item.id} cannot be measured: {item.document['problem']}")
    if not any(item.truth for item in inputs):
        raise DatasetError("No row of this dataset has a `truth`, so there is nothing to measure against.")
    name = model.removeprefix("recorded:")
    recorded = sorted({each for item in inputs for each in item.recorded or {}})
    if model.startswith("recorded:") and name not in recorded:
        raise DatasetError(f"No row has an answer of {name!r} on record; there are: {', '.join(recorded) or 'none'}.")


def _row(workflow: Workflow, item: Input, run: Run, ledger: Ledger) -> Row:
    output, truth = run.output or {}, item.truth or {}
    verdicts = ledger.verdicts(run.id)
    return Row(
        id=run.input_id,
        outcome=run.standing,
        rung=run.rung,
        output=output,
        confidence=run.confidence,
        verdicts=[verdict.model_dump(mode="json", exclude={"run_id", "task_id"}) for verdict in verdicts],
        calls=run.calls,
        cost_usd=run.cost_usd,
        ms=round(sum(step.ms or 0 for step in ledger.steps(run.id)), 3),
        correct={name: same(output.get(name), truth.get(name)) for name, same in workflow.compare.items()},
        group=normal_name(str(truth[workflow.group])) if workflow.group and truth.get(workflow.group) else None,
    )
