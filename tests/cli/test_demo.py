"""`stanchion demo`: the first thing that anybody sees."""

from __future__ import annotations

import contextlib
import io
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from stanchion.cli import main
from tests.cli.conftest import Stanchion

pytestmark = pytest.mark.xdist_group("demo")


class Demo(NamedTuple):
    """Where the demo ran, and what it printed."""

    folder: Path
    out: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo on a screen of 80 columns, its database in a folder whose name needs quotes."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        patch.setattr(sys, "argv", ["stanchion", "demo", "--db", "it's here/demo.db"])
        with pytest.raises(SystemExit, match=r"^0$"):
            main()
    return Demo(folder, printed.getvalue())


def test_every_way_to_an_outcome_is_shown(demo: Demo) -> None:
    """One table of lines no longer than the screen: accepted by rules, model, repair and fallback, review, refused."""
    table = demo.out.split("\n\n")[0].splitlines()

    assert max(map(len, table)) <= 80
    for way in ("by rules", "by model", "by repair", "by fallback"):
        assert any("✓ accepted" in line and way in line for line in table)
    assert any("? review" in line for line in table)
    assert any("– refused" in line for line in table)
    assert "! failed" not in demo.out


def test_the_next_commands_can_be_pasted(demo: Demo, stanchion: Stanchion, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command stands on a line of its own, names the database, and works."""
    monkeypatch.chdir(demo.folder)
    show, reviews = [shlex.split(line) for line in demo.out.splitlines() if line.startswith("  ")][-2:]
    shown = stanchion(*show[show.index("show") :])
    listed = stanchion(*reviews[reviews.index("reviews") :])

    assert (shown.code, listed.code) == (0, 0)
    assert "intake → rules" in shown.out
    assert "at stake" in listed.out


def test_cost_and_database_are_named(demo: Demo) -> None:
    """The demo says what it cost, and where its runs are."""
    assert "It cost nothing" in demo.out
    assert "The database: it's here/demo.db" in demo.out


def test_the_demo_for_programs(stanchion: Stanchion, tmp_path: Path) -> None:
    """One JSON list of its runs; by default they stand in the demo's own database."""
    runs = stanchion("demo", "--json").json

    assert len(runs) >= 30
    assert (tmp_path / ".stanchion" / "demo.db").exists()
