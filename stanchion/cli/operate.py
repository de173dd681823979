"""Commands for operators: cancel, pause, unpause, rerun, fork."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options, output
from stanchion.errors import UsageError

if TYPE_CHECKING:
    from stanchion.runs.operations import Operations
    from stanchion.runs.records import Run

Runs = Annotated[list[str], typer.Argument(metavar="RUN…", help="Ids, or the beginnings of them.")]
RunsOrNone = Annotated[list[str] | None, typer.Argument(metavar="[RUN]…", help="Ids, or the beginnings of them.")]
Whole = Annotated[
    str | None, typer.Option("--workflow", metavar="NAME", help="All runs of this workflow, instead of some.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept in the trail.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who does it. Default: you.")]
Model = Annotated[
    str | None, typer.Option("--model", metavar="MODEL", help="For the new run. Default: the old run's model.")
]


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    for command in (cancel, pause, unpause, rerun, fork):
        app.command()(command)


def cancel(
    run_ids: Runs, reason: Reason = "", by: By = None, db: options.Db = None, as_json: options.AsJson = False
) -> None:
    """End runs for good, whoever works on them, and close what they ask people."""
    with _operations(db) as do:
        _tell(do.cancel(run_ids, by=options.who(by), reason=reason), run_ids, "cancelled", as_json)


def pause(
    run_ids: RunsOrNone = None,
    workflow: Whole = None,
    reason: Reason = "",
    by: By = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Hold runs back, or all of a workflow, until they are unpaused; a run at work stops before its next step."""
    with _operations(db) as do:
        if _is_workflow(run_ids, workflow):
            paused = do.pause_workflow(str(workflow), by=options.who(by), reason=reason)
            _say(paused, f"No run of {workflow} begins or goes on until it is unpaused.", as_json)
        else:
            _tell(do.pause(run_ids or [], by=options.who(by), reason=reason), run_ids or [], "paused", as_json)


def unpause(
    run_ids: RunsOrNone = None,
    workflow: Whole = None,
    reason: Reason = "",
    by: By = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Let paused runs, or those of a paused workflow, go on: a worker takes them, or `stanchion resume`."""
    with _operations(db) as do:
        if _is_workflow(run_ids, workflow):
            do.unpause_workflow(str(workflow), by=options.who(by), reason=reason)
            _say({"workflow": workflow}, f"The runs of {workflow} may go on.", as_json)
        else:
            _tell(do.unpause(run_ids or [], by=options.who(by), reason=reason), run_ids or [], "unpaused", as_json)


def rerun(
    run_ids: Runs,
    reason: Reason = "",
    model: Model = None,
    prompts: Annotated[
        str,
        typer.Option("--prompts", metavar="LABEL", help="Whose versions of the prompts: production or candidate."),
    ] = "production",
    by: By = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Queue a new run with the same input for each of these; the old ones stay as they are."""
    with _operations(db) as do:
        made = do.rerun(run_ids, by=options.who(by), reason=reason, model=model, prompts=prompts)
    _tell(made, run_ids, "queued again", as_json)
    _tell_how_to_go_on(made, db, as_json)


def fork(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the beginning of it.")],
    at: Annotated[
        str, typer.Option("--at", metavar="STEP", help="Before which step: its number, or its node (the last visit).")
    ],
    edit: Annotated[
        list[str] | None,
        typer.Option("--edit", metavar="KEY=VALUE", help="Another value for a key of the state; repeat for more."),
    ] = None,
    reason: Reason = "",
    model: Model = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", metavar="LABEL", help="Whose versions of the prompts. Default: those of the old run."
        ),
    ] = None,
    by: By = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Queue a new run that goes on from before a step of another one, which stays as it is."""
    from stanchion.blocking import wait_for
    from stanchion.runs.forks import fork as make_fork

    who, edits = options.who(by), options.edits(edit or [], "key")
    with options.open_ledger(db) as ledger:
        made = wait_for(
            make_fork(ledger.database, run_id, at=at, by=who, reason=reason, edits=edits, model=model, prompts=prompts)
        )
    _say(made, f"The run {made.id} is queued: it goes on from before that step of {made.origin}.", as_json)
    _tell_how_to_go_on([made], db, as_json)


@contextmanager
def _operations(db: Path | None) -> Iterator[Operations]:
    from stanchion.runs.operations import Operations

    with options.open_ledger(db) as ledger:
        yield Operations(ledger.database)


def _is_workflow(run_ids: Sequence[str] | None, workflow: str | None) -> bool:
    if bool(run_ids) == bool(workflow):
        raise UsageError("Name runs, or a whole workflow with --workflow: one of the two.")
    return bool(workflow)


def _tell(runs: Sequence[Run], wanted: Sequence[str], what: str, as_json: bool) -> None:
    """Say what became of the runs named; those that could not be are counted."""
    others = len(set(wanted)) - len(runs)
    left = f" {others} could not be: they have ended, or were so already." if others > 0 else ""
    ids = ", ".join(output.short(run.id) for run in runs)
    _say(runs, f"{len(runs)} run{'s' * (len(runs) != 1)} {what}{': ' if ids else ''}{ids}.{left}", as_json)


def _say(result: Any, sentence: str, as_json: bool) -> None:
    if as_json:
        output.print_json(result)
    else:
        typer.echo(output.plain(sentence, longest=max(len(sentence), 1)))


def _tell_how_to_go_on(runs: Sequence[Run], db: Path | None, as_json: bool) -> None:
    if runs and not as_json:
        ids = [output.short(run.id) for run in runs[:10]] if len(runs) <= 10 else []
        line = output.command("resume", *ids, *(["--db", db] if db else []))
        typer.echo(f"A worker takes it up, or this:\n  {line}")
