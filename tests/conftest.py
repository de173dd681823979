"""What holds for every test: no network but loopback, no key, nobody's home folder, and the same examples each time."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from pytest_socket import socket_allow_hosts

_UNWANTED = ("STANCHION_", "LANGSMITH_", "LANGCHAIN_")

settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """Clean the environment before any test file is imported: some libraries read it, and the home folder, once."""
    for name in list(os.environ):
        if name.startswith(_UNWANTED) or name.upper().endswith(("_API_KEY", "_PROXY")):
            del os.environ[name]
    home = tempfile.TemporaryDirectory(prefix="stanchion-home-")
    config.add_cleanup(home.cleanup)
    os.environ["HOME"] = home.name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Refuse every connection that leaves this machine."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(autouse=True)
def _nothing_learned_of_models() -> Iterator[None]:
    """Forget what the whole process counted of models, or one test's failures would open the breaker of the next."""
    yield
    if door := sys.modules.get("stanchion.models.door"):
        for shared in (door._gate_of_process, door._flights_of_process, door._chance_of_process):
            shared.cache_clear()


@pytest.fixture(scope="session")
def data() -> Path:
    """The development data beside the repository; a test that asks for it is skipped where there is none."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the development data (../shared/data) is not beside the repository")
    return folder
