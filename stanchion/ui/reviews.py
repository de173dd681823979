"""Reviews: everything that waits for a person, and the desk at which it is answered by keyboard."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from threading import Thread
from typing import Any

import streamlit as st

from stanchion.errors import NotAllowed
from stanchion.question import Question
from stanchion.runs.finding import choices
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Review
from stanchion.runs.reviews import Reviews
from stanchion.ui import links
from stanchion.ui.access import Console
from stanchion.ui.code import show_code
from stanchion.ui.desk.desk import put_desk
from stanchion.ui.desk.session import Session
from stanchion.ui.fragments import made_anew
from stanchion.ui.safe import line, plain
from stanchion.ui.telling import told

ALL = "All workflows"
SHOWN = 100
"""Rows of the queue; the most urgent ones."""

AGAIN = 20
"""Seconds after which the queue is read again."""


def page(console: Console) -> None:
    """Show the queue and, to whoever may answer, the desk.

    Args:
        console: who looks, at what.
    """
    reviews = Reviews(console.database, clock=console.clock)
    head, which = st.columns([7, 2], vertical_alignment="center")
    head.subheader("Reviews", anchor=False)
    workflow = which.selectbox(
        "Workflow",
        [ALL, *choices(console.database).workflows],
        key="reviews_of",
        format_func=line,
        label_visibility="collapsed",
    )
    wanted = None if workflow == ALL else workflow
    _load_what_waits(console)
    try:
        console.person.must("reviewer", "answer reviews")
    except NotAllowed as error:
        st.info(f"{plain(error, longest=500)} You see what waits; an operator adds the role.", icon=":material/lock:")
    else:
        _follow_address(console, reviews)
        _desk(console, reviews, wanted)
    _queue(console, reviews, wanted)


def _load_what_waits(console: Console) -> None:
    """Load the workflows that wait, while nobody waits for it: the first answer would else take seconds."""
    waiting = Reviews(console.database).waiting(limit=SHOWN)
    one_of_each = {review.workflow: review.run_id for review in waiting}
    for run in Ledger(console.database).runs_of(list(one_of_each.values())):
        _load_ahead(run.reference)


@st.cache_resource(show_spinner=False)
def _load_ahead(reference: str) -> None:
    """Begin to load a workflow; once in a process."""

    def load() -> None:
        from stanchion.workflow import load_workflow

        with suppress(Exception):  # whatever a workflow does when it is loaded: whoever answers hears of it
            load_workflow(reference)

    Thread(target=load, name="stanchion-load-ahead", daemon=True).start()


# --- The desk  ---


@st.fragment
def _desk(console: Console, reviews: Reviews, workflow: str | None) -> None:
    """The desk makes only itself anew, so that an answer takes no longer than it must."""
    with made_anew(console, "reviewer", again="Take the desk up again"):
        session = _session(console)
        put_desk(
            session.news(reviews, console.person, workflow=workflow),
            key="desk",
            on_told=partial(_hear, console, reviews, session),
        )
        _code(console, session.looked_at)


def _code(console: Console, review_id: str | None) -> None:
    if review_id is None:
        return
    show_code(
        console.database.path,
        f"from stanchion import reviews\n\nprint(reviews.get({review_id!r}, db=database.path).question)\n"
        f"run = reviews.answer({review_id!r}, 'approve', by='you', db=database.path)\nprint(run.standing)",
        ["review", review_id],
        ["review", review_id, "--approve"],
        ["review", review_id, "--edit", "FIELD=VALUE"],
        ["review", review_id, "--reject", "--reason", "why"],
    )


def _session(console: Console) -> Session:
    if "desk_session" not in st.session_state:
        st.session_state["desk_session"] = Session(console.clock)
    session: Session = st.session_state["desk_session"]
    return session


def _hear(console: Console, reviews: Reviews, session: Session) -> None:
    heard = st.session_state["desk"].get("told")
    answered: list[Review] = []
    with told():
        try:
            session.hear(heard, reviews, console.person, answered=answered.append)
        finally:
            _go_on(console, answered)


def _go_on(console: Console, answered: list[Review]) -> None:
    """Let the runs of answered reviews go on, while nobody waits for it."""
    ledger = Ledger(console.database)
    console.background.resume([(ledger.run(review.run_id).reference, review.run_id) for review in answered])


def _follow_address(console: Console, reviews: Reviews) -> None:
    """Begin with the review that the address names; once, or going on would mean coming back to it."""
    review_id = st.query_params.get("review")
    if review_id and st.session_state.get("review_followed") != review_id:
        st.session_state["review_followed"] = review_id
        _session(console).wish(review_id, reviews, console.person)


# --- The queue  ---


@st.fragment(run_every=AGAIN)
def _queue(console: Console, reviews: Reviews, workflow: str | None) -> None:
    """What waits, over all people; it is read again every few seconds."""
    with made_anew(console, again="Read the queue again"):
        _show_queue(console, reviews, workflow)


def _show_queue(console: Console, reviews: Reviews, workflow: str | None) -> None:
    if st.session_state.pop("case_chosen", False):
        st.rerun()  # the desk stands outside of this fragment, and has to hear of it
    number = reviews.number_waiting(workflow=workflow)
    if not number:
        st.caption("Nothing waits for a person. Cases come here when a run asks somebody, as `review` nodes do.")
        return
    waiting = reviews.waiting(workflow=workflow, limit=SHOWN)
    some = f"; the {SHOWN} most urgent are listed" if number > SHOWN else ""
    rows = [_row(review, console.clock.now()) for review in waiting]
    if not console.person.may("reviewer"):
        st.markdown(f"**The queue: {number:,} waiting**{some}.")
        st.dataframe(rows, hide_index=True, column_config=_columns())
        return
    st.markdown(f"**The queue: {number:,} waiting**{some}. Choose a row to answer it next.")
    st.dataframe(
        rows,
        key=_queue_key(),
        hide_index=True,
        on_select=partial(_choose, console, reviews, [review.id for review in waiting]),
        selection_mode="single-row",
        column_config=_columns(),
    )


def _columns() -> dict[str, Any]:
    return {
        "Priority": st.column_config.NumberColumn(format="%.3g", width="small"),
        "Waits since": st.column_config.DatetimeColumn(format="distance", width="small"),
        "Due": st.column_config.DatetimeColumn(format="distance", width="small"),
        "Run": st.column_config.LinkColumn(display_text="open", width="small"),
    }


def _row(review: Review, now: datetime) -> dict[str, Any]:
    is_held = review.claimed_until is not None and review.claimed_until > now
    return {
        "Priority": review.priority,
        "Workflow": line(review.workflow),
        "Input": line(review.input_id),
        "Why": line(Question.of(review.question).reason),
        "Waits since": review.asked_at,
        "Due": review.due_at,
        "Who has it": line(review.claimed_by) if is_held else "",
        "Run": links.to_run(review.run_id).url,
    }


def _queue_key() -> str:
    """Another key after each choice: rows move up, and the mark would stay where it was."""
    return f"queue_{st.session_state.get('cases_chosen', 0)}"


def _choose(console: Console, reviews: Reviews, ids: list[str]) -> None:
    rows = st.session_state[_queue_key()]["selection"]["rows"]
    if not rows or rows[0] >= len(ids):
        return
    st.session_state["cases_chosen"] = st.session_state.get("cases_chosen", 0) + 1
    st.session_state["case_chosen"] = True
    with told():
        _session(console).wish(ids[rows[0]], reviews, console.person)
