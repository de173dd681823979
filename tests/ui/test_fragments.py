"""Fragments: they look anew who is there, and say in our words what goes wrong."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

SCRIPT = """
import streamlit as st
from types import SimpleNamespace
from stanchion.errors import StoreError
from stanchion.people import Person
from stanchion.ui.fragments import made_anew

times = st.session_state["times"] = st.session_state.get("times", 0) + 1
console = SimpleNamespace(person=Person("ann", frozenset({"viewer"} if times > 1 else set()), "login"))

@st.fragment
def part():
    with made_anew(console, again="Look again"):
        st.write(f"read {times}")
        raise StoreError("The database is gone.")

part()
"""


def test_whose_role_is_gone_gets_the_whole_page_anew_and_reads_nothing() -> None:
    """The fragment shows nothing to somebody without the role; the page, made anew, decides what they may see."""
    page = AppTest.from_string(SCRIPT).run()

    assert page.session_state["times"] == 2
    assert [part.value for part in page.markdown] == ["read 2"]


def test_what_goes_wrong_in_a_fragment_is_said_in_our_words() -> None:
    """An error is told with a button that looks again; Streamlit's own page of errors stays away."""
    page = AppTest.from_string(SCRIPT).run()

    assert not page.exception
    assert "The database is gone" in page.error[0].value
    assert page.button[0].label == "Look again"
