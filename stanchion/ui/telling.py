"""What goes wrong on a page is said on the page: what happened, and what to press."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from stanchion.errors import StanchionError
from stanchion.ui.safe import plain

_log = logging.getLogger(__name__)


@contextmanager
def told(again: str = "Try again") -> Iterator[None]:
    """Say on the page what goes wrong within; a fragment needs one of its own.

    Args:
        again: what the button says that looks anew; also its key.
    """
    try:
        yield
    except StanchionError as error:
        _say(str(error), again)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
        _log.error("a defect of ours: %s", where)  # the error's own words may be a document's
        _say(f"A defect of ours: {where}. Report it if it comes back.", again)


def _say(what: str, again: str) -> None:
    st.error(plain(what, longest=2_000), icon=":material/error:")
    st.button(again, icon=":material/refresh:", key=again)
