"""`stanchion console`: what it refuses before anything is opened, and what it hands to Streamlit."""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stanchion.store import Database
from tests.cli.conftest import Stanchion

GOOD = """[auth]
redirect_uri = "https://console.example.com/oauth2callback"
cookie_secret = "forty characters that nobody can guess.."
client_id = "a"
client_secret = "b"
server_metadata_url = "https://login.example.com/.well-known/openid-configuration"
"""


@pytest.fixture
def become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What this process would have become; and a database in its folder."""
    Database(tmp_path / "runs.db").close()
    monkeypatch.setenv("STANCHION_DB", "runs.db")
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *how: became.append(how))
    return became


def share(folder: Path, secrets: str = GOOD, people: str = '[people]\n"ann@example.com" = ["operator"]\n') -> None:
    """Set up what a shared console needs."""
    (folder / ".streamlit").mkdir(exist_ok=True)
    (folder / ".streamlit/secrets.toml").write_text(secrets, encoding="utf-8")
    (folder / "stanchion.toml").write_text(people, encoding="utf-8")


def test_it_becomes_streamlit_on_this_machine_only(stanchion: Stanchion, become: list[Any], tmp_path: Path) -> None:
    """By default it listens to this machine only, acts as its user, sends nothing out and exports no formula."""
    assert stanchion("console", "--no-browser").code == 0
    ((_, arguments, environment),) = become
    for flag in (
        "server.address=127.0.0.1",
        "server.headless=true",
        "browser.gatherUsageStats=false",
        "client.disableDataExport=true",
        "client.showErrorDetails=none",
        "server.enableXsrfProtection=true",
        "server.enableAgentApi=false",
        "server.trustedUserHeaders={}",
        "server.allowedHosts=127.0.0.1",
    ):
        assert f"--{flag}" in arguments
    assert environment["STANCHION_DB"] == str(tmp_path / "runs.db")
    assert environment["STANCHION_CONSOLE"] == "local"


def test_a_shared_one_takes_logins(stanchion: Stanchion, become: list[Any], tmp_path: Path) -> None:
    """With logins and roles set up, it may listen to other machines, under the name that logins come back to."""
    share(tmp_path)
    assert stanchion("console", "--shared", "--address", "0.0.0.0").code == 0
    ((_, arguments, environment),) = become
    assert environment["STANCHION_CONSOLE"] == "shared"
    assert "--server.allowedHosts=console.example.com" in arguments
    assert f"--secrets.files={tmp_path / '.streamlit/secrets.toml'}" in arguments


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.2", "::", "example.com", ""])
def test_other_machines_take_a_login(stanchion: Stanchion, become: list[Any], address: str) -> None:
    """Without logins, no other machine is listened to: whoever came would act as you."""
    ended = stanchion("console", "--address", address)
    assert ended.code == 2
    assert "--shared" in ended.err
    assert not become


@pytest.mark.parametrize(
    ("secrets", "people", "named"),
    [
        ("", '[people]\n"a@b.c" = ["viewer"]\n', "redirect_uri"),
        (GOOD.replace("client_secret", "client_secrets"), '[people]\n"a@b.c" = ["viewer"]\n', "client_secret"),
        (GOOD.replace("forty characters that nobody can guess..", "short"), '[people]\n"a@b.c" = ["viewer"]\n', "32"),
        (GOOD.replace("/oauth2callback", "/"), '[people]\n"a@b.c" = ["viewer"]\n', "/oauth2callback"),
        (GOOD.replace("https://console.example.com", ""), '[people]\n"a@b.c" = ["viewer"]\n', "whole address"),
        (GOOD, "", "[people]"),
        (GOOD, '[people]\n"a@b.c" = "viewer"\n', "list of roles"),
        ("[auth\n", '[people]\n"a@b.c" = ["viewer"]\n', "TOML"),
    ],
)
def test_a_shared_one_needs_logins_and_roles(
    stanchion: Stanchion, become: list[Any], tmp_path: Path, secrets: str, people: str, named: str
) -> None:
    """What is missing for logins, or could be guessed, is named, and nothing is opened; no secret is shown."""
    share(tmp_path, secrets, people)
    ended = stanchion("console", "--shared")
    assert ended.code == 2
    assert named in ended.err
    assert "guess.." not in ended.err
    assert not become


def test_a_shared_one_without_secrets_says_where_they_stand(stanchion: Stanchion, become: list[Any]) -> None:
    """Where there is no file of secrets, the message says which one is needed."""
    assert ".streamlit/secrets.toml" in stanchion("console", "--shared").err
    assert not become


@pytest.mark.parametrize("package", ["streamlit", "authlib"])
def test_a_missing_package_is_named_with_its_extra(
    stanchion: Stanchion, become: list[Any], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """Without Streamlit, or without Authlib for logins, the extra that brings them is named."""
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    ended = stanchion("console", "--shared")
    assert ended.code == 2
    assert "stanchion[ui]" in ended.err
    assert package in ended.err


def test_a_port_that_is_taken_is_named(stanchion: Stanchion, become: list[Any]) -> None:
    """A port that somebody else listens at is refused at once, by name."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert str(port) in stanchion("console", "--port", port).err
    assert not become


def test_a_database_must_be_there(stanchion: Stanchion, become: list[Any]) -> None:
    """A database that does not exist is refused, since nobody wants to look at a new one by mistake."""
    assert stanchion("console", "--db", "elsewhere.db").code == 3
    assert not become


@pytest.mark.parametrize("foreign", [False, True])
def test_a_file_that_is_no_database_of_ours_is_refused(
    stanchion: Stanchion, become: list[Any], tmp_path: Path, foreign: bool
) -> None:
    """A file of junk, or the database of another program, is refused before anything is opened, and left as it is."""
    path = tmp_path / "junk.db"
    if foreign:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE songs (title TEXT)")
        connection.commit()
        connection.close()
    else:
        path.write_text("junk", encoding="utf-8")
    before = path.read_bytes()
    ended = stanchion("console", "--db", "junk.db")
    assert ended.code == 3
    assert "junk.db" in ended.err
    assert path.read_bytes() == before
    assert not become
