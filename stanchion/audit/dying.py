"""A process that has imported everything and forks a child per command: a fresh Python takes five seconds to import.

Reads one JSON object per line: `{"path", "reference", "model", "inputs", "db", "log", "die": [event, n]}`; the child
goes on with all runs of the database and kills itself with SIGKILL at the n-th such event (of any name, where it is
empty); prints how it ended. Times are not shortened: nothing hangs here, and what a fresh process does for the first
time takes longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from stanchion.audit.overlay import Asked
from stanchion.audit.trial import Subject
from stanchion.runs.inputs import Input
from stanchion.workflow import load_workflow


def work(command: dict[str, Any]) -> None:
    """Go on with all runs, in this process.

    Args:
        command: one line of standard input.
    """
    inputs = [Input(**item) for item in command["inputs"]]
    subject = Subject(load_workflow(command["reference"]), inputs, command["model"])
    log = os.open(command["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    fatal, number = command["die"]
    events = 0

    def told(asked: Asked) -> None:
        os.write(log, json.dumps([*asked.site, asked.content.rpartition(" ")[2]]).encode() + b"\n")

    def observe(event: str, _run_id: str) -> None:
        nonlocal events
        events += fatal in ("", event)
        if events == number:
            os.kill(os.getpid(), signal.SIGKILL)

    async def resume() -> None:
        async with subject.runner(Path(command["db"]), in_short=False, observe=observe) as runner:
            with subject.overlay(told=told):
                await runner.resume()

    asyncio.run(resume())


def in_child(command: dict[str, Any]) -> int:
    """Work in a child; return its exit code, or the signal that ended it as a negative number.

    Args:
        command: one line of standard input.
    """
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
    for line in sys.stdin:
        command = json.loads(line)
        sys.path[:] = command["path"]  # what the parent finds, the children find
        load_workflow(command["reference"])  # once, before the fork
        sys.stdout.write(f"{in_child(command)}\n")
        sys.stdout.flush()
