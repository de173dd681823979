"""What the tests of the console share: databases with nothing, one run and many, and a console for yourself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st

from stanchion.store import Database
from stanchion.ui import access
from tests.ui.pages import HOSTILE, run_letters


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Databases to be copied: with nothing, with one run, and with many that stand in every way."""
    folder = tmp_path_factory.mktemp("kept")
    made = {name: folder / f"{name}.db" for name in ("empty", "one", "many")}
    Database(made["empty"]).close()
    run_letters(made["one"], only="name: Ann\npages: 2")
    many = {f"letter-{number}": f"name: Ann\npages: {number}" for number in range(60)}
    run_letters(made["many"], **many, asks="name: Bob?\npages: 1", breaks="boom", **{HOSTILE: "name: Eve?\npages: 1"})
    return made


@pytest.fixture
def database(kept: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a copy of one of the kept databases before a console for yourself, in an empty folder."""

    def put(name: str) -> Path:
        target = tmp_path / f"{name}.db"
        source = Database(kept[name])
        source.backup(target)
        source.close()
        monkeypatch.setenv("STANCHION_DB", str(target))
        return target

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(access.MODE, "local")
    return put


@pytest.fixture(autouse=True)
def _closed_afterwards() -> Iterator[None]:
    """Keep nothing that one test's console opened for the next."""
    yield
    st.cache_resource.clear()
