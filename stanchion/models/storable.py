"""What JSON can smuggle in and neither msgpack nor SQLite can hold: half characters and numbers beyond 64 bits."""

from __future__ import annotations

import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # what msgpack holds: https://github.com/msgpack/msgpack/blob/master/spec.md


def storable(value: Any) -> Any:
    """Return plain data that can be stored: the same, with U+FFFD for lone surrogates and huge integers as text.

    Args:
        value: what a JSON parser returned, or a model's dump.

    Raises:
        RecursionError: it is nested deeper than Python can follow.
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, int) and not _SMALLEST <= value <= _LARGEST:
        return _digits(value)
    return value


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return hex(number)
