"""How fast the merge is, as ratios that hold on any machine: `make bench`.

The yardstick is the least SQL that could do the job on the same data: read every customer, order and contact once, join them by
address and count. Times are medians of several runs on a quiet machine; a busy one shows it in a wide range.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tasks import ledger, merge
from tasks.state import Database, State

PEOPLE = """
insert into shop.customers by name
select
    'shop' as shop, cast(n as varchar) as customer_id, 'p' || n || '@bench.example' as email, email as address,
    'First' || n as first_name, 'Last' || n as last_name, 'SE' as country, 'customer' as customer_group,
    case n % 4 when 0 then 'in' when 1 then 'out' end as consent, timestamptz '2024-01-01 00:00:00+00' as created_at,
    md5(cast(n as varchar)) as record_hash, now() as seen_at, now() as first_seen_at, 'bench' as run_id
from range({people}) as numbers (n)
"""
ORDERS = """
insert into shop.orders by name
select
    'shop' as shop, cast(n as varchar) as order_id, cast(n as varchar) as number, cast(n % {people} as varchar) as customer_id,
    'p' || (n % {people}) || '@bench.example' as email, email as address, 'paid' as state, false as is_test, 'EUR' as currency,
    n % 500 as total, 0 as discount_total, 0 as tax_total, 0 as shipping_total, 0 as refunded_total,
    timestamptz '2025-01-01 00:00:00+00' + to_minutes(cast(n as int)) as ordered_at, ordered_at as updated_at,
    ordered_at as paid_at, md5(cast(n as varchar)) as record_hash, now() as seen_at, now() as first_seen_at, 'bench' as run_id
from range({people} * 5) as numbers (n)
"""
CONTACTS = """
insert into esp.contacts by name
select
    'c' || n as contact_id, 'p' || n || '@bench.example' as email, email as address,
    case n % 3 when 0 then 'subscribed' when 1 then 'unsubscribed' else 'not_subscribed' end as status,
    timestamptz '2024-06-01 00:00:00+00' as changed_at, '{{}}' as fields, '[]' as tags, md5(cast(n as varchar)) as record_hash,
    now() as seen_at, now() as first_seen_at, 'bench' as run_id, false as removed_by_us
from range(0, {people}, 2) as numbers (n)
"""
EVENTS = """
insert into consent.events by name
select
    md5('shop' || customer_id) as event_id, address, 'email' as channel, 'shop' as side, shop as source,
    'customer:' || customer_id as record, case consent when 'in' then 'opted_in' else 'opted_out' end as kind, 'self' as actor,
    created_at as earliest_at, seen_at as latest_at, seen_at as as_of_at, false as is_inferred, 'bench' as run_id,
    now() as recorded_at
from shop.customers where consent is not null
union all by name
select
    md5('esp' || address) as event_id, address, 'email' as channel,
    'esp' as side, 'esp' as source, 'contact:' || address as record,
    case status when 'subscribed' then 'opted_in' else 'opted_out' end as kind, 'self' as actor, changed_at as earliest_at,
    changed_at as latest_at, changed_at as as_of_at, false as is_inferred, 'bench' as run_id, now() as recorded_at
from esp.contacts where status in ('subscribed', 'unsubscribed')
"""
LEAST = """
select count(*), sum(spent), count(status) from (
    select customers.address, sum(orders.total) as spent, any_value(contacts.status) as status, any_value(events.kind) as said
    from shop.customers as customers
    left join shop.orders as orders on orders.shop = customers.shop and orders.customer_id = customers.customer_id
    left join esp.contacts as contacts on contacts.address = customers.address
    left join consent.events as events on events.address = customers.address
    group by customers.address
)
"""


def main() -> None:
    """Print what one merge and plan cost, beside the yardstick."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--people", type=int, default=50_000)
    asked.add_argument("--runs", type=int, default=5)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        state = State(Path(folder))
        with state.open() as database:
            for statement in (PEOPLE, ORDERS, CONTACTS, EVENTS):
                database.execute(statement.format(people=given.people))
        least = median(state, given.runs, lambda database: database.execute(LEAST).fetchall())
        first = median(state, 1, decide_and_plan)
        again = median(state, given.runs, decide_and_plan)
    print(f"{given.people:,} customers, {given.people * 5:,} orders, {given.people // 2:,} contacts")
    print(f"the least SQL that could do it   {least:7.2f} s   1.0")
    print(f"merge and plan, first time       {first:7.2f} s   {first / least:.1f}")
    print(f"merge and plan, nothing changed  {again:7.2f} s   {again / least:.1f}")


def decide_and_plan(database: Database) -> None:
    stores = [merge.Store("shop", "bench", "WooCommerce")]
    merge.bind_run(database, "bench", datetime.now(UTC), merge.Choices(), stores)
    merge.decide(database)
    ledger.plan(database, "forward")


def median(state: State, runs: int, work: Callable[[Database], object]) -> float:
    """Median seconds of some runs, each in a state opened anew."""
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        with state.open() as database:
            work(database)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
