"""Chat models whose SDK sends a request once: retries are the door's, which knows the deadline and the budget.

What is changed is found by what it carries (`max_retries`, `with_options`) and not by importing SDKs: those of openai,
anthropic and others are made by one generator and look alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from stanchion.errors import UsageError

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel


class Quiet(NamedTuple):
    """A chat model that does not retry by itself.

    Args:
        chat: the model given, where it has no retries; otherwise a copy with the same HTTP clients, keys and settings.
        problem: one sentence for a person where retries are left that cannot be turned off here; otherwise empty.
    """

    chat: BaseChatModel
    problem: str


def without_retries(chat: BaseChatModel) -> Quiet:
    """Return a chat model that sends each request once; the one given stays as it is.

    Args:
        chat: a bare chat model, as its class makes it.

    Raises:
        UsageError: it is wrapped by `with_retry`, `with_fallbacks`, `bind` or the like, or is no chat model at all.
    """
    from langchain_core.language_models.chat_models import BaseChatModel

    if not isinstance(chat, BaseChatModel):
        raise UsageError(_refusal(chat))
    clients = _Clients()
    changed: dict[str, Any] = {}
    problems: list[str] = []
    for name, value in _state(chat):
        try:
            quiet = clients.quiet(name, value)
        except _CannotBeTurnedOff as unknown:
            problems.append(str(unknown))
        else:
            if quiet is not value:
                changed[name] = quiet
    problem = f"{type(chat).__name__} may send a request more than once by itself: {problems[0]}." if problems else ""
    return Quiet(_copy(chat, changed) if changed else chat, problem)


class _CannotBeTurnedOff(Exception):
    """There are retries that only whoever made the model can turn off; the message says how."""


class _Clients:
    """Quiet versions of the things that a chat model holds; what is shared among them stays shared."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def quiet(self, name: str, value: Any) -> Any:
        """Return the value itself where it does not retry, and else one that does not.

        Args:
            name: the attribute that holds it.
            value: a setting, a client, or anything else.

        Raises:
            _CannotBeTurnedOff: it retries, and nothing here knows how to make it stop.
        """
        if name == "max_retries":
            return value if value == 0 and not isinstance(value, bool) else 0
        if "retries" in name.lower() or "retry" in name.lower():
            return _unknown_setting(name, value)
        if isinstance(value, dict):
            return {**value, "max_retries": 0} if value.get("max_retries", 0) != 0 else value
        return self._quiet_object(name, value)

    def _quiet_object(self, name: str, value: Any) -> Any:
        from langchain_core.language_models.chat_models import BaseChatModel

        if isinstance(value, BaseChatModel):
            inner = without_retries(value)
            if inner.problem:
                raise _CannotBeTurnedOff(f"within its {name}, {inner.problem.removesuffix('.')}")
            return inner.chat
        if _wrapping(value) == "with_retry()":
            raise _CannotBeTurnedOff(f"make its {name} without with_retry()")
        if _retries(value):
            return self._quiet_client(name, value)
        if _retries(owner := _attribute(value, "_client")):  # a part of a client, such as `client.chat.completions`
            return type(value)(self._quiet_client(name, owner))
        if _botocore_attempts(value) > 1:
            raise _CannotBeTurnedOff(f"make its {name} with botocore's Config(retries={{'total_max_attempts': 1}})")
        return value

    def _quiet_client(self, name: str, client: Any) -> Any:
        if id(client) not in self._made:
            try:
                quiet = client.with_options(max_retries=0)
            except Exception as error:  # it has no such method, or its class was made by somebody else
                raise _CannotBeTurnedOff(f"make its {name} with max_retries=0") from error
            if _retries(quiet):
                raise _CannotBeTurnedOff(f"make its {name} with max_retries=0")
            self._made[id(client)] = quiet
        return self._made[id(client)]


def _state(chat: BaseChatModel) -> Iterator[tuple[str, Any]]:
    """Yield all that a model holds: fields, cached properties (such as anthropic's clients), extras, private things."""
    for values in (chat.__dict__, chat.__pydantic_extra__, chat.__pydantic_private__):
        yield from list((values or {}).items())


def _copy(chat: BaseChatModel, changed: dict[str, Any]) -> BaseChatModel:
    """Return a copy with some things changed; no validator runs, which would make clients anew."""
    copy = chat.model_copy()
    for values in (copy.__dict__, copy.__pydantic_extra__, copy.__pydantic_private__):
        if values:
            values.update({name: changed[name] for name in changed.keys() & values.keys()})
    return copy


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name, None)
    except Exception:  # clients make some of their attributes when asked, and fail without a key
        return None


def _retries(client: Any) -> bool:
    """Say whether an object calls itself a client that retries."""
    count = _attribute(client, "max_retries")
    return isinstance(count, int | float) and count > 0


def _unknown_setting(name: str, value: Any) -> Any:
    if not value:  # 0, None, False, {}
        return value
    raise _CannotBeTurnedOff(f"set its {name} so that it does not retry (0, where it is a number)")


def _botocore_attempts(client: Any) -> int:
    """Return how often a client of AWS sends a request; legacy mode, its default, does up to five times.

    Source: https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html.
    """
    config = _attribute(_attribute(client, "meta"), "config")
    if config is None or not hasattr(config, "retries"):
        return 1
    retries = config.retries if isinstance(config.retries, dict) else {}
    if isinstance(total := retries.get("total_max_attempts"), int):
        return total
    again = retries.get("max_attempts")
    return again + 1 if isinstance(again, int) else 5


def _wrapping(value: Any) -> str:
    """Return how a runnable was wrapped, as its maker wrote it; empty where it is none of LangChain's wrappers."""
    names = {kind.__name__ for kind in type(value).__mro__}
    if "RunnableRetry" in names:
        return "with_retry()"
    if "RunnableWithFallbacks" in names:
        return "with_fallbacks()"
    if "RunnableBindingBase" in names:
        return "bind(), bind_tools() or with_config()"
    return ""


def _refusal(given: Any) -> str:
    how = _wrapping(given)
    if not how:
        return f"A model is given by its usual string or as a bare LangChain chat model, not as {type(given).__name__}."
    ours = {
        "with_retry()": "retries are made by Stanchion, as its policy says",
        "with_fallbacks()": "fallbacks are Stanchion's, as the node declares them",
    }
    why = ours.get(how, "its settings belong into the model's own arguments")
    return f"Give the bare chat model, without {how}: {why}."
