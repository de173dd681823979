"""Who acts, and what they may do.

Whoever owns the database file owns the data: a bare name given to the library or the command line may do everything.
People who come through a shared console have the roles that `stanchion.toml` gives them, and no others.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stanchion.errors import NotAllowed, UsageError
from stanchion.operators_file import OPERATORS_FILE, read_toml

ROLES = ("viewer", "reviewer", "operator")
"""Each may do what those before it may: look; answer reviews; cancel, pause, fork and force."""

LONGEST_NAME = 200


@dataclass(frozen=True)
class Person:
    """Somebody who acts.

    Args:
        name: as it stands in the trail; for a login, the e-mail address in lower case.
        roles: of `ROLES`, and any of your own that review nodes ask for; None: all, for whoever owns the file.
        known_by: how we know who it is: `login` (an identity provider vouches for it), `system` (the operating-system
            user), or `claim` (the caller says so).
    """

    name: str
    roles: frozenset[str] | None = None
    known_by: Literal["login", "system", "claim"] = "claim"

    def __post_init__(self) -> None:
        """Refuse a name that would tell nobody who it was.

        Raises:
            UsageError: it is empty, or longer than 200 characters.
        """
        if not self.name.strip() or len(self.name) > LONGEST_NAME:
            raise UsageError(f"Say who acts, in 1 to {LONGEST_NAME} characters.")

    def may(self, role: str) -> bool:
        """Say whether somebody may do what a role may.

        Args:
            role: one of `ROLES`, of which each includes those before it, or one of your own.
        """
        if self.roles is None or role in self.roles:
            return True
        return role in ROLES and any(role in ROLES[: ROLES.index(held) + 1] for held in self.roles if held in ROLES)

    def must(self, role: str, to_do: str) -> None:
        """Refuse what somebody may not do.

        Args:
            role: that it takes.
            to_do: what, such as `answer reviews`.

        Raises:
            NotAllowed: they do not have the role.
        """
        if not self.may(role):
            raise NotAllowed(
                f"{self.name} may not {to_do}: that takes the role {role}. Roles stand in {OPERATORS_FILE}."
            )

    def is_same_as(self, name: str) -> bool:
        """Say whether this is the person of a name that was written down before.

        Args:
            name: from a table.
        """
        return self.folded == _folded(name)

    @property
    def folded(self) -> str:
        """What all spellings of the name have in common."""
        return _folded(self.name)


def as_person(by: Person | str) -> Person:
    """Return who acts; a bare name is whoever owns the database file, calling themselves so.

    Args:
        by: a person, or a name.

    Raises:
        UsageError: the name is empty or too long.
    """
    return Person(by.strip()) if isinstance(by, str) else by


def read_people(folder: Path | None = None) -> Mapping[str, frozenset[str]]:
    """Return who may log in to a shared console, by folded name, from `[people]` of `stanchion.toml`.

    Args:
        folder: where the file is looked for; the current folder by default.

    Raises:
        UsageError: the file cannot be read, or a person has no list of roles, or stands in it in two spellings.
    """
    path = (folder or Path.cwd()) / OPERATORS_FILE
    if not path.is_file():
        return {}
    people = read_toml(path).get("people", {})
    if not isinstance(people, dict):
        raise UsageError(f"{path}: [people] is a table of e-mail addresses to lists of roles.")
    spellings: dict[str, str] = {}
    for name in people:
        other = spellings.setdefault(_folded(name), name)
        if other != name:
            raise UsageError(
                f"{path}: [people] names one person twice, as {other!r} and as {name!r}; keep one of them."
            )
    return {_folded(name): _roles(path, name, roles) for name, roles in people.items()}


def logged_in(name: str, folder: Path | None = None) -> Person:
    """Return the person that an identity provider vouches for, with the roles that `stanchion.toml` gives them.

    Args:
        name: the e-mail address that the provider verified.
        folder: where the file is looked for; the current folder by default.

    Raises:
        NotAllowed: the file does not name this person, or the address could be taken for another's.
        UsageError: the file cannot be used.
    """
    address = name.strip().lower()
    if address != _folded(address):  # in full-width letters, or with ß: another address, which folds to the same
        raise NotAllowed(
            "This address is written with characters that could be taken for another's; it has no role here."
        )
    roles = read_people(folder).get(address)
    if roles is None:
        raise NotAllowed(
            f"{name[:LONGEST_NAME]} has no role here: an operator adds it to [people] in {OPERATORS_FILE}."
        )
    return Person(address, roles, "login")


def _roles(path: Path, name: str, roles: object) -> frozenset[str]:
    if not isinstance(roles, list) or not roles or not all(isinstance(role, str) and role for role in roles):
        raise UsageError(f"{path}: people.{name!r} takes a list of roles, such as ['reviewer']; not {roles!r}.")
    return frozenset(roles)


def _folded(name: str) -> str:
    """Return what two spellings of one person's name have in common; signs that nobody sees are none of it."""
    return unicodedata.normalize("NFKC", name).replace("\u2060", "").strip().casefold()
