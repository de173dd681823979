"""Commands that do work: run, resume, work, demo."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options, output
from stanchion.errors import StanchionError

if TYPE_CHECKING:
    import asyncio

    from stanchion.runs.inputs import Input
    from stanchion.runs.ledger import Ledger
    from stanchion.runs.recorder import Observe
    from stanchion.runs.records import Run

DEMO_DB = Path(".stanchion/demo.db")


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(run)
    app.command()(resume)
    app.command()(work)
    app.command()(demo)


def run(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A name of langgraph.json, or module:attribute.")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Files, folders, JSON lines (.jsonl, .jsonl.gz), or - for stdin."),
    ],
    model: options.Model = None,
    db: options.Db = None,
    concurrency: options.Concurrency = 8,
    prompts: Annotated[
        str,
        typer.Option("--prompts", metavar="LABEL", help="Whose versions of the prompts: production or candidate."),
    ] = "production",
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="NAME", help="On whose behalf, for the cap money.tenant.")
    ] = "",
    queue: Annotated[
        bool, typer.Option("--queue", help="Only store them as queued: `stanchion work` runs what is queued.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a workflow over documents; everything is stored as queued before the first one runs."""
    from stanchion.runs.inputs import read_inputs
    from stanchion.workflow import load_workflow

    loaded = load_workflow(workflow)
    inputs = list(read_inputs(paths, stdin=sys.stdin.buffer))
    how = {"model": model, "concurrency": concurrency, "prompts": prompts, "tenant": tenant}
    runs = _run_with_progress(loaded, inputs, db, only_queue=queue, **how)
    _report(runs, as_json, fields=_fields(loaded), db=db)


def resume(
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]…", help="Only these; else everything unfinished.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Instead of the model the run was made with.")
    ] = None,
    db: options.Db = None,
    concurrency: options.Concurrency = 8,
    as_json: options.AsJson = False,
) -> None:
    """Go on with everything that can go on: queued, cut off by a crash, or answered by a person."""
    from stanchion.blocking import wait_for

    with options.open_ledger(db) as ledger:
        unfinished = _unfinished(ledger, run_ids)
    runs: list[Run] = []
    troubles: list[StanchionError] = []
    with _resumable(db), output.progress(len(unfinished), "resuming") as observe:
        for reference in dict.fromkeys(run.reference for run in unfinished):
            some = [run.id for run in unfinished if run.reference == reference]
            try:
                runs += wait_for(_resume(reference, some, model, options.existing_database(db), concurrency, observe))
            except StanchionError as error:  # the other workflows go on
                troubles.append(error)
    if troubles and not runs:
        raise troubles[0]
    for trouble in troubles:
        typer.echo(f"stanchion: {output.plain(trouble, longest=2_000)}", err=True)
    if not runs and not as_json:
        output.console().print("Nothing to resume.")
        with options.open_ledger(db) as ledger:
            output.tell_paused(ledger.database)
        return
    _report(runs, as_json, db=db)
    if troubles:
        raise typer.Exit(2)


def work(
    workflows: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORKFLOW]…", help="Only these; else whatever the runs in the database name."),
    ] = None,
    db: options.Db = None,
    concurrency: options.Concurrency = 8,
) -> None:
    """Run what is queued, go on with what people answered, expire what is due; until interrupted or terminated."""
    import asyncio
    import signal

    from stanchion.runs.worker import Worker

    worker = Worker(
        workflows or [],
        db=db,
        concurrency=concurrency,
        observe=lambda event, run_id: _tell(event, run_id),
        trouble=lambda words: typer.echo(f"stanchion: {output.plain(words, longest=2_000)}", err=True),
    )

    async def until_told() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for which in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(which, _stop, stop, loop, which)
        await worker.run(stop)

    typer.echo("Working; Ctrl-C stops after the steps under way.", err=True)
    asyncio.run(until_told())
    typer.echo("Stopped; whatever was under way goes on when work begins again.", err=True)


def _stop(stop: asyncio.Event, loop: asyncio.AbstractEventLoop, which: int) -> None:
    """Let the worker stop in peace; a second signal is as deadly as ever."""
    stop.set()
    loop.remove_signal_handler(which)


def _tell(event: str, run_id: str) -> None:
    words = {"claimed": "begun", "ended": "ended", "waiting": "waits for a person", "lost": "was taken over"}
    if event in words:
        typer.echo(f"{output.short(run_id)} {words[event]}")


def demo(
    db: Annotated[Path, typer.Option("--db", metavar="FILE", help="The database file.")] = DEMO_DB,
    as_json: options.AsJson = False,
) -> None:
    """Run receipts and bad inputs of our own making, with recorded answers, good and bad; no key, no network."""
    from stanchion.graphs.demo import DATASET
    from stanchion.runs.inputs import read_inputs
    from stanchion.workflow import load_workflow

    loaded = load_workflow("stanchion.graphs.receipts:workflow")
    runs = _run_with_progress(loaded, list(read_inputs([str(DATASET)])), db, model="recorded:demo")
    if as_json:
        output.print_json(runs)
    else:
        _tell_demo(runs, db)
    output.exit_if_failed(runs)


def _tell_demo(runs: Sequence[Run], db: Path) -> None:
    screen = output.console()
    screen.print(output.runs_table(runs, fields=("date", "total"), width=screen.width))
    screen.print(f"\n{len(runs)} receipts and bad inputs, with recorded answers of a model: {output.counts(runs)}.")
    screen.print(_spent(runs, db))
    shown = next((run for run in runs if run.status == "waiting"), runs[0])
    typer.echo(f"The database: {db}")
    typer.echo(f"All of it in a browser, with the extra ui:\n  {output.command('console', '--db', db)}")
    typer.echo(f"Each step of one run:\n  {output.command('show', output.short(shown.id), '--db', db)}")
    typer.echo(f"What waits for a person, and how to answer:\n  {output.command('reviews', '--db', db)}")


def _spent(runs: Sequence[Run], db: Path) -> str:
    with options.open_ledger(db) as ledger:
        calls = [call for run in runs for call in ledger.calls(run.id)]
    tokens = sum((call.input_tokens or 0) + (call.output_tokens or 0) for call in calls)
    unasked = sum(run.calls == 0 for run in runs)
    return (
        f"It cost nothing: {len(calls)} calls were answered from the record (about {tokens:,} tokens); {unasked} "
        "documents needed no model at all."
    )


async def _resume(
    reference: str, run_ids: list[str], model: str | None, db: Path, concurrency: int, observe: Observe
) -> list[Run]:
    from stanchion.runs.runner import Runner

    async with Runner(reference, db=db, model=model, concurrency=concurrency, observe=observe) as runner:
        return await runner.resume(run_ids)


def _unfinished(ledger: Ledger, run_ids: list[str] | None) -> list[Run]:
    unfinished = ledger.unfinished()
    if not run_ids:
        return unfinished
    wanted = {ledger.full_id(run_id) for run_id in run_ids}
    return [run for run in unfinished if run.id in wanted]


def _run_with_progress(
    workflow: Any, inputs: Sequence[Input], db: Path | None, *, only_queue: bool = False, **how: Any
) -> list[Run]:
    """Queue inputs and run them; `how` is the runner's."""
    from stanchion.blocking import wait_for
    from stanchion.cli.prompts import tell_other_than_file
    from stanchion.runs.runner import Runner

    async def work() -> list[Run]:
        with output.progress(len(inputs), f"running {workflow.name}") as observe:
            async with Runner(workflow, db=db, observe=observe, **how) as runner:
                run_ids = await runner.queue(inputs)
                for one in runner.ledger.runs_of(run_ids[:1]):
                    tell_other_than_file(one.prompts, workflow.prompts)
                return runner.ledger.runs_of(run_ids) if only_queue else await runner.advance(run_ids)

    with _resumable(db):
        return wait_for(work())


@contextmanager
def _resumable(db: Path | None) -> Iterator[None]:
    """Say how to go on where the user interrupts."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"stanchion: interrupted; this goes on:\n  {output.command('resume', *_named(db))}", err=True)
        raise


def _named(db: Path | None) -> list[str]:
    return [] if db is None else ["--db", str(db)]


def _fields(workflow: Any) -> Sequence[str]:
    return list(workflow.critical)[:3]


def _report(runs: Sequence[Run], as_json: bool, *, fields: Sequence[str] = (), db: Path | None = None) -> None:
    if as_json:
        output.print_json(runs)
    else:
        screen = output.console()
        screen.print(output.runs_table(runs, fields=fields, width=screen.width))
        screen.print(f"{len(runs)} run{'s' * (len(runs) != 1)}: {output.counts(runs)}.")
        if any(run.status == "waiting" for run in runs):
            typer.echo(f"Some wait for a person:\n  {output.command('reviews', *_named(db))}")
        with options.open_ledger(db) as ledger:
            for name in sorted({run.workflow for run in runs}):
                output.tell_paused(ledger.database, name)
    output.exit_if_failed(runs)
