"""Whatever comes in, intake gives clean text or refuses with a reason for a person."""

from __future__ import annotations

import base64
import io
from typing import Any, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from pypdf import PdfWriter

from stanchion.nodes.intake import MAX_BYTES, intake
from stanchion.verdict import Source, Verdict

GERMAN = "Guten Tag, hier ist Ihre Rechnung über 20 Euro. Vielen Dank für Ihren Einkauf und bis bald."


def taken_in(document: Any, **options: Any) -> tuple[Source, Verdict]:
    """What a fresh intake node makes of a document."""
    update = intake(**options)({"document": document})
    return update["source"], update["verdict"]


def file(data: bytes) -> dict[str, str]:
    """A document that is a file of these bytes."""
    return {"name": "file", "data": base64.b64encode(data).decode()}


def encrypted_pdf() -> bytes:
    """A PDF behind a password."""
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    stream = io.BytesIO()
    writer.write(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("document", "text", "changes"),
    [
        ({"text": "TOTAL 31.00"}, "TOTAL 31.00", []),
        (file(b"TOTAL 31.00"), "TOTAL 31.00", []),
        ({"text": "TOTAL\x00 31.00"}, "TOTAL 31.00", ["1 control character removed"]),
        ({"text": "TO\ud800TAL"}, "TOTAL", ["1 lone surrogate removed"]),
        ({"text": "\u202e31.00 المجموع"}, "31.00 المجموع", ["1 direction mark removed"]),
        (file("TOTAL é".encode("utf-16")), "TOTAL é", ["read as UTF-16"]),
        (file(b"caf\xc3\xa9 caf\xe9"), "café café", ["1 byte read as cp1252, not UTF-8"]),
        (file(b"<!DOCTYPE html><p>TOTAL <b>31</b></p><script>x</script>"), "TOTAL 31", ["HTML tags removed"]),
        ({"text": "TOTAL", "changed": ["before"]}, "TOTAL", ["before"]),
        ({"text": "31.00\nTOTAL", "boxes": [[50, 0, 60, 10], [0, 0, 10, 10]]}, "TOTAL  31.00", []),
        (
            {"text": "31.00\nTOTAL", "boxes": [[50, 0, 60, 10]]},
            "31.00\nTOTAL",
            ["boxes ignored: they do not fit the lines"],
        ),
        ({"text": "a\nb", "boxes": [["x"] * 4, None]}, "a\nb", ["boxes ignored: they do not fit the lines"]),
        ({"text": "a", "boxes": [[0, 0, 10**400, float("nan")]]}, "a", ["boxes ignored: they do not fit the lines"]),
    ],
)
def test_text_is_normalised_and_the_changes_said(document: Any, text: str, changes: list[str]) -> None:
    """A usable document is accepted as clean text, with every change in words."""
    source, verdict = taken_in(document)
    assert (verdict.decision, source.text, source.changes) == ("accept", text, changes)
    assert [check.status for check in verdict.checks] == ["pass"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (None, "There is no document."),
        ([], "There is no document."),
        (5, "There is no document."),
        ({}, "The document has neither text nor data."),
        ({"text": 5}, "The document has neither text nor data."),
        ({"problem": "There is no such file or folder."}, "There is no such file or folder."),
        ({"problem": ""}, "The document could not be had."),
        ({"text": ""}, "The document is empty."),
        (file(b""), "The file is empty."),
        ({"text": " \n\t\u00a0\u3000"}, "The document holds nothing but blanks."),
        ({"text": "😀👍🏽"}, "The document holds no letters or digits."),
        ({"text": "[" * 10_000}, "The document holds no letters or digits."),
        ({"text": "[" * 100_000}, "The document has 100,000 characters; at most 20,000 are read."),
        (file(b"x" * 30_000), "The document has 30,000 characters; at most 20,000 are read."),
        (file(b"<html>" + b"<p>" * 100_000), "The HTML page has 300,006 characters; at most 200,000 are read."),
        ({"data": "A" * 2 * MAX_BYTES}, "The file is larger than 10 MB."),
        ({"data": "é*"}, "The document's data is not base64."),
        (file(bytes(range(256)) * 4), "The file is binary, not text."),
        (file(b"\x89PNG\r\n\x1a\n"), "The file is a PNG picture, not text."),
        (file(b"%PDF-1.7 broken"), "This PDF is broken and cannot be read."),
        (file(encrypted_pdf()), "This PDF is encrypted; remove its password and send it again."),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(document: Any, reason: str) -> None:
    """A refusal is a verdict with one failed check, and its reason is a sentence."""
    source, verdict = taken_in(document)
    assert (verdict.decision, verdict.reason, source.text) == ("refuse", reason, "")
    assert [(check.guard, check.status) for check in verdict.checks] == [("stanchion/intake", "fail")]


def test_a_defect_in_reading_is_a_refusal() -> None:
    """Even what nobody foresaw ends in a reason and not in an exception."""

    class Trap(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise RuntimeError("secret content")

    update = intake()({"document": Trap(text="x")})
    assert update["document"] == {}
    assert update["verdict"].reason == "The document could not be read (RuntimeError)."


def test_a_state_without_document_is_refused() -> None:
    """A graph started with nothing ends in a refusal, not in a KeyError."""
    assert intake()({})["verdict"].decision == "refuse"


def test_another_language_is_a_warning_by_default() -> None:
    """Detectors err on receipts, so a foreign language does not stop a document unless one says so."""
    source, verdict = taken_in({"text": GERMAN}, languages={"en", "ms"})
    assert (verdict.decision, source.language) == ("accept", "de")
    assert [check.status for check in verdict.checks] == ["warn"]
    source, verdict = taken_in({"text": GERMAN}, languages={"en", "ms"}, on_language="refuse")
    assert (verdict.decision, source.text) == ("refuse", GERMAN)
    assert "another language (de)" in verdict.reason


def test_an_expected_unknown_or_short_language_is_no_remark() -> None:
    """Only a language that is surely another one is worth a word."""
    assert taken_in({"text": GERMAN}, languages={"de"})[1].reason == ""
    for text in ("Danke schön, Grüße", "Rechnung Summe 20,00 EUR Bar Danke"):  # too short, and not sure
        assert taken_in({"text": text}, languages={"en"}) == taken_in({"text": text})


@pytest.mark.data
def test_no_receipt_is_called_foreign(data: Any) -> None:
    """Every development receipt is accepted, and none is refused for its language."""
    from stanchion.runs.inputs import read_inputs

    node = intake(languages={"en", "ms"}, on_language="refuse")
    verdicts = [node({"document": item.document})["verdict"] for item in read_inputs([str(data / "receipts.jsonl.gz")])]
    assert {verdict.decision for verdict in verdicts} == {"accept"}


def test_stands_in_anyones_graph() -> None:
    """The node is an ordinary function of state, which LangGraph takes as it is."""

    class State(TypedDict, total=False):
        document: Any
        source: Source
        verdict: Verdict

    graph = StateGraph(State).add_node("intake", intake()).add_edge(START, "intake").add_edge("intake", END).compile()
    assert graph.invoke({"document": {"text": "TOTAL"}})["source"].text == "TOTAL"


shapes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
documents = shapes | st.fixed_dictionaries(
    {},
    optional={
        "text": st.text() | shapes,
        "boxes": st.lists(st.lists(st.floats(), min_size=4, max_size=4)) | shapes,
        "data": st.binary().map(lambda data: base64.b64encode(data).decode()) | shapes,
        "problem": shapes,
        "changed": st.lists(shapes) | shapes,
    },
)


@settings(max_examples=400)
@given(documents)
def test_no_document_makes_it_raise(document: Any) -> None:
    """Every document of any shape ends in accept with text or refuse with a reason, and can be checkpointed."""
    update = intake()({"document": document})
    verdict = update["verdict"]
    assert (verdict.decision == "accept" and update["source"].text) or (verdict.decision == "refuse" and verdict.reason)
    serializer = JsonPlusSerializer()
    assert serializer.loads_typed(serializer.dumps_typed(update)) == update


def test_a_document_that_was_read_is_not_copied_into_every_checkpoint() -> None:
    """After intake the state holds the text once, in `source`; of the document only its name."""
    data = base64.b64encode(b"Shop A\nTotal 5.00").decode()
    update = intake()({"document": {"name": "a.txt", "data": data}})

    assert update["document"] == {"name": "a.txt"}
    assert update["source"].text == "Shop A\nTotal 5.00"


@pytest.mark.parametrize(
    ("document", "left"),
    [
        ({"name": "a.pdf", "data": "A" * 2 * MAX_BYTES}, {"name": "a.pdf"}),
        ({"name": 5, "text": "[" * 100_000}, {}),
        (["x"] * 100_000, {}),
        (None, {}),
    ],
)
def test_a_refused_document_is_not_copied_into_every_checkpoint(document: Any, left: dict[str, str]) -> None:
    """A refusal leaves no more of a document than its name, either."""
    update = intake()({"document": document})

    assert update["verdict"].decision == "refuse"
    assert update["document"] == left


def test_a_document_in_the_wrong_language_is_not_copied_either() -> None:
    """A document that was read and then refused stands in `source` alone."""
    update = intake(languages={"en"}, on_language="refuse")({"document": {"name": "a.txt", "text": GERMAN}})

    assert (update["verdict"].decision, update["document"]) == ("refuse", {"name": "a.txt"})
