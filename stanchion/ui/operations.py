"""Operations: workers, workflows, circuit breakers, money, rates and retries; whatever changes something asks why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import streamlit as st

from stanchion.errors import StanchionError
from stanchion.guards.limits.policy_files import InForce, values_in_force
from stanchion.guards.limits.standing import Breakers, ModelStanding, Spending, models_standing, spending
from stanchion.runs.finding import choices
from stanchion.runs.operations import Operations, PausedWorkflow
from stanchion.runs.worker import workers
from stanchion.ui.access import Console
from stanchion.ui.caps import caps_of
from stanchion.ui.code import show_code
from stanchion.ui.markup import STYLE, Markup, framed, table
from stanchion.ui.safe import plain
from stanchion.ui.telling import show_names
from stanchion.ui.words import moment, money, since

Move = Literal["open", "closed", "release"]
MOVES: dict[Move, str] = {
    "open": "Force open: no call passes",
    "closed": "Force closed: every call passes",
    "release": "Release: it decides",
}


def page(console: Console) -> None:
    """Show what is in force, and offer what an operator may change.

    Args:
        console: who looks, at what.
    """
    st.html(STYLE)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Operations", anchor=False, width="stretch")
        _code(console)
    _tell()
    names = choices(console.database).workflows
    caps = {name: caps_of(console.database, name) for name in names}
    with st.container(key="halves"):
        left, right = st.columns(2, gap="medium")
    with left:
        _workers(console)
        _workflows(console, names)
        _money(console, caps)
    with right:
        _models(console, caps)
        _limits(caps)
    for name, why in caps.items():
        if isinstance(why, str):
            st.warning(plain(f"The limits of {name} cannot be shown: {why}", longest=500), icon=":material/help:")


def _code(console: Console) -> None:
    models = models_standing(console.database, console.clock)
    model = models[0].model if models else "openai:gpt-4o-mini"
    python = (
        "from stanchion.clock import SystemClock\n"
        "from stanchion.guards.limits.standing import Breakers, spending\n"
        "from stanchion.runs.operations import Operations\n"
        "from stanchion.runs.worker import workers\n\n"
        "breakers = Breakers(database, SystemClock())\n"
        "print(breakers.standing(), spending(database), workers(database))\n"
        "print(Operations(database).paused_workflows())\n"
        f"breakers.force({model!r}, 'open', by='you', reason='why')\n"
        f"breakers.release({model!r}, by='you', reason='why')"
    )
    show_code(
        console.opened.path, python, ["limits"], ["breaker", model, "--open", "--reason=why"],
        ["breaker", model, "--release", "--reason=why"],
    )  # fmt: skip


def _title(words: str) -> None:
    st.markdown(f"**{plain(words)}**")


# --- Every change: a reason, the library's word, and what came of it ---


def _change(console: Console, name: str, change: Callable[[str], str], fields: Callable[[], None]) -> None:
    """Show a form that changes something, to those who may.

    Args:
        console: who acts.
        name: of the button.
        change: does it, given the reason, and says what was done.
        fields: shows what there is to choose.
    """
    if not console.person.may("operator"):
        return
    done = st.session_state.setdefault("operations_done", 0)  # a new key: closed and empty again after each change
    with st.popover(name, icon=":material/edit:", key=f"{name} {done}"):
        with st.form(f"form {name} {done}", border=False):
            fields()
            reason = st.text_input("Why? It goes into the trail.", key=f"why {name} {done}", max_chars=500)
            pressed = st.form_submit_button(name, type="primary")
        if pressed:
            _make_sure(change, reason)


def _make_sure(change: Callable[[str], str], reason: str) -> None:
    """Change something and show the page anew; or say why it was not changed."""
    if not reason.strip():
        st.error("Say why first.", icon=":material/edit:")
        return
    try:
        st.session_state["operations_told"] = change(reason)
    except StanchionError as error:
        st.error(plain(error, longest=500), icon=":material/error:")
        show_names(str(error))
        return
    st.session_state["operations_done"] += 1
    st.rerun()


def _tell() -> None:
    told = st.session_state.pop("operations_told", None)
    if told:
        st.success(plain(told, longest=500), icon=":material/check_circle:")
        show_names(told)


# --- Workers and workflows ---


def _workers(console: Console) -> None:
    alive = workers(console.database)
    _title("Workers")
    if not alive:
        busy = len(console.background.busy())
        here = f" It is at {busy} runs now." if busy else ""
        st.info(
            "No worker is running. This console itself goes on with what people answer or resume here;"
            f" what is queued waits until `stanchion work` runs.{here}",
            icon=":material/bedtime:",
        )
        return
    now = console.clock.now()
    rows = ([worker.pid, worker.host, ", ".join(worker.workflows) or "all", since(worker.started_at, now),
             "stops" if worker.stopping else "works"] for worker in alive)  # fmt: skip
    st.html(framed(table(["process", "machine", "workflows", "began", "state"], rows)))


def _workflows(console: Console, names: Iterable[str]) -> None:
    operations = Operations(console.database, clock=console.clock)
    held = {one.workflow: one for one in operations.paused_workflows()}
    every = sorted({*names, *held})
    _title("Workflows")
    if not every:
        st.caption("No workflow has run on this database yet.")
        return
    st.html(framed(table(["workflow", "state"], ([name, _state(console, held.get(name))] for name in every))))
    with st.container(horizontal=True):
        going = [name for name in every if name not in held]
        if going:
            _change(
                console, "Pause a workflow", lambda why: _pause(console, operations, why),
                lambda: _choose("Workflow", going, "pause_which", "Its runs stop before their next step."),
            )  # fmt: skip
        if held:
            _change(
                console, "Let a workflow go on", lambda why: _unpause(console, operations, why),
                lambda: _choose("Workflow", sorted(held), "unpause_which", "Its runs go on where they stopped."),
            )  # fmt: skip


def _state(console: Console, held: PausedWorkflow | None) -> str:
    if held is None:
        return "▶ goes on"
    return f"‖ paused {since(held.at, console.clock.now())} by {held.by}: {held.reason}"


def _choose(label: str, names: list[str], key: str, caption: str) -> None:
    st.selectbox(label, names, key=key)
    st.caption(caption)


def _pause(console: Console, operations: Operations, why: str) -> str:
    name = st.session_state["pause_which"]
    operations.pause_workflow(name, by=console.person, reason=why)
    return f"{name} is paused."


def _unpause(console: Console, operations: Operations, why: str) -> str:
    name = st.session_state["unpause_which"]
    operations.unpause_workflow(name, by=console.person, reason=why)
    return f"{name} goes on."


# --- Models: breakers, rates, retries ---


def _models(console: Console, caps: dict[str, InForce | str]) -> None:
    breakers = Breakers(console.database, console.clock)
    standing = breakers.standing()
    _title("Models: circuit breakers, and the last minute")
    if standing:
        now = console.clock.now()
        rows = ([one.model, _breaker(one, since(one.changed_at, now)), one.in_flight, one.calls, one.failures,
                 _retries(one, caps)] for one in standing)  # fmt: skip
        headings = ["model", "breaker", "under way", "calls", "failed", "retries"]
        st.html(framed(table(headings, rows, kinds=["word", "", *["num"] * 4])))
    else:
        st.caption("No model has been asked yet.")
    _change_breaker(console, breakers, [one.model for one in standing])


def _breaker(one: ModelStanding, changed: str) -> str:
    if one.changed_at is None:
        return "closed: calls pass"
    forced = f", forced by {one.forced_by}" if one.forced else ""
    means = {"open": "no call passes", "closed": "calls pass", "half_open": "a few calls try"}[one.breaker]
    opens = f"; tries again at {moment(one.opens_again)}" if one.opens_again else ""
    return f"{one.breaker.replace('_', ' ')}{forced}, {changed}: {means}{opens}. {one.reason}"


def _retries(one: ModelStanding, caps: dict[str, InForce | str]) -> str:
    """Say how many further attempts were made, and how many the narrowest budget of all workflows lets pass."""
    budgets = [
        max(part.policy.retry.floor, int(part.policy.retry.share * one.calls))
        for part in caps.values()
        if isinstance(part, InForce)
    ]
    return f"{one.retries} of {min(budgets)}" if budgets else str(one.retries)


def _change_breaker(console: Console, breakers: Breakers, models: list[str]) -> None:
    """Offer to force or release the breaker of one model; the button says of which, and what becomes of it.

    No form, whose button could not say so. Its key says so too: what was pressed is what was read on it.
    """
    if not console.person.may("operator"):
        return
    done = st.session_state.setdefault("operations_done", 0)
    with st.popover("Change a breaker", icon=":material/edit:", key=f"breaker {done}"):
        listed = st.selectbox("Model", models, index=None, key=f"breaker_model {done}", placeholder="choose one…")
        typed = st.text_input(
            "Or another model", key=f"breaker_other {done}", placeholder="openai:gpt-4o-mini", max_chars=200
        ).strip()
        move = st.radio("What", list(MOVES), key=f"breaker_move {done}", format_func=MOVES.__getitem__)
        why = st.text_input("Why? It goes into the trail.", key=f"why breaker {done}", max_chars=500)
        model = typed or listed or ""
        is_clear = bool(model) and listed in (None, model)
        if not is_clear and model:
            st.warning("One model is chosen and another one is typed: take one of them away.", icon=":material/rule:")
        words = _move(move, plain(model) if is_clear else "…")
        if st.button(words, type="primary", key=f"{move} {model} {done}", disabled=not is_clear):
            _make_sure(lambda reason: _force(console, breakers, model, move, reason), why)


def _move(move: Move, model: str) -> str:
    return f"Release {model}" if move == "release" else f"Force {model} {move}"


def _force(console: Console, breakers: Breakers, model: str, move: Move, why: str) -> str:
    if move == "release":
        after = breakers.release(model, by=console.person, reason=why)
    else:
        after = breakers.force(model, move, by=console.person, reason=why)
    return f"The breaker of {after.model} is {after.breaker}{', forced' if after.forced else ''}."


# --- Money and all other limits ---


def _money(console: Console, caps: dict[str, InForce | str]) -> None:
    today = f"{console.clock.now():%Y-%m-%d}"
    spent = [one for one in spending(console.database, days=1) if one.day == today]
    _title("Money today (UTC)")
    if not spent:
        st.caption("Nothing was spent today.")
        return
    rows = (
        [one.workflow, one.tenant or "–", money(one.spent_usd), money(one.reserved_usd), _cap(one, caps)]
        for one in spent
    )
    st.html(
        framed(
            table(["workflow", "tenant", "spent", "under way", "caps a day"], rows, kinds=["", "", "num", "num", ""])
        )
    )


def _cap(one: Spending, caps: dict[str, InForce | str]) -> str:
    part = caps.get(one.workflow)
    if not isinstance(part, InForce):
        return "unknown"
    in_force = part.policy.money
    named = {"workflow": in_force.workflow, "tenant": in_force.tenant if one.tenant else None, "all": in_force.day}
    return ", ".join(f"{name} {money(cap)}" for name, cap in named.items() if cap is not None) or "none"


def _limits(caps: dict[str, InForce | str]) -> None:
    _title("Caps, rates and all other limits in force")
    shown = {name: part for name, part in caps.items() if isinstance(part, InForce)}
    if not shown:
        st.caption("They are shown once a workflow has run.")
        return
    name = (
        st.selectbox("Workflow", list(shown), key="limits_of", label_visibility="collapsed")
        if len(shown) > 1
        else next(iter(shown))
    )
    with st.container(height=330, border=False):
        st.html(framed(_values(shown[name])))
    st.caption(f"Of {plain(name)}. They are changed in `stanchion.toml`, which is read again when a workflow starts.")


def _values(part: InForce) -> Markup:
    values: dict[str, Any] = values_in_force(part.policy)
    first = ("money.", "rates", "retry.", "breaker.")  # what somebody who operates looks for
    ordered = sorted(
        values.items(), key=lambda item: next((n for n, key in enumerate(first) if item[0].startswith(key)), 9)
    )
    rows = ([key, "none" if value in (None, {}) else value, part.origins[key]] for key, value in ordered)
    return table(["limit", "value", "from"], rows, kinds=["mono", "", ""])
