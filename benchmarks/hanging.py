"""A provider that hangs: by how much steps exceed their budgets, one at a time and a hundred at once.

Aim: by no more than the larger of 10 % and 50 ms, whatever hangs: a silent server, a stream that stops half-way, a
client that blocks its thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI

from benchmarks.call_workers import ANSWER, chain, read
from stanchion import Input, Runner, Workflow
from stanchion.guards.limits.policy import Policy
from stanchion.testing import OpenAIServer, Reply


class Blocking(BaseChatModel):
    """A model without an asynchronous way, that waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self._let_go = threading.Event()

    @property
    def _llm_type(self) -> str:
        return "blocking"

    def let_go(self) -> None:
        """Let every call return."""
        self._let_go.set()

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:  # noqa: ARG002
        self._let_go.wait()
        raise RuntimeError("too late")


def client(server: OpenAIServer, **options: Any) -> ChatOpenAI:
    """What a developer makes himself; its own timeout is far too long."""
    return ChatOpenAI(base_url=server.url, api_key="test", model="gpt-4o", max_retries=0, timeout=600, **options)


def run(workflow: Workflow, model: Any, db: Path, count: int = 1) -> None:
    """Start so many runs at once and wait for them."""

    async def main() -> None:
        async with Runner(workflow, db=db, model=model, concurrency=count) as runner:
            await runner.start([Input(id=f"doc-{n}", document={"text": f"REF{n:05}"}) for n in range(count)])

    asyncio.run(main())


def one_call(step: float, **time: str) -> Workflow:
    """A run of one call, with a budget for its step."""
    return chain(Policy(time={"step": f"{step}s", **time}), calls=1)


def overrun(db: Path, budget: float) -> float:
    """By how many seconds the longest step exceeded its budget."""
    return max(row["ms"] for row in read(db, "SELECT ms FROM steps")) / 1000 - budget


def allowed(budget: float) -> float:
    """What a step may exceed its budget by: the larger of 10 % and 50 ms."""
    return max(0.1 * budget, 0.05)


# --- The measurement  ---

ONE = 1.0  # seconds of a step, where one run hangs
AT_ONCE, TOGETHER = 100, 5.0  # runs, and seconds of their steps


def measure() -> dict[str, tuple[float, float]]:
    """By how much the longest step of each way to hang exceeded its budget, and by how much it may."""
    ways = {}
    with (
        OpenAIServer({"": Reply(ANSWER, delay=math.inf)}) as silent,
        OpenAIServer({"": Reply(ANSWER, stall=True)}) as stalling,
    ):
        models = {
            "silent server": client(silent),
            "stream that stops": client(stalling, streaming=True),
            "body that stops": client(stalling),
        }
        for name, model in models.items():
            ways[name] = _hang(model, ONE, 1)
        ways[f"silent server, {AT_ONCE} runs"] = _hang(client(silent), TOGETHER, AT_ONCE)
    for count, step, name in ((1, ONE, "blocking client"), (AT_ONCE, TOGETHER, f"blocking client, {AT_ONCE} runs")):
        blocking = Blocking()
        ways[name] = _hang(blocking, step, count)
        blocking.let_go()
    return ways


def _hang(model: Any, step: float, count: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "runs.db"
        run(one_call(step, attempt=f"{step}s"), model, db, count)
        return overrun(db, step), allowed(step)


def main() -> None:
    """Print the figures; exit with 1 where the aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ways = measure()
    if options.json:
        print(json.dumps({name: {"late": late, "allowed": most} for name, (late, most) in ways.items()}, indent=2))
    else:
        print("the longest step ended after its budget by           (aim)")
        for name, (late, most) in ways.items():
            print(f"  {name:40} {late * 1000:7.0f} ms   ({most * 1000:.0f} ms)")
    if missed := [name for name, (late, most) in ways.items() if late > most]:
        sys.exit(f"broken: steps ended too late: {', '.join(missed)}")


if __name__ == "__main__":
    main()
