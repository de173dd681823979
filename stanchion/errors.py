"""Every error that Stanchion raises on purpose, in one small tree.

A refusal of a document or an answer is never an exception: it is a `Verdict` or an outcome. What stands here is for
the person who runs Stanchion, and says what happened, to which run or key, and what to do about it.
"""


class StanchionError(Exception):
    """Something in Stanchion's surroundings or its use is wrong; the message says what and what to do."""


class UsageError(StanchionError):
    """An argument, option or setting cannot be used; the message names it and says what it takes."""


class WorkflowError(StanchionError):
    """A workflow cannot be found, loaded or used; the message names it and says where it was looked for."""


class MissingExtra(StanchionError):
    """An optional package is needed; the message names the extra that brings it."""


class StoreError(StanchionError):
    """The database cannot be used; the message names the file and what to do."""


class RunNotFound(StanchionError):
    """There is no run with this id in this database."""


class ReviewNotFound(StanchionError):
    """There is no review with this id in this database."""


class ReviewClosed(StanchionError):
    """The review was answered, or its run ended, before this answer came; the message says by whom and when."""


class InvalidAnswer(StanchionError):
    """A reviewer's answer does not fit the question; the message says which field and why. The review stays open."""


class ReviewTaken(StanchionError):
    """Somebody else is at work on the review; the message says who, and until when it is theirs."""


class NotAllowed(StanchionError):
    """Who acts may not do this; the message names the role that it takes."""


class RunEnded(StanchionError):
    """The run has ended, so this cannot be done with it any more; the message says how it ended."""


class LeaseLost(StanchionError):
    """Another process works on the run now, or it was cancelled meanwhile; what was about to be written was not."""


class DatasetError(StanchionError):
    """A dataset cannot be read; the message names the file, the line and what is wrong with it."""


class ModelNotLoadable(StanchionError):
    """The model that a run was made with cannot be loaded here; the run stays as it is. The message says what helps."""


class OutOfTime(StanchionError, TimeoutError):
    """A blocking function did not return in its time; it goes on in a thread, and its answer is thrown away."""


class ThreadsBusy(StanchionError):
    """A blocking function was not begun: all threads for them are taken, or too many hang; the message says which."""


class StepOutOfTime(StanchionError):
    """A step did not end within its budget; the message names it, and what was done about it."""


class LoopLimit(StanchionError):
    """A run began more steps than its policy allows, or the same one too often; the message names it: a loop?"""


class ModelError(StanchionError):
    """A call to a model gave no answer; the message says why in words for a person.

    Each kind says once, for everybody: may the same request be sent again, and may it have cost something?

    Args:
        message: what happened, without a word of the document or a key.
        cost_unknown: whether the provider may have charged for it; by default what is usual for this kind.
    """

    kind = "failed"
    """The kind in one word, as it stands in the ledger."""

    retryable = False
    """Whether the same request, sent again a little later, may succeed."""

    counts_against_provider = False
    """Whether it says that the provider is not well, so that a circuit breaker counts it."""

    _usually_costs = False

    def __init__(self, message: str, *, cost_unknown: bool | None = None) -> None:
        super().__init__(message)
        self.cost_unknown = self._usually_costs if cost_unknown is None else cost_unknown


class ModelUnavailable(ModelError):
    """No answer came from the model: none is configured, it is down, or nothing was recorded for this input."""

    kind = "unavailable"


class RateLimited(ModelUnavailable):
    """The provider takes no more requests for now (429), or until the quota is raised.

    Args:
        message: what happened.
        retry_after: seconds after which the provider wants to be asked again; None where it did not say.
        quota_used_up: nothing will change by waiting.
    """

    kind = "rate_limited"
    counts_against_provider = True

    def __init__(self, message: str, *, retry_after: float | None = None, quota_used_up: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.retryable = not quota_used_up


class Overloaded(ModelUnavailable):
    """The provider had a failure of its own (5xx).

    Args:
        message: what happened.
        retry_after: seconds after which the provider wants to be asked again; None where it did not say.
        cost_unknown: whether it may have charged.
    """

    kind = "overloaded"
    retryable = True
    counts_against_provider = True
    _usually_costs = True

    def __init__(self, message: str, *, retry_after: float | None = None, cost_unknown: bool | None = None) -> None:
        super().__init__(message, cost_unknown=cost_unknown)
        self.retry_after = retry_after


class TimedOut(ModelUnavailable):
    """An attempt did not end in its time."""

    kind = "timed_out"
    retryable = True
    counts_against_provider = True
    _usually_costs = True


class ConnectionFailed(ModelUnavailable):
    """The connection could not be made, or broke off."""

    kind = "connection"
    retryable = True
    counts_against_provider = True
    _usually_costs = True


class UnusableAnswer(ModelUnavailable):
    """Something came back that is no answer: half a stream, a page of HTML, JSON of another shape."""

    kind = "unusable_answer"
    retryable = True
    counts_against_provider = True
    _usually_costs = True


class AuthFailed(ModelUnavailable):
    """The provider does not take the key (401), or the key may not do this (403)."""

    kind = "auth"


class InvalidRequest(ModelUnavailable):
    """The provider cannot do what was asked (400, 404, 422): sent again, it fails again."""

    kind = "invalid_request"


class ContextTooLong(InvalidRequest):
    """The document is longer than what the model can read at once; a larger model may."""

    kind = "context_too_long"


class ModelRefused(ModelError):
    """The model, or its provider's filter, declined to answer on grounds of content."""

    kind = "refused"


class LimitReached(ModelError):
    """A limit of ours said no; the message names it. Nothing was sent, unless `cost_unknown` says otherwise."""

    kind = "limit"


class BudgetExceeded(LimitReached):
    """The call could cost more than what is left under a cap."""

    kind = "budget"


class BreakerOpen(LimitReached):
    """The circuit breaker of the model is open: it failed too often, or an operator opened it."""

    kind = "breaker_open"


class DeadlineExceeded(LimitReached):
    """The run or the step has no time left for the call, or for waiting until it may be made."""

    kind = "deadline"


class TooManyCalls(LimitReached):
    """The run has made as many calls as its policy lets it, or the same one too often: a loop?"""

    kind = "too_many_calls"
