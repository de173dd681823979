"""Which policy is in force, and where each of its values comes from.

Layers, each laid over the one before it, key by key: our defaults, the workflow's own policy, and what the operator
wrote into `stanchion.toml` of the current folder, first under `[all]`, then under `[workflow.NAME]`. Only keys that
were set count as set. A layer that sets a limit below a narrower one of an earlier layer cuts that one to it: who
lowers the cap of a day need not know every cap inside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from stanchion.errors import UsageError
from stanchion.guards.limits._problems import dotted
from stanchion.guards.limits.policy import Policy
from stanchion.operators_file import OPERATORS_FILE, read_toml

DEFAULT, WORKFLOWS_OWN = "default", "the workflow"
KeyPath = tuple[str, ...]


class InForce(NamedTuple):
    """A policy with the history of its values.

    Args:
        policy: what holds.
        origins: dotted key, such as `money.run`, to where its value comes from: `default`, `the workflow`,
            `stanchion.toml [all]`; followed by the wider limit that it was cut to, if it was.
    """

    policy: Policy
    origins: dict[str, str]


class _Setting(NamedTuple):
    """A value that some layer set: as it counts, as it is written, and where it comes from."""

    value: Any
    written: Any
    origin: str


def policy_in_force(
    own: Policy, name: str, folder: Path | None = None, *, nodes: Collection[str] | None = None
) -> InForce:
    """Return the policy under which a workflow's runs stand here.

    Args:
        own: the workflow's own policy.
        name: the workflow's name.
        folder: where `stanchion.toml` is looked for; the current folder by default.
        nodes: names of the graph's nodes, so that a budget for a step that does not exist is refused; None: not looked
            at. `[all]` may name the steps of any workflow.

    Raises:
        UsageError: the file cannot be read or used, a value contradicts another, or a step does not exist; the message
            names the place and the key.
    """
    settings = _settings(own, WORKFLOWS_OWN)
    policy = own
    for place, layer in _operators_layers(folder or Path.cwd(), name):
        settings = _laid_over(settings, _settings(layer, place))
        policy = Policy.of_table(_nested(settings), f"{place}, laid over what was set before it,")
    origins = {dotted(path): _origin(path, value, settings) for path, value, _ in _leaves(policy)}
    if nodes is not None:
        _refuse_unknown_steps(policy, origins, nodes)
    return InForce(policy, origins)


def values_in_force(policy: Policy) -> dict[str, Any]:
    """Return each value of a policy under its dotted key, as a policy file writes it; None is no limit.

    Args:
        policy: any.
    """
    return {dotted(path): written for path, _, written in _leaves(policy)}


def workflows_named(folder: Path | None = None) -> list[str]:
    """Return the workflows that `stanchion.toml` has a table for, whether they exist or not.

    Args:
        folder: where it is looked for; the current folder by default.

    Raises:
        UsageError: the file cannot be read or used.
    """
    return sorted(_operators_tables((folder or Path.cwd()) / OPERATORS_FILE)[1])


def _operators_layers(folder: Path, name: str) -> Iterator[tuple[str, Policy]]:
    """What the operator set for all workflows, then for this one, each with the place where it stands."""
    for_all, for_one = _operators_tables(folder / OPERATORS_FILE)
    if for_all is not None:
        yield f"{OPERATORS_FILE} [all]", for_all
    if name in for_one:
        yield _place(name), for_one[name]


def _operators_tables(path: Path) -> tuple[Policy | None, dict[str, Policy]]:
    """The whole file is checked, also what stands there for other workflows: a mistake waits for nobody's start."""
    if not path.exists() and not path.is_symlink():  # a link that leads nowhere is a mistake, not an absence
        return None, {}
    tables = read_toml(path)
    workflows = tables.get("workflow", {})
    unknown = [*(tables.keys() - {"all", "workflow", "people"}), *([] if isinstance(workflows, dict) else ["workflow"])]
    if unknown:
        wrong = dotted(sorted(unknown)[:1])
        raise UsageError(f"{path} takes the tables [all], [workflow.NAME] and [people]; not {wrong}.")
    for_all = Policy.of_table(tables["all"], f"{OPERATORS_FILE} [all]") if "all" in tables else None
    return for_all, {name: Policy.of_table(table, _place(name)) for name, table in workflows.items()}


def _place(name: str) -> str:
    return f"{OPERATORS_FILE} [{dotted(('workflow', name))}]"


def _settings(layer: Policy, origin: str) -> dict[KeyPath, _Setting]:
    return {path: _Setting(value, written, origin) for path, value, written in _leaves(layer, only_set=True)}


def _leaves(policy: Policy, *, only_set: bool = False) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Each key of a policy with its value as it counts and as it is written."""
    yield from _below(policy, policy.model_dump(exclude_unset=only_set), ())


def _below(value: Any, written: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any, Any]]:
    if isinstance(value, BaseModel | dict) and written:
        for name, inner in written.items():
            yield from _below(value[name] if isinstance(value, dict) else getattr(value, name), inner, (*path, name))
    elif path:  # what is empty is a leaf too: a model with no limits of its own is not one that `*` speaks of
        yield path, value, written


def _laid_over(below: Mapping[KeyPath, _Setting], above: Mapping[KeyPath, _Setting]) -> dict[KeyPath, _Setting]:
    kept = {path: _cut(path, setting, above) for path, setting in below.items()}
    return kept | dict(above)


def _cut(path: KeyPath, setting: _Setting, above: Mapping[KeyPath, _Setting]) -> _Setting:
    """A value of an earlier layer, no more than the wider limits that a later layer set."""
    wider = [wide for wide in _wider(path) if wide in above and above[wide].value < setting.value]
    if not wider:
        return setting
    lowest = min(wider, key=lambda wide: above[wide].value)
    return _Setting(above[lowest].value, above[lowest].written, f"{setting.origin}, cut to {dotted(lowest)}")


def _wider(path: KeyPath) -> list[KeyPath]:
    """The limits inside which a limit counts, the nearest first."""
    section, name = path[0], path[1] if len(path) > 1 else ""
    if path[:2] == ("time", "steps"):
        return [("time", "run")]
    part = Policy.model_fields[section].annotation
    return [(section, wide) for narrow, wide in getattr(part, "inside", ()) if narrow == name]


def _nested(settings: Mapping[KeyPath, _Setting]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for (*above, name), setting in settings.items():
        table = tables
        for part in above:
            table = table.setdefault(part, {})
        if setting.written == {}:
            table.setdefault(name, {})
        else:
            table[name] = setting.written
    return tables


def _origin(path: KeyPath, value: Any, settings: Mapping[KeyPath, _Setting]) -> str:
    if path in settings:
        return settings[path].origin
    if len(path) == 2 and value != getattr(getattr(Policy(), path[0]), path[1]):
        return f"{DEFAULT}, cut to {dotted(_wider(path)[0])}"
    return DEFAULT


def _refuse_unknown_steps(policy: Policy, origins: Mapping[str, str], nodes: Collection[str]) -> None:
    for node in policy.time.steps:
        key = dotted(("time", "steps", node))
        if node not in nodes and not origins[key].startswith(f"{OPERATORS_FILE} [all]"):
            known = ", ".join(sorted(nodes))
            raise UsageError(f"{key} ({origins[key]}) names no step of the workflow; its steps are {known}.")
