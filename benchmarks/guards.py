"""The guards' executor against `guardrails.Guard`: the same answer, the same validators, in one run.

`python benchmarks/guards.py [--json]` prints the time that each takes for one answer, and how many times faster the
executor is. Guard runs with its defaults, but its telemetry goes nowhere: it is not charged for a missing network.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field
from pydantic_core import from_json

from stanchion.guards import Placeholder, Plausible, WellFormed, check

logging.disable(logging.CRITICAL)
from guardrails import Guard, settings  # noqa: E402, TID251 - what we compare ourselves with, quietened by us

SAMPLES = 300


def _guarded(*validators: Any) -> Any:
    return Field(json_schema_extra={"validators": list(validators)})


class Receipt(BaseModel):
    """Ten fields, five of them guarded."""

    company: str = _guarded(Placeholder(on_fail="noop"))
    address: str = _guarded(WellFormed(longest=200, on_fail="noop"))
    phone: str
    date: date
    currency: str = _guarded(WellFormed(longest=3, on_fail="noop"))
    subtotal: Decimal
    tax: Decimal
    total: float = _guarded(Plausible(minimum=0, maximum=100_000, on_fail="noop"))
    lines: int = _guarded(Plausible(minimum=1, maximum=500, on_fail="noop"))
    paid: bool


ANSWER = json.dumps(
    {
        "company": "Blue Harbour Books",
        "address": "12 Quay Street, 45600 Port Ashby",
        "phone": "+60 3 5550 1234",
        "date": "2026-03-14",
        "currency": "MYR",
        "subtotal": "68.00",
        "tax": "4.08",
        "total": 72.08,
        "lines": 3,
        "paid": True,
    }
)


def by_guard(guard: Guard) -> None:
    assert guard.parse(ANSWER).validation_passed


AIM = 100


def by_check() -> None:
    checked = check(Receipt, from_json(ANSWER))
    assert checked.ok
    assert len(checked.checks) == 5


def microseconds(call: Callable[[], None], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls * 1e6


def measure() -> dict[str, float]:
    """Take many short samples of both in turn; the fastest of each is the one that nothing else disturbed."""
    settings.disable_tracing = None  # as Guard comes; our quiet import turns its tracing off, which makes it faster
    guard = Guard.for_pydantic(Receipt)
    samples = [(microseconds(lambda: by_guard(guard), 1), microseconds(by_check, 100)) for _ in range(SAMPLES)]
    guard_us, check_us = map(min, zip(*samples, strict=True))
    return {
        "guard_us": round(guard_us, 1),
        "check_us": round(check_us, 2),
        "times_faster": round(guard_us / check_us, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    figures = measure()
    if parser.parse_args().json:
        print(json.dumps(figures))
        return
    print(f"guardrails.Guard.parse   {figures['guard_us']:>9,.1f} µs per answer (10 fields, 5 validators)")
    print(f"stanchion.guards.check   {figures['check_us']:>9,.1f} µs per answer")
    print(f"times faster             {figures['times_faster']:>9,.1f}   (aim: at least {AIM})")
    sys.exit(0 if figures["times_faster"] >= AIM else 1)


if __name__ == "__main__":
    main()
