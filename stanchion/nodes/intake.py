"""The first node of a workflow: whatever comes in becomes clean text, or is refused with a reason for a person."""

from __future__ import annotations

import base64
import binascii
import re
from functools import cache
from threading import Lock
from typing import Any, Literal, NamedTuple

from stanchion.errors import StanchionError, UsageError
from stanchion.guards.limits.deadline import when_late
from stanchion.nodes.state import Node, WorkflowState
from stanchion.text.decode import decode, tidy, without_tags
from stanchion.text.layout import lay_out
from stanchion.text.pdf import read_pdf
from stanchion.verdict import Check, Source, Verdict

GUARD = "stanchion/intake"

MAX_BYTES = 10_000_000
"""Files beyond this are refused unread."""

_MAX_HTML = 200_000
_FARTHEST = 1e9
_LETTERS_FOR_A_LANGUAGE = 20
_LANGUAGE_SAMPLE = 5_000
_SURE = 0.5
"""Probability from which a detected language is believed; below it, it is wrong on most receipts."""

_HTML = re.compile(r"\s*(?:<!--.{0,500}-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


class _Refused(StanchionError):
    """The document cannot go on; the message says why, for a person."""


class _Read(NamedTuple):
    text: str
    changes: list[str]


def intake(
    *, max_chars: int = 20_000, languages: set[str] | None = None, on_language: Literal["warn", "refuse"] = "warn"
) -> Node:
    """Make a node that reads `state["document"]` and answers with its `source` and a `verdict`: accept or refuse.

    A document is `{"text": str}`, with `"boxes"` (x1, y1, x2, y2 per line) where OCR gave them;
    `{"name": str, "data": base64}` for a file, read by what it holds: plain text, HTML or PDF; or
    `{"problem": str}` where none could be had. Anything else is refused, and nothing makes the node raise. Read or
    refused, `document` keeps only its name: the text stands in `source`, and the runner's ledger keeps the input.

    Args:
        max_chars: characters beyond which a text is refused.
        languages: ISO 639-1 codes that are expected; None looks at no language.
        on_language: what another language means; detectors err on short texts, so by default only a warning.

    Raises:
        UsageError: an argument is none of these.
    """
    if isinstance(languages, str) or on_language not in ("warn", "refuse") or max_chars < 1:
        raise UsageError("intake takes max_chars of at least 1, a set of languages, and on_language warn or refuse.")

    @when_late(lambda state, reason: _refusal(state.get("document"), f"The document was not read. {reason}"))
    def node(state: WorkflowState) -> dict[str, Any]:
        document = state.get("document")
        try:
            read = _read(document, max_chars)
            language = _language(read.text) if languages else None
        except StanchionError as refused:  # NotText and UnreadablePdf, too
            return _refusal(document, str(refused))
        except Exception as defect:  # a document must never crash a run
            return _refusal(document, f"The document could not be read ({type(defect).__name__}).")
        source = Source(text=read.text, changes=read.changes, language=language)
        remark = _foreign(language, languages)
        if remark and on_language == "refuse":
            return _refusal(document, remark, source)
        check = Check(guard=GUARD, status="warn" if remark else "pass", reason=remark)
        verdict = Verdict(decision="accept", reason=remark, checks=[check])
        return {"source": source, "verdict": verdict, "document": _read_already(document)}

    return node


def _read_already(document: Any) -> dict[str, Any]:
    """What is left of a document once it is looked at: every later checkpoint would hold a copy of the rest."""
    name = dict.get(document, "name") if isinstance(document, dict) else None  # a subclass's own `get` may raise
    return {"name": tidy(name[:200]).text} if isinstance(name, str) else {}


def _refusal(document: Any, reason: str, source: Source | None = None) -> dict[str, Any]:
    check = Check(guard=GUARD, status="fail", reason=reason)
    verdict = Verdict(decision="refuse", reason=reason, checks=[check])
    return {"source": source or Source(text=""), "verdict": verdict, "document": _read_already(document)}


def _read(document: Any, max_chars: int) -> _Read:
    """The clean text of a document of any shape.

    Raises:
        _Refused: there is none, or it is unusable.
    """
    if not isinstance(document, dict):
        raise _Refused("There is no document.")
    if isinstance(document.get("problem"), str):
        raise _Refused(tidy(document["problem"][:500]).text.strip() or "The document could not be had.")
    if isinstance(document.get("text"), str):
        decoded = _Read(document["text"], [])
    elif isinstance(document.get("data"), str):
        decoded = _text_of_file(document["data"])
    else:
        raise _Refused("The document has neither text nor data.")
    plain = _without_html(decoded.text)
    if len(plain.text) > max_chars:
        raise _Refused(f"The document has {len(plain.text):,} characters; at most {max_chars:,} are read.")
    placed = _in_rows(plain.text, document.get("boxes"))
    tidied = tidy(placed.text)
    _refuse_hollow(tidied.text)
    changes = [*_changed_before(document), *decoded.changes, *plain.changes, *placed.changes, *tidied.changes]
    return _Read(tidied.text, changes)


def _changed_before(document: dict[str, Any]) -> list[str]:
    """What was changed when the document was taken in from outside (`stanchion.runs.inputs`)."""
    changed = document.get("changed")
    return [tidy(str(change)[:200]).text for change in changed[:20]] if isinstance(changed, list) else []


def _text_of_file(encoded: str) -> _Read:
    """The text of a base64 file, by its content and not by its name."""
    if len(encoded) > MAX_BYTES * 4 // 3 + 4:
        raise _Refused(f"The file is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _Refused("The document's data is not base64.") from None
    if not data:
        raise _Refused("The file is empty.")
    if data.lstrip().startswith(b"%PDF-"):
        return _Read(read_pdf(data), ["text taken out of a PDF"])
    text, _, changes = decode(data)
    return _Read(text, changes)


def _without_html(text: str) -> _Read:
    """The text without its tags, where it is an HTML page."""
    if not _HTML.match(text):
        return _Read(text, [])
    if len(text) > _MAX_HTML:
        raise _Refused(f"The HTML page has {len(text):,} characters; at most {_MAX_HTML:,} are read.")
    return _Read(without_tags(text), ["HTML tags removed"])


def _in_rows(text: str, boxes: Any) -> _Read:
    """The text in rows as on the page, where it came with a box for every line."""
    if boxes is None:
        return _Read(text, [])
    lines = text.split("\n")
    if not isinstance(boxes, list) or len(boxes) != len(lines) or not all(map(_is_box, boxes)):
        return _Read(text, ["boxes ignored: they do not fit the lines"])
    return _Read(lay_out(lines, boxes), [])


def _is_box(box: Any) -> bool:
    four = isinstance(box, list | tuple) and len(box) == 4
    return four and all(isinstance(edge, int | float) and abs(edge) < _FARTHEST for edge in box)


def _refuse_hollow(text: str) -> None:
    if not text:
        raise _Refused("The document is empty.")
    if not text.strip():
        raise _Refused("The document holds nothing but blanks.")
    if not any(char.isalnum() for char in text):
        raise _Refused("The document holds no letters or digits.")


def _language(text: str) -> str | None:
    """The ISO 639-1 code of the language of a text, where the detector is more sure than not."""
    sample = text[:_LANGUAGE_SAMPLE]
    if sum(char.isalpha() for char in sample) < _LETTERS_FOR_A_LANGUAGE:
        return None
    language, probability = _identifier().classify(sample)
    return str(language) if probability >= _SURE else None


def _foreign(language: str | None, languages: set[str] | None) -> str:
    if not languages or language is None or language in languages:
        return ""
    return f"The document seems to be in another language ({language}) than expected ({', '.join(sorted(languages))})."


_loading = Lock()


def _identifier() -> Any:
    """The language identifier, loaded once (0.7 s)."""
    with _loading:
        return _load_identifier()


@cache
def _load_identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
