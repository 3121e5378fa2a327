"""Contract of every shop: records become frames of the schema, and what cannot is set aside with its reason."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import orjson
import pandera.polars as pa
import polars as pl
import pytest
from bench import NOW, Bench, Order, cents, records

from schemas.shop import Customers, OrderLines, Orders, Products, PromoCodes
from schemas.words import OptInLevel, words
from tasks.connector import Record, Shop
from tasks.validate import Checked, check

Shape = Callable[[Sequence[Record]], pl.DataFrame]

MODELS: dict[str, tuple[type[pa.DataFrameModel], str, Callable[[Shop], Shape]]] = {
    "customers": (Customers, "customer_id", lambda shop: shop.to_customers),
    "orders": (Orders, "order_id", lambda shop: shop.to_orders),
    "order_lines": (OrderLines, "order_id", lambda shop: shop.to_order_lines),
    "products": (Products, "product_id", lambda shop: shop.to_products),
    "promo_codes": (PromoCodes, "code", lambda shop: shop.to_promo_codes),
}


def checked(bench: Bench, entity: str, found: Sequence[Record]) -> Checked:
    model, key, shape = MODELS[entity]
    return check(shape(bench.shop)(found), model, found, source="de", entity=entity, key=key)


def samples(bench: Bench) -> dict[str, list[Record]]:
    """Some records of each entity: with and without a name, an account, an answer, a code."""
    if bench.shop.capabilities.promo_codes:
        bench.promo("welcome", 15)
    code = "welcome" if bench.shop.capabilities.promo_codes else None
    product = bench.product("Te “Grön” & Honung", "12.50")
    someone = bench.sign_up("Asa.Oberg+News@Example.com", "in", first_name="Åsa", last_name="Öberg-O'Neil & Co")
    bench.sign_up("b@example.com", "out")
    bench.sign_up("c@example.com")
    bench.order(Order(product, 3, customer_id=someone, code=code))
    bench.refund(bench.order(Order(product, email="guest@example.com", answer="in")), "1.00")
    orders = records(bench.shop.orders())
    return {
        "customers": records(bench.shop.customers()),
        "orders": orders,
        "order_lines": orders,
        "products": records(bench.shop.products_by_id([product])),
        "promo_codes": records(bench.shop.promo_codes()),
    }


def test_what_a_shop_says_is_valid(bench: Bench) -> None:
    for entity, found in samples(bench).items():
        told = checked(bench, entity, found)
        assert told.rejected.is_empty(), told.rejected
        assert told.good.height == told.extracted
        assert list(told.good.columns) == list(MODELS[entity][0].to_schema().columns)
        assert set(told.good["shop"]) <= {"de"}


def test_rows_stand_in_the_order_of_their_records(bench: Bench) -> None:
    """A rejected row is kept with its record by their places."""
    found = samples(bench)
    for entity in ("customers", "orders"):
        _, key, shape = MODELS[entity]
        forwards = shape(bench.shop)(found[entity])
        assert forwards.height == len(found[entity]) > 1
        assert list(shape(bench.shop)(found[entity][::-1])[key]) == list(forwards[key])[::-1]


JUNK = (None, "", "x", "  ", -1, 0.5, True, [], {}, [None], {"x": None}, "9" * 30, 1e30)


def spoilt(node: Any) -> Iterator[Any]:
    """The same with one value in it replaced, for each value and each kind of junk, and each without one of its keys."""
    places = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in list(places):
        for junk in (*JUNK, *spoilt(value)):
            changed = copy.copy(node)
            changed[key] = junk
            yield changed
        if isinstance(node, dict):
            yield {name: value for name, value in node.items() if name != key}


@pytest.mark.parametrize("entity", MODELS)
def test_nothing_that_a_plugin_or_an_import_leaves_behind_stops_a_run(bench: Bench, entity: str) -> None:
    """Every value of a record in turn is replaced by junk: shaping goes on, and each row is either good or rejected."""
    for sample in samples(bench)[entity][:2]:
        found = [record for record in spoilt(sample) if isinstance(record, dict)] + [{}]
        told = checked(bench, entity, found)
        assert told.extracted >= (len(found) if entity in {"customers", "orders"} else 0)
        assert told.good.height + told.refused.height == told.extracted
        assert all(told.rejected["advice"])


# Rejected rows


def test_a_malformed_account_is_kept_whole_with_field_check_and_advice(bench: Bench) -> None:
    good, bad = bench.sign_up("good@example.com", "in"), bench.sign_up("bad@example.com", "out")
    field = bench.malform_customer(bad)
    told = checked(bench, "customers", records(bench.shop.customers()))
    assert list(told.good["customer_id"]) == [good]
    (row,) = told.rejected.filter(field=field).iter_rows(named=True)
    assert row["record_id"] == bad
    assert row["check_name"]
    assert row["advice"].endswith(".")
    assert orjson.loads(row["record"])
    assert list(told.refused["consent"]) == ["out"], "their opt-out is heard all the same"


def test_a_malformed_order_is_kept_whole_with_field_check_and_advice(bench: Bench) -> None:
    product = bench.product("Mugg", "10.00")
    good, bad = (bench.order(Order(product, email=f"g{number}@example.com")) for number in (1, 2))
    field = bench.malform_order(bad)
    told = checked(bench, "orders", records(bench.shop.orders()))
    assert list(told.good["order_id"]) == [good]
    assert told.rejected.select("record_id", "field").rows() == [(bad, field)]
    assert all(told.rejected["advice"])


# Consent


@pytest.mark.parametrize(("answer", "consent"), [("in", "in"), ("out", "out"), (None, None)])
def test_what_people_say_when_they_sign_up(bench: Bench, answer: Any, consent: str | None) -> None:
    row = bench.customer(bench.sign_up("a@example.com", answer))
    assert row["consent"] == consent
    assert row["consent_at"] == (NOW if consent and bench.shop.capabilities.consent_times else None)
    assert (row["consent_raw"] is None) <= (consent is None), "evidence"


def test_a_change_of_mind_is_read_with_its_time_where_the_platform_states_it(bench: Bench) -> None:
    someone = bench.sign_up("a@example.com", "in")
    bench.wait(3600)
    bench.say(someone, "out")
    row = bench.customer(someone)
    assert row["consent"] == "out"
    assert row["consent_at"] == (NOW + timedelta(hours=1) if bench.shop.capabilities.consent_times else None)


def test_a_word_that_nobody_explained_is_set_aside_and_never_taken_for_silence(bench: Bench) -> None:
    someone = bench.sign_up("a@example.com", "in")
    if bench.mumble(someone):
        told = checked(bench, "customers", records(bench.shop.customers()))
        assert told.rejected.select("record_id", "field").rows() == [(someone, "consent")]
        assert told.refused["consent_raw"].item()


@pytest.mark.parametrize("level", words(OptInLevel))
def test_how_sure_an_opt_in_is(bench: Bench, level: str) -> None:
    row = bench.customer(bench.sign_up("a@example.com", "in", level=level))
    assert (row["consent"], row["consent_level"]) == ("in", level if bench.tells_levels else None)


def test_consent_to_text_messages(bench: Bench) -> None:
    someone = bench.sign_up("a@example.com", "out")
    if bench.shop.capabilities.sms_consent:
        bench.say_by_sms(someone, "+46701740605", "in")
    row = bench.customer(someone)
    found = (row["consent"], row["sms_consent"], row["sms_consent_at"], row["phone"])
    assert found == (("out", "in", NOW, "+46701740605") if bench.shop.capabilities.sms_consent else ("out", None, None, None))


# Orders


def test_money_is_exact_with_its_currency_and_times_are_utc(bench: Bench) -> None:
    bench.wait(90)
    order = bench.order(Order(bench.product("Mugg", "19.99"), 3, email="guest@example.com"))
    bench.wait(3600)
    bench.refund(order, "10.01")
    found = records(bench.shop.orders())
    frame, lines = bench.shop.to_orders(found), bench.shop.to_order_lines(found)
    row, line = frame.row(0, named=True), lines.row(0, named=True)
    assert (row["total"], row["refunded_total"], row["currency"]) == (cents("59.97"), cents("10.01"), bench.currency)
    assert (row["state"], row["discount_total"], row["shipping_total"]) == ("partially_refunded", 0, 0)
    assert abs(line["price"] * line["quantity"] + row["tax_total"] - row["total"]) < Decimal("0.02"), "lines are without tax"
    assert (row["ordered_at"], row["paid_at"]) == (NOW + timedelta(seconds=90),) * 2
    assert row["updated_at"] == NOW + timedelta(seconds=3690)
    assert {frame.schema[name] for name in ("total", "tax_total", "refunded_total")} == {pl.Decimal(18, 4)}
    assert frame.schema["ordered_at"] == pl.Datetime("us", "UTC")


def test_refunds_change_an_order_and_add_none(bench: Bench) -> None:
    order = bench.order(Order(bench.product("Mugg", "20.00"), email="guest@example.com"))
    states = []
    for amount in (None, "5.00", "15.00"):
        if amount:
            bench.refund(order, amount)
        states += bench.orders(bench.shop.orders()).select("order_id", "state", "refunded_total").rows()
    assert states == [(order, "paid", 0), (order, "partially_refunded", 5), (order, "refunded", 20)]


def test_a_guest_is_known_by_their_order_and_so_is_their_tick(bench: Bench) -> None:
    """Where the platform makes an account of every guest, it is that account that ticked."""
    bench.order(Order(bench.product("Mugg", "20.00"), email="Guest@Example.com", answer="in"))
    row = bench.orders(bench.shop.orders()).row(0, named=True)
    account = bench.customer(row["customer_id"]) if row["customer_id"] else {}
    assert row["address"] == "guest@example.com"
    assert "in" in {row["consent"], account.get("consent")}


def test_an_order_names_its_account_and_the_codes_used(bench: Bench) -> None:
    can = bench.shop.capabilities.promo_codes
    if can:
        bench.promo("welcome", 10)
    someone = bench.sign_up("a@example.com")
    bench.order(Order(bench.product("Mugg", "20.00"), 2, customer_id=someone, code="welcome" if can else None))
    found = records(bench.shop.orders())
    row, line = bench.shop.to_orders(found).row(0, named=True), bench.shop.to_order_lines(found).row(0, named=True)
    assert (row["customer_id"], row["address"]) == (someone, "a@example.com")
    assert orjson.loads(row["promo_codes"] or "[]") == (["welcome"] if can else [])
    assert row["total"] == (36 if can else 40)
    assert row["discount_total"] == line["discount"]
    assert (line["discount"] > 0) == can


# Discount codes


def test_discount_codes(bench: Bench) -> None:
    """One that is tied to a person is nobody else's business."""
    if not bench.shop.capabilities.promo_codes:
        assert records(bench.shop.promo_codes()) == []
        return
    bench.promo("welcome", 15)
    bench.promo("toolate", 20, is_over=True)
    bench.promo("forannaonly", 30, only_for=bench.sign_up("anna@example.com"))
    pages = list(bench.shop.promo_codes())
    assert pages[-1].complete
    told = checked(bench, "promo_codes", records(pages))
    assert told.rejected.is_empty()
    assert told.good.sort("amount").select("code", "kind", "target", "amount", "currency", "is_active").rows() == [
        ("welcome", "percentage", "total", cents("0.15"), None, True),
        ("toolate", "percentage", "total", cents("0.20"), None, False),
    ]
