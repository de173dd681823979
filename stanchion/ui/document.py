"""A document with the places marked where values were seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stanchion.runs.timeline import StepInFull
from stanchion.ui.markup import Markup, framed, inside, table, text

LONGEST = 60_000
"""Characters of a document that are shown; `intake` takes 20,000."""
MOST_SEEN = 500
_LONGEST_QUOTE = 160
_MOST_NAMES = 3


@dataclass(frozen=True)
class Seen:
    """A place in a document where a value was seen.

    Args:
        name: of the field.
        start: offset of its first character; may lie anywhere.
        end: offset after its last one.
        by: who saw it there: a rung or a guard.
        note: in a few words.
        doubted: a guard said no to the value.
    """

    name: str
    start: int
    end: int
    by: str = ""
    note: str = ""
    doubted: bool = False


def source_of(step: StepInFull) -> str | None:
    """Return the text that a step worked with: what it was given, or made; None where its state holds none.

    Args:
        step: any.
    """
    for state in (step.after, step.step.state_out, step.step.state_in):
        source = state.get("source") if isinstance(state, Mapping) else None
        words = source.get("text") if isinstance(source, Mapping) else None
        if isinstance(words, str) and words:
            return words
    return next((review.question["source"] for review in step.reviews if _has_source(review.question)), None)


def seen_by(step: StepInFull) -> list[Seen]:
    """Return where a step saw its values: what its rules found, what its guards found again, what it asked people.

    Args:
        step: any; what does not fit is left out.
    """
    places = [*_found(step.after), *_checked(step), *_asked(step)]
    return list(dict.fromkeys(places))[:MOST_SEEN]


def as_html(words: str, places: Sequence[Seen]) -> Markup:
    """Return a document as text, its places marked and named.

    Args:
        words: the document.
        places: may overlap, and lie outside.
    """
    paper = Markup("".join(_part(words[start:end], here, end) for start, end, here in _parts(words, places)))
    cut = len(words) - LONGEST
    more = [inside("p", f"… {cut:,} more characters are not shown.", class_="faint")] if cut > 0 else []
    return framed(inside("div", paper, class_="paper mono"), *more)


def places_table(words: str, places: Sequence[Seen]) -> Markup:
    """Return a table of what was seen where.

    Args:
        words: the document.
        places: in any order.
    """
    inside_it = [place for place in places if 0 <= place.start < place.end <= len(words)]
    rows = [
        (place.name, words[place.start : place.end][:_LONGEST_QUOTE], place.by, place.note)
        for place in sorted(inside_it, key=lambda place: (place.start, place.end, place.name))
    ]
    doubted = ["fail" if place.doubted else "" for place in sorted(inside_it, key=lambda p: (p.start, p.end, p.name))]
    return framed(table(("field", "seen as", "by", "note"), rows, kinds=("word", "mono"), classes=doubted))


def _parts(words: str, places: Sequence[Seen]) -> Iterator[tuple[int, int, list[Seen]]]:
    """Cut a document wherever a place begins or ends."""
    last = min(len(words), LONGEST)
    within = [place for place in places if place.start < place.end and place.end > 0 and place.start < last]
    cuts = {max(place.start, 0) for place in within} | {min(place.end, last) for place in within}
    for start, end in pairwise(sorted(cuts | {0, last})):
        yield start, end, [place for place in within if place.start <= start and place.end >= end]


def _part(words: str, here: Sequence[Seen], end: int) -> Markup:
    if not here:
        return text(words, longest=LONGEST)
    ending = list(dict.fromkeys(place.name for place in here if place.end == end))
    more = f" +{len(ending) - _MOST_NAMES}" if len(ending) > _MOST_NAMES else ""
    names = inside("sup", ", ".join(ending[:_MOST_NAMES]) + more) if ending else Markup("")
    said = "; ".join(dict.fromkeys(" ".join(filter(None, (one.name, one.by, one.note))) for one in here[:10]))
    doubted = "doubted" if any(place.doubted for place in here) else ""
    return inside("mark", Markup(text(words, longest=LONGEST) + names), title=said, class_=doubted)


def _found(state: Any) -> Iterator[Seen]:
    candidates = state.get("candidates") if isinstance(state, Mapping) else None
    for rung, candidate in candidates.items() if isinstance(candidates, Mapping) else ():
        found = candidate.get("found") if isinstance(candidate, Mapping) else None
        for name, item in found.items() if isinstance(found, Mapping) else ():
            if isinstance(item, Mapping) and (span := _span(item.get("evidence"))):
                yield Seen(str(name), *span, by=str(rung), note=str(item.get("note") or ""))


def _checked(step: StepInFull) -> Iterator[Seen]:
    for check in (step.verdict.checks or []) if step.verdict else []:
        if check.evidence:
            name, says_no = check.path or "the whole", check.status == "fail"
            yield Seen(name, check.evidence.start, check.evidence.end, check.guard, check.reason, says_no)


def _asked(step: StepInFull) -> Iterator[Seen]:
    for review in step.reviews:
        evidence = review.question.get("evidence") if isinstance(review.question, Mapping) else None
        for name, places in evidence.items() if isinstance(evidence, Mapping) else ():
            for place in places if isinstance(places, list) else ():
                if span := _span(place):
                    yield Seen(str(name), *span, by="review")


def _has_source(question: Any) -> bool:
    return isinstance(question, Mapping) and isinstance(question.get("source"), str) and bool(question["source"])


def _span(evidence: Any) -> tuple[int, int] | None:
    if not isinstance(evidence, Mapping):
        return None
    start, end = evidence.get("start"), evidence.get("end")
    both_count = all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end))
    return (start, end) if both_count else None  # type: ignore[return-value]
