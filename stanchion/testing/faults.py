"""What can be wrong with a provider, when it is, and plans of both: for drills, over a model or over the server.

`FaultyModel` lays a plan over any LangChain chat model in process, `OpenAIServer(..., faults=plan)` over real HTTP.
Faults of the surroundings (the clock, the database, the process itself) do not belong to a model, and are not here.
"""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stanchion.clock import Clock, SystemClock
from stanchion.errors import UsageError
from stanchion.testing.replies import Reply, error_body, error_replies
from stanchion.testing.wrong_values import wrong_text

Asked = Mapping[str, Any]
"""What the answer had to follow: `response_format` and `tools`, as in the body of an OpenAI request."""


@dataclass(frozen=True)
class Fault:
    """One way in which a provider fails: something comes instead of the answer, or the answer is spoilt.

    Args:
        name: in lower-case letters and underscores.
        meaning: what happens, in words, for a table.
        instead: what comes without the model being asked.
        spoil: makes of the model's reply, and of what was asked, the reply that comes.
    """

    name: str
    meaning: str
    instead: Reply | None = None
    spoil: Callable[[Reply, Asked], Reply] = field(default=lambda reply, _: reply, compare=False, repr=False)


def rate_limited(retry_after: float | None = None) -> Fault:
    """Make a fault: the provider takes no more requests for now (429).

    Args:
        retry_after: seconds after which it wants to be asked again; None if it does not say.
    """
    busy = _ERRORS["rate_limited"]
    if retry_after is None:
        return Fault("rate_limited", "429, without a word on when to come back", busy)
    headers = {"retry-after": str(math.ceil(retry_after)), "retry-after-ms": str(math.ceil(retry_after * 1000))}
    meaning = f"429, to be asked again after {retry_after:g} s"
    return Fault("rate_limited_retry_after", meaning, replace(busy, headers=headers))


def slow_first_token(seconds: float) -> Fault:
    """Make a fault: the right answer, late.

    Args:
        seconds: how long nothing comes at all.
    """
    return Fault(
        "slow_first_token",
        f"nothing comes for {seconds:g} s, then the whole answer",
        spoil=lambda reply, _: replace(reply, delay=reply.delay + seconds),
    )


def _truncated(reply: Reply, _: Asked) -> Reply:
    return _rewritten(reply, lambda text, _name: _half(text), finish_reason="length")


def _malformed(reply: Reply, _: Asked) -> Reply:
    return _rewritten(reply, lambda text, _name: text.replace('"', "'").replace(":", " =") + "}")


def _wrong_but_valid(reply: Reply, asked: Asked) -> Reply:
    return _rewritten(reply, lambda text, tool: wrong_text(text, _schema(asked, tool)))


def _filtered(reply: Reply, _: Asked) -> Reply:
    return replace(reply, text=_half(reply.text), tool_calls=None, finish_reason="content_filter")


def _rewritten(reply: Reply, rewrite: Callable[[str, str | None], str], **changes: Any) -> Reply:
    """Rewrite the text, and the arguments of each tool that is called by its name."""
    calls = [{**call, "args": rewrite(_arguments(call), call["name"])} for call in reply.tool_calls or ()]
    text = rewrite(reply.text, None) if reply.text else ""
    return replace(reply, text=text, tool_calls=calls or None, **changes)


def _arguments(call: Mapping[str, Any]) -> str:
    return call["args"] if isinstance(call["args"], str) else json.dumps(call["args"])


def _half(text: str) -> str:
    return text[: len(text) // 2]


def _schema(asked: Asked, tool: str | None) -> Mapping[str, Any] | None:
    """Find the schema of the answer, or of a tool's arguments, among what was asked."""
    try:
        if tool is None:
            found = asked["response_format"]["json_schema"]["schema"]
        else:
            functions = (one["function"] for one in asked["tools"])
            found = next(one["parameters"] for one in functions if one["name"] == tool)
    except (KeyError, TypeError, StopIteration):  # asked in another provider's way, or for nothing
        return None
    return found if isinstance(found, Mapping) else None


_ERRORS = error_replies()
_OVERLOADED = error_body("The engine is currently overloaded, please try again later.", kind="server_error")
_FAILED = error_body(
    "The server had an error while processing your request. Sorry about that! You can retry your request.",
    kind="server_error",
)
_PAGE = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    "<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
_BAD_REQUEST = error_body("Unsupported value: 'temperature' does not support 0.0 with this model.", param="temperature")

FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        rate_limited(),
        rate_limited(retry_after=2),
        Fault("overloaded", "503, the engine is overloaded", Reply(status=503, body=_OVERLOADED)),
        Fault("server_error", "500, as JSON", Reply(status=500, body=_FAILED)),
        Fault(
            "html_error_page",
            "502, a page of HTML from what stands before the provider",
            Reply(status=502, body=_PAGE, headers={"content-type": "text/html"}),
        ),
        slow_first_token(seconds=10),
        Fault(
            "stalled_stream",
            "half of the answer, then silence on an open connection",
            spoil=lambda reply, _: replace(reply, stall=True),
        ),
        Fault(
            "broken_stream",
            "half of the answer, then the end of the connection",
            spoil=lambda reply, _: replace(reply, cut=True),
        ),
        Fault("hang", "silence on an open connection", Reply(delay=math.inf)),
        Fault("connection_reset", "the connection is reset instead of an answer", Reply(reset=True)),
        Fault("truncated", "half of the answer, cut off at the limit of tokens", spoil=_truncated),
        Fault("malformed", "an answer that is no JSON", spoil=_malformed),
        Fault("wrong_but_valid", "an answer that follows its schema, with wrong values", spoil=_wrong_but_valid),
        Fault(
            "empty",
            "an answer without a word",
            spoil=lambda reply, _: replace(reply, text="", tool_calls=None),
        ),
        Fault("auth_lost", "401, the key is not taken any more", _ERRORS["invalid_key"]),
        Fault("bad_request", "400, an argument is not taken", Reply(status=400, body=_BAD_REQUEST)),
        Fault("context_too_long", "400, the document is too long for the model", _ERRORS["context_length"]),
        Fault("content_filter", "half of the answer, stopped by the provider's filter", spoil=_filtered),
    )
}
"""Every fault of a provider by its name, in the order in which a drill lists them."""


@dataclass(frozen=True)
class Schedule:
    """When a fault strikes; made by `constant`, `burst` or `outage`.

    Args:
        every: of so many requests,
        length: so many are struck, the first ones.
        begin: seconds after the first request from which on they are,
        end: and until which, not included.

    Raises:
        UsageError: a number that makes no sense.
    """

    every: int = 1
    length: int = 1
    begin: float = 0.0
    end: float = math.inf

    def __post_init__(self) -> None:
        if not 1 <= self.length <= self.every:
            raise UsageError(f"A burst needs 1 <= length <= every, not length={self.length}, every={self.every}.")
        if not 0 <= self.begin < self.end:
            raise UsageError(f"An outage needs 0 <= from_ < to in seconds, not from_={self.begin}, to={self.end}.")

    def strikes(self, number: int, seconds: float) -> bool:
        """Say whether a request is struck.

        Args:
            number: which request it is, from 1.
            seconds: since the first request.
        """
        return (number - 1) % self.every < self.length and self.begin <= seconds < self.end


def constant() -> Schedule:
    """Strike every request."""
    return Schedule()


def burst(*, every: int, length: int) -> Schedule:
    """Strike the first few of every so many requests.

    Args:
        every: of so many requests,
        length: so many are struck, the first ones.

    Raises:
        UsageError: unless 1 <= length <= every.
    """
    return Schedule(every=every, length=length)


def outage(*, from_: float, to: float) -> Schedule:
    """Strike every request for a while.

    Args:
        from_: seconds after the first request.
        to: likewise; not included.

    Raises:
        UsageError: unless 0 <= from_ < to.
    """
    return Schedule(begin=from_, end=to)


@dataclass(frozen=True)
class FaultPlan:
    """What goes wrong, and when.

    Args:
        name: for a table.
        fault: what goes wrong.
        schedule: when; always, if not given.
    """

    name: str
    fault: Fault
    schedule: Schedule = field(default_factory=constant)


class PlanAtWork:
    """Follows a plan from request to request, whichever thread they come on, and counts.

    Args:
        plan: what goes wrong and when; None for nothing.
        clock: for outages.
    """

    def __init__(self, plan: FaultPlan | None, clock: Clock | None = None) -> None:
        self._plan = plan
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._first: float | None = None
        self._requests = 0
        self._struck: Counter[str] = Counter()

    @property
    def requests(self) -> int:
        """How many requests came so far."""
        return self._requests

    @property
    def struck(self) -> dict[str, int]:
        """How many of them were struck, by the name of the fault."""
        with self._lock:
            return dict(self._struck)

    def next(self) -> Fault | None:
        """Count a request, and return the fault that strikes it, if one does."""
        with self._lock:
            now = self._clock.monotonic()
            self._first = now if self._first is None else self._first
            self._requests += 1
            if self._plan is None or not self._plan.schedule.strikes(self._requests, now - self._first):
                return None
            self._struck[self._plan.fault.name] += 1
            return self._plan.fault
