"""What an erasure keeps out, and what it lets in again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.esp import Contacts
from schemas.shop import Customers, Orders
from tasks import erasure, storage, tombstones
from tasks.connector import Page, SetupError
from tasks.state import Database, State, rows
from tasks.validate import check

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
BEFORE, AFTER = NOON - timedelta(days=1), NOON + timedelta(days=1)
ANNA = "anna@x.example"
SCHEMAS: Any = {"customers": (Customers, "customer_id"), "orders": (Orders, "order_id"), "contacts": (Contacts, "address")}
BLANK: dict[str, dict[str, Any]] = {
    "customers": {"shop": "shop", "customer_id": "1", "email": ANNA, "address": ANNA, "created_at": BEFORE},
    "orders": {"shop": "shop", "order_id": "1", "email": ANNA, "address": ANNA, "state": "paid", "is_test": False}
    | {"currency": "EUR", "ordered_at": BEFORE, "updated_at": AFTER, "first_name": "Anna"}
    | dict.fromkeys(("total", "discount_total", "tax_total", "shipping_total", "refunded_total"), 0),
    "contacts": {"contact_id": "c", "email": ANNA, "address": ANNA, "changed_at": BEFORE, "fields": "{}", "tags": "[]"},
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Of a connection from which Anna was erased at noon, with account 1 and a phone number."""
    state = State(tmp_path / "acme")
    tombstones.make_key(state)
    with state.open() as opened:
        names = [ANNA, tombstones.account("shop", "1"), "+4915112345678"]
        tombstones.put(opened, tombstones.note(opened, state, names, NOON))
        yield opened


def come(database: Database, entity: str, *found: dict[str, Any]) -> tuple[int, int, int, int]:
    """Store what comes in; what became of it as extracted, changed, unchanged, rejected."""
    model, key = SCHEMAS[entity]
    schema: Any = {name: column.dtype.type for name, column in model.to_schema().columns.items()}
    frame = pl.DataFrame([dict.fromkeys(schema) | BLANK[entity] | row for row in found], schema=schema, orient="row")
    checked = check(frame, model, [], source="esp" if entity == "contacts" else "shop", entity=entity, key=key)
    page = Page([], AFTER + timedelta(hours=1), AFTER + timedelta(hours=2))
    stored = storage.store(database, checked, page, "run-1")
    return stored.extracted, stored.changed, stored.unchanged, stored.rejected


def known(database: Database, table: str, column: str) -> list[Any]:
    return [row[column] for row in rows(database, f"select {column} from {table} order by all")]


def is_standing(database: Database, name: str = ANNA) -> bool:
    stone = tombstones.of(database, name)
    return bool(stone and stone["is_standing"])


OTHER = {"customer_id": "2", "email": "b@x.example", "address": "b@x.example"}
STAYS_OUT: dict[str, tuple[str, dict[str, Any]]] = {
    "an account": ("customers", {}),
    "an opt-in without a time": ("customers", {"consent": "in"}),
    "an older opt-in": ("customers", {"consent": "in", "consent_at": BEFORE}),
    "an opt-in by the merchant": ("customers", {"consent": "in", "consent_at": AFTER, "consent_actor": "merchant"}),
    "another account with the address": ("customers", {"customer_id": "2", "consent": "in", "consent_at": BEFORE}),
    "the account with another address": ("customers", {"email": "b@x.example", "address": "b@x.example", "consent": "in"}),
    "a guest's order": ("orders", {}),
    "a newer order without a tick": ("orders", {"ordered_at": AFTER}),
    "an older tick": ("orders", {"consent": "in"}),
    "a tick in a test": ("orders", {"ordered_at": AFTER, "consent": "in", "is_test": True}),
    "an order of the account by another address": (
        "orders",
        {"customer_id": "1", "email": "b@x.example", "address": "b@x.example"},
    ),
    "a contact": ("contacts", {"status": "subscribed"}),
    "a contact edited since": ("contacts", {"status": "subscribed", "changed_at": AFTER}),
    "a contact with an older opt-in": ("contacts", {"status": "subscribed", "opted_in_at": BEFORE, "changed_at": AFTER}),
    "an archived contact": ("contacts", {"status": "deleted", "changed_at": AFTER}),
}


@pytest.mark.parametrize("case", STAYS_OUT)
def test_what_stays_out(database: Database, case: str) -> None:
    entity, row = STAYS_OUT[case]
    assert come(database, entity, row) == (1, 0, 1, 0)
    for table in ("shop.customers", "shop.orders", "esp.contacts", "consent.events", "merge.touched", "ops.rejected_rows"):
        assert rows(database, f"from {table}") == [], table
    assert is_standing(database)


STARTS_AFRESH: dict[str, tuple[str, dict[str, Any]]] = {
    "a dated opt-in in the shop": ("customers", {"consent": "in", "consent_at": AFTER}),
    "a new account with a tick": ("customers", {"customer_id": "2", "consent": "in", "created_at": AFTER}),
    "a tick in an order": ("orders", {"consent": "in", "ordered_at": AFTER}),
    "a form of the ESP": ("contacts", {"status": "subscribed", "opted_in_at": AFTER, "changed_at": AFTER}),
}


@pytest.mark.parametrize("case", STARTS_AFRESH)
def test_a_newer_opt_in_of_their_own_starts_afresh(database: Database, case: str) -> None:
    entity, row = STARTS_AFRESH[case]
    assert come(database, entity, row) == (1, 1, 0, 0)
    assert known(database, "consent.events", "kind") == ["opted_in"]
    assert not is_standing(database)
    # What is older stays out all the same.
    come(database, "customers", {"consent": "in", "consent_at": BEFORE, "customer_id": "3"})
    come(database, "orders", {"order_id": "9", "consent": "in"})
    assert known(database, "shop.orders", "order_id") == (["1"] if entity == "orders" else [])
    assert [row for row in known(database, "consent.events", "earliest_at") if row <= NOON] == []


def test_somebody_else_with_their_number_keeps_mail_and_loses_texts(database: Database) -> None:
    texts = {"phone": "+4915112345678", "sms_address": "+4915112345678", "sms_consent": "in"}
    come(database, "customers", OTHER | texts | {"consent": "in", "sms_consent_at": BEFORE})
    assert rows(database, "select consent, sms_consent, sms_address from shop.customers") == [
        {"consent": "in", "sms_consent": None, "sms_address": None}
    ]
    come(database, "customers", OTHER | texts | {"consent": "in", "sms_consent_at": AFTER})
    assert known(database, "shop.customers", "sms_consent") == ["in"]


def test_an_account_that_takes_an_erased_address_is_gone_from_its_own(database: Database) -> None:
    come(database, "customers", OTHER | {"consent": "in", "consent_at": BEFORE})
    come(database, "customers", OTHER | {"email": ANNA, "address": ANNA, "consent": "in", "consent_at": BEFORE})
    assert rows(database, "select address, deleted_at is not null as is_gone from shop.customers") == [
        {"address": "b@x.example", "is_gone": True}
    ]
    assert known(database, "consent.events", "kind") == ["deleted", "opted_in"]


def test_an_order_of_another_account_loses_whom_its_bill_names(database: Database) -> None:
    come(database, "customers", OTHER)
    come(database, "orders", {"customer_id": "2", "ordered_at": AFTER})
    assert rows(database, "select customer_id, email, address, first_name, total from shop.orders") == [
        {"customer_id": "2", "email": None, "address": None, "first_name": None, "total": 0}
    ]


def test_a_rejected_record_that_names_them_is_not_kept(database: Database) -> None:
    assert come(database, "orders", {"currency": "euro"}) == (1, 0, 1, 0)
    assert come(database, "customers", OTHER | {"email": "b", "first_name": f"see {ANNA}"})[3] == 1
    assert rows(database, "from ops.rejected_rows") == []
    assert come(database, "customers", OTHER | {"email": "b", "first_name": f"see x{ANNA}"})[3] == 1
    assert known(database, "ops.rejected_rows", "record_id") == ["2"]


def test_their_hashes_need_the_key(database: Database, tmp_path: Path) -> None:
    found = known(database, "consent.tombstones", "hash")
    assert len(set(found)) == 3
    assert tombstones.keyed_hash(bytes(32), ANNA) not in found
    assert [file.name for file in (tmp_path / "acme").iterdir() if "key" in file.name] == []
    database.execute("set variable erasure_key = $1", ["00" * 32])
    with pytest.raises(SetupError, match="missing or is another one"):
        come(database, "contacts", {"status": "subscribed"})


def test_a_lost_file_of_tombstones_is_written_again(database: Database, tmp_path: Path) -> None:
    state = State(tmp_path / "acme")
    file = state.key.with_suffix(".tombstones")
    kept = tombstones.noted(state)
    file.unlink()
    assert tombstones.not_applied(database, state) == []
    assert tombstones.noted(state) == kept


@pytest.mark.parametrize(
    ("text", "is_theirs"),
    [
        (f"{ANNA}", True),
        (f'{{"email":"{ANNA.upper()}"}}', True),
        (f"<{ANNA}>, write to her", True),
        (f"ask {ANNA}.", True),
        (f"x{ANNA}", False),
        (f"{ANNA}.au", False),
        ("anna at x.example", False),
    ],
)
def test_an_address_is_found_in_text_whole_or_not_at_all(database: Database, text: str, is_theirs: bool) -> None:
    assert tombstones.mentioned(database, pl.Series([text, "nothing"])).to_list() == [is_theirs, False]
    found = database.execute("select regexp_matches($1, $2)", [text, erasure.in_text([ANNA])]).fetchone()
    assert found == (is_theirs,)


@pytest.mark.parametrize("body", [b"data%5Bemail%5D=Anna%40x.example", rb'{"to":"anna\u0040x.example"}', b"anna@x.example"])
def test_bodies_are_read_through_their_escapes(database: Database, body: bytes) -> None:
    assert tombstones.mentioned(database, pl.Series([tombstones.plain(body)])).to_list() == [True]
