"""The one door to a model: every call passes `Door.ask`, and its answer is on disk before the node sees it.

The way of a call: journal (was this very call already answered?) → identical calls in flight → deadline → the gate
(circuit breaker, money, rate limit) → attempts, as far as the retry budget goes → price → record. No retry lives
anywhere else: SDK retries are off.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from langchain_core.messages import AIMessage

from stanchion.blocking import in_temporary_loop
from stanchion.clock import Clock, SystemClock, new_id
from stanchion.errors import (
    DeadlineExceeded,
    LimitReached,
    ModelError,
    ModelNotLoadable,
    ModelRefused,
    ModelUnavailable,
    OutOfTime,
    StoreError,
    ThreadsBusy,
    TimedOut,
)
from stanchion.guards.limits.deadline import Deadline, in_words
from stanchion.guards.limits.gate import Ask, End, Gate, Ticket
from stanchion.guards.limits.money import Spender, in_billionths
from stanchion.guards.limits.policy import Policy
from stanchion.guards.limits.retry import wait_before
from stanchion.models.chain import Chain, cheaper
from stanchion.models.estimates import most_input_tokens, most_output_tokens, own_output_limit, price_before
from stanchion.models.flights import Flights, Landed
from stanchion.models.loop import on_models_loop
from stanchion.models.messages import clean, content_key, cost_of, declined, dumps, message_from, tokens_of, version_of
from stanchion.models.providers import Model, bind_schema, blocks, takes_timeout
from stanchion.models.sorting import answer_within, sort_error
from stanchion.store.calls import CallKey, Journal, abandon_call, add_call, end_call
from stanchion.store.fences import Fence
from stanchion.store.memory import MemoryDatabase
from stanchion.threads import Threads

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from stanchion.models.prompts import Prompt

T = TypeVar("T")

_threads = Threads()  # for models that block: those that hang leave the nodes' threads alone

OUTPUT_LIMIT = {"ollama": "num_predict"}  # how providers call the longest answer, where it is not max_tokens
UNCOUNTABLE = 128_000  # tokens that a picture or sound is counted for; the document around it is small beside that
MARGIN = 0.02  # seconds that a call has beyond its deadline to say itself what went wrong


class Request(NamedTuple):
    """One question to a model.

    Args:
        prompt: the prompt that the messages came from.
        messages: the conversation so far.
        schema: the JSON schema that the answer should follow.
        again: guards said no to the last answer, and it is asked for a better one; a run may do so only so often.
    """

    prompt: Prompt
    messages: Sequence[BaseMessage]
    schema: dict[str, Any]
    again: bool = False


class Place(NamedTuple):
    """Where in a run a call is made.

    Args:
        run_id: the run; empty outside our runner.
        task_id: LangGraph's id of the step's execution.
        node: the node's name.
        deadline: when the step must be over; None: as the policy has it, from now.
    """

    run_id: str
    task_id: str
    node: str
    deadline: Deadline | None = None


class _Call(NamedTuple):
    """One logical call: all its attempts ask the same model the same thing."""

    id: str
    key: CallKey
    model: Model
    request: Request
    deadline: Deadline
    softly: bool
    is_last: bool  # of its chain


class _Before(NamedTuple):
    """The attempts of a call that came before the next one."""

    attempts: int = 0
    paid: Decimal | None = Decimal(0)  # None where that is unknown
    counted: int = 0  # billionths of a dollar; what is unknown counts as all that was reserved

    def and_one(self, ticket: Ticket, *, cost_unknown: bool) -> _Before:
        """Add an attempt that gave no answer."""
        if not cost_unknown:
            return self._replace(attempts=self.attempts + 1)
        return _Before(self.attempts + 1, None, self.counted + (ticket.ask.need or 0))


class _Attempt(NamedTuple):
    """One request that may be sent."""

    call: _Call
    ticket: Ticket
    start: float  # on the clock's monotonic
    before: _Before


class Door:
    """Asks a run's model, within the limits of its policy, and keeps what was said and what it cost.

    Args:
        model: who is asked first.
        journal: where calls are kept; without one (a graph run outside our runner) nothing is.
        policy: the limits.
        gate: counts calls against the limits, with all who share it; by default with all of this process.
        flights: the calls under way, to be shared by those who ask the same.
        workflow: whose call it is, for caps on money.
        tenant: on whose behalf, for caps on money.
        clock: for times.
        ids: makes the calls' ids.
        chance: where the jitter of waits comes from; give a seeded one to repeat them.
        observe: told the name of each thing as it has happened: `call started`, `call retried`, `call answered`,
            `call failed`.
        fence: the right to ask on the run's behalf; None where nobody else could.
    """

    def __init__(
        self,
        model: Model,
        journal: Journal | None = None,
        *,
        policy: Policy | None = None,
        gate: Gate | None = None,
        flights: Flights | None = None,
        workflow: str = "",
        tenant: str = "",
        clock: Clock | None = None,
        ids: Callable[[], str] = new_id,
        chance: random.Random | None = None,
        observe: Callable[[str], None] = lambda _: None,
        fence: Fence | None = None,
    ) -> None:
        self.model = model
        self.policy = policy or Policy()
        self._journal = journal
        self._gate = gate or _gate(journal, clock)
        self._flights = flights or _flights_of_process()
        self._workflow = workflow
        self._tenant = tenant
        self._clock = clock or SystemClock()
        self._ids = ids
        self._chance = chance or _chance_of_process()
        self._observe = observe
        self._fence = fence
        self._is_closed = False

    def close(self) -> None:
        """Let no call begin any more: the run has ended, though a thread that it left behind may still work for it."""
        self._is_closed = True

    async def ask(self, request: Request, place: Place, *, fallbacks: Sequence[Model] = ()) -> AIMessage:
        """Return the raw message of the model, or of the first of its fallbacks that answers.

        Args:
            request: the question.
            place: where in the run it is asked.
            fallbacks: whom to ask where the run's model gives no answer, in order; see `next_model`.

        Raises:
            ModelError: no answer came; its kind says why, and whether something may have been paid.
            StoreError: the call could not be recorded.
            ModelNotLoadable: the run's model cannot be loaded here.
            LeaseLost: another process has the run now.
        """
        self._refuse_where_nobody_is_asked()
        keys = {model.name: _key(model, request, place) for model in (self.model, *fallbacks)}
        kept = self._kept(keys)
        for message in kept.values():  # what was paid for once, whoever gave it, comes before asking anybody anew
            if not declined(message):
                return message
        deadline = place.deadline or self._step_deadline(place.node)
        chain = Chain(self.model, list(fallbacks), deadline, self._clock)
        while True:
            model = chain.model
            try:
                softly = self.policy.money.is_capped and cheaper(model, chain.others)
                call = _Call(self._ids(), keys[model.name], model, request, deadline, softly, not chain.others)
                message = kept.get(model.name) or await self._ask(call)
            except ModelError as error:
                if not chain.goes_on_after(error):
                    return chain.end()
            else:
                if not (refusal := declined(message)) or not chain.goes_on_after(ModelRefused(refusal), message):
                    return message

    def _refuse_where_nobody_is_asked(self) -> None:
        if self._is_closed:
            raise LimitReached("The run has ended; nobody is asked for it any more.")
        if self.model.problem:
            raise ModelNotLoadable(self.model.problem)
        if self.model.chat is None:
            raise ModelUnavailable("No model is configured.")

    def _kept(self, keys: dict[str, CallKey]) -> dict[str, AIMessage]:
        """Return the answers that this step was given before, by model."""
        if self._journal is None:
            return {}
        rows = {name: self._journal.answered(key) for name, key in keys.items()}
        return {name: message_from(row["answer"]) for name, row in rows.items() if row}

    async def _ask(self, call: _Call) -> AIMessage:
        if call.model.chat is None:
            raise ModelUnavailable(call.model.problem or "No model is configured.")
        left = call.deadline.remaining(self._clock)
        try:
            async with asyncio.timeout(left + MARGIN):
                landed = await self._flights.join(call.model.chat, call.key.content, partial(self._make, call))
        except TimeoutError:
            late = f"{call.deadline.named} ended before {call.model.name} answered."
            raise DeadlineExceeded(late, cost_unknown=True) from None
        if landed.shared:
            await self._record_shared(call, landed)
        return landed.message

    async def _make(self, call: _Call) -> tuple[AIMessage, str]:
        """Make a call: one attempt after another, as long as that may help and the limits allow."""
        before = _Before()
        try:
            while True:
                attempt = await self._admitted(call, before)
                if not call.deadline.remaining(self._clock):
                    await self._never_sent(attempt)
                self._observe("call retried" if before.attempts else "call started")
                try:
                    message = await self._send(attempt)
                except ModelError as error:
                    wait = self._wait_before(attempt.ticket.ask.number + 1, error, call)
                    again = await self._failed(attempt, error, again=wait is not None)
                    if wait is None or not again:
                        self._observe("call failed")
                        raise
                    before = before.and_one(attempt.ticket, cost_unknown=error.cost_unknown)
                    await self._clock.sleep(wait)
                except BaseException:
                    before = before.and_one(attempt.ticket, cost_unknown=True)
                    self._gate.give_up(attempt.ticket, self._end(attempt, "unknown", cost=None))
                    raise
                else:
                    before = before.and_one(attempt.ticket, cost_unknown=True)  # until that is on disk
                    await self._answered(attempt, message)
                    self._observe("call answered")
                    return message, call.id
        except ModelError:
            raise
        except BaseException:  # whoever waited for it was cancelled
            self._note_abandoned(call, before)
            raise

    def _wait_before(self, number: int, error: ModelError, call: _Call) -> float | None:
        """Return the seconds to wait before an attempt, or None where it cannot help or would come too late."""
        if not error.retryable or number > self.policy.retry.attempts:
            return None
        if isinstance(error, TimedOut) and not call.is_last:
            return None  # the time is better spent on the next model
        wait = wait_before(number, self.policy.retry, getattr(error, "retry_after", None), self._chance)
        return wait if wait < call.deadline.remaining(self._clock) else None

    # --- Before a request, and the request  ---

    async def _admitted(self, call: _Call, before: _Before) -> _Attempt:
        """Wait at the gate; the journal's row of the call is written with what the gate counts."""
        try:
            if not call.deadline.remaining(self._clock):
                raise DeadlineExceeded(f"{call.deadline.named} is over; {call.model.name} is not asked any more.")
            ticket = await self._gate.admit(self._gate_ask(call, before), call.deadline, self._opening(call))
        except ModelError as error:
            if before.attempts:
                await self._note_end(call, {**_failure(error, before.paid), "attempts": before.attempts})
            raise
        return _Attempt(call, ticket, self._clock.monotonic(), before)

    def _gate_ask(self, call: _Call, before: _Before) -> Ask:
        model, request = call.model, call.request
        read = most_input_tokens(request.messages, request.schema) or UNCOUNTABLE
        written = most_output_tokens(model, self.policy.money.max_output_tokens)
        most = Decimal(0) if model.is_recorded else price_before(model, read, written)
        run_id = call.key.run_id if self._journal else ""
        return Ask(
            Spender(call.id, run_id, call.key.task_id, self._workflow, self._tenant, day=""),
            before.attempts + 1,
            model.name,
            None if most is None else in_billionths(most),
            read + written,
            self.policy,
            call.softly,
            call.key.content,
            request.again,
            before.counted,
            self._fence,
        )

    async def _send(self, attempt: _Attempt) -> AIMessage:
        """Send the request, for as long as attempt and step have; an answer that comes later is counted, not used."""
        call = attempt.call
        seconds = min(self.policy.time.attempt.total_seconds(), call.deadline.remaining(self._clock))
        assert call.model.chat is not None  # noqa: S101 - narrowed by ask()
        bound = bind_schema(call.model.chat, call.request.schema)
        options = self._options(call.model, seconds)
        late = partial(self._late, attempt)
        try:
            if blocks(call.model.chat):
                asking = partial(bound.invoke, list(call.request.messages), **options)
                return clean(await _threads.run(asking, seconds=seconds, late=late))
            coroutine = bound.ainvoke(list(call.request.messages), **options)
            keeps_connections = call.model.is_ours or in_temporary_loop.get()
            return clean(await _within(on_models_loop(coroutine) if keeps_connections else coroutine, seconds, late))
        except ModelError:
            raise
        except OutOfTime:
            raise self._timed_out(seconds) from None
        except ThreadsBusy as busy:
            raise ModelUnavailable(f"The model could not be asked. {busy}") from None
        except Exception as error:  # every SDK has a tree of its own
            if (message := answer_within(error)) is not None:
                return clean(message)
            known = sort_error(error, self._clock.now())
            if _is_of_a_closed_loop(error):
                known.counts_against_provider = False
            if isinstance(known, TimedOut):
                known = self._timed_out(seconds, cost_unknown=known.cost_unknown)
            raise known from error

    def _timed_out(self, seconds: float, *, cost_unknown: bool = True) -> TimedOut:
        """Return the error of an attempt that took too long: its provider's fault if it had at least half its time."""
        error = TimedOut("The model did not answer in time.", cost_unknown=cost_unknown)
        error.counts_against_provider = seconds >= self.policy.time.attempt.total_seconds() / 2
        return error

    def _options(self, model: Model, seconds: float) -> dict[str, Any]:
        options: dict[str, Any] = {"timeout": seconds} if takes_timeout(model.chat) else {}
        most = self.policy.money.max_output_tokens
        if most is not None and own_output_limit(model) is None:
            options[OUTPUT_LIMIT.get(model.provider or "", "max_tokens")] = most
        return options

    # --- After it  ---

    async def _answered(self, attempt: _Attempt, message: AIMessage) -> None:
        tokens, cost = tokens_of(message), cost_of(attempt.call.model, message)
        whole = _sum(attempt.before.paid, cost)
        row = {
            "status": "answered",
            "answer": dumps([message]),
            "cost_usd": _text(whole),
            "model_version": version_of(message),
            **(tokens or {}),
        }
        end = self._end(attempt, "answered", cost=cost, tokens=sum(tokens.values()) if tokens else None)
        await self._settle(attempt, end, row)

    async def _never_sent(self, attempt: _Attempt) -> None:
        """Give back what was admitted just as the time was over.

        Raises:
            DeadlineExceeded: always.
        """
        late = DeadlineExceeded(f"{attempt.call.deadline.named} is over; {attempt.call.model.name} is not asked.")
        await self._failed(attempt, late, again=False)
        self._observe("call failed")
        raise late

    async def _failed(self, attempt: _Attempt, error: ModelError, *, again: bool) -> bool:
        spent = None if error.cost_unknown else Decimal(0)
        row = _failure(error, _sum(attempt.before.paid, spent))
        tokens = None if error.cost_unknown else 0
        end = self._end(attempt, "retry" if again else "failed", cost=spent, tokens=tokens, error=error)
        return await self._settle(attempt, end, row)

    async def _settle(self, attempt: _Attempt, end: End, row: dict[str, Any]) -> bool:
        call, ticket = attempt.call, attempt.ticket
        whole = {**row, **self._now(), "ms": round(end.seconds * 1000, 3), "attempts": ticket.ask.number}
        if ticket.warning:
            whole["warning"] = ticket.warning

        def also(connection: sqlite3.Connection, again: bool) -> None:
            if self._journal and not again:
                end_call(connection, call.id, whole)

        return await self._gate.settle(ticket, end, also=also)

    def _end(
        self,
        attempt: _Attempt,
        status: str,
        *,
        cost: Decimal | None,
        tokens: int | None = None,
        error: ModelError | None = None,
    ) -> End:
        return End(
            status,
            self._clock.monotonic() - attempt.start,
            kind=error.kind if error else None,
            counts=bool(error and error.counts_against_provider),
            spent=0 if attempt.call.model.is_recorded else None if cost is None else in_billionths(cost),
            tokens=tokens,
        )

    def _late(self, attempt: _Attempt, answer: Any) -> None:
        """Count an answer that came after its deadline: it was paid for, and nobody waits for it any more."""
        if isinstance(answer, AIMessage):
            tokens = tokens_of(answer)
            end = self._end(
                attempt,
                "late",
                cost=cost_of(attempt.call.model, answer),
                tokens=sum(tokens.values()) if tokens else None,
            )
            self._gate.give_up(attempt.ticket, end)

    async def _record_shared(self, call: _Call, landed: Landed) -> None:
        """Keep the answer of another's call as one of this run's own, which cost nothing."""
        row = self._opening_row(call) | self._now()
        row |= {"status": "answered", "answer": dumps([landed.message]), "cost_usd": "0", "attempts": 0, "ms": 0.0}
        row |= {"shared_with": landed.call_id, "model_version": version_of(landed.message)}
        if self._journal:
            await self._journal.database.write(lambda tables: add_call(tables.conn, call.id, call.key, row))

    def _opening(self, call: _Call) -> Callable[[sqlite3.Connection], None] | None:
        if self._journal is None:
            return None
        row = self._opening_row(call)
        return lambda connection: add_call(connection, call.id, call.key, row)

    def _opening_row(self, call: _Call) -> dict[str, Any]:
        prompt = call.request.prompt
        return {
            "model": call.model.name,
            "prompt": prompt.id,
            "prompt_version": prompt.version,
            "prompt_hash": prompt.hash,
            "request": dumps(call.request.messages),
            "reask": call.request.again,
            "started_at": self._clock.now().isoformat(),
        }

    async def _note_end(self, call: _Call, row: dict[str, Any]) -> None:
        if self._journal:
            whole = row | self._now()
            await self._journal.database.write(lambda tables: end_call(tables.conn, call.id, whole))

    def _note_abandoned(self, call: _Call, before: _Before) -> None:
        if self._journal:
            row = {"cost_usd": _text(before.paid), "attempts": before.attempts, **self._now()}
            with suppress(StoreError):  # closed meanwhile: the row stays `started`, which means unknown too
                self._journal.database.submit(lambda tables: abandon_call(tables.conn, call.id, row))

    def _now(self) -> dict[str, str]:
        return {"ended_at": self._clock.now().isoformat()}

    def _step_deadline(self, node: str) -> Deadline:
        seconds = self.policy.step_time(node).total_seconds()
        return Deadline(self._clock.monotonic() + seconds, f"the {in_words(seconds)} of the step {node or '(unnamed)'}")


async def _within(coroutine: Coroutine[Any, Any, T], seconds: float, late: Callable[[Any], None]) -> T:
    """Wait for a request for so long; whether it can be cancelled or not, nobody waits longer.

    Raises:
        OutOfTime: it did not end in its time.
    """
    asking = asyncio.ensure_future(coroutine)
    try:
        await asyncio.wait({asking}, timeout=seconds)
    except asyncio.CancelledError:
        asking.cancel()
        raise
    if asking.done():
        return asking.result()
    asking.add_done_callback(lambda done: late(_result(done)))
    asking.cancel()
    raise OutOfTime("The model did not answer in time.")


def _result(done: asyncio.Future[Any]) -> Any:
    return None if done.cancelled() or done.exception() else done.result()


def _is_of_a_closed_loop(error: BaseException) -> bool:
    """Say whether a client failed on a connection of an event loop that is no more: nothing is wrong with the provider.

    It happens to one model object used under several `asyncio.run`; models given as strings have a loop that stays.
    """
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return False
        if isinstance(cause, RuntimeError) and "loop is closed" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _key(model: Model, request: Request, place: Place) -> CallKey:
    return CallKey(
        place.run_id,
        place.task_id,
        place.node,
        content_key(model.name, request.prompt, request.schema, request.messages),
    )


def _failure(error: ModelError, paid: Decimal | None) -> dict[str, Any]:
    return {"status": "failed", "error": str(error), "kind": error.kind, "cost_usd": _text(paid)}


def _text(dollars: Decimal | None) -> str | None:
    return None if dollars is None else str(dollars)


def _sum(paid: Decimal | None, more: Decimal | None) -> Decimal | None:
    return None if paid is None or more is None else paid + more


def _gate(journal: Journal | None, clock: Clock | None) -> Gate:
    """Return where calls are counted if nobody says: beside the journal, else with all others of this process."""
    if journal is not None:
        return Gate(journal.database, clock or SystemClock())
    return _gate_of_process() if clock is None else Gate(MemoryDatabase(), clock)


@cache
def _gate_of_process() -> Gate:
    return Gate(MemoryDatabase(), SystemClock())


@cache
def _flights_of_process() -> Flights:
    return Flights()


@cache
def _chance_of_process() -> random.Random:
    return random.Random()  # noqa: S311 - jitter is no secret
