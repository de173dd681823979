"""The desk's own part of reviewing: what of a case is sent to a browser, and what is done with what it tells."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import streamlit
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from stanchion.api import run_all
from stanchion.clock import SystemClock
from stanchion.errors import InvalidAnswer
from stanchion.people import Person
from stanchion.runs.forgetting import erase
from stanchion.runs.inputs import Input
from stanchion.runs.records import Review
from stanchion.runs.reviews import Reviews
from stanchion.store import Database
from stanchion.ui.access import Console
from stanchion.ui.background import Background
from stanchion.ui.desk.cases import LONGEST_SOURCE, case_of
from stanchion.ui.desk.forms import WHOLE, Form
from stanchion.ui.desk.session import Session
from tests.ui.browser.notes import REFERENCE, note

ANA, BEN = Person("ana"), Person("ben")


def a_review(question: Any, **more: Any) -> Review:
    """Return a review that asks something."""
    asked = {"id": "r1", "run_id": "u1", "interrupt_id": "i1", "node": "review", "status": "asked"}
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Review(**{**asked, "asked_at": at, "question": json.dumps(question), **more})


# --- What is sent to the browser  ---


def test_evidence_is_cut_out_by_characters_not_by_utf16() -> None:
    """Characters beyond 16 bits before the evidence do not shift it, though JavaScript counts them twice."""
    source = "😀😀 total: 12.00 😀"
    question = {"question": "?", "proposal": {"total": "12.00"}, "source": source}
    case = case_of(a_review({**question, "evidence": {"total": [{"start": 10, "end": 15}]}}))

    assert case["segments"] == [("😀😀 total: ", []), ("12.00", [0]), (" 😀", [])]


@given(
    source=st.text(max_size=300),
    spans=st.lists(st.tuples(st.integers(-9, 400), st.integers(-9, 400)), max_size=8),
)
def test_the_pieces_of_a_document_are_the_document(source: str, spans: list[tuple[int, int]]) -> None:
    """Whatever evidence is claimed, overlapping or out of bounds, the pieces make the text again."""
    seen = [{"start": start, "end": end} for start, end in spans]
    case = case_of(a_review({"question": "?", "proposal": {"a": 1}, "source": source, "evidence": {"a": seen}}))
    plain = case_of(a_review({"question": "?", "proposal": {"a": 1}, "source": source}))

    assert "".join(text for text, _ in case["segments"]) == "".join(text for text, _ in plain["segments"])


def test_evidence_beyond_what_is_sent_is_sent_with_its_surroundings() -> None:
    """Of 10 MB of text, the beginning is sent and what surrounds the evidence, and it is said what is missing."""
    source = "x" * 9_000_000 + "HERE" + "x" * 1_000_000
    seen = [{"start": 9_000_000, "end": 9_000_004}]
    case = case_of(a_review({"question": "?", "proposal": {"a": 1}, "source": source, "evidence": {"a": seen}}))

    assert ("HERE", [0]) in case["segments"]
    assert sum(len(text) for text, _ in case["segments"]) < LONGEST_SOURCE + 1_000
    assert "of 10,000,004 characters are not shown" in case["source_note"]


def test_of_too_many_fields_those_that_differ_come_first() -> None:
    """Among 100,000 fields, the one about which the rungs do not agree is shown, and the rest is counted."""
    proposal = {f"f{number}": number for number in range(100_000)}
    other = {**proposal, "f77777": -1}
    case = case_of(a_review({"question": "?", "proposal": proposal, "alternatives": {"model": other}}))

    assert case["fields"][0]["name"] == "f77777"
    assert case["fields"][0]["differs"]
    assert case["fields_note"].startswith("99,800 more fields are not shown; the rungs differ in 0 of them.")


def test_nothing_hides_in_what_is_shown() -> None:
    """Controls that change how a text is seen are shown as signs, in documents, values and names."""
    case = case_of(a_review({"question": "a\u202eb", "proposal": {"x\u2066": "1\u200b2\x00"}, "source": "c\x1b[0m"}))

    assert case["question"] == "a⟨U+202E⟩b"
    assert case["fields"][0]["label"] == "x⟨U+2066⟩"
    assert case["fields"][0]["shown"] == "1⟨U+200B⟩2␀"
    assert case["segments"] == [("c␛[0m", [])]


def test_the_same_number_written_otherwise_is_no_difference() -> None:
    """12.5 and "12.50" agree; 12.5 and 12.6, or a missing value and a value, do not."""
    proposal = {"a": 12.5, "b": 12.5, "c": None, "d": [], "e": [{"n": "1.0", "m": None}], "f": [{"n": 1}]}
    said = {"a": "12.50", "b": 12.6, "c": "x", "d": None, "e": [{"n": 1}], "f": [{"n": 2}]}
    case = case_of(a_review({"question": "?", "proposal": proposal, "alternatives": {"model": said}}))

    assert [field["differs"] for field in case["fields"]] == [False, True, True, False, False, True]


@given(
    question=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda each: (
            st.lists(each, max_size=3)
            | st.dictionaries(st.sampled_from(["question", "proposal", "schema", "anyOf", "type", "enum", "x"]), each)
        ),
        max_leaves=12,
    )
)
def test_any_question_becomes_a_case(question: Any) -> None:
    """A question of a node that knows nothing of us can be shown, whatever it is."""
    assert case_of(a_review(question))["id"] == "r1"
    assert case_of(a_review(question, form=question if isinstance(question, dict) else None))["id"] == "r1"


@pytest.mark.parametrize(
    ("proposal", "why"),
    [
        (None, "There is nothing to approve: no value that fits for order, wish. Edit it, or reject."),
        ({}, "There is nothing to approve: no value that fits for order, wish. Edit it, or reject."),
        ({"order": None, "wish": "refund"}, "The proposal cannot be approved: no value that fits for order."),
        ({"order": "1", "wish": "REFUND"}, "The proposal cannot be approved: no value that fits for wish."),
        ({"order": "1", "wish": "refund"}, ""),
        ({"order": "1", "wish": "refund", "note": None}, ""),
    ],
)
def test_a_proposal_that_cannot_be_approved_says_why(proposal: Any, why: str) -> None:
    """Where no model answered, approval is not offered as if it could work: what is missing is named."""
    schema = {
        "properties": {
            "order": {"type": "string"},
            "wish": {"type": "string", "enum": ["refund", "other"]},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["order", "wish"],
    }
    case = case_of(a_review({"question": "?", "proposal": proposal, "schema": schema}))

    assert case["unfit"].startswith(why)
    assert ("approve" in case["actions"]) is not bool(case["unfit"])
    assert bool(case["unfit"]) is bool(why)


# --- What was typed  ---

SCHEMA = {
    "properties": {
        "name": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "text": {"type": "string"},
        "amount": {"type": "number"},
        "total": {"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]},
        "paid": {"type": "boolean"},
        "size": {"$ref": "#/$defs/Size"},
        "day": {"type": "string", "format": "date"},
        "lines": {"type": "array", "items": {}},
    },
    "$defs": {"Size": {"enum": ["S", "L", 3]}},
}


@pytest.mark.parametrize(
    ("name", "kind", "typed", "value"),
    [
        ("name", "text", "", None),
        ("text", "text", "", ""),
        ("text", "text", " as it is ", " as it is "),
        ("amount", "number", " 12 ", 12),
        ("amount", "number", "12.5", 12.5),
        ("amount", "number", "twelve", "twelve"),
        ("total", "decimal", "12.50", "12.50"),
        ("total", "decimal", "", None),
        ("paid", "choice", "true", True),
        ("size", "choice", "3", 3),
        ("day", "date", " 2026-01-01 ", "2026-01-01"),
        ("lines", "json", '["a"]', ["a"]),
        ("unheard_of", "text", "x", "x"),
    ],
)
def test_what_was_typed_becomes_a_value_of_its_field(name: str, kind: str, typed: str, value: Any) -> None:
    """The form says what a text stands for; what it does not fit stays a text, and the type refuses it later."""
    form = Form(a_review({"question": "?", "proposal": {}, "schema": SCHEMA}))

    assert form.about(name).kind == kind
    assert form.read({name: typed}) == {name: value}


@given(st.text(max_size=40))
def test_json_that_is_none_is_refused_in_words(typed: str) -> None:
    """A list of records that cannot be read is told to the person, and raises nothing else."""
    form = Form(a_review({"question": "?", "proposal": {}, "schema": SCHEMA}))
    try:
        expected = json.loads(typed) if typed.strip() else None
    except ValueError:
        with pytest.raises(InvalidAnswer, match="lines is no JSON"):
            form.read({"lines": typed})
    else:
        assert form.read({"lines": typed}) == {"lines": expected}


def test_a_question_with_an_answer_of_its_own_takes_only_that() -> None:
    """Where the interrupt names a form that is not ours, its fields are asked for; approving would mean nothing."""
    review = a_review("How many?", form={"type": "integer"})
    case = case_of(review)

    assert case["actions"] == ["edit"]
    assert [field["name"] for field in case["fields"]] == [WHOLE]
    assert Form(review).read({WHOLE: "3"}) == 3


# --- What the browser tells, and is told  ---


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which 20 notes wait for a person."""
    path = tmp_path_factory.mktemp("notes") / "notes.db"
    run_all(REFERENCE, [Input(id=f"note-{number}", document={"text": note(number)}) for number in range(20)], db=path)
    return path


@pytest.fixture
def database(seeded: Path, tmp_path: Path) -> Iterator[Database]:
    """A copy of it."""
    for file in seeded.parent.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    opened = Database(tmp_path / seeded.name)
    yield opened
    opened.close()


@pytest.fixture
def reviews(database: Database) -> Reviews:
    """Its reviews."""
    return Reviews(database)


def given_answer(review_id: str, nonce: str = "n1", **more: Any) -> dict[str, Any]:
    """An answer as the browser tells it."""
    return {"nonce": nonce, "id": review_id, "action": "approve", **more}


def test_an_answer_told_again_and_again_is_given_once(database: Database, reviews: Reviews) -> None:
    """The browser repeats itself until it hears of it; the library is asked once, and the run goes on once."""
    session, answered = Session(SystemClock()), []
    (case, *_) = session.news(reviews, ANA, workflow=None)["cases"]
    for beat in range(3):
        told = {"answers": [given_answer(case["id"])], "beat": beat}
        session.hear(told, reviews, ANA, answered=answered.append)

    assert [review.id for review in answered] == [case["id"]]
    assert session.news(reviews, ANA, workflow=None)["acks"] == {"n1": {"taken": True, "say": ""}}


def test_a_browser_whose_session_was_lost_is_told_that_its_answer_was_taken(
    database: Database, reviews: Reviews
) -> None:
    """After a restart of the server, the same answer told again is no refusal to its own giver, but is to others."""
    review = reviews.waiting()[0]
    for person, taken in (ANA, True), (ANA, True), (BEN, False):
        session = Session(SystemClock())
        session.hear({"answers": [given_answer(review.id)]}, reviews, person, answered=lambda _: None)
        acks = session.news(reviews, person, workflow=None)["acks"]
        assert acks["n1"]["taken"] is taken


def test_an_answer_that_does_not_fit_comes_back_in_words(database: Database, reviews: Reviews) -> None:
    """A refused edit leaves the review open, names the field, and is not given again."""
    session = Session(SystemClock())
    review = reviews.waiting()[0]
    told = {"answers": [given_answer(review.id, action="edit", edits={"amount": "twelve"})]}
    session.hear(told, reviews, ANA, answered=lambda _: None)
    ack = session.news(reviews, ANA, workflow=None)["acks"]["n1"]

    assert not ack["taken"]
    assert "amount" in ack["say"]
    assert reviews.get(review.id).status == "asked"


@pytest.mark.parametrize(
    "told",
    [
        None,
        "x",
        {"answers": "all"},
        {"answers": [{"nonce": "1"}]},
        {"answers": [given_answer("r", action="expire")]},
        {"answers": [given_answer("r", edits={"a": {"b": 1}})]},
        {"pile": ["x"] * 501},
    ],
)
def test_a_forged_message_does_nothing(database: Database, reviews: Reviews, told: Any) -> None:
    """What no desk of ours would tell is dropped whole."""
    session = Session(SystemClock())
    session.hear(told, reviews, ANA, answered=lambda _: pytest.fail("nothing was answered"))

    assert session.news(reviews, ANA, workflow=None)["acks"] == {}


def test_two_people_are_never_given_the_same_case(database: Database, reviews: Reviews) -> None:
    """Of twenty cases, one gets twelve and the other the rest."""
    ours, theirs = (
        {case["id"] for case in Session(SystemClock()).news(reviews, person, workflow=None)["cases"]}
        for person in (ANA, BEN)
    )
    assert (len(ours), len(theirs)) == (12, 8)
    assert not ours & theirs


def test_who_is_away_takes_no_cases(database: Database, reviews: Reviews) -> None:
    """A desk at which nobody did anything for a while claims nothing, but says how many wait."""
    session = Session(SystemClock())
    session.hear({"wanted": False}, reviews, ANA, answered=lambda _: None)
    news = session.news(reviews, ANA, workflow=None)

    assert news["cases"] == []
    assert news["waiting"] == 20
    assert all(review.claimed_by is None for review in reviews.waiting())


def test_a_case_that_somebody_else_has_by_now_is_told(database: Database, reviews: Reviews) -> None:
    """Of what a browser still shows, it hears what was taken over, and by whom."""
    session = Session(SystemClock())
    cases = session.news(reviews, ANA, workflow=None)["cases"]
    taken = cases[0]["id"]
    reviews.release(taken, by=BEN)
    reviews.claim(taken, by=BEN)
    session.hear({"pile": [case["id"] for case in cases]}, reviews, ANA, answered=lambda _: None)
    news = session.news(reviews, ANA, workflow=None)

    assert list(news["lost"]) == [taken]
    assert news["lost"][taken].startswith("ben is at work")
    assert all(case["whole"] is None for case in news["cases"] if case["id"] in {each["id"] for each in cases})


def test_a_browser_hears_which_of_its_cases_were_erased(database: Database, reviews: Reviews) -> None:
    """It must forget what they held, also of a case that was skipped, or answered too late."""
    session = Session(SystemClock())
    ids = [case["id"] for case in session.news(reviews, ANA, workflow=None)["cases"]]
    for review_id in ids[:3]:
        erase(database, reviews.get(review_id).run_id, by="olga")
    told = {"pile": ids[2:], "skipped": ids[1:2], "answers": [given_answer(ids[0])]}
    session.hear(told, reviews, ANA, answered=lambda _: pytest.fail("nothing was answered"))
    news = session.news(reviews, ANA, workflow=None)

    assert news["gone"] == sorted(ids[:3])
    assert "erased" in news["acks"]["n1"]["say"]


def test_what_was_left_and_long_skipped_is_given_back(database: Database, reviews: Reviews) -> None:
    """Whoever leaves the page leaves its cases to others; of skipped ones, the last five stay for going back."""
    session = Session(SystemClock())
    ids = [case["id"] for case in session.news(reviews, ANA, workflow=None)["cases"]]
    session.hear({"skipped": ids[:7], "wanted": False}, reviews, ANA, answered=lambda _: None)
    assert [reviews.get(each).claimed_by for each in ids[:3]] == [None, None, "ana"]
    session.hear({"left": ids, "wanted": False}, reviews, ANA, answered=lambda _: None)

    assert {reviews.get(each).claimed_by for each in ids} == {None}


def test_a_wish_brings_a_case_to_the_front_or_says_why_not(database: Database, reviews: Reviews) -> None:
    """The least urgent case can be asked for; one that somebody else has is refused in words."""
    session = Session(SystemClock())
    last = reviews.waiting()[-1].id
    session.wish(last, reviews, ANA)
    news = session.news(reviews, ANA, workflow=None)
    assert news["first"][0] == last
    assert last in {case["id"] for case in news["cases"]}

    other = Session(SystemClock())
    other.wish(last, reviews, BEN)
    assert other.news(reviews, BEN, workflow=None)["notice"].startswith("ana is at work")


# --- The page  ---


def console_of(path: str, *roles: str) -> Console:
    """A console of somebody with these roles; the test's own script calls it."""
    person = Person("ana@example.com", frozenset(roles), "login")
    return Console(Database(Path(path)), lambda: person, SystemClock(), True, Background(Path(path), SystemClock()))


def page_for(path: Path, *roles: str) -> AppTest:
    """Run the page for somebody with these roles."""
    script = f"""
from stanchion.ui.reviews import page
from tests.ui.test_desk import console_of
page(console_of({str(path)!r}, *{roles!r}))
"""
    return AppTest.from_string(script, default_timeout=60).run()


def test_who_may_not_answer_sees_why_and_what_waits(database: Database, reviews: Reviews) -> None:
    """A viewer is told which role it takes, sees the queue, and takes no case from others."""
    page = page_for(database.path, "viewer")

    assert not page.exception
    assert "takes the role reviewer" in page.info[0].value.replace("\\", "")
    assert "20 waiting" in page.markdown[0].value
    assert "Choose a row" not in page.markdown[0].value
    assert len(page.dataframe[0].value) == 20
    assert all(review.claimed_by is None for review in reviews.waiting())


def test_a_reviewer_has_cases_in_hand_as_soon_as_the_page_is_there(database: Database, reviews: Reviews) -> None:
    """The page claims as many as a desk holds."""
    page = page_for(database.path, "reviewer")

    assert not page.exception
    assert not page.info
    assert [review.claimed_by for review in reviews.waiting()].count("ana@example.com") == 12


def test_workflows_that_wait_are_loaded_before_anybody_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening the page loads them in the background, each once: the first answer does not wait for it."""
    loaded, is_loaded = [], Event()

    def load(reference: str) -> None:
        loaded.append(reference)
        is_loaded.set()

    monkeypatch.setattr("stanchion.workflow.load_workflow", load)
    streamlit.cache_resource.clear()
    page_for(database.path, "viewer").run()

    assert is_loaded.wait(20)
    assert loaded == [REFERENCE]


def test_names_of_workflows_are_chosen_as_they_are(database: Database) -> None:
    """A list to choose from shows text as it is: no backslash before an underscore or a hyphen."""
    database.write_now(
        lambda tables: tables.conn.execute("UPDATE choices SET value = 'my_own-notes' WHERE field = 'workflow'")
    )
    page = page_for(database.path, "viewer")

    assert page.selectbox[0].options[1:] == ["my_own-notes"]


def test_the_case_on_the_desk_is_there_as_code(database: Database, reviews: Reviews) -> None:
    """The command line and the Python that answer the case which this browser was given first."""
    page = page_for(database.path, "reviewer")
    first = reviews.waiting()[0].id

    python, shell = (part.value for part in page.code)
    assert f"stanchion review {first} --approve" in shell
    assert f"reviews.answer({first!r}, 'approve'" in python
    compile(python, "shown", "exec")


def test_an_empty_queue_says_what_to_do_next(tmp_path: Path) -> None:
    """Nobody is left before an empty page."""
    Database(tmp_path / "empty.db").close()
    page = page_for(tmp_path / "empty.db", "reviewer")

    assert not page.exception
    assert "Nothing waits" in page.caption[0].value
