"""New runs made from old ones: the row that a run begins with, where it has the input of another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from stanchion.errors import RunEnded
from stanchion.models.pinned import as_version
from stanchion.models.providers import load_model
from stanchion.runs.records import Run
from stanchion.store.prompts import pin
from stanchion.workflow import Workflow

if TYPE_CHECKING:
    from sqlite_utils import Database as Tables


class Copy(NamedTuple):
    """A run that is made from another, of which it has the workflow, the tenant, the input and the caller's id.

    Args:
        run_id: of the new run.
        origin: id of the old one.
        version: of the workflow as it is loaded now.
        at: the present time, ISO 8601.
        model: the model's usual string; None: the old run's.
        prompts: JSON of the versions it starts with; None: the old run's.
        origin_step: task id of the step before which it goes on; None: it begins with the input.
    """

    run_id: str
    origin: str
    version: str
    at: str
    model: str | None = None
    prompts: str | None = None
    origin_step: str | None = None


def add_copy(tables: Tables, copy: Copy) -> None:
    """Store a run that is made from another as queued.

    Recorded answers are of one model, so a run with another one has none.

    Args:
        tables: in the writer thread.
        copy: what it is.
    """
    tables.conn.execute(_ADD, copy._asdict())


_ADD = """
    INSERT INTO runs (id, workflow, reference, version, model, prompts, tenant, input_id, input, recorded, status,
        created_at, started_at, origin, origin_step)
    SELECT :run_id, workflow, reference, :version, coalesce(:model, model), coalesce(:prompts, prompts), tenant,
        input_id, input, CASE WHEN coalesce(:model, model) = model THEN recorded END, 'queued',
        :at, CASE WHEN :origin_step IS NOT NULL THEN :at END, id, :origin_step
    FROM runs WHERE id = :origin
"""  # one that goes on from a step has started: it must not be given its input again


def checked_model(model: str | None) -> str | None:
    """Return the name under which a model is recorded.

    Args:
        model: the model's usual string; None: none was asked for.

    Raises:
        UsageError: the string names no model.
        MissingExtra: the provider's package is not installed.
    """
    return None if model is None else load_model(model).name


def pins(tables: Tables, workflow: Workflow, label: str, at: str) -> str:
    """Return, as JSON, the versions of its prompts that a run of a workflow starts with now.

    Args:
        tables: in the writer thread.
        workflow: as it is loaded now.
        label: `production` or `candidate`.
        at: the present time, ISO 8601.

    Raises:
        StoreError: the label points at a text that is gone.
    """
    return json.dumps(pin(tables, [as_version(prompt) for prompt in workflow.prompts], label, at))


def if_erased(run: Run) -> RunEnded | None:
    """Return why nothing can be made from a run any more; None where something can.

    Args:
        run: the old one.
    """
    if run.erased_at is None:
        return None
    return RunEnded(f"The run {run.id} was erased at {run.erased_at:%Y-%m-%d %H:%M} UTC: its input is gone.")
