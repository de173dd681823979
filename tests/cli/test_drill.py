"""`stanchion drill`: one table, and an exit code that can stand in CI."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import LETTERS, Stanchion, letter, lines

FRAGILE, STURDY = "tests.audit.graphs:fragile", "tests.audit.graphs:sturdy"


def test_a_table_and_a_verdict(stanchion: Stanchion, tmp_path: Path) -> None:
    """Each step and fault has a row; notes and the verdict stand below; all promises held is exit code 0."""
    ended = stanchion("drill", STURDY, lines(tmp_path / "a.jsonl", letter(1, "Hello")), "--plan", "overloaded")

    assert ended.code == 0, ended.err
    (row,) = [line.split() for line in ended.out.splitlines() if "overloaded" in line and "✓" in line]
    assert row[:5] == ["ask", "overloaded", "1", "1", "accepted"]
    assert "Times are shortened" in ended.out
    assert ended.out.strip().splitlines()[-1].startswith("All promises held: of 1 runs none failed, none was lost.")


def test_a_broken_promise_is_exit_code_1(stanchion: Stanchion, tmp_path: Path) -> None:
    """Where a run fails, the last line says where, and the command ends with 1."""
    ended = stanchion("drill", FRAGILE, lines(tmp_path / "a.jsonl", letter(1, "Hello")), "--plan", "overloaded")

    assert ended.code == 1
    assert ended.out.strip().splitlines()[-1] == "PROMISES BROKEN in 1 of 1 rows: ask × overloaded: 1 failed."


def test_json_has_the_rows(stanchion: Stanchion) -> None:
    """`--json` prints what the table shows; without a dataset the workflow's own examples are taken."""
    ended = stanchion("drill", "stanchion.graphs.receipts:workflow", "--plan", "auth_lost", "--json")

    assert ended.code == 0, ended.err
    assert [(row["step"], row["fault"], row["runs"]) for row in ended.json["rows"]] == [
        ("model", "auth_lost", 8),
        ("repair", "auth_lost", 8),
    ]
    assert ended.json["held"] is True


def test_wrong_use_says_what_is_missing(stanchion: Stanchion, tmp_path: Path) -> None:
    """An unknown fault, a workflow without examples and a file that is not there are refused with exit code 2."""
    dataset = lines(tmp_path / "a.jsonl", letter(1, "Hello"))
    unknown = stanchion("drill", STURDY, dataset, "--plan", "gremlins")
    without = stanchion("drill", LETTERS)
    missing = stanchion("drill", LETTERS, "nowhere.jsonl")

    assert (unknown.code, without.code, missing.code) == (2, 2, 2)
    assert "There is no fault 'gremlins'; there are rate_limited," in unknown.err
    assert "name a DATASET" in without.err
    assert "nowhere.jsonl" in missing.err


def test_a_workflow_without_models_has_only_its_surroundings(stanchion: Stanchion, tmp_path: Path) -> None:
    """Where no step asks a model, that is said, and the clock and the database are drilled all the same."""
    dataset = lines(tmp_path / "a.jsonl", letter(1, "name: Ada\npages: 2"), letter(2, "name: Eve?\npages: 1"))
    ended = stanchion("drill", LETTERS, dataset, "--plan", "clock_jump")

    assert ended.code == 0, ended.err
    assert "1 accepted, 1 waiting" in ended.out
    assert "No step asked a model." in ended.out
