"""The policy of a workflow: every limit on its runs and calls, declared once, typed, with its unit.

What is wrong in a policy is said when it is made, naming the key with its whole path, never at the hundredth run. In
a part each narrower limit stays below the wider one around it: two limits that somebody set and that contradict each
other are refused; a default gives way to a wider limit that was set below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from stanchion.errors import UsageError
from stanchion.guards.limits import _problems
from stanchion.guards.limits.quantities import (
    Duration,
    PerMinute,
    Share,
    ShareOrNothing,
    Usd,
    count,
    written_dollars,
    written_duration,
)

Limit = TypeVar("Limit", timedelta, Decimal)


CAPS = ("call", "step", "run", "tenant", "workflow", "day")
"""The keys of `Money` that are caps."""

LONGEST_WINDOW = timedelta(hours=1)


def _at_most(default: timedelta, wider: str) -> Any:
    """A default that gives way to the wider limit where that is set below it."""
    return Field(default_factory=lambda values: min(default, values[wider]))


class _Part(BaseModel):
    """What all parts of a policy share: frozen, no unknown keys, and errors of ours that name the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: ClassVar[str] = ""
    """Where the part stands in a policy."""

    inside: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Pairs of keys: the first is a limit inside the second, and cannot be above it."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UsageError(f"The policy cannot be used: {_problems.in_words(error, type(self))}") from None

    # pydantic calls this __init__ for parts given as tables too, unless told that it adds nothing to its own; then the
    # errors of a part would leave before the policy knows the path to it.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _window_as_long_as_is_counted(self) -> Self:
        window = getattr(self, "window", LONGEST_WINDOW)
        if window > LONGEST_WINDOW:
            message = (
                f"{self.at}.window is at most 1h: what happened is forgotten then; not {written_duration(window)}."
            )
            raise PydanticCustomError("contradiction", "{message}", {"message": message})
        return self

    @model_validator(mode="after")
    def _narrow_inside_wide(self) -> Self:
        for narrow, wide in self.inside:
            _no_more(f"{self.at}.{narrow}", getattr(self, narrow), f"{self.at}.{wide}", getattr(self, wide))
        return self


def _no_more(narrow: str, value: Limit | None, wide: str, limit: Limit | None) -> None:
    if value is None or limit is None or value <= limit:
        return
    written: Any = written_duration if isinstance(value, timedelta) else written_dollars
    message = (
        f"{narrow} ({written(value)}) is more than {wide} ({written(limit)}), inside which it counts, so it would "
        f"never be reached: lower the first or raise the second."
    )
    raise PydanticCustomError("contradiction", "{message}", {"message": message})


class Time(_Part):
    """How long things may take; time spent waiting for people does not count.

    Args:
        run: from its start to its end, all steps together.
        step: one execution of one node; default 2m, or `run` where that is shorter.
        attempt: one request to a model, from connecting to the last byte; default 60s, or `step` where that is shorter.
        steps: node name to the budget of this step, instead of `step`.
    """

    at = "time"
    inside = (("step", "run"), ("attempt", "step"), ("attempt", "run"))

    run: Duration = timedelta(minutes=10)
    step: Duration = _at_most(timedelta(minutes=2), "run")
    attempt: Duration = _at_most(timedelta(minutes=1), "step")
    steps: dict[str, Duration] = {}

    @model_validator(mode="after")
    def _each_step_inside_the_run(self) -> Self:
        for node, budget in self.steps.items():
            _no_more(f"time.{_problems.dotted(('steps', node))}", budget, "time.run", self.run)
        return self


class Money(_Part):
    """What calls may cost, in US dollars; None is no cap. A call that could cost more than what is left is not made.

    Args:
        call: one call with all its attempts.
        step: one execution of one node.
        run: one run.
        workflow: all runs of this workflow on one UTC day.
        day: all runs on the database on one UTC day.
        tenant: all runs of one tenant on one UTC day.
        soft: the share of any cap from which on money is saved.
        at_soft: how: `cheaper` asks the cheapest model of the step's chain, if one is cheaper; `fall_back` asks none.
        unpriced: what is done with a model whose price nobody knows: `count_tokens` asks it and counts its tokens only,
            `refuse` refuses it before the run starts.
        max_output_tokens: the longest answer of one call, in tokens; None: what the model itself is set to or able to.
    """

    at = "money"
    inside = (
        ("call", "step"),
        ("call", "run"),
        ("step", "run"),
        *((narrow, wide) for wide in ("workflow", "tenant", "day") for narrow in ("call", "step", "run")),
        ("workflow", "day"),
        ("tenant", "day"),
    )

    call: Usd | None = None
    step: Usd | None = None
    run: Usd | None = None
    workflow: Usd | None = None
    day: Usd | None = None
    tenant: Usd | None = None
    soft: Share = 0.8
    at_soft: Literal["cheaper", "fall_back"] = "cheaper"
    unpriced: Literal["count_tokens", "refuse"] = "count_tokens"
    max_output_tokens: Annotated[int, count(1, 10_000_000)] | None = None

    @property
    def is_capped(self) -> bool:
        """Whether there is any cap."""
        return any(getattr(self, name) is not None for name in CAPS)


class Retry(_Part):
    """When a request that failed is sent again: exponential backoff with full jitter, out of a shared budget.

    Args:
        attempts: requests of one logical call, the first included.
        longest: the longest wait between two attempts.
        first: the longest wait before the second attempt; it doubles with each further one. Default 0.5s, or `longest`
            where that is shorter.
        share: how many retries the calls of `window` to a model, all runs and processes together, may add.
        window: over which `share` is counted.
        floor: retries of a window that are allowed however few calls there are.
    """

    at = "retry"
    inside = (("first", "longest"),)

    attempts: Annotated[int, count(1, 10)] = 3
    longest: Duration = timedelta(seconds=20)
    first: Duration = _at_most(timedelta(seconds=0.5), "longest")
    share: ShareOrNothing = 0.1
    window: Duration = timedelta(seconds=60)
    floor: Annotated[int, count(0)] = 5


class Breaker(_Part):
    """When a model counts as down, so that steps fall back at once.

    Args:
        window: over which calls are counted.
        failures: the share of failed calls at which it opens.
        slow_call: from how long on a call counts as slow.
        slow: the share of slow calls at which it opens.
        least_calls: fewer calls in a window say nothing.
        open_for: how long no call is made before the first probe; default 30s, or `window` where that is shorter.
        probes: how many calls may be under way at once to see whether the model is back.
    """

    at = "breaker"
    inside = (("open_for", "window"),)

    window: Duration = timedelta(seconds=60)
    failures: Share = 0.5
    slow_call: Duration = timedelta(seconds=30)
    slow: Share = 0.8
    least_calls: Annotated[int, count(1)] = 10
    open_for: Duration = _at_most(timedelta(seconds=30), "window")
    probes: Annotated[int, count(1, 1_000)] = 2


class Rate(_Part):
    """How much a model is asked, all runs and processes on the database together; None is no limit.

    Args:
        requests: requests a minute.
        tokens: tokens a minute, read and written.
        in_flight: requests under way at once.
    """

    at = "rates.MODEL"

    requests: PerMinute | None = None
    tokens: PerMinute | None = None
    in_flight: Annotated[int, count(1, 1_000_000)] | None = None


class Loops(_Part):
    """How often things may happen in one run before it counts as a loop, and ends with that reason.

    Args:
        steps: supersteps of LangGraph; nodes that run side by side, as in a fan-out, are one.
        visits: supersteps in which the same node begins, counted anew when the run goes on later.
        model_calls: calls to models, each with all its attempts.
        same_call: calls with the same content.
        reasks: times that guards ask a model again.
    """

    at = "loops"

    steps: Annotated[int, count(1)] = 50
    visits: Annotated[int, count(1)] = 25
    model_calls: Annotated[int, count(1)] = 25
    same_call: Annotated[int, count(1)] = 3
    reasks: Annotated[int, count(0)] = 5


class Policy(_Part):
    """All limits of a workflow's runs, each part given as the type named here or as a dict of its keys.

    Args:
        time: how long things may take.
        money: what calls may cost.
        retry: when a failed request is sent again.
        breaker: when a model counts as down.
        rates: model name such as `openai:gpt-4o-mini` to how much it is asked; `*` stands for each model not named.
        loops: how often things may happen.

    Raises:
        UsageError: a value cannot be used, a key is unknown, or two limits contradict each other; the message names
            the key with its whole path and shows what it takes.
    """

    time: Time = Time()
    money: Money = Money()
    retry: Retry = Retry()
    breaker: Breaker = Breaker()
    rates: dict[str, Rate] = {}
    loops: Loops = Loops()

    @classmethod
    def read(cls, path: Path | str) -> Policy:
        """Read a policy from a TOML file with the keys of `Policy`.

        Args:
            path: the file, such as `receipts.policy.toml`.

        Raises:
            UsageError: it cannot be read or used; the message names the file and the key.
        """
        from stanchion.operators_file import read_toml

        return cls.of_table(read_toml(Path(path)), str(path))

    @classmethod
    def of_table(cls, table: Mapping[str, Any], place: str) -> Policy:
        """Return the policy that a table of TOML or JSON stands for.

        Args:
            table: keys of `Policy` to their values.
            place: where it stands, for the message: `stanchion.toml [all]`.

        Raises:
            UsageError: it cannot be used; the message names the place and the key.
        """
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise UsageError(f"{place} cannot be used: {_problems.in_words(error, cls)}") from None

    def rate(self, model: str) -> Rate:
        """Return how much a model may be asked.

        Args:
            model: its usual string, such as `openai:gpt-4o-mini`.
        """
        return self.rates.get(model) or self.rates.get("*") or Rate()

    def step_time(self, node: str) -> timedelta:
        """Return the budget of one execution of a node.

        Args:
            node: its name in the graph.
        """
        return self.time.steps.get(node, self.time.step)
