"""What `explain` tells: one person's whole story from the snapshot, newest last."""

from __future__ import annotations

from typing import Any

import duckdb

from tasks import tombstones
from tasks.addresses import to_address
from tasks.erasure import in_text
from tasks.state import State, rows

_THEIRS = """(
    select $1 as address
    union
    select sms_address from customers where address = $1 and sms_address is not null
)"""
"""The address and its phone numbers: consent to text messages is held by the number."""

_PARTS = {
    "person": f"select * from contacts where address in {_THEIRS} order by channel",
    "accounts": "select * exclude (record_hash) from customers where address = $1 order by created_at, shop, customer_id",
    "addresses": """
        select
            source as shop, record as account, address, min(earliest_at) as first_seen_from, max(as_of_at) as last_said_at
        from consent_events
        where channel = 'email' and (source, record) in (
            select (source, record) from consent_events where address = $1 and starts_with(record, 'customer:')
        )
        group by all order by first_seen_from, address
    """,
    "orders": """
        select * exclude (record_hash), total - refunded_total as paid, consent as ticked from orders
        where address = $1 or (shop, customer_id) in (select (shop, customer_id) from customers where address = $1)
        order by ordered_at, order_id
    """,
    "order_lines": """
        select lines.* from order_lines as lines inner join orders using (shop, order_id)
        where
            orders.address = $1
            or (orders.shop, orders.customer_id) in (select (shop, customer_id) from customers where address = $1)
        order by orders.ordered_at, lines.order_id, lines.line_id
    """,
    "at_the_esp": "select * exclude (record_hash) from esp_contacts where address = $1",
    "events": f"select * from consent_events where address in {_THEIRS} order by as_of_at, recorded_at, event_id",
    "decisions": f"select * from decisions where address in {_THEIRS} order by decided_at, channel",
    "writes": f"select * from writes where address in {_THEIRS} order by planned_at, kind, key",
    "rejected": """
        select source, entity, record_id, field, check_name, advice, record, rejected_at from rejected_rows
        where
            regexp_matches(record, $2)
            or (entity = 'customers' and (source, record_id) in (
                select (shop, customer_id) from customers where address = $1
            ))
        order by all
    """,
    "requests": "select * from privacy_requests where address = $1 order by received_at",
}
"""Everything that we hold of a person, which is what they may ask for (GDPR Art. 15): whole rows, so that what a table
comes to hold is told as well."""


def story(snapshot: duckdb.DuckDBPyConnection, email: str) -> dict[str, Any]:
    """Everything the snapshot knows about one address: a list of rows for each part of the story."""
    address = to_address(email)
    given = {"rejected": [address, in_text([address, email.strip()])]}
    told = {part: rows(snapshot, query, given.get(part, [address])) for part, query in _PARTS.items()}
    return {"address": address, **told}


def erasure(snapshot: duckdb.DuckDBPyConnection, state: State, email: str) -> dict[str, Any] | None:
    """The tombstone of an address: its keyed hash and times, and nothing more; None: they were never erased."""
    return tombstones.of_snapshot(snapshot, state, to_address(email))
