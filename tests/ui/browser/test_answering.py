"""The desk in a real browser: a key answers the case on the screen, once, and no other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stanchion.people import Person
from stanchion.runs.forgetting import erase, prune
from stanchion.runs.ledger import Ledger
from stanchion.runs.operations import Operations
from stanchion.runs.reviews import Reviews
from stanchion.store import Database
from tests.ui.browser.conftest import Serve, Visitors

pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright (stanchion[dev])")

from playwright.sync_api import Page, expect

LIT = """() => {
    const root = [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")]
        .map((each) => each.shadowRoot).find((each) => each?.querySelector(".graph"));
    const image = root?.querySelector("img");
    if (!image?.complete || !image.clientHeight) return null;
    const drawing = new DOMParser().parseFromString(decodeURIComponent(image.src.split(",", 2)[1]), "image/svg+xml");
    const node = drawing.querySelector(".node.current .box");
    const [, top, , height] = drawing.documentElement.getAttribute("viewBox").split(" ").map(Number);
    const share = (Number(node.getAttribute("y")) - top) / height;
    const box = root.querySelector(".graph").getBoundingClientRect();
    const seen = image.getBoundingClientRect();
    return { top: box.top, bottom: box.bottom, node: seen.top + share * seen.height };
}"""  # where the chosen node of the picture stands on the screen, and where the picture's box does

Waiting = Callable[..., Path]
Read = Callable[[Path], Ledger]


def at_the_desk(page: Page) -> Page:
    """Wait until a case is on the screen and can be answered."""
    expect(page.locator(".keys .approve")).to_be_enabled()
    return page


def all_sent(page: Page) -> None:
    """Let go of what can still be undone, and wait until the server said what became of it."""
    page.get_by_role("heading", name="Reviews").click()
    expect(page.locator(".pending li")).to_have_count(0)


def answers(ledger: Ledger) -> dict[str, tuple[str, str]]:
    """Return what was answered: the input to action and person."""
    return {each.input_id: (each.action, each.answered_by) for each in ledger.reviews(status="answered")}


def title(page: Page) -> str:
    """Return which case is on the screen."""
    return page.locator("#title").inner_text()


def test_ten_presses_within_a_second_answer_ten_cases(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """Each press answers the case that was on the screen when it came: ten cases, none twice, none skipped."""
    server = serve(waiting(number=30))
    page = at_the_desk(visitors.come(f"{server.url}/reviews"))
    page.evaluate(
        """() => {
            window.seen = [];
            const desk = document.querySelector("[data-testid=stBidiComponentIsolated]").shadowRoot;
            const title = () => desk.getElementById("title").textContent;
            document.addEventListener("keydown", (event) => seen.push([event.timeStamp, title()]), true);
        }"""
    )
    page.keyboard.type("a" * 10)
    all_sent(page)
    seen = page.evaluate("window.seen")

    assert seen[-1][0] - seen[0][0] < 1000
    assert len({title for _, title in seen}) == 10
    assert answers(ledger(server.database)) == {title: ("approve", "ana") for _, title in seen}


def test_a_key_during_a_rerun_answers_the_case_on_the_screen(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """While the whole page is made anew again and again, each key answers the case that was seen, and no other."""
    server = serve(waiting(number=10))
    page = at_the_desk(visitors.come(f"{server.url}/reviews"))
    seen = {}
    for key, action in ("a", "approve"), ("n", None), ("a", "approve"), ("n", None), ("a", "approve"):
        seen[title(page)] = action
        page.keyboard.press("r")  # Streamlit's own: make the page anew
        page.keyboard.press(key)
    all_sent(page)

    given = {case: (action, "ana") for case, action in seen.items() if action}
    assert len(seen) == 5
    assert answers(ledger(server.database)) == given


def test_keys_that_are_not_for_the_desk_answer_nothing(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """Keys with Ctrl, Alt, Meta or Shift, keys typed in a field or in another widget: no case is answered."""
    server = serve(waiting(number=3))
    page = at_the_desk(visitors.come(f"{server.url}/reviews"))
    before = title(page)
    for chord in ("Control+a", "Alt+a", "Meta+a", "Shift+A"):
        page.keyboard.press(chord)
    page.keyboard.press("e")
    page.keyboard.type("xaaxunrc")
    expect(page.locator(".field input").first).to_have_value("xaaxunrc")
    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    page.get_by_role("combobox").first.focus()
    page.keyboard.type("a")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Home").focus()
    page.keyboard.press("a")
    all_sent(page)

    assert title(page) == before
    assert answers(ledger(server.database)) == {}


def test_a_key_held_down_and_a_double_click_answer_once(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """What the keyboard repeats by itself, and the second click of a double click, are nobody's decision."""
    server = serve(waiting(number=8))
    page = at_the_desk(visitors.come(f"{server.url}/reviews"))
    for key in ("a", "Enter"):
        if key == "Enter":
            page.locator(".keys .approve").focus()
        for _ in range(4):
            page.keyboard.down(key)  # from the second on, the browser says that it repeats
        page.keyboard.up(key)
    page.locator(".keys .approve").dblclick()
    all_sent(page)

    assert len(answers(ledger(server.database))) == 3


def test_an_answer_can_be_undone_until_it_is_sent(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """After `u` the case is back on the screen, and nothing was answered; what was typed for it is still there."""
    server = serve(waiting(number=2))
    page = at_the_desk(visitors.come(f"{server.url}/reviews"))
    first = title(page)
    page.keyboard.press("x")
    page.keyboard.type("not a note")
    page.keyboard.press("Enter")
    expect(page.locator(".pending li")).to_contain_text("u undoes it for 3 s")  # it has been waiting for a while
    page.keyboard.press("u")
    expect(page.locator("#title")).to_have_text(first)
    page.keyboard.press("x")
    expect(page.locator("#reason")).to_have_value("not a note")
    page.keyboard.press("Escape")
    all_sent(page)

    assert answers(ledger(server.database)) == {}


def test_an_answer_is_sent_by_itself_after_a_few_seconds(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """Who answers the last case and does nothing more finds it answered, and its run ended."""
    server = serve(waiting(number=1))
    page = at_the_desk(visitors.come(f"{server.url}/reviews"))
    page.keyboard.press("a")
    expect(page.locator(".headline")).to_contain_text("Nothing waits")
    expect(page.locator(".pending li")).to_have_count(0)

    assert answers(ledger(server.database)) == {"note-0": ("approve", "ana")}


@pytest.mark.parametrize("way", ["link", "reload", "back"])
def test_leaving_the_page_loses_no_answer(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read, way: str
) -> None:
    """An answer that could still be undone is sent when the page is left, and the cases are given back."""
    server = serve(waiting(number=3))
    page = visitors.come(f"{server.url}/runs")
    page.get_by_role("link", name="Reviews").click()
    at_the_desk(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("a")
    if way == "link":
        page.get_by_role("link", name="Home").click()
        page.get_by_role("heading", name="Home").wait_for()
    elif way == "back":
        page.go_back()
        page.get_by_role("heading", name="Runs").wait_for()
    else:
        page.reload()
        at_the_desk(page)
    again = visitors.come(f"{server.url}/reviews")
    at_the_desk(again)

    assert len(answers(ledger(server.database))) == 1


def test_two_people_never_see_the_same_case(waiting: Waiting, serve: Serve, visitors: Visitors) -> None:
    """Two consoles of two people on one database: what one looks at, the other never gets."""
    path = waiting(number=30)
    screens = [at_the_desk(visitors.come(f"{serve(path, user=user).url}/reviews?by={user}")) for user in ("ana", "ben")]
    seen: list[set[str]] = [set(), set()]
    for _ in range(10):
        for page, titles in zip(screens, seen, strict=True):
            titles.add(title(page))
            page.keyboard.press("n")

    assert len(seen[0]) == len(seen[1]) == 10
    assert not seen[0] & seen[1]


def test_a_case_that_somebody_else_took_or_answered_is_told_and_nothing_typed_is_lost(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """An edit that came too late is refused with who was first; the text stays, and nothing else is answered."""
    server = serve(waiting(number=3))
    page = at_the_desk(visitors.come(f"{server.url}/reviews"))
    first = title(page)
    page.keyboard.press("e")
    page.keyboard.type("Typed with care")
    database = Database(server.database)
    reviews = Reviews(database)
    (review,) = [each for each in reviews.waiting() if each.input_id == first]
    reviews.release(review.id, by=Person("olga"))
    reviews.answer(review.id, "approve", by=Person("olga"))
    database.close()
    page.keyboard.press("Enter")
    all_sent(page)
    expect(page.locator(".notices")).to_contain_text("approve by olga")
    page.keyboard.press("g")

    expect(page.locator("#title")).to_have_text(first)
    expect(page.locator(".trouble")).to_contain_text("approve by olga")
    expect(page.locator(".field").first).to_contain_text("Typed with care")
    page.keyboard.press("a")
    all_sent(page)
    assert answers(ledger(server.database)) == {first: ("approve", "olga")}


def test_everything_can_be_done_by_touch(waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read) -> None:
    """On a tablet, each key has a button: a case is edited and saved, one rejected, one approved."""
    server = serve(waiting(number=3))
    page = visitors.come(f"{server.url}/reviews", width=820, height=1180, has_touch=True)
    at_the_desk(page)
    titles = [title(page)]
    page.locator(".keys .edit").tap()
    page.locator(".field input").first.fill("Somebody")
    page.get_by_role("button", name="Save").tap()
    titles.append(title(page))
    page.locator(".keys .reject").tap()
    page.locator("#reason").fill("no note")
    page.locator(".reason button[type=submit]").tap()
    titles.append(title(page))
    page.locator(".keys .approve").tap()
    all_sent(page)

    given = answers(ledger(server.database))
    assert [given[each][0] for each in titles] == ["edit", "reject", "approve"]


def test_a_case_is_covered_when_its_time_is_over_and_a_key_only_takes_it_again(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """Who comes back after lunch does not answer a case that may be somebody else's by now."""
    server = serve(waiting(number=1))
    page = visitors.come("about:blank")
    page.clock.install()
    page.goto(f"{server.url}/reviews")
    at_the_desk(page)
    page.clock.fast_forward(11 * 60 * 1000)
    expect(page.locator(".trouble")).to_contain_text("You were away")
    page.keyboard.press("a")
    expect(page.locator(".trouble")).to_be_hidden()
    all_sent(page)
    assert answers(ledger(server.database)) == {}

    database = Database(server.database)
    reviews = Reviews(database)
    (review,) = reviews.waiting()
    reviews.release(review.id, by=Person("ben"))
    reviews.claim(review.id, by=Person("ben"))
    database.close()
    page.clock.fast_forward(11 * 60 * 1000)
    page.keyboard.press("a")
    expect(page.locator(".trouble")).to_contain_text("ben is at work")
    expect(page.locator(".keys .approve")).to_be_disabled()
    page.keyboard.press("a")
    all_sent(page)
    assert answers(ledger(server.database)) == {}


def test_a_case_can_be_chosen_by_its_address_and_in_the_queue(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """The least urgent case is shown first to who asks for it, by a link from its run or by its row."""
    server = serve(waiting(number=20))
    last = ledger(server.database).reviews()[-1]
    page = at_the_desk(visitors.come(f"{server.url}/reviews?review={last.id}", height=1600))
    expect(page.locator("#title")).to_have_text(last.input_id)
    third = page.get_by_test_id("stDataFrame").bounding_box()
    assert third is not None
    page.mouse.click(third["x"] + 16, third["y"] + 3 * 35 + 17)
    expect(page.locator("#title")).not_to_have_text(last.input_id)
    chosen = title(at_the_desk(page))
    page.keyboard.press("a")
    all_sent(page)

    assert list(answers(ledger(server.database))) == [chosen]


def test_what_cannot_be_approved_is_edited_and_a_refusal_leaves_the_count_right(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """A proposal without its required field says why; Edit is the button to press; refused, the case counts again."""
    server = serve(waiting("subject: Paper\namount: 3\n"))
    page = visitors.come(f"{server.url}/reviews")
    expect(page.locator(".keys .edit")).to_be_enabled()
    expect(page.locator(".keys .edit")).to_have_class("edit primary")
    expect(page.locator(".keys .approve")).to_be_disabled()
    expect(page.locator(".unfit")).to_contain_text("The proposal cannot be approved: no value that fits for writer")
    page.keyboard.press("a")
    expect(page.locator(".said")).to_contain_text("cannot be approved")
    expect(page.locator(".left")).to_have_text("1 case to answer")

    page.keyboard.press("e")
    page.get_by_role("textbox", name="Amount").fill("three")
    page.keyboard.press("Enter")
    all_sent(page)
    expect(page.locator(".trouble")).to_contain_text("This does not fit")
    expect(page.locator(".left")).to_have_text("1 case to answer")
    assert answers(ledger(server.database)) == {}


def test_nothing_of_an_erased_case_comes_back(waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read) -> None:
    """A case erased while its answer was on its way is said to be gone, and its document is nowhere on the page."""
    server = serve(waiting("writer: Zacharias\namount: 1\n", "writer: Ann\namount: 2\n"))
    page = at_the_desk(visitors.come(f"{server.url}/reviews?review={ledger(server.database).reviews()[0].id}"))
    erased = title(page)
    words = page.locator(".source pre").inner_text()
    (review,) = [each for each in ledger(server.database).reviews() if each.input_id == erased]
    database = Database(server.database)
    erase(database, review.run_id, by="olga")
    database.close()
    page.keyboard.press("a")
    expect(page.locator("#title")).not_to_have_text(erased)
    all_sent(page)
    expect(page.locator(".notices")).to_contain_text(f"Not taken: {erased}")
    expect(page.locator(".notices")).to_contain_text("erased")
    expect(page.locator(".notices button")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("p")

    assert title(page) != erased
    assert words.strip() not in page.locator(".desk").evaluate("desk => desk.textContent")


def test_a_run_that_is_pruned_under_its_page_is_said_so(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """The page that follows a run says in our words that it is gone, not in Streamlit's."""
    server = serve(waiting("writer: Ann\namount: 2\n"))
    (run,) = ledger(server.database).runs()
    database = Database(server.database)
    (new,) = Operations(database).rerun([run.id], by="ana", reason="again")
    page = visitors.come(f"{server.url}/run?run={new.id}")
    expect(page.locator(".stMain")).to_contain_text("No step was taken")
    Operations(database).cancel([new.id], by="ana", reason="not needed")
    prune(database, datetime.now(UTC), by="ana")
    database.close()

    expect(page.locator(".stMain")).to_contain_text(f"There is no run {new.id} here")
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_the_node_that_is_looked_at_is_in_view(
    waiting: Waiting, serve: Serve, visitors: Visitors, ledger: Read
) -> None:
    """On a laptop's screen, the picture's box ends with the screen and shows the chosen node, first or last."""
    server = serve(waiting(number=1))
    (run,) = ledger(server.database).runs()
    for step in (1, 3):
        page = visitors.come(f"{server.url}/run?run={run.id}&step={step}")
        page.get_by_alt_text("The graph, with the path that was taken").wait_for()
        expect(page.locator(".graph")).to_be_visible()
        page.wait_for_function(LIT)
        place = page.evaluate(LIT)
        assert place["top"] <= place["node"] <= place["bottom"] <= 800
