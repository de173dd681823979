"""What is on the screen as Python and as commands, to be copied."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from stanchion.ui.safe import block


def show_code(path: Path, python: str, *commands: Sequence[str]) -> None:
    """Show a button behind which Python and commands stand.

    Args:
        path: of the database, which every command gets.
        python: what comes after `database = Database(…)`, and its imports before it, separated by an empty line.
        commands: each as its words; they are quoted here.
    """
    imports, rest = python.split("\n\n", 1)
    with st.popover("Python and command line", icon=":material/code:", type="tertiary", key="as_code"):
        st.code(
            block(f"{imports}\nfrom stanchion.store import Database\n\ndatabase = Database({str(path)!r})\n{rest}"),
            language="python",
        )
        lines = (shlex.join(["stanchion", *command, "--db", str(path)]) for command in commands)
        st.code(block("\n".join(lines)), language="bash")
