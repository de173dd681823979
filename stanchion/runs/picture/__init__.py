"""The picture of a workflow, drawn offline: as mermaid text, and as an SVG with a layout of our own.

LangGraph's `draw_mermaid()` does not escape names, and its PNGs want a web service or pygraphviz.
"""

from stanchion.runs.picture._drawing import svg
from stanchion.runs.picture._mermaid import mermaid

__all__ = ["mermaid", "svg"]
