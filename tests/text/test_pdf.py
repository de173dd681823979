"""What PDFs give, the ones that mean harm included."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import zlib
from typing import Any

import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, EncodedStreamObject, NameObject

from stanchion.text import pdf
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


def run_alone(code: str) -> subprocess.CompletedProcess[str]:
    """A Python process of its own with this code, until nobody holds its standard output any more."""
    command = [sys.executable, "-c", "import os, signal, subprocess, sys\nfrom stanchion.text import pdf\n" + code]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    nothing = subprocess.DEVNULL
    return subprocess.run(
        command, env=environment, stdin=nothing, capture_output=True, text=True, timeout=30, check=False
    )


def test_two_pdfs_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While two children run there is no place for a third; when they are done, or gave up, the places are free."""
    depth = 0

    def child(*_: Any, **__: Any) -> subprocess.CompletedProcess[bytes]:
        nonlocal depth
        depth += 1
        if depth == 1:
            read_pdf(b"")
        else:
            assert not pdf._places.acquire(blocking=False)
        raise subprocess.TimeoutExpired("child", 20)

    monkeypatch.setattr(pdf.subprocess, "run", child)
    for _ in range(3):
        depth = 0
        with pytest.raises(UnreadablePdf, match="longer than 20 seconds"):
            read_pdf(b"")
    assert depth == 2


@pytest.mark.skipif(sys.platform != "linux", reason="resource limits differ elsewhere")
def test_a_child_alone_ends_by_its_processor_time() -> None:
    """The child bounds its own time by what it is told, for when nobody watches the clock any more."""
    child = run_alone(
        """
def spin(data, max_pages):
    while True:
        pass
pdf._extract = spin
sys.argv = ["", "50", "1"]
pdf._main()
"""
    )
    assert child.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_child_dies_with_its_parent() -> None:
    """A parent killed outright takes the child along: nobody holds the pipe long after it."""
    child = (
        "from stanchion.text import pdf; pdf._die_with_parent(); print(flush=True); signal.alarm(60); signal.pause()"
    )
    parent = run_alone(
        f"""
child = subprocess.Popen([sys.executable, "-c", "import signal; {child}"], stdout=subprocess.PIPE)
child.stdout.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    assert parent.returncode == -signal.SIGKILL
