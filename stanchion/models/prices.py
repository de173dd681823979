"""What a call cost, from genai-prices (offline; MIT, kept by the Pydantic team)."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata


def price(provider: str | None, model: str, usage: UsageMetadata) -> Decimal | None:
    """Return the price of a call in US dollars, or None where the model's price is not known.

    Args:
        provider: as in the model's string (`openai`), or None.
        model: the provider's name for it.
        usage: tokens read and written, as LangChain reports them; those read from or into a cache cost otherwise.
    """
    from genai_prices import Usage, calc_price

    cached = usage.get("input_token_details") or {}
    try:
        tokens = Usage(
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            cache_read_tokens=cached.get("cache_read") or None,
            cache_write_tokens=cached.get("cache_creation") or None,
        )
        return calc_price(tokens, model, provider_id=provider).total_price
    except (LookupError, ValueError, ArithmeticError):  # no such model, or tokens that contradict each other
        return None
