"""`stanchion run` and `resume`: everything named gets an outcome, and exit codes say how it went."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stanchion.testing import OpenAIServer
from tests.cli.conftest import LETTERS, Stanchion, letter, letters, lines

ROOT = Path(__file__).parents[2]


def outcomes(runs: list[dict[str, str]]) -> dict[str, str]:
    """Each input's outcome, or its status where it has none."""
    return {run["input_id"]: run["outcome"] or run["status"] for run in runs}


def test_files_and_folders_are_run(stanchion: Stanchion, tmp_path: Path) -> None:
    """A file is one run, a folder one per file in it, in the order of names."""
    folder = letters(tmp_path, b="name: Bob\npages: 1", a="name: Ann\npages: 2")
    single = tmp_path / "single.txt"
    single.write_text("name: Sue\npages: 3")
    ended = stanchion("run", LETTERS, single, folder, "--json")

    assert ended.code == 0
    assert [run["input_id"] for run in ended.json] == ["single.txt", "a.txt", "b.txt"]
    assert [run["output"]["name"] for run in ended.json] == ["Sue", "Ann", "Bob"]


def test_json_lines_are_run_one_by_one(stanchion: Stanchion, tmp_path: Path) -> None:
    """Each line is a run under its own id, packed or not; a line that is no row is refused, and the next one runs."""
    plain = lines(tmp_path / "plain.jsonl", letter(1, "name: Ann\npages: 1"), {"nonsense": 1}, letter(2, "name: Bob"))
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(json.dumps(letter(3, "name: Cy\npages: 1")).encode()))
    ended = stanchion("run", LETTERS, plain, packed, "--json")

    assert outcomes(ended.json) == {
        "letter-1": "accepted",
        "plain.jsonl:2": "refused",
        "letter-2": "accepted",
        "letter-3": "accepted",
    }


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (b"name: Ann\npages: 1", {"stdin": "accepted"}),
        (json.dumps(letter(7, "name: Ann")).encode(), {"letter-7": "accepted"}),
        (b"", {"stdin": "refused"}),
    ],
    ids=["a document", "json lines", "nothing"],
)
def test_standard_input_is_run(stanchion: Stanchion, given: bytes, names: dict[str, str]) -> None:
    """`-` reads one document or JSON lines; nothing at all is a run that is refused."""
    ended = stanchion("run", LETTERS, "-", "--json", stdin=given)

    assert (ended.code, outcomes(ended.json)) == (0, names)


def test_what_cannot_be_used_is_refused_with_a_reason(stanchion: Stanchion, tmp_path: Path) -> None:
    """A missing path, a device and an empty folder each get an outcome and a reason; the good one runs; exit code 0."""
    good = tmp_path / "good.txt"
    good.write_text("name: Ann\npages: 1")
    (tmp_path / "empty").mkdir()
    ended = stanchion("run", LETTERS, "missing.txt", os.devnull, "empty", good, "--json")

    assert ended.code == 0
    assert outcomes(ended.json) == {
        "missing.txt": "refused",
        "null": "refused",
        "empty": "refused",
        "good.txt": "accepted",
    }
    reasons = [run["reason"] for run in ended.json[:3]]
    assert reasons == [
        "There is no such file or folder.",
        "It is no ordinary file but a device, a pipe or a socket.",
        "The folder holds no files.",
    ]


def test_a_defect_ends_with_exit_code_1(stanchion: Stanchion, tmp_path: Path) -> None:
    """A node that raises fails its own run, which the exit code tells, and no other."""
    path = lines(tmp_path / "two.jsonl", letter(1, "boom"), letter(2, "name: Ann\npages: 1"))
    ended = stanchion("run", LETTERS, path, "--json")

    assert ended.code == 1
    assert outcomes(ended.json) == {"letter-1": "failed", "letter-2": "accepted"}
    assert "Traceback" not in ended.err


def test_the_table_says_what_to_do_next(stanchion: Stanchion, tmp_path: Path) -> None:
    """Where somebody waits, the command that lists the questions is printed, with the database, ready to be pasted."""
    path = lines(tmp_path / "unsure.jsonl", letter(1, "name: Eve?\npages: 2"))
    ended = stanchion("run", LETTERS, path, "--db", "my runs.db")

    assert "1 run: 1 review." in ended.out
    assert ended.out.endswith("reviews --db 'my runs.db'\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["run", "no-such", "x"], "There is no workflow 'no-such'. Known here: receipts."),
        (["run", LETTERS], "Missing argument"),
        (["run", LETTERS, "x", "--concurrency", "0"], "0 is not in the range"),
        (["run", LETTERS, "x", "--model", "gibberish"], "gibberish"),
        (["run", LETTERS, "x", "--shrug"], "No such option"),
        (["sing"], "No such command"),
        (["prune", "--older-than", "soon"], "such as 90d, 12h or 4w; not 'soon'"),
        (["runs", "--limit", "0"], "0 is not in the range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_is_exit_code_2(stanchion: Stanchion, arguments: list[str], why: str) -> None:
    """What cannot be used is named on standard error, nothing stands on standard output, and nothing is run."""
    (Path.cwd() / "x").write_text("name: Ann")
    stanchion("run", LETTERS, "x")
    ended = stanchion(*arguments)

    assert (ended.code, ended.out) == (2, "")
    assert why in " ".join(ended.err.replace("│", " ").split())
    assert len(stanchion("runs", "--json").json) == 1


def test_a_database_that_is_none_is_exit_code_3(stanchion: Stanchion, tmp_path: Path) -> None:
    """A file that is no database, or a folder, is named in one line, and left as it was."""
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"no database at all" * 100)
    for path in (garbage, tmp_path):
        for command in (["run", LETTERS, "x"], ["runs"]):
            ended = stanchion(*command, "--db", path)
            assert (ended.code, ended.out) == (3, "")
            assert str(path) in ended.err
            assert "Traceback" not in ended.err
    assert garbage.read_bytes() == b"no database at all" * 100


def test_the_option_beats_the_environment_beats_the_default(
    stanchion: Stanchion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are kept where `--db` says, else where STANCHION_DB says, else in .stanchion/stanchion.db."""
    stanchion("run", LETTERS, "-", stdin=b"name: Default")
    monkeypatch.setenv("STANCHION_DB", "environment.db")
    stanchion("run", LETTERS, "-", stdin=b"name: Environment")
    stanchion("run", LETTERS, "-", "--db", "option.db", stdin=b"name: Option")

    for path, name in {
        ".stanchion/stanchion.db": "Default",
        "environment.db": "Environment",
        "option.db": "Option",
    }.items():
        (run,) = stanchion("runs", "--json", "--db", path).json
        assert run["output"] == {"name": name}
    (run,) = stanchion("runs", "--json").json
    assert run["output"] == {"name": "Environment"}


def test_nothing_to_resume_is_said(stanchion: Stanchion, waiting: dict[str, str]) -> None:
    """Runs that have ended or wait for a person are left alone, and that is no error."""
    ended = stanchion("resume")

    assert (ended.code, ended.out) == (0, "Nothing to resume.\n")
    assert stanchion("resume", waiting["run"], "--json").json == []


def test_an_interrupt_is_exit_code_130_and_resume_finishes(
    stanchion: Stanchion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a model thinks ends at once, without a traceback; the command that it prints finishes the runs."""
    texts = [f"CORNER SHOP {number}\nsomething 12.00\nsomething 13.50" for number in (1, 2)]  # no shared request
    path = lines(tmp_path / "two.jsonl", *(letter(number, text) for number, text in enumerate(texts, 1)))
    answer = '{"company": "CORNER SHOP", "date": null, "total": "13.50"}'
    with OpenAIServer(lambda _request: answer) as server:
        server.hold()
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        process = subprocess.Popen(
            [sys.executable, "-m", "stanchion.cli", "run", "receipts", str(path), "--model", "openai:gpt-4o"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )
        assert server.wait_for(2, timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        server.release()

        assert (process.returncode, out) == (130, "")
        assert "Traceback" not in err
        assert err.rstrip().endswith("stanchion.cli resume")
        assert outcomes(stanchion("runs", "--json").json) == {"letter-1": "queued", "letter-2": "queued"}

        resumed = stanchion("resume", "--json")

    assert (resumed.code, outcomes(resumed.json)) == (0, {"letter-1": "waiting", "letter-2": "waiting"})
    assert [run["output"]["total"] for run in resumed.json] == ["13.50", "13.50"]


def test_a_defect_of_ours_is_one_line_without_content(
    stanchion: Stanchion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw names its type and place, not the document; a variable shows the traceback."""
    from stanchion.runs import inputs

    def broken(*_: object, **__: object) -> None:
        raise KeyError("the content of a letter")

    monkeypatch.setattr(inputs, "read_inputs", broken)
    ended = stanchion("run", LETTERS, str(tmp_path))

    assert (ended.code, ended.out) == (1, "")
    assert "KeyError in test_run.py" in ended.err
    assert "content of a letter" not in ended.err


def test_one_workflow_that_cannot_be_loaded_does_not_hold_up_the_others(stanchion: Stanchion, tmp_path: Path) -> None:
    """`resume` goes on with the rest, and says at the end what could not be resumed."""
    path = lines(tmp_path / "unsure.jsonl", letter(1, "name: Eve?\npages: 2"))
    (run,) = stanchion("run", LETTERS, path, "--json").json
    with sqlite3.connect(tmp_path / ".stanchion" / "stanchion.db") as other:
        other.execute("UPDATE runs SET status = 'queued', outcome = NULL, owner = NULL")
        columns = "id, workflow, reference, version, model, prompts, input_id, input, status, created_at"
        values = ("gone", "gone", "gone:workflow", "1", "none", "{}", "x", "{}", "queued", "2024-01-01T00:00:00+00:00")
        other.execute(f"INSERT INTO runs ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    ended = stanchion("resume")

    assert ended.code == 2
    assert "module gone cannot be imported" in ended.err
    assert run["id"][:8] in ended.out
