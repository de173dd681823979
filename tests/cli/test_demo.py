"""`stanchion demo`: the first thing that anybody sees."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Ended, Stanchion

pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture
def demo(stanchion: Stanchion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ended:
    """The demo on a screen of 80 columns, with its database in a folder whose name needs quotes."""
    monkeypatch.setenv("COLUMNS", "80")
    return stanchion("demo", "--db", "it's here/demo.db")


def test_every_way_to_an_outcome_is_shown(demo: Ended) -> None:
    """One table of lines no longer than the screen: accepted by rules, model, repair and fallback, review, refused."""
    table = demo.out.split("\n\n")[0].splitlines()

    assert demo.code == 0
    assert max(map(len, table)) <= 80
    for way in ("by rules", "by model", "by repair", "by fallback"):
        assert any("✓ accepted" in line and way in line for line in table)
    assert any("? review" in line for line in table)
    assert any("– refused" in line for line in table)
    assert "! failed" not in demo.out


def test_the_next_commands_can_be_pasted(demo: Ended, stanchion: Stanchion) -> None:
    """Each command stands on a line of its own, names the database, and works."""
    commands = [shlex.split(line) for line in demo.out.splitlines() if line.startswith("  ")][-2:]

    arguments = [command[command.index(name) :] for command, name in zip(commands, ("show", "reviews"), strict=True)]
    shown, listed = (stanchion(*given) for given in arguments)
    assert (shown.code, listed.code) == (0, 0)
    assert "path     intake → rules" in " ".join(shown.out.split("\n"))
    assert "Is this what the receipt says?" in listed.out


def test_cost_and_database_are_named(demo: Ended) -> None:
    """The demo says what it cost, and where its runs are."""
    assert "It cost nothing" in demo.out
    assert "The database: it's here/demo.db" in demo.out


def test_the_demo_for_programs(stanchion: Stanchion, tmp_path: Path) -> None:
    """One JSON list of its runs; by default they stand in the demo's own database."""
    runs = stanchion("demo", "--json").json

    assert len(runs) >= 30
    assert (tmp_path / ".stanchion" / "demo.db").exists()
