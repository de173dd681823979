"""How the fields of an answer are typed: from a JSON schema, or from the proposal where nobody gave one.

The kinds here only help with typing; whether an answer fits is decided by the library when it is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stanchion.errors import InvalidAnswer
from stanchion.question import Question
from stanchion.runs.answers import is_ours
from stanchion.runs.records import Review

WHOLE = ""
"""The name of the only field of an answer that is no object."""

MOST_CHOICES = 200
MOST_VARIANTS = 20
LONGEST_NUMBER = 300
"""Digits; more than any number that means something, and few enough to be read in no time."""


@dataclass(frozen=True)
class About:
    """How one field is typed.

    Args:
        kind: `text`, `number` (a JSON number), `decimal` (a number, or its digits in a text), `date`, `choice`, `json`.
        optional: an empty text means that there is no value.
        choices: what a choice may be, by the text that stands for it.
        title: what the schema calls it.
    """

    kind: str = "text"
    optional: bool = False
    choices: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""


class Form:
    """The fields of a review's answer.

    Args:
        review: any; its question is hostile.
    """

    def __init__(self, review: Review) -> None:
        question = Question.of(review.question)
        schema = question.form if is_ours(review.form) else review.form
        self._schema: Mapping[str, Any] = schema if isinstance(schema, dict) else {}
        properties = self._schema.get("properties")
        self.is_one_value = bool(self._schema) and not isinstance(properties, dict)
        self._properties: Mapping[str, Any] = properties if isinstance(properties, dict) else {}
        self.names: Iterable[str] = [WHOLE] if self.is_one_value else self._properties or question.proposal or {}

    def about(self, name: str) -> About:
        """Return how a field is typed.

        Args:
            name: one of `names`.
        """
        schema = self._schema if self.is_one_value else self._properties.get(name)
        return _about(schema if isinstance(schema, dict) else {}, self._schema.get("$defs"))

    def unfit(self, proposal: Mapping[str, Any]) -> list[str]:
        """Return the fields for which a proposal certainly has no value that fits; the library knows the whole type.

        Args:
            proposal: in JSON form.
        """
        required = self._schema.get("required")
        missing = [name for name in required if name not in proposal] if isinstance(required, list) else []
        return [name for name in self._properties if name in missing or self._is_unfit(name, proposal)]

    def _is_unfit(self, name: str, proposal: Mapping[str, Any]) -> bool:
        if name not in proposal:
            return False
        value, schema, about = proposal[name], self._properties[name], self.about(name)
        if value is None:
            takes_none = not isinstance(schema, dict) or schema.get("type") in (None, "null") or about.optional
            return not takes_none and None not in about.choices.values()
        texts = [choice for choice in about.choices.values() if isinstance(choice, str)]
        is_complete = 0 < len(texts) == len(about.choices) < MOST_CHOICES
        return isinstance(value, str) and is_complete and value not in texts

    def read(self, typed: Mapping[str, str]) -> Any:
        """Return what was typed as values: field to value, or the whole answer where it is no object.

        Args:
            typed: field to text; hostile, since it comes from a browser.

        Raises:
            InvalidAnswer: a text is no JSON where its field takes JSON.
        """
        values = {name: _value(self.about(name), name, text) for name, text in typed.items()}
        return values.get(WHOLE) if self.is_one_value else values


def as_typed(value: Any) -> str:
    """Return a value as it is typed; the way back is `Form.read`.

    Args:
        value: plain JSON data, not None.
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=1 if isinstance(value, list | dict) else None)


def _value(about: About, name: str, text: str) -> Any:
    if text.strip() == "" and (about.optional or about.kind != "text"):
        return None
    if about.kind == "choice":
        return about.choices.get(text, text)
    if about.kind == "json":
        return _json(name, text)
    if about.kind == "number":
        return _number(text.strip())
    return text if about.kind == "text" else text.strip()


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = (
            f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "too deep, or too large"
        )
        raise InvalidAnswer(f"{name[:100] or 'The answer'} is no JSON ({problem}). The review stays open.") from error


def _number(text: str) -> Any:
    """Return a text as a number; one that is none stays a text, and the type refuses it."""
    for kind in (int, float):
        try:
            return kind(text[:LONGEST_NUMBER])
        except ValueError:
            continue
    return text


def _about(schema: Mapping[str, Any], definitions: Any) -> About:
    variants = [_resolved(each, definitions) for each in _variants(schema)]
    values = [each for each in variants if each.get("type") != "null"]
    kinds = {_kind(each) for each in values}
    kind = kinds.pop() if len(kinds) == 1 else "decimal" if kinds == {"number", "text"} else "text"
    choices = [value for each in values for value in _choices(each)] if kind == "choice" else []
    title = schema.get("title")
    return About(
        kind=kind,
        optional=len(values) < len(variants),
        choices={as_typed(value): value for value in choices[:MOST_CHOICES]},
        title=title if isinstance(title, str) else "",
    )


def _variants(schema: Mapping[str, Any]) -> list[Any]:
    several = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(several, list):
        return several[:MOST_VARIANTS]
    types = schema.get("type")
    return [{**schema, "type": each} for each in types[:MOST_VARIANTS]] if isinstance(types, list) else [schema]


def _resolved(schema: Any, definitions: Any) -> Mapping[str, Any]:
    if not isinstance(schema, dict):
        return {}
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    found = definitions.get(name) if isinstance(definitions, dict) else None
    return found if isinstance(found, dict) else schema


def _kind(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "boolean" or isinstance(schema.get("enum"), list) or "const" in schema:
        return "choice"
    if kind == "string":
        return "date" if schema.get("format") == "date" else "text"
    if kind in ("number", "integer"):
        return "number"
    return "json" if schema else "text"


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    if schema.get("type") == "boolean":
        return [True, False]
    listed = schema.get("enum")
    return listed if isinstance(listed, list) else [schema.get("const")]
