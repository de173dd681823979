"""Finding runs: what each filter and sort finds, that no text or URL breaks it, and that no table is read whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.errors import UsageError
from stanchion.runs.finding import RUNGS, SORTS, STANDINGS, RunFilter, RunLine, choices, count_runs, find_runs
from stanchion.runs.forgetting import erase, prune
from stanchion.runs.ledger import Ledger
from stanchion.store import Database

START = datetime(2026, 11, 1, tzinfo=UTC)
A_RUN = {
    "workflow": "receipts",
    "reference": "receipts",
    "version": "1",
    "model": "none",
    "prompts": "{}",
    "status": "done",
    "outcome": "accepted",
    "created_at": START.isoformat(),
}
RUNS: dict[str, dict[str, Any]] = {
    "accepted": {"reason": "The rungs agree.", "output": {"company": "Café Zürich", "items": [{"name": "green tea"}]}},
    "reviewed": {"outcome": "reviewed", "rung": "human", "workflow": "invoices", "confidence": 0.4, "cost": 5_000_000},
    "refused": {"outcome": "refused", "reason": "The document is empty.", "version": "2", "cost": None},
    "failed": {"outcome": "failed", "error_class": "KeyError", "worked_ms": 9_000.0, "cost": 70_000_000},
    "waiting": {"status": "waiting", "outcome": None, "confidence": 0.2, "path": "/intake/model/review/"},
    "held": {"status": "waiting", "outcome": None, "paused_at": START.isoformat(), "tenant": "acme"},
    "queued": {"status": "queued", "outcome": None, "model": "openai:gpt-4o-mini"},
    "cancelled": {"status": "cancelled", "outcome": None, "path": "/intake/remodel/", "worked_ms": 1_500.0},
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Eight runs, an hour apart, each with a name for an input id and nothing in common that it need not have."""
    made = Database(tmp_path_factory.mktemp("finding") / "runs.db")
    add(made, RUNS)
    yield made
    made.close()


def add(database: Database, runs: dict[str, dict[str, Any]], *, apart: timedelta = timedelta(hours=1)) -> None:
    """Write runs as a ledger does: accepted first, everything else later."""
    for number, (name, more) in enumerate(runs.items()):
        row = {**A_RUN, "id": f"{number}id{name}", "created_at": (START + number * apart).isoformat(), **more}
        late = {"reason": row.pop("reason", None), "output": json.dumps(row.pop("output", None))}
        late["error_class"] = row.pop("error_class", None)
        insert(database, {**row, "input_id": name}, late)


def insert(database: Database, row: dict[str, Any], late: dict[str, Any]) -> None:
    def work(tables: Any) -> None:
        tables.table("runs").insert(row)
        tables.table("runs").update(row["id"], late)

    database.write_now(work)


def names(found: list[RunLine]) -> list[str]:
    return [line.input_id for line in found]


# --- What is found ---


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, list(reversed(RUNS))),
        ({"workflow": "invoices"}, ["reviewed"]),
        ({"standing": "accepted"}, ["accepted"]),
        ({"standing": "review"}, ["waiting"]),
        ({"standing": "paused"}, ["held"]),
        ({"standing": "queued"}, ["queued"]),
        ({"standing": "cancelled"}, ["cancelled"]),
        ({"status": "waiting"}, ["held", "waiting"]),
        ({"status": "done"}, ["failed", "refused", "reviewed", "accepted"]),
        ({"rung": "human"}, ["reviewed"]),
        ({"version": "2"}, ["refused"]),
        ({"model": "openai:gpt-4o-mini"}, ["queued"]),
        ({"tenant": "acme"}, ["held"]),
        ({"step": "model"}, ["waiting"]),
        ({"step": "intake"}, ["cancelled", "waiting"]),
        ({"error": "KeyError"}, ["failed"]),
        ({"since": START + timedelta(hours=6)}, ["cancelled", "queued"]),
        ({"until": START + timedelta(hours=1)}, ["accepted"]),
        ({"since": datetime(2026, 11, 1, 7)}, ["cancelled"]),  # noqa: DTZ001 - which is taken for UTC
        ({"min_cost": Decimal("0.005")}, ["failed", "reviewed"]),
        ({"min_cost": "0.005", "max_cost": "0.005"}, ["reviewed"]),
        ({"min_seconds": 1.5}, ["cancelled", "failed"]),
        ({"min_seconds": 1.5, "max_seconds": 1.5}, ["cancelled"]),
        ({"standing": "failed", "min_seconds": 10}, []),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_a_filter_finds_what_it_names(database: Database, wanted: dict[str, Any], expected: list[str]) -> None:
    """Each filter leaves only the runs that it names, the newest first, and counts as many as it finds."""
    assert names(find_runs(database, RunFilter(**wanted))) == expected
    assert count_runs(database, RunFilter(**wanted)) == len(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafe zurich", ["accepted"]),
        ("ZÜRICH tea", ["accepted"]),
        ("gre", ["accepted"]),
        ("empt docu", []),
        ("document emp", ["refused"]),
        ("refused", ["refused"]),
        ("company", []),
        ("3idfai", ["failed"]),
        ("3id", []),
        ("---", []),
        ("  ", list(reversed(RUNS))),
    ],
)
def test_text_finds_input_ids_reasons_values_and_ids(database: Database, text: str, expected: list[str]) -> None:
    """All words must be there, without regard to accents and case; the last may be unfinished; keys are no text."""
    assert names(find_runs(database, RunFilter(text=text))) == expected


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("newest", ["cancelled", "queued", "held"]),
        ("oldest", ["accepted", "reviewed", "refused"]),
        ("slowest", ["failed", "cancelled", "queued"]),
        ("dearest", ["failed", "reviewed", "cancelled"]),
        ("least_sure", ["waiting", "reviewed", "cancelled"]),
    ],
)
def test_a_list_is_sorted(database: Database, sort: str, first: list[str]) -> None:
    """Each order has what it is named after in front, what is unknown at the end, and among equals the newest first."""
    found = names(find_runs(database, RunFilter(sort=sort)))

    assert found[:3] == first
    assert sorted(found) == sorted(RUNS)
    if sort == "dearest":
        assert found[-1] == "refused"


@pytest.mark.parametrize("sort", SORTS)
def test_pages_follow_each_other(database: Database, sort: str) -> None:
    """Page after page, each run comes once, in the order of one long list."""
    wanted = RunFilter(sort=sort)
    pages = [find_runs(database, wanted, limit=3, offset=start) for start in range(0, 12, 3)]

    assert [line for page in pages for line in page] == find_runs(database, wanted)
    assert [len(page) for page in pages] == [3, 3, 2, 0]


def test_runs_accepted_at_once_stay_in_their_order(tmp_path: Path) -> None:
    """Runs of one batch have the same time; the list has them as they were given, not by chance."""
    database = Database(tmp_path / "runs.db")
    add(database, {f"doc-{10 - number}": {} for number in range(10)}, apart=timedelta())

    assert names(find_runs(database, RunFilter(sort="oldest"))) == [f"doc-{10 - number}" for number in range(10)]
    assert names(find_runs(database, RunFilter(), limit=1)) == ["doc-1"]
    database.close()


def test_a_line_says_what_the_run_says(database: Database) -> None:
    """What a list shows of a run is what the ledger has of it, and it stands where the ledger says it stands."""
    ledger = Ledger(database)
    for line in find_runs(database, RunFilter()):
        run = ledger.run(line.id)
        shared = set(RunLine.model_fields) & set(type(run).model_fields) - {"calls", "cost_usd"}
        assert {name: getattr(line, name) for name in shared} == {name: getattr(run, name) for name in shared}
        assert line.standing == run.standing
    costs = {line.input_id: line.cost_usd for line in find_runs(database, RunFilter())}
    assert (costs["failed"], costs["refused"], costs["queued"]) == (Decimal("0.07"), None, Decimal(0))


def test_what_filters_can_be_set_to(database: Database) -> None:
    """Every workflow, version, model, step and error class that was ever recorded is offered, each once, in order."""
    step = {"run_id": "0idaccepted", "task_id": "t1", "node": "intake", "attempts": 1, "started_at": START.isoformat()}
    database.write_now(lambda tables: tables.table("steps").insert_all([step, {**step, "task_id": "t2"}]))

    offered = choices(database)
    assert offered.workflows == ["invoices", "receipts"]
    assert offered.versions == ["1", "2"]
    assert offered.models == ["none", "openai:gpt-4o-mini"]
    assert offered.errors == ["KeyError"]
    assert offered.steps == ["intake"]


# --- The text of runs comes and goes with them ---


def test_erased_text_is_not_found(tmp_path: Path) -> None:
    """What was erased of a run finds it no more; its input id, which stays on record, does."""
    database = Database(tmp_path / "runs.db")
    add(database, {"doc-1": {"output": {"name": "Ottilie"}}, "doc-2": {"output": {"name": "Ottilie"}}})
    erase(database, "0iddoc-1", by="Ada")

    assert names(find_runs(database, RunFilter(text="ottilie"))) == ["doc-2"]
    assert names(find_runs(database, RunFilter(text="doc-1"))) == ["doc-1"]
    database.close()


def in_file(database: Database, words: bytes) -> bool:
    return any(words in path.read_bytes() for path in database.path.parent.rglob("*") if path.is_file())


def test_erased_text_is_gone_from_the_index(tmp_path: Path) -> None:
    """The full-text index holds no word of what was erased, in the file or beside it."""
    database = Database(tmp_path / "runs.db")
    add(database, {"doc-1": {"output": {"name": "ottilie"}}, "doc-2": {"output": {"name": "someone"}}})
    assert in_file(database, b"ottilie")
    erase(database, "0iddoc-1", by="Ada")

    assert not in_file(database, b"ottilie")
    database.close()


def test_pruned_text_is_gone_from_the_index(tmp_path: Path) -> None:
    """The full-text index holds no word of runs that were pruned, in the file or beside it."""
    database = Database(tmp_path / "runs.db")
    add(database, {"doc-1": {"output": {"name": "ottilie"}, "ended_at": START.isoformat()}, "doc-2": {}})
    prune(database, START + timedelta(days=1), by="Ada")

    assert names(find_runs(database, RunFilter())) == ["doc-2"]
    assert not in_file(database, b"ottilie")
    database.close()


@pytest.mark.parametrize(
    "output",
    ['{"total": NaN}', "[" * 5_000 + "]" * 5_000, '{"a": "\\u0000\\ud800 word"}', json.dumps({"a": "word " * 100_000})],
    ids=["nan", "deep", "half a character", "long"],
)
def test_no_output_keeps_a_run_from_ending(tmp_path: Path, output: str) -> None:
    """Whatever a workflow gives out is kept, even where text search can make nothing of it, or not of all of it."""
    database = Database(tmp_path / "runs.db")
    insert(database, {**A_RUN, "id": "run-1", "input_id": "doc"}, {"output": output})

    assert database.read("SELECT output FROM runs") == [{"output": output}]
    assert names(find_runs(database, RunFilter(text="doc"))) == ["doc"]
    database.close()


# --- Hostile texts and URLs ---

HOSTILE = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            ['"', "*", "-", "NEAR", "AND", "OR", "NOT", "(", ")", ":", "^", "+", "text:", "\0", "\ud800", "a"]
        )
    ).map(" ".join),
    st.lists(st.sampled_from(list("\"*-^:(){}\0\ud800ẞ漢+\\'%")), max_size=50).map("".join),
)


@settings(max_examples=200)
@given(text=HOSTILE)
def test_no_text_breaks_the_search(database: Database, text: str) -> None:
    """Quotes, operators, stars, NULs and halves of characters are text like any other, and are found or are not."""
    wanted = RunFilter(text=text)

    assert len(find_runs(database, wanted)) == count_runs(database, wanted)
    assert RunFilter.from_query(dict(parse_qsl(urlencode(wanted.to_query())))) == wanted


@pytest.mark.parametrize("text", ["word " * 10_000, "w" * 1_000_000, '"' * 100_000, "a-" * 100_000, "* " * 10_000])
def test_a_long_text_is_cut(database: Database, text: str) -> None:
    """Only the beginning of a long text counts, so that no text keeps the database busy."""
    assert len(RunFilter(text=text).text) <= 300
    assert find_runs(database, RunFilter(text=text)) == []


@pytest.mark.parametrize("quoted", ['"tea"', "tea*", "(tea)", "green-tea", 'tea"', "text:tea NOT"])
def test_operators_of_full_text_search_are_not_ours(database: Database, quoted: str) -> None:
    """A sign beside a word is passed over; a word that is an operator elsewhere is looked for like any other."""
    assert names(find_runs(database, RunFilter(text=quoted))) == ([] if "NOT" in quoted else ["accepted"])


KEYS = st.sampled_from([*RunFilter.model_fields, "run", "step2", "__class__"])
VALUES = st.one_of(
    st.text(max_size=50),
    st.sampled_from(["1e999", "NaN", "-1", "9" * 400, "0001-01-01T00:00+23:59", "9999-12-31T23:59-23:59", "20260101"]),
    st.lists(st.text(), max_size=2),
    st.none(),
)


@settings(max_examples=200)
@given(query=st.dictionaries(KEYS, VALUES, max_size=4))
def test_no_url_breaks_the_page(database: Database, query: dict[str, Any]) -> None:
    """A URL gives a filter that can be asked for, or an error that names the key; other keys are none of ours."""
    try:
        wanted = RunFilter.from_query(query)
    except UsageError as error:
        refused = str(error).partition(" takes ")[0]
        assert refused in RunFilter.model_fields and refused in query  # noqa: PT018 - most do not raise
        return
    assert len(find_runs(database, wanted)) <= count_runs(database, wanted)
    assert RunFilter.from_query(wanted.to_query()) == wanted


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(max_size=40),
        "workflow": st.text(min_size=1, max_size=40),
        "standing": st.sampled_from(STANDINGS),
        "rung": st.sampled_from(RUNGS),
        "since": st.datetimes(timezones=st.sampled_from([UTC])),
        "until": st.datetimes(),
        "min_cost": st.decimals(0, 1_000_000_000, places=9),
        "max_seconds": st.floats(0, 1e10),
        "sort": st.sampled_from(SORTS),
    },
)


@given(values=FILTERS)
def test_a_filter_survives_its_url(values: dict[str, Any]) -> None:
    """A filter that was written into a URL, as browsers encode it, is read from there again."""
    wanted = RunFilter(**values)
    assert RunFilter.from_query(dict(parse_qsl(urlencode(wanted.to_query())))) == wanted


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"standing": "waiting"}, "standing takes one of accepted, "),
        ({"since": 1_700_000_000}, "since takes a date"),
        ({"since": "yesterday"}, "since takes a date, with or without a time, such as 2026-11-23"),
        ({"min_cost": "-1"}, "min_cost takes US dollars as a number, such as 0.05; not '-1'"),
        ({"max_seconds": float("nan")}, "max_seconds takes seconds as a number"),
        ({"workflow": "x" * 301}, "workflow takes a name of 1 to 300 characters; not 'xxx"),
        ({"colour": "red"}, "Runs cannot be found by 'colour'; only by text, workflow"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], said: str) -> None:
    """What cannot be looked for is an error of ours that names the key, what it takes, and how the value begins."""
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        RunFilter(**values)
    assert len(str(refused.value)) < 300


def test_a_url_that_is_too_long_is_not_even_read() -> None:
    """A number of a million digits is refused by its length, before anybody takes it for a number."""
    with pytest.raises(UsageError, match=r"min_cost takes US dollars .*; not 1000000 characters"):
        RunFilter.from_query({"min_cost": "9" * 1_000_000})


@pytest.mark.parametrize("page", [{"limit": -1}, {"offset": -1}, {"limit": 10**30}, {"offset": 10**30}])
def test_a_page_begins_at_the_beginning(database: Database, page: dict[str, int]) -> None:
    """A negative limit, which SQLite takes for none, is refused, and so is a number that it has no room for."""
    with pytest.raises(UsageError, match="0 or more"):
        find_runs(database, RunFilter(), **page)


# --- How it is found ---

EVERY_FILTER: list[dict[str, Any]] = [
    {},
    {"text": "paper"},
    {"text": "paper7k3x"},
    *({name: "x"} for name in ("workflow", "version", "model", "tenant", "step", "error")),
    *({"standing": standing} for standing in STANDINGS),
    {"status": "done"},
    {"rung": "model"},
    {"since": START, "until": START + timedelta(days=1)},
    {"min_cost": 1, "max_cost": 2},
    {"min_seconds": 1, "max_seconds": 2},
    {"text": "paper", "workflow": "x", "standing": "accepted", "step": "y", "since": START, "min_cost": 0},
]


@pytest.mark.parametrize("wanted", EVERY_FILTER, ids=lambda wanted: "-".join(map(str, wanted)) or "everything")
def test_no_list_reads_a_table(database: Database, wanted: dict[str, Any]) -> None:
    """Lists and counts go through the covering index and the text index; the rows of a page are looked up by number.

    Without the index a list of 50 of 100,000 runs reads every document that was ever put in.
    """
    read = Overheard(database)
    for sort in SORTS:
        find_runs(read, RunFilter(**wanted, sort=sort))
    count_runs(read, RunFilter(**wanted))

    assert len(read.plans) == len(SORTS) + 1
    for step in (step for plan in read.plans for step in plan if re.match("SCAN|SEARCH", step)):
        assert re.match(
            r"(SCAN|SEARCH) runs USING COVERING INDEX |SCAN page$|SCAN runs_text VIRTUAL TABLE|"
            r"SEARCH runs USING INTEGER PRIMARY KEY \(rowid=\?\)",
            step,
        ), step


@pytest.mark.parametrize("sort", ["newest", "oldest"])
def test_the_first_page_by_time_is_read_in_its_order(database: Database, sort: str) -> None:
    """The index gives the order, so that a page ends the reading and only its 50 rows are sorted; nothing else is."""
    read = Overheard(database)
    find_runs(read, RunFilter(sort=sort))
    ((*inner, _, _, last),) = read.plans

    assert "TEMP B-TREE" in last
    assert not any("TEMP B-TREE" in step for step in inner)


def test_choices_are_read_from_their_own_small_table(database: Database) -> None:
    """What filters can be set to comes in the order of its key, from no other table."""
    read = Overheard(database)
    choices(read)

    assert read.plans == [["SCAN choices"]]


class Overheard(Database):
    """A database that notes how SQLite goes about each query."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.plans: list[list[str]] = []

    def read(self, sql: str, parameters: Any = ()) -> list[dict[str, Any]]:
        """Read as always, and note the plan."""
        plan = self._database.read(f"EXPLAIN QUERY PLAN {sql}", parameters)
        self.plans.append([row["detail"] for row in plan])
        return self._database.read(sql, parameters)
