"""kill -9 at random moments of runs of five model calls each, and of a fan-out of sixty, then resume until all ended.

Real processes against our OpenAI-protocol server, which counts. Each time a process was killed, the file is read for
the answers that were committed by then: none of them may be asked for again, and no more requests may be sent twice
than were under way. Beside it the same fan-out in plain LangGraph with its own SQLite saver. `tests/runs` uses this
module with smaller numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from typing_extensions import TypedDict

from benchmarks.call_workers import ANSWER, CALLS, WIDTH, Job, outcomes, processes, read, work
from stanchion.testing import OpenAIServer

FAN_POLICY: dict[str, Any] = {"loops": {"model_calls": 2 * WIDTH}, "rates": {"*": {"in_flight": 8}}}


class Kill(NamedTuple):
    """What was so at a kill.

    Args:
        committed: questions whose answer stood in the file.
        under_way: how many calls stood there as started, without an answer.
        asked: how often the server had been asked each question.
    """

    committed: set[str]
    under_way: int
    asked: Counter[str]


class Soaked(NamedTuple):
    """What came of it.

    Args:
        kills: each of them.
        asked: how often the server was asked each question in all.
        ends: how many runs ended how.
    """

    kills: list[Kill]
    asked: Counter[str]
    ends: Counter[str]

    @property
    def paid_again(self) -> int:
        """Questions asked again although their answer was committed at a kill."""
        return sum(self.asked[one] > kill.asked[one] for kill in self.kills for one in kill.committed)

    @property
    def surplus(self) -> int:
        """Requests beyond one for each question."""
        return sum(self.asked.values()) - len(self.asked)

    @property
    def under_way(self) -> int:
        """Calls that were under way at the kills, all together."""
        return sum(kill.under_way for kill in self.kills)


def asked(server: OpenAIServer) -> Counter[str]:
    """How often each question came."""
    return Counter(request.prompt for request in server.requests)


def look(db: Path, server: OpenAIServer) -> Kill:
    """Read the file as a killed process left it."""
    rows = read(db, "SELECT request, status FROM calls")
    committed = {_question(row["request"]) for row in rows if row["status"] == "answered"}
    return Kill(committed, sum(row["status"] == "started" for row in rows), asked(server))


def _question(request: str) -> str:
    return str(json.loads(request)[-1]["data"]["content"])


# --- Killing  ---


def random_moments(calls: int, kills: int, chance: random.Random) -> list[int]:
    """Spread kills evenly over all calls; return after how many requests each process is killed.

    Args:
        calls: of all runs together.
        kills: how many.
        chance: where the moments come from.
    """
    cuts = sorted(chance.sample(range(1, calls), kills))
    return [later - earlier for earlier, later in pairwise([0, *cuts])]


def soak(
    db: Path, server: OpenAIServer, *, documents: int, moments: list[int], pause: Callable[[], None] = lambda: None
) -> Soaked:
    """Start runs of `chain` and kill their process again and again, then let them end.

    Args:
        db: a new database.
        server: answers with `ANSWER`.
        documents: how many runs.
        moments: after how many requests of its own life each process is killed.
        pause: how long to wait after that request.
    """
    job = Job(str(db), server.url, documents=documents)
    kills = []
    for moment in moments:
        process = processes().Process(target=work, args=(job,))
        before = server.count
        process.start()
        while not server.wait_for(before + moment, timeout=0.05) and process.is_alive():
            continue
        pause()
        process.kill()
        process.join()
        kills.append(look(db, server))
        job = job._replace(documents=0)  # the first request came after all runs were queued
    return _ended(job, kills, db, server)


def fan_out(db: Path, server: OpenAIServer, *, die_after: int) -> Soaked:
    """Start one run of `fan`, which kills itself after so many answers, then let it end.

    Args:
        db: a new database.
        server: answers with `ANSWER`.
        die_after: how many answers are committed by then.
    """
    job = Job(str(db), server.url, "fan", FAN_POLICY, documents=1, die=("call answered", die_after))
    dying = processes().Process(target=work, args=(job,))
    dying.start()
    dying.join()
    return _ended(job._replace(documents=0, die=None), [look(db, server)], db, server)


def _ended(job: Job, kills: list[Kill], db: Path, server: OpenAIServer) -> Soaked:
    last = processes().Process(target=work, args=(job,))
    last.start()
    last.join()
    if last.exitcode:
        raise RuntimeError(f"The last process ended with {last.exitcode}.")
    return Soaked(kills, asked(server), outcomes(db))


# --- Plain LangGraph  ---


class Parts(TypedDict):
    """The state of the plain fan-out."""

    answers: Annotated[list[str], operator.add]


def plain_fan_out(db: Path, server: OpenAIServer, *, die_after: int) -> int:
    """Do the same with LangGraph alone; return how many questions were asked again after the kill."""
    for die in (die_after, None):
        before = asked(server)
        process = processes().Process(target=_plain_work, args=(str(db), server.url, die))
        process.start()
        process.join()
    return sum(count > before[question] > 0 for question, count in asked(server).items())


def _plain_work(db: str, url: str, die_after: int | None) -> None:
    asyncio.run(_plain(db, url, die_after))


async def _plain(db: str, url: str, die_after: int | None) -> None:
    chat = ChatOpenAI(base_url=url, api_key="test", model="gpt-4o")
    answered = 0

    async def part(state: Any) -> dict[str, list[str]]:
        nonlocal answered
        answer = await chat.ainvoke(f"part P{state['number']}")
        answered += 1
        if answered == die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"answers": [answer.text]}

    builder = StateGraph(Parts)
    builder.add_node("part", part)
    builder.add_conditional_edges(START, lambda _: [Send("part", {"number": n}) for n in range(WIDTH)], ["part"])
    builder.add_edge("part", END)
    async with AsyncSqliteSaver.from_conn_string(db) as saver:
        graph = builder.compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "1"}, "max_concurrency": 8}
        given: Any = {"answers": []} if die_after else None
        await graph.ainvoke(given, config, durability="sync")


# --- Figures  ---


def measure(documents: int, kills: int, seed: int) -> dict[str, Any]:
    """Soak the chain, then both fan-outs."""
    chance = random.Random(seed)
    moments = random_moments(documents * CALLS, kills, chance)

    def pause() -> None:
        time.sleep(chance.uniform(0, 0.05))  # noqa: TID251 - the random moment

    def reply(_: dict[str, Any]) -> str:
        time.sleep(chance.uniform(0, 0.04))  # noqa: TID251 - a provider takes its time
        return ANSWER

    with tempfile.TemporaryDirectory() as folder:
        with OpenAIServer(reply) as server:
            chain = soak(Path(folder) / "chain.db", server, documents=documents, moments=moments, pause=pause)
        with OpenAIServer(reply) as server:
            fan = fan_out(Path(folder) / "fan.db", server, die_after=WIDTH // 2)
        with OpenAIServer(reply) as server:
            plain = plain_fan_out(Path(folder) / "plain.db", server, die_after=WIDTH // 2)
    return {
        f"{documents} runs of {CALLS} calls, {kills} kills": _figures(chain),
        f"fan-out of {WIDTH}, killed after {WIDTH // 2} answers": _figures(fan),
        "the same in plain LangGraph": {"asked again": plain},
        "broken": _broken(chain, documents) + _broken(fan, 1),
    }


def _figures(soaked: Soaked) -> dict[str, Any]:
    return {
        "questions": len(soaked.asked),
        "requests": sum(soaked.asked.values()),
        "surplus": soaked.surplus,
        "under way at the kills": soaked.under_way,
        "committed answers asked for again": soaked.paid_again,
        "committed at each kill": [len(kill.committed) for kill in soaked.kills],
        "ends": dict(soaked.ends),
    }


def _broken(soaked: Soaked, documents: int) -> list[str]:
    promises = {
        "a committed answer was asked for again": soaked.paid_again == 0,
        "more was sent twice than was under way": soaked.surplus <= soaked.under_way,
        "a run was lost": soaked.ends == {"accepted": documents},
    }
    return [what for what, kept in promises.items() if not kept]


def main() -> None:
    """Print the figures; exit with 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.documents, options.kills, options.seed)
    print(json.dumps(result, indent=2) if options.json else _as_text(result))
    sys.exit(1 if result["broken"] else 0)


def _as_text(result: dict[str, Any]) -> str:
    lines = []
    for name, value in result.items():
        lines.append(f"{name}: {value if not isinstance(value, dict) else ''}")
        lines += [f"  {key}: {figure}" for key, figure in value.items()] if isinstance(value, dict) else []
    return "\n".join(lines)


if __name__ == "__main__":
    main()
