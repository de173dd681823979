"""Prompts: files whose version and hash say which wording a run used."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion import Prompt
from stanchion.errors import UsageError, WorkflowError
from stanchion.models.prompts import refuse_other_placeholders

GOOD = 'version = "3"\nsystem = "Answer with $schema"\nuser = "$text"\n'


def read(folder: Path, text: str) -> Prompt:
    path = folder / "notes.extract.toml"
    path.write_text(text, encoding="utf-8")
    return Prompt.read(path)


def test_a_file_is_a_prompt_named_after_it(tmp_path: Path) -> None:
    """The file's name without its ending is the id; the version is its author's; a repair text need not be given."""
    prompt = read(tmp_path, GOOD)

    assert (prompt.id, prompt.version) == ("notes.extract", "3")
    assert "too long" in prompt.asking_again("too long")


def test_the_hash_follows_the_wording_and_nothing_else() -> None:
    """Another id or version has the same hash; another word in any of the texts has another."""
    prompt = Prompt(id="a", version="1", system="s", user="u", repair="r")

    assert prompt.hash == Prompt(id="b", version="2", system="s", user="u", repair="r").hash
    others = [prompt.model_copy(update={part: "other"}).hash for part in ("system", "user", "repair")]
    assert len({prompt.hash, *others}) == 4
    assert len(prompt.hash) == 12


def test_words_cannot_move_between_texts_unnoticed() -> None:
    """The texts are hashed apart: the same words divided otherwise are another prompt."""
    one, other = (Prompt(id="a", version="1", system=system, user=user) for system, user in (("ab", "c"), ("a", "bc")))
    assert one.hash != other.hash


def test_the_opening_is_a_system_and_a_user_message() -> None:
    """Placeholders are filled in, in both messages."""
    prompt = Prompt(id="a", version="1", system="Follow $schema", user="Read ${text}!")
    system, user = prompt.opening(text="this", schema="{}")

    assert (system.type, system.content) == ("system", "Follow {}")
    assert (user.type, user.content) == ("human", "Read this!")


@given(text=st.text(st.sampled_from("$text{}schema %s\\"), max_size=40))
def test_a_documents_placeholders_are_left_alone(text: str) -> None:
    """Whatever a document holds, it is put in as it is: no `$schema` in it is filled in."""
    prompt = Prompt(id="a", version="1", system="$schema", user="<$text>", repair="<$failures>")

    assert prompt.opening(text=text, schema="SECRET")[1].content == f"<{text}>"
    assert prompt.asking_again(text) == f"<{text}>"


def test_a_placeholder_that_nobody_fills_stays() -> None:
    """A dollar sign in a prompt's own wording, such as a price, is no error."""
    prompt = Prompt(id="a", version="1", system="Under $5 and $unknown", user="u")

    assert prompt.opening(text="x")[0].content == "Under $5 and $unknown"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('version = "3"\nuser = "u"\n', "system"),
        ('version = "3"\n', "system, user"),
        (GOOD + 'assistant = "x"\n', "assistant"),
        ('version = 3\nsystem = "s"\nuser = "u"\n', "version"),
    ],
)
def test_missing_unknown_and_mistyped_keys_are_named(tmp_path: Path, text: str, keys: str) -> None:
    """Whoever wrote the file is told which file and which keys."""
    with pytest.raises(WorkflowError, match=rf"notes\.extract\.toml has missing, unknown or mistyped keys: {keys}\.$"):
        read(tmp_path, text)


@pytest.mark.parametrize("content", [b"version = ", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """No TOML, no UTF-8 and no file at all are the same kind of error, with the path."""
    path = tmp_path / "notes.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkflowError, match=r"notes\.toml cannot be read"):
        Prompt.read(path)


def texts(system: str, user: str) -> Prompt:
    return Prompt(id="a", version="1", system=system, user=user)


def test_a_version_may_have_what_the_workflows_code_fills_in() -> None:
    """For `structured` that is $text and perhaps $schema; for a node of one's own, just what its own prompt has."""
    refuse_other_placeholders(texts("s", "$text"), own=texts("$schema", "$text"))
    refuse_other_placeholders(texts("$page", "at $$5"), own=texts("s", "$page"))


@pytest.mark.parametrize(
    ("version", "own", "message"),
    [
        (texts("$schema", "u"), texts("$schema", "$text"), r"must hold \$text.*it holds \$schema"),
        (texts("$page", "$text"), texts("s", "$text"), r"it holds \$page, \$text"),
        (texts("s", "$text"), texts("s", "$page"), r"must hold \$page, as the workflow's own does; it holds \$text"),
        (texts("s", "u"), texts("$page", "$text"), r"must hold \$page, \$text.*it holds none"),
        (texts("s", "$text"), texts("s", "u"), "must hold no placeholder"),
    ],
)
def test_a_version_with_other_placeholders_is_refused(version: Prompt, own: Prompt, message: str) -> None:
    """The error names what it may hold and what it holds: nobody would fill that in, or show the document."""
    with pytest.raises(UsageError, match=message):
        refuse_other_placeholders(version, own)
