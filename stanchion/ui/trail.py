"""Trail: who did what, when and why; and whether anybody altered it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import streamlit as st

from stanchion.people import LONGEST_NAME
from stanchion.store.trail import Entry, Trail
from stanchion.store.trail_check import Report
from stanchion.ui import links
from stanchion.ui.access import Console
from stanchion.ui.code import show_code
from stanchion.ui.safe import csv_text, line, plain
from stanchion.ui.telling import show_names

ON_A_PAGE = 100
MOST_EXPORTED = 10_000
MOST_PROBLEMS = 20
_CHOSEN = "trail_chosen"
_SHOWN = "trail_shown"  # counts the entries that were shown
_FILTERS = {"run": "Run", "by": "Person", "what": "What"}
_HINTS = {"run": "a run's id", "by": "the whole name", "what": "such as review answered"}


def page(console: Console) -> None:
    """Show the trail, as the address asks for it.

    Args:
        console: who looks, at what.
    """
    trail = Trail(console.database, console.clock)
    wanted = {name: st.query_params.get(name, "").strip()[:LONGEST_NAME] or None for name in _FILTERS}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Trail", anchor=False, width="stretch")
        pressed = st.button(
            "Verify", icon=":material/verified_user:", type="primary", help="Read every entry and its seal."
        )
    if pressed:
        with st.spinner("Every entry is checked…"):
            _tell(trail.verify())
    for place, name in zip(st.columns(3), _FILTERS, strict=True):
        with place:
            _filter(name, wanted[name])
    before = st.query_params.get("before", "")
    before_seq = int(before) if before.isascii() and before.isdigit() and len(before) < 16 else None
    entries = trail.entries(
        run_id=wanted["run"], by=wanted["by"], what=wanted["what"], limit=ON_A_PAGE + 1, before_seq=before_seq
    )
    if not entries:
        _nothing(any(wanted.values()))
        return
    _list(entries[:ON_A_PAGE])
    _show_what_was_chosen(trail)
    asking = console.later()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Newest first, times in UTC. Tick an entry to see all of it.", width="stretch")
        _code(console, wanted)
        st.download_button(
            "CSV", icon=":material/download:", type="tertiary", file_name="trail.csv", mime="text/csv",
            on_click="ignore", data=lambda: _as_csv(asking, wanted), help=f"The newest {MOST_EXPORTED:,} of this list.",
        )  # fmt: skip
        st.button("Newest", on_click=_from, args=[None], disabled=before_seq is None)
        st.button("Older", on_click=_from, args=[entries[ON_A_PAGE - 1].seq if len(entries) > ON_A_PAGE else None],
                  disabled=len(entries) <= ON_A_PAGE)  # fmt: skip


def _filter(name: str, value: str | None) -> None:
    key = f"trail_{name}"
    st.session_state[key] = value or ""
    st.text_input(
        _FILTERS[name], key=key, on_change=_changed, args=[name], placeholder=_HINTS[name], max_chars=LONGEST_NAME
    )


def _changed(name: str) -> None:
    value = st.session_state[f"trail_{name}"].strip()
    for gone in (name, "before"):
        st.query_params.pop(gone, None)
    if value:
        st.query_params[name] = value


def _from(seq: int | None) -> None:
    st.query_params.pop("before", None)
    if seq is not None:
        st.query_params["before"] = str(seq)


def _nothing(is_filtered: bool) -> None:
    if is_filtered:
        st.info("No entry is like this. Take a filter away: names and phrases are looked for as a whole.")
    else:
        st.info("Nobody has decided anything yet. Answers, pauses, forced breakers and the like will stand here.",
                icon=":material/history:")  # fmt: skip


def _tell(report: Report) -> None:
    if report.ok:
        what = (
            f"All {report.rows:,} entries are as they were written"
            if report.rows
            else "The trail is empty, as it should be"
        )
        st.success(plain(f"{what}; none is missing at the end."), icon=":material/verified_user:")
    else:
        what = f"{report.found:,} problems in {report.rows:,} entries: somebody or something altered the trail."
        st.error(plain(what), icon=":material/gpp_bad:")
        st.dataframe(
            {
                "entry": ["the whole" if one.seq is None else str(one.seq) for one in report.problems[:MOST_PROBLEMS]],
                "what": [line(one.what, longest=300) for one in report.problems[:MOST_PROBLEMS]],
            },
            hide_index=True,
        )
        st.markdown(
            "`stanchion trail verify` names all of them. Keep the database and `FILE.trail` as they are for whoever "
            "looks into it."
        )
    if report.restarts:
        said = ", ".join(map(str, report.restarts))
        st.warning(plain(f"An operator restarted it at entry {said}: before that, entries may be missing."))


def _list(entries: list[Entry]) -> None:
    key = f"trail_table_{st.session_state.get(_SHOWN, 0)}_{entries[0].seq}_{len(entries)}"
    st.dataframe(
        {
            "#": [entry.seq for entry in entries],
            "when (UTC)": [entry.at[:19].replace("T", " ") for entry in entries],
            "who": [line(entry.by, longest=60) for entry in entries],
            "known by": [entry.known_by for entry in entries],
            "what": [line(entry.what, longest=60) for entry in entries],
            "of": [line(entry.subject or entry.workflow, longest=60) for entry in entries],
            "why": [line(_reason(entry), longest=200) for entry in entries],
            "run": [entry.run_id or "–" for entry in entries],
        },
        key=key,
        on_select=partial(_choose, key, [entry.seq for entry in entries]),
        selection_mode="single-row",  # a cell would be chosen by a press on its heading as well
        hide_index=True,
        height=min(35 * (len(entries) + 1) + 3, 480),
        column_config={
            "#": st.column_config.NumberColumn(width=50),
            "when (UTC)": st.column_config.TextColumn(width=145),
            "who": st.column_config.TextColumn(width=140),
            "known by": st.column_config.TextColumn(width=80),
            "why": st.column_config.TextColumn(width=320),
        },
    )


def _choose(key: str, listed: list[int]) -> None:
    """Keep which entry was ticked, once: the list gets a new key, so that none is ticked in it any more."""
    rows = st.session_state[key].selection.rows
    if rows and rows[0] < len(listed):
        st.session_state[_CHOSEN] = listed[rows[0]]
        st.session_state[_SHOWN] = st.session_state.get(_SHOWN, 0) + 1


def _show_what_was_chosen(trail: Trail) -> None:
    seq = st.session_state.pop(_CHOSEN, None)
    if seq is not None:
        for entry in trail.entries(limit=1, before_seq=seq + 1):
            _show(entry)


def _code(console: Console, wanted: dict[str, str | None]) -> None:
    names = {"run": "run_id", "by": "by", "what": "what"}
    asked = {name: value for name, value in wanted.items() if value}
    given = "".join(f"{names[name]}={value!r}, " for name, value in asked.items())
    python = (
        "from stanchion.store.trail import Trail\n\n"
        f"for entry in Trail(database).entries({given}limit={ON_A_PAGE}):\n"
        "    print(entry.seq, entry.at, entry.by, entry.what)"
    )
    options = [f"--{name}={value}" for name, value in asked.items()]
    show_code(console.opened.path, python, ["trail", "list", *options, f"--limit={ON_A_PAGE}"], ["trail", "verify"])


def _reason(entry: Entry) -> Any:
    return "(erased)" if entry.erased else (entry.content or {}).get("reason")


@st.dialog("Entry", width="large")
def _show(entry: Entry) -> None:
    st.markdown(f"**{plain(entry.what)}** by {plain(entry.by)} (known by {plain(entry.known_by)}), {plain(entry.at)}")
    show_names(f"{entry.by} {entry.subject}")
    if entry.run_id:
        links.show(links.to_run(entry.run_id), "Open the run", icon=":material/arrow_forward:")
    st.caption("Facts, never erased")
    st.json(json.dumps(entry.facts))
    st.caption("Content, erased with its run")
    if entry.erased:
        st.text("It was erased.")
    elif entry.content:
        st.json(json.dumps(entry.content))
    else:
        st.text("There is none.")


def _as_csv(console: Console, wanted: dict[str, str | None]) -> str:
    entries = Trail(console.database, console.clock).entries(
        run_id=wanted["run"], by=wanted["by"], what=wanted["what"], limit=MOST_EXPORTED
    )
    headings = ("seq", "at", "by", "known_by", "what", "workflow", "run_id", "subject", "facts", "content", "erased")
    rows = (
        [getattr(entry, name) for name in headings[:8]]
        + [json.dumps(entry.facts), json.dumps(entry.content), entry.erased]
        for entry in entries
    )
    return csv_text(headings, rows)
