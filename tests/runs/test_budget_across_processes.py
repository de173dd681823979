"""A cap on the day's money holds for all processes on a database together, by the provider's own count of tokens."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.call_workers import ANSWER, Job, outcomes, processes, read, work
from stanchion.testing import OpenAIServer, Reply

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CAP = Decimal("1.00")
RUNS_EACH = 100
LONGEST = 4096  # tokens of an answer, as the policy has it
USED = {"prompt_tokens": 400, "completion_tokens": 3000}  # fewer than are reserved, so that calls wait for each other
PRICE_READ, PRICE_WRITTEN = Decimal("2.50"), Decimal("10.00")  # dollars for a million tokens of gpt-4o
POLICY = {"money": {"day": "1.00 USD", "max_output_tokens": LONGEST}}


def test_two_processes_together_stay_below_the_cap(tmp_path: Path) -> None:
    """200 runs at once, 100 in each of two processes: what the server bills stays below a dollar, and all runs end."""
    db = tmp_path / "runs.db"
    with OpenAIServer({"": Reply(ANSWER, usage=USED, delay=0.02)}) as server:
        first = Job(str(db), server.url, "one", POLICY, documents=RUNS_EACH, concurrency=RUNS_EACH)
        jobs = [first, first._replace(first=RUNS_EACH)]
        workers = [processes().Process(target=work, args=(job,)) for job in jobs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        billed = (server.usage.input_tokens * PRICE_READ + server.usage.output_tokens * PRICE_WRITTEN) / 1_000_000

    most_of_one_call = Decimal("0.05")
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert CAP - most_of_one_call < billed <= CAP
    ends = outcomes(db)
    assert ends == {"accepted": server.count, "refused": 2 * RUNS_EACH - server.count}
    refused = {row["reason"] for row in read(db, "SELECT reason FROM runs WHERE outcome = 'refused'")}
    assert all("money.day" in reason for reason in refused)


def test_what_is_written_down_is_what_the_provider_bills(tmp_path: Path) -> None:
    """To the last fraction of a cent: the ledger's spending, the calls' costs, and tokens times price."""
    db = tmp_path / "runs.db"
    with OpenAIServer({"": Reply(ANSWER, usage=USED)}) as server:
        worker = processes().Process(target=work, args=(Job(str(db), server.url, "one", POLICY, documents=10),))
        worker.start()
        worker.join()
        billed = (server.usage.input_tokens * PRICE_READ + server.usage.output_tokens * PRICE_WRITTEN) / 1_000_000

    (spending,) = read(db, "SELECT reserved, spent FROM spending")
    assert (spending["reserved"], Decimal(spending["spent"]) / 1_000_000_000) == (0, billed)
    assert sum(Decimal(row["cost_usd"]) for row in read(db, "SELECT cost_usd FROM calls")) == billed
