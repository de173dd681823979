"""Remembering what was worked out for one object, such as a chat model or a schema: the same for every call."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")

REMEMBERED = 64  # objects; a process has a handful of models and schemas


class _Same:
    """A thing that equals itself only: keeps it alive, so that its place in memory is not another's."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.thing is self.thing


def once_for_each(function: Callable[..., T]) -> Callable[..., T]:
    """Make a function of objects remember its results, by which objects they are and not by what is in them.

    Args:
        function: of objects that nobody changes afterwards.
    """

    @lru_cache(maxsize=REMEMBERED)
    def remembered(*things: _Same) -> T:
        return function(*(same.thing for same in things))

    return lambda *things: remembered(*map(_Same, things))
