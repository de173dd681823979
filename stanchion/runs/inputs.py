"""From what a user names (files, folders, JSON lines, standard input) to inputs of runs; nothing named gets lost."""

from __future__ import annotations

import base64
import gzip
import json
import math
import os
import re
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast

from stanchion.errors import StanchionError

_MAX_ID = 200
_MAX_DEPTH = 50
_MOST_UNPACKED = 100
"""Times its own size to which a compressed file is unpacked; JSON lines reach 10 to 30, bombs 1,000."""
_MOST_SKIPPED = 100_000_000
"""Bytes of blank lines, or of one line that is too long, that are skipped in a row; a pipe may send them for ever."""
_MOST_UNUSABLE = 100
"""Unusable lines in a row after which what follows is no dataset: a small archive holds millions of them."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f]")


class Input(NamedTuple):
    """What one run starts from.

    Args:
        id: unique among the inputs of one `read_inputs`; at most 200 characters.
        document: what `stanchion.nodes.intake` reads; of something unusable its name and the `problem`, for a person.
        recorded: per model name its recorded answer or answers, where a dataset brings them.
        truth: the right output, where a dataset knows it.
    """

    id: str
    document: dict[str, Any]
    recorded: dict[str, Any] | None = None
    truth: dict[str, Any] | None = None


class _Unusable(StanchionError):
    """What was named gives no document; the message says why, for a person."""


class _Lines(Protocol):
    def readline(self, size: int, /) -> bytes: ...


_TROUBLE = (OSError, ValueError, EOFError, zlib.error, _Unusable)
"""What can go wrong in reading; ValueError comes from names that no file can have."""


def read_inputs(
    paths: Sequence[str], *, stdin: IO[bytes] | None = None, max_bytes: int = 10_000_000
) -> Iterator[Input]:
    """Give the inputs that the paths name, in their order; what cannot be used is an input too, and its run says why.

    Args:
        paths: files, folders (with all that is in them, by name, hidden ones left out), JSON lines (`.jsonl`,
            `.jsonl.gz`; per line `id`, `input` and perhaps `recorded` and `truth`), or `-` for standard input: JSON
            lines if the first one has an `input`, otherwise one document.
        stdin: what `-` reads; None is this process's standard input.
        max_bytes: size beyond which a file or a line is not read.
    """
    used: Counter[str] = Counter()
    for path in paths:
        found = _from_stdin(stdin or sys.stdin.buffer, max_bytes) if path == "-" else _from_path(path, max_bytes)
        for item in found:
            yield item._replace(id=_unique(item.id, used))


def checkpointable(document: Any) -> dict[str, Any]:
    """Make a document safe for msgpack and SQLite, and note under `changed` what had to be changed.

    Lone surrogates become U+FFFD; integers beyond 64 bits, NaN and infinities become text. What is no JSON object, or
    is nested more than 50 levels deep, becomes a `problem`.
    """
    changes: Counter[str] = Counter()
    try:
        if not isinstance(document, dict):
            raise _Unusable("The document is not a JSON object.")
        safe = cast("dict[str, Any]", _safe(document, changes, _MAX_DEPTH))
    except _Unusable as unusable:
        return {"problem": str(unusable)}
    if changes:
        before = safe.get("changed")
        notes = [f"{what} ({count:,}×)" for what, count in changes.items()]
        safe["changed"] = [*before, *notes] if isinstance(before, list) else notes
    return safe


def _safe(value: Any, changes: Counter[str], levels: int) -> Any:
    """The value as msgpack and SQLite can hold it; at most so many levels deep."""
    if isinstance(value, str):
        text, count = _SURROGATES.subn("\ufffd", value)
        changes.update({"lone surrogate replaced": count} if count else {})
        return text
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _safe_number(value, changes)
    if not isinstance(value, dict | list) or not all(isinstance(key, str) for key in value if isinstance(value, dict)):
        raise _Unusable("The document holds something that is not JSON.")
    if not levels:
        raise _Unusable(f"The document is nested more than {_MAX_DEPTH} levels deep.")
    if isinstance(value, list):
        return [_safe(item, changes, levels - 1) for item in value]
    return {_safe(key, changes, 0): _safe(item, changes, levels - 1) for key, item in value.items()}


def _safe_number(number: float, changes: Counter[str]) -> int | float | str:
    if isinstance(number, int):
        if -(2**63) <= number < 2**63:
            return number
        changes["integer beyond 64 bits made text"] += 1
        try:
            return str(number)
        except ValueError:  # Python's limit of 4,300 digits
            raise _Unusable("The document holds an integer of thousands of digits.") from None
    if math.isfinite(number):
        return number
    changes["number that is not finite made text"] += 1
    return str(number)


def _from_path(named: str, max_bytes: int) -> Iterator[Input]:
    path = Path(named)
    try:
        if not named:
            raise FileNotFoundError
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except _TROUBLE as trouble:
        yield _unusable(path.name, trouble)
        return
    yield from _from_folder(path, max_bytes) if is_folder else _from_file(path, path.name, max_bytes)


def _from_folder(folder: Path, max_bytes: int) -> Iterator[Input]:
    unread: list[OSError] = []
    empty = True
    for parent, subfolders, names in os.walk(folder, onerror=unread.append):  # follows no link, so finds no loop
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(parent, name)
            yield from _from_file(path, path.relative_to(folder).as_posix(), max_bytes)
            empty = False
    for trouble in unread:
        yield _unusable(Path(trouble.filename or folder).name, trouble)
    if empty and not unread:
        yield _unusable(folder.name, _Unusable("The folder holds no files."))


def _from_file(path: Path, name: str, max_bytes: int) -> Iterator[Input]:
    suffixes = path.name.lower()
    try:
        with _open(path) as file:
            if suffixes.endswith(".jsonl"):
                yield from _from_lines(_lines(file, max_bytes), name, max_bytes)
            elif suffixes.endswith(".jsonl.gz"):
                most = max_bytes + _MOST_UNPACKED * os.fstat(file.fileno()).st_size
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield from _from_lines(_lines(unpacked, max_bytes, most), name, max_bytes)
            else:
                yield _file(name, path.name, file.read(max_bytes + 1), max_bytes)
    except _TROUBLE as trouble:
        yield _unusable(name, trouble)


def _open(path: Path) -> IO[bytes]:
    """Open a regular file and nothing else: a device or pipe might never end, or do something when opened."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise _Unusable("It is no ordinary file but a device, a pipe or a socket.")
    # Were it a pipe by now, opening it would still not wait.
    return path.open("rb") if os.name == "nt" else os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")


def _from_stdin(stream: IO[bytes], max_bytes: int) -> Iterator[Input]:
    name = "stdin"
    try:
        lines = _lines(stream, max_bytes)
        first = next(lines, (1, b""))
        if b"input" in first[1] and "input" in _object(first[1]):
            yield from _from_lines(chain([first], lines), name, max_bytes)
        else:
            rest = stream.read(max_bytes + 1 - len(first[1]))
            yield _file(name, name, first[1] + rest, max_bytes)
    except _TROUBLE as trouble:
        yield _unusable(name, trouble)


def _file(name: str, basename: str, data: bytes, max_bytes: int) -> Input:
    if len(data) > max_bytes:
        raise _Unusable(f"The file is larger than {max_bytes:,} bytes.")
    return Input(name, checkpointable({"name": basename, "data": base64.b64encode(data).decode()}))


def _lines(stream: _Lines, max_bytes: int, most: float = math.inf) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; of one that is too long only the beginning.

    Raises:
        _Unusable: all lines together have more than `most` bytes, or too many bytes had to be skipped in a row.
    """
    number, size, skipped = 0, 0, 0
    while line := stream.readline(max_bytes + 1):
        number += 1
        size += len(line)
        skipped = skipped + len(line) if line.isspace() else 0
        piece = line
        while len(piece) > max_bytes and not piece.endswith(b"\n") and size <= most and skipped <= _MOST_SKIPPED:
            piece = stream.readline(max_bytes + 1)
            size += len(piece)
            skipped += len(piece)
        if size > most:
            raise _Unusable(f"The file unpacks to more than {most:,} bytes; what follows is not read.")
        if skipped > _MOST_SKIPPED:
            raise _Unusable(f"Line {number:,} is too long or blank without end; nothing is read from there on.")
        if not line.isspace():
            yield number, line


def _from_lines(lines: Iterable[tuple[int, bytes]], name: str, max_bytes: int) -> Iterator[Input]:
    """The inputs of the lines.

    Raises:
        _Unusable: there are no lines, or too many in a row were unusable.
    """
    last = unusable = 0
    for number, line in lines:
        if unusable == _MOST_UNUSABLE:
            raise _Unusable(f"{unusable} lines in a row cannot be used; what follows line {last:,} is not read.")
        item = _row(line, f"{name}:{number}", max_bytes)
        yield item
        last = number
        unusable = unusable + 1 if "problem" in item.document else 0
    if not last:
        raise _Unusable("The file holds no lines.")


def _row(line: bytes, place: str, max_bytes: int) -> Input:
    """The input of one line of JSON; `place` names it where it has no id of its own."""
    if len(line) > max_bytes:
        return _unusable(place, _Unusable(f"The line is longer than {max_bytes:,} bytes."))
    row = _object(line)
    given = row.get("id")
    name = str(given) if isinstance(given, str | int) and given != "" else place
    try:
        if not isinstance(row.get("input"), dict):
            raise _Unusable('The line is not a JSON object with an object as its "input".')
        return Input(name, checkpointable(row["input"]), _optional(row, "recorded"), _optional(row, "truth"))
    except _Unusable as unusable:
        return _unusable(name, unusable)


def _object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; empty where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _optional(row: dict[str, Any], key: str) -> dict[str, Any] | None:
    value = row.get(key)
    if not isinstance(value, dict | None):
        raise _Unusable(f'The line\'s "{key}" is not an object.')
    return value and _safe(value, Counter(), _MAX_DEPTH)


def _unusable(name: str, trouble: Exception) -> Input:
    return Input(name, checkpointable({"name": name, "problem": _why(trouble)}))


def _why(trouble: Exception) -> str:
    match trouble:
        case _Unusable():
            return str(trouble)
        case FileNotFoundError() | NotADirectoryError():
            return "There is no such file or folder."
        case PermissionError():
            return "It may not be read: permission denied."
        case gzip.BadGzipFile() | EOFError() | zlib.error():
            return "The file is damaged and cannot be unpacked."
        case OSError(errno=int(number)):
            return f"It cannot be read: {os.strerror(number)}."
    return "It cannot be read."


def _unique(name: str, used: Counter[str]) -> str:
    """An id of this name: printable, short, and with a number where it was used before."""
    clean = _UNPRINTABLE.sub("", _SURROGATES.sub("\ufffd", name)).strip()[:_MAX_ID] or "input"
    unique = clean
    while unique in used:
        used[clean] += 1
        suffix = f"-{used[clean]}"
        unique = clean[: _MAX_ID - len(suffix)] + suffix
    used[unique] = 1
    return unique
