"""`stanchion limits` and `stanchion breaker`: how things stand, and the operator's hand on a circuit breaker."""

from __future__ import annotations

from pathlib import Path

import pytest

from stanchion.testing import OpenAIServer, Reply
from tests.cli.conftest import Stanchion, letter, lines

MODEL = "openai:gpt-4o"
UNSURE = "CORNER SHOP\nsomething 12.00\nsomething 13.50"
ANSWER = '{"company": "CORNER SHOP", "date": "2024-03-01", "total": "13.50"}'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """A provider that answers, behind the model's usual string."""
    with OpenAIServer(lambda _body: Reply(ANSWER)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


def test_where_nobody_was_asked_that_is_said(stanchion: Stanchion, tmp_path: Path) -> None:
    """A database without a call has no table to show, and no error."""
    path = lines(tmp_path / "one.jsonl", {"id": "a", "input": {"text": " "}})
    stanchion("run", "receipts", path)

    assert stanchion("limits").out == "No model has been asked yet.\n"
    assert stanchion("limits", "--json").json == {"models": [], "spending": []}


def test_calls_and_money_are_shown(stanchion: Stanchion, server: OpenAIServer, tmp_path: Path) -> None:
    """Each model has its breaker and its last minute, each day what was spent."""
    stanchion("run", "receipts", lines(tmp_path / "one.jsonl", letter(1, UNSURE)), "--model", MODEL)
    told = stanchion("limits", "--json").json

    (model,) = told["models"]
    assert (model["model"], model["breaker"], model["in_flight"]) == (MODEL, "closed", 0)
    assert model["calls"] == server.count
    (day,) = told["spending"]
    assert (day["workflow"], float(day["reserved_usd"])) == ("receipts", 0.0)
    assert float(day["spent_usd"]) > 0
    shown = stanchion("limits").out
    assert MODEL in shown
    assert "closed" in shown


def test_an_operator_opens_a_breaker_and_releases_it(
    stanchion: Stanchion, server: OpenAIServer, tmp_path: Path
) -> None:
    """Forced open, no request leaves and the run takes its cheap edge, told by whom and why; released, they do."""
    path = lines(tmp_path / "one.jsonl", letter(1, UNSURE))
    stanchion("run", "receipts", lines(tmp_path / "none.jsonl", {"id": "a", "input": {"text": " "}}))
    opened = stanchion("breaker", MODEL, "--open", "--reason", "maintenance", "--by", "ada", "--json").json

    assert (opened["breaker"], opened["forced_by"], opened["reason"]) == ("open", "ada", "maintenance")
    stanchion("run", "receipts", path, "--model", MODEL)
    assert server.count == 0
    (run,) = [run for run in stanchion("runs", "--json").json if run["input_id"] != "a"]
    shown = stanchion("show", run["id"], "--json").json
    reasons = [verdict["reason"] for verdict in shown["verdicts"]]
    assert f"ada opened the circuit breaker of {MODEL}: maintenance" in reasons
    assert "ada: maintenance" in stanchion("limits").out

    stanchion("breaker", MODEL, "--release", "--reason", "over")
    stanchion("run", "receipts", path, "--model", MODEL)
    assert server.count > 0


@pytest.mark.parametrize(
    "arguments",
    [["--open"], ["--reason", "x"], ["--open", "--close", "--reason", "x"], ["--open", "--reason", " "]],
)
def test_a_breaker_is_not_forced_by_half_a_command(stanchion: Stanchion, tmp_path: Path, arguments: list[str]) -> None:
    """One way and a reason are asked for; anything else is wrong use and changes nothing."""
    stanchion("run", "receipts", lines(tmp_path / "one.jsonl", {"id": "a", "input": {"text": " "}}))
    refused = stanchion("breaker", MODEL, *arguments)

    assert refused.code == 2
    assert stanchion("limits", "--json").json["models"] == []
