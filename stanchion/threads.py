"""Blocking functions, bounded in time: each runs in a thread of ours, and nobody waits for it past its deadline.

A thread cannot be stopped, only left behind. So a call that is late goes on as a daemon thread, which keeps no process
from ending, gives its place to the next one, and its answer is thrown away once it comes. How many may run, and how
many may be left behind, is bounded; the threads of the standard pool would all be taken by as many calls that hang, and
the interpreter waits for them at its end.

Code that holds the interpreter lock, such as one long regular expression, stops the whole process, whatever thread it
is in: this cannot be bounded here.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from stanchion.errors import OutOfTime, ThreadsBusy

T = TypeVar("T")
Late = Callable[[Any], None]
"""Told what a function returned or raised after nobody waited for it any more; called in the function's thread."""

MOST_RUNNING = 64
MOST_LEFT_BEHIND = 192
IDLE_SECONDS = 0.1  # how long a thread waits for another call: starting one costs up to 2 ms where others are at work


async def in_thread(function: Callable[..., T], *args: Any, seconds: float, late: Late | None = None) -> T:
    """Run a blocking function in a thread, with the caller's context variables, and wait for it no longer than told.

    It waits for a free thread first, in line with all other calls of the process and within its own time.

    Args:
        function: what to run; it cannot be stopped, so it should do no harm when it ends late.
        *args: what it takes.
        seconds: how long to wait for it, waiting for a thread included.
        late: told what it returned or raised after that; thrown away otherwise.

    Returns:
        what it returned.

    Raises:
        OutOfTime: it did not return in time.
        ThreadsBusy: no thread was free in time, or too many late calls hang: the function was never begun.
    """
    return await _ours.run(function, *args, seconds=seconds, late=late)


_all: WeakSet[Threads] = WeakSet()


class Threads:
    """Threads for blocking functions, started when they are needed and ended when they are not.

    Args:
        most_running: how many calls may run at a time; further ones wait in line.
        most_left_behind: from so many late calls that still hang, new ones are refused.
    """

    def __init__(self, most_running: int = MOST_RUNNING, most_left_behind: int = MOST_LEFT_BEHIND) -> None:
        self._most_running = most_running
        self._most_left_behind = most_left_behind
        self.reset()
        _all.add(self)

    def reset(self) -> None:
        """Forget all calls: a forked process has none of its parent's threads, and perhaps its lock, held forever."""
        self._lock = threading.Lock()
        self._running = 0
        self._left_behind = 0
        self._line: deque[_Waiting] = deque()
        self._idle: list[_Thread] = []

    async def run(self, function: Callable[..., T], *args: Any, seconds: float, late: Late | None = None) -> T:
        """Do what `in_thread` promises."""
        name = _name(function)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        if seconds <= 0:
            raise OutOfTime(f"No time was left for {name}; it was not begun.")
        await self._enter(name, seconds)
        call = _Call(function, args, late, loop)
        self._begin(call, name)
        try:
            async with asyncio.timeout_at(end):
                await call.ended
        except TimeoutError:
            if self._leave_behind(call):
                raise OutOfTime(f"{name} did not return within {seconds:.3g} s; its answer will not count.") from None
        except asyncio.CancelledError:
            if not self._leave_behind(call):
                call.tell_late()
            raise
        return call.result()

    async def _enter(self, name: str, seconds: float) -> None:
        """Take a place, or wait in line for one."""
        with self._lock:
            if refusal := self._refusal():
                raise refusal
            if self._running < self._most_running:
                self._running += 1
                return
            waiting = _Waiting(asyncio.get_running_loop())
            self._line.append(waiting)
        try:
            async with asyncio.timeout(seconds):
                await waiting.called
        except TimeoutError:
            self._leave_line(waiting)
            taken = f"all {self._most_running} threads for blocking functions were taken for {seconds:.3g} s"
            raise ThreadsBusy(f"{name} was not begun: {taken}.") from None
        except asyncio.CancelledError:
            self._leave_line(waiting)
            raise
        if waiting.refusal is not None:
            raise waiting.refusal

    def _refusal(self) -> ThreadsBusy | None:
        if self._left_behind < self._most_left_behind:
            return None
        return ThreadsBusy(
            f"No blocking function is begun: {self._left_behind} that did not return in time still hang. Give what "
            f"hangs a timeout of its own, or start the process anew."
        )

    def _leave_line(self, waiting: _Waiting) -> None:
        with self._lock:
            if waiting.has_place:  # given in this very moment
                self._give_place_on()
            elif waiting in self._line:
                self._line.remove(waiting)

    def _begin(self, call: _Call[Any], name: str) -> None:
        with self._lock:
            thread = self._idle.pop() if self._idle else None
        try:
            if thread is None:
                thread = _Thread(self)
                thread.start()
        except RuntimeError as error:  # the machine's limit on threads, or the interpreter is ending
            with self._lock:
                self._give_place_on()
            raise ThreadsBusy(f"{name} was not begun: no thread could be started ({error}).") from error
        thread.calls.put(call)

    def has_ended(self, call: _Call[Any], thread: _Thread) -> bool:
        """Take note that a call has ended; False where its thread is needed no more.

        Args:
            call: what the thread ran.
            thread: which one.
        """
        with self._lock:
            call.has_ended = True
            if call.left_behind:
                self._left_behind -= 1
            else:
                self._idle.append(thread)
                self._give_place_on()
        if call.left_behind or not call.wake():
            call.tell_late()
        return not call.left_behind

    def is_needed(self, thread: _Thread) -> bool:
        """Say whether an idle thread was given a call after all; it is given none from now on.

        Args:
            thread: which one.
        """
        with self._lock:
            if thread in self._idle:
                self._idle.remove(thread)
                return False
        return True

    def _leave_behind(self, call: _Call[Any]) -> bool:
        """Let a late call hang, out of its place; False where it has just ended after all."""
        with self._lock:
            if not call.has_ended:
                call.left_behind = True
                self._left_behind += 1
                self._give_place_on()
            return call.left_behind

    def _give_place_on(self) -> None:
        """Give a place that became free to the first in line, or refuse them all; the lock is held."""
        refusal = self._refusal()
        while self._line:
            waiting = self._line.popleft()
            waiting.refusal, waiting.has_place = refusal, refusal is None
            if _wake(waiting.loop, waiting.called) and waiting.has_place:
                return
        self._running -= 1


class _Thread(threading.Thread):
    """One thread: it runs a call, then waits a moment for another one."""

    def __init__(self, threads: Threads) -> None:
        super().__init__(name="stanchion blocking", daemon=True)
        self._threads = threads
        self.calls: SimpleQueue[_Call[Any]] = SimpleQueue()

    def run(self) -> None:
        """Run calls until none comes for a moment, or the last one was late."""
        while True:
            try:
                call = self.calls.get(timeout=IDLE_SECONDS)
            except Empty:
                if not self._threads.is_needed(self):
                    return
                continue
            call.work()
            if not self._threads.has_ended(call, self):
                return
            del call  # an idle thread holds nobody's answer


class _Waiting:
    """One who waits in line, and is called to the place, or to hear a refusal."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.called: asyncio.Future[None] = loop.create_future()
        self.has_place = False
        self.refusal: ThreadsBusy | None = None


class _Call(Generic[T]):
    """One function on its way through a thread; `has_ended` and `left_behind` change under the lock of the threads."""

    def __init__(
        self, function: Callable[..., T], args: tuple[Any, ...], late: Late | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._function, self._args, self._late, self._loop = function, args, late, loop
        self._context: Context = copy_context()
        self._answer: T | None = None
        self._error: BaseException | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        self.has_ended = False
        self.left_behind = False

    def work(self) -> None:
        """Run the function, in its thread."""
        try:
            self._answer = self._context.run(self._function, *self._args)
        except BaseException as error:  # whatever it is, it is raised where the call is awaited
            self._error = error

    def wake(self) -> bool:
        """Tell the loop that waits; False where it is closed."""
        return _wake(self._loop, self.ended)

    def result(self) -> T:
        """Return what the function returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value] # it ended without an error

    def tell_late(self) -> None:
        """Hand on the answer that nobody waits for."""
        if self._late is not None:
            self._late(self._answer if self._error is None else self._error)


def _name(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _wake(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> bool:
    """Resolve a future from any thread; False where its loop is closed, so that nobody waits."""

    def resolve() -> None:
        if not future.done():  # cancelled meanwhile
            future.set_result(None)

    try:
        loop.call_soon_threadsafe(resolve)
    except RuntimeError:
        return False
    return True


_ours = Threads()


def _reset_all() -> None:
    for threads in _all:
        threads.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
