"""What people corrected, as rows of a dataset: `stanchion eval` reads them, and rules and prompts learn from them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from stanchion.question import Question
from stanchion.runs.records import Review
from stanchion.runs.reviews import changes
from stanchion.store import Database

ROWS_AT_ONCE = 200

_ANSWERED = """
    SELECT reviews.rowid AS place, reviews.*, runs.input_id, runs.input, runs.recorded, runs.model, runs.version
    FROM reviews JOIN runs ON runs.id = reviews.run_id
    WHERE reviews.rowid > :after AND reviews.status = 'answered' AND reviews.action IN ('edit', :also)
        AND reviews.question IS NOT NULL AND reviews.answer IS NOT NULL AND runs.input IS NOT NULL
        AND (:workflow IS NULL OR reviews.workflow = :workflow)
    ORDER BY reviews.rowid LIMIT :limit
"""


def corrections(database: Database, *, workflow: str | None = None, approved: bool = False) -> Iterator[dict[str, Any]]:
    """Give what people made of proposals, in the order in which they were asked; nothing of erased runs.

    Args:
        database: open; rows are read as they are wanted.
        workflow: only of this workflow.
        approved: also what people found right as it was.

    Yields:
        rows of JSON data: `id`, `input`, `truth` and perhaps `recorded`, as a dataset has them; and `proposal`,
        `correction` (the fields that were changed), `by`, `at`, `workflow`, `version` and `node`.
    """
    after = 0
    wanted = {"workflow": workflow, "also": "approve" if approved else "edit", "limit": ROWS_AT_ONCE}
    while rows := database.read(_ANSWERED, {**wanted, "after": after}):
        for row in rows:
            try:
                made = _row(row, Review(**row))
            except (ValueError, RecursionError):  # spoilt; pydantic's and JSON's own are ValueErrors
                continue
            if made:
                yield made
        after = rows[-1]["place"]


def _row(row: dict[str, Any], review: Review) -> dict[str, Any] | None:
    """Return the row of one answer; None where it is no value that a proposal could be measured by."""
    proposal = Question.of(review.question).proposal
    value = review.answer.get("output") if isinstance(review.answer, dict) else None
    truth = proposal if review.action == "approve" else value
    if not isinstance(truth, dict):
        return None
    return {
        "id": review.input_id,
        "input": json.loads(row["input"]),
        "truth": truth,
        **_recorded(row),
        "proposal": proposal,
        "correction": changes(proposal or {}, truth),
        "by": review.answered_by,
        "at": review.answered_at.isoformat() if review.answered_at else None,
        "workflow": review.workflow,
        "version": row["version"],
        "node": review.node,
    }


def _recorded(row: dict[str, Any]) -> dict[str, Any]:
    """Return the recorded answers that the run was made with, under the name of the model that gave them."""
    kind, _, name = row["model"].partition(":")
    if kind != "recorded" or not row["recorded"]:
        return {}
    return {"recorded": {name: json.loads(row["recorded"])}}
