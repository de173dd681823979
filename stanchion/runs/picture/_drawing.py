"""A workflow as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from langgraph.graph import END, START

from stanchion.runs.picture._edges import Edge, Graph, edges, names, path
from stanchion.runs.picture._layout import (
    LABEL_HEIGHT,
    LOOP,
    NODE_HEIGHT,
    RANK_GAP,
    Layout,
    Slot,
    arrange,
    heights,
    label_width,
    lane_room,
    lanes,
)
from stanchion.runs.picture._texts import clean, short, shown

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


def svg(graph: Graph, taken: Sequence[str] = (), current: str | None = None) -> str:
    """Draw a workflow as a self-contained SVG, readable on light and dark pages.

    Args:
        graph: a compiled graph.
        taken: the nodes that ran, in order, as for `mermaid`.
        current: the node at which the run stands.
    """
    declared = edges(graph)
    layout = arrange(names(graph, declared), declared)
    return _Drawing(layout, path(declared, taken), frozenset(taken), current).text()


class _Drawing:
    """Writes a layout as SVG; y is known by rank, x by slot."""

    def __init__(
        self, layout: Layout, walked: set[tuple[str, str]], taken: frozenset[str], current: str | None
    ) -> None:
        self._layout = layout
        self._walked = walked
        self._taken = taken.union(*walked)
        self._current = current
        self._tops, self._bottoms = heights(layout)
        self._ports = {
            (edge, side): layout.nodes[edge.source if side == "out" else edge.target].x + offset
            for (edge, side), offset in layout.ports.items()
        }
        self._lanes = lanes(layout)

    def text(self) -> str:
        slots = [slot for rank in self._layout.ranks for slot in rank]
        left = min(slot.x - slot.left for slot in slots) - _MARGIN
        right = max([slot.x + slot.right for slot in slots] + [x + lane_room(edge) for edge, x in self._lanes.items()])
        room = _MARGIN + (RANK_GAP if self._layout.back else 0.0)  # edges that go up pass above and below too
        top, width, height = -room, right - left + _MARGIN, self._bottoms[-1] + 2 * room
        lines = sorted(self._edges(), key=lambda edge: edge[0])  # those taken last, so that they lie on top
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="stanchion-graph" role="img" width="{_n(width)}" '
            f'height="{_n(height)}" viewBox="{_n(left)} {_n(top)} {_n(width)} {_n(height)}">',
            f"<style>{_STYLE}</style>",
            _rect("paper", left, top, width, height, 8),
            *(self._node(name, slot) for name, slot in self._layout.nodes.items()),
            *(text for _, text in lines),
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

    def _edge(self, edge: Edge, line_and_tip: tuple[str, str]) -> tuple[bool, str]:
        is_taken = (edge.source, edge.target) in self._walked
        line, tip = line_and_tip
        classes = "edge" + " conditional" * edge.conditional + " taken" * is_taken
        said = f"{shown(edge.source)} to {shown(edge.target)}" + (f": {edge.label}" if edge.label else "")
        ends = f'data-source="{_xml(edge.source)}" data-target="{_xml(edge.target)}"'
        return is_taken, (
            f'<g class="{classes}" {ends}><title>{_xml(said)}{" (taken)" * is_taken}</title>'
            f'<path class="line" d="{line}"/><path class="tip" d="{tip}"/></g>'
        )

    def _down(self, edge: Edge, route: list[Slot]) -> tuple[str, str]:
        """Straight through the band of each rank, curved only in the gaps between them, where nothing stands."""
        x, y = self._ports[edge, "out"], self._bottoms[route[0].rank]
        line = f"M{_n(x)} {_n(y)}"
        for slot in route[1:-1]:
            line += _curve(x, y, slot.x, self._tops[slot.rank]) + f"V{_n(self._bottoms[slot.rank])}"
            x, y = slot.x, self._bottoms[slot.rank]
        end, top = self._ports[edge, "in"], self._tops[route[-1].rank]
        return line + _curve(x, y, end, top - _ARROW), _arrow_down(end, top)

    def _up(self, edge: Edge) -> tuple[str, str]:
        """Out below the source, up along the side of the picture, and in above the target."""
        nodes, lane, r = self._layout.nodes, self._lanes[edge], _RADIUS
        x, bottom = self._ports[edge, "out"], self._bottoms[nodes[edge.source].rank]
        end, top = self._ports[edge, "in"], self._tops[nodes[edge.target].rank]
        low, high = bottom + r + 3, top - _ARROW - r - 3
        line = f"M{_n(x)} {_n(bottom)}V{_n(low - r)}" + _corner(x, low, x + r, low) + f"H{_n(lane - r)}"
        line += _corner(lane, low, lane, low - r) + f"V{_n(high + r)}" + _corner(lane, high, lane - r, high)
        line += f"H{_n(end + r)}" + _corner(end, high, end, high + r) + f"V{_n(top - _ARROW)}"
        return line, _arrow_down(end, top)

    def _around(self, edge: Edge) -> tuple[str, str]:
        """A small ear at the right of the node."""
        slot = self._layout.nodes[edge.source]
        x, y = slot.x + slot.left, self._middle(slot)
        out, tip = x + LOOP, x + _ARROW
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
            yield _label(edge.label, slot.x + slot.right - label_width(edge.label) / 2, self._middle(slot))

    def _middle(self, slot: Slot) -> float:
        return (self._tops[slot.rank] + self._bottoms[slot.rank]) / 2

    def _node(self, name: str, slot: Slot) -> str:
        is_taken, is_current = name in self._taken, name == self._current
        classes = "node" + " taken" * is_taken + " current" * is_current
        x, y, width = slot.x - slot.left, self._tops[slot.rank], 2 * slot.left
        round_as = NODE_HEIGHT / 2 if name in (START, END) else 6
        ring = _rect("ring", x - 5, y - 5, width + 10, NODE_HEIGHT + 10, round_as + 5) if is_current else ""
        said = shown(name) + " (taken)" * is_taken + " (the run stands here)" * is_current
        return (
            f'<g class="{classes}" data-node="{_xml(name)}"><title>{_xml(said)}</title>{ring}'
            f"{_rect('box', x, y, width, NODE_HEIGHT, round_as)}{_text(shown(name), slot.x, self._middle(slot))}</g>"
        )


def _xml(text: str) -> str:
    return escape(clean(text))


def _text(text: str, x: float, y: float) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" dy="0.35em">{_xml(short(text))}</text>'


def _label(label: str, x: float, y: float) -> str:
    if not label:
        return ""
    width = label_width(label)
    paper = _rect("paper", x - width / 2, y - LABEL_HEIGHT / 2, width, LABEL_HEIGHT, 4)
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
