"""Which model is asked next when one gave no answer: it depends on why."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from stanchion.clock import Clock
from stanchion.errors import (
    AuthFailed,
    BudgetExceeded,
    ContextTooLong,
    LimitReached,
    ModelError,
    ModelRefused,
    RateLimited,
    TooManyCalls,
)
from stanchion.guards.limits.deadline import Deadline
from stanchion.models.estimates import price_before
from stanchion.models.providers import Model

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage


class Chain:
    """The way of one question through several models, until one answers or none would do better.

    Args:
        model: who is asked first.
        others: who may be asked after it, in order.
        deadline: when nobody is asked any more.
        clock: the deadline's.

    Attributes:
        model: who is to be asked now.
        others: who may be asked after it.
    """

    def __init__(self, model: Model, others: list[Model], deadline: Deadline, clock: Clock) -> None:
        self.model, self.others = model, others
        self._deadline, self._clock = deadline, clock
        self._errors: list[tuple[str, ModelError]] = []
        self._refusal: AIMessage | None = None

    def goes_on_after(self, error: ModelError, refusal: AIMessage | None = None) -> bool:
        """Turn to the next model; say whether there is one that may do better, and time to ask it.

        Args:
            error: why the present one gave no answer.
            refusal: its answer, where it declined in one.
        """
        self._errors.append((self.model.name, error))
        self._refusal = self._refusal or refusal
        following = next_model(self.model, error, self.others) if self._deadline.remaining(self._clock) else None
        if following is None:
            return False
        self.model, self.others = following, self.others[self.others.index(following) + 1 :]
        return True

    def end(self) -> AIMessage:
        """Return the answer of one that declined, or raise why nobody answered, model by model.

        Raises:
            ModelError: of the kind that says most: what a provider did, before a limit of ours or a model that cannot
                be loaded.
        """
        if self._refusal is not None:
            return self._refusal
        theirs = [error for _, error in self._errors if not isinstance(error, LimitReached)]
        asked = [error for error in theirs if error.kind != "unavailable"]
        most_telling = (asked or theirs or [error for _, error in self._errors])[-1]
        if len(self._errors) > 1:
            most_telling.args = (" ".join(f"{name}: {error}" for name, error in self._errors),)
        raise most_telling


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
