"""Reads the text of a PDF in a process of its own: a hostile file can hang or eat memory, but only there."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
from threading import Semaphore

from stanchion.errors import StanchionError

_MOST_MEMORY = 1_000_000_000
_MOST_CHARS = 1_000_000
_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal that a process gets when its parent dies."""
_places = Semaphore(2)
"""Children that may run at a time: each may take a processor and 1 GB of memory."""
_GAP = re.compile(" {3,}")
_BROKEN = "This PDF is broken and cannot be read."


class UnreadablePdf(StanchionError):
    """A PDF gave no text; the message is a sentence for the person who sent it."""


def read_pdf(data: bytes, *, timeout: float = 20.0, max_pages: int = 50) -> str:
    """Extract the text of a PDF in rows as on its pages, columns separated by two spaces.

    Args:
        data: the file.
        timeout: seconds until the attempt is given up, not counting the wait for others that are being read.
        max_pages: pages up to which a document is read at all.

    Raises:
        UnreadablePdf: it is encrypted, broken, scanned (without text), too long, or takes too much time or memory.
    """
    # The child sees the packages that this process sees, and none of the secrets in its environment.
    environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-P", "-m", "stanchion.text.pdf", str(max_pages), str(math.ceil(timeout))]
    try:
        with _places:
            child = subprocess.run(  # noqa: S603
                command, input=data, env=environment, timeout=timeout, capture_output=True, check=False
            )
    except subprocess.TimeoutExpired:
        raise UnreadablePdf(f"This PDF takes longer than {timeout:g} seconds to read.") from None
    try:
        answer = json.loads(child.stdout)
        text, problem = answer["text"], answer["problem"]
    except (ValueError, KeyError):  # the child died
        raise UnreadablePdf(_BROKEN) from None
    if problem:
        raise UnreadablePdf(problem)
    return str(text)


def _main() -> None:
    """Answer with the text of the PDF on standard input, or with what is wrong with it, as one JSON object."""
    _limit_resources(seconds=int(sys.argv[2]))
    _die_with_parent()
    logging.disable()
    text = problem = ""
    try:
        text = _extract(sys.stdin.buffer.read(), max_pages=int(sys.argv[1]))
    except UnreadablePdf as unreadable:
        problem = str(unreadable)
    except MemoryError:
        problem = "This PDF takes too much memory to read."
    except Exception:  # whatever pypdf makes of a hostile file
        problem = _BROKEN
    sys.stdout.write(json.dumps({"text": text[:_MOST_CHARS], "problem": problem}))


def _limit_resources(*, seconds: int) -> None:
    """Bound this process's memory, and its processor time for when nobody is left to watch the clock."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def _die_with_parent() -> None:
    """End when the parent is killed; elsewhere than on Linux the limits alone end this process."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _extract(data: bytes, *, max_pages: int) -> str:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    reader = PdfReader(io.BytesIO(data))
    try:
        locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError:  # a cipher for which pypdf wants another package
        locked = True
    if locked:
        raise UnreadablePdf("This PDF is encrypted; remove its password and send it again.")
    if len(reader.pages) > max_pages:
        raise UnreadablePdf(f"This PDF has {len(reader.pages):,} pages; at most {max_pages} are read.")
    pages = [page.extract_text(extraction_mode="layout", layout_mode_space_vertically=False) for page in reader.pages]
    text = "\n".join(_GAP.sub("  ", line.strip()) for page in pages for line in page.split("\n"))
    if not text.strip():
        raise UnreadablePdf("This PDF holds no text; it looks scanned and needs OCR first.")
    return text


if __name__ == "__main__":
    _main()
