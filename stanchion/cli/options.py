"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Db = Annotated[
    Path | None,
    typer.Option(
        "--db", metavar="FILE", help="The database file. Default: STANCHION_DB, else .stanchion/stanchion.db."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="none, recorded:NAME, or provider:name such as openai:gpt-4o-mini. Default: STANCHION_MODEL, else none.",
    ),
]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, metavar="N", help="How many runs at a time.")]


def existing_database(db: Path | None) -> Path:
    """Return the database's path, for commands that only look at what is there.

    Args:
        db: from `--db`.

    Raises:
        StoreError: there is no such file.
    """
    from stanchion.errors import StoreError
    from stanchion.settings import Settings

    path = db or Settings().db
    if not path.exists():
        raise StoreError(f"There is no database {path}; `stanchion run` makes one, and --db names another.")
    return path
