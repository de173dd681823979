"""Makes LangGraph workflows survive production: guards, fallbacks, reviews, checkpoints and a record of everything.

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stanchion.api import answer, resume, run, run_all
    from stanchion.context import RunContext
    from stanchion.errors import StanchionError
    from stanchion.guards.limits.policy import Policy
    from stanchion.models.prompts import Prompt
    from stanchion.runs.inputs import Input, read_inputs
    from stanchion.runs.ledger import Ledger
    from stanchion.runs.records import Run
    from stanchion.runs.runner import Runner
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
    "Policy": "stanchion.guards.limits.policy",
    "Prompt": "stanchion.models.prompts",
    "Run": "stanchion.runs.records",
    "RunContext": "stanchion.context",
    "Runner": "stanchion.runs.runner",
    "Source": "stanchion.verdict",
    "StanchionError": "stanchion.errors",
    "Verdict": "stanchion.verdict",
    "Workflow": "stanchion.workflow",
    "answer": "stanchion.api",
    "load_workflow": "stanchion.workflow",
    "read_inputs": "stanchion.runs.inputs",
    "resume": "stanchion.api",
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
    "Policy",
    "Prompt",
    "Run",
    "RunContext",
    "Runner",
    "Source",
    "StanchionError",
    "Verdict",
    "Workflow",
    "answer",
    "load_workflow",
    "read_inputs",
    "resume",
    "run",
    "run_all",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stanchion' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
