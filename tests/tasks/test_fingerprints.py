"""Which shop this connection knows, and which one answers: every case there is, on a real state file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.connector import Fingerprint, SetupError
from tasks.fingerprints import forget, former_homes, recognise
from tasks.state import State, rows

CALLS_ITSELF = (
    "Shop main calls itself {found}, but this connection was first synced with {known}: a copy of a shop may not write"
)
HIDES_ID = "Shop main does not show its id any more, so a copy could not be told from it"
IS_ANOTHER = "Shop main at {found} is another shop than the one this connection was first synced with"

# `-` is nothing: never seen, or without an id of its own. What is expected: what is known afterwards, or the sentence.
TABLE = """
    known home | known id | found home | found id | then
    -----------+----------+------------+----------+--------------
    -          | -        | a.example  | -        | a.example -
    -          | -        | a.example  | 1        | a.example 1
    a.example  | -        | a.example  | -        | a.example -
    a.example  | -        | a.example  | 1        | a.example 1
    a.example  | -        | b.example  | -        | calls itself
    a.example  | -        | b.example  | 1        | calls itself
    a.example  | 1        | a.example  | 1        | a.example 1
    a.example  | 1        | a.example  | -        | hides id
    a.example  | 1        | a.example  | 2        | is another
    a.example  | 1        | b.example  | -        | calls itself
    a.example  | 1        | b.example  | 1        | calls itself
    a.example  | 1        | b.example  | 2        | calls itself
"""
CASES = [
    tuple(None if cell.strip() == "-" else cell.strip() for cell in line.split("|")) for line in TABLE.strip().splitlines()[2:]
]
SENTENCES = {"calls itself": CALLS_ITSELF, "hides id": HIDES_ID, "is another": IS_ANOTHER}


def run_on(folder: Path) -> Any:
    """What `recognise` needs of a run; `found` says who answers."""
    run = SimpleNamespace(name="acme", state=State(folder), found=None)
    run.shops = {"main": SimpleNamespace(fingerprint=lambda: run.found)}
    return run


def facts(run: Any) -> list[dict[str, Any]]:
    with run.state.open() as database:
        return rows(database, "from ops.facts where starts_with(name, 'fingerprint:') order by all")


def known_as(run: Any, home: str | None, shop_id: str | None) -> list[dict[str, Any]]:
    """The facts of a connection that has seen this shop; seen by really looking at it."""
    if home:
        run.found = Fingerprint(home, shop_id)
        recognise(run, "main")
    return facts(run)


@pytest.mark.parametrize(("known_home", "known_id", "found_home", "found_id", "then"), CASES)
def test_who_answers(
    tmp_path: Path, known_home: str | None, known_id: str | None, found_home: str, found_id: str | None, then: str
) -> None:
    run = run_on(tmp_path / "run")
    before = known_as(run, known_home, known_id)
    run.found = Fingerprint(found_home, found_id)
    if then in SENTENCES:
        for remembers in (False, True):
            with pytest.raises(SetupError) as refused:
                recognise(run, "main", remembers=remembers)
            assert str(refused.value).startswith(SENTENCES[then].format(found=found_home, known=known_home))
            assert "shopsync check acme --accept-move main" in str(refused.value)
        assert facts(run) == before
        return
    recognise(run, "main", remembers=False)
    assert facts(run) == before  # a mere look writes nothing
    recognise(run, "main")
    home, shop_id = then.split()
    assert facts(run) == known_as(run_on(tmp_path / "as expected"), home, None if shop_id == "-" else shop_id)


def test_a_move_that_was_accepted_is_remembered_with_what_was_before(tmp_path: Path) -> None:
    run = run_on(tmp_path)
    for home in ("a.example", "b.example", "a.example"):
        known_as(run, home, home[0])
        forget(run, "main")
    run.found = Fingerprint("c.example", "1")
    recognise(run, "main")
    with run.state.open() as database:
        assert former_homes(database, "main") == ["a.example", "b.example"]
        assert former_homes(database, "mai") == []


def test_a_shop_that_the_connection_does_not_have_cannot_have_moved(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="connection acme has no shop 'other'; it has main"):
        forget(run_on(tmp_path), "other")
