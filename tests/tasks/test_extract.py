"""Reading the shops into a real state file: what is read when, who is gone, what people ask for, which codes there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pandera.polars as pa
import polars as pl
import pytest

from schemas.settings import Connection, Switches
from schemas.shop import Customers, OrderLines, Orders, Products, PromoCodes
from tasks.connector import Fingerprint, Notice, Page, PrivacyRequest, Record, ShopCapabilities, TryLater
from tasks.extract import extract_shop, import_inbox
from tasks.inbox import Inbox
from tasks.run import Run
from tasks.state import State, rows

BY_CHANGE = ShopCapabilities(
    customers_changed_since=True,
    orders_changed_since=True,
    bulk_export=False,
    consent_times=False,
    sms_consent=False,
    consent_write_back=True,
    guest_consent_write_back=False,
    bounce_write_back=True,
    create_customers=False,
    promo_codes=True,
    webhooks=True,
    deletions_visible=False,
    batch_size={},
    limits="none",
)


class FakeShop:
    """Keeps accounts and codes in dicts; its records are rows already. `asked` is what it was asked for, in order."""

    capabilities: ShopCapabilities = BY_CHANGE
    notices: ClassVar[dict[str, Notice]] = {}

    def __init__(self, *people: str) -> None:
        self.people = {number: f"p{number}@example.com" for number in people}
        self.hidden: set[str] = set()
        self.codes: list[str] = []
        self.is_complete = True
        self.began_before = timedelta(0)
        self.asked: list[Any] = []

    def _page(self, found: list[Record]) -> Page:
        now = datetime.now(UTC)
        return Page(found, now - self.began_before, now, cursor="1", complete=self.is_complete)

    def _accounts(self, ids: Sequence[str]) -> list[Record]:
        return [{"customer_id": n, "email": self.people[n], "address": self.people[n]} for n in ids if n in self.people]

    def fingerprint(self) -> Fingerprint:
        return Fingerprint("shop.example")

    def foresee(self, listings: Sequence[str]) -> None:
        self.asked.append(("foreseen", *listings))

    def customers(self, cursor: str | None = None) -> Iterator[Page]:
        self.asked.append("changes" if cursor else "customers")
        yield self._page([] if cursor else self._accounts(sorted({*self.people} - self.hidden)))

    def customer_ids(self) -> Iterator[Page]:
        self.asked.append("customer_ids")
        yield self._page([{"customer_id": number} for number in sorted({*self.people} - self.hidden)])

    def customers_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        self.asked.append(("by id", *ids))
        yield self._page(self._accounts(ids))

    def orders(self, cursor: str | None = None) -> Iterator[Page]:
        yield replace(self._page([]), complete=False)

    def promo_codes(self) -> Iterator[Page]:
        self.asked.append("promo_codes")
        fixed = {"kind": "percentage", "target": "total", "amount": "0.15", "is_active": True}
        yield self._page([{"promo_id": "1", "code": code, **fixed} for code in self.codes])

    def notice(self, topic: str, body: bytes) -> Notice:
        return self.notices.get(topic, Notice())

    def to_customers(self, records: Sequence[Record]) -> pl.DataFrame:
        return _frame(Customers, records)

    def to_orders(self, records: Sequence[Record]) -> pl.DataFrame:
        return _frame(Orders, records)

    def to_order_lines(self, records: Sequence[Record]) -> pl.DataFrame:
        return _frame(OrderLines, records)

    def to_products(self, records: Sequence[Record]) -> pl.DataFrame:
        return _frame(Products, records)

    def to_promo_codes(self, records: Sequence[Record]) -> pl.DataFrame:
        return _frame(PromoCodes, records).with_columns(amount=pl.lit("0.15").cast(pl.Decimal(18, 4)))


def _frame(model: type[pa.DataFrameModel], records: Sequence[Record]) -> pl.DataFrame:
    schema: Any = {name: column.dtype.type for name, column in model.to_schema().columns.items()}
    found = [dict.fromkeys(schema) | {"shop": "shop"} | record | {"amount": None} for record in records]
    return pl.DataFrame([{name: row[name] for name in schema} for row in found], schema=schema, orient="row")


def run_on(folder: Path, shop: FakeShop, *, after: timedelta = timedelta(0), full: bool = False, **switches: bool) -> Run:
    """A run that starts so long from now."""
    connection = Connection(shops={"shop": {}}, esp={}, switches=Switches(**switches))
    at = datetime.now(UTC) + after
    return Run("acme", connection, State(folder), {"shop": shop}, None, "forward", "run", at, full)  # type: ignore[dict-item, arg-type]


def extract(folder: Path, shop: FakeShop, **how: Any) -> list[Any]:
    """What the shop was asked for in this run."""
    shop.asked.clear()
    extract_shop.fn(run_on(folder, shop, **how), "shop")
    return list(shop.asked)


def known(folder: Path) -> dict[str, bool]:
    """Each account with whether it is there still."""
    with State(folder).open() as database:
        found = rows(database, "select customer_id, deleted_at from shop.customers order by customer_id")
    return {str(row["customer_id"]): row["deleted_at"] is None for row in found}


# What is read when

HOUR = timedelta(hours=1)
DRAWN = """
    customers by change | deletions visible | hours later | full | read whole           | customers are asked for by
    --------------------+-------------------+-------------+------+----------------------+---------------------------
    yes                 | no                | 0           | no   | -                    | changes
    yes                 | no                | 23          | no   | -                    | changes
    yes                 | no                | 24          | no   | customer_ids         | changes, customer_ids
    yes                 | yes               | 24          | no   | -                    | changes
    yes                 | no                | 0           | yes  | customers, orders    | customers
    no                  | no                | 0           | no   | -                    |
    no                  | no                | 1           | no   | customers            | customers
    no                  | no                | 24          | yes  | customers, orders    | customers
"""
TABLE = [tuple(cell.strip() for cell in line.split("|")) for line in DRAWN.strip().splitlines()[2:]]


@pytest.mark.parametrize(("by_change", "visible", "later", "full", "whole", "calls"), TABLE)
def test_what_a_later_run_reads(
    tmp_path: Path, by_change: str, visible: str, later: str, full: str, whole: str, calls: str
) -> None:
    shop = FakeShop("1")
    shop.capabilities = replace(BY_CHANGE, customers_changed_since=by_change == "yes", deletions_visible=visible == "yes")
    assert extract(tmp_path, shop) == [("foreseen", "customers", "orders"), "customers"]
    foreseen = tuple(whole.split(", ")) if whole != "-" else ()
    assert extract(tmp_path, shop, after=int(later) * HOUR, full=full == "yes") == [
        ("foreseen", *foreseen),
        *filter(None, calls.split(", ")),
    ]


# Who is gone


def test_whom_the_ids_do_not_show_is_asked_for_by_id_and_gone_if_not_there(tmp_path: Path) -> None:
    shop = FakeShop("1", "2", "3")
    extract(tmp_path, shop)
    del shop.people["2"]
    shop.hidden = {"3"}  # left out of lists, but there
    assert ("by id", "2", "3") not in extract(tmp_path, shop, after=23 * HOUR)
    assert known(tmp_path) == {"1": True, "2": True, "3": True}
    assert extract(tmp_path, shop, after=24 * HOUR)[-1] == ("by id", "2", "3")
    assert known(tmp_path) == {"1": True, "2": False, "3": True}


def test_ids_that_may_be_short_of_some_prove_nothing(tmp_path: Path) -> None:
    shop = FakeShop("1", "2")
    extract(tmp_path, shop)
    del shop.people["2"]
    shop.is_complete = False
    assert extract(tmp_path, shop, after=24 * HOUR)[-1] == "customer_ids"
    assert known(tmp_path) == {"1": True, "2": True}
    shop.is_complete = True
    extract(tmp_path, shop, after=24 * HOUR)
    assert known(tmp_path) == {"1": True, "2": False}, "and they are asked for again in the next run"


def test_a_shop_that_shows_nobody_any_more_stops_the_run(tmp_path: Path) -> None:
    shop = FakeShop("1", "2")
    extract(tmp_path, shop)
    shop.people.clear()
    with pytest.raises(TryLater, match="lists no customers although 2 are known"):
        extract(tmp_path, shop, after=24 * HOUR)
    assert known(tmp_path) == {"1": True, "2": True}


def test_who_came_back_is_there_again(tmp_path: Path) -> None:
    shop = FakeShop("1", "2")
    extract(tmp_path, shop)
    gone = shop.people.pop("2")
    extract(tmp_path, shop, after=24 * HOUR)
    shop.people["2"] = gone
    extract(tmp_path, shop, full=True)
    assert known(tmp_path) == {"1": True, "2": True}


@pytest.mark.parametrize("how", [{"full": True}, {"after": 24 * HOUR}])
def test_a_listing_that_the_shop_began_before_it_was_read_misses_nobody(tmp_path: Path, how: dict[str, Any]) -> None:
    """A bulk export is foreseen, or found again after a crash: its records are as old as the export."""
    shop = FakeShop("1", "2")
    shop.began_before = timedelta(minutes=5)
    assert not by_id(extract(tmp_path, shop))
    del shop.people["2"]
    shop.began_before = timedelta(minutes=4)
    assert by_id(extract(tmp_path, shop, **how)) == [("by id", "2")]
    assert known(tmp_path) == {"1": True, "2": False}


def by_id(asked: list[Any]) -> list[Any]:
    return [call for call in asked if call[0] == "by id"]


# The inbox


def receive(folder: Path, shop: FakeShop, *topics: str, source: str = "shop") -> None:
    folder.mkdir(exist_ok=True)
    for topic in topics:
        Inbox(folder).put(source, topic, orjson.dumps({}))
    import_inbox.fn(run_on(folder, shop))


def test_what_webhooks_are_about_is_read_again_and_gone_if_not_there(tmp_path: Path) -> None:
    shop = FakeShop("1", "2", "3")
    extract(tmp_path, shop)
    shop.people["1"] = "new@example.com"
    del shop.people["2"]
    shop.notices = {"changed": Notice(("1",)), "order": Notice(("2", "1"))}
    shop.asked.clear()
    receive(tmp_path, shop, "changed", "order", "changed", "unknown")
    assert shop.asked == [("by id", "1", "2")]
    assert known(tmp_path) == {"1": True, "2": False, "3": True}
    receive(tmp_path, shop)
    assert shop.asked == [("by id", "1", "2")], "each delivery once"


def test_what_came_from_elsewhere_is_not_this_shops(tmp_path: Path) -> None:
    shop = FakeShop("1")
    shop.notices = {"changed": Notice(("1",)), "erase": Notice(request=PrivacyRequest("erase"))}
    receive(tmp_path, shop, "changed", "erase", source="other")
    assert shop.asked == []
    assert requests(tmp_path) == []


def requests(folder: Path) -> list[tuple[Any, ...]]:
    with State(folder).open() as database:
        return database.execute(
            """
            select source, kind, customer_id, address, delivery, date_diff('day', received_at, due_at), done_at
            from ops.privacy_requests order by delivery
            """
        ).fetchall()


def test_what_people_ask_for_is_kept_once_with_its_term(tmp_path: Path) -> None:
    shop = FakeShop()
    shop.notices = {
        "export": Notice(request=PrivacyRequest("export", "7", "Anna@Example.com")),
        "erase": Notice(request=PrivacyRequest("erase", None, "anna@example.com")),
        "erase all": Notice(request=PrivacyRequest("erase")),
    }
    receive(tmp_path, shop, "export", "nothing", "erase", "erase all")
    expected = [
        ("shop", "export", "7", "anna@example.com", 1, 30, None),
        ("shop", "erase", None, "anna@example.com", 3, 30, None),
        ("shop", "erase", None, None, 4, 30, None),
    ]
    assert requests(tmp_path) == expected
    with State(tmp_path).open() as database:  # as if the run had been killed before it moved on
        database.execute("delete from ops.cursors where source = 'inbox'")
    receive(tmp_path, shop)
    assert requests(tmp_path) == expected
    receive(tmp_path, shop, "export")
    assert [row[4] for row in requests(tmp_path)] == [1, 3, 4, 5], "asked for again is another request"


# Discount codes


def codes(folder: Path) -> dict[str, str]:
    with State(folder).open() as database:
        found = rows(database, "select code, missing_since, deleted_at from shop.promo_codes order by code")
    return {str(row["code"]): "gone" if row["deleted_at"] else "missing" if row["missing_since"] else "there" for row in found}


@pytest.mark.parametrize(("is_wanted", "can", "is_read"), [(True, True, True), (False, True, False), (True, False, False)])
def test_codes_are_read_where_wanted_and_possible(tmp_path: Path, is_wanted: bool, can: bool, is_read: bool) -> None:
    shop = FakeShop("1")
    shop.capabilities, shop.codes = replace(BY_CHANGE, promo_codes=can), ["welcome"]
    assert ("promo_codes" in extract(tmp_path, shop, promo_codes=is_wanted)) == is_read
    assert codes(tmp_path) == ({"welcome": "there"} if is_read else {})


@pytest.mark.parametrize("began_before", [timedelta(0), timedelta(minutes=5)])
def test_a_code_that_is_missing_twice_is_gone(tmp_path: Path, began_before: timedelta) -> None:
    shop = FakeShop("1")
    shop.codes, shop.began_before = ["summer", "winter"], began_before
    seen = []
    for there in (["summer", "winter"], ["winter"], ["winter"], ["summer", "winter"]):
        shop.codes = there
        extract(tmp_path, shop, promo_codes=True)
        seen.append(codes(tmp_path)["summer"])
        assert codes(tmp_path)["winter"] == "there"
    assert seen == ["there", "missing", "gone", "there"]


def test_codes_of_a_listing_that_may_be_short_of_some_are_not_missing(tmp_path: Path) -> None:
    shop = FakeShop("1")
    shop.codes = ["summer"]
    extract(tmp_path, shop, promo_codes=True)
    shop.codes, shop.is_complete = [], False
    extract(tmp_path, shop, promo_codes=True)
    assert codes(tmp_path) == {"summer": "there"}
