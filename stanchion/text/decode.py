"""From the bytes of a document to clean text: decoded, freed of what nobody can see, and with every change said."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from html import unescape
from typing import NamedTuple

from stanchion.errors import StanchionError

_SAMPLE = 32_000
"""Bytes from which an encoding is guessed."""

_MOST_MOJIBAKE = 200_000
"""Characters up to which mojibake is repaired (about 1 µs each)."""

_MOST_MARKS = 30
"""Combining marks in a row that are kept: UAX #15's stream-safe format; normalising takes their square in time."""

_MOST_BLANK_LINES = 2
_MOST_ROUNDS = 4
_BINARY_SHARE = 0.1

_TAG = re.compile(r"<!--|-->|<(?:(/?)([a-z][\w-]*+)|[!?])[^<>]*+>", re.IGNORECASE)
_ENDLESS_REFERENCE = re.compile(r"&#\w{9,}")  # on which html.unescape raises ValueError
_CELL = "\x1f"  # stands between the cells of a row until its blanks are settled
_INLINE = [
    "a",
    "abbr",
    "b",
    "bdi",
    "bdo",
    "code",
    "em",
    "font",
    "i",
    "mark",
    "s",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "u",
]
_BREAKS = {
    **{name: "" for tag in _INLINE for name in (tag, f"/{tag}")},
    **{"<!--": "", "-->": "", "td": _CELL, "th": _CELL, "/td": "", "/th": ""},
}
"""What a tag puts between the text before and after it; all others, a newline."""
_HIDING = {"<!--": "-->"} | {name: f"/{name}" for name in ("script", "style", "template", "title", "noscript")}

_BOMS = {  # the longer ones first: UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"II*\x00": "a TIFF picture",
    b"MM\x00*": "a TIFF picture",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x7fELF": "a program",
    b"SQLite format 3\x00": "a database",
}
_UNTEXTUAL = bytes(set(range(32)) - set(b"\t\n\x0b\f\r\x1b"))
_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("koi8_r", "cp932", "euc_jp", "gb18030", "big5", "cp949"),
)
_STRAY_BYTES = {0xDC00 + byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0x100)}
"""What surrogateescape makes of bytes that are not UTF-8, to the characters they are in Western Windows."""

_Step = Callable[[str], tuple[str, int]]
"""One kind of change: a text to the changed text and how often it was changed."""


class NotText(StanchionError):
    """Bytes are not text; the message is a sentence for the person who sent them."""


class Decoded(NamedTuple):
    """The text of a document's bytes.

    Args:
        text: the text, without a byte order mark.
        encoding: the Python name of the encoding it was read in.
        changes: what was not as it should be, in words.
    """

    text: str
    encoding: str
    changes: list[str]


class Tidied(NamedTuple):
    """A cleaned text.

    Args:
        text: the clean text.
        changes: what was changed and how often, in words.
    """

    text: str
    changes: list[str]


def decode(data: bytes) -> Decoded:
    """Read bytes as text: by their byte order mark, as UTF-8, or in the encoding that they most likely are in.

    Raises:
        NotText: they are binary, or in no encoding that can be told.
    """
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            return _by_bom(data, encoding)
    _refuse_binary(data)
    try:
        return Decoded(data.decode(), "utf-8", [])
    except UnicodeDecodeError:
        return _mostly_utf8(data) or _guessed(data)


def _by_bom(data: bytes, encoding: str) -> Decoded:
    text = data.decode(encoding, "replace")
    changes = [] if encoding == "utf-8-sig" else [f"read as {encoding.upper()}"]
    lost = text.count("\ufffd")
    return Decoded(text, encoding, [*changes, f"{_number(lost, 'unreadable character')} replaced"] if lost else changes)


def _refuse_binary(data: bytes) -> None:
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            raise NotText(f"The file is {kind}, not text.")
    untextual = len(data) - len(data.translate(None, _UNTEXTUAL))
    if untextual > _BINARY_SHARE * len(data):
        raise NotText("The file is binary, not text.")


def _mostly_utf8(data: bytes) -> Decoded | None:
    """UTF-8 with some bytes of another encoding in it; None where it is rather the other encoding altogether."""
    text = data.decode("utf-8", "surrogateescape")
    stray = sum("\udc80" <= char <= "\udcff" for char in text)
    if stray > sum(char > "\x7f" for char in text) - stray:
        return None
    return Decoded(text.translate(_STRAY_BYTES), "utf-8", [f"{_number(stray, 'byte')} read as cp1252, not UTF-8"])


def _guessed(data: bytes) -> Decoded:
    from charset_normalizer import from_bytes  # most documents need no guess

    sample = data[:_SAMPLE]
    if len(data) > _SAMPLE:
        sample = sample[: sample.rfind(b"\n") + 1] or sample  # not through the middle of a character
    matches = list(from_bytes(sample, cp_isolation=list(_ENCODINGS)))
    if not matches:
        raise NotText("The file is not text in any encoding that can be told; save it as UTF-8.")
    best = matches[0]
    alike = [match.encoding for match in matches if (match.chaos, match.coherence) == (best.chaos, best.coherence)]
    encoding = "cp1252" if "cp1252" in alike else best.encoding
    return Decoded(data.decode(encoding, "replace"), encoding, [f"not UTF-8: read as {encoding}"])


def tidy(text: str) -> Tidied:
    """Free a text of what nobody can see and of accidents of encoding; its own result, it leaves as it is.

    Line ends become newlines and blanks of all kinds spaces; control, zero-width and bidirectional control characters
    and lone surrogates go; mojibake is repaired (ftfy); letters are composed (NFC); no more than two blank lines stay
    together.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for _ in range(_MOST_ROUNDS):  # what a step leaves may be work for an earlier one
        before = text
        for noun, done, step in _STEPS:
            text, count = step(text)
            counts[noun, done] += count
        if text == before:
            break
    return Tidied(text, [f"{_number(count, noun)} {done}" for (noun, done), count in counts.items() if count])


def without_tags(page: str) -> str:
    """The visible text of an HTML page: a line per block, the cells of a row two spaces apart.

    Linear in time for any text, which Python's own `html.parser` is not before its releases of 2025.
    """
    pieces: list[str] = []
    end, hidden_until = 0, ""
    for tag in _TAG.finditer(page):
        name = tag[0] if tag[0] in {"<!--", "-->"} else f"{tag[1] or ''}{tag[2] or ''}".lower()
        if not hidden_until:
            pieces += page[end : tag.start()].replace("\n", " "), _BREAKS.get(name, "\n")
            hidden_until = _HIDING.get(name, "")
        elif name == hidden_until:
            hidden_until = ""
        end = tag.end()
    if not hidden_until:
        pieces.append(page[end:].replace("\n", " "))
    text = unescape(_ENDLESS_REFERENCE.sub("", "".join(pieces)))
    rows = ([" ".join(cell.split()) for cell in row.split(_CELL)] for row in text.split("\n"))
    return "\n".join("  ".join(filter(None, row)) for row in rows if any(row))


def _replacing(pattern: str, replacement: str) -> _Step:
    compiled = re.compile(pattern)
    return lambda text: compiled.subn(replacement, text)


def _repair_mojibake(text: str) -> tuple[str, int]:
    """Undo text that was decoded in the wrong encoding; counted in lines."""
    if text.isascii() or len(text) > _MOST_MOJIBAKE:  # before the import, which most documents can do without
        return text, 0
    from ftfy import TextFixerConfig, fix_text

    only_encoding = TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    return _line_by_line(text, lambda line: fix_text(line, only_encoding))


def _drop_piled_marks(text: str) -> tuple[str, int]:
    """Drop combining marks beyond `_MOST_MARKS` in a row."""
    if text.isascii():
        return text, 0
    kept: list[str] = []
    pile = 0
    for char in text:
        pile = pile + 1 if unicodedata.combining(char) else 0
        if pile <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept), len(text) - len(kept)


def _compose(text: str) -> tuple[str, int]:
    """Bring letters and their accents together (NFC); counted in lines."""
    return _line_by_line(text, lambda line: unicodedata.normalize("NFC", line))


def _line_by_line(text: str, change: Callable[[str], str]) -> tuple[str, int]:
    """The text with each line changed that is not ASCII, and how many came out different."""
    lines = text.split("\n")
    changed = [line if line.isascii() else change(line) for line in lines]
    return "\n".join(changed), sum(old != new for old, new in zip(lines, changed, strict=True))


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_STEPS: list[tuple[str, str, _Step]] = [
    ("line end", "made a newline", _replacing("\r\n?|[\v\f\u2028\u2029]", "\n")),
    ("terminal escape", "removed", _replacing(r"\x1b\[[\d;]*[A-Za-z]", "")),
    ("control character", "removed", _replacing(r"[\x00-\x08\x0e-\x1f\x7f]", "")),
    ("lone surrogate", "removed", _replacing("[\ud800-\udfff]", "")),
    ("direction mark", "removed", _replacing("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", "")),
    (
        "invisible character",
        "removed",
        _replacing("[\u00ad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]", ""),
    ),
    ("line", "freed of mojibake", _repair_mojibake),
    ("control character", "removed", _replacing("[\x80-\x9f]", "")),  # after ftfy, which may know what they were
    ("special blank", "made a space", _replacing("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]", " ")),
    ("piled accent", "removed", _drop_piled_marks),
    ("line", "composed (NFC)", _compose),
    (
        "gap of blank lines",
        "shortened",
        _replacing(rf"\n(?:[ \t]*\n){{{_MOST_BLANK_LINES + 1},}}", "\n" * (_MOST_BLANK_LINES + 1)),
    ),
]
