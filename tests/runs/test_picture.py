"""The picture of a workflow: everything that was declared is in it, nothing overlaps, and the path taken stands out."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, Literal, TypedDict
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from stanchion.runs.picture import mermaid, svg

Graph = CompiledStateGraph[Any, Any, Any, Any]
SVG = "{http://www.w3.org/2000/svg}"


class State(TypedDict, total=False):
    """A state in which nothing stands."""

    nothing: str


def stay(_: State) -> State:
    return {}


def choose(_: State) -> str:
    return "accept"


def build(nodes: Iterable[str], edges: Iterable[tuple[Any, Any]]) -> Graph:
    """Compile a graph from names, and edges of which one to a mapping of labels is conditional."""
    builder = StateGraph(State)
    for name in nodes:
        builder.add_node(name, stay)
    for source, target in edges:
        if isinstance(target, dict):
            builder.add_conditional_edges(source, choose, target)
        else:
            builder.add_edge(source, target)
    return builder.compile()


RECEIPTS = build(
    ["intake", "rules", "model", "repair", "thorough", "decide", "review", "outcome"],
    [
        (START, "intake"),
        ("intake", {"accept": "rules", "refuse": "outcome"}),
        ("rules", {"accept": "decide", "unsure": "model"}),
        ("model", {"accept": "decide", "repair": "repair", "fall_back": "thorough", "review": "review"}),
        ("repair", {"accept": "decide", "repair": "repair", "fall_back": "thorough", "review": "review"}),
        ("thorough", "decide"),
        ("decide", {"accept": "outcome", "review": "review"}),
        ("review", "outcome"),
        ("outcome", END),
    ],
)
AGENT = build(["agent", "tools"], [(START, "agent"), ("agent", {"call": "tools", "done": END}), ("tools", "agent")])
FAN = build("pabcdefgj", [(START, "p"), *(("p", one) for one in "abcdefg"), (list("abcdefg"), "j")])


def nodes_of(picture: str) -> dict[str, ElementTree.Element]:
    root = ElementTree.fromstring(picture)
    return {group.get("data-node"): group for group in root.iter(f"{SVG}g") if group.get("data-node")}


def edges_of(picture: str) -> dict[tuple[str, str], ElementTree.Element]:
    root = ElementTree.fromstring(picture)
    groups = [group for group in root.iter(f"{SVG}g") if group.get("data-source")]
    edges = {(group.get("data-source"), group.get("data-target")): group for group in groups}
    assert len(edges) == len(groups), "an edge is drawn twice"
    return edges


def marked(groups: dict[Any, ElementTree.Element], name: str) -> set[Any]:
    return {key for key, group in groups.items() if name in group.get("class").split()}


def boxes_of(picture: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of each node's box and each label's paper."""
    root = ElementTree.fromstring(picture)
    rects = [*root.iterfind(f".//{SVG}rect[@class='box']"), *root.iterfind(f"{SVG}g/{SVG}rect[@class='paper']")]
    sides = ([float(rect.get(side)) for side in ("x", "y", "width", "height")] for rect in rects)
    return [(x, y, x + width, y + height) for x, y, width, height in sides]


def overlapping(picture: str) -> list[Any]:
    return [
        (one, other)
        for one, other in itertools.combinations(boxes_of(picture), 2)
        if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    ]


def test_every_node_and_edge_is_in_both_pictures() -> None:
    """Nothing that was declared is left out, and nothing is added."""
    picture, text = svg(RECEIPTS), mermaid(RECEIPTS)
    assert set(nodes_of(picture)) == {START, *RECEIPTS.builder.nodes, END}
    assert len(edges_of(picture)) == len(re.findall(r"^ +n\d+ -.*-> n\d+$|^ +n\d+ -+> n\d+$", text, re.M)) == 18
    assert re.findall(r'n\d+\(?\["(.*)"\]', text) == ["start", *RECEIPTS.builder.nodes, "end"]


def test_decisions_are_dashed_and_labelled_and_plain_edges_are_not() -> None:
    """A conditional edge carries its decision, unless that is the name of the node it leads to."""
    edges = edges_of(svg(RECEIPTS))
    assert marked(edges, "conditional") == set(edges) - {
        (START, "intake"),
        ("thorough", "decide"),
        ("review", "outcome"),
        ("outcome", END),
    }
    assert edges["model", "thorough"].findtext(f"{SVG}title") == "model to thorough: fall_back"
    assert edges["model", "review"].findtext(f"{SVG}title") == "model to review"
    assert 'n3 -. "fall_back" .-> n5' in mermaid(RECEIPTS)
    assert "n3 -.-> n7" in mermaid(RECEIPTS)


def test_two_decisions_that_lead_to_one_node_share_an_edge_and_both_are_named() -> None:
    """LangGraph's own picture would keep one of the two."""
    graph = build(["a", "b"], [(START, "a"), ("a", {"one": "b", "two": "b"})])
    assert '"one, two"' in mermaid(graph)
    assert edges_of(svg(graph))["a", "b"].findtext(f"{SVG}title") == "a to b: one, two"


def test_joins_commands_and_branches_without_a_map_are_drawn() -> None:
    """Edges are found wherever LangGraph lets them be declared, also on nodes that nothing leads to."""

    def jump(_: State) -> Command[Literal["b", "__end__"]]:
        return Command(goto="b")

    builder = StateGraph(State)
    builder.add_node("a", stay)
    builder.add_node("b", stay)
    builder.add_node("c", stay, destinations={"a": "again"})
    builder.add_node("jump", jump)
    builder.add_edge(START, "a")
    builder.add_edge(["a", "b"], "c")
    builder.add_conditional_edges("b", choose)
    assert set(edges_of(svg(builder.compile()))) == {
        (START, "a"),
        ("a", "c"),
        ("b", "c"),
        *(("b", anywhere) for anywhere in ("a", "b", "jump", END)),
        ("c", "a"),
        ("jump", "b"),
        ("jump", END),
    }


def test_a_node_from_which_nothing_leads_ends_the_run() -> None:
    """LangGraph ends there, and the picture says so."""
    assert ("a", END) in edges_of(svg(build(["a"], [(START, "a")])))


def test_names_and_labels_are_escaped() -> None:
    """No name, however written, ends its element or its quotes."""
    name, label = "</text><script>\"'&`#;", 'say "no" --> n0\x00\ud800'
    graph = build([name, "2. b", "_c_"], [(START, name), (name, {label: "2. b"}), ("2. b", "_c_")])

    picture, text = svg(graph, [name, "2. b"], name), mermaid(graph)

    assert name in nodes_of(picture)
    assert ElementTree.fromstring(picture).find(f".//{SVG}script") is None
    assert edges_of(picture)[name, "2. b"].findtext(f"{SVG}title").endswith(': say "no" --> n0\ufffd\ufffd (taken)')
    quoted = re.findall(r'"(.*?)"', text)
    assert len(quoted) == 6
    assert all(re.fullmatch(r"(#\d+;|[\w ,:/+-])*", one) for one in quoted)
    assert "#50;#46; b" in quoted or "2#46; b" in quoted
    assert "#95;c_" in quoted


def test_long_texts_are_cut_but_whole_in_the_title() -> None:
    """A name of a thousand letters does not make a picture of a thousand letters' width."""
    picture = svg(build(["n" * 1000], [(START, "n" * 1000)]))
    node = nodes_of(picture)["n" * 1000]
    assert len(node.findtext(f"{SVG}text")) == 32
    assert node.findtext(f"{SVG}title") == "n" * 1000
    assert float(ElementTree.fromstring(picture).get("width")) < 400


def test_the_path_taken_and_the_current_node_are_marked_by_more_than_colour() -> None:
    """They have classes with thicker lines, a ring, and words in their titles."""
    taken = ["intake", "rules", "model", "repair", "repair", "review"]
    picture = svg(RECEIPTS, taken, current="review")

    assert marked(nodes_of(picture), "taken") == {START, *taken}
    assert marked(nodes_of(picture), "current") == {"review"}
    assert marked(edges_of(picture), "taken") == set(itertools.pairwise([START, *taken]))
    assert re.search(r"\.taken \.line.*stroke-width: 3", picture)
    assert nodes_of(picture)["review"].find(f"{SVG}rect[@class='ring']") is not None
    assert nodes_of(picture)["review"].findtext(f"{SVG}title") == "review (taken) (the run stands here)"


def test_the_path_taken_is_thicker_in_mermaid_too() -> None:
    """Edges are counted in the order in which they are written."""
    text = mermaid(AGENT, ["agent", "tools", "agent", END], current="agent")
    arrows = [line.strip() for line in text.splitlines() if ">" in line]
    thick = re.search(r"linkStyle (\S+) stroke-width", text)[1].split(",")
    assert [arrows[int(index)] for index in thick] == arrows
    assert "class n0,n1,n2,n3 taken" in text
    assert "class n1 current" in text
    assert "taken" not in mermaid(AGENT)


def test_a_fan_out_marks_every_branch_and_every_way_into_the_join() -> None:
    """An edge without a condition is always taken once its node has run."""
    assert marked(edges_of(svg(FAN, "pabcdefgj")), "taken") == set(edges_of(svg(FAN))) - {("j", END)}


def test_a_path_that_the_graph_does_not_have_is_marked_as_far_as_it_goes() -> None:
    """A run of an older version of the workflow can be shown on the newer picture."""
    picture = svg(AGENT, ["agent", "gone"], current="gone")
    assert marked(nodes_of(picture), "taken") == {START, "agent"}
    assert marked(nodes_of(picture), "current") == set()


def test_edges_lead_down_but_for_those_that_close_a_loop() -> None:
    """Each node stands below those that lead to it; a loop runs up along the right side."""

    def top(name: str) -> float:
        return float(nodes[name].find(f"{SVG}rect[@class='box']").get("y"))

    nodes = nodes_of(svg(RECEIPTS))
    assert all(top(source) < top(target) for source, target in edges_of(svg(RECEIPTS)) if source != target)

    nodes = nodes_of(svg(AGENT))
    assert top("agent") < top("tools") < top(END)
    line = edges_of(svg(AGENT))["tools", "agent"].find(f"{SVG}path[@class='line']").get("d")
    rightmost = max(right for _, _, right, _ in boxes_of(svg(AGENT)))
    assert max(float(x) for x in re.findall(r"H(\S+?)(?=[A-Z])", line)) > rightmost


def test_nothing_overlaps_in_the_picture_of_receipts() -> None:
    """Every label is readable: its paper touches no node and no other label."""
    assert overlapping(svg(RECEIPTS)) == []


def test_the_same_graph_gives_the_same_bytes_in_every_process() -> None:
    """LangGraph keeps edges in a set; their order must not show."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from importlib.util import spec_from_file_location, module_from_spec\n"
        f"spec = spec_from_file_location('pictures', {__file__!r}); pictures = module_from_spec(spec)\n"
        "sys.modules['pictures'] = pictures; spec.loader.exec_module(pictures)\n"
        "sys.stdout.write(pictures.svg(pictures.FAN) + pictures.mermaid(pictures.FAN))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, check=True, capture_output=True, text=True
    )
    assert process.stdout == svg(FAN) + mermaid(FAN) == svg(FAN) + mermaid(FAN)


def test_a_graph_of_many_edges_is_still_drawn() -> None:
    """Where straight lines would take minutes to find, places are given without looking for them."""
    builder = StateGraph(State)
    names = [f"node_{number}" for number in range(27)]
    for name in names:
        builder.add_node(name, stay)
        builder.add_conditional_edges(name, choose)
    builder.add_edge(START, names[0])
    picture = svg(builder.compile())
    assert len(edges_of(picture)) == 27 * 28 + 1
    assert overlapping(picture) == []


NAMES = st.lists(
    st.text(min_size=1, max_size=6).filter(lambda name: not re.search(r"[|:]|^__", name)),
    min_size=1,
    max_size=6,
    unique=True,
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = draw(NAMES)
    some = st.sampled_from(names)
    target = st.one_of(
        some, st.dictionaries(st.text(max_size=8), st.one_of(some, st.just(END)), min_size=1, max_size=4)
    )
    edges = draw(st.lists(st.tuples(some, target), max_size=12))
    edges = [(source, target) for source, target in edges if isinstance(target, dict) or source != target]
    by_source = {
        (source, repr(target) if isinstance(target, str) else "branch"): (source, target) for source, target in edges
    }
    return build(names, [(START, names[0]), *by_source.values()])


@settings(max_examples=60)
@given(graphs(), st.data())
def test_any_graph_can_be_drawn(graph: Graph, data: st.DataObject) -> None:
    """Whatever the names, edges and path: both pictures come, well-formed, whole, and nothing overlaps."""
    taken = data.draw(st.lists(st.sampled_from([*graph.builder.nodes, END, "gone"]), max_size=6))
    picture, text = svg(graph, taken, data.draw(st.sampled_from([None, *taken]))), mermaid(graph, taken)
    assert len(nodes_of(picture)) == len(re.findall(r"^    n\d+[(\[]", text, re.M))
    assert len(edges_of(picture)) == len(re.findall(r"^    n\d+ .*-> n\d+$", text, re.M))
    assert overlapping(picture) == []
    (picture + text).encode()
