"""A policy: typed, with units, checked when it is made; layers with origins; every mistake named by its key."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from stanchion.errors import UsageError, WorkflowError
from stanchion.guards.limits.policy import Breaker, Loops, Money, Policy, Rate, Retry, Time
from stanchion.guards.limits.policy_files import (
    InForce,
    policy_in_force,
    values_in_force,
    workflows_named,
)
from stanchion.operators_file import MOST_BYTES, read_toml
from stanchion.workflow import Workflow
from tests.cli.letters import workflow as letters


def refusal(**keys: Any) -> str:
    """What is said of a policy that cannot be used."""
    with pytest.raises(UsageError) as refused:
        Policy(**keys)
    return str(refused.value)


def in_force(folder: Path, file: str, own: Policy | None = None, nodes: set[str] | None = None) -> InForce:
    """The policy in force for `receipts`, in a folder with this `stanchion.toml`."""
    (folder / "stanchion.toml").write_text(file, encoding="utf-8")
    return policy_in_force(own or Policy(), "receipts", folder, nodes=nodes)


def file_refusal(folder: Path, file: str, own: Policy | None = None, nodes: set[str] | None = None) -> str:
    """What is said of a `stanchion.toml` that cannot be used."""
    with pytest.raises(UsageError) as refused:
        in_force(folder, file, own, nodes)
    return str(refused.value)


# --- One policy ---


def test_parts_are_given_typed_or_as_tables() -> None:
    """Both ways of writing the same limits in Python are the same policy."""
    typed = Policy(
        time=Time(run=timedelta(minutes=5)), money=Money(run=Decimal("0.50")), rates={"*": Rate(in_flight=4)}
    )
    tables = Policy(time={"run": "5m"}, money={"run": "$0.50"}, rates={"*": {"in_flight": 4}})

    assert typed == tables


def test_a_policy_cannot_be_changed() -> None:
    """What a run started with stays."""
    with pytest.raises(Exception, match="frozen"):
        Policy().money.run = Decimal(1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"time": {"run": "-1s"}},
            "time.run takes a duration with its unit (ms, s, m, h), such as \"90s\"; not '-1s'.",
        ),
        ({"time": {"steps": {"model": 5}}}, "time.steps.model takes a duration"),
        ({"time": {"steps": {"a b": "5"}}}, 'time.steps."a b" takes a duration'),
        ({"money": {"run": 1}}, 'money.run takes US dollars, such as "$0.50"; not 1.'),
        ({"money": {"run": 0.5}}, 'money.run takes US dollars, such as "$0.50"; not 0.5.'),
        ({"money": {"soft": 0.8}}, 'money.soft takes a share of a whole in percent, such as "10%"; not 0.8.'),
        ({"money": {"at_soft": "stop"}}, "money.at_soft takes one of 'cheaper' or 'fall_back'; not 'stop'."),
        ({"money": {"max_output_tokens": 0}}, "money.max_output_tokens takes a whole number from 1 to"),
        ({"retry": {"attempts": 11}}, "retry.attempts takes a whole number from 1 to 10, such as 3; not 11."),
        ({"retry": {"attempts": 3.0}}, "retry.attempts takes a whole number"),
        ({"retry": {"floor": -1}}, "retry.floor takes a whole number from 0"),
        ({"breaker": {"probes": 0}}, "breaker.probes takes a whole number from 1"),
        ({"breaker": {"failures": "0%"}}, "breaker.failures takes a share above 0%"),
        ({"loops": {"steps": True}}, "loops.steps takes a whole number from 1 to 1000000000, such as 3; not true."),
        ({"rates": {"openai:x": {"requests": 500}}}, 'rates."openai:x".requests takes a rate with its unit'),
        ({"rates": {"openai:x": 5}}, 'rates."openai:x" takes a table of keys'),
        ({"rates": []}, "rates takes a table of keys, such as [rates]; not a list."),
        ({"time": "10m"}, "time takes a table of keys, such as [time]; not '10m'."),
        ({"tme": {}}, "tme is no key of a policy; did you mean time?"),
        ({"money": {"rnu": "$1"}}, "money.rnu is no key of a policy; did you mean money.run?"),
        ({"money": {"zebra": 1}}, "money.zebra is no key of a policy; there are call, step, run, workflow"),
        ({"rates": {"a:b": {"request": 1}}}, 'rates."a:b".request is no key of a policy; did you mean rates."a:b".req'),
    ],
)
def test_a_mistake_is_named_by_its_whole_key(keys: dict[str, Any], said: str) -> None:
    """The message names the key as it would stand in a file, and says what it takes."""
    assert f"The policy cannot be used: {said}" in refusal(**keys)


def test_a_part_made_by_itself_names_its_key_too() -> None:
    """`Time(run=...)` speaks of `time.run`, as in a policy."""
    with pytest.raises(UsageError, match=r"time\.run takes a duration"):
        Time(run=600)
    with pytest.raises(UsageError, match=r"rates\.MODEL\.in_flight takes a whole number"):
        Rate(in_flight=0)


def test_several_mistakes_are_said_together() -> None:
    """The first three, and how many more; a default that depends on a mistake is none."""
    said = refusal(time={"run": 1, "step": 2, "attempt": 3}, loops={"steps": 0})

    assert [key in said for key in ("time.run ", "time.step ", "time.attempt ", "loops")] == [True, True, True, False]
    assert said.endswith("And 1 more.")
    assert refusal(time={"run": 1}).count("takes") == 1


@pytest.mark.parametrize(
    ("part", "narrow", "wide"),
    [
        (part, narrow, wide)
        for part, kind in {"time": Time, "money": Money, "retry": Retry, "breaker": Breaker}.items()
        for narrow, wide in kind.inside
    ],
)
def test_a_narrow_limit_above_the_wide_one_around_it_is_refused(part: str, narrow: str, wide: str) -> None:
    """It would never be reached, so somebody is mistaken; both keys are named. Equal limits are fine."""
    less, more = ("$1", "$2") if part == "money" else ("2s", "3s")
    said = refusal(**{part: {narrow: more, wide: less}})

    assert f"{part}.{narrow} (" in said
    assert "lower the first or raise the second" in said
    assert Policy(**{part: {narrow: less, wide: less}})


def test_a_step_of_its_own_budget_stays_inside_the_run() -> None:
    """Budgets of single steps are checked as the common one is."""
    assert 'time.steps."long one" (11m) is more than time.run (10m)' in refusal(time={"steps": {"long one": "11m"}})


def test_a_default_gives_way_to_a_wider_limit_that_was_set_below_it() -> None:
    """Who shortens the run need not shorten each default inside it."""
    time = Time(run="30s")
    assert time.step == time.attempt == timedelta(seconds=30)
    assert Time(step="10s").attempt == timedelta(seconds=10)
    assert Retry(longest="100ms").first == timedelta(milliseconds=100)
    assert Breaker(window="10s").open_for == timedelta(seconds=10)


def test_a_wider_limit_than_a_default_around_it_is_refused() -> None:
    """A default is never raised in silence: the run of ten minutes is named."""
    assert "time.step (20m) is more than time.run (10m)" in refusal(time={"step": "20m"})


def test_a_model_is_asked_at_its_own_rate_or_the_rate_of_all_others() -> None:
    """`*` speaks of each model that is not named, also not of one that is named without a limit."""
    policy = Policy(rates={"openai:a": {"requests": "5/min"}, "ollama:b": {}, "*": {"in_flight": 2}})

    assert policy.rate("openai:a") == Rate(requests="5/min")
    assert policy.rate("ollama:b") == Rate()
    assert policy.rate("openai:c") == Rate(in_flight=2)
    assert Policy().rate("openai:c") == Rate()


def test_a_step_has_its_own_budget_or_the_common_one() -> None:
    """By the node's name."""
    time = Policy(time={"step": "1m", "steps": {"model": "90s"}})
    assert (time.step_time("model"), time.step_time("rules")) == (timedelta(seconds=90), timedelta(minutes=1))


def test_a_policy_that_was_stored_is_the_same_again() -> None:
    """A run keeps its policy as JSON in the words of a policy file."""
    policy = Policy(time={"run": "5m"}, money={"run": "$0.50"}, rates={"a:b": {"requests": "10/s"}, "c:d": {}})
    stored = policy.model_dump_json()

    assert Policy.of_table(json.loads(stored), "the run") == policy
    assert json.loads(stored)["money"]["run"] == "$0.50"


def _written(part: type[BaseModel]) -> dict[str, Any]:
    return part().model_dump()


NARROW = {"step", "attempt", "steps", "first", "open_for"}  # these stand inside others, tested above


@given(st.data())
def test_any_limits_are_kept_as_written(data: st.DataObject) -> None:
    """Whatever is set in the parts without nesting, the rest stays at its default, and no key is lost on the way."""
    loops = data.draw(st.dictionaries(st.sampled_from([*_written(Loops)]), st.integers(1, 1000)))
    cap = data.draw(st.none() | st.decimals(Decimal("0.01"), Decimal(100), places=2))
    rates = data.draw(st.dictionaries(st.text(), st.fixed_dictionaries({"in_flight": st.integers(1, 9)}), max_size=3))
    policy = Policy(loops=loops, money={"run": cap}, rates=rates)

    assert policy.loops.model_dump() == {**_written(Loops), **loops}
    assert policy.money.run == cap
    assert {name: rate.in_flight for name, rate in policy.rates.items()} == {
        name: rate["in_flight"] for name, rate in rates.items()
    }
    assert Policy(**policy.model_dump()) == policy


def test_the_page_on_policies_has_every_key_with_its_default() -> None:
    """docs/policy.md lists exactly the keys that there are, each with the default that it has."""
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+|rates\.MODEL\.\w+)` \| (?:`(.*?)`|none) \|", page, re.MULTILINE)
    real = values_in_force(Policy(rates={"MODEL": {}})) | {f"rates.MODEL.{key}": None for key in Rate.model_fields}

    assert dict(rows) == {key: str(value or "") for key, value in real.items()} | {"rates": ""}


def test_a_workflow_takes_a_policy_and_nothing_else() -> None:
    """A file's name or a table in its place is refused at once, with what it takes."""
    graph = letters.graph

    assert Workflow(graph, "w", "1").policy == Policy()
    with pytest.raises(WorkflowError, match=r"takes a Policy, such as Policy\.read\(FILE\); not a str"):
        Workflow(graph, "w", "1", policy="w.policy.toml")  # type: ignore[arg-type]


# --- Files and layers ---


def test_a_policy_is_read_from_a_file(tmp_path: Path) -> None:
    """A workflow may keep its policy beside its code; a mistake names file and key."""
    path = tmp_path / "receipts.policy.toml"
    path.write_text('[money]\nrun = "$0.50"\n[rates."openai:gpt-4o-mini"]\ntokens = "200_000/min"\n')
    assert Policy.read(path) == Policy(money={"run": "$0.50"}, rates={"openai:gpt-4o-mini": {"tokens": "200_000/min"}})

    path.write_text("[money]\nrun = 0.5\n")
    with pytest.raises(UsageError, match=r"receipts\.policy\.toml cannot be used: money\.run takes US dollars"):
        Policy.read(path)
    with pytest.raises(UsageError, match=r"There is no file .*other\.toml"):
        Policy.read(tmp_path / "other.toml")


def test_without_a_file_the_workflows_own_policy_holds(tmp_path: Path) -> None:
    """What it set comes from it; the rest are defaults; each value has an origin."""
    policy, origins = policy_in_force(Policy(money={"run": "$0.50"}), "receipts", tmp_path)

    assert policy == Policy(money={"run": "$0.50"})
    assert (origins["money.run"], origins["money.day"], origins["rates"]) == ("the workflow", "default", "default")
    assert origins.keys() == values_in_force(policy).keys()


def test_each_layer_overrides_the_one_before_key_by_key(tmp_path: Path) -> None:
    """Default, workflow, operator for all, operator for this one; tables of others do not count."""
    own = Policy(money={"run": "$0.50", "day": "$9"}, time={"run": "5m", "step": "1m"}, rates={"*": {"in_flight": 9}})
    file = """
    [all.time]
    run = "4m"
    [all.money]
    day = "$8"
    [all.rates."*"]
    requests = "10/s"
    [workflow.receipts.money]
    day = "$7"
    [workflow.other.money]
    day = "$6"
    """
    policy, origins = in_force(tmp_path, file, own)

    assert policy.money == Money(run="$0.50", day="$7")
    assert policy.time == Time(run="4m", step="1m")
    assert policy.rates == {"*": Rate(requests="600/min", in_flight=9)}
    assert origins["money.run"] == origins["time.step"] == origins['rates."*".in_flight'] == "the workflow"
    assert origins["time.run"] == origins['rates."*".requests'] == "stanchion.toml [all]"
    assert origins["money.day"] == "stanchion.toml [workflow.receipts]"
    assert origins["time.attempt"] == "default"
    assert workflows_named(tmp_path) == ["other", "receipts"]


def test_a_default_that_is_set_counts_as_set(tmp_path: Path) -> None:
    """The same value as the default's, written by somebody, comes from them."""
    assert in_force(tmp_path, '[all.time]\nrun = "10m"').origins["time.run"] == "stanchion.toml [all]"


def test_an_operator_who_lowers_a_wide_limit_cuts_the_narrow_ones_of_the_workflow(tmp_path: Path) -> None:
    """Runs go on under the lower cap, and the origin says what happened; a narrower limit is left alone."""
    own = Policy(time={"run": "9m", "step": "5m", "attempt": "4m", "steps": {"model": "3m"}}, money={"run": "$2"})
    policy, origins = in_force(tmp_path, '[all]\nmoney.day = "$0.5"\ntime.run = "2m"', own)

    assert policy.money == Money(run="$0.50", day="$0.50")
    assert policy.time == Time(run="2m", step="2m", attempt="2m", steps={"model": "2m"})
    assert origins["money.run"] == "the workflow, cut to money.day"
    assert origins["time.steps.model"] == origins["time.attempt"] == "the workflow, cut to time.run"


def test_a_default_that_gave_way_says_so(tmp_path: Path) -> None:
    """A value that nobody wrote is explained."""
    origins = in_force(tmp_path, '[all.time]\nrun = "30s"').origins
    assert (origins["time.step"], origins["time.attempt"]) == (
        "default, cut to time.run",
        "default, cut to time.step",
    )


def test_a_layer_that_contradicts_what_lies_below_is_named(tmp_path: Path) -> None:
    """A narrow limit raised over the workflow's wide one is a mistake, and says whose."""
    said = file_refusal(tmp_path, '[all.money]\nrun = "$5"', Policy(money={"day": "$2"}))
    assert said.startswith("stanchion.toml [all], laid over what was set before it, cannot be used: money.run ($5.00)")


def test_a_model_without_limits_of_its_own_keeps_out_of_the_others(tmp_path: Path) -> None:
    """An empty table for a model survives the layers."""
    policy = in_force(tmp_path, '[all.rates."*"]\nin_flight = 2\n[workflow.receipts.rates."ollama:x"]').policy
    assert policy.rate("ollama:x") == Rate()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("[al.money]", "takes the tables [all], [workflow.NAME] and [people]; not al."),
        ("workflow = 5", "takes the tables [all], [workflow.NAME] and [people]; not workflow."),
        ("all = 5", "stanchion.toml [all] cannot be used: A policy takes a table of keys, such as [money]; not 5."),
        ("[workflow]\nreceipts = 1", "stanchion.toml [workflow.receipts] cannot be used: A policy takes a table"),
        ("[all.money]\nrun = 1", "stanchion.toml [all] cannot be used: money.run takes US dollars"),
        ("[all.money]\nrun = nan", 'money.run takes US dollars, such as "$0.50"; not nan.'),
        ("[all.time]\nrun = 10:00:00", "time.run takes a duration"),
        ('[workflow."a b".time]\nrun = 1', 'stanchion.toml [workflow."a b"] cannot be used: time.run takes a duration'),
        ('[workflow.other.money]\nrnu = "$1"', "stanchion.toml [workflow.other] cannot be used: money.rnu is no key"),
        ("[all.money\n", "cannot be read as TOML (TOMLDecodeError"),
        ("[all.loops]\nsteps = " + "9" * 5000, "cannot be read as TOML"),
        (
            "[all.loops]\nsteps = " + "9" * 500,
            "loops.steps takes a whole number from 1 to 1000000000, such as 3; not a",
        ),
        ("x = " + "[" * 100_000, "cannot be read as TOML (RecursionError"),
        ("x = " + "{a=" * 60_000, "cannot be read as TOML (RecursionError"),
        ("a." * 100_000 + "a = 1", "is too large"),
        ("#" * (MOST_BYTES + 1), "is too large"),
        ("[all.money]\nrun = '\x00'", "cannot be read as TOML"),
        ('[all.money]\n"\\u202e\\n' + "k" * 10_000 + '" = 1', "is no key of a policy"),
    ],
    ids=lambda value: "".join(filter(str.isalnum, value[:20])),
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, file: str, said: str) -> None:
    """Also where the mistake stands in another workflow's table; in one short line, whatever was written."""
    message = file_refusal(tmp_path, file)

    assert said in message
    assert "stanchion.toml" in message
    assert len(message) < 500
    assert message.isprintable()


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """Bytes that are no text, a folder, a link to nowhere: limits that somebody wrote are never lost in silence."""
    file = tmp_path / "stanchion.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"stanchion\.toml cannot be read as TOML"):
        policy_in_force(Policy(), "receipts", tmp_path)
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"There is no file .*stanchion\.toml"):
        policy_in_force(Policy(), "receipts", tmp_path)
    with pytest.raises(UsageError, match="There is no file"):
        read_toml(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    """Some editors write one."""
    assert in_force(tmp_path, '\ufeff[all.money]\nday = "$1"').policy.money.day == 1


def test_a_budget_for_a_step_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A mistyped node would have no budget; but `[all]` may speak of steps that other workflows have."""
    nodes = {"rules", "model"}
    for_one = '[workflow.receipts.time.steps]\nmodle = "5s"'

    assert "time.steps.modle (stanchion.toml [workflow.receipts]) names no step" in file_refusal(
        tmp_path, for_one, nodes=nodes
    )
    assert in_force(tmp_path, '[all.time.steps]\nmodle = "5s"', nodes=nodes)
    with pytest.raises(UsageError, match=r"time\.steps\.modle \(the workflow\) names no step.*model, rules"):
        policy_in_force(Policy(time={"steps": {"modle": "5s"}}), "x", tmp_path / "empty", nodes=nodes)
