"""The chain: whole whatever the program does, killed or not; broken, and at which link, whatever anybody else does to it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from schemas.state import TABLES
from tasks import chain
from tasks.connector import SetupError
from tasks.state import State, rows
from tasks.storage import add_events

ROOT = Path(__file__).parent.parent.parent
AT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

DYING = """
import os, signal, sys
from pathlib import Path
from tasks import chain
from tasks.state import State

really = chain.note

def dying(file, word, end):
    if sys.argv[2] == f"before {word}":
        os.kill(os.getpid(), signal.SIGKILL)
    really(file, word, end)
    if sys.argv[2] == f"after {word}":
        os.kill(os.getpid(), signal.SIGKILL)

chain.note = dying
chain.seal(State(Path(sys.argv[1])), "killed")
"""


def hear(state: State, *ids: str, address: str | None = None) -> None:
    """Record events as a run does."""
    with state.open() as database:
        for event in ids:
            add_events(
                database,
                f"""
                select
                    '{event}' as event_id, '{address or f"{event}@example.com"}' as address, 'email' as channel, 'shop' as side,
                    'shop' as source, 'customer:1' as record, 'opted_in' as kind, 'self' as actor,
                    timestamptz '{AT}' as earliest_at, timestamptz '{AT}' as latest_at, timestamptz '{AT}' as as_of_at,
                    cast(null as varchar) as caused_by, false as is_inferred, '{{"form":"Kö\\"ln"}}' as evidence
                """,
                "run-1",
            )


def tamper(state: State, *statements: str) -> None:
    with state.open() as database:
        for statement in statements:
            database.execute(statement)


def broken(state: State) -> tuple[int, str] | None:
    found = chain.verify(state)["broken"]
    return (found["link"], found["sentence"]) if found else None


@pytest.fixture
def state(tmp_path: Path) -> State:
    """Three links: a and b, c, d."""
    made = State(tmp_path / "acme")
    for number, ids in enumerate((("a", "b"), ("c",), ("d",)), start=1):
        hear(made, *ids)
        assert chain.seal(made, f"run-{number}").number == number
    return made


def test_it_is_whole(state: State) -> None:
    found = chain.verify(state)
    assert found["whole"]
    assert (found["link"], found["events"], found["erased"], found["waiting"], found["broken"]) == (3, 4, 0, 0, None)
    with state.open() as database:
        assert rows(database, "select run_id, events from consent.chain order by number") == [
            {"run_id": "run-1", "events": 2},
            {"run_id": "run-2", "events": 1},
            {"run_id": "run-3", "events": 1},
        ]
        assert chain.last(database) == chain.Head(3, found["head"])


def test_a_chain_that_has_not_begun_is_whole(tmp_path: Path) -> None:
    assert chain.verify(State(tmp_path / "acme"))["whole"]


def test_who_saw_nothing_adds_no_link(state: State) -> None:
    before = state.heads.read_bytes()
    chain.seal(state, "run-4")
    assert chain.verify(state)["link"] == 3
    assert state.heads.read_bytes() == before


def test_what_no_run_has_closed_yet_waits(state: State) -> None:
    hear(state, "e")
    found = chain.verify(state)
    assert (found["whole"], found["waiting"]) == (True, 1)


def test_an_auditor_comes_to_the_same_hashes_without_our_code(state: State) -> None:
    """Commitment: SHA-256 of the salt and the event as JSON without nulls. Root: of the signed commitments in their order."""

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    def micros(at: datetime) -> int:
        return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    with state.open() as database:
        events = {event["event_id"]: event for event in rows(database, "from consent.events")}
        commitments = rows(database, "from consent.commitments")
        links = rows(database, "from consent.chain order by number")
    previous = ""
    for link in links:
        mine = []
        for row in (row for row in commitments if row["link"] == link["number"]):
            event = {k: micros(v) if isinstance(v, datetime) else v for k, v in events[row["event_id"]].items()}
            text = json.dumps({k: v for k, v in event.items() if v is not None}, ensure_ascii=False, separators=(",", ":"))
            assert sha(row["salt"] + text) == row["commitment"]
            mine.append("+" + row["commitment"])
        assert sha(",".join(sorted(mine))) == link["root"]
        content = (link["number"], link["run_id"], micros(link["closed_at"]), link["events"], 0, link["root"], previous)
        previous = sha("|".join(map(str, content)))
        assert previous == link["head"]


def test_no_two_events_have_the_same_salt(state: State) -> None:
    with state.open() as database:
        assert database.execute("select count(distinct salt), min(length(salt)) from consent.commitments").fetchall() == [
            (4, 64)
        ]


# Tampering

COPY = "insert into consent.events by name select * replace ('x' as event_id, {}) from consent.events where event_id = 'c'"
TAMPERED = {
    "an event was changed": (["update consent.events set kind = 'opted_out' where event_id = 'c'"], 2, "were changed (1)"),
    "its evidence was lost": (["update consent.events set evidence = null where event_id = 'b'"], 1, "were changed (1)"),
    "its time was moved": (
        ["update consent.events set latest_at = latest_at + interval 1 microsecond where event_id = 'd'"],
        3,
        "were changed (1)",
    ),
    "an event was removed": (["delete from consent.events where event_id = 'b'"], 1, "were removed without an erasure (1)"),
    "an event was removed with its commitment": (
        ["delete from consent.events where event_id = 'c'", "delete from consent.commitments where event_id = 'c'"],
        2,
        "does not close over its commitments",
    ),
    "an event was removed as if erased": (
        [
            "delete from consent.events where event_id = 'a'",
            "update consent.commitments set event_id = null, salt = null where event_id = 'a'",
        ],
        1,
        "were removed without an erasure",
    ),
    "an event was removed as if erased by a link": (
        [
            "delete from consent.events where event_id = 'a'",
            "update consent.commitments set event_id = null, salt = null, erased_in = 3 where event_id = 'a'",
        ],
        3,
        "does not close over its commitments",
    ),
    "an event was added in the past": ([COPY.format("recorded_at as recorded_at")], 2, "were added"),
    "an event was added before everything": ([COPY.format("timestamptz '2020-01-01' as recorded_at")], 1, "were added"),
    "an event was added with a commitment of its own": (
        [
            COPY.format("recorded_at as recorded_at"),
            "insert into consent.commitments values (2, sha256('x'), 'x', 'x', null)",
        ],
        2,
        "does not close over its commitments",
    ),
    "an event was doubled": (["insert into consent.events from consent.events where event_id = 'c'"], 2, "were added"),
    "the salt was changed": (["update consent.commitments set salt = 'x' where event_id = 'c'"], 2, "were changed"),
    "a commitment moved to another link": (
        ["update consent.commitments set link = 1 where event_id = 'c'"],
        1,
        "does not close over its commitments",
    ),
    "a link was removed": (["delete from consent.chain where number = 2"], 2, "link 2 was removed"),
    "a link and all that came with it were removed": (
        [
            "delete from consent.events where event_id = 'c'",
            "delete from consent.commitments where link = 2",
            "delete from consent.chain where number = 2",
        ],
        2,
        "link 2 was removed",
    ),
    "the first link was removed": (["delete from consent.chain where number = 1"], 1, "link 1 was removed"),
    "the last link was removed": (["delete from consent.chain where number = 3"], 3, "link 3 was removed"),
    "links changed their places": (
        ["update consent.chain set number = 5 - number where number in (2, 3)"],
        2,
        "does not follow the link before it",
    ),
    "a link was doubled": (["insert into consent.chain from consent.chain where number = 2"], 3, "does not follow"),
    "a link's time was changed": (
        ["update consent.chain set closed_at = closed_at - interval 1 day where number = 2"],
        2,
        "its head does not come from its content",
    ),
    "a link counts less": (["update consent.chain set events = 1 where number = 1"], 1, "its head does not come from"),
    "a link was made anew": (
        [
            "update consent.events set kind = 'opted_out' where event_id = 'd'",
            f"""
            update consent.commitments set commitment = sha256(salt || {chain.EVENT})
            from consent.events where commitments.event_id = events.event_id and link = 3
            """,
            "update consent.chain set root = sha256('+' || commitment) from consent.commitments where number = 3 and link = 3",
            f"update consent.chain set head = sha256({chain.CONTENT}) where number = 3",
        ],
        3,
        "link 3 is not the one that was closed at",
    ),
    "the last link was removed with all that came with it": (
        [
            "delete from consent.events where event_id = 'd'",
            "delete from consent.commitments where link = 3",
            "delete from consent.chain where number = 3",
        ],
        3,
        "the state ends with link 2, but link 3 was closed at",
    ),
    "everything was emptied": (
        ["delete from consent.events", "delete from consent.commitments", "delete from consent.chain"],
        1,
        "the state ends with link 0, but link 1 was closed at",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_the_first_broken_link_is_named(state: State, how: str) -> None:
    statements, link, sentence = TAMPERED[how]
    tamper(state, *statements)
    found = broken(state)
    assert found is not None
    assert (found[0], sentence in found[1]) == (link, True), found


@pytest.mark.parametrize("how", TAMPERED)
def test_it_stays_broken_when_runs_go_on(state: State, how: str) -> None:
    statements, *_ = TAMPERED[how]
    tamper(state, *statements)
    hear(state, "later")
    chain.seal(state, "run-4")
    assert broken(state) is not None


def test_the_first_of_several_is_named(state: State) -> None:
    tamper(state, "delete from consent.events where event_id in ('b', 'd')", "delete from consent.chain where number = 3")
    found = broken(state)
    assert found is not None
    assert found[0] == 1
    assert found[1].startswith(
        "events of link 1 were removed without an erasure (1). Keep this state as evidence, and restore a "
    )


# The file of heads


def test_the_heads_are_private_and_only_ever_appended(state: State) -> None:
    before = state.heads.read_bytes()
    assert stat.S_IMODE(state.heads.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.heads.parent.stat().st_mode) == 0o700
    hear(state, "e")
    chain.seal(state, "run-4")
    assert state.heads.read_bytes().startswith(before)
    assert [line["word"] for line in chain.notes(state.heads)] == ["closing", "closed"] * 4


CUT: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int]] = {
    "its end": (lambda lines: lines[:-2], 3),
    "its beginning": (lambda lines: lines[2:], 1),
    "its middle": (lambda lines: lines[:2] + lines[4:], 2),
    "all of it": (lambda lines: [], 1),
    "the sense of it": (lambda lines: [b"[]", b"1", b'{"word": "closed"}', b"\xff"], 1),
}


@pytest.mark.parametrize("what", CUT)
def test_who_cuts_the_file_of_heads_is_noticed(state: State, what: str) -> None:
    cut, link = CUT[what]
    state.heads.write_bytes(b"\n".join([*cut(state.heads.read_bytes().splitlines()), b""]))
    found = broken(state)
    assert found is not None
    assert (found[0], f"stands in the state and not in {state.heads}: the file was cut" in found[1]) == (link, True)


def test_a_lost_file_of_heads_is_noticed_until_somebody_accepts_it(state: State) -> None:
    state.heads.unlink()
    found = broken(state)
    assert found is not None
    assert found[0] == 1
    assert chain.verify(state, accept=True)["whole"]
    hear(state, "e")
    chain.seal(state, "run-4")
    assert chain.verify(state)["whole"]
    tamper(state, "delete from consent.events where event_id = 'a'")
    assert chain.verify(state, accept=True)["broken"]["link"] == 1  # what is broken inside cannot be accepted


@pytest.mark.parametrize("goes_on", [False, True])
def test_an_older_copy_of_the_state_is_noticed_until_somebody_accepts_it(state: State, goes_on: bool) -> None:
    backup = state.file.with_suffix(".backup")
    shutil.copy(state.file, backup)
    hear(state, "e")
    chain.seal(state, "run-4")
    shutil.copy(backup, state.file)
    expected = "the state ends with link 3, but link 4 was closed at"
    if goes_on:
        hear(state, "f")
        chain.seal(state, "run-5")
        expected = "link 4 is not the one that was closed at"
    found = broken(state)
    assert found is not None
    assert found[0] == 4
    assert expected in found[1]
    assert "the state is an older copy, as after a restored backup" in found[1]
    accepted = chain.verify(state, accept=True)
    assert accepted["whole"]
    assert accepted["accepted_at"] is not None
    hear(state, "g")
    chain.seal(state, "run-6")
    assert chain.verify(state)["whole"]
    shutil.copy(backup, state.file)
    assert broken(state) is not None


def test_accepting_a_whole_chain_changes_nothing(state: State) -> None:
    before = state.heads.read_bytes()
    assert chain.verify(state, accept=True)["whole"]
    assert state.heads.read_bytes() == before


def test_a_line_that_a_power_cut_left_half_is_no_break(state: State) -> None:
    with state.heads.open("ab") as file:
        file.write(b'{"word":"closing","num')
    assert chain.verify(state)["whole"]
    hear(state, "e")
    chain.seal(state, "run-4")
    assert chain.verify(state)["whole"]


def test_a_link_whose_head_cannot_be_noted_is_not_committed(state: State) -> None:
    hear(state, "e")
    away = state.heads.rename(state.heads.with_suffix(".away"))
    state.heads.mkdir()
    with pytest.raises(SetupError, match=r"nothing can be noted in .*acme\.jsonl \(Is a directory\)"):
        chain.seal(state, "run-4")
    state.heads.rmdir()
    away.rename(state.heads)
    found = chain.verify(state)
    assert (found["whole"], found["link"], found["waiting"]) == (True, 3, 1)


# Crashes


@pytest.mark.parametrize("moment", ["before closing", "after closing", "before closed", "after closed"])
def test_a_run_killed_around_the_commit_neither_breaks_the_chain_nor_loses_an_event(state: State, moment: str) -> None:
    hear(state, "e", "f")
    command = [sys.executable, "-c", DYING, str(state.folder), moment]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    is_committed = moment.endswith("closed")
    found = chain.verify(state)
    assert found["broken"] is None
    assert (found["link"], found["events"], found["waiting"]) == ((4, 6, 0) if is_committed else (3, 4, 2))
    chain.seal(state, "run-5")
    hear(state, "g")
    chain.seal(state, "run-6")
    found = chain.verify(state)
    assert found["broken"] is None
    assert (found["link"], found["events"], found["waiting"]) == (5, 7, 0)


def test_a_clock_that_was_set_back_is_no_break(state: State) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1)):
        hear(state, "e")
        chain.seal(state, "run-4")
    hear(state, "f")
    chain.seal(state, "run-5")
    assert broken(state) is None


# Erasure


def test_an_erased_person_leaves_only_commitments(state: State) -> None:
    hear(state, "late", address="c@example.com")  # no link closes over it yet
    with chain.closing(state, "erasure") as database:
        assert chain.erase(database, "c@example.com") == 2
    found = chain.verify(state)
    assert found["broken"] is None
    assert (found["link"], found["events"], found["erased"]) == (4, 3, 2)
    with state.open() as database:
        assert rows(database, "select events, erased from consent.chain where number = 4") == [{"events": 1, "erased": 2}]
        assert rows(database, "select link, event_id, salt from consent.commitments where erased_in = 4 order by link") == [
            {"link": 2, "event_id": None, "salt": None},
            {"link": 4, "event_id": None, "salt": None},
        ]
        held: list[Any] = [database.execute(f"from {table}").fetchall() for table in TABLES if table.startswith("consent.")]
    assert "c@example.com" not in str(held)
    hear(state, "e")
    chain.seal(state, "run-6")
    assert chain.verify(state)["whole"]


def test_erasing_somebody_unknown_changes_nothing(state: State) -> None:
    with chain.closing(state, "erasure") as database:
        assert chain.erase(database, "nobody@example.com") == 0
    assert chain.verify(state)["link"] == 3


def test_an_erased_event_that_is_put_back_is_noticed(state: State) -> None:
    with state.open() as database:
        database.execute("create table main.kept as from consent.events where event_id = 'c'")
    with chain.closing(state, "erasure") as database:
        chain.erase(database, "c@example.com")
    tamper(state, "insert into consent.events from main.kept")
    found = broken(state)
    assert found is not None
    assert (found[0], "were added" in found[1]) == (2, True)


# Append only


def test_only_an_erasure_touches_events_that_are_recorded() -> None:
    touching = {
        (path.relative_to(ROOT).as_posix(), re.sub(r"\s+", " ", match).lower())
        for folder in ("flows", "tasks", "schemas")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".sql"}
        for match in re.findall(
            r"(?:insert\s+(?:or\s+\w+\s+)?into|update|delete\s+from|merge\s+into|truncate(?:\s+table)?|drop\s+table|alter\s+table)"
            r"\s+consent\.(?!tombstones)\w+",
            path.read_text(encoding="utf-8"),
            re.IGNORECASE,
        )
    }
    assert touching == {
        ("tasks/storage.py", "insert into consent.events"),
        ("tasks/chain.py", "insert into consent.chain"),
        ("tasks/chain.py", "insert into consent.commitments"),
        ("tasks/chain.py", "update consent.commitments"),  # these two are `erase`
        ("tasks/chain.py", "delete from consent.events"),
    }
