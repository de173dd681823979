"""Where in an output type guardrails' validators stand, found once per type.

A plan is a small tree of places. It can be laid over a value that pydantic built (`children`) or over a raw answer that
pydantic refused (`parts`), which is how the good parts of a bad answer are still checked.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property, lru_cache
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    ForwardRef,
    Literal,
    NewType,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, RootModel, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from stanchion.errors import UsageError
from stanchion.guards._paths import Keys

if TYPE_CHECKING:
    from stanchion.guards._guardrails import Validator

ABSENT: Any = object()
"""Stands for what the answer does not hold."""


_LISTS = (list, tuple)


class _Guarded:
    """What `guarded` returns: validators that can stand where Python asks for something hashable."""

    def __init__(self, validators: tuple[Validator, ...]) -> None:
        self.validators = validators

    def __repr__(self) -> str:
        return f"guarded({', '.join(type(validator).__name__ for validator in self.validators)})"


def guarded(*validators: Validator) -> _Guarded:
    """Mark a part of a type with validators, for use inside `Annotated`.

    A whole field takes them bare, as `Annotated[str, Grounded()]`. Inside `Optional`, a union or a list they must be
    marked, as `list[Annotated[str, guarded(Grounded())]]`: Python hashes such types, and validators have no hash.

    Args:
        *validators: instances of guardrails' `Validator`, run in this order.

    Raises:
        UsageError: if there is none, or one of them is not a validator.
    """
    if not validators:
        raise UsageError("guarded() takes at least one validator")
    for validator in validators:
        if not is_validator(validator):
            raise UsageError(f"guarded() takes instances of guardrails' Validator, not {_named(validator)}")
    return _Guarded(validators)


def is_validator(thing: Any) -> bool:
    """Whether this is one of guardrails' validators, without importing guardrails where it cannot be."""
    if "guardrails.validator_base" not in sys.modules:
        return False
    from stanchion.guards._guardrails import Validator

    return isinstance(thing, Validator)


def _named(thing: Any) -> str:
    return f"the class {thing.__name__} (write {thing.__name__}())" if isinstance(thing, type) else type(thing).__name__


# --- the places ---


@dataclass(frozen=True, eq=False)
class Place:
    """A place in an output type, and the validators of the values that stand there.

    Args:
        annotation: the type that pydantic validates there.
        config: the configuration of the model that the place belongs to.
        validators: run in this order.
    """

    annotation: Any
    config: ConfigDict
    validators: tuple[Validator, ...]

    is_followed: ClassVar[bool] = False
    """Whether something may be checked below this place."""

    @property
    def is_bare(self) -> bool:
        """Whether nothing is checked at this place or below it."""
        return not self.is_followed and not self.validators

    def children(self, value: Any, raw: Any) -> Iterator[tuple[Keys, Place, Any, Any]]:  # noqa: ARG002
        """What stands below a value that pydantic built: keys, place, value, and the raw answer's part or ABSENT."""
        return iter(())

    def parts(self, raw: Any) -> Iterator[tuple[Keys, Place, Any]]:  # noqa: ARG002
        """What stands below a raw part that pydantic refused: keys, place, raw part."""
        return iter(())

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Pydantic's validation of this place alone."""
        try:
            return TypeAdapter(self.annotation, config=self.config)
        except PydanticUserError:  # a model has a configuration of its own
            return TypeAdapter(self.annotation)

    @cached_property
    def classes(self) -> tuple[type, ...]:
        """The classes that values of this type can have."""
        return _classes(self.annotation)


@dataclass(frozen=True, eq=False)
class ModelPlace(Place):
    """A pydantic model; its fields are planned when first needed, so that models may hold themselves."""

    model: type[BaseModel]

    is_followed: ClassVar[bool] = True

    def children(self, value: Any, raw: Any) -> Iterator[tuple[Keys, Place, Any, Any]]:
        for each in fields_of(self.model):
            keys, part = each.find(raw)
            yield keys, each.place, getattr(value, each.name), part

    def parts(self, raw: Any) -> Iterator[tuple[Keys, Place, Any]]:
        for each in fields_of(self.model):
            keys, part = each.find(raw)
            if part is not ABSENT:
                yield keys, each.place, part


@dataclass(frozen=True, eq=False)
class ItemsPlace(Place):
    """A list, set or tuple: `first` are the places of its first items, `rest` the place of all further ones."""

    first: tuple[Place, ...]
    rest: Place | None

    is_followed: ClassVar[bool] = True

    def children(self, value: Any, raw: Any) -> Iterator[tuple[Keys, Place, Any, Any]]:
        raws = raw if isinstance(raw, _LISTS) and not isinstance(value, Set) else ()  # a set has no order to follow
        for index, (place, item) in enumerate(zip(self._places(), value, strict=False)):
            yield (index,), place, item, raws[index] if index < len(raws) else ABSENT

    def parts(self, raw: Any) -> Iterator[tuple[Keys, Place, Any]]:
        if isinstance(raw, _LISTS):
            for index, (place, item) in enumerate(zip(self._places(), raw, strict=False)):
                yield (index,), place, item

    def _places(self) -> Iterator[Place]:
        yield from self.first
        while self.rest is not None:
            yield self.rest


@dataclass(frozen=True, eq=False)
class ValuesPlace(Place):
    """A dictionary whose values are checked."""

    values: Place

    is_followed: ClassVar[bool] = True

    def children(self, value: Any, raw: Any) -> Iterator[tuple[Keys, Place, Any, Any]]:
        raws = raw if isinstance(raw, dict) else {}
        for key, item in value.items():
            yield (key,), self.values, item, raws.get(key, ABSENT)

    def parts(self, raw: Any) -> Iterator[tuple[Keys, Place, Any]]:
        if isinstance(raw, dict):
            for key, item in raw.items():
                yield (key,), self.values, item


@dataclass(frozen=True, eq=False)
class UnionPlace(Place):
    """One of several types, None left out: only the validators of the one that matched are run."""

    members: tuple[Place, ...]

    is_followed: ClassVar[bool] = True

    def children(self, value: Any, raw: Any) -> Iterator[tuple[Keys, Place, Any, Any]]:
        if value is not None:
            for member in self._matching(value):
                yield (), member, value, raw

    def parts(self, raw: Any) -> Iterator[tuple[Keys, Place, Any]]:
        if raw is not None and len(self.members) == 1:
            yield (), self.members[0], raw

    def _matching(self, value: Any) -> Sequence[Place]:
        """The member that the value belongs to; every one it may belong to where that cannot be told."""
        if len(self.members) == 1:
            return self.members
        exact = [member for member in self.members if type(value) in member.classes]
        candidates = exact or [member for member in self.members if isinstance(value, member.classes)]
        if len(candidates) > 1:
            strict = (member for member in candidates if _accepts(member, value))
            candidates = list(strict)[:1] or candidates
        return candidates or self.members


def _accepts(place: Place, value: Any) -> bool:
    try:
        place.adapter.validate_python(value, strict=True)
    except Exception:  # a user's own validators may raise anything at a value of another member
        return False
    return True


def _classes(annotation: Any) -> tuple[type, ...]:
    inner, _, _ = _peeled(annotation)
    if get_origin(inner) is Literal:
        return tuple({type(value) for value in get_args(inner)})
    if is_typeddict(inner):
        return (dict,)
    origin = get_origin(inner) or inner
    return (origin,) if isinstance(origin, type) and origin is not Any else (object,)


# --- the fields of a model ---


@dataclass(frozen=True)
class Field:
    """A field of a model: its place, and the names under which an answer may hold it.

    Args:
        name: the attribute's name.
        place: what is checked there.
        spellings: the keys to try in the answer, in pydantic's order; the first is used where it holds none.
    """

    name: str
    place: Place
    spellings: tuple[Keys, ...] = field(default=())

    def find(self, raw: Any) -> tuple[Keys, Any]:
        """The keys under which a raw answer holds this field, and what stands there, or ABSENT."""
        for keys in self.spellings:
            here = raw
            for key in keys:
                here = _at(here, key)
            if here is not ABSENT:
                return keys, here
        return self.spellings[0], ABSENT


def _at(raw: Any, key: str | int) -> Any:
    if isinstance(raw, dict):
        return raw.get(key, ABSENT)
    if isinstance(raw, _LISTS) and isinstance(key, int) and -len(raw) <= key < len(raw):
        return raw[key]
    return ABSENT


@lru_cache(maxsize=512)
def fields_of(model: type[BaseModel]) -> tuple[Field, ...]:
    """The fields of a model at or below which something is checked.

    Raises:
        UsageError: if a validator stands where it could not be run, or the model is not completely defined.
    """
    if not model.__pydantic_complete__:
        try:
            model.model_rebuild()
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            raise UsageError(f"the model {model.__name__} refers to a type that is not defined") from error
    found = []
    for name, info in model.model_fields.items():
        place = place_of(Annotated[info.annotation, info], model.model_config)
        if not place.is_bare:
            found.append(Field(name, place, _spellings(name, info, model)))
    return tuple(found)


def _spellings(name: str, info: FieldInfo, model: type[BaseModel]) -> tuple[Keys, ...]:
    if issubclass(model, RootModel):
        return ((),)
    by_alias = model.model_config.get("validate_by_alias", True)
    by_name = model.model_config.get("validate_by_name") or model.model_config.get("populate_by_name")
    aliases = _alias_keys(info.validation_alias) if by_alias else ()
    return (*aliases, (name,)) if by_name or not aliases else aliases


def _alias_keys(alias: str | AliasPath | AliasChoices | None) -> tuple[Keys, ...]:
    if alias is None:
        return ()
    if isinstance(alias, AliasChoices):
        return tuple(keys for choice in alias.choices for keys in _alias_keys(choice))
    return (tuple(alias.path),) if isinstance(alias, AliasPath) else ((alias,),)


# --- from a type to its place ---


def place_of(annotation: Any, config: ConfigDict | None = None, within: tuple[Any, ...] = ()) -> Place:
    """Plan one type.

    Args:
        annotation: any type that pydantic understands, with validators in its `Annotated` or not.
        config: the configuration of the model that the type stands in.
        within: the named types (`type Json = …`) that are being planned, since these may hold themselves.

    Raises:
        UsageError: if a validator stands where it could not be run.
    """
    config = config or ConfigDict()
    inner, metadata, names = _peeled(_named_above(annotation, within))
    constraints, validators = _sorted_out(metadata)
    common = (Annotated[(inner, *constraints)] if constraints else inner, config, validators)
    if any(name in within for name in names):
        _refuse_hidden(inner)
        return Place(*common)
    return _followed(inner, common, (*within, *names)) or Place(*common)


def _named_above(annotation: Any, within: tuple[Any, ...]) -> Any:
    """The type that a reference by name means where it means one that is being planned; else the annotation itself."""
    name = annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
    return next((alias for alias in within if alias.__name__ == name), annotation)


def _followed(
    inner: Any, common: tuple[Any, ConfigDict, tuple[Validator, ...]], within: tuple[Any, ...]
) -> Place | None:
    """The place of a type that others stand in, or None where nothing is checked below it."""
    origin, arguments = get_origin(inner), get_args(inner)
    kind = origin if isinstance(origin, type) else object
    _, config, _ = common
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return ModelPlace(*common, inner)
    if origin in (Union, UnionType):
        members = tuple(place_of(member, config, within) for member in arguments if member is not type(None))
        return UnionPlace(*common, members) if _is_worth_following(members) else None
    if issubclass(kind, Mapping) and len(arguments) == 2:
        _refuse_hidden(arguments[0])
        values = place_of(arguments[1], config, within)
        return ValuesPlace(*common, values) if _is_worth_following([values]) else None
    if issubclass(kind, Collection) and arguments:
        first, rest = _first_and_rest(kind, arguments)
        places = tuple(place_of(argument, config, within) for argument in (*first, *rest))
        return (
            ItemsPlace(*common, places[: len(first)], places[-1] if rest else None)
            if _is_worth_following(places)
            else None
        )
    _refuse_hidden(inner)
    return None


def _is_worth_following(places: Iterable[Place]) -> bool:
    return any(not place.is_bare for place in places)


def _first_and_rest(kind: type, arguments: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The types of the first items of a `tuple[A, B]`, and the type of all others in `tuple[A, ...]` or `list[A]`."""
    if issubclass(kind, tuple) and arguments[-1] is not Ellipsis:
        return arguments, ()
    return (), arguments[:1]


def _peeled(annotation: Any) -> tuple[Any, list[Any], list[Any]]:
    """A type without the names and `Annotated` around it, what the latter hold, and the names."""
    metadata: list[Any] = []
    names: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *found = get_args(annotation)
            metadata = found + metadata
        elif type(annotation).__name__ == "TypeAliasType":  # typing's own and typing_extensions' are two classes
            names.append(annotation)
            annotation = annotation.__value__
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            return annotation, metadata, names


def _sorted_out(metadata: Iterable[Any]) -> tuple[list[Any], tuple[Validator, ...]]:
    """What stands beside a type, parted into pydantic's constraints and our validators."""
    constraints: list[Any] = []
    validators: list[Validator] = []
    for thing in metadata:
        if isinstance(thing, FieldInfo):
            inner_constraints, inner_validators = _sorted_out(thing.metadata)
            constraints += inner_constraints
            validators += [*inner_validators, *_extra_validators(thing)]
        elif isinstance(thing, _Guarded):
            validators += thing.validators
        elif is_validator(thing):
            validators.append(thing)
        else:
            _refuse_class(thing)
            constraints.append(thing)
    for validator in validators:
        _demand_synchronous(validator)
    return constraints, tuple(validators)


def _extra_validators(info: FieldInfo) -> list[Validator]:
    """The validators of `json_schema_extra`, where models written for guardrails' Guard keep them."""
    extra = info.json_schema_extra
    validators = extra.get("validators", ()) if isinstance(extra, dict) else ()
    if not isinstance(validators, list | tuple) or not all(map(is_validator, validators)):
        raise UsageError('json_schema_extra={"validators": […]} takes a list of instances of guardrails\' Validator')
    return list(validators)


def _refuse_class(thing: Any) -> None:
    if isinstance(thing, type) and hasattr(thing, "rail_alias"):
        raise UsageError(f"{thing.__name__} stands in a type as a class; write {thing.__name__}()")


def plan(annotation: Any) -> Place:
    """Plan an output type whole, with all models below it, so that a mistake in it shows at once.

    Raises:
        UsageError: if a validator stands where it could not be run.
    """
    root = place_of(annotation)
    planned: set[type[BaseModel]] = set()
    waiting = [root]
    while waiting:
        place = waiting.pop()
        if isinstance(place, ModelPlace) and place.model not in planned:
            planned.add(place.model)
            waiting += [each.place for each in fields_of(place.model)]
        elif isinstance(place, ItemsPlace):
            waiting += [*place.first, *([place.rest] if place.rest else [])]
        elif isinstance(place, ValuesPlace):
            waiting.append(place.values)
        elif isinstance(place, UnionPlace):
            waiting += place.members
    return root


def _demand_synchronous(validator: Validator) -> None:
    """Guards are run between two steps, without an event loop, so a validator must have a plain `validate`."""
    from stanchion.guards._guardrails import Validator

    kind = type(validator)
    has_own = kind.validate is not Validator.validate or kind._validate is not Validator._validate
    if not has_own or inspect.iscoroutinefunction(kind.validate) or inspect.iscoroutinefunction(kind._validate):
        raise UsageError(
            f"{kind.__name__} cannot be run as a guard: it has no synchronous validate(); "
            "what must be awaited belongs in a node"
        )


def _refuse_hidden(annotation: Any) -> None:
    """Refuse validators in types that are not followed (keys, dataclasses, TypedDicts …): they would never run."""
    if _holds_validators(annotation, set()):
        raise UsageError(
            "a validator stands inside a type that guards do not follow (the key of a dict, a dataclass, a TypedDict, "
            f"a NamedTuple or {_named(annotation)}); use a pydantic model, a list, a dict's values or a union"
        )


def _holds_validators(annotation: Any, seen: set[int]) -> bool:
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    inner, metadata, _ = _peeled(annotation)
    if _sorted_out(metadata)[1]:
        return True
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return bool(fields_of(inner))
    below = [] if get_origin(inner) is Literal else [*get_args(inner), getattr(get_origin(inner), "__value__", None)]
    if is_typeddict(inner) or is_dataclass(inner) or hasattr(inner, "_fields"):
        below += get_type_hints(inner, include_extras=True).values()
    return any(_holds_validators(each, seen) for each in below)
