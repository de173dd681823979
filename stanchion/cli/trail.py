"""Commands about the trail: who did what, whether anybody meddled with it, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table

    from stanchion.runs.ledger import Ledger
    from stanchion.store.trail import Entry, Head, Trail

MOST_SHOWN = 100  # problems that a terminal is told; --json has a thousand
LONGEST_LINE = 300


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    group = typer.Typer(name="trail", help="Who did what, and whether anybody meddled with it.", no_args_is_help=True)
    group.command("list")(list_entries)
    for command in (verify, head, restart):
        group.command()(command)
    app.add_typer(group)


def list_entries(
    run_id: Annotated[str | None, typer.Option("--run", metavar="RUN", help="Only what concerns this run.")] = None,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Only what this person did.")] = None,
    what: Annotated[
        str | None, typer.Option("--what", metavar="TEXT", help="Only this, such as 'review answered'.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")] = 20,
    before: Annotated[int | None, typer.Option("--before", metavar="SEQ", help="Only those before this one.")] = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """List who did what, the newest first."""
    from stanchion.store.trail import Trail

    with options.open_ledger(db) as ledger:
        run = _whole(ledger, run_id) if run_id else None
        entries = Trail(ledger.database).entries(run_id=run, by=by, what=what, limit=limit, before_seq=before)
    if as_json:
        output.print_json(entries)
    elif entries:
        output.console().print(_table(entries))
    else:
        typer.echo("Nothing of that kind stands in the trail.")


def verify(
    head_file: Annotated[
        Path | None, typer.Option("--head", metavar="FILE", help="A head kept elsewhere, to be checked as well.")
    ] = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Find entries that were altered, removed, added, reordered or cut off; exit code 1 where there are any."""
    kept = _read_head(head_file) if head_file else None
    with _open_trail(db) as trail:
        report = trail.verify(kept)
    if as_json:
        output.print_json({"ok": report.ok, **vars(report)})
    else:
        for problem in report.problems[:MOST_SHOWN]:
            place = "The trail" if problem.seq is None else f"Entry {problem.seq}"
            typer.echo(output.plain(f"{place}: {problem.what}", longest=LONGEST_LINE))
        if report.found > MOST_SHOWN:
            typer.echo(f"… and {report.found - MOST_SHOWN} more; --json names more of them.")
        for seq in report.restarts:
            typer.echo(f"Note: the trail was restarted at entry {seq}; before it, entries may be missing.")
        ends = f", of which the head vouches for {report.head.count}" if report.head else ""
        found = "nothing was altered" if report.ok else f"{report.found} problem{'s' * (report.found > 1)}"
        entries = "entry" if report.rows == 1 else "entries"
        typer.echo(f"{report.rows} {entries}{ends}: {found}.")
    if not report.ok:
        raise typer.Exit(1)


def head(db: options.Db = None) -> None:
    """Print how the trail ends, as JSON, to be kept where nobody who alters the database can alter it."""
    with _open_trail(db) as trail:
        output.print_json(trail.head())


def restart(
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in your words.")] = "",
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who does it. Default: you.")] = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Go on from the entries as they are, after a backup was restored that is not what the head says."""
    with _open_trail(db) as trail:
        new = trail.restart(by=options.who(by), reason=reason)
    if as_json:
        output.print_json(new)
    else:
        typer.echo(f"The trail goes on at entry {new.count}, which says so; `stanchion trail verify` names it.")


@contextmanager
def _open_trail(db: Path | None) -> Iterator[Trail]:
    from stanchion.store import Database
    from stanchion.store.trail import Trail

    database = Database(options.existing_database(db))
    try:
        yield Trail(database)
    finally:
        database.close()


def _whole(ledger: Ledger, run_id: str) -> str:
    """Return the whole id of a run, or what was given: the trail remembers runs that were pruned."""
    from stanchion.errors import RunNotFound

    try:
        return ledger.full_id(run_id)
    except RunNotFound:
        return run_id


def _read_head(file: Path) -> Head:
    from stanchion.errors import StoreError, UsageError
    from stanchion.store.trail_files import MOST_BYTES, read_head

    try:
        with file.open("rb") as opened:
            return read_head(opened.read(MOST_BYTES).decode("ascii"), file)
    except (OSError, ValueError, StoreError) as error:
        raise UsageError(f"--head takes a file that `stanchion trail head` printed; {file} is none.") from error


def _table(entries: Sequence[Entry]) -> Table:
    from rich.text import Text

    table = output.table("#", "when", "by", "what", "of", "why")
    for entry in entries:
        when = entry.at[:16].replace("T", " ")
        known = "" if entry.known_by == "login" else f" ({entry.known_by})"
        of = entry.subject or entry.run_id or entry.workflow
        why = "erased" if entry.erased else (entry.content or {}).get("reason")
        cells = (entry.seq, when, f"{entry.by}{known}", entry.what, of, why or " ")
        table.add_row(*(Text(output.plain(cell, longest=80)) for cell in cells))
    return table
