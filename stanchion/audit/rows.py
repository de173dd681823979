"""One row of a drill: what runs came to under one fault, and which promises that breaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from stanchion.audit.overlay import Asked
from stanchion.guards.limits.policy import Policy
from stanchion.runs.records import Run
from stanchion.runs.runner import Runner
from stanchion.workflow import Workflow

EVERYTHING = ""
"""The step of a fault that strikes whatever runs: the clock, the database, the process."""

LATE_SHARE, LATE_LEAST = 0.10, timedelta(milliseconds=50)  # a step may exceed its budget by the larger of the two
BILLION = 1_000_000_000  # the ledger counts money in billionths of a dollar
NOTHING: tuple[Any, ...] = (None, "", [], {})

Outputs = Mapping[str, Mapping[str, Any]]
"""Input id to the output of its healthy run."""


class Row(BaseModel):
    """What runs came to under one fault.

    Args:
        step: the node whose calls were struck; empty where it was everything.
        fault: the name of the fault, or of its plan.
        runs: how many inputs were run.
        outcomes: where they stand, in the words of `Run.standing`, `waiting` for those that a person has to look at.
        calls: logical calls that sent something.
        requests: requests that they sent, all together.
        most_requests: requests of the call that sent most.
        struck: requests that the fault struck; 0: the step was never reached, and the row says nothing.
        spent_usd: what the ledger counts as spent, in US dollars; None where no call came through our door.
        late_ms: the longest that a step went on past its budget, in milliseconds.
        lost: inputs that have no outcome, and wait for nobody.
        changed: accepted runs whose value is another one than in the healthy run.
        broken: the promises that were not kept, in words.
    """

    model_config = ConfigDict(frozen=True)

    step: str
    fault: str
    runs: int
    outcomes: dict[str, int]
    calls: int = 0
    requests: int = 0
    most_requests: int = 0
    struck: int = 0
    spent_usd: Decimal | None = None
    late_ms: float = 0.0
    lost: int = 0
    changed: int = 0
    broken: list[str] = []

    @property
    def requests_per_call(self) -> float:
        """How many requests a logical call sent on average."""
        return self.requests / self.calls if self.calls else 0.0


def count(
    runner: Runner,
    run_ids: Sequence[str],
    requests: Sequence[Asked],
    healthy: Outputs,
    *,
    step: str,
    fault: str,
    struck: int = 0,
    is_final: bool = False,
    is_timed: bool = True,
    also_broken: Collection[str] = (),
) -> Row:
    """Count what runs came to.

    Args:
        runner: still open, with everything written.
        run_ids: whose inputs were accepted.
        requests: all that were sent.
        healthy: what their healthy runs came to.
        step: whose calls were struck.
        fault: by what.
        struck: how many of the requests were.
        is_final: a request that was struck cannot succeed by being sent again.
        is_timed: the budgets of steps are promised; not so while the database itself can be waited for.
        also_broken: promises that are known to be broken already.
    """
    runs = runner.ledger.runs_of(run_ids)
    outcomes = Counter("waiting" if run.standing == "review" else run.standing for run in runs)
    lost = len(run_ids) - len(runs) + outcomes["queued"] + outcomes["running"]
    by_call = Counter(requests)
    most = max(by_call.values(), default=0)
    overruns = _overruns(runner)
    late = max(overruns, key=lambda node: overruns[node], default=None)
    broken = [
        *also_broken,
        *_unkept_by_runs(outcomes, lost, sum(_is_empty(run, healthy) for run in runs)),
        *_unkept_by_calls(most, runner.policy, is_final=is_final),
        *(_unkept_by_steps(overruns, runner.policy) if is_timed else ()),
    ]
    return Row(
        step=step,
        fault=fault,
        runs=len(run_ids),
        outcomes=dict(outcomes.most_common()),
        calls=len(by_call),
        requests=len(requests),
        most_requests=most,
        struck=struck,
        spent_usd=_spent(runner),
        late_ms=round(overruns[late], 1) if late is not None else 0.0,
        lost=lost,
        changed=sum(_is_changed(run, healthy, runner.workflow) for run in runs),
        broken=broken,
    )


def _overruns(runner: Runner) -> dict[str, float]:
    """Milliseconds by which the longest execution of each node went past its budget."""
    rows = runner.ledger.database.read("SELECT node, max(ms) AS ms FROM steps WHERE ms IS NOT NULL GROUP BY node")
    return {row["node"]: max(0.0, row["ms"] - _milliseconds(runner.policy.step_time(row["node"]))) for row in rows}


def _spent(runner: Runner) -> Decimal | None:
    read = runner.ledger.database.read
    (calls,) = read("SELECT count(*) AS number FROM calls")
    if not calls["number"]:
        return None
    (spent,) = read("SELECT coalesce(sum(spent), 0) AS billionths FROM spending")
    return Decimal(spent["billionths"]) / BILLION


def _unkept_by_runs(outcomes: Mapping[str, int], lost: int, empty: int) -> list[str]:
    numbers = {"failed": outcomes.get("failed", 0), "lost": lost, "accepted without a value": empty}
    return [f"{number} {what}" for what, number in numbers.items() if number]


def _unkept_by_calls(most: int, policy: Policy, *, is_final: bool) -> list[str]:
    if is_final and most > 1:
        return [f"{most} requests where the first could not succeed"]
    allowed = policy.retry.attempts
    return [f"{most} requests for one call, of {allowed} (retry.attempts)"] if most > allowed else []


def _unkept_by_steps(overruns: Mapping[str, float], policy: Policy) -> list[str]:
    unkept = []
    for node, over in overruns.items():
        budget = policy.step_time(node)
        if over > _milliseconds(max(budget * LATE_SHARE, LATE_LEAST)):
            unkept.append(f"the step {node} went on for {over:.0f} ms past its {_milliseconds(budget):.0f} ms")
    return unkept


def _milliseconds(duration: timedelta) -> float:
    return duration.total_seconds() * 1000


def _is_changed(run: Run, healthy: Outputs, workflow: Workflow) -> bool:
    """Whether nobody looked at a value that is not the healthy run's, in the fields where that would be an error."""
    if run.outcome != "accepted" or run.input_id not in healthy:
        return False
    now, before = run.output or {}, healthy[run.input_id]
    return any(
        not _agree(now.get(name), before.get(name), workflow.compare.get(name))
        for name in workflow.critical or now.keys() | before.keys()
    )


def _is_empty(run: Run, healthy: Outputs) -> bool:
    """Whether a run was accepted with nothing, where its healthy run came to something."""
    return run.outcome == "accepted" and not _has_value(run.output) and _has_value(healthy.get(run.input_id))


def _has_value(output: Mapping[str, Any] | None) -> bool:
    """Whether there is more than the input, which a graph that says nothing of its end hands through."""
    return any(value not in NOTHING for name, value in (output or {}).items() if name != "document")


def _agree(now: Any, before: Any, compare: Any) -> bool:
    """Compare as `eval` does; where that cannot be said, two values that are not equal differ."""
    return now == before or bool(compare is not None and now is not None and compare(now, before))
