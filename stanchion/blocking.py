"""The thin synchronous face: everything inside is asynchronous, and this lets a caller without a loop wait for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def wait_for(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, wherever the caller is: in a notebook's running loop too.

    Args:
        coroutine: run in a thread with a loop of its own and the caller's context variables.
    """
    results: list[T] = []
    failures: list[BaseException] = []
    context = copy_context()

    def run() -> None:
        try:
            results.append(asyncio.run(coroutine))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=lambda: context.run(run), name="stanchion-loop")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
