"""The lease: one run a direction, no living run disturbed, no dead one waited for."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks import lease as leases
from tasks.connector import TryLater
from tasks.lease import lease

HOLDER = """
import sys, time
from pathlib import Path
from tasks.lease import lease
with lease(Path(sys.argv[1]), "forward", "of-another-process"):
    print("held", flush=True)
    time.sleep(600)
"""


def owner(folder: Path, direction: str = "forward") -> tuple[str, str, float] | None:
    with sqlite3.connect(folder / "lease.sqlite") as database:
        return database.execute("select run_id, host, beat_at from leases where direction = ?", (direction,)).fetchone()


def held_by(folder: Path, *, host: str, silent_for: float) -> None:
    """Somebody holds the forward lease, and was last heard of so many seconds ago."""
    with lease(folder, "reverse", "makes-the-file"):
        pass
    with sqlite3.connect(folder / "lease.sqlite") as database:
        row = ("forward", "the-other", host, 1, time.time() - silent_for)
        database.execute("insert or replace into leases values (?, ?, ?, ?, ?)", row)


def test_a_second_run_of_a_direction_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with lease(tmp_path, "forward", "first"):
        refused = pytest.raises(TryLater, match=r"another forward run \(first, process \d+ on .*\) works on this connection")
        with refused, lease(tmp_path, "forward", "second"):
            pytest.fail("two runs at once")
        assert owner(tmp_path)[0] == "first"
    with lease(tmp_path, "forward", "third") as still_ours:
        still_ours()


def test_the_directions_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with lease(tmp_path, "forward", "there") as there, lease(tmp_path, "reverse", "back") as back:
        there()
        back()


def test_a_failed_run_gives_its_lease_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="defect"), lease(tmp_path, "forward", "first"):
        raise RuntimeError("defect")
    assert owner(tmp_path) is None


@pytest.mark.parametrize("is_reaped", [True, False], ids=["reaped", "zombie"])
def test_a_killed_owner_on_this_machine_is_taken_over_at_once(tmp_path: Path, is_reaped: bool) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TryLater), lease(tmp_path, "forward", "too-early"):
            pytest.fail("the other one lives")
        holder.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | (0 if is_reaped else os.WNOWAIT))
        assert owner(tmp_path)[0] == "of-another-process"
        with lease(tmp_path, "forward", "next") as still_ours:
            still_ours()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize("silent_for", [0, leases.DEAD_AFTER_SECONDS - 5])
def test_an_owner_on_another_machine_lives_while_it_was_heard_of_lately(tmp_path: Path, silent_for: float) -> None:
    held_by(tmp_path, host="elsewhere", silent_for=silent_for)
    with pytest.raises(TryLater, match="the-other, process 1 on elsewhere"), lease(tmp_path, "forward", "next"):
        pytest.fail("the other one lives")


def test_an_owner_on_another_machine_is_dead_after_a_minute_of_silence(tmp_path: Path) -> None:
    held_by(tmp_path, host="elsewhere", silent_for=leases.DEAD_AFTER_SECONDS + 1)
    with lease(tmp_path, "forward", "next") as still_ours:
        still_ours()
        assert owner(tmp_path)[:2] == ("next", socket.gethostname())


def test_a_living_process_that_stands_still_on_this_machine_is_dead_after_a_minute(tmp_path: Path) -> None:
    held_by(tmp_path, host=socket.gethostname(), silent_for=leases.DEAD_AFTER_SECONDS + 1)
    with lease(tmp_path, "forward", "next") as still_ours:
        still_ours()


def test_who_lost_the_lease_is_told_so_and_leaves_it_to_the_new_owner(tmp_path: Path) -> None:
    with lease(tmp_path, "forward", "slow") as still_ours:
        with sqlite3.connect(tmp_path / "lease.sqlite") as database:
            database.execute("update leases set beat_at = 0, host = 'elsewhere'")
        with lease(tmp_path, "forward", "quick") as theirs:
            with pytest.raises(TryLater, match="another forward run took over this connection"):
                still_ours()
            theirs()
        held_by(tmp_path, host="elsewhere", silent_for=0)
    assert owner(tmp_path)[0] == "the-other"


def test_a_run_is_heard_of_while_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    with lease(tmp_path, "forward", "long"):
        began_at = owner(tmp_path)[2]
        until = time.monotonic() + 60
        while owner(tmp_path)[2] == began_at:
            assert time.monotonic() < until, "no heartbeat"
            time.sleep(0.01)
