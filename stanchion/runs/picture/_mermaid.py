"""A workflow as mermaid text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from langgraph.graph import END, START

from stanchion.runs.picture._edges import Edge, Graph, edges, names, path
from stanchion.runs.picture._texts import clean, shown


def mermaid(graph: Graph, taken: Sequence[str] = (), current: str | None = None) -> str:
    """Draw a workflow as mermaid text (https://mermaid.js.org/syntax/flowchart.html).

    Args:
        graph: a compiled graph.
        taken: the nodes that ran, in order; they and the edges between them are drawn thicker. The edge from the start
            is understood; the edge to the end is drawn thicker if the last of `taken` is `__end__`.
        current: the node at which the run stands.
    """
    declared = edges(graph)
    ids = {name: f"n{index}" for index, name in enumerate(names(graph, declared))}
    lines = ["flowchart TD"]
    lines += [f"    {ids[name]}{_box(name)}" for name in ids]
    lines += [f"    {ids[edge.source]} {_arrow(edge)} {ids[edge.target]}" for edge in declared]
    walked = path(declared, taken)
    thick = ",".join(str(index) for index, edge in enumerate(declared) if (edge.source, edge.target) in walked)
    ran = ",".join(ids[name] for name in ids if name in {*taken, *(name for edge in walked for name in edge)})
    if thick:
        lines.append(f"    linkStyle {thick} stroke-width:4px")
    if ran:
        lines += ["    classDef taken stroke-width:4px", f"    class {ran} taken"]
    if current in ids:
        lines += ["    classDef current stroke-width:4px,stroke-dasharray:6 3", f"    class {ids[current]} current"]
    return "\n".join(lines) + "\n"


def _box(name: str) -> str:
    text = _text(shown(name))
    return f"([{text}])" if name in (START, END) else f"[{text}]"


def _arrow(edge: Edge) -> str:
    if not edge.label:
        return "-.->" if edge.conditional else "-->"
    text = _text(edge.label)
    return f"-. {text} .->" if edge.conditional else f"-- {text} -->"


def _text(text: str) -> str:
    """Quote a text; what might end the quotes, or mean something to mermaid, markdown or HTML, becomes an entity."""
    return '"' + re.sub(r"^[\W_]|[^\w ,:/+-]", lambda found: f"#{ord(found[0])};", clean(text)) + '"'
