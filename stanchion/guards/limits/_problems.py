"""What is wrong with a policy, in sentences that name the key with its whole path."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from stanchion.guards.limits.quantities import LONGEST_TEXT, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MOST_SHOWN = 3
PLAIN_KEY = re.compile(r"[\w-]{1,40}")


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as TOML writes it: `rates."openai:gpt-4o-mini".requests`.

    Args:
        path: the keys from the outermost to the innermost.
    """
    return ".".join(map(_key, map(str, path)))


def _key(name: str) -> str:
    if PLAIN_KEY.fullmatch(name):
        return name
    return json.dumps(name if len(name) <= 2 * LONGEST_TEXT else f"{name[: 2 * LONGEST_TEXT]}…")


def in_words(error: ValidationError, part: type[BaseModel]) -> str:
    """Return what pydantic found, the first few things of it, in words for the person who wrote the policy.

    Args:
        error: of validating `part`.
        part: the policy, or the part of one, that was to be made.
    """
    found = [_sentence(problem, part) for problem in error.errors(include_url=False) if _says_something(problem)]
    more = len(found) - MOST_SHOWN
    return " ".join(found[:MOST_SHOWN]) + (f" And {more} more." if more > 0 else "")


def _says_something(problem: ErrorDetails) -> bool:
    """A default that depends on a value that was refused is not made; only the value is worth a word."""
    return problem["type"] != "default_factory_not_called"


def _sentence(problem: ErrorDetails, part: type[BaseModel]) -> str:
    path = [*filter(None, getattr(part, "at", "").split(".")), *problem["loc"]]
    key, given = dotted(path), shown(problem["input"])
    match problem["type"]:
        case "contradiction":
            return problem["msg"]
        case "value_error":
            return f"{key} {problem['ctx']['error']}."
        case "extra_forbidden":
            return f"{key} is no key of a policy{_meant(problem['loc'], part)}"
        case "literal_error":
            return f"{key} takes one of {problem['ctx']['expected']}; not {given}."
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"{key or 'A policy'} takes a table of keys, such as [{key or 'money'}]; not {given}."
    return f"{key} cannot be {given}: {problem['msg']}."


def _meant(loc: tuple[str | int, ...], part: type[BaseModel]) -> str:
    """The end of the sentence on an unknown key: what may have been meant, or which keys there are."""
    *above, name = map(str, loc)
    known = list(_part_at(above, part).model_fields)
    if near := difflib.get_close_matches(name[:LONGEST_TEXT], known, n=1):
        start = [*filter(None, getattr(part, "at", "").split(".")), *above]
        return f"; did you mean {dotted([*start, near[0]])}?"
    return f"; there {'are' if len(known) > 1 else 'is'} {', '.join(known)}."


def _part_at(path: list[str], part: type[BaseModel]) -> type[BaseModel]:
    """The part of a policy that a path leads to; the name of a model in it is passed over."""
    for name in path:
        if name in part.model_fields:
            part = next(_models_in(part.model_fields[name].annotation), part)
    return part


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
