"""Answers by real processes: two at the same moment, and cut off by `kill -9` before the run goes on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.review_soak import kills, race


def test_of_two_processes_one_answers_and_one_is_refused(tmp_path: Path) -> None:
    """Whoever is second is told who was first; each action is done once, and by the answer to its own question."""
    assert race(tmp_path, 60) == {
        "reviews": 60,
        "answers taken": 60,
        "clear refusals": 60,
        "actions": 60,
        "done twice": 0,
        "never done": 0,
        "wrong questions": 0,
    }


def test_an_answer_outlives_the_process_that_gave_it(tmp_path: Path) -> None:
    """Killed between answer and resume, the action is done later, once, however often somebody resumes."""
    assert kills(tmp_path, 5) == {
        "kills": 5,
        "actions": 5,
        "done twice": 0,
        "never done": 0,
        "wrong questions": 0,
    }
