"""`stanchion eval`: rows in the dataset's order, every figure in one object, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import LETTERS, Stanchion, letter, lines

KEYS = ["id", "outcome", "rung", "output", "confidence", "verdicts", "calls", "cost_usd", "ms"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Twelve letters: one read wrongly, one that goes to a person, one without text."""
    rows = [letter(n, f"name: Ann{n}\npages: {n}", truth={"name": f"Ann{n}", "pages": n}) for n in range(12)]
    rows[3]["truth"]["name"] = "Bob"
    rows[5]["input"]["text"] += "?"
    rows[7]["input"]["text"] = ""
    return lines(tmp_path / "letters.jsonl", *rows)


def test_rows_are_written_in_the_datasets_order(stanchion: Stanchion, dataset: Path, tmp_path: Path) -> None:
    """One line per row, with the documented keys in their order; what would go to a person has outcome `review`."""
    ended = stanchion("eval", LETTERS, dataset, "--out", "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]

    assert ended.code == 0
    assert [row["id"] for row in rows] == [f"letter-{n}" for n in range(12)]
    assert all(list(row) == KEYS for row in rows)
    assert [rows[n]["outcome"] for n in (0, 5, 7)] == ["accepted", "review", "refused"]
    assert rows[0]["output"] == {"name": "Ann0", "pages": "0"}
    assert (rows[7]["rung"], rows[7]["output"], rows[7]["confidence"]) == (None, {}, None)


def test_json_is_one_object_with_every_figure(stanchion: Stanchion, dataset: Path) -> None:
    """Coverage, silent errors and accuracy are counted, each with its interval."""
    report = stanchion("eval", LETTERS, dataset, "--json").json

    assert report["rows"] == 12
    assert {name: report["coverage"][name] for name in ("count", "of")} == {"count": 10, "of": 12}
    assert (report["silent_errors"]["count"], report["silent_errors"]["of"]) == (1, 10)
    assert report["fields"]["name"]["low"] < report["fields"]["name"]["share"] < report["fields"]["name"]["high"]
    assert report["outcomes"] == {"accepted": 10, "refused": 1, "review": 1}


def test_the_table_fits_a_narrow_screen(stanchion: Stanchion, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns no line is longer."""
    monkeypatch.setenv("COLUMNS", "80")
    ended = stanchion("eval", LETTERS, dataset)

    assert "coverage" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_runs_are_kept_only_where_told(stanchion: Stanchion, dataset: Path, tmp_path: Path) -> None:
    """Without `--db` nothing stays; with it, the runs can be looked at."""
    stanchion("eval", LETTERS, dataset)
    assert [path.name for path in tmp_path.iterdir()] == [dataset.name]

    stanchion("eval", LETTERS, dataset, "--db", "kept.db")
    assert len(stanchion("runs", "--db", "kept.db", "--json").json) == 12


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["missing.jsonl"], "There is no dataset missing.jsonl"),
        (["blind.jsonl"], "No row of this dataset has a `truth`"),
        (["letters.jsonl", "--out", "missing/rows.jsonl"], "--out names a file in missing, which is no folder"),
    ],
    ids=["no dataset", "no truth", "no folder"],
)
def test_what_cannot_be_measured_is_exit_code_2(
    stanchion: Stanchion, dataset: Path, tmp_path: Path, arguments: list[str], why: str
) -> None:
    """The message says what is missing, before anything is spent."""
    lines(tmp_path / "blind.jsonl", letter(1, "name: Ann"))
    ended = stanchion("eval", LETTERS, *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err


def test_a_defect_is_exit_code_1(stanchion: Stanchion, tmp_path: Path) -> None:
    """The figures are printed all the same; the exit code says that a run failed."""
    path = lines(tmp_path / "boom.jsonl", letter(1, "boom", truth={"name": "Ann"}))
    ended = stanchion("eval", LETTERS, path, "--json")

    assert (ended.code, ended.json["outcomes"]) == (1, {"failed": 1})
