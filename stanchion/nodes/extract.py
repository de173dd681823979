"""A node that reads a document by deterministic rules: free, instant, and the same tomorrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from stanchion.errors import UsageError
from stanchion.guards.limits.deadline import when_late
from stanchion.nodes.state import Node, WorkflowState
from stanchion.verdict import Candidate, Found, Source, Verdict

Rules = Callable[[Source], Mapping[str, Found]]
"""Reads a source and returns, per field, what it found with its evidence and confidence."""


def extract(
    rules: Rules, *, rung: Literal["rules", "fallback"] = "rules", sure: Mapping[str, float] | None = None
) -> Node:
    """Make a node that adds what rules find as one candidate; decides `accept` or `unsure`.

    Args:
        rules: the rules.
        rung: `rules` where they go first, `fallback` where they stand behind a model.
        sure: per field, the confidence from which no model needs to be asked; all must be reached for `accept`.
            None: never sure.

    Returns:
        a node that writes `candidates` and `verdict`.

    Raises:
        UsageError: the rung is neither, or `sure` names no field or no probability.
    """
    if rung not in ("rules", "fallback"):
        raise UsageError(f"extract's rung is rules or fallback; not {rung!r}.")
    if sure is not None and (not sure or not all(0 < least <= 1 for least in sure.values())):
        raise UsageError(f"sure names fields with a probability above 0 and up to 1, or is None; not {sure!r}.")

    @when_late(lambda _state, reason: {"verdict": Verdict(decision="unsure", reason=reason)})
    def node(state: WorkflowState) -> dict[str, Any]:
        found = dict(rules(state["source"]))
        candidate = Candidate(rung=rung, output={name: item.value for name, item in found.items()}, found=found)
        return {"candidates": {rung: candidate}, "verdict": _verdict(found, sure)}

    return node


def _verdict(found: Mapping[str, Found], sure: Mapping[str, float] | None) -> Verdict:
    if sure is None:
        return Verdict(decision="unsure", reason="The rules alone never decide here.")
    confidences = {name: found[name].confidence if name in found else 0.0 for name in sure}
    lowest = min(confidences.values())
    doubtful = [name for name, confidence in confidences.items() if confidence < sure[name]]
    if doubtful:
        return Verdict(decision="unsure", confidence=lowest, reason=f"The rules are unsure of {', '.join(doubtful)}.")
    return Verdict(decision="accept", confidence=lowest, reason=f"The rules are sure of {', '.join(sure)}.")
