"""A page's rows out of the loose lines that OCR gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

COLUMN_GAP = "  "
"""What stands between two pieces of one row."""

MOST_LINES = 1_000
"""Lines that are laid out; a page with more is given as it came."""

LARGEST_EDGE = 1e6
"""Units that a page is wide or high at most."""

SAME_ROW = 0.5
"""Share of the smaller piece's height that two neighbours of one row have in common."""

SLANTS = sorted((step / 200 for step in range(-20, 21)), key=abs)
"""Slants that are tried, in units downwards per unit to the right; 0.1 is about 6 degrees."""

NEAR = 0.3
"""Share of the usual height within which two pieces' middles count as level."""


class _Piece(NamedTuple):
    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def centre(self) -> float:
        return (self.left + self.right) / 2

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


def lay_out(lines: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    """Put the lines that OCR found into rows as they stand on the page, also on a page that was scanned at a slant.

    Args:
        lines: the texts that were found, in any order.
        boxes: per line its x1, y1, x2, y2, in any unit, y growing downwards; other lengths mean that there are none.

    Returns:
        The rows from top to bottom, joined by newlines; in each the pieces from left to right, `COLUMN_GAP` between
        them. Without a usable box for every line, the lines as they came.
    """
    if len(lines) > MOST_LINES or not _usable(lines, boxes):
        return "\n".join(lines)
    pieces = [
        _Piece(" ".join(line.split()), min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        for line, (x1, y1, x2, y2) in zip(lines, boxes, strict=True)
    ]
    pieces = _straightened([piece for piece in pieces if piece.text])
    return "\n".join(COLUMN_GAP.join(piece.text for piece in row) for row in _rows(pieces))


def _usable(lines: Sequence[str], boxes: Sequence[Sequence[float]]) -> bool:
    return len(boxes) == len(lines) and all(_is_box(box) for box in boxes)


def _is_box(box: object) -> bool:
    """Whether this is four numbers of a page's size; boxes come from strangers' files, and NaN compares as false."""
    return (
        isinstance(box, list | tuple)
        and len(box) == 4
        and all(isinstance(edge, int | float) and abs(edge) <= LARGEST_EDGE for edge in box)
    )


def _straightened(pieces: list[_Piece]) -> list[_Piece]:
    """Turn the page by the slant at which most pieces fall into common rows; the smallest of equally good ones."""
    if not pieces:
        return []
    near = NEAR * median(piece.height for piece in pieces)

    def aligned(slant: float) -> float:
        middles = sorted(piece.middle - slant * piece.centre for piece in pieces)
        return sum(max(0.0, 1 - (below - above) / near) for above, below in pairwise(middles)) if near else 0.0

    slant = max(SLANTS, key=aligned)
    return [
        piece._replace(top=piece.top - slant * piece.centre, bottom=piece.bottom - slant * piece.centre)
        for piece in pieces
    ]


def _rows(pieces: Iterable[_Piece]) -> list[list[_Piece]]:
    """Grow every row from left to right, each piece going on where its neighbour stood."""
    ordered = sorted(pieces, key=lambda piece: (piece.left, piece.top))
    band_height = max(median([piece.height for piece in ordered] or [0]), 1.0)
    bands: dict[int, list[list[_Piece]]] = defaultdict(list)  # rows by where their last piece stands, to look at few
    for piece in ordered:
        band = int(piece.middle // band_height)
        near = [row for b in range(band - 1, band + 2) for row in bands[b] if _goes_on(row[-1], piece)]
        row = max(near, key=lambda row: _common(row[-1], piece), default=[])
        if row:
            bands[int(row[-1].middle // band_height)].remove(row)
        row.append(piece)
        bands[band].append(row)
    rows = [row for band_rows in bands.values() for row in band_rows]
    return sorted(rows, key=lambda row: (sum(piece.middle for piece in row) / len(row), row[0].left))


def _goes_on(last: _Piece, piece: _Piece) -> bool:
    """Whether a piece stands to the right of a row's last one, at its height."""
    overlap = last.right - piece.left
    beside = overlap <= 0.5 * min(last.right - last.left, piece.right - piece.left)
    return beside and _common(last, piece) >= SAME_ROW


def _common(one: _Piece, other: _Piece) -> float:
    """The height that two pieces have in common, as a share of the smaller one's."""
    smaller = max(min(one.height, other.height), 1e-9)
    return (min(one.bottom, other.bottom) - max(one.top, other.top)) / smaller
