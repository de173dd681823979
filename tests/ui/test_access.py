"""Who comes in to a shared console: whom a provider vouches for and stanchion.toml names; in doubt, nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stanchion.errors import NotAllowed, UsageError
from stanchion.people import read_people
from stanchion.ui import access
from tests.ui.pages import login, open_page, read, words

Put = Callable[[str], Path]
PEOPLE = '[people]\n"ann@example.com" = ["viewer"]\n"bob@example.com" = ["operator"]\n'
ANN = login("ann@example.com")
BOB = login("bob@example.com")
PAGES = ("home", "runs", "run", "compare", "reviews", "operations", "trail")


@pytest.fixture
def shared(database: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared console of two people, over a database that nobody may open before they are let in."""
    database("one")
    unopened = tmp_path / "unopened" / "runs.db"
    monkeypatch.setenv("STANCHION_DB", str(unopened))
    monkeypatch.setenv(access.MODE, "shared")
    (tmp_path / "stanchion.toml").write_text(PEOPLE, encoding="utf-8")
    return unopened


REFUSED: dict[str, dict[str, Any]] = {
    "no claims": {},
    "not logged in": {**ANN, "is_logged_in": False},
    "logged in by a word": {**ANN, "is_logged_in": "true"},
    "logged in by a number": {**ANN, "is_logged_in": 1},
    "no e-mail address": {"is_logged_in": True, "name": "ann@example.com", "sub": "ann@example.com"},
    "an empty address": login(" "),
    "an address that is a list": {**ANN, "email": ["ann@example.com"]},
    "an endless address": login("a" * 10_000),
    "control characters": login("ann@example.com\n"),
    "not verified": {**ANN, "email_verified": False},
    "verified by a word for no": {**ANN, "email_verified": "false"},
    "verified by nothing": {**ANN, "email_verified": None},
    "unknown": login("eve@example.com"),
    "unknown with roles": login("eve@example.com", roles=["operator"], role="operator"),
}


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("name", ["home", "runs"])
def test_whoever_is_in_doubt_stays_outside(shared: Path, name: str, claims: dict[str, Any]) -> None:
    """A page says that somebody may not come in, and nothing was read for them."""
    app = open_page(name, user=claims)
    assert len(app.error) == 1
    assert not app.exception
    assert not app.dataframe
    assert "slowest first" not in words(app)
    assert not app.caption
    assert not shared.exists()


@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_another_door(shared: Path, name: str) -> None:
    """Every page, also those that no menu shows, is behind the same door."""
    app = open_page(name, run="x", step="1", one="x", other="y", review="x")
    assert app.error[0].value == "Log in to use this console\\."
    assert not shared.exists()


@pytest.mark.parametrize(
    "claims", [ANN, {"is_logged_in": True, "email": "ANN@example.com"}, {**ANN, "email_verified": "true"}]
)
def test_who_is_vouched_for_and_named_comes_in(shared: Path, claims: dict[str, Any]) -> None:
    """A verified address that stanchion.toml names comes in, in any case of letters, with its roles."""
    app = open_page("runs", user=claims)
    assert not app.error
    assert "You act as ann@example.com" in words(app)
    assert shared.exists()


def test_the_page_at_the_door_says_whom_to_ask(shared: Path) -> None:
    """Who has no role is told that an operator gives one, and can log out to come as somebody else."""
    app = open_page(user=login("eve@example.com"))
    assert "an operator adds it to [people]" in read(app.error[0].value)
    assert [one.label for one in app.button] == ["Log out"]
    assert [one.label for one in open_page().button] == ["Log in"]


@pytest.mark.parametrize("table", ["[people\n", '[people]\n"bob@example.com" = "operator"\n', "people = 3\n"])
def test_a_broken_table_of_roles_lets_nobody_in(shared: Path, tmp_path: Path, table: str) -> None:
    """Where the roles cannot be read, nobody comes in, and a visitor reads nothing of others."""
    (tmp_path / "stanchion.toml").write_text(table, encoding="utf-8")
    app = open_page(user=ANN)
    assert "cannot be read, so nobody is let in" in read(app.error[0].value)
    assert "bob" not in words(app)
    assert not shared.exists()


def test_without_a_table_of_roles_nobody_comes_in(shared: Path, tmp_path: Path) -> None:
    """No stanchion.toml means no roles, never all of them."""
    (tmp_path / "stanchion.toml").unlink()
    assert "has no role here" in read(open_page(user=ANN).error[0].value)
    assert read_people(tmp_path) == {}


def test_a_person_who_may_not_look_sees_nothing(shared: Path, tmp_path: Path) -> None:
    """A role of one's own that does not include looking opens nothing."""
    (tmp_path / "stanchion.toml").write_text('[people]\n"ann@example.com" = ["treasurer"]\n', encoding="utf-8")
    assert "takes the role viewer" in read(open_page(user=ANN).error[0].value)
    assert not shared.exists()


def test_a_role_that_is_taken_away_is_gone_at_once(shared: Path, tmp_path: Path) -> None:
    """The table is read each time: who was let in before is shown the door on the next press."""
    app = open_page("operations", user=BOB)
    assert not app.error
    (tmp_path / "stanchion.toml").write_text('[people]\n"ann@example.com" = ["viewer"]\n', encoding="utf-8")
    assert "has no role here" in read(app.run().error[0].value)


def test_who_lost_their_role_reads_nothing_more(shared: Path, tmp_path: Path) -> None:
    """Fragments, callbacks and exports that outlive their page read the database through the same door."""
    console = _console_of(BOB)
    assert console.database is console.opened
    (tmp_path / "stanchion.toml").write_text('[people]\n"ann@example.com" = ["viewer"]\n', encoding="utf-8")
    with pytest.raises(NotAllowed, match="has no role here"):
        console.database  # noqa: B018


@pytest.mark.parametrize("name", ["runs", "trail"])
def test_an_export_asks_who_asks_for_it(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """An export runs without a session, long after its page: it still asks what its person may do now."""
    from importlib import import_module

    from stanchion.runs.finding import RunFilter

    wanted: Any = RunFilter() if name == "runs" else {"run": None, "by": None, "what": None}
    monkeypatch.setattr(access, "_claims", lambda: BOB)
    asking = _console_of(BOB).later()
    monkeypatch.setattr(access, "_claims", dict)  # as in the thread of an export
    export = import_module(f"stanchion.ui.{name}")._as_csv
    assert export(asking, wanted)
    (tmp_path / "stanchion.toml").write_text('[people]\n"ann@example.com" = ["viewer"]\n', encoding="utf-8")
    with pytest.raises(NotAllowed):
        export(asking, wanted)


def _console_of(claims: dict[str, Any]) -> access.Console:
    from stanchion.clock import SystemClock
    from stanchion.settings import read_settings
    from stanchion.store import Database
    from stanchion.ui.background import Background

    database = Database(read_settings().db)
    background = Background(database, SystemClock())
    return access.Console(database, lambda: access.person_of(claims), SystemClock(), True, background)


def test_logging_out_ends_the_login_in_every_window(shared: Path) -> None:
    """Another window of the same login is refused once one has logged out; a later login comes in."""
    login_of_today = {**ANN, "iat": 1, "nonce": "a"}
    one, other = open_page("runs", user=login_of_today), open_page("runs", user=login_of_today)
    (press,) = [button for button in one.button if button.label == "Log out"]
    press.click().run()
    assert "You logged out" in read(other.run().error[0].value)
    assert not open_page("runs", user={**ANN, "iat": 2, "nonce": "b"}).error


def test_a_provider_that_does_not_answer_is_said_with_a_way_back(shared: Path) -> None:
    """Where the provider cannot be reached, Log in says so on the page, and can be pressed again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = open_page()
    app.secrets["auth"] = {"server_metadata_url": f"http://127.0.0.1:{port}/.well-known/openid-configuration"}
    app.button[0].click().run()
    assert "does not answer" in read(app.error[1].value)
    assert [button.label for button in app.button] == ["Log in"]
    assert not app.exception


def test_who_is_turned_away_can_copy_their_address(shared: Path) -> None:
    """The address that an operator adds stands there without invisible marks, and so does who acts at the foot."""
    assert open_page(user=login("eve@example.com")).code[0].value == "eve@example.com"
    foot = "".join(part.proto.body for part in open_page("runs", user=ANN).get("html"))
    assert "You act as ann@example.com " in foot


def test_forged_addresses_and_sessions_make_nobody(shared: Path) -> None:
    """Neither a query string nor what a session holds makes anybody anybody."""
    app = open_page("operations", email="bob@example.com", by="bob@example.com", is_logged_in="true", user=ANN)
    for name in ("user", "person", "console", "email", "is_logged_in", access.MODE):
        app.session_state[name] = BOB
    app.run()
    assert "You act as ann@example.com" in words(app)
    assert not {one.label for one in app.button} & {"Pause a workflow", "Change a breaker"}


@pytest.mark.parametrize("mode", [None, "", "0", "1", "LOCAL", "true"])
def test_a_script_that_was_started_otherwise_lets_nobody_in(
    shared: Path, monkeypatch: pytest.MonkeyPatch, mode: str | None
) -> None:
    """Streamlit started on our script by hand says how to start it, whatever else the environment holds."""
    monkeypatch.delenv(access.MODE) if mode is None else monkeypatch.setenv(access.MODE, mode)
    assert "stanchion console" in words(open_page(user=BOB))
    assert not shared.exists()
    with pytest.raises(UsageError):
        access.enter()


def test_outside_of_a_session_nobody_is_anybody(shared: Path) -> None:
    """Without Streamlit's session there are no claims, and so nobody."""
    with pytest.raises(NotAllowed):
        access.enter()


# --- A real server: the cookie of a login, and what others make of it ---

SECRET = "a-cookie-secret-of-forty-characters-----"
SECRETS = """[auth]
redirect_uri = "{origin}/oauth2callback"
cookie_secret = "{secret}"
client_id = "console"
client_secret = "not one"
server_metadata_url = "https://127.0.0.1/.well-known/openid-configuration"
"""


class Server:
    """A shared console on a free port.

    Args:
        folder: with its secrets, roles and database.
    """

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        (folder / ".streamlit").mkdir()
        secrets = SECRETS.format(origin=self.origin, secret=SECRET)
        (folder / ".streamlit/secrets.toml").write_text(secrets, encoding="utf-8")
        (folder / "stanchion.toml").write_text(PEOPLE, encoding="utf-8")
        arguments = ["console", "--shared", "--no-browser", "--db", "one.db", "--port", str(self.port)]
        path = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stanchion.cli", *arguments],
            cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def wait(self) -> None:
        """Wait until it answers."""
        assert self.process.stdout is not None
        for written in self.process.stdout:  # it says so once it answers
            if b"URL:" in written:
                return
        raise AssertionError("the console did not start")

    def said_to(self, cookies: dict[str, str], *, origin: str | None = None, page: str = "operations") -> str:
        """Everything that a session with these cookies is shown."""
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
        from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string
        from websockets.sync.client import connect

        token = generate_xsrf_token_string()
        sent = "; ".join(f"{name}={value}" for name, value in {"_streamlit_xsrf": token, **cookies}.items())
        ask = BackMsg()
        ask.rerun_script.page_name = page
        parts: list[str] = []
        with connect(
            f"ws://127.0.0.1:{self.port}/_stcore/stream", origin=origin or self.origin, max_size=None,
            subprotocols=["streamlit", token],
            additional_headers={"Cookie": sent, "X-Streamlit-User": "bob@example.com"},
        ) as browser:  # fmt: skip
            browser.send(ask.SerializeToString())
            while True:
                message = ForwardMsg.FromString(browser.recv(timeout=60))
                parts.append(message.SerializeToString().decode("utf-8", "ignore"))  # texts stand in it as they are
                if message.WhichOneof("type") == "script_finished":
                    return read("".join(parts))


def cookie(claims: dict[str, Any], origin: str, secret: str = SECRET) -> dict[str, str]:
    """The cookie that Streamlit sets at the end of a login."""
    from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

    value = json.dumps({"origin": origin, **claims})
    return {"_streamlit_user": create_signed_value(secret, "_streamlit_user", value).decode()}


@pytest.fixture(scope="module")
def server(kept: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A shared console, started as people start it."""
    from stanchion.store import Database

    folder = tmp_path_factory.mktemp("shared")
    source = Database(kept["one"])
    source.backup(folder / "one.db")
    source.close()
    started = Server(folder)
    try:
        started.wait()
        yield started
    finally:
        started.process.terminate()
        started.process.wait(20)


def test_a_login_comes_in_over_the_network(server: Server) -> None:
    """The signed cookie of a login makes its person, with their roles."""
    said = server.said_to(cookie(BOB, server.origin))
    assert "You act as bob@example.com" in said
    assert "Change a breaker" in said
    said = server.said_to(cookie(ANN, server.origin))
    assert "You act as ann@example.com" in said
    assert "Change a breaker" not in said


def test_forged_logins_stay_outside(server: Server) -> None:
    """A cookie signed with another secret, altered, unsigned, of another origin or none at all lets nobody in."""
    true = cookie(ANN, server.origin)["_streamlit_user"]
    forged = {
        "none": {},
        "another secret": cookie(BOB, server.origin, "another-secret-of-forty-characters------"),
        "altered": {"_streamlit_user": true[:20] + ("A" if true[20] != "A" else "B") + true[21:]},
        "unsigned": {"_streamlit_user": json.dumps({"origin": server.origin, **BOB}).replace('"', "%22")},
        "another origin": cookie(BOB, "http://evil.test"),
        "not logged in": cookie({**BOB, "is_logged_in": False}, server.origin),
    }
    for how, cookies in forged.items():
        said = server.said_to(cookies)
        assert "Log in to use this console" in said, how
        assert "You act as" not in said, how
        assert "letters" not in said, how


def test_another_site_cannot_speak_for_who_is_logged_in(server: Server) -> None:
    """A page of another site that opens a connection with somebody's cookies is refused."""
    from websockets.exceptions import WebSocketException

    with pytest.raises(WebSocketException):
        server.said_to(cookie(BOB, server.origin), origin="http://evil.test")
