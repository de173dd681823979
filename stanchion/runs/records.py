"""What the ledger tells of runs, steps, calls, verdicts and reviews."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from stanchion.verdict import Check, OutcomeKind, Rung

Status = Literal["queued", "running", "waiting", "done", "cancelled"]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


def _loads(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


class Run(_Row):
    """One input going through a workflow.

    Args:
        id: also its LangGraph `thread_id`.
        workflow: the workflow's name; `reference` loads it again.
        version: the workflow's version when the run was made.
        model: the model's usual string.
        prompts: id to version and hash of the prompts in force.
        tenant: on whose behalf it was made; empty where nobody is told apart.
        input_id: the caller's own id of the input.
        status: where it is.
        outcome: how it ended; None until then.
        reason: why, for a person; None once erased.
        rung: where its value came from.
        confidence: 0 to 1.
        output: the value in JSON form; None where there is none, or once erased.
        created_at: when it was accepted, UTC.
        started_at: when it was first worked on.
        ended_at: when it ended.
        erased_at: when its content was erased.
        calls: how many model calls it made.
        cost_usd: what they cost in US dollars; None where a price is not known.
        worked_ms: how long it was worked on, in milliseconds; waiting for people is none of it.
        path: the nodes it has been at, in order, each once.
        error_class: what ended it, where that was an error.
        paused_at: since when an operator holds it back; `paused_by` and `paused_why` say who and why.
        origin: the run that it was forked from, or made from again.
        origin_step: the task id of the step before which it was forked; None where it began with the input.
    """

    id: str
    workflow: str
    reference: str
    version: str
    model: str
    prompts: dict[str, Any] = {}
    tenant: str = ""
    input_id: str
    status: Status
    outcome: OutcomeKind | None = None
    reason: str | None = None
    rung: Rung | None = None
    confidence: float | None = None
    output: dict[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    erased_at: datetime | None = None
    calls: int = 0
    cost_usd: Decimal | None = None
    worked_ms: float = 0.0
    path: tuple[str, ...] = ()
    error_class: str | None = None
    paused_at: datetime | None = None
    paused_by: str | None = None
    paused_why: str | None = None
    origin: str | None = None
    origin_step: str | None = None

    _read_json = field_validator("output", "prompts", mode="before")(_loads)

    @field_validator("path", mode="before")
    @classmethod
    def _read_path(cls, value: Any) -> Any:
        return tuple(filter(None, value.split("/"))) if isinstance(value, str) else value

    @property
    def standing(self) -> str:
        """Where it stands, in a word: its outcome, `paused`, `review` while it waits for a person, else its status."""
        held = "paused" if self.paused_at else "review" if self.status == "waiting" else self.status
        return self.outcome or held


class Step(_Row):
    """One execution of one node in a run.

    Args:
        position: 1 for the first step.
        node: the node's name.
        attempts: how often it was executed; more than once after a crash or an interrupt.
        state_in: the state it was given, in JSON form.
        state_out: what it wrote; None while it runs, waits, or once erased.
        error: what went wrong, if anything did.
        ms: how long its last execution took, in milliseconds.
        late_at: when it ended, where that was after it was given up; what it came to was thrown away.
    """

    run_id: str
    task_id: str
    position: int
    node: str
    attempts: int
    state_in: Any = None
    state_out: Any = None
    error: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    ms: float | None = None
    late_at: datetime | None = None

    _read_json = field_validator("state_in", "state_out", mode="before")(_loads)


class Call(_Row):
    """One request to a model.

    Args:
        status: `unknown` means that its process died meanwhile: nobody knows whether it was answered, or paid for.
        request: the messages as sent; `answer`: the raw message as it came.
        kind: of the failure, in one word.
        attempts: requests sent; 0 where another run's same call answered this one too.
        shared_with: the id of that call.
        reask: guards said no to the answer before.
        warning: such as a cap that is nearly spent.
        model_version: which version the provider says answered.
        cost_usd: US dollars, all attempts together; None where the price is not known.
    """

    id: str
    run_id: str
    task_id: str
    node: str
    model: str
    prompt: str
    prompt_version: str
    prompt_hash: str
    status: Literal["started", "answered", "failed", "unknown"]
    request: Any = None
    answer: Any = None
    error: str | None = None
    kind: str | None = None
    attempts: int = 1
    shared_with: str | None = None
    reask: bool = False
    warning: str | None = None
    model_version: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    started_at: datetime
    ended_at: datetime | None = None
    ms: float | None = None

    _read_json = field_validator("request", "answer", mode="before")(_loads)


class StepVerdict(_Row):
    """The verdict that a step gave.

    Args:
        decision: what the next edge did.
        checks: what the guards said.
    """

    run_id: str
    task_id: str
    node: str
    decision: str
    confidence: float | None = None
    reason: str | None = None
    checks: list[Check] | None = None

    _read_json = field_validator("checks", mode="before")(_loads)


class Review(_Row):
    """One human interrupt, from asked to answered, expired or closed.

    Args:
        status: `asked` until somebody answers; `expired` where nobody did in time; `closed` where its run ended or
            moved on some other way, with `closed_why`.
        question: what the node asked; `Question.of` reads it. None once erased.
        form: JSON schema of the answer, where the interrupt names one.
        role: who may answer.
        people: how many different people must give the same answer.
        stake: what is lost if the proposal is wrong; `priority` is the expected loss.
        sampled: the run would have been accepted; it was drawn for a check.
        due_at: when it expires; None: never.
        claimed_by: who is at work on it, until `claimed_until`.
        answered_by: who answered; `answered_as` says how they were known: `login`, `system` or `claim`.
        resumed_at: when the run had taken the answer.
        first_by: who gave the first of two answers so far, and `first_action` which; None where none was given.
    """

    id: str
    run_id: str
    interrupt_id: str
    node: str
    status: Literal["asked", "answered", "expired", "closed"]
    question: Any = None
    form: Any = None
    role: str = "reviewer"
    people: int = 1
    stake: float = 1.0
    priority: float = 0.0
    sampled: bool = False
    due_at: datetime | None = None
    claimed_by: str | None = None
    claimed_until: datetime | None = None
    action: str | None = None
    answer: Any = None
    answered_by: str | None = None
    answered_as: str | None = None
    reason: str | None = None
    closed_why: str | None = None
    checkpoint_id: str | None = None
    asked_at: datetime
    answered_at: datetime | None = None
    resumed_at: datetime | None = None
    workflow: str = ""
    input_id: str = ""
    first_by: str | None = None
    first_action: str | None = None

    _read_json = field_validator("question", "answer", "form", mode="before")(_loads)
