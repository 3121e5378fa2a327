"""Whom a merge looks at: what touches whom, and that a part of a merge says what the whole says about the same people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from schemas.esp import Contacts
from schemas.shop import Customers, OrderLines, Orders, Products
from tasks import ledger, merge, rules, scope, storage
from tasks.connector import Outcome, Page
from tasks.decide import decide_and_plan
from tasks.merge import Choices, Store
from tasks.state import Database, State, rows
from tasks.validate import check

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
STORES = [Store("shop", "store-1", "WooCommerce"), Store("second", "store-2", "Shopify")]
FRAMES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "customers": (Customers, "customer_id", {"created_at": NOON}),
    "orders": (
        Orders,
        "order_id",
        {"state": "paid", "is_test": False, "currency": "EUR", "ordered_at": NOON, "updated_at": NOON}
        | dict.fromkeys(("total", "discount_total", "tax_total", "shipping_total", "refunded_total"), 0),
    ),
    "order_lines": (OrderLines, "order_id", {"line_id": "1", "quantity": 1, "price": 1, "discount": 0}),
    "products": (Products, "product_id", {"title": "Te", "variant_title": "Te"}),
    "contacts": (Contacts, "address", {"contact_id": "c", "changed_at": NOON, "fields": "{}", "tags": "[]"}),
}


class Shop:
    """A state, and what is read into it: each call is a page asked for a minute after the one before."""

    def __init__(self, database: Database) -> None:
        self.database, self.now = database, NOON
        self.choices: dict[str, Any] = {}

    def reads(self, entity: str, *found: dict[str, Any], lines: Any = None) -> None:
        self.now += timedelta(minutes=1)
        storage.store(self.database, self._checked(entity, found), Page([], self.now, self.now), "run", lines)

    def reads_order(self, lines: list[dict[str, Any]], **order: Any) -> None:
        own = tuple({"order_id": order["order_id"]} | line for line in lines)
        self.reads("orders", order, lines=self._checked("order_lines", own))

    def misses(self, entity: str, record: str) -> None:
        source = "esp" if entity == "contacts" else "shop"
        storage.mark_gone(self.database, entity, source, gone=[record], missing=[], run_id="run")

    def merges(self, flow: str | None = "forward", *, whole: bool = False, **choices: Any) -> None:
        self.now += timedelta(minutes=1)
        run = f"run-{self.now:%j%H%M}"
        decide_and_plan(self.database, flow, Choices(**self.choices | choices), STORES, run_id=run, at=self.now, whole=whole)

    def settles(self) -> None:
        """Everything planned is acknowledged."""
        self.database.execute("update load.writes set state = 'sent', sent_at = planned_at where state = 'planned'")
        sent = rows(self.database, "select write_id from load.writes where state = 'sent'")
        ledger.settle(self.database, [Outcome(row["write_id"], "acknowledged") for row in sent], "run")

    def rests(self) -> None:
        """Everybody is decided, everything is written, and nobody is touched any more."""
        for _ in range(3):
            for flow in scope.FLOWS:
                self.merges(flow)
            self.settles()
        self.database.execute("delete from merge.touched")

    def touched(self) -> set[str]:
        return {row["address"] for row in rows(self.database, "from merge.touched")}

    @staticmethod
    def _checked(entity: str, found: tuple[dict[str, Any], ...]) -> Any:
        model, key, blank = FRAMES[entity]
        schema: Any = {name: column.dtype.type for name, column in model.to_schema().columns.items()}
        where = {} if entity == "contacts" else {"shop": "shop"}
        mail = [{"email": row["address"]} if row.get("address") else {} for row in found]
        records = [dict.fromkeys(schema) | where | blank | own | row for own, row in zip(mail, found, strict=True)]
        frame = pl.DataFrame([{name: record[name] for name in schema} for record in records], schema=schema, orient="row")
        return check(frame, model, [], source="esp" if entity == "contacts" else "shop", entity=entity, key=key)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with State(tmp_path).open() as database:
        yield Shop(database)


@pytest.fixture
def resting(shop: Shop) -> Shop:
    """Anna with an account and an order that she typed another address into, Ben a guest, both contacts, everything settled."""
    shop.reads("customers", {"customer_id": "1", "address": "anna@x.example", "consent": "in"})
    shop.reads("products", {"product_id": "te", "variant_id": "te"})
    shop.reads_order([{"product_id": "te", "variant_id": "te"}], order_id="7", customer_id="1", address="typed@x.example")
    shop.reads_order([{"product_id": "mugg", "variant_id": "mugg"}], order_id="8", address="ben@x.example")
    shop.rests()
    return shop


def an_account_says_something(shop: Shop) -> None:
    shop.reads("customers", {"customer_id": "1", "address": "anna@x.example", "consent": "out"})


def an_account_moves(shop: Shop) -> None:
    shop.reads("customers", {"customer_id": "1", "address": "new@x.example", "consent": "in"})


def an_account_goes(shop: Shop) -> None:
    shop.misses("customers", "1")


def an_account_comes(shop: Shop) -> None:
    shop.reads("customers", {"customer_id": "2", "address": "carl@x.example"})


def an_order_changes(shop: Shop) -> None:
    shop.reads_order([], order_id="7", customer_id="1", address="typed@x.example", total=5)


def an_order_is_anonymised(shop: Shop) -> None:
    shop.reads_order([], order_id="8")


def only_lines_change(shop: Shop) -> None:
    line = {"product_id": "te", "variant_id": "te", "quantity": 3}
    shop.reads_order([line], order_id="7", customer_id="1", address="typed@x.example")


def the_same_comes_again(shop: Shop) -> None:
    shop.reads("customers", {"customer_id": "1", "address": "anna@x.example", "consent": "in"})
    line = {"product_id": "te", "variant_id": "te"}
    shop.reads_order([line], order_id="7", customer_id="1", address="typed@x.example")


def a_product_is_found_after_its_order(shop: Shop) -> None:
    shop.reads("products", {"product_id": "mugg", "variant_id": "mugg"})


def a_product_changes(shop: Shop) -> None:
    shop.reads("products", {"product_id": "te", "variant_id": "te", "price": 9})


def a_contact_changes(shop: Shop) -> None:
    later = shop.now + timedelta(minutes=1)
    shop.reads("contacts", {"address": "anna@x.example", "status": "unsubscribed", "changed_at": later, "status_at": later})


def a_contact_goes(shop: Shop) -> None:
    shop.misses("contacts", "ben@x.example")


@pytest.mark.parametrize(
    ("what", "touched"),
    [
        (an_account_says_something, {"anna"}),
        (an_account_moves, {"anna", "new", "typed"}),
        (an_account_goes, {"anna", "typed"}),
        (an_account_comes, {"carl"}),
        (an_order_changes, {"anna", "typed"}),
        (an_order_is_anonymised, {"ben"}),
        (only_lines_change, {"anna", "typed"}),
        (the_same_comes_again, set()),
        (a_product_is_found_after_its_order, {"ben"}),
        (a_product_changes, set()),
        (a_contact_changes, {"anna"}),
        (a_contact_goes, {"ben"}),
    ],
)
def test_whom_a_change_touches(resting: Shop, what: Callable[[Shop], None], touched: set[str]) -> None:
    what(resting)
    assert resting.touched() == {f"{name}@x.example" for name in touched}


@pytest.mark.parametrize(
    "what",
    [
        an_account_says_something,
        an_account_moves,
        an_account_goes,
        an_account_comes,
        an_order_changes,
        an_order_is_anonymised,
        only_lines_change,
        a_product_is_found_after_its_order,
        a_product_changes,
        a_contact_changes,
    ],
)
def test_what_a_part_plans_is_what_the_whole_would_plan(resting: Shop, what: Callable[[Shop], None]) -> None:
    what(resting)
    planned = []
    for whole in (False, True):
        resting.merges(None, whole=whole)
        found = rows(
            resting.database, "select target, kind, key, payload from load.writes where state = 'planned' order by all"
        )
        planned.append(found)
        resting.database.execute("delete from load.writes where state = 'planned'")
    assert planned[0] == planned[1]
    assert planned[0], "something is to be written, or the test shows nothing"


PHONE, OTHER = "+491701000001", "+491701000002"


@pytest.fixture
def texting(shop: Shop) -> Shop:
    """SMS is switched on. Anna gave a number, Ben the same one, Carl another; all are contacts, and everything is settled."""
    shop.choices = {"sms_since": NOON.date(), "loaded_at": NOON}
    at = NOON + timedelta(minutes=1)
    for number, name, phone in (("1", "anna", PHONE), ("2", "ben", PHONE), ("3", "carl", OTHER)):
        texts = {"sms_address": phone, "sms_consent": "in", "sms_consent_at": at}
        shop.reads("customers", {"customer_id": number, "address": f"{name}@x.example", "consent": "in"} | texts)
    shop.rests()
    return shop


def account(number: str, name: str, phone: str | None, consent: str | None, at: datetime) -> dict[str, Any]:
    texts = {"sms_address": phone, "sms_consent": consent, "sms_consent_at": at if consent else None}
    return {"customer_id": number, "address": f"{name}@x.example", "consent": "in"} | texts


def contact(shop: Shop, name: str, phone: str, status: str) -> dict[str, Any]:
    texts = {"sms_address": phone, "sms_status": status, "sms_status_at": shop.now}
    return {"address": f"{name}@x.example", "status": "subscribed", "changed_at": shop.now} | texts


TEXTS: dict[str, Callable[[Shop], None]] = {
    "one of two with a number opts out": lambda s: s.reads("customers", account("2", "ben", PHONE, "out", s.now)),
    "a number goes to another account": lambda s: s.reads("customers", account("3", "carl", PHONE, "in", s.now)),
    "a number's consent is emptied": lambda s: s.reads("customers", account("3", "carl", OTHER, None, s.now)),
    "an account without the number comes": lambda s: s.reads("customers", account("4", "dora", OTHER, "in", s.now)),
    "a STOP at one of two contacts": lambda s: s.reads("contacts", contact(s, "anna", PHONE, "unsubscribed")),
    "a contact leaves the newsletter": lambda s: s.reads(
        "contacts", {"address": "carl@x.example", "status": "unsubscribed", "changed_at": s.now, "status_at": s.now}
    ),
    "an account goes": lambda s: s.misses("customers", "1"),
    "a contact goes": lambda s: s.misses("contacts", "anna@x.example"),
}


@pytest.mark.parametrize("what", TEXTS)
def test_a_part_says_the_same_of_text_messages(texting: Shop, what: str) -> None:
    """Decisions and writes of a number follow from the rows of everybody who has it."""
    texting.now += timedelta(minutes=1)
    TEXTS[what](texting)
    found = []
    for whole in (False, True):
        texting.merges(None, whole=whole)
        select = "select target, kind, key, payload from load.writes where state = 'planned' order by all"
        decided = "select * from decisions union all by name from sms_decisions"
        touched = {row["address"] for row in rows(texting.database, "from merge.touched")}
        said = [row for row in rows(texting.database, f"from ({decided}) order by all") if row["address"] in touched]
        found.append((rows(texting.database, select), said))
        texting.database.execute("delete from load.writes where state = 'planned'")
        texting.database.execute("delete from merge.decisions where decided_at = $1", [texting.now])
    assert found[0] == found[1]
    assert found[0][1], "somebody is decided about, or the test shows nothing"


def test_every_relation_says_the_same_of_those_in_scope(resting: Shop) -> None:
    """Of half of the people, in a state where much is going on at once."""
    for change in (an_account_moves, an_order_is_anonymised, a_contact_changes, a_product_is_found_after_its_order):
        change(resting)
    resting.reads("customers", *({"customer_id": f"c{n}", "address": f"p{n}@x.example", "consent": "in"} for n in range(20)))
    for n in range(40):
        whose = {"customer_id": f"c{n % 25}"} if n % 3 else {}
        resting.reads_order([], order_id=f"o{n}", address=f"p{n % 30}@x.example", **whose)
    for n in range(0, 20, 4):
        resting.misses("customers", f"c{n}")
    database = resting.database
    database.execute("delete from merge.touched where right(md5(address), 1) < '8'")
    in_scope = {row["address"] for row in rows(database, "from merge.touched where flow = 'forward'")}
    assert len(in_scope) > 10

    def relations() -> dict[str, list[str]]:
        for name in (*rules.MERGE, *rules.PLAN):
            rules.build(database, [name])
        found = {}
        for name in (*rules.MERGE, *rules.PLAN):
            columns = {row["column_name"] for row in rows(database, f"select column_name from (describe {name})")}
            if "address" in columns:
                found[name] = sorted(str(row) for row in rows(database, f"from {name}") if row["address"] in in_scope)
        return found

    database.execute("update load.writes set state = 'settled' where state = 'planned'")
    merge.bind_run(database, "run-x", resting.now, Choices(), STORES)
    whole = relations()
    database.commit()  # a transaction keeps what it replaced
    database.begin()
    scope.narrow(database, "forward")
    part = relations()
    assert part == whole
    assert sum(map(bool, whole.values())) > 12


def test_who_is_touched_stays_so_until_each_flow_has_looked(resting: Shop) -> None:
    an_account_says_something(resting)
    resting.merges("reverse")
    assert {row["flow"] for row in rows(resting.database, "from merge.touched")} == {"forward", "reverse"}, "decided anew"
    resting.merges("reverse")
    assert {row["flow"] for row in rows(resting.database, "from merge.touched")} == {"forward"}


def test_a_plan_that_was_never_sent_is_planned_anew(resting: Shop) -> None:
    an_account_says_something(resting)
    for _ in range(3):
        resting.merges()
        assert rows(resting.database, "select kind, key from load.writes where state = 'planned' order by all") == [
            {"kind": "status", "key": "anna@x.example"},
            {"kind": "tags", "key": "anna@x.example"},
        ]


@pytest.mark.parametrize("chosen", [{"tag_prefix": "x-"}, {"groups": ("subscriber",)}, {"policy": "newsletter2go"}])
def test_another_choice_looks_at_everybody(resting: Shop, chosen: dict[str, Any]) -> None:
    resting.merges(**chosen)
    assert rows(resting.database, "select count(*) as people from decisions") == [{"people": 2}]
    resting.database.execute("delete from merge.touched")
    resting.database.execute("update load.writes set state = 'settled'")
    resting.merges(**chosen)
    assert rows(resting.database, "select count(*) as people from decisions") == [{"people": 0}]


def test_everybody_is_looked_at_once_a_day(resting: Shop) -> None:
    resting.merges()
    assert rows(resting.database, "select count(*) as people from decisions") == [{"people": 0}]
    resting.now += scope.WHOLE_EVERY
    resting.merges()
    assert rows(resting.database, "select count(*) as people from decisions") == [{"people": 2}]
