"""A process that answers reviews at the same moment as others do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stanchion.errors import ReviewClosed
from stanchion.runs.reviews import Reviews
from stanchion.store import Database
from tests.runs.asking import workflow


def answer_all(db: Path, name: str, ids: list[str], barrier: Any, told: Any) -> None:
    """Answer each review when the others do too; put down how many were taken, and what the refusals said."""
    database = Database(db, synchronous="NORMAL")
    reviews = Reviews(database, workflow=workflow)
    taken, refused = [], []
    for review_id in ids:
        barrier.wait(60)
        try:
            reviews.answer(review_id, "edit", by=name, edits={"note": name})
            taken.append(review_id)
        except ReviewClosed as closed:
            refused.append(str(closed))
    told.put((name, taken, refused))
    database.close()


def claim_all(db: Path, name: str, barrier: Any, told: Any) -> None:
    """Take one review after the other, at the same time as others do, until there are no more."""
    database = Database(db, synchronous="NORMAL")
    reviews = Reviews(database, workflow=workflow)
    taken: list[str] = []
    barrier.wait(60)
    while more := [review for review in reviews.claim_next(by=name, number=len(taken) + 3) if review.id not in taken]:
        taken += [review.id for review in more]
    told.put((name, taken))
    database.close()
