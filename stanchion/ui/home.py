"""Home: is it well? One glance at everything, made anew every few seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import streamlit as st

from stanchion.guards.limits.policy_files import InForce
from stanchion.runs.finding import RunFilter, choices
from stanchion.runs.worker import WorkerStanding, workers
from stanchion.ui import links
from stanchion.ui.access import Console
from stanchion.ui.bars import STYLE as BARS
from stanchion.ui.bars import bars
from stanchion.ui.caps import caps_of
from stanchion.ui.links import Link
from stanchion.ui.markup import STYLE, Markup, framed, inside, table
from stanchion.ui.safe import line, plain
from stanchion.ui.telling import told
from stanchion.ui.words import MARKS, counted, duration, money, since
from stanchion.watch.overview import Overview, StepTimes, overview

SPANS = {"24 hours": 24, "7 days": 168, "31 days": 744}
AGAIN = 15  # seconds
MOST_ROWS = 7  # of a table, so that everything fits a screen of 1280 by 800
TILES = """<style>
.tiles { display: flex; gap: 1rem; font-size: .9rem }
.tiles > div { flex: 1; display: flex; flex-direction: column; padding: .5rem .9rem; border: 1px solid var(--grey);
  border-radius: .5rem; min-width: 0 }
.tiles b { font-size: 1.7rem; line-height: 1.3; font-weight: 500; font-variant-numeric: tabular-nums }
.tiles span { min-height: 1.3rem }
</style>"""
ALL = "All workflows"
SOON = 3_600.0  # seconds before a review expires in which that is worth a word


class _Trouble(NamedTuple):
    icon: str
    what: str
    link: Link
    press: str


def page(console: Console) -> None:
    """Show how everything stands.

    Args:
        console: who looks, at what.
    """
    st.html(STYLE + BARS + TILES)
    known = choices(console.database).workflows
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Home", anchor=False, width="stretch")
        workflow = st.selectbox(
            "Workflow", [ALL, *known], key="workflow", bind="query-params", label_visibility="collapsed", width=240
        )
        span = st.segmented_control(
            "Span", list(SPANS), key="span", default=next(iter(SPANS)), required=True, bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
    if not known:
        _welcome()
        return
    _stand(console, None if workflow == ALL else workflow, span)


def _welcome() -> None:
    st.info(
        "Nothing has run on this database yet. `stanchion run WORKFLOW PATH…` runs documents through a workflow; "
        "`stanchion demo` makes a database with examples, and `stanchion console --db FILE` opens it.",
        icon=":material/waving_hand:",
    )


@st.fragment(run_every=AGAIN)
def _stand(console: Console, workflow: str | None, span: str) -> None:
    with told("Look again"):
        _show(console, workflow, span)


def _show(console: Console, workflow: str | None, span: str) -> None:
    now = overview(console.database, clock=console.clock, hours=SPANS[span], workflow=workflow)
    alive = workers(console.database)
    _say_whether_well(list(_troubles(console, now, alive, workflow)))
    _numbers(now, alive)
    with st.container(key="halves"):
        left, right = st.columns([1.15, 1], gap="medium")
    with left:
        _title(f"Ended in the last {span}")
        st.html(framed(bars(now.ended, now.since, SPANS[span]), _outcomes(now)))
        _title("Models")
        st.html(framed(_models(now)))
    with right:
        _title("Steps: how long they took")
        steps = st.empty()
        steps.html(framed(_steps(now, None)))
        _title("Money today (UTC)")
        spent = st.empty()
        spent.html(framed(_money(now, None)))
    # the first time, loading a workflow to see its limits takes seconds: everything else stands there already
    caps = _caps(console, now)
    steps.html(framed(_steps(now, caps)))
    spent.html(framed(_money(now, caps)))


def _title(words: str) -> None:
    st.markdown(f"**{plain(words)}**")


def _troubles(console: Console, now: Overview, alive: list[WorkerStanding], workflow: str | None) -> Iterator[_Trouble]:
    operations = links.Link("operations")
    for model in now.models:
        if model.breaker != "closed":
            who = f", forced by {model.forced_by}" if model.forced else ""
            yield _Trouble(
                "electrical_services",
                f"The breaker of {model.model} is {model.breaker}{who}.",
                operations,
                "Operations",
            )
    for held in now.paused:
        yield _Trouble("pause_circle", f"{held.by} paused {held.workflow}: {held.reason}", operations, "Operations")
    if failed := sum(part.runs for part in now.ended if part.outcome == "failed"):
        which = RunFilter(standing="failed", workflow=workflow, since=now.since)
        yield _Trouble("error", counted(failed, "run failed.", "runs failed."), links.to_runs(which), "See them")
    if overdue := now.waiting.overdue:
        words = counted(overdue, "review is overdue.", "reviews are overdue.")
        yield _Trouble("timer_off", words, links.to_reviews(), "Answer them")
    if now.waiting.next_due and (now.waiting.next_due - now.at).total_seconds() < SOON:
        due = since(now.waiting.next_due, now.at)
        yield _Trouble("timer", f"A review expires {due}.", links.to_reviews(), "Answer it")
    if (queued := now.unfinished.queued) and not alive and not console.background.busy():
        waiting = counted(queued, "run is queued", "runs are queued")
        words = f"No worker is running, and {waiting}; this starts one: stanchion work"
        which = RunFilter(standing="queued", workflow=workflow)
        yield _Trouble("hourglass_empty", words, links.to_runs(which), "See them")
    for trouble in console.background.troubles()[:2]:
        yield _Trouble("error", trouble.what, links.to_run(trouble.run_ids[0]), "See the run")


def _say_whether_well(troubles: list[_Trouble]) -> None:
    if not troubles:
        st.success("All is well: nothing is held back, overdue or failed.", icon=":material/check_circle:")
        return
    with st.container(border=True, gap=None):
        for trouble in troubles[:3]:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f":material/{trouble.icon}:", width="content")
                # no Markdown: names of models are there to be copied
                st.html(framed(inside("span", line(trouble.what))), width="stretch")
                links.show(trouble.link, trouble.press, icon=":material/arrow_forward:")
        if len(troubles) > 3:
            st.caption(f"and {len(troubles) - 3} more")


def _numbers(now: Overview, alive: list[WorkerStanding]) -> None:
    outcomes = _by_outcome(now)
    ended, by_itself = outcomes.total(), outcomes["accepted"]
    left = now.unfinished
    unfinished = {"queued": left.queued, "running": left.running, "paused": left.paused}
    stands = " · ".join(f"{number:,} {word}" for word, number in unfinished.items() if number)
    oldest = f"oldest {duration(_ms(now.waiting.oldest, now.at))}" if now.waiting.oldest else ""
    share = f"{by_itself / ended:.0%} accepted by itself" if ended else ""
    tiles = (
        _tile("Ended", f"{ended:,}", share),
        _tile("Reviews waiting", f"{now.waiting.reviews:,}", oldest),
        _tile("Not ended, besides", f"{sum(unfinished.values()):,}", stands),
        _tile("Workers", f"{len(alive)}", "" if alive else "none is running"),
    )
    st.html(framed(inside("div", Markup("".join(tiles)), class_="tiles")))


def _tile(label: str, value: str, words: str) -> Markup:
    return inside("div", Markup(inside("span", label) + inside("b", value) + inside("span", words, class_="faint")))


def _ms(then: datetime, now: datetime) -> float:
    return (now - then).total_seconds() * 1_000


def _by_outcome(now: Overview) -> Counter[str]:
    counted: Counter[str] = Counter()
    for part in now.ended:
        counted[part.outcome] += part.runs
    return counted


def _outcomes(now: Overview) -> str:
    return " · ".join(f"{MARKS.get(name, '·')} {name} {number:,}" for name, number in _by_outcome(now).most_common())


def _steps(now: Overview, caps: dict[str, InForce] | None) -> str:
    slowest = sorted(now.steps, key=lambda step: -step.p95_ms)
    rows = [
        [step.node if len({other.workflow for other in now.steps}) == 1 else f"{step.workflow}: {step.node}",
         f"{step.steps:,}", duration(step.p50_ms), duration(step.p95_ms), _budget(step, caps)]
        for step in slowest[:MOST_ROWS]
    ]  # fmt: skip
    if not rows:
        return framed("No step ended in this time.")
    return table(["slowest first", "times", "half within", "95 % within", "budget"], rows, kinds=["", *["num"] * 4])


def _budget(step: StepTimes, caps: dict[str, InForce] | None) -> str:
    if not caps or step.workflow not in caps:
        return "…" if caps is None else "unknown"
    budget_ms = caps[step.workflow].policy.step_time(step.node).total_seconds() * 1_000
    return f"{duration(budget_ms)}, {step.p95_ms / budget_ms:.0%} used"


def _money(now: Overview, caps: dict[str, InForce] | None) -> str:
    if not now.spent_today:
        return framed("Nothing was spent today.")
    rows = []
    for one in now.spent_today[:MOST_ROWS]:
        cap = caps[one.workflow].policy.money.workflow if caps and one.workflow in caps else None
        rows.append([one.workflow, money(one.spent_usd), money(one.reserved_usd), _of_cap(one.spent_usd, cap)])
    return table(["workflow", "spent", "under way", "cap a day"], rows, kinds=["", *["num"] * 3])


def _of_cap(spent: Decimal, cap: Decimal | None) -> str:
    if cap is None:
        return "none"
    return f"{money(cap)}, {float(spent / cap):.0%} used" if cap else f"{money(cap)}, nothing may be spent"


def _models(now: Overview) -> str:
    rows = [
        [
            model.model,
            f"{model.breaker}{', forced' if model.forced else ''}",
            model.calls,
            model.retries,
            model.failures,
        ]
        for model in sorted(now.models, key=lambda model: (model.breaker == "closed", -model.calls))[:MOST_ROWS]
    ]
    if not rows:
        return framed("No model has been asked yet.")
    return table(
        ["in the last minute", "breaker", "calls", "retries", "failures"], rows, kinds=["word", "word", *["num"] * 3]
    )


def _caps(console: Console, now: Overview) -> dict[str, InForce]:
    names = {step.workflow for step in now.steps} | {one.workflow for one in now.spent_today}
    found = {name: caps_of(console.database, name) for name in sorted(names)}
    return {name: caps for name, caps in found.items() if isinstance(caps, InForce)}
