"""What a person's answer must be before it is taken: plain, of a sensible size, and what the asking node takes.

Answers are hostile until they fit: they come from forms, scripts and other people's programs. Whatever comes in, it
either becomes something that the graph can be resumed with, or is refused in words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import pydantic_core
from langgraph.pregel import Pregel
from pydantic import BaseModel, ValidationError

from stanchion.errors import InvalidAnswer
from stanchion.guards import bare_model, check, json_schema
from stanchion.question import Question
from stanchion.runs.inputs import checkpointable
from stanchion.runs.records import Review
from stanchion.workflow import Graph, Workflow

ACTIONS = ("approve", "edit", "reject")
LARGEST_ANSWER = 1_000_000
"""Characters of an answer as JSON; what a person types has thousands."""

MOST_PROBLEMS = 10
"""Problems named in one refusal."""

LONGEST_FOR_A_PATTERN = 200
"""Characters of a text that a form's `pattern` is tried on: patterns for numbers take cubic time over long ones."""

_STAYS_OPEN = "The review stays open."


@runtime_checkable
class Asking(Protocol):
    """What a review node says of itself: by which type its answers are read, and whom it takes to give them.

    Args:
        output: the pydantic type of the value.
        role: who may answer.
        two_people: whether some answers take a second person.
    """

    output: Any
    role: str

    @property
    def two_people(self) -> bool:
        """Whether some answers take a second person."""
        ...


def asking_nodes(workflow: Workflow) -> Iterator[tuple[str, Asking]]:
    """Give the names and rules of a workflow's review nodes, those inside subgraphs as `node|inner`.

    One that another function calls is not found; what it asks carries its rules.

    Args:
        workflow: any.
    """
    graphs = [("", workflow.graph), *((f"{place}|", graph) for place, graph in _subgraphs(workflow.graph))]
    for place, graph in graphs:
        for name, node in graph.nodes.items():
            asking = getattr(node.bound, "func", None)
            if isinstance(asking, Asking):
                yield place + name, asking


def _subgraphs(graph: Graph) -> Iterator[tuple[str, Pregel[Any, Any, Any, Any]]]:
    for place, inner in graph.get_subgraphs(recurse=True):
        if isinstance(inner, Pregel):  # one on another machine shows nothing of itself
            yield place, inner


@dataclass(frozen=True)
class Answer:
    """An answer that fits.

    Args:
        action: approve, edit or reject.
        resume: what the graph goes on with, in JSON form.
        value: the whole value as edited; None for other actions.
        reason: in the person's words.
        overruled: the guards that say no to the edited value; a person may know better.
        people: how many people the answer takes by its value: an edit may raise the stake.
    """

    action: str
    resume: Any
    value: Any = None
    reason: str = ""
    overruled: tuple[str, ...] = ()
    people: int = 1

    def is_same_as(self, action: str, resume: Any) -> bool:
        """Say whether somebody else's answer comes to the same, whatever its reason.

        Args:
            action: theirs.
            resume: theirs.
        """
        ours, theirs = (item.get("output") if isinstance(item, dict) else item for item in (self.resume, resume))
        return self.action == action and _canonical(ours) == _canonical(theirs)


def is_ours(form: Any) -> bool:
    """Say whether a question takes approve, edit or reject, and not an answer of a form of its own.

    Args:
        form: the JSON schema that the interrupt names, if it names one.
    """
    properties = form.get("properties") if isinstance(form, dict) else None
    return not isinstance(form, dict) or (isinstance(properties, dict) and "action" in properties)


@dataclass(frozen=True)
class Reader:
    """Reads the answers to one review.

    Args:
        review: the question.
        workflow: whose it is.
        today: the day on which its run was made, for guards.
    """

    review: Review
    workflow: Workflow
    today: date

    def read(self, action: str, *, by: str, edits: Any = None, output: Any = None, reason: str = "") -> Answer:
        """Return the answer in the form in which it is kept.

        Args:
            action: `approve`, `edit` or `reject`.
            by: who answers.
            edits: for `edit`, the fields to change and their values.
            output: for `edit`, the whole value instead; for a question with a form of its own, the answer itself.
            reason: in the person's words; a rejection needs one.

        Raises:
            InvalidAnswer: it does not fit; the message says what and why.
        """
        self._refuse_confused(action, edits, output, reason)
        if not is_ours(self.review.form):
            return self._of_own_form(output, reason)
        said = {"action": action, "output": None, "reason": reason, "by": by}
        if action == "reject":
            if not reason.strip():
                raise InvalidAnswer(f"A rejection needs a reason. {_STAYS_OPEN}")
            return Answer(action, plain(said), reason=reason)
        proposal = self._question.proposal or {}
        if action == "approve":
            if self._question.form and self._type is not None:  # else nobody says what its proposal has to be
                self._fitting(plain(proposal))
            return Answer(action, plain(said), reason=reason)
        value = plain(output if output is not None else {**proposal, **self._known(plain(edits or {}))})
        fitting = self._fitting(value)
        people = self._question.people_for(None if self._type is None else fitting)
        return Answer(action, plain({**said, "output": fitting}), fitting, reason, self._overruled(fitting), people)

    def _refuse_confused(self, action: Any, edits: Any, output: Any, reason: Any) -> None:
        if action not in ACTIONS:
            raise InvalidAnswer(f"A review takes approve, edit or reject; not {str(action)[:40]!r}.")
        if not isinstance(reason, str):
            raise InvalidAnswer(f"A reason is text. {_STAYS_OPEN}")
        if not isinstance(edits, dict | None) or not all(isinstance(name, str) for name in edits or {}):
            raise InvalidAnswer(f"Edits name fields and their new values. {_STAYS_OPEN}")
        if action != "edit" and (edits or output is not None):
            raise InvalidAnswer(f"Edits go with `edit`, not with `{action}`.")
        if action == "edit" and bool(edits) == (output is not None):
            raise InvalidAnswer("An edit names at least one field and its new value, or gives the whole value.")

    def _of_own_form(self, output: Any, reason: str) -> Answer:
        if output is None:
            raise InvalidAnswer("This question has a form of its own: answer with `edit`, and give the whole output.")
        value = plain(output)
        refuse_unfit(value, self.review.form)
        return Answer("edit", value, value, reason)

    @cached_property
    def _question(self) -> Question:
        return Question.of(self.review.question)

    @cached_property
    def _type(self) -> Any:
        """The type of the value: the asking node's own, else the workflow's; None where nobody can say.

        A question with a schema is our node's, which may be hidden in a function: then its schema says which type it
        is. One with a proposal only is somebody's own, about what the workflow puts out; one without is about anything.
        """
        if not self._question.form:
            return None if self._question.proposal is None else self.workflow.output
        asking = {name: node.output for name, node in asking_nodes(self.workflow)}
        if self.review.node in asking:
            return asking[self.review.node]
        inside = [output for name, output in asking.items() if name.startswith(f"{self.review.node}|")]
        known = inside if self.workflow.output is None else [*inside, self.workflow.output]
        return next((output for output in known if json_schema(output) == self._question.form), None)

    def _known(self, edits: dict[str, Any]) -> dict[str, Any]:
        fields = edits if self._type is None else _names(bare_model(self._type))
        if unknown := [name[:40] for name in edits if name not in fields]:
            raise InvalidAnswer(f"There is no field {_listed(unknown)}; there are {', '.join(fields)}. {_STAYS_OPEN}")
        return edits

    def _fitting(self, value: Any) -> dict[str, Any]:
        """Return a value as its type writes it; what is kept must be readable again when the graph goes on."""
        if not isinstance(value, dict):
            raise InvalidAnswer(f"The value is an object of fields. {_STAYS_OPEN}")
        if self._type is None:
            if self._question.form:
                refuse_unfit(value, self._question.form)
            return value
        model = bare_model(self._type)
        kept = plain(_written(_validated(model, value)))
        _validated(model, kept)
        return dict(kept)

    def _overruled(self, value: dict[str, Any]) -> tuple[str, ...]:
        if self._type is None:
            return ()
        known = {"source": self._question.source, "today": self.today}
        checks = check(self._type, value, metadata=known).checks
        return tuple(sorted({each.guard for each in checks if each.status == "fail"}))


def plain(value: Any) -> Any:
    """Return an answer as plain JSON data that every database and every checkpoint can hold.

    Args:
        value: hostile; Decimals, dates and models become what JSON has for them.

    Raises:
        InvalidAnswer: it is too large or too deep, or holds what is not JSON: a number that is not finite or beyond 64
            bits, half a character (a lone surrogate), an object of another kind.
    """
    try:
        data = pydantic_core.to_jsonable_python(value)
        safe = checkpointable({"answer": data})
        size = len(json.dumps(data))
    except (ValueError, TypeError, RecursionError) as error:  # pydantic's own are ValueErrors
        raise InvalidAnswer(f"The answer holds something that is not JSON. {_STAYS_OPEN}") from error
    if problem := safe.get("problem"):
        raise InvalidAnswer(f"{problem.replace('document', 'answer')} {_STAYS_OPEN}")
    if size > LARGEST_ANSWER:
        raise InvalidAnswer(f"The answer is larger than {LARGEST_ANSWER:,} characters. {_STAYS_OPEN}")
    if changed := safe.get("changed"):
        raise InvalidAnswer(f"The answer cannot be kept as it is: {_listed(changed)}. {_STAYS_OPEN}")
    return data


def refuse_unfit(value: Any, form: dict[str, Any]) -> None:
    """Refuse what does not fit a JSON schema; nothing that the schema refers to is fetched.

    Args:
        value: plain.
        form: the schema that a question names.

    Raises:
        InvalidAnswer: it does not fit, or the schema is none.
    """
    from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]
    from jsonschema.validators import extend  # type: ignore[import-untyped]
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    fits_pattern = Draft202012Validator.VALIDATORS["pattern"]

    def pattern(validator: Any, wanted: Any, text: Any, schema: Any) -> Any:
        if isinstance(text, str) and len(text) > LONGEST_FOR_A_PATTERN:
            text = ""  # refused by any pattern worth its name
        return fits_pattern(validator, wanted, text, schema)

    form_reader = extend(Draft202012Validator, {"pattern": pattern})
    try:
        form_reader.check_schema(form)
        errors = form_reader(form, registry=Registry()).iter_errors(value)
        problems = [f"{error.json_path[:60]}: {error.validator} {str(error.validator_value)[:100]}" for error in errors]
    except (SchemaError, Unresolvable, RecursionError) as error:
        raise InvalidAnswer(
            f"The question's own form cannot be used ({type(error).__name__}). {_STAYS_OPEN}"
        ) from error
    if problems:
        raise InvalidAnswer(f"This does not fit: {_listed(problems, '; ')}. {_STAYS_OPEN}")


def _validated(model: type[BaseModel], value: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = [f"{_place(item['loc'])}: {item['msg']}" for item in error.errors()]
        raise InvalidAnswer(f"This does not fit: {_listed(problems, '; ')}. {_STAYS_OPEN}") from error
    except Exception as error:  # whatever a validator of the type's own raises
        raise InvalidAnswer(
            f"This does not fit: its own validation raised {type(error).__name__}. {_STAYS_OPEN}"
        ) from error


def _written(value: BaseModel) -> dict[str, Any]:
    try:
        return value.model_dump(mode="json", warnings=False)
    except Exception as error:  # a serializer of the type's own, or half a character
        raise InvalidAnswer(f"This cannot be written as JSON ({type(error).__name__}). {_STAYS_OPEN}") from error


def _place(keys: tuple[int | str, ...]) -> str:
    return ".".join(map(str, keys))[:60] or "the whole"


def _names(model: type[BaseModel]) -> list[str]:
    return list(model.model_fields)


def _listed(things: list[str], between: str = ", ") -> str:
    more = len(things) - MOST_PROBLEMS
    return between.join(things[:MOST_PROBLEMS]) + (f"{between}and {more} more" if more > 0 else "")


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
