"""`Person` and `stanchion.toml`: who acts, how they are told apart, and what they may do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.errors import NotAllowed, UsageError
from stanchion.people import ROLES, Person, as_person, logged_in, read_people


def with_people(folder: Path, text: str) -> Path:
    """A folder whose operators' file has these people."""
    (folder / "stanchion.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("held", "may"),
    [
        ({"viewer"}, {"viewer"}),
        ({"reviewer"}, {"viewer", "reviewer"}),
        ({"operator"}, {"viewer", "reviewer", "operator"}),
        ({"accountant"}, {"accountant"}),
        ({"viewer", "accountant"}, {"viewer", "accountant"}),
        (set(), set()),
    ],
)
def test_each_role_includes_those_before_it(held: set[str], may: set[str]) -> None:
    """Roles of one's own include none, and are included in none."""
    person = Person("ada", frozenset(held), "login")
    assert {role for role in (*ROLES, "accountant") if person.may(role)} == may


def test_whoever_owns_the_file_may_do_everything() -> None:
    """A bare name has all roles, and is known by nothing but its own word."""
    person = as_person(" Ada ")
    assert (person.name, person.known_by, person.may("operator"), person.may("anything")) == (
        "Ada",
        "claim",
        True,
        True,
    )
    assert as_person(person) is person


def test_who_may_not_is_told_which_role_it_takes() -> None:
    """And where roles stand."""
    with pytest.raises(NotAllowed, match=r"ada may not answer reviews: that takes the role reviewer.* stanchion\.toml"):
        Person("ada", frozenset({"viewer"})).must("reviewer", "answer reviews")


@pytest.mark.parametrize("name", ["", " ", "\n", "x" * 201])
def test_a_name_tells_who_it_is(name: str) -> None:
    """Nobody, and a text of any length, are no names."""
    with pytest.raises(UsageError, match="Say who acts"):
        Person(name)


@pytest.mark.parametrize("spelling", ["Ada@Example.com", " ada@example.com ", "ａｄａ@example.com"])
def test_two_spellings_are_one_person(spelling: str) -> None:
    """Case, spaces and wide letters make nobody somebody else."""
    assert Person("ada@example.com").is_same_as(spelling)
    assert not Person("ada@example.com").is_same_as("bob@example.com")


@given(name=st.text(min_size=1, max_size=100))
def test_everybody_is_themselves(name: str) -> None:
    """Whatever a name is made of, folding it again changes nothing."""
    if name.strip():
        assert as_person(name).is_same_as(name)


def test_a_login_has_the_roles_that_the_file_gives(tmp_path: Path) -> None:
    """Under the name in lower case, known by the provider's word."""
    folder = with_people(tmp_path, '[people]\n"Ada@Example.com" = ["reviewer", "accountant"]\n')
    assert logged_in("ADA@example.COM", folder) == Person(
        "ada@example.com", frozenset({"reviewer", "accountant"}), "login"
    )


@pytest.mark.parametrize("text", ["", "[money]\n", '[people]\n"bob@example.com" = ["reviewer"]\n'])
def test_who_is_not_named_has_no_role(tmp_path: Path, text: str) -> None:
    """Also where there is no such table, or no file."""
    for folder in (with_people(tmp_path, text), tmp_path / "none"):
        with pytest.raises(NotAllowed, match="has no role here"):
            logged_in("ada@example.com", folder)


def test_one_person_stands_in_the_file_once(tmp_path: Path) -> None:
    """Two spellings with roles of their own would leave to chance which of them holds; both are named."""
    twice = '[people]\n"ada@x.org" = ["viewer"]\n"Ada@X.org" = ["operator"]\n'
    with pytest.raises(UsageError, match=r"one person twice, as 'ada@x\.org' and as 'Ada@X\.org'"):
        read_people(with_people(tmp_path, twice))


@pytest.mark.parametrize("roles", ['"reviewer"', "[]", "[5]", '[""]', "{}", "true"])
def test_roles_are_a_list_of_names(tmp_path: Path, roles: str) -> None:
    """Anything else is a mistake in the file, and gives nobody a role."""
    with pytest.raises(UsageError, match="takes a list of roles"):
        read_people(with_people(tmp_path, f'[people]\n"ada@x.org" = {roles}\n'))


@pytest.mark.parametrize("text", ["people = 5", 'people = ["ada@x.org"]', "[people", "\x00"])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, text: str) -> None:
    """An unreadable file does not count as one that names nobody."""
    with pytest.raises(UsageError, match=r"stanchion\.toml"):
        read_people(with_people(tmp_path, text))


@pytest.mark.parametrize("address", ["\uff45ve@example.com", "eve\u2060@example.com", "wei\u00df@example.com"])
def test_an_address_that_only_looks_like_anothers_has_no_role(tmp_path: Path, address: str) -> None:
    """Whoever can have an address written with look-alike characters does not become the person it looks like."""
    (tmp_path / "stanchion.toml").write_text(
        '[people]\n"eve@example.com" = ["operator"]\n"weiss@example.com" = ["viewer"]\n'
    )

    with pytest.raises(NotAllowed, match="could be taken for another"):
        logged_in(address, tmp_path)
    assert logged_in("Eve@Example.com", tmp_path).name == "eve@example.com"
