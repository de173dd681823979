"""Turn a true answer into one that is as well-formed and wrong: the fault that no parser and no schema can see.

Numbers and last digits are one off, dates a year, switches flipped, choices other choices. Keywords of JSON schema
that are kept: type, enum, const, format, pattern, bounds, multipleOf, lengths, through properties, items, $ref and
allOf, anyOf, oneOf (https://json-schema.org/draft/2020-12/json-schema-validation).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_LAST_DIGIT = re.compile("[0-9](?![0-9])")
_ISO_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATES = {"date", "date-time"}
_DEPTH = 20  # references within references
_NOTHING: Schema = {"enum": []}  # what no value is of

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}


def wrong_text(text: str, schema: Schema | None = None) -> str:
    """Return another answer of the same form.

    Where nothing in it is a number, a date, a switch or a choice, its texts are written backwards instead.

    Args:
        text: the true answer; JSON, or prose.
        schema: the JSON schema that both follow.
    """
    try:
        value = json.loads(text)
        return json.dumps(_wrong(value, schema or {}), ensure_ascii=False)
    except (ValueError, RecursionError):  # no JSON, or too deep
        return _other_digits(text) if _LAST_DIGIT.search(text) else text[::-1]


def _wrong(value: Any, schema: Schema) -> Any:
    other = _Liar(schema, _other_digits).instead_of(value, schema)
    return other if other != value else _Liar(schema, lambda text: text[::-1]).instead_of(value, schema)


class _Liar:
    """Puts wrong values in place of right ones.

    Args:
        root: the whole schema, in which references are looked up.
        other_text: makes another text of one.
    """

    def __init__(self, root: Schema, other_text: Callable[[str], str]) -> None:
        self._root = root
        self._other_text = other_text

    def instead_of(self, value: Any, schema: Any) -> Any:
        rules = self._resolved(schema, value)
        if isinstance(value, dict):
            fields = rules.get("properties") or {}
            others = rules.get("additionalProperties")
            return {name: self.instead_of(part, fields.get(name, others)) for name, part in value.items()}
        if isinstance(value, list):
            return [self.instead_of(part, rules.get("items")) for part in value]
        fitting = (other for other in self._others(value, rules) if other != value and _fits(other, rules))
        return next(fitting, value)

    def _resolved(self, schema: Any, value: Any, depth: int = _DEPTH) -> Schema:
        """Follow references, and choose the alternative that the value is of."""
        if not isinstance(schema, Mapping) or not depth:
            return {}
        if isinstance(reference := schema.get("$ref"), str):
            found: Any = self._root
            for part in reference.strip("#/").split("/"):
                found = found.get(part) if isinstance(found, Mapping) else None
            return self._resolved(found, value, depth - 1)
        merged = dict(schema)
        for branch in schema.get("allOf", ()):
            merged |= self._resolved(branch, value, depth - 1)
        for branches in (schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema):
            resolved = (self._resolved(branch, value, depth - 1) for branch in branches)
            merged |= next((branch for branch in resolved if _is_of(value, branch)), _NOTHING)
        return merged

    def _others(self, value: Any, rules: Schema) -> Iterator[Any]:
        if "enum" in rules:
            yield from rules["enum"]
        elif "const" in rules or value is None:
            return
        elif isinstance(value, bool):
            yield not value
        elif isinstance(value, str):
            if "format" not in rules or rules["format"] in _DATES:  # of other formats digits are not enough
                yield self._other_text(value)
        elif math.isfinite(value):
            step = rules.get("multipleOf", 1)
            yield from (value + step, value - step)
            if isinstance(value, float):
                yield from (value / 2, value + 0.1, value - 0.1)


def _other_digits(text: str) -> str:
    """Change the last digit of each number; of a date (ISO 8601) that of the year, so that there is such a day."""
    if _ISO_DATE.match(text):
        day = "-02-28" if text[4:10] == "-02-29" else text[4:10]
        return text[:3] + _next_digit(text[3]) + day + text[10:]
    return _LAST_DIGIT.sub(lambda found: _next_digit(found[0]), text)


def _next_digit(digit: str) -> str:
    return str(int(digit) % 9 + 1)


def _is_of(value: Any, rules: Schema) -> bool:
    if "enum" in rules:
        return value in rules["enum"]
    if "const" in rules:
        return bool(value == rules["const"])
    names = rules.get("type", list(_TYPES))
    names = [names] if isinstance(names, str) else names
    if isinstance(value, bool):  # to Python a number
        return "boolean" in names
    return any(isinstance(value, _TYPES.get(name, ())) for name in names)


def _fits(value: Any, rules: Schema) -> bool:
    if isinstance(value, str):
        return rules.get("minLength", 0) <= len(value) <= rules.get("maxLength", math.inf) and _matches(value, rules)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    low, high = rules.get("minimum", -math.inf), rules.get("maximum", math.inf)
    above, below = rules.get("exclusiveMinimum", -math.inf), rules.get("exclusiveMaximum", math.inf)
    return bool(low <= value <= high and above < value < below)


def _matches(text: str, rules: Schema) -> bool:
    try:
        return "pattern" not in rules or re.search(rules["pattern"], text) is not None
    except re.error:  # a pattern of JavaScript's that Python does not know
        return False
