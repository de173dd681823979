"""`stanchion reviews`, `review` and `corrections`: a person is asked, answers once, and what was corrected is data."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import LETTERS, Stanchion, letter, lines

Waiting = dict[str, Any]


def test_open_reviews_are_listed_with_what_is_at_stake(stanchion: Stanchion, waiting: Waiting) -> None:
    """Who answers sees which document, of which workflow, the expected loss, whose it is, and why it is asked."""
    stanchion("review", waiting["review"], "--claim", "--by", "Ada")
    listed = stanchion("reviews")

    for part in (waiting["review"][:8], "letter-1", "letters", "0.60", "Ada", "Is it Eve??"):
        assert part in listed.out
    (review,) = stanchion("reviews", "--json").json
    assert review["question"]["proposal"] == {"name": "Eve?", "pages": "2"}
    assert stanchion("reviews", "--workflow", "other").out == "Nobody is waiting for an answer.\n"


def test_what_is_not_shown_is_said(stanchion: Stanchion, tmp_path: Path) -> None:
    """A list that is cut off says by how much."""
    rows = [letter(number, "name: Eve?\npages: 2") for number in (1, 2, 3)]
    stanchion("run", LETTERS, lines(tmp_path / "unsure.jsonl", *rows))

    assert "2 more wait; --limit shows them." in stanchion("reviews", "--limit", 1).out


def test_what_cannot_be_read_is_said(stanchion: Stanchion, waiting: Waiting, tmp_path: Path) -> None:
    """One spoilt row hides no other, and is not passed over in silence."""
    stanchion("run", LETTERS, lines(tmp_path / "more.jsonl", letter(2, "name: Ada?\npages: 1")))
    with closing(sqlite3.connect(".stanchion/stanchion.db")) as database, database:
        database.execute("UPDATE reviews SET question = 'no JSON' WHERE id = ?", [waiting["review"]])
    listed = stanchion("reviews")
    asked = stanchion("review", waiting["review"])

    assert "letter-2" in listed.out
    assert "1 cannot be read" in listed.out
    assert "more wait" not in listed.out
    assert (asked.code, f"The row of the review {waiting['review']} cannot be read" in asked.err) == (3, True)
    assert stanchion("show", waiting["run"], "--json").json["reviews"] == []


def test_a_first_answer_is_shown_with_its_run(stanchion: Stanchion, waiting: Waiting) -> None:
    """`show --json` says who gave the first of two answers, as `review` does."""
    with closing(sqlite3.connect(".stanchion/stanchion.db")) as database, database:
        values = [waiting["review"], waiting["run"], "ada@x.org", "login", "approve", "{}", "2024-01-01"]
        database.execute("INSERT INTO opinions VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    (review,) = stanchion("show", waiting["run"], "--json").json["reviews"]

    assert (review["first_by"], review["first_action"]) == ("ada@x.org", "approve")


def test_an_answer_that_a_paused_workflow_keeps_waiting_says_so(stanchion: Stanchion, waiting: Waiting) -> None:
    """Who answered learns why the run does not go on: who holds it back, and why."""
    stanchion("pause", "--workflow", "letters", "--reason", "the feed is broken", "--by", "Olga")
    told = stanchion("review", waiting["review"], "--approve")

    assert "The workflow letters is paused since" in told.out
    assert "by Olga: the feed is broken" in told.out


def test_a_claim_keeps_others_out_until_it_is_given_back(stanchion: Stanchion, waiting: Waiting) -> None:
    """They are told who has it; whoever owns the file may give it back for somebody else."""
    claimed = stanchion("review", waiting["review"], "--claim", "--by", "Ada")
    refused = stanchion("review", waiting["review"], "--approve", "--by", "Bob")
    stanchion("review", waiting["review"], "--release", "--by", "Bob")

    assert "open to a reviewer; Ada has it until" in claimed.out
    assert (refused.code, "Ada is at work on the review" in refused.err) == (2, True)
    assert stanchion("review", waiting["review"], "--approve", "--by", "Bob").code == 0


def test_a_whole_value_is_given_as_json(stanchion: Stanchion, waiting: Waiting) -> None:
    """What it leaves out is not taken from the proposal."""
    stanchion("review", waiting["review"], "--value", '{"name": "Eva", "pages": 3}')
    (run,) = stanchion("runs", "--json").json

    assert run["output"] == {"name": "Eva", "pages": 3, "to": None}


def test_corrections_are_a_dataset_that_eval_reads(stanchion: Stanchion, waiting: Waiting, tmp_path: Path) -> None:
    """Export, then measure: the workflow still gets wrong what a person corrected."""
    stanchion("review", waiting["review"], "--edit", "name=Eva", "--by", "Ada")
    exported = stanchion("corrections", "-o", tmp_path / "corrections.jsonl")
    (row,) = map(json.loads, (tmp_path / "corrections.jsonl").read_text().splitlines())
    measured = stanchion("eval", LETTERS, tmp_path / "corrections.jsonl", "--json")

    assert exported.out == f"1 example in {tmp_path / 'corrections.jsonl'}.\n"
    assert (row["truth"], row["correction"], row["by"]) == (
        {"name": "Eva", "pages": 2, "to": None},
        {"name": "Eva"},
        "Ada",
    )
    fields = measured.json["fields"]
    assert (measured.code, fields["name"]["count"], fields["pages"]["count"]) == (0, 0, 1)


def test_approvals_are_exported_where_they_are_asked_for(stanchion: Stanchion, waiting: Waiting) -> None:
    """To standard output where no file is named; control characters are escaped."""
    stanchion("review", waiting["review"], "--approve")

    assert stanchion("corrections").out == ""
    assert stanchion("corrections", "--approved", "--workflow", "letters").json["correction"] == {}


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
    ("given", "kept"),
    [('["Bob", "Cy"]', ["Bob", "Cy"]), ("null", None), ('["[sic"]', ["[sic"])],
    ids=["a list", "nothing", "a text in quotes"],
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
        (["--approve", "--reject"], "Give one of --approve and --reject, not both"),
        (["--reject"], "A rejection needs a reason"),
        (["--value", "{"], "--value takes JSON"),
        (["--edit", "name=[sic"], "looks like JSON, and is none (JSONDecodeError): a text that begins like JSON"),
        (["--value", '{"name": 5}'], "This does not fit: name: Input should be a valid string; pages: Field required"),
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
    stanchion("review", waiting["review"], "--reject", "--reason", "Not ours.", "--by", "Ada")
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
