"""What operators do to runs and workflows: cancel, pause, resume, run again; with a reason, kept in the trail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from stanchion.clock import Clock, Ids, SystemClock, new_id
from stanchion.errors import RunEnded, StanchionError, UsageError
from stanchion.people import Person, as_person
from stanchion.runs import ledger
from stanchion.runs.copies import Copy, add_copy, checked_model, if_erased, pins
from stanchion.runs.ledger import Ledger
from stanchion.runs.records import Run
from stanchion.store import Database
from stanchion.store.fences import Fence
from stanchion.store.owners import is_alive
from stanchion.store.prompts import check_label
from stanchion.store.trail import Trail
from stanchion.workflow import known_workflows, load_workflow

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables

    from stanchion.store.trail import Add

BATCH = 200
"""Runs that one transaction changes, so that whoever else writes waits for a moment only."""

LONGEST_REASON = 2_000

Refuse = Callable[[Run], StanchionError | None]
Change = Callable[["Tables", "Add", Run], None]


class PausedWorkflow(BaseModel):
    """A workflow of which no run begins or goes on.

    Args:
        workflow: its name.
        at: since when, UTC.
        by: who paused it.
        reason: why.
    """

    model_config = ConfigDict(frozen=True)

    workflow: str
    at: datetime
    by: str
    reason: str


def allowed(by: Person | str, reason: str, to_do: str) -> tuple[Person, str]:
    """Return who does something that takes an operator, and why, as it is written down.

    Args:
        by: who does it.
        reason: why.
        to_do: what, such as `cancel runs`.

    Raises:
        NotAllowed: it takes the role operator.
        UsageError: no reason is given, or one that cannot be kept.
    """
    who, why = as_person(by), reason.strip()
    who.must("operator", to_do)
    if not why or len(why) > LONGEST_REASON:
        raise UsageError(f"Say why, in 1 to {LONGEST_REASON:,} characters: it is kept, and told to whoever asks.")
    try:
        f"{who.name}{why}".encode()
    except UnicodeEncodeError as error:
        raise UsageError("The name or the reason holds half a character, which cannot be kept.") from error
    return who, why


class Operations:
    """What an operator may do; every method blocks, so async code calls it in a thread.

    Several runs are changed 200 at a time, each batch wholly or not at all. Where one run is named and cannot be
    changed, that is an error; of several, those that cannot be are left out, and the others changed.

    Args:
        database: an open database.
        clock: where times come from.
        ids: makes the ids of new runs.
    """

    def __init__(self, database: Database, *, clock: Clock | None = None, ids: Ids = new_id) -> None:
        self.database = database
        self._ledger = Ledger(database)
        self._clock = clock or SystemClock()
        self._trail = Trail(database, self._clock)
        self._ids = ids

    # --- Runs ---

    def cancel(self, run_ids: Sequence[str], *, by: Person | str, reason: str) -> list[Run]:
        """End runs for good, and close what they ask people; return those that were cancelled, as they then stand.

        Whoever works on one of them can write nothing about it any more. A call to a model that is under way is not
        stopped, and costs what it costs.

        Args:
            run_ids: their ids, or the beginnings of them.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes the role operator.
            UsageError: no reason is given.
            RunNotFound: an id names no run; nothing was changed.
            RunEnded: the only run named has ended.
        """
        who, why = allowed(by, reason, "cancel runs")
        now = self._clock.now()
        told = f"by {who.name} at {now:%Y-%m-%d %H:%M:%S} UTC: {why}"

        def change(tables: Tables, add: Add, run: Run) -> None:
            self._stop_work(tables, run.id, now)
            _end(tables, run.id, reason=f"Cancelled {told}", at=now.isoformat())
            closed = _close_reviews(tables, run.id, why=f"its run was cancelled {told}")
            _note(add, who, "run cancelled", run, why, facts={"status": run.status, "reviews": closed})

        return self._change(run_ids, partial(_if_ended, to="cancelled"), change)

    def pause(self, run_ids: Sequence[str], *, by: Person | str, reason: str) -> list[Run]:
        """Hold runs back until they are unpaused; one at work stops before its next step. Return those paused.

        People may answer what a paused run asks; it goes on with that once it is unpaused.

        Args:
            run_ids: their ids, or the beginnings of them.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes the role operator.
            UsageError: no reason is given, or the only run named is paused already.
            RunNotFound: an id names no run; nothing was changed.
            RunEnded: the only run named has ended.
        """
        who, why = allowed(by, reason, "pause runs")
        at = self._clock.now().isoformat()

        def change(tables: Tables, add: Add, run: Run) -> None:
            tables.conn.execute(
                "UPDATE runs SET paused_at = ?, paused_by = ?, paused_why = ? WHERE id = ?", [at, who.name, why, run.id]
            )
            _note(add, who, "run paused", run, why, facts={"status": run.status})

        return self._change(run_ids, _if_paused, change)

    def unpause(self, run_ids: Sequence[str], *, by: Person | str, reason: str) -> list[Run]:
        """Let paused runs go on, as soon as somebody works on them; return those that may.

        Args:
            run_ids: their ids, or the beginnings of them.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes the role operator.
            UsageError: no reason is given, or the only run named is not paused.
            RunNotFound: an id names no run; nothing was changed.
            RunEnded: the only run named has ended.
        """
        who, why = allowed(by, reason, "let runs go on")

        def change(tables: Tables, add: Add, run: Run) -> None:
            tables.conn.execute(
                "UPDATE runs SET paused_at = NULL, paused_by = NULL, paused_why = NULL WHERE id = ?", [run.id]
            )
            _note(add, who, "run unpaused", run, why, facts={"paused_by": run.paused_by})

        return self._change(run_ids, _if_not_paused, change)

    def resume(self, run_ids: Sequence[str], *, by: Person | str, reason: str) -> list[Run]:
        """Write down that runs are to go on, and return those that can: queued, cut off by a crash, or answered.

        Nothing about them changes: whoever runs graphs goes on with what is returned.

        Args:
            run_ids: their ids, or the beginnings of them.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes the role operator.
            UsageError: no reason is given, or the only run named is paused, waits for a person, or is at work.
            RunNotFound: an id names no run; nothing was written.
            RunEnded: the only run named has ended.
        """
        who, why = allowed(by, reason, "resume runs")
        held = {paused.workflow: paused for paused in self.paused_workflows()}

        def refuse(run: Run) -> StanchionError | None:
            return _if_ended(run, "resumed") or _if_held_back(run, held.get(run.workflow)) or self._if_it_waits(run)

        def change(_tables: Tables, add: Add, run: Run) -> None:
            _note(add, who, "run resumed", run, why, facts={"status": run.status})

        return self._change(run_ids, refuse, change)

    def rerun(
        self,
        run_ids: Sequence[str],
        *,
        by: Person | str,
        reason: str,
        model: str | None = None,
        prompts: str = "production",
    ) -> list[Run]:
        """Queue a new run with the same input for each of these, of the workflow as it is now; return the new runs.

        Args:
            run_ids: of the old runs, ended or not: their ids, or the beginnings of them.
            by: who does it.
            reason: why.
            model: for the new runs; by default each has its old one's.
            prompts: the label whose versions of the workflow's prompts they start with.

        Raises:
            NotAllowed: it takes the role operator.
            UsageError: no reason is given, or there is no such model or label.
            MissingExtra: the model's package is not installed.
            RunNotFound: an id names no run.
            RunEnded: the only run named was erased.
            WorkflowError: a run's workflow cannot be loaded here; nothing was queued.
        """
        who, why = allowed(by, reason, "run inputs again")
        check_label(prompts)
        name = checked_model(model)
        wanted = self._whole_ids(run_ids)
        references = {run.reference for run in self._ledger.runs_of(wanted)}
        workflows = {reference: load_workflow(reference) for reference in sorted(references)}
        at = self._clock.now().isoformat()
        made: list[str] = []

        def change(tables: Tables, add: Add, run: Run) -> None:
            workflow = workflows[run.reference]
            new = Copy(self._ids(), run.id, workflow.version, at, name, pins(tables, workflow, prompts, at))
            add_copy(tables, new)
            made.append(new.run_id)
            facts = {"version": new.version, "model": name or run.model, "prompts": prompts}
            _note(add, who, "run made again", run, why, facts=facts, subject=new.run_id)

        self._change(wanted, if_erased, change)
        return self._ledger.runs_of(made)

    # --- Workflows ---

    def pause_workflow(self, workflow: str, *, by: Person | str, reason: str) -> PausedWorkflow:
        """Hold back all runs of a workflow, also those that are queued meanwhile; those at work go on to their end.

        Args:
            workflow: its name.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes the role operator.
            UsageError: no reason is given, there is no such workflow, or it is paused already.
        """
        who, why = allowed(by, reason, "pause workflows")
        if not self._is_known(workflow):
            raise UsageError(
                f"There is no run of a workflow {workflow!r} in {self.database.path}. Workflows that are known here: "
                f"{', '.join(known_workflows()) or 'none'}."
            )
        paused = PausedWorkflow(workflow=workflow, at=self._clock.now(), by=who.name, reason=why)

        def work(tables: Tables, add: Add) -> None:
            for before in tables.query("SELECT * FROM paused_workflows WHERE workflow = ?", [workflow]):
                raise UsageError(f"The workflow {workflow} is paused already, by {before['by']}: {before['reason']}")
            tables.conn.execute(
                "INSERT INTO paused_workflows (workflow, at, by, reason) VALUES (?, ?, ?, ?)",
                [workflow, paused.at.isoformat(), who.name, why],
            )
            add(who, "workflow paused", workflow=workflow, subject=workflow, content={"reason": why})

        self._trail.decide(work)
        return paused

    def unpause_workflow(self, workflow: str, *, by: Person | str, reason: str) -> None:
        """Let the runs of a paused workflow go on, save those that are paused themselves.

        Args:
            workflow: its name.
            by: who does it.
            reason: why.

        Raises:
            NotAllowed: it takes the role operator.
            UsageError: no reason is given, or the workflow is not paused.
        """
        who, why = allowed(by, reason, "let workflows go on")

        def work(tables: Tables, add: Add) -> None:
            if not tables.conn.execute("DELETE FROM paused_workflows WHERE workflow = ?", [workflow]).rowcount:
                raise UsageError(f"The workflow {workflow} is not paused.")
            add(who, "workflow unpaused", workflow=workflow, subject=workflow, content={"reason": why})

        self._trail.decide(work)

    def paused_workflows(self) -> list[PausedWorkflow]:
        """Return the workflows that are held back, by name."""
        rows = self.database.read("SELECT * FROM paused_workflows ORDER BY workflow")
        return [PausedWorkflow(**row) for row in rows]

    # --- How it is done ---

    def _whole_ids(self, run_ids: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(map(self._ledger.full_id, run_ids)))

    def _change(self, run_ids: Sequence[str], refuse: Refuse, change: Change) -> list[Run]:
        """Change runs in batches; return those that were changed, as they then stand."""
        wanted = self._whole_ids(run_ids)
        changed: list[str] = []
        for start in range(0, len(wanted), BATCH):
            batch = partial(_change_batch, run_ids=wanted[start : start + BATCH], refuse=refuse, change=change)
            done, refused = self._trail.decide(batch)
            if refused and len(wanted) == 1:
                raise refused[0]
            changed += done
        return self._ledger.runs_of(changed)

    def _stop_work(self, tables: Tables, run_id: str, now: datetime) -> None:
        """Take a run away from whoever works on it; the time that a living one worked counts."""
        sql = "SELECT token, owner, claimed_at FROM runs WHERE id = ? AND status = 'running'"
        for row in tables.query(sql, [run_id]):
            alive = row["owner"] and row["claimed_at"] and is_alive(self.database.path, row["owner"])
            seconds = (now - datetime.fromisoformat(row["claimed_at"])).total_seconds() if alive else 0.0
            ledger.release(tables, Fence(run_id, row["token"]), max(0.0, seconds * 1000))

    def _if_it_waits(self, run: Run) -> UsageError | None:
        """Say why a run does not go on by itself: somebody has it, or is to answer it."""
        if run.status == "running" and self._is_had(run.id):
            return UsageError(f"The run {run.id} is at work already.")
        asked = "SELECT 1 FROM reviews WHERE run_id = ? AND status = 'asked' LIMIT 1"
        if run.status != "waiting" or self._ledger.answers_due(run.id) or not self.database.read(asked, [run.id]):
            return None
        return UsageError(f"The run {run.id} waits for a person; it goes on with the answer.")

    def _is_had(self, run_id: str) -> bool:
        """Say whether somebody alive has a run, and gave a sign of life lately."""
        (row,) = self.database.read("SELECT owner, lease_until FROM runs WHERE id = ?", [run_id])
        is_over = row["lease_until"] is not None and row["lease_until"] < self._clock.now().isoformat()
        return bool(row["owner"]) and not is_over and is_alive(self.database.path, row["owner"])

    def _is_known(self, workflow: str) -> bool:
        runs = self.database.read("SELECT 1 FROM runs WHERE workflow = ? LIMIT 1", [workflow])
        return bool(runs) or workflow in known_workflows()


# --- In the writer thread ---

_RUN = """
    SELECT id, workflow, reference, version, model, input_id, status, outcome, created_at, ended_at, erased_at,
        paused_at, paused_by, paused_why
    FROM runs WHERE id = ?
"""  # none of the columns that hold a document


def _change_batch(
    tables: Tables, add: Add, run_ids: Sequence[str], refuse: Refuse, change: Change
) -> tuple[list[str], list[StanchionError]]:
    """Change the runs that can be; return their ids, and why the others cannot."""
    changed: list[str] = []
    refused: list[StanchionError] = []
    for run in [Run(**row) for run_id in run_ids for row in tables.query(_RUN, [run_id])]:
        if error := refuse(run):
            refused.append(error)
        else:
            change(tables, add, run)
            changed.append(run.id)
    return changed, refused


def _end(tables: Tables, run_id: str, *, reason: str, at: str) -> None:
    """End a run as cancelled: what it proposed was accepted by nobody, and the next claim's token is out of reach."""
    tables.conn.execute(
        """UPDATE runs SET status = 'cancelled', reason = ?, ended_at = ?, token = token + 1, output = NULL,
           rung = NULL, confidence = NULL, paused_at = NULL, paused_by = NULL, paused_why = NULL WHERE id = ?""",
        [reason, at, run_id],
    )
    ledger.count_ended(tables, run_id, at)


def _close_reviews(tables: Tables, run_id: str, *, why: str) -> int:
    """Close what a run asks people; return how many questions those were."""
    closed = tables.conn.execute(
        """UPDATE reviews SET status = 'closed', closed_why = ?, claimed_by = NULL, claimed_until = NULL
           WHERE run_id = ? AND status = 'asked'""",
        [why, run_id],
    )
    return int(closed.rowcount)


def _note(add: Add, who: Person, what: str, run: Run, why: str, *, facts: Mapping[str, Any], subject: str = "") -> None:
    add(
        who, what, workflow=run.workflow, run_id=run.id, subject=subject or run.id, facts=facts, content={"reason": why}
    )


# --- What cannot be done ---


def _if_ended(run: Run, to: str) -> RunEnded | None:
    if run.ended_at is None:
        return None
    return RunEnded(
        f"The run {run.id} ended as {run.standing} at {run.ended_at:%Y-%m-%d %H:%M} UTC; it cannot be {to} any more."
    )


def _if_paused(run: Run) -> StanchionError | None:
    if run.paused_at is None:
        return _if_ended(run, "paused")
    return UsageError(
        f"The run {run.id} is paused already, since {run.paused_at:%Y-%m-%d %H:%M} UTC by {run.paused_by}: "
        f"{run.paused_why}"
    )


def _if_not_paused(run: Run) -> StanchionError | None:
    return _if_ended(run, "unpaused") or (None if run.paused_at else UsageError(f"The run {run.id} is not paused."))


def _if_held_back(run: Run, workflow: PausedWorkflow | None) -> UsageError | None:
    if run.paused_at:
        return UsageError(f"The run {run.id} is paused by {run.paused_by}: unpause it to let it go on.")
    if workflow:
        return UsageError(f"The workflow {run.workflow} is paused by {workflow.by}: unpause it to let its runs go on.")
    return None
