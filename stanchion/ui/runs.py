"""Runs: find them, keep what was looked for as a link, and act on many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

import streamlit as st

from stanchion.errors import UsageError
from stanchion.runs.finding import SORTS, STANDINGS, RunFilter, RunLine, choices, count_runs, find_runs
from stanchion.ui import links
from stanchion.ui.access import Console
from stanchion.ui.bulk import act_on, look_once_more, tell_what_was_done
from stanchion.ui.code import show_code
from stanchion.ui.safe import csv_text, line, plain
from stanchion.ui.words import duration, money, standing
from stanchion.verdict import Rung

ON_A_PAGE = 50
MOST_EXPORTED = 10_000
FRESH = 5.0  # seconds for which a list stays as it is even where nothing is chosen in it

VIEWS = {
    "Everything": RunFilter(),
    "Waits for a person": RunFilter(standing="review", sort="oldest"),
    "Failed": RunFilter(standing="failed"),
    "Queued": RunFilter(standing="queued", sort="oldest"),
    "Slowest": RunFilter(sort="slowest"),
    "Dearest": RunFilter(sort="dearest"),
    "Least sure": RunFilter(sort="least_sure"),
}
SORT_WORDS = {
    "newest": "Newest first",
    "oldest": "Oldest first",
    "slowest": "Slowest first",
    "dearest": "Dearest first",
    "least_sure": "Least sure first",
}
MORE = ("version", "model", "tenant", "step", "error", "rung", "status", "since", "until", "min_cost", "max_cost",
        "min_seconds", "max_seconds")  # fmt: skip
"""The filters behind a button."""


@dataclass(frozen=True)
class _Listed:
    """A list as it was when it was shown: what is chosen in it means these runs, whatever came since.

    Args:
        number: counts lists, so that a choice in one is none in the next.
        asked: the filter, and which page of its list.
        at: when it was read.
        lines: the runs.
        total: how many the filter finds in all.
    """

    number: int
    asked: tuple[RunFilter, int]
    at: datetime
    lines: list[RunLine]
    total: int


def page(console: Console) -> None:
    """Show the runs that the address asks for.

    Args:
        console: who looks, at what.
    """
    query = _query()
    title = f"Runs: {plain(query['view'], longest=80)}" if query.get("view") else "Runs"
    try:
        wanted = RunFilter.from_query(query)
    except UsageError as error:
        st.subheader(title, anchor=False)
        st.error(plain(f"This address cannot be used: {error}"), icon=":material/link_off:")
        st.button("Show all runs", on_click=_look_for, args=[RunFilter()], type="primary")
        return
    _views(console, title, wanted)
    _filters(console, wanted)
    listed = _list(console, wanted, _page_number(query.get("page")))
    if not listed.lines:
        _nothing(wanted)
        return
    tell_what_was_done()
    look_once_more(lambda: _refresh_if_idle(listed))
    chosen = [run.id for run in _chosen(listed)]
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        _open(chosen)
        if act_on(console, chosen, wanted, listed.total):
            _refresh()
            st.rerun()
        _above(console, listed)
    _table(listed)


def _query() -> dict[str, str]:
    """Return what the address asks for; whoever comes back from a run by the browser finds the list that they left."""
    kept = st.session_state.get("runs_listed")
    if "run" in st.query_params:  # Streamlit puts a run's query here for a moment, before it turns to the run's page
        st.query_params.from_dict(kept.asked[0].to_query() if isinstance(kept, _Listed) else {})
    return dict(st.query_params.to_dict())


def _page_number(asked: str | None) -> int:
    return int(asked) if asked and asked.isascii() and asked.isdigit() and 0 < len(asked) < 7 and int(asked) else 1


# --- What is looked for stands in the address, and nowhere else ---


def _look_for(wanted: RunFilter) -> None:
    st.query_params.from_dict(wanted.to_query())


def _views(console: Console, title: str, wanted: RunFilter) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.subheader(title, anchor=False, width="stretch")
        for name, view in VIEWS.items():
            kind = "secondary" if view == wanted else "tertiary"
            st.button(name, on_click=_look_for, args=[view], type=kind, key=f"view {name}")  # type: ignore[arg-type]
        with st.popover("Save view", icon=":material/bookmark:", type="tertiary"):
            _save(wanted)
        _code(console, wanted)


def _save(wanted: RunFilter) -> None:
    st.markdown("A view is a link: keep it among your bookmarks, or send it to somebody.")
    name = st.text_input("Name", key="runs_view_name", max_chars=80, placeholder="Failed this week")
    link = links.Link("runs", {**wanted.to_query(), **({"view": name} if name else {})})
    here = (st.context.url or "").split("?")[0].removesuffix("/runs").rstrip("/")
    st.code(f"{here}/{link.url}", language=None, wrap_lines=True)


def _filters(console: Console, wanted: RunFilter) -> None:
    known = choices(console.database)
    text, workflow, where, sort, more = st.columns([3.2, 1.6, 1.5, 1.5, 1.2], vertical_alignment="bottom")
    with text:
        _text(wanted, "text", "Find", "words of input, reason or output, or a run's id")
    with workflow:
        _select(wanted, "workflow", "Workflow", known.workflows)
    with where:
        _select(wanted, "standing", "Stands", STANDINGS)
    with sort:
        _select(wanted, "sort", "Sort", SORTS, words=SORT_WORDS, required=True)
    in_force = sum(getattr(wanted, name) is not None for name in MORE)
    label = f"More ({in_force})" if in_force else "More"
    with more, st.popover(label, icon=":material/filter_alt:", width="stretch"):
        left, right = st.columns(2)
        with left:
            _select(wanted, "step", "Has been at step", known.steps)
            _select(wanted, "rung", "Value came from", get_args(Rung))
            _select(wanted, "error", "Ended by error", known.errors)
            _moment(wanted, "since", "Accepted since (UTC)")
            _number(wanted, "min_cost", "Cost from ($)")
            _number(wanted, "min_seconds", "At work from (s)")
        with right:
            _select(wanted, "version", "Version", known.versions)
            _select(wanted, "model", "Model", known.models)
            _text(wanted, "tenant", "Tenant", "")
            _moment(wanted, "until", "Accepted before (UTC)")
            _number(wanted, "max_cost", "Cost up to ($)")
            _number(wanted, "max_seconds", "At work up to (s)")


def _key(wanted: RunFilter, name: str) -> str:
    """Return a filter's key, set to what the address says: going back in the browser moves the filters too."""
    key = f"runs_{name}"
    st.session_state[key] = getattr(wanted, name)
    return key


def _changed(name: str) -> None:
    value = st.session_state[f"runs_{name}"]
    for gone in (name, "page", "view"):
        st.query_params.pop(gone, None)
    if value not in (None, "") and (name, value) != ("sort", "newest"):
        st.query_params[name] = value.isoformat() if isinstance(value, datetime) else str(value)


def _text(wanted: RunFilter, name: str, label: str, hint: str) -> None:
    key = _key(wanted, name)
    st.session_state[key] = st.session_state[key] or ""
    st.text_input(label, key=key, on_change=_changed, args=[name], max_chars=300, placeholder=hint)


def _select(
    wanted: RunFilter,
    name: str,
    label: str,
    options: Sequence[str],
    *,
    words: dict[str, str] | None = None,
    required: bool = False,
) -> None:
    chosen = getattr(wanted, name)
    offered = [*([] if required else [None]), *options, *([] if chosen is None or chosen in options else [chosen])]
    said = words or {}
    st.selectbox(
        label, offered, key=_key(wanted, name), on_change=_changed, args=[name], placeholder="any",
        format_func=lambda value: "any" if value is None else said.get(value, line(value, longest=80)),
    )  # fmt: skip


def _number(wanted: RunFilter, name: str, label: str) -> None:
    key = _key(wanted, name)
    value = st.session_state[key]
    st.session_state[key] = None if value is None else float(value)
    st.number_input(label, key=key, on_change=_changed, args=[name], min_value=0.0, value=None, format="%.4g")


def _moment(wanted: RunFilter, name: str, label: str) -> None:
    key = _key(wanted, name)
    value = st.session_state[key]
    st.session_state[key] = None if value is None else value.astimezone(UTC).replace(tzinfo=None)
    st.datetime_input(label, key=key, on_change=_changed, args=[name], value=None)


# --- What is found ---


def _list(console: Console, wanted: RunFilter, number: int) -> _Listed:
    """Return the list on the screen, or read it anew; never under somebody's hands."""
    now, kept = console.clock.now(), st.session_state.get("runs_listed")
    stale = st.session_state.pop("runs_stale", False)
    if isinstance(kept, _Listed) and kept.asked == (wanted, number) and not stale:
        is_in_use = bool(_selection(kept))
        if is_in_use or (now - kept.at).total_seconds() < FRESH:
            return kept
    total = count_runs(console.database, wanted)
    lines = find_runs(console.database, wanted, limit=ON_A_PAGE, offset=ON_A_PAGE * (number - 1))
    listed = _Listed(kept.number + 1 if isinstance(kept, _Listed) else 1, (wanted, number), now, lines, total)
    st.session_state["runs_listed"] = listed
    return listed


def _refresh() -> None:
    st.session_state["runs_stale"] = True


def _refresh_if_idle(listed: _Listed) -> bool:
    if _selection(listed):
        return False
    _refresh()
    return True


def _selection(listed: _Listed) -> list[int]:
    """Return the rows that are ticked in a list; of positions that it does not have, none."""
    state: Any = st.session_state.get(f"runs_table_{listed.number}")
    selection = state.get("selection", {}) if hasattr(state, "get") else {}
    return [row for row in selection.get("rows", []) if row in range(len(listed.lines))]


def _chosen(listed: _Listed) -> list[RunLine]:
    return [listed.lines[row] for row in _selection(listed)]


def _open(chosen: Sequence[str]) -> None:
    """Offer the run that is ticked; a press on a cell opens nothing, since one on a heading would look the same."""
    pressed = st.button("Open run", icon=":material/arrow_forward:", disabled=len(chosen) != 1, help="Tick one run.")
    if pressed and len(chosen) == 1:
        links.go(links.to_run(chosen[0]))


def _nothing(wanted: RunFilter) -> None:
    if wanted == RunFilter():
        st.info(
            "No runs yet. `stanchion run WORKFLOW PATH…` runs documents through a workflow; `stanchion demo` makes a "
            "database with examples.",
            icon=":material/inbox:",
        )
        return
    st.info("No run is like this. Take a filter away, or look at everything.", icon=":material/search_off:")
    st.button("Show all runs", on_click=_look_for, args=[RunFilter()])


def _above(console: Console, listed: _Listed) -> None:
    wanted, number = listed.asked
    first = ON_A_PAGE * (number - 1)
    last = first + len(listed.lines)
    st.space("stretch")
    st.caption(f"{first + 1:,}–{last:,} of {listed.total:,} at {listed.at:%H:%M:%S}", width="content")
    st.button("", icon=":material/refresh:", on_click=_refresh, type="tertiary", help="Look again", key="refresh")
    asking = console.later()
    st.download_button(
        "CSV", icon=":material/download:", type="tertiary", file_name="runs.csv", mime="text/csv", on_click="ignore",
        data=lambda: _as_csv(asking, wanted), help=f"The first {MOST_EXPORTED:,} runs that this finds.",
    )  # fmt: skip
    back, on = ":material/chevron_left:", ":material/chevron_right:"
    st.button("", icon=back, on_click=_turn_to, args=[number - 1], disabled=number == 1, help="Back", key="back")
    st.button("", icon=on, on_click=_turn_to, args=[number + 1], disabled=last >= listed.total, help="On", key="on")


def _turn_to(number: int) -> None:
    st.query_params["page"] = str(number)


def _table(listed: _Listed) -> None:
    st.dataframe(
        {
            "stands": [standing(run.standing) for run in listed.lines],
            "input": [line(run.input_id, longest=60) for run in listed.lines],
            "why": [line(run.reason, longest=160) for run in listed.lines],
            "workflow": [line(f"{run.workflow} {run.version}", longest=40) for run in listed.lines],
            "from": [run.rung or "–" for run in listed.lines],
            "sure": ["–" if run.confidence is None else f"{run.confidence:.2f}" for run in listed.lines],
            "cost": [money(run.cost_usd) for run in listed.lines],
            "at work": [duration(run.worked_ms) for run in listed.lines],
            "accepted (UTC)": [f"{run.created_at:%m-%d %H:%M:%S}" for run in listed.lines],
            "run": [links.to_run(run.id).url for run in listed.lines],
        },
        key=f"runs_table_{listed.number}",
        on_select="rerun",
        selection_mode="multi-row",
        hide_index=True,
        height=min(36 * (len(listed.lines) + 1) + 3, 498),
        column_config={
            "stands": st.column_config.TextColumn(width=105),
            "input": st.column_config.TextColumn(width=180),
            "why": st.column_config.TextColumn(width=260),
            "workflow": st.column_config.TextColumn(width=110),
            "from": st.column_config.TextColumn(width=75),
            "sure": st.column_config.TextColumn(width=60),
            "cost": st.column_config.TextColumn(width=75),
            "at work": st.column_config.TextColumn(width=75),
            "accepted (UTC)": st.column_config.TextColumn(width=115),
            "run": st.column_config.LinkColumn(width=110, display_text=r"run=(.*)$", help="Opens in a new tab."),
        },
    )


def _code(console: Console, wanted: RunFilter) -> None:
    query = wanted.to_query()
    given = ", ".join(f"{name}={value!r}" for name, value in query.items())
    python = (
        "from stanchion.runs.finding import RunFilter, find_runs\n\n"
        f"for run in find_runs(database, RunFilter({given}), limit={ON_A_PAGE}):\n"
        "    print(run.id, run.standing, run.input_id)"
    )
    options = [f"--{_OPTIONS.get(name, name.replace('_', '-'))}={value}" for name, value in query.items()]
    show_code(console.opened.path, python, ["runs", *options])


_OPTIONS = {"text": "find", "standing": "outcome"}  # where the command line has another word

_COLUMNS = ("id", "workflow", "version", "model", "tenant", "input_id", "standing", "reason", "rung", "confidence",
            "calls", "cost_usd", "worked_ms", "error_class", "created_at", "ended_at")  # fmt: skip


def _as_csv(console: Console, wanted: RunFilter) -> str:
    found = find_runs(console.database, wanted, limit=MOST_EXPORTED)
    return csv_text(_COLUMNS, ([getattr(run, name) for name in _COLUMNS] for run in found))
