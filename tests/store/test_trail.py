"""The trail: both or neither, never altered unnoticed, never crashed by what somebody wrote into it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stanchion.errors import NotAllowed, StoreError, UsageError
from stanchion.people import Person
from stanchion.store import Database
from stanchion.store.trail import Head, Report, Trail, erase_content
from stanchion.store.trail_check import check
from stanchion.store.trail_files import KEY, TrailFiles
from stanchion.testing import FakeClock

ANA = Person("ana@example.org", frozenset({"operator"}), "login")
VIEWER = Person("eve@example.org", frozenset({"viewer"}), "login")
COLUMNS = ["at", "by", "known_by", "what", "workflow", "run_id", "subject", "facts", "content", "salt", "commitment"]
COLUMNS += ["hash"]
ENTRIES = 9  # of `write_some`; 2 and 3 are erased, 6 says so, 5 has no text
WITH_TEXT = [1, 4, 7, 8, 9]


def write_some(trail: Trail) -> None:
    """Nine entries, of which some are erased and one never had a text."""
    for number in range(1, 5):
        add(trail, f"run{number // 2}", facts={"action": "edit", "number": number})
    add(trail, "run1", text=None)
    erase(trail, "run1")
    for number in range(7, 10):
        add(trail, f"run{number % 2}", facts={"number": number})


def add(trail: Trail, run_id: str = "", text: str | None = "why", **more: Any) -> None:
    content = None if text is None else {"reason": text, "before": {"total": "1"}}
    trail.decide(lambda _, add: add(ANA, "review answered", run_id=run_id, content=content, **more))


def erase(trail: Trail, *run_ids: str) -> None:
    trail.decide(lambda tables, add: erase_content(tables, add, run_ids, by=ANA))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "runs.db")
    yield database
    database.close()


@pytest.fixture
def trail(database: Database) -> Trail:
    return Trail(database, FakeClock())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed database with `write_some`, to be copied before it is meddled with."""
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    database = Database(path)
    write_some(Trail(database, FakeClock()))
    database.close()
    return path


def meddled(whole: Path, folder: Path, meddle: Callable[[sqlite3.Connection], object]) -> Report:
    """Check a copy that somebody who can write the file, and nothing else, has changed."""
    copy = folder / "runs.db"
    shutil.copyfile(whole, copy)
    shutil.copytree(TrailFiles(whole).folder, TrailFiles(copy).folder, dirs_exist_ok=True)
    with sqlite3.connect(copy) as connection:
        meddle(connection)
    connection.close()
    return check(copy, TrailFiles(copy))


def places(report: Report) -> list[int | None]:
    return [problem.seq for problem in report.problems]


# --- Writing ---


def test_an_entry_and_what_it_tells_of_stand_together(trail: Trail, database: Database) -> None:
    """Both are written, the caller gets its value, and the head names the entry."""

    def work(tables: Any, add: Any) -> str:
        tables.conn.execute("INSERT INTO paused_workflows VALUES ('letters', '', '', '')")
        facts, content = {"b": 1, "a": [2]}, {"reason": "über"}
        add(ANA, "workflow paused", workflow="letters", run_id="r", subject="s", facts=facts, content=content)
        return "done"

    assert trail.decide(work) == "done"
    (entry,) = trail.entries()
    assert (entry.seq, entry.by, entry.known_by, entry.what) == (1, ANA.name, "login", "workflow paused")
    assert (entry.workflow, entry.run_id, entry.subject) == ("letters", "r", "s")
    assert (entry.facts, entry.content, entry.erased) == ({"a": [2], "b": 1}, {"reason": "über"}, False)
    assert entry.at == FakeClock().now().isoformat()
    assert len(database.read("SELECT * FROM paused_workflows")) == 1
    assert trail.verify() == Report(rows=1, found=0, problems=[], restarts=[], head=trail.head())
    assert trail.head().count == 1


def test_what_raises_leaves_neither(trail: Trail, database: Database) -> None:
    """A decision that ends in an error writes nothing, adds nothing and moves no head."""
    add(trail)

    def work(tables: Any, add: Any) -> None:
        tables.conn.execute("INSERT INTO paused_workflows VALUES ('letters', '', '', '')")
        add(ANA, "workflow paused")
        raise UsageError("no")

    with pytest.raises(UsageError):
        trail.decide(work)
    assert database.read("SELECT * FROM paused_workflows") == []
    assert (len(trail.entries()), trail.head().count, trail.verify().ok) == (1, 1, True)


def test_nothing_is_made_beside_a_database_that_nobody_decided_in(trail: Trail, tmp_path: Path) -> None:
    """Looking and checking leave no files; an empty trail is whole, and has no head yet."""
    assert (trail.entries(), trail.verify().ok, trail.verify().rows) == ([], True, 0)
    with pytest.raises(StoreError, match="nothing was written to the trail"):
        trail.head()
    assert not (tmp_path / "runs.db.trail").exists()


def test_the_files_are_for_their_owner_only(trail: Trail) -> None:
    """The folder, the key and the head can be read by nobody else."""
    add(trail)
    folder = TrailFiles(trail._database.path).folder

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("key", "head")} == {0o600}


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "💥" * 50, "<script>", "=cmd()"])
def test_any_text_can_be_kept(trail: Trail, text: str) -> None:
    """Halves of characters, NULs and whatever else people type neither stop a decision nor break the chain."""
    person = Person(text, None, "claim")
    trail.decide(lambda _, add: add(person, text, subject=text, facts={text: text}, content={text: float("nan")}))

    assert trail.verify().ok
    assert trail.entries()[0].facts == {text: text}


def test_what_cannot_be_kept_undoes_the_decision(trail: Trail) -> None:
    """What is no JSON, without an end, or too long is refused in words, and nothing is written."""
    endless: dict[str, Any] = {}
    endless["self"] = endless
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for facts in (endless, deep, {"a": "x" * (16 * 1024 * 1024)}, {1: 1, "a": 2}):
        with pytest.raises(UsageError, match="the trail is to keep"):
            trail.decide(lambda _, add, facts=facts: add(ANA, "x", facts=facts))  # type: ignore[misc]
    with pytest.raises(UsageError, match="more than 10,000 characters"):
        trail.decide(lambda _, add: add(ANA, "x" * 10_001))
    assert trail.entries() == []


# --- Reading ---


def test_entries_are_found_by_run_person_and_phrase(trail: Trail) -> None:
    """Each filter keeps what it names, the newest first, and pages go on where the last one ended."""
    write_some(trail)

    assert [entry.seq for entry in trail.entries(run_id="run0")] == [8, 1]
    assert [entry.seq for entry in trail.entries(what="run erased")] == [6]
    assert (len(trail.entries(by=ANA.name)), trail.entries(by="ana")) == (ENTRIES, [])
    assert [entry.seq for entry in trail.entries(limit=2)] == [9, 8]
    assert [entry.seq for entry in trail.entries(limit=2, before_seq=8)] == [7, 6]
    assert trail.entries(run_id="") == []


def test_the_list_survives_what_somebody_wrote_into_it(trail: Trail, database: Database) -> None:
    """Text that is none and JSON that is none are shown as well as they can be."""
    add(trail)
    add(trail)
    spoil = "UPDATE trail SET by = CAST(x'ff41' AS TEXT), facts = '[[[', content = x'00ff', what = x'ff' WHERE seq = 1"
    database.write_now(lambda tables: tables.conn.execute(spoil))

    (_, spoilt) = trail.entries()
    assert (spoilt.by, spoilt.what, spoilt.facts, spoilt.content) == ("\ufffdA", "\ufffd", {}, None)


# --- What verify finds ---

VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=40), st.binary(max_size=40), st.just(b"")
)


@settings(max_examples=300)
@given(seq=st.integers(1, ENTRIES), column=st.sampled_from(COLUMNS), value=VALUES, as_text=st.booleans())
def test_any_change_of_any_column_is_found_at_its_entry(
    whole: Path, seq: int, column: str, value: Any, as_text: bool
) -> None:
    """Whatever is put into one column of one row, that row is named, and no other but those that it speaks of."""
    if isinstance(value, str):
        value = value.encode("utf-8", "replace").decode()

    def meddle(connection: sqlite3.Connection) -> None:
        look = f"SELECT typeof({column}), CAST({column} AS BLOB) FROM trail WHERE seq = ?"
        before = connection.execute(look, [seq]).fetchone()
        new = "CAST(? AS TEXT)" if as_text and value is not None else "?"
        try:
            connection.execute(f"UPDATE trail SET {column} = {new} WHERE seq = ?", [value, seq])
        except sqlite3.IntegrityError:
            assume(False)
        assume(connection.execute(look, [seq]).fetchone() != before)

    with tempfile.TemporaryDirectory() as folder:
        found = set(places(meddled(whole, Path(folder), meddle)))
    assert {seq} <= found <= ({2, 3, 6} if seq == 6 else {seq})  # an erasure that is none excuses nothing


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("seq", [1, 5, ENTRIES])
def test_one_bit_is_enough(whole: Path, tmp_path: Path, column: str, seq: int) -> None:
    """The smallest change of what a column holds is found too, each at its entry."""

    def meddle(connection: sqlite3.Connection) -> None:
        (value,) = connection.execute(f"SELECT {column} FROM trail WHERE seq = ?", [seq]).fetchone()
        flipped = bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) and value else f"{value}."
        connection.execute(f"UPDATE trail SET {column} = ? WHERE seq = ?", [flipped, seq])

    assert places(meddled(whole, tmp_path, meddle)) == [seq]


def test_nulls_where_the_table_has_none_are_found(whole: Path, tmp_path: Path) -> None:
    """A file that was written past SQLite's own rules is checked like any other."""

    def meddle(connection: sqlite3.Connection) -> None:
        (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'trail'").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        change = "UPDATE sqlite_master SET sql = ? WHERE name = 'trail'"
        connection.execute(change, [sql.replace("NOT NULL", "")])
        connection.commit()
        with sqlite3.connect(tmp_path / "runs.db") as other:
            for seq, column in enumerate(("by", "facts", "commitment", "hash"), 1):
                other.execute(f"UPDATE trail SET {column} = NULL WHERE seq = ?", [seq])
        other.close()
        connection.execute(change, [sql])

    assert places(meddled(whole, tmp_path, meddle)) == [1, 2, 3, 4]


@settings(max_examples=60)
@given(first=st.integers(1, ENTRIES), length=st.integers(1, ENTRIES))
def test_removed_entries_are_missed_at_their_place(whole: Path, first: int, length: int) -> None:
    """From the beginning, the middle or the end, one or all: the first missing number is named."""
    last = min(first + length - 1, ENTRIES)
    with tempfile.TemporaryDirectory() as folder:
        report = meddled(
            whole, Path(folder), lambda c: c.execute("DELETE FROM trail WHERE seq BETWEEN ? AND ?", [first, last])
        )
    assert first in places(report)
    assert ("Cut off" if last == ENTRIES else "Missing") in str(report.problems)


@settings(max_examples=60)
@given(one=st.integers(1, ENTRIES), other=st.integers(-5, ENTRIES + 5))
def test_a_renumbered_or_moved_entry_is_found(whole: Path, one: int, other: int) -> None:
    """Two that changed places, or one that got another number, are named where they were and where they are."""
    assume(one != other)

    def meddle(connection: sqlite3.Connection) -> None:
        for old, new in ((one, 100), (other, one), (100, other)):
            connection.execute("UPDATE trail SET seq = ? WHERE seq = ?", [new, old])

    with tempfile.TemporaryDirectory() as folder:
        found = places(meddled(whole, Path(folder), meddle))
    assert one in found
    assert other in found or other > ENTRIES  # beyond the end it cannot be checked for what is missing before


def test_all_rows_closed_up_after_a_removal_are_found(whole: Path, tmp_path: Path) -> None:
    """Who removes an entry and renumbers the rest is found at each, and at what an erasure no longer excuses."""

    def meddle(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM trail WHERE seq = 4")
        for seq in range(5, ENTRIES + 1):
            connection.execute("UPDATE trail SET seq = ? WHERE seq = ?", [seq - 1, seq])

    assert places(meddled(whole, tmp_path, meddle)) == [2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("seq", [-(2**63), 0, ENTRIES + 1, ENTRIES + 7, 2**63 - 1])
def test_an_entry_without_the_key_is_found(whole: Path, tmp_path: Path, seq: int) -> None:
    """One that was put before, after or far beyond the others does not pass for one of them."""
    copy = """INSERT INTO trail SELECT ?, at, by, known_by, what, workflow, run_id, subject, facts, content, salt,
              commitment, hash FROM trail WHERE seq = 9"""
    report = meddled(whole, tmp_path, lambda connection: connection.execute(copy, [seq]))

    assert places(report) == [min(seq, ENTRIES + 1)]


def test_nobody_can_follow_the_last_number(trail: Trail, database: Database) -> None:
    """An entry with the largest number there is stops no check; deciding says what is wrong."""
    add(trail)
    database.write_now(lambda tables: tables.conn.execute("UPDATE trail SET seq = 9223372036854775807"))

    with pytest.raises(StoreError, match="none can follow"):
        add(trail)
    assert 1 in places(trail.verify())


# --- Erasing ---


def test_an_erased_text_is_gone_and_not_missed(trail: Trail, database: Database) -> None:
    """Text and salt are emptied, the entry that says so stands there, and the chain holds."""
    write_some(trail)

    gone = database.read("SELECT seq FROM trail WHERE content IS NULL AND salt IS NULL ORDER BY seq")
    assert [row["seq"] for row in gone] == [2, 3, 5, 6]
    assert [entry.seq for entry in trail.entries() if entry.erased] == [3, 2]
    assert trail.entries(what="run erased")[0].facts == {"runs": ["run1"]}
    assert trail.verify().ok


@pytest.mark.parametrize("seq", WITH_TEXT)
def test_a_text_that_vanished_without_an_entry_is_found(whole: Path, tmp_path: Path, seq: int) -> None:
    """An erasure excuses what came before it, of its own run, and nothing else."""
    empty = "UPDATE trail SET content = NULL, salt = NULL WHERE seq = ?"
    report = meddled(whole, tmp_path, lambda connection: connection.execute(empty, [seq]))

    assert [(problem.seq, "no entry says" in problem.what) for problem in report.problems] == [(seq, True)]


def test_a_text_that_was_put_back_is_found(trail: Trail, database: Database) -> None:
    """What an entry says was erased must not stand there again, even if it is the true text."""
    add(trail, "run1")
    (row,) = database.read("SELECT content, salt FROM trail")
    erase(trail, "run1")
    put_back = "UPDATE trail SET content = :content, salt = :salt WHERE seq = 1"
    database.write_now(lambda tables: tables.conn.execute(put_back, row))

    (problem,) = trail.verify().problems
    assert (problem.seq, "entry 2 says that it was erased" in problem.what) == (1, True)


def test_a_made_up_erasure_excuses_nothing(whole: Path, tmp_path: Path) -> None:
    """Who empties a text and adds an erasure without the key is found at both."""
    made_up = """INSERT INTO trail SELECT 10, at, by, known_by, what, workflow, run_id, subject, '{"runs":["run0"]}',
                 content, salt, commitment, hash FROM trail WHERE seq = 6"""

    def meddle(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE trail SET content = NULL, salt = NULL WHERE seq = 1")
        connection.execute(made_up)

    assert places(meddled(whole, tmp_path, meddle)) == [1, 10]


def test_thousands_of_runs_are_erased_in_a_few_entries(trail: Trail) -> None:
    """Each entry names a thousand runs at most, and all of them count."""
    ids = [f"run{number}" for number in range(2_500)]
    trail.decide(lambda _, add: [add(ANA, "x", run_id=run_id, content={"reason": "y"}) for run_id in ids])
    trail.decide(lambda tables, add: erase_content(tables, add, ids, by=ANA, what="runs pruned"))

    assert [len(entry.facts["runs"]) for entry in trail.entries(what="runs pruned")] == [500, 1_000, 1_000]
    assert trail.verify().ok


def test_an_erasure_without_runs_stops_no_check(trail: Trail) -> None:
    """Somebody's own entry of the same name, with other facts, is an entry like any other."""
    for facts in ({}, {"runs": 5}, {"runs": [5, None, "\ud800"]}):
        trail.decide(lambda _, add, facts=facts: add(ANA, "run erased", facts=facts))  # type: ignore[misc]
    assert trail.verify().ok


# --- Head and key ---


def head_file(trail: Trail) -> Path:
    return TrailFiles(trail._database.path).folder / "head"


def test_a_head_that_is_behind_is_moved_on(trail: Trail) -> None:
    """After a death between transaction and head, the rows that the head does not name yet are whole."""
    add(trail)
    behind = head_file(trail).read_text()
    add(trail)
    head_file(trail).write_text(behind)

    assert (trail.verify().ok, trail.verify().rows, trail.head().count) == (True, 2, 1)
    add(trail)
    assert trail.head().count == 3


def test_a_head_is_never_moved_back(trail: Trail) -> None:
    """Of two who decide at once, the slower one leaves the later head where it is."""
    add(trail)
    early = trail.head()
    add(trail)
    trail._move_on(early)

    assert trail.head().count == 2


def test_a_forged_head_stops_deciding_and_is_not_written_over(trail: Trail) -> None:
    """One that names a true entry, but was not made with the key, stays for people to see; a restart goes on."""
    add(trail)
    forged = head_file(trail).read_text().replace(trail.head().seal, "0" * 64)
    head_file(trail).write_text(forged)
    with pytest.raises(StoreError, match=r"Nothing was done: the trail's head .* was not made with the key"):
        trail.decide(lambda tables, _: tables.conn.execute("DELETE FROM trail"))

    assert head_file(trail).read_text() == forged
    assert (trail.verify().found, len(trail.entries())) == (1, 1)
    trail.restart(by=ANA, reason="somebody wrote a head")
    add(trail)
    assert (trail.verify().ok, trail.verify().restarts) == (True, [2])


def test_deciding_with_another_key_is_refused(
    trail: Trail, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process with a key in its environment, of a trail begun with a file's, adds nothing that reads as altered."""
    add(trail)
    monkeypatch.setenv(KEY, "k" * 40)
    other = Trail(database, FakeClock())
    with pytest.raises(StoreError, match=f"the key in use here, which comes from {KEY}"):
        add(other)
    monkeypatch.delenv(KEY)
    add(other)  # it reads the key again
    add(trail)

    assert (other.verify().ok, other.verify().rows, other.head().count) == (True, 3, 3)


@settings(max_examples=20)
@given(text=st.one_of(st.binary(max_size=200), st.sampled_from([b"[" * 4096, b'{"count": 1e999}', b"9" * 4096])))
def test_a_head_that_is_none_is_found_and_kept_as_evidence(text: bytes) -> None:
    """Whatever stands in its place is reported, and no later decision writes over it."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "runs.db")
        trail = Trail(database)
        add(trail)
        head_file(trail).write_bytes(text)
        add(trail)
        assert head_file(trail).read_bytes() == text
        assert (places(trail.verify()), trail.verify().rows) == ([None], 2)
        database.close()


def test_a_head_made_without_the_key_is_found(trail: Trail, database: Database) -> None:
    """Who cuts entries off and writes a head for what is left is found, and the head stays for people to see."""
    for _ in range(3):
        add(trail)
    database.write_now(lambda tables: tables.conn.execute("DELETE FROM trail WHERE seq > 1"))
    (row,) = database.read("SELECT hex(hash) AS hash FROM trail")
    head_file(trail).write_text(json.dumps({"count": 1, "hash": row["hash"].lower(), "seal": "0" * 64}))
    with pytest.raises(StoreError, match="not made with the key"):
        add(trail)

    assert trail.head().count == 1
    assert "was not made with this key" in str(trail.verify().problems)


def test_a_head_that_is_gone_is_missed_and_not_made_anew(trail: Trail) -> None:
    """Deciding goes on, and goes on being reported, until an operator restarts the trail."""
    add(trail)
    head_file(trail).unlink()
    add(trail)

    assert "There is no head" in str(trail.verify().problems)
    assert not head_file(trail).exists()
    with pytest.raises(StoreError, match="or it is gone"):
        trail.head()


def test_an_emptied_table_is_found(trail: Trail, database: Database) -> None:
    """The head says how many entries there were, also after the next decisions."""
    for _ in range(3):
        add(trail)
    database.write_now(lambda tables: tables.conn.execute("DELETE FROM trail"))

    assert places(trail.verify()) == [1]
    add(trail)
    assert places(trail.verify()) == [2]
    for _ in range(3):
        add(trail)
    assert (places(trail.verify()), trail.head().count) == ([3], 3)


def test_an_older_database_is_found_until_an_operator_explains_it(trail: Trail, tmp_path: Path) -> None:
    """Restored beside a newer head it is short; gone on from it is another one; a restart says so, once and for all."""
    add(trail)
    trail._database.backup(tmp_path / "older.db")
    for _ in range(2):
        add(trail)
    shutil.copytree(TrailFiles(trail._database.path).folder, tmp_path / "older.db.trail")
    older = Database(tmp_path / "older.db")
    restored = Trail(older, FakeClock())

    assert places(restored.verify()) == [2]
    for _ in range(4):
        add(restored)
    assert places(restored.verify()) == [3]
    with pytest.raises(NotAllowed):
        restored.restart(by=VIEWER, reason="x")
    with pytest.raises(UsageError):
        restored.restart(by=ANA, reason=" ")
    restored.restart(by=ANA, reason="Monday's backup")
    add(restored)
    report = restored.verify()
    assert (report.ok, report.rows, report.restarts) == (True, 7, [6])
    (entry,) = restored.entries(what="trail restarted")
    assert (json.loads(entry.facts["head"])["count"], entry.content) == (3, {"reason": "Monday's backup"})
    older.close()


def test_a_head_kept_elsewhere_is_checked_as_well(trail: Trail, tmp_path: Path) -> None:
    """Rolled back with all files beside it, only a head from elsewhere tells; one from before is content."""
    add(trail)
    early = trail.head()
    shutil.copytree(TrailFiles(trail._database.path).folder, tmp_path / "older.db.trail")
    trail._database.backup(tmp_path / "older.db")
    add(trail)
    late = trail.head()

    assert trail.verify(early).ok
    assert trail.verify(Head(1, late.hash, early.seal)).found == 1
    older = Database(tmp_path / "older.db")
    assert Trail(older).verify().ok
    assert places(Trail(older).verify(late)) == [2]
    older.close()


def test_a_lost_key_stops_deciding_until_it_is_back(trail: Trail, database: Database) -> None:
    """Without it nothing can be checked or decided, and nothing is half done; put back, all is as before."""
    add(trail)
    key = TrailFiles(database.path).folder / "key"
    key.rename(key.with_name("elsewhere"))
    later = Trail(database)

    assert places(later.verify()) == [None]
    with pytest.raises(StoreError, match="The key of the trail is missing"):
        add(later)
    assert len(later.entries()) == 1
    key.with_name("elsewhere").rename(key)
    add(later)
    assert later.verify().ok


def test_with_a_new_key_the_trail_goes_on_but_the_old_part_is_not_vouched_for(trail: Trail, database: Database) -> None:
    """A restart makes a key where there is none; what the old one sealed is reported."""
    add(trail)
    shutil.rmtree(TrailFiles(database.path).folder)
    later = Trail(database)
    later.restart(by="ana", reason="the folder was lost")
    add(later)

    assert (places(later.verify()), later.verify().restarts) == ([1], [2])


def test_another_key_is_said_to_be_one(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no entry fits the key, that is said first: a wrong environment is likelier than a forged trail."""
    for _ in range(3):
        add(trail)
    monkeypatch.setenv(KEY, "k" * 32)

    report = trail.verify()
    assert "is it the right one?" in str(report.problems[:2])
    assert report.found == 5


def test_the_key_can_come_from_the_environment(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no key is written anywhere, and without it nothing can be checked; a short one is refused."""
    monkeypatch.setenv(KEY, "a secret that is long enough to be one")
    add(trail)
    assert trail.verify().ok
    assert not head_file(trail).with_name("key").exists()
    monkeypatch.setenv(KEY, "short")
    with pytest.raises(UsageError, match=KEY):
        trail.verify()
    monkeypatch.delenv(KEY)
    assert places(trail.verify()) == [None]


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_key_file_without_a_key_is_refused(database: Database, content: bytes) -> None:
    """Nothing is sealed with what anybody could guess."""
    folder = TrailFiles(database.path).folder
    folder.mkdir()
    (folder / "key").write_bytes(content)

    with pytest.raises(StoreError, match="key"):
        add(Trail(database))
    with pytest.raises(StoreError, match="key"):
        Trail(database).verify()


def test_a_head_that_cannot_be_written_is_told_with_what_was_done(trail: Trail) -> None:
    """The decision stands, the message says so, and the next one that can moves the head on."""
    add(trail)
    blocked = head_file(trail).with_name("head.part")
    blocked.mkdir()
    with pytest.raises(StoreError, match="It is done and stands in the trail"):
        add(trail)
    assert (len(trail.entries()), trail.head().count, trail.verify().ok) == (2, 1, True)
    blocked.rmdir()
    add(trail)
    assert trail.head().count == 3


def test_a_backup_goes_on(trail: Trail, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files first, then the database, with a decision in between: the copy is whole, and can be decided in."""
    add(trail)
    back_up = database.backup

    def late(target: Path) -> None:
        add(trail)
        back_up(target)

    monkeypatch.setattr(database, "backup", late)
    trail.backup(tmp_path / "copy.db")
    copy = Database(tmp_path / "copy.db")
    copied = Trail(copy)

    assert (copied.verify().ok, copied.verify().rows, copied.head().count) == (True, 2, 1)
    assert {stat.S_IMODE(file.stat().st_mode) for file in TrailFiles(copy.path).folder.iterdir()} == {0o600}
    add(copied)
    assert copied.head().count == 3
    copy.close()


@pytest.mark.parametrize("there", ["copy.db", "copy.db.trail/key", "copy.db.trail/head"])
def test_a_backup_writes_over_nothing(trail: Trail, tmp_path: Path, there: str) -> None:
    """Be it a database, a key or a head that stands at the target: it stays as it is, and nothing is put beside it."""
    add(trail)
    (tmp_path / "copy.db.trail").mkdir()
    (tmp_path / there).write_text("another's")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="exists already"):
        trail.backup(tmp_path / "copy.db")

    assert (tmp_path / there).read_text() == "another's"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_backup_that_fails_leaves_nothing(trail: Trail, tmp_path: Path) -> None:
    """No key of a trail stays behind where its database could not be copied; the next time it can."""
    add(trail)
    blocked = tmp_path / "copy.db.part"
    blocked.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError):
        trail.backup(tmp_path / "copy.db")

    assert sorted(tmp_path.rglob("*")) == before
    blocked.rmdir()
    trail.backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db.trail" / "key").exists()


# --- What must not stop a check ---


def test_values_of_any_size_are_reported(whole: Path, tmp_path: Path) -> None:
    """A row that is larger than any of Stanchion's is not read, but named; those after it are checked."""

    def meddle(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE trail SET content = zeroblob(40000000) WHERE seq IN (3, 9)")
        connection.execute("UPDATE trail SET by = 'x' WHERE seq = 7")

    assert places(meddled(whole, tmp_path, meddle)) == [3, 7, 9]


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["DROP TABLE trail"], "not the one that Stanchion made"),
        (["DROP TABLE trail", "CREATE TABLE trail (seq, hash)"], "not the one"),
        (["ALTER TABLE trail RENAME TO other", "CREATE VIEW trail AS SELECT * FROM other"], "not the one"),
        (
            [
                "DROP TABLE trail",
                "CREATE VIEW trail AS WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq FROM n) SELECT * FROM n",
            ],
            "not the one",
        ),
        (["CREATE TRIGGER hide AFTER INSERT ON trail BEGIN DELETE FROM trail; END"], "trigger"),
    ],
)
def test_another_table_in_its_place_is_found(whole: Path, tmp_path: Path, statements: list[str], said: str) -> None:
    """Views, tables of another making and triggers are reported, and not gone through."""
    report = meddled(whole, tmp_path, lambda connection: [connection.execute(one) for one in statements])

    assert said in str(report.problems)


def test_a_file_that_is_broken_is_a_store_error(whole: Path, tmp_path: Path) -> None:
    """Pages of noise end in words about the file."""
    report = meddled(whole, tmp_path, lambda _: None)
    assert report.ok
    path = tmp_path / "runs.db"
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(StoreError, match="cannot be read"):
        check(path, TrailFiles(path))


def test_thousands_of_problems_are_counted_and_a_thousand_kept(trail: Trail, database: Database) -> None:
    """A report has an end however much somebody altered."""
    trail.decide(lambda _, add: [add(ANA, "x") for _ in range(1_500)])
    database.write_now(lambda tables: tables.conn.execute("UPDATE trail SET by = 'eve' WHERE seq > 1"))
    report = trail.verify()

    assert (report.found, len(report.problems), report.problems[0].seq) == (1_499, 1_000, 2)


def test_memory_does_not_grow_with_the_trail(trail: Trail) -> None:
    """Rows are read one at a time: ten times as many take no more memory at once."""

    def most(entries: int) -> int:
        trail.decide(lambda _, add: [add(ANA, "x", run_id="r", content={"reason": "y" * 500}) for _ in range(entries)])
        tracemalloc.start()
        assert trail.verify().ok
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    most(10)  # what is loaded on first use
    assert most(3_000) < 2 * most(200)


# --- Several at once, and killed ---


def process(script: str, path: Path) -> subprocess.Popen[bytes]:
    """Start a process that has a trail on a database, and `add`."""
    start = """
import os, signal, sys
from pathlib import Path
from stanchion.people import Person
from stanchion.store import Database
from stanchion.store.trail import Trail
from stanchion.store.trail_files import TrailFiles
trail = Trail(Database(sys.argv[1]))
def add(number):
    trail.decide(lambda _, add: add(Person("bo"), "review answered", subject=str(number), content={"reason": "x"}))
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    return subprocess.Popen([sys.executable, "-c", start + script, str(path)])


def test_processes_and_threads_add_at_the_same_moment(trail: Trail, database: Database) -> None:
    """No entry is lost, none is forked off, the head names the last; and who checks meanwhile finds nothing wrong."""
    others = [process("for number in range(60): add(number)", database.path) for _ in range(2)]
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: add(trail), range(60)):
            assert trail.verify().ok
    assert [other.wait() for other in others] == [0, 0]

    report = trail.verify()
    assert (report.ok, report.rows, trail.head().count) == (True, 180, 180)


@pytest.mark.parametrize("before", [0, 1], ids=["the very first", "a later one"])
@pytest.mark.parametrize(
    "death", ["TrailFiles.move_on = die", "Path.replace = die", "os.fsync = die"], ids=["commit", "rename", "write"]
)
def test_killed_between_transaction_and_head(trail: Trail, database: Database, before: int, death: str) -> None:
    """What was committed counts: nothing is reported, and the next decision moves the head on."""
    if before == 0:
        trail._files.make(new_key=True, new_trail=True)  # what the first decision begins with, before its transaction
    for _ in range(before):
        add(trail)
    assert process(f"{death}\nadd(1)", database.path).wait() == -9

    report = trail.verify()
    assert (report.ok, report.rows, trail.head().count) == (True, before + 1, before)
    add(trail)
    assert (trail.verify().ok, trail.head().count) == (True, before + 2)


@pytest.mark.parametrize("death", ["Path.replace = die", "TrailFiles._write_head = die", "Database.write_now = die"])
def test_killed_before_the_first_transaction(trail: Trail, database: Database, death: str) -> None:
    """Half-made files beside an empty trail are finished by the next decision."""
    assert process(f"{death}\nadd(1)", database.path).wait() == -9
    assert trail.entries() == []

    add(trail)
    assert (trail.verify().ok, trail.head().count) == (True, 1)
