"""Versions of prompts and their labels: moved, rolled back, and never forgotten."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.errors import NotAllowed, StoreError, UsageError
from stanchion.people import Person
from stanchion.store import Database
from stanchion.store.prompts import LABELS, PromptLabels, PromptVersion, choose, keep, pin
from stanchion.store.trail import Trail
from stanchion.testing import FakeClock

NOW = datetime(2024, 1, 1, tzinfo=UTC)
ID = "letters.read"


def version(name: str, text_hash: str = "", **more: Any) -> PromptVersion:
    return PromptVersion(ID, text_hash or f"{name}{name}abcd", name, {"system": f"Read {name}"}, **more)


ONE, TWO, THREE = map(version, ("1", "2", "3"))


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[PromptLabels]:
    database = Database(tmp_path / "runs.db")
    yield PromptLabels(database, FakeClock())
    database.close()


def move(labels: PromptLabels, to: PromptVersion | None, label: str = "production") -> None:
    labels.move(ID, label, to, by="ana", reason="better")


def roll_back(labels: PromptLabels, label: str = "production") -> str | None:
    return labels.roll_back(ID, label, by="bo", reason="worse").hash


def test_a_label_that_was_never_moved_follows_the_file(labels: PromptLabels) -> None:
    """Nothing is pointed at, so whichever version the file has is meant."""
    assert [labels.label(ID, name) for name in LABELS] == [None, None]


def test_a_moved_label_points_at_its_version_and_no_other_does(labels: PromptLabels) -> None:
    """The version is kept with it; the other label, and those of other prompts, stay where they are."""
    move(labels, TWO)

    assert labels.label(ID, "production") == TWO.hash
    assert labels.label(ID, "candidate") is None
    assert labels.label("letters.sort", "production") is None
    assert [kept.texts for kept in labels.versions(ID)] == [TWO.texts]


def test_rolling_back_twice_goes_back_two(labels: PromptLabels) -> None:
    """Each rollback undoes one more move, down to the file, and then there is nothing to go back to."""
    for target in (ONE, TWO, THREE):
        move(labels, target)

    assert [roll_back(labels) for _ in range(3)] == [TWO.hash, ONE.hash, None]
    with pytest.raises(UsageError, match=r"production of letters\.read has nothing to go back to"):
        roll_back(labels)


def test_a_label_can_follow_the_file_again(labels: PromptLabels) -> None:
    """Moved to no version, it means the file's; a rollback undoes that too."""
    move(labels, TWO)
    move(labels, None)

    assert labels.label(ID, "production") is None
    assert roll_back(labels) == TWO.hash


def test_moving_a_label_to_where_it_is_changes_nothing(labels: PromptLabels) -> None:
    """A deployment that says the same again leaves no second move that a rollback would stop at."""
    move(labels, ONE)
    move(labels, TWO)
    move(labels, TWO)

    assert len(labels.moves(ID)) == 2
    assert roll_back(labels) == ONE.hash


def test_moves_stand_in_the_trail(labels: PromptLabels) -> None:
    """Who moved which label from where to where, and why; a move that changes nothing is none."""
    move(labels, TWO)
    move(labels, TWO)
    labels.move(ID, "production", None, by="ana", reason="")
    roll_back(labels)

    entries = Trail(labels.database).entries()[::-1]
    assert [(entry.what, entry.subject, entry.by, entry.content) for entry in entries] == [
        ("prompt label moved", ID, "ana", {"reason": "better"}),
        ("prompt label moved", ID, "ana", None),
        ("prompt label rolled back", ID, "bo", {"reason": "worse"}),
    ]
    assert [(entry.facts["hash_before"], entry.facts["hash"]) for entry in entries] == [
        (None, TWO.hash),
        (TWO.hash, None),
        (None, TWO.hash),
    ]
    assert entries[0].at == NOW.isoformat()
    assert Trail(labels.database).verify().ok


def test_only_operators_move_labels(labels: PromptLabels) -> None:
    """Who logged in without the role moves nothing, neither on nor back."""
    move(labels, TWO)
    reviewer = Person("eve@example.org", frozenset({"reviewer"}), "login")
    with pytest.raises(NotAllowed, match="operator"):
        labels.move(ID, "production", ONE, by=reviewer, reason="x")
    with pytest.raises(NotAllowed, match="operator"):
        labels.roll_back(ID, "production", by=reviewer, reason="x")
    assert (labels.label(ID, "production"), len(Trail(labels.database).entries())) == (TWO.hash, 1)


def test_nothing_that_happened_to_a_label_is_forgotten(labels: PromptLabels) -> None:
    """Moves and rollbacks stand in one list, with who, when and why."""
    move(labels, ONE)
    roll_back(labels)
    first, second = labels.moves(ID)

    assert (first.hash, first.moved_by, first.reason, first.moved_at) == (ONE.hash, "ana", "better", NOW.isoformat())
    assert (second.hash, second.moved_by, second.reason) == (None, "bo", "worse")


STEPS = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([ONE, TWO, THREE, None, "back"])), max_size=12)


@settings(max_examples=30)
@given(steps=STEPS)
def test_labels_behave_as_stacks(steps: list[tuple[str, Any]]) -> None:
    """Whatever is moved and rolled back in whatever order, each label is where a plain stack of its own would be."""
    stacks: dict[str, list[str | None]] = {name: [None] for name in LABELS}
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "runs.db", synchronous="NORMAL")
        labels = PromptLabels(database, FakeClock())
        for name, step in steps:
            stack = stacks[name]
            if step != "back":
                target = step.hash if step else None
                stack += [target] if target != stack[-1] else []
                move(labels, step, name)
            elif len(stack) > 1:
                stack.pop()
                roll_back(labels, name)
            assert labels.label(ID, name) == stack[-1]
        database.close()


def test_moves_of_two_operators_at_once_are_both_kept(labels: PromptLabels) -> None:
    """Twenty moves through two databases on one file make one line: rolled back one by one, all are found."""
    other = Database(labels.database.path)
    both = [labels, PromptLabels(other)]
    versions = [version(str(number)) for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: move(both[number % 2], versions[number]), range(20)))
    other.close()

    found = [labels.label(ID, "production"), *(roll_back(labels) for _ in range(20))]
    assert found[-1] is None
    assert sorted(found[:-1]) == sorted(one.hash for one in versions)


@pytest.mark.parametrize("label", ["", "prod", "PRODUCTION", "production; DROP TABLE runs"])
def test_a_label_that_there_is_not_is_refused(labels: PromptLabels, label: str) -> None:
    """Whatever is done with it, the error names the labels that there are."""
    for attempt in (
        lambda: labels.label(ID, label),
        lambda: move(labels, ONE, label),
        lambda: roll_back(labels, label),
    ):
        with pytest.raises(UsageError, match="there are production and candidate"):
            attempt()
    assert labels.moves(ID) == []


def test_a_label_never_points_at_another_prompts_text(labels: PromptLabels) -> None:
    """A version of one prompt is refused for the label of another."""
    with pytest.raises(UsageError, match=r"letters\.sort cannot point at a version of letters\.read"):
        labels.move("letters.sort", "production", ONE, by="ana", reason="")


# --- Versions ---


def test_an_added_version_says_who_added_it(labels: PromptLabels) -> None:
    """Its text, its author's version, and who and when come back as they went in; adding it again changes nothing."""
    labels.add(version("2", added_by="ana"), own=ONE)
    labels.add(version("2", added_by="bo"), own=ONE)

    assert labels.versions(ID) == [version("2", added_by="ana", added_at=NOW.isoformat())]


@pytest.mark.parametrize("known", ["in the file", "in the database"])
def test_one_version_has_one_text(labels: PromptLabels, known: str) -> None:
    """A version that the file or the database has is not given to another text, nor another version to its text."""
    if known == "in the database":
        labels.add(TWO, own=ONE)
    own = TWO if known == "in the file" else ONE

    with pytest.raises(UsageError, match=rf"Version 2 of letters\.read has another text already \({TWO.hash}\)"):
        labels.add(version("2", "other"), own=own)
    with pytest.raises(UsageError, match=rf"there already, as version 2 \({TWO.hash}\)"):
        labels.add(version("9", TWO.hash), own=own)


def test_versions_are_chosen_by_name_or_hash() -> None:
    """A version, a hash or the beginning of a hash; a version's name stands above a hash that begins like it."""
    versions = [version("7", "aaaa11"), version("8", "aabb22"), version("aab", "cccc33")]

    assert [choose(versions, wanted).version for wanted in ("7", "aaaa11", "aabb", "aab")] == ["7", "7", "8", "aab"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("9", r"no version '9'; there are 7 \(aaaa11\), 7 \(aabb22\)"),
        ("", "no version ''; there are 7"),
        ("7", r"Several texts go by '7'; name one by its hash: 7 \(aaaa11\), 7 \(aabb22\)"),
        ("aa", "Several texts go by 'aa'"),
    ],
)
def test_what_is_no_version_or_several_is_refused(wanted: str, message: str) -> None:
    """The error names what there is to choose from: two texts of one version are told apart by their hashes."""
    with pytest.raises(UsageError, match=message):
        choose([version("7", "aaaa11"), version("7", "aabb22")], wanted)


def test_runs_are_counted_by_the_text_they_started_with(labels: PromptLabels) -> None:
    """Each run counts for the text that it pinned; runs of other prompts, or of none, for nothing."""

    def work(tables: Any) -> None:
        for number, pins in enumerate([{ID: "a"}, {ID: "b", "x": "a"}, {ID: "b"}, {"x": "b"}, {}, None]):
            pinned = pins and {name: {"version": "1", "hash": text_hash} for name, text_hash in pins.items()}
            tables["runs"].insert(
                {
                    **{"id": str(number), "workflow": "w", "reference": "w", "version": "1", "model": "none"},
                    **{"input_id": "i", "status": "queued", "created_at": NOW.isoformat()},
                    "prompts": None if pinned is None else json.dumps(pinned),
                }
            )

    labels.database.write_now(work)

    assert labels.count_runs(ID) == {"a": 1, "b": 2}


# --- Pinning ---


def pins(labels: PromptLabels, *own: PromptVersion, label: str = "production") -> dict[str, dict[str, str]]:
    return labels.database.write_now(lambda tables: pin(tables, own, label, NOW.isoformat()))


def test_what_the_label_points_at_is_pinned(labels: PromptLabels) -> None:
    """Unmoved, it is the file's version; moved, the label's; and the file's text is kept either way."""
    assert pins(labels, ONE) == {ID: {"version": "1", "hash": ONE.hash}}
    move(labels, TWO)
    assert pins(labels, ONE) == {ID: {"version": "2", "hash": TWO.hash}}
    assert pins(labels, ONE, label="candidate") == {ID: {"version": "1", "hash": ONE.hash}}
    assert {kept.hash for kept in labels.versions(ID)} == {ONE.hash, TWO.hash}


def test_a_label_whose_text_is_gone_pins_nothing(labels: PromptLabels) -> None:
    """Rather than falling back to another text, it is said what is missing and what helps."""
    move(labels, TWO)
    labels.database.write_now(lambda tables: tables["prompts"].delete_where("hash = ?", [TWO.hash]))

    with pytest.raises(StoreError, match=rf"production of letters\.read points at {TWO.hash}.*stanchion prompts"):
        pins(labels, ONE)


def test_two_texts_of_one_id_pin_nothing(labels: PromptLabels) -> None:
    """A workflow whose code has two prompts of one id could not say which of them a run used."""
    with pytest.raises(UsageError, match="Two prompts of the workflow have one id"):
        pins(labels, ONE, TWO)


def test_a_kept_text_stays_as_it_came(labels: PromptLabels) -> None:
    """The same text under a later version changes nothing of what runs had on record before."""
    labels.database.write_now(lambda tables: keep(tables, [ONE, version("5", ONE.hash)], NOW.isoformat()))

    assert [kept.version for kept in labels.versions(ID)] == ["1"]
