"""What PDFs give, the ones that mean harm included."""

from __future__ import annotations

import io
import zlib

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, EncodedStreamObject, NameObject

from stanchion.text.pdf import UnreadablePdf, read_pdf


def pdf_of(*words: tuple[str, int, int], pages: int = 1, password: str = "") -> bytes:
    """A PDF with each word at its x and y (in points, from the lower left) on every page."""
    writer = PdfWriter()
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica", "/Encoding": "/WinAnsiEncoding"}
    names = DictionaryObject({NameObject(key): NameObject(value) for key, value in font.items()})
    for _ in range(pages):
        page = writer.add_blank_page(300, 400)
        if words:
            fonts = DictionaryObject({NameObject("/F1"): names})
            page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
            content = DecodedStreamObject()
            shown = " ".join(f"1 0 0 1 {x} {y} Tm ({word}) Tj" for word, x, y in words)
            content.set_data(f"BT /F1 10 Tf {shown} ET".encode())
            page[NameObject("/Contents")] = writer._add_object(content)
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


RECEIPT = pdf_of(("31.00", 200, 300), ("ACME TRADING", 50, 350), ("TOTAL", 50, 300))


def test_text_comes_in_rows_as_on_the_page() -> None:
    """What stands side by side is one row, in reading order, whatever the order in the file."""
    assert read_pdf(RECEIPT) == "ACME TRADING\nTOTAL  31.00"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf_of(("TOTAL", 50, 300), password="secret"), "encrypted"),
        (RECEIPT[:200], "broken"),
        (b"%PDF-1.7\nnothing of the kind", "broken"),
        (b"", "broken"),
        (pdf_of(), "scanned"),
        (pdf_of(("x", 1, 1), pages=3), "3 pages; at most 2"),
    ],
)
def test_unreadable_pdfs_say_why(data: bytes, reason: str) -> None:
    """A PDF without usable text is refused with a reason for a person."""
    with pytest.raises(UnreadablePdf, match=reason):
        read_pdf(data, max_pages=2)


def test_a_pdf_that_takes_too_long_is_given_up() -> None:
    """Reading ends at the timeout, with the child process."""
    with pytest.raises(UnreadablePdf, match=r"longer than 0\.001 seconds"):
        read_pdf(RECEIPT, timeout=0.001)


def test_a_pdf_that_wants_too_much_memory_is_given_up() -> None:
    """A page that inflates to hundreds of megabytes is given up and harms nobody else."""
    packer = zlib.compressobj()
    writer = PdfWriter()
    page = writer.add_blank_page(300, 400)
    content = EncodedStreamObject()
    content[NameObject("/Filter")] = NameObject("/FlateDecode")
    content._data = b"".join(packer.compress(b" " * 1_000_000) for _ in range(200)) + packer.flush()
    page[NameObject("/Contents")] = writer._add_object(content)
    bomb = io.BytesIO()
    writer.write(bomb)
    with pytest.raises(UnreadablePdf):
        read_pdf(bomb.getvalue())


def test_the_child_gets_no_environment_but_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads hostile files knows none of this process's variables, so no key; this one would stop it starting."""
    monkeypatch.setenv("PYTHONHOME", "nowhere")
    assert "TOTAL" in read_pdf(RECEIPT)
