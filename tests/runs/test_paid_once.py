"""kill -9 at random moments of runs of model calls: what was answered is not paid for again, and no run is lost."""

from __future__ import annotations

import os
import random

import pytest

from benchmarks.call_soak import Soaked, fan_out, random_moments, soak
from benchmarks.call_workers import ANSWER, CALLS, WIDTH
from stanchion.testing import OpenAIServer, Reply

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

DOCUMENTS, KILLS = 20, 6
A_WHILE = Reply(ANSWER, delay=0.01)  # so that several calls are under way at a kill


@pytest.fixture(scope="module", params=[1, 2])
def soaked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Soaked:
    """Twenty runs of five calls each, whose process was killed six times."""
    moments = random_moments(DOCUMENTS * CALLS, KILLS, random.Random(request.param))
    with OpenAIServer({"": A_WHILE}) as server:
        return soak(tmp_path_factory.mktemp("soak") / "runs.db", server, documents=DOCUMENTS, moments=moments)


@pytest.fixture(scope="module")
def fanned(tmp_path_factory: pytest.TempPathFactory) -> Soaked:
    """A fan-out of sixty calls, eight at a time, killed after thirty answers."""
    with OpenAIServer({"": A_WHILE}) as server:
        return fan_out(tmp_path_factory.mktemp("fan") / "runs.db", server, die_after=WIDTH // 2)


def test_runs_were_killed_at_work(soaked: Soaked) -> None:
    """The kills hit what they should: answers on disk, and calls under way."""
    assert len(soaked.kills) == KILLS
    assert soaked.kills[-1].committed
    assert soaked.under_way


def test_no_committed_answer_is_asked_for_again(soaked: Soaked) -> None:
    """Whatever stood in the file when a process was killed is taken from there by the next."""
    assert soaked.paid_again == 0


def test_no_more_is_sent_twice_than_was_under_way(soaked: Soaked) -> None:
    """Every request beyond one for each question is one whose answer nobody had when its process died."""
    assert len(soaked.asked) == DOCUMENTS * CALLS
    assert soaked.surplus <= soaked.under_way


def test_no_run_is_lost(soaked: Soaked) -> None:
    """All runs end with an outcome."""
    assert soaked.ends == {"accepted": DOCUMENTS}


def test_of_a_fan_out_only_what_was_unanswered_is_asked_again(fanned: Soaked) -> None:
    """Thirty of sixty answers are kept although their step never ended; at most the eight under way are repeated."""
    (kill,) = fanned.kills
    assert len(kill.committed) >= WIDTH // 2
    assert kill.under_way <= 8
    assert fanned.paid_again == 0
    assert len(fanned.asked) == WIDTH
    assert fanned.surplus <= kill.under_way
    assert fanned.ends == {"accepted": 1}


def test_the_server_counts_what_the_process_was_killed_with(soaked: Soaked) -> None:
    """At a kill nothing is committed that the server was never asked: the two records can be compared."""
    assert all(kill.committed <= set(kill.asked) for kill in soaked.kills)
