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


class DatasetError(StanchionError):
    """A dataset cannot be read; the message names the file, the line and what is wrong with it."""


class ModelNotLoadable(StanchionError):
    """The model that a run was made with cannot be loaded here; the run stays as it is. The message says what helps."""


class ModelError(StanchionError):
    """A model could not answer; `cost_unknown` says whether the provider may have charged for it."""

    def __init__(self, message: str, *, cost_unknown: bool = False) -> None:
        super().__init__(message)
        self.cost_unknown = cost_unknown


class ModelUnavailable(ModelError):
    """No answer came from the model: none is configured, it is down, or nothing was recorded for this input."""


class ModelRefused(ModelError):
    """The model declined to answer on grounds of content."""
