"""Who is alive: a file lock that the operating system frees the moment its process dies, whatever killed it.

No clock is involved, so a killed process's runs can be taken over at once. One that lives and hangs loses them when
their leases end (`stanchion.runs.ledger`).
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


class Owner:
    """One living owner of runs in one database; holds its lock from creation until `release` or death.

    Args:
        database: the database file that the runs stand in.
        name: unique among all owners, for ever.
    """

    def __init__(self, database: Path, name: str) -> None:
        self.name = name
        self._lock = FileLock(_lock_file(database, name))
        Path(self._lock.lock_file).parent.mkdir(exist_ok=True, mode=0o700)
        self._lock.acquire(timeout=0)

    def release(self) -> None:
        """Give up everything owned."""
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


def is_alive(database: Path, name: str) -> bool:
    """Say whether the process that owns `name` still runs.

    Args:
        database: the database file that the runs stand in.
        name: the owner's name, as it stands in the runs' `owner` column.
    """
    path = Path(_lock_file(database, name))
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
            return False
    except Timeout:
        return True


def _lock_file(database: Path, name: str) -> str:
    return str(database.with_name(f"{database.name}.owners") / f"{name}.lock")
