"""The command line: `stanchion --help`.

Every command imports what it needs when it runs, so that help answers at once. Results go to standard output, as tables
for people or JSON for programs (`--json`); progress and errors go to standard error.

Exit codes: 0 every run ended or waits for a person; 1 a run failed by a defect; 2 wrong use (unknown command, option,
workflow, run or review; an answer that does not fit); 3 the database cannot be used; 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from stanchion.cli import evaluate, keep, look, people, work
from stanchion.errors import StanchionError, StoreError

app = typer.Typer(
    name="stanchion",
    help="Run LangGraph workflows that survive production, and see what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for part in (work, look, people, evaluate, keep):
    part.add_to(app)


def main() -> None:
    """Run the command line; errors of ours become one line and an exit code."""
    try:
        app()
    except StanchionError as error:
        print(f"stanchion: {error}", file=sys.stderr)  # noqa: T201 - the command line's own voice
        sys.exit(3 if isinstance(error, StoreError) else 2)
    except KeyboardInterrupt:
        print("stanchion: interrupted; `stanchion resume` goes on.", file=sys.stderr)  # noqa: T201
        sys.exit(130)
