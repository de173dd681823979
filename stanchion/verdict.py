"""What guards and rules say of a value: the words that every node, edge and table shares.

Everything here is plain, immutable data that survives LangGraph's strict msgpack, so it may stand in a graph's state.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Rung = Literal["rules", "model", "repair", "fallback", "human"]
"""Where a value came from."""

Decision = Literal["accept", "unsure", "repair", "fall_back", "review", "refuse"]
"""What a verdict asks the next edge to do."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evidence(_Record):
    """Where in the source text a value was seen.

    Args:
        start: offset of the first character in `Source.text`.
        end: offset after the last character.
    """

    start: int
    end: int


class Found(_Record):
    """One field's value as a deterministic rule found it.

    Args:
        value: the value in JSON form (money as a string of digits, dates as ISO 8601); None where nothing was found.
        confidence: the rule's own probability, 0 to 1, that the value is right.
        evidence: where it stands in the source text, if it does.
        note: which rule spoke, in a few words for a person.
    """

    value: Any = None
    confidence: float = Field(ge=0, le=1)
    evidence: Evidence | None = None
    note: str = ""


class Check(_Record):
    """What one guard said of one value.

    Args:
        guard: the guard's registered name, such as `stanchion/grounded`.
        path: which value, such as `items[0].total_price`; empty for the whole answer.
        status: `pass`, `warn` (said, but does not stand in the way) or `fail`.
        reason: one sentence for a person; empty where it passed without remark.
        evidence: where the value stands in the source, when the guard looked.
    """

    guard: str
    path: str = ""
    status: Literal["pass", "warn", "fail"]
    reason: str = ""
    evidence: Evidence | None = None


class Candidate(_Record):
    """A whole answer as one rung gave it, with what is known about it.

    Args:
        rung: where it came from.
        output: field name to value, in JSON form.
        found: per field, the confidence and evidence, where the rung has any.
        checks: what the guards said.
        claimed: the confidence, 0 to 1, that the model claimed for itself; never trusted alone.
    """

    rung: Rung
    output: dict[str, Any]
    found: dict[str, Found] = {}
    checks: list[Check] = []
    claimed: float | None = None


class Verdict(_Record):
    """A decision, a confidence, and the checks behind it.

    Args:
        decision: what the next edge should do.
        confidence: probability, 0 to 1, that the value is right; None where nobody can say.
        reason: why, in words that a reviewer understands.
        checks: what the guards said.
    """

    decision: Decision
    confidence: float | None = None
    reason: str = ""
    checks: list[Check] = []

    @property
    def failures(self) -> list[Check]:
        """The checks that said no."""
        return [check for check in self.checks if check.status == "fail"]


OutcomeKind = Literal["accepted", "reviewed", "rejected", "expired", "refused", "failed"]
"""How a run ended: accepted (nobody looked), reviewed (a person approved or edited), rejected (by a person), expired
(nobody answered in time), refused (with a reason), failed (a defect)."""


class Outcome(_Record):
    """How a run ended, and with what.

    Args:
        kind: one of the six outcomes.
        reason: why, in a sentence for a person; empty where the kind says it all.
        output: the value in JSON form, None where there is none.
        rung: where most of the value came from.
        confidence: probability, 0 to 1, that the value is right.
    """

    kind: OutcomeKind
    reason: str = ""
    output: dict[str, Any] | None = None
    rung: Rung | None = None
    confidence: float | None = None


class Source(_Record):
    """A document after intake: the one text that prompts, rules and guards all speak about.

    Args:
        text: normalised text; where the document came with boxes, laid out in rows as on the page,
            columns separated by two or more spaces.
        changes: what intake changed or noticed, in words.
        language: ISO 639-1 code that the detector gave, or None.
    """

    text: str
    changes: list[str] = []
    language: str | None = None
