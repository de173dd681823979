"""Loose OCR lines come out in rows as on the page, also from a page that was scanned at a slant."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.text.layout import MOST_LINES, lay_out

ROWS = [
    ["SUNRISE MINI MART"],
    ["TEH O", "2", "3.00"],
    ["ROTI KAYA", "1", "2.50"],
    ["TOTAL", "RM", "5.50"],
    ["CASH", "6.00"],
]
LEFT = [10, 250, 400]


def page(slant: float = 0.0) -> tuple[list[str], list[list[float]]]:
    """The rows above as OCR gives them, column by column, on a page that falls by `slant` per unit to the right."""
    pieces = []
    for number, row in enumerate(ROWS):
        for column, text in enumerate(row):
            left, right = LEFT[column], LEFT[column] + 10 * len(text)
            top = 40 * number + slant * (left + right) / 2
            pieces.append((column, text, [left, top, right, top + 30]))
    pieces.sort(key=lambda piece: piece[0])
    return [text for _, text, _ in pieces], [box for _, _, box in pieces]


@pytest.mark.parametrize("slant", [0.0, 0.05, -0.05, 0.09, -0.09])
def test_pieces_of_one_row_stand_on_one_line(slant: float) -> None:
    """Columns that OCR gave one after the other are put back beside each other, whichever way the page leans."""
    assert lay_out(*page(slant)) == "\n".join("  ".join(row) for row in ROWS)


def test_boxes_that_overlap_a_little_still_make_rows() -> None:
    """A box that reaches into the row below, or over its neighbour's edge, does not disturb the rows."""
    boxes = [[0, 0, 105, 36], [100, 2, 160, 30], [0, 32, 105, 66], [100, 34, 160, 60]]
    assert lay_out(["MILK", "2.00", "EGGS", "9.00"], boxes) == "MILK  2.00\nEGGS  9.00"


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [[0, 0, 1, 1]],
        [[0, 0, 1]] * 2,
        [[0, 0, 1, math.nan]] * 2,
        [[0, 0, 1, math.inf]] * 2,
        [None] * 2,
        [["a"] * 4] * 2,
        [[10**400] * 4] * 2,
    ],
)
def test_without_a_usable_box_for_every_line_the_lines_stay(boxes: Any) -> None:
    """Missing, short, infinite or nonsensical boxes leave the lines as they came."""
    assert lay_out(["A", "B"], boxes) == "A\nB"


def test_a_page_with_too_many_lines_stays_as_it_came() -> None:
    """Beyond a limit nothing is laid out, so that no page takes long."""
    count = MOST_LINES + 1
    assert lay_out(["A"] * count, [[0, 0, 1, 1]] * count) == "\n".join(["A"] * count)


def test_the_worst_page_is_laid_out_in_time() -> None:
    """As many boxes as are allowed, all in one place, are laid out within the suite's time limit."""
    assert lay_out(["A"] * MOST_LINES, [[0, 0, 10, 10]] * MOST_LINES).count("A") == MOST_LINES


edges = st.integers(-1000, 3000) | st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(st.text(max_size=12), st.lists(edges, min_size=4, max_size=4)), max_size=30))
@settings(max_examples=100)
def test_no_word_is_lost_or_invented(lines: list[tuple[str, list[float]]]) -> None:
    """Whatever the boxes, the laid-out page holds the same words, each as often."""
    laid_out = lay_out([text for text, _ in lines], [box for _, box in lines])
    assert sorted(laid_out.split()) == sorted(word for text, _ in lines for word in text.split())
