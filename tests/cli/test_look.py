"""`stanchion runs`, `show` and `graph`: what happened, for people and for programs."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import LETTERS, Stanchion, letter, lines


@pytest.fixture
def three(stanchion: Stanchion, tmp_path: Path) -> list[dict[str, Any]]:
    """An accepted, a waiting and a refused run."""
    rows = [letter(1, "name: Ann\npages: 1"), letter(2, "name: Eve?\npages: 2"), letter(3, "")]
    return list(stanchion("run", LETTERS, lines(tmp_path / "three.jsonl", *rows), "--json").json)


def test_runs_are_listed_newest_first(stanchion: Stanchion, three: list[dict[str, Any]]) -> None:
    """The list tells the same in both forms, the last run first."""
    ids = [run["id"] for run in reversed(three)]

    assert [run["id"] for run in stanchion("runs", "--json").json] == ids
    table = stanchion("runs").out.splitlines()
    assert [line.split()[0] for line in table[2:]] == [run_id[:8] for run_id in ids]
    assert "Is it Eve??" in table[3]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["--outcome", "accepted"], ["letter-1"]),
        (["--status", "waiting"], ["letter-2"]),
        (["--limit", "1"], ["letter-3"]),
        (["--workflow", "letters"], ["letter-3", "letter-2", "letter-1"]),
        (["--workflow", "nobody"], []),
        (["--outcome", "review"], ["letter-2"]),
        (["--outcome", "accepted", "--status", "waiting"], []),
        (["--find", "letter 3"], ["letter-3"]),
        (["--find", "EVE"], ["letter-2"]),
        (["--step", "review", "--rung", "rules"], ["letter-2"]),
        (["--version", "1", "--model", "none", "--sort", "oldest"], ["letter-1", "letter-2", "letter-3"]),
        (["--since", "2020-01-01", "--until", "2021-01-01"], []),
        (["--min-cost", "0.01"], []),
        (["--max-seconds", "3600", "--max-cost", "0", "--limit", "1"], ["letter-3"]),
        (["--error", "KeyError"], []),
        (["--tenant", "acme"], []),
    ],
    ids=lambda value: "-".join(value).strip("-"),
)
def test_runs_are_filtered(
    stanchion: Stanchion, three: list[dict[str, Any]], filters: list[str], names: list[str]
) -> None:
    """Each filter leaves only what it names."""
    assert [run["input_id"] for run in stanchion("runs", *filters, "--json").json] == names


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--since", "yesterday"], "since takes a date, with or without a time, such as 2026-11-23"),
        (["--min-cost", "much"], "min_cost takes US dollars as a number"),
        (["--sort", "best"], "sort takes one of newest, oldest, slowest, dearest, least_sure; not 'best'"),
        (["--outcome", "waiting"], "--outcome takes one of accepted, "),
    ],
)
def test_a_filter_that_makes_no_sense_is_exit_code_2(
    stanchion: Stanchion, three: list[dict[str, Any]], typed: list[str], said: str
) -> None:
    """The message names the option and says what it takes."""
    ended = stanchion("runs", *typed)

    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err


def test_no_runs_is_said(stanchion: Stanchion, three: list[dict[str, Any]]) -> None:
    """An empty list is a sentence for people and an empty list for programs."""
    assert stanchion("runs", "--workflow", "nobody").out == "No runs.\n"
    assert stanchion("runs", "--workflow", "nobody", "--json").json == []


def test_a_run_is_shown_step_by_step(stanchion: Stanchion, three: list[dict[str, Any]]) -> None:
    """The beginning of an id is enough; the path, each step's verdict and the value are told."""
    run_id = three[1]["id"]
    shown = stanchion("show", run_id[:8])

    assert shown.code == 0
    assert run_id in shown.out
    assert "intake → read → review" in shown.out
    assert "Eve?" in shown.out
    assert "asked" in shown.out
    as_json = stanchion("show", run_id, "--json").json
    assert set(as_json) == {"run", "steps", "calls", "verdicts", "reviews"}
    assert [step["node"] for step in as_json["steps"]] == ["intake", "read", "review"]
    assert [verdict["decision"] for verdict in as_json["verdicts"]] == ["accept", "review"]


@pytest.mark.parametrize(
    ("typed", "why"),
    [("nope", "is no run 'nope'"), ("nope", "`stanchion runs` lists them"), ("", "letters and digits only")],
)
def test_what_names_no_run_is_exit_code_2(
    stanchion: Stanchion, three: list[dict[str, Any]], typed: str, why: str
) -> None:
    """The message names what was asked for and where runs are listed."""
    ended = stanchion("show", typed)

    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err


@pytest.mark.parametrize(
    "command", [["runs"], ["show", "x"], ["reviews"], ["resume"], ["erase", "x"], ["backup", "copy.db"]]
)
def test_looking_makes_no_database(stanchion: Stanchion, tmp_path: Path, command: list[str]) -> None:
    """Commands that need something to be there say that it is not, and leave nothing behind."""
    ended = stanchion(*command, "--db", "typo.db")

    assert (ended.code, ended.out) == (3, "")
    assert "There is no database typo.db" in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_table_fits_a_narrow_screen(
    stanchion: Stanchion, three: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns no line is longer, and each run still shows id, input, outcome, confidence and why."""
    monkeypatch.setenv("COLUMNS", "80")
    table = stanchion("runs").out.splitlines()

    assert max(map(len, table)) <= 80
    assert table[0].split() == ["run", "input", "outcome", "conf.", "why"]
    assert table[-1].split() == [three[0]["id"][:8], "letter-1", "✓", "accepted", "0.90", "by", "rules"]


def test_a_workflow_is_drawn_as_mermaid(stanchion: Stanchion, three: list[dict[str, Any]]) -> None:
    """The text names every node; with a run, the path it took is marked."""
    plain = stanchion("graph", LETTERS)
    marked = stanchion("graph", LETTERS, "--run", three[0]["id"][:8])

    assert plain.out.startswith("flowchart TD")
    assert all(f'"{node}"' in plain.out for node in ("intake", "read", "review", "outcome"))
    assert "class " not in plain.out
    assert "class " in marked.out


def test_a_workflow_is_drawn_as_svg(stanchion: Stanchion, tmp_path: Path) -> None:
    """The picture is a file of well-formed SVG, drawn without any service."""
    ended = stanchion("graph", LETTERS, "--svg", "letters.svg")

    assert (ended.code, ended.out) == (0, "Wrote letters.svg.\n")
    assert ElementTree.parse(tmp_path / "letters.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_picture_that_cannot_be_written_is_exit_code_2(stanchion: Stanchion) -> None:
    """The file is named with what is wrong, without a traceback."""
    ended = stanchion("graph", LETTERS, "--svg", "missing/letters.svg")

    assert (ended.code, ended.err) == (
        2,
        "stanchion: missing/letters.svg cannot be written: No such file or directory.\n",
    )
