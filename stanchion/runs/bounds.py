"""Bounds around the steps of a run: how long each may take, and how often the same one may begin.

`bounded` copies a compiled graph so that every node and every edge's function runs inside the bounds that the runner
holds while it works on a run (`with Bounds(...)`). A step that is late is left behind, not waited for: its answer comes
to nothing, and `StepOutOfTime` is raised in its place, which the node's own `error_handler` may turn into a cheap edge.

How LangGraph 1.2 keeps nodes, edges and retries is taken from its pregel/_read.py, graph/_branch.py, pregel/_retry.py.
"""

from __future__ import annotations

import asyncio
import copy
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.config import run_in_executor
from langgraph._internal._runnable import RunnableCallable
from langgraph.errors import GraphBubbleUp
from langgraph.graph._branch import BranchSpec
from langgraph.pregel import Pregel
from langgraph.pregel._read import DEFAULT_BOUND, PregelNode
from langgraph.pregel._retry import _should_retry_on
from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy

from stanchion.clock import Clock, SystemClock
from stanchion.errors import LoopLimit, OutOfTime, StanchionError, StepOutOfTime, UsageError
from stanchion.guards.limits.deadline import Deadline, in_words, step_deadline
from stanchion.threads import Threads

if TYPE_CHECKING:
    from stanchion.guards.limits.policy import Policy

LAST_SECONDS = 5.0  # what a step may take although the run's time is up: the cheap edge is made of steps, too
GRACE_SECONDS, GRACE_SHARE, MOST_GRACE_SECONDS = 0.015, 0.02, 1.0  # for nodes that see the deadline and fall back
EDGE_SECONDS = 0.02  # what an edge has at least, where its node took all the time
CLEAN_UP_SECONDS = 0.01  # how long a late node is waited for once it is told to stop
GOODBYE_SECONDS = 1.0  # the same where the whole run is cancelled, and nobody is waiting for the next step

AnyPregel = TypeVar("AnyPregel", bound=Pregel[Any, Any, Any, Any])
Run = Callable[..., Awaitable[Any]]
Late = Callable[[str, Any], None]
"""Told LangGraph's id of the step's execution, and what it returned or raised after the step was given up; called in
whichever thread it ran in."""


class Bounds:
    """The bounds of one run while it is worked on; everything that a bounded graph does in its `with` is inside them.

    Args:
        policy: the budgets of steps, and how many there may be.
        deadline: the run's. Once it has passed, steps have 5 s at most, so that the run can still come to its end.
        clock: the one that the deadline was read from.
        late: told what late steps came to.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        deadline: Deadline | None = None,
        clock: Clock | None = None,
        late: Late = lambda _task_id, _answer: None,
    ) -> None:
        self.clock = clock or SystemClock()
        self.late = late
        self._policy = policy
        self._deadline = deadline
        self._visits: dict[str, set[tuple[int, ...]]] = defaultdict(set)
        self._steps: dict[str, _Step] = {}

    def __enter__(self) -> Self:
        """Hold what runs in this context within the bounds."""
        self._tokens = _bounds.set(self), _step.set(None)
        return self

    def __exit__(self, *_: object) -> None:
        """Hold nothing any more."""
        bounds, step = self._tokens
        _bounds.reset(bounds)
        _step.reset(step)

    def step(self, node: str, config: RunnableConfig) -> _Step:
        """Return the step that is running; begun now, unless this is another attempt of it, or an edge from it.

        Args:
            node: its node.
            config: from LangGraph; its checkpoint namespace names the execution, retries included.

        Raises:
            LoopLimit: the run, or the node, has begun too often.
        """
        place = config["metadata"]["langgraph_checkpoint_ns"]
        if place not in self._steps:
            task_id = place.rpartition(":")[2]
            self._steps[place] = self._begun(node, task_id, config["metadata"]["langgraph_step"])
        return self._steps[place]

    def _begun(self, node: str, task_id: str, superstep: int) -> _Step:
        outer = _step.get()  # the step whose subgraph we are in
        path = node if outer is None else f"{outer.path}/{node}"
        supersteps = (superstep,) if outer is None else (*outer.supersteps, superstep)
        self._count(path, supersteps)
        budget = self._policy.step_time(node).total_seconds()
        now = self.clock.monotonic()
        left = budget if self._deadline is None else min(budget, max(self._deadline.at - now, LAST_SECONDS))
        grace = min(GRACE_SECONDS + GRACE_SHARE * left, MOST_GRACE_SECONDS)
        due = Deadline(now + budget, f"the {in_words(budget)} of the step {path}")
        end = now + left + grace
        if self._deadline is not None:
            due = min(due, self._deadline)
        if outer is not None:
            due, end = min(due, outer.due), min(end, outer.end)
        return _Step(self, path, task_id if outer is None else outer.task_id, supersteps, due, end)

    def _count(self, path: str, supersteps: tuple[int, ...]) -> None:
        loops = self._policy.loops
        if supersteps[0] > loops.steps:
            raise LoopLimit(f"The run was stopped after {loops.steps} steps (loops.steps in the policy): a loop?")
        visits = self._visits[path]
        visits.add(supersteps)  # many at once, as of a fan-out, are one visit
        if len(visits) > loops.visits:
            raise LoopLimit(
                f"The run was stopped before the step {path}, which had run {loops.visits} times (loops.visits in the "
                f"policy): a loop?"
            )


class _Step:
    """One execution of one node, all its attempts and its edges together.

    Args:
        bounds: the run's.
        path: its node, behind those whose subgraphs it is in: `agent/tools`.
        task_id: LangGraph's id of the execution; of the outermost graph's.
        supersteps: LangGraph's numbers of the supersteps it is in, the outermost graph's first.
        due: when it should be over, which it may see for itself.
        end: when it is given up, on the clock's `monotonic`.
    """

    def __init__(
        self, bounds: Bounds, path: str, task_id: str, supersteps: tuple[int, ...], due: Deadline, end: float
    ) -> None:
        self.bounds, self.path, self.task_id, self.supersteps = bounds, path, task_id, supersteps
        self.due, self.end = due, end

    def left(self) -> float:
        """Return the seconds until it is given up."""
        return max(0.0, self.end - self.bounds.clock.monotonic())

    def out_of_time(self, why: str = "") -> StepOutOfTime:
        """Return what is raised once it is given up."""
        return StepOutOfTime(f"The step {self.path} was given up after {self.due.what}{why}.")

    def tell_late(self, answer: Any) -> None:
        """Hand on what it came to after it was given up."""
        self.bounds.late(self.task_id, answer)


_bounds: ContextVar[Bounds | None] = ContextVar("bounds", default=None)
_step: ContextVar[_Step | None] = ContextVar("step", default=None)
_nodes, _edges = Threads(), Threads()  # where all nodes' threads hang, runs can still take their cheap edges
_left_behind: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks only weakly


def bounded(graph: AnyPregel) -> AnyPregel:
    """Return a copy of a compiled graph whose nodes and edges, subgraphs included, stay inside the run's `Bounds`.

    Outside any `with Bounds(...)` the copy does what the graph does. It is run asynchronously only.

    Args:
        graph: any compiled graph; it stays as it is.
    """
    nodes = {name: _bounded_node(name, node) for name, node in graph.nodes.items()}
    return graph.copy({"nodes": nodes, "retry_policy": _within_budget(graph.retry_policy)})


def _bounded_node(name: str, node: PregelNode) -> PregelNode:
    changes: dict[str, Any] = {
        "writers": [_bounded_edge(name, writer) for writer in node.writers],
        "retry_policy": _within_budget(node.retry_policy),
    }
    bound = node.bound
    if isinstance(bound, Pregel):
        bound = bounded(bound)
        changes["subgraphs"] = [bound] if node.subgraphs else []
    if bound is not DEFAULT_BOUND:
        changes["bound"] = _Bounded(name, bound, threads=_nodes, retry=changes["retry_policy"])
    return node.copy(changes)


def _bounded_edge(node: str, writer: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Bound a conditional edge's function; what a late one chooses is never written."""
    branch = getattr(getattr(writer, "afunc", None), "__self__", None)
    if not isinstance(branch, BranchSpec):
        return writer
    branch = branch._replace(path=_Bounded(node, branch.path, threads=_edges, least=EDGE_SECONDS))
    edge: Any = copy.copy(writer)
    edge.func, edge.afunc = branch._route, branch._aroute
    return edge  # type: ignore[no-any-return] # still a writer, as it was


class _Bounded(Runnable[Any, Any]):
    """What a node or an edge runs, inside the bounds of the run.

    Args:
        node: whose step it belongs to.
        inner: what it is.
        threads: where it runs if it blocks.
        retry: the node's retry policies, as LangGraph goes by them.
        least: seconds that it has at least, whatever the step took before.
    """

    def __init__(
        self,
        node: str,
        inner: Runnable[Any, Any],
        *,
        threads: Threads,
        retry: Sequence[RetryPolicy] = (),
        least: float = 0.0,
    ) -> None:
        self.name = inner.get_name()
        self._node, self._inner, self._retry, self._least = node, inner, retry, least
        self._run = _in_own_thread(inner, threads) or partial(_watched, inner)
        self._when_late = _when_late(inner)

    def invoke(self, *_: Any, **__: Any) -> Any:
        """Refuse: what runs in the caller's own thread cannot be bounded.

        Raises:
            UsageError: always.
        """
        raise UsageError("A bounded graph is run with ainvoke or astream.")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        """Run it for as long as its step has time.

        Raises:
            StepOutOfTime: it did not end in time.
            LoopLimit: the run, or the node, has begun too often.
            ThreadsBusy: it blocks, and no thread was free for it.
        """
        bounds = _bounds.get()
        if bounds is None or config is None:
            return await self._inner.ainvoke(input, config, **kwargs)
        step = bounds.step(self._node, config)
        tokens = _step.set(step), step_deadline.set(step.due)
        try:
            return await self._run(step, max(step.left(), self._least), input, config, **kwargs)
        except GraphBubbleUp:  # an interrupt, or a command to the parent graph
            raise
        except StepOutOfTime as late:
            if self._when_late is None:
                raise
            return self._when_late(input, str(late))
        except Exception as error:
            if self._pause_after(error) > step.left():
                raise step.out_of_time(f": it failed, {type(error).__name__}, too late to be tried again") from error
            raise
        finally:
            step_deadline.reset(tokens[1])
            _step.reset(tokens[0])

    def _pause_after(self, error: Exception) -> float:
        """Return the most seconds that LangGraph waits before it tries again; 0 where it does not."""
        policy = next((policy for policy in self._retry if _should_retry_on(policy, error)), None)
        if policy is None:
            return 0.0
        info = get_runtime().execution_info
        attempt = info.node_attempt if info is not None else 1
        if attempt >= policy.max_attempts:
            return 0.0
        pause = min(policy.max_interval, policy.initial_interval * policy.backoff_factor ** (attempt - 1))
        return pause + (1.0 if policy.jitter else 0.0)  # LangGraph adds up to a second


# --- How things are run within their time  ---


def _in_own_thread(inner: Runnable[Any, Any], threads: Threads) -> Run | None:
    """Return how to run what blocks: in a thread of ours. LangGraph would take one of asyncio's, which are few."""
    if isinstance(inner, RunnableCallable):
        function = inner.func if _is_blocking(inner.afunc) else None
        return partial(_called, inner, function, threads) if function is not None else None
    if isinstance(inner, RunnableLambda):
        return None if hasattr(inner, "afunc") else partial(_blocking, inner.invoke, threads)
    return None


def _when_late(inner: Runnable[Any, Any]) -> Callable[[Any, str], Any] | None:
    """Return what a node answers where it is given up, if its author said so."""
    functions = (getattr(inner, "func", None), getattr(inner, "afunc", None))
    return next((found for function in functions if (found := getattr(function, "when_late", None))), None)


def _is_blocking(afunc: Any) -> bool:
    return afunc is None or (isinstance(afunc, partial) and afunc.func is run_in_executor)


async def _called(
    inner: RunnableCallable,
    function: Callable[..., Any],
    threads: Threads,
    step: _Step,
    seconds: float,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Let LangGraph hand in what the function asks for (config, runtime, writer); only the thread is ours."""
    face = copy.copy(inner)
    face.afunc = partial(_blocking, function, threads, step, seconds)
    return await face.ainvoke(*args, **kwargs)


async def _blocking(
    function: Callable[..., Any], threads: Threads, step: _Step, seconds: float, *args: Any, **kwargs: Any
) -> Any:
    try:
        return await threads.run(partial(function, *args, **kwargs), seconds=seconds, late=step.tell_late)
    except OutOfTime:
        if step.left() > 0:
            raise  # not ours: the function's own
        raise step.out_of_time() from None


async def _watched(inner: Runnable[Any, Any], step: _Step, seconds: float, *args: Any, **kwargs: Any) -> Any:
    """Run a coroutine in a task, and leave it where it does not end in time, even if it ignores being cancelled."""
    if seconds <= 0:
        raise step.out_of_time()
    task = asyncio.create_task(inner.ainvoke(*args, **kwargs))
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _stopped(task, step, min(GOODBYE_SECONDS, max(step.left(), CLEAN_UP_SECONDS)))
        raise
    if done:
        return task.result()
    await _stopped(task, step, CLEAN_UP_SECONDS)
    raise step.out_of_time()


async def _stopped(task: asyncio.Task[Any], step: _Step, seconds: float) -> None:
    """Cancel a task, and give it a moment to clean up; whatever it comes to is late."""
    task.cancel()
    _left_behind.add(task)
    task.add_done_callback(partial(_ended_late, step))
    await asyncio.wait({task}, timeout=seconds)


def _ended_late(step: _Step, task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        step.tell_late(task.exception() or task.result())


# --- Retries  ---


def _within_budget(policies: Sequence[RetryPolicy] | RetryPolicy | None) -> Sequence[RetryPolicy]:
    """Keep LangGraph from trying again what is out of time, a loop, or a call: calls are tried again by the door."""
    given = [policies] if isinstance(policies, RetryPolicy) else policies or ()
    return [policy._replace(retry_on=partial(_may_retry, policy)) for policy in given]


def _may_retry(policy: RetryPolicy, error: Exception) -> bool:
    return not isinstance(error, StanchionError) and _should_retry_on(policy, error)
