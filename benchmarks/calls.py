"""What the door adds to a call, and how many runs wait at once, beside bare `ChatOpenAI` on the same server.

The server answers at once, or after a second, in a process of its own. Bare means the same model bound to the same
JSON schema, which is the least that a workflow would do. Everything is measured in turns, so that a busy machine slows
all alike. What the door adds is given as a share of what ChatOpenAI itself adds to httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from benchmarks.call_workers import ANSWER, MODEL, Note, chain, environment, outcomes, processes, prompt
from stanchion import Input, Runner
from stanchion.guards import json_schema
from stanchion.guards.limits.policy import Policy
from stanchion.models.door import Door, Place, Request
from stanchion.models.providers import Model, bind_schema, load_model
from stanchion.store import Database
from stanchion.store.calls import Journal
from stanchion.testing import OpenAIServer, Reply

MOST_ADDED = 0.4  # of what ChatOpenAI adds to httpx
MOST_COMMITS = 2.0  # for one call
LEAST_THROUGHPUT = 0.8  # of the bare calls'
AT_ONCE, FLOOD = 200, 2000
SECOND = 1.0  # that the slow server takes
PROMPT = prompt("step1")
SCHEMA = json_schema(Note)

Call = Callable[[int], Awaitable[Any]]
"""Makes one call; its number makes the question another."""


@contextmanager
def server(seconds: float) -> Iterator[str]:
    """A provider in a process of its own, that takes so long for an answer."""
    ours, theirs = processes().Pipe()
    process = processes().Process(target=_serve, args=(seconds, theirs))
    process.start()
    yield ours.recv()
    ours.send("over")
    process.join()


def _serve(seconds: float, pipe: Connection) -> None:
    _allow_many_connections()
    with OpenAIServer({"": Reply(ANSWER, delay=seconds)}) as running:
        pipe.send(running.url)
        pipe.recv()


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def bare_model(url: str) -> Any:
    """ChatOpenAI with the schema bound as our door binds it, and without retries of its own, as for us."""
    return bind_schema(_bare_chat(url), SCHEMA)


def _bare_chat(url: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=url, api_key="test", model="gpt-4o", max_retries=0, timeout=61)  # a client of its own


# --- What one call adds  ---


async def added(url: str, folder: Path, rounds: int, calls: int) -> dict[str, Any]:
    """Time single calls, one after the other, in turns."""
    database = Database(folder / "calls.db")
    async with httpx.AsyncClient() as client:
        ways: dict[str, Call] = {
            "httpx": _by_httpx(client, url),
            "ChatOpenAI, no schema": _by_chat(_bare_chat(url)),
            "ChatOpenAI": _by_chat(bare_model(url)),
            "door": _by_door(load_model(MODEL), None),
            "door to an instance": _by_door(_instance(url), None),
            "door and journal": _by_door(load_model(MODEL), Journal(database)),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, call in ways.items():
                taken = [await _timed(call, number * calls + index) for index in range(calls)]
                if number:  # the first round opens connections and fills caches
                    times[name].append(statistics.median(taken))
    database.close()
    best = {name: min(each) for name, each in times.items()}

    def share(name: str) -> float:
        return (best[name] - best["ChatOpenAI"]) / (best["ChatOpenAI"] - best["httpx"])

    return {
        "ms": {name: 1000 * seconds for name, seconds in best.items()},
        "added, of what ChatOpenAI adds": {name: share(name) for name in list(ways)[3:]},
    }


async def _timed(call: Call, number: int) -> float:
    start = time.perf_counter()
    await call(number)
    return time.perf_counter() - start


def _by_httpx(client: httpx.AsyncClient, url: str) -> Call:
    schema = {"name": "Note", "schema": SCHEMA, "strict": False}

    async def call(number: int) -> Any:
        system, user = PROMPT.opening(text=f"REF{number}", schema="")
        body = {
            "model": "gpt-4o",
            "messages": [{"role": "system", "content": system.content}, {"role": "user", "content": user.content}],
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        answer = await client.post(f"{url}/chat/completions", json=body, headers={"authorization": "Bearer test"})
        return answer.json()["choices"][0]["message"]["content"]

    return call


def _by_chat(chat: Any) -> Call:
    return lambda number: chat.ainvoke(PROMPT.opening(text=f"REF{number}", schema=""))


def _instance(url: str) -> Model:
    return load_model(ChatOpenAI(base_url=url, api_key="test", model="gpt-4o", max_retries=0, timeout=62))


def _by_door(model: Model, journal: Journal | None) -> Call:
    door = Door(model, journal)

    async def call(number: int) -> Any:
        request = Request(PROMPT, PROMPT.opening(text=f"REF{number}", schema=""), SCHEMA)
        return await door.ask(request, Place(f"run-{number}" if journal else "", "task", "step1"))

    return call


# --- Commits  ---


class CountingDatabase(Database):
    """A database that counts its transactions."""

    commits = 0

    def _write_batch(self, *arguments: Any) -> None:
        self.commits += 1
        super()._write_batch(*arguments)


async def commits(folder: Path, together: int) -> dict[str, float]:
    """Transactions for each call: one alone, and many at once."""
    database = CountingDatabase(folder / "commits.db")
    call = _by_door(load_model(MODEL), Journal(database))
    await call(0)
    alone = database.commits
    await asyncio.gather(*(call(number) for number in range(1, together + 1)))
    database.close()
    return {"alone": alone, f"{together} at once": (database.commits - alone) / together}


# --- Many runs that wait at once  ---


def gathered(way: str, url: str, count: int, db: str) -> dict[str, float]:
    """Wait for so many answers at once, in a process of its own; return seconds and the memory that each took."""
    _allow_many_connections()
    with environment(url):
        return asyncio.run(WAYS[way](url, count, db))


async def _bare(url: str, count: int, _: str) -> dict[str, float]:
    bound = bare_model(url)
    questions = [PROMPT.opening(text=f"REF{number}", schema="") for number in range(count + 1)]
    await bound.ainvoke(questions[-1])
    return await _measured(lambda: asyncio.gather(*(bound.ainvoke(question) for question in questions[:-1])), count)


class State(TypedDict, total=False):
    """The state of the plain graph."""

    text: str
    answer: str


async def _plain_graph(url: str, count: int, db: str) -> dict[str, float]:
    bound = bare_model(url)

    async def node(state: State) -> State:
        return {"answer": (await bound.ainvoke(PROMPT.opening(text=state["text"], schema=""))).text}

    builder = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    async with AsyncSqliteSaver.from_conn_string(db) as saver:
        graph: Any = builder.compile(checkpointer=saver)

        async def run(number: int) -> Any:
            config: Any = {"configurable": {"thread_id": str(number)}}
            return await graph.ainvoke({"text": f"REF{number}"}, config, durability="sync")

        await run(count)
        return await _measured(lambda: asyncio.gather(*(run(number) for number in range(count))), count)


async def _ours(_url: str, count: int, db: str) -> dict[str, float]:
    documents = [Input(id=f"doc-{number}", document={"text": f"REF{number:05}"}) for number in range(count + 1)]
    async with Runner(chain(Policy(), calls=1), db=db, model=MODEL, concurrency=count) as runner:
        await runner.start(documents[-1:])
        result = await _measured(lambda: runner.start(documents[:-1]), count)
    if outcomes(Path(db)) != {"accepted": count + 1}:
        raise RuntimeError(f"Not every run was accepted: {outcomes(Path(db))}.")
    return result


WAYS: dict[str, Callable[[str, int, str], Coroutine[Any, Any, dict[str, float]]]] = {
    "ChatOpenAI": _bare,
    "LangGraph": _plain_graph,
    "ours": _ours,
}


async def _measured(work: Callable[[], Awaitable[Any]], count: int) -> dict[str, float]:
    gc.collect()
    before = _most_memory()
    start, cpu = time.perf_counter(), time.process_time()
    await work()
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "kB each": (_most_memory() - before) / count,
    }


def _most_memory() -> float:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else most


def waiting(url: str, folder: Path, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Take the best of each way's rounds."""
    best: dict[str, dict[str, float]] = {}
    with ProcessPoolExecutor(1, mp_context=processes(), max_tasks_per_child=1) as pool:
        for number in range(rounds):
            for way in WAYS:
                db = folder / f"{way}-{count}-{number}.db"
                taken = pool.submit(gathered, way, url, count, str(db)).result()
                best[way] = min(best.get(way, taken), taken, key=lambda one: one["seconds"])
    return best


# --- Figures  ---


def measure(rounds: int, calls: int, flood: int) -> dict[str, Any]:
    """Measure all of it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(0.0) as url, environment(url):
            figures = asyncio.run(added(url, folder, rounds, calls))
            figures["commits"] = asyncio.run(commits(folder, 50))
        with server(SECOND) as url:
            figures[f"{AT_ONCE} at once"] = waiting(url, folder, AT_ONCE, 3)
            if flood:
                figures[f"{flood} at once"] = waiting(url, folder, flood, 1)
    return figures


def broken(result: dict[str, Any]) -> list[str]:
    """Which promises the figures break."""
    many = result[f"{AT_ONCE} at once"]
    promises = {
        f"the door adds at most {MOST_ADDED} of what ChatOpenAI adds": (
            result["added, of what ChatOpenAI adds"]["door"] <= MOST_ADDED
        ),
        f"at most {MOST_COMMITS:.0f} commits for a call": max(result["commits"].values()) <= MOST_COMMITS,
        f"{AT_ONCE} at once have {LEAST_THROUGHPUT} of the bare throughput": _throughput(many) >= LEAST_THROUGHPUT,
    }
    return [what for what, kept in promises.items() if not kept]


def _throughput(many: dict[str, dict[str, float]]) -> float:
    return many["ChatOpenAI"]["seconds"] / many["ours"]["seconds"]


def main() -> None:
    """Print the figures; exit with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=60, help="of each way in a round")
    parser.add_argument("--flood", type=int, default=FLOOD, help="runs that wait at once; 0: leave that out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.rounds, options.calls, options.flood)
    if options.json:
        print(json.dumps({**result, "broken": broken(result)}, indent=2))
    else:
        print(_as_text(result))
    if problems := broken(result):
        sys.exit(f"broken: {'; '.join(problems)}")


def _as_text(result: dict[str, Any]) -> str:
    shares = result["added, of what ChatOpenAI adds"]
    lines = ["one call after the other"]
    for name, ms in result["ms"].items():
        share = f"adds {shares[name]:5.2f} of what ChatOpenAI adds" if name in shares else ""
        lines.append(f"  {name:22} {ms:7.3f} ms   {share}{f' (aim: {MOST_ADDED})' if name == 'door' else ''}")
    lines += [f"commits for a call, {name}: {count:.2f}" for name, count in result["commits"].items()]
    for name in [name for name in result if name.endswith("at once")]:
        lines.append(
            f"{name}, answers of {SECOND:.0f} s; throughput {_throughput(result[name]):.2f} of the bare calls'"
        )
        for way, taken in result[name].items():
            figures = f"{taken['seconds']:7.2f} s, {taken['cpu']:6.2f} s of CPU, {taken['kB each']:6.0f} kB each"
            lines.append(f"  {way:22} {figures}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
