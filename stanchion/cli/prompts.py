"""Commands about prompts: which versions there are, and with which one new runs start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table

    from stanchion.models.prompts import Prompt
    from stanchion.store.prompts import Move, PromptLabels, PromptVersion

FOLLOW_THE_FILE = "file"  # stands for no version: the label goes with whatever the workflow's file has

Workflow = Annotated[str, typer.Argument(metavar="WORKFLOW", help="A name of langgraph.json, or module:attribute.")]
PromptId = Annotated[str, typer.Argument(metavar="PROMPT", help="A prompt's id, such as receipts.extract.")]
Label = Annotated[str, typer.Argument(metavar="LABEL", help="production or candidate.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in your words.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who does it. Default: you.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    group = typer.Typer(name="prompts", help="Versions of prompts: what new runs start with.", no_args_is_help=True)
    group.command("list")(list_versions)
    for command in (show, history, add, label, rollback):
        group.command()(command)
    app.add_typer(group)


def list_versions(workflow: Workflow, db: options.Db = None, as_json: options.AsJson = False) -> None:
    """List the versions of a workflow's prompts: labels, where from, and how many runs started with each."""
    own = _prompts(workflow)
    with _open_labels(db) as labels:
        rows = [row for prompt in own for row in _rows(labels, prompt)]
        last = [move for prompt in own for move in _standing(labels, prompt)]
    if as_json:
        output.print_json({"versions": rows, "labels": last})
        return
    screen = output.console()
    screen.print(_table(rows) if rows else "The workflow has no prompts.")
    for move in last:
        typer.echo(_told(move, rows))


def show(
    workflow: Workflow,
    prompt_id: PromptId,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="A version or hash; else what production has.")
    ] = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the texts of a version of a prompt."""
    from stanchion.store.prompts import choose

    own = _prompt(workflow, prompt_id)
    with _open_labels(db) as labels:
        wanted = version or labels.label(prompt_id, "production") or own.hash
        chosen = choose(_known(labels, own), wanted)
    if as_json:
        output.print_json(chosen)
        return
    typer.echo(f"{output.plain(chosen.id)} version {_plain(chosen)}")
    for name, text in chosen.texts.items():
        typer.echo(f"\n--- {name}")
        for line in text.strip("\n").split("\n"):
            typer.echo(output.plain(line, longest=10_000) if line else "")


def history(workflow: Workflow, prompt_id: PromptId, db: options.Db = None, as_json: options.AsJson = False) -> None:
    """List the moves of a prompt's labels, the oldest first: who let them point where, when and why."""
    own = _prompt(workflow, prompt_id)
    with _open_labels(db) as labels:
        moves, known = labels.moves(prompt_id), _known(labels, own)
    if as_json:
        output.print_json(moves)
        return
    output.console().print(_moves_table(moves, known) if moves else "No label was ever moved: all follow the file.")


def add(
    workflow: Workflow,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A prompt file, named after the prompt's id.")],
    by: By = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Add a version of a prompt from a file, for a label to point at."""
    from stanchion.models.pinned import as_version
    from stanchion.models.prompts import Prompt, refuse_other_placeholders

    prompt = Prompt.read(file)
    own = _prompt(workflow, prompt.id)
    refuse_other_placeholders(prompt, own)
    version = as_version(prompt, added_by=by or options.you())
    with _open_labels(db) as labels:
        labels.add(version, own=as_version(own))
    if as_json:
        output.print_json(version)
    else:
        typer.echo(
            f"Added version {_plain(version)} of {output.plain(prompt.id)}. No label points at it by that alone."
        )


def label(
    workflow: Workflow,
    prompt_id: PromptId,
    name: Label,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version or hash; or `file`: whatever the workflow's file has.")
    ],
    reason: Reason = "",
    by: By = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a label point at a version of a prompt: new runs start with it. Runs that have started keep their own."""
    from stanchion.models.pinned import as_prompt
    from stanchion.models.prompts import refuse_other_placeholders
    from stanchion.store.prompts import choose

    own = _prompt(workflow, prompt_id)
    with _open_labels(db) as labels:
        chosen = None if version == FOLLOW_THE_FILE else choose(_known(labels, own), version)
        if chosen is not None:
            refuse_other_placeholders(as_prompt(chosen), own)
        move = labels.move(prompt_id, name, chosen, by=options.who(by), reason=reason)
        _tell_move(labels, own, move, as_json)


def rollback(
    workflow: Workflow,
    prompt_id: PromptId,
    name: Label,
    reason: Reason = "",
    by: By = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a label point at what it pointed at before its last move; twice goes back two moves."""
    own = _prompt(workflow, prompt_id)
    with _open_labels(db) as labels:
        move = labels.roll_back(prompt_id, name, by=options.who(by), reason=reason)
        _tell_move(labels, own, move, as_json)


def tell_other_than_file(pins: dict[str, Any], own: Sequence[Prompt]) -> None:
    """Say on standard error, a line each, which prompts new runs start with that the workflow's file has otherwise.

    Args:
        pins: as a run has them on record.
        own: the prompts of the workflow's file.
    """
    for prompt in own:
        pinned = pins[prompt.id]
        if pinned["hash"] != prompt.hash:
            said = f"{pinned['version']} ({pinned['hash']}); the file has {prompt.version} ({prompt.hash})"
            typer.echo(
                output.plain(f"stanchion: prompt {prompt.id}: new runs use version {said}.", longest=300), err=True
            )


def _prompts(workflow: str) -> Sequence[Prompt]:
    from stanchion.workflow import load_workflow

    return load_workflow(workflow).prompts


def _prompt(workflow: str, prompt_id: str) -> Prompt:
    from stanchion.errors import UsageError

    own = {prompt.id: prompt for prompt in _prompts(workflow)}
    if prompt_id not in own:
        known = ", ".join(own) or "none"
        raise UsageError(f"The workflow {workflow} has no prompt {prompt_id!r}; its prompts: {known}.")
    return own[prompt_id]


@contextmanager
def _open_labels(db: Path | None) -> Iterator[PromptLabels]:
    from stanchion.store.prompts import PromptLabels

    with options.open_ledger(db) as ledger:
        yield PromptLabels(ledger.database)


def _known(labels: PromptLabels, own: Prompt) -> list[PromptVersion]:
    """All versions of a prompt: those in the database, and the file's where no run started with it yet."""
    from stanchion.models.pinned import as_version

    kept = labels.versions(own.id)
    return kept if any(version.hash == own.hash for version in kept) else [*kept, as_version(own)]


def _rows(labels: PromptLabels, own: Prompt) -> list[dict[str, Any]]:
    from stanchion.store.prompts import LABELS

    runs = labels.count_runs(own.id)
    points = {name: labels.label(own.id, name) or own.hash for name in LABELS}
    return [
        {
            "id": version.id,
            "version": version.version,
            "hash": version.hash,
            "labels": [name for name in LABELS if points[name] == version.hash],
            "in_file": version.hash == own.hash,
            "added_by": version.added_by,
            "added_at": version.added_at,
            "runs": runs.get(version.hash, 0),
        }
        for version in _known(labels, own)
    ]


def _standing(labels: PromptLabels, own: Prompt) -> list[Move]:
    """The last move of each label that does not follow the file."""
    last = {move.label: move for move in labels.moves(own.id)}
    return [move for move in last.values() if move.hash is not None]


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    from rich.text import Text

    table = output.table("prompt", "version", "hash", "labels", "from", "runs")
    for row in rows:
        by_hand = f"{row['added_by']}, by hand" if row["added_by"] else "an earlier file"
        where = "the file" if row["in_file"] else by_hand
        cells = (row["id"], row["version"], row["hash"], ", ".join(row["labels"]), where, row["runs"])
        table.add_row(*(Text(output.plain(cell)) for cell in cells))
    return table


def _moves_table(moves: Sequence[Move], known: Sequence[PromptVersion]) -> Table:
    from rich.text import Text

    table = output.table("when", "label", "points at", "by", "why")
    for move in moves:
        when = move.moved_at[:16].replace("T", " ")
        cells = (when, move.label, _target(move, known), move.moved_by, move.reason)
        table.add_row(*(Text(output.plain(cell, longest=200)) for cell in cells))
    return table


def _tell_move(labels: PromptLabels, own: Prompt, move: Move, as_json: bool) -> None:
    if as_json:
        output.print_json(move)
    else:
        target = _target(move, _known(labels, own))
        typer.echo(output.plain(f"{move.label} of {move.prompt} points at {target}.", longest=200))


def _target(move: Move, known: Sequence[PromptVersion]) -> str:
    if move.hash is None:
        return "whatever the file has"
    return next((str(version) for version in known if version.hash == move.hash), move.hash)


def _told(move: Move, rows: Sequence[dict[str, Any]]) -> str:
    """Say that a label was moved, and that a file of another text is not what it stands for."""
    of_prompt = [row for row in rows if row["id"] == move.prompt]
    version = next((row["version"] for row in of_prompt if row["hash"] == move.hash), move.hash)
    file = next(row for row in of_prompt if row["in_file"])
    line = f"{move.label} of {move.prompt} was moved to {version} by {move.moved_by} on {move.moved_at[:10]}"
    why = f" ({move.reason})" if move.reason else ""
    unused = "" if file["hash"] == move.hash else f"; the file's {file['version']} is not used under this label"
    return output.plain(f"{line}{why}{unused}.", longest=300)


def _plain(version: PromptVersion) -> str:
    return output.plain(version, longest=200)
