"""Commands about limits: policy, limits, breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanchion.cli import options, output

if TYPE_CHECKING:
    from rich.table import Table

    from stanchion.guards.limits.standing import ModelStanding, Spending


def add_to(app: typer.Typer) -> None:
    """Add these commands.

    Args:
        app: the command line.
    """
    app.command()(policy)
    app.command()(limits)
    app.command()(breaker)


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


def limits(db: options.Db = None, as_json: options.AsJson = False) -> None:
    """Show how things stand: each model's circuit breaker and last minute, and the money of the last days."""
    from stanchion.clock import SystemClock
    from stanchion.guards.limits.standing import models_standing, spending

    with options.open_ledger(db) as ledger:
        models, money = models_standing(ledger.database, SystemClock()), spending(ledger.database)
    if as_json:
        output.print_json({"models": models, "spending": money})
        return
    screen = output.console()
    if not models:
        screen.print("No model has been asked yet.")
        return
    screen.print(_models_table(models, width=screen.width))
    for line in filter(None, map(_since, models)):
        typer.echo(line)
    if money:
        screen.print("", _spending_table(money))


def breaker(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Such as openai:gpt-4o-mini.")],
    open_it: Annotated[bool, typer.Option("--open", help="Let no call pass until it is released.")] = False,
    close_it: Annotated[bool, typer.Option("--close", help="Let every call pass until it is released.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Let it decide by itself again, beginning closed.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; whoever it stops is told.")] = "",
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who does it. Default: you.")] = None,
    db: options.Db = None,
    as_json: options.AsJson = False,
) -> None:
    """Force the circuit breaker of a model open or closed, or release it."""
    from stanchion.clock import SystemClock
    from stanchion.errors import UsageError
    from stanchion.guards.limits.standing import Breakers

    if [open_it, close_it, release].count(True) != 1:
        raise UsageError("Say one of --open, --close or --release.")
    if not reason.strip():
        raise UsageError("Say why, with --reason: whoever it stops is told.")
    who = options.who(by)
    with options.open_ledger(db) as ledger:
        breakers = Breakers(ledger.database, SystemClock())
        before, known = breakers.of(model), [one.model for one in breakers.standing()]
        if release:
            after = breakers.release(model, by=who, reason=reason)
        else:
            after = breakers.force(model, "open" if open_it else "closed", by=who, reason=reason)
    if after.model not in known:
        others = f"Known are: {', '.join(map(_whole, known))}." if known else "No model is known yet."
        typer.echo(f"Note: {_whole(after.model)} was never asked on this database. {others}", err=True)
    if as_json:
        output.print_json(after)
    else:
        typer.echo(f"The circuit breaker of {_whole(after.model)} {_what_became(before, after)}.")


def _what_became(before: ModelStanding, after: ModelStanding) -> str:
    if after.forced:
        return f"stays {after.breaker} until it is released"
    return "is released, and begins closed" if before.forced else "was not forced: it stays as it is"


def _whole(model: str) -> str:
    """Return a model's name uncut, since it is to be typed again."""
    return output.plain(model, longest=max(len(model), 1))


def _since(one: ModelStanding) -> str:
    """Say since when and why a breaker is as it is; nothing of one that never changed."""
    if one.changed_at is None:
        return ""
    forced = f", forced by {one.forced_by}" if one.forced else ""
    said = f"is {one.breaker} since {one.changed_at:%Y-%m-%d %H:%M} UTC{forced}: {one.reason}"
    return f"{_whole(one.model)} {output.plain(said, longest=300)}"


def _models_table(models: list[ModelStanding], *, width: int) -> Table:
    from rich.text import Text

    table = output.table("model", "breaker", "in flight", "calls", "retries", "failures")
    names = [_whole(one.model) for one in models]
    longest, first = max(map(len, names)), table.columns[0]
    first.min_width, first.no_wrap, first.overflow = min(longest, width), longest <= width, "fold"  # others give way
    for name, one in zip(names, models, strict=True):
        state = f"{one.breaker}, forced" if one.forced else one.breaker
        numbers = map(str, (one.in_flight, one.calls, one.retries, one.failures))
        table.add_row(*map(Text, [name, state, *numbers]))
    return table


def _spending_table(money: list[Spending]) -> Table:
    from rich.text import Text

    table = output.table("day (UTC)", "workflow", "tenant", "spent", "reserved")
    for one in money:
        names = (output.plain(one.workflow), output.plain(one.tenant))
        table.add_row(*map(Text, [one.day, *names, output.money(one.spent_usd), output.money(one.reserved_usd)]))
    return table
