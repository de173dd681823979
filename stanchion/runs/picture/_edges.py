"""The edges of a graph, read from its builder as they were declared.

LangGraph's `get_graph()` is not used: it keeps one label where two decisions lead to the same node, and leaves out the
edges of a node that a simulated run does not reach.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

Graph = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class Edge:
    """What leads from one node to another; its label names the decisions that take it, if it is conditional."""

    source: str
    target: str
    label: str = ""
    conditional: bool = False


def names(graph: Graph, declared: Iterable[Edge]) -> list[str]:
    """List the nodes as they were added, between the start and, if an edge leads there, the end."""
    ends = [END] if any(edge.target == END for edge in declared) else []
    return [START, *graph.builder.nodes, *ends]


def edges(graph: Graph) -> list[Edge]:
    """Read the declared edges, one for each pair of nodes, in an order that does not depend on hashing."""
    order = {name: index for index, name in enumerate([START, *graph.builder.nodes, END])}
    between: dict[tuple[str, str], list[Edge]] = defaultdict(list)
    for edge in _declared(graph):
        between[edge.source, edge.target].append(edge)
    return [_joined(between[pair]) for pair in sorted(between, key=lambda pair: (order[pair[0]], order[pair[1]]))]


def _declared(graph: Graph) -> Iterator[Edge]:
    builder = graph.builder
    joins = [(source, target) for sources, target in builder.waiting_edges for source in sources]
    for source, target in [*builder.edges, *joins]:
        yield Edge(source, target)
    anywhere = {name: name for name in [*builder.nodes, END]}
    for source, branches in builder.branches.items():
        for branch in branches.values():
            ends = anywhere if branch.ends is None else branch.ends
            yield from (Edge(source, target, str(label), conditional=True) for label, target in ends.items())
    for source, node in builder.nodes.items():  # where a node may go by returning a Command
        commands = node.ends if isinstance(node.ends, dict) else {name: name for name in node.ends or ()}
        yield from (Edge(source, target, label, conditional=True) for target, label in commands.items())
    going_on = {*builder.branches, *(source for source, _ in builder.edges), *(source for source, _ in joins)}
    for name, node in builder.nodes.items():
        if name not in going_on and not node.ends:
            yield Edge(name, END)


def _joined(parallel: list[Edge]) -> Edge:
    """Make one edge of all between two nodes; a label that only says the name of its target is left out."""
    first = parallel[0]
    labels = list(dict.fromkeys(edge.label for edge in parallel if edge.label))
    label = "" if labels == [first.target] else ", ".join(labels)
    return Edge(first.source, first.target, label, all(edge.conditional for edge in parallel))


def path(declared: Iterable[Edge], taken: Sequence[str]) -> set[tuple[str, str]]:
    """Find the edges that a run took, as pairs of source and target.

    Into each node these are the edge from the latest node before it that has one, and all that are not conditional from
    nodes that ran before, for such an edge is always taken.
    """
    conditional = {(edge.source, edge.target): edge.conditional for edge in declared}
    ran = [START, *taken]
    walked: set[tuple[str, str]] = set()
    for at, name in enumerate(ran):
        into = [(one, name) for one in reversed(ran[:at]) if (one, name) in conditional]
        walked.update(into[:1], (edge for edge in into if not conditional[edge]))
    return walked
