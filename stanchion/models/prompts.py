"""Prompts are files with a version and a content hash, so that a run can say which one it used."""

from __future__ import annotations

import hashlib
import tomllib
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from stanchion.errors import UsageError, WorkflowError

if TYPE_CHECKING:
    from langchain_core.messages import AnyMessage


class Prompt(BaseModel):
    """A versioned prompt; `$name` in its texts is filled in once, so a document cannot smuggle in placeholders.

    Args:
        id: its name, such as `receipts.extract`.
        version: set by its author; changes whenever the wording does.
        system: the system message.
        user: the first user message.
        repair: the user message that asks again; `$failures` stands for what was wrong with the last answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    version: str
    system: str
    user: str
    repair: str = "Your answer cannot be used:\n$failures\n\nAnswer again, whole, with these corrected."

    @classmethod
    def read(cls, path: Path | str) -> Prompt:
        """Read a prompt from a TOML file with the keys `version`, `system`, `user` and, if wanted, `repair`.

        Args:
            path: the file; its name without the ending is the prompt's id.

        Raises:
            WorkflowError: the file is missing or is not such a prompt.
        """
        path = Path(path)
        try:
            return cls.model_validate({"id": path.stem, **tomllib.loads(path.read_text(encoding="utf-8"))})
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WorkflowError(f"The prompt file {path} cannot be read: {error}.") from error
        except ValidationError as error:
            keys = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
            raise WorkflowError(f"The prompt file {path} has missing, unknown or mistyped keys: {keys}.") from error

    @property
    def texts(self) -> dict[str, str]:
        """What is said to the model, by name: all but the id and the version."""
        return {"system": self.system, "user": self.user, "repair": self.repair}

    @property
    def hash(self) -> str:
        """The first 12 hexadecimal digits of the SHA-256 of its texts."""
        return _hash(tuple(self.texts.values()))

    @property
    def placeholders(self) -> set[str]:
        """The names that its opening wants filled in."""
        return {*Template(self.system).get_identifiers(), *Template(self.user).get_identifiers()}

    def opening(self, **values: str) -> list[AnyMessage]:
        """Return the messages that open the conversation.

        Args:
            **values: what the placeholders stand for; unknown placeholders stay as they are.
        """
        from langchain_core.messages import HumanMessage, SystemMessage

        return [
            SystemMessage(Template(self.system).safe_substitute(values)),
            HumanMessage(Template(self.user).safe_substitute(values)),
        ]

    def asking_again(self, failures: str) -> str:
        """Return the text that asks for a better answer.

        Args:
            failures: one line for each thing that was wrong.
        """
        return Template(self.repair).safe_substitute(failures=failures)


def refuse_strange_placeholders(prompt: Prompt) -> None:
    """Refuse a prompt that does not show the document, or wants something that `structured` does not fill in.

    Args:
        prompt: for `structured` and `repair`.

    Raises:
        UsageError: the message names the placeholders that it may have, and has.
    """
    if "text" not in prompt.placeholders or prompt.placeholders - {"text", "schema"}:
        raise UsageError(
            f"The prompt {prompt.id} must hold $text, where the document goes, and may hold $schema; it holds "
            f"{_listed(prompt.placeholders) or 'neither'}. A dollar sign itself is written $$."
        )


def refuse_other_placeholders(prompt: Prompt, own: Prompt) -> None:
    """Refuse a version of a prompt whose placeholders the workflow's code would not fill in.

    Args:
        prompt: the version.
        own: the prompt in the workflow's code.

    Raises:
        UsageError: the message names the placeholders that it may have, and has.
    """
    if "text" in own.placeholders <= {"text", "schema"}:
        refuse_strange_placeholders(prompt)
    elif prompt.placeholders != own.placeholders:  # a node of the workflow's own fills in just these
        raise UsageError(
            f"The prompt {prompt.id} must hold {_listed(own.placeholders) or 'no placeholder'}, as the workflow's own "
            f"does; it holds {_listed(prompt.placeholders) or 'none'}. A dollar sign itself is written $$."
        )


def _listed(names: set[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names))


@lru_cache(maxsize=64)
def _hash(texts: tuple[str, ...]) -> str:
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()[:12]
