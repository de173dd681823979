"""A model's answer as a pydantic type: asked, read leniently, guarded, and asked again where it failed.

`structured` asks first; `repair`, a node of its own, asks again with the failures and keeps the conversation. Neither
loops inside: each gives a verdict, and the graph's edges decide where to go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda

from stanchion.blocking import wait_for
from stanchion.context import current_place, run_context
from stanchion.errors import ModelError, ModelRefused, UsageError
from stanchion.guards import check, json_schema
from stanchion.models.door import Request
from stanchion.models.messages import cut_off, declined
from stanchion.models.prompts import Prompt, refuse_strange_placeholders
from stanchion.models.providers import loadable
from stanchion.models.storable import storable
from stanchion.nodes.state import WorkflowState
from stanchion.text.lenient_json import Parsed, Unparseable, read_json
from stanchion.verdict import Candidate, Check, Decision, Rung, Verdict

BEYOND = "The answer holds an integer of more than 64 bits, or half a character."
CLAIMED = "confidence"  # models like to add it, asked or not; it is kept as a claim and never trusted
MAX_FAILURES_TOLD = 20
LONGEST_SENT_BACK = 100_000  # characters of an answer that a repair may quote

Node = RunnableLambda[WorkflowState, dict[str, Any]]


def structured(prompt: Prompt, output: Any, *, fallbacks: Sequence[str] = ()) -> Node:
    """Make a node that asks the model for a value of a type.

    Decides `accept`; `repair` where the answer failed; `fall_back` where there is none; `review` where the model
    declined to answer on grounds of content, since no cheaper extractor answers that.

    Args:
        prompt: may use `$text` for the source and `$schema` for the JSON schema.
        output: a pydantic model, or `Annotated[model, validators...]`.
        fallbacks: models, by their usual strings, to ask in order where the run's gives no answer; which one is next
            depends on why (`stanchion.models.chain`). A run without a model asks none of them.

    Returns:
        a node that writes `candidates`, `conversation` and `verdict`.

    Raises:
        UsageError: the prompt never shows the document, or has placeholders that nothing fills; the output is no type.
    """
    _check(prompt, fallbacks)
    schema = json_schema(output)

    async def node(state: WorkflowState) -> dict[str, Any]:
        pinned = run_context().pinned(prompt)
        opening = pinned.opening(text=state["source"].text, schema=json.dumps(schema, ensure_ascii=False))
        return await _ask(_Question(pinned, output, schema, "model", fallbacks), opening, state)

    return _with_synchronous_face(node, fallbacks)


def repair(prompt: Prompt, output: Any, *, at_most: int = 1, fallbacks: Sequence[str] = ()) -> Node:
    """Make the node that asks again with the failures; decides as `structured` does, `repair` only `at_most` times.

    Args:
        prompt: the prompt whose answer failed.
        output: the same type.
        at_most: how many repairs a run may have; `loops.reasks` of the policy caps those of all its nodes together.
        fallbacks: as for `structured`.

    Returns:
        a node that writes `candidates`, `conversation` and `verdict`.

    Raises:
        UsageError: as for `structured`.
    """
    _check(prompt, fallbacks)
    schema = json_schema(output)

    async def node(state: WorkflowState) -> dict[str, Any]:
        pinned = run_context().pinned(prompt)
        conversation = list(state["conversation"])
        again = pinned.asking_again(_told(state["verdict"].failures))
        question = _Question(pinned, output, schema, "repair", fallbacks)
        update = await _ask(question, [*conversation, *_reply(conversation, again)], state)
        repairs = sum(isinstance(message, AIMessage) for message in update.get("conversation", conversation)) - 1
        if update["verdict"].decision == "repair" and repairs >= at_most:
            reason = f"Still wrong after {repairs} repair{'s' * (repairs != 1)}. {update['verdict'].reason}"
            update["verdict"] = update["verdict"].model_copy(update={"decision": "fall_back", "reason": reason})
        return update

    return _with_synchronous_face(node, fallbacks)


class _Question(NamedTuple):
    prompt: Prompt
    output: Any
    schema: dict[str, Any]
    rung: Rung
    fallbacks: Sequence[str]


async def _ask(question: _Question, messages: list[AnyMessage], state: WorkflowState) -> dict[str, Any]:
    request = Request(question.prompt, messages, question.schema, again=question.rung == "repair")
    fallbacks = [loadable(name) for name in question.fallbacks]
    try:
        answer = await run_context().way().ask(request, current_place(), fallbacks=fallbacks)
    except ModelError as error:
        decision: Decision = "review" if isinstance(error, ModelRefused) else "fall_back"
        return {"verdict": Verdict(decision=decision, reason=str(error))}
    if refusal := declined(answer):
        return {"conversation": [*messages, answer], "verdict": Verdict(decision="review", reason=refusal)}
    candidate = _read(question, answer, state)
    failures = [item for item in candidate.checks if item.status == "fail"]
    too_long = len(answer.text) > LONGEST_SENT_BACK  # asking again would send it all, and be paid for
    verdict = Verdict(
        decision=("fall_back" if too_long else "repair") if failures else "accept",
        reason=_told(failures[:1]) if failures else "",
        checks=candidate.checks,
    )
    update: dict[str, Any] = {"conversation": [*messages, answer], "verdict": verdict}
    if candidate.output:
        update["candidates"] = {question.rung: candidate}
    return update


def _read(question: _Question, answer: AIMessage, state: WorkflowState) -> Candidate:
    """Read and guard an answer; whatever is wrong with it stands in the candidate's checks."""
    truncated = cut_off(answer)
    try:
        parsed = _parse(answer, truncated=truncated)
    except Unparseable as error:
        return Candidate(rung=question.rung, output={}, checks=[_well_formed("fail", str(error))])
    data, claimed = _without_claim(parsed.value, question.schema)
    metadata = {"source": state["source"].text, "today": run_context().today}
    checked = check(question.output, data, metadata=metadata)
    checks = list(checked.checks)
    if truncated:
        checks.insert(0, _well_formed("fail", "The answer was cut off before its end."))
    elif parsed.note:
        checks.insert(0, _well_formed("warn", f"The JSON was {parsed.note}."))
    output = checked.value.model_dump(mode="json") if checked.value is not None else {}
    if storable(output) != output:  # pydantic takes a text of 30 digits for an int
        return Candidate(rung=question.rung, output={}, checks=[*checks, _well_formed("fail", BEYOND)], claimed=claimed)
    return Candidate(rung=question.rung, output=output, checks=checks, claimed=claimed)


def _parse(answer: AIMessage, *, truncated: bool) -> Parsed:
    if answer.tool_calls:
        first, *others = (call["args"] for call in answer.tool_calls)
        if any(other != first for other in others):
            raise Unparseable("The answer holds several JSON values that differ.")
        return Parsed(first, "")
    if answer.invalid_tool_calls:
        return read_json(answer.invalid_tool_calls[0]["args"] or "", truncated=truncated)
    return read_json(answer.text, truncated=truncated)


def _without_claim(data: Any, schema: dict[str, Any]) -> tuple[Any, float | None]:
    if not isinstance(data, dict) or CLAIMED in schema.get("properties", {}):
        return data, None
    claimed = data.get(CLAIMED)
    rest = {key: value for key, value in data.items() if key != CLAIMED}
    if isinstance(claimed, bool) or not isinstance(claimed, int | float) or not 0 <= claimed <= 1:
        return rest, None
    return rest, float(claimed)


def _well_formed(status: Any, reason: str) -> Check:
    return Check(guard="stanchion/well_formed", status=status, reason=reason)


def _told(failures: list[Check]) -> str:
    lines = [f"{failure.path}: {failure.reason}" if failure.path else failure.reason for failure in failures]
    more = len(lines) - MAX_FAILURES_TOLD
    return "\n".join(lines[:MAX_FAILURES_TOLD] + ([f"... and {more} more."] if more > 0 else []))


def _reply(conversation: list[AnyMessage], text: str) -> list[AnyMessage]:
    """Answer the model in the form that providers demand: every tool call needs its tool message."""
    last = conversation[-1]
    if not isinstance(last, AIMessage) or not (calls := [*last.tool_calls, *last.invalid_tool_calls]):
        return [HumanMessage(text)]
    return [ToolMessage(text, tool_call_id=call["id"] or "", status="error") for call in calls]


def _check(prompt: Prompt, fallbacks: Sequence[str]) -> None:
    if not isinstance(prompt, Prompt):
        raise UsageError(f"A node takes a Prompt, such as Prompt.read(file); not {type(prompt).__name__}.")
    refuse_strange_placeholders(prompt)
    names = [] if isinstance(fallbacks, str) else list(fallbacks)
    named = all(isinstance(name, str) and all(name.partition(":")[::2]) for name in names)
    if isinstance(fallbacks, str) or not named or len(set(names)) < len(names):
        raise UsageError(
            f"fallbacks is a list of different models as provider:name, such as ['openai:gpt-4.1-mini']; not {fallbacks!r}."
        )


def _with_synchronous_face(
    node: Callable[[WorkflowState], Coroutine[Any, Any, dict[str, Any]]], fallbacks: Sequence[str]
) -> Node:
    """Let `graph.invoke` run an asynchronous node too, and whoever runs it see which models it may ask."""
    node.fallbacks = tuple(fallbacks)  # type: ignore[attr-defined]

    def face(state: WorkflowState) -> dict[str, Any]:
        return wait_for(node(state))

    return RunnableLambda(face, node)
