r"""A tiny workflow to run from the command line: no model, a person where there is a question mark, and a defect.

It turns what a letter has written as `\x1b` into that character, so that it reaches whoever prints the values.
"""

from __future__ import annotations

import re
from typing import Any

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

from stanchion import Candidate, RunContext, Verdict, Workflow
from stanchion.nodes import WorkflowState, decision, intake, outcome, review


class Letter(BaseModel):
    """Who wrote, how many pages, and to whom."""

    name: str
    pages: int
    to: list[str] | None = None


def read(state: WorkflowState) -> dict[str, Any]:
    """Read `name: ...` and `pages: ...`; unsure of anything with a question mark, broken by `boom`."""
    text = state["source"].text.encode("ascii", "backslashreplace").decode("unicode_escape")
    if "boom" in text:
        raise RuntimeError("the letter went boom")
    found = dict(re.findall("^(name|pages): (.+)$", text, re.MULTILINE))
    candidate = Candidate(rung="rules", output=found)
    if "?" in text:
        verdict = Verdict(decision="review", confidence=0.4, reason=f"Is it {found.get('name')}?")
    else:
        verdict = Verdict(decision="accept", confidence=0.9)
    return {"output": found, "rung": "rules", "candidates": {"rules": candidate}, "verdict": verdict}


builder = StateGraph(WorkflowState, context_schema=RunContext)
builder.add_node("intake", intake())
builder.add_node("read", read)
builder.add_node("review", review(Letter, question="Is this the writer?"))
builder.add_node("outcome", outcome())
builder.add_edge(START, "intake")
builder.add_conditional_edges("intake", decision, {"accept": "read", "refuse": "outcome"})
builder.add_conditional_edges("read", decision, {"accept": "outcome", "review": "review"})
builder.add_edge("review", "outcome")
builder.add_edge("outcome", END)

workflow = Workflow(
    builder.compile(),
    name="letters",
    version="1",
    output=Letter,
    compare={"name": lambda ours, truth: ours == truth, "pages": lambda ours, truth: str(ours) == str(truth)},
    critical=("name",),
)
