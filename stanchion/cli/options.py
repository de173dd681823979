"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stanchion.people import Person
    from stanchion.runs.ledger import Ledger

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
    from stanchion.settings import read_settings

    path = db or read_settings().db
    if not path.exists():
        raise StoreError(f"There is no database {path}; `stanchion run` makes one, and --db names another.")
    return path


@contextmanager
def open_ledger(db: Path | None) -> Iterator[Ledger]:
    """Open the ledger of a database that exists, and close it.

    Args:
        db: from `--db`.

    Raises:
        StoreError: there is no such file, or it cannot be used.
    """
    from stanchion.runs.ledger import Ledger
    from stanchion.store import Database

    database = Database(existing_database(db))
    try:
        yield Ledger(database)
    finally:
        database.close()


def you() -> str:
    """Return the operating-system user, who acts where `--by` names nobody."""
    return getpass.getuser()


def who(by: str | None) -> Person:
    """Return who acts: the operating-system user, or whom `--by` claims.

    Args:
        by: from `--by`.

    Raises:
        UsageError: the name is empty or too long.
    """
    from stanchion.people import Person, as_person

    return Person(you(), None, "system") if by is None else as_person(by)


def edits(pairs: Sequence[str], named: str) -> dict[str, Any]:
    """Return what `--edit` gives, by name: values as JSON where they look like it, else as text.

    What looks like JSON is a list, an object, a text in quotes, `null`, `true` and `false`; not a number, since whoever
    takes it reads text by the field's type, to the last decimal.

    Args:
        pairs: from `--edit`.
        named: what stands before the equals sign: `field` or `key`.

    Raises:
        UsageError: nothing stands before an equals sign, or what looks like JSON is none.
    """
    from stanchion.errors import UsageError

    read: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--edit takes {named.upper()}=VALUE; {pair!r} has no {named} before an equals sign.")
        read[name] = _json_or_text(name, value)
    return read


def _json_or_text(name: str, value: str) -> Any:
    from stanchion.errors import UsageError

    if not value.startswith(("[", "{", '"')) and value not in ("null", "true", "false"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"The value of --edit {name}=… looks like JSON, and is none ({type(error).__name__}): a text that begins "
            "like JSON stands in quotes."
        ) from error


def one_of(option: str, value: str | None, choices: Sequence[str]) -> None:
    """Refuse a value that is none of an option's choices.

    Args:
        option: its name, for the message.
        value: what was given; None where nothing was.
        choices: what it takes.

    Raises:
        UsageError: the value is none of them.
    """
    from stanchion.errors import UsageError

    if value is not None and value not in choices:
        raise UsageError(f"{option} takes one of {', '.join(choices)}; not {value!r}.")
