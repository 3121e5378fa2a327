"""The step that publishes: a read-only copy for analysts, swapped in under a link: no run waits, nobody sees half a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.state import TABLES
from tasks import rules
from tasks.run import Run
from tasks.state import Database, fact, remember

LINK = "snapshot.duckdb"
KEPT = 2

RELATIONS = {
    "customers": "shop.customers",
    "orders": "shop.orders",
    "order_lines": "shop.order_lines",
    "products": "shop.products",
    "consent_events": "consent.events",
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


@task(cache_policy=NO_CACHE, persist_result=False)
def publish(run: Run) -> Path | None:
    """Publish the state as a snapshot when this run changed something and the last snapshot is not too fresh.

    Returns the snapshot's path, or None when there was nothing to publish.
    """
    folder = run.state.folder / "snapshots"
    folder.mkdir(exist_ok=True, mode=0o700)
    new = folder / f"{run.run_id}.duckdb"
    with run.state.open() as database:
        if (run.state.folder / LINK).exists() and not _is_due(run, database):
            return None
        merge_inputs = ("standing_events", "side_status", "order_owners", "buyers", "people", "memberships")
        rules.build(database, merge_inputs)
        database.execute(f"attach '{new}' as snapshot")
        _copy(database)
        database.commit()
        database.execute("detach snapshot")
        database.begin()
        remember(database, "published_at", datetime.now(UTC).isoformat())
    _swap_in(run.state.folder, new)
    return new


def _is_due(run: Run, database: Database) -> bool:
    changed = database.execute(
        """
        select count(*) from ops.run_counts
        where run_id = $1 and measure in ('changed', 'decided', 'rejected', 'planned') and rows > 0
        """,
        [run.run_id],
    ).fetchone()
    last = fact(database, "published_at")
    every = timedelta(minutes=run.connection.publish_every_minutes)
    return bool(changed and changed[0]) and (last is None or datetime.now(UTC) - datetime.fromisoformat(last) >= every)


def _copy(database: Database) -> None:
    """Fill the attached snapshot: tables with the comments of the dictionary, so that the database documents itself."""
    database.execute(f"create table snapshot.contacts as {rules.model('snapshot_contacts')}")
    database.execute("comment on table snapshot.contacts is 'One row per address and channel that either side knows.'")
    for column, text in CONTACTS.items():
        database.execute(f"comment on column snapshot.contacts.{column} is {_quoted(text)}")
    for relation, table in RELATIONS.items():
        model = TABLES[table]
        database.execute(f"create table snapshot.{relation} as from {table}")
        database.execute(f"comment on table snapshot.{relation} is {_quoted((model.__doc__ or '').splitlines()[0])}")
        for column, spec in model.to_schema().columns.items():
            database.execute(f"comment on column snapshot.{relation}.{column} is {_quoted(spec.description or '')}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _swap_in(folder: Path, new: Path) -> None:
    """Make the file read-only, point the link at it in one step, and remove all but the last two."""
    new.chmod(0o444)
    link = folder / f"{LINK}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(new.relative_to(folder))
    link.replace(folder / LINK)
    for old in sorted(new.parent.glob("*.duckdb"))[:-KEPT]:
        old.unlink()


def open_snapshot(folder: Path) -> duckdb.DuckDBPyConnection:
    """The snapshot of a connection, read-only. Raises FileNotFoundError before the first run has published one."""
    path = (folder / LINK).resolve(strict=True)
    database = duckdb.connect(str(path), read_only=True)
    database.execute("set TimeZone = 'UTC'")
    return database
