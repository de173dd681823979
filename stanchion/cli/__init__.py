"""The command line: `stanchion --help`.

Every command imports what it needs when it runs, so that help answers at once. Results go to standard output, as tables
for people or JSON for programs (`--json`); progress and errors go to standard error.

Exit codes: 0 every run ended or waits for a person; 1 a run failed by a defect, or a drill found a promise broken; 2
wrong use (unknown command, option, workflow, run or review; an answer that does not fit); 3 the database cannot be
used; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from stanchion import __version__
from stanchion.cli import console, drill, evaluate, keep, limits, look, operate, output, people, prompts, trail, work
from stanchion.errors import StanchionError, StoreError

app = typer.Typer(
    name="stanchion",
    help="Run LangGraph workflows that survive production, and see what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for part in (work, console, look, limits, people, operate, prompts, trail, evaluate, drill, keep):
    part.add_to(app)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; errors of ours become one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✓ gets a question mark, not a traceback
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")  # they show content
    try:
        for argument in sys.argv:
            argument.encode()
        app()
    except UnicodeEncodeError:
        typer.echo("stanchion: an argument is no valid text.", err=True)
        sys.exit(2)
    except StanchionError as error:
        typer.echo(f"stanchion: {output.plain(error, longest=2_000)}", err=True)
        sys.exit(3 if isinstance(error, StoreError) else 2)
    except Exception as error:
        if os.environ.get("STANCHION_DEBUG"):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        typer.echo(
            f"stanchion: a defect of ours: {type(error).__name__} in {Path(place.filename).name}:{place.lineno}. "
            "STANCHION_DEBUG=1 shows the traceback, which may hold parts of documents.",
            err=True,
        )
        sys.exit(1)
