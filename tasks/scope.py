"""Whom a merge looks at: everybody, or those whom something touched since the flow last decided about them.

What is decided and written about an address follows from the rows about that address alone, so a merge may leave out everybody
whose rows are as they were. Each function that changes such rows touches the addresses in the same transaction. Touched they
stay, for either flow, until a merge of that flow finds nothing new about them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tasks.state import Database, fact, remember

FLOWS = ("forward", "reverse")

WHOLE_EVERY = timedelta(hours=24)
"""How often everybody is looked at all the same, also where nothing seems to ask for it."""

SCOPED = {
    "scoped_events": "consent.events",
    "scoped_customers": "shop.customers",
    "scoped_orders": "shop.orders",
    "scoped_contacts": "esp.contacts",
    "scoped_addresses": "merge.addresses",
    "scoped_decisions": "merge.decisions",
    "scoped_held": "load.held",
}
"""What the models read of whom a merge looks at: relation, and the state's table that it is all or a part of."""

PARTS = {
    # An order is its account's while that exists, else that of the address in it.
    "shop.orders": """
        from shop.orders where rowid in (
            select orders.rowid from shop.orders as orders
            semi join (from narrowed_customers where deleted_at is null) as accounts using (shop, customer_id)
            union all
            select orders.rowid from shop.orders as orders
            semi join scope using (address)
            anti join (
                from shop.customers where deleted_at is null and address is not null
            ) as accounts using (shop, customer_id)
        )
    """,
    "load.held": "from load.held where address is null or address in (from scope)",  # a product is nobody's
}


NUMBERS = (
    """
    insert into scope
    select sms_address from shop.customers semi join scope using (address) where sms_address is not null
    union
    select sms_address from esp.contacts semi join scope using (address) where sms_address is not null
    """,
    """
    insert into scope
    select known.address from shop.customers as known semi join scope on known.sms_address = scope.address
    union
    select known.address from esp.contacts as known semi join scope on known.sms_address = scope.address
    """,
)
"""Phone numbers and whose they are: what is decided about one follows from the rows of the other as well."""


def touch(database: Database, select: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Say that something about the addresses of a SELECT changed; nulls are left out."""
    database.execute(
        f"""
        insert into merge.touched by name
        select touched.address, unnest({list(FLOWS)}) as flow
        from (select distinct address from ({select}) where address is not null) as touched
        """,
        parameters,
    )


def everybody(database: Database) -> None:
    """Let the models read whole tables."""
    for relation, table in SCOPED.items():
        database.execute(f"create or replace temp view {relation} as from {table}")


def narrow(database: Database, flow: str | None) -> None:
    """Let the models read only what is about those touched for a flow, or for any; whoever has a planned write is among them,
    since a merge replaces it."""
    database.execute(
        """
        create or replace temp table scope as
        select address from merge.touched where $flow is null or flow = $flow
        union
        select address from load.writes where state = 'planned' and address is not null and ($flow is null or flow = $flow)
        """,
        {"flow": flow},
    )
    for statement in NUMBERS:
        database.execute(statement)
    for relation, table in SCOPED.items():
        part = relation.replace("scoped", "narrowed")
        select = PARTS.get(table, f"from {table} semi join scope using (address)")
        database.execute(f"create or replace temp table {part} as {select}")
        database.execute(f"create or replace temp view {relation} as from {part}")


def may_narrow(database: Database, flows: tuple[str, ...], basis: str, at: datetime) -> bool:
    """Whether these flows last decided by the same rules and choices, and looked at everybody not too long ago."""
    merged = [(fact(database, f"merged_by:{flow}"), fact(database, f"merged_all_at:{flow}")) for flow in flows]
    return all(by == basis and all_at and at - datetime.fromisoformat(all_at) < WHOLE_EVERY for by, all_at in merged)


def conclude(database: Database, flow: str, basis: str, at: datetime, *, was_whole: bool) -> None:
    """This flow has looked at all that was touched. Whose decision is new is looked at once more, for it may be settled by
    then, and whoever waits for an approval each time."""
    database.execute("delete from merge.touched where flow = $1", [flow])
    touch(database, "select address from decided where not is_same union all select address from waiting")
    remember(database, f"merged_by:{flow}", basis)
    if was_whole:
        remember(database, f"merged_all_at:{flow}", at.isoformat())


def forget(database: Database) -> None:
    """Look at everybody the next time, as when much changed at once."""
    database.execute("delete from ops.facts where starts_with(name, 'merged_by:')")


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
