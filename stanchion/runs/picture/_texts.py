"""Texts as a picture shows them."""

from __future__ import annotations

import re

from langgraph.graph import END, START

_LONGEST = 32  # characters; a longer text is cut, and whole in its title


def shown(name: str) -> str:
    """Name a node as people do: LangGraph's two ends without their underscores."""
    return {START: "start", END: "end"}.get(name, name)


def short(text: str) -> str:
    """Cut a text that would make the picture too wide."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def clean(text: str) -> str:
    """Replace what neither XML nor a terminal can carry: control characters, lone surrogates, non-characters."""
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
