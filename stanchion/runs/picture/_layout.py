"""Where everything stands, by Sugiyama's method (https://en.wikipedia.org/wiki/Layered_graph_drawing).

Turn back edges aside, put every node on the rank of its longest path from the start, order each rank by barycentres,
then move slots sideways until edges are straight. Labels have ranks of their own between those of the nodes, so that
nothing can overlap by construction.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from langgraph.graph import END

from stanchion.runs.picture._edges import Edge
from stanchion.runs.picture._texts import short, shown

NODE_HEIGHT = 36.0  # all lengths in pixels
LABEL_HEIGHT = 18.0
RANK_GAP = 22.0  # between a rank of nodes and the rank of labels below it
LOOP = 26.0  # how far an edge from a node to itself reaches out
_SLOT_GAP = 16.0  # between two neighbours in a rank
_SWEEPS = 24
_MOST_STRAIGHTENED = 6000  # slots; beyond, it takes longer than 2 s, and nobody can follow an edge any more
_LEANING = 0.001  # how little it costs to stand away from the left: enough to decide what else is open
_NODE_CHARACTER = 7.85  # how wide one is; monospaced fonts are 0.6 em wide: 13 px for nodes, 11 px for labels
_LABEL_CHARACTER = 6.65


@dataclass(eq=False)
class Slot:
    """A place in a rank: a node, or a point through which an edge passes, with that edge's label if it stands here."""

    rank: int
    left: float
    right: float
    above: list[Slot] = field(default_factory=list)
    below: list[Slot] = field(default_factory=list)
    is_node: bool = False
    x: float = 0.0


@dataclass
class Layout:
    """Every node and edge with its place: y follows from the rank (`heights`), x stands in the slot."""

    nodes: dict[str, Slot]
    ranks: list[list[Slot]]
    routes: list[tuple[Edge, list[Slot]]]
    """Edges that go down, each with the slots from its source to its target."""
    back: list[Edge]
    loops: list[Edge]
    ports: dict[tuple[Edge, str], float] = field(default_factory=dict)
    """By edge and `out` or `in`, how far from the middle of its node the edge touches it."""


def arrange(names: Sequence[str], edges: Sequence[Edge]) -> Layout:
    """Find a place for each node and edge.

    Args:
        names: all nodes, the start first.
        edges: one for each pair of nodes.
    """
    loops = [edge for edge in edges if edge.source == edge.target]
    others = [edge for edge in edges if edge.source != edge.target]
    order, back = _depth_first(names, others)
    down = [edge for edge in others if edge not in back]
    layers = _layers(order, down)
    layout = Layout(_node_slots(order, layers, loops), [], [], [edge for edge in others if edge in back], loops)
    layout.ranks = [[] for _ in range(2 * max(layers.values()) + 1)]
    for slot in layout.nodes.values():
        layout.ranks[slot.rank].append(slot)
    for edge in down:
        layout.routes.append((edge, _route(layout, edge)))
    _order(layout.ranks)
    layout.ports = _ports(layout)
    _place(layout)
    return layout


def _depth_first(names: Sequence[str], edges: Iterable[Edge]) -> tuple[list[str], set[Edge]]:
    """Walk the graph from its start.

    Returns:
        The nodes in an order in which every edge leads forward, but for those returned beside it: they close a cycle.
    """
    leaving: dict[str, list[Edge]] = defaultdict(list)
    for edge in edges:
        leaving[edge.source].append(edge)
    finished: dict[str, None] = {}
    back: set[Edge] = set()
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


def _layers(order: Sequence[str], down: Iterable[Edge]) -> dict[str, int]:
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


def _node_slots(order: Iterable[str], layers: dict[str, int], loops: Iterable[Edge]) -> dict[str, Slot]:
    loop_room = {edge.source: LOOP + label_width(edge.label) for edge in loops}
    slots = {}
    for name in order:
        half = _node_width(name) / 2
        slots[name] = Slot(2 * layers[name], half, half + loop_room.get(name, 0.0), is_node=True)
    return slots


def _route(layout: Layout, edge: Edge) -> list[Slot]:
    """Lead an edge through a slot in each rank between its nodes; its label stands in the first."""
    source, target = layout.nodes[edge.source], layout.nodes[edge.target]
    route = [source]
    for rank in range(source.rank + 1, target.rank):
        half = label_width(edge.label) / 2 if rank == source.rank + 1 else 0.0
        slot = Slot(rank, half, half)
        layout.ranks[rank].append(slot)
        route.append(slot)
    route.append(target)
    for upper, lower in pairwise(route):
        upper.below.append(lower)
        lower.above.append(upper)
    return route


def _order(ranks: list[list[Slot]]) -> None:
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


def _mean_place(slot: Slot, neighbours: list[Slot], places: dict[Slot, int]) -> float:
    if not neighbours:
        return places[slot]
    return sum(places[neighbour] for neighbour in neighbours) / len(neighbours)


def _crossings(ranks: list[list[Slot]]) -> int:
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


def _place(layout: Layout) -> None:
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


def _pack(ranks: list[list[Slot]]) -> None:
    """Put the slots of each rank side by side, from the left."""
    for rank in ranks:
        x = 0.0
        for slot in rank:
            slot.x = x + slot.left
            x += slot.left + slot.right + _SLOT_GAP


def _bends(layout: Layout, edge: Edge, route: list[Slot]) -> Iterator[tuple[Slot, Slot, float, float]]:
    """Cut an edge into pieces: both ends, how far apart their ports are, and how much it weighs that it is straight."""
    for upper, lower in pairwise(route):
        offset = layout.ports[edge, "out"] if upper is route[0] else 0.0
        offset -= layout.ports[edge, "in"] if lower is route[-1] else 0.0
        yield upper, lower, offset, 2.0 if upper.is_node or lower.is_node else 8.0


def _ports(layout: Layout) -> dict[tuple[Edge, str], float]:
    """Spread the ends of edges along the sides of their nodes, in the order of where they come from or go to.

    Returns:
        By edge and `out` or `in`, how far from the middle of its node the edge touches it.
    """
    places = {slot: place for rank in layout.ranks for place, slot in enumerate(rank)}
    wanted: dict[tuple[str, str], list[tuple[int, Edge]]] = defaultdict(list)
    for edge, route in layout.routes:
        wanted[edge.source, "out"].append((places[route[1]], edge))
        wanted[edge.target, "in"].append((places[route[-2]], edge))
    for edge in layout.back:  # these go to the right, and come from there
        wanted[edge.source, "out"].append((len(places), edge))
        wanted[edge.target, "in"].append((len(places), edge))
    ports: dict[tuple[Edge, str], float] = {}
    for (name, side), ends in wanted.items():
        ends.sort(key=lambda end: end[0])
        step = min(16.0, (2 * layout.nodes[name].left - 20) / len(ends))
        ports.update(((edge, side), (at - (len(ends) - 1) / 2) * step) for at, (_, edge) in enumerate(ends))
    return ports


def heights(layout: Layout) -> tuple[list[float], list[float]]:
    """Stack the ranks: the tops and the bottoms of their bands. A rank without a label takes no room."""
    labelled = {route[1].rank for edge, route in layout.routes if edge.label}
    tops, bottoms, y = [], [], 0.0
    for rank in range(len(layout.ranks)):
        height = NODE_HEIGHT if rank % 2 == 0 else LABEL_HEIGHT if rank in labelled else 0.0
        tops.append(y)
        bottoms.append(y + height)
        y += height + RANK_GAP
    return tops, bottoms


def lanes(layout: Layout) -> dict[Edge, float]:
    """Give each edge that goes up a lane of its own at the right, the shortest innermost."""
    x = max(slot.x + slot.right for rank in layout.ranks for slot in rank)
    lanes = {}
    for edge in sorted(layout.back, key=lambda edge: layout.nodes[edge.source].rank - layout.nodes[edge.target].rank):
        x += _SLOT_GAP + lane_room(edge)
        lanes[edge] = x
        x += lane_room(edge)
    return lanes


def lane_room(edge: Edge) -> float:
    """How much room the label of an edge that goes up takes on each side of its lane, in pixels."""
    return label_width(edge.label) / 2


def _node_width(name: str) -> float:
    return _cells(short(shown(name))) * _NODE_CHARACTER + 32


def label_width(label: str) -> float:
    """How wide a label's paper is, in pixels; nothing for no label."""
    return _cells(short(label)) * _LABEL_CHARACTER + 10 if label else 0.0


def _cells(text: str) -> int:
    """How many columns of a monospaced font a text takes (https://www.unicode.org/reports/tr11/)."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
