"""The steps of a run over time: a component whose rows can be chosen.

What a stretch of time went into is told by its pattern and in words, never by colour alone. Time in which nobody
worked is cut short, and says so: a run of 200 milliseconds that waited three days for a person would else be invisible.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

from stanchion.runs.records import Run
from stanchion.runs.timeline import Span, StepLine
from stanchion.ui.words import duration

_AT_WORK = ("running", "calling")
_LONGEST_IDLE = 0.12
"""Of the time at work: what a stretch without work is cut to."""


_component = st.components.v2.component(
    "stanchion_waterfall",
    html='<div class="waterfall"></div>',
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


class Cut(NamedTuple):
    """A stretch of time that was cut short.

    Args:
        at: its middle, in percent of the width.
        ms: how long it was, in milliseconds.
    """

    at: float
    ms: float


class Scale:
    """Says where a moment stands, in percent of the width.

    Args:
        spans: everything that is shown.
        now: the end of what goes on.
    """

    def __init__(self, spans: Sequence[Span], now: datetime) -> None:
        self._now = now
        stretches = _stretches(spans, now)
        worked = sum((end - start).total_seconds() for start, end, at_work in stretches if at_work)
        most = worked * _LONGEST_IDLE if worked else float("inf")
        self._marks: list[tuple[datetime, float]] = []
        at, cut = 0.0, []
        for start, end, at_work in stretches:
            self._marks.append((start, at))
            seconds = (end - start).total_seconds()
            width = seconds if at_work else min(seconds, most)
            if width < seconds:
                cut.append((at + width / 2, seconds))
            at += width
        self._marks.append((stretches[-1][1] if stretches else now, at))
        self._whole = at or 1.0
        self.cuts = [Cut(round(100 * middle / self._whole, 3), seconds * 1000) for middle, seconds in cut]

    def at(self, moment: datetime | None) -> float:
        """Return where a moment stands.

        Args:
            moment: None: now.
        """
        moment = moment or self._now
        number = bisect_right(self._marks, moment, key=itemgetter(0))
        if number in (0, len(self._marks)):
            return 100.0 if number else 0.0
        (start, left), (end, right) = self._marks[number - 1 : number + 1]
        share = (moment - start) / (end - start)
        return round(100 * (left + share * (right - left)) / self._whole, 3)


def what_it_does(line: StepLine, run: Run) -> str:
    """Say in a word or two how a step stands.

    Args:
        line: the step.
        run: its run.
    """
    if line.error:
        return "✗ failed"
    if line.late_at:
        return "✗ given up"
    if line.ended_at:
        return line.decision or "✓"
    if any(span.doing == "waiting" and span.end is None for span in line.spans) and not run.ended_at:
        return "◷ waits"
    if run.paused_at and not run.ended_at:
        return "‖ paused"
    if run.status != "running":
        return "cut off" if run.ended_at or not line.spans else "◷ stopped"
    return "↻ retries" if line.spans and line.spans[-1].doing in ("failed call", "backing off") else "▶ runs"


def rows(lines: Sequence[StepLine], run: Run, now: datetime) -> tuple[list[dict[str, Any]], list[Cut]]:
    """Return what the component shows.

    Args:
        lines: the steps of one page.
        run: their run.
        now: the end of what goes on.
    """
    scale = Scale([span for line in lines for span in line.spans], now)
    return [_row(line, run, scale, now) for line in lines], scale.cuts


def waterfall(
    lines: Sequence[StepLine], run: Run, *, number: int, chosen: int, now: datetime, on_choose: Callable[[int], None]
) -> None:
    """Show the steps of a run over time; a click chooses one, Left and Right the one beside it.

    Args:
        lines: the steps of one page.
        run: their run.
        number: how many steps the run has in all.
        chosen: position of the step that is looked at.
        now: the end of what goes on.
        on_choose: called with the position of a step that somebody chose, before the page is shown again.
    """
    key = "waterfall"

    def chose() -> None:
        position = st.session_state[key].get("chosen")
        if isinstance(position, int) and 1 <= position <= number:
            on_choose(position)

    shown, cuts = rows(lines, run, now)
    data = {
        "run": run.id,
        "rows": shown,
        "cuts": [{"at": cut.at, "text": duration(cut.ms)} for cut in cuts],
        "chosen": chosen,
        "number": number,
    }
    _component(data=data, key=key, on_chosen_change=chose)


def _row(line: StepLine, run: Run, scale: Scale, now: datetime) -> dict[str, Any]:
    bars = [_bar(span, scale, now) for span in line.spans]
    return {
        "position": line.position,
        "node": line.node[:80],
        "again": f"×{line.attempts}" if line.attempts > 1 else "",
        "word": what_it_does(line, run),
        "time": _time(line, now),
        "bars": bars,
        "said": "; ".join([f"Step {line.position}, {line.node[:80]}", *(bar["said"] for bar in bars)]),
    }


def _time(line: StepLine, now: datetime) -> str:
    """Say how long a step took; how long it has been at it, or has waited, where it has not ended."""
    if line.ms is not None:
        return duration(line.ms)
    going_on = [span for span in line.spans if span.end is None]
    return duration(_ms(going_on[-1], now)) if going_on else ""


def _bar(span: Span, scale: Scale, now: datetime) -> dict[str, Any]:
    left, right = scale.at(span.start), scale.at(span.end)
    going_on = " so far" if span.end is None else ""
    return {
        "doing": span.doing,
        "left": left,
        "width": max(0.0, right - left),
        "open": span.end is None,
        "said": f"{span.doing} {duration(_ms(span, now))}{going_on}" + (f" ({span.note[:100]})" if span.note else ""),
    }


def _ms(span: Span, now: datetime) -> float:
    return max(0.0, ((span.end or now) - span.start).total_seconds() * 1000)


def _stretches(spans: Sequence[Span], now: datetime) -> list[tuple[datetime, datetime, bool]]:
    """Cut time into stretches with and without work; those beside each other differ."""
    ends = [(span.start, max(span.end or now, span.start), span.doing in _AT_WORK) for span in spans]
    changes: dict[datetime, int] = {}
    for start, end, at_work in ends:
        changes[start] = changes.get(start, 0) + at_work
        changes[end] = changes.get(end, 0) - at_work
    found: list[tuple[datetime, datetime, bool]] = []
    workers = 0
    for moment, following in pairwise(sorted(changes)):
        workers += changes[moment]
        if found and found[-1][2] == (workers > 0):
            moment = found.pop()[0]  # the stretch before goes on
        found.append((moment, following, workers > 0))
    return found
