"""Asking one validator about one value: whatever it does becomes a check, and silence counts as no."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from stanchion.guards._guardrails import FailResult, PassResult, ValidationResult, Validator
from stanchion.guards._paths import Keys, path_text
from stanchion.guards._reasons import failed, short
from stanchion.verdict import Check, Evidence


class Saying(NamedTuple):
    """What one validator said of one value.

    Args:
        check: the same for the record.
        fix: the value that the validator would put in its place; None where it has none, or was not told to fix.
    """

    check: Check
    fix: Any = None


def ask(validator: Validator, value: Any, keys: Keys, metadata: Mapping[str, Any]) -> Saying:
    """Run one validator on one value.

    Args:
        validator: any of guardrails' validators; its `on_fail` matters only where it is "fix".
        value: the value as pydantic built it.
        keys: where the value stands in the answer.
        metadata: what the caller knows; the validator gets a copy of its own.

    Returns:
        Its answer; a failed check where it gave none (an exception, a missing piece of metadata, something that is
        neither a pass nor a fail).
    """
    guard = validator.rail_alias
    for key in validator.required_metadata_keys:
        if key not in metadata:
            return Saying(failed(guard, keys, f"needs the metadata {key!r}, which was not given"))
    try:
        result = validator.validate(value, dict(metadata))
    except Exception as error:
        return Saying(failed(guard, keys, f"{guard} raised {type(error).__name__}"))
    if isinstance(result, PassResult):
        return Saying(_passed(guard, path_text(keys), _evidence(result)))
    if isinstance(result, FailResult):
        fix = result.fix_value if validator.on_fail_descriptor == "fix" else None
        return Saying(_refusal(guard, keys, result), fix)
    if inspect.iscoroutine(result):
        result.close()  # it will never be awaited
    return Saying(failed(guard, keys, f"{guard} returned {type(result).__name__}, neither a pass nor a fail"))


def _passed(guard: str, path: str, evidence: Evidence | None) -> Check:
    if evidence is None:
        return _plain_pass(guard, path)
    return Check(guard=guard, path=path, status="pass", evidence=evidence)


@lru_cache(maxsize=256)
def _plain_pass(guard: str, path: str) -> Check:
    """Most checks are this one, and a check is immutable, so it is made once and shared."""
    return Check(guard=guard, path=path, status="pass")


def _refusal(guard: str, keys: Keys, result: FailResult) -> Check:
    status, reason = _status(result), short(result.error_message)
    return Check(guard=guard, path=path_text(keys), status=status, reason=reason, evidence=_evidence(result))


def _status(result: FailResult) -> Literal["warn", "fail"]:
    return "warn" if (result.metadata or {}).get("severity") == "warn" else "fail"


def _evidence(result: ValidationResult) -> Evidence | None:
    if result.metadata is None:
        return None
    match result.metadata.get("evidence"):
        case (int(start), int(end)) if 0 <= start <= end:
            return Evidence(start=start, end=end)
    return None
