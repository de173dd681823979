"""The command that lets everything fail, to see what comes of it: drill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table

    from stanchion.audit.drills import Report
    from stanchion.audit.rows import Row
    from stanchion.runs.inputs import Input
    from stanchion.workflow import Workflow


def add_to(app: typer.Typer) -> None:
    """Add this command.

    Args:
        app: the command line.
    """
    app.command()(drill)


def drill(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A name of langgraph.json, or module:attribute.")],
    dataset: Annotated[
        Path | None,
        typer.Argument(metavar="[DATASET]", help="Inputs, as for run. Default: the workflow's own examples."),
    ] = None,
    plan: Annotated[str | None, typer.Option("--plan", metavar="NAME", help="Only this fault. Default: all.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Who answers where no fault strikes, asked and paid for. Default: recorded or made-up answers, free.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Let every fault strike every step that asks a model, and show what comes of runs, requests, money and time."""
    from stanchion.audit import drills
    from stanchion.workflow import load_workflow

    loaded = load_workflow(workflow)
    inputs = _inputs(loaded, dataset)
    plans = None if plan is None else [plan]
    report = drills.drill(loaded, inputs, plans=plans, model=model, progress=output.progress)
    if as_json:
        output.print_json({**report.model_dump(), "held": report.held, "verdict": report.verdict})
    else:
        _print(report)
    if not report.held:
        raise typer.Exit(1)


def _inputs(workflow: Workflow, dataset: Path | None) -> list[Input]:
    from stanchion.errors import DatasetError, UsageError
    from stanchion.runs.inputs import read_inputs

    path = dataset or workflow.examples
    if path is None:
        raise UsageError(f"The workflow {workflow.name} has no examples of its own: name a DATASET.")
    if not path.exists():
        raise DatasetError(f"There is no dataset {path}.")
    return list(read_inputs([str(path)]))


def _print(report: Report) -> None:
    screen = output.console()
    screen.print(_table(report.rows))
    screen.print()
    for note in report.notes:
        screen.print(output.plain(note, longest=1_000))
    screen.print(output.plain(report.verdict, longest=10_000))


def _table(rows: list[Row]) -> Table:
    from rich.text import Text

    headings = ("step", "fault", "runs", "outcomes", "requests", "spent", "late", "lost", "changed", "")
    table = output.table(*headings)
    for column in table.columns:
        column.no_wrap = column.header != "outcomes"
        if column.header in ("runs", "requests", "spent", "late", "lost", "changed"):
            column.justify = "right"
    for row in rows:
        outcomes = ", ".join(f"{number} {name}" for name, number in row.outcomes.items())
        late = f"{row.late_ms:.0f} ms" if row.late_ms else "–"
        requests = f"{row.requests_per_call:.1f}, max {row.most_requests}" if row.calls else "–"
        cells = [row.step or "everything", row.fault, str(row.runs), outcomes, requests, output.money(row.spent_usd)]
        cells += [late, str(row.lost), str(row.changed), "✗" if row.broken else "✓"]
        table.add_row(*(Text(output.plain(cell)) for cell in cells))
    return table
