"""Text of documents and models on a page: shown as text, never obeyed as HTML, Markdown or a formula.

Streamlit renders Markdown (and fetches its images) in labels, captions, errors, metrics, expanders, tabs, toasts and
tooltips: what comes from outside goes there through `plain`. It renders none in `st.text`, `st.code`, `st.json` and
the cells of `st.dataframe`: there `line` and `block` are enough.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST_LINE = 200
LONGEST_BLOCK = 200_000

_NOTHING = "–"
_BREAK = "\u2060"  # a word joiner: no width, no meaning
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# emoji names, links and addresses are looked for after Markdown's escapes were taken out: an escape does not stop them
_FOUND_LATER = re.compile(r"(?<=[:@])(?=\S)|(?<=[wW]{3})(?=\.)")
# a spreadsheet that takes another separator begins a new cell at it, and a person who pastes at a line break or tab
_FORMULA = re.compile(r"(^|[;,\t\n])(?=[ \"']*[=+\-@\uff1d\uff0b\uff0d\uff20]|\t|\n)")
MOST_NAMES = 5


def line(value: Any, *, longest: int = LONGEST_LINE) -> str:
    """Return a value as one printable line, for places that show text as it is.

    Args:
        value: anything; None and nothing are shown as a dash.
        longest: in characters.
    """
    text = _NOTHING if value is None or value == "" else str(value)
    printable = "".join(character if character.isprintable() else " " for character in text[: longest + 1])
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"


def plain(value: Any, *, longest: int = LONGEST_LINE) -> str:
    """Return a value as one line that Streamlit's Markdown shows as it is, wherever it renders Markdown.

    Args:
        value: anything; None and nothing are shown as a dash.
        longest: in characters, before escapes.
    """
    return _PUNCTUATION.sub(r"\\\1", _FOUND_LATER.sub(_BREAK, line(value, longest=longest)))


def names_in(value: Any) -> list[str]:
    """Return the words of a text that `plain` alters invisibly, such as addresses: who copies them needs them whole.

    Args:
        value: anything.
    """
    words = (word.strip("'\"().,;:") for word in line(value, longest=2_000).split())
    return list(dict.fromkeys(word for word in words if _FOUND_LATER.search(word)))[:MOST_NAMES]


def block(value: Any, *, longest: int = LONGEST_BLOCK) -> str:
    """Return a text of several lines, for places that show text as it is.

    Args:
        value: anything; None and nothing are shown as a dash.
        longest: in characters; what is cut off is said.
    """
    text = _NOTHING if value is None or value == "" else str(value)
    shown = "".join(
        character if character.isprintable() or character in "\n\t" else " " for character in text[:longest]
    )
    return shown if len(text) <= longest else f"{shown}\n… ({len(text) - longest:,} more characters)"


def csv_text(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV that no spreadsheet takes for formulas: what begins like one gets an apostrophe.

    So does what would begin like one where a cell is taken apart at a semicolon, comma, tab or line break.

    Args:
        headings: of the columns.
        rows: their cells; None becomes an empty one.

    Source: https://owasp.org/www-community/attacks/CSV_Injection.
    """
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(map(_cell, headings))
    writer.writerows([_cell(value) for value in row] for row in rows)
    return written.getvalue()


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, int | float):
        return value
    text = "".join(character if character.isprintable() or character in "\n\t" else " " for character in str(value))
    return _FORMULA.sub(r"\1'", text)
