"""The command that opens the console."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SECRETS = Path(".streamlit/secrets.toml")
LOGIN_KEYS = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
SHORTEST_SECRET = 32
"""Characters of the secret that login cookies are signed with: whoever guesses it is whoever they like."""

_ENTRY = Path(__file__).parents[1] / "ui" / "entry" / "stanchion_console.py"


def add_to(app: typer.Typer) -> None:
    """Add this command.

    Args:
        app: the command line.
    """
    app.command()(console)


def console(
    db: options.Db = None,
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="N", help="Where a browser finds it.")] = 8501,
    address: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Which address of this machine; other ones take --shared.")
    ] = "127.0.0.1",
    shared: Annotated[
        bool, typer.Option("--shared", help="For several people: each logs in, and has the roles of stanchion.toml.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open it in a browser.")] = False,
) -> None:
    """Open the console in a browser: what runs do, what waits for a person, what it costs; ends with Ctrl-C."""
    from stanchion.errors import UsageError

    path = options.existing_database(db).resolve()
    _check_packages(shared=shared)
    _check_database(path)
    if address not in LOOPBACK and not shared:
        raise UsageError(
            f"--address {address} would let everybody in who reaches this machine, to act as you. Give it "
            "--shared, so that people log in, or leave it out."
        )
    hosts = [_host_of(_check_login())] if shared else [*LOOPBACK, "[::1]"]
    _open_nothing_taken(address, port)
    environment = {**os.environ, "STANCHION_DB": str(path), "STANCHION_CONSOLE": "shared" if shared else "local"}
    arguments = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(_ENTRY),
        *_flags(address, port, hosts, headless=no_browser),
    ]
    sys.stdout.flush()
    os.execve(sys.executable, arguments, environment)  # noqa: S606 # the process becomes Streamlit: no child is left over


def _check_packages(*, shared: bool) -> None:
    from importlib.util import find_spec

    from stanchion.errors import MissingExtra

    for package in ("streamlit", "authlib") if shared else ("streamlit",):
        if find_spec(package) is None:
            raise MissingExtra(f"The console needs {package}: pip install 'stanchion[ui]'.")


def _check_database(path: Path) -> None:
    """Refuse a file that no page could read, before anything is opened.

    Raises:
        StoreError: it is no database, one of something else, or cannot be written to.
    """
    from stanchion.store import Database

    Database(path).close()


def _check_login() -> str:
    """Refuse a shared console that nobody could log in to, or anybody; return where logins come back to."""
    from stanchion.errors import UsageError
    from stanchion.operators_file import OPERATORS_FILE, read_toml
    from stanchion.people import read_people

    if not SECRETS.is_file():
        raise UsageError(f"--shared needs {SECRETS} with [auth]: {', '.join(LOGIN_KEYS)}. docs/console.md shows one.")
    login = read_toml(SECRETS).get("auth")
    if missing := [key for key in LOGIN_KEYS if not _text(login, key)]:
        raise UsageError(f"--shared needs [auth] in {SECRETS}, which lacks: {', '.join(missing)}.")
    if len(_text(login, "cookie_secret")) < SHORTEST_SECRET:
        raise UsageError(
            f"auth.cookie_secret in {SECRETS} must have at least {SHORTEST_SECRET} characters: "
            "whoever guesses it may log in as anybody."
        )
    if not _text(login, "redirect_uri").endswith("/oauth2callback"):
        raise UsageError(f"auth.redirect_uri in {SECRETS} must end with /oauth2callback.")
    if not read_people():
        raise UsageError(f"--shared lets in whom [people] in {OPERATORS_FILE} names, and it names nobody.")
    return _text(login, "redirect_uri")


def _text(table: Mapping[str, Any] | None, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _host_of(url: str) -> str:
    from urllib.parse import urlsplit

    from stanchion.errors import UsageError

    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise UsageError(
            f"auth.redirect_uri in {SECRETS} must be a whole address, such as https://HOST/oauth2callback."
        )
    return host


def _open_nothing_taken(address: str, port: int) -> None:
    import socket

    from stanchion.errors import UsageError

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address, port))
        except OSError as error:
            raise UsageError(
                f"{address}:{port} cannot be used ({error.strerror}): name another one with --port."
            ) from error


def _flags(address: str, port: int, hosts: list[str], *, headless: bool) -> list[str]:
    """Return Streamlit's options; what is safe or private is said aloud, so that no file of theirs undoes it."""
    fixed = {
        "server.address": address,
        "server.port": port,
        "server.headless": str(headless).lower(),
        "server.showEmailPrompt": "false",
        "server.fileWatcherType": "none",
        "server.enableCORS": "true",
        "server.enableXsrfProtection": "true",
        "server.enableStaticServing": "false",
        "server.enableAgentApi": "false",
        "server.trustedUserHeaders": "{}",  # a header is no login
        "server.maxUploadSize": 1,
        "browser.gatherUsageStats": "false",
        "client.disableDataExport": "true",  # its export writes formulas
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",  # they would ask a search engine
        "client.toolbarMode": "minimal",
        "secrets.files": SECRETS.resolve(),
        **_THEME,
    }
    flags = [f"--{name}={value}" for name, value in fixed.items()]
    return flags + [f"--server.allowedHosts={host}" for host in hosts]


_THEME = {
    "theme.light.primaryColor": "#1f5fbf",
    "theme.dark.primaryColor": "#2f74e0",
}
