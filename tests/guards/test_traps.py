"""Answers that guardrails' Guard silently turns into something else; here each is refused, and said where."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from stanchion.guards import check


class Inner(BaseModel):
    """A part."""

    name: str


class Whole(BaseModel):
    """One field of each kind that Guard was seen to bend."""

    text: str = ""
    whole: int = 0
    number: float = 0.0
    flag: bool = False
    names: list[str] = []
    inner: Inner | None = None
    anything: Any = None


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        (None, ""),
        ([], ""),
        ("text", ""),
        ([{"text": "a"}], ""),
        ([["text", "a"]], ""),
        ({"inner": [{"name": "a"}]}, "inner"),
        ({"inner": {}}, "inner.name"),
        ({"whole": 3.7}, "whole"),
        ({"whole": "3.7"}, "whole"),
        ({"names": "abc"}, "names"),
        ({"names": {"a": 1}}, "names"),
        ({"text": 5}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"anything": {"\udfff": 1}}, 'anything["\\udfff"]'),
        ({"flag": "perhaps"}, "flag"),
        ({"number": float("nan")}, "number"),
        ({"number": float("inf")}, "number"),
        ({"whole": 10**5_000}, "whole"),
        ({"anything": [{"deep": -(10**5_000)}]}, "anything[0].deep"),
        ({"anything": {"a b": [float("-inf")]}}, 'anything["a b"][0]'),
        ({"whole": "9" * 5_000}, "whole"),
    ],
)
def test_a_wrong_answer_is_refused_where_it_is_wrong(answer, path):
    """There is no value, and a failed check at the path."""
    checked = check(Whole, answer)

    assert checked.value is None
    assert path in {each.path for each in checked.checks if each.status == "fail"}


@pytest.mark.parametrize(
    ("answer", "field", "value"),
    [
        ({"flag": "false"}, "flag", False),
        ({"anything": {"kept": [1]}}, "anything", {"kept": [1]}),
        ({"whole": 10**900}, "whole", 10**900),
        ({"inner": None}, "inner", None),
    ],
)
def test_a_right_answer_keeps_its_meaning(answer, field, value):
    """What Guard was seen to turn round or drop arrives as it was said."""
    assert getattr(check(Whole, answer).value, field) == value
