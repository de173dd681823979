"""The desk as a component of Streamlit: made once, from the files beside this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import streamlit as st


def _read(name: str) -> str:
    return (files("stanchion.ui.desk") / name).read_text(encoding="utf-8")


_mount = st.components.v2.component(
    "stanchion_desk", html=_read("desk.html"), css=_read("desk.css"), js=_read("desk.js")
)


def put_desk(news: Mapping[str, Any], *, key: str, on_told: Callable[[], None]) -> None:
    """Put the desk on the page, or tell the one that stands there the news.

    Args:
        news: from `Session.news`.
        key: under which `st.session_state` has what the browser told, as `told`.
        on_told: called when the browser told something, before the page is made again, also where it goes to another.
    """
    _mount(key=key, data=dict(news), on_told_change=on_told)
