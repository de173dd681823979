"""The whole story in a real browser: demo data, the queue, three answers by keyboard, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Run
from tests.ui.browser.conftest import Serve, Server, Visitors, console, eventually, loaded

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (stanchion[dev])")

from playwright.sync_api import Page, expect

Read = Callable[[Path], Ledger]
Picture = Callable[[Page, str], None]
RECEIPTS = "stanchion.graphs.receipts:workflow"


def make_demo(path: Path) -> Path:
    """Run the demo's receipts into a new database."""
    from stanchion.api import run_all
    from stanchion.graphs.demo import DATASET
    from stanchion.runs.inputs import read_inputs

    run_all(RECEIPTS, list(read_inputs([str(DATASET)])), model="recorded:demo", db=path)
    return path


@pytest.fixture
def demo(tmp_path: Path, serve: Serve) -> Server:
    """A console on the demo's runs."""
    return serve(make_demo(tmp_path / "demo.db"))


@pytest.fixture(scope="module")
def demo_to_look_at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same, for tests that only look; two people have answered something."""
    from stanchion import reviews

    folder = tmp_path_factory.mktemp("demo")
    path = make_demo(folder / "demo.db")
    for person in ("ana@example.com", "ben@example.com"):
        reviews.answer(reviews.waiting(db=path)[0].id, "approve", by=person, db=path)
    with console(path, log=folder / "console.log") as server:
        yield server


def answer_three(page: Page) -> dict[str, str]:
    """Approve one, edit one, reject one by keyboard; return the input of each."""
    expect(page.locator(".keys .approve")).to_be_enabled()
    answered = {}
    for key, action, typed in ("a", "approved", ""), ("e", "edited", "By Hand Ltd"), ("x", "rejected", "no receipt"):
        answered[action] = page.locator("#title").inner_text()
        page.keyboard.press(key)
        if typed:
            page.keyboard.type(typed)
            page.keyboard.press("Enter")
    page.get_by_role("heading", name="Reviews").click()
    expect(page.locator(".pending li")).to_have_count(0)
    return answered


def test_from_the_queue_to_finished_runs_the_trail_and_a_fork(
    demo: Server, visitors: Visitors, ledger: Read, picture: Picture
) -> None:
    """Three answers by keyboard end three runs; the trail and the run's picture show it; a fork of one compares."""
    page = visitors.come(f"{demo.url}/")
    loaded(page)
    page.get_by_role("link", name="Reviews").click()
    answered = answer_three(page)
    runs = ledger(demo.database)

    def run_of(action: str) -> Run:
        return next(run for run in runs.runs(limit=100) if run.input_id == answered[action])

    eventually(page, lambda: all(run_of(action).status == "done" for action in answered))
    assert [run_of(action).outcome for action in answered] == ["reviewed", "reviewed", "rejected"]
    edited = run_of("edited")
    assert edited.output is not None
    assert edited.output["company"] == "By Hand Ltd"
    assert run_of("rejected").reason == "no receipt"

    see_trail(visitors, demo, edited)
    see_path(visitors, demo, edited)
    fork_and_compare(visitors, demo, edited, runs, picture)


def see_trail(visitors: Visitors, demo: Server, run: Run) -> None:
    """The trail of the run says who answered."""
    page = loaded(visitors.come(f"{demo.url}/trail?run={run.id}"))
    expect(page.locator(".stMain")).to_contain_text("review answered")
    expect(page.locator(".stMain")).to_contain_text("ana")


def see_path(visitors: Visitors, demo: Server, run: Run) -> None:
    """The picture on the run's page is that of the path which it took."""
    from stanchion.runs import picture
    from stanchion.workflow import load_workflow

    page = loaded(visitors.come(f"{demo.url}/run?run={run.id}"))
    shown = page.get_by_alt_text("The graph, with the path that was taken")
    shown.wait_for()
    drawn = shown.evaluate("image => fetch(image.src).then((found) => found.text())")
    expected = picture.svg(load_workflow(RECEIPTS).graph, (*run.path, "__end__"))
    assert "review" in run.path
    assert drawn.count("(taken)") == expected.count("(taken)") > 3


def fork_and_compare(visitors: Visitors, demo: Server, run: Run, runs: Ledger, picture: Picture) -> None:
    """A fork from a step becomes a run of its own, and stands beside the old one."""
    page = loaded(visitors.come(f"{demo.url}/run?run={run.id}&step=2"))
    page.get_by_role("tab", name="Fork").click()
    page.get_by_label("Reason").fill("to see it once more")
    page.get_by_role("button", name="Fork", exact=True).click()
    eventually(page, lambda: [each for each in runs.runs(limit=100) if each.origin == run.id])
    (forked,) = [each for each in runs.runs(limit=100) if each.origin == run.id]
    eventually(page, lambda: runs.run(forked.id).status in ("waiting", "done"))
    page = loaded(visitors.come(f"{demo.url}/compare?one={run.id}&other={forked.id}"))
    expect(page.locator(".stMain")).to_contain_text(forked.id)
    expect(page.locator(".stMain")).to_contain_text("By Hand Ltd")
    picture(page, "compare")


@pytest.mark.parametrize(
    ("name", "scheme"),
    [*((name, "light") for name in ("home", "runs", "run", "reviews", "operations", "trail")), ("reviews", "dark")],
)
def test_each_page_stands_at_1280_pixels(
    demo_to_look_at: Server, visitors: Visitors, ledger: Read, picture: Picture, name: str, scheme: str
) -> None:
    """No page scrolls sideways, and none shows an error; their pictures are those in docs/."""
    demo = demo_to_look_at
    runs = ledger(demo.database)
    (answered, *_) = runs.reviews(status="answered")
    query = f"?run={answered.run_id}" if name == "run" else ""
    address = "" if name == "home" else f"{name}{query}"
    page = visitors.come(f"{demo.url}/{address}", color_scheme=scheme)
    loaded(page)
    if name == "reviews":
        expect(page.locator(".keys .approve")).to_be_enabled()
        page.keyboard.press("k")
        page.keyboard.press("k")
    page.wait_for_load_state("networkidle")
    picture(page, name if scheme == "light" else f"{name}-dark")

    assert page.locator('[data-testid="stException"], [data-testid="stAlertContentError"]').count() == 0
    assert page.get_by_role("dialog").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
