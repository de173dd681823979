"""What `stanchion console` hands to Streamlit: the frame around every page, and the door."""

from __future__ import annotations

from urllib.parse import quote

import streamlit as st

from stanchion.errors import StanchionError
from stanchion.ui.access import Console, enter, is_logged_in, log_in, log_out, takes_logins
from stanchion.ui.markup import STYLE, framed, inside
from stanchion.ui.pages import PAGES, page_of
from stanchion.ui.safe import line, plain
from stanchion.ui.telling import show_names, told

_ICON = "data:image/svg+xml," + quote(  # an icon by its name would be fetched from a font service
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16" fill="#1f5fbf">'
    '<rect x="3" y="1" width="3" height="14" rx="1"/><rect x="10" y="1" width="3" height="14" rx="1"/>'
    '<rect y="5" width="16" height="2.5" rx="1"/></svg>'
)
_STYLE = """<style>
:root { --grey: rgba(128, 128, 128, .35); --tint: rgba(128, 128, 128, .10) }
.stMainBlockContainer {padding: 2.2rem 2rem 2rem; max-width: 1600px}
.stAppHeader {height: 2rem; min-height: 2rem; background: transparent}
[data-testid="InputInstructions"] {display: none}
.st-key-foot .sn {white-space: nowrap}
@media (max-width: 960px) {  /* a tablet held upright: one half below the other */
  .st-key-halves .stColumn {flex: 1 1 100% !important; min-width: 100% !important}
  .st-key-halves .stHorizontalBlock:has(> .stColumn) {flex-wrap: wrap !important}
}
</style>"""


def main() -> None:
    """Show the chosen page to whoever may see it."""
    st.set_page_config(page_title="Stanchion", page_icon=_ICON, layout="wide")
    st.html(_STYLE)
    try:
        console = enter()
    except Exception as error:
        _turn_away(error)
        return
    chosen = st.navigation([page_of(name) for name in PAGES], position="top")
    with told():
        chosen.run()
    _foot(console)


def _turn_away(error: Exception) -> None:
    """Say why nobody comes in; the pages exist, so that their addresses do, but show nothing."""
    for_visitor = (
        str(error) if isinstance(error, StanchionError) else f"The console cannot open ({type(error).__name__})."
    )
    st.navigation([page_of(name) for name in PAGES], position="hidden")
    _, middle, _ = st.columns([1, 2, 1])
    with middle:
        st.title("Stanchion")
        st.error(plain(for_visitor, longest=2_000), icon=":material/lock:")
        show_names(for_visitor)
        if is_logged_in():
            st.button("Log out", icon=":material/logout:", on_click=log_out)
        elif takes_logins():
            st.button("Log in", icon=":material/login:", type="primary", on_click=_log_in)
        with told():
            pass  # says what went wrong at the last press


def _log_in() -> None:
    with told():
        log_in()


def _foot(console: Console) -> None:
    where = "several people" if console.shared else "yourself"
    who = f"You act as {console.person.name} · a console for {where} · {console.opened.path}"
    with st.container(horizontal=True, vertical_alignment="center", key="foot"):
        # no Markdown: the address is there to be copied
        st.html(STYLE + framed(inside("span", line(who, longest=1_000), class_="faint")), width="content")
        if console.shared:
            st.button("Log out", type="tertiary", icon=":material/logout:", on_click=log_out)
