"""Where in a run a model is asked, as LangGraph leaves it in the metadata of the call."""

from __future__ import annotations

from typing import Any, NamedTuple

from langgraph.config import get_config


class CallSite(NamedTuple):
    """Where a model is asked; empty texts outside any graph.

    Args:
        run_id: the run, which is LangGraph's thread.
        node: the node that runs.
        step: names the step's execution: the same for another attempt of it, and after a crash.
    """

    run_id: str = ""
    node: str = ""
    step: str = ""


def call_site_of(run_manager: Any) -> CallSite:
    """Return where a model is asked.

    Args:
        run_manager: the callback manager that LangChain hands the model, or None.
    """
    metadata = dict(getattr(run_manager, "metadata", None) or {})
    try:
        config = get_config()
    except RuntimeError:  # outside any graph
        config = {}
    metadata = {**config.get("metadata", {}), **config.get("configurable", {}), **metadata}
    names = ("thread_id", "langgraph_node", "langgraph_checkpoint_ns")
    return CallSite(*(str(metadata.get(name, "")) for name in names))
