"""The picture of a workflow, drawn offline: as mermaid text, and as an SVG with a layout of our own.

LangGraph's `get_graph()` and `draw_mermaid()` are not used: they keep one label where two decisions lead to the same
node, leave out the edges of a node that a simulated run does not reach, and do not escape names. The edges are read
from the builder instead, as they were declared.

The layout is Sugiyama's (https://en.wikipedia.org/wiki/Layered_graph_drawing): turn back edges aside, put every node on
the rank of its longest path from the start, order each rank by barycentres, then move slots sideways until edges are
straight. Labels have ranks of their own between those of the nodes, so that nothing can overlap by construction.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

from langgraph.graph import END, START
from langgraph.graph.state import CompiledStateGraph

Graph = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class _Edge:
    source: str
    target: str
    label: str = ""
    conditional: bool = False


def mermaid(graph: Graph, taken: Sequence[str] = (), current: str | None = None) -> str:
    """Draw a workflow as mermaid text (https://mermaid.js.org/syntax/flowchart.html).

    Args:
        graph: a compiled graph.
        taken: the nodes that ran, in order; they and the edges between them are drawn thicker. The edge from the start
            is understood; the edge to the end is drawn thicker if the last of `taken` is `__end__`.
        current: the node at which the run stands.
    """
    edges = _edges(graph)
    ids = {name: f"n{index}" for index, name in enumerate(_names(graph, edges))}
    lines = ["flowchart TD"]
    lines += [f"    {ids[name]}{_mermaid_box(name)}" for name in ids]
    lines += [f"    {ids[edge.source]} {_mermaid_arrow(edge)} {ids[edge.target]}" for edge in edges]
    path = _path(edges, taken)
    thick = ",".join(str(index) for index, edge in enumerate(edges) if (edge.source, edge.target) in path)
    ran = ",".join(ids[name] for name in ids if name in {*taken, *(name for edge in path for name in edge)})
    if thick:
        lines.append(f"    linkStyle {thick} stroke-width:4px")
    if ran:
        lines += ["    classDef taken stroke-width:4px", f"    class {ran} taken"]
    if current in ids:
        lines += ["    classDef current stroke-width:4px,stroke-dasharray:6 3", f"    class {ids[current]} current"]
    return "\n".join(lines) + "\n"


def svg(graph: Graph, taken: Sequence[str] = (), current: str | None = None) -> str:
    """Draw a workflow as a self-contained SVG, readable on light and dark pages.

    Args:
        graph: a compiled graph.
        taken: the nodes that ran, in order, as for `mermaid`.
        current: the node at which the run stands.
    """
    edges = _edges(graph)
    layout = _arrange(_names(graph, edges), edges)
    return _Drawing(layout, _path(edges, taken), frozenset(taken), current).text()


# Reading the graph


def _names(graph: Graph, edges: Iterable[_Edge]) -> list[str]:
    """The nodes in the order in which they were added, between the start and, if an edge leads there, the end."""
    ends = [END] if any(edge.target == END for edge in edges) else []
    return [START, *graph.builder.nodes, *ends]


def _edges(graph: Graph) -> list[_Edge]:
    """Read the declared edges, one for each pair of nodes, in an order that does not depend on hashing."""
    order = {name: index for index, name in enumerate([START, *graph.builder.nodes, END])}
    between: dict[tuple[str, str], list[_Edge]] = defaultdict(list)
    for edge in _declared(graph):
        between[edge.source, edge.target].append(edge)
    return [_joined(between[pair]) for pair in sorted(between, key=lambda pair: (order[pair[0]], order[pair[1]]))]


def _declared(graph: Graph) -> Iterator[_Edge]:
    builder = graph.builder
    joins = [(source, target) for sources, target in builder.waiting_edges for source in sources]
    for source, target in [*builder.edges, *joins]:
        yield _Edge(source, target)
    anywhere = {name: name for name in [*builder.nodes, END]}
    for source, branches in builder.branches.items():
        for branch in branches.values():
            ends = anywhere if branch.ends is None else branch.ends
            yield from (_Edge(source, target, str(label), conditional=True) for label, target in ends.items())
    for source, node in builder.nodes.items():  # where a node may go by returning a Command
        commands = node.ends if isinstance(node.ends, dict) else {name: name for name in node.ends or ()}
        yield from (_Edge(source, target, label, conditional=True) for target, label in commands.items())
    going_on = {*builder.branches, *(source for source, _ in builder.edges), *(source for source, _ in joins)}
    for name, node in builder.nodes.items():
        if name not in going_on and not node.ends:
            yield _Edge(name, END)


def _joined(edges: list[_Edge]) -> _Edge:
    """Make one edge of all between two nodes; a label that only says the name of its target is left out."""
    first = edges[0]
    labels = list(dict.fromkeys(edge.label for edge in edges if edge.label))
    label = "" if labels == [first.target] else ", ".join(labels)
    return _Edge(first.source, first.target, label, all(edge.conditional for edge in edges))


def _path(edges: Iterable[_Edge], taken: Sequence[str]) -> set[tuple[str, str]]:
    """Find the edges that a run took.

    Into each node these are the edge from the latest node before it that has one, and all that are not conditional from
    nodes that ran before, for such an edge is always taken.
    """
    conditional = {(edge.source, edge.target): edge.conditional for edge in edges}
    ran = [START, *taken]
    path: set[tuple[str, str]] = set()
    for at, name in enumerate(ran):
        into = [(one, name) for one in reversed(ran[:at]) if (one, name) in conditional]
        path.update(into[:1], (edge for edge in into if not conditional[edge]))
    return path


# Mermaid


def _mermaid_box(name: str) -> str:
    text = _mermaid_text(_shown(name))
    return f"([{text}])" if name in (START, END) else f"[{text}]"


def _mermaid_arrow(edge: _Edge) -> str:
    if not edge.label:
        return "-.->" if edge.conditional else "-->"
    text = _mermaid_text(edge.label)
    return f"-. {text} .->" if edge.conditional else f"-- {text} -->"


def _mermaid_text(text: str) -> str:
    """Quote a text; what might end the quotes, or mean something to mermaid, markdown or HTML, becomes an entity."""
    return '"' + re.sub(r"^[\W_]|[^\w ,:/+-]", lambda found: f"#{ord(found[0])};", _clean(text)) + '"'


# Layout

_NODE_HEIGHT = 36.0
_LABEL_HEIGHT = 18.0
_RANK_GAP = 22.0  # between a rank of nodes and the rank of labels below it
_SLOT_GAP = 16.0  # between two neighbours in a rank
_LOOP = 26.0  # how far an edge from a node to itself reaches out
_SWEEPS = 24
_MOST_STRAIGHTENED = 6000  # slots; beyond, it takes longer than 2 s, and nobody can follow an edge any more
_LEANING = 0.001  # how little it costs to stand away from the left: enough to decide what else is open


@dataclass(eq=False)
class _Slot:
    """A place in a rank: a node, or a point through which an edge passes, with that edge's label if it stands here."""

    rank: int
    left: float
    right: float
    above: list[_Slot] = field(default_factory=list)
    below: list[_Slot] = field(default_factory=list)
    is_node: bool = False
    x: float = 0.0


@dataclass
class _Layout:
    nodes: dict[str, _Slot]
    ranks: list[list[_Slot]]
    routes: list[tuple[_Edge, list[_Slot]]]
    """Edges that go down, each with the slots from its source to its target."""
    back: list[_Edge]
    loops: list[_Edge]
    ports: dict[tuple[_Edge, str], float] = field(default_factory=dict)


def _arrange(names: Sequence[str], edges: Sequence[_Edge]) -> _Layout:
    loops = [edge for edge in edges if edge.source == edge.target]
    others = [edge for edge in edges if edge.source != edge.target]
    order, back = _depth_first(names, others)
    down = [edge for edge in others if edge not in back]
    layers = _layers(order, down)
    layout = _Layout(_node_slots(order, layers, loops), [], [], [edge for edge in others if edge in back], loops)
    layout.ranks = [[] for _ in range(2 * max(layers.values()) + 1)]
    for slot in layout.nodes.values():
        layout.ranks[slot.rank].append(slot)
    for edge in down:
        layout.routes.append((edge, _route(layout, edge)))
    _order(layout.ranks)
    layout.ports = _ports(layout)
    _place(layout)
    return layout


def _depth_first(names: Sequence[str], edges: Iterable[_Edge]) -> tuple[list[str], set[_Edge]]:
    """Walk the graph from its start.

    Returns:
        The nodes in an order in which every edge leads forward, but for those returned beside it: they close a cycle.
    """
    leaving: dict[str, list[_Edge]] = defaultdict(list)
    for edge in edges:
        leaving[edge.source].append(edge)
    finished: dict[str, None] = {}
    back: set[_Edge] = set()
    for root in names:
        walk = {} if root in finished else {root: iter(leaving[root])}  # the way from the root to where we stand
        while walk:
            here = next(reversed(walk))
            if (step := next(walk[here], None)) is None:
                finished[here] = None
                del walk[here]
            elif step.target in walk:
                back.add(step)
            elif step.target not in finished:
                walk[step.target] = iter(leaving[step.target])
    return list(reversed(finished)), back


def _layers(order: Sequence[str], down: Iterable[_Edge]) -> dict[str, int]:
    """Give each node the length of the longest way to it, and the end the last place."""
    leaving: dict[str, list[str]] = defaultdict(list)
    for edge in down:
        leaving[edge.source].append(edge.target)
    layers = dict.fromkeys(order, 0)
    for name in order:
        for target in leaving[name]:
            layers[target] = max(layers[target], layers[name] + 1)
    if END in layers:
        layers[END] = max(layers[END], *(layer + 1 for name, layer in layers.items() if name != END))
    return layers


def _node_slots(order: Iterable[str], layers: dict[str, int], loops: Iterable[_Edge]) -> dict[str, _Slot]:
    loop_room = {edge.source: _LOOP + _label_width(edge.label) for edge in loops}
    slots = {}
    for name in order:
        half = _node_width(name) / 2
        slots[name] = _Slot(2 * layers[name], half, half + loop_room.get(name, 0.0), is_node=True)
    return slots


def _route(layout: _Layout, edge: _Edge) -> list[_Slot]:
    """Lead an edge through a slot in each rank between its nodes; its label stands in the first."""
    source, target = layout.nodes[edge.source], layout.nodes[edge.target]
    route = [source]
    for rank in range(source.rank + 1, target.rank):
        half = _label_width(edge.label) / 2 if rank == source.rank + 1 else 0.0
        slot = _Slot(rank, half, half)
        layout.ranks[rank].append(slot)
        route.append(slot)
    route.append(target)
    for upper, lower in pairwise(route):
        upper.below.append(lower)
        lower.above.append(upper)
    return route


def _order(ranks: list[list[_Slot]]) -> None:
    """Order each rank by the mean place of its neighbours, down and up in turn; keep the order that crosses least."""
    best, fewest = [list(rank) for rank in ranks], _crossings(ranks)
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        places = {slot: place for rank in ranks for place, slot in enumerate(rank)}
        for rank in ranks if sweep % 2 == 0 else reversed(ranks):
            rank.sort(key=lambda slot: _mean_place(slot, slot.above if sweep % 2 == 0 else slot.below, places))
            places.update((slot, place) for place, slot in enumerate(rank))
        crossings = _crossings(ranks)
        if crossings < fewest:
            best, fewest = [list(rank) for rank in ranks], crossings
    ranks[:] = best


def _mean_place(slot: _Slot, neighbours: list[_Slot], places: dict[_Slot, int]) -> float:
    if not neighbours:
        return places[slot]
    return sum(places[neighbour] for neighbour in neighbours) / len(neighbours)


def _crossings(ranks: list[list[_Slot]]) -> int:
    """Count the pairs of edges that cross: the inversions among their lower ends, taken in the order of the upper."""
    count = 0
    for upper, lower in pairwise(ranks):
        places = {slot: place for place, slot in enumerate(lower)}
        seen: list[int] = []
        for slot in upper:
            ends = sorted(places[end] for end in slot.below)
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _place(layout: _Layout) -> None:
    """Choose x for every slot so that edges are as straight as the order and the gaps allow, by linear programming.

    The sum of what edges move sideways, weighted, is least; an edge matters more where it only passes by nodes, which
    keeps long edges straight: Gansner and others, A Technique for Drawing Directed Graphs (1993), section 4.
    """
    slots = {slot: index for index, slot in enumerate(slot for rank in layout.ranks for slot in rank)}
    if len(slots) > _MOST_STRAIGHTENED:
        _pack(layout.ranks)
        return
    from scipy.optimize import linprog  # here, because it takes long to import and only an SVG needs it
    from scipy.sparse import coo_array

    bends = [bend for edge, route in layout.routes for bend in _bends(layout, edge, route)]
    rows: list[tuple[int, int, float]] = []
    limits: list[float] = []

    def at_most(limit: float, *terms: tuple[int, float]) -> None:
        rows.extend((len(limits), variable, factor) for variable, factor in terms)
        limits.append(limit)

    for rank in layout.ranks:
        for one, other in pairwise(rank):
            at_most(-(one.right + _SLOT_GAP + other.left), (slots[one], 1.0), (slots[other], -1.0))
    for index, (upper, lower, offset, _) in enumerate(bends, start=len(slots)):  # how far it moves sideways
        at_most(-offset, (slots[upper], 1.0), (slots[lower], -1.0), (index, -1.0))
        at_most(offset, (slots[upper], -1.0), (slots[lower], 1.0), (index, -1.0))
    costs = [_LEANING] * len(slots) + [weight for *_, weight in bends]
    row, column, factor = zip(*rows, strict=True) if rows else ((), (), ())
    matrix = coo_array((factor, (row, column)), shape=(len(limits), len(costs)))
    solution = linprog(costs, A_ub=matrix, b_ub=limits, method="highs")
    for slot, index in slots.items():
        slot.x = float(solution.x[index])


def _pack(ranks: list[list[_Slot]]) -> None:
    """Put the slots of each rank side by side, from the left."""
    for rank in ranks:
        x = 0.0
        for slot in rank:
            slot.x = x + slot.left
            x += slot.left + slot.right + _SLOT_GAP


def _bends(layout: _Layout, edge: _Edge, route: list[_Slot]) -> Iterator[tuple[_Slot, _Slot, float, float]]:
    """Cut an edge into pieces: both ends, how far apart their ports are, and how much it weighs that it is straight."""
    for upper, lower in pairwise(route):
        offset = layout.ports[edge, "out"] if upper is route[0] else 0.0
        offset -= layout.ports[edge, "in"] if lower is route[-1] else 0.0
        yield upper, lower, offset, 2.0 if upper.is_node or lower.is_node else 8.0


def _ports(layout: _Layout) -> dict[tuple[_Edge, str], float]:
    """Spread the ends of edges along the sides of their nodes, in the order of where they come from or go to.

    Returns:
        By edge and `out` or `in`, how far from the middle of its node the edge touches it.
    """
    places = {slot: place for rank in layout.ranks for place, slot in enumerate(rank)}
    wanted: dict[tuple[str, str], list[tuple[int, _Edge]]] = defaultdict(list)
    for edge, route in layout.routes:
        wanted[edge.source, "out"].append((places[route[1]], edge))
        wanted[edge.target, "in"].append((places[route[-2]], edge))
    for edge in layout.back:  # these go to the right, and come from there
        wanted[edge.source, "out"].append((len(places), edge))
        wanted[edge.target, "in"].append((len(places), edge))
    ports: dict[tuple[_Edge, str], float] = {}
    for (name, side), ends in wanted.items():
        ends.sort(key=lambda end: end[0])
        step = min(16.0, (2 * layout.nodes[name].left - 20) / len(ends))
        ports.update(((edge, side), (at - (len(ends) - 1) / 2) * step) for at, (_, edge) in enumerate(ends))
    return ports


# Drawing

_NODE_CHARACTER = 7.85  # width in pixels; monospaced fonts are 0.6 em wide: 13 px for nodes, 11 px for labels
_LABEL_CHARACTER = 6.65
_LONGEST = 32  # characters; a longer text is cut, and whole in its title
_MARGIN = 20.0
_ARROW = 7.0
_RADIUS = 8.0

_STYLE = """
.stanchion-graph .paper { fill: #ffffff }
.stanchion-graph text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  text-anchor: middle; fill: #1f2328 }
.stanchion-graph .label text { font-size: 11px; fill: #57606a }
.stanchion-graph .box { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1.2 }
.stanchion-graph .line { fill: none; stroke: #8c959f; stroke-width: 1.2 }
.stanchion-graph .tip { fill: #8c959f }
.stanchion-graph .conditional .line { stroke-dasharray: 5 4 }
.stanchion-graph .taken .line, .stanchion-graph .taken .box { stroke: #0969da; stroke-width: 3 }
.stanchion-graph .taken .tip { fill: #0969da }
.stanchion-graph .ring { fill: none; stroke: #bf8700; stroke-width: 2 }
.stanchion-graph .current .box { fill: #fff8c5 }
@media (prefers-color-scheme: dark) {
.stanchion-graph .paper { fill: #0d1117 }
.stanchion-graph text { fill: #e6edf3 }
.stanchion-graph .label text { fill: #9da7b3 }
.stanchion-graph .box { fill: #161b22; stroke: #7d8590 }
.stanchion-graph .line { stroke: #7d8590 }
.stanchion-graph .tip { fill: #7d8590 }
.stanchion-graph .taken .line, .stanchion-graph .taken .box { stroke: #58a6ff }
.stanchion-graph .taken .tip { fill: #58a6ff }
.stanchion-graph .ring { stroke: #d29922 }
.stanchion-graph .current .box { fill: #3b2e00 }
}
"""


class _Drawing:
    """Writes a layout as SVG; y is known by rank, x by slot."""

    def __init__(self, layout: _Layout, path: set[tuple[str, str]], taken: frozenset[str], current: str | None) -> None:
        self._layout = layout
        self._path = path
        self._taken = taken.union(*path)
        self._current = current
        self._tops, self._bottoms = _heights(layout)
        self._ports = {
            (edge, side): layout.nodes[edge.source if side == "out" else edge.target].x + offset
            for (edge, side), offset in layout.ports.items()
        }
        self._lanes = _lanes(layout)

    def text(self) -> str:
        slots = [slot for rank in self._layout.ranks for slot in rank]
        left = min(slot.x - slot.left for slot in slots) - _MARGIN
        right = max([slot.x + slot.right for slot in slots] + [x + _lane_room(edge) for edge, x in self._lanes.items()])
        room = _MARGIN + (_RANK_GAP if self._layout.back else 0.0)  # edges that go up pass above and below too
        top, width, height = -room, right - left + _MARGIN, self._bottoms[-1] + 2 * room
        edges = sorted(self._edges(), key=lambda edge: edge[0])  # those taken last, so that they lie on top
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="stanchion-graph" role="img" width="{_n(width)}" '
            f'height="{_n(height)}" viewBox="{_n(left)} {_n(top)} {_n(width)} {_n(height)}">',
            f"<style>{_STYLE}</style>",
            _rect("paper", left, top, width, height, 8),
            *(self._node(name, slot) for name, slot in self._layout.nodes.items()),
            *(text for _, text in edges),
            *self._labels(),
            "</svg>",
        ]
        return "\n".join(part for part in parts if part) + "\n"

    def _edges(self) -> Iterator[tuple[bool, str]]:
        for edge, route in self._layout.routes:
            yield self._edge(edge, self._down(edge, route))
        for edge in self._layout.back:
            yield self._edge(edge, self._up(edge))
        for edge in self._layout.loops:
            yield self._edge(edge, self._around(edge))

    def _edge(self, edge: _Edge, line_and_tip: tuple[str, str]) -> tuple[bool, str]:
        is_taken = (edge.source, edge.target) in self._path
        line, tip = line_and_tip
        classes = "edge" + " conditional" * edge.conditional + " taken" * is_taken
        said = f"{_shown(edge.source)} to {_shown(edge.target)}" + (f": {edge.label}" if edge.label else "")
        ends = f'data-source="{_xml(edge.source)}" data-target="{_xml(edge.target)}"'
        return is_taken, (
            f'<g class="{classes}" {ends}><title>{_xml(said)}{" (taken)" * is_taken}</title>'
            f'<path class="line" d="{line}"/><path class="tip" d="{tip}"/></g>'
        )

    def _down(self, edge: _Edge, route: list[_Slot]) -> tuple[str, str]:
        """Straight through the band of each rank, curved only in the gaps between them, where nothing stands."""
        x, y = self._ports[edge, "out"], self._bottoms[route[0].rank]
        line = f"M{_n(x)} {_n(y)}"
        for slot in route[1:-1]:
            line += _curve(x, y, slot.x, self._tops[slot.rank]) + f"V{_n(self._bottoms[slot.rank])}"
            x, y = slot.x, self._bottoms[slot.rank]
        end, top = self._ports[edge, "in"], self._tops[route[-1].rank]
        return line + _curve(x, y, end, top - _ARROW), _arrow_down(end, top)

    def _up(self, edge: _Edge) -> tuple[str, str]:
        """Out below the source, up along the side of the picture, and in above the target."""
        nodes, lane, r = self._layout.nodes, self._lanes[edge], _RADIUS
        x, bottom = self._ports[edge, "out"], self._bottoms[nodes[edge.source].rank]
        end, top = self._ports[edge, "in"], self._tops[nodes[edge.target].rank]
        low, high = bottom + r + 3, top - _ARROW - r - 3
        line = f"M{_n(x)} {_n(bottom)}V{_n(low - r)}" + _corner(x, low, x + r, low) + f"H{_n(lane - r)}"
        line += _corner(lane, low, lane, low - r) + f"V{_n(high + r)}" + _corner(lane, high, lane - r, high)
        line += f"H{_n(end + r)}" + _corner(end, high, end, high + r) + f"V{_n(top - _ARROW)}"
        return line, _arrow_down(end, top)

    def _around(self, edge: _Edge) -> tuple[str, str]:
        """A small ear at the right of the node."""
        slot = self._layout.nodes[edge.source]
        x, y = slot.x + slot.left, self._middle(slot)
        out, tip = x + _LOOP, x + _ARROW
        line = f"M{_n(x)} {_n(y - 8)}C{_n(out)} {_n(y - 16)} {_n(out)} {_n(y + 16)} {_n(tip)} {_n(y + 8)}"
        return line, f"M{_n(tip)} {_n(y + 4)}L{_n(x)} {_n(y + 8)}L{_n(tip)} {_n(y + 12)}z"

    def _labels(self) -> Iterator[str]:
        for edge, route in self._layout.routes:
            yield _label(edge.label, route[1].x, self._middle(route[1]))
        for edge, lane in self._lanes.items():
            nodes = self._layout.nodes
            yield _label(edge.label, lane, (self._middle(nodes[edge.source]) + self._middle(nodes[edge.target])) / 2)
        for edge in self._layout.loops:
            slot = self._layout.nodes[edge.source]
            yield _label(edge.label, slot.x + slot.right - _label_width(edge.label) / 2, self._middle(slot))

    def _middle(self, slot: _Slot) -> float:
        return (self._tops[slot.rank] + self._bottoms[slot.rank]) / 2

    def _node(self, name: str, slot: _Slot) -> str:
        is_taken, is_current = name in self._taken, name == self._current
        classes = "node" + " taken" * is_taken + " current" * is_current
        x, y, width = slot.x - slot.left, self._tops[slot.rank], 2 * slot.left
        round_as = _NODE_HEIGHT / 2 if name in (START, END) else 6
        ring = _rect("ring", x - 5, y - 5, width + 10, _NODE_HEIGHT + 10, round_as + 5) if is_current else ""
        said = _shown(name) + " (taken)" * is_taken + " (the run stands here)" * is_current
        return (
            f'<g class="{classes}" data-node="{_xml(name)}"><title>{_xml(said)}</title>{ring}'
            f"{_rect('box', x, y, width, _NODE_HEIGHT, round_as)}{_text(_shown(name), slot.x, self._middle(slot))}</g>"
        )


def _heights(layout: _Layout) -> tuple[list[float], list[float]]:
    """Stack the ranks: the tops and the bottoms of their bands. A rank without a label takes no room."""
    labelled = {route[1].rank for edge, route in layout.routes if edge.label}
    tops, bottoms, y = [], [], 0.0
    for rank in range(len(layout.ranks)):
        height = _NODE_HEIGHT if rank % 2 == 0 else _LABEL_HEIGHT if rank in labelled else 0.0
        tops.append(y)
        bottoms.append(y + height)
        y += height + _RANK_GAP
    return tops, bottoms


def _lanes(layout: _Layout) -> dict[_Edge, float]:
    """Give each edge that goes up a lane of its own at the right, the shortest innermost."""
    x = max(slot.x + slot.right for rank in layout.ranks for slot in rank)
    lanes = {}
    for edge in sorted(layout.back, key=lambda edge: layout.nodes[edge.source].rank - layout.nodes[edge.target].rank):
        x += _SLOT_GAP + _lane_room(edge)
        lanes[edge] = x
        x += _lane_room(edge)
    return lanes


def _lane_room(edge: _Edge) -> float:
    return _label_width(edge.label) / 2


def _node_width(name: str) -> float:
    return _cells(_short(_shown(name))) * _NODE_CHARACTER + 32


def _label_width(label: str) -> float:
    return _cells(_short(label)) * _LABEL_CHARACTER + 10 if label else 0.0


def _cells(text: str) -> int:
    """How many columns of a monospaced font a text takes (https://www.unicode.org/reports/tr11/)."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _shown(name: str) -> str:
    return {START: "start", END: "end"}.get(name, name)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _clean(text: str) -> str:
    """Replace what neither XML nor a terminal can carry: control characters, lone surrogates, non-characters."""
    return re.sub(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _xml(text: str) -> str:
    return escape(_clean(text))


def _text(text: str, x: float, y: float) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" dy="0.35em">{_xml(_short(text))}</text>'


def _label(label: str, x: float, y: float) -> str:
    if not label:
        return ""
    width = _label_width(label)
    paper = _rect("paper", x - width / 2, y - _LABEL_HEIGHT / 2, width, _LABEL_HEIGHT, 4)
    return f'<g class="label">{paper}{_text(label, x, y)}</g>'


def _rect(name: str, x: float, y: float, width: float, height: float, radius: float) -> str:
    return f'<rect class="{name}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(radius)}"/>'


def _curve(x: float, y: float, end_x: float, end_y: float) -> str:
    middle = (y + end_y) / 2
    return f"C{_n(x)} {_n(middle)} {_n(end_x)} {_n(middle)} {_n(end_x)} {_n(end_y)}"


def _corner(x: float, y: float, end_x: float, end_y: float) -> str:
    """Bend around the corner at x, y."""
    return f"Q{_n(x)} {_n(y)} {_n(end_x)} {_n(end_y)}"


def _arrow_down(x: float, y: float) -> str:
    return f"M{_n(x - 4)} {_n(y - _ARROW)}L{_n(x)} {_n(y)}L{_n(x + 4)} {_n(y - _ARROW)}z"


def _n(number: float) -> str:
    return f"{round(number, 1) + 0.0:g}"
