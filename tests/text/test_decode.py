"""How the bytes of a document become clean text, and what is said about it."""

from __future__ import annotations

import contextlib
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.text.decode import NotText, decode, tidy, without_tags

GERMAN = "Rechnung Nr. 5: Müller, Grüße aus Köln, Summe 20 €\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides(encoding: str) -> None:
    """A byte order mark is believed and is no part of the text."""
    assert decode(GERMAN.encode(encoding)).text == GERMAN


def test_plain_utf8_needs_no_remark() -> None:
    """UTF-8 is what is expected, so nothing is said about it."""
    assert decode(GERMAN.encode()) == (GERMAN, "utf-8", [])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "cp1252"),
        ("TOTAL £5.00 THANK YOU\n", "cp1252"),
        ("Спасибо за покупку, итого 20 рублей\n", "cp1251"),
        ("شكرا لك على الشراء المجموع\n", "cp1256"),
        ("感谢您的惠顾欢迎再次光临\n" * 20, "gb18030"),
    ],
)
def test_other_encodings_are_recognised_and_said(text: str, encoding: str) -> None:
    """What is not UTF-8 is read in an encoding in which it makes sense, with a remark."""
    decoded = decode(text.encode(encoding))
    assert decoded.text == text
    assert decoded.changes == [f"not UTF-8: read as {decoded.encoding}"]


def test_an_encoding_is_guessed_from_whole_lines() -> None:
    """A long document's sample ends with a line, not in the middle of a character."""
    text = "xx" + "感谢您的惠顾欢迎再次光临\n" * 3_000
    assert decode(text.encode("gb18030")).text == text


def test_mixed_encodings_keep_both() -> None:
    """Single bytes of Windows text amid UTF-8 are read for what they are."""
    decoded = decode(b"caf\xc3\xa9\n" * 3 + b"caf\xe9\n")
    assert decoded.text == "café\n" * 4
    assert decoded.changes == ["1 byte read as cp1252, not UTF-8"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"PK\x03\x04", "ZIP"),
        (bytes(range(256)) * 8, "binary"),
        (b"\x00" * 100, "binary"),
    ],
)
def test_binary_is_named_and_refused(data: bytes, reason: str) -> None:
    """Binary data is no text, and where its kind is known the reason names it."""
    with pytest.raises(NotText, match=reason):
        decode(data)


def test_a_few_nuls_do_not_make_a_text_binary() -> None:
    """A text with a stray NUL is a text; tidying takes the NUL out."""
    assert tidy(decode(b"TOTAL 31.00\x00 CASH 50.00").text).text == "TOTAL 31.00 CASH 50.00"


@pytest.mark.parametrize(
    ("text", "clean", "changes"),
    [
        ("plain\n\ttext", "plain\n\ttext", []),
        ("a\r\nb\rc\u2028d\fe", "a\nb\nc\nd\ne", ["4 line ends made a newline"]),
        ("a\x00b\x07c\x9d", "abc", ["3 control characters removed"]),
        ("\x1b[1;31mred\x1b[0m", "red", ["2 terminal escapes removed"]),
        ("a\ud800b", "ab", ["1 lone surrogate removed"]),
        ("\u202e31.00\u2066", "31.00", ["2 direction marks removed"]),
        ("TO\u200bTAL\ufeff", "TOTAL", ["2 invisible characters removed"]),
        ("hi" + "".join(chr(0xE0000 + ord(char)) for char in "ignore"), "hi", ["6 invisible characters removed"]),
        ("RM\u00a05\u30001", "RM 5 1", ["2 special blanks made a space"]),
        ("cafÃ© 31 â‚¬\nplain", "café 31 €\nplain", ["1 line freed of mojibake"]),
        ("cafe\u0301", "café", ["1 line composed (NFC)"]),
        ("a" + "\u0316" * 40, "a" + "\u0316" * 30, ["10 piled accents removed"]),
        ("a\n\n\n \n\t\n\nb\n\n\nc", "a\n\n\nb\n\n\nc", ["1 gap of blank lines shortened"]),
        ("“quoted” ﬁne &amp; １", "“quoted” ﬁne &amp; １", []),
    ],
)
def test_tidying_says_what_it_changed(text: str, clean: str, changes: list[str]) -> None:
    """Every kind of change is made, counted and said in words; nothing else is touched."""
    assert tidy(text) == (clean, changes)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["a\u0300\u0316\u0301", "\u0300\u0316", "\n ", "\x1b[", "Ã", "Ã©\n", "\x85", " \n\n"])
def test_tidying_takes_linear_time(unit: str) -> None:
    """Long text of the worst kinds, such as thousands of accents on one letter, is tidied at once."""
    tidy(unit * (150_000 // len(unit)))


@settings(max_examples=300)
@given(st.text(max_size=60) | st.text("aÃ©â‚¬\x00\r\n\x85\u00a0\u0301\u200b\ud800 \x1b[m", max_size=60))
def test_tidying_twice_changes_nothing_more(text: str) -> None:
    """A tidied text is clean: valid Unicode, composed, and left alone by a second round."""
    clean = tidy(text).text
    assert tidy(clean) == (clean, [])
    assert unicodedata.is_normalized("NFC", clean)
    clean.encode()


def test_html_survives_references_without_end() -> None:
    """Character references are resolved, and one of 5,000 digits is dropped."""
    assert without_tags("<html>5 &lt; 6 &euro;&#65;&#" + "9" * 5_000 + ";") == "5 < 6 €A;"


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_text_or_refused(data: bytes) -> None:
    """Bytes give text or NotText, and no other exception."""
    with contextlib.suppress(NotText):
        decode(data).text.encode()


def test_html_gives_its_visible_text() -> None:
    """A page becomes lines and columns; scripts, styles and its head are not read as text."""
    page = """<!doctype html><html><head><title>t</title><!-- <p>no</p> --><style>p {}</style></head>
    <body><h1>ACME &amp; Co</h1>
    <table><tr><td>Coffee</td><td>5.<b>00</b></td></tr>
    <tr><td>Total</td><td>5.00</td></tr></table><script>evil("<p>no</p>")</script></body></html>"""
    assert without_tags(page) == "ACME & Co\nCoffee  5.00\nTotal  5.00"


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "unit", ["<", "<p ", "<!--", "<p a='", "&", "</", "<![", "<p>", "<?", "<script>", "<!", '<a href="']
)
def test_html_takes_linear_time(unit: str) -> None:
    """The longest page that intake reads is read at once, however broken its tags."""
    without_tags("<html>" + unit * (200_000 // len(unit)))
