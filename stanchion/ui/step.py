"""One step in full: what it changed, what its guards said, what models were asked, and the document it worked with."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import streamlit as st

from stanchion.runs.records import Call, Review
from stanchion.runs.timeline import StepInFull, read_input, too_large
from stanchion.store import Database
from stanchion.ui import differences, document
from stanchion.ui.markup import Markup, framed, inside, table, text
from stanchion.ui.words import counted, duration, money
from stanchion.verdict import Check

_SAID = {"fail": "✗ no", "warn": "! warns", "pass": "✓ passes"}
_TABS = ("Changes", "Guards", "Model", "Document", "State")
_LARGEST_JSON = 200_000


def show_step(database: Database, found: StepInFull) -> None:
    """Show one step.

    Args:
        database: where its run is recorded.
        found: the step.
    """
    st.html(_standing(found))
    checks = found.verdict.checks or [] if found.verdict else []
    changes, guards, model, paper, state = st.tabs(_TABS, key="step_tabs")  # the same for all steps: it stays open
    with changes:
        _changes(found)
    with guards:
        _guards(checks)
    with model:
        _calls(found.calls)
    with paper:
        _document(database, found)
    with state:
        _state("Given", found.step.state_in)
        _state("Written", found.step.state_out)


def cost(calls: Sequence[Call]) -> str:
    """Return what calls cost together, in words.

    Args:
        calls: of a step.
    """
    known = [call.cost_usd for call in calls if call.cost_usd is not None]
    return f"cost {money(sum(known, Decimal(0)) if len(known) == len(calls) else None)}"


def _standing(found: StepInFull) -> Markup:
    step, verdict = found.step, found.verdict
    took = "has not ended" if step.ms is None else f"took {duration(step.ms)}"
    facts = [took, f"began {step.started_at:%d %b %H:%M:%S} UTC"]
    facts += [f"executed {step.attempts} times; shown is the last"] if step.attempts > 1 else []
    facts += [f"{counted(len(found.calls), 'call')}, {cost(found.calls)}"] if found.calls else []
    facts += [_guards_said(verdict.checks)] if verdict and verdict.checks else []
    facts += ["ended after it was given up; what it came to was thrown away"] if step.late_at else []
    parts = [inside("div", " · ".join(facts), class_="faint")]
    if verdict:
        sure = "" if verdict.confidence is None else f", {verdict.confidence:.0%} sure"
        why = f": {verdict.reason}" if verdict.reason else ""
        parts.append(inside("div", Markup(f"<strong>{text(verdict.decision)}</strong>{text(sure + why or ' ')}")))
    parts += [inside("div", f"✗ {step.error}")] if step.error else []
    parts += [inside("div", _question(review)) for review in found.reviews]
    return framed(*parts)


def _question(review: Review) -> str:
    asked = review.question.get("question") if isinstance(review.question, Mapping) else review.question
    if review.status == "asked":
        how = "nobody has answered yet"
    else:
        how = f"{review.action or review.status}" + (f" by {review.answered_by}" if review.answered_by else "")
    return f"Asked: {differences.shown(asked) if asked else '(erased)'} — {how}"


def _guards_said(checks: list[Check]) -> str:
    status = Counter[str](check.status for check in checks)
    no = [f"{status[one]} {word}" for one, word in (("fail", "said no"), ("warn", "warned")) if status[one]]
    return f"{counted(len(checks), 'check')}" + (f", {' and '.join(no)}" if no else ", all passed")


def _changes(found: StepInFull) -> None:
    step = found.step
    if said := too_large(step.state_in) or too_large(step.state_out):
        st.info(f"The state is too large for the ledger ({said.split(';')[0]}); the checkpoint holds it whole.")
    elif step.state_in is None and step.state_out is None:
        st.caption("Nothing is kept of this step's state.")
    elif step.state_out is None:
        st.caption("This step has written nothing.")
    else:
        before = step.state_in if isinstance(step.state_out, Mapping) else None
        st.html(differences.as_html(differences.differences(before, found.after)))


def _guards(checks: list[Check]) -> None:
    if not checks:
        st.caption("No guard said anything here.")
        return
    order = list(_SAID)
    ranked = sorted(checks, key=lambda check: order.index(check.status))[:500]
    rows = [(_SAID[check.status], check.path or "the whole", check.guard, check.reason or " ") for check in ranked]
    kinds = ("word", "mono", "word", "")
    st.html(framed(table(("says", "value", "guard", "why"), rows, kinds=kinds, classes=[one.status for one in ranked])))


def _calls(calls: list[Call]) -> None:
    if not calls:
        st.caption("This step asked no model.")
    for call in calls[:20]:
        st.html(_call(call))
    if len(calls) > 20:
        st.caption(f"{len(calls) - 20} more calls are not shown.")


def _call(call: Call) -> Markup:
    tokens = f"{call.input_tokens or 0:,} tokens read, {call.output_tokens or 0:,} written"
    facts = [
        f"{call.model}" + (f" ({call.model_version})" if call.model_version else ""),
        f"prompt {call.prompt} version {call.prompt_version}",
        call.status + (f" ({call.kind})" if call.kind else ""),
        *([tokens] if call.input_tokens is not None else []),
        cost([call]),
        *([duration(call.ms)] if call.ms is not None else []),
        *([f"{call.attempts} requests"] if call.attempts > 1 else []),
        *(["shared another run's request"] if call.shared_with else []),
        *(["asked again, because guards said no"] if call.reask else []),
    ]
    parts = [inside("div", " · ".join(facts))]
    parts += [inside("div", f"✗ {call.error}")] if call.error else []
    parts += [inside("div", f"! {call.warning}")] if call.warning else []
    asked = call.request if isinstance(call.request, list) else []
    parts += [_message(message, is_open=message is asked[-1]) for message in asked[:100]]
    parts += [_message(message, is_open=True, heading="raw answer") for message in call.answer or []]
    if call.request is None and call.answer is None:
        parts.append(inside("div", "What was said is not kept any more.", class_="faint"))
    return framed(*parts)


def _message(message: Any, *, is_open: bool, heading: str = "") -> Markup:
    data = message.get("data") if isinstance(message, Mapping) else None
    data = data if isinstance(data, Mapping) else {}
    said = _content(data.get("content"))
    for call in data.get("tool_calls") or []:
        said += ("\n" if said else "") + "calls " + differences.shown(call, 20_000)
    role = heading or str(message.get("type") if isinstance(message, Mapping) else "message")
    summary = inside("summary", f"{role}, {len(said):,} characters")
    return Markup(f"<details{' open' if is_open else ''}>{summary}{inside('div', said, class_='paper mono')}</details>")


def _content(content: Any) -> str:
    if not isinstance(content, list):
        return content if isinstance(content, str) else differences.shown(content, 2_000)
    blocks = [part.get("text") if isinstance(part, Mapping) else part for part in content]
    return "\n".join(
        words if isinstance(words, str) else differences.shown(part, 2_000)
        for words, part in zip(blocks, content, strict=True)
    )


def _document(database: Database, found: StepInFull) -> None:
    words, places = document.source_of(found), document.seen_by(found)
    if words is None:
        given = read_input(database, found.step.run_id)
        st.caption("This step worked with no source text." + (" What the run began with:" if given is not None else ""))
        if given is not None:
            _json(given)
        return
    st.html(document.as_html(words, places))
    if places:
        st.html(document.places_table(words, places))
    else:
        st.caption("This step says nothing of where its values stand in the document.")


def _state(name: str, state: Any) -> None:
    st.caption(name if state is not None else f"{name}: nothing.")
    if state is not None:
        _json(state)


def _json(value: Any) -> None:
    whole = json.dumps(value, default=str)  # ASCII: half a character of a document must not stop the page
    if len(whole) <= _LARGEST_JSON:
        st.json(whole, expanded=1)
    else:
        st.code(differences.shown(value, 5_000), language=None, wrap_lines=True)
