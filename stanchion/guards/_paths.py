"""How a place in an answer is written: `items[0].total_price`, `rates["a b"]`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Keys = tuple[str | int, ...]
"""The keys and indices that lead from the whole answer to one value."""

LONGEST_KEY = 100
"""Characters of one key that are shown; keys come from the answer, and a hostile one may be of any length."""

_MOST_READINGS = 8


def path_text(keys: Keys) -> str:
    """Write a path with dots and brackets; a key that is no identifier stands in brackets as a JSON string.

    Args:
        keys: the keys and indices from the whole answer to the value; none for the whole answer.
    """
    return "".join(map(_step, keys)).removeprefix(".")


def _step(key: str | int) -> str:
    if not isinstance(key, str):
        return f"[{key}]"
    if len(key) > LONGEST_KEY:
        key = key[:LONGEST_KEY] + "…"
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"


def keys_of_error(error: Mapping[str, Any], answer: Any) -> Keys:
    """Find the place in the answer that an error of pydantic speaks of.

    Pydantic's `loc` also names what is not in the answer: the member of a union that it tried, `[key]`, a function.
    Which parts are keys is decided by following them to the input that pydantic complains of.

    Args:
        error: one of `ValidationError.errors()`, its input included.
        answer: what was validated.
    """
    loc = error["loc"]
    missing = loc[-1:] if error["type"] == "missing" else ()
    readings: list[tuple[Any, Keys]] = [(answer, ())]
    for part in loc[: len(loc) - len(missing)]:
        readings = [reading for here, keys in readings for reading in _readings(here, keys, part)][:_MOST_READINGS]
    exact = (keys for here, keys in readings if here is error["input"])
    keys: Keys = next(exact, readings[0][1])
    return keys + missing


def _readings(here: Any, keys: Keys, part: str | int) -> list[tuple[Any, Keys]]:
    """The part taken for a key, where it can be one, and the part left out."""
    left_out = [(here, keys)]
    if isinstance(here, dict):
        return [(here[part], (*keys, part)), *left_out] if part in here else left_out
    if isinstance(here, list | tuple) and isinstance(part, int) and 0 <= part < len(here):
        return [(here[part], (*keys, part)), *left_out]
    return left_out
