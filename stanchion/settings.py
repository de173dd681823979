"""What the environment may set; everything else is an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Defaults that the environment overrides; arguments override both.

    Args:
        db: the database file (`STANCHION_DB`).
        model: the model of runs that name none (`STANCHION_MODEL`), as a string that `load_model` takes.
        synchronous: SQLite's durability (`STANCHION_SYNCHRONOUS`): FULL survives loss of power, NORMAL only the death
            of the process (https://sqlite.org/pragma.html#pragma_synchronous).
    """

    model_config = SettingsConfigDict(env_prefix="STANCHION_", extra="ignore")

    db: Path = Path(".stanchion/stanchion.db")
    model: str = "none"
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
