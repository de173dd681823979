"""The command that measures: eval."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from stanchion.cli import options, output


def add_to(app: typer.Typer) -> None:
    """Add this command.

    Args:
        app: the command line.
    """
    app.command("eval")(evaluate)


def evaluate(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A name of langgraph.json, or module:attribute.")],
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help='JSON lines of {"id", "input", "truth", "recorded"}.')
    ],
    model: options.Model = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write one JSON line per row there.")
    ] = None,
    db: Annotated[
        Path | None, typer.Option("--db", metavar="FILE", help="Keep the runs there. Default: nowhere.")
    ] = None,
    concurrency: options.Concurrency = 8,
    as_json: options.AsJson = False,
) -> None:
    """Measure a workflow against known answers: accuracy, coverage, silent errors, cost; with intervals."""
    from stanchion.blocking import wait_for
    from stanchion.errors import DatasetError, UsageError
    from stanchion.runs.inputs import read_inputs
    from stanchion.watch import evaluation
    from stanchion.watch.measure import measure
    from stanchion.workflow import load_workflow

    loaded = load_workflow(workflow)
    if not dataset.is_file():
        raise DatasetError(f"There is no dataset {dataset}.")
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out names a file in {out.parent}, which is no folder.")  # before anything is spent
    inputs = list(read_inputs([str(dataset)]))
    with tempfile.TemporaryDirectory() as folder, output.progress(len(inputs), f"measuring {loaded.name}") as observe:
        kept = db or Path(folder) / "eval.db"
        rows = wait_for(measure(loaded, inputs, db=kept, model=model, concurrency=concurrency, observe=observe))
    report = evaluation.evaluate(rows, critical=loaded.critical)
    if out is not None:
        output.write_text(out, "".join(f"{evaluation.line(row)}\n" for row in rows))
    if as_json:
        output.print_json(report.to_json_dict())
    else:
        screen = output.console()
        for table in evaluation.tables(report):
            screen.print(table)
    output.exit_if_failed(rows)
