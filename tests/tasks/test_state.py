"""The state file: private, opened by one process at a time, never half written, never behind its cursor."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from schemas.esp import Contacts
from schemas.state import TABLES
from tasks import state as states
from tasks import storage
from tasks.connector import Page, SetupError
from tasks.state import SCHEMA_VERSION, State, fact, remember
from tasks.validate import check

AT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)

COUNTING = """
import sys
from pathlib import Path
from tasks.state import State, fact, remember
state = State(Path(sys.argv[1]))
for _ in range(15):
    with state.open() as database:
        remember(database, "count", str(int(fact(database, "count") or 0) + 1))
"""
DYING = """
import os, signal, sys
from pathlib import Path
from tasks.state import State, remember
with State(Path(sys.argv[1])).open() as database:
    remember(database, "half", "done")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def everything(state: State) -> dict[str, list[tuple[object, ...]]]:
    with state.open() as database:
        return {table: sorted(database.execute(f"from {table}").fetchall(), key=str) for table in TABLES}


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "acme")


def test_only_the_user_can_read_it(state: State) -> None:
    with state.open():
        pass
    assert mode(state.file) == 0o600
    assert mode(state.folder) == 0o700


def test_a_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir(mode=0o755)
    with State(tmp_path / "acme").open():
        pass
    assert mode(tmp_path / "acme") == 0o700


def test_opening_it_again_changes_nothing(state: State) -> None:
    before = everything(state)
    assert everything(state) == everything(State(state.folder)) == before
    assert before["ops.facts"] == [("schema_version", str(SCHEMA_VERSION))]


def test_it_holds_every_table_of_the_dictionary_as_described(state: State) -> None:
    with state.open() as database:
        for name, model in TABLES.items():
            found = {row[0]: (row[1], row[2]) for row in database.execute(f"describe {name}").fetchall()}
            columns = model.to_schema().columns
            assert list(found) == list(columns)
            assert {column: is_null == "YES" for column, (_, is_null) in found.items()} == {
                column: spec.nullable for column, spec in columns.items()
            }


def test_a_step_that_fails_leaves_nothing_behind(state: State) -> None:
    def fail() -> None:
        with state.open() as database:
            remember(database, "half", "done")
            raise RuntimeError("defect")

    with pytest.raises(RuntimeError, match="defect"):
        fail()
    with state.open() as database:
        assert fact(database, "half") is None


def test_a_process_that_is_killed_in_a_step_leaves_nothing_behind(state: State) -> None:
    before = everything(state)
    ended = subprocess.run([sys.executable, "-c", DYING, str(state.folder)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert everything(state) == before


def test_processes_that_open_it_at_the_same_time_queue(state: State) -> None:
    together = [
        subprocess.Popen([sys.executable, "-c", COUNTING, str(state.folder)], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in together:
        _, said = process.communicate(timeout=100)
        assert (process.returncode, said) == (0, "")
    with state.open() as database:
        assert fact(database, "count") == "45"


def test_a_state_of_a_newer_shopsync_is_left_alone(state: State) -> None:
    with state.open() as database:
        remember(database, "schema_version", str(SCHEMA_VERSION + 1))
    refused = pytest.raises(SetupError, match=r"written by a newer shopsync \(schema 2, this one knows 1\): update shopsync")
    with refused, state.open():
        pytest.fail("opened")
    with duckdb.connect(str(state.file), read_only=True) as database:
        assert fact(database, "schema_version") == str(SCHEMA_VERSION + 1)


def test_an_older_state_is_brought_up_to_date_once(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    with state.open():
        pass
    monkeypatch.setattr(states, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setitem(states.MIGRATIONS, SCHEMA_VERSION + 1, ("alter table ops.cursors add column note varchar",))
    for _ in range(2):
        with state.open() as database:
            assert fact(database, "schema_version") == str(SCHEMA_VERSION + 1)
            assert database.execute("select count(*) from ops.cursors where note is null").fetchone() == (0,)


# Pages and cursors


def contact(email: str, status: str = "subscribed") -> dict[str, str]:
    return {"email": email, "status": status}


def stored(state: State, records: list[dict[str, str]], *, asked_at: datetime = AT) -> storage.Stored:
    frame = pl.DataFrame(
        {name: [None for _ in records] for name in Contacts.to_schema().columns}
        | {
            "contact_id": [record["email"] for record in records],
            "email": [record["email"] for record in records],
            "address": [record["email"].lower() if "@" in record["email"] else None for record in records],
            "status": [record["status"] for record in records],
            "changed_at": [AT - timedelta(days=1) for _ in records],
            "fields": ["{}" for _ in records],
            "tags": ["[]" for _ in records],
        },
        schema={name: spec.dtype.type for name, spec in Contacts.to_schema().columns.items()},
    )
    page = Page(records, asked_at, asked_at + timedelta(seconds=1), cursor="2026-05-01")
    checked = check(frame, Contacts, records, source="esp", entity="contacts", key="address")
    with state.open() as database:
        return storage.store(database, checked, page, "run")


def test_a_page_that_is_stored_twice_changes_nothing(state: State) -> None:
    records = [contact("anna@example.com"), contact("bo@example.com", "unsubscribed"), contact("bo", "pending")]
    first = stored(state, records)
    before = everything(state)
    second = stored(state, records)
    after = everything(state)
    assert (first.changed, first.unchanged, second.changed, second.unchanged) == (2, 0, 0, 2)
    passing = {"ops.rejected_rows"}
    assert {t: r for t, r in after.items() if t not in passing} == {t: r for t, r in before.items() if t not in passing}
    assert len(after["ops.rejected_rows"]) == len(before["ops.rejected_rows"]) == 1


def test_every_row_of_a_page_is_counted_once(state: State) -> None:
    records = [contact("anna@example.com"), contact("anna@example.com"), contact("bo"), contact("cleo"), contact("d@e.f", "?")]
    found = stored(state, records)
    assert found.extracted == 5
    assert found.extracted == found.changed + found.unchanged + found.rejected
    assert found.rejected == 3


def test_an_answer_asked_for_earlier_does_not_undo_a_later_one(state: State) -> None:
    stored(state, [contact("anna@example.com", "unsubscribed")], asked_at=AT)
    stored(state, [contact("anna@example.com", "subscribed")], asked_at=AT - timedelta(hours=1))
    with state.open() as database:
        assert database.execute("select status from esp.contacts").fetchall() == [("unsubscribed",)]


@pytest.mark.parametrize("later", [None, "2026-04-30T23:59:59+00:00"])
def test_a_cursor_never_moves_back(state: State, later: str | None) -> None:
    there = "2026-05-01T00:00:00+00:00"
    for cursor in (None, there, later):
        with state.open() as database:
            storage.move_cursor(database, "esp", "contacts", cursor)
    with state.open() as database:
        assert storage.where_to_go_on(database, "esp", "contacts") == (there, None)
        storage.move_cursor(database, "esp", "contacts", "2026-05-02T00:00:00+00:00", listed_at=AT)
        storage.move_cursor(database, "esp", "contacts", None)
        assert storage.where_to_go_on(database, "esp", "contacts") == ("2026-05-02T00:00:00+00:00", AT)


def test_written_anew_it_is_the_same_but_for_what_was_deleted(state: State) -> None:
    """DuckDB keeps the bytes of deleted rows; a fresh file has none, and no log beside it."""
    with state.open() as database:
        remember(database, "somebody@example.com", "there")
        database.execute("comment on table ops.facts is 'What the state knows.'")
    with state.open() as database:
        database.execute("delete from ops.facts where name = 'somebody@example.com'")
        remember(database, "kept", "yes")
    before = everything(state)
    assert b"somebody@example.com" in state.file.read_bytes()
    state.rewrite()
    assert b"somebody@example.com" not in state.file.read_bytes()
    assert mode(state.file) == 0o600
    assert {file.name for file in state.folder.iterdir()} == {"state.duckdb", "state.lock"}
    assert everything(state) == everything(State(state.folder)) == before
    with state.open() as database:
        assert database.execute("select comment from duckdb_tables() where table_name = 'facts'").fetchone() == (
            "What the state knows.",
        )
        remember(database, "kept", "still")


def test_a_copy_that_is_not_the_same_replaces_nothing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(state)
    monkeypatch.setattr(states, "_shape", lambda duck, name: [(name,)])
    with pytest.raises(states.RewriteError, match="left as it is"):
        state.rewrite()
    assert everything(state) == before
