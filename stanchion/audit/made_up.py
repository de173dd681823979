"""Values made up from a JSON schema: a free answer of the right form, where a dataset has no recorded one.

Keywords that are followed: type, enum, const, default, format (dates), minimum, exclusiveMinimum, minLength, minItems,
through properties, items, $ref, anyOf, oneOf and allOf (https://json-schema.org/draft/2020-12/json-schema-validation).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPTH = 14  # of values within values: a schema may speak of itself
WHOLE = 8  # so many levels above the deepest one, what may be left out is left out
BY_FORMAT = {"date": "2024-05-17", "date-time": "2024-05-17T12:00:00Z", "time": "12:00:00Z"}

Schema = Mapping[str, Any]


def made_up(schema: Schema) -> Any:
    """Return a value that follows a schema.

    Args:
        schema: a JSON schema; what it says beyond the keywords above is not looked at.
    """
    return _value(schema, schema, DEPTH)


def _value(schema: Any, root: Schema, levels: int) -> Any:
    rules = _resolved(schema, root, levels)
    for keyword in ("const", "default"):
        if keyword in rules:
            return rules[keyword]
    if rules.get("enum"):
        return rules["enum"][0]
    match _type(rules):
        case "object":
            fields = rules.get("properties") or {}
            names = fields if levels > WHOLE else [name for name in rules.get("required", ()) if name in fields]
            return {name: _value(fields[name], root, levels - 1) for name in names} if levels else {}
        case "array":
            items = max(rules.get("minItems", 0), levels > WHOLE) if levels else 0
            return [_value(rules.get("items"), root, levels - 1) for _ in range(items)]
        case "integer" | "number":
            return _number(rules)
        case "boolean":
            return True
        case "null":
            return None
    return BY_FORMAT.get(rules.get("format", ""), "made up").ljust(rules.get("minLength", 0), ".")


def _resolved(schema: Any, root: Schema, levels: int) -> Schema:
    """Follow references, and choose the first alternative that is something."""
    if not isinstance(schema, Mapping) or not levels:
        return {}
    if isinstance(reference := schema.get("$ref"), str):
        found: Any = root
        for part in reference.strip("#/").split("/"):
            found = found.get(part) if isinstance(found, Mapping) else None
        return _resolved(found, root, levels - 1)
    for keyword in ("anyOf", "oneOf", "allOf"):
        if isinstance(branches := schema.get(keyword), list) and branches:
            nothing = {"type": "null"}
            chosen = next((branch for branch in branches if branch != nothing), branches[0])
            chosen = nothing if nothing in branches and levels <= WHOLE else chosen
            rest = {name: value for name, value in schema.items() if name not in (keyword, "default")}
            return {**rest, **_resolved(chosen, root, levels - 1)}
    return schema


def _type(rules: Schema) -> str:
    named = rules.get("type")
    if isinstance(named, list):
        named = next((name for name in named if name != "null"), "null")
    if isinstance(named, str):
        return named
    return "object" if "properties" in rules else "string"


def _number(rules: Schema) -> Any:
    least = rules.get("minimum", rules.get("exclusiveMinimum", 0))
    most = rules.get("maximum", rules.get("exclusiveMaximum", least + 2))
    middle = (least + most) / 2
    return int(middle) if middle == int(middle) or _type(rules) == "integer" else middle
