"""`stanchion limits` and `stanchion breaker`: how things stand, and the operator's hand on a circuit breaker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stanchion.cli import output
from stanchion.testing import OpenAIServer, Reply
from tests.cli.conftest import Stanchion, letter, lines

MODEL = "openai:gpt-4o"
UNSURE = "CORNER SHOP\nsomething 12.00\nsomething 13.50"
ANSWER = '{"company": "CORNER SHOP", "date": "2024-03-01", "total": "13.50"}'


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
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

    released = stanchion("breaker", MODEL, "--release", "--reason", "over", "--json").json
    assert (released["breaker"], released["forced"], released["forced_by"]) == ("closed", False, None)
    assert released != stanchion("breaker", MODEL, "--close", "--reason", "over", "--json").json
    stanchion("breaker", MODEL, "--release", "--reason", "over")
    assert "forced" not in stanchion("limits").out
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


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "names no model"),
        ("  ", "names no model"),
        ("none", "names no model"),
        ("(object)", "names no model"),
        (f"{MODEL} (object)", f"use '{MODEL}'"),
    ],
)
def test_a_name_that_no_breaker_has_is_refused(stanchion: Stanchion, tmp_path: Path, name: str, told: str) -> None:
    """Nothing is forced under a name that no call will ever bear; an object's goes without its mark."""
    stanchion("run", "receipts", lines(tmp_path / "one.jsonl", {"id": "a", "input": {"text": " "}}))
    refused = stanchion("breaker", name, "--open", "--reason", "x")

    assert refused.code == 2
    assert told in " ".join(refused.err.split())
    assert stanchion("limits", "--json").json["models"] == []


def test_a_model_that_was_never_asked_is_pointed_out(stanchion: Stanchion, tmp_path: Path) -> None:
    """It is done, and standard error says that nobody knows the name, and which names are known."""
    stanchion("run", "receipts", lines(tmp_path / "one.jsonl", {"id": "a", "input": {"text": " "}}))
    first = stanchion("breaker", MODEL, "--open", "--reason", "x")
    typo = stanchion("breaker", f"{MODEL}x", "--open", "--reason", "x")
    again = stanchion("breaker", MODEL, "--close", "--reason", "x")

    assert (first.code, typo.code) == (0, 0)
    assert "No model is known yet." in first.err
    assert f"{MODEL}x was never asked" in typo.err
    assert f"Known are: {MODEL}." in typo.err
    assert again.err == ""


def test_releasing_what_nobody_forced_changes_nothing(stanchion: Stanchion, tmp_path: Path) -> None:
    """No row is made for it, and that is said."""
    stanchion("run", "receipts", lines(tmp_path / "one.jsonl", {"id": "a", "input": {"text": " "}}))
    released = stanchion("breaker", MODEL, "--release", "--reason", "x")

    assert (released.code, "was not forced" in released.out) == (0, True)
    assert stanchion("limits", "--json").json["models"] == []


@pytest.mark.parametrize("columns", [50, 80, 120])
def test_a_models_name_is_never_cut(
    stanchion: Stanchion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """However narrow the screen, a name that is to be typed again stands there whole; without money, no table of it."""
    stanchion("run", "receipts", lines(tmp_path / "one.jsonl", {"id": "a", "input": {"text": " "}}))
    name = "anthropic:claude-3-5-haiku-20241022"
    stanchion("breaker", name, "--open", "--reason", "maintenance", "--by", "ada")
    monkeypatch.setattr(output, "WIDTH_OF_FILES", columns)

    shown = stanchion("limits").out
    assert any(line.split()[:1] == [name] for line in shown.splitlines())
    assert re.search(rf"{name} is open since \d{{4}}-\d\d-\d\d \d\d:\d\d UTC, forced by ada: maintenance", shown)
    assert "spent" not in shown


def test_show_names_the_tenant_and_what_was_unusual_of_a_call(
    stanchion: Stanchion, server: OpenAIServer, tmp_path: Path
) -> None:
    """The run says for whom it was made, and a call's remark is a sentence, with the cap's own after it."""
    (tmp_path / "stanchion.toml").write_text('[all.money]\nrun = "$1"\nsoft = "1%"\nat_soft = "cheaper"\n')
    path = lines(tmp_path / "one.jsonl", letter(1, UNSURE))
    (run,) = stanchion("run", "receipts", path, "--model", MODEL, "--tenant", "acme", "--json").json
    shown = " ".join(stanchion("show", run["id"]).out.split())

    assert "tenant acme outcome" in shown
    assert (
        f"The call of model to {MODEL} was answered. More than 1% of money.run ($1.00) is spent or reserved." in shown
    )


def test_a_failed_call_is_told_with_its_kind(
    stanchion: Stanchion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """How many requests it took and how it ended is one sentence."""
    (tmp_path / "stanchion.toml").write_text('[all.retry]\nfirst = "1ms"\n')
    path = lines(tmp_path / "one.jsonl", letter(1, UNSURE))
    with OpenAIServer(lambda _body: Reply(status=503)) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        (run,) = stanchion("run", "receipts", path, "--model", MODEL, "--json").json
    shown = " ".join(stanchion("show", run["id"]).out.split())

    assert f"The call of model to {MODEL} took 3 requests and failed (overloaded)." in shown
    assert "tenant" not in shown


@pytest.mark.parametrize("name", [MODEL, "gpt-4o"])
def test_a_missing_key_is_named(
    stanchion: Stanchion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Where only the key is missing, the message names its variable and doubts nothing else."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = lines(tmp_path / "one.jsonl", letter(1, UNSURE))
    refused = stanchion("run", "receipts", path, "--model", name)

    assert refused.code == 2
    assert "Set OPENAI_API_KEY" in refused.err
    assert "It should be" not in refused.err
