"""Parts of a page that are made anew by themselves; each looks anew who is there, and says what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from stanchion.errors import NotAllowed
from stanchion.ui.access import Console
from stanchion.ui.telling import told


@contextmanager
def made_anew(console: Console, role: str = "viewer", *, again: str) -> Iterator[None]:
    """Say what goes wrong in a fragment; whose role was taken away meanwhile gets the whole page anew, without it.

    Args:
        console: where we are.
        role: that it takes to see the fragment.
        again: what the button says that makes the fragment anew; no two on a page say the same.
    """
    with told(again):
        try:
            console.person.must(role, "look at this")
        except NotAllowed:
            st.rerun()
        yield
