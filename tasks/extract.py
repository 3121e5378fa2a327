"""Steps that fetch: drain the ESP, read the shops. Pages are stored before their cursor moves; no call is made meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.esp import Contacts
from schemas.shop import Customers, OrderLines, Orders, Products, PromoCodes
from tasks import storage
from tasks.connector import Page, Shop, TryLater
from tasks.fingerprints import recognise
from tasks.inbox import Inbox
from tasks.run import Run
from tasks.state import Database
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
    """Fetch and store a shop's customers, orders, the products their lines point to, and discount codes where asked for."""
    shop = run.shops[name]
    recognise(run, name)
    with run.state.open() as database:
        whole = _read_whole(run, name, shop, database)
    shop.foresee(whole)
    if "customers" in whole or shop.capabilities.customers_changed_since:
        _customers(run, name, shop, is_listing="customers" in whole)
    if "customer_ids" in whole:
        _customer_ids(run, name, shop)
    _orders(run, name, shop, were_listed="customers" in whole)
    if run.connection.switches.promo_codes and shop.capabilities.promo_codes:
        _promo_codes(run, name, shop)


def _read_whole(run: Run, name: str, shop: Shop, database: Database) -> list[str]:
    """What this run reads all of: at first, when full, and now and then where nothing else shows what changed or is gone."""
    can, chosen = shop.capabilities, run.connection
    _, listed_at = storage.where_to_go_on(database, name, "customers")
    _, ids_listed_at = storage.where_to_go_on(database, name, "customer_ids")
    orders_cursor, _ = storage.where_to_go_on(database, name, "orders")

    def is_due(last_at: datetime | None, every: timedelta) -> bool:
        return run.full or last_at is None or run.started_at - last_at >= every

    whole = ["orders"] if run.full or orders_cursor is None else []
    how_often = timedelta.max if can.customers_changed_since else timedelta(minutes=chosen.customers_every_minutes)
    if is_due(listed_at, how_often):
        return ["customers", *whole]
    looked_at = max(filter(None, (listed_at, ids_listed_at)), default=None)
    if can.customers_changed_since and not can.deletions_visible:
        whole += ["customer_ids"] if is_due(looked_at, timedelta(hours=chosen.deletions_every_hours)) else []
    return whole


@task(cache_policy=NO_CACHE, persist_result=False)
def import_inbox(run: Run) -> None:
    """Read again, by id, the accounts that webhooks told about; one that does not exist any more is gone. Keep what people ask
    of us through their shop."""
    with run.state.open() as database:
        cursor, _ = storage.where_to_go_on(database, "inbox", "deliveries")
    deliveries = Inbox(run.state.folder).after(int(cursor or 0))
    for name, shop in run.shops.items():
        notices = [(d, shop.notice(d.topic, d.body)) for d in deliveries if d.source == name]
        _ask_for(run, name, {i for _, notice in notices for i in notice.customer_ids})
        with run.state.open() as database:
            storage.keep_requests(database, name, [(d, notice.request) for d, notice in notices if notice.request])
    if deliveries:
        with run.state.open() as database:
            storage.move_cursor(database, "inbox", "deliveries", f"{deliveries[-1].number:020d}")


def _customers(run: Run, name: str, shop: Shop, *, is_listing: bool) -> None:
    """Read customers: all of them, or those that changed. A shop's export may have begun before it is read."""
    with run.state.open() as database:
        cursor, _ = storage.where_to_go_on(database, name, "customers")
    began_at, total, proven, seen = datetime.now(UTC), Stored(), False, 0
    for page in chunks(shop.customers(None if is_listing else cursor)):
        proven, seen, began_at = proven or page.complete, seen + len(page.records), min(began_at, page.asked_at)
        with run.state.open() as database:
            total += storage.store(database, checked_customers(shop, name, page), page, run.run_id)
            storage.move_cursor(database, name, "customers", page.cursor)
        run.progress(f"customers from {name}", seen, page.announced)
    with run.state.open() as database:
        run.count(database, "extract", f"customers of {name}", vars(total))
        missing = storage.find_missing(database, "customers", name, began_at) if is_listing and proven else []
    _conclude_listing(run, name, missing, is_empty=seen == 0)
    if is_listing and proven:
        with run.state.open() as database:
            storage.move_cursor(database, name, "customers", None, listed_at=began_at)


def _customer_ids(run: Run, name: str, shop: Shop) -> None:
    """Look who is gone, where reading what changed does not tell."""
    began_at, proven, ids = datetime.now(UTC), False, set[str]()
    for page in shop.customer_ids():
        proven, began_at = proven or page.complete, min(began_at, page.asked_at)
        ids |= {record["customer_id"] for record in page.records}
        run.progress(f"customer ids from {name}", len(ids), page.announced)
    if proven:
        with run.state.open() as database:
            missing = storage.find_unlisted(database, name, ids, began_at)
        _conclude_listing(run, name, missing, is_empty=not ids)
        with run.state.open() as database:
            storage.move_cursor(database, name, "customer_ids", None, listed_at=began_at)


def _conclude_listing(run: Run, name: str, missing: list[str], *, is_empty: bool) -> None:
    """Who is missing from a complete listing is asked for by id; who is not found then is gone (behaviour 12.8)."""
    if is_empty and missing:
        raise TryLater(
            f"Shop {name} lists no customers although {len(missing)} are known: nothing is concluded from that. Look at "
            "the shop, then run again."
        )
    _ask_for(run, name, missing)


def _ask_for(run: Run, name: str, ids: Collection[str]) -> None:
    """Read these accounts again; one that does not come back is gone."""
    shop = run.shops[name]
    found: set[str] = set()
    for page in shop.customers_by_id(sorted(ids)) if ids else ():
        customers = checked_customers(shop, name, page)
        found |= set(customers.good["customer_id"]) | set(customers.rejected["record_id"])
        with run.state.open() as database:
            storage.store(database, customers, page, run.run_id)
    if gone := sorted(set(ids) - found):
        with run.state.open() as database:
            storage.mark_gone(database, "customers", name, gone=gone, missing=[], run_id=run.run_id)


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
            stored = storage.store(database, orders, page, run.run_id, lines)
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


def _promo_codes(run: Run, name: str, shop: Shop) -> None:
    """Read all discount codes; one that is missing from a complete listing for the second time is gone."""
    began_at, total, proven = datetime.now(UTC), Stored(), False
    for page in chunks(shop.promo_codes()):
        frame = shop.to_promo_codes(page.records)
        codes = check(frame, PromoCodes, page.records, source=name, entity="promo_codes", key="code")
        proven, began_at = proven or page.complete, min(began_at, page.asked_at)
        with run.state.open() as database:
            total += storage.store(database, codes, page, run.run_id)
        run.progress(f"discount codes from {name}", total.extracted, page.announced)
    with run.state.open() as database:
        if proven:
            missing = storage.find_missing(database, "promo_codes", name, began_at)
            storage.mark_gone(database, "promo_codes", name, gone=[], missing=missing, run_id=run.run_id)
        run.count(database, "extract", f"discount codes of {name}", vars(total))


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
