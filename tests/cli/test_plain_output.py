"""What documents hold never commands a terminal, and what programs read is one JSON document and nothing else."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.cli import app, output
from tests.cli.conftest import LETTERS, Stanchion, lines

ROOT = Path(__file__).parents[2]
NASTY = "[red]\x1b[31mEve\x1b]0;owned\x07\x9b2J\u202egnp\x7f[/red]"
WITHOUT = {"graph", "corrections", "work", "console"}  # two print what programs read already; two run until stopped
HEAVY = ["langgraph", "langchain", "langchain_core", "guardrails", "pandas", "sqlite_utils", "pydantic"]


@pytest.fixture
def nasty(stanchion: Stanchion, tmp_path: Path) -> dict[str, Any]:
    """A run whose input, value and question hold what terminals obey."""
    written = NASTY.encode("unicode_escape").decode()
    path = lines(tmp_path / "nasty.jsonl", {"id": f"id{NASTY}", "input": {"text": f"name: {written}?\npages: 1"}})
    (run,) = stanchion("run", LETTERS, path, "--json").json
    return dict(run)


def test_nothing_in_a_document_reaches_the_terminal(
    stanchion: Stanchion, nasty: dict[str, Any], tmp_path: Path
) -> None:
    """Tables and JSON hold only printable characters and line ends, and markup is shown as it was written."""
    assert "\x1b" in nasty["output"]["name"]
    commands: list[list[object]] = [
        ["run", LETTERS, tmp_path / "nasty.jsonl"],
        ["runs"],
        ["show", nasty["id"]],
        ["reviews"],
        ["review", nasty["id"], "--edit", f"name={NASTY}", "--by", NASTY],
        ["show", nasty["id"]],
        ["review", nasty["id"], "--approve"],
    ]
    for command in commands:
        for form in ([], ["--json"]):
            ended = stanchion(*command, *form)
            said = ended.out + ended.err
            assert all(character.isprintable() or character == "\n" for character in said), command
    assert "[red]" in stanchion("runs").out


def test_every_command_that_a_program_might_read_takes_json() -> None:
    """All commands that answer and end have `--json`."""
    without = {
        command.callback.__name__
        for command in app.registered_commands
        if command.callback and "as_json" not in inspect.signature(command.callback).parameters
    }

    assert without == WITHOUT


@given(st.text(st.characters(exclude_categories=()), max_size=100), st.integers(2, 50))
def test_a_cell_is_one_printable_line(text: str, longest: int) -> None:
    """Whatever the text, a cell holds printable characters only and is never longer than asked."""
    cell = output.plain(text, longest=longest)

    assert cell.isprintable()
    assert 1 <= len(cell) <= longest


@given(st.text(max_size=100))
def test_json_is_ascii_and_reads_back_the_same(text: str) -> None:
    """What is printed holds nothing but printable ASCII, and means exactly what it was made of."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        output.print_json({"text": text})
    printed = stdout.getvalue()

    assert printed.isascii()
    assert printed.replace("\n", "").isprintable()
    assert json.loads(printed) == {"text": text}


def test_help_is_answered_without_loading_what_runs_workflows(tmp_path: Path) -> None:
    """`stanchion --help` in a fresh process lists the commands; what takes seconds to import is not imported."""
    program = f"""
import sys
from stanchion.cli import main
print([name for name in {[*HEAVY, "rich.table"]} if name in sys.modules], file=sys.stderr)
try:
    main()
finally:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "[]\n[]\n")
    for command in app.registered_commands:
        name = command.name or (command.callback and command.callback.__name__)
        assert f"│ {name} " in done.stdout
