"""The node that weighs what the rungs say, field by field, and decides between accepting and asking a person."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import prod
from typing import Any

from pydantic import BaseModel, ConfigDict

from stanchion.context import run_context
from stanchion.errors import UsageError
from stanchion.guards import bare_model, check
from stanchion.guards.limits.deadline import when_late
from stanchion.nodes.state import Node, WorkflowState
from stanchion.verdict import Candidate, Check, Rung, Source, Verdict

UNSTATED_CONFIDENCE = 0.9  # of a model's field that passed its guards: what models say of themselves is not used
_AMOUNT = re.compile(r"-?(0|[1-9]\d{0,15})(\.\d{1,10})?")
FAILED_CONFIDENCE = 0.3  # of a field that a guard said no to
SAMPLED = "stanchion/sampled"
"""The check in a verdict which says that the case was drawn: it would have been accepted."""


class Choice(BaseModel):
    """One field's chosen value.

    Args:
        value: in JSON form; None where no rung has one.
        confidence: probability, 0 to 1, that it is right.
        reason: why, in a few words.
        rung: whose value it is.
    """

    model_config = ConfigDict(frozen=True)

    value: Any = None
    confidence: float
    reason: str = ""
    rung: Rung | None = None


Weigh = Callable[[Source, Sequence[Candidate]], Mapping[str, Choice]]
"""Chooses a value for every field from what the rungs say."""


def decide(
    output: Any,
    *,
    critical: Sequence[str],
    accept_at: float,
    weigh: Weigh | None = None,
    sample_one_in: int | None = None,
) -> Node:
    """Make a node that chooses among the rungs; decides `accept` or `review`.

    The confidence of the whole is the product over the critical fields: an accepted value should be right in all.
    A sample of what would be accepted shows how often that is so; the draw follows from the run's id alone, so a run
    that goes on after a crash is drawn again as before.

    Args:
        output: the pydantic type, guards and all, that an accepted value must fit.
        critical: the fields that must be right.
        accept_at: the confidence, 0 to 1, from which nobody needs to look.
        weigh: chooses field by field; `weigh_rungs` by default.
        sample_one_in: of so many cases that nobody would need to look at, one goes to a person anyway. None: none does.

    Returns:
        a node that writes `output`, `rung` and `verdict`.

    Raises:
        UsageError: no field is critical, the output type has no such field, or a number is none that can be used.
    """
    fields = bare_model(output).model_fields
    if isinstance(critical, str) or not critical or not set(critical) <= set(fields):
        known = ", ".join(fields)
        raise UsageError(f"critical takes a list of at least one of the output's fields ({known}); not {critical!r}.")
    if not 0 < accept_at <= 1:
        raise UsageError(f"accept_at is a probability above 0 and up to 1; not {accept_at!r}.")
    if sample_one_in is not None and sample_one_in < 1:
        raise UsageError(f"sample_one_in is a number of cases, 1 or more; not {sample_one_in!r}.")

    @when_late(lambda _state, reason: {"verdict": Verdict(decision="review", reason=reason)})
    def node(state: WorkflowState) -> dict[str, Any]:
        candidates = list(state.get("candidates", {}).values())
        chosen = (weigh or weigh_rungs)(state["source"], candidates)
        value = {name: choice.value for name, choice in chosen.items() if choice.value is not None}
        checked = check(output, value, metadata={"source": state["source"].text, "today": run_context().today})
        confidence = prod(chosen[name].confidence if name in chosen else 0.0 for name in critical)
        verdict = Verdict(
            decision="accept" if checked.ok and confidence >= accept_at else "review",
            confidence=round(confidence, 4),
            reason=_reason(chosen, critical, accept_at, checked.checks),
            checks=checked.checks,
        )
        if verdict.decision == "accept" and sample_one_in and _is_drawn(state["source"], sample_one_in):
            verdict = _for_a_check(verdict, sample_one_in)
        plain = checked.value.model_dump(mode="json") if checked.value is not None else value
        return {"output": plain, "rung": _main_rung(chosen, critical), "verdict": verdict}

    return node


def _is_drawn(source: Source, one_in: int) -> bool:
    """Draw by the run's id; outside our runner, where there is none, by the document."""
    drawn_by = run_context().run_id or source.text
    number = int.from_bytes(hashlib.sha256(f"{SAMPLED} {drawn_by}".encode()).digest()[:8])
    return number % one_in == 0


def _for_a_check(verdict: Verdict, one_in: int) -> Verdict:
    reason = f"Nothing is wrong: one accepted case in {one_in:,} is drawn for a check, and this is one."
    drawn = Check(guard=SAMPLED, status="warn", reason=reason)
    return verdict.model_copy(update={"decision": "review", "reason": reason, "checks": [*verdict.checks, drawn]})


def weigh_rungs(_source: Source, candidates: Sequence[Candidate]) -> dict[str, Choice]:
    """Choose each field's value by treating the rungs as independent witnesses.

    A value's weight is the product of p over the rungs that say it and of 1 - p over those that say otherwise,
    normalised over the values named (naive Bayes with equal priors). A repair is the same model in the same
    conversation, so it replaces the answer that it repairs, and is no second witness.

    Args:
        _source: unused here.
        candidates: what the rungs say.
    """
    repaired = any(candidate.rung == "repair" for candidate in candidates)
    witnesses = [candidate for candidate in candidates if not (repaired and candidate.rung == "model")]
    names = dict.fromkeys(name for candidate in witnesses for name in candidate.output)
    return {name: _choose(name, [item for item in witnesses if name in item.output]) for name in names}


def _choose(name: str, candidates: Sequence[Candidate]) -> Choice:
    voices = [(item, item.output[name], _trust(item, name)) for item in candidates if item.output[name] is not None]
    if not voices:
        return Choice(confidence=0.0, reason="No rung has a value.")
    keys = [normal_form(value) for _, value, _ in voices]
    weights = {
        key: prod(p if other == key else 1 - p for other, (_, _, p) in zip(keys, voices, strict=True)) for key in keys
    }
    missing = prod(1 - p for _, _, p in voices)
    at = max(range(len(voices)), key=lambda index: (weights[keys[index]], voices[index][2], keys[index]))
    best, value, _ = voices[at]
    total = sum(weights.values()) + missing
    confidence = weights[keys[at]] / total if total else 0.0
    said = keys.count(keys[at])
    return Choice(value=value, confidence=confidence, rung=best.rung, reason=f"{said} of {len(voices)} rungs say so.")


def normal_form(value: Any) -> str:
    """Return what two values are compared by: 5, 5.0 and "5.00" are the same amount, "7" and "007" are not.

    Args:
        value: in JSON form.
    """
    if not isinstance(value, bool) and _AMOUNT.fullmatch(str(value)):
        return str(Decimal(str(value)).normalize())
    return json.dumps(value, sort_keys=True, default=str)


def _trust(candidate: Candidate, name: str) -> float:
    if name in candidate.found:
        return candidate.found[name].confidence
    failed = any(item.status == "fail" and item.path.split(".")[0].split("[")[0] == name for item in candidate.checks)
    return FAILED_CONFIDENCE if failed else UNSTATED_CONFIDENCE


def _main_rung(chosen: Mapping[str, Choice], critical: Sequence[str]) -> Rung | None:
    rungs = Counter(chosen[name].rung for name in critical if name in chosen and chosen[name].rung)
    return rungs.most_common(1)[0][0] if rungs else None


def _reason(chosen: Mapping[str, Choice], critical: Sequence[str], accept_at: float, checks: Sequence[Any]) -> str:
    failures = [f"{item.path or 'the whole'}: {item.reason}" for item in checks if item.status == "fail"]
    doubts = [
        f"{name} ({chosen[name].confidence:.0%}: {chosen[name].reason})" if name in chosen else f"{name} (missing)"
        for name in critical
        if name not in chosen or chosen[name].confidence < accept_at
    ]
    if not failures and not doubts and prod(chosen[name].confidence for name in critical) < accept_at:
        doubts = [f"{' and '.join(critical)} together"]
    return "; ".join([*failures, *([f"Unsure of {', '.join(doubts)}"] if doubts else [])])
