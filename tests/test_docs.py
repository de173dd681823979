"""The documentation is true: its code runs, its commands end as it says, and nothing public is missing from it.

How a page is read (README.md and docs/*.md), top to bottom, in a temporary folder, without a network:

- A python block is executed; all blocks of a page share one namespace. A text block right below it is what it prints.
- A python or toml block that begins with `# FILE` is saved under that name instead, for what follows to use.
- Of a bash block, the lines that begin with `stanchion` are run in this process. They exit with 0, or as a comment at
  their end says: `# exit 2`. The words RUN and REVIEW stand for the newest run and the longest waiting review.
- A block below a line `<!-- not run: WHY -->` is left alone.

What stands between `<!-- generated: WHAT -->` and `<!-- end -->` is written by `python -m tests.test_docs`.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
import typer
from typer.models import ArgumentInfo, OptionInfo

import stanchion
from stanchion import Ledger, clock, errors, guards, nodes, testing
from stanchion.cli import app, main
from stanchion.graphs.demo import DATASET
from stanchion.settings import Settings
from stanchion.store import Database
from stanchion.store.migrations import CONTENT

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
COMMAND_LINE = ROOT / "docs" / "command-line.md"
EXAMPLE_ROW = "furniture-prose-twice"
VARYING = {"ms", "p50_ms", "p95_ms"}  # how long it took is another number each time

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"(<!-- generated: ([\w -]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- Running a page ---


class Block(NamedTuple):
    """A fenced block: its language, its text, its line in the page, and the output that stands below it."""

    language: str
    text: str
    line: int
    output: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    for fence, following in zip_longest(fences, fences[1:]):
        above = text[: fence.start()].rstrip("\n").rpartition("\n")[2]
        if above.startswith("<!-- not run:"):
            continue
        below = following is not None and following[1] == "text" and not text[fence.end() : following.start()].strip()
        output = following[2] if following is not None and below else None
        yield Block(fence[1], fence[2], text.count("\n", 0, fence.start()) + 1, output)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_example_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python prints what the page says, and each `stanchion` line ends with the exit code that the page says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    names: dict[str, Any] = {"__name__": "page"}
    try:
        for block in blocks(page):
            if saved := re.match(r"# ([\w.]+\.(?:py|toml))\n", block.text):
                Path(saved[1]).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                run_python(block, names, page)
            elif block.language == "bash":
                run_commands(block, page)
    finally:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]  # another page may have a module of this name


def run_python(block: Block, names: dict[str, Any], page: Path) -> None:
    padded = "\n" * block.line + block.text  # a traceback names the page's line
    code = compile(padded, _name(page), "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, names)
    if block.output is not None:
        assert printed.getvalue() == block.output, f"{_name(page)}:{block.line} prints something else"


def run_commands(block: Block, page: Path) -> None:
    for command in block.text.splitlines():
        if not command.startswith("stanchion"):
            continue
        documented = re.search(r"# exit (\d+)", command)
        code, said = run_command([meant(word, command) for word in shlex.split(command, comments=True)])
        assert code == int(documented[1] if documented else 0), f"{_name(page)}: {command}\n{said}"


def run_command(words: list[str]) -> tuple[Any, str]:
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.setattr(sys, "argv", words)
        try:
            main()
        except SystemExit as ended:
            return ended.code or 0, said.getvalue()
    return 0, said.getvalue()


def meant(word: str, command: str) -> str:
    """Put an id in the place of RUN and REVIEW."""
    if word not in {"RUN", "REVIEW"}:
        return word
    database = Database(named[1] if (named := re.search(r"--db (\S+)", command)) else Settings().db)
    try:
        ledger = Ledger(database)
        return ledger.runs(limit=1)[0].id if word == "RUN" else ledger.reviews()[0].id
    finally:
        database.close()


# --- The generated parts ---


def commands() -> dict[str, Any]:
    """Every command by its whole name, such as `run`, or `prompts list` where it belongs to a group."""
    group: Any = typer.main.get_command(app)
    whole: dict[str, Any] = {}
    for name, command in group.commands.items():
        members = getattr(command, "commands", None)
        whole |= {name: command} if members is None else {f"{name} {one}": member for one, member in members.items()}
    return whole


def help_of(command: Any) -> str:
    """What a command says of itself, as a paragraph and a table."""
    rows = ["| argument or option | meaning | default |", "|---|---|---|"]
    for parameter in command.params:
        rows.append(f"| {_spelled(parameter)} | {_meaning(command, parameter)} | {_default(parameter)} |")
    return "\n".join([command.help.strip(), "", *rows])


def _meaning(command: Any, parameter: Any) -> str:
    """Its help, from where it is declared: some pairs of typer and click lose that of arguments on the way."""
    declared = get_type_hints(inspect.unwrap(command.callback), include_extras=True)[parameter.name]
    helps = [info.help for info in get_args(declared) if isinstance(info, ArgumentInfo | OptionInfo)]
    return " ".join(str(helps[0]).split()).replace("|", "\\|")


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.split()[0].upper()}"
    return f"`{', '.join(parameter.opts)}{value}`"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    return "" if parameter.default in (None, False, "") or callable(parameter.default) else f"`{parameter.default}`"


def evaluated(folder: Path) -> dict[str, Any]:
    """One example row and the summary of `stanchion eval` over the demo's data."""
    rows, options = folder / "rows.jsonl", ["--model", "recorded:demo", "--json"]
    words = ["stanchion", "eval", "stanchion.graphs.receipts:workflow", str(DATASET), "--out", str(rows), *options]
    code, said = run_command(words)
    assert code == 0, said
    row = next(line for line in map(json.loads, rows.read_text().splitlines()) if line["id"] == EXAMPLE_ROW)
    return {"eval row": _rounded(row), "eval summary": _rounded(json.loads(said))}


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list():
            return [_rounded(item) for item in value]
    return value


def _without_times(value: Any) -> Any:
    match value:
        case dict():
            return {key: None if key in VARYING else _without_times(item) for key, item in value.items()}
        case list():
            return [_without_times(item) for item in value]
    return value


def _generated() -> dict[str, str]:
    return {part[2]: part[3].strip() for part in GENERATED.finditer(COMMAND_LINE.read_text(encoding="utf-8"))}


DRIFTED = "docs/command-line.md is out of date: run `python -m tests.test_docs` and look at the difference"


@pytest.mark.parametrize("name", commands())
def test_every_command_is_described_as_it_is(name: str) -> None:
    """The page has each command's own help: every argument and option, with its meaning and default."""
    assert _generated().get(f"help {name}") == help_of(commands()[name]), DRIFTED


def test_no_command_is_described_that_is_not_there() -> None:
    """A command that was removed or renamed is gone from the page too."""
    described = {what.removeprefix("help ") for what in _generated() if what.startswith("help ")}
    assert described == set(commands())


def test_the_examples_of_eval_are_real(tmp_path: Path) -> None:
    """The row of `--out` and the summary of `--json` on the page are what the demo's data gives, times aside."""
    for what, real in evaluated(tmp_path).items():
        shown = json.loads(_generated()[what].removeprefix("```json\n").removesuffix("```"))
        assert _without_times(shown) == _without_times(real), DRIFTED


# --- Completeness ---


def public_names() -> list[str]:
    ours = {name for name, thing in vars(errors).items() if isinstance(thing, type)}
    times = {name for name in vars(clock) if getattr(getattr(clock, name), "__module__", "") == clock.__name__}
    times = {name for name in times if not name.startswith("_")} | {"Ids"}
    return sorted({*stanchion.__all__, *nodes.__all__, *guards.__all__, *testing.__all__, *ours, *times})


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_described(name: str) -> None:
    """Whatever a user may import stands somewhere in docs/, written as code: `name`, or `name(` with its arguments."""
    a_common_word = name in stanchion.__all__ and name.islower()  # `run`, `answer`: only with the package's name
    home = r"stanchion\." if a_common_word else r"(?:stanchion\.(?:\w+\.)*)?"
    described = re.compile(rf"`{home}{name}[`(]")
    assert any(described.search(FENCE.sub("", page.read_text(encoding="utf-8"))) for page in DOCS)


@pytest.mark.parametrize("table", CONTENT)
def test_the_columns_with_content_are_named(table: str) -> None:
    """The page on runs names, per table, exactly the columns that hold content, and all the others."""
    row = re.search(rf"^\| `{table}` \|(.*)\|(.*)\|(.*)\|$", (ROOT / "docs" / "runs.md").read_text(), re.MULTILINE)
    assert row is not None
    content, others = (re.findall(r"`(\w+)`", cell) for cell in row.groups()[1:])

    assert set(content) == set(CONTENT[table])
    assert {*content, *others} == columns(table)


def columns(table: str) -> set[str]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "new.db")
        try:
            return {row["name"] for row in database.read("SELECT name FROM pragma_table_info(?)", [table])}
        finally:
            database.close()


@pytest.mark.parametrize("page", LINKED, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link inside the repository names a file that is there and, where it has one, a heading of it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in (first or second for first, second in LINK.findall(text)):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{_name(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{_name(page)} links to {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_map_names_every_page() -> None:
    """docs/index.md leads to every other page."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCS if page.name != "index.md" and f"({page.name})" not in index] == []


# --- Writing ---


def write() -> None:
    """Write the generated parts of docs/command-line.md again."""
    with tempfile.TemporaryDirectory() as folder:
        examples = {name: f"```json\n{_folded(value)}\n```" for name, value in evaluated(Path(folder)).items()}
    parts = {f"help {name}": help_of(command) for name, command in commands().items()} | examples
    page = COMMAND_LINE.read_text(encoding="utf-8")
    written = GENERATED.sub(lambda part: f"{part[1]}{parts[part[2]]}\n{part[4]}", page)
    COMMAND_LINE.write_text(written, encoding="utf-8")


def _folded(value: Any, indent: str = "") -> str:
    """JSON with one line for each innermost object, and for each list of plain values."""
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(isinstance(item, dict | list) and item for item in items):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    keys = [f"{json.dumps(key)}: " for key in value] if isinstance(value, dict) else [""] * len(items)
    lines = [f"{inner}{key}{_folded(item, inner)}" for key, item in zip(keys, items, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n" + ",\n".join(lines) + f"\n{indent}{closing}"


if __name__ == "__main__":
    write()
