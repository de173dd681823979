"""What waits for people, from plain synchronous Python: look, take, answer, and have the run go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stanchion.blocking import wait_for
from stanchion.errors import StanchionError
from stanchion.people import Person
from stanchion.runs import corrections as _corrections
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Review, Run
from stanchion.runs.reviews import CLAIM_SECONDS, Reviews
from stanchion.runs.runner import Runner
from stanchion.settings import read_settings
from stanchion.store import Database

Db = Path | str | None
"""The database file; None: `STANCHION_DB`, else `.stanchion/stanchion.db`."""


def waiting(*, workflow: str | None = None, limit: int = 100, db: Db = None) -> list[Review]:
    """Return what waits for an answer, the largest expected loss first.

    Args:
        workflow: only of this workflow.
        limit: how many at the most.
        db: the database file.

    Raises:
        StoreError: the database cannot be used.
    """
    with _opened(db) as database:
        return Reviews(database).waiting(workflow=workflow, limit=limit)


def get(review_id: str, *, db: Db = None) -> Review:
    """Return one review.

    Args:
        review_id: its id, its run's id, or the beginning of either where that is unique.
        db: the database file.

    Raises:
        ReviewNotFound: there is none, or more than one.
    """
    with _opened(db) as database:
        return Reviews(database).get(review_id)


def claim(review_id: str, *, by: Person | str, seconds: float = CLAIM_SECONDS, db: Db = None) -> Review:
    """Take a review for a while, so that nobody else answers it meanwhile.

    Args:
        review_id: as for `get`.
        by: who takes it.
        seconds: for how long.
        db: the database file.

    Raises:
        ReviewTaken: somebody else has it.
        ReviewClosed: it can no longer be answered.
        NotAllowed: this person may not answer it, or holds 100 others.
    """
    with _opened(db) as database:
        return Reviews(database).claim(review_id, by=by, seconds=seconds)


def release(review_id: str, *, by: Person | str, db: Db = None) -> None:
    """Give a review back before its time is over.

    Args:
        review_id: as for `get`.
        by: who gives it back.
        db: the database file.

    Raises:
        NotAllowed: it is somebody else's, and this person is no operator.
    """
    with _opened(db) as database:
        Reviews(database).release(review_id, by=by)


def answer(
    review_id: str,
    action: str,
    *,
    by: Person | str,
    edits: dict[str, Any] | None = None,
    output: Any = None,
    reason: str = "",
    model: Any = None,
    db: Db = None,
) -> Run:
    """Give a review its one answer, and let its run go on; where a worker runs, it is the worker that goes on with it.

    Args:
        review_id: as for `get`.
        action: `approve`, `edit` or `reject`.
        by: who answers.
        edits: for `edit`, the fields to change and their values.
        output: for `edit`, the whole value instead; for a question with a form of its own, the answer itself.
        reason: in the person's words; a rejection needs one.
        model: for the rest of the run, as for `stanchion.run`; by default the one that it was made with.
        db: the database file.

    Returns:
        the run as it then stands: still `waiting` where a second person or a worker comes next.

    Raises:
        ReviewNotFound: there is no such review.
        ReviewClosed: it can no longer be answered; the message says who decided what and when, or why not.
        ReviewTaken: somebody else is at work on it.
        NotAllowed: this person may not answer it, or not twice.
        InvalidAnswer: the answer does not fit; the review stays open.
    """
    from stanchion.runs.worker import worker_running

    with _opened(db) as database:
        review = Reviews(database).answer(review_id, action, by=by, edits=edits, output=output, reason=reason)
        run = Ledger(database).run(review.run_id)
        if review.status == "answered" and not worker_running(database, run.workflow):
            try:
                wait_for(_resume(run, model, database.path))
            except StanchionError as error:
                raise type(error)(f"The answer is on record, but its run cannot go on yet: {error}") from error
        return Ledger(database).run(run.id)


def corrections(*, workflow: str | None = None, approved: bool = False, db: Db = None) -> list[dict[str, Any]]:
    """Return what people made of proposals, as rows of a dataset that `stanchion eval` reads.

    Args:
        workflow: only of this workflow.
        approved: also what people found right as it was.
        db: the database file.
    """
    with _opened(db) as database:
        return list(_corrections.corrections(database, workflow=workflow, approved=approved))


async def _resume(run: Run, model: Any, db: Path) -> None:
    async with Runner(run.reference, db=db, model=model) as runner:
        await runner.resume([run.id])


@contextmanager
def _opened(db: Db) -> Iterator[Database]:
    database = Database(db or read_settings().db)
    try:
        yield database
    finally:
        database.close()
