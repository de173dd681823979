"""Drills: every fault against every step that asks a model, and what that does to runs, requests, money and time.

The steps are found by running: once with healthy answers, and once with answers that are no JSON, so that what only
repairs is found too. Every step and fault then has a few inputs and a database of their own, so that no breaker and no
budget remembers what an earlier fault did.
"""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from difflib import get_close_matches
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from stanchion.audit import surroundings
from stanchion.audit.overlay import PlanFor
from stanchion.audit.rows import Outputs, Row, count
from stanchion.audit.trial import ATTEMPT, RUN, STEP, Subject
from stanchion.blocking import wait_for
from stanchion.errors import UsageError
from stanchion.runs.inputs import Input
from stanchion.runs.recorder import Observe
from stanchion.testing.faults import FAULTS, Fault, FaultPlan, burst, outage, rate_limited, slow_first_token
from stanchion.workflow import Workflow

MOST_INPUTS = 8  # of one step and fault
MOST_LOOKED_AT = 50  # of all inputs, to find the steps and the inputs that reach them
MAY_SUCCEED_LATER = {408, 409, 425, 429}  # of the statuses below 500, those that say "not now"
MOST_OF_A_REASON = 300  # characters: an exception may hold a whole document
SHAPE = "Your graph gets {'document': ...}; give inputs as .jsonl with `input`, whose value stands under `document`."
MALFORMED = FaultPlan("malformed", FAULTS["malformed"])


def _plans() -> dict[str, FaultPlan]:
    """Every fault all the time, and two that come and go; what takes seconds is as short as the drill's other times."""
    seconds = ATTEMPT.total_seconds()
    shorter = {"slow_first_token": slow_first_token(2 * seconds), "rate_limited_retry_after": rate_limited(0.05)}
    plans = [FaultPlan(name, shorter.get(name, fault)) for name, fault in FAULTS.items()]
    plans.append(FaultPlan("rate_limits_in_bursts", FAULTS["rate_limited"], burst(every=4, length=2)))
    plans.append(FaultPlan("outage_for_a_while", FAULTS["overloaded"], outage(from_=0, to=seconds)))
    return {plan.name: plan for plan in plans}


PLANS = _plans()
"""What goes wrong with a model, by name, in the order in which a drill goes through it."""

NAMES = (*PLANS, *surroundings.FAULTS)
"""Everything that `drill` may be asked for by name."""


Progress = Callable[[int, str], AbstractContextManager[Observe]]
"""Shows progress: entered with how many things there are and what is being done."""


class Report(BaseModel):
    """What a drill found.

    Args:
        workflow: its name.
        steps: the nodes that ask a model.
        rows: one for each step and fault, and for each fault of the surroundings.
        notes: what else a reader should know, a sentence each.
    """

    model_config = ConfigDict(frozen=True)

    workflow: str
    steps: list[str]
    rows: list[Row]
    notes: list[str] = []

    @property
    def held(self) -> bool:
        """Whether something was drilled, and every promise kept."""
        return bool(self.rows) and not any(row.broken for row in self.rows)

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        if not self.rows:
            return "Nothing was drilled."
        only = "" if self.steps else "No step asked a model, so only the surroundings were drilled. "
        changed = sum(row.changed for row in self.rows)
        silently = f" {changed} accepted with another value than when all is well." if changed else ""
        broken = [f"{row.step or 'the run'} × {row.fault}: {', '.join(row.broken)}" for row in self.rows if row.broken]
        if broken:
            return f"{only}PROMISES BROKEN in {len(broken)} of {len(self.rows)} rows: {'; '.join(broken)}.{silently}"
        runs = sum(row.runs for row in self.rows)
        return f"{only}All promises held: of {runs} runs none failed, none was lost.{silently}"


def check_names(names: Iterable[str]) -> None:
    """Refuse what is no fault, with the nearest name and all there are.

    Args:
        names: what somebody asked for.

    Raises:
        UsageError: one is none of `NAMES`; the message has several lines.
    """
    for name in names:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            every = textwrap.fill(", ".join(NAMES), 78, initial_indent="  ", subsequent_indent="  ")
            raise UsageError(f"There is no fault {name[:60]!r}.{meant} There are:\n{every}")


def drill(
    workflow: Workflow,
    inputs: Iterable[Input],
    *,
    plans: Collection[str] | None = None,
    model: str | None = None,
    progress: Progress = lambda _total, _what: nullcontext(lambda _event, _run_id: None),
) -> Report:
    """Let everything around a workflow fail, one thing after the other, and return what came of it.

    While it runs, faults lie over every LangChain chat model of this process.

    Args:
        workflow: any LangGraph graph; its nodes run for real, only models are stood in for.
        inputs: to try it on: of the first 50, a few that reach a step are taken for each fault.
        plans: names among `NAMES`; None: all.
        model: who answers where no fault strikes, also in place of what the graph itself holds; asked and paid for
            real. None or `recorded:NAME`: the inputs' recorded answers, or made-up ones, for free.
        progress: shows how far it is: entered with the number of rows once that is known, and told of each.

    Raises:
        UsageError: there is no such plan; the model or the policy cannot be used; or nothing can be learned, since
            there are no inputs, runs fail or models do not answer without any fault, or nothing was there to strike.
    """
    wanted = list(NAMES if plans is None else plans)
    check_names(wanted)
    if model == "none":
        raise UsageError("The model none never answers, so no fault can strike it; leave it out for made-up answers.")
    kept = list(islice(inputs, MOST_LOOKED_AT))
    if not kept:
        raise UsageError("There are no inputs, so nothing can be drilled; name a dataset that has some.")
    with tempfile.TemporaryDirectory(prefix="stanchion-drill-") as folder:
        at_work = _Drill(Subject(workflow, kept, model), Path(folder))
        return wait_for(at_work.report(wanted, progress))


class _Step(NamedTuple):
    """A node that asks a model.

    Args:
        node: its name.
        inputs: some that reach it.
        plan_for: what must go wrong elsewhere, so that they do.
    """

    node: str
    inputs: list[Input]
    plan_for: PlanFor


class _Found(NamedTuple):
    """What a run over all inputs showed.

    Args:
        reached: node to the ids of the inputs that reached it, and whose call was answered.
        unanswered: the nodes that asked and never got an answer.
        outputs: input id to the value that its run came to.
        failed: why runs failed, one reason for each of them.
    """

    reached: dict[str, list[str]]
    unanswered: list[str]
    outputs: Outputs
    failed: list[str]


class _Drill:
    def __init__(self, subject: Subject, folder: Path) -> None:
        self._subject = subject
        self._folder = folder
        self._databases = 0

    async def report(self, wanted: Sequence[str], progress: Progress) -> Report:
        healthy = await self._look(lambda _node: None)
        self._check_health(healthy)
        steps = self._steps(healthy, await self._look(lambda _node: MALFORMED))
        around = [name for name in surroundings.FAULTS if name in wanted and name not in self._impossible]
        plans = [PLANS[name] for name in PLANS if name in wanted]
        some = steps[0].inputs if steps else list(self._subject.inputs)[:MOST_INPUTS]
        rows = []
        with progress(len(steps) * len(plans) + len(around), f"drilling {self._subject.workflow.name}") as observe:
            for step in steps:
                for plan in plans:
                    rows.append(await self._row(step, plan, healthy.outputs))
                    observe("ended", "")
            for name in around:
                trial = surroundings.Trial(self._subject, some, healthy.outputs, self._new_database())
                rows.append(await surroundings.FAULTS[name](trial))
                observe("ended", "")
        notes = self._notes(rows)
        if not any(row.struck for row in rows if row.step) and not around:
            why = "" if steps else " No step asked a model with these inputs."
            raise UsageError(
                f"Nothing was drilled.{why} Name other inputs or another fault; {', '.join(surroundings.FAULTS)} need "
                f"no model. {notes[-1]}"
            )
        return Report(workflow=self._subject.workflow.name, steps=[step.node for step in steps], rows=rows, notes=notes)

    def _check_health(self, healthy: _Found) -> None:
        """Refuse to drill what does not work when all is well: its rows would say nothing about faults."""
        if healthy.unanswered and not healthy.reached:
            raise UsageError(f"No model answered without any fault, so nothing can be drilled: {self._who_is_silent()}")
        if healthy.failed:
            shape = SHAPE if "KeyError" in healthy.failed[0] else "Mend that first, or leave these inputs out."
            raise UsageError(
                f"{len(healthy.failed)} of {len(self._subject.inputs)} runs failed without any fault, so a drill would "
                f"say nothing: {healthy.failed[0][:MOST_OF_A_REASON]}. {shape}"
            )

    def _who_is_silent(self) -> str:
        model = self._subject.model
        if self._subject.stand_in is None:
            return f"{model} gave none. Is its key set, and is it up?"
        return f"{model or 'the dataset'} has no recorded answers for these inputs. Name others, or another --model."

    async def _look(self, plan_for: PlanFor) -> _Found:
        """Run everything once, and see who asks a model."""
        subject = self._subject
        async with subject.runner(self._new_database()) as runner:
            with subject.overlay(plan_for) as overlay:
                run_ids = await subject.queue(runner, subject.inputs)
                runs = await runner.advance(run_ids)
        input_ids = {run.id: run.input_id for run in runs}
        reached: dict[str, dict[str, None]] = {}
        for site in overlay.answered:
            if site.run_id in input_ids:
                reached.setdefault(site.node, {})[input_ids[site.run_id]] = None
        outputs = {run.input_id: run.output or {} for run in runs}
        asked = dict.fromkeys(one.site.node for one in overlay.requests if one.site.run_id in input_ids)
        return _Found(
            reached={node: list(ids) for node, ids in reached.items()},
            unanswered=[node for node in asked if node not in reached],
            outputs=outputs,
            failed=[run.reason or "" for run in runs if run.outcome == "failed"],
        )

    def _steps(self, healthy: _Found, malformed: _Found) -> list[_Step]:
        steps = [self._step(node, ids, lambda _node: None) for node, ids in healthy.reached.items()]
        only_so = {node: ids for node, ids in malformed.reached.items() if node not in healthy.reached}
        return steps + [self._step(node, ids, lambda _node: MALFORMED) for node, ids in only_so.items()]

    def _step(self, node: str, ids: Sequence[str], plan_for: PlanFor) -> _Step:
        inputs = [item for item in self._subject.inputs if item.id in set(ids)]
        every = max(1, len(inputs) // MOST_INPUTS)  # from all over the dataset
        return _Step(node, inputs[::every][:MOST_INPUTS], plan_for)

    async def _row(self, step: _Step, plan: FaultPlan, healthy: Outputs) -> Row:
        subject = self._subject
        async with subject.runner(self._new_database()) as runner:
            with subject.overlay(partial(_plan_for, step, plan)) as overlay:
                run_ids = await subject.queue(runner, step.inputs)
                await runner.advance(run_ids)
            return count(
                runner,
                run_ids,
                overlay.requests_of(step.node),
                healthy,
                step=step.node,
                fault=plan.name,
                struck=overlay.struck_in(step.node),
                is_final=_is_final(plan.fault),
            )

    @property
    def _impossible(self) -> set[str]:
        return set() if self._subject.workflow.reference else {"kill_9"}

    def _new_database(self) -> Path:
        self._databases += 1
        return self._folder / f"{self._databases}.db"

    def _notes(self, rows: Sequence[Row]) -> list[str]:
        subject = self._subject
        notes = [
            f"Times are shortened so that it ends soon: a run has {RUN.total_seconds():g} s, a step "
            f"{STEP.total_seconds():g} s, a request {ATTEMPT.total_seconds():g} s at the most."
        ]
        if subject.stand_in is not None:
            whose = "made up from the schemas asked for" if subject.stand_in.recorded is None else "on record"
            notes.append(f"Nothing was paid: where no fault strikes, answers are {whose}, at gpt-4o-mini's price.")
        if self._impossible:
            notes.append("kill_9 is left out: another process cannot load a workflow that has no reference.")
        if never := [f"{row.step} × {row.fault}" for row in rows if row.step and not row.struck]:
            notes.append(f"Never struck, because nothing was sent: {', '.join(never)}.")
        return notes


def _plan_for(step: _Step, plan: FaultPlan, node: str) -> FaultPlan | None:
    return plan if node == step.node else step.plan_for(node)


def _is_final(fault: Fault) -> bool:
    status = fault.instead.status if fault.instead is not None else 200
    return 400 <= status < 500 and status not in MAY_SUCCEED_LATER
