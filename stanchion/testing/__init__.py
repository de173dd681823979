"""Fakes for tests, ours and yours: clock, ids, scripted and faulty models, a server that speaks the OpenAI protocol.

Each is loaded when it is first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stanchion.testing.clock import FakeClock, counting_ids
    from stanchion.testing.faults import (
        FAULTS,
        Fault,
        FaultPlan,
        Schedule,
        burst,
        constant,
        outage,
        rate_limited,
        slow_first_token,
    )
    from stanchion.testing.faulty_model import FaultyModel
    from stanchion.testing.openai_server import OpenAIServer, Usage, read_log
    from stanchion.testing.replies import Reply, Request, bad_replies
    from stanchion.testing.scripted_model import ScriptedModel

__all__ = [
    "FAULTS",
    "FakeClock",
    "Fault",
    "FaultPlan",
    "FaultyModel",
    "OpenAIServer",
    "Reply",
    "Request",
    "Schedule",
    "ScriptedModel",
    "Usage",
    "bad_replies",
    "burst",
    "constant",
    "counting_ids",
    "outage",
    "rate_limited",
    "read_log",
    "slow_first_token",
]

_HOMES = {
    "FAULTS": "faults",
    "FakeClock": "clock",
    "Fault": "faults",
    "FaultPlan": "faults",
    "FaultyModel": "faulty_model",
    "OpenAIServer": "openai_server",
    "Reply": "replies",
    "Request": "replies",
    "Schedule": "faults",
    "ScriptedModel": "scripted_model",
    "Usage": "openai_server",
    "bad_replies": "replies",
    "burst": "faults",
    "constant": "faults",
    "counting_ids": "clock",
    "outage": "faults",
    "rate_limited": "faults",
    "read_log": "openai_server",
    "slow_first_token": "faults",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
