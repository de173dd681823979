"""How places in an answer are written."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.guards._paths import LONGEST_KEY, path_text

STEP = re.compile(r'\.?(?P<name>[^\W\d]\w*)|\[(?P<index>\d+)\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]')


def keys_of(path: str) -> tuple[str | int, ...]:
    keys: list[str | int] = []
    while path:
        step = STEP.match(path)
        assert step, path
        keys.append(step["name"] or (int(step["index"]) if step["index"] else json.loads(step["quoted"])))
        path = path[step.end() :]
    return tuple(keys)


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ((), ""),
        (("total",), "total"),
        (("items", 0, "total_price"), "items[0].total_price"),
        ((0, 1), "[0][1]"),
        (("rates", "a.b"), 'rates["a.b"]'),
        (("rates", "0"), 'rates["0"]'),
        (("rates", ""), 'rates[""]'),
        (("größe",), "größe"),
    ],
)
def test_a_path_reads_like_an_expression(keys, path):
    """Names are joined by dots, indices stand in brackets, and other keys are quoted."""
    assert path_text(keys) == path


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.text(st.characters(), max_size=12) | st.integers(0, 10**6), max_size=6).map(tuple))
def test_a_path_leads_back_to_its_keys(keys):
    """No two places are written alike, whatever their keys are."""
    assert keys_of(path_text(keys)) == keys
    path_text(keys).encode()


def test_a_long_key_is_cut():
    """A key of a million characters does not fill the record."""
    assert len(path_text(("x" * 1_000_000,))) == LONGEST_KEY + len('["\\u2026"]')
