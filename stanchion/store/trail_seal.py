"""What makes a change of the trail show: each entry is sealed with a key, over the seal of the one before.

Keyed, because a chain of plain hashes can be computed anew by whoever can write the file. The personal text of an entry
is not sealed itself but by a commitment to it, so that the text can be erased and the chain still holds; the salt goes
with the text, so that nobody finds a short text again by trying.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stanchion.errors import UsageError

FIRST = bytes(32)
"""What the first entry is sealed over."""

SALT_BYTES = 32
MOST_CHARACTERS = 16 * 1024 * 1024
"""Of an entry's facts, and of its text."""

_SEALED = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Head:
    """How long the trail is and how it ends, to be kept where nobody who alters the database can alter it too.

    Args:
        count: how many entries there are.
        hash: the last one's, in hexadecimal digits.
        seal: of both, with the trail's key, in hexadecimal digits.
    """

    count: int
    hash: str
    seal: str


class Seal:
    """Seals entries and heads.

    Args:
        key: secret; whoever has it can write a trail that looks right.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of_entry(self, before: bytes, columns: Sequence[Any], commitment: bytes) -> bytes:
        """Return an entry's hash: HMAC-SHA256 (RFC 2104) of the hash before and of all its columns in JSON.

        Args:
            before: the hash of the entry before, 32 bytes; `FIRST` where there is none.
            columns: seq, at, by, known_by, what, workflow, run_id, subject, facts.
            commitment: to its text.
        """
        return hmac.digest(self._key, before + _SEALED([*columns, commitment.hex()]).encode(), "sha256")

    def head(self, count: int, last: bytes) -> Head:
        """Return a head.

        Args:
            count: how many entries there are.
            last: the hash of the last one.
        """
        seal = hmac.digest(self._key, b"head" + _SEALED([count, last.hex()]).encode(), "sha256")
        return Head(count, last.hex(), seal.hex())

    def made(self, head: Head) -> bool:
        """Say whether a head was made with this key.

        Args:
            head: from anywhere.
        """
        return self.head(head.count, bytes.fromhex(head.hash)) == head


def commit(salt: bytes, text: str) -> bytes:
    """Return the commitment to a text: SHA-256 of its salt and itself.

    Args:
        salt: 32 random bytes of its own.
        text: as it stands in the database.
    """
    return hashlib.sha256(salt + text.encode("utf-8", "surrogateescape")).digest()


def canonical(values: Mapping[str, Any]) -> str:
    """Return values as the one JSON text that the trail keeps of them: keys in order, ASCII, no spaces.

    Args:
        values: plain data; what JSON has no form for is written as text.

    Raises:
        UsageError: it cannot be written as JSON, or is too long.
    """
    try:
        text = json.dumps(values, ensure_ascii=True, sort_keys=True, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"What the trail is to keep cannot be written as JSON ({type(error).__name__}).") from error
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"What the trail is to keep is too long: {len(text):,} of {MOST_CHARACTERS:,} characters.")
    return text
