"""`stanchion erase`, `prune` and `backup`: what a database holds is its owner's to forget and to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.conftest import Stanchion


def test_erasing_keeps_that_it_happened(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """The content is gone, the run is still listed, and its question can no longer be answered."""
    ended = stanchion("erase", waiting["run"][:8], "--json")

    (erased,) = ended.json
    assert (ended.code, erased["id"], erased["output"]) == (0, waiting["run"], None)
    assert erased["erased_at"] is not None
    assert "Eve" not in stanchion("show", waiting["run"]).out
    assert stanchion("review", waiting["review"], "--approve").code == 2


def test_erasing_says_what_it_did(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """A person is told which run, and that backups are another matter."""
    assert stanchion("erase", waiting["run"]).out == (
        f"Erased what the run {waiting['run']} held. Backups made before still hold it.\n"
    )


def test_pruning_deletes_what_ended_long_ago(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """Only runs that have ended are old; at an age of nothing every one of them is."""
    stanchion("run", "tests.cli.letters:workflow", "-", stdin=b"name: Ann\npages: 1")

    assert stanchion("prune", "--older-than", "1d").out == "Deleted 0 runs.\n"
    assert stanchion("prune", "--older-than", "0m", "--json").json == {"pruned": 1}
    assert [run["id"] for run in stanchion("runs", "--json").json] == [waiting["run"]]


def test_a_backup_is_a_database_of_its_own(stanchion: Stanchion, waiting: dict[str, Any], tmp_path: Path) -> None:
    """The copy holds the same runs, and a file that exists is never overwritten."""
    made = stanchion("backup", "copy.db", "--json")

    assert (made.code, made.json) == (0, {"backup": "copy.db"})
    assert stanchion("runs", "--db", "copy.db", "--json").json == stanchion("runs", "--json").json
    before = (tmp_path / "copy.db").read_bytes()
    again = stanchion("backup", "copy.db")
    assert (again.code, again.out) == (3, "")
    assert (tmp_path / "copy.db").read_bytes() == before


def test_a_backup_over_another_database_leaves_its_trail_alone(
    stanchion: Stanchion, waiting: dict[str, Any], tmp_path: Path
) -> None:
    """Its key and head are as they were, so that what was decided in it still reads as it was written."""
    stanchion("backup", "other.db")
    assert stanchion("review", waiting["review"], "--approve", "--db", "other.db").code == 0
    files = {file: file.read_bytes() for file in (tmp_path / "other.db.trail").iterdir()}
    assert len(files) > 1

    assert stanchion("backup", "other.db").code == 3
    assert {file: file.read_bytes() for file in (tmp_path / "other.db.trail").iterdir()} == files
    assert stanchion("trail", "verify", "--db", "other.db").code == 0


def test_erasing_what_was_made_from_a_pruned_run(stanchion: Stanchion, waiting: dict[str, Any]) -> None:
    """The pruned run's own id still reaches it, and what is said tells the two apart."""
    why = ("--reason", "again")
    assert stanchion("rerun", waiting["run"], *why).code == 0
    assert stanchion("cancel", waiting["run"], *why).code == 0
    assert stanchion("prune", "--older-than", "0m", "--json").json == {"pruned": 1}

    ended = stanchion("erase", waiting["run"])
    assert ended.out == f"The run {waiting['run']} was pruned before; erased what the 1 made from it held.\n"
