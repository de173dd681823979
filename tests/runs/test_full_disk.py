"""A full disk, or a database that another program holds: new work is refused, and what was accepted goes on later."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.call_soak import Kill, asked, look
from benchmarks.call_workers import ANSWER, CALLS, NO_ROOM, Job, outcomes, processes, read, work
from stanchion.runs import checkpoints
from stanchion.store import database
from stanchion.testing import OpenAIServer, Reply

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

DOCUMENTS = 20
SOON = 0.2  # seconds to wait for a lock, instead of 30


class Room(NamedTuple):
    """How much a worker may write.

    Args:
        bytes_of_file: the longest that any file may grow, as the system has it (`ulimit -f`); None: as it is.
        pages: the most pages of the database, as SQLite has it for a full disk; None: as it is.
    """

    bytes_of_file: int | None = None
    pages: int | None = None


ENDLESS = Room()
A_LITTLE = {"file size": Room(bytes_of_file=1_000_000), "full": Room(pages=150)}
NOTHING = {"file size": Room(bytes_of_file=4096), "full": Room(pages=1)}


def work_in(room: Room, job: Job) -> None:
    """Work, in a process of its own, with so little room."""
    database.BUSY_SECONDS = checkpoints.BUSY_SECONDS = SOON  # type: ignore[attr-defined]
    if room.bytes_of_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room.bytes_of_file, room.bytes_of_file))
    if room.pages is not None:
        sqlite3.connect = _connect_with(sqlite3.connect, room.pages)
    work(job)


def _connect_with(connect: Any, pages: int) -> Any:
    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute(f"PRAGMA max_page_count = {pages}").close()
        return connection  # type: ignore[no-any-return]

    return connected


def ended(room: Room, job: Job) -> int | None:
    """The exit status of a worker."""
    worker = processes().Process(target=work_in, args=(room, job))
    worker.start()
    worker.join()
    return worker.exitcode


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A provider that takes a moment to answer, so that calls are under way."""
    with OpenAIServer({"": Reply(ANSWER, delay=0.01)}) as server:
        yield server


@pytest.mark.parametrize("how", A_LITTLE)
def test_a_disk_that_fills_up_loses_nothing(server: OpenAIServer, tmp_path: Path, how: str) -> None:
    """At work the disk fills up; once there is room, every accepted run ends, and no kept answer is paid for again."""
    job = Job(str(tmp_path / "runs.db"), server.url, documents=DOCUMENTS)

    assert ended(A_LITTLE[how], job) == NO_ROOM
    then = look(Path(job.db), server)
    assert new_work_is_refused(job, NOTHING[how])
    check_the_rest(job, server, then)


def test_a_database_that_another_program_holds_loses_nothing(server: OpenAIServer, tmp_path: Path) -> None:
    """Another program takes the write lock while runs are at work, and keeps it; once it lets go, all goes on."""
    job = Job(str(tmp_path / "runs.db"), server.url, documents=DOCUMENTS)
    worker = processes().Process(target=work_in, args=(ENDLESS, job))
    worker.start()
    assert server.wait_for(DOCUMENTS)
    server.hold()
    other = sqlite3.connect(job.db, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    server.release()
    worker.join()

    assert worker.exitcode == NO_ROOM
    then = look(Path(job.db), server)
    assert new_work_is_refused(job, ENDLESS)
    other.close()
    check_the_rest(job, server, then)


def new_work_is_refused(job: Job, room: Room) -> bool:
    """Whether a start ends with an error, and leaves no run that nobody was told of."""
    refused = ended(room, job._replace(first=DOCUMENTS)) == NO_ROOM
    return refused and len(read(Path(job.db), "SELECT id FROM runs")) == DOCUMENTS


def check_the_rest(job: Job, server: OpenAIServer, then: Kill) -> None:
    """With room again, `resume` ends everything, and asks again only what was under way when there was none."""
    assert then.committed
    unanswered = set(then.asked) - then.committed
    assert ended(ENDLESS, job._replace(documents=0)) == 0
    assert outcomes(Path(job.db)) == {"accepted": DOCUMENTS}
    total = asked(server)
    assert len(total) == DOCUMENTS * CALLS
    assert all(total[question] == then.asked[question] for question in then.committed)
    assert sum(total.values()) - len(total) <= len(unanswered)
