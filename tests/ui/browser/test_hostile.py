"""Hostile documents in a real browser: they are shown as text; nothing of them runs, and nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stanchion.runs.ledger import Ledger
from stanchion.store import Database
from tests.ui.browser.conftest import Serve, Visitors, loaded

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (stanchion[dev])")

from playwright.sync_api import expect

Waiting = Callable[..., Path]

SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = '<img src="http://evil.example/i.png" onerror="window.hacked = 1">'
MARKDOWN = "![x](http://evil.example/m.png) [y](javascript:window.hacked=1) :red[no] $x$ **b**"
FORMULA = '=HYPERLINK("http://evil.example/f", "x")'
BIDI = "abc\u202egpj.exe"
EVERYTHING = "\n".join((SCRIPT, IMAGE, MARKDOWN, FORMULA, BIDI))


def ask(path: Path, question: dict[str, Any], *, input_id: str = "note-0") -> str:
    """Put a question into the mouth of the only review of a database; return the id of its run."""
    database = Database(path)
    (review,) = Ledger(database).reviews()

    def write(tables: Any) -> None:
        tables.conn.execute("UPDATE reviews SET question = ?", [json.dumps(question)])
        tables.conn.execute("UPDATE runs SET input_id = ?", [input_id])

    database.write_now(write)
    database.close()
    return review.run_id


@pytest.mark.parametrize("place", ["reviews", "", "runs", "run?run={run}", "trail?run={run}"])
def test_what_a_document_says_is_shown_as_text_on_every_page(
    waiting: Waiting, serve: Serve, visitors: Visitors, place: str
) -> None:
    """Scripts, images, Markdown, formulas: no page runs or fetches any of it."""
    path = waiting(f"writer: {IMAGE}\nsubject: {MARKDOWN}\n{SCRIPT}\n{FORMULA}\n")
    question = {
        "question": EVERYTHING,
        "reason": EVERYTHING,
        "proposal": {"writer": EVERYTHING, "subject": FORMULA, EVERYTHING: 1, "lines": [{EVERYTHING: EVERYTHING}]},
        "alternatives": {EVERYTHING: {"writer": MARKDOWN}},
        "source": EVERYTHING,
    }
    run = ask(path, question, input_id=EVERYTHING)
    page = visitors.come(f"{serve(path).url}/{place.format(run=run)}")
    if place == "reviews":
        expect(page.locator(".keys .approve")).to_be_enabled()
        page.keyboard.press("e")
        shown = page.locator(".source pre").inner_text()
        assert SCRIPT in shown
        assert IMAGE in shown
        assert "abc⟨U+202E⟩gpj.exe" in shown
        assert page.locator(".desk img, .desk script, .desk a:not(.run)").count() == 0
    loaded(page)

    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src*=evil], a[href*=evil], a[href^=javascript]").count() == 0
    assert visitors.strayed == []


def test_a_document_beyond_all_measure_is_cut_and_says_so(waiting: Waiting, serve: Serve, visitors: Visitors) -> None:
    """10 MB of text and 100,000 fields: the desk shows what a person can look at, and can still be used."""
    path = waiting("writer: W")
    proposal = {f"field-{number}": number for number in range(100_000)}
    ask(path, {"question": "?", "proposal": proposal, "source": "word " * 2_000_000, "alternatives": {"rules": {}}})
    page = visitors.come(f"{serve(path).url}/reviews")
    expect(page.locator(".keys .approve")).to_be_enabled()

    expect(page.locator(".source .note")).to_contain_text("of 10,000,000 characters are not shown")
    expect(page.locator(".proposal .note")).to_contain_text("99,800 more fields are not shown")
    assert page.locator(".field").count() == 200
    assert len(page.locator(".source pre").inner_text()) < 50_000
