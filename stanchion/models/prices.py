"""What a call cost, from genai-prices (offline; MIT, kept by the Pydantic team)."""

from __future__ import annotations

from decimal import Decimal


def price(provider: str | None, model: str, input_tokens: int, output_tokens: int) -> Decimal | None:
    """Return the price of a call in US dollars, or None where the model's price is not known.

    Args:
        provider: as in the model's string (`openai`), or None.
        model: the provider's name for it.
        input_tokens: tokens read.
        output_tokens: tokens written.
    """
    from genai_prices import Usage, calc_price

    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    try:
        return calc_price(usage, model, provider_id=provider).total_price
    except LookupError:
        return None
