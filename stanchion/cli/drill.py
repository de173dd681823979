"""The command that lets everything fail, to see what comes of it: drill."""

from __future__ import annotations

from decimal import Decimal
from itertools import groupby
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

NOTHING = "–"
LEAST_SHOWN = Decimal("0.0001")  # US dollars: less has no digit in a table


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
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan", metavar="NAME", help="Only this fault; docs/drills.md lists them, and so does a wrong name."
        ),
    ] = None,
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

    plans = None if plan is None else [plan]
    _check(plans or [])
    loaded = load_workflow(workflow)
    inputs = _inputs(loaded, dataset)
    report = drills.drill(loaded, inputs, plans=plans, model=model, progress=output.progress)
    if as_json:
        output.print_json({**report.model_dump(), "held": report.held, "verdict": report.verdict})
    else:
        _print(report)
    if not report.held:
        raise typer.Exit(1)


def _check(plans: list[str]) -> None:
    from stanchion.audit.drills import check_names
    from stanchion.errors import UsageError

    try:
        check_names(plans)
    except UsageError as error:  # said here, because the command line makes one line of every error
        typer.echo(f"stanchion: {error}", err=True)
        raise typer.Exit(2) from error


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
    """Lay rows out in a block per step; what may be 0 everywhere has a column only where it is not."""
    from rich.text import Text

    columns = {"": _mark, "fault": _fault, "outcomes": _outcomes, "requests": _requests, "spent": _spent}
    optional = {"late": _late, "lost": _lost, "changed": _changed}
    columns |= {name: cell for name, cell in optional.items() if any(cell(row) != NOTHING for row in rows)}
    table = output.table(*columns)
    for column in table.columns:
        column.no_wrap = column.header not in ("fault", "outcomes")
        column.justify = "left" if column.header in ("", "fault", "outcomes") else "right"
    for step, block in groupby(rows, key=lambda row: row.step):
        if table.rows:
            table.add_section()
        kept = list(block)
        runs = f"{kept[0].runs} run{'s' if kept[0].runs > 1 else ''} each"
        table.add_row("", Text(output.plain(f"{step or 'everything'}, {runs}"), style="bold"))
        for row in kept:
            table.add_row(*(Text(output.plain(cell(row))) for cell in columns.values()))
    return table


def _mark(row: Row) -> str:
    return "✗" if row.broken else "✓"


def _fault(row: Row) -> str:
    return row.fault


def _outcomes(row: Row) -> str:
    return ", ".join(f"{number} {name}" for name, number in row.outcomes.items())


def _requests(row: Row) -> str:
    return f"{row.requests_per_call:.1f}/{row.most_requests}" if row.calls else NOTHING


def _spent(row: Row) -> str:
    if row.spent_usd is None:
        return NOTHING
    return f"<${LEAST_SHOWN}" if 0 < row.spent_usd < LEAST_SHOWN else output.money(row.spent_usd)


def _late(row: Row) -> str:
    return f"{row.late_ms:.0f} ms" if row.late_ms else NOTHING


def _lost(row: Row) -> str:
    return str(row.lost or NOTHING)


def _changed(row: Row) -> str:
    return str(row.changed or NOTHING)
