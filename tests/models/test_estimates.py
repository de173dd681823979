"""Prices before a call: an upper bound that nobody has to be asked for, and caps below it refused at start."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from pydantic import Field

from stanchion.errors import UsageError
from stanchion.guards.limits.policy import Policy
from stanchion.models.estimates import (
    ASSUMED_OUTPUT_TOKENS,
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REQUEST,
    TOKENS_PER_SCHEMA,
    most_input_tokens,
    most_output_tokens,
    own_output_limit,
    price_before,
    refuse_unaffordable,
)
from stanchion.models.prompts import Prompt
from stanchion.models.providers import Model, load_model

CL100K_IN_TIKTOKENS_CACHE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # the SHA-1 of its address
PROMPT = Prompt(id="letters", version="1", system="Read $language letters.", user="$document")


class Set(FakeListChatModel):
    """A chat model that is set in a provider's way."""

    responses: list[str] = Field(default=[""])
    n: int | None = None
    max_tokens: int | None = None
    num_predict: int | None = None
    model_kwargs: dict[str, Any] = Field(default={})


def mini(**settings: Any) -> Model:
    """gpt-4o-mini: $0.15 for a million tokens read, $0.60 for a million written."""
    return Model("openai:gpt-4o-mini", Set(**settings))


# --- Tokens ---


@given(st.lists(st.text(st.characters(codec=None)), max_size=3))
def test_a_text_has_no_more_tokens_than_bytes(texts: list[str]) -> None:
    """Also lone surrogates, which no request could carry, are counted and bring no exception."""
    count = most_input_tokens([HumanMessage(text) for text in texts])
    in_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)

    assert count == in_bytes + TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(texts)


@given(st.text() | st.from_regex(r"\A(<\|im_start\|>|🧾|日本|#| ){0,40}\Z"))
@example("Tea and cake, 3.50")
def test_the_bound_holds_for_a_real_tokenizer(tokenizer: Any, text: str) -> None:
    """OpenAI's cl100k_base makes no more tokens of any text, with what its cookbook adds for message and request."""
    assert (most_input_tokens([HumanMessage(text)]) or 0) >= len(tokenizer.encode(text, disallowed_special=())) + 7


@pytest.fixture(scope="module")
def tokenizer() -> Iterator[Any]:
    """cl100k_base from the copy that litellm brings, so that nothing is downloaded."""
    tiktoken = pytest.importorskip("tiktoken")
    litellm = find_spec("litellm")
    folder = Path(str(litellm.origin)).parent / "litellm_core_utils" / "tokenizers" if litellm else Path("none")
    if not (folder / CL100K_IN_TIKTOKENS_CACHE).is_file():
        pytest.skip("there is no copy of cl100k_base here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
        yield tiktoken.get_encoding("cl100k_base")


def test_everything_that_is_sent_as_text_counts() -> None:
    """Blocks of text, names, the model's earlier calls of tools, and the schema with what is said around it."""
    plain = most_input_tokens([SystemMessage("four"), AIMessage("four")]) or 0
    call = {"name": "look", "args": {"what": "x" * 100}, "id": "1"}
    blocks = SystemMessage([{"type": "text", "text": "fo"}, "ur"], name="Eve")

    assert most_input_tokens([blocks, AIMessage("four")]) == plain + len("Eve")
    assert (most_input_tokens([SystemMessage("four"), AIMessage("four", tool_calls=[call])]) or 0) > plain + 100
    with_schema = most_input_tokens([SystemMessage("four"), AIMessage("four")], {"title": "y" * 100}) or 0
    assert with_schema > plain + TOKENS_PER_SCHEMA + 100


@pytest.mark.parametrize(
    "block",
    [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "input_audio"}, {"type": "text"}, {"text": "x"}],
)
def test_an_image_has_an_unknown_number_of_tokens(block: dict[str, Any]) -> None:
    """What is no text is not guessed at, and so has no price."""
    tokens = most_input_tokens([HumanMessage([{"type": "text", "text": "what is it?"}, block])])

    assert tokens is None
    assert price_before(mini(), tokens, 10) is None


@pytest.mark.parametrize(
    ("settings", "limit", "expected"),
    [
        ({"max_tokens": 100}, 50, 100),  # what the instance is set to is what is sent
        ({"num_predict": 70}, None, 70),
        ({"num_predict": -1}, 50, 50),  # Ollama's word for no limit
        ({"model_kwargs": {"max_completion_tokens": 30}}, 50, 30),
        ({}, 50, 50),
        ({"profile": {"max_output_tokens": 16_384}}, 50, 50),
        ({"profile": {"max_output_tokens": 16_384}}, None, 16_384),
        ({"profile": {}}, None, ASSUMED_OUTPUT_TOKENS),
        ({}, None, ASSUMED_OUTPUT_TOKENS),
        ({"n": 3}, 50, 150),
    ],
)
def test_the_longest_answer_is_what_is_set_else_the_limit_else_what_is_known(
    settings: dict[str, Any], limit: int | None, expected: int
) -> None:
    """In this order; several variants of an answer are all written and all paid."""
    assert most_output_tokens(mini(**settings), limit) == expected


def test_openais_own_setting_and_profile_are_found() -> None:
    """As the real class holds them, under either name of the setting."""
    openai = pytest.importorskip("langchain_openai").ChatOpenAI
    unset = Model("openai:gpt-4o-mini", openai(model="gpt-4o-mini", api_key="none"))
    is_set = Model("openai:gpt-4o-mini", openai(model="gpt-4o-mini", api_key="none", max_completion_tokens=77))

    assert (own_output_limit(unset), most_output_tokens(unset)) == (None, 16_384)
    assert own_output_limit(is_set) == most_output_tokens(is_set) == 77


# --- Prices ---


def test_a_known_price_is_exact() -> None:
    """Without a cache that is dearer to write, it is the plain price; what is read is rounded up to 256 tokens."""
    assert price_before(mini(), 1_024_000, 1_000_000) == Decimal("0.7536")
    assert price_before(mini(), 1_023_800, 1_000_000) == Decimal("0.7536")


def test_the_dearest_way_is_counted() -> None:
    """Anthropic takes a quarter more for what it keeps in its cache: $3.75 instead of $3 for a million."""
    model = Model("anthropic:claude-3-5-sonnet-20241022", None)
    assert price_before(model, 1_024_000, 0) == Decimal("3.84")


def test_an_unknown_price_is_none() -> None:
    """Local models, and recorded answers."""
    assert price_before(Model("ollama:llama3", None), 10, 10) is None
    assert price_before(Model("recorded:demo", None), 10, 10) is None


# --- Caps ---


@pytest.mark.parametrize("cap", ["call", "step", "run", "tenant", "workflow", "day"])
def test_a_cap_below_one_call_is_refused_at_start(cap: str) -> None:
    """The message names the key, where it was set, both amounts and what to do."""
    policy = Policy(money={cap: "$0.002"})
    with pytest.raises(UsageError) as refused:
        refuse_unaffordable(policy, mini(), [PROMPT], {f"money.{cap}": "stanchion.toml [all]"})

    said = str(refused.value)
    assert said.startswith(f"money.{cap} is $0.002 (set by stanchion.toml [all]), but one call of openai:gpt-4o-mini")
    assert "may cost $0.0024" in said
    assert f"Raise money.{cap}, or lower money.max_output_tokens." in said


def test_a_cap_that_one_call_fits_under_is_taken() -> None:
    """To the last fraction: placeholders count as empty, and the longest of the prompts decides."""
    longer = Prompt(id="longer", version="1", system="x" * 1000, user="$document")
    messages = Prompt(id="same", version="1", system="Read  letters.", user="").opening()
    alone = price_before(mini(), most_input_tokens(messages), 100)
    assert alone is not None
    policy = Policy(money={"run": alone, "max_output_tokens": 100})

    refuse_unaffordable(policy, mini(), [PROMPT], {})
    refuse_unaffordable(policy, mini(), [], {})
    with pytest.raises(UsageError, match=r"money\.run"):
        refuse_unaffordable(policy, mini(), [PROMPT, longer], {})


def test_an_unknown_price_is_refused_only_where_the_policy_says_so() -> None:
    """By default tokens are counted; `none` and recorded answers cost nothing and are never refused."""
    local, caps = Model("ollama:llama3", Set()), {"run": "$0.01"}
    refuse = Policy(money={**caps, "unpriced": "refuse"})

    refuse_unaffordable(Policy(money=caps), local, [PROMPT], {})
    refuse_unaffordable(refuse, load_model("none"), [PROMPT], {})
    refuse_unaffordable(refuse, load_model("recorded:demo"), [PROMPT], {})
    with pytest.raises(
        UsageError, match=r'money\.unpriced is "refuse" \(set by the workflow\).*price of ollama:llama3'
    ):
        refuse_unaffordable(refuse, local, [PROMPT], {"money.unpriced": "the workflow"})
