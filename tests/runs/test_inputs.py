"""What users name becomes inputs of runs: each thing named gives one or more, and none is lost or raises."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.runs.inputs import Input, checkpointable, read_inputs


def only(*paths: str | Path, **options: Any) -> Input:
    """The one input that the paths give."""
    (found,) = read_inputs([str(path) for path in paths], **options)
    return found


def rows(*lines: Any) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_a_file_is_its_name_and_bytes(tmp_path: Path) -> None:
    """A file is taken as it is; making sense of its bytes is the intake node's part."""
    file = tmp_path / "receipt.txt"
    file.write_bytes(b"\xff\x00TOTAL")
    assert only(file) == Input(
        "receipt.txt", {"name": "receipt.txt", "data": base64.b64encode(b"\xff\x00TOTAL").decode()}
    )


def test_a_folder_is_all_files_in_it_by_name(tmp_path: Path) -> None:
    """Folders are read through, in the order of names, without hidden files and without following links in circles."""
    for name in ("b.txt", "a.txt", ".hidden", "sub/a.txt", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "sub" / "circle").symlink_to(tmp_path)
    assert [item.id for item in read_inputs([str(tmp_path)])] == ["a.txt", "b.txt", "sub/a.txt"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_json_lines_bring_ids_records_and_truth(tmp_path: Path, name: str) -> None:
    """A line is an input, with what the dataset knows about it; blank lines do not count."""
    full = {"id": "r1", "input": {"text": "TOTAL"}, "recorded": {"m": ["a", "b"]}, "truth": {"total": "1"}}
    data = rows(full) + b"\n" + rows({"input": {"text": "no id"}})
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert list(read_inputs([str(tmp_path / name)])) == [
        Input("r1", {"text": "TOTAL"}, {"m": ["a", "b"]}, {"total": "1"}),
        Input(f"{name}:3", {"text": "no id"}),
    ]


@pytest.mark.parametrize(
    "line",
    [b"broken", b"[1]", b'{"input": 5}', b'{"text": "x"}', b"[" * 100_000, b"\xff\xfe", b'{"input": {}, "truth": 3}'],
)
def test_a_broken_line_is_an_input_that_says_so(tmp_path: Path, line: bytes) -> None:
    """A line that is no input costs only itself: the lines around it are read."""
    file = tmp_path / "rows.jsonl"
    file.write_bytes(rows({"input": {"text": "1"}}) + line + b"\n" + rows({"input": {"text": "3"}}))
    first, broken, last = read_inputs([str(file)])
    assert (first.document, last.document) == ({"text": "1"}, {"text": "3"})
    assert broken.document["problem"].startswith("The line")


def test_stdin_is_json_lines_or_one_document() -> None:
    """Standard input is taken for JSON lines if its first line has an input."""
    lines = rows({"input": {"text": "1"}}, {"id": "x", "input": {"text": "2"}})
    assert [item.document["text"] for item in read_inputs(["-"], stdin=io.BytesIO(b"\n" + lines))] == ["1", "2"]
    text = b'{"total": 1,\n"of": "input"}'
    assert only("-", stdin=io.BytesIO(text)) == Input(
        "stdin", {"name": "stdin", "data": base64.b64encode(text).decode()}
    )
    assert only("-", stdin=io.BytesIO()).document["data"] == ""


def test_no_more_is_read_than_may_be() -> None:
    """A document on standard input that never ends is left off at the limit."""
    endless = io.BytesIO(b"line\n" * 1_000)
    assert "larger than 100 bytes" in only("-", stdin=endless, max_bytes=100).document["problem"]
    assert endless.tell() == 101


class Endless(io.RawIOBase):
    """A stream of the same bytes for ever; `given` counts them."""

    def __init__(self, start: bytes, piece: bytes) -> None:
        self.start, self.piece, self.given = start, piece, 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """The start, then the piece again and again, however much was asked for."""
        line, self.start = self.start or self.piece, b""
        self.given += len(line)
        return line


@pytest.mark.parametrize("end", [b"\0", b"\n"], ids=["one line", "blank lines"])
@pytest.mark.parametrize("start", [b"", rows({"input": {"n": 1}})], ids=["document", "JSON lines"])
def test_a_line_without_end_is_left_off(start: bytes, end: bytes) -> None:
    """Standard input may be a device that never ends: what is skipped of it is bounded, and one input says so."""
    stream = Endless(start, b" " * 1_000_000 + end)
    *read, last = read_inputs(["-"], stdin=stream, max_bytes=1_000_000)
    assert [item.document for item in read] == ([{"n": 1}] if start else [])
    assert "nothing is read from there on" in last.document["problem"]
    assert stream.given < 110_000_000


@pytest.mark.parametrize("line", [b"{}\n", b"x" * 5_000 + b"\n", rows({"input": {"problem": "none"}})])
def test_a_file_of_unusable_lines_is_left_off(tmp_path: Path, line: bytes) -> None:
    """A small archive may hold millions of lines: after a hundred unusable ones in a row its reading stops."""
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(rows({"input": {}}) + line * 1_000))
    found = list(read_inputs([str(tmp_path / "rows.jsonl.gz")], max_bytes=4_000))
    assert len(found) == 1 + 100 + 1
    assert found[-1].document["problem"] == "100 lines in a row cannot be used; what follows line 101 is not read."


def test_unusable_lines_among_others_do_not_end_a_file(tmp_path: Path) -> None:
    """Only an unbroken row of unusable lines that goes on is no dataset."""
    broken, whole = b"{}\n" * 99, rows({"input": {"n": 1}})
    (tmp_path / "rows.jsonl").write_bytes(broken + whole + broken + whole + broken + b"{}\n")
    found = list(read_inputs([str(tmp_path / "rows.jsonl")]))
    assert len(found) == 3 * 99 + 3
    assert not any("in a row" in item.document.get("problem", "") for item in found)


def test_ids_are_unique_short_and_printable() -> None:
    """Two runs never share an id, and an id from outside can stand in a terminal and a file name."""
    ids = ["x", "x", "x-2", "x", "a\x1b[1mb\n", "\ud800", "", 7, "y" * 300, "y" * 300]
    lines = rows(*({"id": given, "input": {}} for given in ids))
    found = [item.id for item in read_inputs(["-"], stdin=io.BytesIO(lines))]
    assert found[:8] == ["x", "x-2", "x-2-2", "x-3", "a[1mb", "\ufffd", "stdin:7", "7"]
    assert found[8:] == ["y" * 200, "y" * 198 + "-2"]


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Everything named gives an input, and its problem is a sentence; devices and pipes are never opened."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    (tmp_path / "large.txt").write_bytes(b"x" * 101)
    (tmp_path / "none.jsonl").write_bytes(b"\n")
    (tmp_path / "bad.jsonl.gz").write_bytes(b"not gzip")
    (tmp_path / "gone").symlink_to("nowhere")
    reasons = {
        tmp_path / "pipe": "device",
        tmp_path / "empty": "no files",
        tmp_path / "large.txt": "larger than 100 bytes",
        tmp_path / "none.jsonl": "no lines",
        tmp_path / "bad.jsonl.gz": "damaged",
        tmp_path / "gone": "no such file",
        tmp_path / "missing": "no such file",
        tmp_path / "large.txt" / "below": "no such file",
        "/dev/zero": "device",
        "": "no such file",
        "nul\0": "cannot be read",
        "x" * 5_000: "cannot be read",
    }
    for path, reason in reasons.items():
        problem = only(path, max_bytes=100).document["problem"]
        assert reason in problem
        assert problem.endswith(".")


def test_a_damaged_archive_keeps_the_lines_before_the_damage(tmp_path: Path) -> None:
    """What could be unpacked is run, and one more input says that there was more."""
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(rows(*({"input": {"n": os.urandom(9).hex()}} for _ in range(2_000))))[:-500])
    *whole, last = read_inputs([str(file)])
    assert whole
    assert "damaged" in last.document["problem"]


def test_an_archive_unpacks_to_a_bounded_size(tmp_path: Path) -> None:
    """A small file that unpacks to gigabytes is left off early, whether in one line or in many."""
    for content in (b"\n", b"x"):
        file = tmp_path / "bomb.jsonl.gz"
        file.write_bytes(gzip.compress(content * 2_000_000))
        assert "unpacks to more than" in only(file, max_bytes=1_000).document["problem"]


def test_a_long_line_costs_only_itself() -> None:
    """A line beyond the limit is skipped to its end, and the next one is read."""
    lines = rows({"input": {"n": 1}}, {"input": {"n": "x" * 500}}, {"input": {"n": 3}})
    first, long, last = read_inputs(["-"], stdin=io.BytesIO(lines), max_bytes=50)
    assert (first.document, last.document) == ({"n": 1}, {"n": 3})
    assert "longer than 50 bytes" in long.document["problem"]


@pytest.mark.data
def test_every_row_of_the_development_data_is_an_input(data: Path) -> None:
    """The datasets are read whole, with their recorded answers, and nothing in them is a problem."""
    items = list(read_inputs([str(data / "receipts.jsonl.gz")]))
    assert len(items) == 626
    assert not any("problem" in item.document for item in items)
    assert all(item.truth for item in items)


def test_checkpointable_says_what_it_changed() -> None:
    """What msgpack or SQLite cannot hold is replaced, and the document notes it."""
    document = {"text": "a\ud800", "n": [2**63, -(2**63), float("inf")], "changed": ["before"]}
    assert checkpointable(document) == {
        "text": "a\ufffd",
        "n": ["9223372036854775808", -(2**63), "inf"],
        "changed": [
            "before",
            "lone surrogate replaced (1×)",
            "integer beyond 64 bits made text (1×)",
            "number that is not finite made text (1×)",
        ],
    }
    assert checkpointable({"text": "fine"}) == {"text": "fine"}


@pytest.mark.parametrize("document", [None, [], "text", {"a": {1: 2}}, {"a": {1, 2}}, {"a": b""}, {"a": 10**5_000}])
def test_what_is_not_json_becomes_a_problem(document: Any) -> None:
    """A document that is no JSON object cannot be stored, and says so instead."""
    assert set(checkpointable(document)) == {"problem"}


def test_deep_documents_become_a_problem() -> None:
    """Nesting beyond what the checkpoint's format can hold is refused, circles included."""
    circle: dict[str, Any] = {}
    circle["again"] = circle
    assert "levels deep" in checkpointable(circle)["problem"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**62, 2**66) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(max_examples=300)
@given(json_values)
def test_any_json_can_be_checkpointed(value: Any) -> None:
    """Whatever JSON arrives, what is made of it survives msgpack unchanged and is strict JSON."""
    safe = checkpointable({"value": value})
    assert ormsgpack.unpackb(ormsgpack.packb(safe)) == safe
    json.dumps(safe, allow_nan=False, ensure_ascii=False).encode()
    assert checkpointable(safe) == safe


@settings(max_examples=100)
@given(st.binary(max_size=80) | st.lists(json_values).map(lambda lines: rows(*lines)))
def test_any_standard_input_gives_inputs(data: bytes) -> None:
    """No bytes on standard input raise, and there is always at least one input with a document."""
    items = list(read_inputs(["-"], stdin=io.BytesIO(data)))
    assert items
    assert len({item.id for item in items}) == len(items)
