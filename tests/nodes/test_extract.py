"""`extract`: what rules find, with evidence and confidence, and whether a model still has to be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from stanchion.nodes import WorkflowState, extract
from stanchion.verdict import Evidence, Found, Source


def find(source: Source) -> dict[str, Found]:
    """Rules that find the total, and never the day."""
    start = source.text.index("5")
    return {
        "total": Found(value="5", confidence=0.9, evidence=Evidence(start=start, end=start + 1)),
        "day": Found(confidence=0.1),
    }


def extracted(*, way: str = "invoke", sure: Mapping[str, float] | None = None, **options: Any) -> dict[str, Any]:
    """The state after a plain graph of this one node."""
    builder = StateGraph(WorkflowState)
    builder.add_node("rules", extract(find, sure=sure, **options))
    builder.add_edge(START, "rules")
    builder.add_edge("rules", END)
    graph, state = builder.compile(), {"source": Source(text="Total 5")}
    return graph.invoke(state) if way == "invoke" else asyncio.run(graph.ainvoke(state))


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_what_was_found_is_a_candidate(way: str) -> None:
    """Values, confidences and evidence stand in the candidate of the rung."""
    candidate = extracted(way=way)["candidates"]["rules"]

    assert candidate.output == {"total": "5", "day": None}
    assert candidate.found["total"].evidence == Evidence(start=6, end=7)


def test_rules_that_stand_behind_a_model_are_another_rung() -> None:
    """Quick and thorough rules do not overwrite each other."""
    assert set(extracted(rung="fallback")["candidates"]) == {"fallback"}


def test_who_is_sure_of_all_needs_no_model() -> None:
    """At its threshold a field is sure; the confidence is that of the least sure field asked for."""
    verdict = extracted(sure={"total": 0.9})["verdict"]

    assert (verdict.decision, verdict.confidence) == ("accept", 0.9)


@pytest.mark.parametrize(
    ("sure", "doubtful"),
    [
        ({"total": 0.91}, "total"),
        ({"total": 0.9, "day": 0.2}, "day"),
        ({"total": 0.9, "tax": 0.1}, "tax"),
        ({"total": 1.0, "day": 1.0}, "total, day"),
    ],
)
def test_one_doubt_is_enough(sure: dict[str, float], doubtful: str) -> None:
    """Any field below its threshold, or not found at all, makes the whole unsure, and is named."""
    verdict = extracted(sure=sure)["verdict"]

    assert (verdict.decision, verdict.reason) == ("unsure", f"The rules are unsure of {doubtful}.")


def test_without_thresholds_rules_are_never_sure() -> None:
    """Rules alone do not decide unless somebody said from where they may."""
    assert extracted()["verdict"].decision == "unsure"
