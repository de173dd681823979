"""Looking a text up in another one, whatever their case, accents, spaces and punctuation, in linear time."""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from stanchion.text.names import normal_name

LONGEST_NAME = 2_000
"""Characters of a text that is looked up; what is longer is no name, address or line of a document."""

MOST_TRIES = 1_000
"""Occurrences inside longer words that are passed over before the search is given up."""

_PIECE = 3
"""Characters of the pieces that similar texts share, as in PostgreSQL's pg_trgm."""


class _Normal(NamedTuple):
    """A source in normal form.

    Args:
        text: its letters and digits.
        offsets: where in the source each of them came from.
    """

    text: str
    offsets: list[int]


def find_name(name: str, source: str) -> tuple[int, int] | None:
    """Find a text in a source, but not inside a longer word.

    Args:
        name: what is looked for; where it holds neither letter nor digit, it must occur as it stands.
        source: the text to look in.

    Returns:
        The offsets of its first occurrence in the source, or None.
    """
    wanted = normal_name(name[: LONGEST_NAME + 1])
    if not wanted:
        return _find_signs(name.strip(), source)
    if len(name) > LONGEST_NAME:
        return None
    normal = _normal(source)
    at = -1
    for _ in range(MOST_TRIES):
        at = normal.text.find(wanted, at + 1)
        if at < 0:
            break
        start, end = normal.offsets[at], normal.offsets[at + len(wanted) - 1] + 1
        if not _is_within_word(source, start) and not _is_within_word(source, end):
            return start, end
    return None


def find_similar(name: str, source: str, share: float) -> tuple[int, int] | None:
    """Find the stretch of a source, as long as the text looked for, that shares most three-letter pieces with it.

    Args:
        name: what is looked for.
        source: the text to look in.
        share: the least share, 0 to 1, of the pieces of the text that must stand there.

    Returns:
        The offsets of the stretch in the source, or None where there is none as similar as that.
    """
    wanted = _pieces(normal_name(name[: LONGEST_NAME + 1]))
    if len(name) > LONGEST_NAME or not wanted:
        return None
    normal = _normal(source)
    seen = _pieces(normal.text)
    lacking = Counter(wanted)
    common = most = last = 0
    for at, piece in enumerate(seen):
        if at >= len(wanted):
            common -= _left(lacking, seen[at - len(wanted)])
        common += _entered(lacking, piece)
        if common > most:
            most, last = common, at
    if most == 0 or most < share * len(wanted):
        return None
    first = next(at for at in range(max(0, last - len(wanted) + 1), last + 1) if seen[at] in lacking)
    return normal.offsets[first], normal.offsets[last + _PIECE - 1] + 1


def _entered(lacking: Counter[str], piece: str) -> bool:
    """Take a piece that came into the stretch off what is lacking; whether it was lacking."""
    if piece not in lacking:
        return False
    lacking[piece] -= 1
    return lacking[piece] >= 0


def _left(lacking: Counter[str], piece: str) -> bool:
    """Add a piece that left the stretch to what is lacking; whether it is lacking now."""
    if piece not in lacking:
        return False
    lacking[piece] += 1
    return lacking[piece] > 0


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE] for at in range(len(text) - _PIECE + 1)]


def _find_signs(signs: str, source: str) -> tuple[int, int] | None:
    at = source.find(signs) if signs else -1
    return (at, at + len(signs)) if at >= 0 else None


def _normal(source: str) -> _Normal:
    normals = [_normal_character(character) for character in source]
    offsets = [offset for offset, normal in enumerate(normals) for _ in normal]
    return _Normal("".join(normals), offsets)


@lru_cache(maxsize=4096)
def _normal_character(character: str) -> str:
    return normal_name(character)


def _is_within_word(source: str, offset: int) -> bool:
    """Whether both neighbours of this offset belong to one word, in a script that parts words by spaces."""
    if offset == 0 or offset == len(source):
        return False
    return _is_spaced(source[offset - 1]) and _is_spaced(source[offset])


_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "BOPOMOFO")


@lru_cache(maxsize=4096)
def _is_spaced(character: str) -> bool:
    return character.isalnum() and not unicodedata.name(character, "").startswith(_UNSPACED)
