"""The database: one file, one writer thread, migrations and owners; it knows nothing of what stands in it."""

from stanchion.store.database import Database
from stanchion.store.owners import Owner

__all__ = ["Database", "Owner"]
