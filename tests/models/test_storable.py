"""What is stored of a message: everything, but for what no store can hold."""

from __future__ import annotations

import ormsgpack
from hypothesis import given
from hypothesis import strategies as st

from stanchion.models.storable import storable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
)


@given(JSON)
def test_everything_becomes_storable_and_stays_so(value: object) -> None:
    """What comes out can be packed and encoded, and is not changed a second time."""
    stored = storable(value)

    assert ormsgpack.unpackb(ormsgpack.packb(stored, option=ormsgpack.OPT_NON_STR_KEYS)) == stored
    assert storable(stored) == stored


def test_only_half_characters_and_huge_integers_change() -> None:
    """Lone surrogates become U+FFFD, also in keys, and integers beyond 64 bits their digits; the rest is the same."""
    kept = {"a": [1, -(2**63), 2**64 - 1, 1.5, None, True, "🧾é"]}

    assert storable(kept) == kept
    assert storable({"x\ud800": ["\udfff", 10**30, -(10**30)]}) == {
        "x\ufffd": ["\ufffd", "1" + "0" * 30, "-1" + "0" * 30]
    }


def test_an_integer_too_long_to_print_is_stored_too() -> None:
    """Python prints no integer of more than 4,300 digits in decimal."""
    assert storable(1 << 20_000).startswith("0x1000")
