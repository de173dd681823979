"""Whose turn it is among calls that wait for room: one at a time looks, and runs take turns."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """The line before one model, within one event loop.

    A run with sixty calls waiting stands in it once, not sixty times.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._taken = False

    @property
    def anybody(self) -> bool:
        """Whether somebody has the turn, so that a newcomer must not pass by."""
        return self._taken

    @asynccontextmanager
    async def turn(self, run_id: str) -> AsyncIterator[None]:
        """Wait for one's turn, and have it while the block lasts.

        Args:
            run_id: who waits.
        """
        if self._taken:
            await self._wait(run_id)
        self._taken = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, run_id: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it was given just as its owner gave up
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            run_id, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[run_id] = turns  # the others of the same run go to the end
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False
