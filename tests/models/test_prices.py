"""Prices: what a call cost, without asking anybody; unknown is None and never zero."""

from __future__ import annotations

from decimal import Decimal

import pytest

from stanchion.models.prices import price


def test_a_known_price_is_exact(socket_disabled) -> None:
    """gpt-4o-mini costs 0.15 dollars for a million tokens read, 0.60 for a million written; no socket is opened."""
    assert price("openai", "gpt-4o-mini", 1_000_000, 0) == Decimal("0.15")
    assert price("openai", "gpt-4o-mini", 1000, 100) == Decimal("0.00021")


def test_a_model_without_its_provider_is_found(socket_disabled) -> None:
    """Recorded answers name the model alone."""
    assert price(None, "gpt-4o-2024-05-13", 1000, 100) == Decimal("0.0065")


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-none"), ("nobody", "gpt-4o-mini"), ("ollama", "llama3"), (None, "ours"), ("openai", "")],
)
def test_an_unknown_price_is_none(provider: str | None, model: str) -> None:
    """Nobody is told that a call was free because its price is not known."""
    assert price(provider, model, 1000, 100) is None
