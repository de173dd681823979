"""What a run that waits asks of people: the rows of `reviews`, made from LangGraph's interrupts."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from langgraph.types import Interrupt, StateSnapshot

from stanchion.question import Question
from stanchion.runs.ledger import as_json
from stanchion.verdict import Outcome


def asked(
    interrupt: Interrupt, node: str, snapshot: StateSnapshot, *, workflow: str, review_id: str, now: datetime
) -> dict[str, Any]:
    """Return the row of a question that a run waits with.

    Args:
        interrupt: as LangGraph keeps it.
        node: which asks.
        snapshot: of the run's thread.
        workflow: the run's.
        review_id: of the new row.
        now: the present time.
    """
    question = Question.of(interrupt.value)
    due = None if question.expires_after is None else now + timedelta(seconds=question.expires_after)
    return {
        "id": review_id,
        "interrupt_id": interrupt.id,
        "node": node,
        "question": as_json(interrupt.value),
        "workflow": workflow,
        "checkpoint_id": snapshot.config["configurable"].get("checkpoint_id"),
        "form": None if question.form else _form(interrupt),
        "role": question.role,
        "people": question.people,
        "stake": question.stake,
        "priority": question.priority,
        "sampled": question.sampled,
        "due_at": None if due is None else due.isoformat(),
    }


def proposal_of(snapshot: StateSnapshot) -> Outcome:
    """Return what a waiting run would end with if everybody agreed; only our review node says so much.

    Args:
        snapshot: of the run's thread.
    """
    question = Question.of(snapshot.interrupts[0].value)
    return Outcome(
        kind="reviewed",
        reason=question.reason,
        output=question.proposal,
        rung=snapshot.values.get("rung"),
        confidence=question.confidence,
    )


def _form(interrupt: Interrupt) -> str | None:
    """Return the JSON schema that an answer must fit, where the interrupt names one; LangGraph keeps it as such."""
    schema = interrupt.response_schema
    return json.dumps(schema) if isinstance(schema, dict) else None
