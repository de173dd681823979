"""Where validators may stand in a type, and what is refused before any answer comes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple

import pytest
from guardrails.validator_base import PassResult, Validator, register_validator
from pydantic import BaseModel, Field, JsonValue
from typing_extensions import TypeAliasType, TypedDict

import stanchion.guards
from stanchion.errors import UsageError
from stanchion.guards import Placeholder, check, guarded

Name = Annotated[str, guarded(Placeholder())]
Tree = TypeAliasType("Tree", dict[str, "Tree"] | JsonValue)  # type: ignore[misc]
NameTree = TypeAliasType("NameTree", dict[str, "NameTree"] | Name)  # type: ignore[misc]


@dataclasses.dataclass
class Person:
    """A type that guards do not follow."""

    name: Name


class Record(TypedDict):
    """Another."""

    name: Name


class Row(NamedTuple):
    """And another."""

    name: Name


class Named(BaseModel):
    """A model that guards do follow, but not inside the types above."""

    name: Name


@register_validator(name="lab/only_async", data_type="all")
class OnlyAsync(Validator):
    """Can only be awaited."""

    async def async_validate(self, value: Any, metadata: dict[str, Any]) -> PassResult:
        """Pass."""
        return PassResult()


@register_validator(name="lab/async_validate", data_type="all")
class Awaitable(Validator):
    """Has a validate() that must be awaited."""

    async def _validate(self, value: Any, metadata: dict[str, Any]) -> PassResult:
        return PassResult()


@pytest.mark.parametrize(
    "kind",
    [Person, Record, Row, list[Record], dict[Name, int], Iterable[Name], Iterable[Named], NameTree, type[Named]],
    ids=str,
)
def test_a_validator_that_could_never_run_is_refused(kind):
    """A guard in a type that is not followed is a mistake that shows at once, not a check that is silently skipped."""

    class Holder(BaseModel):
        field: kind | None = None

    with pytest.raises(UsageError, match="a validator stands inside a type that guards do not follow"):
        check(Holder, {})


def test_a_mistake_deep_in_a_type_shows_at_the_first_answer():
    """Also where this answer does not hold the part in question."""

    class Deep(BaseModel):
        records: list[Record] = []

    class Holder(BaseModel):
        deep: dict[str, list[Deep | None]] = {}

    with pytest.raises(UsageError):
        check(Holder, {})


@pytest.mark.parametrize("validator", [OnlyAsync(), Awaitable()])
def test_a_validator_that_must_be_awaited_is_refused(validator):
    """Guards run between two steps without an event loop, and say so."""

    class Holder(BaseModel):
        field: Annotated[str, validator]

    with pytest.raises(UsageError, match=r"no synchronous validate\(\)"):
        check(Holder, {"field": "x"})


@pytest.mark.parametrize("metadata", [Placeholder, guarded])
def test_a_class_in_place_of_an_instance_is_refused(metadata):
    """A forgotten pair of brackets does not switch a guard off."""
    if metadata is guarded:
        with pytest.raises(UsageError, match=r"write Placeholder\(\)"):
            guarded(Placeholder)
        return

    class Holder(BaseModel):
        field: Annotated[str, Placeholder]

    with pytest.raises(UsageError, match=r"write Placeholder\(\)"):
        check(Holder, {"field": "x"})


@pytest.mark.parametrize("extra", [["lab/max: 3"], [Placeholder], Placeholder(), [("lab/max", "fix")]])
def test_guardrails_string_forms_are_refused(extra):
    """Only instances run; a validator by name is refused, not skipped."""

    class Holder(BaseModel):
        field: str = Field(json_schema_extra={"validators": extra})

    with pytest.raises(UsageError, match="instances"):
        check(Holder, {"field": "x"})


@pytest.mark.parametrize("arguments", [(), ("not a validator",), (None,)])
def test_guarded_takes_validators(arguments):
    """And at least one."""
    with pytest.raises(UsageError):
        guarded(*arguments)


def test_a_type_that_names_itself_is_followed_no_further_than_needed():
    """A recursive alias without validators is an ordinary type."""

    class Holder(BaseModel):
        json_value: JsonValue
        tree: Tree

    assert check(Holder, {"json_value": [{"a": 1}], "tree": {"a": {"b": {}}}}).ok


def test_a_model_that_is_not_defined_whole_is_refused():
    """A reference to a missing type is named by its model."""

    class Holder(BaseModel):
        field: Missing  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(UsageError, match="Holder"):
        check(Holder, {})


def test_every_exported_name_is_there():
    """`__all__` is the truth, also of the names that are imported late."""
    for name in stanchion.guards.__all__:
        assert getattr(stanchion.guards, name).__name__ == name
    assert dir(stanchion.guards) == stanchion.guards.__all__
    with pytest.raises(AttributeError, match="no attribute 'Guard'"):
        stanchion.guards.Guard  # noqa: B018


def test_guardrails_is_not_imported_before_it_is_needed():
    """The package, the executor and a model without validators do without its 3 seconds."""
    program = (
        "import sys; from pydantic import BaseModel; from stanchion.guards import check, guarded, json_schema\n"
        "class Plain(BaseModel):\n    name: str\n"
        "assert check(Plain, {'name': 'x'}).ok and json_schema(Plain)\n"
        "assert not [name for name in sys.modules if name.startswith('guardrails')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
