"""Versions of prompts, and the labels that say which of them new runs start with.

Every wording that a run ever started with is kept, so that a run goes on with its own, whatever the workflow's file has
by then. A label that was never moved follows the workflow's file. Moves are only ever added, never changed: each one
remembers the move that stood before it, which is where a rollback goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stanchion.clock import Clock, SystemClock
from stanchion.errors import StoreError, UsageError
from stanchion.people import Person, as_person
from stanchion.store.database import Database
from stanchion.store.trail import Add, Trail

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

LABELS = ("production", "candidate")
"""What a run may be started with: what is in force, and what is tried before."""

MOST_NAMED = 20  # versions that an error message names


@dataclass(frozen=True)
class PromptVersion:
    """One wording of a prompt.

    Args:
        id: the prompt's id.
        hash: of its texts.
        version: as its author named it.
        texts: what is said to the model, by name.
        added_at: when it came into the database, ISO 8601; None where it is not there.
        added_by: who added it by hand; None where it came from the workflow's code, with a run.
    """

    id: str
    hash: str
    version: str
    texts: dict[str, str]
    added_at: str | None = None
    added_by: str | None = None

    def __str__(self) -> str:
        return f"{self.version} ({self.hash})"


@dataclass(frozen=True)
class Move:
    """One move of a label.

    Args:
        seq: grows with each move in the database.
        prompt: the prompt's id.
        label: one of `LABELS`.
        hash: the wording that it points at since then; None: whichever the workflow's file has.
        back_to: the `seq` of the move that a rollback returns to; None: the time before the first move.
        moved_at: when, ISO 8601.
        moved_by: who.
        reason: why, in their words.
    """

    seq: int
    prompt: str
    label: str
    hash: str | None
    back_to: int | None
    moved_at: str
    moved_by: str
    reason: str


class PromptLabels:
    """The versions and labels of prompts in a database.

    Args:
        database: an open database.
        clock: for the times of what is added and moved.
    """

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self.database = database
        self._clock = clock or SystemClock()
        self._trail = Trail(database, self._clock)

    def versions(self, prompt: str) -> list[PromptVersion]:
        """Return the versions of a prompt that are kept, the oldest first.

        Args:
            prompt: the prompt's id.
        """
        return [_version(row) for row in self.database.read(_VERSIONS, [prompt])]

    def moves(self, prompt: str) -> list[Move]:
        """Return all that happened to a prompt's labels, the oldest move first.

        Args:
            prompt: the prompt's id.
        """
        rows = self.database.read("SELECT * FROM prompt_labels WHERE prompt = ? ORDER BY seq", [prompt])
        return [Move(**row) for row in rows]

    def label(self, prompt: str, label: str) -> str | None:
        """Return the hash of the wording that a label points at; None where it follows the workflow's file.

        Args:
            prompt: the prompt's id.
            label: one of `LABELS`.

        Raises:
            UsageError: there is no such label.
        """
        check_label(label)
        rows = self.database.read(_LATEST, [prompt, label])
        return rows[0]["hash"] if rows else None

    def count_runs(self, prompt: str) -> dict[str, int]:
        """Return how many runs started with each wording of a prompt, by its hash.

        Args:
            prompt: the prompt's id.
        """
        rows = self.database.read(
            """SELECT json_extract(pin.value, '$.hash') AS hash, count(*) AS number
               FROM runs, json_each(runs.prompts) AS pin WHERE pin.key = ? GROUP BY 1""",
            [prompt],
        )
        return {row["hash"]: row["number"] for row in rows}

    def add(self, version: PromptVersion, *, own: PromptVersion) -> None:
        """Keep a version that no run has started with yet; one that is kept already stays as it is.

        Args:
            version: with the name of who adds it.
            own: the version in the workflow's file.

        Raises:
            UsageError: another text has this version already, or this text has another version.
        """
        at = self._clock.now().isoformat()

        def work(tables: Tables) -> None:
            for other in (own, *_versions(tables, version.id)):
                if other.version == version.version and other.hash != version.hash:
                    raise UsageError(
                        f"Version {version.version} of {version.id} has another text already ({other.hash}): "
                        f"give this one ({version.hash}) a version of its own."
                    )
                if other.hash == version.hash and other.version != version.version:
                    raise UsageError(f"This text of {version.id} is there already, as version {other}.")
            keep(tables, [version], at)

        self.database.write_now(work)

    def move(self, prompt: str, label: str, version: PromptVersion | None, *, by: Person | str, reason: str) -> Move:
        """Let a label point at a version, and keep that; return the move, or the last one where it points there.

        The move stands in the trail as well.

        Args:
            prompt: the prompt's id.
            label: one of `LABELS`.
            version: what new runs with this label start with; None: whichever the workflow's file has.
            by: who moves it.
            reason: why.

        Raises:
            NotAllowed: it takes an operator.
            UsageError: there is no such label, or the version is of another prompt.
        """
        check_label(label)
        person = _operator(by)
        if version is not None and version.id != prompt:
            raise UsageError(f"A label of {prompt} cannot point at a version of {version.id}.")
        target, at = version.hash if version else None, self._clock.now().isoformat()

        def work(tables: Tables, add: Add) -> Move:
            latest = _latest(tables, prompt, label)
            if latest is not None and latest.hash == target:
                return latest
            keep(tables, [version] if version else [], at)
            back_to = latest.seq if latest else None
            move = _add_move(tables, prompt, label, target, back_to, at, person.name, reason)
            _tell(add, person, "prompt label moved", move, latest)
            return move

        return self._trail.decide(work)

    def roll_back(self, prompt: str, label: str, *, by: Person | str, reason: str) -> Move:
        """Let a label point at what it pointed at before; doing it twice goes back two moves. Return the new move.

        It stands in the trail as well.

        Args:
            prompt: the prompt's id.
            label: one of `LABELS`.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes an operator.
            UsageError: there is no such label, or nothing before it.
        """
        check_label(label)
        person, at = _operator(by), self._clock.now().isoformat()

        def work(tables: Tables, add: Add) -> Move:
            latest = _latest(tables, prompt, label)
            if latest is None or (latest.hash is None and latest.back_to is None):
                raise UsageError(f"The label {label} of {prompt} has nothing to go back to: it follows the file.")
            before = _move(tables, latest.back_to)
            target, back_to = (before.hash, before.back_to) if before else (None, None)
            move = _add_move(tables, prompt, label, target, back_to, at, person.name, reason)
            _tell(add, person, "prompt label rolled back", move, latest)
            return move

        return self._trail.decide(work)


def check_label(label: str) -> None:
    """Refuse a label that there is not.

    Args:
        label: as somebody gave it.

    Raises:
        UsageError: the message names those that there are.
    """
    if label not in LABELS:
        raise UsageError(f"There is no label {label!r}; there are {' and '.join(LABELS)}.")


def choose(versions: Sequence[PromptVersion], wanted: str) -> PromptVersion:
    """Return the version that somebody means.

    Args:
        versions: of one prompt.
        wanted: a version, a hash, or the beginning of a hash.

    Raises:
        UsageError: it is none of them, or several; the message names those that there are.
    """
    named = [version for version in versions if wanted in (version.version, version.hash)]
    found = named or [version for version in versions if wanted and version.hash.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"Several texts go by {wanted!r}; name one by its hash: {_named(found)}.")
    raise UsageError(f"There is no version {wanted!r}; there are {_named(versions) or 'none'}.")


# --- In the writer thread ---


def keep(tables: Tables, versions: Iterable[PromptVersion], at: str) -> None:
    """Keep versions; those that are kept already stay as they are.

    Args:
        tables: in the writer thread.
        versions: of any prompts.
        at: the present time, ISO 8601.
    """
    for version in versions:
        tables.conn.execute(
            "INSERT OR IGNORE INTO prompts (id, hash, version, body, added_at, added_by) VALUES (?, ?, ?, ?, ?, ?)",
            [version.id, version.hash, version.version, json.dumps(version.texts), at, version.added_by],
        )


def pin(tables: Tables, own: Sequence[PromptVersion], label: str, at: str) -> dict[str, dict[str, str]]:
    """Return what runs queued in this transaction start with, per prompt its version and hash; keep its text.

    Args:
        tables: in the writer thread.
        own: the versions in the workflow's file; they are kept too.
        label: one of `LABELS`.
        at: the present time, ISO 8601.

    Raises:
        UsageError: two different prompts have the same id.
        StoreError: the label points at a text that is gone.
    """
    keep(tables, own, at)
    if len({prompt.id for prompt in own}) < len({(prompt.id, prompt.hash) for prompt in own}):
        ids = ", ".join(sorted(prompt.id for prompt in own))
        raise UsageError(f"Two prompts of the workflow have one id, so runs cannot say which they used: {ids}.")
    chosen = [_labelled(tables, prompt, label) for prompt in own]
    return {prompt.id: {"version": prompt.version, "hash": prompt.hash} for prompt in chosen}


def _labelled(tables: Tables, own: PromptVersion, label: str) -> PromptVersion:
    latest = _latest(tables, own.id, label)
    if latest is None or latest.hash is None:
        return own
    for version in _versions(tables, own.id):
        if version.hash == latest.hash:
            return version
    raise StoreError(
        f"The label {label} of {own.id} points at {latest.hash}, a text that is gone from the database: move it with "
        "`stanchion prompts label`, or put the text back with `stanchion prompts add`."
    )


_VERSIONS = "SELECT * FROM prompts WHERE id = ? ORDER BY added_at, rowid"
_LATEST = "SELECT * FROM prompt_labels WHERE prompt = ? AND label = ? ORDER BY seq DESC LIMIT 1"


def _versions(tables: Tables, prompt: str) -> list[PromptVersion]:
    return [_version(row) for row in tables.query(_VERSIONS, [prompt])]


def _latest(tables: Tables, prompt: str, label: str) -> Move | None:
    return next((Move(**row) for row in tables.query(_LATEST, [prompt, label])), None)


def _move(tables: Tables, seq: int | None) -> Move | None:
    return next((Move(**row) for row in tables.query("SELECT * FROM prompt_labels WHERE seq = ?", [seq])), None)


def _add_move(
    tables: Tables, prompt: str, label: str, target: str | None, back_to: int | None, at: str, by: str, reason: str
) -> Move:
    cursor = tables.conn.execute(
        """INSERT INTO prompt_labels (prompt, label, hash, back_to, moved_at, moved_by, reason)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        [prompt, label, target, back_to, at, by, reason],
    )
    return Move(int(cursor.lastrowid or 0), prompt, label, target, back_to, at, by, reason)


def _tell(add: Add, person: Person, what: str, move: Move, before: Move | None) -> None:
    """Say in the trail that a label was moved; the hash of a label that follows the file is None."""
    facts = {"label": move.label, "hash": move.hash, "hash_before": before.hash if before else None}
    add(person, what, subject=move.prompt, facts=facts, content={"reason": move.reason} if move.reason else None)


def _operator(by: Person | str) -> Person:
    person = as_person(by)
    person.must("operator", "move labels of prompts")
    return person


def _version(row: dict[str, Any]) -> PromptVersion:
    return PromptVersion(
        row["id"], row["hash"], row["version"], json.loads(row["body"]), row["added_at"], row["added_by"]
    )


def _named(versions: Sequence[PromptVersion]) -> str:
    return ", ".join(map(str, versions[-MOST_NAMED:]))
