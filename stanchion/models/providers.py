"""From a model's usual string to a LangChain chat model, with the SDK's own retries off."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from stanchion.errors import MissingExtra, StanchionError, UsageError
from stanchion.models.identity import once_for_each

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable

EXTRAS = {"openai", "anthropic", "ollama"}  # as pyproject.toml names them
KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}  # the variables that their SDKs read
HTTP_TIMEOUT_SECONDS = 60.0


class Model(NamedTuple):
    """A chat model under the name that it is recorded and priced by.

    Args:
        name: the model's usual string, such as `openai:gpt-4o-mini`.
        chat: the LangChain chat model, or None for `none`.
        is_ours: we made it from its string, so its connections belong to the models' loop (see `loop`).
        problem: why it cannot be asked, where that only matters once somebody asks.
    """

    name: str
    chat: BaseChatModel | None
    is_ours: bool = False
    problem: str = ""

    @property
    def provider(self) -> str | None:
        """The part before the colon, if there is one and it names a provider."""
        provider, colon, _ = self.name.partition(":")
        return provider if colon and provider != "recorded" else None

    @property
    def is_recorded(self) -> bool:
        """Whether its answers come from a dataset: they cost nothing, whatever the model's would."""
        return self.name.startswith("recorded:")

    @property
    def bare_name(self) -> str:
        """The part after the colon: the provider's own name for the model."""
        return self.name.split(":", 1)[-1]


def load_model(model: str | BaseChatModel, recorded: list[Any] | None = None) -> Model:
    """Return the model that a string or instance stands for, with its SDK's own retries off.

    An instance is copied for that and stays as it is; where its retries cannot be turned off, a warning says what to
    set, since each retry of the door would be multiplied by them.

    Args:
        model: `none`, `recorded:NAME`, any string that LangChain's `init_chat_model` takes, or a chat model instance.
        recorded: for `recorded:NAME`, this input's answers in order.

    Raises:
        UsageError: the string names no model, or a chain with retries of its own was given instead of a chat model.
        MissingExtra: the provider's package is not installed.
    """
    if not isinstance(model, str):
        return Model(_name_of(model), _quiet(model))
    if model == "none":
        return Model(model, None)
    if model.startswith("recorded:"):
        from stanchion.models.recorded import RecordedModel

        return Model(model, RecordedModel(name_on_record=model.removeprefix("recorded:"), answers=recorded or []))
    return _init_chat_model(model, frozenset(os.environ.items()))


def loadable(model: str) -> Model:
    """Return a model as `load_model` does; one that cannot be loaded says so when it is asked.

    Args:
        model: its usual string.
    """
    try:
        return load_model(model)
    except StanchionError as error:
        return Model(model, None, problem=str(error))


@lru_cache(maxsize=16)  # one client for all runs of a process, as long as the environment has the same keys, addresses
def _init_chat_model(model: str, _environment: frozenset[tuple[str, str]]) -> Model:
    from langchain.chat_models import init_chat_model

    provider = model.split(":", 1)[0]
    name = model or "?"  # of an empty name LangChain makes something that is to be configured later
    try:
        return Model(model, init_chat_model(name, max_retries=0, timeout=HTTP_TIMEOUT_SECONDS), is_ours=True)
    except ImportError as error:
        how = f"pip install 'stanchion[{provider}]'" if provider in EXTRAS else f"the LangChain package of {provider}"
        raise MissingExtra(f"The model {model} needs a package that is not installed: {how}.") from error
    except Exception as error:  # every provider's constructor has exceptions of its own
        if key := _missing_key(model, error):
            raise UsageError(
                f"The model {model!r} cannot be used: its key is missing. Set {key}, "
                f"the provider's key in the environment."
            ) from error
        raise UsageError(
            f"The model {model!r} cannot be used ({type(error).__name__}). It should be none, recorded:NAME or "
            f"provider:name such as openai:gpt-4o-mini, with the provider's key in the environment."
        ) from error


def _missing_key(model: str, error: Exception) -> str:
    """Return the environment variable whose absence an error is about; empty where it is about something else."""
    provider, colon, _ = model.partition(":")
    inferred = "" if colon else next((key for key in KEYS.values() if key in str(error)), "")  # `gpt-4o` will do
    key = KEYS.get(provider, inferred)
    return key if key and not os.environ.get(key) and "api_key" in str(error).lower() else ""


def _name_of(model: BaseChatModel) -> str:
    name = getattr(model, "model_name", None) or getattr(model, "model", None)
    kind = model._llm_type.removesuffix("-chat").removesuffix("chat-")
    return f"{kind}:{name}" if isinstance(name, str) else kind


def bind_schema(chat: BaseChatModel, schema: dict[str, Any]) -> Runnable[Any, AIMessage]:
    """Return the model bound to answer by a JSON schema, its raw message untouched.

    LangChain knows each provider's way (`with_structured_output`), but parses inside the chain: invalid answers raise
    from within the SDK, tokens are lost, and its parser is quadratic (notes of November 2026). So only its binding is
    used, which stands as `raw` in the chain's first step, and the answer is read and validated by us.

    Args:
        chat: the model.
        schema: a JSON schema with a title; not to be changed afterwards.
    """
    return _bind(chat, schema)


def blocks(chat: BaseChatModel) -> bool:
    """Say whether a model has no asynchronous way of its own, so that asking it holds up a thread.

    Args:
        chat: the model.
    """
    from langchain_core.language_models.chat_models import BaseChatModel

    kind = type(chat)
    return kind._agenerate is BaseChatModel._agenerate and kind._astream is BaseChatModel._astream


def takes_timeout(chat: BaseChatModel | None) -> bool:
    """Say whether a model hands `timeout=` in seconds on to its HTTP client with each request.

    Args:
        chat: the model.
    """
    return type(chat).__module__.startswith(("langchain_openai.", "langchain_anthropic."))


@once_for_each
def _quiet(chat: BaseChatModel) -> BaseChatModel:
    from stanchion.models.sdk_retries import without_retries

    quiet = without_retries(chat)
    if quiet.problem:
        warnings.warn(quiet.problem, stacklevel=2)
    return quiet.chat


@once_for_each  # a schema's way through LangChain takes longer than all the rest of a call
def _bind(chat: BaseChatModel, schema: dict[str, Any]) -> Runnable[Any, AIMessage]:
    try:
        chain: Any = chat.with_structured_output(schema, include_raw=True)
        bound: Runnable[Any, AIMessage] = chain.steps[0].steps__["raw"]
    except (NotImplementedError, AttributeError, KeyError, IndexError, TypeError):
        bound = chat  # it cannot be bound: the prompt asks for JSON in words
    return bound
