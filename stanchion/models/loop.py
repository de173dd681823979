"""One event loop for the life of the process, on which the models that we make are asked.

A kept HTTP connection belongs to the loop that opened it, and the providers' packages share one client per process:
whoever calls `asyncio.run` twice, as every synchronous `invoke` does, would find the second call's connection dead
(measured: with langchain-openai every second call failed). Nothing but requests to models runs here, so no node and no
guard can hold them up.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_starting = threading.Lock()


async def on_models_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine on the models' loop, with the caller's context variables; cancelling reaches it.

    Args:
        coroutine: what to run there.
    """
    loop = _running_loop()
    if asyncio.get_running_loop() is loop:
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def _running_loop() -> asyncio.AbstractEventLoop:
    with _starting:
        return _started_loop()


@cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="stanchion-models", daemon=True).start()
    return loop


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_started_loop.cache_clear)  # threads do not survive one
