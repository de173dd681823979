"""The database: one file, one writer, nothing half-written."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stanchion.errors import StoreError
from stanchion.store import Database, Owner
from stanchion.store.database import Work
from stanchion.store.owners import is_alive


@pytest.fixture
def database(tmp_path: Path):
    database = Database(tmp_path / "some" / "runs.db")
    yield database
    database.close()


def add(run_id: str) -> Work[None]:
    def work(tables) -> None:
        tables["runs"].insert(
            {
                "id": run_id,
                "workflow": "w",
                "reference": "w",
                "version": "1",
                "model": "none",
                "input_id": "i",
                "status": "queued",
                "created_at": "2024-01-01T00:00:00+00:00",
            }
        )

    return work


def ids(database: Database) -> list[str]:
    return [row["id"] for row in database.read("SELECT id FROM runs ORDER BY id")]


async def _write_all(database: Database, works: list[Work[None]]) -> list[BaseException | None]:
    import asyncio

    return await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)


def test_only_the_owner_of_the_file_may_read_it(database: Database) -> None:
    """A new database file has mode 0600."""
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600


def test_readers_and_the_writer_do_not_wait_for_each_other(database: Database) -> None:
    """The file is in WAL mode, and survives loss of power by default."""
    assert database.read("PRAGMA journal_mode") == [{"journal_mode": "wal"}]
    assert database.read("PRAGMA synchronous") == [{"synchronous": 2}]


def test_a_write_is_on_disk_when_it_returns(database: Database) -> None:
    """Another connection sees a row as soon as `write_now` has returned."""
    database.write_now(add("a"))

    with sqlite3.connect(database.path) as other:
        assert other.execute("SELECT id FROM runs").fetchall() == [("a",)]


def test_one_failing_write_undoes_itself_and_nothing_else(database: Database) -> None:
    """In a batch, a job that raises loses its own rows; its neighbours keep theirs."""
    import asyncio

    def failing(tables) -> None:
        add("undone")(tables)
        raise LookupError("on purpose")

    results = asyncio.run(_write_all(database, [add("a"), failing, add("b")]))

    assert [type(result) for result in results] == [type(None), LookupError, type(None)]
    assert ids(database) == ["a", "b"]


def test_read_then_update_never_loses_a_race(database: Database) -> None:
    """300 increments from three threads and two databases on one file end at 300: the transaction begins immediate."""
    database.write_now(lambda tables: tables.conn.execute("CREATE TABLE counter (n INTEGER)").connection is None)
    database.write_now(lambda tables: tables["counter"].insert({"n": 0}) and None)
    second = Database(database.path)

    def increment(tables) -> None:
        (n,) = tables.conn.execute("SELECT n FROM counter").fetchone()
        tables.conn.execute("UPDATE counter SET n = ?", [n + 1])

    def hundred(through: Database) -> None:
        for future in [through.submit(increment) for _ in range(100)]:
            future.result()

    threads = [threading.Thread(target=hundred, args=[through]) for through in (database, second, database)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    second.close()

    assert database.read("SELECT n FROM counter") == [{"n": 300}]


def test_what_is_queued_is_written_before_closing(tmp_path: Path) -> None:
    """Closing waits for the writer; a later write is refused with the reason."""
    database = Database(tmp_path / "runs.db")
    for number in range(50):
        database.submit(add(f"{number:02}"))
    database.close()

    reopened = Database(tmp_path / "runs.db")
    assert len(ids(reopened)) == 50
    reopened.close()
    with pytest.raises(StoreError, match="closed"):
        database.submit(add("late"))


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    """A file with a migration unknown to us is not touched, and the message says what to do."""
    Database(tmp_path / "runs.db").close()
    with sqlite3.connect(tmp_path / "runs.db") as other:
        other.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('stanchion', 'm999', '')"
        )

    with pytest.raises(StoreError, match=r"newer Stanchion.*Upgrade"):
        Database(tmp_path / "runs.db")


def test_an_older_database_is_migrated_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that lacks the newest migration gets it when it is opened."""
    from stanchion.store import migrations

    old = Database(tmp_path / "runs.db")
    old.write_now(add("kept"))
    old.close()

    def m999_note(db) -> None:
        db["runs"].add_column("note", str)

    ours = migrations._migrations()
    ours()(m999_note)
    monkeypatch.setattr(migrations, "_migrations", lambda: ours)
    new = Database(tmp_path / "runs.db")

    assert new.read("SELECT id, note FROM runs") == [{"id": "kept", "note": None}]
    new.close()


def test_something_else_than_a_database_is_refused(tmp_path: Path) -> None:
    """A text file named as the database gives one clear error and stays as it was."""
    (tmp_path / "runs.db").write_text("dear diary " * 100)

    with pytest.raises(StoreError, match=r"runs\.db cannot be used"):
        Database(tmp_path / "runs.db")
    assert (tmp_path / "runs.db").read_text() == "dear diary " * 100


def test_processes_that_open_a_new_file_together_all_succeed(tmp_path: Path) -> None:
    """Four processes create and migrate one file at the same moment; none fails."""
    code = f"from stanchion.store import Database; Database({str(tmp_path / 'runs.db')!r}).close()"
    children = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]

    assert [child.communicate()[1] for child in children] == [b""] * 4


def test_a_backup_is_whole_and_private(database: Database, tmp_path: Path) -> None:
    """The copy holds what was committed, opens as a database, and only its owner may read it."""
    database.write_now(add("a"))
    database.backup(tmp_path / "copy.db")

    copy = Database(tmp_path / "copy.db")
    assert ids(copy) == ["a"]
    assert stat.S_IMODE(copy.path.stat().st_mode) == 0o600
    copy.close()


def test_a_failed_backup_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    """Where the copy cannot be put in place, no half of it stands there to be taken for a whole one."""
    (tmp_path / "copy.db").write_text("mine")

    with pytest.raises(StoreError):
        database.backup(tmp_path / "copy.db")
    assert not (tmp_path / "copy.db.part").exists()


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A SQLite file with other tables gets none of ours, and stays in the mode it was in."""
    with sqlite3.connect(tmp_path / "theirs.db") as theirs:
        theirs.execute("CREATE TABLE users (name TEXT)")
    before = (tmp_path / "theirs.db").read_bytes()

    with pytest.raises(StoreError, match="of something else"):
        Database(tmp_path / "theirs.db")
    assert (tmp_path / "theirs.db").read_bytes() == before


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """A database restored with wide permissions is narrowed when it is opened."""
    Database(tmp_path / "runs.db").close()
    (tmp_path / "runs.db").chmod(0o644)
    Database(tmp_path / "runs.db").close()

    assert stat.S_IMODE((tmp_path / "runs.db").stat().st_mode) == 0o600


def test_forgetting_says_so_where_somebody_still_reads(database: Database) -> None:
    """While another program reads, erased bytes cannot leave the file: the error says to run it again."""
    database.write_now(add("a"))
    reader = sqlite3.connect(database.path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM runs").fetchall()
    database.write_now(add("b"))

    with pytest.raises(StoreError, match="still reading"):
        database.forget_log(patience=0.0)
    reader.close()
    database.forget_log()


def test_a_backup_never_overwrites(database: Database, tmp_path: Path) -> None:
    """An existing target is refused and left alone."""
    (tmp_path / "copy.db").write_text("mine")

    with pytest.raises(StoreError):
        database.backup(tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_an_owner_is_alive_until_its_process_dies(tmp_path: Path) -> None:
    """The lock of a killed process is free at once; that of a living one is not."""
    code = (
        "import sys, pathlib; from stanchion.store import Owner; "
        "owner = Owner(pathlib.Path(sys.argv[1]), 'them'); print('ready', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "runs.db"
    child = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"

    assert is_alive(path, "them")
    child.kill()
    child.wait()
    assert not is_alive(path, "them")


def test_an_owner_that_released_is_not_alive(tmp_path: Path) -> None:
    """Releasing gives everything up, also within one process."""
    owner = Owner(tmp_path / "runs.db", "me")
    assert is_alive(tmp_path / "runs.db", "me")
    owner.release()
    assert not is_alive(tmp_path / "runs.db", "me")
