"""Checking an answer: pydantic first, then every validator that its output type declares, and all said at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from stanchion.errors import UsageError
from stanchion.guards._bounds import bounds
from stanchion.guards._paths import Keys, keys_of_error
from stanchion.guards._plan import ABSENT, Place, plan
from stanchion.guards._reasons import failed, short
from stanchion.verdict import Check

if TYPE_CHECKING:
    from stanchion.guards._ask import Saying
    from stanchion.guards._guardrails import Validator

MOST_CHECKS = 1_000
"""Checks kept of one answer, failures first; a list of 100,000 wrong items is not worth more."""


@dataclass(frozen=True)
class Checked:
    """An answer after its guards.

    Args:
        value: the answer as its output type, or None where it is none.
        checks: all that was said: what pydantic refused (guard `schema`), then each validator on each value.
    """

    value: BaseModel | None
    checks: list[Check]

    @property
    def ok(self) -> bool:
        """Whether there is a value and nobody said no."""
        return self.value is not None and not any(check.status == "fail" for check in self.checks)


def check(output_type: Any, data: Any, *, metadata: Mapping[str, Any] | None = None) -> Checked:
    """Check an answer against its output type and all validators that this declares.

    Validators may stand in `Annotated[str, V()]`, in `Field(json_schema_extra={"validators": [V()]})`, and anywhere
    inside a type as `guarded(V())`; those of `Annotated[Model, V()]` get the whole model. None is not shown to them,
    unless their class says `wants_none = True`. Where a part of the answer is wrong, the other parts are still checked.

    A validator runs here and now, on the caller's thread, and cannot be interrupted; it gets a dictionary of its own.
    One that raises, or returns neither a pass nor a fail, has said no. Of its `on_fail` only "fix" is followed: the
    value that it offers is put in, the whole answer checked once more, and the mended check is a warning.

    Args:
        output_type: a pydantic model, or `Annotated[Model, validators…]`.
        data: the answer as a JSON parser returned it.
        metadata: what validators need to know, such as `source` and `today`.

    Returns:
        The value and everything that was said of it. Whatever the answer holds, nothing is raised.

    Raises:
        UsageError: if the output type is none, or declares a validator where it could not be run.
    """
    place = _planned(output_type)
    limits = bounds(data)
    if limits.refusal:
        return Checked(None, [limits.refusal])
    try:
        checked = _checked(place, data, metadata or {})
    except RecursionError:  # a model that validates or holds itself without end
        return Checked(None, [failed("size", (), "the answer is nested too deeply")])
    if limits.foreign:
        checked = Checked(None, limits.foreign + checked.checks)
    return _kept(checked)


def json_schema(output_type: Any) -> dict[str, Any]:
    """The JSON schema of an output type as a model's provider may see it: without any trace of validators.

    Args:
        output_type: a pydantic model, or `Annotated[Model, validators…]`.

    Raises:
        UsageError: if it is neither.
    """
    cleaned: dict[str, Any] = _without_validators(bare_model(output_type).model_json_schema())
    return cleaned


# --- planning ---


def _planned(output_type: Any) -> Place:
    return _planned_class(output_type) if isinstance(output_type, type) else _plan(output_type)


def _plan(output_type: Any) -> Place:
    bare_model(output_type)
    return plan(output_type)


_planned_class = lru_cache(maxsize=256)(_plan)


def bare_model(output_type: Any) -> type[BaseModel]:
    """Return the pydantic model of an output type, without the validators around it.

    Args:
        output_type: a pydantic model, or `Annotated[Model, validators…]`.

    Raises:
        UsageError: it is neither.
    """
    model = get_args(output_type)[0] if get_origin(output_type) is Annotated else output_type
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise UsageError("an output type is a pydantic model, or Annotated[Model, …] with validators")
    return model


# --- checking ---


def _checked(place: Place, data: Any, metadata: Mapping[str, Any]) -> Checked:
    looks = _Round(metadata)
    value = looks.look(place, data)
    if looks.fixes:
        for keys, fix in looks.fixes.items():
            data = _replaced(data, keys, fix)
        looks = _Round(metadata, mended=looks.fixed)
        value = looks.look(place, data)
    return Checked(value, looks.checks)


class _Round:
    """One look at a whole answer; there is a second one where values were mended.

    Attributes:
        checks: what was said, in the order of the output type's fields.
        fixes: the values that validators with `on_fail="fix"` would put in, by place.
        fixed: the objections that these fixes answer, by validator and place.
    """

    def __init__(self, metadata: Mapping[str, Any], mended: Mapping[tuple[int, Keys], Check] | None = None) -> None:
        self.checks: list[Check] = []
        self.fixes: dict[Keys, Any] = {}
        self.fixed: dict[tuple[int, Keys], Check] = {}
        self._metadata = metadata
        self._mended = mended or {}

    def look(self, place: Place, data: Any) -> BaseModel | None:
        """Build the value and ask the guards; where it cannot be built, ask those of its good parts."""
        try:
            value: BaseModel = place.adapter.validate_python(data)
        except ValidationError as error:
            self.checks += [failed("schema", keys_of_error(each, data), each["msg"]) for each in _errors(error)]
        except RecursionError:
            raise
        except Exception as error:  # a validator of the model itself, with a defect
            self.checks.append(failed("schema", (), f"the model's own validation raised {type(error).__name__}"))
        else:
            self._follow(place, value, data, ())
            return value
        for step, below, part in place.parts(data):
            self._salvage(below, part, step)
        return None

    def _salvage(self, place: Place, raw: Any, keys: Keys) -> None:
        """Ask the guards of whatever can be built of a part of a refused answer."""
        try:
            value = place.adapter.validate_python(raw)
        except RecursionError:
            raise
        except Exception:  # pydantic's refusal is already reported for the answer as a whole
            for step, below, part in place.parts(raw):
                self._salvage(below, part, keys + step)
        else:
            self._follow(place, value, raw, keys)

    def _follow(self, place: Place, value: Any, raw: Any, keys: Keys) -> None:
        """Ask the guards of everything below a value, then those of the value itself."""
        if place.is_followed:
            self._follow_below(place, value, raw, keys)
        for validator in place.validators:
            if value is None and not getattr(validator, "wants_none", False):
                continue
            saying = _ask()(validator, value, keys, self._metadata)
            self.checks.append(self._with_mending(saying.check, validator, keys))
            if saying.fix is not None and raw is not ABSENT:
                value = self.fixes[keys] = saying.fix  # the next validator sees the mended value
                self.fixed[id(validator), keys] = saying.check

    def _with_mending(self, check: Check, validator: Validator, keys: Keys) -> Check:
        """A check as it is; a warning where it passes only because the value was mended."""
        if not self._mended or check.status != "pass" or (id(validator), keys) not in self._mended:
            return check
        objection = self._mended[id(validator), keys]
        return check.model_copy(update={"status": "warn", "reason": short(f"fixed: {objection.reason}")})

    def _follow_below(self, place: Place, value: Any, raw: Any, keys: Keys) -> None:
        try:
            below = list(place.children(value, raw))
        except Exception:  # a user's own validator turned the value into something else than its type says
            self.checks.append(
                failed("schema", keys, f"is no {place.classes[0].__name__}, so its guards cannot be run")
            )
            return
        for step, child, item, part in below:
            self._follow(child, item, part, keys + step)


@cache
def _ask() -> Callable[[Validator, Any, Keys, Mapping[str, Any]], Saying]:
    """The module that imports guardrails, which an output type without validators does not need."""
    from stanchion.guards._ask import ask

    return ask


def _errors(error: ValidationError) -> list[Mapping[str, Any]]:
    return list(error.errors(include_url=False, include_context=False))


# --- mending and tidying ---


def _replaced(answer: Any, keys: Keys, value: Any) -> Any:
    """A copy of the answer with another value at one place; the rest is shared, not copied."""
    if not keys:
        return value
    key, *rest = keys
    copy: Any = dict(answer) if isinstance(answer, Mapping) else list(answer)
    copy[key] = _replaced(answer[key], tuple(rest), value)
    return copy


def _kept(checked: Checked) -> Checked:
    if len(checked.checks) <= MOST_CHECKS:
        return checked
    order = {"fail": 0, "warn": 1, "pass": 2}
    kept = sorted(checked.checks, key=lambda check: order[check.status])[:MOST_CHECKS]
    left_out = len(checked.checks) - MOST_CHECKS
    note = Check(guard="size", status="warn", reason=f"{left_out:,} further checks are not listed")
    return Checked(checked.value, [*kept, note])


# --- the schema for providers ---

_NAMED_SCHEMAS = {"properties", "patternProperties", "$defs"}
"""Keywords whose keys are names of the author's choice: a field may well be called `validators`."""

_DATA = {"default", "const", "enum", "examples"}
"""Keywords that hold values, not schemas."""


def _without_validators(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_validators(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {}
    for keyword, value in schema.items():
        if keyword in _NAMED_SCHEMAS:
            cleaned[keyword] = {name: _without_validators(each) for name, each in value.items()}
        elif keyword != "validators":
            cleaned[keyword] = value if keyword in _DATA else _without_validators(value)
    return cleaned
