"""The inbox of webhooks: an SQLite database that belongs to whoever receives them. Runs import from it by id.

A delivery is a hint that something changed, never the change itself: its body may be older than what we know, come twice, or
be about somebody who is gone. So what it names is read again by id.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = "inbox.sqlite"


@dataclass(frozen=True)
class Delivery:
    """One webhook as it came: `source` is the shop's name or `esp`, `topic` the platform's word, `body` the raw bytes."""

    number: int
    source: str
    topic: str
    body: bytes
    received_at: datetime


class Inbox:
    """The inbox of one connection, in its folder. Written through to the disk before the sender hears "thank you"."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._file, timeout=30, isolation_level=None)
        try:
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = full")
            database.execute(
                """
                create table if not exists deliveries (
                    number integer primary key autoincrement, source text not null, topic text not null,
                    body blob not null, received_at text not null
                )
                """
            )
            yield database
        finally:
            database.close()
        self._file.chmod(0o600)

    def put(self, source: str, topic: str, body: bytes) -> int:
        """Keep a delivery; returns its number."""
        with self._open() as database:
            row = (source, topic, body, datetime.now(UTC).isoformat())
            number = database.execute(
                "insert into deliveries (source, topic, body, received_at) values (?, ?, ?, ?)", row
            ).lastrowid
            assert number is not None
            return number

    def after(self, number: int) -> list[Delivery]:
        """What came after the delivery of that number, oldest first."""
        if not self._file.exists():
            return []
        with self._open() as database:
            found = database.execute("select * from deliveries where number > ? order by number", (number,)).fetchall()
        return [Delivery(n, source, topic, body, datetime.fromisoformat(at)) for n, source, topic, body, at in found]

    def forget(self, numbers: Collection[int]) -> None:
        """Remove deliveries, so that not even the file holds their bytes."""
        if not numbers:
            return
        with self._open() as database:
            database.executemany("delete from deliveries where number = ?", [(number,) for number in numbers])
            database.execute("vacuum")
            database.execute("pragma wal_checkpoint(truncate)")
