"""A workflow whose every run asks a person: what stands in the document is read by two rungs that do not agree."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stanchion import Candidate, RunContext, Verdict, Workflow
from stanchion.nodes import WorkflowState, intake, outcome, review
from stanchion.verdict import Evidence, Found

REFERENCE = "tests.ui.browser.notes:workflow"


class Note(BaseModel):
    """Who wrote a note, about what, and what is asked for."""

    writer: str
    subject: str | None = None
    amount: float | None = None
    urgent: bool = False
    lines: list[str] = []


def read(state: WorkflowState) -> dict[str, Any]:
    """Read `key: value` lines, and be sure of nothing; the second rung reads every amount a little differently."""
    text = state["source"].text
    output, found = {}, {}
    for line in text.splitlines():
        key, colon, value = line.partition(": ")
        if colon and key in Note.model_fields:
            start = text.index(line) + len(key) + 2
            output[key] = json.loads(value) if key in ("amount", "urgent", "lines") else value
            found[key] = Found(
                value=output[key], confidence=0.5, evidence=Evidence(start=start, end=start + len(value))
            )
    other = {**output, "amount": (output.get("amount") or 0) + 1}
    return {
        "output": output,
        "rung": "rules",
        "candidates": {
            "rules": Candidate(rung="rules", output=output, found=found),
            "model": Candidate(rung="model", output=other),
        },
        "verdict": Verdict(decision="review", confidence=0.4, reason="The rungs do not agree about the amount."),
    }


builder = StateGraph(WorkflowState, context_schema=RunContext)
builder.add_node("intake", intake())
builder.add_node("read", read)
builder.add_node("review", review(Note, question="Is this what the note says?", expires=timedelta(days=2)))
builder.add_node("outcome", outcome())
builder.add_edge(START, "intake")
builder.add_edge("intake", "read")
builder.add_edge("read", "review")
builder.add_edge("review", "outcome")
builder.add_edge("outcome", END)

workflow = Workflow(builder.compile(name="notes"), name="notes", version="1", output=Note)


def note(number: int) -> str:
    """Return the text of one note."""
    return f"writer: Writer {number}\nsubject: Paper\namount: {number}.5\n\nPlease send paper.\n"
