"""What the tests of the command line share: commands run in this process, in an empty folder, with their output."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stanchion.cli import main

LETTERS = "tests.cli.letters:workflow"


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, all of it, as one JSON document."""
        return json.loads(self.out)


Stanchion = Callable[..., Ended]


@pytest.fixture
def stanchion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stanchion:
    """Run `stanchion ARGUMENTS…` in an empty folder; output is no terminal, 120 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def command(*arguments: object, stdin: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "argv", ["stanchion", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code or 0
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return command


def letters(folder: Path, **texts: str) -> Path:
    """Write letters, one file each, into a new folder `letters`."""
    made = folder / "letters"
    made.mkdir()
    for name, text in texts.items():
        (made / f"{name}.txt").write_text(text, encoding="utf-8")
    return made


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def letter(number: int, text: str, **more: Any) -> dict[str, Any]:
    """A row of a dataset of letters."""
    return {"id": f"letter-{number}", "input": {"text": text}, **more}


@pytest.fixture
def waiting(stanchion: Stanchion, tmp_path: Path) -> dict[str, Any]:
    """A run in the default database that waits for a person, and its review."""
    path = lines(tmp_path / "unsure.jsonl", letter(1, "name: Eve?\npages: 2"))
    (run,) = stanchion("run", LETTERS, path, "--json").json
    (review,) = stanchion("reviews", "--json").json
    return {"run": run["id"], "review": review["id"]}
