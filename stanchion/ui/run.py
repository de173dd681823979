"""The page of one run: the path it took, its steps over time, one step in full, and what may be done about it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

import streamlit as st

from stanchion.errors import RunNotFound, StanchionError, UsageError
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Review, Run
from stanchion.runs.timeline import PAGE, made_from, path_taken, read_step, step_lines
from stanchion.store.trail import Trail
from stanchion.ui import links
from stanchion.ui.access import Console
from stanchion.ui.acting import show_actions, show_fork, show_what_was_done
from stanchion.ui.differences import shown
from stanchion.ui.fragments import made_anew
from stanchion.ui.graph import show_graph
from stanchion.ui.markup import STYLE, Markup, framed, inside, table, text
from stanchion.ui.safe import plain
from stanchion.ui.step import show_step
from stanchion.ui.waterfall import waterfall
from stanchion.ui.words import counted, duration, moment, money, standing

SECONDS_BETWEEN_LOOKS = 2.0
_NO_TABS = """<style>
.st-key-run_notes [data-testid="stPageLink-NavLink"] { background: none }
.st-key-run_notes [data-testid="stPageLink-NavLink"] p { font-weight: 400; text-decoration: underline }
</style>"""  # Streamlit takes a link to another run for one to this very page, and marks it as such

LONGEST_REASON = 300
"""Characters of the reason above a run; the tab of its output has the whole."""

MOST_DRAWN = 2_000
"""Steps whose way is drawn: finding the edges that were taken costs their square."""


def page(console: Console) -> None:
    """Show the run that the address names.

    Args:
        console: where we are.
    """
    st.html(STYLE + _NO_TABS)
    run = _chosen_run(console)
    if run is None:
        return
    with st.container(key="run_page"):
        reviews = Ledger(console.database).reviews(run_id=run.id, status=None)
        nodes = path_taken(console.database, run.id)
        position = _chosen_step(len(nodes))
        _header(console, run, reviews)
        _tabs(console, run, reviews, nodes, position)
    _follow(console, run, len(nodes))


def _tabs(console: Console, run: Run, reviews: Sequence[Review], nodes: Sequence[str], position: int | None) -> None:
    """Show what the open tab holds; the others are read when somebody opens them."""
    contents: dict[str, Callable[[], None]] = {
        "Steps": lambda: _steps_and_step(console, run, nodes, position),
        "Output": lambda: _output(run),
        "Reviews": lambda: _reviews(reviews),
        "Trail": lambda: _trail(console, run),
        "Fork": lambda: show_fork(console, run, position),
        "Python and command line": lambda: _code(console, run, position),
    }
    tabs = st.tabs(list(contents), key="run_tabs", on_change="rerun")
    for tab, show in zip(tabs, contents.values(), strict=True):
        if tab.open:
            with tab:
                show()


def _steps_and_step(console: Console, run: Run, nodes: Sequence[str], position: int | None) -> None:
    left, right = st.columns([5, 6], gap="medium")
    with left:
        _steps(console, run, nodes, position)
    with right:
        _step(console, run, nodes, position)
    with left, st.spinner("Drawing the graph …"):  # last: the first time, loading a workflow takes seconds
        _picture(run, tuple(nodes), position)


def _chosen_run(console: Console) -> Run | None:
    wanted = st.query_params.get("run", "")
    if not wanted:
        st.info("Choose a run to look at.")
    else:
        try:
            return Ledger(console.database).run(wanted)
        except (RunNotFound, UsageError):
            st.warning(f"There is no run {plain(wanted, longest=40)} here: it may have been pruned, or be elsewhere.")
    links.show(links.Link("runs"), "All runs", icon=":material/list:")
    return None


# --- Above: what run it is, and what may be done  ---


def _header(console: Console, run: Run, reviews: Sequence[Review]) -> None:
    words, buttons = st.columns([4, 3], vertical_alignment="top")
    with words:
        st.subheader(f"{standing(run.standing)} · {plain(run.input_id, longest=80)}", anchor=False)
    with buttons:
        show_actions(console, run, list(reviews))
    st.html(_facts(run))
    _notes(console, run, reviews)
    show_what_was_done()


def _facts(run: Run) -> Markup:
    sure = [] if run.confidence is None else [f"{run.confidence:.0%} sure"]
    facts = [
        f"{run.workflow} version {run.version}",
        run.model,
        *([f"by {run.rung}"] if run.rung else []),
        *sure,
        f"worked {duration(run.worked_ms)}",
        f"{counted(run.calls, 'call')}, cost {money(run.cost_usd)}" if run.calls else "no calls",
        f"{moment(run.created_at)} UTC",
        *([f"tenant {run.tenant}"] if run.tenant else []),
    ]
    line = inside("div", Markup(f"{inside('code', run.id)} · {inside('span', ' · '.join(facts))}"), class_="faint")
    reason = run.reason or ""
    shortened = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}… (all of it under Output)"
    return framed(line, *([inside("div", shortened)] if reason else []))


def _notes(console: Console, run: Run, reviews: Sequence[Review]) -> None:
    if run.erased_at:
        st.info(f"What this run held was erased on {run.erased_at:%d %B %Y}. That it happened stays on record.")
    if run.paused_at and not run.ended_at:
        who, why = plain(run.paused_by), plain(run.paused_why, longest=300)
        st.warning(f"Paused by {who} since {moment(run.paused_at)} UTC: {why}", icon=":material/pause:")
    for trouble in [one for one in console.background.troubles() if run.id in one.run_ids][:1]:
        st.warning(f"It could not go on at {moment(trouble.at)} UTC: {plain(trouble.what, longest=500)}")
    related = [(run.origin, "Made from", "Compare with it")] if run.origin else []
    related += [(one, "Led to", "Compare with it") for one in made_from(console.database, run.id)[-3:]]
    asked = [review for review in reviews if review.status == "asked"]
    if not related and not asked:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="run_notes"):
        for review in asked[:1]:
            if console.person.may("reviewer"):
                links.show(links.to_reviews(review.id), "It waits for a person: answer", icon=":material/rate_review:")
            else:
                st.caption("It waits for a person.")
        for other, how, compare in related:
            links.show(links.to_run(other), f"{how} {plain(other)}", icon=":material/account_tree:")
            links.show(links.to_compare(*_in_order(run, other)), compare, icon=":material/compare_arrows:")


def _in_order(run: Run, other: str) -> tuple[str, str]:
    return (other, run.id) if run.origin == other else (run.id, other)


# --- Left: the steps over time, and the graph  ---


def _chosen_step(number: int) -> int | None:
    """Return the position of the step that the address names; else of the last one, at which the run stands."""
    if not number:
        return None
    wanted = st.query_params.get("step", "")
    return min(max(int(wanted), 1), number) if wanted.isascii() and wanted.isdigit() and len(wanted) < 9 else number


def _choose(position: int) -> None:
    st.query_params["step"] = str(position)


def _steps(console: Console, run: Run, nodes: Sequence[str], position: int | None) -> None:
    if position is None:
        waits = "It waits until somebody works on it: `stanchion work`, or Resume." if not run.ended_at else ""
        st.caption(f"No step was taken. {waits}")
        return
    first = (position - 1) // PAGE * PAGE + 1
    lines = step_lines(console.database, run, first=first)
    waterfall(lines, run, number=len(nodes), chosen=position, now=console.clock.now(), on_choose=_choose)
    if len(nodes) > PAGE:
        _pager(first, len(nodes))


def _pager(first: int, number: int) -> None:
    last = min(first + PAGE - 1, number)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Earlier steps", on_click=_choose, args=(max(first - PAGE, 1),), disabled=first == 1)
        st.button("Later steps", on_click=_choose, args=(min(first + PAGE, number),), disabled=last == number)
        st.caption(f"{first:,} to {last:,} of {number:,} steps")


def _picture(run: Run, nodes: tuple[str, ...], position: int | None) -> None:
    looked_at = nodes[position - 1] if position else None
    came_to_its_end = run.status == "done" and run.outcome != "failed"
    taken = (*nodes[:MOST_DRAWN], *(["__end__"] if came_to_its_end else []))
    try:
        version, picture = _drawn(run.reference, taken, looked_at)
    except StanchionError as error:
        st.caption(f"There is no picture: {plain(error, longest=400)}")
        return
    except Exception as error:  # whatever a workflow of somebody else does when it is loaded
        st.caption(f"There is no picture: the workflow cannot be loaded here ({plain(type(error).__name__)}).")
        return
    show_graph(picture, alt="The graph, with the path that was taken and the step that is looked at.")
    if version != run.version:
        st.caption(
            f"The picture is of version {plain(version)}, as it is here; the run was made by {plain(run.version)}."
        )


@st.cache_data(show_spinner=False, max_entries=100)
def _drawn(reference: str, taken: tuple[str, ...], current: str | None) -> tuple[str, str]:
    """Return the version of a workflow as it is here, and its picture."""
    from stanchion.runs import picture
    from stanchion.workflow import load_workflow

    workflow = load_workflow(reference)
    return workflow.version, picture.svg(workflow.graph, taken, current)


# --- Right: one step  ---


def _step(console: Console, run: Run, nodes: Sequence[str], position: int | None) -> None:
    if position is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**Step {position:,} of {len(nodes):,} · {plain(nodes[position - 1], longest=60)}**")
        st.button(
            "← Back", help="The step before: the Left key", key="step_back", width="content",
            on_click=_choose, args=(position - 1,), disabled=position == 1,
        )  # fmt: skip
        st.button(
            "Next →", help="The step after: the Right key", key="step_on", width="content",
            on_click=_choose, args=(position + 1,), disabled=position == len(nodes),
        )  # fmt: skip
    show_step(console.database, read_step(console.database, run.id, position))


# --- The other tabs  ---


def _output(run: Run) -> None:
    if run.reason and len(run.reason) > LONGEST_REASON:
        st.html(framed(inside("div", text(run.reason, longest=200_000), class_="paper")))
    if not run.output:
        st.caption("There is no output." if run.erased_at is None else "The output was erased.")
        return
    rows = [(name, shown(value, 2_000)) for name, value in list(run.output.items())[:200]]
    st.html(framed(table(("field", "value"), rows, kinds=("word", "mono"))))


def _reviews(reviews: Sequence[Review]) -> None:
    if not reviews:
        st.caption("Nobody was asked anything.")
        return
    rows = [
        (
            review.node,
            f"{review.status} {review.action or ''}".strip(),
            review.answered_by,
            moment(review.asked_at),
            moment(review.answered_at),
            review.closed_why or review.reason,
        )
        for review in reviews
    ]
    st.html(framed(table(("step", "standing", "by", "asked (UTC)", "answered (UTC)", "why"), rows)))


def _trail(console: Console, run: Run) -> None:
    entries = Trail(console.database, console.clock).entries(run_id=run.id, limit=100)
    if not entries:
        st.caption("Nobody has done anything about this run yet.")
        return
    rows = [
        (
            entry.seq,
            entry.at[:19].replace("T", " "),
            entry.by,
            entry.what,
            shown((entry.content or {}).get("reason"), 300),
        )
        for entry in entries
    ]
    st.html(framed(table(("#", "when (UTC)", "who", "what", "why"), rows, kinds=("num", "word"))))


def _code(console: Console, run: Run, position: int | None) -> None:
    at, path = position or 1, str(console.database.path)
    st.code(
        f"from stanchion.runs.ledger import Ledger\n"
        f"from stanchion.runs.timeline import read_step\n"
        f"from stanchion.store import Database\n\n"
        f"database = Database({path!r})\n"
        f"run = Ledger(database).run({run.id!r})\n"
        f"found = read_step(database, run.id, {at})\n"
        f"print(run.standing, found.step.node, found.step.state_in, found.after)",
        language="python",
    )
    db = shlex.quote(path)
    st.code(
        f"stanchion show {run.id} --db {db}\n"
        f"stanchion graph {shlex.quote(run.reference)} --run {run.id} --svg run.svg --db {db}\n"
        f"stanchion fork {run.id} --at {at} --reason 'to try something else' --db {db}\n"
        f"stanchion rerun {run.id} --reason 'to see it again' --db {db}",
        language="bash",
    )


# --- While it goes on  ---


def _follow(console: Console, run: Run, number: int) -> None:
    """Show the page anew when something has happened to a run that is going on."""
    if run.ended_at or (run.status not in ("queued", "running") and run.id not in console.background.busy()):
        return

    @st.fragment(run_every=SECONDS_BETWEEN_LOOKS)
    def look() -> None:
        with made_anew(console, again="Look again"):
            try:
                now = Ledger(console.database).run(run.id)
            except RunNotFound:
                st.rerun()  # it was pruned: the whole page says so
            if now.standing != run.standing or len(path_taken(console.database, run.id)) != number:
                st.rerun()

    look()
