"""The snapshot: a read-only copy of the state for analysts. Its relations and columns are a stable interface."""

from __future__ import annotations

import hashlib
import stat
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from schemas.state import TABLES
from tasks import rules, scope
from tasks.state import Database, quoted

LINK = "snapshot.duckdb"
KEPT = 2
READ_ONLY = 0o444
_PASSING = ("seen_at", "run_id", "rejected_at")
"""Columns that change whenever a record is read again, though nothing else did."""

RELATIONS = {
    "customers": "shop.customers",
    "orders": "shop.orders",
    "order_lines": "shop.order_lines",
    "products": "shop.products",
    "promo_codes": "shop.promo_codes",
    "esp_contacts": "esp.contacts",
    "privacy_requests": "ops.privacy_requests",
    "consent_events": "consent.events",
    "chain": "consent.chain",
    "tombstones": "consent.tombstones",
    "decisions": "merge.decisions",
    "writes": "load.writes",
    "rejected_rows": "ops.rejected_rows",
    "runs": "ops.runs",
    "run_counts": "ops.run_counts",
}
"""Relation of the snapshot: table of the state it is a copy of. `contacts` comes from its own model."""

CONTACTS = {
    "address": "The e-mail address as a key.",
    "channel": "email or sms.",
    "email": "As last spelled.",
    "first_name": "First name.",
    "last_name": "Last name.",
    "country": "ISO 3166-1 alpha-2 code.",
    "has_account": "False: a guest, or known at the ESP only.",
    "shops": "The shops that know the address.",
    "groups": "subscriber, buyer, contact.",
    "shop_status": "What the events of all shops add up to.",
    "esp_status": "The contact's status at the ESP; null: no contact.",
    "esp_tags": "Tags at the ESP, a JSON list.",
    "suppression": "bounced or complained: never mailed.",
    "phase": "first until one decision was acknowledged on both sides, then ongoing.",
    "rule": "Id of the rule that decided last.",
    "sentence": "Why, for humans.",
    "exception": "E1 or E3: mailed only by this exception that the policy names.",
    "skipped": "Why something decided is not written.",
    "decided_at": "When that was decided.",
    "esp_acknowledged_at": "When the ESP had it.",
    "shop_acknowledged_at": "When the shops had it.",
    "orders_count": "Purchases, over all shops.",
    "total_spent": "Spent in `currency`, refunds taken off.",
    "currency": "The currency of most of the person's purchases.",
    "first_ordered_at": "First purchase.",
    "last_ordered_at": "Last purchase.",
}
"""The columns of the relation `contacts`, as the snapshot's own comments say them."""


def copy_into(database: Database) -> None:
    """Fill the attached database `snapshot`: tables with the comments of the dictionary, so that it documents itself."""
    scope.everybody(database)
    rules.build(database, rules.PEOPLE)
    database.execute(f"create table snapshot.contacts as {rules.model('snapshot_contacts')}")
    database.execute("comment on table snapshot.contacts is 'One row per address and channel that either side knows.'")
    for column, text in CONTACTS.items():
        database.execute(f"comment on column snapshot.contacts.{column} is {quoted(text)}")
    for relation, table in RELATIONS.items():
        model = TABLES[table]
        database.execute(f"create table snapshot.{relation} as from {table}")
        database.execute(f"comment on table snapshot.{relation} is {quoted((model.__doc__ or '').splitlines()[0])}")
        for column, spec in model.to_schema().columns.items():
            database.execute(f"comment on column snapshot.{relation}.{column} is {quoted(spec.description or '')}")


def digest(database: Database) -> str:
    """Two states with the same digest would be shown by equal snapshots, but for who looked when."""
    found = []
    for table in (table for table in RELATIONS.values() if table not in {"ops.runs", "ops.run_counts"}):
        columns = [column for column in TABLES[table].to_schema().columns if column not in _PASSING]
        row = database.execute(f"select count(*), sum(hash({', '.join(columns)})) from {table}").fetchone()
        found.append(f"{table}: {row}")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def new_file(folder: Path, run_id: str) -> Path:
    """Where the next snapshot is written; the names sort by the time of publication, which is not that of the run's start."""
    snapshots = folder / "snapshots"
    snapshots.mkdir(exist_ok=True, mode=0o700)
    return snapshots / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{run_id}.duckdb"


def swap_in(folder: Path, new: Path) -> None:
    """Make the file read-only, point the link at it in one step, and remove all but the last two.

    To be called while the state is open, so that whatever else is there and can be written was left behind by a killed run.
    """
    new.chmod(READ_ONLY)
    link = folder / f"{LINK}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(new.relative_to(folder))
    link.replace(folder / LINK)
    others = {file: stat.S_IMODE(file.stat().st_mode) == READ_ONLY for file in new.parent.iterdir() if file != new}
    whole = sorted(file for file, is_whole in others.items() if is_whole)
    for old in {*others} - {*whole[-(KEPT - 1) :]}:
        old.unlink()


def remove_all(folder: Path) -> None:
    """Remove the link and every snapshot: whoever reads one goes on reading it. To be called while the state is open."""
    (folder / LINK).unlink(missing_ok=True)
    for file in (folder / "snapshots").glob("*"):
        file.unlink()


def open_snapshot(folder: Path) -> duckdb.DuckDBPyConnection:
    """The snapshot of a connection, read-only. Raises FileNotFoundError before the first run has published one."""
    path = (folder / LINK).resolve(strict=True)
    database = duckdb.connect(str(path), read_only=True)
    database.execute("set TimeZone = 'UTC'")
    return database
