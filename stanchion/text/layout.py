"""A page's rows out of the loose lines that OCR gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import isfinite
from statistics import median
from typing import NamedTuple

COLUMN_GAP = "  "
"""What stands between two pieces of one row."""

MOST_LINES = 1_000
"""Lines that are laid out; a page with more is given as it came."""

SAME_ROW = 0.5
"""Share of the smaller piece's height that two neighbours of one row have in common."""


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
    def middle(self) -> float:
        return (self.top + self.bottom) / 2


_Row = list[_Piece]


def lay_out(lines: Sequence[str], boxes: Sequence[Sequence[float]]) -> str:
    """Put the lines that OCR found into rows as they stand on the page.

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
    return "\n".join(COLUMN_GAP.join(piece.text for piece in row) for row in _rows(p for p in pieces if p.text))


def _usable(lines: Sequence[str], boxes: Sequence[Sequence[float]]) -> bool:
    return len(boxes) == len(lines) and all(len(box) == 4 and all(isfinite(edge) for edge in box) for box in boxes)


def _rows(pieces: Iterable[_Piece]) -> list[_Row]:
    """Grow every row from left to right, each piece going on where its neighbour stood, so that a slant is followed."""
    ordered = sorted(pieces, key=lambda piece: (piece.left, piece.top))
    if not ordered:
        return []
    band_height = max(median(piece.height for piece in ordered), 1.0)
    bands: dict[int, list[_Row]] = defaultdict(list)  # rows by where their last piece stands, to look at few of them
    for piece in ordered:
        band = int(piece.middle // band_height)
        near = [row for b in range(band - 1, band + 2) for row in bands[b] if _goes_on(row, piece)]
        if near:
            row = max(near, key=lambda row: (_common(row[-1], piece), row[-1].right))
            bands[int(row[-1].middle // band_height)].remove(row)
        else:
            row = []
        row.append(piece)
        bands[band].append(row)
    rows = [row for band_rows in bands.values() for row in band_rows]
    return sorted(rows, key=lambda row: (sum(piece.middle for piece in row) / len(row), row[0].left))


def _goes_on(row: _Row, piece: _Piece) -> bool:
    """Whether the piece stands to the right of the row's last one, at its height."""
    last = row[-1]
    overlap = max(0.0, last.right - piece.left)
    beside = overlap <= 0.5 * min(last.right - last.left, piece.right - piece.left)
    return beside and _common(last, piece) >= SAME_ROW


def _common(one: _Piece, other: _Piece) -> float:
    """The height that two pieces have in common, as a share of the smaller one's."""
    smaller = max(min(one.height, other.height), 1e-9)
    return (min(one.bottom, other.bottom) - max(one.top, other.top)) / smaller
