"""The page of a run and the comparison of two: every standing of a run, hostile documents, who may do what."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from stanchion.runs.forgetting import erase
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Run
from stanchion.runs.timeline import PAGE, Doing, Span, StepLine
from stanchion.store import Database
from stanchion.store.prompts import PromptLabels, PromptVersion
from stanchion.store.trail import Trail
from stanchion.testing import FakeClock
from stanchion.ui import document
from stanchion.ui.background import Background
from stanchion.ui.compare import pairs
from stanchion.ui.document import Seen
from stanchion.ui.waterfall import Scale, rows, what_it_does
from tests.ui.pages import HOSTILE, login, open_page, words

Put = Callable[[str], Path]
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Place:
    """A database with letters before a console, and what is in it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.database = Database(path)
        self.ledger = Ledger(self.database)

    def run(self, input_id: str) -> Run:
        """The run of an input."""
        (found,) = [run for run in self.ledger.runs(limit=100) if run.input_id == input_id]
        return found

    def write(self, sql: str, *parameters: object) -> None:
        """Change something that no function of ours would."""
        self.database.write_now(lambda tables: tables.conn.execute(sql, parameters))

    def open(self, input_id: str, **query: str) -> AppTest:
        """Open the page of an input's run."""
        return open_page("run", run=self.run(input_id).id, **query)


@pytest.fixture
def place(database: Put) -> Iterator[Place]:
    """Sixty letters that were accepted, one that waits for a person, one that failed, one that is hostile."""
    opened = Place(database("many"))
    yield opened
    opened.database.close()


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that the console was asked to bring on; nothing is, in these tests."""
    asked: list[str] = []
    monkeypatch.setattr(Background, "resume", lambda _self, runs: asked.extend(run_id for _, run_id in runs))
    return asked


def html(app: AppTest) -> str:
    """All HTML of ours on a page."""
    return "\n".join(str(part.proto.body) for part in app.get("html"))


def drawn(app: AppTest) -> bool:
    """Whether a page shows the picture of a graph."""
    return any("The graph, with the path" in part.proto.json for part in app.get("bidi_component"))


def press(app: AppTest, label: str) -> AppTest:
    """Press the one button with a label."""
    (button,) = [one for one in app.button if one.label == label]
    return button.click().run()


def submit(app: AppTest, label: str, reason: str) -> AppTest:
    """Give a reason in the form of an action, and send it."""
    form = label.replace("Run again", "again").removesuffix(" this run")
    (why,) = [one for one in app.text_input if one.key.startswith((f"why_{form}_", f"{form}_why_"))]
    why.set_value(reason)
    return press(app, label)


def open_tab(app: AppTest, name: str) -> AppTest:
    """Open one of the tabs of the page."""
    app.session_state["run_tabs"] = name
    return app.run()


# --- How a run stands ---


def test_a_run_that_ended(place: Place) -> None:
    """The page says how the run ended, what it cost, and shows its last step, its guards and its graph."""
    app = place.open("letter-7")

    assert not app.exception
    assert not app.error
    assert app.subheader[0].value == "✓ accepted · letter\\-7"
    assert "letters version 1" in html(app)
    assert "no calls" in html(app)
    assert "Step 3 of 3 · outcome" in app.markdown[0].value
    assert drawn(app)
    assert "accept" in words(app)


def test_the_address_names_the_step(place: Place) -> None:
    """The step of the address is shown with what it changed; Back and Next change the address, and end at the ends."""
    app = place.open("letter-7", step="2")
    assert "Step 2 of 3 · read" in app.markdown[0].value
    assert "candidates" in html(app)
    assert "+ added" in html(app)

    press(app, "Next →")
    assert app.query_params["step"] in ("3", ["3"])
    assert "Step 3 of 3" in app.markdown[0].value
    assert [one.disabled for one in app.button if one.label in ("← Back", "Next →")] == [False, True]


@pytest.mark.parametrize("step", ["0", "99", "-1", "x", "1" * 5000, "²", "<script>"])
def test_an_address_that_names_no_step(place: Place, step: str) -> None:
    """A step that there is not is taken for the nearest one, or the last; never for an error."""
    app = place.open("letter-7", step=step)
    assert not app.exception
    assert not app.error
    assert "of 3" in app.markdown[0].value


@pytest.mark.parametrize("wanted", ["zzzzzzzzzzzz", "../etc", "*", "<script>", "a b", "![x](http://evil.test)", "\x00"])
def test_a_run_that_is_not_there(place: Place, wanted: str) -> None:
    """The page says so, shows the wanted id as text, and leads to the list."""
    app = open_page("run", run=wanted)
    assert not app.exception
    assert "There is no run" in app.warning[0].value
    assert "](" not in app.warning[0].value.replace("\\]\\(", "")


def test_no_run_was_chosen(place: Place) -> None:
    """Without a run in the address, the page says what to do."""
    assert "Choose a run" in open_page("run").info[0].value


def test_a_run_that_waits_for_a_person(place: Place) -> None:
    """The page leads to the question, and its waterfall says that the step waits."""
    app = place.open("asks")
    assert "review" in app.subheader[0].value
    assert "It waits for a person: answer" in words(app)
    assert "Is this the writer?" in html(app)


def test_a_run_that_failed(place: Place) -> None:
    """The step that broke it says what went wrong."""
    app = place.open("breaks")
    assert "failed" in app.subheader[0].value
    assert "the letter went boom" in html(app)


def test_a_run_that_nobody_has_worked_on(place: Place) -> None:
    """A queued run has no steps; the page says what brings it on."""
    run = place.run("letter-7")
    place.write("DELETE FROM steps WHERE run_id = ?", run.id)
    place.write("UPDATE runs SET status = 'queued', outcome = NULL, ended_at = NULL WHERE id = ?", run.id)
    app = place.open("letter-7")
    assert not app.exception
    assert not app.error
    assert "No step was taken" in words(app)
    assert "Resume this run" in [one.label for one in app.button]


def test_a_run_that_was_erased(place: Place) -> None:
    """What it held is gone from every tab; that it happened is still shown, and it cannot be run again."""
    erase(place.database, place.run("letter-7").id, by="ada", clock=FakeClock(NOON))
    app = place.open("letter-7", step="2")
    shown = words(app)
    for tab in ("Output", "Fork", "Trail"):
        shown += words(open_tab(app, tab))
        assert not app.exception
        assert not app.error
    assert "was erased on 01 March 2026" in shown
    assert "Nothing is kept" in shown
    assert "Ann" not in shown
    assert "Run again" not in [one.label for one in app.button]


def test_a_workflow_that_cannot_be_loaded_here(place: Place) -> None:
    """There is no picture, the page says why, and everything else is there."""
    place.write("UPDATE runs SET reference = 'no_such_module:workflow' WHERE input_id = 'letter-7'")
    app = place.open("letter-7", step="2")
    assert not app.exception
    assert not app.error
    assert not drawn(app)
    assert any("There is no picture: The module no\\_such\\_module" in one.value for one in app.caption)
    assert "candidates" in html(app)


def test_a_hostile_document_is_text_everywhere(place: Place) -> None:
    """Neither a name nor a document becomes HTML, Markdown, a link, an icon or a formula on any tab."""
    run = place.run(HOSTILE)
    place.write(
        "UPDATE steps SET state_in = ?, error = ?, node = ? WHERE run_id = ? AND position = 2",
        json.dumps({"source": {"text": HOSTILE}, HOSTILE: HOSTILE}), HOSTILE, HOSTILE, run.id,
    )  # fmt: skip
    app = open_page("run", run=run.id, step="2")
    for tab in ("Steps", "Output", "Reviews", "Trail", "Fork", "Python and command line"):
        open_tab(app, tab)
        assert not app.exception
        assert not app.error
        assert "<script" not in html(app)
        assert "<img" not in html(app)
        rendered = [*app.markdown, *app.caption, *app.subheader, *app.warning, *app.success, *app.info]
        for part in rendered:
            unescaped = re.sub(r"\\.", "", part.value)
            assert not set(unescaped) & set("<[$="), part.value
            assert ":material" not in unescaped


def test_half_characters_do_not_stop_the_page(place: Place) -> None:
    """Lone surrogates and NULs in a state, as broken documents leave them, are shown as blanks."""
    run = place.run("letter-7")
    state = '{"source": {"text": "a\\ud800b\\u0000c"}, "\\udfff": ["\\ud800"]}'
    place.write("UPDATE steps SET state_in = ?, state_out = ? WHERE run_id = ?", state, state, run.id)
    app = place.open("letter-7", step="2")
    assert not app.exception
    assert not app.error


def test_a_run_of_a_thousand_steps(place: Place) -> None:
    """A hundred steps are shown at a time, around the one of the address; buttons lead to the others."""
    run = place.run("letter-7")
    many = [
        {
            "run_id": run.id, "task_id": f"t{number}", "position": number, "node": "read", "attempts": 1,
            "started_at": NOON.isoformat(), "ended_at": (NOON + timedelta(seconds=1)).isoformat(), "ms": 1.0,
            "state_in": '{"n": 1}', "state_out": '{"n": 2}',
        }
        for number in range(4, 1001)
    ]  # fmt: skip
    place.database.write_now(lambda tables: tables.table("steps").insert_all(many))
    app = place.open("letter-7", step="450")
    assert "Step 450 of 1,000" in app.markdown[0].value
    assert any("401 to 500 of 1,000 steps" in one.value for one in app.caption)

    press(app, "Later steps")
    assert any("501 to 600 of 1,000 steps" in one.value for one in app.caption)
    assert not app.exception
    assert not app.error


def test_calls_show_the_prompt_as_sent_and_the_raw_answer(place: Place) -> None:
    """Messages, the answer, tokens, money and what went wrong on the way stand in the tab of models."""
    run = place.run("letter-7")
    (step,) = [step for step in place.ledger.steps(run.id) if step.position == 2]
    call = {
        "id": "call1", "run_id": run.id, "task_id": step.task_id, "node": "read", "key": "k", "model": "openai:tiny",
        "prompt": "letters.read", "prompt_version": "4", "prompt_hash": "h", "status": "answered", "attempts": 3,
        "request": json.dumps([
            {"type": "system", "data": {"content": "Read the <b>letter</b>."}},
            {"type": "human", "data": {"content": [{"type": "text", "text": "Dear Ann"}, {"data": "x" * 9_000}]}},
        ]),
        "answer": json.dumps([{"type": "ai", "data": {"content": "", "tool_calls": [{"name": "Letter"}]}}]),
        "input_tokens": 1200, "output_tokens": 34, "cost_usd": "0.0123", "started_at": NOON.isoformat(), "ms": 800.0,
    }  # fmt: skip
    place.database.write_now(lambda tables: tables.table("calls").insert(call))
    said = html(place.open("letter-7", step="2"))

    assert "Read the &lt;b&gt;letter&lt;/b&gt;." in said
    assert "Dear Ann" in said
    assert "&quot;name&quot;: &quot;Letter&quot;" in said
    assert all(word in said for word in ("1,200 tokens read, 34 written", "cost $0.0123", "3 requests", "version 4"))
    assert "x" * 5_000 not in said


def test_code_for_what_is_on_the_screen(place: Place) -> None:
    """Python and command line name this run, this step and this database, and the Python runs."""
    app = open_tab(place.open("letter-7", step="2"), "Python and command line")
    python, shell = (one.value for one in app.code)
    run_id = place.run("letter-7").id
    assert f"stanchion fork {run_id} --at 2" in shell
    assert str(place.database.path) in shell
    seen: dict[str, Any] = {}
    exec(python, seen)
    assert seen["found"].step.position == 2


# --- What may be done ---


def test_actions_ask_for_a_reason(place: Place) -> None:
    """Without a reason nothing is done, and the form says what is missing."""
    app = submit(place.open("asks"), "Cancel this run", " ")
    assert "Say why" in app.error[0].value
    assert place.run("asks").status == "waiting"


def test_cancel_ends_the_run_and_stands_in_the_trail(place: Place) -> None:
    """A cancelled run says so at once, has no more actions but another try, and its trail names who and why."""
    app = submit(place.open("asks"), "Cancel this run", "sent twice")
    assert place.run("asks").status == "cancelled"
    assert "cancelled" in app.subheader[0].value
    assert "Cancelled" in app.success[0].value
    assert {one.label for one in app.button} & {"Cancel this run", "Pause this run", "Resume this run"} == set()
    said = html(open_tab(app, "Trail"))
    assert "run cancelled" in said
    assert "sent twice" in said
    assert Trail(place.database).entries(run_id=place.run("asks").id)


def test_pause_and_let_go_on(place: Place, resumed: list[str]) -> None:
    """A paused run says by whom and why; let go on, it is brought on."""
    app = submit(place.open("asks"), "Pause this run", "asked the shop")
    assert "paused" in app.subheader[0].value
    assert "asked the shop" in app.warning[0].value
    assert "Resume this run" not in [one.label for one in app.button]

    submit(app, "Unpause this run", "they answered")
    assert place.run("asks").paused_at is None
    assert resumed == [place.run("asks").id]


def test_resume_takes_a_reason_and_stands_in_the_trail(place: Place, resumed: list[str]) -> None:
    """A queued run goes on once somebody said why; the reason is kept."""
    run = place.run("letter-7")
    place.write("UPDATE runs SET status = 'queued', outcome = NULL, ended_at = NULL WHERE id = ?", run.id)
    app = submit(place.open("letter-7"), "Resume this run", " ")
    assert "Say why" in app.error[0].value
    assert not resumed

    submit(app, "Resume this run", "the shop is back")
    assert resumed == [run.id]
    (entry,) = Trail(place.database).entries(run_id=run.id)
    assert (entry.what, (entry.content or {})["reason"]) == ("run resumed", "the shop is back")


def test_a_long_reason_is_shortened_above_and_whole_under_output(place: Place) -> None:
    """What an error said in 20,000 characters does not push the run off the screen."""
    place.write("UPDATE runs SET reason = ? WHERE input_id = 'letter-7'", "why " * 5_000 + "the end")
    app = place.open("letter-7")
    assert "all of it under Output" in html(app)
    assert "the end" not in html(app)
    assert "the end" in html(open_tab(app, "Output"))


def test_run_again_makes_a_new_run_and_leads_to_it(place: Place, resumed: list[str]) -> None:
    """A new run with the same input is queued and brought on; the page leads to it and to the comparison."""
    app = submit(place.open("letter-7"), "Run again", "to see it again")
    (new,) = [run for run in place.ledger.runs(limit=100) if run.origin]
    assert new.origin == place.ledger.run(new.origin).id
    assert resumed == [new.id]
    assert new.id in app.success[0].value
    assert "Compare with it" in words(app)


def test_fork_with_an_edited_state(place: Place, resumed: list[str]) -> None:
    """A new run goes on from before the step, with what was edited; the old one stays as it was."""
    app = open_tab(place.open("letter-7", step="3"), "Fork")
    app.multiselect[0].set_value(["output"]).run()
    app.text_area[0].set_value('{"name": "Eve", "pages": "9"}').run()
    (why,) = [one for one in app.text_input if one.key.startswith("fork_why")]
    why.set_value("what if it were Eve").run()
    press(app, "Fork")
    assert not app.exception
    assert not app.error
    (new,) = [run for run in place.ledger.runs(limit=100) if run.origin]
    assert (new.status, resumed) == ("queued", [new.id])
    assert place.ledger.run(new.origin or "").output == {"name": "Ann", "pages": "7"}


def test_a_fork_may_change_all_of_the_state(place: Place, resumed: list[str]) -> None:
    """Every key that the state declares is offered, also one that the step does not read, or that has no value yet."""
    app = open_tab(place.open("letter-7", step="3"), "Fork")
    offered = app.multiselect[0].options
    assert {"source", "candidates", "output", "rung"} <= {each.split(" ")[0] for each in offered}
    assert "outcome (has no value yet)" in offered
    app.multiselect[0].set_value(["rung"]).run()
    assert json.loads(app.text_area[0].value) == "rules"


def test_a_workflow_that_cannot_be_loaded_cannot_be_edited(place: Place) -> None:
    """The form says so, and still forks what it can be told."""
    place.write("UPDATE runs SET reference = 'no_such_module:workflow' WHERE input_id = 'letter-7'")
    app = open_tab(place.open("letter-7", step="3"), "Fork")
    assert not app.exception
    assert not app.multiselect
    assert "The state cannot be edited here" in words(app)


def test_the_form_of_a_fork_says_what_labels_mean_now(place: Place) -> None:
    """Which version of each prompt the run has, and which one a label would give the new run."""
    new = PromptVersion("letters.read", "h2", "5", {"system": "Read."})
    old = PromptVersion("letters.read", "h1", "4", {"system": "Look."})
    labels = PromptLabels(place.database)
    labels.add(new, own=old)
    labels.move("letters.read", "candidate", new, by="ada", reason="to try it")
    place.write("UPDATE runs SET prompts = ?", '{"letters.read": {"version": "4", "hash": "h1"}}')
    said = words(open_tab(place.open("letter-7"), "Fork"))
    assert "as in this run means version 4" in said
    assert "production means the version in the workflow's file" in said
    assert "candidate means version 5" in said


def test_an_edit_that_is_not_json_is_refused(place: Place, resumed: list[str]) -> None:
    """The form says which key and which line, and what was written stays."""
    app = open_tab(place.open("letter-7", step="3"), "Fork")
    app.multiselect[0].set_value(["output"]).run()
    app.text_area[0].set_value("{'name': 1}").run()
    press(app, "Fork")
    assert "output is not JSON" in app.error[0].value
    assert "line 1" in app.error[0].value
    assert app.text_area[0].value == "{'name': 1}"
    assert not resumed


@pytest.mark.parametrize("role", ["viewer", "reviewer"])
def test_who_may_not_operate_sees_no_actions(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """Viewers and reviewers see the whole run, and no button that the library would refuse them."""
    monkeypatch.setenv("STANCHION_CONSOLE", "shared")
    (tmp_path / "stanchion.toml").write_text(f'[people]\n"ann@example.com" = ["{role}"]\n', encoding="utf-8")
    app = open_page("run", user=login("ann@example.com"), run=place.run("asks").id)
    assert not app.exception
    assert "review" in app.subheader[0].value
    assert ("It waits for a person: answer" in words(app)) is (role == "reviewer")
    assert {one.label for one in app.button} <= {"← Back", "Next →", "Log out"}
    assert "takes the role operator" in words(open_tab(app, "Fork"))


# --- Two runs side by side ---


def test_two_runs_side_by_side(place: Place) -> None:
    """Where two runs differ is marked: outcome, steps and each field of the output."""
    one, other = place.run("letter-7"), place.run("asks")
    said = html(open_page("compare", one=one.id, other=other.id))
    assert "outcome ≠" in said
    assert "workflow ≠" not in said
    assert "not taken" in said
    assert "◷ waits" in said
    assert "≠ differs" in said


@pytest.mark.parametrize("query", [{}, {"one": "x"}, {"one": "zzz", "other": "zzz"}, {"one": "*", "other": "<b>"}])
def test_two_runs_of_which_one_is_missing(place: Place, query: dict[str, str]) -> None:
    """The page says what is missing, and leads to the list."""
    app = open_page("compare", **query)
    assert not app.exception
    assert not app.error
    assert app.info or app.warning


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
@settings(max_examples=100)
def test_steps_are_paired_in_order_and_none_is_lost(one: list[str], other: list[str]) -> None:
    """Every step of both paths stands in exactly one pair, in order, and pairs are of the same node."""
    found = pairs(one, other)
    assert [left for left, _ in found if left is not None] == list(range(len(one)))
    assert [right for _, right in found if right is not None] == list(range(len(other)))
    assert all(one[left] == other[right] for left, right in found if left is not None and right is not None)


# --- The waterfall ---


def span(doing: Doing, start: float, end: float | None) -> Span:
    """A span, in seconds after noon."""
    return Span(doing, NOON + timedelta(seconds=start), None if end is None else NOON + timedelta(seconds=end))


def line(*spans: Span, **fields: Any) -> StepLine:
    """A step with these spans."""
    usual = {"position": 1, "task_id": "t", "node": "read", "attempts": 1, "started_at": NOON, "spans": spans}
    return StepLine(**{**usual, **fields})


def a_run(**fields: Any) -> Run:
    """A run that is at work."""
    usual = {"id": "r", "workflow": "w", "reference": "w", "version": "1", "model": "none", "input_id": "i"}
    return Run(**{**usual, "status": "running", "created_at": NOON, **fields})


def test_a_wait_of_days_does_not_hide_the_work() -> None:
    """Three days of waiting are cut to a fraction of the second of work, and how long they were is said."""
    days = 3 * 86_400.0
    scale = Scale([span("running", 0, 1), span("waiting", 1, 1 + days), span("running", 1 + days, 2 + days)], NOON)
    (cut,) = scale.cuts
    assert cut.ms == days * 1000
    assert scale.at(NOON + timedelta(seconds=1)) > 40


SPANS = st.lists(
    st.builds(
        span,
        st.sampled_from(["running", "calling", "waiting", "queued", "backing off"]),
        st.floats(0, 1e6),
        st.none() | st.floats(0, 1e6),
    ),
    max_size=12,
)


@given(SPANS, st.lists(st.floats(-10, 2e6), min_size=2, max_size=6))
@settings(max_examples=100)
def test_later_never_stands_before_earlier(spans: list[Span], moments: list[float]) -> None:
    """Whatever the spans, even those that end before they begin, a moment stands between 0 and 100, in order."""
    scale = Scale(spans, NOON + timedelta(seconds=1e6))
    places = [scale.at(NOON + timedelta(seconds=moment)) for moment in sorted(moments)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


@pytest.mark.parametrize(
    ("step", "run", "word"),
    [
        (line(span("running", 0, None)), a_run(), "▶ runs"),
        (line(span("running", 0, None), span("failed call", 0, 1)), a_run(), "↻ retries"),
        (line(span("waiting", 0, None)), a_run(status="waiting"), "◷ waits"),
        (line(span("running", 0, 0)), a_run(status="queued", paused_at=NOON), "‖ paused"),
        (line(span("running", 0, 0)), a_run(status="cancelled", ended_at=NOON), "cut off"),
        (line(span("running", 0, 1), ended_at=NOON, decision="unsure"), a_run(), "unsure"),
        (line(span("running", 0, 1), ended_at=NOON), a_run(), "✓"),
        (line(ended_at=NOON, error="KeyError: 'x'"), a_run(), "✗ failed"),
        (line(late_at=NOON), a_run(), "✗ given up"),
    ],
)
def test_running_retrying_and_waiting_are_told_in_words(step: StepLine, run: Run, word: str) -> None:
    """Each way a step can stand has a word of its own."""
    assert what_it_does(step, run) == word


def test_each_bar_says_what_it_is(place: Place) -> None:
    """Screen readers and a resting mouse hear what every bar stands for, and how long it was."""
    (row,), _ = rows([line(span("running", 0, 2), span("backing off", 1, None))], a_run(), NOON + timedelta(seconds=5))
    assert row["said"] == "Step 1, read; running 2 s; backing off 4 s so far"
    assert row["time"] == "4 s"


def test_a_page_of_steps_is_bounded(place: Place) -> None:
    """What is sent to the browser for a page of steps stays small, however long names and errors are."""
    lines = [line(span("running", 0, 1), position=n, node="n" * 10_000, error="e" * 300) for n in range(1, PAGE + 1)]
    assert len(json.dumps(rows(lines, a_run(), NOON)[0])) < 100_000


# --- The document ---

PLACES = st.lists(st.builds(Seen, st.sampled_from("abc"), st.integers(-50, 200), st.integers(-50, 200)), max_size=8)


@given(st.text(max_size=80), PLACES)
@settings(max_examples=150)
def test_a_document_stays_whole_whatever_is_marked(words_: str, places: list[Seen]) -> None:
    """Places that overlap, lie outside or end before they begin never lose or double a character."""
    parts = list(document._parts(words_, places))
    assert "".join(words_[start:end] for start, end, _ in parts) == words_
    for start, end, here in parts:
        assert here == [one for one in places if one.start < one.end and one.start <= start and one.end >= end > start]


def test_evidence_is_marked_and_named() -> None:
    """The text that was seen is marked, says which fields it is, and a doubted one looks otherwise."""
    said = document.as_html("TOTAL 30.00", [Seen("total", 6, 11, "rules"), Seen("tax", 6, 11, doubted=True)])
    assert 'class="doubted"' in said
    assert "30.00<sup>total, tax</sup></mark>" in said


def test_a_document_and_its_names_are_text() -> None:
    """Nothing of a document, a field's name or a note becomes HTML."""
    said = document.as_html(HOSTILE, [Seen("<b>", 0, 5, note='" onmouseover="x')])
    assert "<script" not in said
    assert "<b>" not in said
    assert 'onmouseover="' not in said


def test_a_long_document_is_cut_and_says_so() -> None:
    """Of a document of a million characters the beginning is shown, and how much is missing."""
    said = document.as_html("a" * 1_000_000, [Seen("x", 999_000, 1_000_000), Seen("y", -5, 10)])
    assert len(said) < 2 * document.LONGEST
    assert "940,000 more characters" in said
