"""What one browser's desk and the library have to say to each other.

The browser tells all its answers again and again until it hears what became of each, so that nothing is lost where
Streamlit drops a message or a run of a page; an answer is given once, however often it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stanchion.clock import Clock
from stanchion.errors import ReviewClosed, StanchionError
from stanchion.people import Person
from stanchion.runs.answers import is_ours
from stanchion.runs.records import Review
from stanchion.runs.reviews import Reviews
from stanchion.ui import links
from stanchion.ui.desk.cases import Case, case_of, visible
from stanchion.ui.desk.forms import Form

AT_A_TIME = 12
"""Cases that a browser holds: so many can be answered without waiting, and no more are kept from others."""

KEPT_SKIPPED = 5
"""Skipped cases that stay somebody's, so that they can be gone back to; older ones are given back."""

MOST_TOLD = 500
"""Answers or cases in one message; the browser tells fewer."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Given(_Message):
    """An answer, as the browser tells it.

    Args:
        nonce: the browser's own name for it; told again under the same one.
        id: the review's.
        action: approve, edit or reject.
        edits: field to what was typed, for those that were changed.
        reason: for a rejection.
    """

    nonce: str = Field(max_length=100)
    id: str = Field(max_length=100)
    action: Literal["approve", "edit", "reject"]
    edits: dict[str, str] = {}
    reason: str = Field(default="", max_length=10_000)


class Told(_Message):
    """What the browser tells.

    Args:
        answers: all of which it does not know yet what became of them.
        pending: ids of the cases whose answers can still be undone.
        pile: ids of the cases still to be looked at.
        skipped: ids of those that were skipped, the latest last.
        left: ids of those that it held when the person left the page.
        wanted: somebody is at work there, so that cases are theirs, and more are welcome.
        first: the last wish to see one case that was followed.
    """

    answers: list[Given] = Field(default=[], max_length=MOST_TOLD)
    pending: list[str] = Field(default=[], max_length=MOST_TOLD)
    pile: list[str] = Field(default=[], max_length=MOST_TOLD)
    skipped: list[str] = Field(default=[], max_length=MOST_TOLD)
    left: list[str] = Field(default=[], max_length=MOST_TOLD)
    wanted: bool = True
    first: str = ""


class Session:
    """The desk of one browser session.

    Args:
        clock: says how old its cases are.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = Told()
        self._acks: dict[str, dict[str, Any]] = {}
        self._cases: dict[str, Case] = {}
        self._given_back: set[str] = set()
        self._wish: tuple[str, str] | None = None  # the review that is to be shown first, and the wish's own name
        self._notice = ""
        self._round = 0

    # --- What the browser told ---

    def hear(self, told: Any, reviews: Reviews, person: Person, *, answered: Callable[[Review], None]) -> None:
        """Give the answers that were not given before, and give back what nobody looks at.

        Args:
            told: from the browser; hostile until it fits, and nothing is done where it does not.
            reviews: where they are given.
            person: whose they are.
            answered: called with each review that was answered.
        """
        try:
            self._told = Told.model_validate(told)
        except ValidationError:
            return
        self._notice = ""
        waiting_for_word = {given.nonce for given in self._told.answers}
        self._acks = {nonce: ack for nonce, ack in self._acks.items() if nonce in waiting_for_word}
        for given in self._told.answers:
            if given.nonce not in self._acks:
                self._acks[given.nonce] = _answer(given, reviews, person, answered)
        self._give_back([*self._told.left, *self._told.skipped[:-KEPT_SKIPPED]], reviews, person)

    def _give_back(self, review_ids: Iterable[str], reviews: Reviews, person: Person) -> None:
        for review_id in review_ids:
            if review_id in self._given_back:
                continue
            self._given_back.add(review_id)
            try:
                held = reviews.get(review_id).claimed_by
                if held is not None and person.is_same_as(held):
                    reviews.release(review_id, by=person)
            except StanchionError:
                continue  # it is somebody else's by now, or gone

    def wish(self, review_id: str, reviews: Reviews, person: Person) -> None:
        """Take a case, and show it first.

        Args:
            review_id: the review's or its run's id, or the beginning of one.
            reviews: what waits.
            person: who wants to see it.
        """
        try:
            review = reviews.claim(review_id, by=person)
        except StanchionError as error:
            self._notice = visible(str(error), 1_000)
            return
        self._round += 1
        self._wish = (review.id, f"{review.id} {self._round}")

    # --- What the browser is told ---

    @property
    def looked_at(self) -> str | None:
        """The id of the case on the screen, as far as is known here; None where there is none."""
        if self._wish is not None and self._wish[1] != self._told.first:
            return self._wish[0]
        return next(iter([*self._told.pile, *self._cases]), None)

    def news(self, reviews: Reviews, person: Person, *, workflow: str | None) -> dict[str, Any]:
        """Return what the browser is to know: its cases, what became of its answers, and what is not its own any more.

        Args:
            reviews: what waits.
            person: whose desk it is.
            workflow: only of this one.

        Raises:
            NotAllowed: the person may not answer reviews.
        """
        self._round += 1
        claimed, lost = self._claim_next(reviews, person, workflow) if self._told.wanted else ([], {})
        self._given_back.difference_update(review.id for review in claimed)
        return {
            "cases": self._as_cases(claimed),
            "acks": self._acks,
            "lost": lost,
            "gone": self._gone(reviews),
            "first": self._wish,
            "waiting": reviews.number_waiting(workflow=workflow),
            "more": len(claimed) >= AT_A_TIME or not self._told.wanted,
            "workflow": workflow or "",
            "notice": self._notice,
            "hint": "Others are at work on them, or they are for another role." if self._told.wanted else "",
            "round": self._round,
        }

    def _gone(self, reviews: Reviews) -> list[str]:
        """Return which of the browser's cases were erased or pruned: it must forget what they held."""
        told = self._told
        held = {*told.pile, *told.pending, *told.skipped, *(given.id for given in told.answers)}
        return sorted(held - reviews.kept(held))

    def _claim_next(
        self, reviews: Reviews, person: Person, workflow: str | None
    ) -> tuple[list[Review], dict[str, str]]:
        """Return the cases that are this browser's from now on, and why others are not any more."""
        told = self._told
        away = [*told.pending, *told.skipped]
        claimed = reviews.claim_next(by=person, number=AT_A_TIME, workflow=workflow, leave_out=away)
        have = {review.id for review in claimed}
        kept, lost = _claim([each for each in told.pile if each not in have], reviews, person)
        claimed += [review for review in kept if workflow in (None, review.workflow)]
        if self._wish is not None and self._wish[1] != told.first and self._wish[0] not in have | set(told.pile):
            claimed += _claim([self._wish[0]], reviews, person)[0]
        return claimed, lost

    def _as_cases(self, reviews: list[Review]) -> list[dict[str, Any]]:
        """Return cases with how they stand now; whole only where the browser does not hold them already."""
        told = self._told
        held = {*told.pile, *told.pending, *told.skipped, *(given.id for given in told.answers)}
        self._cases = {review.id: self._cases.get(review.id) or case_of(review) for review in reviews}
        now = self._clock.now()
        return [
            {
                "id": review.id,
                "age": _seconds(now, review.asked_at),
                "due": None if review.due_at is None else -_seconds(now, review.due_at),
                "run": links.to_run(review.run_id).url,
                "lease": -_seconds(now, review.claimed_until),
                "whole": None if review.id in held else self._cases[review.id],
            }
            for review in reviews
        ]


def _claim(review_ids: Sequence[str], reviews: Reviews, person: Person) -> tuple[list[Review], dict[str, str]]:
    """Take cases one by one; return those that were got, and why others were not."""
    claimed, lost = [], {}
    for review_id in review_ids:
        try:
            claimed.append(reviews.claim(review_id, by=person))
        except StanchionError as error:
            lost[review_id] = str(error)
    return claimed, lost


def _answer(given: Given, reviews: Reviews, person: Person, answered: Callable[[Review], None]) -> dict[str, Any]:
    """Give one answer; return whether it was taken, and what there is to say."""
    try:
        review = _give(given, reviews, person)
    except ReviewClosed as error:
        return {"taken": _is_given_already(given, reviews, person), "say": str(error)}
    except StanchionError as error:
        return {"taken": False, "say": str(error)}
    if review.status == "asked":
        return {"taken": True, "say": "Noted; it takes a second person who gives the same answer."}
    answered(review)
    return {"taken": True, "say": ""}


def _give(given: Given, reviews: Reviews, person: Person) -> Review:
    review = reviews.get(given.id)
    values = Form(review).read(given.edits)
    if is_ours(review.form):
        return reviews.answer(review.id, given.action, by=person, edits=values or None, reason=given.reason)
    return reviews.answer(review.id, given.action, by=person, output=values, reason=given.reason)


def _is_given_already(given: Given, reviews: Reviews, person: Person) -> bool:
    """Say whether it was this very answer that closed the review; a browser that lost its session tells it again."""
    review = reviews.get(given.id)
    return review.action == given.action and person.is_same_as(review.answered_by or "")


def _seconds(later: datetime, earlier: datetime | None) -> float:
    return 0.0 if earlier is None else round((later - earlier).total_seconds(), 1)
