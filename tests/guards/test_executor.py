"""What `check` promises: everything is said at once, with exact paths, and silence counts as no."""

from __future__ import annotations

import tracemalloc
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from guardrails.validator_base import FailResult, PassResult, Validator, register_validator
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel, model_validator

from stanchion.errors import UsageError
from stanchion.guards import Checked, check, guarded, json_schema
from stanchion.guards.executor import MOST_CHECKS
from stanchion.verdict import Check, Evidence


@register_validator(name="lab/longest", data_type="string")
class Longest(Validator):
    """Written as the packages of the ecosystem are: it overrides `validate` and offers a fix."""

    def __init__(self, longest: int, on_fail: str | None = None) -> None:
        super().__init__(on_fail=on_fail, longest=longest)
        self._longest = longest

    def validate(self, value: Any, metadata: dict[str, Any]) -> Any:
        """Pass what is short enough."""
        if len(value) <= self._longest:
            return PassResult()
        return FailResult(error_message=f"{value} is longer than {self._longest}", fix_value=value[: self._longest])


@register_validator(name="lab/does", data_type="all")
class Does(Validator):
    """Does whatever a test tells it to."""

    def __init__(self, act: Any, on_fail: str | None = None) -> None:
        super().__init__(on_fail=on_fail)
        self._act = act

    def _validate(self, value: Any, metadata: dict[str, Any]) -> Any:
        return self._act(value, metadata)


class Item(BaseModel):
    """A part of an order, which may have parts itself."""

    name: Annotated[str, Longest(5)]
    price: float | None = None
    parts: list[Item] = []


class Order(BaseModel):
    """Guards in every kind of place."""

    buyer: Annotated[str, Longest(5)]
    note: Annotated[str, guarded(Longest(5))] | None = None
    items: list[Item] = []
    rates: dict[str, Item] = {}
    count: int = 0


def said(checked: Checked) -> list[tuple[str, str, str]]:
    return [(check.guard, check.path, check.status) for check in checked.checks]


def one_field(*validators: Any, kind: Any = str) -> type[BaseModel]:
    class OneField(BaseModel):
        field: Annotated[kind, guarded(*validators)]

    return OneField


# --- what is said ---


def test_a_good_answer_has_a_value_and_a_pass_of_each_declared_validator():
    """An answer that nobody objects to is ok, and the record shows which validators looked."""
    checked = check(Order, {"buyer": "Ann", "items": [{"name": "pen"}]})

    assert checked.ok
    assert checked.value == Order(buyer="Ann", items=[Item(name="pen")])
    assert said(checked) == [("lab/longest", "buyer", "pass"), ("lab/longest", "items[0].name", "pass")]


def test_all_failures_are_reported_at_once_with_exact_paths():
    """Schema errors and guards speak together, also in parts whose siblings pydantic refused."""
    checked = check(
        Order,
        {
            "buyer": "Annabel",
            "note": "too long a note",
            "count": "many",
            "items": [{"name": "stapler", "price": "cheap"}, {"name": "pen"}, 7],
            "rates": {"a b": {"name": "pencil", "parts": [{"name": "rubber"}, {"name": 3}]}},
        },
    )

    assert checked.value is None
    assert not checked.ok
    assert set(said(checked)) == {
        ("schema", "count", "fail"),
        ("schema", "items[0].price", "fail"),
        ("schema", "items[2]", "fail"),
        ("schema", 'rates["a b"].parts[1].name', "fail"),
        ("lab/longest", "buyer", "fail"),
        ("lab/longest", "note", "fail"),
        ("lab/longest", "items[0].name", "fail"),
        ("lab/longest", "items[1].name", "pass"),
        ("lab/longest", 'rates["a b"].name', "fail"),
        ("lab/longest", 'rates["a b"].parts[0].name', "fail"),
    }


def test_a_missing_field_is_named():
    """A field that the answer lacks is a failure at its own path."""
    assert ("schema", "items[0].name", "fail") in said(check(Order, {"buyer": "Ann", "items": [{}]}))


def test_a_failing_guard_leaves_the_value():
    """A value that is right by its type but refused by a guard is there to be shown, and not ok."""
    checked = check(Order, {"buyer": "Annabel"})

    assert checked.value == Order(buyer="Annabel")
    assert not checked.ok


def test_a_model_level_validator_gets_the_instance():
    """Validators of `Annotated[Model, …]` are given the whole model, after those of its fields."""
    seen = []
    whole = Does(lambda value, _: seen.append(value) or PassResult())

    checked = check(Annotated[Order, whole], {"buyer": "Ann"})

    assert seen == [Order(buyer="Ann")]
    assert said(checked)[-1] == ("lab/does", "", "pass")


def test_a_warning_does_not_stand_in_the_way():
    """A FailResult that calls itself a warning is recorded as one."""
    warns = Does(lambda *_: FailResult(error_message="odd", metadata={"severity": "warn"}))

    checked = check(one_field(warns), {"field": "x"})

    assert checked.ok
    assert checked.checks == [Check(guard="lab/does", path="field", status="warn", reason="odd")]


@pytest.mark.parametrize(
    ("claimed", "kept"),
    [((2, 5), Evidence(start=2, end=5)), ((5, 2), None), ((-1, 2), None), ("25", None), ((1.5, 2), None), (None, None)],
)
@pytest.mark.parametrize("result", [PassResult, lambda **kw: FailResult(error_message="no", **kw)])
def test_evidence_is_kept_where_it_is_a_span(claimed, kept, result):
    """Evidence is taken from the result's metadata, unless it is no span of a text."""
    looks = Does(lambda *_: result(metadata={"evidence": claimed}))

    assert check(one_field(looks), {"field": "x"}).checks[0].evidence == kept


def test_a_reason_is_short_and_storable():
    """A message of 10,000 characters with a lone surrogate becomes a reason that any store takes."""
    chatty = Does(lambda *_: FailResult(error_message="\ud800" + "x" * 10_000))

    reason = check(one_field(chatty), {"field": "x"}).checks[0].reason

    assert len(reason) == 300
    assert reason.encode()


# --- closed when in doubt ---


def raises(*_: Any) -> Any:
    raise KeyError("the customer's secret")


def endless(*_: Any) -> Any:
    return endless()


async def awaited(*_: Any) -> Any:
    return PassResult()


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (raises, "lab/does raised KeyError"),
        (endless, "lab/does raised RecursionError"),
        (lambda *_: None, "lab/does returned NoneType, neither a pass nor a fail"),
        (lambda *_: True, "lab/does returned bool, neither a pass nor a fail"),
        (awaited, "lab/does returned coroutine, neither a pass nor a fail"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_validator_that_breaks_has_said_no(act, reason):
    """What is no answer is a failure, whose reason names the guard and the kind of defect and no content."""
    checked = check(one_field(Does(act)), {"field": "x"})

    assert checked.checks == [Check(guard="lab/does", path="field", status="fail", reason=reason)]


def test_missing_metadata_is_a_failure():
    """A validator that is not given what it needs is not run, and that is a no."""

    @register_validator(name="lab/needs", data_type="all")
    class Needs(Does):
        required_metadata_keys = ["source"]  # noqa: RUF012 - guardrails declares it so

    model = one_field(Needs(lambda *_: PassResult()))

    assert said(check(model, {"field": "x"})) == [("lab/needs", "field", "fail")]
    assert check(model, {"field": "x"}, metadata={"source": ""}).ok


def test_each_validator_gets_metadata_of_its_own():
    """What one validator writes into its metadata neither the next one nor the caller sees."""
    seen = []

    def scribble(_: Any, metadata: dict[str, Any]) -> PassResult:
        seen.append(dict(metadata))
        metadata.clear()
        return PassResult()

    given_metadata = {"source": "text"}
    check(one_field(Does(scribble), Does(scribble)), {"field": "x"}, metadata=given_metadata)

    assert seen == [{"source": "text"}, {"source": "text"}]
    assert given_metadata == {"source": "text"}


def test_none_is_shown_only_to_validators_that_want_it():
    """An honest null is not checked, unless the validator's class asks for it."""

    @register_validator(name="lab/wants_none", data_type="all")
    class WantsNone(Does):
        wants_none = True

    refuse = lambda *_: FailResult(error_message="no")  # noqa: E731

    assert check(one_field(Does(refuse), kind=str | None), {"field": None}).checks == []
    assert said(check(one_field(WantsNone(refuse), kind=str | None), {"field": None})) == [
        ("lab/wants_none", "field", "fail")
    ]


def test_a_defect_in_the_model_itself_is_a_failure():
    """A pydantic validator that raises something else than it should does not crash the caller."""

    class Defective(BaseModel):
        name: Annotated[str, Longest(2)]

        @model_validator(mode="after")
        def look(self) -> Any:
            return {}["nothing"]

    checked = check(Defective, {"name": "abc"})

    assert said(checked) == [("schema", "", "fail"), ("lab/longest", "name", "fail")]
    assert checked.checks[0].reason == "the model's own validation raised KeyError"


# --- on_fail ---


@pytest.mark.parametrize("on_fail", [None, "exception", "noop", "reask", "filter", "refrain", "fix_reask"])
def test_every_on_fail_but_fix_reports_a_failure(on_fail):
    """Nothing is raised, dropped or silently changed, whatever the validator was told."""
    checked = check(one_field(Longest(2, on_fail=on_fail)), {"field": "abc"})

    assert said(checked) == [("lab/longest", "field", "fail")]
    assert checked.value.field == "abc"


def test_a_fix_is_applied_checked_again_and_recorded():
    """A fixed value is validated once more with all guards, which see it, and leaves a warning."""
    model = one_field(Longest(4, on_fail="fix"), Longest(2, on_fail="fix"), Longest(3))

    checked = check(model, {"field": "abcdef"})

    assert checked.ok
    assert checked.value.field == "ab"
    assert checked.checks == [
        Check(guard="lab/longest", path="field", status="warn", reason="fixed: abcdef is longer than 4"),
        Check(guard="lab/longest", path="field", status="warn", reason="fixed: abcd is longer than 2"),
        Check(guard="lab/longest", path="field", status="pass"),
    ]


def test_a_fix_that_does_not_help_is_a_failure():
    """A validator that refuses its own fix is not asked a third time."""
    asked = []

    def never(value: str, _: Any) -> FailResult:
        asked.append(value)
        return FailResult(error_message="no", fix_value=value + "!")

    checked = check(one_field(Does(never, on_fail="fix")), {"field": "a"})

    assert said(checked) == [("lab/does", "field", "fail")]
    assert asked == ["a", "a!"]


def test_a_fix_of_the_wrong_type_is_a_schema_failure():
    """A fix goes through pydantic like any other value."""
    wrong = Does(lambda *_: FailResult(error_message="no", fix_value="many"), on_fail="fix")

    checked = check(one_field(wrong, kind=int), {"field": 1})

    assert checked.value is None
    assert ("schema", "field", "fail") in said(checked)


def test_a_fix_deep_inside_changes_nothing_else():
    """The caller's answer is left alone, and only the fixed place differs in the value."""
    model = one_field(Longest(2, on_fail="fix"))

    class Holder(BaseModel):
        held: dict[str, list[model]]  # type: ignore[valid-type]

    answer = {"held": {"a": [{"field": "x"}, {"field": "xyz"}]}}
    checked = check(Holder, answer)

    assert checked.value.model_dump() == {"held": {"a": [{"field": "x"}, {"field": "xy"}]}}
    assert answer == {"held": {"a": [{"field": "x"}, {"field": "xyz"}]}}


def test_a_fix_of_what_the_answer_does_not_say_is_not_applied():
    """A default, or an item of a set, has no place in the answer that could be mended, so it stays a failure."""

    class Unsaid(BaseModel):
        default: Annotated[str, Longest(2, on_fail="fix")] = "default"
        members: set[Annotated[str, guarded(Longest(2, on_fail="fix"))]] = set()

    assert said(check(Unsaid, {"members": ["abc"]})) == [
        ("lab/longest", "default", "fail"),
        ("lab/longest", "members[0]", "fail"),
    ]


# --- where validators stand ---


class Cat(BaseModel):
    """One member of a union."""

    kind: Literal["cat"]
    name: Annotated[str, Does(lambda *_: FailResult(error_message="a cat"))]


class Dog(BaseModel):
    """The other member."""

    kind: Literal["dog"]
    name: Annotated[str, Does(lambda *_: FailResult(error_message="a dog"))]


@pytest.mark.parametrize(
    ("kind", "value", "path"),
    [
        (list[Annotated[str, guarded(Longest(2))]], ["a", "abc"], "field[1]"),
        (dict[str, Annotated[str, guarded(Longest(2))]], {"k": "abc"}, "field.k"),
        (tuple[int, Annotated[str, guarded(Longest(2))]], [1, "abc"], "field[1]"),
        (set[Annotated[str, guarded(Longest(2))]], ["abc"], "field[0]"),
        (Optional[Annotated[str, guarded(Longest(2))]], "abc", "field"),  # noqa: UP045
        (Union[int, Annotated[str, guarded(Longest(2))]], "abc", "field"),  # noqa: UP007
        (list[dict[str, Annotated[str, guarded(Longest(2))] | None]], [{"k": None}, {"k": "abc"}], "field[1].k"),
        (RootModel[list[Annotated[str, guarded(Longest(2))]]], ["abc"], "field[0]"),
        (Item | None, {"name": "stapler"}, "field.name"),
        (dict[str, Item], {"k": {"name": "stapler"}}, "field.k.name"),
        (Cat | Dog, {"kind": "dog", "name": "x"}, "field.name"),
        (Annotated[Cat | Dog, Field(discriminator="kind")], {"kind": "dog", "name": "x"}, "field.name"),
    ],
)
def test_a_validator_is_run_wherever_it_can_stand(kind, value, path):
    """Inside lists, dictionaries, optional values, unions and models, and reported at its place."""

    class Holder(BaseModel):
        field: kind

    failures = [each for each in check(Holder, {"field": value}).checks if each.status == "fail"]

    assert [each.path for each in failures] == [path]
    assert "cat" not in failures[0].reason


def test_only_the_member_of_a_union_that_matched_is_asked():
    """An int is not shown to the validators of the str beside it, nor one list to those of another."""
    number, text = Does(lambda *_: PassResult()), Longest(2)

    class Holder(BaseModel):
        scalar: Annotated[int, guarded(number)] | Annotated[str, guarded(text)]
        items: list[Annotated[int, guarded(number)]] | list[Annotated[str, guarded(text)]]

    assert said(check(Holder, {"scalar": 5, "items": ["a"]})) == [
        ("lab/does", "scalar", "pass"),
        ("lab/longest", "items[0]", "pass"),
    ]


def test_models_written_for_guard_are_checked():
    """Validators in `json_schema_extra` are run."""

    class ForGuard(BaseModel):
        name: str = Field(json_schema_extra={"validators": [Longest(2)]})
        names: list[Annotated[str, Field(json_schema_extra={"validators": [Longest(2)]})]]

    assert said(check(ForGuard, {"name": "abc", "names": ["abc"]})) == [
        ("lab/longest", "name", "fail"),
        ("lab/longest", "names[0]", "fail"),
    ]


class Spelled(BaseModel):
    """Fields with every kind of alias."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    plain: Annotated[str, Longest(2), Field(alias="plainName")] = ""
    choice: Annotated[str, Longest(2), Field(validation_alias=AliasChoices("first", "second"))] = ""
    deep: Annotated[str, Longest(2), Field(validation_alias=AliasPath("outer", 0, "inner"))] = ""


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        ({"plainName": "abc"}, "plainName"),
        ({"plain": "abc"}, "plain"),
        ({"second": "abc"}, "second"),
        ({"outer": [{"inner": "abc"}]}, "outer[0].inner"),
    ],
)
def test_a_path_says_what_the_answer_says(answer, path):
    """A field with an alias is reported under the name that the answer used, once."""
    failures = [each.path for each in check(Spelled, answer).checks if each.status == "fail"]

    assert failures == [path]


def test_a_schema_error_in_a_union_is_reported_at_its_value():
    """The names of a union's members, which pydantic puts into its paths, are not keys of the answer."""

    class Holder(BaseModel):
        field: int | dict[str, int]

    paths = [each.path for each in check(Holder, {"field": {"int": "a"}}).checks]

    assert paths == ["field", "field.int"]


def test_the_default_of_a_field_is_checked_too():
    """What goes on is checked, whether the answer said it or not."""

    class Defaulted(BaseModel):
        name: Annotated[str, Longest(2)] = "default"

    assert said(check(Defaulted, {})) == [("lab/longest", "name", "fail")]


@pytest.mark.parametrize("output_type", [str, list[Item], Item(name="x"), "Item", None, Annotated[str, Longest(2)]])
def test_an_output_type_is_a_model(output_type):
    """Anything but a pydantic model is a mistake of the caller."""
    with pytest.raises(UsageError, match="pydantic model"):
        check(output_type, {})


# --- bounds ---


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Anything(BaseModel):
    """A model that pydantic has no objections to."""

    field: Any


def test_a_deep_answer_is_refused_and_one_within_the_limit_is_not():
    """100 levels are looked into; 101 and 100,000 are refused without recursion."""
    assert check(Anything, {"field": nested(99)}).ok
    for levels in (100, 100_000):
        assert said(check(Anything, {"field": nested(levels)})) == [("size", "", "fail")]


def test_an_answer_that_holds_itself_is_refused():
    """A cycle, which no JSON parser makes but a program may, ends at the limit too."""
    answer: dict[str, Any] = {}
    answer["field"] = answer

    assert said(check(Anything, answer)) == [("size", "", "fail")]


def test_a_large_answer_is_refused():
    """More than a million characters are not looked into, wherever they stand."""
    assert check(Anything, {"field": "x" * 999_000}).ok
    for large in ("x" * 1_000_001, {"x" * 1_000_001: 1}, [0] * 1_000_001):
        assert said(check(Anything, {"field": large})) == [("size", "", "fail")]


def test_a_model_that_holds_itself_without_end_is_refused():
    """A recursive instance, which is no JSON, ends in a failed check and not in a RecursionError."""
    item = Item(name="x")
    item.parts.append(item)

    assert said(check(Item, item)) == [("size", "", "fail")]


def test_the_record_of_one_answer_is_bounded():
    """Of 5,000 checks the failures come first, and a last line says how many are left out."""

    class Names(BaseModel):
        names: list[Annotated[str, guarded(Longest(2))]]

    checked = check(Names, {"names": ["a"] * 4_990 + ["abc"] * 10})

    assert not checked.ok
    assert len(checked.checks) == MOST_CHECKS + 1
    assert [each.status for each in checked.checks[:11]] == ["fail"] * 10 + ["pass"]
    assert checked.checks[-1].reason == "4,000 further checks are not listed"


def test_no_memory_is_kept():
    """20,000 answers leave no more behind than 1,000 (all with different keys and values)."""

    def kept_after(answers: range) -> int:
        for number in answers:
            check(Order, {"buyer": f"buyer {number}", "rates": {f"key {number}": {"name": "x"}}, "count": "many"})
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        kept_after(range(1_000))
        few = kept_after(range(1_000, 2_000))
        many = kept_after(range(2_000, 22_000))
    finally:
        tracemalloc.stop()

    assert many - few < 50_000


# --- properties ---

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
order_fields = st.sampled_from(["buyer", "note", "items", "rates", "count", "name", "price", "parts"])
near_orders = st.recursive(
    json_values, lambda inner: st.dictionaries(order_fields, inner | st.lists(inner, max_size=3), max_size=5)
)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(json_values | near_orders)
def test_no_json_raises(answer):
    """Whatever the answer is, `check` returns, and what is not ok has said why."""
    checked = check(Order, answer)

    assert checked.ok == (checked.value is not None and all(each.status != "fail" for each in checked.checks))
    assert checked.value is not None or not checked.ok
    assert all(each.reason for each in checked.checks if each.status == "fail")
    for each in checked.checks:
        each.model_dump_json()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(near_orders, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(answer, random):
    """The same answer with its keys in another order is told the same."""

    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(each) for each in value] if isinstance(value, list) else value

    told = check(Order, answer)
    told_again = check(Order, shuffled(answer))

    assert sorted(map(repr, told.checks)) == sorted(map(repr, told_again.checks))


# --- the schema for providers ---


def test_the_schema_shows_no_trace_of_validators():
    """With validators in every way of declaring them, the schema is that of the model without."""

    class Plain(BaseModel):
        validators: list[str] = Field(description="a field of that name stays")
        name: str = Field(default="x", max_length=9)
        other: str | None = None

    class Declared(BaseModel):
        validators: list[Annotated[str, guarded(Longest(2))]] = Field(description="a field of that name stays")
        name: Annotated[str, Longest(2)] = Field(
            default="x", max_length=9, json_schema_extra={"validators": [Longest(2)]}
        )
        other: Annotated[str, guarded(Longest(2))] | None = None

    Declared.__name__ = "Plain"

    assert json_schema(Annotated[Declared, Longest(2)]) | {"title": "Plain"} == Plain.model_json_schema()
