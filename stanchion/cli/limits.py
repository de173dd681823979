"""Commands about limits: policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(policy)


def policy(
    workflow: Annotated[str, typer.Argument(metavar="WORKFLOW", help="A name of langgraph.json, or module:attribute.")],
    as_json: options.AsJson = False,
) -> None:
    """Print the limits that are in force for a workflow here, and where each value comes from."""
    from stanchion.guards.limits.policy_files import policy_in_force, values_in_force, workflows_named
    from stanchion.workflow import known_workflows, load_workflow

    loaded = load_workflow(workflow)
    in_force = policy_in_force(loaded.policy, loaded.name, nodes=loaded.graph.nodes.keys() - {"__start__"})
    values = values_in_force(in_force.policy)
    if as_json:
        keys = {key: {"value": value, "from": in_force.origins[key]} for key, value in values.items()}
        output.print_json({"workflow": loaded.name, "policy": keys})
    else:
        output.console().print(_policy_table(values, in_force.origins))
    elsewhere = sorted({*workflows_named()} - {loaded.name, *known_workflows()})
    if elsewhere:
        named = ", ".join(output.plain(name) for name in elsewhere)
        typer.echo(f"Note: stanchion.toml has limits for workflows that are not known here: {named}.", err=True)


def _policy_table(values: dict[str, Any], origins: dict[str, str]) -> Table:
    from rich.text import Text

    table = output.table("key", "value", "from")
    for key, value in values.items():
        table.add_row(*map(Text, [output.plain(key), output.plain(None if value == {} else value), origins[key]]))
    return table
