"""Fakes for tests, ours and yours: a clock, ids, a scripted chat model, and a server that speaks the OpenAI protocol.

Each is loaded when it is first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stanchion.testing.clock import FakeClock, counting_ids
    from stanchion.testing.openai_server import OpenAIServer, read_log
    from stanchion.testing.replies import Reply, Request, bad_replies
    from stanchion.testing.scripted_model import ScriptedModel

__all__ = [
    "FakeClock",
    "OpenAIServer",
    "Reply",
    "Request",
    "ScriptedModel",
    "bad_replies",
    "counting_ids",
    "read_log",
]

_HOMES = {
    "FakeClock": "clock",
    "OpenAIServer": "openai_server",
    "Reply": "replies",
    "Request": "replies",
    "ScriptedModel": "scripted_model",
    "bad_replies": "replies",
    "counting_ids": "clock",
    "read_log": "openai_server",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
