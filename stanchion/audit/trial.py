"""A workflow that is drilled: with times that let a drill end soon, a model that costs nothing, and fresh databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from langgraph.graph import START

from stanchion.audit.overlay import Asked, Overlay, PlanFor
from stanchion.audit.stand_in import StandIn
from stanchion.clock import Clock
from stanchion.guards.limits.policy import Policy, Time
from stanchion.guards.limits.policy_files import policy_in_force
from stanchion.runs.inputs import Input
from stanchion.runs.recorder import Observe
from stanchion.runs.runner import Runner
from stanchion.workflow import Workflow

RUN, STEP, ATTEMPT = timedelta(seconds=10), timedelta(seconds=1), timedelta(milliseconds=300)
FIRST_WAIT, LONGEST_WAIT = timedelta(milliseconds=10), timedelta(milliseconds=50)
OPEN_FOR = timedelta(seconds=1)


class Subject:
    """What is drilled, and what it is drilled with.

    Args:
        workflow: any.
        inputs: all that may be run.
        model: who answers where no fault strikes, by its usual string; None or `recorded:NAME`: nobody that is paid.
    """

    def __init__(self, workflow: Workflow, inputs: Sequence[Input], model: str | None = None) -> None:
        self.workflow = workflow
        self.inputs = inputs
        self.model = model
        nodes = workflow.graph.nodes.keys() - {START}
        self.policy_in_force = policy_in_force(workflow.policy, workflow.name, nodes=nodes).policy
        is_free = model is None or model.startswith("recorded:")
        name = model.removeprefix("recorded:") if model else None
        self.stand_in = StandIn.of(inputs, name) if is_free else None

    def overlay(
        self, plan_for: PlanFor = lambda _node: None, *, told: Callable[[Asked], None] = lambda _asked: None
    ) -> Overlay:
        """Return faults to be laid over the models that the workflow asks.

        Args:
            plan_for: what goes wrong, by node.
            told: told of every request before it is made.
        """
        return Overlay(plan_for, stand_in=self.stand_in, told=told)

    @asynccontextmanager
    async def runner(
        self,
        db: Path,
        *,
        in_short: bool = True,
        clock: Clock | None = None,
        observe: Observe = lambda _event, _run_id: None,
    ) -> AsyncIterator[Runner]:
        """Open a runner of the workflow.

        Args:
            db: the database file; made if it is not there.
            in_short: under the shortened policy, not the one in force.
            clock: where its times come from.
            observe: told what happens.
        """
        model: Any = self.stand_in or self.model
        policy = shortened(self.policy_in_force) if in_short else self.policy_in_force
        async with Runner(self.workflow, db=db, model=model, policy=policy, clock=clock, observe=observe) as runner:
            self._tell_stand_in(runner)
            yield runner

    async def queue(self, runner: Runner, inputs: Sequence[Input]) -> list[str]:
        """Queue inputs; return the ids of their runs.

        Args:
            runner: from `runner`.
            inputs: among the subject's.
        """
        run_ids = await runner.queue(inputs)
        self._tell_stand_in(runner)
        return run_ids

    def _tell_stand_in(self, runner: Runner) -> None:
        if self.stand_in is not None:
            self.stand_in.know(runner.ledger.runs(limit=len(self.inputs)))


def shortened(policy: Policy) -> Policy:
    """Return a policy under which hangs and waits end soon, and everything else is as it was.

    Args:
        policy: the one in force.
    """
    time, retry, breaker = policy.time, policy.retry, policy.breaker
    short = Time(
        run=min(time.run, RUN),
        step=min(time.step, STEP),
        attempt=min(time.attempt, ATTEMPT),
        steps={node: min(budget, STEP) for node, budget in time.steps.items()},
    )
    waits = {"first": min(retry.first, FIRST_WAIT), "longest": min(retry.longest, LONGEST_WAIT)}
    return policy.model_copy(
        update={
            "time": short,
            "retry": retry.model_copy(update=waits),
            "breaker": breaker.model_copy(update={"open_for": min(breaker.open_for, OPEN_FOR)}),
        }
    )
