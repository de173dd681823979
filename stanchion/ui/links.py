"""Where things stand in the console: every page and every filter has an address that can be copied and sent."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import urlencode

import streamlit as st

from stanchion.ui.pages import page_of

if TYPE_CHECKING:
    from stanchion.runs.finding import RunFilter


class Link(NamedTuple):
    """A place in the console.

    Args:
        page: its name in `stanchion.ui.pages`.
        query: what stands behind the question mark.
    """

    page: str
    query: Mapping[str, str] = MappingProxyType({})

    @property
    def url(self) -> str:
        """The address, relative to any page of the console."""
        path = "" if self.page == "home" else self.page
        return f"{path}?{urlencode(self.query)}" if self.query else path or "."


def to_run(run_id: str, step: int | None = None) -> Link:
    """Return where a run is shown.

    Args:
        run_id: its id.
        step: position of the step that is chosen; None: the page chooses.
    """
    return Link("run", {"run": run_id} if step is None else {"run": run_id, "step": str(step)})


def to_compare(one: str, other: str) -> Link:
    """Return where two runs stand side by side.

    Args:
        one: the id of the run on the left.
        other: the id of the run on the right.
    """
    return Link("compare", {"one": one, "other": other})


def to_runs(wanted: RunFilter) -> Link:
    """Return where the runs that somebody looks for are listed.

    Args:
        wanted: which.
    """
    return Link("runs", wanted.to_query())


def to_reviews(review_id: str | None = None) -> Link:
    """Return where reviews are answered.

    Args:
        review_id: the one to begin with; None: the most urgent.
    """
    return Link("reviews", {} if review_id is None else {"review": review_id})


def to_trail(run_id: str | None = None) -> Link:
    """Return where it stands who did what.

    Args:
        run_id: with this run; None: with anything.
    """
    return Link("trail", {} if run_id is None else {"run": run_id})


def show(link: Link, label: str, *, icon: str | None = None, help: str | None = None) -> None:  # noqa: A002
    """Show a link; following it keeps the session.

    Args:
        link: where it leads.
        label: Markdown: what comes from outside goes through `safe.plain` first.
        icon: beside the label, such as `:material/person:`.
        help: Markdown, shown when the mouse rests on it.
    """
    st.page_link(page_of(link.page), label=label, icon=icon, help=help, query_params=dict(link.query))


def go(link: Link) -> NoReturn:
    """Leave this page for another one.

    Args:
        link: where to.
    """
    st.switch_page(page_of(link.page), query_params=dict(link.query))
