"""The rules of reviews: what comes first, who may answer, who is at work on it, two people, and nobody in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph

from stanchion import RunContext, Workflow
from stanchion.errors import NotAllowed, ReviewClosed, ReviewTaken, StoreError, UsageError
from stanchion.nodes import WorkflowState, answered, intake, outcome, review
from stanchion.nodes.review import ReviewAnswer
from stanchion.people import Person
from stanchion.runs.reviews import PUT_OFF, Reviews, refuse_indistinguishable
from stanchion.testing import FakeClock
from stanchion.verdict import Verdict
from tests.runs.asking import LIMIT, PROPOSAL, Desk, Payment, payments, person
from tests.runs.conftest import invoices, run, waiting


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An empty desk."""
    desk = Desk(tmp_path / "runs.db")
    yield desk
    desk.database.close()


def ids(reviews: list[Any]) -> list[str]:
    """The reviews' ids, in order."""
    return [review.id for review in reviews]


# --- What comes first ---


def test_the_largest_expected_loss_comes_first(desk: Desk) -> None:
    """Stake times doubt; among equals, who waits longest."""
    desk.ask("small", stake=10, confidence=0.5)
    desk.ask("sure", stake=100, confidence=0.99)
    desk.ask("large", stake=100, confidence=0.5)
    desk.clock.advance(60)
    desk.ask("small and later", stake=10, confidence=0.5)

    assert ids(desk.reviews.waiting()) == ["large", "small", "small and later", "sure"]
    assert ids(desk.reviews.waiting(limit=2, offset=1)) == ["small", "small and later"]


def test_a_queue_is_of_one_workflow_where_one_is_named(desk: Desk) -> None:
    """The number counts the same as the list."""
    desk.ask("ours")
    desk.ask("theirs", workflow="letters")

    assert ids(desk.reviews.waiting(workflow="letters")) == ["theirs"]
    assert (desk.reviews.number_waiting(workflow="letters"), desk.reviews.number_waiting()) == (1, 2)


def test_the_queue_reads_no_table_through(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits and what is due is found and sorted by indexes, however much was answered before."""
    read, asked = desk.database.read, []
    monkeypatch.setattr(desk.database, "read", lambda sql, given=(): asked.append((sql, given)) or read(sql, given))
    desk.reviews.waiting()
    desk.reviews.waiting(workflow="payments", for_person=person("ada@x.org"))
    desk.reviews.number_waiting()
    desk.reviews.expire_due()

    assert len(asked) == 4
    for sql, given in asked:
        plan = [row["detail"] for row in read(f"EXPLAIN QUERY PLAN {sql}", given)]
        assert not [line for line in plan if line.startswith("SCAN") or "TEMP B-TREE" in line]


# --- Who may answer ---


def test_who_may_not_answer_is_told_which_role_it_takes(desk: Desk) -> None:
    """A viewer looks; nothing is written."""
    desk.ask()
    for attempt in (
        lambda by: desk.reviews.answer("r1", "approve", by=by),
        lambda by: desk.reviews.claim("r1", by=by),
        lambda by: desk.reviews.claim_next(by=by),
        lambda by: desk.reviews.release("r1", by=by),
    ):
        with pytest.raises(NotAllowed, match="takes the role reviewer"):
            attempt(person("vic@example.com", "viewer"))

    assert desk.reviews.waiting(for_person=person("vic@example.com", "viewer")) == []
    assert (desk.row()["status"], desk.row()["claimed_by"], desk.trail()) == ("asked", None, [])


def test_a_question_may_take_a_role_of_its_own(desk: Desk) -> None:
    """An accountant's question is no other reviewer's, nor in their queue; whoever owns the file may do anything."""
    desk.ask("r1", role="accountant")
    ada, bob = person("ada@example.com", "reviewer", "accountant"), person("bob@example.com", "operator")

    with pytest.raises(NotAllowed, match="takes the role accountant"):
        desk.reviews.answer("r1", "approve", by=bob)
    assert (desk.reviews.waiting(for_person=bob), desk.reviews.claim_next(by=bob)) == ([], [])
    assert ids(desk.reviews.waiting(for_person=ada)) == ids(desk.reviews.claim_next(by=ada)) == ["r1"]
    assert desk.reviews.answer("r1", "approve", by=ada).status == "answered"
    desk.ask("r2", role="accountant")
    assert desk.reviews.answer("r2", "approve", by="root").status == "answered"


def test_an_operator_may_do_what_a_reviewer_may(desk: Desk) -> None:
    """Roles include those before them."""
    desk.ask()
    assert desk.reviews.answer("r1", "approve", by=person("olga@example.com", "operator")).status == "answered"


# --- Who is at work on it ---


def test_a_claimed_review_is_nobody_elses(desk: Desk) -> None:
    """Others learn whose it is and until when; its holder answers, under any spelling of the name."""
    desk.ask()
    desk.reviews.claim("r1", by="Ada", seconds=60)
    for attempt in (desk.reviews.claim, lambda name, by: desk.reviews.answer(name, "approve", by=by)):
        with pytest.raises(ReviewTaken, match=r"Ada is at work on the review r1 until \d\d:\d\d:\d\d UTC"):
            attempt("r1", by="Bob")

    review = desk.reviews.answer("r1", "approve", by="ada")
    assert (review.status, review.claimed_by) == ("answered", None)


def test_a_claim_ends_by_itself(desk: Desk) -> None:
    """Who went home does not keep the case; who claims again keeps it longer."""
    desk.ask()
    desk.reviews.claim("r1", by="Ada", seconds=60)
    desk.clock.advance(50)
    desk.reviews.claim("r1", by="Ada", seconds=60)
    desk.clock.advance(50)
    with pytest.raises(ReviewTaken):
        desk.reviews.claim("r1", by="Bob")
    desk.clock.advance(10)

    assert desk.reviews.claim("r1", by="Bob").claimed_by == "Bob"


def test_the_next_cases_are_ones_own_then_the_most_urgent_free_ones(desk: Desk) -> None:
    """What somebody holds comes back to them; what others hold, and what is left out, does not."""
    for number in range(1, 7):
        desk.ask(f"r{number}", stake=10 - number)
    desk.reviews.claim("r1", by="Bob")
    desk.reviews.claim("r5", by="Ada")

    assert ids(desk.reviews.claim_next(by="Ada", number=3, leave_out=["r2"])) == ["r5", "r3", "r4"]
    assert ids(desk.reviews.claim_next(by="Bob", number=9)) == ["r1", "r2", "r6"]
    assert ids(desk.reviews.claim_next(by="Cy", number=9)) == []


def test_a_person_holds_a_hundred_cases_at_the_most(desk: Desk) -> None:
    """Neither by asking for more and more, nor by taking single ones, nor under another spelling."""
    for number in range(130):
        desk.ask(f"r{number:03}")
    held: set[str] = set()
    for by in ("Ada", "ada", " ADA", "Ada"):
        held |= set(ids(desk.reviews.claim_next(by=by, number=60, leave_out=held)))
    (free,) = ids(desk.reviews.claim_next(by="Bob"))
    desk.reviews.release(free, by="Bob")

    assert len(held) == 100
    with pytest.raises(NotAllowed, match="ada holds 100 reviews"):
        desk.reviews.claim(free, by="ada")
    kept = desk.reviews.claim(min(held), by="ada")
    assert kept.claimed_by == "ada"
    desk.reviews.release(kept.id, by="Ada")
    assert desk.reviews.claim(free, by="Ada").claimed_by == "Ada"


def test_ones_own_case_comes_back_under_any_spelling(desk: Desk) -> None:
    """Who claimed as Ada finds the case again as ada."""
    desk.ask()
    desk.reviews.claim("r1", by="Ada")

    assert ids(desk.reviews.claim_next(by="ada")) == ["r1"]
    assert desk.reviews.claim_next(by="Bob") == []


def test_a_desk_may_leave_out_any_number(desk: Desk) -> None:
    """More ids than a statement has places for."""
    desk.ask()

    assert ids(desk.reviews.claim_next(by="Ada", leave_out=[f"n{number}" for number in range(40_000)])) == ["r1"]


# --- Rows that something else spoilt ---


@pytest.mark.parametrize("column", ["question", "people", "claimed_until", "due_at"])
def test_a_spoilt_row_is_its_own_trouble(desk: Desk, column: str) -> None:
    """The queue shows and gives out all others; who asks for this one learns that it cannot be read."""
    for name in ("r1", "r2", "r3"):
        desk.ask(name)
    desk.change(f"UPDATE reviews SET {column} = '?' WHERE id = 'r1'")

    assert ids(desk.reviews.waiting()) == ids(desk.reviews.claim_next(by="Ada", number=2)) == ["r2", "r3"]
    assert desk.reviews.of_run("run-r1") == []
    for attempt in (lambda: desk.reviews.get("r1"), lambda: desk.reviews.answer("r1", "approve", by="Ada")):
        with pytest.raises(StoreError, match="review r1 cannot be read"):
            attempt()


def test_what_cannot_be_read_is_put_off_and_others_expire(desk: Desk) -> None:
    """It is first in line for one look an hour, not for ever."""
    desk.ask("r1", expires_after=60)
    desk.ask("r2", expires_after=90)
    desk.change("UPDATE reviews SET question = 'no JSON' WHERE id = 'r1'")
    desk.clock.advance(100)

    assert ids(desk.reviews.expire_due()) == ["r2"]
    assert desk.row("r1")["due_at"] == (desk.clock.now() + PUT_OFF).isoformat()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 86_401])
def test_a_claim_has_an_end(desk: Desk, seconds: float) -> None:
    """Nobody takes a case for ever, nor for no time at all."""
    desk.ask()
    for attempt in (
        lambda: desk.reviews.claim("r1", by="Ada", seconds=seconds),
        lambda: desk.reviews.claim_next(by="Ada", seconds=seconds),
    ):
        with pytest.raises(UsageError, match="seconds"):
            attempt()


@pytest.mark.parametrize("number", [0, 101])
def test_nobody_takes_the_whole_queue(desk: Desk, number: int) -> None:
    """Who held it all would leave nothing for the others."""
    with pytest.raises(UsageError, match="1 to 100"):
        desk.reviews.claim_next(by="Ada", number=number)


def test_only_an_operator_releases_somebody_elses_claim(desk: Desk) -> None:
    """Their own claim is theirs to end, silently; another's is an act on record."""
    desk.ask()
    ada, bob, olga = person("ada@x.org"), person("bob@x.org"), person("olga@x.org", "operator")
    desk.reviews.claim("r1", by=ada)
    with pytest.raises(NotAllowed, match="take a review from somebody else"):
        desk.reviews.release("r1", by=bob)
    desk.reviews.release("r1", by=olga)

    (entry,) = desk.trail()
    assert (entry["by"], entry["what"], json.loads(entry["facts"])) == (
        "olga@x.org",
        "review released",
        {"taken from": "ada@x.org"},
    )
    desk.reviews.claim("r1", by=bob)
    desk.reviews.release("r1", by=bob)
    assert (desk.row()["claimed_by"], len(desk.trail())) == (None, 1)


# --- Two people ---

ADA, BOB = person("ada@example.com"), person("bob@example.com")


def test_two_people_give_the_same_answer(desk: Desk) -> None:
    """The first answer waits for the second, which takes effect; the trail names both."""
    desk.ask(people=2)
    desk.reviews.claim("r1", by=ADA)
    first = desk.reviews.answer("r1", "edit", by=ADA, edits={"total": 7}, reason="Smudged.")
    second = desk.reviews.answer("r1", "edit", by=BOB, edits={"total": 7}, reason="I agree.")

    assert (first.status, first.first_by, first.first_action, first.claimed_by) == ("asked", ADA.name, "edit", None)
    assert (second.status, second.answered_by, second.first_by) == ("answered", BOB.name, ADA.name)
    assert second.answer["output"]["total"] == 7
    assert [(entry["by"], entry["what"]) for entry in desk.trail()] == [
        (ADA.name, "first answer given"),
        (BOB.name, "review answered"),
    ]


def test_one_person_in_two_windows_is_one_person(desk: Desk) -> None:
    """However the name is spelled: the second answer has to be somebody else's."""
    desk.ask(people=2)
    desk.reviews.answer("r1", "approve", by=ADA)
    for again in (ADA, person(" ADA@example.com"), person("ＡＤＡ@example.com")):
        for attempt in (
            lambda by: desk.reviews.answer("r1", "approve", by=by),
            lambda by: desk.reviews.claim("r1", by=by),
        ):
            with pytest.raises(NotAllowed, match="takes a second person"):
                attempt(again)

    assert desk.row()["status"] == "asked"


@pytest.mark.parametrize("by", ["Bob", Person("bob", None, "system")], ids=["a bare name", "a system user"])
def test_two_people_must_be_told_apart(desk: Desk, by: Any) -> None:
    """A name that anybody could type is no second person, nor a first."""
    desk.ask(people=2)
    for _ in "12":
        with pytest.raises(NotAllowed, match="two people who can be told apart"):
            desk.reviews.answer("r1", "approve", by=by)
        desk.reviews.answer("r1", "approve", by=ADA) if desk.reviews.get("r1").first_by is None else None

    assert desk.row()["status"] == "asked"


def test_another_answer_takes_the_place_of_the_first(desk: Desk) -> None:
    """Two who disagree have decided nothing; the first may come round to the second's view."""
    desk.ask(people=2)
    desk.reviews.answer("r1", "approve", by=ADA)
    other = desk.reviews.answer("r1", "edit", by=BOB, edits={"total": 7})
    assert (other.status, other.first_by, other.first_action) == ("asked", BOB.name, "edit")
    assert desk.reviews.answer("r1", "edit", by=ADA, edits={"total": 8}).first_by == ADA.name
    assert desk.reviews.answer("r1", "edit", by=BOB, edits={"total": 8}).status == "answered"


def test_two_who_reject_need_not_say_the_same(desk: Desk) -> None:
    """A rejection is the same answer whatever its reason."""
    desk.ask(people=2)
    desk.reviews.answer("r1", "reject", by=ADA, reason="Blurred.")
    assert desk.reviews.answer("r1", "reject", by=BOB, reason="Not ours.").status == "answered"


def test_an_edit_that_raises_the_stake_takes_two(desk: Desk) -> None:
    """A small proposal that one person could approve is no way around the rule: the edited value counts as well."""
    desk.ask(proposal=PROPOSAL)
    with pytest.raises(NotAllowed, match="two people"):
        desk.reviews.answer("r1", "edit", by="Bob", edits={"total": LIMIT})

    first = desk.reviews.answer("r1", "edit", by=ADA, edits={"total": LIMIT})
    assert (first.status, first.people) == ("asked", 2)
    assert desk.reviews.answer("r1", "edit", by=BOB, edits={"total": LIMIT}).status == "answered"


def test_the_rule_needs_no_look_at_the_graph(desk: Desk) -> None:
    """A node inside a subgraph or a function asks with its threshold: an edit beyond it takes two all the same."""
    desk.ask(node="nobody has seen it")
    with pytest.raises(NotAllowed, match="two people"):
        desk.reviews.answer("r1", "edit", by="Bob", edits={"total": LIMIT})

    assert desk.reviews.answer("r1", "edit", by=ADA, edits={"total": LIMIT}).people == 2


@pytest.mark.parametrize(
    "asked", [{"stake_field": None}, {"node": "hidden", "form": {"type": "object"}}], ids=["no field", "no type"]
)
def test_an_edit_of_which_nobody_can_say_the_stake_takes_two(desk: Desk, asked: dict[str, Any]) -> None:
    """Where the stake is a function, or the value's type is not known here; to approve takes what was asked for."""
    desk.ask("r1", **asked)
    desk.ask("r2", **asked)
    with pytest.raises(NotAllowed, match="two people"):
        desk.reviews.answer("r1", "edit", by="Bob", edits={"total": 1})

    assert desk.reviews.answer("r2", "approve", by="Bob").status == "answered"


def test_who_comes_late_is_told_both_names(desk: Desk) -> None:
    """What two people decided is not one person's doing."""
    desk.ask(people=2)
    desk.reviews.answer("r1", "approve", by=ADA)
    desk.reviews.answer("r1", "approve", by=BOB)
    with pytest.raises(ReviewClosed, match=r"approve by ada@example\.com and bob@example\.com at"):
        desk.reviews.answer("r1", "approve", by=BOB)


def test_a_first_answer_is_known_in_any_spelling(desk: Desk) -> None:
    """It is not offered to the same person again."""
    desk.ask(people=2)
    desk.reviews.answer("r1", "approve", by=person("Ada@Example.com"))

    for spelling in ("ada@example.com", "ADA@example.com"):
        assert desk.reviews.claim_next(by=person(spelling)) == []


def test_what_waits_for_a_second_person_is_not_offered_to_the_first(desk: Desk) -> None:
    """Nor to anybody who cannot be told apart."""
    desk.ask("r1", people=2)
    desk.ask("r2")
    desk.reviews.answer("r1", "approve", by=ADA)

    assert ids(desk.reviews.waiting(for_person=ADA)) == ids(desk.reviews.claim_next(by=ADA, number=9)) == ["r2"]
    desk.reviews.release("r2", by=ADA)
    assert ids(desk.reviews.waiting(for_person=Person("bob", None, "system"))) == ["r2"]
    assert set(ids(desk.reviews.claim_next(by=BOB, number=9))) == {"r1", "r2"}


def test_a_workflow_for_two_is_refused_where_there_are_not_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At start, before any document waits for somebody who does not exist."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"review of payments takes two people .* names 0"):
        refuse_indistinguishable(payments())
    file = tmp_path / "stanchion.toml"
    file.write_text('[people]\n"ada@x.org" = ["reviewer"]\n"vic@x.org" = ["viewer"]\n')
    with pytest.raises(UsageError, match="names 1"):
        refuse_indistinguishable(payments())
    file.write_text('[people]\n"ada@x.org" = ["reviewer"]\n"olga@x.org" = ["operator"]\n')
    refuse_indistinguishable(payments())


def inside(node: Any) -> Workflow:
    """A workflow whose only node is this one; a graph is a node too."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("inner", node)
    builder.add_edge(START, "inner")
    builder.add_edge("inner", END)
    return Workflow(builder.compile(), name="outer", version="1", output=Payment)


def test_a_rule_inside_a_subgraph_is_seen_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However deep it lies; the message says where."""
    monkeypatch.chdir(tmp_path)
    deep = inside(inside(payments().graph).graph)
    with pytest.raises(UsageError, match=r"step inner\|inner\|review of outer takes two people"):
        refuse_indistinguishable(deep)


@pytest.mark.parametrize("hidden", [False, True], ids=["in a subgraph", "in a function"])
def test_a_rule_that_lies_deeper_is_kept(make_runner: Any, people: None, hidden: bool) -> None:
    """From the node to the answer: nobody who cannot be told apart passes the threshold; edits are read by type."""
    node = review(Payment, stake="total", two_people_from=LIMIT)

    def unsure(state: WorkflowState) -> Any:
        return {"verdict": Verdict(decision="review", reason="Always."), "output": PROPOSAL}

    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("unsure", unsure)
    builder.add_node("person", (lambda state: node(state)) if hidden else inside(node).graph)
    builder.add_edge(START, "unsure")
    builder.add_edge("unsure", "person")
    builder.add_edge("person", END)

    async def story() -> Any:
        async with make_runner(Workflow(builder.compile(), name="deep", version="1", output=Payment)) as runner:
            _, asked = await waiting(runner)
            with pytest.raises(NotAllowed, match="two people who can be told apart"):
                await runner.answer(asked.id, "edit", by="Bob", edits={"total": LIMIT})
            await runner.answer(asked.id, "edit", by=ADA, edits={"total": str(LIMIT)})
            return await runner.answer(asked.id, "edit", by=BOB, edits={"total": LIMIT})

    done = run(story())
    assert (done.outcome, done.output["total"]) == ("reviewed", LIMIT)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose file names two people who may answer."""
    (tmp_path / "stanchion.toml").write_text('[people]\n"ada@x.org" = ["reviewer"]\n"bob@x.org" = ["reviewer"]\n')
    monkeypatch.chdir(tmp_path)


def test_a_workflow_for_one_needs_nobody_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who works alone needs no file of people."""
    monkeypatch.chdir(tmp_path)
    refuse_indistinguishable(invoices())


# --- Nobody in time ---


def test_what_is_due_expires(desk: Desk) -> None:
    """The stored answer sends the run its safe way, under nobody's name; the trail says so; the queue is shorter."""
    desk.ask("r1", expires_after=3600)
    desk.ask("r2", expires_after=7200)
    desk.ask("r3")
    assert desk.reviews.expire_due() == []
    desk.clock.advance(3600)

    (review,) = desk.reviews.expire_due()
    assert (review.id, review.status, review.action, review.answered_by) == ("r1", "expired", "expire", None)
    answer = ReviewAnswer.model_validate(review.answer)
    assert (answer.action, answer.by) == ("expire", "")
    assert answer.reason == f"Nobody answered by {review.due_at:%Y-%m-%d %H:%M} UTC."
    assert [(entry["by"], entry["known_by"], entry["what"]) for entry in desk.trail()] == [
        ("stanchion", "system", "review expired")
    ]
    assert (desk.reviews.expire_due(), desk.reviews.number_waiting()) == ([], 2)


def test_an_expired_review_takes_no_answer(desk: Desk) -> None:
    """Who comes late learns that it is late, and whose fault it is not."""
    desk.ask(expires_after=60)
    desk.clock.advance(61)
    desk.reviews.expire_due()
    with pytest.raises(ReviewClosed, match=r"expired at .* UTC: nobody had answered by then"):
        desk.reviews.answer("r1", "approve", by="Ada")


def test_more_are_due_than_expire_at_once(desk: Desk) -> None:
    """Each expires once."""
    names = [desk.ask(f"n{number:03}", expires_after=60) for number in range(450)]
    desk.clock.advance(61)

    assert sorted(ids(desk.reviews.expire_due())) == names
    assert len(desk.trail()) == 450


def test_an_answered_review_does_not_expire(desk: Desk) -> None:
    """Nor one whose form knows no expiry: it stays open, and is not looked at again."""
    desk.ask("r1", expires_after=60)
    desk.ask("r2", expires_after=60)
    desk.change("UPDATE reviews SET form = ? WHERE id = 'r2'", '{"type": "boolean"}')
    desk.reviews.answer("r1", "approve", by="Ada")
    desk.clock.advance(61)

    assert desk.reviews.expire_due() == []
    assert (desk.row("r1")["status"], desk.row("r2")["status"], desk.row("r2")["due_at"]) == ("answered", "asked", None)


def test_a_run_that_ended_meanwhile_is_closed_not_expired(desk: Desk) -> None:
    """A question to which nobody needs an answer does not count as one that nobody answered."""
    desk.ask(expires_after=60, status="cancelled")
    desk.clock.advance(61)

    assert desk.reviews.expire_due() == []
    assert desk.row()["status"] == "closed"


def test_several_desks_expire_a_review_once(desk: Desk) -> None:
    """Workers look at the same time; one of them does it."""
    desk.ask(expires_after=60)
    desk.clock.advance(61)
    others = [Reviews(desk.database, clock=desk.clock) for _ in "123"]

    assert sum(len(each.expire_due()) for each in others) == 1


def expiring() -> Workflow:
    """A question with an end, and a safe way from it."""
    builder = StateGraph(WorkflowState, context_schema=RunContext)
    builder.add_node("intake", intake())
    builder.add_node("review", review(Payment, expires=timedelta(hours=1)))
    builder.add_node("hold", lambda _state: {"rung": "rules"})
    builder.add_node("outcome", outcome())
    builder.add_edge(START, "intake")
    builder.add_edge("intake", "review")
    builder.add_conditional_edges("review", answered, {"answered": "outcome", "expired": "hold"})
    builder.add_edge("hold", "outcome")
    builder.add_edge("outcome", END)
    return Workflow(builder.compile(), name="expiring", version="1", output=Payment)


def test_an_expired_run_goes_its_safe_way(make_runner: Any, db: Path) -> None:
    """From asked to its end without anybody: by the edge that the graph names, with the outcome `expired`."""

    async def story() -> Any:
        clock = FakeClock()
        async with make_runner(expiring(), clock=clock) as runner:
            one, asked = await waiting(runner)
            clock.advance(3600)
            await asyncio.to_thread(runner.reviews.expire_due)
            (done,) = await runner.resume([one.id])
            return done, runner.ledger.review(asked.id), [step.node for step in runner.ledger.steps(one.id)]

    done, asked, nodes = run(story())

    assert (done.outcome, done.output, nodes) == ("expired", None, ["intake", "review", "hold", "outcome"])
    assert done.reason == f"Nobody answered by {asked.due_at:%Y-%m-%d %H:%M} UTC."
    assert (asked.status, asked.resumed_at is not None) == ("expired", True)
