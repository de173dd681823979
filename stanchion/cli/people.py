"""Commands for people who are asked: reviews, review."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer

from stanchion.cli import options, output
from stanchion.cli.look import _ledger


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(reviews)
    app.command()(review)


def reviews(db: options.Db = None, as_json: options.AsJson = False) -> None:
    """List what waits for a person, the longest waiting first."""
    from rich.table import Table
    from rich.text import Text

    with _ledger(db) as ledger:
        waiting = ledger.reviews()
    screen = output.console()
    if as_json:
        output.print_json(waiting)
        return
    if not waiting:
        screen.print("Nobody is waiting for an answer.")
        return
    table = Table(header_style="bold", pad_edge=False)
    for heading in ("review", "input", "question", "proposal", "why"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "review")
    for item in waiting:
        question = item.question if isinstance(item.question, dict) else {"question": item.question}
        proposal = question.get("proposal") or {}
        shown = ", ".join(f"{name}={value}" for name, value in proposal.items() if isinstance(value, str))
        cells = [item.id, item.input_id, question.get("question"), shown, question.get("reason")]
        table.add_row(*(Text(output.plain(cell, longest=160)) for cell in cells))
    screen.print(table)
    screen.print("Answer with: stanchion review ID --approve | --edit field=value | --reject --reason TEXT")


def review(
    review_id: Annotated[str, typer.Argument(metavar="ID", help="A review's or its run's id, or the beginning of it.")],
    approve: Annotated[bool, typer.Option("--approve", help="The proposal is right.")] = False,
    edit: Annotated[
        list[str] | None, typer.Option("--edit", metavar="FIELD=VALUE", help="Correct a field; repeat for more.")
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="The document is not acceptable.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in your words.")] = "",
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who answers. Default: you.")] = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Answer a review: approve, edit or reject; exactly once. The run then goes on."""
    from stanchion import api
    from stanchion.errors import UsageError

    chosen = [name for name, given in (("approve", approve), ("edit", bool(edit)), ("reject", reject)) if given]
    if len(chosen) != 1:
        raise UsageError("Give exactly one of --approve, --edit FIELD=VALUE and --reject.")
    with _ledger(db) as ledger:
        asked = ledger.review(review_id)
        run = ledger.run(asked.run_id)
    after = api.answer(
        run.reference,
        asked.id,
        chosen[0],
        by=by or getpass.getuser(),
        edits=_edits(edit or []),
        reason=reason,
        model=run.model,
        db=options.existing_database(db),
    )
    if as_json:
        output.print_json(after)
    else:
        output.console().print(output.runs_table([after], fields=list(after.output or {})[:3]))


def _edits(pairs: list[str]) -> dict[str, Any]:
    import json

    from stanchion.errors import UsageError

    edits: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--edit takes FIELD=VALUE; {pair!r} has no field before an equals sign.")
        try:
            edits[name] = json.loads(value) if value[:1] in "[{" or value == "null" else value
        except ValueError:
            edits[name] = value
    return edits
