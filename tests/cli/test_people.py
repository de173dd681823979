"""`stanchion reviews` and `review`: a person is asked, and answers once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Stanchion

Waiting = dict[str, Any]


def test_open_reviews_are_listed_with_question_and_proposal(stanchion: Stanchion, waiting: Waiting) -> None:
    """Who answers sees which document, what is asked, why, and what is proposed."""
    listed = stanchion("reviews")

    for part in (waiting["review"][:8], "letter-1", "Is this the writer?", "Is it Eve??", "Eve?"):
        assert part in listed.out
    (review,) = stanchion("reviews", "--json").json
    assert review["question"]["proposal"] == {"name": "Eve?", "pages": "2"}


def test_approval_ends_the_run(stanchion: Stanchion, waiting: Waiting) -> None:
    """The run is reviewed with the proposal, the answer on record under its giver's name, and nobody waits any more."""
    ended = stanchion("review", waiting["review"][:8], "--approve", "--by", "Ada", "--json")

    assert ended.code == 0
    assert (ended.json["outcome"], ended.json["output"]) == ("reviewed", {"name": "Eve?", "pages": "2"})
    (review,) = stanchion("show", waiting["run"], "--json").json["reviews"]
    assert (review["action"], review["answered_by"]) == ("approve", "Ada")
    assert stanchion("reviews").out == "Nobody is waiting for an answer.\n"
    assert stanchion("reviews", "--json").json == []


def test_an_edit_changes_the_named_fields(stanchion: Stanchion, waiting: Waiting) -> None:
    """Values are read by the field's own type; a value may hold an equals sign; the run's id names its review."""
    ended = stanchion("review", waiting["run"], "--edit", "name=a=b", "--edit", "pages=12", "--json")

    assert (ended.code, ended.json["rung"]) == (0, "human")
    assert ended.json["output"] == {"name": "a=b", "pages": 12, "to": None}


@pytest.mark.parametrize(
    ("given", "kept"), [('["Bob", "Cy"]', ["Bob", "Cy"]), ("null", None)], ids=["a list", "nothing"]
)
def test_an_edit_may_be_json(stanchion: Stanchion, waiting: Waiting, given: str, kept: object) -> None:
    """Lists, objects and null are written as JSON."""
    ended = stanchion("review", waiting["run"], "--edit", f"to={given}", "--json")

    assert (ended.code, ended.json["output"]["to"]) == (0, kept)


def test_an_edit_is_confirmed_in_a_table(stanchion: Stanchion, waiting: Waiting) -> None:
    """A person sees the outcome and the corrected fields."""
    ended = stanchion("review", waiting["run"], "--edit", "name=Eva")

    assert "✓ reviewed" in ended.out
    assert "Eva" in ended.out


def test_a_rejection_keeps_its_reason(stanchion: Stanchion, waiting: Waiting) -> None:
    """The run is rejected, without a value, for the reason given."""
    ended = stanchion("review", waiting["run"], "--reject", "--reason", "Not a letter.", "--json")

    assert (ended.code, ended.json["outcome"], ended.json["reason"], ended.json["output"]) == (
        0,
        "rejected",
        "Not a letter.",
        None,
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (["--edit", "pages=many"], "This does not fit: pages: Input should be a valid integer"),
        (["--edit", "pages"], "--edit takes FIELD=VALUE; 'pages' has no field before an equals sign"),
        (["--edit", "=1"], "--edit takes FIELD=VALUE"),
        (["--approve", "--reject"], "Give one of --approve"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_answer_that_does_not_fit_leaves_the_review_open(
    stanchion: Stanchion, waiting: Waiting, answer: list[str], why: str
) -> None:
    """What is wrong is said with exit code 2, and the question can still be answered."""
    ended = stanchion("review", waiting["review"], *answer)

    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err
    assert stanchion("review", waiting["review"], "--approve").code == 0


def test_a_second_answer_is_told_who_was_first(stanchion: Stanchion, waiting: Waiting) -> None:
    """The first answer stands; the second giver learns whose it is."""
    stanchion("review", waiting["review"], "--reject", "--by", "Ada")
    ended = stanchion("review", waiting["review"], "--approve", "--by", "Bob")

    assert (ended.code, ended.out) == (2, "")
    assert "answered already: reject by Ada at" in ended.err
    (run,) = stanchion("runs", "--json").json
    assert run["outcome"] == "rejected"


def test_an_unknown_review_is_exit_code_2(stanchion: Stanchion, waiting: Waiting) -> None:
    """The message names it and says where reviews are listed."""
    ended = stanchion("review", "nope", "--approve")

    assert (ended.code, ended.out) == (2, "")
    assert "is no review 'nope'" in ended.err
    assert "`stanchion reviews` lists them" in ended.err


def test_without_an_answer_the_whole_question_is_shown(stanchion: Stanchion, waiting: Waiting) -> None:
    """The reviewer sees the document and what each rung says of each field; nothing is answered by looking."""
    shown = stanchion("review", waiting["review"])

    assert shown.code == 0
    assert "field" in shown.out
    assert "pages: 2" in shown.out
    assert stanchion("review", waiting["review"], "--approve").code == 0
