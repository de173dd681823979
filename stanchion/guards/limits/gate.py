"""The gate before every request: breaker, money and rate are asked in one transaction, so nobody slips in between.

What it counts stands in the database, so all processes on one file share it; where there is none, in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

from stanchion.clock import Clock
from stanchion.errors import BreakerOpen, BudgetExceeded, DeadlineExceeded, StoreError, TooManyCalls
from stanchion.guards.limits import breaker, money, pacing, traffic
from stanchion.guards.limits.deadline import Deadline, in_words
from stanchion.guards.limits.moment import Moment, moment
from stanchion.guards.limits.money import Spender
from stanchion.guards.limits.policy import Policy
from stanchion.guards.limits.turns import Turns
from stanchion.store.fences import Fence, hold

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

T = TypeVar("T")
Also = Callable[[sqlite3.Connection], None]
"""Written in the same transaction: what the journal has to say of the call."""

SHORTEST_LOOK, LONGEST_LOOK = 0.002, 0.05  # seconds between two looks of whoever is first in line
MISSED = 2.0  # seconds after which whoever waits looks again for what dead processes have reserved


class Written(Protocol):
    """Where limits are counted: a `Database`, or a `MemoryDatabase`."""

    async def write(self, work: Callable[[Tables], T]) -> T:
        """Do a piece of work in one transaction, and wait until it is kept."""
        ...

    def submit(self, work: Callable[[Tables], T], *, patient: bool = False) -> Future[T]:
        """Do a piece of work that nobody waits for."""
        ...


class Ask(NamedTuple):
    """One request that somebody would like to send.

    Args:
        spender: for whom.
        number: which attempt of its call, from 1.
        model: who would be asked.
        need: what it may cost at the most, in billionths of a dollar; None where no price is known.
        tokens: what it may read and write at the most.
        policy: the limits.
        softly: be refused at a soft cap already, because there is something cheaper to do.
        key: of the request's content, to find loops; empty outside our runner.
        again: guards said no to the answer before.
        before: what the attempts before it may have cost, in billionths of a dollar.
        fence: the right to ask on the run's behalf; None outside our runner.
    """

    spender: Spender
    number: int
    model: str
    need: int | None
    tokens: int
    policy: Policy
    softly: bool = False
    key: str = ""
    again: bool = False
    before: int = 0
    fence: Fence | None = None


class Ticket(NamedTuple):
    """The right to send one request; `Gate.settle` gives it back.

    Args:
        ask: what was asked for.
        probe: it tries whether the model is well again.
        warning: which cap is nearly spent.
    """

    ask: Ask
    probe: bool
    warning: str


class End(NamedTuple):
    """How a request ended.

    Args:
        status: `answered`, `failed`, `retry` where it failed and should be tried again, `unknown` where nobody waited
            for the end, `late` where an answer came after that.
        seconds: how long it took.
        kind: of the failure.
        counts: the failure speaks against the provider.
        spent: billionths of a dollar; None where unknown, which counts as all that was reserved.
        tokens: read and written; None where unknown.
    """

    status: str
    seconds: float
    kind: str | None = None
    counts: bool = False
    spent: int | None = None
    tokens: int | None = None

    @property
    def tells(self) -> bool:
        """Whether it says how the provider is: not where it was never reached, or nobody waited for what it says."""
        return self.status != "unknown" and self.kind not in ("cancelled", "unavailable", "deadline")


class _Wait(NamedTuple):
    seconds: float
    why: str
    shared: bool
    certain: bool = True  # nothing under way may give back what is waited for


_BEHIND_OTHERS = _Wait(0.0, "the calls before it", shared=True)


class Gate:
    """Lets requests go as far as the policy allows, for all runs of a process.

    Args:
        database: where things are counted.
        clock: for times.
        owner: the name of this process, as its reservations carry it.
        is_alive: says whether the process of another name still lives.
    """

    def __init__(
        self, database: Written, clock: Clock, *, owner: str = "", is_alive: Callable[[str], bool] = lambda _: True
    ) -> None:
        self._database = database
        self._clock = clock
        self._owner = owner
        self._is_alive = is_alive
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, defaultdict[str, Turns]] = WeakKeyDictionary()
        self._looked_for_dead = float("-inf")
        self._unwritten: list[tuple[Ticket, End]] = []  # ends that a full or locked disk did not take

    async def admit(self, ask: Ask, deadline: Deadline, also: Also | None = None) -> Ticket:
        """Wait until the request may be sent, and count it.

        Args:
            ask: the request.
            deadline: until when to wait.
            also: written with it.

        Raises:
            BreakerOpen: the model is not asked at present.
            BudgetExceeded: there is no money for it.
            TooManyCalls: the run made enough calls.
            DeadlineExceeded: it would have to wait too long.
            StoreError: it could not be counted.
            LeaseLost: another process has the run now.
        """
        lines = self._lines.setdefault(asyncio.get_running_loop(), defaultdict(Turns))
        line = lines[ask.model]
        wait = _BEHIND_OTHERS if line.anybody else await self._try(ask, deadline, also)
        while isinstance(wait, _Wait):
            self._refuse_to_wait(ask, wait, deadline)
            if not wait.shared:  # nobody else waits for the same, so it must not hold up who stands behind it
                await self._clock.sleep(min(LONGEST_LOOK, deadline.remaining(self._clock)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline.remaining(self._clock)), line.turn(ask.spender.run_id):
                    wait = await self._first_in_line(ask, deadline, also)
        return wait

    async def _first_in_line(self, ask: Ask, deadline: Deadline, also: Also | None) -> Ticket | _Wait:
        pause = SHORTEST_LOOK
        while isinstance(wait := await self._try(ask, deadline, also), _Wait) and wait.shared:
            self._refuse_to_wait(ask, wait, deadline)
            pause = min(2 * pause, LONGEST_LOOK)
            until_then = max(wait.seconds, pause) if wait.certain else pause
            await self._clock.sleep(min(until_then, deadline.remaining(self._clock)))
            if not deadline.remaining(self._clock):
                self._refuse_to_wait(ask, wait, deadline)
        return wait

    def _refuse_to_wait(self, ask: Ask, wait: _Wait, deadline: Deadline) -> None:
        left = deadline.remaining(self._clock)
        if left and (wait.seconds <= left or not wait.certain):
            return
        longer = f" another {in_words(wait.seconds)}" if wait.seconds > LONGEST_LOOK else ""
        raise DeadlineExceeded(
            f"The call to {ask.model} would have to wait{longer} for {wait.why}; of {deadline.what} {in_words(left)} "
            "is left."
        )

    async def _try(self, ask: Ask, deadline: Deadline, also: Also | None) -> Ticket | _Wait:
        self._write_unwritten()
        now = moment(self._clock)
        trying = self._database.submit(lambda tables: self._admit(tables.conn, ask, now, deadline, also))
        try:
            outcome = trying.result() if trying.done() else await asyncio.wrap_future(trying)  # in memory it is done
        except asyncio.CancelledError:
            trying.add_done_callback(self._take_back)  # it may have been admitted all the same
            raise
        except BreakerOpen:
            await self._look_for_dead()  # whose probes are never going to end
            raise
        if isinstance(outcome, _Wait):
            await self._look_for_dead()
        return outcome

    async def _look_for_dead(self) -> None:
        if self._clock.monotonic() - self._looked_for_dead > MISSED:
            self._looked_for_dead = self._clock.monotonic()
            await self.settle_dead()

    def _take_back(self, trying: Future[Ticket | _Wait]) -> None:
        if not trying.cancelled() and not trying.exception() and isinstance(ticket := trying.result(), Ticket):
            self.give_up(ticket, End("failed", 0.0, kind="cancelled", spent=0, tokens=0))

    def _admit(
        self, connection: sqlite3.Connection, ask: Ask, now: Moment, deadline: Deadline, also: Also | None
    ) -> Ticket | _Wait:
        """Ask every limit in its order; write only where all agree."""
        if not deadline.remaining(self._clock):  # others wrote before, or the disk was slow
            raise DeadlineExceeded(f"{deadline.named} is over; {ask.model} is not asked any more.")
        hold(connection, ask.fence)
        spender = ask.spender._replace(day=now.day)
        _refuse_loops(connection, ask)
        probe = breaker.pass_breaker(connection, ask.model, ask.policy.breaker, now)
        if ask.need is None and ask.policy.money.unpriced == "refuse":
            raise BudgetExceeded(f"The price of {ask.model} is not known, and money.unpriced is refuse.")
        need = ask.need or 0
        room = money.room(connection, spender, need, ask.policy.money, before=ask.before)
        if room.warning and (ask.softly or ask.policy.money.at_soft == "fall_back"):
            raise BudgetExceeded(room.warning)
        if room.wait:
            return _Wait(0.0, "calls under way to settle what they reserved", shared=room.shared)
        rate = ask.policy.rate(ask.model)
        if seconds := pacing.wait_for_room(connection, ask.model, rate, ask.tokens, now):
            gives_back = rate.tokens is not None and pacing.under_way(connection, ask.model) > 0
            return _Wait(seconds, "its rate limit", shared=True, certain=not gives_back)
        if also is not None and ask.number == 1:
            also(connection)
        money.reserve(connection, spender, need)
        if ask.number == 1:
            traffic.count_call(connection, ask.model, now)
        connection.execute(
            """INSERT INTO attempts (call_id, number, run_id, task_id, workflow, tenant, model, owner, day, status,
               probe, tokens, cost, started_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'started', ?, ?, ?, ?)""",
            [
                *(spender.call_id, ask.number, spender.run_id, spender.task_id, spender.workflow, spender.tenant),
                *(ask.model, self._owner, spender.day, probe, ask.tokens, need, now.iso),
            ],
        )
        return Ticket(ask._replace(spender=spender), probe, room.warning)

    async def settle(self, ticket: Ticket, end: End, *, also: Callable[[sqlite3.Connection, bool], None]) -> bool:
        """Count how a request ended; return whether its call may be tried again.

        Args:
            ticket: from `admit`.
            end: how it ended; one that should be tried again has the status `retry`, and is a failure.
            also: written with it; told whether there will be another attempt.

        Raises:
            StoreError: it could not be counted.
        """
        now = moment(self._clock)
        settling = self._database.submit(lambda tables: self._settle(tables.conn, ticket, end, now, also))
        settling.add_done_callback(partial(self._keep_unwritten, ticket, end))
        if settling.done():
            return settling.result()
        return await asyncio.shield(asyncio.wrap_future(settling))  # whoever is cancelled must still give it back

    def give_up(self, ticket: Ticket, end: End) -> None:
        """Count a request whose end nobody waits for, or one that ended after its deadline; never raises.

        Args:
            ticket: from `admit`.
            end: what is known of it.
        """
        now = moment(self._clock)

        def work(tables: Tables) -> None:
            self._settle(tables.conn, ticket, end, now, lambda _connection, _again: None)

        try:
            self._database.submit(work).add_done_callback(partial(self._keep_unwritten, ticket, end))
        except StoreError:  # closed meanwhile: the next process counts it as unknown
            return

    def _keep_unwritten(self, ticket: Ticket, end: End, writing: Future[Any]) -> None:
        """Remember an end that could not be written: what is reserved for it must not stay so while we live."""
        if not writing.cancelled() and isinstance(writing.exception(), StoreError):
            self._unwritten.append((ticket, end._replace(status="failed") if end.status == "retry" else end))

    def _write_unwritten(self) -> None:
        for _ in range(len(self._unwritten)):  # those that fail again come back
            self.give_up(*self._unwritten.pop())

    async def settle_dead(self) -> None:
        """Count what dead processes had under way as spent: nobody knows how it ended.

        Raises:
            StoreError: it could not be written.
        """
        await self._database.write(lambda tables: self._settle_dead(tables.conn))

    def _settle(
        self,
        connection: sqlite3.Connection,
        ticket: Ticket,
        end: End,
        now: Moment,
        also: Callable[[sqlite3.Connection, bool], None],
    ) -> bool:
        ask = ticket.ask
        policy, model = ask.policy, ask.model
        row = connection.execute(
            "SELECT status, cost FROM attempts WHERE call_id = ? AND number = ?", [ask.spender.call_id, ask.number]
        ).fetchone()
        if row is None:
            return False  # erased meanwhile
        before, counted = row
        if before in ("answered", "late"):  # counted already: a thread may be late before it is given up
            also(connection, False)
            return False
        spent = (ask.need or 0) if end.spent is None else end.spent
        again = end.status == "retry" and traffic.earn_retry(connection, model, policy.retry, now)
        if before == "started":
            money.settle(connection, ask.spender, counted, spent)
            if end.tells:
                how = traffic.End(end.counts, end.seconds >= policy.breaker.slow_call.total_seconds(), ticket.probe)
                traffic.count_end(connection, model, how, now)
                breaker.note_end(connection, model, policy.breaker, how, now)
        else:  # it was given up before, and counted as unknown
            money.settle(connection, ask.spender, 0, spent - counted)
        if end.tokens is not None:
            pacing.give_back(connection, model, policy.rate(model), ask.tokens, end.tokens)
        if ask.spender.run_id:
            connection.execute(
                "UPDATE attempts SET status = ?, kind = ?, cost = ?, ended_at = ?, ms = ? "
                "WHERE call_id = ? AND number = ?",
                [
                    *("failed" if end.status == "retry" else end.status, end.kind, spent, now.iso),
                    *(round(end.seconds * 1000, 3), ask.spender.call_id, ask.number),
                ],
            )
        else:  # in memory, where no run will ever be looked at
            connection.execute(
                "DELETE FROM attempts WHERE call_id = ? AND number = ?", [ask.spender.call_id, ask.number]
            )
        also(connection, again)
        return again

    def _settle_dead(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT DISTINCT owner FROM attempts WHERE status = 'started'").fetchall()
        for (owner,) in rows:
            if owner == self._owner or self._is_alive(owner):
                continue
            dead = connection.execute(
                "SELECT day, workflow, tenant, cost, call_id FROM attempts WHERE status = 'started' AND owner = ?",
                [owner],
            ).fetchall()
            for day, workflow, tenant, cost, call_id in dead:
                money.settle(connection, Spender(call_id, "", "", workflow, tenant, day), cost, cost)
                connection.execute(_CALL_UNKNOWN, [call_id])
            connection.execute("UPDATE attempts SET status = 'unknown' WHERE status = 'started' AND owner = ?", [owner])


_CALL_UNKNOWN = "UPDATE calls SET status = 'unknown', kind = 'process_died' WHERE id = ? AND status = 'started'"


def _refuse_loops(connection: sqlite3.Connection, ask: Ask) -> None:
    if not ask.spender.run_id or ask.number > 1:
        return
    loops = ask.policy.loops
    calls, same, again = connection.execute(
        """SELECT count(*), coalesce(sum(key = ?), 0), coalesce(sum(reask), 0) FROM calls
           WHERE run_id = ? AND kind IS NOT 'process_died'""",
        [ask.key, ask.spender.run_id],
    ).fetchone()
    if calls >= loops.model_calls:
        raise TooManyCalls(f"The run has made {calls} model calls, as many as loops.model_calls allows: a loop?")
    if same >= loops.same_call:
        raise TooManyCalls(f"The run has made the very same call {same} times, as often as loops.same_call allows.")
    if ask.again and again >= loops.reasks:
        raise TooManyCalls(f"The run has asked for better answers {again} times, as often as loops.reasks allows.")
