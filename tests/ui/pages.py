"""How the tests of the console open a page: the real script, navigation and door included, without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

import stanchion.ui
from stanchion.api import run_all
from stanchion.runs.inputs import Input

ENTRY = Path(stanchion.ui.__file__).parent / "entry" / "stanchion_console.py"
LETTERS = "tests.cli.letters:workflow"
HOSTILE = "=cmd() **bold** ![x](http://evil.test/a.png) <script>alert(1)</script> :material/home: $x^2$ www.evil.test"


def open_page(name: str = "home", *, user: dict[str, Any] | None = None, **query: str) -> AppTest:
    """Open a page of the console.

    Args:
        name: of its module.
        user: the claims of who is logged in; None: nobody is.
        query: what stands in the address.
    """
    app = AppTest.from_file(ENTRY, default_timeout=60)
    app._page_hash = calc_hash("" if name == "home" else name)  # its public `switch_page` knows files only
    app.query_params.update(query)
    app.user = user or {}
    return app.run()


def login(email: str, **claims: Any) -> dict[str, Any]:
    """The claims of somebody whom an identity provider vouches for."""
    return {"is_logged_in": True, "email": email, "email_verified": True, **claims}


def read(text: str) -> str:
    """A text as people read it, without the marks that keep Markdown away."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text).replace("\u2060", "")


def words(app: AppTest) -> str:
    """Everything that a page says, as people read it."""
    return read("\n".join(said for _, said in _said(app._tree)))


def markdown(app: AppTest) -> str:
    """Everything that a page gives to places which render Markdown."""
    return "\n".join(said for kind, said in _said(app._tree) if kind not in {"html", "code", "text", "json"})


def _said(block: Any) -> Iterable[tuple[str, str]]:
    for part in getattr(block, "children", {}).values():
        yield from _said(part)
    proto = getattr(block, "proto", None)
    for field in ("body", "label", "value", "help"):
        said = getattr(proto, field, None)
        if isinstance(said, str):
            yield getattr(block, "type", ""), said


def run_letters(db: Path, **texts: str) -> list[Any]:
    """Run letters through the tiny workflow: a `?` in one waits for a person, `boom` fails."""
    inputs = [Input(id=name, document={"text": text}) for name, text in texts.items()]
    return run_all(LETTERS, inputs, db=db)
