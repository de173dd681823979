"""`stanchion policy`: what is in force, and where each value comes from."""

from __future__ import annotations

from pathlib import Path

from stanchion.guards.limits.policy import Policy
from stanchion.guards.limits.policy_files import values_in_force
from tests.cli.conftest import LETTERS, Stanchion


def test_every_value_is_shown_with_its_origin(stanchion: Stanchion, tmp_path: Path) -> None:
    """One line for each key, as a policy file would write it."""
    (tmp_path / "stanchion.toml").write_text('[all.money]\nday = "$5"\n[workflow.letters.rates."*"]\nin_flight = 4\n')
    ended = stanchion("policy", LETTERS)
    lines = [line.split(maxsplit=2) for line in ended.out.splitlines()]

    assert ended.code == 0
    assert ["money.day", "$5.00", "stanchion.toml [all]"] in [[part.strip() for part in line] for line in lines]
    assert ["money.run", "–", "default"] in [[part.strip() for part in line] for line in lines]
    assert {line[0] for line in lines} >= values_in_force(Policy()).keys() - {"rates"}
    assert ended.err == ""


def test_programs_get_json(stanchion: Stanchion, tmp_path: Path) -> None:
    """Each key with its value and origin; null is no limit."""
    (tmp_path / "stanchion.toml").write_text('[all.time]\nrun = "90s"\n')
    shown = stanchion("policy", LETTERS, "--json").json

    assert shown["workflow"] == "letters"
    assert shown["policy"]["time.run"] == {"value": "90s", "from": "stanchion.toml [all]"}
    assert shown["policy"]["time.step"] == {"value": "90s", "from": "default, cut to time.run"}
    assert shown["policy"]["money.run"] == {"value": None, "from": "default"}


def test_a_bad_policy_ends_with_2_and_names_the_key(stanchion: Stanchion, tmp_path: Path) -> None:
    """Nothing is printed but the one line that says what to change."""
    (tmp_path / "stanchion.toml").write_text("[all.money]\nrun = 0.5\n")
    ended = stanchion("policy", LETTERS)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("stanchion: stanchion.toml [all] cannot be used: money.run takes US dollars")


def test_a_step_that_the_workflow_does_not_have_ends_with_2(stanchion: Stanchion, tmp_path: Path) -> None:
    """A budget under a mistyped name would hold nothing."""
    (tmp_path / "stanchion.toml").write_text('[workflow.letters.time.steps]\nmodle = "5s"\n')
    ended = stanchion("policy", LETTERS)

    assert ended.code == 2
    assert "time.steps.modle (stanchion.toml [workflow.letters]) names no step of the workflow" in ended.err


def test_limits_of_an_unknown_workflow_are_pointed_out(stanchion: Stanchion, tmp_path: Path) -> None:
    """The file may serve several projects, so it is a note; a mistyped name is seen all the same."""
    (tmp_path / "stanchion.toml").write_text('[workflow.lettres]\nmoney.run = "$1"\n[workflow.receipts]\n')
    ended = stanchion("policy", LETTERS)

    assert ended.code == 0
    assert ended.err == "Note: stanchion.toml has limits for workflows that are not known here: lettres.\n"
