"""Commands for people who are asked: reviews, review."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table

    from stanchion.runs.records import Review


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(reviews)
    app.command()(review)


def reviews(
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at the most.")] = 20,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """List what waits for a person, the longest waiting first."""
    with options.open_ledger(db) as ledger:
        waiting, number = ledger.reviews(limit=limit), ledger.count_reviews()
    if as_json:
        output.print_json(waiting)
        return
    screen = output.console()
    if not waiting:
        screen.print("Nobody is waiting for an answer.")
        return
    for item in waiting:
        screen.print(_question(item), "")
    if number > len(waiting):
        screen.print(f"{number - len(waiting)} more wait; --limit shows them.\n")
    command = output.command("review", "ID", *(["--db", db] if db else []))
    typer.echo(f"The whole question, with the document:\n  {command}")
    typer.echo(f"Answer with:\n  {command}  --approve | --edit FIELD=VALUE | --reject --reason TEXT")


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
    """Answer a review exactly once: approve, edit or reject; its run goes on. Without an answer, show the question."""
    from stanchion import api
    from stanchion.errors import UsageError

    chosen = [name for name, given in (("approve", approve), ("edit", bool(edit)), ("reject", reject)) if given]
    if len(chosen) > 1:
        raise UsageError("Give one of --approve, --edit FIELD=VALUE and --reject, not several.")
    edits = _edits(edit or [])
    with options.open_ledger(db) as ledger:
        asked = ledger.review(review_id)
        run = ledger.run(asked.run_id)
    if not chosen:
        _show(asked, as_json)
        return
    after = api.answer(
        run.reference,
        asked.id,
        chosen[0],
        by=by or options.you(),
        edits=edits,
        reason=reason,
        db=options.existing_database(db),
    )
    if as_json:
        output.print_json(after)
    else:
        screen = output.console()
        screen.print(output.runs_table([after], fields=list(edits)[:3], width=screen.width))
    output.exit_if_failed([after])


def _show(review: Review, as_json: bool) -> None:
    """Show a whole question: what stands in the document, and what each rung says."""
    from rich.text import Text

    if as_json:
        output.print_json(review)
        return
    asked = review.question if isinstance(review.question, dict) else {}
    screen = output.console()
    screen.print(_question(review), "")
    rungs = {rung: said for rung, said in asked.get("alternatives", {}).items() if isinstance(said, dict)}
    fields = dict.fromkeys(name for said in rungs.values() for name in said)
    table = output.table("field", *rungs)
    for name in fields:
        table.add_row(*(Text(output.plain(cell)) for cell in (name, *(said.get(name) for said in rungs.values()))))
    screen.print(table, "")
    for line in str(asked.get("source", "")).split("\n"):
        screen.print(Text("  " + output.plain(line, longest=200)))


def _question(review: Review) -> Table:
    """One review as names and values: what is asked, why, and the proposal's plain fields."""
    from rich.table import Table
    from rich.text import Text

    asked = review.question if isinstance(review.question, dict) else {"question": review.question}
    proposal = asked.get("proposal") if isinstance(asked.get("proposal"), dict) else {}
    lines = {
        "review": f"{output.short(review.id)}  {review.input_id}",
        "question": asked.get("question"),
        "why": asked.get("reason"),
        **{f"  {name}": value for name, value in (proposal or {}).items() if not isinstance(value, dict | list)},
    }
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in lines.items():
        grid.add_row(Text(output.plain(name)), Text(output.plain(value, longest=160)))
    return grid


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
        except (ValueError, RecursionError):
            edits[name] = value
    return edits
