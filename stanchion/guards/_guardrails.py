"""The one place that imports guardrails-ai, and keeps it quiet while doing so.

Left to itself, `import guardrails` sends telemetry, changes how every sqlite3 connection of the process stores a
datetime, and keeps each log record, with the values in it, for ever. Importing this module undoes all three, also
where somebody imported guardrails before. It takes about 3 s, so import it only where a validator is at hand.

What is undone here has private names: `tests/guards/test_quiet_import.py` is the contract with version 0.11.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from stanchion.errors import UsageError

SUPPORTED = "0.11."
"""Releases of guardrails-ai whose side effects are known and undone here."""

_DATETIME = (datetime, sqlite3.PrepareProtocol)
_TIMESTAMP = "TIMESTAMP"


def _demand_known_version() -> None:
    try:
        installed = version("guardrails-ai")
    except PackageNotFoundError as error:
        raise UsageError("guardrails-ai is not installed; install guardrails-ai>=0.11,<0.12") from error
    if not installed.startswith(SUPPORTED):
        raise UsageError(
            f"guardrails-ai {installed} is installed, but its telemetry is known how to be kept off only in "
            f"{SUPPORTED}x; install guardrails-ai>=0.11,<0.12"
        )


def _isoformat(value: datetime) -> str:
    return value.isoformat(" ")


def _from_isoformat(value: bytes) -> datetime:
    return datetime.fromisoformat(value.decode())


@contextmanager
def _sqlite3_unchanged() -> Iterator[None]:
    """Take back the datetime adapter and converter that guardrails registers for the whole process.

    Where guardrails was here before us, what stood there before it is unknown: Python's own behaviour is put back.
    """
    adapter = _unless_guardrails(sqlite3.adapters.get(_DATETIME))
    converter = _unless_guardrails(sqlite3.converters.get(_TIMESTAMP))
    try:
        yield
    finally:
        if not _unless_guardrails(sqlite3.adapters.get(_DATETIME)):
            sqlite3.adapters[_DATETIME] = adapter or _isoformat
        if not _unless_guardrails(sqlite3.converters.get(_TIMESTAMP)):
            sqlite3.converters[_TIMESTAMP] = converter or _from_isoformat


def _unless_guardrails(function: Any) -> Any:
    return None if getattr(function, "__module__", "").startswith("guardrails.") else function


def _refuse_telemetry() -> None:
    """Make the sender of telemetry inert for good: any `Guard()` would turn a mere setting on again."""
    from guardrails.classes.rc import RC
    from guardrails.settings import settings
    from guardrails.utils.hub_telemetry_utils import HubTelemetry

    class Silent(HubTelemetry):  # type: ignore[misc]
        _enabled = property(lambda _: False, lambda _, _value: None)

    before, silent = HubTelemetry._instance, object.__new__(Silent)
    HubTelemetry._instance = silent
    # The original would also log to the root logger, which gives an application a handler that it did not ask for.
    HubTelemetry.__new__ = staticmethod(lambda _cls, *_args, **_kwargs: silent)
    if before is not None:
        _stop(before)

    load = RC.load

    def load_without_metrics(_cls: type[RC], logger: logging.Logger | None = None) -> RC:
        settings_file = load(logger)
        settings_file.enable_metrics = False
        settings_file.use_remote_inferencing = False
        return settings_file

    RC.load = classmethod(load_without_metrics)
    settings.rc = RC.load()
    if settings.disable_tracing is None:  # traces hold the values; who wants them says False
        settings.disable_tracing = True


def _stop(telemetry: Any) -> None:
    """End the thread of a sender that already ran, without letting it send what it holds."""
    if telemetry._processor is not None:
        telemetry._processor._batch_processor._queue.clear()
    if telemetry._tracer_provider is not None:
        telemetry._tracer_provider.shutdown()


def _keep_no_logs() -> None:
    from guardrails import logger as guardrails_logger

    guardrails_logger.ScopeHandler.emit = lambda _self, _record: None
    for handler in guardrails_logger._logger.handlers:
        if isinstance(handler, guardrails_logger.ScopeHandler):
            handler.scoped_logs.clear()
    if guardrails_logger._logger.level == logging.NOTSET:
        guardrails_logger._logger.setLevel(logging.WARNING)


_demand_known_version()
with _sqlite3_unchanged():
    try:
        from guardrails.validator_base import FailResult, PassResult, ValidationResult, Validator, register_validator
    except ImportError as error:  # openai-guardrails installs another package under the same name
        raise UsageError(
            "the installed package 'guardrails' is not guardrails-ai; uninstall what overwrote it "
            "(openai-guardrails does) and install guardrails-ai>=0.11,<0.12 again"
        ) from error
_refuse_telemetry()
_keep_no_logs()

__all__ = ["FailResult", "PassResult", "ValidationResult", "Validator", "register_validator"]
