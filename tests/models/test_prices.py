"""Prices: what a call cost, without asking anybody; unknown is None and never zero."""

from __future__ import annotations

from decimal import Decimal

import pytest
from langchain_core.messages.ai import UsageMetadata

from stanchion.models.prices import price


def used(read: int, written: int, cached: int = 0) -> UsageMetadata:
    """Tokens as LangChain reports them."""
    usage = UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)
    return {**usage, "input_token_details": {"cache_read": cached}} if cached else usage


def test_a_known_price_is_exact(socket_disabled) -> None:
    """gpt-4o-mini costs 0.15 dollars for a million tokens read, 0.60 for a million written; no socket is opened."""
    assert price("openai", "gpt-4o-mini", used(1_000_000, 0)) == Decimal("0.15")
    assert price("openai", "gpt-4o-mini", used(1000, 100)) == Decimal("0.00021")


def test_tokens_from_the_cache_cost_less() -> None:
    """Of a million tokens read, half of them from the provider's cache at half the price, three quarters are paid."""
    assert price("openai", "gpt-4o-mini", used(1_000_000, 0, cached=500_000)) == Decimal("0.1125")


def test_a_model_without_its_provider_is_found(socket_disabled) -> None:
    """Recorded answers name the model alone."""
    assert price(None, "gpt-4o-2024-05-13", used(1000, 100)) == Decimal("0.0065")


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-none"), ("nobody", "gpt-4o-mini"), ("ollama", "llama3"), (None, "ours"), ("openai", "")],
)
def test_an_unknown_price_is_none(provider: str | None, model: str) -> None:
    """Nobody is told that a call was free because its price is not known."""
    assert price(provider, model, used(1000, 100)) is None


def test_tokens_that_contradict_each_other_have_no_price() -> None:
    """More tokens from the cache than were read, as some proxies report, are an unknown price and no exception."""
    assert price("openai", "gpt-4o-mini", used(10, 0, cached=500)) is None
