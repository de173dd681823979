"""HTML of our own around text of others: everything that comes from a document or a model is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from stanchion.ui.safe import block

STYLE = """<style>
.sn { font-size: .85rem; line-height: 1.45; overflow-wrap: anywhere; overflow-x: auto }
.sn table { border-collapse: collapse; width: 100%; margin: 0 }
.sn th { text-align: left; font-weight: 600; opacity: .75; padding: .2rem .5rem; border-bottom: 1px solid var(--grey) }
.sn td { vertical-align: top; padding: .25rem .5rem; border: 0; border-bottom: 1px solid var(--grey);
  white-space: pre-wrap; unicode-bidi: isolate }
.sn td.num, .sn th.num { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.sn td.word { white-space: nowrap }
.sn td:first-child:not(.num) { min-width: 6rem }
.sn .mono, .sn code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  font-size: .8rem; background: none; color: inherit }
.sn code { padding: 0 }
.sn th { font-family: inherit !important }
.sn .where { width: 32% }
.sn details { border: 1px solid var(--grey); border-radius: .4rem; margin-bottom: .4rem }
.sn summary { cursor: pointer; padding: .3rem .6rem; background: var(--tint) }
.sn ins { background: rgba(46, 160, 67, .25); text-decoration: none; border-bottom: 2px solid rgb(46, 160, 67) }
.sn del { background: rgba(229, 83, 75, .22); text-decoration: line-through }
.sn mark { background: rgba(210, 153, 34, .30); color: inherit; border-bottom: 2px solid rgb(191, 135, 0);
  padding: 0 1px; border-radius: 2px }
.sn mark.doubted { background: rgba(229, 83, 75, .22); border-bottom: 2px dashed rgb(207, 70, 62) }
.sn mark sup { font-size: .65rem; opacity: .85; padding-left: 2px; user-select: none }
.sn .paper { white-space: pre-wrap; border: 1px solid var(--grey); border-radius: .4rem; padding: .7rem .9rem;
  max-height: 26rem; overflow: auto }
.sn .faint { opacity: .7 }
.sn tr.fail td:first-child, .sn tr.differs td:first-child { box-shadow: inset 3px 0 rgb(207, 70, 62); font-weight: 600 }
.sn tr.warn td:first-child { box-shadow: inset 3px 0 rgb(191, 135, 0) }
</style>"""
"""To be shown once on a page, before anything else of this module."""


class Markup(str):
    """HTML that is safe already: made here, or escaped."""

    __slots__ = ()


def text(value: Any, *, longest: int = 20_000) -> Markup:
    """Return a text as HTML that shows it as it is.

    Args:
        value: anything; None and nothing are shown as a dash.
        longest: in characters; what is cut off is said.
    """
    return Markup(html.escape(block(value, longest=longest)))


def inside(tag: str, content: Any, **attributes: str) -> Markup:
    """Return an element.

    Args:
        tag: its name.
        content: `Markup`, or anything else, which is escaped; an empty text stays empty.
        attributes: escaped; a name may end in an underscore, such as `class_`.
    """
    written = "".join(f' {name.rstrip("_")}="{text(value)}"' for name, value in attributes.items() if value)
    held = content if isinstance(content, Markup) or content == "" else text(content)
    return Markup(f"<{tag}{written}>{held}</{tag}>")


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], *, classes: Sequence[str] = (), kinds: Sequence[str] = ()
) -> Markup:
    """Return a table.

    Args:
        headings: of its columns.
        rows: their cells, texts or `Markup`.
        classes: of the rows, such as `fail`.
        kinds: of the columns: `num`, `word`, `mono`, `where`.
    """
    kinds = [*kinds, *[""] * len(headings)][: len(headings)]
    head = "".join(inside("th", name, class_=kind) for name, kind in zip(headings, kinds, strict=True))
    body = "".join(
        inside("tr", _cells(row, kinds), class_=classes[number] if number < len(classes) else "")
        for number, row in enumerate(rows)
    )
    return Markup(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def _cells(row: Sequence[Any], kinds: Sequence[str]) -> Markup:
    return Markup("".join(inside("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))


def framed(*content: str) -> Markup:
    """Return what `STYLE` is for.

    Args:
        content: texts or `Markup`.
    """
    whole = "".join(part if isinstance(part, Markup) else text(part) for part in content)
    return Markup(f'<div class="sn">{whole}</div>')
