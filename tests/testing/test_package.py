"""The package of fakes as a whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stanchion.testing


def test_everything_that_is_announced_is_there() -> None:
    """`__all__` is the truth."""
    assert all(getattr(stanchion.testing, name) for name in stanchion.testing.__all__)
    assert set(stanchion.testing._HOMES) == set(stanchion.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = stanchion.testing.nonsense


def test_importing_the_package_or_its_clock_and_server_loads_no_framework() -> None:
    """Fakes that need no framework load none, so that a test's process starts fast."""
    code = (
        "import sys; from stanchion.testing import FakeClock, OpenAIServer, Reply; "
        "print({'langgraph', 'langchain_core', 'guardrails', 'openai'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "set()"
