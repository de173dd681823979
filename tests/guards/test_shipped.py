"""What the shipped validators have in common."""

from __future__ import annotations

import copy
import pickle

import pytest
from guardrails.validator_base import FailResult, PassResult

from stanchion.errors import UsageError
from stanchion.guards import Consistent, Grounded, Placeholder, Plausible, WellFormed

VALIDATORS = [
    Grounded(),
    Consistent(total="total", parts=("subtotal", "tax")),
    Plausible(minimum=0),
    Placeholder(),
    WellFormed(),
]


@pytest.mark.parametrize("validator", VALIDATORS, ids=lambda validator: validator.rail_alias)
def test_a_validator_can_be_copied_and_sent(validator):
    """Validators survive deepcopy and pickle, as those of the ecosystem do."""
    assert copy.deepcopy(validator) == validator
    assert pickle.loads(pickle.dumps(validator)) == validator


@pytest.mark.parametrize("validator", VALIDATORS, ids=lambda validator: validator.rail_alias)
@pytest.mark.parametrize(
    "value", [None, True, 3, 1.5, float("nan"), "text", b"bytes", [1], {"total": "x"}, object(), "\ud800", "\x00"]
)
def test_a_validator_answers_whatever_it_is_shown(validator, value):
    """A value of a type that it was not meant for is told so, not raised at."""
    result = validator.validate(value, {"source": "text", "today": "2026-01-01"})

    assert isinstance(result, PassResult | FailResult)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Grounded(severity="error"),
        lambda: Grounded(similar=0),
        lambda: Grounded(similar=1.5),
        lambda: Consistent(total="total"),
        lambda: Consistent(total="total", parts="subtotal"),
        lambda: Consistent(total="total", parts=("a",), each="items", amount="price"),
        lambda: Consistent(total="total", each="items"),
        lambda: Consistent(total="total", amount="price"),
        lambda: Consistent(total="total", parts=("a",), tolerance=-1),
        lambda: Plausible(minimum=2, maximum=1),
        lambda: Plausible(minimum=1.5),
        lambda: Plausible(maximum="many"),
        lambda: Plausible(since=0),
        lambda: WellFormed(shortest=5, longest=4),
        lambda: WellFormed(shortest=-1),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(make):
    """When the validator is made, not when the first answer comes."""
    with pytest.raises(UsageError):
        make()
