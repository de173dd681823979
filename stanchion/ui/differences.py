"""What a step changed: two JSON values compared path by path, in bounded time whatever they hold."""

from __future__ import annotations

import json
import marshal
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

from stanchion.ui.markup import Markup, framed, inside, table, text

Kind = Literal["added", "removed", "changed"]

MOST_CHANGES = 200
LONGEST_LINE = 120
"""Characters of a value that is shown in one line; a larger one is shown path by path."""
LONGEST_TEXT = 400
"""Characters of one side of a change."""
AROUND = 40
"""Characters of what stayed the same that are shown before and after the place that changed."""
_LONGEST_LIST = 8
"""Items of a list that was added or removed as a whole; a longer one is shown by its beginning."""
_DEEPEST = 30
_LONGEST_KEY = 60


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Args:
        text: the part.
        marked: whether it is what changed.
    """

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Change:
    """One place where two values differ.

    Args:
        path: where, such as `items[0].total_price`; empty for the whole.
        kind: what happened there.
        before: how it was; empty where it was added.
        after: how it is; empty where it was removed.
    """

    path: str
    kind: Kind
    before: tuple[Piece, ...] = ()
    after: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Differences:
    """Where two values differ.

    Args:
        changes: in the order of the values.
        complete: False where there are more than these.
    """

    changes: tuple[Change, ...]
    complete: bool = True


def differences(before: Any, after: Any, *, most: int = MOST_CHANGES) -> Differences:
    """Compare two JSON values; 1, 1.0 and true are three values, the order of keys is none.

    Args:
        before: how it was.
        after: how it is.
        most: changes after which the comparison stops.
    """
    found = tuple(islice(_compared("", before, after, 0), most + 1))
    return Differences(found[:most], complete=len(found) <= most)


def shown(value: Any, longest: int = LONGEST_TEXT) -> str:
    """Return a JSON value as one bounded text; only a text of several lines stands without quotes.

    Args:
        value: any JSON value, of any size.
        longest: in characters.
    """
    if isinstance(value, str) and "\n" in value:
        return _shortened(value, longest)
    line = _json(value, longest + 1)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _compared(path: str, before: Any, after: Any, depth: int) -> Iterator[Change]:
    if _same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict) and depth < _DEEPEST:
        yield from _compared_objects(path, before, after, depth)
    elif isinstance(before, list) and isinstance(after, list) and depth < _DEEPEST:
        yield from _compared_lists(path, before, after, depth)
    else:
        yield Change(path, "changed", *_around_the_change(_text(before), _text(after)))


def _compared_objects(path: str, before: dict[str, Any], after: dict[str, Any], depth: int) -> Iterator[Change]:
    for key, value in before.items():
        if key in after:
            yield from _compared(_at(path, key), value, after[key], depth + 1)
        else:
            yield from _one_sided("removed", _at(path, key), value, depth + 1)
    for key, value in after.items():
        if key not in before:
            yield from _one_sided("added", _at(path, key), value, depth + 1)


def _compared_lists(path: str, before: list[Any], after: list[Any], depth: int) -> Iterator[Change]:
    """Leave out what both begin and end with, so that one item added in front is one difference."""
    shorter = min(len(before), len(after))
    start = next((at for at in range(shorter) if not _same(before[at], after[at])), shorter)
    most = shorter - start
    end = next((at for at in range(most) if not _same(before[-1 - at], after[-1 - at])), most)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    for at, (one, other) in enumerate(zip(old, new, strict=False), start):
        yield from _compared(f"{path}[{at}]", one, other, depth + 1)
    for kind, values in (("removed", old[len(new) :]), ("added", new[len(old) :])):
        first = start + min(len(old), len(new))
        for at, value in enumerate(values, first):
            yield from _one_sided(kind, f"{path}[{at}]", value, depth + 1)  # type: ignore[arg-type]


def _one_sided(kind: Kind, path: str, value: Any, depth: int) -> Iterator[Change]:
    """Show a value in one line where it fits, else path by path."""
    parts: Iterator[tuple[str, Any]] = iter(())
    if depth < _DEEPEST and len(_json(value, LONGEST_LINE + 1)) > LONGEST_LINE:
        parts = _parts(path, value)
    first = next(parts, None)
    if first is None:
        number = f"{len(value):,} items: " if isinstance(value, list) and len(value) > _LONGEST_LIST else ""
        whole = (Piece(number + shown(value, LONGEST_LINE if number else LONGEST_TEXT), marked=True),)
        yield Change(path, kind, before=whole if kind == "removed" else (), after=whole if kind == "added" else ())
        return
    yield from _one_sided(kind, *first, depth + 1)
    for where, part in parts:
        yield from _one_sided(kind, where, part, depth + 1)


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((_at(path, key), part) for key, part in value.items())
    elif isinstance(value, list) and len(value) <= _LONGEST_LIST:
        yield from ((f"{path}[{at}]", part) for at, part in enumerate(value))


def _at(path: str, key: str) -> str:
    if not key.isidentifier() or len(key) > _LONGEST_KEY:
        return f"{path}[{json.dumps(key[:_LONGEST_KEY], ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def _same(before: Any, after: Any) -> bool:
    """Compare as fast as C can; `==` takes true for 1, and fails on what is nested deeply."""
    if isinstance(before, str) or isinstance(after, str):
        return type(before) is type(after) and bool(before == after)
    try:
        return marshal.dumps(before, 2) == marshal.dumps(after, 2)  # version 2 knows no references: bytes tell values
    except ValueError:  # nested too deeply; it is looked at level by level
        return False


# --- Texts, never longer than asked for  ---


def _text(value: Any) -> str:
    """Return a value in full where it is a text, because the change may be at its end; else as much as is shown."""
    if not isinstance(value, str):
        return shown(value)
    return value if "\n" in value else json.dumps(value, ensure_ascii=False)


def _json(value: Any, longest: int) -> str:
    """Return at least the first characters of a value's JSON, without ever making all of it."""
    line = ""
    for piece in _json_pieces(value, longest, 0):
        line += piece
        if len(line) >= longest:
            break
    return line


def _json_pieces(value: Any, longest: int, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        yield "…"
    elif isinstance(value, dict):
        yield "{"
        for number, (key, part) in enumerate(value.items()):
            yield f"{', ' if number else ''}{_quoted(str(key), longest)}: "
            yield from _json_pieces(part, longest, depth + 1)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for number, part in enumerate(value):
            yield ", " if number else ""
            yield from _json_pieces(part, longest, depth + 1)
        yield "]"
    elif isinstance(value, str):
        yield _quoted(value, longest)
    else:
        yield json.dumps(value, default=str)


def _quoted(string: str, longest: int) -> str:
    return json.dumps(string[: longest + 1], ensure_ascii=False)


def _shortened(whole: str, longest: int) -> str:
    """Leave out the middle of a long text, and say how long it is."""
    if len(whole) <= longest:
        return whole
    said = f" … {len(whole):,} characters … "
    half = (longest - len(said)) // 2
    return f"{whole[:half]}{said}{whole[-half:]}"


def _around_the_change(before: str, after: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Mark what lies between the first and the last word that differ, with a little of what is around it."""
    start = _common(before, after)
    start = _word_begins(before, start)
    most = min(len(before), len(after)) - start
    end = _common(before[len(before) - most :], after[len(after) - most :], from_the_end=True)
    end = _word_ends(before, len(before) - end)
    end = min(len(before) - end, most)
    return _pieces(before, start, end), _pieces(after, start, end)


def _pieces(whole: str, start: int, end: int) -> tuple[Piece, ...]:
    changed = whole[start : len(whole) - end]
    lead = whole[max(0, start - AROUND) : start]
    tail = whole[len(whole) - end : len(whole) - end + AROUND]
    pieces = (
        Piece(("…" if start > AROUND else "") + lead),
        Piece(_shortened(changed, LONGEST_TEXT), marked=True),
        Piece(tail + ("…" if end > AROUND else "")),
    )
    return tuple(piece for piece in pieces if piece.text)


def _common(one: str, other: str, *, from_the_end: bool = False) -> int:
    """Count the characters that two texts have in common, by halving: slices are compared as fast as C can."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        same = (
            one[len(one) - middle :] == other[len(other) - middle :] if from_the_end else one[:middle] == other[:middle]
        )
        low, high = (middle, high) if same else (low, middle - 1)
    return low


def _word_begins(whole: str, at: int) -> int:
    return next((back for back in range(at, max(0, at - AROUND), -1) if whole[back - 1].isspace()), max(0, at - AROUND))


def _word_ends(whole: str, at: int) -> int:
    last = min(len(whole), at + AROUND)
    return next((on for on in range(at, last) if whole[on].isspace()), last)


# --- How they look  ---

_MOST_IN_ONE_TABLE = 12
_MOST_OPEN = 24  # changes in one group; what has more begins folded


class Words(NamedTuple):
    """How the two sides of differences are called, and the kinds of changes.

    Args:
        before: the first side.
        after: the second side.
        added: of what only the second side has.
        removed: of what only the first side has.
        changed: of what both have, and differs.
    """

    before: str = "before"
    after: str = "after"
    added: str = "+ added"
    removed: str = "− removed"
    changed: str = "~ changed"


STEP_BY_STEP = Words()
SIDE_BY_SIDE = Words("left", "right", "only right", "only left", "≠ differs")


def as_html(found: Differences, words: Words = STEP_BY_STEP) -> Markup:
    """Return differences as one table; many as one for each first part of their paths, of which long ones are folded.

    Args:
        found: what `differences` returned.
        words: how sides and kinds are called.
    """
    if not found.changes:
        return framed(inside("p", "No difference."))
    groups: dict[str, list[Change]] = {}
    for change in found.changes:
        groups.setdefault(_first_part(change.path), []).append(change)
    is_small = len(found.changes) <= _MOST_IN_ONE_TABLE
    parts = [_table("", found.changes, words)] if is_small else [_group(*group, words) for group in groups.items()]
    if not found.complete:
        parts.append(inside("p", f"Only the first {len(found.changes)} differences are shown: there are more."))
    return framed(*parts)


def _group(name: str, changes: Sequence[Change], words: Words) -> Markup:
    counted = Counter(getattr(words, change.kind) for change in changes)
    said = ", ".join(f"{number} {kind}" for kind, number in counted.items())
    heading = inside("summary", Markup(f"<strong>{text(name or 'the whole')}</strong> {text(said)}"))
    opened = " open" if len(changes) <= _MOST_OPEN else ""
    return Markup(f"<details{opened}>{heading}{_table(name, changes, words)}</details>")


def _table(above: str, changes: Sequence[Change], words: Words) -> Markup:
    """Return changes as a table; a side that no change has gets no column, and what stands above is not said again."""
    has_before, has_after = any(change.before for change in changes), any(change.after for change in changes)
    headings = ["", "where", *[words.before] * has_before, *[words.after] * has_after]
    rows = [
        [
            getattr(words, change.kind),
            change.path.removeprefix(above).lstrip(".") or change.path or "the whole",
            *[_side(change.before, "del")] * has_before,
            *[_side(change.after, "ins")] * has_after,
        ]
        for change in changes
    ]
    return table(headings, rows, kinds=("word", "mono where", "mono", "mono"))


def _side(pieces: tuple[Piece, ...], tag: str) -> Markup:
    return Markup("".join(inside(tag, piece.text) if piece.marked else text(piece.text) for piece in pieces))


def _first_part(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0] or path
