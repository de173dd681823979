"""The file in which operators say what holds here: `stanchion.toml` of the current folder."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from stanchion.errors import UsageError

OPERATORS_FILE = "stanchion.toml"
MOST_BYTES = 256 * 1024
MOST_DOTS = 200
"""In one line: Python's TOML parser takes quadratic time over a key with very many parts."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file that somebody wrote by hand.

    Args:
        path: the file.

    Raises:
        UsageError: it is missing, too large, or no TOML.
    """
    try:
        if not path.is_file():
            raise UsageError(f"There is no file {path}.")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES or any(line.count(b".") > MOST_DOTS for line in content.split(b"\n")):
            raise UsageError(f"{path} is too large: {MOST_BYTES // 1024} KiB, {MOST_DOTS} dots in a line.")
        return tomllib.loads(content.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # what is no TOML, no UTF-8 or too deep, is a ValueError
        raise UsageError(f"{path} cannot be read as TOML ({type(error).__name__}: {str(error)[:200]}).") from error
