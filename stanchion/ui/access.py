"""Who is at the console, and what they were let in to.

A console for yourself acts as the operating-system user. A shared one lets in whom an identity provider vouches for and
`[people]` of `stanchion.toml` names; whatever is missing or in doubt, nobody comes in, and nothing is read.
"""

from __future__ import annotations

import gc
import getpass
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from stanchion.clock import Clock, SystemClock
from stanchion.errors import NotAllowed, UsageError
from stanchion.people import LONGEST_NAME, Person, logged_in
from stanchion.settings import read_settings
from stanchion.store import Database
from stanchion.ui.background import Background

MODE = "STANCHION_CONSOLE"
"""The environment variable by which `stanchion console` says how it was started: `local` or `shared`."""


MOST_LOGGED_OUT = 10_000
PATIENCE = 5.0  # seconds


@dataclass(frozen=True)
class Console:
    """What every page is given.

    Args:
        opened: one database for each process; pages read it as `database`, which asks first who reads.
        who: says who acts, or raises.
        clock: for the present time.
        shared: several people come here, each with a login.
        background: lets runs go on while nobody waits.
    """

    opened: Database
    who: Callable[[], Person]
    clock: Clock
    shared: bool
    background: Background

    @property
    def person(self) -> Person:
        """Who acts; asked anew each time, so that a role that was taken away is gone at once.

        Raises:
            NotAllowed: nobody is logged in any more, or they have no role any more.
        """
        return self.who()

    @property
    def database(self) -> Database:
        """The database, for who may look at it now: a fragment, a callback or an export may run long after its page.

        Raises:
            NotAllowed: nobody is logged in any more, or they may not look any more.
        """
        self.person.must("viewer", "look at this console")
        return self.opened

    def later(self) -> Console:
        """Return this console for work without a session, such as an export: it still asks what its person may do."""
        if not self.shared:
            return self
        claims = _claims()
        return replace(self, who=lambda: person_of(claims))


def enter() -> Console:
    """Let in who is at the door; nothing is read for anybody else.

    Raises:
        NotAllowed: they may not come in; the message says why, and whom to ask.
        UsageError: the console was not started by `stanchion console`.
        StoreError: the database cannot be used.
    """
    mode = os.environ.get(MODE)
    if mode not in ("local", "shared"):
        raise UsageError("Start the console with `stanchion console`: started otherwise, it lets nobody in.")
    who = _system_user if mode == "local" else _visitor
    who()
    database, background = _opened(str(read_settings().db.resolve()))
    return Console(database, who, SystemClock(), mode == "shared", background)


def takes_logins() -> bool:
    """Say whether this console was started for several people."""
    return os.environ.get(MODE) == "shared"


def is_logged_in() -> bool:
    """Say whether an identity provider vouches for who is at the door; any doubt is a no."""
    return _claims().get("is_logged_in") is True


def person_of(claims: Mapping[str, Any]) -> Person:
    """Return the person that an identity provider's claims speak of.

    Args:
        claims: as Streamlit took them from the signed cookie of the login; hostile until they fit.

    Raises:
        NotAllowed: nobody is logged in, the e-mail address is missing or not verified, or has no role here.
    """
    if claims.get("is_logged_in") is not True:
        raise NotAllowed("Log in to use this console.")
    email = claims.get("email")
    if not isinstance(email, str) or not email.strip() or len(email) > LONGEST_NAME or not email.isprintable():
        raise NotAllowed("Your login came without an e-mail address, so that nobody can say who you are.")
    if "email_verified" in claims and claims["email_verified"] not in (True, "true"):
        raise NotAllowed("Your identity provider has not verified your e-mail address.")
    if _login_of(claims) in _logged_out():
        raise NotAllowed("You logged out, in this window or another one. Load the page again to log in.")
    person = _with_roles(email)
    person.must("viewer", "look at this console")
    return person


def log_out() -> None:
    """End a login in every window: others that stand open are refused from now on, also while nobody reloads them."""
    login = _login_of(_claims())
    if login:
        _logged_out()[login] = None
        for oldest in list(_logged_out())[:-MOST_LOGGED_OUT]:
            _logged_out().pop(oldest, None)
    st.logout()


def log_in() -> None:
    """Lead to the identity provider, or say that it cannot be reached: Streamlit would show a page without a way back.

    Raises:
        NotAllowed: it does not answer.
    """
    import httpx

    try:
        httpx.get(st.secrets["auth"]["server_metadata_url"], timeout=PATIENCE, follow_redirects=True).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotAllowed(
            f"The identity provider does not answer ({type(error).__name__}), so nobody can log in now. Try again; if "
            "it stays so, tell who runs this console to look at server_metadata_url."
        ) from error
    st.login()


def _system_user() -> Person:
    return Person(getpass.getuser(), None, "system")


def _visitor() -> Person:
    return person_of(_claims())


def _login_of(claims: Mapping[str, Any]) -> str:
    """Return what tells one login from another; nothing where a provider does not say when it was."""
    when = [claims.get(name) for name in ("iat", "nonce", "sid")]
    if when == [None] * 3:
        return ""
    return hashlib.sha256(repr([claims.get("iss"), claims.get("sub"), claims.get("email"), *when]).encode()).hexdigest()


@st.cache_resource(show_spinner=False)
def _logged_out() -> dict[str, None]:
    """The logins that ended here, the oldest first."""
    return {}


def _with_roles(email: str) -> Person:
    try:
        return logged_in(email)
    except NotAllowed:
        raise
    except (
        Exception
    ) as error:  # whatever is wrong with the file: it may name others, who are none of a visitor's business
        raise NotAllowed(
            "The table of roles cannot be read, so nobody is let in. Tell who runs this console to look at "
            "stanchion.toml."
        ) from error


def _claims() -> Mapping[str, Any]:
    try:
        return dict(st.user.to_dict())
    except Exception:  # no session, or a Streamlit that speaks of users in another way
        return {}


@st.cache_resource(show_spinner=False)
def _opened(path: str) -> tuple[Database, Background]:
    database = Database(path)
    gc.freeze()  # what is imported by now stays for good: looking through it took 80 ms of every tenth page
    return database, Background(database, SystemClock())
