"""The whole list of hostile documents in one command, beside good ones: each ends with a reason, none disturbs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pypdf

from tests.cli.conftest import Stanchion

GOOD = """KEDAI SENDUK KAYU
NO 12, JALAN SENDUK 3, 43000 KAJANG
DATE: 14/02/2018
NASI LEMAK      8.00
TEH TARIK       2.50
GRAND TOTAL    10.50
CASH           20.00
CHANGE          9.50
"""


def encrypted_pdf() -> bytes:
    """A PDF that needs a password."""
    writer, file = pypdf.PdfWriter(), io.BytesIO()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(file)
    return file.getvalue()


HOSTILE: dict[str, bytes] = {
    "empty.txt": b"",
    "blanks.txt": b" \n\t \n" * 50,
    "huge.txt": b"TOTAL 1.00\n" * 1_900_000,
    "binary.txt": bytes(range(256)) * 40,
    "nul.txt": b"\0" * 5_000,
    "brackets.txt": b"[" * 100_000,
    "mixed.txt": "Café €5".encode() + "naïve".encode("latin-1") + "日本".encode("utf-16"),
    "right-to-left.txt": "קבלה מספר 12 סך הכל 15.00".encode(),
    "emoji.txt": "🧾💶🎉".encode() * 20,
    "page.html": b"<html><script>alert(1)</script><body><p>Total 5.00</body>",
    "encrypted.pdf": encrypted_pdf(),
    "broken.pdf": b"%PDF-1.7\n1 0 obj << /Type /Catalog",
}


def test_every_hostile_document_ends_with_a_plain_reason(stanchion: Stanchion, tmp_path: Path) -> None:
    """Files, a missing path, an empty folder, a device, JSON lines in one command: none fails, the good ones pass."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, content in HOSTILE.items():
        (folder / name).write_bytes(content)
    (folder / "good-1.txt").write_text(GOOD)
    (folder / "good-2.txt").write_text(GOOD)
    (tmp_path / "nothing").mkdir()
    lines = [{"id": "surrogates", "input": {"text": "total \ud800 5"}}, {"id": "huge-int", "input": {"text": 10**40}}]
    (tmp_path / "rows.jsonl").write_text("\n".join([*map(json.dumps, lines), "{broken"]))
    paths = [folder, tmp_path / "missing.txt", tmp_path / "nothing", Path("/dev/null"), tmp_path / "rows.jsonl"]

    ended = stanchion("run", "receipts", *map(str, paths), "--model", "none", "--json")

    runs = {run["input_id"]: run for run in ended.json}
    assert ended.code == 0
    assert len(runs) == len(HOSTILE) + 2 + 3 + 3
    assert {runs[name]["outcome"] for name in ("good-1.txt", "good-2.txt")} == {"accepted"}
    assert {run["status"] for run in runs.values()} == {"done", "waiting"}
    assert "failed" not in {run["outcome"] for run in runs.values()}
    others = [run for name, run in runs.items() if not name.startswith("good")]
    assert all(run["reason"].endswith((".", ")")) or run["status"] == "waiting" for run in others)
    assert not any(run["outcome"] == "accepted" for run in others)
