"""What the environment may set; everything else is an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from stanchion.errors import UsageError


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


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        UsageError: a variable holds something that cannot be used; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        names = ", ".join(f"STANCHION_{str(problem['loc'][0]).upper()}" for problem in error.errors())
        raise UsageError(f"The environment cannot be used: {names} ({error.errors()[0]['msg']}).") from error
