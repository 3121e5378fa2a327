"""The inbox: written through to the disk, imported by number, and never more than a hint."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

from tasks.inbox import FILE, Inbox


def test_deliveries_come_back_whole_and_in_order(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    numbers = [inbox.put("shop", "customer.updated", body) for body in (b'{"id":1}', b"\xff\x00", b'{"id":1}')]
    assert numbers == [1, 2, 3]
    assert [(d.number, d.body) for d in inbox.after(1)] == [(2, b"\xff\x00"), (3, b'{"id":1}')]
    assert inbox.after(3) == []


def test_nothing_has_come_before_there_is_a_file(tmp_path: Path) -> None:
    assert Inbox(tmp_path).after(0) == []
    assert not (tmp_path / FILE).exists()


def test_it_is_private_and_survives_a_power_cut(tmp_path: Path) -> None:
    Inbox(tmp_path).put("shop", "order.created", b"{}")
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("pragma journal_mode").fetchone() == ("wal",)


def test_another_reader_does_not_stop_the_receiver(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    inbox.put("shop", "order.created", b"{}")
    with sqlite3.connect(tmp_path / FILE) as reader:
        reader.execute("begin")
        reader.execute("select * from deliveries").fetchall()
        assert inbox.put("shop", "order.created", b"{}") == 2
