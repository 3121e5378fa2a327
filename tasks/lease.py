"""Which run works on a connection, per direction: with its owner and a heartbeat, so that a dead run holds nobody up.

A small SQLite file beside the state, since the state itself is open for moments only. A forward and a reverse run do not wait
for each other.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tasks.connector import TryLater

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER_SECONDS = 60.0
"""An owner on another machine that was silent for that long is dead; one on this machine is when its process is gone."""


@contextlib.contextmanager
def lease(folder: Path, direction: str, run_id: str) -> Iterator[Callable[[], None]]:
    """Hold the direction's lease for the block. Raises TryLater when a living run holds it.

    Yields a check to make before every write: it raises TryLater when another run took over while this one was thought dead.
    """
    database = sqlite3.connect(folder / "lease.sqlite", timeout=30, isolation_level=None, check_same_thread=False)
    database.execute("pragma journal_mode = wal")
    database.execute(
        "create table if not exists leases (direction text primary key, run_id text, host text, pid integer, beat_at real)"
    )
    _acquire(database, direction, run_id)
    stop = threading.Event()

    def still_ours() -> None:
        row = database.execute("select run_id from leases where direction = ?", (direction,)).fetchone()
        if row is None or row[0] != run_id:
            raise TryLater(f"another {direction} run took over this connection while this one stood still; it goes on there.")

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            database.execute(
                "update leases set beat_at = ? where direction = ? and run_id = ?", (time.time(), direction, run_id)
            )

    heart = threading.Thread(target=beat, name=f"lease-{direction}", daemon=True)
    heart.start()
    try:
        yield still_ours
    finally:
        stop.set()
        heart.join()
        database.execute("delete from leases where direction = ? and run_id = ?", (direction, run_id))
        database.close()


def _acquire(database: sqlite3.Connection, direction: str, run_id: str) -> None:
    database.execute("begin immediate")
    row = database.execute("select run_id, host, pid, beat_at from leases where direction = ?", (direction,)).fetchone()
    if row and not _is_dead(host=row[1], pid=row[2], beat_at=row[3]):
        database.execute("rollback")
        raise TryLater(
            f"another {direction} run ({row[0]}, process {row[2]} on {row[1]}) works on this connection; run again later."
        )
    database.execute(
        "insert or replace into leases values (?, ?, ?, ?, ?)",
        (direction, run_id, socket.gethostname(), os.getpid(), time.time()),
    )
    database.execute("commit")


def _is_dead(*, host: str, pid: int, beat_at: float) -> bool:
    if host == socket.gethostname():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        if _is_zombie(pid):
            return True
    return time.time() - beat_at > DEAD_AFTER_SECONDS


def _is_zombie(pid: int) -> bool:
    """Dead, and its parent has not asked for its end yet. Only Linux tells; elsewhere the minute of silence counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False
