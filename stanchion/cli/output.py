"""How results look: tables for people, JSON for programs, progress while something takes longer than a second."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from stanchion.runs.records import Run

LONGEST_CELL = 60
MARKS = {"accepted": "✓", "reviewed": "✓", "rejected": "✗", "refused": "–", "failed": "!", "expired": "–"}


def console() -> Console:
    """Return the console for results; nothing in a document is taken for markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False, soft_wrap=False)


def print_json(value: Any) -> None:
    """Print one JSON document: Decimals as strings, dates as ISO 8601.

    Args:
        value: pydantic models, lists and dicts of them, plain data.
    """
    import pydantic_core

    sys.stdout.write(pydantic_core.to_json(value, indent=2, inf_nan_mode="null").decode() + "\n")


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


def word(run: Run) -> str:
    """Return where a run stands in one word.

    Args:
        run: any run.
    """
    return run.outcome or ("review" if run.status == "waiting" else run.status)


def runs_table(runs: Sequence[Run], *, fields: Sequence[str] = (), title: str | None = None) -> Table:
    """Return runs as a table, one row each.

    Args:
        runs: in the order to be shown.
        fields: output fields to be shown.
        title: above the table.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold", pad_edge=False, expand=False)
    for heading in ("run", "input", "outcome", "rung", *fields):
        table.add_column(heading, overflow="fold" if heading == "run" else "ellipsis", no_wrap=heading == "run")
    for heading in ("conf.", "calls"):
        table.add_column(heading, justify="right")
    table.add_column("why", overflow="fold")
    for run in runs:
        state = word(run)
        output = run.output or {}
        cells = [run.id, plain(run.input_id, longest=28), f"{MARKS.get(state, '?')} {state}", run.rung or "–"]
        cells += [plain(output.get(name), longest=26) for name in fields]
        cells += ["–" if run.confidence is None else f"{run.confidence:.2f}", str(run.calls)]
        table.add_row(*map(Text, [*cells, plain(run.reason, longest=90)]))
    return table


def counts(runs: Sequence[Run]) -> str:
    """Return how many runs stand where, in one line.

    Args:
        runs: any.
    """
    number = Counter(word(run) for run in runs)
    return ", ".join(f"{count} {name}" for name, count in number.most_common())


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error where a person watches and it takes more than a second.

    Args:
        total: how many steps there are.
        what: what is being done.

    Yields:
        a function that counts one step.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
