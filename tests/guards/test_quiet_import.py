"""The contract with guardrails-ai 0.11: importing it through us leaves no trace, whoever imported it first."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WATCH = """
import json, logging, os, sqlite3, sys, threading
from datetime import datetime

events = []
sys.addaudithook(lambda event, args: events.append([event, repr(args[1:])]) if event.startswith("socket.") else None)
"""

FIRST = {
    "we": "",
    "they": """
import guardrails
from guardrails.validator_base import Validator, register_validator

@register_validator(name="lab/early", data_type="all")
class Early(Validator):
    pass

Early()  # starts the thread that sends telemetry
assert threading.active_count() == 2
guardrails.Guard()
""",
}

REPORT = """
from stanchion.guards import Placeholder, check
from pydantic import BaseModel
from typing import Annotated

class Model(BaseModel):
    name: Annotated[str, Placeholder()]

assert check(Model, {"name": "Ann"}).ok

from guardrails.classes.rc import RC
from guardrails.logger import get_scope_handler
from guardrails.utils.hub_telemetry_utils import HubTelemetry
from guardrails.validator_base import PassResult, Validator, register_validator

@register_validator(name="lab/inference", data_type="all")
class Inference(Validator):
    def _validate(self, value, metadata):
        return self._inference(value)  # opens a span for the vendor

    def _inference_local(self, value):
        return PassResult()

handlers = len(logging.root.handlers)
Inference().validate("x", {})
logging.root.setLevel(logging.DEBUG)
logging.getLogger("guardrails-ai").error("a record")

database = sqlite3.connect(":memory:", detect_types=sqlite3.PARSE_DECLTYPES)
database.execute("create table times (at timestamp)")
database.execute("insert into times values (?)", (datetime(2026, 1, 2, 3, 4, 5, 678),))
text, value = database.execute("select cast(at as text), at from times").fetchone()

print(json.dumps({
    "events": events,
    "threads": [thread.name for thread in threading.enumerate()],
    "stored": text,
    "loaded": value.isoformat(),
    "records": len(get_scope_handler().get_all_logs()),
    "handlers": len(logging.root.handlers) - handlers,
    "metrics": RC.load().enable_metrics,
    "sends": HubTelemetry()._enabled,
}))
"""


@pytest.fixture(scope="module", params=FIRST)
def report(request, tmp_path_factory):
    """What a fresh process, with an empty home folder, saw of itself."""
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCH + FIRST[request.param] + REPORT],
        capture_output=True,
        text=True,
        timeout=100,  # guardrails' own telemetry would hold the exit back for 6 s, and a hang for ever
        check=False,
        env={"HOME": str(home), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_nothing_reaches_for_the_network(report):
    """No name is looked up and nothing is connected; urllib3 asks the machine itself once whether it knows IPv6."""
    probes = [event for event in report["events"] if "::1" in event[1] or event[0] == "socket.__new__"]

    assert [event for event in report["events"] if event not in probes] == []
    assert len(probes) <= 2


def test_no_thread_is_left(report):
    """Also the thread of a validator that was built before us has ended."""
    assert report["threads"] == ["MainThread"]


def test_sqlite3_keeps_datetimes_as_python_does(report):
    """A datetime is stored as text with its microseconds, and comes back the same."""
    assert report["stored"] == "2026-01-02 03:04:05.000678"
    assert report["loaded"] == "2026-01-02T03:04:05.000678"


def test_no_log_record_is_kept_and_no_handler_added(report):
    """What guardrails logs, values included, is not held in memory, and the root logger is left alone."""
    assert report["records"] == 0
    assert report["handlers"] == 0


def test_telemetry_stays_off(report):
    """The settings file cannot turn it on again, and the sender is inert."""
    assert report["metrics"] is False
    assert report["sends"] is False


def test_another_release_is_refused(monkeypatch):
    """A guardrails-ai whose side effects nobody has looked at is not imported."""
    import stanchion.guards._guardrails as quiet
    from stanchion.errors import UsageError

    monkeypatch.setattr(quiet, "version", lambda _: "0.12.0")
    with pytest.raises(UsageError, match=r"guardrails-ai 0\.12\.0 is installed"):
        quiet._demand_known_version()
