"""`stanchion cancel`, `pause`, `unpause`, `rerun`, `fork`: each says what became of the runs, and wants a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import LETTERS, Stanchion, letter, lines

WHY = ("--reason", "a test", "--by", "ada")


def standing(stanchion: Stanchion, run_id: str) -> str:
    shown = stanchion("show", run_id, "--json").json["run"]
    return "paused" if shown["paused_at"] else str(shown["outcome"] or shown["status"])


def test_a_run_is_cancelled_with_its_question(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """The run has ended, its question is closed, and a second time is refused with how it ended."""
    told = stanchion("cancel", waiting["run"], *WHY)
    again = stanchion("cancel", waiting["run"], *WHY)

    assert (told.code, told.out) == (0, f"1 run cancelled: {waiting['run'][:8]}.\n")
    assert standing(stanchion, waiting["run"]) == "cancelled"
    assert stanchion("reviews", "--json").json == []
    assert again.code == 2
    assert "ended as cancelled" in again.err


def test_a_run_is_paused_and_unpaused(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """It stands as paused until it is unpaused; JSON is the run as it then stands."""
    assert stanchion("pause", waiting["run"], *WHY).out == f"1 run paused: {waiting['run'][:8]}.\n"
    assert standing(stanchion, waiting["run"]) == "paused"
    (unpaused,) = stanchion("unpause", waiting["run"], *WHY, "--json").json
    assert (unpaused["id"], unpaused["paused_at"]) == (waiting["run"], None)


def test_several_runs_are_told_apart_from_those_that_cannot_be(stanchion: Stanchion, tmp_path: Path) -> None:
    """Of several, those that have ended are left out and counted."""
    path = lines(tmp_path / "two.jsonl", letter(1, "name: Eve?"), letter(2, "name: Eve\npages: 1"))
    asked, ended = stanchion("run", LETTERS, path, "--json").json
    told = stanchion("pause", asked["id"], ended["id"], *WHY)

    assert told.code == 0
    assert told.out == f"1 run paused: {asked['id'][:8]}. 1 could not be: they have ended, or were so already.\n"


def test_a_whole_workflow_is_paused(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """Its runs are queued and stay so until it is unpaused; one that is not there is refused by name."""
    paused = stanchion("pause", "--workflow", "letters", *WHY)
    (again,) = stanchion("rerun", waiting["run"], *WHY, "--json").json
    stanchion("resume")
    held = standing(stanchion, again["id"])
    listed, others = stanchion("runs", "--outcome", "paused"), stanchion("runs", "--workflow", "other")
    unpaused = stanchion("unpause", "--workflow", "letters", *WHY)
    stanchion("resume")

    assert "The workflow letters is paused since" in listed.out
    assert "UTC by ada: a test" in listed.out
    assert "is paused since" not in others.out + stanchion("runs").out
    assert paused.out == "No run of letters begins or goes on until it is unpaused.\n"
    assert held == "queued"
    assert unpaused.out == "The runs of letters may go on.\n"
    assert standing(stanchion, again["id"]) == "waiting"
    assert "no run of a workflow 'lettres'" in stanchion("pause", "--workflow", "lettres", *WHY).err


def test_a_run_is_made_again(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """The new run is queued, and the command that takes it up is named."""
    told = stanchion("rerun", waiting["run"], *WHY)
    lines_ = told.out.splitlines()

    assert lines_[0].startswith("1 run queued again: ")
    assert lines_[2].split()[-2:] == ["resume", lines_[0].removesuffix(".").split()[-1]]


def test_a_run_is_forked_with_another_state(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """The edited state is what the step asks about; the origin still asks what it asked."""
    edit = 'output={"name": "Mallory", "pages": 3}'
    made = stanchion("fork", waiting["run"], "--at", "review", "--edit", edit, *WHY, "--json").json
    told = stanchion("resume", made["id"], "--json").json
    asked = {review["run_id"]: review["question"]["proposal"] for review in stanchion("reviews", "--json").json}

    assert (made["status"], made["origin"], told[0]["status"]) == ("queued", waiting["run"], "waiting")
    assert asked[made["id"]] == {"name": "Mallory", "pages": 3}
    assert asked[waiting["run"]]["name"] == "Eve?"
    said = stanchion("fork", waiting["run"], "--at", "3", *WHY)
    assert said.out.splitlines()[0].endswith(f"it goes on from before that step of {waiting['run']}.")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["cancel", "RUN"], "Say why"),
        (["cancel", "nobody", *WHY], "no run 'nobody'"),
        (["pause", *WHY], "Name runs, or a whole workflow"),
        (["unpause", "RUN", "--workflow", "letters", *WHY], "one of the two"),
        (["rerun", "RUN", "--prompts", "latest", *WHY], "no label 'latest'"),
        (["rerun", "RUN", "--model", "gpt", *WHY], "gpt"),
        (["fork", "RUN", "--at", "9", *WHY], "no step '9'; it has 1 intake, 2 read, 3 review"),
        (["fork", "RUN", "--at", "review", "--edit", "output", *WHY], "no key before an equals sign"),
        (["fork", "RUN", "--at", "review", "--edit", "output={", *WHY], "looks like JSON, and is none"),
        (["fork", "RUN", "--at", "review", "--edit", "letter=1", *WHY], "no key 'letter'"),
        (["fork", "RUN", "--at", "review", "--edit", "rung=\x1b[31mgold", *WHY], "rung: "),
    ],
)
def test_what_cannot_be_done_is_said(stanchion: Stanchion, waiting: dict[str, Any], arguments, why: str) -> None:
    """Wrong use exits with 2 and one line that names what is wrong, and changes nothing."""
    refused = stanchion(*(waiting["run"] if word == "RUN" else word for word in arguments))

    assert (refused.code, refused.out) == (2, "")
    assert why in refused.err
    assert refused.err.count("\n") == 1
    assert len(stanchion("runs", "--json").json) == 1
