"""A workflow: a compiled LangGraph graph with a name and a version."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from stanchion.errors import WorkflowError
from stanchion.guards.limits.policy import Policy
from stanchion.models.prompts import Prompt

ENTRY_POINTS = "stanchion.workflows"
Graph = CompiledStateGraph[Any, Any, Any, Any]
Compare = Callable[[Any, Any], bool | None]
"""Says whether an output's value (JSON form) matches the truth's; None where the truth itself cannot be read."""


@dataclass(frozen=True)
class Workflow:
    """A compiled graph with what the runner, the reviewer and the evaluation need to know of it.

    Args:
        graph: compiled without a checkpointer, so that `langgraph dev` and other servers load it too.
        name: its name in tables and on the command line.
        version: set by its author; changes whenever its decisions may.
        output: the pydantic type (or `Annotated[type, guards]`) that a reviewer's edit must fit; None: anything.
        prompts: the prompts it uses; runs record their versions.
        compare: per output field, how `eval` compares it with the truth.
        critical: the fields whose error in an accepted run is a silent error.
        group: the truth's field whose rows belong together when thresholds are chosen out of fold.
        policy: the limits on its runs and calls; what it does not set stays at its default.
        examples: inputs to try it on, for drills and demos: what `stanchion run` takes.
        reference: what loads it again; filled in by `load_workflow`.
    """

    graph: Graph
    name: str
    version: str
    output: Any = None
    prompts: Sequence[Prompt] = ()
    compare: Mapping[str, Compare] = field(default_factory=dict)
    critical: Sequence[str] = ()
    group: str | None = None
    policy: Policy = Policy()  # noqa: RUF009 - frozen
    examples: Path | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be run.

        Raises:
            WorkflowError: the graph is not compiled, or another argument is of a kind that cannot be used.
        """
        if not isinstance(self.graph, CompiledStateGraph):
            kind = type(self.graph).__name__
            raise WorkflowError(f"The workflow {self.name} takes a compiled graph, builder.compile(); not a {kind}.")
        if isinstance(self.critical, str):
            raise WorkflowError(f"The workflow {self.name} takes a list of critical fields; not {self.critical!r}.")
        if not isinstance(self.policy, Policy):
            kind = type(self.policy).__name__
            raise WorkflowError(f"The workflow {self.name} takes a Policy, such as Policy.read(FILE); not a {kind}.")


def load_workflow(reference: str, *, folder: Path | None = None) -> Workflow:
    """Find a workflow by name or place.

    A name is looked up in `langgraph.json` of the folder, then among the installed `stanchion.workflows` entry points.
    `module:attribute` is imported, with the folder on the path. Code of the folder runs: load only what you trust.

    Args:
        reference: a name, or `module:attribute`.
        folder: where `langgraph.json` is looked for; the current folder by default.

    Raises:
        WorkflowError: there is no such workflow, or it cannot be imported; the message says where it was looked for.
    """
    folder = (folder or Path.cwd()).resolve()
    names = _langgraph_json(folder)
    if reference in names:
        module, attribute = _module_at(names[reference], folder)
        return _as_workflow(module, attribute, reference)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == reference:
            return _as_workflow(_import(point.module, folder), point.attr, reference)
    if ":" in reference:
        name, attribute = reference.split(":", 1)
        return _as_workflow(_import(name, folder), attribute, reference)
    known = sorted({*names, *(point.name for point in entry_points(group=ENTRY_POINTS))})
    raise WorkflowError(
        f"There is no workflow {reference!r}. Known here: {', '.join(known) or 'none'}. Add it to langgraph.json in "
        f"{folder}, or name it as module:attribute."
    )


def known_workflows(*, folder: Path | None = None) -> list[str]:
    """Return the names of all workflows that can be loaded by name.

    Args:
        folder: where `langgraph.json` is looked for; the current folder by default.
    """
    names = _langgraph_json((folder or Path.cwd()).resolve())
    return sorted({*names, *(point.name for point in entry_points(group=ENTRY_POINTS))})


def _langgraph_json(folder: Path) -> dict[str, str]:
    path = folder / "langgraph.json"
    if not path.is_file():
        return {}
    try:
        graphs = json.loads(path.read_text(encoding="utf-8"))["graphs"]
        return {name: _place(name, entry) for name, entry in graphs.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise WorkflowError(f"{path} cannot be read as LangGraph's configuration ({why}).") from error


def _place(name: str, entry: Any) -> str:
    """Where an entry of langgraph.json says that its graph is."""
    place = entry["path"] if isinstance(entry, dict) else entry
    if not isinstance(place, str):
        raise TypeError(f"the graph {name!r} takes FILE:ATTRIBUTE; not a {type(place).__name__}")
    return place


def _module_at(place: str, folder: Path) -> tuple[ModuleType, str]:
    file, colon, attribute = place.rpartition(":")
    if not colon:
        raise WorkflowError(f"{folder}/langgraph.json names {place!r}; a graph is named as FILE:ATTRIBUTE.")
    if not file.endswith(".py"):
        return _import(file, folder), attribute
    path = _existing(file, folder)
    for module in list(sys.modules.values()):  # a module imported already must not be there twice
        if _is_of(module, path):
            return module, attribute
    root = path.parent
    while (root / "__init__.py").exists():  # the folder above the outermost package is where its name starts
        root = root.parent
    module = _import(".".join(path.relative_to(root).with_suffix("").parts), root)
    if not _is_of(module, path):
        raise WorkflowError(f"{path} cannot be imported: another module is called {module.__name__} too; rename it.")
    return module, attribute


def _existing(file: str, folder: Path) -> Path:
    """The whole path of a file that langgraph.json names."""
    try:
        path = (folder / file).resolve()
        exists = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, links in a circle, a NUL
        why = f"{type(error).__name__}; is it too long, or a link to itself?"
        raise WorkflowError(f"{folder}/langgraph.json names {file[:100]!r}, which cannot be a file ({why}).") from error
    if not exists:
        raise WorkflowError(f"{folder}/langgraph.json names the file {file}, which does not exist.")
    return path


def _is_of(module: ModuleType, path: Path) -> bool:
    """Whether a module was imported from this file; those built into Python come from none."""
    file = getattr(module, "__file__", None)
    return bool(file) and Path(str(file)).resolve() == path


def _import(name: str, folder: Path) -> ModuleType:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a user's module raises while it is imported
        raise WorkflowError(f"The module {name} cannot be imported ({type(error).__name__}: {error}).") from error


def _as_workflow(module: ModuleType, attribute: str, reference: str) -> Workflow:
    found = getattr(module, attribute, None)
    if isinstance(found, CompiledStateGraph):
        described = [item for item in vars(module).values() if isinstance(item, Workflow) and item.graph is found]
        found = described[0] if described else Workflow(found, name=found.get_name(), version=topology_hash(found))
    if not isinstance(found, Workflow):
        what = "nothing" if found is None else type(found).__name__
        raise WorkflowError(
            f"{module.__name__}:{attribute} is {what}; it should be a stanchion Workflow or a compiled LangGraph graph."
        )
    name = found.name if found.name != "LangGraph" else reference.rpartition(":")[2]
    return Workflow(**{**vars(found), "name": name, "reference": reference})


def topology_hash(graph: Graph) -> str:
    """Return a short hash of a graph's nodes and edges, the version of a workflow that states none.

    Args:
        graph: any compiled graph.
    """
    drawn = graph.get_graph()
    edges = sorted((edge.source, edge.target, str(edge.data), edge.conditional) for edge in drawn.edges)
    return "graph-" + hashlib.sha256(json.dumps([sorted(drawn.nodes), edges]).encode()).hexdigest()[:8]
