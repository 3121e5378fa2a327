"""How fast the merge is, as ratios that hold on any machine: `make bench`.

The yardstick is the least SQL that could do the job on the same data: read every customer, order and contact once, join them by
address and count. Times are medians of several runs on a quiet machine; a busy one shows it in a wide range.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks import ledger, merge, scope
from tasks.decide import decide_and_plan
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
    ordered_at as paid_at, md5(cast(n as varchar)) as told_hash,
    told_hash as record_hash, now() as seen_at, now() as first_seen_at, 'bench' as run_id
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
LINES = """
insert into shop.order_lines by name
select shop, order_id, '1' as line_id, 'p' || hash(order_id) % 1000 as product_id, product_id as variant_id, 'Te' as title,
    1 as quantity, total as price, 0 as discount
from shop.orders
"""
PRODUCTS = """
insert into shop.products by name
select 'shop' as shop, 'p' || n as product_id, product_id as variant_id, 'Te' as title, 'Te' as variant_title, 5 as price,
    md5(cast(n as varchar)) as record_hash, now() as seen_at, now() as first_seen_at, 'bench' as run_id
from range(1000) as numbers (n)
"""
CHANGE = (
    """
    create or replace temp table changing as
    select address from shop.customers where hash(address, {round}) % 100 = 0
    """,
    "update shop.orders set total = total + 1, told_hash = md5(told_hash) where address in (from changing)",
    """
    update shop.customers set consent = if(consent = 'in', 'out', 'in'), first_name = first_name || 'x'
    where address in (from changing)
    """,
    """
    create or replace temp table found as
    select
        md5('shop' || {round} || customer_id) as event_id, address, 'email' as channel, 'shop' as side, shop as source,
        'customer:' || customer_id as record, case consent when 'in' then 'opted_in' else 'opted_out' end as kind,
        'self' as actor, now() as earliest_at, now() as latest_at, now() as as_of_at, false as is_inferred, 'bench' as run_id,
        now() as recorded_at
    from shop.customers where address in (from changing)
    """,
    "insert into consent.events by name from found",
)
"""One in a hundred says the opposite, has another name, and orders with other totals."""
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


STORES = [merge.Store("shop", "bench", "WooCommerce")]


def main() -> None:
    """Print what one merge and plan cost, beside the yardstick."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--people", type=int, default=50_000)
    asked.add_argument("--runs", type=int, default=5)
    asked.add_argument("--threads", type=int, default=2)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(State(Path(folder)), given.threads)
        bench.fill(given.people)
        print(f"{given.people:,} customers, {given.people * 5:,} orders, {given.people // 2:,} contacts")
        least = statistics.median(bench.seconds(lambda database: database.execute(LEAST).fetchall()) for _ in range(given.runs))
        bench.show("the least SQL that could do it", least, least)
        bench.show("everybody, first time", bench.seconds(bench.merge), least)
        for _ in range(2):
            bench.settle()
            bench.seconds(bench.merge)
        whole = statistics.median(bench.seconds(bench.merge, whole=True) for _ in range(given.runs))
        bench.show("everybody, nothing changed", whole, least)
        bench.show("one in a hundred changed", statistics.median(bench.after_a_change() for _ in range(given.runs)), least)
        nothing = statistics.median(bench.seconds(bench.merge) for _ in range(given.runs))
        bench.show("nobody touched", nothing, least)
        print(f"most memory of this process        {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MB")


class Bench:
    """A state, and the seconds that work on it takes: each time opened anew, the opening not counted."""

    def __init__(self, state: State, threads: int) -> None:
        self.state, self.threads, self.rounds = state, threads, 0

    def fill(self, people: int) -> None:
        with self.state.open() as database:
            for statement in (PEOPLE, ORDERS, CONTACTS, EVENTS, LINES, PRODUCTS):
                database.execute(statement.format(people=people))

    def seconds(self, work: Callable[..., object], **options: Any) -> float:
        with self.state.open() as database:
            database.execute(f"set threads = {self.threads}")
            started = time.perf_counter()
            work(database, **options)
            return time.perf_counter() - started

    def merge(self, database: Database, *, whole: bool = False) -> None:
        self.rounds += 1
        at = datetime.now(UTC)
        decide_and_plan(database, "forward", merge.Choices(), STORES, run_id=f"bench-{self.rounds}", at=at, whole=whole)

    def settle(self) -> None:
        """Everything planned is acknowledged."""
        with self.state.open() as database:
            database.execute(
                "update load.writes set state = 'acknowledged', sent_at = now(), settled_at = now() where state = 'planned'"
            )
            database.execute("create temp table settled_writes as from load.writes where run_id = $1", [f"bench-{self.rounds}"])
            ledger.follow_up(database, "bench")

    def after_a_change(self) -> float:
        self.rounds += 1
        self.settle()
        self.seconds(self.merge)
        with self.state.open() as database:
            for statement in CHANGE:
                database.execute(statement.format(round=self.rounds))
            scope.touch(database, "from changing")
        return self.seconds(self.merge)

    @staticmethod
    def show(what: str, seconds: float, least: float) -> None:
        print(f"{what:34} {seconds:7.2f} s {seconds / least:6.1f}", flush=True)


if __name__ == "__main__":
    main()
