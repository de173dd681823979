"""From a model's usual string to a chat model."""

from __future__ import annotations

import sys

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_openai import ChatOpenAI

from stanchion.errors import MissingExtra, UsageError
from stanchion.models.providers import Model, bind_schema, load_model
from stanchion.models.recorded import RecordedModel
from stanchion.testing import ScriptedModel
from tests.models.conftest import SCHEMA


def test_none_is_no_model() -> None:
    """`none` has a name and nothing behind it."""
    assert load_model("none") == Model("none", None)


def test_recorded_answers_are_a_model() -> None:
    """`recorded:NAME` answers with what this input has on record, and is priced as the model that it was."""
    model = load_model("recorded:gpt-4o", ["an answer"])

    assert isinstance(model.chat, RecordedModel)
    assert model.chat.invoke("?").text == "an answer"
    assert (model.name, model.provider, model.bare_name) == ("recorded:gpt-4o", None, "gpt-4o")


def test_recorded_without_a_record_is_a_model_that_is_down() -> None:
    """An input with no recorded answers has a model all the same."""
    assert load_model("recorded:gpt-4o").chat.answers == []


def test_an_instance_is_taken_without_its_retries() -> None:
    """A chat model of the caller's own is asked under the name that prices know; its SDK's retries are off in ours."""
    scripted, openai = ScriptedModel([]), ChatOpenAI(model="gpt-4o-mini", api_key="sk-test", max_retries=4)
    quiet = load_model(openai)

    assert load_model(scripted) == Model("scripted", scripted)
    assert (quiet.name, quiet.chat.max_retries, openai.max_retries) == ("openai:gpt-4o-mini", 0, 4)
    assert quiet.chat.root_async_client.max_retries == 0


def test_a_string_is_a_providers_model_without_retries(monkeypatch) -> None:
    """`openai:NAME` is LangChain's own model, with the SDK's retries off and a bound on its time."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    model = load_model("openai:gpt-4o-mini")

    assert isinstance(model.chat, ChatOpenAI)
    assert (model.provider, model.bare_name) == ("openai", "gpt-4o-mini")
    assert (model.chat.max_retries, model.chat.request_timeout) == (0, 60.0)


def test_runs_share_a_client_until_the_environment_changes(monkeypatch) -> None:
    """One client serves a whole process, but a new key or address in the environment is never ignored."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-old")
    old = load_model("openai:gpt-4o-mini").chat
    assert load_model("openai:gpt-4o-mini").chat is old

    monkeypatch.setenv("OPENAI_API_KEY", "sk-new")
    assert load_model("openai:gpt-4o-mini").chat.openai_api_key.get_secret_value() == "sk-new"


@pytest.mark.parametrize("name", ["", "gpt", "nobody:gpt-4o", ":", "none "])
def test_a_string_that_names_no_model_is_refused(name: str) -> None:
    """The message repeats the string and says what it should be."""
    with pytest.raises(UsageError, match=r"should be none, recorded:NAME or provider:name") as raised:
        load_model(name)
    assert repr(name) in str(raised.value)


def test_a_missing_key_is_a_usage_error(monkeypatch) -> None:
    """Without the provider's key, the message says where it belongs."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(UsageError, match="the provider's key in the environment"):
        load_model("openai:gpt-4o-mini")


@pytest.mark.parametrize(
    ("name", "package", "how"),
    [
        ("ollama:llama3", "langchain_ollama", r"pip install 'stanchion\[ollama\]'"),
        ("groq:llama3", "langchain_groq", "the LangChain package of groq"),
    ],
)
def test_a_missing_package_is_named_by_its_extra(monkeypatch, name: str, package: str, how: str) -> None:
    """Where the provider's package is not installed, the message is the command that installs it."""
    monkeypatch.setitem(sys.modules, package, None)  # of providers that no other test loads: LangChain keeps the class
    with pytest.raises(MissingExtra, match=how):
        load_model(name)


def test_a_model_that_takes_no_schema_is_asked_in_words() -> None:
    """A chat model without tools or response formats is used as it is."""
    chat = GenericFakeChatModel(messages=iter([]))

    assert bind_schema(chat, SCHEMA) is chat


def test_the_schema_is_bound_in_the_models_own_way() -> None:
    """A model that knows tools gets the schema as one, and its raw message comes back."""
    chat = ScriptedModel(['{"total": 5}'])
    message = bind_schema(chat, SCHEMA).invoke("Total 5")

    assert message.text == '{"total": 5}'
    assert chat.bound[0]["tools"][0]["function"]["name"] == "Note"


def test_anthropic_is_bound_to_a_tool_of_our_schema() -> None:
    """langchain-anthropic's binding stands where we take it from, and holds the schema as it is; no request is made."""
    package = pytest.importorskip("langchain_anthropic", reason="langchain-anthropic is not installed")
    chat = package.ChatAnthropic(model="claude-sonnet-4-5", api_key="sk-test")
    bound = bind_schema(chat, SCHEMA)

    assert bound is not chat
    assert bound.bound is chat
    (tool,) = bound.kwargs["tools"]
    assert (tool["name"], tool["input_schema"]["properties"]) == ("Note", SCHEMA["properties"])
    assert load_model(chat).name == "anthropic:claude-sonnet-4-5"
