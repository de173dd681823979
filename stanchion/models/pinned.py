"""The prompts that a run started with: it goes on with them, whatever the file and the labels say by then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stanchion.errors import StoreError
from stanchion.models.prompts import Prompt
from stanchion.store import Database
from stanchion.store.prompts import PromptLabels, PromptVersion


def as_version(prompt: Prompt, *, added_by: str | None = None) -> PromptVersion:
    """Return a prompt as the database keeps it.

    Args:
        prompt: from a file or the workflow's code.
        added_by: who adds it by hand.
    """
    return PromptVersion(prompt.id, prompt.hash, prompt.version, prompt.texts, added_by=added_by)


def as_prompt(version: PromptVersion) -> Prompt:
    """Return a prompt that the database kept.

    Args:
        version: from `PromptLabels`.
    """
    return Prompt(id=version.id, version=version.version, **version.texts)


class PinnedPrompts(Mapping[str, Prompt]):
    """Id to prompt, read from the database when a node wants it: a run that asks nobody misses nothing.

    Looking one up raises `StoreError` where the text that the run started with is gone.

    Args:
        database: where the texts are kept.
        run_id: for messages.
        pins: prompt id to version and hash, as the run has them on record.
        own: the prompts in the workflow's code, which need not be read where they are what was pinned.
    """

    def __init__(
        self, database: Database, run_id: str, pins: Mapping[str, Mapping[str, str]], own: Iterable[Prompt]
    ) -> None:
        self._database = database
        self._run_id = run_id
        self._pins = pins
        self._own = {prompt.id: prompt for prompt in own}

    def __getitem__(self, prompt_id: str) -> Prompt:
        version, pinned_hash = self._pins[prompt_id]["version"], self._pins[prompt_id]["hash"]
        own = self._own.get(prompt_id)
        if own is not None and (own.version, own.hash) == (version, pinned_hash):
            return own
        candidates = [own] if own else []
        candidates += map(as_prompt, PromptLabels(self._database).versions(prompt_id))
        for prompt in candidates:
            if prompt.hash == pinned_hash:
                return prompt.model_copy(update={"version": version})  # one text may have gone by two versions
        raise StoreError(
            f"The run {self._run_id} started with version {version} ({pinned_hash}) of the prompt {prompt_id}, whose "
            f"text is not in {self._database.path}. The run stays as it is: put the text back with `stanchion prompts "
            "add`, under any version, and resume."
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._pins)

    def __len__(self) -> int:
        return len(self._pins)
