"""Makes LangGraph workflows survive production: guards, fallbacks, reviews, checkpoints and a record of everything.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stanchion import reviews
    from stanchion.api import resume, run, run_all
    from stanchion.context import RunContext
    from stanchion.errors import StanchionError
    from stanchion.guards.limits.policy import Policy
    from stanchion.models.prompts import Prompt
    from stanchion.people import Person
    from stanchion.runs.inputs import Input, read_inputs
    from stanchion.runs.ledger import Ledger
    from stanchion.runs.records import Run
    from stanchion.runs.runner import Runner
    from stanchion.runs.worker import Worker
    from stanchion.verdict import Candidate, Check, Evidence, Found, Outcome, Source, Verdict
    from stanchion.workflow import Workflow, load_workflow

__version__ = "0.1.0"

_HOMES = {
    "Candidate": "stanchion.verdict",
    "Check": "stanchion.verdict",
    "Evidence": "stanchion.verdict",
    "Found": "stanchion.verdict",
    "Input": "stanchion.runs.inputs",
    "Ledger": "stanchion.runs.ledger",
    "Outcome": "stanchion.verdict",
    "Person": "stanchion.people",
    "Policy": "stanchion.guards.limits.policy",
    "Prompt": "stanchion.models.prompts",
    "Run": "stanchion.runs.records",
    "RunContext": "stanchion.context",
    "Runner": "stanchion.runs.runner",
    "Source": "stanchion.verdict",
    "StanchionError": "stanchion.errors",
    "Verdict": "stanchion.verdict",
    "Worker": "stanchion.runs.worker",
    "Workflow": "stanchion.workflow",
    "load_workflow": "stanchion.workflow",
    "read_inputs": "stanchion.runs.inputs",
    "resume": "stanchion.api",
    "reviews": "stanchion",  # a module: what waits for people
    "run": "stanchion.api",
    "run_all": "stanchion.api",
}

__all__ = [
    "Candidate",
    "Check",
    "Evidence",
    "Found",
    "Input",
    "Ledger",
    "Outcome",
    "Person",
    "Policy",
    "Prompt",
    "Run",
    "RunContext",
    "Runner",
    "Source",
    "StanchionError",
    "Verdict",
    "Worker",
    "Workflow",
    "load_workflow",
    "read_inputs",
    "resume",
    "reviews",
    "run",
    "run_all",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stanchion' has no attribute {name!r}")
    home = _HOMES[name]
    return import_module(f"{home}.{name}") if home == __name__ else getattr(import_module(home), name)
