"""The factories of nodes refuse at once what could never work; the message names what they take."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langgraph.graph import StateGraph
from pydantic import BaseModel

from stanchion import Prompt, Workflow
from stanchion.errors import UsageError, WorkflowError
from stanchion.guards import Consistent
from stanchion.nodes import WorkflowState, decide, extract, intake, review, structured


class Note(BaseModel):
    """What is read."""

    total: int


def prompt(system: str = "$schema", user: str = "$text") -> Prompt:
    """A prompt of these texts."""
    return Prompt(id="notes", version="1", system=system, user=user)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: decide(Note, critical=[], accept_at=0.9), "at least one of the output's fields"),
        (lambda: decide(Note, critical="total", accept_at=0.9), "takes a list"),
        (lambda: decide(Note, critical=["totl"], accept_at=0.9), r"\(total\); not \['totl'\]"),
        (lambda: decide(Note, critical=["total"], accept_at=90), "probability"),
        (lambda: intake(languages="en"), "a set of languages"),  # type: ignore[arg-type]
        (lambda: intake(on_language="reject"), "warn or refuse"),  # type: ignore[arg-type]
        (lambda: extract(dict, rung="thorough"), "rules or fallback"),  # type: ignore[arg-type]
        (lambda: extract(dict, sure={}), "sure names fields"),
        (lambda: extract(dict, sure={"total": 99}), "probability"),
        (lambda: structured(prompt(user="read this"), Note), r"must hold \$text"),
        (lambda: structured(prompt(user="$text costs $foo"), Note), r"\$foo"),
        (lambda: structured("notes.toml", Note), "takes a Prompt"),  # type: ignore[arg-type]
    ],
)
def test_what_could_never_work_is_refused_where_it_is_written(make: Any, why: str) -> None:
    """Nobody finds out at the hundredth run that a field's name was misspelt."""
    with pytest.raises(UsageError, match=why):
        make()


def test_a_guarded_type_may_be_reviewed() -> None:
    """`review` takes the same type as the other nodes, guards of the whole model and all."""
    assert review(Annotated[Note, Consistent(total="total", parts=("total",))])


def test_an_uncompiled_graph_is_no_workflow() -> None:
    """The message says what to call."""
    with pytest.raises(WorkflowError, match=r"builder\.compile\(\)"):
        Workflow(StateGraph(WorkflowState), name="notes", version="1")  # type: ignore[arg-type]
