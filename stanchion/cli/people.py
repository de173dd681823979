"""Commands for people who are asked: reviews, review, corrections."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table

    from stanchion.people import Person
    from stanchion.runs.records import Review

Workflow = Annotated[str | None, typer.Option("--workflow", metavar="NAME", help="Only of this workflow.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(reviews)
    app.command()(review)
    app.command()(corrections)


def reviews(
    workflow: Workflow = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at the most.")] = 20,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """List what waits for a person, the largest expected loss first."""
    from stanchion.runs.reviews import Reviews

    with options.open_ledger(db) as ledger:
        desk = Reviews(ledger.database)
        waiting, number = desk.waiting(workflow=workflow, limit=limit), desk.number_waiting(workflow=workflow)
    if as_json:
        output.print_json(waiting)
        return
    screen = output.console()
    if not number:
        screen.print("Nobody is waiting for an answer.")
        return
    screen.print(_queue(waiting))
    if spoilt := min(number, limit) - len(waiting):
        screen.print(f"{spoilt} cannot be read: something other than Stanchion changed their rows.")
    if number > limit:
        screen.print(f"{number - limit} more wait; --limit shows them.")
    command = output.command("review", "ID", *(["--db", db] if db else []))
    typer.echo(f"\nThe whole question, with the document:\n  {command}")
    typer.echo(f"Answer with:\n  {command}  --approve | --edit FIELD=VALUE | --reject --reason TEXT")


def review(
    review_id: Annotated[str, typer.Argument(metavar="ID", help="A review's or its run's id, or the beginning of it.")],
    approve: Annotated[bool, typer.Option("--approve", help="The proposal is right.")] = False,
    edit: Annotated[
        list[str] | None, typer.Option("--edit", metavar="FIELD=VALUE", help="Correct a field; repeat for more.")
    ] = None,
    value: Annotated[
        str | None,
        typer.Option("--value", metavar="JSON", help="The whole value, or the answer to a question of its own form."),
    ] = None,
    reject: Annotated[
        bool, typer.Option("--reject", help="The document is not acceptable; --reason says why.")
    ] = False,
    claim: Annotated[bool, typer.Option("--claim", help="Take it for ten minutes: nobody else answers it.")] = False,
    release: Annotated[bool, typer.Option("--release", help="Give it back.")] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in your words.")] = "",
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who answers. Default: you.")] = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Answer a review exactly once: approve, edit or reject; its run goes on. Without an answer, show the question."""
    from stanchion import reviews as desk

    given = {
        "approve": approve,
        "edit": bool(edit),
        "value": value is not None,
        "reject": reject,
        "claim": claim,
        "release": release,
    }
    chosen = _at_most_one([name for name, wanted in given.items() if wanted])
    who = options.who(by)
    path = options.existing_database(db)
    match chosen:
        case "claim":
            desk.claim(review_id, by=who, db=path)
        case "release":
            desk.release(review_id, by=who, db=path)
        case "approve" | "edit" | "value" | "reject":
            action = "edit" if chosen == "value" else chosen
            said = {"edits": options.edits(edit or [], "field"), "output": _json(value), "reason": reason}
            _answer(review_id, action, who, path, as_json, said)
            return
    _show(desk.get(review_id, db=path), as_json)


def corrections(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write there. Default: standard output.")
    ] = None,
    workflow: Workflow = None,
    approved: Annotated[
        bool, typer.Option("--approved", help="Also what people found right as it was proposed.")
    ] = False,
    db: options.Db = None,
) -> None:
    """Export what people corrected as a dataset of JSON lines, which `stanchion eval` reads."""
    from stanchion.runs import corrections as corrected

    with options.open_ledger(db) as ledger:
        rows = corrected.corrections(ledger.database, workflow=workflow, approved=approved)
        if out is None:
            for line in _lines(rows):
                typer.echo(line, nl=False)
        else:
            lines = list(_lines(rows))
            output.write_text(out, "".join(lines))
            typer.echo(f"{len(lines)} example{'s' * (len(lines) != 1)} in {output.plain(out, longest=500)}.")


def _lines(rows: Iterable[dict[str, Any]]) -> Iterable[str]:
    for row in rows:
        yield json.dumps(row).replace("\x7f", "\\u007f") + "\n"  # nothing that a terminal might obey


def _at_most_one(chosen: list[str]) -> str | None:
    from stanchion.errors import UsageError

    if len(chosen) > 1:
        options_given = " and ".join(f"--{name}" for name in chosen)
        raise UsageError(f"Give one of {options_given}, not both.")
    return chosen[0] if chosen else None


def _answer(review_id: str, action: str, who: Person, db: Path, as_json: bool, said: dict[str, Any]) -> None:
    from stanchion import reviews as desk

    after = desk.answer(review_id, action, by=who, db=db, **said)
    if as_json:
        output.print_json(after)
    else:
        screen = output.console()
        screen.print(output.runs_table([after], fields=list(said["edits"])[:3], width=screen.width))
        if after.status == "waiting":
            screen.print("It goes on when a worker takes it, or has another question: `stanchion reviews`.")
            with options.open_ledger(db) as ledger:
                output.tell_paused(ledger.database, after.workflow)
    output.exit_if_failed([after])


def _queue(waiting: list[Review]) -> Table:
    """What waits, one line each: what is at stake, how long it has waited, when it expires, who has it."""
    from rich.text import Text

    from stanchion.clock import SystemClock

    now = SystemClock().now()
    table = output.table("review", "input", "workflow", "at stake", "waits", "due in", "claimed by", "why")
    for item in waiting:
        asked = item.question if isinstance(item.question, dict) else {}
        held = item.claimed_by if item.claimed_until is not None and item.claimed_until > now else None
        cells = [
            output.short(item.id),
            output.plain(item.input_id, longest=20),
            output.plain(item.workflow, longest=16),
            f"{item.priority:,.2f}",
            _span(item.asked_at, now),
            "–" if item.due_at is None else _span(now, item.due_at),
            output.plain(held, longest=16),
            output.plain(asked.get("reason") or asked.get("question") or item.question, longest=60),
        ]
        table.add_row(*map(Text, cells))
    return table


def _span(start: datetime, end: datetime) -> str:
    """The time between two moments, in its largest unit; `now` where it is over."""
    seconds = (end - start).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now" if seconds <= 0 else f"{seconds:.0f} s"


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
        "status": _standing(review),
        **{f"  {name}": value for name, value in (proposal or {}).items() if not isinstance(value, dict | list)},
    }
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in lines.items():
        grid.add_row(Text(output.plain(name)), Text(output.plain(value, longest=160)))
    return grid


def _standing(review: Review) -> str:
    from stanchion.runs.reviews import told

    if review.status != "asked":
        return told(review)
    takes = f"; takes two people, and {review.first_by or 'nobody'} has answered" if review.people == 2 else ""
    held = f"; {review.claimed_by} has it until {review.claimed_until:%H:%M} UTC" if review.claimed_until else ""
    due = f"; expires at {review.due_at:%Y-%m-%d %H:%M} UTC" if review.due_at else ""
    return f"open to a {review.role}{takes}{held}{due}"


def _json(text: str | None) -> Any:
    from stanchion.errors import UsageError

    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError("--value takes JSON, such as '{\"total\": 5}'.") from error
