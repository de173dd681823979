"""What stands beside the database in `FILE.trail`: the key of its trail, and the trail's head.

Whoever can write the database but not these files can alter nothing unnoticed. Whoever can write both can: against them
the key comes from the environment, and the head is kept on another machine as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from stanchion.errors import StoreError, UsageError
from stanchion.store.trail_seal import FIRST, Head, Seal

KEY = "STANCHION_TRAIL_KEY"
SHORTEST_KEY = 32  # characters; a file's own key has 64 hexadecimal digits
MOST_BYTES = 4096  # of a file beside the database; ours have under 200
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.005
LARGEST = 2**63 - 1


class TrailFiles:
    """The files beside one database.

    Args:
        database: its path.
    """

    def __init__(self, database: Path) -> None:
        self.folder = database.with_name(f"{database.name}.trail")

    def key(self) -> bytes | None:
        """Return the key: from the environment, else from the file; None where there is neither.

        Raises:
            UsageError: the environment's key is too short to be one.
            StoreError: the file cannot be read, or holds no key.
        """
        if (given := os.environ.get(KEY)) is not None:
            if len(given.strip()) < SHORTEST_KEY:
                raise UsageError(f"{KEY} takes a secret of at least {SHORTEST_KEY} characters.")
            return given.strip().encode("utf-8", "surrogateescape")
        text = self._read("key")
        if text is None:
            return None
        if len(text.strip()) < SHORTEST_KEY:
            raise StoreError(f"{self.folder / 'key'} holds no key: put the file back from a backup.")
        return text.strip().encode()

    def key_is_from(self) -> str:
        """Say in words where the key comes from."""
        return f"which comes from {KEY}" if KEY in os.environ else f"the file {self.folder / 'key'}"

    def head(self) -> Head | None:
        """Return the head as it is kept; None where there is none.

        Raises:
            StoreError: the file cannot be read, or holds no head.
        """
        text = self._read("head")
        return None if text is None else read_head(text, self.folder / "head")

    def head_as_it_is(self) -> str | None:
        """Return what the file of the head holds, be it a head or not, for the record."""
        try:
            return self._read("head")
        except StoreError as error:
            return str(error)

    def make(self, *, new_key: bool, new_trail: bool) -> bytes:
        """Return the key; make what is missing, where nothing that is there depends on it.

        Args:
            new_key: whether a key may be made.
            new_trail: there is no entry yet, so that a missing head is that of an empty trail.

        Raises:
            StoreError: the key is missing and may not be made, or a file cannot be written.
        """
        with self._locked():
            key = self.key()
            if key is None and not new_key:
                raise StoreError(
                    f"The key of the trail is missing ({self.folder / 'key'}): put it back from a backup, set {KEY}, "
                    "or begin anew with `stanchion trail restart`."
                )
            key = key or self._new_key()
            if new_trail and not (self.folder / "head").exists():
                self._write_head(Seal(key).head(0, FIRST))
            return key

    def move_on(self, head: Head, *, goes_on: Callable[[Head], bool]) -> None:
        """Keep a new head, unless a later one is kept; one that the trail does not go on from is evidence, and stays.

        Args:
            head: of the trail as it is now.
            goes_on: says whether the trail goes on from the head that is kept.

        Raises:
            StoreError: it cannot be written.
        """
        with self._locked():
            try:
                kept = self.head()
            except StoreError:
                return  # a head that is none is evidence too
            if kept is not None and kept.count < head.count and goes_on(kept):
                self._write_head(head)

    def replace_head(self, head: Head) -> None:
        """Keep a head, whatever was kept before.

        Args:
            head: of the trail as it is now.

        Raises:
            StoreError: it cannot be written.
        """
        with self._locked():
            self._write_head(head)

    @contextlib.contextmanager
    def copied_to(self, database: Path) -> Iterator[None]:
        """Copy the files for a copy of the database that is made meanwhile, and take them away again if that fails.

        Args:
            database: the copy's path.

        Raises:
            StoreError: something of that name exists, which is never written over; or the copies cannot be written.
        """
        copy = TrailFiles(database).folder
        copies = {copy / name: text for name, text in self._texts().items()}
        if exists := [path for path in (database, copy / "key", copy / "head") if os.path.lexists(path)]:
            raise StoreError(f"{exists[0]} exists already and is not written over: name another file for the copy.")
        with contextlib.ExitStack() as undo:
            try:
                if copies:
                    copy.mkdir(exist_ok=True, mode=0o700)
                    undo.callback(_remove_if_empty, copy)
                for path, text in copies.items():
                    _write_new(path, text, undo)
            except OSError as error:
                raise StoreError(f"{copy} cannot be written ({error.strerror}).") from error
            yield
            undo.pop_all()

    def _texts(self) -> dict[str, str]:
        """Return the key and the head as they stand at one moment, as far as there are any."""
        if not self.folder.exists():
            return {}
        with self._locked():
            texts = {name: self._read(name) for name in ("key", "head")}
        return {name: text for name, text in texts.items() if text is not None}

    def _new_key(self) -> bytes:
        key = secrets.token_hex(32)
        self._write("key", key)
        return key.encode()

    def _read(self, name: str) -> str | None:
        try:
            with (self.folder / name).open("rb") as file:
                return file.read(MOST_BYTES).decode("ascii")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.folder / name} cannot be read ({type(error).__name__}).") from error

    def _write_head(self, head: Head) -> None:
        self._write("head", json.dumps(asdict(head)))

    def _write(self, name: str, text: str) -> None:
        """Write a file so that it holds the old text or the new one whenever the power goes."""
        part = self.folder / f"{name}.part"
        descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{text.strip()}\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / name)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(exist_ok=True, mode=0o700)
            with FileLock(self.folder / "lock", timeout=PATIENCE_SECONDS, poll_interval=POLL_SECONDS, mode=0o600):
                yield
        except Timeout as error:
            raise StoreError(f"{self.folder} stayed locked for {PATIENCE_SECONDS:.0f} s by another program.") from error
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written ({error.strerror}): mend that first.") from error


def _write_new(path: Path, text: str, undo: contextlib.ExitStack) -> None:
    """Write a file that nobody has made yet, and have it removed where what follows fails."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        undo.callback(path.unlink, missing_ok=True)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def read_head(text: str, where: Path) -> Head:
    """Return the head that a text holds; hostile until it is one.

    Args:
        text: JSON, as `stanchion trail head` prints it.
        where: it comes from, for the message.

    Raises:
        StoreError: it is no head.
    """
    try:
        said = json.loads(text)
        count, last, seal = said["count"], said["hash"], said["seal"]
        if (
            type(count) is int
            and 0 <= count <= LARGEST
            and all(re.fullmatch("[0-9a-f]{64}", one) for one in (last, seal))
        ):
            return Head(count, last, seal)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise StoreError(f"{where} holds no head of a trail: it is JSON with count, hash and seal.")
