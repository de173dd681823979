"""The picture of a graph in a box of its own, which shows the step that is looked at without scrolling the page."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

_component = st.components.v2.component(
    "stanchion_graph",
    html='<div class="graph" tabindex="0"><img alt=""></div>',
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


def show_graph(picture: str, *, alt: str) -> None:
    """Show a picture, as high as there is room for on the screen, scrolled to its current node.

    Args:
        picture: SVG from `stanchion.runs.picture.svg`.
        alt: what it shows, in words.
    """
    _component(data={"picture": picture, "alt": alt}, key="graph")
