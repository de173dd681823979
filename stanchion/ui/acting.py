"""What an operator may do about a run from its page; the library checks who may, and writes it into the trail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import streamlit as st

from stanchion.errors import StanchionError, UsageError
from stanchion.runs.operations import Operations
from stanchion.runs.records import Review, Run
from stanchion.runs.timeline import path_taken
from stanchion.store.prompts import LABELS, PromptLabels
from stanchion.ui.access import Console
from stanchion.ui.safe import line, plain

_SAID = "run_page_said"
_ROUND = "run_page_round"  # counts what was done: forms with a new key are empty and closed
_LARGEST_EDITED = 200_000  # characters of a value that a text area takes
_MOST_PROMPTS = 20


def show_what_was_done() -> None:
    """Say what the last action came to."""
    if said := st.session_state.pop(_SAID, None):
        st.success(said, icon=":material/check_circle:")


def show_actions(console: Console, run: Run, reviews: list[Review]) -> None:
    """Show the buttons of what may be done about a run now; none to who may do nothing.

    Args:
        console: where we are.
        run: the run.
        reviews: what it asked.
    """
    if not console.person.may("operator"):
        return
    do = Operations(console.database, clock=console.clock)
    with st.container(horizontal=True, horizontal_alignment="right", key="run_actions"):
        if run.ended_at is None and run.paused_at is None:
            if _can_go_on(run, reviews) and run.id not in console.background.busy():
                hint = "It goes on with what is queued, was cut off, or was answered."
                _ask("Resume", "play_arrow", lambda why: _resumed(console, run, do, why), hint)
            _ask("Pause", "pause", lambda why: _paused(console, run, do, why), "It stops before its next step.")
        elif run.ended_at is None:
            _ask("Unpause", "play_arrow", lambda why: _unpaused(console, run, do, why), "It may go on again.")
        if run.ended_at is None:
            hint = "It ends for good, and its open questions are closed."
            _ask("Cancel", "cancel", lambda why: _cancelled(console, run, do, why), hint)
        if run.erased_at is None:
            _ask_to_run_again(console, run, do)


def show_fork(console: Console, run: Run, position: int | None) -> None:
    """Show the form that makes a new run which goes on from before a step of this one.

    Args:
        console: where we are.
        run: the run, which stays as it is.
        position: of the step that is looked at.
    """
    nodes = path_taken(console.database, run.id)
    if not console.person.may("operator"):
        st.caption("To fork a run takes the role operator.")
    elif not nodes or run.erased_at:
        st.caption(
            "There is nothing to fork from: " + ("it was erased." if run.erased_at else "no step was taken yet.")
        )
    else:
        _fork_form(console, run, nodes, position)


def _fork_form(console: Console, run: Run, nodes: list[str], position: int | None) -> None:
    st.caption("A new run goes on from before the step, with what you change. This one stays as it is.")
    turn = st.session_state.get(_ROUND, 0)
    step, prompts, model = st.columns(3)
    at = step.selectbox(
        "From before step",
        range(1, len(nodes) + 1),
        (position or len(nodes)) - 1,
        format_func=lambda number: f"{number} · {line(nodes[number - 1], longest=60)}",
        key=f"fork_at_{run.id}_{position}_{turn}",
    )
    label = prompts.text_input("Prompt label", placeholder="as in this run", key=f"fork_prompts_{turn}")
    named = model.text_input("Model", placeholder=run.model, key=f"fork_model_{turn}")
    _say_what_labels_mean(console, run)
    edits = _edits(console, run, at, turn)
    why = st.text_input("Reason", key=f"fork_why_{turn}")
    if st.button("Fork", icon=":material/fork_right:", type="primary", key=f"fork_go_{turn}"):
        _try(lambda: _forked(console, run, str(at), edits, label.strip(), named.strip(), why))


def _say_what_labels_mean(console: Console, run: Run) -> None:
    """Say which version of each prompt this run has, and which each label would give the new one now."""
    labels = PromptLabels(console.database)
    for prompt, pinned in list(run.prompts.items())[:_MOST_PROMPTS]:
        versions = {version.hash: version.version for version in labels.versions(prompt)}
        meant = [f"as in this run means version {pinned.get('version')}"]
        for label in LABELS:
            wording = labels.label(prompt, label)
            version = f"version {versions.get(wording, '?')}" if wording else "the version in the workflow's file"
            meant.append(f"{label} means {version}")
        st.caption(plain(f"Prompt {prompt}: {'; '.join(meant)}.", longest=500))


def _edits(console: Console, run: Run, at: int, turn: int) -> dict[str, str]:
    """Ask what to change of the state before a step; key to JSON text."""
    try:
        with st.spinner("Reading the state …"):  # the first time, loading a workflow takes seconds
            state = _state_before(console, run, at)
    except StanchionError as error:
        st.caption(f"The state cannot be edited here: {plain(error, longest=500)}")
        return {}
    except Exception as error:  # whatever a workflow of somebody else does when it is loaded
        st.caption(f"The state cannot be edited here: the workflow cannot be loaded ({plain(type(error).__name__)}).")
        return {}
    changed = st.multiselect(
        "What to change in the state",
        list(state),
        format_func=lambda key: line(key) + ("" if state.get(key) is not None else " (has no value yet)"),
        key=f"fork_keys_{at}_{turn}",
        placeholder="nothing",
    )
    return {
        key: text for key in changed if (text := _edit(key, state[key], f"fork_edit_{at}_{key}_{turn}")) is not None
    }


def _edit(key: str, now: str | None, name: str) -> str | None:
    if now is not None and len(now) > _LARGEST_EDITED:
        st.caption(
            plain(f"{key} is too large to be edited here ({len(now):,} characters): fork in Python.", longest=300)
        )
        return None
    shown = "null" if now is None else json.dumps(json.loads(now), indent=2)  # ASCII: half a character stops no page
    return st.text_area(f"{plain(key)} (JSON)", shown, key=name, height=200)


def _state_before(console: Console, run: Run, at: int) -> dict[str, str | None]:
    from stanchion.runs.forks import state_before  # brings LangGraph

    return asyncio.run(state_before(console.database, run.id, at=str(at)))


def _forked(console: Console, run: Run, at: str, edits: dict[str, str], label: str, model: str, why: str) -> None:
    from stanchion.runs.forks import fork  # brings LangGraph

    new = asyncio.run(
        fork(
            console.database,
            run.id,
            at=at,
            edits={key: _read_json(key, text) for key, text in edits.items()},
            by=console.person,
            reason=why,
            model=model or None,
            prompts=label or None,
            clock=console.clock,
        )
    )
    console.background.resume([(new.reference, new.id)])
    _done(f"Forked before step {at}. The new run is {new.id}.")


def _read_json(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise UsageError(f"What you wrote for {key} is not JSON ({where}); texts stand in double quotes.") from error


def _ask(label: str, icon: str, act: Callable[[str], None], hint: str) -> None:
    turn = st.session_state.get(_ROUND, 0)
    with st.popover(label, icon=f":material/{icon}:", key=f"pop_{label}_{turn}"):
        st.caption(hint)
        with st.form(f"form_{label}_{turn}", border=False):
            why = st.text_input("Reason", key=f"why_{label}_{turn}")
            if st.form_submit_button(f"{label} this run", type="primary"):
                _try(lambda: act(why))


def _ask_to_run_again(console: Console, run: Run, do: Operations) -> None:
    turn = st.session_state.get(_ROUND, 0)
    with st.popover("Run again", icon=":material/replay:", key=f"pop_again_{turn}"):
        st.caption("A new run begins with the same input.")
        with st.form(f"form_again_{turn}", border=False):
            model = st.text_input("Model", placeholder=run.model, key=f"again_model_{turn}")
            label = st.text_input("Prompt label", "production", key=f"again_prompts_{turn}")
            why = st.text_input("Reason", key=f"again_why_{turn}")
            if st.form_submit_button("Run again", type="primary"):
                _try(lambda: _again(console, run, do, model.strip(), label.strip(), why))


def _try(act: Callable[[], None]) -> None:
    """Do something and show the page anew; or say why it was refused."""
    try:
        act()
    except StanchionError as refusal:
        st.error(plain(refusal, longest=1_000))
    else:
        st.rerun()


def _done(said: str) -> None:
    st.session_state[_SAID] = plain(said)
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1


def _can_go_on(run: Run, reviews: list[Review]) -> bool:
    return run.status in ("queued", "running") or not any(review.status == "asked" for review in reviews)


def _resumed(console: Console, run: Run, do: Operations, why: str) -> None:
    do.resume([run.id], by=console.person, reason=why)
    console.background.resume([(run.reference, run.id)])
    _done("It goes on; this page follows it.")


def _paused(console: Console, run: Run, do: Operations, why: str) -> None:
    do.pause([run.id], by=console.person, reason=why)
    _done("Paused: it stops before its next step.")


def _unpaused(console: Console, run: Run, do: Operations, why: str) -> None:
    do.unpause([run.id], by=console.person, reason=why)
    console.background.resume([(run.reference, run.id)])
    _done("It may go on again.")


def _cancelled(console: Console, run: Run, do: Operations, why: str) -> None:
    do.cancel([run.id], by=console.person, reason=why)
    _done("Cancelled.")


def _again(console: Console, run: Run, do: Operations, model: str, label: str, why: str) -> None:
    (new,) = do.rerun([run.id], by=console.person, reason=why, model=model or None, prompts=label or "production")
    console.background.resume([(new.reference, new.id)])
    _done(f"A new run begins with the same input: {new.id}.")
