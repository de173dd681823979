"""Which value of a receipt to believe, and how much: what the page says, what a model says, and whether they agree.

For date and total every value on the page stands for election with the weights of `receipts_rules`; a model has a
voice (`MODEL`), not a veto. A value that only the model knows stands too, far behind (`NOT_ON_PAGE`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from stanchion.graphs.receipts_page import LARGEST_ROUNDING, LONGEST_RECEIPT, Page
from stanchion.graphs.receipts_rules import elect_date, elect_total, reasons
from stanchion.nodes.decide import Choice
from stanchion.text.dates import find_dates, parse_date
from stanchion.text.money import parse_money
from stanchion.verdict import Candidate, Rung, Source

MODEL = 2.4
"""What a model's word for a value counts, in log odds; benchmarks/receipts_fit.py fits about the same."""

NOT_ON_PAGE = -2.5
"""Log odds of a value that stands nowhere on the page: models invent more often than OCR loses."""

CONTRADICTED = 0.83
"""How often the page is right all the same where the model names another date or total that no slip (a swap
of day and month, a misread year, a rounding) explains: 14 of 16 in the development data, plus one on either side."""

TRUST = {"company": 0.83}
"""How often a model is right on the fields that are not critical: measured for GPT-4o on the development data."""

UNMEASURED_TRUST = 0.7
"""The same for fields of which the development data has no truth."""

CENT = Decimal("0.01")
LARGEST = 10**12
"""Amounts from here on are no amounts."""


def weigh(source: Source, candidates: Sequence[Candidate]) -> dict[str, Choice]:
    """Choose a value for every field of a receipt, with the probability that it is right.

    Args:
        source: the document.
        candidates: what rules, model, repair and fallback say; of several answers of a model the last one counts.

    Returns:
        The choice for date and total, and for every other field that a candidate names.
    """
    fields = dict.fromkeys(field for candidate in candidates for field in candidate.output)
    others = {field: _other(field, candidates) for field in fields if field not in ("date", "total")}
    return {"date": _date(source, candidates), "total": _total(source, candidates), **others}


def _model(candidates: Sequence[Candidate]) -> Candidate | None:
    return next((item for item in reversed(candidates) if item.rung in ("model", "repair")), None)


def _date(source: Source, candidates: Sequence[Candidate]) -> Choice:
    """Elect the day of purchase; a model that swapped day and month of a date on the page has no voice."""
    model = _model(candidates)
    said = as_date(model.output.get("date")) if model else None
    text = source.text[:LONGEST_RECEIPT]
    seen = find_dates(text)
    on_page = {item.value for item in seen}
    swapped = said is not None and any(item.ambiguous and _swap(item.value) == said for item in seen)
    voices = {said: _voice(said in on_page)} if said and (said in on_page or not swapped) else {}
    elected = elect_date(text, seen, voices)
    if elected is None:
        return Choice(confidence=0.0, reason="No date on the page.")
    value, confidence = elected
    contradicted = said is not None and not _slip(said, value)
    return Choice(
        value=value.isoformat(),
        confidence=confidence * (CONTRADICTED if contradicted else 1),
        reason=_reason("on the page" if value in on_page else "not on the page", model, said == value),
        rung=_rung(candidates, "date", lambda other: as_date(other) == value),
    )


def _total(source: Source, candidates: Sequence[Candidate]) -> Choice:
    """Elect the total."""
    model = _model(candidates)
    said = as_money(model.output.get("total")) if model else None
    page = Page(source.text)
    elected = elect_total(page, {abs(said): _voice(abs(said) in page.times)} if said else None)
    if elected is None:
        return Choice(confidence=0.0, reason="No amount on the page.")
    size, confidence = elected
    on_page = size in page.times
    value = page.best_reading(size).seen.value if on_page else said
    contradicted = said is not None and abs(abs(said) - size) > LARGEST_ROUNDING
    return Choice(
        value=str(value),
        confidence=confidence * (CONTRADICTED if contradicted else 1),
        reason=_reason(reasons(page, size) if on_page else "not on the page", model, said == value),
        rung=_rung(candidates, "total", lambda other: as_money(other) == value),
    )


def _voice(on_page: bool) -> float:
    return MODEL + (0.0 if on_page else NOT_ON_PAGE)


def _slip(said: date, value: date) -> bool:
    """Whether a model may mean this date: the same, its day and month exchanged, or another year."""
    return {said.day, said.month} == {value.day, value.month}


def _swap(day: date) -> date:
    """The same date with day and month exchanged; both are at most 12."""
    return day.replace(day=day.month, month=day.day)


def _other(field: str, candidates: Sequence[Candidate]) -> Choice:
    """Take the value of the most trusted rung that has one; another that says the same doubles as a witness."""
    named = [(_trust(item, field), item) for item in candidates if item.output.get(field) not in (None, "", [])]
    if not named:
        return Choice(confidence=0.0, reason="No rung has a value.")
    trust, best = max(named, key=lambda pair: pair[0])
    value = best.output[field]
    agree = [other for other, item in named if item is not best and _plain(item.output[field]) == _plain(value)]
    return Choice(
        value=value,
        confidence=1 - (1 - trust) * (0.5 if agree else 1),
        reason=f"{best.rung} says so" + (", another rung too" if agree else ""),
        rung=best.rung,
    )


def _trust(candidate: Candidate, field: str) -> float:
    if field in candidate.found:
        return candidate.found[field].confidence
    return TRUST.get(field, UNMEASURED_TRUST)


def _plain(value: Any) -> str:
    return "".join(character for character in str(value).casefold() if character.isalnum())


def as_date(value: Any) -> date | None:
    """Read a date that a rung gave, in whatever type and form.

    Args:
        value: anything that stands in a candidate's output.

    Returns:
        The date, or None where it is none.
    """
    return parse_date(value) if isinstance(value, str) else None


def as_money(value: Any) -> Decimal | None:
    """Read an amount that a rung gave, in whatever type and form.

    Args:
        value: anything that stands in a candidate's output.

    Returns:
        The amount to two decimals, or None where it is none.
    """
    if isinstance(value, str):
        amount = parse_money(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST:
        amount = Decimal(str(value))
    else:
        amount = None
    return amount.quantize(CENT) if amount is not None and abs(amount) < LARGEST else None


def _reason(words: str, model: Candidate | None, agrees: bool) -> str:
    if model is None:
        return words
    return f"{words}; the model says {'the same' if agrees else 'otherwise'}"


def _rung(candidates: Sequence[Candidate], field: str, same: Callable[[Any], bool]) -> Rung | None:
    """The rung that named the value; of several, the last."""
    return next((item.rung for item in reversed(candidates) if same(item.output.get(field))), None)
