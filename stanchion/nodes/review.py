"""The node that asks a person: approve, edit or reject; where nobody answers in time, the run goes its safe way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Self

from langgraph.types import interrupt
from pydantic import BaseModel, ConfigDict, create_model, model_validator

from stanchion.errors import UsageError
from stanchion.guards import bare_model, json_schema
from stanchion.nodes.decide import SAMPLED, normal_form
from stanchion.nodes.state import WorkflowState
from stanchion.question import Question, stake_in
from stanchion.verdict import Candidate, Evidence, Outcome, Verdict

Stake = str | Callable[[dict[str, Any]], float] | None
"""What is lost if a value is wrong: a field of it that holds an amount, or a function of the whole."""

MOST_EVIDENCE = 20
"""Places in the source shown for one field."""


class ReviewAnswer(BaseModel):
    """What a person says to a proposal; the response schema of the interrupt.

    Args:
        action: approve the proposal, edit it, or reject the document; `expire` where nobody answered in time.
        output: for `edit`, the whole corrected value; of the output type in `review`'s own response schema.
        reason: in the reviewer's words; asked for when rejecting.
        by: who answered.
    """

    model_config = ConfigDict(extra="forbid")

    action: Literal["approve", "edit", "reject", "expire"]
    output: Any = None
    reason: str = ""
    by: str = ""

    @model_validator(mode="after")
    def _an_edit_has_a_value(self) -> Self:
        if (self.action == "edit") != (self.output is not None):
            raise ValueError("output goes with edit, and edit with output")
        return self


@dataclass(frozen=True)
class ReviewNode:
    """A node that interrupts the run until a person has answered; made by `review`, which says what its fields mean."""

    output: Any
    question: str
    expires: timedelta | None
    role: str
    stake: Stake
    two_people_from: float | None
    _schema: dict[str, Any] = field(init=False, repr=False)
    _answer: type[ReviewAnswer] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse rules that could not be kept.

        Raises:
            UsageError: the output is no type or has no such field, or a rule is of a kind that cannot be used.
        """
        fields = bare_model(self.output).model_fields
        if isinstance(self.stake, str) and self.stake not in fields:
            raise UsageError(f"stake names a field of the output ({', '.join(fields)}); not {self.stake!r}.")
        if self.two_people_from is not None and self.stake is None:
            raise UsageError("two_people_from is a stake: say with stake=... what a value's is.")
        if self.two_people_from is not None and not math.isfinite(self.two_people_from):
            raise UsageError(f"two_people_from is a number; not {self.two_people_from}.")
        if self.expires is not None and self.expires <= timedelta(0):
            raise UsageError(f"expires is a time after which nobody is waited for; not {self.expires}.")
        if not self.role.strip():
            raise UsageError("role names who may answer, such as reviewer.")
        optional_output: Any = (bare_model(self.output) | None, None)
        object.__setattr__(self, "_schema", json_schema(self.output))
        object.__setattr__(self, "_answer", create_model("ReviewAnswer", __base__=ReviewAnswer, output=optional_output))

    @property
    def two_people(self) -> bool:
        """Whether some answers take a second person."""
        return self.two_people_from is not None

    def __call__(self, state: WorkflowState) -> dict[str, Any]:
        """Ask, and return what the answer comes to.

        Args:
            state: after a node that gives a verdict.
        """
        proposal = state.get("output") or _best_so_far(state)
        verdict = state["verdict"]
        asked = self._question(state, proposal, verdict).model_dump(mode="json", by_alias=True)
        answer = interrupt(asked, response_schema=self._answer)
        return {"output": proposal, **_answered(answer, proposal, verdict)}

    def _question(self, state: WorkflowState, proposal: dict[str, Any], verdict: Verdict) -> Question:
        candidates = state.get("candidates", {})
        stake = self._stake_of(proposal)
        return Question(
            question=self.question,
            reason=verdict.reason,
            confidence=verdict.confidence,
            proposal=proposal,
            alternatives={rung: item.output for rung, item in candidates.items()},
            evidence=evidence(proposal, list(candidates.values()), verdict),
            source=state["source"].text if "source" in state else "",
            form=self._schema,
            role=self.role,
            people=self._people_for(stake),
            stake=1.0 if stake is None else stake,
            stake_field=self.stake if isinstance(self.stake, str) else None,
            two_people_from=self.two_people_from,
            expires_after=None if self.expires is None else self.expires.total_seconds(),
            sampled=any(check.guard == SAMPLED for check in verdict.checks),
        )

    def _people_for(self, stake: float | None) -> int:
        """Return how many different people must agree: 2 from the threshold on, or where the stake is unknown."""
        if self.two_people_from is None:
            return 1
        return 2 if stake is None or stake >= self.two_people_from else 1

    def _stake_of(self, value: dict[str, Any]) -> float | None:
        """Return what is lost if a value is wrong; None where nobody can say."""
        if self.stake is None:
            return 1.0
        if isinstance(self.stake, str):
            return stake_in(value, self.stake)
        try:
            said = {"stake": self.stake(value)}
        except Exception:  # a function of somebody else's, of a value that nobody has checked
            return None
        return stake_in(said, "stake")


def review(
    output: Any,
    *,
    question: str = "Is this right?",
    expires: timedelta | None = None,
    role: str = "reviewer",
    stake: Stake = None,
    two_people_from: float | None = None,
) -> ReviewNode:
    """Make a node that interrupts the run until a person has answered.

    The question carries the reason, the proposal, what the rungs said, where in the document it stands, the document's
    text, and the schema that an edit must fit.

    Args:
        output: the pydantic type of the value.
        question: in words.
        expires: how long an answer is waited for; then the outcome is `expired`. None: for ever.
        role: who may answer: `reviewer`, `operator`, or a role of your own.
        stake: what is lost if the value is wrong, in the unit of your choice: a field that holds an amount, or a
            function of the value. What waits is sorted by the expected loss, stake × (1 − confidence). None: 1 for all.
        two_people_from: the stake from which two different people must give the same answer. A value whose stake cannot
            be told takes two, and so does every edit where `stake` is a function, which the question cannot carry.

    Returns:
        a node that writes `output` and `outcome`; `answered` tells edges whether anybody answered.

    Raises:
        UsageError: the output is no type or has no such field, or a rule is of a kind that cannot be used.
    """
    return ReviewNode(output, question, expires, role, stake, two_people_from)


def answered(state: WorkflowState) -> Literal["answered", "expired"]:
    """Return whether somebody answered in time: the function behind a conditional edge to a safe default.

    Args:
        state: the graph's state, after `review`.
    """
    outcome = state.get("outcome")
    return "expired" if outcome is not None and outcome.kind == "expired" else "answered"


def evidence(proposal: dict[str, Any], candidates: list[Candidate], verdict: Verdict) -> dict[str, list[Evidence]]:
    """Return, per field of a proposal, where its value stands in the source, by rules and by guards.

    Args:
        proposal: field to value.
        candidates: what the rungs found; only what is the proposed value counts.
        verdict: its checks are of the proposal.
    """
    seen: dict[str, list[Evidence]] = {}
    for candidate in candidates:
        for name, found in candidate.found.items():
            if found.evidence and normal_form(found.value) == normal_form(proposal.get(name)):
                seen.setdefault(name, []).append(found.evidence)
    for check in verdict.checks:
        if check.evidence and (name := check.path.split(".")[0].split("[")[0]) in proposal:
            seen.setdefault(name, []).append(check.evidence)
    return {name: list(dict.fromkeys(places))[:MOST_EVIDENCE] for name, places in seen.items()}


def _best_so_far(state: WorkflowState) -> dict[str, Any]:
    candidates = state.get("candidates", {})
    for rung in ("repair", "model", "fallback", "rules"):
        if rung in candidates:
            return candidates[rung].output
    return {}


def _answered(answer: ReviewAnswer, proposal: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
    if answer.action in ("reject", "expire"):
        kind: Literal["rejected", "expired"] = "rejected" if answer.action == "reject" else "expired"
        return {"outcome": Outcome(kind=kind, reason=answer.reason, confidence=verdict.confidence)}
    edited = answer.action == "edit"
    value = answer.output.model_dump(mode="json") if edited else proposal
    return {
        "output": value,
        "outcome": Outcome(
            kind="reviewed",
            reason=answer.reason,
            output=value,
            rung="human" if edited else None,
            confidence=verdict.confidence,
        ),
    }
