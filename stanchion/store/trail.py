"""The trail: who did what, when and why. Entries are only ever added, and `verify` finds whatever else became of them.

An entry is written in the same transaction as what it tells of, so neither stands without the other. It says in `facts`
what is not personal, and in `content` what is: that can be erased, by an entry which says so.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from stanchion.clock import Clock, SystemClock
from stanchion.errors import StoreError, UsageError
from stanchion.people import Person, as_person
from stanchion.store.database import Database
from stanchion.store.trail_check import ERASURES, RESTARTED, Problem, Report, check
from stanchion.store.trail_files import LARGEST, TrailFiles
from stanchion.store.trail_seal import FIRST, SALT_BYTES, Head, Seal, canonical, commit

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

__all__ = ["ERASURES", "RESTARTED", "STANCHION", "Add", "Entry", "Head", "Problem", "Report", "Trail", "erase_content"]

T = TypeVar("T")

STANCHION = Person("stanchion", None, "system")
"""Who does what nobody is there for, such as letting a review expire."""

RUNS_PER_ENTRY = 1_000  # that one entry says were erased
LONGEST_WORD = 10_000  # characters of what, workflow, run and subject


class Add(Protocol):
    """Adds one entry to the trail, in the transaction that is going on."""

    def __call__(
        self,
        by: Person,
        what: str,
        *,
        workflow: str = "",
        run_id: str = "",
        subject: str = "",
        facts: Mapping[str, Any] | None = None,
        content: Mapping[str, Any] | None = None,
    ) -> None:
        """Add one entry.

        Args:
            by: who did it.
            what: a short phrase in the past, such as `review answered`.
            workflow: which it concerns, if one.
            run_id: which it concerns, if one; the content is erased with that run.
            subject: what was acted on, such as a review's id or a model's name.
            facts: what is not personal, such as versions, and the names of fields that changed; never erased.
            content: what may be: before, after, the reason in somebody's words; None: nothing.

        Raises:
            UsageError: facts or content are no JSON, or something is too long; with it, the transaction is undone.
            StoreError: the trail ends in an entry that none can follow.
        """
        ...


@dataclass(frozen=True)
class Entry:
    """One thing that somebody did.

    Args:
        seq: 1 for the first.
        at: when, ISO 8601 in UTC.
        by: who.
        known_by: how we know: `login`, `system` or `claim`.
        what: in a short phrase.
        workflow: which it concerns; empty: none.
        run_id: which it concerns; empty: none.
        subject: what was acted on.
        facts: what is not personal.
        content: before, after and reason; None where there was nothing of it, or it was erased.
        erased: it was erased.
    """

    seq: int
    at: str
    by: str
    known_by: str
    what: str
    workflow: str
    run_id: str
    subject: str
    facts: dict[str, Any]
    content: dict[str, Any] | None
    erased: bool


class Trail:
    """The trail of one database.

    Args:
        database: an open database; the trail's key and head stand beside it, in `FILE.trail`.
        clock: for the times of entries.
    """

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._files = TrailFiles(database.path)
        self._seal: Seal | None = None

    def decide(self, work: Callable[[Tables, Add], T]) -> T:
        """Do something and say so in the trail, both or neither; return what it returned, once all is on disk.

        Blocks: where there is an event loop, call it with `asyncio.to_thread`, never from the writer thread.

        Args:
            work: called in the writer thread, inside a transaction, with what adds entries; what it raises undoes all.

        Raises:
            UsageError: the key in the environment cannot be used.
            StoreError: the trail's key is missing or not the one that the head was made with, or the database could not
                be written, and nothing was done; or only the head could not be moved on, as the message then says.
        """
        seal = self._prepared()

        def checked(tables: Tables, add: Add) -> T:
            self._refuse_another_key(seal)
            return work(tables, add)

        return self._decide(seal, checked, self._move_on)

    def entries(
        self,
        *,
        run_id: str | None = None,
        by: str | None = None,
        what: str | None = None,
        limit: int = 100,
        before_seq: int | None = None,
    ) -> list[Entry]:
        """Return entries, the newest first, as they stand in the database: only `verify` says whether they are whole.

        Args:
            run_id: only those that concern this run.
            by: only what this person did, by the whole name.
            what: only this phrase.
            limit: at most so many.
            before_seq: only those before this one, for the next page.
        """
        wanted = {"run_id": run_id, "by": by, "what": what, "before": before_seq}
        conditions = [_CONDITIONS[name] for name, value in wanted.items() if value is not None]
        sql = " ".join([_ENTRIES, "WHERE", " AND ".join(conditions or ["true"]), "ORDER BY seq DESC LIMIT :limit"])
        return [_entry(row) for row in self._database.read(sql, {**wanted, "limit": limit})]

    def verify(self, head: Head | None = None) -> Report:
        """Look for whatever happened to the trail other than entries being added and personal text being erased.

        Reads one state of the whole table in a connection of its own, with little memory however long it is.

        Args:
            head: one that was kept elsewhere, to be checked as well as the one beside the database.

        Raises:
            UsageError: the key in the environment cannot be used.
            StoreError: the database or its key cannot be read at all.
        """
        return check(self._database.path, self._files, head)

    def head(self) -> Head:
        """Return the head as it is kept beside the database.

        Raises:
            StoreError: there is none, or it is none.
        """
        kept = self._files.head()
        if kept is None:
            raise StoreError(
                f"There is no head in {self._files.folder}: nothing was written to the trail, or it is gone."
            )
        return kept

    def restart(self, *, by: Person | str, reason: str) -> Head:
        """Go on from the entries as they are, where a restored backup is not what the head says; return the new head.

        What the old head said stays in the trail, and `verify` names the place from now on.

        Args:
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes an operator.
            UsageError: the reason is missing.
            StoreError: the files cannot be written.
        """
        person = as_person(by)
        person.must("operator", "restart the trail")
        if not reason.strip():
            raise UsageError("Say why the trail is restarted: whoever checks it will ask.")
        self._seal = Seal(self._files.make(new_key=True, new_trail=False))
        facts = {"head": self._files.head_as_it_is()}

        def work(_tables: Tables, add: Add) -> None:
            add(person, RESTARTED, facts=facts, content={"reason": reason.strip()})

        self._decide(self._seal, work, self._files.replace_head)
        return self.head()

    def backup(self, target: Path) -> None:
        """Copy the database to another file, in use or not, with the trail's key and head beside the copy.

        Args:
            target: a file that does not exist yet, and beside which no key or head stands.

        Raises:
            StoreError: it exists, or cannot be written; nothing is left of the copy.
        """
        target = target.resolve()
        with self._files.copied_to(target):  # before: a head may lag behind its rows, never run ahead of them
            self._database.backup(target)

    def _prepared(self) -> Seal:
        if self._seal is None:
            empty = not self._database.read("SELECT 1 FROM trail LIMIT 1")
            self._seal = Seal(self._files.make(new_key=empty, new_trail=empty))
        return self._seal

    def _refuse_another_key(self, seal: Seal) -> None:
        """Refuse to add entries that would read as altered for ever.

        A head that is missing or none at all says nothing about the key: `verify` reports it, and work goes on.
        """
        try:
            kept = self._files.head()
        except StoreError:
            return
        if kept is not None and not seal.made(kept):
            self._seal = None  # the next decision reads the key again
            raise StoreError(
                f"Nothing was done: the trail's head ({self._files.folder / 'head'}) was not made with the key in use "
                f"here, {self._files.key_is_from()}. Use the key that the trail was begun with, or go on with this one "
                "by `stanchion trail restart`."
            )

    def _decide(self, seal: Seal, work: Callable[[Tables, Add], T], keep: Callable[[Head], None]) -> T:
        at = self._clock.now().isoformat()
        added: list[tuple[int, bytes]] = []

        def write(tables: Tables) -> T:
            def add(
                by: Person,
                what: str,
                *,
                workflow: str = "",
                run_id: str = "",
                subject: str = "",
                facts: Mapping[str, Any] | None = None,
                content: Mapping[str, Any] | None = None,
            ) -> None:
                words = [at, by.name, by.known_by, what, workflow, run_id, subject]
                added.append(_append(tables, seal, words, facts or {}, content))

            return work(tables, add)

        result = self._database.write_now(write)
        if added:
            try:
                keep(seal.head(*added[-1]))
            except StoreError as error:
                raise StoreError(
                    f"It is done and stands in the trail, but the trail's head was not kept: {error}"
                ) from error
        return result

    def _move_on(self, head: Head) -> None:
        self._files.move_on(head, goes_on=self._goes_on)

    def _goes_on(self, kept: Head) -> bool:
        """Say whether the trail is that of a head that was kept, and longer."""
        if self._seal is None or not self._seal.made(kept):
            return False
        rows = self._database.read("SELECT hex(hash) AS hash FROM trail WHERE seq = ?", [kept.count])
        return kept.count == 0 or (bool(rows) and rows[0]["hash"].lower() == kept.hash)


def erase_content(tables: Tables, add: Add, run_ids: Sequence[str], *, by: Person, what: str = ERASURES[0]) -> None:
    """Empty what the entries of some runs hold of personal text, and say so in the trail.

    Args:
        tables: in the writer thread, inside `Trail.decide`.
        add: adds entries there.
        run_ids: whole ids.
        by: who erases them.
        what: one of `ERASURES`, the phrases that `verify` takes for an erasure.
    """
    for start in range(0, len(run_ids), RUNS_PER_ENTRY):
        some = list(run_ids[start : start + RUNS_PER_ENTRY])
        tables.conn.executemany(_ERASE, [(run_id,) for run_id in some])
        add(by, what, run_id=some[0] if len(run_ids) == 1 else "", facts={"runs": some})


_ERASE = "UPDATE trail SET content = NULL, salt = NULL WHERE run_id = ? AND run_id != '' AND content IS NOT NULL"

_ENTRIES = """
    SELECT seq, CAST(at AS BLOB) AS at, CAST(by AS BLOB) AS by, CAST(known_by AS BLOB) AS known_by,
        CAST(what AS BLOB) AS what, CAST(workflow AS BLOB) AS workflow, CAST(run_id AS BLOB) AS run_id,
        CAST(subject AS BLOB) AS subject, CAST(facts AS BLOB) AS facts, CAST(content AS BLOB) AS content,
        content IS NULL AND commitment != x'' AS erased
    FROM trail"""  # as bytes: text that is none must not keep people from seeing the rest

_CONDITIONS = {
    "run_id": "run_id = :run_id AND run_id != ''",  # the second half is what its index asks for
    "by": "by = :by",
    "what": "what = :what",
    "before": "seq < :before",
}


def _append(
    tables: Tables, seal: Seal, words: Sequence[str], facts: Mapping[str, Any], content: Mapping[str, Any] | None
) -> tuple[int, bytes]:
    """Write one entry; return its seq and hash."""
    if any(len(word) > LONGEST_WORD for word in words):
        raise UsageError(f"Something that the trail is to keep has more than {LONGEST_WORD:,} characters.")
    seq, before = _last(tables)
    text = None if content is None else canonical(content)
    salt = None if text is None else secrets.token_bytes(SALT_BYTES)
    commitment = b"" if text is None or salt is None else commit(salt, text)
    columns = [seq + 1, *map(_storable, words), canonical(facts)]
    sealed = seal.of_entry(before, columns, commitment)
    tables.conn.execute(
        """INSERT INTO trail (seq, at, by, known_by, what, workflow, run_id, subject, facts, commitment, content, salt,
           hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [*columns, commitment, text, salt, sealed],
    )
    return seq + 1, sealed


def _last(tables: Tables) -> tuple[int, bytes]:
    """Return the seq and hash of the last entry, whatever somebody made of it: `verify` tells, work goes on."""
    row = tables.conn.execute("SELECT seq, CAST(hash AS BLOB) FROM trail ORDER BY seq DESC LIMIT 1").fetchone()
    seq, before = row or (0, FIRST)
    if seq >= LARGEST:
        raise StoreError(
            "Somebody added an entry to the trail that none can follow: `stanchion trail verify` tells more."
        )
    return max(seq, 0), before if len(before) == len(FIRST) else FIRST


def _storable(word: str) -> str:
    """Return a text without the halves of characters that SQLite does not take."""
    return word.encode("utf-8", "replace").decode()


def _entry(row: Mapping[str, Any]) -> Entry:
    names = ("at", "by", "known_by", "what", "workflow", "run_id", "subject")
    words: dict[str, str] = {name: (row[name] or b"").decode(errors="replace") for name in names}
    return Entry(
        seq=row["seq"],
        **words,
        facts=_dict(row["facts"]) or {},
        content=_dict(row["content"]),
        erased=bool(row["erased"]),
    )


def _dict(text: bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads(text or b"null")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
