"""`stanchion drill`: one table, and an exit code that can stand in CI."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from stanchion.audit.drills import Report
from stanchion.audit.rows import Row
from stanchion.cli.drill import _print
from tests.cli.conftest import LETTERS, Stanchion, letter, lines

FRAGILE, STURDY = "tests.audit.graphs:fragile", "tests.audit.graphs:sturdy"


def test_a_table_and_a_verdict(stanchion: Stanchion, tmp_path: Path) -> None:
    """Each step and fault has a row; notes and the verdict stand below; all promises held is exit code 0."""
    ended = stanchion("drill", STURDY, lines(tmp_path / "a.jsonl", letter(1, "Hello")), "--plan", "overloaded")

    assert ended.code == 0, ended.err
    (row,) = [line.split() for line in ended.out.splitlines() if "overloaded" in line and "✓" in line]
    assert row == ["✓", "overloaded", "1", "accepted", "1.0/1", "–", "1"]  # the last: another value
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
    assert "There is no fault 'gremlins'. There are:\n  rate_limited, " in unknown.err
    assert "name a DATASET" in without.err
    assert "nowhere.jsonl" in missing.err


def test_a_workflow_without_models_has_only_its_surroundings(stanchion: Stanchion, tmp_path: Path) -> None:
    """Where no step asks a model, that is said, and the clock and the database are drilled all the same."""
    dataset = lines(tmp_path / "a.jsonl", letter(1, "name: Ada\npages: 2"), letter(2, "name: Eve?\npages: 1"))
    ended = stanchion("drill", LETTERS, dataset, "--plan", "clock_jump")

    assert ended.code == 0, ended.err
    assert "1 accepted, 1 waiting" in ended.out
    assert ended.out.strip().splitlines()[-1].startswith("No step asked a model, so only the surroundings were drilled")


def test_what_drilled_nothing_is_wrong_use(stanchion: Stanchion, tmp_path: Path) -> None:
    """A drill that can learn nothing must not pass in CI: exit code 2, the reason, and no table."""
    silent = stanchion("drill", "stanchion.graphs.receipts:workflow", "--model", "recorded:x")
    failing = stanchion("drill", FRAGILE, lines(tmp_path / "a.jsonl", {"id": "a", "input": {"question": "?"}}))

    assert (silent.code, failing.code) == (2, 2)
    assert (silent.out, failing.out) == ("", "")
    assert "recorded:x has no recorded answers" in silent.err
    assert "Your graph gets {'document': ...}" in failing.err


ROWS = [
    Row(step=step, fault=fault, runs=8, outcomes={"accepted": 3, "waiting": 5}, calls=2, requests=3,
        most_requests=2, spent_usd=spent, broken=["1 failed"] if fault == "hang" else [])
    for step in ("model", "repair")
    for fault, spent in (("rate_limited_retry_after", Decimal(0)), ("hang", Decimal("0.00004")), ("html", None))
]  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut at 80 columns: a block per step, the mark first, a line per fault, and no empty columns."""
    monkeypatch.setenv("COLUMNS", str(width))

    _print(Report(workflow="plain", steps=["model", "repair"], rows=ROWS))

    shown, _, _ = capsys.readouterr().out.partition("PROMISES")
    table = [line.split() for line in shown.splitlines() if line.strip()]
    outcomes = ["3", "accepted,", "5", "waiting"]
    assert table[0] == ["fault", "outcomes", "requests", "spent"]
    assert [row[0] for row in table if row[1:] == ["8", "runs", "each"]] == ["model,", "repair,"]
    assert [row for row in table if row[0] in "✓✗"] == 2 * [
        ["✓", "rate_limited_retry_after", *outcomes, "1.5/2", "$0"],
        ["✗", "hang", *outcomes, "1.5/2", "<$0.0001"],
        ["✓", "html", *outcomes, "1.5/2", "–"],
    ]


def test_what_happened_has_its_column(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lateness, loss and change are shown as soon as one row has any."""
    monkeypatch.setenv("COLUMNS", "120")
    late = ROWS[0].model_copy(update={"late_ms": 12.0, "lost": 1, "changed": 2})

    _print(Report(workflow="plain", steps=["model"], rows=[late, ROWS[1]]))

    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[0][-3:] == ["late", "lost", "changed"]
    assert [row[-4:] for row in table if "hang" in row] == [["<$0.0001", "–", "–", "–"]]
    assert [row[-4:] for row in table if "rate_limited_retry_after" in row] == [["12", "ms", "1", "2"]]
