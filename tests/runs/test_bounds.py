"""Bounds around steps: none outlives its budget, no loop goes on, and all else of LangGraph works as before."""

from __future__ import annotations

import asyncio
import operator
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.errors import NodeCancelledError, NodeError, NodeTimeoutError
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime, get_runtime
from langgraph.types import Command, RetryPolicy, Send, interrupt

from stanchion.clock import SystemClock
from stanchion.errors import LoopLimit, ModelUnavailable, StepOutOfTime, UsageError
from stanchion.guards.limits.deadline import Deadline, step_deadline, when_late
from stanchion.guards.limits.policy import Policy
from stanchion.runs import bounds
from stanchion.runs.bounds import Bounds, bounded

LONG = 30.0  # seconds that no test reaches
SHORT = Policy(time={"step": "80ms"})


class State(TypedDict, total=False):
    """What the graphs here pass on: what was seen, in order."""

    seen: Annotated[list[Any], operator.add]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hanging functions wait for; set at the end at the latest, and every thread of ours is gone after it."""
    event = threading.Event()
    yield event
    event.set()
    for thread in ours():
        thread.join(LONG)
    assert not ours()


def ours() -> list[threading.Thread]:
    """The threads of ours that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("stanchion ")]


def chain(*nodes: Any, **options: Any) -> Any:
    """A graph of these nodes, one after the other; the options are the first one's."""
    builder = StateGraph(State)
    for number, node in enumerate(nodes):
        builder.add_node(f"n{number}", node, **(options if number == 0 else {}))
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return builder.compile()


def run(graph: Any, policy: Policy | None = None, given: Any = None, **inside: Any) -> Any:
    """What a graph gives inside these bounds."""

    async def main() -> Any:
        with Bounds(policy or Policy(), **inside):
            return await bounded(graph).ainvoke(given or {"seen": []})

    return asyncio.run(main())


def says(word: Any) -> Any:
    """A node that adds a word."""
    return lambda _state: {"seen": [word]}


# --- A step that is late  ---


async def polite(_state: State) -> State:
    """Hang, and stop when told to."""
    await asyncio.sleep(LONG)
    return {}


async def deaf(_state: State) -> State:
    """Hang, and answer although told to stop."""
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(LONG)
    for _ in range(20):
        await asyncio.sleep(0.01)
    return {"seen": ["too late"]}


@pytest.mark.parametrize("node", [polite, deaf])
def test_an_async_step_is_given_up_even_if_it_ignores_being_cancelled(node: Any) -> None:
    """At its budget's end StepOutOfTime names the step and its budget; a node that does not stop is not waited for."""

    async def main() -> float:
        graph, start = bounded(chain(node)), time.monotonic()
        with Bounds(SHORT), pytest.raises(StepOutOfTime, match="step n0 was given up after the 80 ms of the step n0"):
            await graph.ainvoke({"seen": []})
        return time.monotonic() - start

    assert 0.08 <= asyncio.run(main()) < LONG


def test_what_a_node_answers_although_cancelled_is_told() -> None:
    """The late answer of an async node goes to `late`, and nowhere else."""
    told: list[Any] = []

    async def main() -> None:
        has_told = asyncio.Event()

        def late(task_id: str, answer: Any) -> None:
            told.append((task_id, answer))
            has_told.set()

        with Bounds(SHORT, late=late), pytest.raises(StepOutOfTime):
            await bounded(chain(deaf)).ainvoke({"seen": []})
        assert told == []
        await has_told.wait()

    asyncio.run(main())
    assert [answer for _, answer in told] == [{"seen": ["too late"]}]


@pytest.mark.parametrize("kind", ["function", "runnable"])
def test_a_blocking_step_is_given_up_and_its_late_answer_told(release: threading.Event, kind: str) -> None:
    """A synchronous node that hangs ends at its budget; what it returns later is told, and written nowhere."""
    told, has_told = [], threading.Event()

    def late(task_id: str, answer: Any) -> None:
        told.append((task_id, answer))
        has_told.set()

    def node(_state: State) -> State:
        release.wait()
        return {"seen": ["too late"]}

    with pytest.raises(StepOutOfTime):
        run(chain(node if kind == "function" else RunnableLambda(node)), SHORT, late=late)
    release.set()
    assert has_told.wait(LONG)
    assert [answer for _, answer in told] == [{"seen": ["too late"]}]


def test_an_error_handler_takes_the_cheap_edge(release: threading.Event) -> None:
    """The node's own error handler gets StepOutOfTime, and the run goes on where it says."""

    def cheap(_state: State, error: NodeError) -> Command[Any]:
        return Command(update={"seen": [type(error.error).__name__]}, goto="cheap")

    builder = StateGraph(State)
    builder.add_node("slow", lambda _state: release.wait(), error_handler=cheap, destinations=("cheap",))
    builder.add_node("cheap", says("cheap"))
    builder.add_edge(START, "slow")
    assert run(builder.compile(), SHORT)["seen"] == ["StepOutOfTime", "cheap"]


def test_an_edge_that_hangs_is_given_up_and_chooses_nothing(release: threading.Event) -> None:
    """A conditional edge's function has what its step has left; where it would go too late, the run does not go."""
    visited = []

    def choose(_state: State) -> str:
        release.wait()
        return "there"

    builder = StateGraph(State)
    builder.add_node("here", says("here"))
    builder.add_node("there", visited.append)
    builder.add_edge(START, "here")
    builder.add_conditional_edges("here", choose, ["there"])
    with pytest.raises(StepOutOfTime, match="step here"):
        run(builder.compile(), SHORT)
    assert visited == []


def test_a_nodes_own_budget_counts_before_the_general_one() -> None:
    """`time.steps` gives one node another budget."""
    policy = Policy(time={"step": "1m", "steps": {"n0": "50ms"}})
    with pytest.raises(StepOutOfTime, match="the 50 ms of the step n0"):
        run(chain(polite), policy)


def test_a_hundred_hanging_runs_leave_nothing_behind(release: threading.Event) -> None:
    """All of a hundred runs that hang end with a reason; once the calls return, no thread is left (see the fixture)."""

    async def main() -> list[Any]:
        graph = bounded(chain(lambda _state: release.wait()))

        async def one() -> Any:
            with Bounds(SHORT):
                return await graph.ainvoke({"seen": []})

        return await asyncio.gather(*(one() for _ in range(100)), return_exceptions=True)

    reasons = {type(error).__name__ for error in asyncio.run(main())}
    assert reasons <= {"StepOutOfTime", "ThreadsBusy"}
    assert "StepOutOfTime" in reasons


def test_a_process_ends_while_its_steps_hang() -> None:
    """The interpreter does not wait for synchronous nodes that hang."""
    code = (
        "import asyncio, threading\n"
        "from tests.runs.test_bounds import SHORT, StepOutOfTime, chain, run\n"
        "try: run(chain(lambda _state: threading.Event().wait()), SHORT)\n"
        "except StepOutOfTime: print('late')\n"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout, ended.returncode) == ("late\n", 0), ended.stderr


# --- The run's deadline  ---


def test_nodes_see_the_earlier_of_the_runs_and_their_own_deadline() -> None:
    """`step_deadline` is the step's own, or the run's where that is earlier, in async and blocking nodes and edges."""
    soon = Deadline(SystemClock().monotonic() + 20, "the 20 s of the run")

    async def node(_state: State) -> State:
        return {"seen": [what()]}

    def blocking(_state: State) -> State:
        return {"seen": [what()]}

    def what() -> str:
        deadline = step_deadline.get()
        return deadline.what if deadline else ""

    policy = Policy(time={"steps": {"n0": "10s"}})
    assert run(chain(node, blocking), policy, deadline=soon)["seen"] == [
        "the 10 s of the step n0",
        "the 20 s of the run",
    ]
    assert step_deadline.get() is None


def test_a_run_out_of_time_still_comes_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps after the run's deadline are entered, see that no time is left, and have a few last seconds, not more."""
    monkeypatch.setattr(bounds, "LAST_SECONDS", 0.08)
    monkeypatch.setattr(bounds, "GRACE_SECONDS", 0.0)
    clock = SystemClock()
    past = Deadline(clock.monotonic() - 1, "the 10 min of the run")

    def cheap(_state: State) -> State:
        deadline = step_deadline.get()
        return {"seen": [deadline.remaining(clock) if deadline else None]}

    assert run(chain(cheap), deadline=past)["seen"] == [0.0]
    with pytest.raises(StepOutOfTime, match="given up after the 10 min of the run"):
        run(chain(polite), deadline=past)


# --- Retries  ---


def test_all_attempts_share_the_steps_budget() -> None:
    """A node that would be tried again after its budget is given up at once, with its failure as the cause."""
    policy = RetryPolicy(max_attempts=5, initial_interval=LONG, jitter=False, retry_on=KeyError)

    def fails(_state: State) -> State:
        raise KeyError("x")

    with pytest.raises(StepOutOfTime, match="it failed, KeyError, too late to be tried again") as caught:
        run(chain(fails, retry_policy=policy), SHORT)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_second_attempt_has_what_the_first_one_left() -> None:
    """The deadline stays where it was when the first attempt began, and retries inside it work."""
    ends: list[float] = []

    async def node(_state: State) -> State:
        deadline = step_deadline.get()
        ends.append(deadline.at if deadline else 0)
        if len(ends) < 3:
            raise KeyError("x")
        return {"seen": ["third"]}

    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=KeyError)
    assert run(chain(node, retry_policy=policy))["seen"] == ["third"]
    assert len(set(ends)) == 1


def test_the_last_failure_is_raised_as_it_is() -> None:
    """Once LangGraph gives up trying, the node's own exception is seen, and nothing of budgets."""
    policy = RetryPolicy(max_attempts=1, initial_interval=LONG, retry_on=KeyError)

    def fails(_state: State) -> State:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(chain(fails, retry_policy=policy), SHORT)


@pytest.mark.parametrize("error", [None, ModelUnavailable("down")])
def test_what_is_out_of_time_or_a_call_is_not_tried_again(error: Exception | None) -> None:
    """A retry policy that would try anything again does not try StepOutOfTime, nor a call: the door has done that."""
    entered = []

    async def node(state: State) -> State:
        entered.append(1)
        if error is not None:
            raise error
        return await polite(state)

    policy = RetryPolicy(max_attempts=5, initial_interval=0.001, jitter=False, retry_on=lambda _error: True)
    with pytest.raises(StepOutOfTime if error is None else ModelUnavailable):
        run(chain(node, retry_policy=policy), SHORT)
    assert entered == [1]


# --- Loops  ---


def circle() -> Any:
    """A graph that goes round forever."""
    builder = StateGraph(State)
    builder.add_node("round", says("again"))
    builder.add_edge(START, "round")
    builder.add_conditional_edges("round", lambda _state: "round", ["round"])
    return builder.compile()


def test_a_node_begins_only_so_often() -> None:
    """A loop ends with LoopLimit naming the node, once it ran as often as the policy says."""
    states: list[Any] = []

    async def main() -> None:
        with Bounds(Policy(loops={"visits": 3})):
            async for state in bounded(circle()).astream({"seen": []}, stream_mode="values"):
                states.append(state)

    with pytest.raises(LoopLimit, match="before the step round, which had run 3 times"):
        asyncio.run(main())
    assert len(states[-1]["seen"]) == 3


def test_a_run_takes_only_so_many_steps() -> None:
    """A run that goes round through many nodes ends by the number of its steps, which a resume does not reset."""
    with pytest.raises(LoopLimit, match="after 4 steps"):
        run(circle(), Policy(loops={"steps": 4}))


def test_a_fan_out_is_one_visit() -> None:
    """Sixty Sends to one node in one superstep, and the nodes inside its subgraph, count once."""
    inner = StateGraph(State)
    inner.add_node("first", says("first"))
    inner.add_node("second", says("second"))
    inner.add_edge(START, "first")
    inner.add_edge("first", "second")
    builder = StateGraph(State)
    builder.add_node("each", inner.compile())
    builder.add_conditional_edges(START, lambda _state: [Send("each", {"seen": []})] * 60, ["each"])
    seen = run(builder.compile(), Policy(loops={"visits": 1}))["seen"]
    assert sorted(seen) == ["first"] * 60 + ["second"] * 60


# --- Subgraphs  ---


def test_a_step_inside_a_subgraph_is_bounded_too(release: threading.Event) -> None:
    """A blocking node of a subgraph that hangs is given up by its own budget, and named with its way."""
    inner = chain(lambda _state: release.wait())
    outer = StateGraph(State)
    outer.add_node("agent", inner)
    outer.add_edge(START, "agent")
    policy = Policy(time={"steps": {"n0": "80ms"}})
    with pytest.raises(StepOutOfTime, match="The step agent/n0 was given up after the 80 ms of the step agent/n0"):
        run(outer.compile(), policy)


def test_a_subgraph_as_a_whole_has_the_budget_of_its_step() -> None:
    """The nodes of a subgraph have no more than what the step that it stands in has left."""
    outer = StateGraph(State)
    outer.add_node("agent", chain(polite))
    outer.add_edge(START, "agent")
    with pytest.raises(StepOutOfTime, match="the 80 ms of the step agent"):
        run(outer.compile(), Policy(time={"steps": {"agent": "80ms"}}))


def test_a_step_inside_a_subgraph_sees_the_deadline_around_it() -> None:
    """`step_deadline` inside a subgraph is the outer step's where that is earlier."""

    def node(_state: State) -> State:
        deadline = step_deadline.get()
        return {"seen": [deadline.what if deadline else ""]}

    outer = StateGraph(State)
    outer.add_node("agent", chain(node))
    outer.add_edge(START, "agent")
    assert run(outer.compile(), Policy(time={"steps": {"agent": "9s"}}))["seen"] == ["the 9 s of the step agent"]


# --- Everything else of LangGraph  ---


@pytest.mark.parametrize("kind", ["async", "blocking"])
def test_interrupts_and_resumes_pass_through(kind: str) -> None:
    """A node asks a person and gets the answer, with a retry policy that would try anything again."""

    def ask(_state: State) -> State:
        return {"seen": [interrupt("well?")]}

    async def ask_async(state: State) -> State:
        return ask(state)

    async def main() -> Any:
        retry = RetryPolicy(retry_on=lambda _error: True, initial_interval=LONG)
        graph = bounded(chain(ask if kind == "blocking" else ask_async, retry_policy=retry))
        graph = graph.copy({"checkpointer": InMemorySaver()})
        config: Any = {"configurable": {"thread_id": "1"}}
        with Bounds(SHORT):
            asked = await graph.ainvoke({"seen": []}, config)
        with Bounds(SHORT):
            return asked["__interrupt__"][0].value, await graph.ainvoke(Command(resume="yes"), config)

    assert asyncio.run(main()) == ("well?", {"seen": ["yes"]})


def test_blocking_nodes_and_edges_reach_config_runtime_and_writer() -> None:
    """In our threads, too: get_config, get_runtime, get_stream_writer, and what LangGraph hands in by name."""

    def node(_state: State, runtime: Runtime[dict[str, str]]) -> State:
        get_stream_writer()("streamed")
        name = get_config()["metadata"]["langgraph_node"]
        return {"seen": [name, runtime.context["key"], get_runtime().context["key"]]}

    builder = StateGraph(State, context_schema=dict)
    builder.add_node("node", node)
    builder.add_node("last", says("last"))
    builder.add_edge(START, "node")
    builder.add_conditional_edges("node", lambda state: "last" if len(state["seen"]) == 3 else END, ["last", END])

    async def main() -> list[Any]:
        events = bounded(builder.compile()).astream(
            {"seen": []}, context={"key": "k"}, stream_mode=["custom", "values"]
        )
        with Bounds(SHORT):
            return [event async for event in events]

    events = asyncio.run(main())
    assert ("custom", "streamed") in events
    assert events[-1] == ("values", {"seen": ["node", "k", "k", "last"]})


def test_commands_to_the_parent_graph_pass_through() -> None:
    """A node of a subgraph sends the parent graph on."""
    inner = chain(lambda _state: Command(graph=Command.PARENT, goto="other", update={"seen": ["sent"]}))
    outer = StateGraph(State)
    outer.add_node("inner", inner)
    outer.add_node("other", says("other"))
    outer.add_edge(START, "inner")
    assert run(outer.compile())["seen"] == ["sent", "other"]


def test_generators_and_runnables_stay_nodes() -> None:
    """Nodes that LangGraph makes of generators and of runnables give what they gave."""

    def generator(_state: State) -> Iterator[State]:
        yield {"seen": ["yielded"]}

    async def async_generator(_state: State) -> Any:
        yield {"seen": ["yielded later"]}

    nodes = [generator, async_generator, RunnableLambda(says("in a runnable"))]
    assert run(chain(*nodes))["seen"] == ["yielded", "yielded later", "in a runnable"]


def test_langgraphs_own_timeout_still_counts() -> None:
    """A shorter `timeout=` of a node ends it first, as LangGraph says."""
    with pytest.raises(NodeTimeoutError):
        run(chain(polite, timeout=0.05))


def test_a_node_that_raises_cancelled_fails_as_before() -> None:
    """A CancelledError of the node's own making is a failed node, not a cancelled run."""

    async def node(_state: State) -> State:
        raise asyncio.CancelledError

    with pytest.raises(NodeCancelledError):
        run(chain(node))


def test_cancelling_a_run_lets_its_nodes_clean_up() -> None:
    """When the run is cancelled, as by Ctrl-C, a node's `finally` has run before the run ends."""
    entered, cleaned = [], []

    async def node(_state: State) -> State:
        entered.append(1)
        try:
            await asyncio.sleep(LONG)
        finally:
            await asyncio.sleep(0.02)
            cleaned.append(1)
        return {}

    async def main() -> None:
        with Bounds(Policy()):
            task = asyncio.create_task(bounded(chain(node)).ainvoke({"seen": []}))
            while not entered:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert cleaned == [1]

    asyncio.run(main())


def test_outside_of_bounds_nothing_is_bounded_and_synchronously_nothing_runs() -> None:
    """Without `with Bounds(...)` a bounded graph does what the graph does; run synchronously it says how to run it."""
    graph = bounded(chain(says("free")))
    with Bounds(Policy(loops={"visits": 1})):
        pass
    assert asyncio.run(graph.ainvoke({"seen": []})) == {"seen": ["free"]}
    with pytest.raises(UsageError, match="ainvoke or astream"):
        graph.invoke({"seen": []})


def test_a_node_given_up_answers_with_its_cheap_edge(release: threading.Event) -> None:
    """What a node declares with `when_late` is its answer at the end of its budget; the run goes on from there."""

    @when_late(lambda state, reason: {"seen": [*state["seen"], reason]})
    def hangs(_state: State) -> State:
        release.wait()
        return {"seen": ["too late"]}

    seen = run(chain(hangs, says("went on")), SHORT)["seen"]
    release.set()
    assert "The step n0 was given up after the" in seen[0]
    assert seen[-1] == "went on"
