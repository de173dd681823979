"""Two runs side by side: the paths they took, what each step said, cost and lasted, and where their outputs differ."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

import streamlit as st

from stanchion.errors import RunNotFound, UsageError
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Run
from stanchion.runs.timeline import StepLine, step_lines
from stanchion.ui import links
from stanchion.ui.access import Console
from stanchion.ui.code import show_code
from stanchion.ui.differences import SIDE_BY_SIDE, as_html, differences, shown
from stanchion.ui.markup import STYLE, Markup, framed, inside, table
from stanchion.ui.safe import plain
from stanchion.ui.waterfall import what_it_does
from stanchion.ui.words import counted, duration, money, standing

MOST_STEPS = 300
_MOST_FIELDS = 200
_NEVER_THE_SAME = ("worked", "cost")  # where they differ says nothing


def page(console: Console) -> None:
    """Show the two runs that the address names.

    Args:
        console: where we are.
    """
    st.html(STYLE)
    pair = _pair(console)
    if pair is None:
        return
    one, other = pair
    with st.container(key="compare_page"):
        st.subheader("Two runs side by side", anchor=False)
        for run, column in zip(pair, st.columns(2), strict=True):
            with column:
                links.show(links.to_run(run.id), _name(run), icon=":material/account_tree:")
        st.html(framed(_facts(one, other)))
        st.markdown("**Output**")
        st.html(as_html(differences(one.output or {}, other.output or {}), SIDE_BY_SIDE))
        st.html(framed(_all_fields(one, other)))
        st.markdown("**Steps**")
        _steps(console, one, other)
        _code(console, one, other)


def _code(console: Console, one: Run, other: Run) -> None:
    show_code(
        console.database.path,
        f"from stanchion.runs.ledger import Ledger\n"
        f"from stanchion.runs.timeline import path_taken\n\n"
        f"for run in Ledger(database).runs_of([{one.id!r}, {other.id!r}]):\n"
        f"    print(run.id, run.standing, run.output, path_taken(database, run.id))",
        ["show", one.id],
        ["show", other.id],
    )


def pairs(one: Sequence[str], other: Sequence[str]) -> list[tuple[int | None, int | None]]:
    """Match the steps of two paths, in order; None where one of them has no counterpart.

    Args:
        one: nodes in order.
        other: nodes in order.
    """
    matched: list[tuple[int | None, int | None]] = []
    for what, start, end, from_, to in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if what == "equal":
            matched += zip(range(start, end), range(from_, to), strict=True)
        else:
            matched += [(at, None) for at in range(start, end)] + [(None, at) for at in range(from_, to)]
    return matched


def _pair(console: Console) -> tuple[Run, Run] | None:
    ledger = Ledger(console.database)
    wanted = [st.query_params.get(name, "") for name in ("one", "other")]
    try:
        if all(wanted):
            return ledger.run(wanted[0]), ledger.run(wanted[1])
        st.info("Choose two runs to compare: fork a run, or run it again, and its page leads here.")
    except (RunNotFound, UsageError) as error:
        st.warning(plain(error, longest=500))
    links.show(links.Link("runs"), "All runs", icon=":material/list:")
    return None


def _name(run: Run) -> str:
    return f"{standing(run.standing)} · {plain(run.input_id, longest=60)} · {run.id}"


def _facts(one: Run, other: Run) -> Markup:
    def of(run: Run) -> list[str]:
        return [
            run.standing,
            run.reason or "–",
            run.rung or "–",
            "–" if run.confidence is None else f"{run.confidence:.0%}",
            f"{run.workflow} version {run.version}",
            run.model,
            ", ".join(f"{name} {pin.get('version')} ({pin.get('hash')})" for name, pin in run.prompts.items()) or "–",
            duration(run.worked_ms),
            f"{counted(run.calls, 'call')}, cost {money(run.cost_usd)}" if run.calls else "no calls",
        ]

    names = ("outcome", "why", "rung", "confidence", "workflow", "model", "prompts", "worked", "cost")
    rows = list(zip(names, of(one), of(other), strict=True))
    differ = ["differs" if left != right and name not in _NEVER_THE_SAME else "" for name, left, right in rows]
    marked = [
        (name + (" ≠" if differs else ""), left, right)
        for (name, left, right), differs in zip(rows, differ, strict=True)
    ]
    return table(("", one.id, other.id), marked, classes=differ, kinds=("word",))


def _all_fields(one: Run, other: Run) -> Markup:
    left, right = one.output or {}, other.output or {}
    names = list(dict.fromkeys([*left, *right]))[:_MOST_FIELDS]
    if not names:
        return Markup("")
    rows = [(name, *(shown(side[name]) if name in side else None for side in (left, right))) for name in names]
    whole = table(("field", one.id, other.id), rows, kinds=("word", "mono", "mono"))
    said = f"Side by side: {counted(len(names), 'field')}"
    return Markup(f"<details>{inside('summary', said)}{whole}</details>")


def _steps(console: Console, one: Run, other: Run) -> None:
    left, right = (step_lines(console.database, run, number=MOST_STEPS) for run in (one, other))
    rows, classes = [], []
    for at, to in pairs([line.node for line in left], [line.node for line in right]):
        before = None if at is None else left[at]
        after = None if to is None else right[to]
        same = before is not None and after is not None and _said(before, one) == _said(after, other)
        rows.append(("" if same else "≠", *_cells(before, one), *_cells(after, other)))
        classes.append("" if same else "differs")
    headings = ("", "step", "says", "took", "cost", "step", "says", "took", "cost")
    kinds = ("word", "word", "word", "num", "num", "word", "word", "num", "num")
    st.html(framed(table(headings, rows, classes=classes, kinds=kinds)))
    if max(len(left), len(right)) == MOST_STEPS:
        st.html(framed(inside("p", f"Only the first {MOST_STEPS} steps of each are compared.")))


def _said(line: StepLine, run: Run) -> tuple[str, str]:
    sure = "" if line.confidence is None else f" {line.confidence:.0%}"
    return line.node, what_it_does(line, run) + sure


def _cells(line: StepLine | None, run: Run) -> tuple[str, str, str, str]:
    if line is None:
        return "", "not taken", "", ""
    node, said = _said(line, run)
    took = "" if line.ms is None else duration(line.ms)
    return f"{line.position} {node}", said, took, money(line.cost_usd) if line.calls else ""
