"""The whole receipts workflow against a server that speaks the OpenAI protocol, through the real langchain-openai.

Whatever the server replies, a run ends accepted, repaired, fallen back or waiting for a person: never failed, with what
was said and paid for in the ledger, and in words what was wrong.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stanchion import Input, Runner
from stanchion.runs.records import Call, Run, StepVerdict
from stanchion.testing import FakeClock, OpenAIServer, Reply, bad_replies

UNCLEAR = """MAINAN GASING KAYU
LORONG GASING, 05000 ALOR SETAR
1 TOP WOODEN L   12.00
1 KITE MOON      25.00
1 YOYO            6.50
43.50
PAID 50.00
BAL 6.50
7/8/22
NO EXCHANGE"""
GOOD = {
    "company": "Mainan Gasing Kayu",
    "address": "Lorong Gasing, 05000 Alor Setar",
    "date": "2022-08-07",
    "currency": "MYR",
    "subtotal": None,
    "tax": None,
    "total": "43.50",
    "items": [{"name": "Yoyo", "quantity": 1, "unit_price": "6.50", "total_price": "6.50"}],
}
BAD = bad_replies(GOOD)

READABLE = {
    "fenced": "The JSON was taken out of a code fence.",
    "in_prose": "The JSON was taken out of the text around it.",
}
UNUSABLE = {
    "invalid_json": "The answer holds no JSON",
    "truncated": "The answer was cut off before its end.",
    "empty": "The answer holds no JSON",
    "wrong_types": "company: Input should be a valid string",
    "extra_fields": "reasoning: Extra inputs are not permitted",
    "another_schema": "date: Field required",
}
DECLINED = {
    "refusal": "The model declined to read this document.",
    "content_filter": "The provider stopped the answer on grounds of content (content_filter).",
}
FAILED = {  # and how many requests they are worth
    "broken_stream": ("The connection to the model failed or broke off.", 3),
    "rate_limited": ("The provider is busy or the quota is used up (HTTP 429, rate_limit_exceeded).", 3),
    "rate_limited_retry_after": ("The provider is busy or the quota is used up (HTTP 429, rate_limit_exceeded).", 3),
    "out_of_quota": ("The provider is busy or the quota is used up (HTTP 429, insufficient_quota).", 1),
    "context_length": ("The provider refused the request (HTTP 400, context_length_exceeded).", 1),
    "invalid_key": ("The provider refused the key (HTTP 401, invalid_api_key).", 1),
    "no_such_model": ("The provider knows no such model (HTTP 404, model_not_found).", 1),
    "server_error": ("The provider had an error (HTTP 500).", 3),
}


class Story(NamedTuple):
    """What became of one receipt.

    Args:
        run: as it stands at the end.
        path: the nodes that it took.
        calls: what was asked and said.
        verdicts: by node.
        asked: how many requests reached the server.
        alternatives: what a waiting review offers beside its proposal, by rung.
    """

    run: Run
    path: list[str]
    calls: list[Call]
    verdicts: dict[str, StepVerdict]
    asked: int
    alternatives: dict[str, Any]


@pytest.fixture
def receipt(monkeypatch, tmp_path: Path):
    """Run one unclear receipt against a server with these replies."""

    async def told(server: OpenAIServer) -> Story:
        async with Runner(
            "stanchion.graphs.receipts:workflow",
            db=tmp_path / "runs.db",
            model="openai:gpt-4o-mini",
            clock=FakeClock(),  # on which nobody sits out the waits between attempts
        ) as runner:
            (run,) = await runner.start([Input(id="receipt", document={"text": UNCLEAR})])
            book = runner.ledger
            reviews = book.reviews(run_id=run.id)
            return Story(
                run=run,
                path=[step.node for step in book.steps(run.id)],
                calls=book.calls(run.id),
                verdicts={verdict.node: verdict for verdict in book.verdicts(run.id)},
                asked=server.count,
                alternatives=reviews[0].question["alternatives"] if reviews else {},
            )

    def story(replies: Sequence[Reply | str]) -> Story:
        with OpenAIServer(replies) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
            return asyncio.run(told(server))

    return story


def said(call: Call) -> str:
    """The raw answer of a call."""
    return str(call.answer[0]["data"]["content"])


def ended_well(story: Story) -> bool:
    """Whether the run is accepted, or waits for a person."""
    return story.run.outcome == "accepted" or story.run.status == "waiting"


def paid_for(story: Story, replies: Sequence[Reply]) -> bool:
    """Whether the ledger has every raw answer with its tokens and its price."""
    return [said(call) for call in story.calls] == [reply.text for reply in replies] and all(
        call.status == "answered" and call.input_tokens and call.output_tokens is not None and call.cost_usd
        for call in story.calls
    )


def test_every_bad_reply_is_told_of_here() -> None:
    """A reply that is added to `bad_replies` must be specified too."""
    assert {*READABLE, *UNUSABLE, *DECLINED, *FAILED} == set(BAD)


def test_a_good_answer_is_weighed(receipt) -> None:
    """A good answer goes straight to the decision, and its cost is the run's."""
    reply = Reply(json.dumps(GOOD), usage={"prompt_tokens": 1000, "completion_tokens": 100})
    story = receipt([reply])

    assert story.path[:4] == ["intake", "rules", "model", "decide"]
    assert ended_well(story)
    assert paid_for(story, [reply])
    assert story.run.cost_usd == Decimal("0.00021")


@pytest.mark.parametrize("name", READABLE)
def test_an_answer_that_can_be_read_is_used(receipt, name: str) -> None:
    """Fences and prose around a good answer cost no second call; that they were there is said."""
    story = receipt([BAD[name]])

    assert story.path[:4] == ["intake", "rules", "model", "decide"]
    assert ended_well(story)
    assert paid_for(story, [BAD[name]])
    assert [check.reason for check in story.verdicts["model"].checks if check.status == "warn"][:1] == [READABLE[name]]


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_answer_is_repaired(receipt, name: str) -> None:
    """The model is asked once more, told what was wrong, and its better answer is weighed; both were paid for."""
    good = Reply(json.dumps(GOOD))
    story = receipt([BAD[name], good])

    assert story.path[:5] == ["intake", "rules", "model", "repair", "decide"]
    assert ended_well(story)
    assert paid_for(story, [BAD[name], good])
    assert UNUSABLE[name] in story.verdicts["model"].reason
    assert UNUSABLE[name] in story.calls[1].request[-1]["data"]["content"]


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_model_that_never_learns_is_fallen_back_from(receipt, name: str) -> None:
    """After one repair the thorough rules take over; the verdict says what was still wrong."""
    story = receipt([BAD[name]] * 3)

    assert story.path[:6] == ["intake", "rules", "model", "repair", "thorough", "decide"]
    assert (story.asked, ended_well(story)) == (2, True)
    assert paid_for(story, [BAD[name]] * 2)
    assert story.verdicts["repair"].reason.startswith(f"Still wrong after 1 repair. {UNUSABLE[name]}")


@pytest.mark.parametrize("name", DECLINED)
def test_a_declined_document_goes_to_a_person(receipt, name: str) -> None:
    """No cheaper extractor answers a refusal: a person is asked, told why, and the refusal was paid for."""
    story = receipt([BAD[name]])

    assert story.path == ["intake", "rules", "model", "review"]
    assert (story.run.status, story.run.reason) == ("waiting", DECLINED[name])
    assert paid_for(story, [BAD[name]])
    assert "rules" in story.alternatives


def test_a_repair_may_be_declined_too(receipt) -> None:
    """A model that refuses to look again sends the document to a person."""
    story = receipt([BAD["wrong_types"], BAD["refusal"]])

    assert story.path == ["intake", "rules", "model", "repair", "review"]
    assert story.run.status == "waiting"


@pytest.mark.parametrize("name", FAILED)
def test_a_failed_call_is_fallen_back_from(receipt, name: str) -> None:
    """What may pass is tried three times, all else once; it is recorded without an answer, and rules take over."""
    words, requests = FAILED[name]
    story = receipt([BAD[name]] * 4)

    assert story.path[:5] == ["intake", "rules", "model", "thorough", "decide"]
    assert (story.asked, ended_well(story)) == (requests, True)
    (call,) = story.calls
    assert (call.status, call.answer, call.error) == ("failed", None, words)
    assert story.verdicts["model"].reason == words


def test_an_error_while_repairing_is_fallen_back_from(receipt) -> None:
    """The first answer's cost is kept where the second call fails."""
    story = receipt([BAD["wrong_types"], *[BAD["server_error"]] * 3])

    assert story.path[:6] == ["intake", "rules", "model", "repair", "thorough", "decide"]
    assert [call.status for call in story.calls] == ["answered", "failed"]
    assert story.calls[0].cost_usd > 0
    assert story.run.cost_usd is None  # a provider that answers 500 may have charged all the same


def test_the_schema_that_arrives_has_no_trace_of_guards(monkeypatch, tmp_path: Path) -> None:
    """The provider gets the receipt's JSON schema as it stands in the prompt, without our validators."""
    with OpenAIServer([json.dumps(GOOD)]) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

        async def started() -> None:
            async with Runner(
                "stanchion.graphs.receipts:workflow", db=tmp_path / "runs.db", model="openai:gpt-4o-mini"
            ) as runner:
                await runner.start([Input(id="receipt", document={"text": UNCLEAR})])

        asyncio.run(started())
        (request,) = server.requests

    named = request.body["response_format"]["json_schema"]
    assert (named["name"], set(named["schema"]["properties"])) == ("Receipt", set(GOOD))
    assert not any(trace in json.dumps(request.body) for trace in ("validators", "rail_alias", "stanchion/"))
    assert request.body["messages"][1]["content"].count("MAINAN GASING KAYU") == 1


def test_a_key_never_reaches_the_database(receipt, tmp_path: Path) -> None:
    """What an operator reads in the ledger, errors too, holds no secret."""
    receipt([BAD["invalid_key"]])

    assert not any(b"sk-test" in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
