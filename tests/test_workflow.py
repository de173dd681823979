"""Workflows are found by name or place; what keeps one from loading is said, with where it was looked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stanchion import Workflow, load_workflow
from stanchion.errors import WorkflowError
from stanchion.workflow import known_workflows

ROOT = Path(__file__).parents[1]

GRAPH = """
from typing import TypedDict
from langgraph.graph import END, START, StateGraph

class State(TypedDict, total=False):
    document: dict

builder = StateGraph(State)
builder.add_node("greet", lambda state: {})
builder.add_edge(START, "greet")
builder.add_edge("greet", END)
graph = builder.compile()
"""
DESCRIBED = f"""{GRAPH}
from stanchion import Workflow
workflow = Workflow(graph, name="greeting", version="4")
"""

Project = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    """Forget what a test imported, and from where."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Write files, and a langgraph.json of the graphs given; the folder of both."""

    def make(files: dict[str, str], **graphs: object) -> Path:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        if graphs:
            (tmp_path / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": graphs}))
        return tmp_path

    return make


@pytest.mark.parametrize(
    "place",
    [
        "./greeter.py:workflow",
        "greeter.py:graph",
        "greeter:workflow",
        {"path": "./greeter.py:graph", "description": "LangGraph's longer form"},
    ],
    ids=["workflow of a file", "graph of a file", "module", "longer form"],
)
def test_a_name_of_langgraph_json_is_found(project: Project, place: object) -> None:
    """The file or module that it names is imported; a graph that a Workflow describes is that Workflow."""
    found = load_workflow("hello", folder=project({"greeter.py": DESCRIBED}, hello=place))

    assert (found.name, found.version, found.reference) == ("greeting", "4", "hello")


def test_the_present_folder_is_looked_in_first(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder langgraph.json of the current one counts, and beats an installed workflow of the same name."""
    monkeypatch.chdir(project({"greeter.py": DESCRIBED}, receipts="./greeter.py:graph"))

    assert load_workflow("receipts").version == "4"
    assert known_workflows() == ["receipts"]


def test_an_installed_workflow_is_found_by_its_entry_point(tmp_path: Path) -> None:
    """`receipts` comes with Stanchion, wherever one stands."""
    from stanchion.graphs.receipts import workflow

    found = load_workflow("receipts", folder=tmp_path)

    assert found.graph is workflow.graph
    assert (found.name, found.reference) == ("receipts", "receipts")


def test_module_and_attribute_are_found_in_the_folder(project: Project) -> None:
    """`module:attribute` needs no langgraph.json; a package's module is named with dots."""
    folder = project({"mine/__init__.py": "", "mine/greeter.py": DESCRIBED})

    assert load_workflow("mine.greeter:workflow", folder=folder).name == "greeting"


def test_a_file_in_a_package_is_imported_as_part_of_it(project: Project) -> None:
    """Relative imports work, and the module stands in `sys.modules` once, under its full name."""
    files = {"inner/mine/__init__.py": "", "inner/mine/names.py": "NAME = 'x'", "inner/mine/greeter.py": DESCRIBED}
    files["inner/mine/greeter.py"] += "from .names import NAME\n"
    folder = project(files, hello="./inner/mine/greeter.py:workflow")
    found = load_workflow("hello", folder=folder)

    assert sys.modules["mine.greeter"].__dict__["workflow"].graph is found.graph
    assert load_workflow("hello", folder=folder).graph is found.graph


def test_a_file_imported_under_another_name_is_not_imported_again(project: Project) -> None:
    """A module in a folder without `__init__.py` may be named in two ways; it is still one module."""
    folder = project({"mine/greeter.py": DESCRIBED}, hello="./mine/greeter.py:workflow")
    by_module = load_workflow("mine.greeter:workflow", folder=folder)

    assert load_workflow("hello", folder=folder).graph is by_module.graph


def test_our_own_file_is_not_imported_twice() -> None:
    """Our langgraph.json, and the links at the root, lead to the modules of the package."""
    from stanchion.graphs import receipts

    assert load_workflow("receipts", folder=ROOT).graph is receipts.graph


def test_a_graph_alone_is_a_workflow_by_its_topology(project: Project) -> None:
    """A compiled graph that nobody described is named as it was asked for; its version follows nodes and edges."""
    longer = GRAPH.replace('"greet", END', '"greet", "wave"') + "\n"
    longer = longer.replace(
        "graph = ", 'builder.add_node("wave", lambda s: {})\nbuilder.add_edge("wave", END)\ngraph = '
    )
    folder = project({"short.py": GRAPH, "same.py": GRAPH, "longer.py": longer}, hello="./short.py:graph")
    found = load_workflow("hello", folder=folder)

    assert (found.name, found.output) == ("hello", None)
    assert found.version == load_workflow("same:graph", folder=folder).version
    assert found.version != load_workflow("longer:graph", folder=folder).version
    assert load_workflow("short:graph", folder=folder).name == "graph"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("nobody", "There is no workflow 'nobody'. Known here: broken, lost, odd, receipts."),
        ("lost", "names the file ./lost.py, which does not exist"),
        ("odd", "names 'greeter.py'; a graph is named as FILE:ATTRIBUTE"),
        ("broken", r"The module broken cannot be imported \(RuntimeError: no luck\)"),
        ("leaves:graph", r"The module leaves cannot be imported \(SystemExit: 7\)"),
        ("typo:graph", r"The module typo cannot be imported \(SyntaxError: "),
        ("nowhere:graph", r"The module nowhere cannot be imported \(ModuleNotFoundError: "),
        ("greeter:nothing", "greeter:nothing is nothing; it should be a stanchion Workflow or a compiled LangGraph"),
        ("greeter:builder", "greeter:builder is StateGraph; it should be"),
        (":graph", "cannot be imported"),
        ("", "There is no workflow ''"),
    ],
)
def test_what_cannot_be_loaded_is_said(project: Project, reference: str, why: str) -> None:
    """Each way to fail has its own message, and none is a traceback."""
    files = {
        "greeter.py": DESCRIBED,
        "broken.py": "raise RuntimeError('no luck')",
        "leaves.py": "raise SystemExit(7)",
        "typo.py": "graph = (",
    }
    folder = project(files, lost="./lost.py:graph", odd="greeter.py", broken="./broken.py:graph")

    with pytest.raises(WorkflowError, match=why):
        load_workflow(reference, folder=folder)


def test_a_file_that_another_module_hides_is_not_mistaken_for_it(project: Project) -> None:
    """A file called like a module in use gets an error that says so, not that module."""
    folder = project({"calendar.py": DESCRIBED}, hello="./calendar.py:graph")

    with pytest.raises(WorkflowError, match="another module is called calendar too; rename it"):
        load_workflow("hello", folder=folder)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"graphs": []}',
        '{"graphs": {"a": {"no": "path"}}}',
        '{"graphs": {"a": {"path": null}}}',
        '{"graphs": {"a": 5}}',
        "\xff\xfe",
        "[" * 200_000,
    ],
    ids=["open", "list", "list of graphs", "no path", "null", "number", "not UTF-8", "brackets"],
)
def test_a_damaged_langgraph_json_is_named(tmp_path: Path, text: str) -> None:
    """The message names the file, whatever is wrong with it."""
    (tmp_path / "langgraph.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(WorkflowError, match=r"langgraph\.json cannot be read as LangGraph's configuration"):
        load_workflow("hello", folder=tmp_path)


@pytest.mark.parametrize("file", ["./circle.py", "./nul\0.py", f"./{'x' * 5_000}.py", "./\ud800.py"])
def test_a_path_that_can_be_no_file_is_said(project: Project, file: str) -> None:
    """A link to itself, a NUL, a name too long or beyond any encoding ends in a sentence that names the place."""
    folder = project({}, hello=f"{file}:graph")
    (folder / "circle.py").symlink_to("circle.py")

    with pytest.raises(WorkflowError, match=r"langgraph\.json names .*, which cannot be a file") as caught:
        load_workflow("hello", folder=folder)
    assert len(str(caught.value)) < 1_000


def test_a_file_called_like_a_module_built_into_python_is_said(project: Project) -> None:
    """`sys` comes from no file at all, so it is not this file."""
    folder = project({"sys.py": DESCRIBED}, hello="./sys.py:graph")

    with pytest.raises(WorkflowError, match="another module is called sys too; rename it"):
        load_workflow("hello", folder=folder)


def test_a_workflow_is_not_changed_by_loading(project: Project) -> None:
    """What is loaded is a copy that knows how to be loaded again; the module's own object stays as it was."""
    folder = project({"greeter.py": DESCRIBED})
    found = load_workflow("greeter:workflow", folder=folder)
    own = sys.modules["greeter"].__dict__["workflow"]

    assert isinstance(own, Workflow)
    assert (own.reference, found.reference) == ("", "greeter:workflow")
