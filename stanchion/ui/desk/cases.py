"""A review as the desk in the browser shows it: plain text in plain data, never larger than a browser takes.

Documents are hostile: of a text of 10 MB or a value with 100,000 fields, so much is sent as a person can look at, and
it is said how much is missing.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import islice, pairwise
from typing import Any, NamedTuple, TypedDict

from stanchion.question import Question
from stanchion.runs.answers import is_ours
from stanchion.runs.records import Review
from stanchion.ui.desk.forms import WHOLE, Form, as_typed

LONGEST_SOURCE = 40_000
"""Characters of a document that are sent: a dozen printed pages."""

AROUND_EVIDENCE = 400
"""Characters before and after evidence that stands beyond the part that is sent."""

MOST_FIELDS = 200
MOST_SPANS = 400
MOST_RUNGS = 6
LONGEST_VALUE = 4_000
DEEPEST_COMPARED = 3
"""Levels of lists and records in which numbers that are only written otherwise are taken for the same."""

MOST_NAMED = 6
"""Fields that a sentence names."""

MOST_ROWS = 40
MOST_COLUMNS = 6
LONGEST_VALUES = 80_000
"""Characters of all values of a case together."""

_NOTHING: list[Any] = [None, "", [], {}]
_HIDDEN = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "␡",
    **{
        code: f"⟨U+{code:04X}⟩"
        for codes in (range(0x80, 0xA0), [0x61C], range(0x200B, 0x2010), range(0x2028, 0x202F), range(0x2060, 0x2070))
        for code in codes
    },
    0xFEFF: "⟨U+FEFF⟩",
}
"""What nobody would see, or what changes how its neighbours are seen (bidirectional controls), to a sign for it."""


class Field(TypedDict):
    """One field of a proposal.

    The `name` in the value and its `label`; its `kind` and whether it is `optional` (see `forms.About`); the texts
    that are its `choices`; how the proposed value is `shown` (None: there is none) and `typed` (None: it is too long to
    be edited here); the same as a `table` of which the first row has the names, where it is a list of records; what the
    `others` say, each a rung; whether one of them `differs` from what is proposed.
    """

    name: str
    label: str
    kind: str
    optional: bool
    choices: list[str]
    shown: str | None
    typed: str | None
    table: list[list[str]] | None
    others: list[Other]
    differs: bool


class Other(TypedDict):
    """What a rung says of a field, as `Field`; whether it is the `same` as what is proposed."""

    rung: str
    shown: str | None
    typed: str | None
    table: list[list[str]] | None
    same: bool


class Case(TypedDict):
    """What of a review does not change while it waits.

    The document comes in `segments`, each with the numbers of the fields whose evidence it is; `source_note` says what
    is not shown of it, `fields_note` what is not shown of the fields. Of approve, edit and reject, `actions` are those
    that can be taken; `unfit` says why the proposal cannot be approved, where that is so.
    """

    id: str
    title: str
    workflow: str
    node: str
    question: str
    reason: str
    facts: list[str]
    segments: list[Segment]
    source_note: str
    fields: list[Field]
    fields_note: str
    actions: list[str]
    unfit: str


Segment = tuple[str, list[int]]


class Span(NamedTuple):
    """A part of the document that is the evidence of a field: offsets, and the field's number."""

    start: int
    end: int
    field: int


def case_of(review: Review) -> Case:
    """Return a review as the desk shows it.

    Args:
        review: any; its question is hostile.
    """
    question = Question.of(review.question)
    form = Form(review)
    names, fields_note = _chosen(form, question)
    values = _Values(LONGEST_VALUES)
    fields = [_field(name, form, question, values) for name in names]
    segments, source_note = _segments(question.source, _spans(question, names))
    unfit = _unfit(form, question) if is_ours(review.form) else ""
    return {
        "id": review.id,
        "title": visible(review.input_id or review.run_id, 200),
        "workflow": visible(review.workflow, 100),
        "node": visible(review.node, 100),
        "question": visible(question.question or "What should be done?", 1_000),
        "reason": visible(question.reason, 2_000),
        "facts": _facts(review, question),
        "segments": segments,
        "source_note": source_note,
        "fields": fields,
        "fields_note": fields_note,
        "actions": [action for action in _actions(review, fields) if not (unfit and action == "approve")],
        "unfit": unfit,
    }


def visible(text: str, longest: int) -> str:
    """Return a text in which nothing hides: controls are shown as signs; what is too long is cut, and says so.

    Args:
        text: from a document or a model.
        longest: characters.
    """
    shown = text[:longest].translate(_HIDDEN)
    return shown if len(text) <= longest else f"{shown}… ({len(text):,} characters)"


# --- Fields  ---


def _chosen(form: Form, question: Question) -> tuple[list[str], str]:
    """Return the fields that are shown, in the form's order; where they are too many, first those that differ."""
    names = [*form.names]
    if len(names) <= MOST_FIELDS:
        return names, ""
    proposal, rungs = question.proposal or {}, question.alternatives.values()
    differing = [name for name in names if any(not _same(proposal.get(name), rung.get(name)) for rung in rungs)]
    chosen = list(dict.fromkeys([*differing[:MOST_FIELDS], *names[:MOST_FIELDS]]))[:MOST_FIELDS]
    unseen = max(0, len(differing) - MOST_FIELDS)
    note = f"{len(names) - MOST_FIELDS:,} more fields are not shown; the rungs differ in {unseen:,} of them."
    return chosen, f"{note} All of them stand on the run's page."


class _Values:
    """Cuts values, each and all together, to what a browser takes.

    Args:
        left: how many characters all values may still have.
    """

    def __init__(self, left: int) -> None:
        self._left = left

    def show(self, value: Any) -> tuple[str | None, str | None]:
        """Return a value as it is looked at, and as it is typed: None where it was cut."""
        if value is None or value == []:
            return None, "" if value is None else "[]"
        text = as_typed(value)
        longest = min(LONGEST_VALUE, max(self._left, 100))
        self._left -= min(len(text), longest)
        return visible(text, longest), text if len(text) <= longest else None


def _field(name: str, form: Form, question: Question, values: _Values) -> Field:
    about = form.about(name)
    proposed = _part(question.proposal, name)
    shown, typed = values.show(proposed)
    others = [_other(rung, proposed, _part(value, name), values) for rung, value in _rungs(question)]
    return {
        "name": name,
        "label": visible(about.title or name or "Answer", 100),
        "kind": about.kind,
        "optional": about.optional,
        "choices": list(about.choices),
        "shown": shown,
        "typed": typed,
        "table": None if typed is None else _table(proposed),
        "others": others,
        "differs": any(not other["same"] for other in others),
    }


def _rungs(question: Question) -> list[tuple[str, dict[str, Any]]]:
    return list(islice(question.alternatives.items(), MOST_RUNGS))


def _part(value: dict[str, Any] | None, name: str) -> Any:
    return value if name == WHOLE or value is None else value.get(name)


def _other(rung: str, proposed: Any, value: Any, values: _Values) -> Other:
    shown, typed = values.show(value)
    table = None if typed is None else _table(value)
    return {"rung": visible(rung, 40), "shown": shown, "typed": typed, "table": table, "same": _same(proposed, value)}


def _table(value: Any) -> list[list[str]] | None:
    """Return a list of records as a table of texts; None for anything else, or where it is too large for one."""
    if (
        not isinstance(value, list)
        or not 0 < len(value) <= MOST_ROWS
        or not all(isinstance(row, dict) for row in value)
    ):
        return None
    columns = list(dict.fromkeys(name for row in value for name in row))
    if not 0 < len(columns) <= MOST_COLUMNS:
        return None
    rows = [["" if row.get(name) is None else visible(as_typed(row[name]), 200) for name in columns] for row in value]
    return [[visible(name, 40) for name in columns], *rows]


def _same(one: Any, other: Any, depth: int = DEEPEST_COMPARED) -> bool:
    """Say whether two values are the same to a person: 12.5 and "12.50" are, also within lists and records."""
    if one == other or (one in _NOTHING and other in _NOTHING):
        return True
    if depth and isinstance(one, dict) and isinstance(other, dict):
        return all(_same(one.get(name), other.get(name), depth - 1) for name in one.keys() | other.keys())
    if depth and isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(partial(_same, depth=depth - 1), one, other))
    try:
        return _is_short(one) and _is_short(other) and Decimal(str(one)) == Decimal(str(other))
    except InvalidOperation:
        return False


def _is_short(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)[:40]) < 40


def _actions(review: Review, fields: list[Field]) -> list[str]:
    if not is_ours(review.form):
        return ["edit"]
    return ["approve", "edit", "reject"] if fields else ["approve", "reject"]


def _unfit(form: Form, question: Question) -> str:
    """Say why a proposal cannot be approved, such as an empty one where no model answered; nothing where it can be."""
    fields = form.unfit(question.proposal or {})
    if not fields:
        return ""
    more = f" and {len(fields) - MOST_NAMED:,} more" if len(fields) > MOST_NAMED else ""
    named = visible(", ".join(name[:40] for name in fields[:MOST_NAMED]), 400) + more
    what = "There is nothing to approve" if not question.proposal else "The proposal cannot be approved"
    return f"{what}: no value that fits for {named}. Edit it, or reject."


def _facts(review: Review, question: Question) -> list[str]:
    """Return what else to know before answering, each in a few words."""
    facts = [f"Priority {review.priority:.3g}"]
    if question.confidence is not None:
        facts.append(f"{question.confidence:.0%} sure")
    if review.sampled:
        facts.append("Drawn for a check: it would have been accepted")
    if review.people > 1:
        first = f"{visible(review.first_by, 100)} gave the first" if review.first_by else "the first is open"
        facts.append(f"Takes two people; {first}")
    if review.role != "reviewer":
        facts.append(f"For the role {visible(review.role, 40)}")
    return facts


# --- The document  ---


def _spans(question: Question, names: list[str]) -> list[Span]:
    length = len(question.source)
    found = [
        Span(max(0, seen.start), min(length, seen.end), number)
        for number, name in enumerate(names)
        for seen in question.evidence.get(name, ())[:MOST_SPANS]
    ]
    return [span for span in found if span.start < span.end][:MOST_SPANS]


def _segments(source: str, spans: list[Span]) -> tuple[list[Segment], str]:
    """Return the document in pieces between which its evidence changes, and what is missing of it."""
    windows = _windows(len(source), spans)
    segments: list[Segment] = []
    for start, end in windows:
        if segments:
            segments.append(("\n⋯\n", []))
        segments += _pieces(source, start, end, spans)
    missing = len(source) - sum(end - start for start, end in windows)
    note = f"{missing:,} of {len(source):,} characters are not shown; all of them stand on the run's page."
    return segments, note if missing else ""


def _windows(length: int, spans: list[Span]) -> list[tuple[int, int]]:
    """Return which parts of a document are sent: its beginning, and what surrounds evidence further on."""
    windows = [(0, min(length, LONGEST_SOURCE))]
    left = LONGEST_SOURCE // 2
    for span in sorted(spans):
        last = windows[-1][1]
        start = max(last, span.start - AROUND_EVIDENCE)
        end = min(length, span.end + AROUND_EVIDENCE, span.start + 4 * AROUND_EVIDENCE)
        if end <= last or end - start > left:
            continue
        left -= end - start
        if start == last:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return windows


def _pieces(source: str, start: int, end: int, spans: list[Span]) -> list[Segment]:
    inside = [span for span in spans if span.start < end and span.end > start]
    edges = {start, end, *(edge for span in inside for edge in span[:2] if start < edge < end)}
    return [
        (source[here:there].translate(_HIDDEN), [span.field for span in inside if span.start <= here < span.end])
        for here, there in pairwise(sorted(edges))
    ]
