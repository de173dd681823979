"""How results look: tables for people, JSON for programs, progress while something takes longer than a second."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from stanchion.runs.recorder import Observe
    from stanchion.runs.records import Run
    from stanchion.store import Database

LONGEST_CELL = 60
SHORT_ID = 8  # of 12 characters: among ten thousand runs two begin alike once in 20,000 databases
WIDTH_OF_FILES = 120  # columns where no terminal says how wide it is
WIDE = 100  # columns from which a table of runs has room for everything
NUMBERS = {"#", "ms", "conf."}  # headings of columns that stand to the right
NEVER_WRAPPED = {"run", "outcome", "conf.", "#", "ms"}
MARKS = {"accepted": "✓", "reviewed": "✓", "rejected": "✗", "refused": "–", "failed": "!", "expired": "–"}


def console() -> Console:
    """Return the console for results; nothing in a document is taken for markup."""
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_OF_FILES
    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False, width=width)


def command(*arguments: object) -> str:
    """Return a command of ours as somebody can paste it into a shell.

    Args:
        arguments: what comes after the program's name, unquoted.
    """
    started_as = sys.argv[0]
    if shutil.which("stanchion"):
        program = "stanchion"
    elif Path(started_as).suffix == ".py":
        program = f"{shlex.quote(sys.executable)} -m stanchion.cli"
    else:
        program = shlex.quote(started_as)
    return " ".join([program, *(shlex.quote(str(argument)) for argument in arguments)])


def print_json(value: Any) -> None:
    """Print one JSON document: Decimals as strings, dates as ISO 8601, what a terminal might obey as escapes.

    Args:
        value: pydantic models, lists and dicts of them, plain data.
    """
    import pydantic_core

    text = pydantic_core.to_json(value, indent=2, inf_nan_mode="null", ensure_ascii=True).decode()
    sys.stdout.write(text.replace("\x7f", "\\u007f") + "\n")


def plain(value: Any, *, longest: int = LONGEST_CELL) -> str:
    """Return a value as one printable line: control characters of documents must not reach a terminal.

    Args:
        value: anything; None is shown as a dash.
        longest: in characters.
    """
    text = "–" if value is None or value == "" else str(value)
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def money(value: Decimal | None) -> str:
    """Return US dollars as people read them.

    Args:
        value: dollars, None where unknown.
    """
    return "unknown" if value is None else f"${value:.4f}" if value else "$0"


def short(identity: str) -> str:
    """Return the beginning of an id, which every command takes for the whole.

    Args:
        identity: of a run or a review.
    """
    return identity[:SHORT_ID]


def table(*headings: str) -> Table:
    """Return an empty table without vertical lines; numbers stand to the right.

    Args:
        headings: of its columns.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in headings:
        made.add_column(heading, justify="right" if heading in NUMBERS else "left", no_wrap=heading in NEVER_WRAPPED)
    return made


def runs_table(runs: Sequence[Run], *, fields: Sequence[str] = (), width: int) -> Table:
    """Return runs as a table, one row each; a narrow one leaves out what matters least, and shortens the rest.

    Args:
        runs: in the order to be shown.
        fields: output fields to be shown.
        width: of the screen, in columns.
    """
    from rich.text import Text

    wide = width >= WIDE
    made = table("run", "input", "outcome", *(["rung"] if wide else []), *fields, "conf.", "why")
    for_input, for_field, for_why = (30, 16, 90) if wide else (16, 10, 28)
    for run in runs:
        state, output = run.standing, run.output or {}
        cells = [short(run.id), plain(run.input_id, longest=for_input), f"{MARKS.get(state, '?')} {state}"]
        cells += [run.rung or "–"] if wide else []
        cells += [plain(output.get(name), longest=for_field) for name in fields]
        cells += ["–" if run.confidence is None else f"{run.confidence:.2f}"]
        why = run.reason or ("" if wide or run.rung is None else f"by {run.rung}")
        made.add_row(*map(Text, [*cells, plain(why or " ", longest=for_why)]))
    return made


def tell_paused(database: Database, workflow: str | None = None) -> None:
    """Say which workflows an operator holds back, since when, who did it and why; nothing where none is.

    Args:
        database: open.
        workflow: only of this one.
    """
    from stanchion.runs.operations import Operations

    for paused in Operations(database).paused_workflows():
        if workflow in (None, paused.workflow):
            since = f"{paused.at:%Y-%m-%d %H:%M} UTC"
            line = f"The workflow {paused.workflow} is paused since {since} by {paused.by}: {paused.reason}"
            typer.echo(plain(line, longest=1_000))


def counts(runs: Sequence[Run]) -> str:
    """Return how many runs stand where, in one line.

    Args:
        runs: any.
    """
    number = Counter(run.standing for run in runs)
    return ", ".join(f"{count} {name}" for name, count in number.most_common())


def write_text(path: Path, text: str) -> None:
    """Write a result to a file that the user named.

    Args:
        path: the file; one that exists is replaced.
        text: what it will hold.

    Raises:
        UsageError: it cannot be written.
    """
    from stanchion.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def exit_if_failed(runs: Iterable[Any]) -> None:
    """End the command with exit code 1 where a run failed by a defect.

    Args:
        runs: runs, or rows of an evaluation.
    """
    if any(run.outcome == "failed" for run in runs):
        raise typer.Exit(1)


@contextmanager
def progress(total: int, what: str) -> Iterator[Observe]:
    """Show a bar on standard error where a person watches.

    Args:
        total: how many runs there are.
        what: what is being done.

    Yields:
        an observer for a `Runner`, which counts the runs that have ended or wait for a person.
    """
    if not sys.stderr.isatty():
        yield lambda _event, _run_id: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda event, _run_id: bar.advance(task) if event in {"ended", "waiting"} else None
