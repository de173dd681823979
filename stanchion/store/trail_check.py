"""Whether the trail is as it was written: every row is hostile until its seal says otherwise.

The rows are read once, in order, in one state of the database. What must be remembered until the end (whose text is
gone, and whose was erased) stands in temporary tables, so that memory does not grow with the trail.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stanchion.errors import StoreError
from stanchion.store.migrations import PEOPLE
from stanchion.store.trail_files import TrailFiles
from stanchion.store.trail_seal import FIRST, SALT_BYTES, Head, Seal, commit

ERASURES = ("run erased", "runs pruned")
"""What entries say that tell of personal text being erased; their facts name the `runs`."""

RESTARTED = "trail restarted"

MOST_PROBLEMS = 1_000  # that a report names; it counts all
LARGEST_VALUE = 32 * 1024 * 1024  # bytes; Stanchion writes none of over 16 MiB
BUSY_SECONDS = 30.0


class Problem(NamedTuple):
    """Something that happened to the trail and is none of what may.

    Args:
        seq: at which entry; None where it concerns the whole.
        what: in a sentence for a person.
    """

    seq: int | None
    what: str


@dataclass(frozen=True)
class Report:
    """What a check of the trail found.

    Args:
        rows: how many entries were read.
        found: how many problems there are.
        problems: a thousand of them at most, by place.
        restarts: the entries at which an operator restarted it: before each, entries may be missing.
        head: as kept beside the database; None where there is none.
    """

    rows: int
    found: int
    problems: list[Problem]
    restarts: list[int]
    head: Head | None

    @property
    def ok(self) -> bool:
        """Say whether nothing happened to it."""
        return not self.found


def check(path: Path, files: TrailFiles, given: Head | None = None) -> Report:
    """Check the trail of a database.

    Args:
        path: the database.
        files: beside it.
        given: a head that was kept elsewhere, to be checked as well.

    Raises:
        UsageError: the key in the environment cannot be used.
        StoreError: the database or its key cannot be read.
    """
    findings = _Findings()
    kept = _kept_head(files, findings)  # before the rows: what it names was there before they are read
    no_head = kept is None and not findings.number
    key = files.key()
    heads = [head for head in (kept, given) if head is not None]
    try:
        with contextlib.closing(_open(path)) as connection:
            walk = _Walk(connection, Seal(key or b""), findings, {head.count for head in heads})
            made = _is_as_made(connection, findings)
            if made and key is not None:
                walk.go()
                walk.compare(heads)
            elif made and (heads or connection.execute("SELECT 1 FROM main.trail LIMIT 1").fetchone()):
                findings.add(None, f"The key is missing ({files.folder / 'key'}), so that nothing can be checked.")
    except sqlite3.Error as error:
        raise StoreError(f"The trail in {path} cannot be read ({type(error).__name__}: {error}).") from error
    if no_head and (walk.rows or files.folder.exists()):
        findings.add(None, f"There is no head in {files.folder}: entries cut off at the end would not be missed.")
    return Report(walk.rows, findings.number, findings.by_place(), walk.restarts, kept)


class _Findings:
    """What was found so far: all are counted, the first thousand are kept."""

    def __init__(self) -> None:
        self.number = 0
        self._kept: list[Problem] = []

    def add(self, seq: int | None, what: str) -> None:
        self.number += 1
        if len(self._kept) < MOST_PROBLEMS:
            self._kept.append(Problem(seq, what))

    def by_place(self) -> list[Problem]:
        return sorted(self._kept, key=lambda problem: problem.seq or 0)


def _kept_head(files: TrailFiles, findings: _Findings) -> Head | None:
    try:
        return files.head()
    except StoreError as error:
        findings.add(None, str(error))
        return None


# --- Reading ---


class _Row(NamedTuple):
    """One row, of which nothing is known but that `seq` is a number."""

    seq: int
    at: Any
    by: Any
    known_by: Any
    what: Any
    workflow: Any
    run_id: Any
    subject: Any
    facts: Any
    content: Any
    salt: Any
    commitment: Any
    hash: Any


SEALED = 9  # columns, the first ones, and the commitment; all but the first are text


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")  # whatever it is, it stays that
    connection.execute("CREATE TEMP TABLE texts (seq INTEGER PRIMARY KEY, run_id BLOB, gone INTEGER)")
    connection.execute("CREATE TEMP TABLE erased (run_id BLOB PRIMARY KEY, seq INTEGER) WITHOUT ROWID")
    connection.execute("BEGIN")  # one state of the database, whatever is written meanwhile
    return connection


def _is_as_made(connection: sqlite3.Connection, findings: _Findings) -> bool:
    """Say whether the table is the one that was made, and no view of it or one whose rows hide."""
    sql = "SELECT type, name, sql FROM main.sqlite_master WHERE tbl_name = 'trail' COLLATE NOCASE"
    things = connection.execute(sql).fetchall()
    made = next(statement for statement in PEOPLE if statement.startswith("CREATE TABLE trail "))
    for _, name, _ in (thing for thing in things if thing[0] == "trigger"):
        findings.add(None, f"A trigger stands on its table that is none of Stanchion's: {name!r:.100}.")
    if ("table", "trail", made) in things:
        return True
    findings.add(None, "Its table is not the one that Stanchion made.")
    return False


def _rows(connection: sqlite3.Connection) -> Iterator[_Row | int]:
    """Yield every row in order; of one that cannot be read, its seq."""
    after = -math.inf
    while True:
        try:
            for row in map(_Row._make, connection.execute(_AFTER, [after])):
                after = row.seq
                yield row
            return
        except sqlite3.Error:  # Python reads one row ahead: the next may be the last that can be read
            (seq,) = connection.execute(_NEXT, [after]).fetchone()
            if seq is None:
                raise
            yield _row(connection, seq) or seq
            after = seq


def _row(connection: sqlite3.Connection, seq: int) -> _Row | None:
    with contextlib.suppress(sqlite3.Error):
        return _Row._make(connection.execute("SELECT * FROM main.trail WHERE seq = ?", [seq]).fetchone())
    return None


_AFTER = "SELECT * FROM main.trail NOT INDEXED WHERE seq > ? ORDER BY seq"
_NEXT = "SELECT min(seq) FROM main.trail NOT INDEXED WHERE seq > ?"


# --- Judging ---


class _Walk:
    """Goes through the rows, in order.

    Args:
        connection: as `_open` made it.
        seal: of the trail's key.
        findings: where problems go.
        heads: the entries whose hashes are to be remembered.
    """

    def __init__(self, connection: sqlite3.Connection, seal: Seal, findings: _Findings, heads: set[int]) -> None:
        self.rows = 0
        self.restarts: list[int] = []
        self._connection = connection
        self._seal = seal
        self._findings = findings
        self._last = 0
        self._before = [FIRST]  # the hash of the entry before, and what it may have been; none: nobody knows
        self._wrong = 0
        self._at_heads: dict[int, list[bytes]] = {count: [] for count in heads}

    def go(self) -> None:
        """Judge every row, and then the texts that are gone."""
        for row in _rows(self._connection):
            self.rows += 1
            if isinstance(row, int):
                self._findings.add(row, "It cannot be read; nor can the one after it be checked.")
                self._last, self._before = row, []
            elif row.seq < 1:
                self._findings.add(row.seq, "It was added: the first entry has the number 1.")
            else:
                self._judge(row)
        if self._wrong == self.rows > 1:
            self._findings.add(None, "No entry was sealed with this key: is it the right one?")
        self._judge_texts()

    def compare(self, heads: list[Head]) -> None:
        """Compare how the trail ends with what heads say.

        Args:
            heads: from outside the database.
        """
        for head in heads:
            if not self._seal.made(head):
                self._findings.add(None, f"The head with the count {head.count} was not made with this key.")
            elif head.count > self._last:
                cut = _span(self._last + 1, head.count)
                self._findings.add(self._last + 1, f"Cut off: {cut}, up to the one that the head names.")
            elif (stands := self._at_heads[head.count]) and bytes.fromhex(head.hash) not in stands:
                self._findings.add(head.count, "Another entry than the head names: an older trail was gone on from.")

    def _judge(self, row: _Row) -> None:
        if row.seq != self._last + 1:
            missing = _span(self._last + 1, row.seq - 1)
            self._findings.add(self._last + 1, f"Missing: {missing}; entry {row.seq} cannot be checked for that.")
            self._before = []
        self._last = row.seq
        sealed = self._sealed(row)
        if row.seq in self._at_heads:
            self._at_heads[row.seq] = self._before
        if sealed:
            self._note(row)
            self._judge_text(row)

    def _sealed(self, row: _Row) -> bool:
        """Say whether a row's seal is right, and remember what the next one may be sealed over."""
        before = self._before
        stands = row.hash if _is_hash(row.hash) else FIRST  # as who adds the next one does
        self._before = [stands]
        if wrong := _wrong_column(row):
            self._findings.add(row.seq, f"Altered: {wrong} holds what it cannot.")
        else:
            should = [self._seal.of_entry(one, row[:SEALED], row.commitment) for one in before]
            if row.hash in should or not before:
                return bool(before)
            self._before += should[:2]  # if only its hash was altered, the next one is not to blame
            self._findings.add(row.seq, "Altered, or added by somebody without the key: its seal is wrong.")
        self._wrong += 1
        return False

    def _note(self, row: _Row) -> None:
        """Remember what an entry that is surely ours says of others."""
        if row.what == RESTARTED:
            self.restarts.append(row.seq)
        if row.what in ERASURES:
            sql = "INSERT INTO erased VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq"
            self._connection.executemany(sql, ((_bytes(run_id), row.seq) for run_id in _erased_runs(row.facts)))

    def _judge_text(self, row: _Row) -> None:
        gone = row.content is None and row.salt is None
        if not row.commitment:
            if not gone:
                self._findings.add(row.seq, "A text was added to an entry that had none.")
        elif gone or _is_text(row):
            self._connection.execute("INSERT INTO texts VALUES (?, ?, ?)", [row.seq, _bytes(row.run_id), gone])
        else:
            self._findings.add(row.seq, "Its text was altered, or what the text is checked with.")

    def _judge_texts(self) -> None:
        """Compare which texts are gone with which an entry says were erased."""
        found = self._connection.execute(
            """SELECT texts.seq, gone, erased.seq FROM texts LEFT JOIN erased USING (run_id)
               WHERE gone != (coalesce(erased.seq, 0) > texts.seq) ORDER BY texts.seq"""
        )
        for seq, gone, erased in found:
            says = "Its text is gone, and no entry says that it was erased."
            self._findings.add(seq, says if gone else f"Its text was put back: entry {erased} says that it was erased.")


def _wrong_column(row: _Row) -> str | None:
    """Return the name of a sealed column that holds another kind of value than Stanchion writes."""
    for name, value in zip(_Row._fields[1:SEALED], row[1:SEALED], strict=True):
        if type(value) is not str:
            return name
    return None if row.commitment == b"" or _is_hash(row.commitment) else "commitment"


def _is_text(row: _Row) -> bool:
    """Say whether a row's text is the one that it was sealed with."""
    if type(row.content) is not str or type(row.salt) is not bytes or len(row.salt) != SALT_BYTES:
        return False
    return bool(commit(row.salt, row.content) == row.commitment)


def _erased_runs(facts: str) -> list[str]:
    try:
        runs = json.loads(facts)["runs"]
    except (ValueError, KeyError, RecursionError):
        return []
    return [run_id for run_id in runs if isinstance(run_id, str)] if isinstance(runs, list) else []


def _is_hash(value: Any) -> bool:
    return type(value) is bytes and len(value) == len(FIRST)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _span(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last}"
