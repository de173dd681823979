"""The thin synchronous face: everything inside is asynchronous, and this lets a caller without a loop wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")

in_temporary_loop: ContextVar[bool] = ContextVar("in_temporary_loop", default=False)
"""Whether the running loop is one of `wait_for`, which ends with its coroutine: no connection should be kept in it."""


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, wherever the caller is: in a notebook's running loop too.

    An interrupt (Ctrl-C) cancels it, and is raised once it has cleaned up.

    Args:
        coroutine: run in a loop of its own, with the caller's context variables.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_marked(coroutine))
    context = copy_context()  # the caller's loop is running in this thread, so ours needs another
    with ThreadPoolExecutor(1, thread_name_prefix="stanchion-loop") as pool:
        return pool.submit(context.run, asyncio.run, _marked(coroutine)).result()


async def _marked(coroutine: Coroutine[Any, Any, T]) -> T:
    in_temporary_loop.set(True)
    return await coroutine
