"""A provider that answers 429 and 503: what becomes of one call, of a thousand, and of the traffic once it is back.

The plain stacks are what people build: `ChatOpenAI` with its own retries (2), `with_retry` around it (3 attempts), and
LangGraph's `RetryPolicy` around that (3 attempts). Our calls are runs of a graph of one call, through the runner. The
provider asks to be tried again after 5 ms, the plain stacks wait no longer than they must, and our policy has waits and
a breaker of seconds instead of a minute: only numbers of requests are compared here, never times of waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from typing_extensions import TypedDict

from benchmarks.call_workers import ANSWER, MODEL, chain, environment, outcomes, read
from stanchion import Input, Runner
from stanchion.guards.limits.policy import Policy
from stanchion.testing import OpenAIServer, Reply
from stanchion.testing.replies import error_body

MOST_ALONE = 3.0  # requests for a call that nobody else shares the outage with
MOST_TOGETHER = 1.1  # requests for a call, on average, in an outage that all share
WINDOW, OPEN_FOR, PROBES = 3.0, 1.0, 2  # of the breaker
WAITS = {"first": "5ms", "longest": "20ms"}
BREAKER = {"window": f"{WINDOW}s", "open_for": f"{OPEN_FOR}s", "probes": PROBES}
ALONE = Policy(retry=WAITS, breaker=BREAKER)
WITHOUT_BREAKER = Policy(retry=WAITS, breaker={"least_calls": 1_000_000})  # what the retry budget does by itself


class Served(NamedTuple):
    """One request at the server, in seconds since 1970."""

    arrived: float
    left: float


class Provider:
    """A provider that can be down; it knows when each request came and went."""

    def __init__(self, status: int = 503, seconds: float = 0.0) -> None:
        self.is_down = True
        self.served: list[Served] = []
        self._seconds = seconds
        body = error_body("Rate limit reached." if status == 429 else "Overloaded.", kind="server_error")
        self._error = Reply(status=status, headers={"retry-after-ms": "5"}, body=body)
        self._lock = threading.Lock()

    def __call__(self, _: dict[str, Any]) -> Reply | str:
        """Reply to a request."""
        arrived, down = time.time(), self.is_down
        if not down:
            time.sleep(self._seconds)  # noqa: TID251 - a provider takes its time
        with self._lock:
            self.served.append(Served(arrived, time.time()))
        return self._error if down else ANSWER


# --- The plain stacks  ---


class State(TypedDict, total=False):
    """The state of the plain graph."""

    answer: str


async def plain(status: int, calls: int) -> dict[str, float]:
    """Requests for each logical call, by the stack around it."""
    counted = {}
    with OpenAIServer(Provider(status)) as server:
        chat = ChatOpenAI(base_url=server.url, api_key="test", model="gpt-4o")
        retried = chat.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)

        async def node(state: Any) -> State:  # noqa: ARG001 - LangGraph gives it
            return {"answer": (await retried.ainvoke("hello")).text}

        builder = StateGraph(State)
        builder.add_node("node", node, retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False))
        builder.add_edge(START, "node")
        builder.add_edge("node", END)
        graph: Any = builder.compile()
        stacks: dict[str, Any] = {
            "ChatOpenAI": (chat, "hello"),
            "+ with_retry": (retried, "hello"),
            "+ RetryPolicy of LangGraph": (graph, {}),
        }
        for name, (stack, given) in stacks.items():
            before = server.count
            for _ in range(calls):
                try:
                    await stack.ainvoke(given)
                except Exception:  # whatever the SDK calls it
                    continue
            counted[name] = (server.count - before) / calls
    return counted


# --- Ours  ---


async def ours(status: int, calls: int, policy: Policy, folder: Path) -> float:
    """Requests for each of so many calls, with a database of their own."""
    db = folder / f"{len(list(folder.iterdir()))}.db"
    with OpenAIServer(Provider(status)) as server, environment(server.url):
        async with Runner(chain(policy, calls=1), db=db, model=MODEL, concurrency=50) as runner:
            await runner.start(inputs(calls))
        if outcomes(db) != {"refused": calls}:
            raise RuntimeError(f"Not every run was refused: {outcomes(db)}.")
        return server.count / calls


def inputs(count: int) -> list[Input]:
    """Documents for so many runs."""
    return [Input(id=f"doc-{number}", document={"text": f"REF{number:05}"}) for number in range(count)]


class Return(NamedTuple):
    """What happened when the provider was back.

    Args:
        normal_after: seconds until every run that began was answered.
        at_once: the most requests under way at the server while the breaker was half open.
        requests_in_outage: for each run that began in it.
    """

    normal_after: float
    at_once: int
    requests_in_outage: float


async def back_again(folder: Path, *, every: float, outage: float, after: float) -> Return:
    """Begin runs at a steady pace through an outage and its end.

    Args:
        folder: for the database.
        every: seconds between two runs.
        outage: seconds that it lasts.
        after: seconds that are watched after it.
    """
    provider, db = Provider(seconds=0.1), folder / "back.db"
    with OpenAIServer(provider) as server, environment(server.url):
        async with Runner(chain(ALONE, calls=1), db=db, model=MODEL) as runner, asyncio.TaskGroup() as group:
            begin = time.time()
            for number, item in enumerate(inputs(round((outage + after) / every))):
                group.create_task(runner.start([item]))
                if provider.is_down and time.time() > begin + outage:
                    provider.is_down, back, requests, runs = False, time.time(), server.count, number
                await asyncio.sleep(max(0.0, begin + (number + 1) * every - time.time()))
    refused = [_epoch(row["created_at"]) for row in read(db, "SELECT created_at FROM runs WHERE outcome = 'refused'")]
    return Return(max(0.0, max(refused) - back), _at_once(db, provider.served), requests / runs)


def _at_once(db: Path, served: list[Served]) -> int:
    """The most requests under way while the breaker was half open."""
    events = read(db, "SELECT at, what FROM breaker_events ORDER BY at, rowid")
    ends = [*(_epoch(event["at"]) for event in events[1:]), float("inf")]
    half_open = [
        (_epoch(event["at"]), end) for event, end in zip(events, ends, strict=True) if event["what"] == "half_open"
    ]
    return max(
        sum(other.arrived <= one.arrived < other.left for other in served)
        for start, end in half_open
        for one in served
        if start <= one.arrived < end
    )


def _epoch(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


# --- Figures  ---


async def measure(calls: int) -> dict[str, Any]:
    """Count all of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = {status: [await ours(status, 1, ALONE, folder) for _ in range(5)] for status in (429, 503)}
        together = {
            "breaker and retry budget": await ours(503, calls, ALONE, folder),
            "retry budget alone": await ours(503, calls, WITHOUT_BREAKER, folder),
        }
        back = await back_again(folder, every=0.03, outage=4.0, after=WINDOW + 2.0)
    return {
        "plain": {status: await plain(status, 5) for status in (429, 503)},
        "ours, a lone call": {status: max(each) for status, each in alone.items()},
        f"ours, {calls} calls in an outage": together,
        "ours, when the provider is back": back._asdict(),
    }


def broken(result: dict[str, Any]) -> list[str]:
    """Which promises the figures break."""
    alone, together, back = list(result.values())[1:]
    promises = {
        f"a lone call is at most {MOST_ALONE:.0f} requests": max(alone.values()) <= MOST_ALONE,
        f"a call of many is at most {MOST_TOGETHER} requests": max(together.values()) <= MOST_TOGETHER,
        "traffic is normal within one breaker window": back["normal_after"] <= WINDOW,
        "never more than the probes at once while half open": back["at_once"] <= PROBES,
    }
    return [what for what, kept in promises.items() if not kept]


def main() -> None:
    """Print the figures; exit with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000, help="in the outage that all share")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(measure(options.calls))
    if options.json:
        print(json.dumps({**result, "broken": broken(result)}, indent=2))
    else:
        print(_as_text(result))
    if problems := broken(result):
        sys.exit(f"broken: {'; '.join(problems)}")


def _as_text(result: dict[str, Any]) -> str:
    plain_stacks, alone, together, back = result.values()
    lines = ["requests for one call                429      503"]
    for name in plain_stacks[503]:
        lines.append(f"  {name:30} {plain_stacks[429][name]:8.2f} {plain_stacks[503][name]:8.2f}")
    lines.append(f"  {'ours, alone':30} {alone[429]:8.2f} {alone[503]:8.2f}   (aim: at most {MOST_ALONE:.0f})")
    for name, requests in together.items():
        lines.append(
            f"  {'ours, in an outage of all':30} {'':8} {requests:8.2f}   ({name}; aim: at most {MOST_TOGETHER})"
        )
    lines.append(f"back: all answered after {back['normal_after']:.2f} s   (aim: {WINDOW:.0f} s, the breaker's window)")
    lines.append(f"back: {back['at_once']} at once while half open   (aim: at most {PROBES}, the probes)")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
