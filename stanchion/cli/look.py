"""Commands that look: runs, show, graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(runs)
    app.command()(show)
    app.command()(graph)


def runs(
    find: Annotated[
        str, typer.Option(metavar="TEXT", help="Words of the input id, the reason or the output; or a run's id.")
    ] = "",
    workflow: Annotated[str | None, typer.Option(help="Only of this workflow.")] = None,
    status: Annotated[str | None, typer.Option(help="queued, running, waiting, done or cancelled.")] = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            help="accepted, reviewed, rejected, expired, refused or failed; or where it stands until then: queued, "
            "running, review, paused or cancelled."
        ),
    ] = None,
    rung: Annotated[str | None, typer.Option(help="rules, model, repair, fallback or human.")] = None,
    version: Annotated[str | None, typer.Option(help="Only of this version of its workflow.")] = None,
    model: Annotated[str | None, typer.Option(help="Only made with this model.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only on this one's behalf.")] = None,
    step: Annotated[str | None, typer.Option(metavar="NODE", help="Only what has been at this node.")] = None,
    error: Annotated[str | None, typer.Option(metavar="CLASS", help="Only what this error ended.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Accepted then or later: 2026-11-23, or 2026-11-23T08:30Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Accepted before.")] = None,
    min_cost: Annotated[str | None, typer.Option(metavar="USD", help="US dollars, at least.")] = None,
    max_cost: Annotated[str | None, typer.Option(metavar="USD", help="US dollars, at most.")] = None,
    min_seconds: Annotated[str | None, typer.Option(metavar="SECONDS", help="Time at work, at least.")] = None,
    max_seconds: Annotated[str | None, typer.Option(metavar="SECONDS", help="Time at work, at most.")] = None,
    sort: Annotated[str, typer.Option(help="newest, oldest, slowest, dearest or least_sure first.")] = "newest",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many at the most.")] = 50,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """List runs, newest first: all, or those that meet every option given."""
    from stanchion.runs.finding import STANDINGS, RunFilter, find_runs
    from stanchion.runs.records import Status

    options.one_of("--status", status, get_args(Status))
    options.one_of("--outcome", outcome, STANDINGS)
    asked = {
        **{"text": find, "workflow": workflow, "status": status, "standing": outcome, "rung": rung, "version": version},
        **{
            "model": model,
            "tenant": tenant,
            "step": step,
            "error": error,
            "since": since,
            "until": until,
            "sort": sort,
        },
        **{"min_cost": min_cost, "max_cost": max_cost, "min_seconds": min_seconds, "max_seconds": max_seconds},
    }
    wanted = RunFilter.from_query(asked)
    with options.open_ledger(db) as ledger:
        found = ledger.runs_of([line.id for line in find_runs(ledger.database, wanted, limit=limit)])
        if as_json:
            output.print_json(found)
            return
        screen = output.console()
        screen.print(output.runs_table(found, width=screen.width) if found else "No runs.")
        output.tell_paused(ledger.database, workflow)


def show(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of it.")],
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what happened in a run: the path taken, each step with time, cost and verdict."""
    from stanchion.runs.reviews import Reviews

    with options.open_ledger(db) as ledger:
        run = ledger.run(run_id)
        steps, calls = ledger.steps(run.id), ledger.calls(run.id)
        verdicts, reviews = ledger.verdicts(run.id), Reviews(ledger.database).of_run(run.id)
    if as_json:
        output.print_json({"run": run, "steps": steps, "calls": calls, "verdicts": verdicts, "reviews": reviews})
        return
    screen = output.console()
    screen.print(f"run      {run.id}   {run.workflow} version {run.version}   model {run.model}")
    screen.print(f"input    {output.plain(run.input_id)}")
    if run.tenant:
        screen.print(f"tenant   {output.plain(run.tenant)}")
    screen.print(f"outcome  {run.standing}   {output.plain(run.reason, longest=200)}")
    screen.print(f"path     {' → '.join(step.node for step in steps) or '–'}")
    screen.print(f"cost     {output.money(run.cost_usd)} in {run.calls} calls\n")
    screen.print(_steps_table(steps, calls, {verdict.task_id: verdict for verdict in verdicts}))
    for remark in filter(None, map(_remark, calls)):
        screen.print(f"  {remark}")
    for name, value in (run.output or {}).items():
        screen.print(f"  {name:12} {output.plain(value, longest=100)}")
    for review in reviews:
        screen.print(f"\nreview {review.id}: {review.status} {review.action or ''} {output.plain(review.answered_by)}")


def graph(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A name of langgraph.json, or module:attribute.")],
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write an SVG picture there.")] = None,
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Mark the path that this run took.")
    ] = None,
    db: options.Db = None,
) -> None:
    """Draw a workflow: mermaid text on standard output, or an SVG file; offline."""
    from stanchion.runs import picture
    from stanchion.workflow import load_workflow

    compiled = load_workflow(workflow).graph
    taken, current = ([], None) if run_id is None else _way(run_id, db)
    if svg is None:
        typer.echo(picture.mermaid(compiled, taken, current))
        return
    output.write_text(svg, picture.svg(compiled, taken, current))
    typer.echo(f"Wrote {svg}.")


def _way(run_id: str, db: Path | None) -> tuple[list[str], str | None]:
    """Return the nodes that a run has been at, the end included, and the one at which it stands."""
    with options.open_ledger(db) as ledger:
        run = ledger.run(run_id)
        steps = ledger.steps(run.id)
    was_stopped = run.outcome == "failed" or any(step.error for step in steps[-1:])
    came_to_its_end = run.status == "done" and not was_stopped
    current = next((step.node for step in reversed(steps) if step.ended_at is None), None)
    return [step.node for step in steps] + (["__end__"] if came_to_its_end else []), current


def _steps_table(steps: Any, calls: Any, verdicts: dict[str, Any]) -> Table:
    from rich.text import Text

    table = output.table("#", "step", "verdict", "ms", "cost", "why")
    for step in steps:
        verdict = verdicts.get(step.task_id)
        spent = [call.cost_usd for call in calls if call.task_id == step.task_id]
        cost = "" if not spent else output.money(None if None in spent else sum(spent))
        name = step.node if step.attempts == 1 else f"{step.node} (attempt {step.attempts})"
        decision = verdict.decision if verdict else "waits or was cut off" if step.ended_at is None else ""
        why = [step.error or ""] + ([verdict.reason or "", *_failures(verdict)] if verdict else [])
        time = "" if step.ms is None else f"{step.ms:.1f}"
        said = "; ".join(dict.fromkeys(filter(None, why)))
        table.add_row(*map(Text, [str(step.position), name, decision, time, cost, output.plain(said, longest=300)]))
    return table


def _remark(call: Any) -> str:
    """Say what is worth knowing of a call beside its cost; nothing of one that was answered at once."""
    if call.attempts <= 1 and not call.shared_with and not call.warning and call.status != "unknown":
        return ""
    took = f"took {call.attempts} requests" if call.attempts > 1 else ""
    took = "shared the request of another run's same call" if call.shared_with else took
    did = " and ".join(filter(None, [took, _end(call)]))
    return " ".join(filter(None, [f"The call of {call.node} to {output.plain(call.model)} {did}.", call.warning]))


def _end(call: Any) -> str:
    match call.status:
        case "failed":
            return f"failed ({call.kind})" if call.kind else "failed"
        case "unknown":
            return "ended nobody knows how"
        case "started":
            return "is under way"
    return "was answered"


def _failures(verdict: Any) -> list[str]:
    return [f"{check.path} {check.reason}".strip() for check in verdict.checks or [] if check.status != "pass"]
