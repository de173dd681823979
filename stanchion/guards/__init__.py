"""What may say no to a value: an executor for guardrails-ai validators, and the validators that we ship.

Importing this package is light; guardrails-ai itself (3 s) is imported with the first validator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from stanchion.guards._plan import guarded
from stanchion.guards.executor import Checked, bare_model, check, json_schema

if TYPE_CHECKING:
    from stanchion.guards.consistent import Consistent
    from stanchion.guards.grounded import Grounded
    from stanchion.guards.placeholder import Placeholder
    from stanchion.guards.plausible import Plausible
    from stanchion.guards.well_formed import WellFormed

__all__ = [
    "Checked",
    "Consistent",
    "Grounded",
    "Placeholder",
    "Plausible",
    "WellFormed",
    "bare_model",
    "check",
    "guarded",
    "json_schema",
]

_VALIDATORS = {
    "Consistent": "consistent",
    "Grounded": "grounded",
    "Placeholder": "placeholder",
    "Plausible": "plausible",
    "WellFormed": "well_formed",
}


def __getattr__(name: str) -> Any:
    if name not in _VALIDATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_VALIDATORS[name]}"), name)


def __dir__() -> list[str]:
    return __all__
