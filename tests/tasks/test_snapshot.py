"""The snapshot: whole, read-only, two of them, never in anybody's way."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from schemas.settings import Connection
from tasks.publish import publish
from tasks.run import Run, new_run_id
from tasks.snapshot import CONTACTS, LINK, RELATIONS, open_snapshot
from tasks.state import State, remember

DYING = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import tasks.publish, tasks.snapshot
from test_snapshot import a_run

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

really = getattr(tasks.publish, sys.argv[2])

def once(*arguments):
    if sys.argv[2] == "copy_into":
        really(*arguments)
    die()

setattr(tasks.publish, sys.argv[2], once)
tasks.publish.publish.fn(a_run(Path(sys.argv[1])))
"""


def a_run(folder: Path, **settings: object) -> Run:
    connection = Connection.model_validate({"shop": {}, "esp": {}, **settings})
    at, state = datetime.now(UTC), State(folder)
    with state.open():  # a run's first step writes down that it began
        pass
    return Run("acme", connection, state, {}, None, "forward", new_run_id(at), at)  # type: ignore[arg-type]


def something_happens(run: Run, address: str) -> None:
    with run.state.open() as database:
        database.execute(
            "insert into consent.events by name select $1 as event_id, $1 as address, 'email' as channel, 'shop' as side, "
            "'shop' as source, 'customer:1' as record, 'opted_in' as kind, 'self' as actor, now() as earliest_at, "
            "now() as latest_at, now() as as_of_at, false as is_inferred, $2 as run_id, now() as recorded_at",
            [address, run.run_id],
        )


def shown(folder: Path) -> list[str]:
    with open_snapshot(folder) as database:
        return [row[0] for row in database.execute("select address from consent_events order by all").fetchall()]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return a_run(tmp_path / "acme")


def test_it_is_read_only_under_a_link(run: Run) -> None:
    new = publish.fn(run)
    link = run.state.folder / LINK
    assert link.is_symlink()
    assert link.resolve() == new
    assert stat.S_IMODE(new.stat().st_mode) == 0o444
    with open_snapshot(run.state.folder) as database, pytest.raises(duckdb.Error, match="read-only"):
        database.execute("create table x (y int)")


def test_it_is_published_only_when_it_would_show_something_else(run: Run) -> None:
    assert publish.fn(run) is not None
    assert publish.fn(run) is None
    with run.state.open() as database:  # another run that changed nothing
        database.execute("insert into ops.runs values ('2', 'forward', now(), null, null, null, 'consent-first')")
    assert publish.fn(run) is None
    something_happens(run, "anna@example.com")
    assert publish.fn(run) is not None


def test_what_came_too_early_is_published_later(tmp_path: Path) -> None:
    hasty = a_run(tmp_path / "acme", publish_every_minutes=5)
    assert publish.fn(hasty) is not None
    something_happens(hasty, "anna@example.com")
    assert publish.fn(hasty) is None
    with hasty.state.open() as database:
        remember(database, "published_at", (datetime.now(UTC) - timedelta(minutes=6)).isoformat())
    assert publish.fn(replace(hasty, run_id="later")) is not None  # this run itself changed nothing
    assert shown(hasty.state.folder) == ["anna@example.com"]


def test_the_last_two_stay_and_nobody_who_holds_one_open_is_disturbed(run: Run) -> None:
    something_happens(run, "0@example.com")
    publish.fn(run)
    with open_snapshot(run.state.folder) as analyst:
        for number in range(1, 5):
            something_happens(run, f"{number}@example.com")
            publish.fn(run)
            assert len(shown(run.state.folder)) == number + 1
            assert analyst.execute("select address from consent_events").fetchall() == [("0@example.com",)]
        files = sorted((run.state.folder / "snapshots").iterdir())
        assert len(files) == 2
        assert (run.state.folder / LINK).resolve() == files[-1]
        with duckdb.connect(str(files[0]), read_only=True) as database:
            assert database.execute("select count(*) from consent_events").fetchone() == (4,)


def test_a_run_that_began_long_ago_publishes_the_newest_snapshot(run: Run) -> None:
    for number in range(3):
        something_happens(run, f"{number}@example.com")
        publish.fn(replace(run, run_id=f"20990101T00000{number}-aaaaaa"))
    something_happens(run, "slow@example.com")
    publish.fn(replace(run, run_id="20200101T000000-aaaaaa"))
    assert "slow@example.com" in shown(run.state.folder)


@pytest.mark.parametrize("step", ["copy_into", "swap_in"])
def test_a_run_killed_while_it_publishes_leaves_the_old_one(run: Run, step: str) -> None:
    something_happens(run, "anna@example.com")
    old = publish.fn(run)
    something_happens(run, "bo@example.com")
    here = str(Path(__file__).parent)
    ended = subprocess.run([sys.executable, "-c", DYING, str(run.state.folder), step, here], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (run.state.folder / LINK).resolve() == old
    assert shown(run.state.folder) == ["anna@example.com"]
    new = publish.fn(run)
    assert shown(run.state.folder) == ["anna@example.com", "bo@example.com"]
    assert sorted((run.state.folder / "snapshots").iterdir()) == [old, new]


def test_every_relation_and_column_says_what_it_is(run: Run) -> None:
    publish.fn(run)
    with open_snapshot(run.state.folder) as database:
        tables = dict(database.execute("select table_name, comment from duckdb_tables() where not internal").fetchall())
        columns = database.execute(
            "select table_name, column_name, comment from duckdb_columns() where not internal"
        ).fetchall()
    assert sorted(tables) == sorted(["contacts", *RELATIONS])
    assert [name for name, comment in tables.items() if not comment] == []
    assert [f"{table}.{column}" for table, column, comment in columns if not comment] == []
    assert [column for table, column, _ in columns if table == "contacts"] == list(CONTACTS)


def test_a_folder_with_a_quote_in_its_name_is_no_trouble(tmp_path: Path) -> None:
    quoted = a_run(tmp_path / "anna's" / "acme")
    something_happens(quoted, "anna@example.com")
    assert publish.fn(quoted) is not None
    assert shown(quoted.state.folder) == ["anna@example.com"]


def test_without_a_snapshot_there_is_nothing_to_open(run: Run) -> None:
    with pytest.raises(FileNotFoundError):
        open_snapshot(run.state.folder)
