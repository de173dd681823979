"""Two processes answer the same 1,000 reviews at the same moments; then 100 answers are cut off by `kill -9`.

The node behind the question is the action: it appends the run's id and the answer to a file. Prints how many actions
and refusals there were; exits with 1 where an action was done twice, never, or by an answer to another question.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from stanchion import Input, Runner, Workflow
from stanchion.errors import ReviewClosed
from stanchion.runs.reviews import Reviews
from stanchion.store import Database
from stanchion.verdict import Outcome

FORKED = multiprocessing.get_context("fork")  # a fresh Python imports for five seconds


class State(TypedDict, total=False):
    """What a run holds."""

    document: dict[str, Any]
    answer: dict[str, Any]
    outcome: Outcome


def workflow(actions: Path) -> Workflow:
    """Ask, then act: the action is one line in a file."""

    def ask(state: State) -> dict[str, Any]:
        return {"answer": interrupt({"question": f"May {state['document']['name']} be paid?", "proposal": {}})}

    def act(state: State) -> dict[str, Any]:
        line = f"{state['document']['name']} {state['answer']['reason']}\n"
        file = os.open(actions, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, line.encode())
        os.close(file)
        return {"outcome": Outcome(kind="reviewed", output={})}

    builder = StateGraph(State)
    builder.add_node("ask", ask)
    builder.add_node("act", act)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "act")
    builder.add_edge("act", END)
    return Workflow(builder.compile(), name="payments", version="1")


async def waiting(work: Workflow, db: Path, names: list[str]) -> dict[str, str]:
    """Bring runs to their questions; return review to name."""
    async with Runner(work, db=db, model="none", concurrency=32) as runner:
        await runner.start([Input(id=name, document={"name": name}) for name in names])
        return {review.id: review.input_id for review in runner.ledger.reviews(limit=len(names))}


async def go_on(work: Workflow, db: Path) -> None:
    """Resume whatever was answered."""
    async with Runner(work, db=db, model="none", concurrency=8) as runner:
        await runner.resume()


def rival(who: str, db: Path, work: Workflow, reviews: dict[str, str], barrier: Any, results: Any) -> None:
    """Answer every review at the moment at which the other does, then resume at the same moment, too."""
    database = Database(db, synchronous="NORMAL")
    desk = Reviews(database, workflow=work)
    taken, refusals = 0, []
    for review_id, name in reviews.items():
        barrier.wait()
        try:
            desk.answer(review_id, "approve", by=who, reason=f"for {name} by {who}")
            taken += 1
        except ReviewClosed as refused:
            refusals.append(str(refused))
    database.close()
    barrier.wait()
    asyncio.run(go_on(work, db))
    results.put((taken, refusals))


def race(folder: Path, number: int) -> dict[str, int]:
    """Let two processes answer the same reviews."""
    db, actions = folder / "race.db", folder / "race.txt"
    work = workflow(actions)
    reviews = asyncio.run(waiting(work, db, [f"n{at}" for at in range(number)]))
    barrier, results = FORKED.Barrier(2), FORKED.Queue()
    both = [FORKED.Process(target=rival, args=(who, db, work, reviews, barrier, results)) for who in ("Ada", "Bob")]
    for one in both:
        one.start()
    told = [results.get(timeout=600) for _ in both]
    for one in both:
        one.join()
    refusals = [words for _, some in told for words in some]
    return {
        "reviews": number,
        "answers taken": sum(taken for taken, _ in told),
        "clear refusals": sum("was answered already: approve by" in words for words in refusals),
        **judged(actions, set(reviews.values())),
    }


def cut_off(db: Path, work: Workflow, review_id: str) -> None:
    """Answer, and die before the run goes on."""

    def die(event: str, _run_id: str) -> None:
        if event == "answered":
            os.kill(os.getpid(), signal.SIGKILL)

    async def story() -> None:
        async with Runner(work, db=db, model="none", observe=die) as runner:
            name = runner.ledger.review(review_id).input_id
            await runner.answer(review_id, "approve", by="Ada", reason=f"for {name} by Ada")

    asyncio.run(story())


def kills(folder: Path, number: int) -> dict[str, int]:
    """Kill the process that answers between its answer and the run's going on; then resume, twice."""
    db, actions = folder / "kills.db", folder / "kills.txt"
    work = workflow(actions)
    reviews = asyncio.run(waiting(work, db, [f"k{at}" for at in range(number)]))
    killed = 0
    for review_id in reviews:
        child = FORKED.Process(target=cut_off, args=(db, work, review_id))
        child.start()
        child.join()
        killed += child.exitcode == -signal.SIGKILL
        asyncio.run(go_on(work, db))
    asyncio.run(go_on(work, db))
    return {"kills": killed, **judged(actions, set(reviews.values()))}


def judged(actions: Path, names: set[str]) -> dict[str, int]:
    """Count what was done, and how."""
    lines = [line.split() for line in actions.read_text().splitlines()]
    done = Counter(name for name, *_ in lines)
    return {
        "actions": len(lines),
        "done twice": sum(count > 1 for count in done.values()),
        "never done": len(names - done.keys()),
        "wrong questions": sum(name != for_whom for name, _, for_whom, *_ in lines),
    }


def main() -> None:
    """Run both, and say whether all promises held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviews", type=int, default=1_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        parts = {"race": race(Path(folder), given.reviews), "kills": kills(Path(folder), given.kills)}
    seconds = round(time.monotonic() - start, 1)
    if given.json:
        print(json.dumps({**parts, "seconds": seconds}))
    else:
        for name, figures in parts.items():
            print(f"{name}: {', '.join(f'{value} {what}' for what, value in figures.items())}")
        print(f"{seconds} s")
    broken = any(part[bad] for part in parts.values() for bad in ("done twice", "never done", "wrong questions"))
    race_held = parts["race"]["answers taken"] == parts["race"]["clear refusals"] == given.reviews
    sys.exit(0 if race_held and not broken and parts["kills"]["kills"] == given.kills else 1)


if __name__ == "__main__":
    main()
