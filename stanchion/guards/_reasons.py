"""How a guard's no is put down."""

from __future__ import annotations

from stanchion.guards._paths import Keys, path_text
from stanchion.verdict import Check

LONGEST_REASON = 300
"""Characters of a reason; validators of the ecosystem may put the value itself into theirs."""


def failed(guard: str, keys: Keys, reason: str) -> Check:
    """A failed check of the value at this place."""
    return Check(guard=guard, path=path_text(keys), status="fail", reason=short(reason))


def short(text: str) -> str:
    """A reason as it is kept: not too long, and storable whatever characters it quotes."""
    if len(text) > LONGEST_REASON:
        text = text[: LONGEST_REASON - 1] + "…"
    return text.encode("utf-8", "replace").decode("utf-8")
