"""The limits under which each workflow's runs stand here, for pages that show how near to them things are."""

from __future__ import annotations

import streamlit as st

from stanchion.errors import StanchionError
from stanchion.guards.limits.policy import Policy
from stanchion.guards.limits.policy_files import InForce, policy_in_force
from stanchion.runs.ledger import Ledger
from stanchion.store import Database

LOADED_ANEW = 300  # seconds after which a workflow that could not be loaded is tried again


def caps_of(database: Database, workflow: str) -> InForce | str:
    """Return the limits that are in force for a workflow, or in words why nobody can say.

    Args:
        database: which holds a run of it.
        workflow: its name.
    """
    runs = Ledger(database).runs(workflow=workflow, limit=1)
    if not runs:
        return f"No run of {workflow} is in this database any more."
    own = _own_policy(runs[0].reference)
    if isinstance(own, str):
        return own
    try:
        return policy_in_force(own, workflow)
    except StanchionError as error:
        return str(error)


@st.cache_resource(show_spinner=False, ttl=LOADED_ANEW)
def _own_policy(reference: str) -> Policy | str:
    from stanchion.workflow import load_workflow

    try:
        return load_workflow(reference).policy
    except StanchionError as error:
        return str(error)
