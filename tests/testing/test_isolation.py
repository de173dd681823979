"""What `tests/conftest.py` promises to every test."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_socket import SocketConnectBlockedError


def test_nothing_leaves_this_machine() -> None:
    """A connection to anything but loopback is refused before it is tried."""
    with socket.socket() as out, pytest.raises(SocketConnectBlockedError):
        out.connect(("192.0.2.1", 443))  # an address for documentation, that nobody has: RFC 5737


def test_loopback_is_open() -> None:
    """A server of the test's own can be reached."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def test_the_environment_has_no_key_no_tracing_and_nobodys_home() -> None:
    """Nothing of the person who runs the tests can change what they do."""
    assert not [name for name in os.environ if name.startswith(("STANCHION_", "LANGSMITH_", "LANGCHAIN_"))]
    assert not [name for name in os.environ if name.upper().endswith(("_API_KEY", "_PROXY"))]
    assert Path.home().parent == Path(tempfile.gettempdir())


def test_hypothesis_draws_the_same_examples_each_time() -> None:
    """A failure on one machine is a failure on every other, however slow."""
    assert settings.default.derandomize
    assert settings.default.deadline is None
