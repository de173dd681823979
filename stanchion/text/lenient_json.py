"""Reads the JSON in a model's answer: as it is, out of its wrapping, completed or repaired; each linear or capped."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import json_repair
from pydantic_core import from_json

from stanchion.errors import StanchionError

MAX_CHARS = 1_000_000
"""Longer answers are not looked at."""

# json_repair 0.64 takes about 5 µs per character, 2 µs per character and level of nesting, and 0.1 µs per character
# and quotation mark or bracket (measured on its worst cases, by random search): these keep it under half a second.
_MOST_REPAIRED = 30_000
_MOST_TIMES_DEPTH = 200_000
_MOST_TIMES_MARKS = 4_000_000

_CLOSERS = {"{": "}", "[": "]"}
_MARK = re.compile(r'\\["\\]|["{}\[\],]')
_BRACKET = re.compile(r"[{}\[\]]")
_QUOTE_OR_BRACKET = re.compile(r"[\"'“”{}\[\]]")
_KEY = re.compile(r'"([^"\\]{1,200})"\s*:')
_OBJECT_BEGUN = re.compile(r"[\[\s]*\{[^:]*:")
_STRING = r'"(?:[^"\\]|\\.)*+\\?"?'  # its end may be missing
_LAST_MEMBER = re.compile(rf",?\s*(?:{_STRING}\s*:?\s*)?(?:{_STRING}|[-+.\w]*)\s*", re.DOTALL)


class Unparseable(StanchionError):
    """A text holds no JSON object or array, or several that contradict each other; the message says which."""


class Parsed(NamedTuple):
    """A JSON object or array and how it was come by.

    Args:
        value: the object or array; at most 200 levels deep, its numbers finite, its integers within 64 bits and its
            text valid Unicode.
        note: empty where the text was strict JSON and nothing else; otherwise what had to be done, in a few words.
    """

    value: Any
    note: str


class _Span(NamedTuple):
    """One outermost bracketed stretch of a text.

    Args:
        start: offset of its opening bracket.
        end: offset after its closing bracket, or the length of the text where that is missing.
        missing: the closing brackets it lacks.
        whole_until: offset up to which all its values are surely whole, where closing brackets are missing.
    """

    start: int
    end: int
    missing: str = ""
    whole_until: int = 0


def read_json(text: str, *, truncated: bool = False) -> Parsed:
    """Read the one JSON object or array in a model's answer.

    Two objects that differ, or a key with two values, are refused: a parser must not guess which one was meant.
    Of an answer that was cut off, only the values that are surely whole are kept.

    Args:
        text: the answer; strict JSON, or wrapped in prose or a code fence, or slightly broken.
        truncated: the model was stopped at its length limit, so nothing broken is repaired beyond closing brackets.

    Raises:
        Unparseable: no object or array can be read without guessing; the message holds nothing of the text.
    """
    if len(text) > MAX_CHARS:
        raise Unparseable(f"The answer is longer than {MAX_CHARS:,} characters.")
    text = text.lstrip("\ufeff").strip()
    whole = _strict(text)
    if whole is not None:
        return Parsed(whole, "")
    spans = _spans(text)
    if not spans:
        raise Unparseable("The answer holds no JSON object or array.")
    return _unwrapped(text, spans) or _mended(text, spans, truncated)


def _strict(text: str) -> Any | None:
    """The object or array that the text is; None where it is not strict JSON, or another kind of value."""
    try:
        from_json(text, allow_inf_nan=False)  # knows lone surrogates and more than 200 levels from JSON
        value = json.loads(text, object_pairs_hook=_consistent, parse_int=_within_64_bits, parse_float=_finite)
    except (ValueError, TypeError, RecursionError):  # TypeError: from_json's word for a lone surrogate
        return None
    return value if isinstance(value, dict | list) else None


def _consistent(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, which may repeat a key only with the same value."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise Unparseable("The answer gives one key two different values.")
    return found


def _within_64_bits(digits: str) -> int:
    """The integer of these digits, if msgpack and SQLite can hold it."""
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise Unparseable("The answer holds an integer of more than 64 bits.")
    return int(digits)


def _finite(digits: str) -> float:
    """The number of these digits, if it is finite."""
    number = float(digits)
    if not math.isfinite(number):
        raise Unparseable("The answer holds a number that is out of range.")
    return number


def _spans(text: str) -> list[_Span]:
    """The outermost bracketed stretches, in one pass; brackets inside double-quoted strings do not count."""
    spans: list[_Span] = []
    opened: list[str] = []
    in_string = False
    start = whole_until = 0
    for match in _MARK.finditer(text):
        mark = match.group()
        if mark == '"':
            in_string = bool(opened) and not in_string
        elif in_string or mark[0] == "\\":
            continue
        elif mark in _CLOSERS:
            start = start if opened else match.start()
            opened.append(_CLOSERS[mark])
            whole_until = match.end()
        elif opened:
            whole_until = match.start() if mark == "," else match.end()
            if mark != ",":
                opened.pop()
            if not opened:
                spans.append(_Span(start, match.end()))
    if opened:
        spans.append(_Span(start, len(text), "".join(reversed(opened)), whole_until))
    return spans


def _unwrapped(text: str, spans: list[_Span]) -> Parsed | None:
    """The strict JSON inside other text; None where there is none, or something there looks like a broken object."""
    values = []
    for span in spans:
        value = _strict(text[span.start : span.end])
        if value is not None:
            values.append(value)
        elif _OBJECT_BEGUN.match(text, span.start, span.end):
            return None
    values = [value for value in values if _holds_object(value)] or values  # "[1]" is a footnote beside an object
    if not values:
        return None
    if any(value != values[0] for value in values):
        raise Unparseable("The answer holds several JSON values that differ.")
    return Parsed(values[0], f"taken out of {'a code fence' if '```' in text else 'the text around it'}")


def _holds_object(value: Any) -> bool:
    return isinstance(value, dict) or any(isinstance(item, dict) for item in value)


def _mended(text: str, spans: list[_Span], truncated: bool) -> Parsed:
    """The broken object in a text, completed where it was cut off and otherwise repaired."""
    attempts = [span for span in spans if _OBJECT_BEGUN.match(text, span.start, span.end)]
    if not attempts:
        raise Unparseable("The answer holds no JSON object or array.")
    first, last = attempts[0], spans[-1]
    if first is last and last.missing:
        completed = _completed(text, last)
        if completed:
            return Parsed(completed, "cut off: completed")
    end = max(text.rfind("}"), text.rfind("]")) + 1
    if truncated or (last.missing and end < len(text.rstrip("`\n "))):
        raise Unparseable("The answer was cut off and cannot be completed without guessing.")
    return Parsed(_repaired(text[first.start : end]), "repaired")


def _completed(text: str, span: _Span) -> Any | None:
    """The unclosed object with its brackets closed, without a last value that may be half; None where that fails."""
    body = text[span.start :].rstrip("`\n ")
    if body.endswith(('"', "}", "]", "true", "false", "null")):  # a number might have had more digits
        value = _strict(body + span.missing)
        if value is not None:
            return value
    if not _LAST_MEMBER.fullmatch(text, span.whole_until):
        return None  # what would be dropped is more than one value: not cut off but broken
    return _strict(text[span.start : span.whole_until] + span.missing)


def _repaired(text: str) -> Any:
    """The object as json_repair reads it: in its strict mode, which invents no values, and only if no key got lost."""
    size = len(text)
    marks = len(_QUOTE_OR_BRACKET.findall(text))
    if size > _MOST_REPAIRED or size * _depth(text) > _MOST_TIMES_DEPTH or size * marks > _MOST_TIMES_MARKS:
        raise Unparseable("The answer is broken JSON and too large or too deeply nested to repair.")
    try:
        value = json_repair.loads(text, skip_json_loads=True, strict=True)
        checked = _strict(json.dumps(value, allow_nan=False))
    except Unparseable:
        raise
    except Exception:  # json_repair asserts what hostile text breaks, such as '[{"a":1, [”```json['
        checked = None
    if not isinstance(checked, dict if text[0] == "{" else list):
        raise Unparseable("The answer is broken JSON and cannot be repaired.")
    if Counter(_KEY.findall(text)) - Counter(_keys(checked)):  # such as one of two totals
        raise Unparseable("The answer is broken JSON and a repair would lose a part of it.")
    return checked


def _keys(value: Any) -> Iterator[str]:
    """Every key of every object within a value."""
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(inner)


def _depth(text: str) -> int:
    """How deep the brackets go, those in strings counted too: a repair may take them for structure."""
    depth = deepest = 0
    for match in _BRACKET.finditer(text):
        depth = depth + 1 if match.group() in _CLOSERS else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest
