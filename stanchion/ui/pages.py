"""The pages of the console; each is a module with a function `page(console)`, imported when it is first looked at."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

if TYPE_CHECKING:
    from streamlit.navigation.page import Page

    from stanchion.ui.access import Console


class _About(NamedTuple):
    title: str
    icon: str
    in_menu: bool = True


PAGES = {
    "home": _About("Home", ":material/home:"),
    "runs": _About("Runs", ":material/list:"),
    "run": _About("Run", ":material/account_tree:", in_menu=False),
    "compare": _About("Compare", ":material/compare_arrows:", in_menu=False),
    "reviews": _About("Reviews", ":material/rate_review:"),
    "operations": _About("Operations", ":material/tune:"),
    "trail": _About("Trail", ":material/history:"),
}
"""By the name of its module, which is its address too; the first one is where people come in."""


def page_of(name: str) -> Page:
    """Return a page as Streamlit knows it.

    Args:
        name: one of `PAGES`.
    """
    about = PAGES[name]
    is_first = name == next(iter(PAGES))
    return st.Page(
        partial(_show, name),
        title=about.title,
        icon=about.icon,
        url_path=name,
        default=is_first,
        visibility="visible" if about.in_menu else "hidden",
    )


def _show(name: str) -> None:
    from stanchion.ui.access import enter

    show: Callable[[Console], None] = import_module(f"stanchion.ui.{name}").page
    show(enter())
