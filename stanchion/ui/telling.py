"""What goes wrong on a page is said on the page: what happened, and what to press."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner_utils.script_run_context import RunLocation, ThreadState

from stanchion.errors import StanchionError
from stanchion.ui.safe import names_in, plain

_log = logging.getLogger(__name__)
_LEFT = "told_by_a_callback"


@contextmanager
def told(again: str = "Try again") -> Iterator[None]:
    """Say on the page what goes wrong within, instead of Streamlit's own page of errors.

    It takes one around every fragment and every callback as well: what is around the page is not around these. A
    callback has no place on the page: what goes wrong in it is said by the next page or fragment that is shown.

    Args:
        again: what the button says that looks anew; also its key.
    """
    in_callback = _is_in_callback()
    if not in_callback and (left := st.session_state.pop(_LEFT, None)):
        _error(left)
    try:
        yield
    except Exception as error:
        what = _in_words(error)
        if in_callback:
            st.session_state[_LEFT] = what
        else:
            _error(what)
            st.button(again, icon=":material/refresh:", key=again)


def _is_in_callback() -> bool:
    try:
        return ThreadState.get().run_location is RunLocation.CALLBACK
    except RuntimeError:  # outside of any page
        return False


def _in_words(error: Exception) -> str:
    if isinstance(error, StanchionError):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
    _log.error("a defect of ours: %s", where)  # the error's own words may be a document's
    return f"A defect of ours: {where}. Report it if it comes back."


def _error(what: str) -> None:
    st.error(plain(what, longest=2_000), icon=":material/error:")
    show_names(what)


def show_names(what: str) -> None:
    """Show the addresses and names of a text once more, so that they can be copied: in `plain` they would not be whole.

    Args:
        what: what was said with `plain`.
    """
    for name in names_in(what):
        st.code(name, language=None)
