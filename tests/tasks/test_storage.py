"""Pages into a real state file: stored once however often they come, older answers never over newer ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.esp import Contacts
from schemas.shop import Customers, OrderLines, Orders, Products
from tasks import storage
from tasks.connector import Page
from tasks.state import Database, State, rows
from tasks.storage import Stored
from tasks.validate import check

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
SCHEMAS = {"customers": Customers, "orders": Orders, "order_lines": OrderLines, "products": Products, "contacts": Contacts}
KEYS = {
    "customers": "customer_id",
    "orders": "order_id",
    "order_lines": "order_id",
    "products": "product_id",
    "contacts": "address",
}
BLANK: dict[str, dict[str, Any]] = {
    "customers": {"shop": "shop"},
    "orders": {"shop": "shop", "state": "paid", "is_test": False, "currency": "EUR", "ordered_at": NOON, "updated_at": NOON}
    | dict.fromkeys(("total", "discount_total", "tax_total", "shipping_total", "refunded_total"), 0),
    "order_lines": {"shop": "shop", "quantity": 1, "price": 1, "discount": 0},
    "products": {"shop": "shop", "title": "Te", "variant_title": "Te"},
    "contacts": {"contact_id": "c", "email": "e", "changed_at": NOON, "fields": "{}", "tags": "[]"},
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with State(tmp_path).open() as opened:
        yield opened


def at(minutes: float = 0) -> Page:
    """A page asked for so many minutes after noon, answered a second later."""
    asked_at = NOON + timedelta(minutes=minutes)
    return Page([], asked_at, asked_at + timedelta(seconds=1))


def checked(entity: str, *found: dict[str, Any]) -> Any:
    model = SCHEMAS[entity]
    schema: Any = {name: column.dtype.type for name, column in model.to_schema().columns.items()}
    frame = pl.DataFrame([dict.fromkeys(schema) | BLANK[entity] | row for row in found], schema=schema, orient="row")
    source = "esp" if entity == "contacts" else "shop"
    return check(frame, model, [], source=source, entity=entity, key=KEYS[entity])


def store(database: Database, entity: str, page: Page, *found: dict[str, Any], run_id: str = "run-1", **more: Any) -> Stored:
    return storage.store(database, checked(entity, *found), page, run_id, **more)


def customer(**values: Any) -> dict[str, Any]:
    return {"customer_id": "1", "email": "a@x.example", "address": "a@x.example"} | values


def events(database: Database) -> list[tuple[str, bool]]:
    return [(row["kind"], row["is_inferred"]) for row in rows(database, "from consent.events order by as_of_at, recorded_at")]


# What comes in


def test_counts_balance(database: Database) -> None:
    assert store(database, "customers", at(), customer(), customer(customer_id="2", email="x")) == Stored(2, 1, 0, 1)
    assert store(database, "customers", at(1), customer(), customer(customer_id="3")) == Stored(2, 1, 1, 0)
    assert store(database, "customers", at(2), customer(first_name="Anna")) == Stored(1, 1, 0, 0)
    assert Stored(2, 1, 0, 1) + Stored(2, 1, 1, 0) == Stored(4, 2, 1, 1)


def test_the_same_page_twice_makes_no_difference(database: Database) -> None:
    page = [customer(consent="in"), customer(customer_id="2", consent="out", address="b@x.example")]
    store(database, "customers", at(), *page)
    before = rows(database, "from shop.customers order by all") + rows(database, "from consent.events order by all")
    assert store(database, "customers", at(), *page) == Stored(2, 0, 2, 0)
    assert rows(database, "from shop.customers order by all") + rows(database, "from consent.events order by all") == before


def test_a_record_twice_in_a_page_counts_as_it_came_last(database: Database) -> None:
    store(database, "customers", at(), customer(first_name="Old"), customer(first_name="New"))
    assert rows(database, "select first_name from shop.customers") == [{"first_name": "New"}]


def test_an_older_answer_does_not_run_over_a_newer_one(database: Database) -> None:
    store(database, "customers", at(5), customer(first_name="New", consent="in"))
    assert store(database, "customers", at(0), customer(first_name="Old", consent="pending")).changed == 0
    assert rows(database, "select first_name, consent from shop.customers") == [{"first_name": "New", "consent": "in"}]
    assert events(database) == [("opted_in", False)]


def test_the_order_of_pages_makes_no_difference_to_what_is_known(database: Database) -> None:
    store(database, "contacts", at(5), {"address": "a", "status": "subscribed", "changed_at": NOON + timedelta(minutes=4)})
    store(database, "contacts", at(0), {"address": "a", "status": "unsubscribed", "changed_at": NOON - timedelta(minutes=4)})
    assert rows(database, "select status from esp.contacts") == [{"status": "subscribed"}]
    assert [kind for kind, _ in events(database)] == ["opted_out", "opted_in"]  # heard, and older


def test_when_it_was_seen_first_stays(database: Database) -> None:
    store(database, "customers", at(0), customer())
    store(database, "customers", at(5), customer())
    found = rows(database, "select first_seen_at, seen_at from shop.customers")
    assert found == [{"first_seen_at": NOON, "seen_at": NOON + timedelta(minutes=5)}]


def test_a_row_names_the_run_that_last_changed_it(database: Database) -> None:
    def read(run_id: str, minute: int, **values: Any) -> list[tuple[str, int]]:
        changed = store(database, "customers", at(minute), customer(**values), run_id=run_id).changed
        return [(row["run_id"], changed) for row in rows(database, "select run_id from shop.customers")]

    assert read("run-1", 0, consent="in") == [("run-1", 1)]
    assert read("run-2", 1, consent="in") == [("run-1", 0)]
    assert read("run-3", 2, consent="in", first_name="Anna") == [("run-3", 1)]
    storage.mark_gone(database, "customers", "shop", gone=["1"], missing=[], run_id="run-4")
    assert rows(database, "select run_id from shop.customers") == [{"run_id": "run-4"}]
    assert read("run-5", 3, consent="in", first_name="Anna") == [("run-5", 1)]  # it is back
    assert read("run-6", 4, consent="what", first_name="Anna") == [("run-6", 0)]  # rejected, and its consent not known any more
    assert read("run-7", 5, consent="in", first_name="Anna") == [("run-7", 1)]
    assert read("run-8", 6, consent="in", first_name="Anna") == [("run-7", 0)]


# Rejected rows


def test_a_rejected_row_is_kept_until_it_is_corrected(database: Database) -> None:
    store(database, "customers", at(0), customer(email="x", consent="what"))
    found = rows(database, "select record_id, field from ops.rejected_rows order by field")
    assert found == [{"record_id": "1", "field": "consent"}, {"record_id": "1", "field": "email"}]
    store(database, "customers", at(1), customer(email="x"))
    assert rows(database, "select field from ops.rejected_rows") == [{"field": "email"}]
    store(database, "customers", at(2), customer())
    assert rows(database, "from ops.rejected_rows") == []


def test_another_shops_rejected_row_of_the_same_number_stays(database: Database) -> None:
    store(database, "customers", at(0), customer(email="x"))
    other = check(checked("customers", customer()).good, Customers, [], source="second", entity="customers", key="customer_id")
    storage.store(database, other, at(1), "run-1")
    assert len(rows(database, "from ops.rejected_rows")) == 1


@pytest.mark.parametrize(
    ("before", "now", "heard"),
    [
        ("in", "ja!", [("opted_in", False), ("opted_out", True)]),  # 2.9: from in to anything else
        ("out", "ja!", [("opted_out", False)]),
        (None, "ja!", []),
    ],
)
def test_an_opt_out_in_a_record_that_fails_a_check_is_heard_once(
    database: Database, before: str | None, now: str, heard: list[tuple[str, bool]]
) -> None:
    store(database, "customers", at(0), customer(consent=before))
    for minute in (1, 2):
        store(database, "customers", at(minute), customer(consent=now))
    assert events(database) == heard


def test_an_opt_out_of_somebody_whose_new_address_is_no_address_counts_for_the_old_one(database: Database) -> None:
    store(database, "customers", at(0), customer(consent="in"))
    store(database, "customers", at(1), customer(email="x", address="x", consent="out"))
    assert rows(database, "select address, is_inferred from consent.events where kind = 'opted_out'") == [
        {"address": "a@x.example", "is_inferred": False}
    ]
    store(database, "customers", at(2), customer(consent="in"))  # corrected, and ticked again
    assert events(database)[-1] == ("opted_in", False)


def test_an_older_answer_that_fails_a_check_says_nothing(database: Database) -> None:
    store(database, "customers", at(5), customer(consent="in"))
    store(database, "customers", at(0), customer(consent="ja!"))
    assert events(database) == [("opted_in", False)]


# Orders and their lines


def lines(*found: dict[str, Any]) -> Any:
    return checked("order_lines", *found)


def test_lines_are_those_of_the_order_as_last_seen(database: Database) -> None:
    bought = lines({"order_id": "1", "line_id": "a"}, {"order_id": "1", "line_id": "b"}, {"order_id": "2", "line_id": "a"})
    for _ in range(2):
        store(database, "orders", at(0), {"order_id": "1"}, {"order_id": "2"}, lines=bought)
    store(database, "orders", at(1), {"order_id": "1"}, lines=lines({"order_id": "1", "line_id": "c"}))
    found = [(row["order_id"], row["line_id"]) for row in rows(database, "from shop.order_lines order by all")]
    assert found == [("1", "c"), ("2", "a")]


def test_lines_of_an_order_that_was_not_stored_are_not_stored(database: Database) -> None:
    store(database, "orders", at(0), {"order_id": "1"}, lines=lines({"order_id": "9", "line_id": "a"}))
    assert rows(database, "from shop.order_lines") == []


def test_what_the_esp_is_told_of_an_order_includes_its_lines(database: Database) -> None:
    """Another line is another order to tell, another title of the same line is not; without lines there is nothing to tell. A
    product that comes later takes the place of the stand-in."""

    def told(**line: Any) -> str | None:
        bought = lines({"order_id": "1", "line_id": "a", "product_id": "7", "variant_id": "7"} | line) if line else None
        store(database, "orders", at(0), {"order_id": "1"}, lines=bought)
        (row,) = rows(database, "select told_hash from shop.orders")
        return row["told_hash"]

    assert told() is None
    first = told(quantity=1)
    assert first is not None
    assert told(title="Green tea", quantity=1) == first
    assert told(quantity=2) != first
    assert told(quantity=1) == first
    store(database, "products", at(1), {"product_id": "7", "variant_id": "7"})
    (now,) = rows(database, "select told_hash from shop.orders")
    assert now["told_hash"] != first


def test_variants_are_products_of_their_own(database: Database) -> None:
    variants = [{"product_id": "1", "variant_id": str(number)} for number in range(3)]
    assert store(database, "products", at(), *variants).changed == 3


# Cursors


def test_a_cursor_never_moves_back_and_a_listing_keeps_it(database: Database) -> None:
    assert storage.where_to_go_on(database, "shop", "orders") == (None, None)
    for cursor in ("2026-02-01", "2026-02-03", "2026-02-02", None):
        storage.move_cursor(database, "shop", "orders", cursor)
    storage.move_cursor(database, "shop", "orders", None, listed_at=NOON)
    storage.move_cursor(database, "shop", "orders", "2026-02-01")
    assert storage.where_to_go_on(database, "shop", "orders") == ("2026-02-03", NOON)
    assert storage.where_to_go_on(database, "second", "orders") == (None, None)


# Missing is not deleted (12.8)


def known(database: Database) -> None:
    store(database, "customers", at(0), customer(), customer(customer_id="2"), customer(customer_id="3", shop="second"))


def status(database: Database) -> list[tuple[bool, bool]]:
    query = (
        "select missing_since is not null, deleted_at is not null from shop.customers where shop = 'shop' order by customer_id"
    )
    return database.execute(query).fetchall()


def test_missing_is_what_a_complete_listing_did_not_show(database: Database) -> None:
    known(database)
    began_at = NOON + timedelta(minutes=5)
    store(database, "customers", at(6), customer())
    assert storage.find_missing(database, "customers", "shop", began_at) == ["2"]
    assert storage.find_missing(database, "customers", "second", began_at) == ["3"]


def test_not_found_when_asked_by_id_is_gone(database: Database) -> None:
    known(database)
    storage.mark_gone(database, "customers", "shop", gone=["2"], missing=[], run_id="run-2")
    assert status(database) == [(False, False), (True, True)]
    assert storage.find_missing(database, "customers", "shop", NOON + timedelta(minutes=9)) == ["1"]


def test_missing_once_is_not_gone_and_missing_twice_is(database: Database) -> None:
    known(database)
    storage.mark_gone(database, "customers", "shop", gone=[], missing=["2"], run_id="run-2")
    assert status(database) == [(False, False), (True, False)]
    storage.mark_gone(database, "customers", "shop", gone=[], missing=["2"], run_id="run-3")
    assert status(database) == [(False, False), (True, True)]


def test_who_shows_up_in_between_was_never_missing(database: Database) -> None:
    known(database)
    storage.mark_gone(database, "customers", "shop", gone=[], missing=["2"], run_id="run-2")
    store(database, "customers", at(5), customer(customer_id="2"))
    storage.mark_gone(database, "customers", "shop", gone=[], missing=["2"], run_id="run-3")
    assert status(database) == [(False, False), (True, False)]


def test_who_is_listed_again_is_there_again_and_says_nothing_new(database: Database) -> None:
    store(database, "customers", at(0), customer(consent="in"))
    storage.mark_gone(database, "customers", "shop", gone=["1"], missing=[], run_id="run-2")
    store(database, "customers", at(5), customer(consent="in"))
    assert status(database) == [(False, False)]
    assert events(database) == [("opted_in", False), ("returned", False), ("deleted", False)]  # the listing is an older page


def test_a_contact_that_is_gone_is_deleted_and_its_opt_out_stays(database: Database) -> None:
    store(database, "contacts", at(0), {"address": "a", "status": "unsubscribed"})
    for _ in range(2):
        missing = storage.find_missing(database, "contacts", "esp", NOON + timedelta(minutes=5))
        storage.mark_gone(database, "contacts", "esp", gone=[], missing=missing, run_id="run-2")
    assert rows(database, "select status from esp.contacts") == [{"status": "deleted"}]
    assert storage.find_missing(database, "contacts", "esp", NOON + timedelta(minutes=9)) == []
    assert events(database) == [("opted_out", False), ("deleted", True)]  # nobody said so: it was missing twice


@pytest.mark.parametrize(
    ("entity", "row", "record"),
    [
        ("customers", {"customer_id": "1", "address": "a@example.com"}, "customer:1"),
        ("contacts", {"address": "a@example.com", "status": "subscribed"}, "contact:a@example.com"),
    ],
)
def test_coming_and_going_are_events_once(database: Database, entity: str, row: dict[str, Any], record: str) -> None:
    source = "shop" if entity == "customers" else "esp"
    key = row["customer_id"] if entity == "customers" else row["address"]
    values = customer(**row) if entity == "customers" else row
    store(database, entity, at(0), values)
    for _ in range(2):
        storage.mark_gone(database, entity, source, gone=[key], missing=[], run_id="run-2")
    for _ in range(2):
        store(database, entity, at((datetime.now(UTC) - NOON) / timedelta(minutes=1)), values, run_id="run-3")
    found = rows(
        database,
        """
        select kind, side, source, record, actor, run_id, earliest_at < latest_at as has_bounds from consent.events
        where kind in ('deleted', 'returned') order by latest_at
        """,
    )
    both = {"side": source, "source": source, "record": record, "actor": "self", "has_bounds": True}
    assert found == [{"kind": "deleted", "run_id": "run-2"} | both, {"kind": "returned", "run_id": "run-3"} | both]


@pytest.mark.parametrize(("shown", "is_ours"), [("deleted", True), ("subscribed", False)])
def test_our_own_archiving_stays_ours_when_the_esp_shows_it(database: Database, shown: str, is_ours: bool) -> None:
    store(database, "contacts", at(0), {"address": "a", "status": "subscribed"})
    database.execute("update esp.contacts set status = 'deleted', removed_by_us = true")
    store(database, "contacts", at(5), {"address": "a", "status": shown})
    assert rows(database, "select removed_by_us from esp.contacts") == [{"removed_by_us": is_ours}]
