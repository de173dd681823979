"""What a run asks a person, in full: the payload of the interrupt, from which queue, screen and rules are made."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from stanchion.verdict import Evidence


class Question(BaseModel):
    """One question, as our review node asks it.

    Args:
        question: in words.
        reason: why a person is needed, in words.
        confidence: probability, 0 to 1, that the proposal is right; None where nobody can say.
        proposal: the value that approval accepts, in JSON form.
        alternatives: rung to its whole value.
        evidence: field to where its proposed value stands in the source.
        source: the document's text.
        form: JSON schema that an edited value must fit; `schema` in JSON.
        role: who may answer: `reviewer`, `operator`, or a role of your own.
        people: how many different people must give the same answer: 1, or 2.
        stake: what is lost if the proposal is wrong, in the unit of your choice, such as dollars.
        stake_field: the field of the value that holds its stake; None: none does, so nobody can say what an edited
            value's is.
        two_people_from: the stake from which a value takes two people; None: `people` holds for all.
        expires_after: seconds until the question goes its safe way unanswered; None: never.
        sampled: the run would have been accepted; it was drawn for a check.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    question: str
    reason: str = ""
    confidence: float | None = Field(default=None, ge=0, le=1)
    proposal: dict[str, Any] | None = None
    alternatives: dict[str, dict[str, Any]] = {}
    evidence: dict[str, list[Evidence]] = {}
    source: str = ""
    form: dict[str, Any] = Field(default={}, alias="schema")
    role: str = "reviewer"
    people: int = Field(default=1, ge=1, le=2)
    stake: float = Field(default=1.0, ge=0)
    stake_field: str | None = None
    two_people_from: float | None = None
    expires_after: float | None = Field(default=None, gt=0)
    sampled: bool = False

    @field_validator("stake")
    @classmethod
    def _finite(cls, stake: float) -> float:
        return stake if math.isfinite(stake) else 1.0

    @property
    def priority(self) -> float:
        """The expected loss if the proposal were taken unseen: its stake times the probability that it is wrong."""
        return self.stake * (1.0 - (self.confidence or 0.0))

    def people_for(self, value: Any) -> int:
        """Return how many different people must give an edited value: 2 as well where nobody can say what its stake is.

        Args:
            value: in JSON form, as the question's type writes it; None where nobody has read it by its type.
        """
        if self.two_people_from is None:
            return self.people
        stake = stake_in(value, self.stake_field)
        return 1 if stake is not None and stake < self.two_people_from else 2

    @classmethod
    def of(cls, asked: Any) -> Question:
        """Return what was asked; of a question of somebody else's node, what can be read.

        Args:
            asked: the interrupt's payload, or a review's `question`; hostile until it fits.
        """
        try:
            return cls.model_validate(asked)
        except (ValidationError, RecursionError) as error:
            if isinstance(asked, dict) and isinstance(error, ValidationError):
                with suppress(ValidationError, RecursionError):  # a rule holds whatever else is wrong
                    return cls.model_validate({"question": "", **_without_faults(asked, error)})
            return cls(question=asked if isinstance(asked, str) else "", proposal=_proposal(asked))


def stake_in(value: Any, field: str | None) -> float | None:
    """Return what is lost if a value is wrong, without its sign; None where nobody can say.

    Args:
        value: hostile.
        field: of it that holds an amount.
    """
    held = value.get(field) if isinstance(value, dict) else None
    try:
        stake = abs(float(held))  # type: ignore[arg-type]  # whatever is no number raises
    except (TypeError, ValueError, OverflowError):
        return None
    return stake if math.isfinite(stake) else None


def _without_faults(asked: dict[Any, Any], error: ValidationError) -> dict[Any, Any]:
    wrong = {fault["loc"][0] for fault in error.errors(include_url=False, include_input=False) if fault["loc"]}
    return {name: value for name, value in asked.items() if name not in wrong}


def _proposal(asked: Any) -> dict[str, Any] | None:
    proposal = asked.get("proposal") if isinstance(asked, dict) else None
    return proposal if isinstance(proposal, dict) else None
