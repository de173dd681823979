"""The console in a real browser: a server on a free port with a database of its own, and Chromium without a network.

Skipped, and said so, where Playwright or Chromium is absent. The pictures of docs/ are made anew by
`STANCHION_PICTURES=1 pytest -n0 tests/ui/browser`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from stanchion.runs.inputs import Input
from stanchion.runs.ledger import Ledger
from stanchion.store import Database
from tests.ui.browser.notes import REFERENCE, note

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES_WANTED = os.environ.get("STANCHION_PICTURES") == "1"  # read before tests clean the environment
PATIENCE_MS = 30_000
NO_FOLDERS = """() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replace(/(\\/[\\w.-]+)+\\//g, "");
}"""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass
class Server:
    """A console that runs.

    Args:
        url: where.
        database: its file.
    """

    url: str
    database: Path


Serve = Callable[..., Server]


@contextmanager
def console(database: Path, *, log: Path, user: str = "ana") -> Iterator[Server]:
    """Run `stanchion console` until the end of the block; it says itself when it is ready."""
    port = _free_port()
    options = ["--db", str(database), "--no-browser", "--port", str(port)]
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "stanchion.cli", "console", *options],
            cwd=database.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "LOGNAME": user, "USER": user},
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    try:
        assert process.stdout is not None
        said = next((line for line in process.stdout if "URL" in line), None)
        assert said is not None, f"the console did not start: {log.read_text()}"
        url = f"http://127.0.0.1:{port}"
        with urlopen(f"{url}/_stcore/health", timeout=30) as health:
            assert health.status == 200
        yield Server(url, database)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start `stanchion console` on a database, as a user; ended with the test."""
    with ExitStack() as stack:

        def start(database: Path, *, user: str = "ana") -> Server:
            return stack.enter_context(console(database, log=tmp_path / f"console-{user}.log", user=user))

        yield start


def loaded(page: Page) -> Page:
    """Wait until a page has been made: something stands on it, and its script has ended."""
    page.locator(".stMain .stElementContainer").first.wait_for(state="attached")
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for(state="attached")
    return page


def eventually(page: Page, holds: Callable[[], object]) -> None:
    """Look again and again, while the page goes on, until something holds."""
    for _ in range(PATIENCE_MS // 100):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never came to hold")


@dataclass
class Visitors:
    """Opens pages of a console, each in a browser context of its own, and keeps what they asked the network for.

    Args:
        browser: Chromium.
        requests: every address that any page asked for.
        errors: what any page's scripts threw.
    """

    browser: Browser
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def come(self, url: str, *, width: int = 1280, height: int = 800, **options: object) -> Page:
        """Open a page as somebody who was never here before."""
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE_MS)
        self.contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url)
        return page

    @property
    def strayed(self) -> list[str]:
        """Addresses that lie beyond this machine."""
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme in ("http", "https", "ws", "wss") and urlsplit(url).hostname not in LOOPBACK
        ]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, driven by Playwright; per file, because its loop runs in this thread until it is closed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (stanchion[dev])")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Chromium: apt-get install chromium")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test in a browser more time than others have: servers start, pages load."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture
def visitors(chromium: Browser) -> Iterator[Visitors]:
    """Who comes to the console; nobody's page may ask for anything beyond this machine, or throw."""
    visitors = Visitors(chromium)
    yield visitors
    for context in visitors.contexts:
        context.close()
    assert visitors.strayed == []
    assert visitors.errors == []


@pytest.fixture
def waiting(tmp_path: Path) -> Callable[..., Path]:
    """Make a database in which notes wait for a person."""

    def make(*texts: str, number: int = 0) -> Path:
        from stanchion.api import run_all

        path = tmp_path / "notes.db"
        every = [*texts, *(note(each) for each in range(number))]
        run_all(
            REFERENCE, [Input(id=f"note-{each}", document={"text": text}) for each, text in enumerate(every)], db=path
        )
        return path

    return make


@pytest.fixture
def ledger() -> Iterator[Callable[[Path], Ledger]]:
    """Read a database beside the console that has it open."""
    with ExitStack() as stack:

        def read(path: Path) -> Ledger:
            database = Database(path)
            stack.callback(database.close)
            return Ledger(database)

        yield read


@pytest.fixture
def picture() -> Callable[[Page, str], None]:
    """Keep a picture of a page for docs/, only where somebody asks for it: a test leaves the repository as it was."""

    def keep(page: Page, name: str) -> None:
        if PICTURES_WANTED:
            page.evaluate(NO_FOLDERS)
            page.screenshot(path=ROOT / "docs" / "pictures" / f"{name}.png")

    return keep
