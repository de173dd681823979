"""A process that has imported everything and forks a child per command: a fresh Python takes five seconds to import.

Reads one JSON object per line: `{"db", "url", "documents": [{"id", "document"}], "resume", "die": [event, n] | null}`;
runs `receipts` in a child that kills itself with SIGKILL at the n-th such event; prints how the child ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections import Counter
from typing import Any

import langchain_openai  # noqa: F401 - imported before the forks

from stanchion import Input, Runner
from stanchion.graphs.receipts import workflow
from stanchion.runs.checkpoints import CheckpointSaver


class Death:
    """Kills this process at the n-th event of a name."""

    def __init__(self, event: str | None, n: int) -> None:
        self._event, self._n = event, n
        self._seen: Counter[str] = Counter()

    def observe(self, event: str, _run_id: str) -> None:
        """Count an event, and die of it when it is its turn."""
        self._seen[event] += 1
        if event == self._event and self._seen[event] == self._n:
            os.kill(os.getpid(), signal.SIGKILL)


def work(command: dict[str, Any]) -> None:
    """Do one command in this process."""
    os.environ |= {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": command["url"]}
    death = Death(*(command["die"] or (None, 0)))
    put = CheckpointSaver.aput

    async def aput(self: CheckpointSaver, *arguments: Any) -> Any:
        kept = await put(self, *arguments)
        death.observe("checkpoint", "")
        return kept

    CheckpointSaver.aput = aput  # type: ignore[method-assign]

    async def main() -> None:
        runner = Runner(workflow, db=command["db"], model="openai:test", observe=death.observe)
        async with runner:
            if command["resume"]:
                await runner.resume()
            else:
                await runner.start([Input(**item) for item in command["documents"]])

    asyncio.run(main())


def in_child(command: dict[str, Any]) -> int:
    """Do one command in a child; return its wait status as `subprocess` gives it (negative: the signal)."""
    child = os.fork()
    if child == 0:
        try:
            work(command)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    workflow.graph.invoke(
        {"document": {"text": "CORNER SHOP\nJalan Besar 1\n12.00"}}, interrupt_before=["review"]
    )  # warm
    print("ready", flush=True)
    for line in sys.stdin:
        print(in_child(json.loads(line)), flush=True)
