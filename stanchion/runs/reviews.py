"""Everything that waits for a person: who sees it, who is at work on it, and its one answer.

An answer is recorded here, exactly once, together with its entry in the trail; no graph is run. Whoever runs graphs
(a runner, a worker, the console) goes on with the run afterwards, also where a crash came in between.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import ValidationError

from stanchion.clock import Clock, SystemClock
from stanchion.errors import NotAllowed, ReviewClosed, ReviewTaken, StoreError, UsageError
from stanchion.people import ROLES, Person, as_person, read_people
from stanchion.question import Question
from stanchion.runs.answers import Answer, Reader, asking_nodes, is_ours
from stanchion.runs.ledger import Ledger, as_json
from stanchion.runs.pending import Read, why_over
from stanchion.runs.records import Review, Run
from stanchion.store import Database
from stanchion.store.trail import STANCHION, Add, Trail
from stanchion.workflow import Workflow, load_workflow

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

CLAIM_SECONDS = 600.0
"""How long a case stays somebody's without a sign of life."""

LONGEST_CLAIM = 86_400.0
MOST_CLAIMED = 100
"""Cases that one person may hold: who takes the whole queue leaves nothing for the others."""

EXPIRED_AT_ONCE = 200
PUT_OFF = timedelta(hours=1)
"""After which a review that is due, but cannot be read, is looked at again."""

_SELECT = """
    SELECT reviews.*, runs.input_id, opinions.by AS first_by, opinions.action AS first_action
    FROM reviews JOIN runs ON runs.id = reviews.run_id LEFT JOIN opinions ON opinions.review_id = reviews.id
"""
_ONE = f"{_SELECT} WHERE reviews.id = ?"
_COUNT = "SELECT count(*) AS number FROM reviews"
_IDS = "SELECT reviews.id FROM reviews"
_KEPT = "SELECT id FROM reviews WHERE question IS NOT NULL AND id IN (SELECT value FROM json_each(?))"
_DUE = """
    SELECT id FROM reviews INDEXED BY reviews_due WHERE status = 'asked' AND due_at <= ? ORDER BY due_at LIMIT ?
"""
_BY_URGENCY = "ORDER BY reviews.priority DESC, reviews.asked_at"
_HELD = """
    reviews.claimed_by IN (SELECT value FROM json_each(?)) AND reviews.claimed_until > ? AND reviews.status = 'asked'
"""


class _About(TypedDict):
    """What an entry of the trail is about."""

    workflow: str
    run_id: str
    subject: str


class Reviews:
    """The reviews of a database, over all workflows.

    Args:
        database: open.
        clock: where times come from.
        workflow: by whose types edits are checked, where it is at hand; None: each run's own, by its reference.
    """

    def __init__(self, database: Database, *, clock: Clock | None = None, workflow: Workflow | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._workflow = workflow
        self._ledger = Ledger(database)
        self._trail = Trail(database, self._clock)

    # --- What waits ---

    def waiting(
        self, *, workflow: str | None = None, for_person: Person | None = None, limit: int = 100, offset: int = 0
    ) -> list[Review]:
        """Return what waits for an answer, the largest expected loss first, then the longest waiting.

        What somebody spoilt, so that it cannot be read, is left out; `get` says so.

        Args:
            workflow: only of this workflow.
            for_person: only what this person may answer.
            limit: how many at the most.
            offset: how many to leave out before.
        """
        where, parameters = _wanted(workflow, for_person)
        sql = f"{_SELECT} WHERE {where} {_BY_URGENCY} LIMIT ? OFFSET ?"
        return list(_readable(self._database.read(sql, [*parameters, limit, offset])))

    def of_run(self, run_id: str) -> list[Review]:
        """Return all that a run asked, in the order in which it did, whatever became of it; what is spoilt left out.

        Args:
            run_id: full id.
        """
        sql = f"{_SELECT} WHERE reviews.run_id = ? ORDER BY reviews.asked_at, reviews.rowid"
        return list(_readable(self._database.read(sql, [run_id])))

    def kept(self, review_ids: Collection[str]) -> set[str]:
        """Return which of these reviews still hold their question: those that were neither erased nor pruned.

        Args:
            review_ids: whole ids.
        """
        return {row["id"] for row in self._database.read(_KEPT, [json.dumps(list(review_ids))])}

    def number_waiting(self, *, workflow: str | None = None) -> int:
        """Return how many reviews wait for an answer.

        Args:
            workflow: only of this workflow.
        """
        where, parameters = _wanted(workflow, None)
        (row,) = self._database.read(f"{_COUNT} WHERE {where}", parameters)
        return int(row["number"])

    def get(self, review_id: str) -> Review:
        """Return one review.

        Args:
            review_id: its id, its run's id, or the beginning of either where that is unique.

        Raises:
            ReviewNotFound: there is none, or more than one.
            StoreError: its row cannot be read.
        """
        try:
            full_id = self._ledger.review(review_id).id
        except ValidationError as error:
            raise _spoilt(review_id) from error
        return _review(self._database.read, full_id)

    # --- Who is at work on it ---

    def claim(self, review_id: str, *, by: Person | str, seconds: float = CLAIM_SECONDS) -> Review:
        """Take a review for a while, so that nobody else answers it meanwhile; once more, to keep it for longer.

        Args:
            review_id: the review's or its run's id, or the beginning of one.
            by: who takes it.
            seconds: for how long.

        Raises:
            ReviewTaken: somebody else has it.
            ReviewClosed: it can no longer be answered.
            NotAllowed: this person may not answer it, or holds 100 others.
        """
        person = _reviewer(by)
        until = self._until(seconds)
        review = self._still_open(review_id)

        def work(tables: Tables) -> Review:
            read, now = _reading(tables), self._clock.now()
            current = _open_row(read, review.id)
            refuse_person(current, person, now)
            if _holder(current, now) is None and _room(read, person, now) < 1:
                raise NotAllowed(f"{person.name} holds {MOST_CLAIMED} reviews: answer some, or give them back, first.")
            _hold(tables, [review.id], person, until)
            return _review(read, review.id)

        return self._database.write_now(work)

    def claim_next(
        self,
        *,
        by: Person | str,
        number: int = 1,
        workflow: str | None = None,
        seconds: float = CLAIM_SECONDS,
        leave_out: Collection[str] = (),
    ) -> list[Review]:
        """Take the next reviews to work on: those that the person has already, then the most urgent that nobody has.

        Args:
            by: who takes them.
            number: how many at the most, up to 100; nobody holds more than that at a time.
            workflow: only of this workflow.
            seconds: for how long.
            leave_out: ids of reviews that are not wanted now.

        Returns:
            only what the person may answer; two people never get the same.

        Raises:
            NotAllowed: this person may not answer reviews.
        """
        person = _reviewer(by)
        until = self._until(seconds)
        if not 1 <= number <= MOST_CLAIMED:
            raise UsageError(f"One person takes 1 to {MOST_CLAIMED} reviews; not {number}.")

        def work(tables: Tables) -> list[Review]:
            read, now, away = _reading(tables), self._clock.now(), set(leave_out)
            while True:
                wanted = _next(read, person, now, number, _wanted(workflow, person, away))
                spoilt = {review_id for review_id in wanted if not list(_readable(read(_ONE, [review_id])))}
                if not spoilt:
                    break
                away |= spoilt  # others take their place
            _hold(tables, wanted, person, until)
            return [_review(read, review_id) for review_id in wanted]

        return self._database.write_now(work)

    def release(self, review_id: str, *, by: Person | str) -> None:
        """Give a review back before its time is over; an operator may give back somebody else's.

        Args:
            review_id: the review's or its run's id, or the beginning of one.
            by: who gives it back.

        Raises:
            NotAllowed: it is somebody else's, and this person is no operator.
        """
        person = _reviewer(by)
        full_id = self.get(review_id).id

        def work(tables: Tables, add: Add) -> None:
            review = _review(_reading(tables), full_id)
            holder = _holder(review, self._clock.now())
            if holder is not None and not person.is_same_as(holder):
                person.must("operator", "take a review from somebody else")
                add(person, "review released", **_about(review), facts={"taken from": holder})
            _drop_claim(tables, full_id)

        self._trail.decide(work)

    def _until(self, seconds: float) -> str:
        if not 0 < seconds <= LONGEST_CLAIM:
            raise UsageError(f"A review is taken for up to {LONGEST_CLAIM:.0f} seconds; not {seconds!r}.")
        return (self._clock.now() + timedelta(seconds=seconds)).isoformat()

    # --- Its one answer ---

    def answer(
        self,
        review_id: str,
        action: str,
        *,
        by: Person | str,
        edits: dict[str, Any] | None = None,
        output: Any = None,
        reason: str = "",
    ) -> Review:
        """Give a review its one answer; its run can go on then, and nothing of it is run here.

        Where the review takes two people, the first answer is kept, and the review stays open until a second person
        gives the same one; another answer takes the place of the first.

        Args:
            review_id: the review's or its run's id, or the beginning of one.
            action: `approve`, `edit` or `reject`.
            by: who answers.
            edits: for `edit`, the fields to change and their values.
            output: for `edit`, the whole value instead; for a question with a form of its own, the answer itself.
            reason: in the person's words; a rejection needs one.

        Raises:
            ReviewNotFound: there is no such review.
            ReviewClosed: it was answered before, or can no longer be answered; the message says by whom, when and why.
            ReviewTaken: somebody else is at work on it.
            NotAllowed: this person may not answer it, or not twice.
            InvalidAnswer: the answer does not fit; the review stays open.
            WorkflowError: the run's workflow cannot be loaded here, so that nobody can say whether the answer fits.
        """
        person = _reviewer(by)
        review = self._still_open(review_id)
        refuse_person(review, person, self._clock.now())
        run = self._ledger.run(review.run_id)
        given = self._read(review, run, action, by=person.name, edits=edits, output=output, reason=reason)
        return self._trail.decide(partial(_Answering(run, given, person, self._clock.now()).take, review_id=review.id))

    def _read(self, review: Review, run: Run, action: str, **said: Any) -> Answer:
        workflow = load_workflow(run.reference) if self._workflow is None else self._workflow
        if workflow.name != run.workflow:
            raise UsageError(f"The review {review.id} is of the workflow {run.workflow}, not {workflow.name}.")
        return Reader(review, workflow, run.created_at.date()).read(action, **said)

    def _still_open(self, review_id: str) -> Review:
        """Return a review that can be answered; close one whose run has gone another way.

        Raises:
            ReviewClosed: it cannot.
        """
        review = self.get(review_id)
        if review.status == "asked" and (why := why_over(self._database.read, review)):
            review = self._trail.decide(partial(_close, review_id=review.id, why=why))
        if review.status != "asked":
            raise ReviewClosed(told(review))
        return review

    # --- Nobody's answer ---

    def expire_due(self) -> list[Review]:
        """Let all reviews expire that are due; each run can then go its safe way. Return them.

        One that cannot be read is put off for an hour, and stands in nobody's way.
        """
        expired: list[Review] = []
        while self._database.read(_DUE, [self._clock.now().isoformat(), 1]):  # writes nothing where nothing is due
            some = self._trail.decide(partial(_expire, now=self._clock.now()))
            expired += [review for review in some if review.status == "expired"]
        return expired


def refuse_indistinguishable(workflow: Workflow) -> None:
    """Refuse a workflow that asks two people where there are not two who can be told apart.

    A review node that another function calls is not seen here; what it asks is answered by two all the same.

    Args:
        workflow: about to be run.

    Raises:
        UsageError: a review node takes two people, and `stanchion.toml` names fewer than two with its role.
    """
    for name, asking in asking_nodes(workflow):
        if not asking.two_people:
            continue
        able = [who for who, roles in read_people().items() if _may_answer(Person(who, roles), asking.role)]
        if len(able) < 2:
            roles = sorted({"reviewer", asking.role})
            raise UsageError(
                f"The step {name} of {workflow.name} takes two people with the roles {roles}; stanchion.toml names "
                f"{len(able)}. Add them to its [people], such as 'ana@example.com' = {roles}."
            )


def told(review: Review) -> str:
    """Return why a review can no longer be answered, in words.

    Args:
        review: that is not open.
    """
    at = f"{review.answered_at:%Y-%m-%d %H:%M:%S} UTC" if review.answered_at else "some time ago"
    if review.status == "answered":
        first = f"{review.first_by} and " if review.people == 2 and review.first_by else ""
        return (
            f"The review {review.id} was answered already: {review.action} by {first}{review.answered_by} at {at}. "
            "Nothing was changed."
        )
    if review.status == "expired":
        return f"The review {review.id} expired at {at}: nobody had answered by then. Nothing was changed."
    why = review.closed_why or "its run ended some other way"
    return f"The review {review.id} can no longer be answered: {why}. Nothing was changed."


def refuse_person(review: Review, person: Person, now: datetime, *, people: int = 1) -> None:
    """Refuse who may not answer an open review now.

    Args:
        review: as it stands.
        person: who wants to.
        now: the present time.
        people: how many people the answer takes, where that is more than the question said.

    Raises:
        NotAllowed: they lack the role, cannot be told apart where two people are needed, or gave the first answer.
        ReviewTaken: somebody else is at work on it.
    """
    person.must(review.role, "answer this review")
    holder = _holder(review, now)
    if holder is not None and not person.is_same_as(holder):
        raise ReviewTaken(
            f"{holder} is at work on the review {review.id} until {review.claimed_until:%H:%M:%S} UTC. Take another "
            "one, or ask an operator to release it."
        )
    if max(review.people, people) < 2:
        return
    if person.known_by != "login":
        raise NotAllowed(
            f"The review {review.id} takes two people who can be told apart: log in to the shared console to answer it."
        )
    if review.first_by is not None and person.is_same_as(review.first_by):
        raise NotAllowed(f"The review {review.id} takes a second person: {review.first_by} gave the first answer.")


# --- Inside a transaction ---


@dataclass(frozen=True)
class _Answering:
    """One person's answer on its way into the tables."""

    run: Run
    given: Answer
    person: Person
    now: datetime

    def take(self, tables: Tables, add: Add, review_id: str) -> Review:
        read = _reading(tables)
        review = _open_row(read, review_id)
        people = max(review.people, self.given.people)
        refuse_person(review, self.person, self.now, people=people)
        if people == 2 and not self._is_second(read, review):
            self._keep_as_first(tables, review)
            what = "first answer given"
        else:
            self._keep(tables, review)
            what = "review answered"
        add(self.person, what, **_about(review), facts=self._facts(review, people), content=self._content(review))
        return _review(read, review_id)

    def _is_second(self, read: Read, review: Review) -> bool:
        rows = read("SELECT action, answer FROM opinions WHERE review_id = ?", [review.id])
        return any(self.given.is_same_as(row["action"], json.loads(row["answer"])) for row in rows)

    def _keep_as_first(self, tables: Tables, review: Review) -> None:
        tables.conn.execute("DELETE FROM opinions WHERE review_id = ?", [review.id])
        tables.conn.execute(
            "INSERT INTO opinions (review_id, run_id, by, known_by, action, answer, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                review.id,
                review.run_id,
                self.person.folded,  # so that the queue knows its own in any spelling
                self.person.known_by,
                self.given.action,
                as_json(self.given.resume),
                self.now.isoformat(),
            ],
        )
        tables.conn.execute("UPDATE reviews SET people = 2 WHERE id = ?", [review.id])
        _drop_claim(tables, review.id)

    def _keep(self, tables: Tables, review: Review) -> None:
        tables.conn.execute(
            """UPDATE reviews SET status = 'answered', action = ?, answer = ?, reason = ?, answered_by = ?,
               answered_as = ?, answered_at = ?, claimed_by = NULL, claimed_until = NULL
               WHERE id = ? AND status = 'asked'""",
            [
                self.given.action,
                as_json(self.given.resume),
                self.given.reason,
                self.person.name,
                self.person.known_by,
                self.now.isoformat(),
                review.id,
            ],
        )

    def _facts(self, review: Review, people: int) -> dict[str, Any]:
        before = Question.of(review.question).proposal or {}
        facts: dict[str, Any] = {
            "action": self.given.action,
            "role": review.role,
            "people": people,
            "version": self.run.version,
            "model": self.run.model,
            "prompts": {name: pin.get("version") for name, pin in self.run.prompts.items() if isinstance(pin, dict)},
        }
        if isinstance(self.given.value, dict):
            facts["changed"] = sorted(changes(before, self.given.value))
        if self.given.overruled:
            facts["overruled"] = list(self.given.overruled)
        return facts

    def _content(self, review: Review) -> dict[str, Any]:
        before = Question.of(review.question).proposal
        return {"before": before, "after": self.given.value, "reason": self.given.reason}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a value that are not as they were; 5 and "5" are the same.

    Args:
        before: a proposal.
        after: what a person made of it.
    """
    return {name: value for name, value in after.items() if not _same(before.get(name), value)}


def _same(before: Any, after: Any) -> bool:
    return before == after or (None not in (before, after) and str(before) == str(after))


def _expire(tables: Tables, add: Add, now: datetime) -> list[Review]:
    read = _reading(tables)
    expired: list[Review] = []
    for row in read(_DUE, [now.isoformat(), EXPIRED_AT_ONCE]):
        try:
            review = _review(read, row["id"])
        except StoreError:
            later = (now + PUT_OFF).isoformat()
            tables.conn.execute("UPDATE reviews SET due_at = ? WHERE id = ?", [later, row["id"]])
            continue
        expired.append(_expire_one(tables, add, review, now))
    return expired


def _expire_one(tables: Tables, add: Add, review: Review, now: datetime) -> Review:
    if why := why_over(_reading(tables), review):
        return _close(tables, add, review.id, why)
    if not is_ours(review.form):  # its node would not understand
        tables.conn.execute("UPDATE reviews SET due_at = NULL WHERE id = ?", [review.id])
        return review
    reason = f"Nobody answered by {review.due_at:%Y-%m-%d %H:%M} UTC."
    answer = {"action": "expire", "output": None, "reason": reason, "by": ""}
    tables.conn.execute(
        """UPDATE reviews SET status = 'expired', action = 'expire', answer = ?, reason = ?, answered_at = ?,
           claimed_by = NULL, claimed_until = NULL WHERE id = ?""",
        [as_json(answer), reason, now.isoformat(), review.id],
    )
    add(STANCHION, "review expired", **_about(review), facts={"due_at": str(review.due_at)})
    return _review(_reading(tables), review.id)


def _close(tables: Tables, add: Add, review_id: str, why: str) -> Review:
    review = _review(_reading(tables), review_id)
    if review.status == "asked":
        tables.conn.execute(
            """UPDATE reviews SET status = 'closed', closed_why = ?, claimed_by = NULL, claimed_until = NULL
               WHERE id = ?""",
            [why, review_id],
        )
        tables.conn.execute(_ASKS_NOTHING, [review.run_id])
        add(STANCHION, "review closed", **_about(review), facts={"why": why})
    return _review(_reading(tables), review_id)


# Its thread went another way: whoever works goes on with it from there, to its end or its next question.
_ASKS_NOTHING = """
    UPDATE runs SET status = 'queued' WHERE id = ? AND status = 'waiting' AND NOT EXISTS (
        SELECT 1 FROM reviews WHERE run_id = runs.id AND (
            status = 'asked' OR status IN ('answered', 'expired') AND resumed_at IS NULL))
"""


def _open_row(read: Read, review_id: str) -> Review:
    review = _review(read, review_id)
    if review.status == "asked" and (why := why_over(read, review)):
        review = review.model_copy(update={"status": "closed", "closed_why": why})
    if review.status != "asked":
        raise ReviewClosed(told(review))
    return review


def _hold(tables: Tables, review_ids: Sequence[str], person: Person, until: str) -> None:
    tables.conn.executemany(
        "UPDATE reviews SET claimed_by = ?, claimed_until = ? WHERE id = ?",
        [(person.name, until, review_id) for review_id in review_ids],
    )


def _drop_claim(tables: Tables, review_id: str) -> None:
    tables.conn.execute("UPDATE reviews SET claimed_by = NULL, claimed_until = NULL WHERE id = ?", [review_id])


# --- Reading ---


def _reading(tables: Tables) -> Read:
    return lambda sql, parameters: list(tables.query(sql, parameters))


def _review(read: Read, review_id: str) -> Review:
    for review in _readable(read(_ONE, [review_id])):
        return review
    raise _spoilt(review_id)


def _readable(rows: Iterable[dict[str, Any]]) -> Iterator[Review]:
    """Give the reviews that can be read: one that is spoilt must not keep people from the others."""
    for row in rows:
        try:
            yield Review(**row)
        except (ValidationError, RecursionError):
            continue


def _spoilt(review_id: str) -> StoreError:
    return StoreError(f"The row of the review {review_id} cannot be read: something other than Stanchion changed it.")


def _next(read: Read, person: Person, now: datetime, number: int, wanted: tuple[str, list[Any]]) -> list[str]:
    """Return the ids of the reviews that a person holds, then of those that nobody does and there is room for."""
    where, parameters = wanted
    own = f"{_IDS} WHERE {where} AND {_HELD} {_BY_URGENCY} LIMIT ?"
    free = f"{_IDS} WHERE {where} AND coalesce(reviews.claimed_until, '') <= ? {_BY_URGENCY} LIMIT ?"
    ids = [row["id"] for row in read(own, [*parameters, _spellings(read, person), now.isoformat(), number])]
    more = min(number - len(ids), _room(read, person, now))
    return ids + [row["id"] for row in read(free, [*parameters, now.isoformat(), max(more, 0)])]


def _room(read: Read, person: Person, now: datetime) -> int:
    """Return how many more reviews a person may hold."""
    (row,) = read(f"{_COUNT} WHERE {_HELD}", [_spellings(read, person), now.isoformat()])
    return MOST_CLAIMED - int(row["number"])


def _spellings(read: Read, person: Person) -> str:
    """Return, as JSON, the names under which a person holds reviews; claims keep names as they were given."""
    rows = read("SELECT DISTINCT claimed_by FROM reviews WHERE claimed_by IS NOT NULL", [])
    return json.dumps([row["claimed_by"] for row in rows if person.is_same_as(row["claimed_by"])])


def _holder(review: Review, now: datetime) -> str | None:
    """Return who is at work on a review; nobody once their time is over."""
    if review.claimed_until is None or review.claimed_until <= now:
        return None
    return review.claimed_by


def _wanted(workflow: str | None, person: Person | None, leave_out: Collection[str] = ()) -> tuple[str, list[Any]]:
    """Return the condition of a query for what waits, and its parameters."""
    where, parameters = ["reviews.status = 'asked'"], list[Any]()
    if workflow is not None:
        where.append("reviews.workflow = ?")
        parameters.append(workflow)
    if leave_out:
        where.append("reviews.id NOT IN (SELECT value FROM json_each(?))")
        parameters.append(json.dumps(list(leave_out)))
    if person is not None:
        conditions, more = _answerable_by(person)
        where += conditions
        parameters += more
    return " AND ".join(where), parameters


def _answerable_by(person: Person) -> tuple[list[str], list[Any]]:
    if not person.may("reviewer"):
        return ["0"], []
    where = ["NOT EXISTS (SELECT 1 FROM opinions AS o WHERE o.review_id = reviews.id AND o.by = ?)"]
    parameters: list[Any] = [person.folded]
    if person.known_by != "login":
        where.append("reviews.people = 1")
    if person.roles is not None:
        roles = sorted({role for role in ROLES if person.may(role)} | person.roles)
        where.append(f"reviews.role IN ({', '.join('?' * len(roles))})")
        parameters += roles
    return where, parameters


def _may_answer(person: Person, role: str) -> bool:
    return person.may("reviewer") and person.may(role)


def _reviewer(by: Person | str) -> Person:
    person = as_person(by)
    person.must("reviewer", "answer reviews")
    return person


def _about(review: Review) -> _About:
    return {"workflow": review.workflow, "run_id": review.run_id, "subject": review.id}
