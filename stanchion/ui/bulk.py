"""Act on many runs at once: with a reason, with progress, and with a word on each that could not be acted on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import streamlit as st

from stanchion.errors import StanchionError
from stanchion.people import Person
from stanchion.runs.finding import RunFilter, find_runs
from stanchion.runs.ledger import Ledger
from stanchion.runs.operations import BATCH, Operations
from stanchion.runs.records import Run
from stanchion.ui.access import Console
from stanchion.ui.safe import block, plain

MOST = 10_000
"""Runs that one press may change."""

MOST_TOLD = 100
SOON = 3.0  # seconds
_TOLD = "bulk_told"
_AGAIN = "bulk_again"

Change = Callable[[Operations, Sequence[str], Person, str], list[Run]]


class _Action(NamedTuple):
    label: str
    icon: str
    did: str
    help: str
    change: Change


def _go_on(operations: Operations, run_ids: Sequence[str], by: Person, reason: str) -> list[Run]:
    held = [run.id for run in Ledger(operations.database).runs_of(run_ids) if run.paused_at and not run.ended_at]
    released = operations.unpause(held, by=by, reason=reason) if held else []
    try:
        return operations.resume(run_ids, by=by, reason=reason)
    except StanchionError:
        if not released:
            raise
        return released  # it is held back no more, though it waits for something else


ACTIONS = (
    _Action("Resume", ":material/play_arrow:", "go on", "Let runs go on that are paused, queued or cut off.", _go_on),
    _Action(
        "Pause", ":material/pause:", "paused", "Hold runs back before their next step.",
        lambda operations, ids, by, reason: operations.pause(ids, by=by, reason=reason),
    ),
    _Action(
        "Cancel", ":material/stop:", "cancelled", "End runs for good; their open reviews are closed.",
        lambda operations, ids, by, reason: operations.cancel(ids, by=by, reason=reason),
    ),
    _Action(
        "Run again", ":material/replay:", "queued anew", "Make new runs with the same inputs; the old ones stay.",
        lambda operations, ids, by, reason: operations.rerun(ids, by=by, reason=reason),
    ),
)  # fmt: skip


def act_on(console: Console, chosen: Sequence[str], wanted: RunFilter, total: int) -> bool:
    """Offer what can be done with the chosen runs, or with all that a filter finds; say whether something was done.

    Args:
        console: who acts.
        chosen: ids of runs.
        wanted: the filter.
        total: how many runs it finds.
    """
    if not console.person.may("operator"):
        return False
    everything = st.toggle(f"All {min(total, MOST):,} found", key="bulk_all")
    number = min(total, MOST) if everything else len(chosen)
    for action in ACTIONS:
        with st.popover(action.label, icon=action.icon, disabled=not number, help=action.help):
            reason = _reason(action, number)
        if reason is not None:
            found = [run.id for run in find_runs(console.database, wanted, limit=MOST)] if everything else chosen
            _do(console, action, list(found), reason)
            return True
    return False


def _reason(action: _Action, number: int) -> str | None:
    with st.form(f"bulk {action.label}", border=False, clear_on_submit=True):
        reason = st.text_input("Why? It goes into the trail.", key=f"bulk reason {action.label}", max_chars=500)
        pressed = st.form_submit_button(f"{action.label}: {number:,} run{'s' * (number != 1)}", type="primary")
    if pressed and not reason.strip():
        st.error("Say why first.", icon=":material/edit:")
    return reason if pressed and reason.strip() else None


def _do(console: Console, action: _Action, run_ids: list[str], reason: str) -> None:
    operations = Operations(console.database, clock=console.clock)
    done: list[Run] = []
    trouble = ""
    bar = st.progress(0.0, f"{action.label}: {len(run_ids):,} runs")
    for begin in range(0, len(run_ids), BATCH):
        try:
            done += action.change(operations, run_ids[begin : begin + BATCH], console.person, reason)
        except StanchionError as error:
            trouble = str(error)
            if len(run_ids) > 1:
                break
        bar.progress(min(1.0, (begin + BATCH) / len(run_ids)))
    bar.empty()
    new = action.label == "Run again"
    left = set(run_ids) - {run.origin if new else run.id for run in done}
    told = _Told(f"{len(done):,} of {len(run_ids):,} runs {action.did}.", trouble, *_why_not(console, sorted(left)))
    st.session_state[_TOLD] = told
    if done and action.label in ("Resume", "Run again"):
        console.background.resume([(run.reference, run.id) for run in done])
        st.session_state[_TOLD] = told._replace(what=f"{told.what} The list is read again in a moment.")
        st.session_state[_AGAIN] = told


def look_once_more(look: Callable[[], bool]) -> None:
    """Where runs were let go on, read their list once more as soon as the first may have come somewhere.

    Args:
        look: has the list read anew, and says whether it is; it is not while somebody is at work in it.
    """
    if _AGAIN not in st.session_state:
        return
    rounds: list[None] = []

    @st.fragment(run_every=SOON)
    def soon() -> None:
        rounds.append(None)
        if len(rounds) == 1:
            return  # the page itself, just now
        told = st.session_state.pop(_AGAIN, None)
        if told is not None and look():
            st.session_state[_TOLD] = told
            st.rerun()

    soon()


class _Told(NamedTuple):
    what: str
    trouble: str
    left: int
    where: str
    told: list[str]


def _why_not(console: Console, run_ids: list[str]) -> tuple[int, str, list[str]]:
    """Return how many runs stayed as they were, where those stand, and each of them in a line."""
    stands: Counter[str] = Counter()
    told = []
    for begin in range(0, len(run_ids), BATCH):
        for run in Ledger(console.database).runs_of(run_ids[begin : begin + BATCH]):
            stands["erased" if run.erased_at else run.standing] += 1
            told.append(f"{run.id}  {run.standing}  {run.input_id}")
    return len(run_ids), ", ".join(f"{number:,} {word}" for word, number in stands.most_common()), told[:MOST_TOLD]


def tell_what_was_done() -> None:
    """Say what the last press came to, and which runs stayed as they are."""
    told: _Told | None = st.session_state.pop(_TOLD, None)
    if told is None:
        return
    if not told.left and not told.trouble:
        st.success(plain(told.what), icon=":material/check_circle:")
        return
    stayed = f"The others stay as they are: {told.where}." if told.left else ""
    st.warning(plain(" ".join([told.what, stayed, told.trouble]), longest=2_000), icon=":material/warning:")
    if told.left:
        with st.expander("Which ones"):
            more = [f"… and {told.left - MOST_TOLD:,} more"] if told.left > MOST_TOLD else []
            st.code(block("\n".join([*told.told, *more])), language=None)
