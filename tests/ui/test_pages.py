"""Home, Runs, Operations and Trail: with nothing, one and many, in trouble, and for who may only look."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from stanchion.clock import SystemClock
from stanchion.guards.limits.standing import Breakers
from stanchion.people import Person
from stanchion.runs.ledger import Ledger
from stanchion.runs.operations import Operations
from stanchion.store import Database
from stanchion.store.trail import Trail
from tests.ui.pages import HOSTILE, login, markdown, open_page, read, run_letters, words

Put = Callable[[str], Path]
PAGES = ("home", "runs", "operations", "trail")


def table(app: AppTest) -> dict[str, list[object]]:
    """The cells of a page's list, by column."""
    return {str(name): list(cells) for name, cells in app.dataframe[0].value.items()}


def button(app: AppTest, label: str) -> object:
    """The button with a label."""
    (found,) = [one for one in app.button if one.label == label]
    return found


# --- Nothing, one, many ---


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("filled", ["empty", "one", "many"])
def test_every_page_opens(database: Put, name: str, filled: str) -> None:
    """A page shows nothing, one and many without an error, and says who acts, where."""
    path = database(filled)
    app = open_page(name)
    assert not app.exception
    assert not app.error
    assert path.name in words(app)


@pytest.mark.parametrize(
    ("name", "advice"), [("home", "stanchion run"), ("runs", "stanchion run"), ("trail", "Nobody has decided")]
)
def test_an_empty_page_says_what_to_do_next(database: Put, name: str, advice: str) -> None:
    """Where there is nothing to show, a page says how something comes there."""
    database("empty")
    assert advice in open_page(name).info[0].value


def test_home_shows_how_everything_stands(database: Put) -> None:
    """Home says what ended, what waits, what is not well, how long steps took and what was spent."""
    database("many")
    app = open_page()
    tiles = re.findall(r"<span>([^<]+)</span><b>([^<]+)</b>", words(app))
    assert dict(tiles) == {"Ended": "61", "Reviews waiting": "2", "Not ended, besides": "0", "Workers": "0"}
    said = words(app)
    assert "1 run failed." in said
    assert "slowest first" in said
    assert "2 min" in said  # the budget of a step


def test_links_of_home_keep_its_workflow_and_span(database: Put) -> None:
    """What failed is counted for a workflow and a span of time, and the link leads to just that."""
    database("many")
    (link,) = [part.proto for part in open_page(workflow="letters").get("page_link") if part.proto.label == "See them"]
    assert "standing=failed" in link.query_string
    assert "workflow=letters" in link.query_string
    assert "since=20" in link.query_string


def test_home_follows_its_address(database: Put) -> None:
    """The workflow and the span of time stand in the address of Home."""
    database("many")
    app = open_page(workflow="letters", span="7 days")
    assert app.selectbox[0].value == "letters"
    assert "7 days" in words(app)


def test_runs_are_listed_fifty_at_a_time(database: Put) -> None:
    """A long list is shown in pages, and the address says which."""
    database("many")
    app = open_page("runs")
    assert len(table(app)["run"]) == 50
    app = open_page("runs", page="2")
    assert len(table(app)["run"]) == 13
    assert "51–63 of 63" in words(app)


# --- The address says what is looked for ---


def test_an_address_is_a_filter(database: Put) -> None:
    """Runs shows what its address asks for, and sets its filters to it."""
    database("many")
    app = open_page("runs", standing="review", sort="oldest")
    assert set(table(app)["stands"]) == {"? review"}
    assert app.selectbox(key="runs_standing").value == "review"


def test_a_filter_changes_the_address(database: Put) -> None:
    """Whatever is chosen on Runs stands in its address afterwards, and the page of the list begins anew."""
    database("many")
    app = open_page("runs", page="2")
    app.selectbox(key="runs_standing").set_value("failed").run()
    assert app.query_params == {"standing": "failed"}
    assert table(app)["input"] == ["breaks"]
    app.text_input(key="runs_text").set_value("nobody").run()
    assert app.query_params == {"standing": "failed", "text": "nobody"}
    assert "No run is like this" in app.info[0].value
    button(app, "Show all runs").click().run()
    assert app.query_params == {}
    assert len(table(app)["run"]) == 50


def test_a_wrong_address_says_what_it_takes(database: Put) -> None:
    """A value that no filter takes is refused by its name, and one press leads back."""
    database("many")
    app = open_page("runs", min_cost="cheap")
    assert "min_cost" in read(app.error[0].value)
    button(app, "Show all runs").click().run()
    assert not app.error
    assert app.query_params == {}


def test_a_view_is_a_link_with_a_name(database: Put) -> None:
    """A saved view is an address that holds the filters and its name, which the page then has as its title."""
    database("many")
    app = open_page("runs", standing="failed")
    app.text_input(key="runs_view_name").set_value("to be mended").run()
    assert app.code[0].value.endswith("runs?standing=failed&view=to+be+mended")
    app = open_page("runs", standing="failed", view="to be *mended*")
    assert app.subheader[0].value == "Runs: to be \\*mended\\*"


def test_who_comes_back_from_a_run_finds_the_list_that_they_left(database: Put) -> None:
    """Streamlit leaves a run's id in the address of the list; the filters take its place again."""
    database("many")
    app = open_page("runs", standing="failed")
    app.query_params = {"run": "somerun"}
    app.run()
    assert app.query_params == {"standing": "failed"}


# --- Many at once ---


def act(app: AppTest, action: str, reason: str) -> AppTest:
    """Press an action on all runs that are found, with a reason."""
    app.toggle(key="bulk_all").set_value(True)
    app.run()
    app.text_input(key=f"bulk reason {action}").set_value(reason)
    (press,) = [one for one in app.button if one.label.startswith(f"{action}: ")]
    return press.click().run()


def test_cancel_ends_what_can_end_and_names_what_cannot(database: Put) -> None:
    """Of the runs that are acted on, those that had ended stay, and the page says which, where and why not."""
    path = database("many")
    app = act(open_page("runs", text="asks"), "Cancel", "no longer needed")
    assert "1 of 1 runs cancelled" in app.success[0].value
    app = act(open_page("runs"), "Cancel", "all of them")
    assert "1 of 63 runs cancelled" in app.warning[0].value
    assert "60 accepted" in read(app.warning[0].value)
    assert any("breaks" in one.value for one in app.code)
    ledger = Ledger(Database(path))
    assert {run.status for run in ledger.runs(limit=100)} == {"done", "cancelled"}
    assert [entry.content["reason"] for entry in Trail(ledger.database).entries()] == [
        "all of them",
        "no longer needed",
    ]


def test_what_is_ticked_is_what_is_acted_on(database: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is ticked stays the one that is meant, also when newer ones have come above it since."""
    path = database("many")
    chosen: list[int] = []
    monkeypatch.setattr("stanchion.ui.runs._selection", lambda _listed: chosen)  # AppTest cannot tick a row
    monkeypatch.setattr("stanchion.ui.runs.FRESH", 0.0)
    app = open_page("runs", standing="review")
    first = str(table(app)["run"][0]).removeprefix("run?run=")
    chosen.append(0)
    run_letters(path, newer="name: Zoe?\npages: 9")
    app.run()
    app.text_input(key="bulk reason Cancel").set_value("this one")
    chosen_then = [one for one in app.button if one.label == "Cancel: 1 run"]
    chosen_then[0].click().run()
    assert [run.id for run in Ledger(Database(path)).runs(status="cancelled")] == [first]


def test_nothing_is_done_without_a_reason(database: Put) -> None:
    """An action without a reason changes nothing and says so."""
    path = database("many")
    app = act(open_page("runs", text="asks"), "Cancel", "  ")
    assert "Say why first" in words(app)
    assert Ledger(Database(path)).runs(status="cancelled") == []


def test_running_again_makes_new_runs(database: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run again queues a new run for each, which the console goes on with where no worker runs."""
    path = database("one")
    resumed: list[tuple[str, str]] = []
    monkeypatch.setattr("stanchion.ui.background.Background.resume", lambda _self, runs: resumed.extend(runs))
    app = act(open_page("runs"), "Run again", "with the new version")
    assert "1 of 1 runs queued anew" in app.success[0].value
    (new,) = [run for run in Ledger(Database(path)).runs() if run.origin]
    assert resumed == [(new.reference, new.id)]


def test_paused_runs_are_resumed(database: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause holds a run back, Resume lets it go on; one that waits for a person is left to that person."""
    path = database("many")
    act(open_page("runs", text="asks"), "Pause", "wait")
    assert [run.paused_why for run in Ledger(Database(path)).runs(limit=100) if run.input_id == "asks"] == ["wait"]
    act(open_page("runs", standing="paused"), "Resume", "go")
    assert all(run.paused_at is None for run in Ledger(Database(path)).runs(limit=100))


def test_the_reason_to_resume_is_kept(database: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are let go on stand in the trail with who and why, and the page says that the list is read again."""
    path = database("one")
    resumed: list[tuple[str, str]] = []
    monkeypatch.setattr("stanchion.ui.background.Background.resume", lambda _self, runs: resumed.extend(runs))
    operations = Operations(Database(path))
    (old,) = Ledger(operations.database).runs()
    (new,) = operations.rerun([old.id], by="ann", reason="again")
    app = act(open_page("runs", standing="queued"), "Resume", "because I said so")
    assert "1 of 1 runs go on" in app.success[0].value
    assert "read again in a moment" in app.success[0].value
    assert resumed == [(new.reference, new.id)]
    entry = Trail(operations.database).entries()[0]
    assert (entry.what, entry.run_id, entry.content["reason"]) == ("run resumed", new.id, "because I said so")


def test_what_all_means_is_said(database: Put) -> None:
    """The switch for everything says that it means what the filter finds."""
    database("many")
    assert open_page("runs", standing="review").toggle[0].label == "All 2 found"


# --- As code ---


@pytest.mark.parametrize(
    ("name", "query", "printed", "command"),
    [
        (
            "runs",
            {"text": 'it\'s "quoted"', "standing": "failed", "min_cost": "0.05"},
            "",
            "'--find=it'\"'\"'s \"quoted\"'",
        ),
        ("runs", {"standing": "failed"}, "failed breaks", "stanchion runs --outcome=failed"),
        (
            "runs",
            {"since": "2020-01-01T00:00:00Z", "max_seconds": "1e6", "status": "waiting"},
            "review asks",
            "--since=",
        ),
        ("trail", {"by": "ann"}, "workflow paused", "stanchion trail list --by=ann"),
        ("operations", {}, "'openai:gpt-4o'", "stanchion breaker openai:gpt-4o --open"),
    ],
)
def test_what_is_on_the_screen_is_there_as_code(
    database: Put, capsys: pytest.CaptureFixture[str], name: str, query: dict[str, str], printed: str, command: str
) -> None:
    """The Python of a page runs and finds what the page shows; the commands name the same."""
    path = database("many")
    operations = Operations(Database(path))
    operations.pause_workflow("letters", by="ann", reason="month end")
    Breakers(operations.database, SystemClock()).force("openai:gpt-4o", "open", by="ann", reason="red")
    app = open_page(name, **query)
    python, commands = [one.value for one in app.code if path.name in one.value]
    exec(compile(python, "page", "exec"), {})
    assert printed in capsys.readouterr().out
    assert command in commands


def test_the_commands_of_a_page_are_commands_of_ours(database: Put) -> None:
    """Every option that Runs writes down is one that the command line takes."""
    import shlex

    import typer

    from stanchion.cli import app as commands
    from stanchion.runs.finding import RunFilter

    database("one")
    values = {"standing": "failed", "status": "done", "rung": "model", "sort": "oldest", "since": "2020-01-01",
              "until": "2030-01-01"}  # fmt: skip
    every = {name: values.get(name, "1") for name in RunFilter.model_fields}
    (line,) = [one.value for one in open_page("runs", **every).code if one.value.startswith("stanchion ")]
    known = {option for part in typer.main.get_command(commands).commands["runs"].params for option in part.opts}
    assert {word.split("=")[0] for word in shlex.split(line) if word.startswith("--")} <= known


# --- Operations ---


def press(app: AppTest, name: str, reason: str) -> AppTest:
    """Fill in the reason of a form of Operations, and press its button."""
    (why,) = [one for one in app.text_input if one.key.startswith(f"why {name}")]
    why.set_value(reason)
    return button(app, name).click().run()


def test_a_workflow_is_paused_and_let_go_on(database: Put) -> None:
    """Operations holds a workflow back and lets it go on, each with a reason that is shown and kept."""
    path = database("one")
    app = press(open_page("operations"), "Pause a workflow", "month end")
    assert "letters is paused" in app.success[0].value
    assert "month end" in words(app)
    assert "month end" in words(open_page())
    app = press(app, "Let a workflow go on", "over")
    assert Operations(Database(path)).paused_workflows() == []
    assert [entry.what for entry in Trail(Database(path)).entries()] == ["workflow unpaused", "workflow paused"]


def of_breaker(app: AppTest, part: str) -> str:
    """The key of a part of the form for breakers, which is new after each change."""
    return f"breaker_{part} {app.session_state['operations_done']}"


def move_breaker(app: AppTest, label: str, reason: str) -> AppTest:
    """Give a reason for a change of a breaker, and press the button with a label."""
    app.text_input(key=f"why breaker {app.session_state['operations_done']}").set_value(reason).run()
    (press,) = [one for one in app.button if read(one.label) == label]
    return press.click().run()


def test_a_breaker_is_forced_and_released(database: Put) -> None:
    """Operations forces the breaker of any model, says so on Home, and releases it."""
    path = database("one")
    app = open_page("operations")
    app.text_input(key=of_breaker(app, "other")).set_value("openai:gpt-4o-mini").run()
    app = move_breaker(app, "Force openai:gpt-4o-mini open", "their status page is red")
    assert "is open, forced" in read(app.success[0].value)
    assert "The breaker of openai:gpt-4o-mini is open, forced by" in "".join(
        part.proto.body for part in open_page().get("html")
    )
    app = open_page("operations")
    app.selectbox(key=of_breaker(app, "model")).set_value("openai:gpt-4o-mini").run()
    app.radio(key=of_breaker(app, "move")).set_value("release").run()
    move_breaker(app, "Release openai:gpt-4o-mini", "green again")
    assert Breakers(Database(path), SystemClock()).of("openai:gpt-4o-mini").forced is False


def test_no_breaker_is_changed_that_nobody_named(database: Put) -> None:
    """No model is chosen from the start, and a chosen one beside another typed one is refused."""
    path = database("one")
    Breakers(Database(path), SystemClock()).force("openai:gpt-4o", "closed", by="ann", reason="to be listed")
    app = open_page("operations")
    assert button(app, "Force … open").disabled
    app.text_input(key=of_breaker(app, "other")).set_value("openai:other").run()
    assert not button(app, "Force openai\\:\u2060other open").disabled
    app.selectbox(key=of_breaker(app, "model")).set_value("openai:gpt-4o").run()
    assert "take one of them away" in app.warning[0].value
    assert button(app, "Force … open").disabled
    app.text_input(key=of_breaker(app, "other")).set_value("").run()
    move_breaker(app, "Force openai:gpt-4o open", "red")
    assert [one.model for one in Breakers(Database(path), SystemClock()).standing() if one.breaker == "open"] == [
        "openai:gpt-4o"
    ]


@pytest.mark.parametrize("typed", ["openai:gpt-4o", " openai:gpt-4o "])
def test_names_that_are_said_can_be_copied(database: Put, typed: str) -> None:
    """A model's name that was shown with invisible marks stands beside it as it is."""
    database("one")
    app = open_page("operations")
    app.text_input(key=of_breaker(app, "other")).set_value(typed).run()
    app = move_breaker(app, "Force openai:gpt-4o open", "red")
    assert "openai:gpt-4o" in [one.value for one in app.code]


@pytest.mark.parametrize(("name", "reason"), [("Pause a workflow", " "), ("Force a:b open", "")])
def test_operations_asks_why(database: Put, name: str, reason: str) -> None:
    """Nothing is changed without a reason."""
    path = database("one")
    app = open_page("operations")
    app.text_input(key=of_breaker(app, "other")).set_value("a:b").run()
    app = press(app, name, reason) if name.startswith("Pause") else move_breaker(app, name, reason)
    assert "Say why first" in app.error[0].value
    assert Trail(Database(path)).entries() == []


def test_a_refusal_of_the_library_is_said_where_it_was_pressed(database: Put) -> None:
    """What the library refuses stands on the page in its own words, and nothing is changed."""
    database("one")
    app = open_page("operations")
    app.text_input(key=of_breaker(app, "other")).set_value("none").run()
    assert "names no model" in move_breaker(app, "Force none open", "why not").error[0].value


def test_operations_says_what_is_in_force(database: Put, tmp_path: Path) -> None:
    """Caps and rates of stanchion.toml are shown with where they come from, and whether a worker runs is said."""
    database("one")
    (tmp_path / "stanchion.toml").write_text('[all.money]\nworkflow = "$2"\n', encoding="utf-8")
    said = words(open_page("operations"))
    assert "money.workflow" in said
    assert "stanchion.toml [all]" in said
    assert "No worker is running" in said


# --- Trail ---


def test_the_trail_is_verified(database: Put) -> None:
    """Verify says that the trail is whole, or names the place where it is not."""
    path = database("one")
    press(open_page("operations"), "Pause a workflow", "month end")
    app = button(open_page("trail"), "Verify").click().run()
    assert "All 1 entries" in app.success[0].value
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE trail SET by = 'somebody else'")
    connection.close()
    app = button(open_page("trail"), "Verify").click().run()
    assert "problems in 1 entries" in app.error[0].value
    assert app.dataframe[0].value["entry"][0] == "1"


def test_the_trail_is_filtered_by_its_address(database: Put) -> None:
    """The trail of one run or person has an address of its own."""
    path = database("many")
    operations = Operations(Database(path))
    asks, other = Ledger(operations.database).runs(status="waiting")
    operations.cancel([asks.id], by="ann", reason="one")
    operations.cancel([other.id], by="bob", reason="two")
    assert table(open_page("trail", run=asks.id))["who"] == ["ann"]
    assert table(open_page("trail", by="bob"))["why"] == ["two"]
    assert "No entry is like this" in open_page("trail", by="carol").info[0].value
    app = open_page("trail")
    app.text_input(key="trail_by").set_value("ann").run()
    assert app.query_params == {"by": "ann"}


# --- Trouble ---


def test_a_broken_database_is_said_in_words(database: Put) -> None:
    """Where the database cannot be read, the page says so and what to press, and shows no traceback."""
    path = database("one")
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE run_counts")
    connection.close()
    app = open_page()
    assert not app.exception
    assert "cannot be used" in app.error[0].value
    assert button(app, "Look again")


def test_a_database_of_something_else_is_refused_at_the_door(database: Put, tmp_path: Path) -> None:
    """A file that is none of our databases is named, and nothing else is shown."""
    path = database("one")
    path.write_bytes(b"this is no database, and it is long enough to be none" * 40)
    app = open_page("runs")
    assert "cannot be used" in app.error[0].value
    assert not app.dataframe


def test_a_defect_shows_where_it_is_and_nothing_of_a_document(database: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of ours is named by its place; its own words, which may be a document's, stay off the page."""
    database("one")

    def broken(*_: object) -> None:
        raise KeyError("the document's words")

    monkeypatch.setattr("stanchion.ui.runs.count_runs", broken)
    app = open_page("runs")
    assert "A defect of ours" in app.error[0].value
    assert "document" not in words(app)


def test_what_goes_wrong_in_a_callback_is_said_by_the_page() -> None:
    """A callback that fails is told in our words where the page comes next, once, with names that can be copied."""

    def script() -> None:
        import streamlit as st

        from stanchion.errors import UsageError
        from stanchion.ui.telling import told

        def press() -> None:
            with told():
                raise UsageError("No: ann@example.com is not here.")

        st.button("Go", on_click=press)
        with told():
            st.text("the page")

    app = AppTest.from_function(script).run()
    button(app, "Go").click().run()
    assert not app.exception
    assert "is not here" in app.error[0].value
    assert app.code[0].value == "ann@example.com"
    assert app.text[0].value == "the page"
    assert [one.label for one in app.button] == ["Go"]
    assert not app.run().error


# --- Who may only look ---


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_who_is_no_operator_is_offered_nothing(
    database: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Viewers and reviewers see every page, without a button that the library would refuse them."""
    database("many")
    monkeypatch.setenv("STANCHION_CONSOLE", "shared")
    (tmp_path / "stanchion.toml").write_text(f'[people]\n"ann@example.com" = ["{role}"]\n', encoding="utf-8")
    for name in PAGES:
        app = open_page(name, user=login("ann@example.com"))
        assert not app.exception
        assert not app.error
        labels = {one.label for one in app.button}
        assert not labels & {"Pause a workflow", "Change a breaker", "Cancel: 0 runs"}
        assert not app.toggle


def test_the_library_refuses_what_a_page_would_not_offer(database: Put) -> None:
    """A viewer who gets at the functions of a page all the same is refused by the library."""
    from stanchion.errors import NotAllowed

    path = database("one")
    viewer = Person("ann@example.com", frozenset({"viewer"}), "login")
    (run,) = Ledger(Database(path)).runs()
    with pytest.raises(NotAllowed):
        Operations(Database(path)).cancel([run.id], by=viewer, reason="me")


# --- Hostile texts ---


@pytest.mark.parametrize("name", PAGES)
def test_hostile_texts_reach_no_place_that_renders_markdown(database: Put, name: str) -> None:
    """What a document says is in cells and escaped HTML only: no Markdown, no tag, no icon."""
    path = database("many")
    operations = Operations(Database(path))
    operations.pause_workflow("letters", by=HOSTILE, reason=HOSTILE)
    app = open_page(name)
    for trap in ("![x](", "<script>", ":material/home:", "**bold**", "$x^2$", "www.evil"):
        assert trap not in markdown(app)
    assert "<script>" not in "".join(part.proto.body for part in app.get("html"))


def test_exports_hold_no_formula(database: Put) -> None:
    """What is exported as CSV begins no cell like a formula."""
    from stanchion.runs.finding import RunFilter
    from stanchion.ui import runs
    from stanchion.ui.access import Console
    from stanchion.ui.background import Background

    store = Database(database("many"))
    console = Console(store, lambda: Person("me"), SystemClock(), False, Background(store, SystemClock()))
    text = runs._as_csv(console, RunFilter(standing="review"))
    assert "'=cmd()" in text
    assert json.dumps(text).count(",=cmd") == 0
