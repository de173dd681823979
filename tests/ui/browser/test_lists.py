"""Lists in a real browser: a heading opens nothing, a dialog comes once, an upright tablet shows whole words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stanchion.runs.operations import Operations
from stanchion.store import Database
from tests.ui.browser.conftest import Serve, Visitors, eventually, loaded

if TYPE_CHECKING:
    from playwright.sync_api import Page

LINE = 35  # pixels of a row of a list
SETTLED_MS = 1_500


def press(page: Page, line: int, x: int) -> None:
    """Press a place in the list: line 0 is its heading, at 16 pixels from the left a row is ticked."""
    table = page.get_by_test_id("stDataFrame")
    table.wait_for()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x, box["y"] + LINE * line + LINE / 2)
    page.wait_for_timeout(SETTLED_MS)  # nothing may come of it, and nothing can be waited for
    loaded(page)


def test_a_heading_sorts_and_opens_nothing(visitors: Visitors, serve: Serve, waiting: Callable[..., Path]) -> None:
    """On Runs a heading only sorts; a row is ticked, and then opened by its button."""
    server = serve(waiting(number=3))
    page = visitors.come(f"{server.url}/runs")
    press(page, 0, 250)
    assert page.url == f"{server.url}/runs"
    press(page, 1, 16)
    assert page.url == f"{server.url}/runs"
    page.get_by_role("button", name="Open run").click()
    eventually(page, lambda: "/run?run=" in page.url)


def test_a_dialog_of_the_trail_comes_once(visitors: Visitors, serve: Serve, waiting: Callable[..., Path]) -> None:
    """An entry is shown when its row is ticked, as often as it is, and not by headings, filters or Verify."""
    path = waiting(number=1)
    operations = Operations(Database(path))
    operations.pause_workflow("notes", by="ann", reason="month end")
    operations.database.close()
    server = serve(path)
    page = visitors.come(f"{server.url}/trail")
    dialog = page.get_by_role("dialog")
    press(page, 0, 300)
    assert dialog.count() == 0
    for _ in range(2):
        press(page, 1, 16)
        dialog.wait_for()
        page.keyboard.press("Escape")
        dialog.wait_for(state="detached")
    page.get_by_role("button", name="Verify").click()
    page.get_by_text("as they were written").wait_for()
    assert dialog.count() == 0
    page.get_by_label("Person").fill("ann")
    page.keyboard.press("Enter")
    eventually(page, lambda: "by=ann" in page.url)
    loaded(page)
    assert dialog.count() == 0


def test_an_upright_tablet_shows_whole_words(visitors: Visitors, serve: Serve, waiting: Callable[..., Path]) -> None:
    """At 768 pixels the halves of Home and Operations stand one below the other, and no column is a letter wide."""
    server = serve(waiting(number=2))
    page = visitors.come(f"{server.url}/")
    page.set_viewport_size({"width": 768, "height": 1024})
    for name, words in {"": "slowest first", "operations": "limit"}.items():
        page.goto(f"{server.url}/{name}")
        heading = page.get_by_role("columnheader", name=words)
        heading.wait_for()
        box = heading.bounding_box()
        assert box is not None
        assert box["width"] > 60
        halves = page.locator(".st-key-halves .stColumn")
        left, right = (halves.nth(place).bounding_box() for place in range(2))
        assert left is not None
        assert right is not None
        assert right["y"] >= left["y"] + left["height"]


def test_a_list_is_read_again_after_runs_go_on(visitors: Visitors, serve: Serve, waiting: Callable[..., Path]) -> None:
    """After Resume the page says that the list is read again, and reads it once more by itself."""
    path = waiting("A note of 5 pages", number=0)
    database = Database(path)
    (old,) = database.read("SELECT id FROM runs")
    Operations(database).rerun([old["id"]], by="ann", reason="again")
    database.close()
    server = serve(path)
    page = visitors.come(f"{server.url}/runs?standing=queued")
    press(page, 1, 16)
    page.get_by_role("button", name="Resume").click()
    page.get_by_label("Why? It goes into the trail.").first.fill("because")
    page.get_by_role("button", name="Resume: 1 run").click()
    page.get_by_text("read again in a moment").wait_for()
    page.get_by_text("No run is like this").wait_for()  # it is queued no more
