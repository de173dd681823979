"""Identical calls in flight share one request: twenty runs that ask the same thing at once pay for it once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage

from stanchion.errors import LimitReached, TimedOut

_Place = tuple[int, int, str]


class Landed(NamedTuple):
    """An answer, and whose request brought it.

    Args:
        message: the model's raw message.
        call_id: of the call that was made.
        shared: another caller made it.
    """

    message: AIMessage
    call_id: str
    shared: bool


class _Flight:
    def __init__(self, task: asyncio.Task[tuple[AIMessage, str]]) -> None:
        self.task = task
        self.passengers = 0


class Flights:
    """The calls that are under way in this process, by event loop and content."""

    def __init__(self) -> None:
        self._under_way: dict[_Place, _Flight] = {}

    async def join(
        self, client: object, key: str, start: Callable[[], Coroutine[Any, Any, tuple[AIMessage, str]]]
    ) -> Landed:
        """Return the answer to a question, asking only where nobody is asking the same.

        Whoever joins shares the answer and a provider's failure, but no limit of whoever asked first, nor that its time
        was over: it then asks itself. A caller that gives up leaves the others' request alone; the last one takes it
        along.

        Args:
            client: who is asked: two objects may answer differently under one name, as recorded answers do.
            key: the same for the same question to the same model.
            start: makes the call; gives the message and the call's id.
        """
        place = (id(asyncio.get_running_loop()), id(client), key)
        while flight := self._under_way.get(place):
            try:
                message, call_id = await self._ride(place, flight)
                return Landed(message, call_id, shared=True)
            except (LimitReached, TimedOut):
                continue  # its limit or its deadline, not ours
        flight = _Flight(asyncio.create_task(self._fly(place, start)))
        self._under_way[place] = flight
        message, call_id = await self._ride(place, flight)
        return Landed(message, call_id, shared=False)

    async def _fly(
        self, place: _Place, start: Callable[[], Coroutine[Any, Any, tuple[AIMessage, str]]]
    ) -> tuple[AIMessage, str]:
        try:
            return await start()
        finally:
            self._forget(place, asyncio.current_task())

    async def _ride(self, place: _Place, flight: _Flight) -> tuple[AIMessage, str]:
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if not flight.passengers:
                self._forget(place, flight.task)  # nobody may join what is about to be cancelled, or never took off
                flight.task.cancel()

    def _forget(self, place: _Place, task: asyncio.Task[Any] | None) -> None:
        if place in self._under_way and self._under_way[place].task is task:
            del self._under_way[place]
