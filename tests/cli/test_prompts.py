"""`stanchion prompts`, and `run --prompts`: an operator tries a wording, puts it in force, and takes it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stanchion.graphs import receipts
from stanchion.models.pinned import as_version
from stanchion.models.prompts import Prompt
from stanchion.store import Database
from stanchion.store.prompts import PromptLabels
from tests.cli.conftest import Stanchion

RECEIPTS = "stanchion.graphs.receipts:workflow"
ID = "receipts.extract"
(OWN,) = receipts.workflow.prompts


def prompt_file(folder: Path, version: str, text: str = "", name: str = f"{ID}.toml") -> Path:
    """Write a version of the receipts' prompt, in words of its own."""
    path = folder / name
    path.write_text(f"version = '{version}'\nsystem = 'Wording {version}: $schema'\nuser = '{text or '$text'}'\n")
    return path


@pytest.fixture
def two(stanchion: Stanchion, tmp_path: Path) -> Prompt:
    """A database with one run, and a second version of the prompt added by hand."""
    (tmp_path / "receipt.txt").write_text("KEDAI MELUR\nDATE: 14/02/2018\nGRAND TOTAL 8.00\nCASH 10.00\nCHANGE 2.00\n")
    assert stanchion("run", RECEIPTS, "receipt.txt").code == 0
    path = prompt_file(tmp_path, "two")
    assert stanchion("prompts", "add", RECEIPTS, path, "--by", "ana").code == 0
    return Prompt.read(path)


def points(stanchion: Stanchion) -> dict[str, str]:
    """Each label, and the version that it is shown at."""
    rows = stanchion("prompts", "list", RECEIPTS, "--json").json["versions"]
    return {label: row["version"] for row in rows for label in row["labels"]}


def started_with(stanchion: Stanchion, *options: str) -> tuple[Any, str]:
    """The version that a new run pins, and what stands on standard error."""
    ended = stanchion("run", RECEIPTS, "receipt.txt", "--json", *options)
    assert ended.code == 0, ended.err
    return ended.json[0]["prompts"][ID]["version"], ended.err


def test_versions_are_listed_with_where_they_come_from(stanchion: Stanchion, two: Prompt) -> None:
    """The file's and the added one, with hash, labels, who added it and how many runs started with it."""
    first, second = stanchion("prompts", "list", RECEIPTS, "--json").json["versions"]

    assert (first["version"], first["hash"], first["in_file"], first["runs"]) == (OWN.version, OWN.hash, True, 1)
    assert first["labels"] == ["production", "candidate"]
    assert (second["version"], second["hash"], second["in_file"], second["runs"]) == ("two", two.hash, False, 0)
    assert (second["labels"], second["added_by"]) == ([], "ana")
    shown = stanchion("prompts", "list", RECEIPTS).out
    assert "ana, by hand" in shown
    assert "the file" in shown


def test_a_candidate_is_tried_put_in_force_and_taken_back(stanchion: Stanchion, two: Prompt) -> None:
    """The whole way: new runs take what their label points at, and a line says so where it is not the file's."""
    stanchion("prompts", "label", RECEIPTS, ID, "candidate", "two", "--reason", "shorter")
    assert points(stanchion) == {"production": OWN.version, "candidate": "two"}
    assert started_with(stanchion) == (OWN.version, "")

    version, said = started_with(stanchion, "--prompts", "candidate")
    assert version == "two"
    assert said == (
        f"stanchion: prompt {ID}: new runs use version two ({two.hash}); the file has {OWN.version} ({OWN.hash}).\n"
    )

    assert stanchion("prompts", "label", RECEIPTS, ID, "production", two.hash[:6]).code == 0
    assert started_with(stanchion)[0] == "two"
    assert stanchion("prompts", "rollback", RECEIPTS, ID, "production", "--reason", "worse").code == 0
    assert started_with(stanchion) == (OWN.version, "")


def test_a_moved_label_is_shown_beside_the_file_it_passes_over(stanchion: Stanchion, two: Prompt) -> None:
    """Below the table stands who moved it and why, and that the file's version is not in use."""
    stanchion("prompts", "label", RECEIPTS, ID, "production", "two", "--by", "bo", "--reason", "an outage")
    last = stanchion("prompts", "list", RECEIPTS).out.splitlines()[-1]

    assert f"production of {ID} was moved to two by bo on " in last
    assert last.endswith(f"(an outage); the file's {OWN.version} is not used under this label.")


def test_a_label_follows_the_file_again(stanchion: Stanchion, two: Prompt) -> None:
    """`file` in place of a version undoes all moves at once."""
    stanchion("prompts", "label", RECEIPTS, ID, "production", "two")
    ended = stanchion("prompts", "label", RECEIPTS, ID, "production", "file")

    assert ended.out == f"production of {ID} points at whatever the file has.\n"
    assert stanchion("prompts", "list", RECEIPTS, "--json").json["labels"] == []


def test_the_history_says_who_and_why(stanchion: Stanchion, two: Prompt) -> None:
    """Every move in order, for people and for programs."""
    assert stanchion("prompts", "history", RECEIPTS, ID).out == "No label was ever moved: all follow the file.\n"
    stanchion("prompts", "label", RECEIPTS, ID, "production", "two", "--by", "bo", "--reason", "shorter")
    stanchion("prompts", "rollback", RECEIPTS, ID, "production", "--by", "cy", "--reason", "worse")

    moves = stanchion("prompts", "history", RECEIPTS, ID, "--json").json
    assert [(move["hash"], move["moved_by"], move["reason"]) for move in moves] == [
        (two.hash, "bo", "shorter"),
        (None, "cy", "worse"),
    ]
    shown = stanchion("prompts", "history", RECEIPTS, ID).out
    assert f"two ({two.hash})" in shown
    assert "whatever the file has" in shown


def test_the_texts_of_a_version_are_shown(stanchion: Stanchion, two: Prompt) -> None:
    """Without a version, those of production; all of them in JSON."""
    assert "You read receipts." in stanchion("prompts", "show", RECEIPTS, ID).out
    assert "Wording two: $schema" in stanchion("prompts", "show", RECEIPTS, ID, "two").out
    assert stanchion("prompts", "show", RECEIPTS, ID, two.hash, "--json").json["texts"] == two.texts
    stanchion("prompts", "label", RECEIPTS, ID, "production", "two")
    assert "Wording two: $schema" in stanchion("prompts", "show", RECEIPTS, ID).out


def test_control_characters_of_a_prompt_do_not_reach_the_terminal(stanchion: Stanchion, two: Prompt, tmp_path) -> None:
    """An escape sequence in a text or a version is shown as spaces."""
    path = tmp_path / f"{ID}.toml"
    path.write_text('version = "3\\u001b[2J"\nsystem = "a\\u001b[2Jb"\nuser = "$text"\n')
    added = stanchion("prompts", "add", RECEIPTS, path)
    hash_ = Prompt.read(path).hash

    assert added.code == 0
    for ended in (added, stanchion("prompts", "show", RECEIPTS, ID, hash_), stanchion("prompts", "list", RECEIPTS)):
        assert "\x1b" not in ended.out


@pytest.mark.parametrize(
    ("version", "text", "name", "message"),
    [
        ("two", "Other words: $text", f"{ID}.toml", "Version two of receipts.extract has another text already"),
        (OWN.version, "", f"{ID}.toml", "has another text already"),
        ("3", "no document", f"{ID}.toml", "must hold $text"),
        ("3", "$text and $page", f"{ID}.toml", "it holds $page, $schema, $text"),
        ("3", "", "other.toml", "has no prompt 'other'; its prompts: receipts.extract"),
        ("3", "", "missing/x.toml", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_a_version_is_refused(
    stanchion: Stanchion, two: Prompt, tmp_path: Path, version: str, text: str, name: str, message: str
) -> None:
    """Exit code 2 and the reason; nothing is added."""
    path = prompt_file(tmp_path, version, text, name) if "/" not in name else tmp_path / name
    ended = stanchion("prompts", "add", RECEIPTS, path)

    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert len(stanchion("prompts", "list", RECEIPTS, "--json").json["versions"]) == 2


def test_a_label_never_points_at_what_the_code_cannot_fill_in(stanchion: Stanchion, two: Prompt) -> None:
    """A version that is in the database, but wants a placeholder that this workflow does not know, is refused."""
    strange = Prompt(id=ID, version="strange", system="$page", user="$text")
    database = Database(".stanchion/stanchion.db")
    PromptLabels(database).add(as_version(strange), own=as_version(OWN))
    database.close()
    ended = stanchion("prompts", "label", RECEIPTS, ID, "production", "strange")

    assert ended.code == 2
    assert "it holds $page, $text" in ended.err
    assert points(stanchion) == {"production": OWN.version, "candidate": OWN.version}


def test_a_hostile_prompt_file_is_refused_not_crashed_on(stanchion: Stanchion, two: Prompt, tmp_path: Path) -> None:
    """100,000 open brackets are one line of error."""
    path = tmp_path / f"{ID}.toml"
    path.write_text("version = " + "[" * 100_000)
    ended = stanchion("prompts", "add", RECEIPTS, path)

    assert ended.code == 2
    assert "cannot be read" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("label", RECEIPTS, ID, "prod", "two"), "no label 'prod'; there are production and candidate"),
        (("label", RECEIPTS, ID, "production", "nine"), "no version 'nine'; there are"),
        (("label", RECEIPTS, "receipts", "production", "two"), "its prompts: receipts.extract"),
        (("rollback", RECEIPTS, ID, "prod"), "there are production and candidate"),
        (("rollback", RECEIPTS, ID, "production"), "nothing to go back to"),
        (("show", RECEIPTS, ID, "nine"), "no version 'nine'"),
        (("history", "nothing", ID), "no workflow 'nothing'"),
    ],
)
def test_what_there_is_not_is_refused_by_name(stanchion: Stanchion, two: Prompt, arguments, message: str) -> None:
    """Exit code 2 and a message that names what there is; no label moves."""
    ended = stanchion("prompts", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert stanchion("prompts", "history", RECEIPTS, ID, "--json").json == []


def test_runs_of_a_label_that_there_is_not_are_refused(stanchion: Stanchion, two: Prompt) -> None:
    """`run --prompts` takes the two labels and nothing else, before anything is queued."""
    ended = stanchion("run", RECEIPTS, "receipt.txt", "--prompts", "prod")

    assert ended.code == 2
    assert "there are production and candidate" in ended.err
    assert len(stanchion("runs", "--json").json) == 1


def test_no_database_is_made_by_looking(stanchion: Stanchion, tmp_path: Path) -> None:
    """A misspelt --db is refused by every command, so that nobody moves a label of an empty database by mistake."""
    for arguments in (("list", RECEIPTS), ("label", RECEIPTS, ID, "production", OWN.version)):
        assert stanchion("prompts", *arguments, "--db", "elsewhere.db").code == 3
    assert not (tmp_path / "elsewhere.db").exists()


def test_a_workflow_without_prompts_says_so(stanchion: Stanchion, two: Prompt) -> None:
    """Nothing to list is no error."""
    assert stanchion("prompts", "list", "tests.cli.letters:workflow").out == "The workflow has no prompts.\n"
