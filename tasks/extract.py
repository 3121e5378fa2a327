"""Steps that fetch: drain the ESP, read the shops. Pages are stored before their cursor moves; no call is made meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.esp import Contacts
from schemas.shop import Customers, OrderLines, Orders, Products
from tasks import storage
from tasks.connector import Page, Shop, TryLater
from tasks.fingerprints import recognise
from tasks.inbox import Inbox
from tasks.run import Run
from tasks.storage import Stored
from tasks.validate import Checked, check

CHUNK = 1000
"""Records stored in one go: opening the state costs more than storing some hundred rows."""


@task(cache_policy=NO_CACHE, persist_result=False)
def drain_esp(run: Run) -> None:
    """Fetch and store what changed at the ESP since the last time, opt-outs first of all; everything at first and when full."""
    with run.state.open() as database:
        cursor, listed_at = storage.where_to_go_on(database, "esp", "contacts")
    is_listing = run.full or listed_at is None or not run.esp.capabilities.changed_since
    began_at, total, proven = datetime.now(UTC), Stored(), False
    for page in chunks(run.esp.contacts(None if is_listing else cursor)):
        contacts = check(
            run.esp.to_contacts(page.records), Contacts, page.records, source="esp", entity="contacts", key="address"
        )
        proven = proven or page.complete
        with run.state.open() as database:
            total += storage.store(database, contacts, page, run.run_id)
            storage.move_cursor(database, "esp", "contacts", page.cursor)
        run.progress("contacts from the ESP", total.extracted, page.announced)
    with run.state.open() as database:
        if is_listing and proven:
            missing = storage.find_missing(database, "contacts", "esp", began_at)
            storage.mark_gone(database, "contacts", "esp", gone=[], missing=missing, run_id=run.run_id)
            storage.move_cursor(database, "esp", "contacts", None, listed_at=began_at)
        run.count(database, "extract", "contacts", vars(total))


@task(cache_policy=NO_CACHE, persist_result=False)
def extract_shop(run: Run, name: str) -> None:
    """Fetch and store a shop's customers, orders and the products their lines point to."""
    shop = run.shops[name]
    recognise(run, name)
    listed = _customers(run, name, shop)
    _orders(run, name, shop, were_listed=listed)


@task(cache_policy=NO_CACHE, persist_result=False)
def import_inbox(run: Run) -> None:
    """Read again, by id, the accounts that webhooks told about; one that does not exist any more is gone."""
    with run.state.open() as database:
        cursor, _ = storage.where_to_go_on(database, "inbox", "deliveries")
    deliveries = Inbox(run.state.folder).after(int(cursor or 0))
    for name, shop in run.shops.items():
        named = {i for d in deliveries if d.source == name for i in shop.customers_named(d.topic, d.body)}
        found: set[str] = set()
        for page in shop.customers_by_id(sorted(named)) if named else ():
            customers = checked_customers(shop, name, page)
            found |= set(customers.good["customer_id"]) | set(customers.rejected["record_id"])
            with run.state.open() as database:
                storage.store(database, customers, page, run.run_id)
        with run.state.open() as database:
            gone = sorted(named - found)
            storage.mark_gone(database, "customers", name, gone=gone, missing=[], run_id=run.run_id)
    if deliveries:
        with run.state.open() as database:
            storage.move_cursor(database, "inbox", "deliveries", f"{deliveries[-1].number:020d}")


def _customers(run: Run, name: str, shop: Shop) -> bool:
    """Read customers: what changed, or everybody at first, when full, and when the last listing is old. True: everybody."""
    with run.state.open() as database:
        cursor, listed_at = storage.where_to_go_on(database, name, "customers")
    is_old = listed_at is None or run.started_at - listed_at >= timedelta(minutes=run.connection.customers_every_minutes)
    is_listing = run.full or listed_at is None or (is_old and not shop.capabilities.customers_changed_since)
    if not is_listing and not shop.capabilities.customers_changed_since:
        return False
    began_at, total, proven, seen = datetime.now(UTC), Stored(), False, 0
    for page in chunks(shop.customers(None if is_listing else cursor)):
        proven, seen = proven or page.complete, seen + len(page.records)
        with run.state.open() as database:
            total += storage.store(database, checked_customers(shop, name, page), page, run.run_id)
            storage.move_cursor(database, name, "customers", page.cursor)
        run.progress(f"customers from {name}", seen, page.announced)
    if is_listing and proven:
        _conclude_listing(run, name, shop, began_at, is_empty=seen == 0)
    with run.state.open() as database:
        run.count(database, "extract", f"customers of {name}", vars(total))
    return is_listing


def _conclude_listing(run: Run, name: str, shop: Shop, began_at: datetime, *, is_empty: bool) -> None:
    """Who is missing from a complete listing is asked for by id; who is not found then is gone (behaviour 12.8)."""
    with run.state.open() as database:
        missing = storage.find_missing(database, "customers", name, began_at)
    if is_empty and missing:
        raise TryLater(
            f"Shop {name} lists no customers although {len(missing)} are known: nothing is concluded from that. Look at "
            "the shop, then run again."
        )
    found: set[str] = set()
    for page in shop.customers_by_id(missing) if missing else ():
        customers = checked_customers(shop, name, page)
        found |= set(customers.good["customer_id"]) | set(customers.rejected["record_id"])
        with run.state.open() as database:
            storage.store(database, customers, page, run.run_id)
    with run.state.open() as database:
        gone = [i for i in missing if i not in found]
        storage.mark_gone(database, "customers", name, gone=gone, missing=[], run_id=run.run_id)
        storage.move_cursor(database, name, "customers", None, listed_at=began_at)


def _orders(run: Run, name: str, shop: Shop, *, were_listed: bool) -> None:
    """Read orders changed since the last time. The accounts and products that they point to are stored before the cursor moves,
    since nothing would ask for them again."""
    with run.state.open() as database:
        cursor, _ = storage.where_to_go_on(database, name, "orders")
    total, products, known = Stored(), Stored(), set[str]()
    for page in chunks(shop.orders(None if run.full else cursor)):
        orders = check(shop.to_orders(page.records), Orders, page.records, source=name, entity="orders", key="order_id")
        shaped = shop.to_order_lines(page.records)
        lines = check(shaped, OrderLines, (), source=name, entity="order_lines", key="order_id")
        orders = orders.without("order_id", lines.rejected["record_id"])
        _accounts(run, name, shop, set(orders.good["customer_id"].drop_nulls()), were_listed=were_listed)
        bought = set(lines.good["product_id"].drop_nulls()) - known
        products += _products(run, name, shop, bought)
        known |= bought
        with run.state.open() as database:
            stored = storage.store(database, orders, page, run.run_id)
            storage.store_lines(database, lines, run.run_id)
            storage.move_cursor(database, name, "orders", page.cursor)
        total += replace(stored, rejected=stored.extracted - stored.changed - stored.unchanged)
        run.progress(f"orders from {name}", total.extracted, page.announced)
    with run.state.open() as database:
        run.count(database, "extract", f"orders of {name}", vars(total))
        run.count(database, "extract", f"products of {name}", vars(products))


def _accounts(run: Run, name: str, shop: Shop, ids: set[str], *, were_listed: bool) -> None:
    """An order tells that its account may have changed: read it, unless a listing of this run has just done so."""
    if were_listed:
        with run.state.open() as database:
            known = database.execute("select customer_id from shop.customers where shop = $1", [name]).fetchall()
        ids = ids - {row[0] for row in known}
    for page in shop.customers_by_id(sorted(ids)) if ids else ():
        with run.state.open() as database:
            storage.store(database, checked_customers(shop, name, page), page, run.run_id)


def _products(run: Run, name: str, shop: Shop, ids: set[str]) -> Stored:
    """Read the products that lines of changed orders point to; one that does not come back is no longer sold."""
    total = Stored()
    for page in chunks(shop.products_by_id(sorted(ids))) if ids else ():
        frame = shop.to_products(page.records)
        products = check(frame, Products, page.records, source=name, entity="products", key="product_id")
        with run.state.open() as database:
            total += storage.store(database, products, page, run.run_id)
        run.progress(f"products from {name}", total.extracted, len(ids))
    return total


def checked_customers(shop: Shop, name: str, page: Page) -> Checked:
    return check(shop.to_customers(page.records), Customers, page.records, source=name, entity="customers", key="customer_id")


def chunks(pages: Iterable[Page]) -> Iterator[Page]:
    """Pages gathered to at least CHUNK records: asked for with the first, answered with the last, cursor of the last."""
    held: Page | None = None
    for page in pages:
        held = page if held is None else replace(page, records=held.records + page.records, asked_at=held.asked_at)
        if len(held.records) >= CHUNK:
            yield held
            held = None
    if held is not None:
        yield held
