"""What a stranger relies on: the public names, types, a quick import, and a repository that is about no machine."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import stanchion
from stanchion import load_workflow

ROOT = Path(__file__).parents[1]
HOMES = stanchion._HOMES
MACHINES = re.compile(
    r"/(home|Users|root|work|mnt|opt)/\w"  # somebody's folders
    r"|\b[A-Z]:\\\w"
    r"|p[y]pi\.|python[h]osted|[-]index-url"  # package hosts; the brackets keep this file from naming them
)


def test_the_public_names_are_sorted_and_complete() -> None:
    """`__all__` is the list of names that are loaded when first used, in order."""
    assert stanchion.__all__ == sorted(HOMES)


@pytest.mark.parametrize("name", stanchion.__all__)
def test_a_public_name_loads_and_explains_itself(name: str) -> None:
    """Each name is what its module calls so, and has a docstring of its own; one is a module."""
    found = getattr(stanchion, name)

    assert found.__name__.removeprefix("stanchion.") == name
    assert getattr(found, "__module__", found.__name__).startswith("stanchion.")
    assert found.__doc__
    assert inspect.cleandoc(found.__doc__)


def test_type_checkers_see_the_same_names() -> None:
    """What is imported for type checkers is what is loaded, from the same modules."""
    tree = ast.parse(Path(str(stanchion.__file__)).read_text(encoding="utf-8"))
    (checking,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }

    assert seen == HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typo gets Python's usual error."""
    with pytest.raises(AttributeError, match="has no attribute 'Runer'"):
        _ = stanchion.Runer


def test_importing_the_package_imports_nothing_else() -> None:
    """`import stanchion` in a fresh process loads the standard library and Stanchion's own first file, no more."""
    program = "import sys; before = set(sys.modules); import stanchion; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, env={"PYTHONPATH": "."}
    )
    others = {name for name in done.stdout.split() if name.split(".")[0] not in sys.stdlib_module_names}

    assert others == {"stanchion"}


def test_the_package_says_that_it_is_typed() -> None:
    """`py.typed` stands beside the code and is shipped (PEP 561)."""
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["stanchion"]

    assert (ROOT / "stanchion" / "py.typed").is_file()
    assert "py.typed" in shipped


def test_the_version_is_told_once() -> None:
    """The package and its metadata agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == stanchion.__version__


def test_served_graphs_bring_no_checkpointer() -> None:
    """LangGraph's servers refuse graphs that have one; our runner puts its own in."""
    names = json.loads((ROOT / "langgraph.json").read_text())["graphs"]

    assert "receipts" in names
    for name in names:
        assert load_workflow(name, folder=ROOT).graph.checkpointer is None


@pytest.mark.parametrize("name", ["graphs", "nodes", "guards", "ui"])
def test_the_links_at_the_root_lead_into_the_package(name: str) -> None:
    """Who looks for the graphs, nodes, guards or console at the root finds the package's own folder."""
    link = ROOT / name

    assert link.is_symlink()
    assert link.readlink() == Path("stanchion", name)
    assert (link / "__init__.py").is_file()


def test_no_file_is_about_a_machine() -> None:
    """No file names somebody's folder or a package host: the repository works wherever it is put."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout, so nothing says which files belong to the repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    files = [ROOT / name for name in listed if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()]
    named = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in files
        if (found := MACHINES.search(path.read_text(encoding="utf-8", errors="replace")))
    ]

    assert len(files) > 50
    assert named == []
