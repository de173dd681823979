"""Which model is asked next when one gave no answer: it depends on why."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from stanchion.errors import (
    AuthFailed,
    BudgetExceeded,
    ContextTooLong,
    ModelError,
    ModelRefused,
    RateLimited,
    TooManyCalls,
)
from stanchion.models.estimates import price_before
from stanchion.models.providers import Model


def next_model(failed: Model, error: ModelError, others: Sequence[Model]) -> Model | None:
    """Return the model to ask after one that failed, or None where none of the others would do better.

    A document too long goes to a model that reads more; one that was refused, never to the same model under another
    name; a key or quota that failed, to another provider; what money does not reach, to something cheaper. A run that
    made too many calls makes none elsewhere.

    Args:
        failed: the model that was asked.
        error: why it gave no answer.
        others: the models of the chain that were not asked yet, in order.
    """
    return next((other for other in others if _may_do_better(failed, error, other)), None)


def cheaper(than: Model, others: Sequence[Model]) -> bool:
    """Say whether one of the others costs less.

    Args:
        than: the model that would be asked.
        others: the models that could be asked instead.
    """
    return any(_costs_less(other, than) for other in others)


def _may_do_better(failed: Model, error: ModelError, other: Model) -> bool:
    if isinstance(error, TooManyCalls):
        return False
    if isinstance(error, ContextTooLong):
        limit, reads = _most_read(failed), _most_read(other)
        return limit is None or reads is None or reads > limit
    if isinstance(error, ModelRefused):
        return other.bare_name != failed.bare_name
    if isinstance(error, AuthFailed) or (isinstance(error, RateLimited) and not error.retryable):
        return other.provider != failed.provider
    if isinstance(error, BudgetExceeded):
        return _costs_less(other, failed)
    return True


def _most_read(model: Model) -> int | None:
    profile = getattr(model.chat, "profile", None) or {}
    limit = profile.get("max_input_tokens")
    return limit if isinstance(limit, int) else None


def _costs_less(model: Model, than: Model) -> bool:
    return _price(model) < _price(than)


def _price(model: Model) -> Decimal:
    """Return what a call of middle length costs; nothing where no price is known, as of models of one's own."""
    return price_before(model, 1000, 1000) or Decimal(0)
