"""Commands that keep house: erase, prune, backup."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from stanchion.cli import options, output

UNITS = {"d": "days", "h": "hours", "m": "minutes", "w": "weeks"}


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(erase)
    app.command()(prune)
    app.command()(backup)


def erase(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of it.")],
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Erase what a run and all made from it hold: document, answers, states. That they happened stays on record."""
    from stanchion.runs.forgetting import erase as erase_run

    with options.open_ledger(db) as ledger:
        erased = erase_run(ledger.database, run_id, by=options.who(None))
        above = [run for run in ledger.runs_of([erased[0].origin or ""]) if run.erased_at is None]
    if as_json:
        output.print_json(erased)
        return
    run, others = erased[0], len(erased) - 1
    if not run.id.startswith(run_id):
        typer.echo(f"The run {run_id} was pruned before; erased what the {len(erased)} made from it held.")
        return
    made_from_it = f", and the {others} made from it," if others else ""
    typer.echo(f"Erased what the run {run.id}{made_from_it} held. Backups made before still hold it.")
    for origin in above:
        typer.echo(f"It was made from the run {origin.id}, which still holds the same document.")


def prune(
    older_than: Annotated[str, typer.Option("--older-than", metavar="AGE", help="Such as 90d, 12h or 4w.")],
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete runs that ended longer ago than this, with their checkpoints."""
    from stanchion.clock import SystemClock
    from stanchion.runs.forgetting import prune as prune_runs

    with options.open_ledger(db) as ledger:
        pruned = prune_runs(ledger.database, SystemClock().now() - _age(older_than), by=options.who(None))
    if as_json:
        output.print_json({"pruned": pruned})
    else:
        typer.echo(f"Deleted {pruned} runs.")


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="Where the copy goes; must not exist.")],
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Copy the database to another file, also while it is in use; its trail's key and head go beside the copy."""
    from stanchion.store.trail import Trail

    with options.open_ledger(db) as ledger:
        Trail(ledger.database).backup(target)
    if as_json:
        output.print_json({"backup": target})
    else:
        typer.echo(f"Wrote {target}.")


def _age(text: str) -> timedelta:
    from stanchion.errors import UsageError

    match = re.fullmatch(r"(\d{1,4})([dhmw])", text.strip())
    if match is None:
        raise UsageError(f"--older-than takes a number and a unit, such as 90d, 12h or 4w; not {text!r}.")
    return timedelta(**{UNITS[match[2]]: int(match[1])})
