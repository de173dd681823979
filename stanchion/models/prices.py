"""What a call cost, from genai-prices (offline; MIT, kept by the Pydantic team)."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from langchain_core.messages.ai import UsageMetadata

MANY = 1_000_000  # tokens: no price list has a step beyond


class _Rates(NamedTuple):
    """US dollars per token, of a model that has the same price for each."""

    read: Decimal
    written: Decimal


def price(provider: str | None, model: str, usage: UsageMetadata) -> Decimal | None:
    """Return the price of a call in US dollars, or None where the model's price is not known.

    Args:
        provider: as in the model's string (`openai`), or None.
        model: the provider's name for it.
        usage: tokens read and written, as LangChain reports them; those read from or into a cache cost otherwise.
    """
    read, written, cached = usage["input_tokens"], usage["output_tokens"], usage.get("input_token_details") or {}
    from_cache, into_cache = cached.get("cache_read") or 0, cached.get("cache_creation") or 0
    if not from_cache and not into_cache and (rates := _rates(provider, model)):
        return read * rates.read + written * rates.written
    return _calculated(provider, model, read, written, from_cache, into_cache)


@lru_cache(maxsize=256)
def _rates(provider: str | None, model: str) -> _Rates | None:
    """Return what each token costs, where that is all there is to a price; its calculation takes 0.1 ms otherwise."""

    def cost(read: int, written: int) -> Decimal | None:
        return _calculated(provider, model, read, written, 0, 0)

    few, many = cost(MANY // 1000, MANY // 1000), cost(MANY, MANY)
    read, written = cost(MANY, 0), cost(0, MANY)
    if few is None or many is None or read is None or written is None:
        return None
    if not (few * 1000 == many == read + written):
        return None  # it has tiers, or a price for each request
    return _Rates(read / MANY, written / MANY)


def _calculated(
    provider: str | None, model: str, read: int, written: int, from_cache: int, into_cache: int
) -> Decimal | None:
    from genai_prices import Usage, calc_price

    try:
        tokens = Usage(
            input_tokens=read,
            output_tokens=written,
            cache_read_tokens=from_cache or None,
            cache_write_tokens=into_cache or None,
        )
        return calc_price(tokens, model, provider_id=provider).total_price
    except (LookupError, ValueError, ArithmeticError):  # no such model, or tokens that contradict each other
        return None
