"""The trail on the command line: listed, checked, its head kept elsewhere."""

from __future__ import annotations

import getpass
import json
import sqlite3
from pathlib import Path

import pytest

from stanchion.store import Database
from tests.cli.conftest import Stanchion

MODEL = "openai:gpt-4o"
DB = Path(".stanchion/stanchion.db")


@pytest.fixture
def three(stanchion: Stanchion) -> None:
    """A database in which breakers were forced twice by the user of this machine, and once by somebody else."""
    Database(DB).close()
    for number in range(2):
        stanchion("breaker", f"{MODEL}-{number}", "--open", "--reason", "maintenance")
    stanchion("breaker", MODEL, "--close", "--reason", "a drill", "--by", "ada")


def meddle(sql: str) -> None:
    connection = sqlite3.connect(DB)
    with connection:
        connection.execute(sql)
    connection.close()


@pytest.mark.usefixtures("three")
def test_the_list_says_who_did_what_and_why(stanchion: Stanchion) -> None:
    """The newest first, with how each person is known; JSON has all that an entry says."""
    shown = stanchion("trail", "list").out.splitlines()

    assert [line.split()[0] for line in shown[2:]] == ["3", "2", "1"]
    assert "ada (claim)" in shown[2]
    assert "breaker forced closed" in shown[2]
    assert "a drill" in shown[2]
    assert "(system)" in shown[3]
    newest = stanchion("trail", "list", "--json").json[0]
    assert (newest["by"], newest["known_by"], newest["subject"]) == ("ada", "claim", MODEL)
    assert newest["content"] == {"reason": "a drill"}


@pytest.mark.usefixtures("three")
def test_the_list_can_be_narrowed(stanchion: Stanchion) -> None:
    """By person, phrase, run and place; where nothing is left, that is said."""
    you = getpass.getuser()

    def seqs(*options: object) -> list[int]:
        return [entry["seq"] for entry in stanchion("trail", "list", "--json", *options).json]

    assert seqs("--by", you) == [2, 1]
    assert seqs("--what", "breaker forced closed") == [3]
    assert seqs("--limit", 1, "--before", 3) == [2]
    assert seqs("--run", "0123456789ab") == []
    assert stanchion("trail", "list", "--run", "0123456789ab").out == "Nothing of that kind stands in the trail.\n"


def test_what_people_typed_reaches_no_terminal_raw(stanchion: Stanchion) -> None:
    """Control characters of a reason are shown as spaces."""
    Database(DB).close()
    stanchion("breaker", MODEL, "--open", "--reason", "a\x1b[31mb\nc")
    shown = stanchion("trail", "list").out

    assert "\x1b" not in shown
    assert "a [31mb c" in shown


@pytest.mark.usefixtures("three")
def test_a_whole_trail_is_said_to_be_one(stanchion: Stanchion) -> None:
    """How many entries there are, how many the head vouches for, and exit code 0."""
    checked = stanchion("trail", "verify")

    assert (checked.code, checked.out) == (0, "3 entries, of which the head vouches for 3: nothing was altered.\n")
    told = stanchion("trail", "verify", "--json").json
    assert (told["ok"], told["rows"], told["found"], told["problems"]) == (True, 3, 0, [])


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("UPDATE trail SET by = 'eve' WHERE seq = 2", "Entry 2: Altered"),
        ("DELETE FROM trail WHERE seq = 2", "Entry 2: Missing: entry 2"),
        ("DELETE FROM trail WHERE seq > 1", "Entry 2: Cut off: entries 2 to 3"),
        ("UPDATE trail SET content = NULL, salt = NULL", "Entry 1: Its text is gone"),
        ("DROP TABLE trail", "The trail: Its table"),
        ("UPDATE trail SET by = CAST(x'ff1b5b33316d' AS TEXT) WHERE seq = 1", "Entry 1: Altered"),
    ],
)
@pytest.mark.usefixtures("three")
def test_what_was_meddled_with_is_named(stanchion: Stanchion, sql: str, said: str) -> None:
    """Each place is a line, the last line counts them, and the exit code is 1, for programs too."""
    meddle(sql)
    checked = stanchion("trail", "verify")

    assert checked.code == 1
    assert said in checked.out
    assert "problem" in checked.out.splitlines()[-1]
    told = stanchion("trail", "verify", "--json")
    assert (told.code, told.json["ok"], told.json["found"] > 0) == (1, False, True)


@pytest.mark.usefixtures("three")
def test_a_head_kept_elsewhere_tells_of_a_rollback(stanchion: Stanchion, tmp_path: Path) -> None:
    """Cut off with the file beside it put back, only the other one knows."""
    files = DB.with_name("stanchion.db.trail")
    early = (files / "head").read_text()
    stanchion("breaker", MODEL, "--release", "--reason", "over")
    kept = tmp_path / "kept.json"
    kept.write_text(stanchion("trail", "head").out)
    assert stanchion("trail", "verify", "--head", kept).code == 0

    meddle("DELETE FROM trail WHERE seq = 4")
    (files / "head").write_text(early)
    assert stanchion("trail", "verify").code == 0
    checked = stanchion("trail", "verify", "--head", kept)
    assert (checked.code, "Cut off: entry 4" in checked.out) == (1, True)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b"\xff", b"[" * 100_000, b'{"count": true, "hash": 1, "seal": 2}']
)
def test_a_file_that_is_no_head_is_wrong_use(stanchion: Stanchion, tmp_path: Path, content: bytes | None) -> None:
    """Missing or holding something else: exit code 2, and what it takes."""
    file = tmp_path / "head.json"
    if content is not None:
        file.write_bytes(content)
    refused = stanchion("trail", "verify", "--head", file)

    assert (refused.code, "`stanchion trail head`" in refused.err) == (2, True)


def test_a_database_without_a_trail_has_no_head(stanchion: Stanchion) -> None:
    """Nothing was decided: the check finds nothing, and there is no head to print."""
    Database(DB).close()

    assert stanchion("trail", "verify").out == "0 entries: nothing was altered.\n"
    refused = stanchion("trail", "head")
    assert (refused.code, "There is no head" in refused.err) == (3, True)


@pytest.mark.usefixtures("three")
def test_a_restart_is_told_at_every_check(stanchion: Stanchion) -> None:
    """It takes a reason, makes the trail whole as it is, and stands out from then on."""
    meddle("DELETE FROM trail WHERE seq = 3")
    assert stanchion("trail", "restart").code == 2
    restarted = stanchion("trail", "restart", "--reason", "restored Monday's backup", "--by", "ada")

    assert "goes on at entry 3" in restarted.out
    checked = stanchion("trail", "verify")
    assert checked.code == 0
    assert "Note: the trail was restarted at entry 3" in checked.out
    (entry,) = stanchion("trail", "list", "--what", "trail restarted", "--json").json
    assert json.loads(entry["facts"]["head"])["count"] == 3
