"""Faults laid over every LangChain chat model of the process, and a record of every request that is made to one.

A graph need not know of it: whether its models come through our door, or were made by its author and stand in a
closure, what they send passes `BaseChatModel`, and that is where the overlay stands.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatResult

from stanchion.audit.call_site import CallSite, call_site_of
from stanchion.testing.faults import FaultPlan
from stanchion.testing.faulty_model import FaultyModel

FREE = ("stanchion.", "langchain_core.")  # packages whose chat models cost nothing: recorded answers, fakes

PATCHED = ("_generate_with_cache", "_agenerate_with_cache", "_should_stream")
"""Every answer comes through the first two, once the third says that nothing is streamed."""

PlanFor = Callable[[str], FaultPlan | None]
"""Says what goes wrong with the calls of a node."""


class Asked(NamedTuple):
    """One request to a model.

    Args:
        site: where it was made.
        content: hash of who was asked and of what was said.
    """

    site: CallSite
    content: str


class Overlay(AbstractContextManager["Overlay"]):
    """While it is entered, it lies over all chat models of the process; one at a time.

    Args:
        plan_for: what goes wrong, by node.
        stand_in: answers in place of models that would have to be paid; None: they are asked themselves.
        told: told of every request before it is made, in whichever thread.
    """

    def __init__(
        self,
        plan_for: PlanFor = lambda _node: None,
        *,
        stand_in: BaseChatModel | None = None,
        told: Callable[[Asked], None] = lambda _asked: None,
    ) -> None:
        self.requests: list[Asked] = []
        self.answered: list[CallSite] = []
        self._plan_for = plan_for
        self._stand_in = stand_in
        self._told = told
        self._lock = threading.Lock()
        self._laid: dict[str, FaultyModel] = {}

    def requests_of(self, node: str) -> list[Asked]:
        """Return the requests of one node, as they came.

        Args:
            node: its name.
        """
        return [asked for asked in self.requests if asked.site.node == node]

    def struck_in(self, node: str) -> int:
        """Return how many requests of one node a fault struck.

        Args:
            node: its name.
        """
        return sum(self._laid[node].faults.values()) if node in self._laid else 0

    def __enter__(self) -> Overlay:
        """Lie over all chat models."""
        self._originals = {name: getattr(BaseChatModel, name) for name in PATCHED}
        generate, agenerate = (self._originals[name] for name in PATCHED[:2])
        overlay = self

        def asked(model: BaseChatModel, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
            who, site = overlay._begin(model, messages, run_manager)
            ask = generate if who is model else type(who)._generate
            return overlay._end(ask(who, messages, stop, run_manager, **kwargs), site)

        async def aasked(
            model: BaseChatModel, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> Any:
            who, site = overlay._begin(model, messages, run_manager)
            ask = agenerate if who is model else type(who)._agenerate
            return overlay._end(await ask(who, messages, stop, run_manager, **kwargs), site)

        _put(dict(zip(PATCHED, (asked, aasked, _never), strict=True)))
        return self

    def __exit__(self, *_: object) -> None:
        """Take it away, and end what hangs."""
        _put(self._originals)
        for faulty in self._laid.values():
            faulty.release()

    def _begin(self, model: BaseChatModel, messages: Sequence[BaseMessage], run_manager: Any) -> tuple[Any, CallSite]:
        """Count a request, and return who answers it."""
        site = call_site_of(run_manager)
        asked = Asked(site, f"{_name(model)} {hash_of(messages)}")
        self.requests.append(asked)
        self._told(asked)
        is_free = type(model).__module__.startswith(FREE)
        who = model if is_free or self._stand_in is None else self._stand_in
        plan = self._plan_for(site.node)
        if plan is None:
            return who, site
        with self._lock:
            faulty = self._laid.setdefault(site.node, FaultyModel(who, plan))
        return faulty.model_copy(update={"chat": who}), site

    def _end(self, result: ChatResult, site: CallSite) -> ChatResult:
        self.answered.append(site)
        return result


def _name(model: BaseChatModel) -> str:
    """Tell models apart by what they are: a node may make its own anew for each attempt."""
    return f"{type(model).__name__}:{getattr(model, 'model_name', '')}{getattr(model, 'model', '')}".replace(" ", "-")


def hash_of(messages: Sequence[BaseMessage]) -> str:
    """Return a hash of what was said, the same whatever ids the messages carry.

    Args:
        messages: the conversation.
    """
    said = [[message.type, message.text] for message in messages]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _never(*_: Any, **__: Any) -> bool:
    return False


def _put(methods: Mapping[str, Any]) -> None:
    for name, method in methods.items():
        setattr(BaseChatModel, name, method)
