"""What `explain` tells: one person's whole story from the snapshot, newest last."""

from __future__ import annotations

from typing import Any

import duckdb

from tasks.addresses import to_address
from tasks.state import rows

_THEIRS = """(
    select $1 as address
    union
    select sms_address from customers where address = $1 and sms_address is not null
)"""
"""The address and its phone numbers: consent to text messages is held by the number."""

_PARTS = {
    "person": f"select * from contacts where address in {_THEIRS} order by channel",
    "accounts": """
        select shop, customer_id, email, first_name, last_name, consent, bounced_at, created_at, first_seen_at, deleted_at
        from customers where address = $1 order by created_at
    """,
    "orders": """
        select shop, number, state, total - refunded_total as total, currency, consent as ticked, ordered_at
        from orders where address = $1 order by ordered_at
    """,
    "events": f"""
        select as_of_at, channel, earliest_at, latest_at, side, source, kind, actor, is_inferred, evidence, recorded_at,
               event_id, caused_by
        from consent_events where address in {_THEIRS} order by as_of_at, recorded_at
    """,
    "decisions": f"""
        select decided_at, channel, phase, shop_status, esp_status, time_order, suppression, set_esp, set_shop, rule,
               sentence, skipped, esp_acknowledged_at, shop_acknowledged_at, run_id
        from decisions where address in {_THEIRS} order by decided_at
    """,
    "writes": f"""
        select planned_at, sent_at, target, kind, payload, state, message, settled_at, run_id from writes
        where address in {_THEIRS} order by planned_at, kind
    """,
}


def story(snapshot: duckdb.DuckDBPyConnection, email: str) -> dict[str, Any]:
    """Everything the snapshot knows about one address: a list of rows for each part of the story."""
    address = to_address(email)
    return {"address": address, **{part: rows(snapshot, query, [address]) for part, query in _PARTS.items()}}
