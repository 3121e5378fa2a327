"""WooCommerce's saved answers (invented people) as frames."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.shop import Customers, OrderLines, Orders, Products
from tasks.shops.woocommerce.shapes import ConsentKey, shape_customers, shape_order_lines, shape_orders, shape_products

SAMPLES = Path(__file__).parent / "samples" / "woocommerce"
CONSENT = ConsentKey("newsletter_optin", ("1", "yes", "true", "on", "subscribed"), ("0", "no", "false", "off", "unsubscribed"))


def sample(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads((SAMPLES / f"{name}.json").read_bytes())
    return found


def rows_of(frame: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple("-" if cell is None else str(cell) for cell in row) for row in frame.select(columns).iter_rows()]


def drawn(table: str) -> list[tuple[str, ...]]:
    """A drawn table, without its heading and line."""
    return [tuple(cell.strip() for cell in line.split("|")) for line in table.strip().splitlines()[2:]]


def test_customers() -> None:
    frame = Customers.validate(shape_customers(sample("customers"), "de", CONSENT), lazy=True)
    assert rows_of(frame, "customer_id", "email", "address", "first_name", "last_name", "country", "postcode") == drawn("""
        id | email                          | address                        | first | last              | country | postcode
        ---+--------------------------------+--------------------------------+-------+-------------------+---------+---------
        2  | ASA.Oberg+News@Exempel.Example | asa.oberg+news@exempel.example | Åsa   | Öberg-O'Neil & Co | SE      | 211 20
        3  | nur.mail@client.example        | nur.mail@client.example        | -     | -                 | -       | -
        4  | Jan@Klient.Test                | jan@klient.test                | Jan   | Łęcki             | PL      | 90001
    """)
    assert rows_of(frame, "customer_group", "consent", "consent_raw", "bounced_at", "created_at", "updated_at") == drawn("""
        group      | consent | raw | bounced                   | created                   | updated
        -----------+---------+-----+---------------------------+---------------------------+--------------------------
        customer   | in      | 1   | 2026-10-01 08:00:00+00:00 | 2024-06-05 01:42:58+00:00 | 2026-11-22 01:35:54+00:00
        subscriber | -       | -   | -                         | 2024-06-06 01:42:58+00:00 | -
        customer   | out     | no  | -                         | 2024-06-07 01:42:58+00:00 | 2024-06-07 01:42:58+00:00
    """)


def test_orders() -> None:
    frame = Orders.validate(shape_orders(sample("orders"), "de", CONSENT), lazy=True)
    assert rows_of(
        frame, "order_id", "customer_id", "address", "first_name", "postcode", "phone", "state", "promo_codes"
    ) == drawn("""
        id  | customer | address                        | first | postcode | phone | state              | codes
        ----+----------+--------------------------------+-------+----------+-------+--------------------+----------------
        13  | 2        | asa.oberg+news@exempel.example | Åsa   | -        | -     | paid               | ["välkommen10"]
        956 | -        | ny.gast@example.com            | Gäst  | -        | -     | partially_refunded | -
        957 | -        | -                              | -     | -        | -     | paid               | -
    """)
    assert rows_of(frame, "currency", "total", "discount_total", "tax_total", "shipping_total", "refunded_total") == drawn("""
        currency | total    | discount | tax     | shipping | refunded
        ---------+----------+----------+---------+----------+---------
        SEK      | 159.2000 | 39.8000  | 0.0000  | 0.0000   | 0.0000
        EUR      | 99.5000  | 0.0000   | 19.9000 | 4.9000   | 39.2000
        EUR      | 10.0000  | 0.0000   | 0.0000  | 0.0000   | 0.0000
    """)
    assert rows_of(frame, "consent", "consent_raw", "ordered_at", "updated_at", "paid_at")[0] == (
        "in",
        "yes",
        "2024-11-22 02:07:51+00:00",
        "2024-11-22 08:13:44+00:00",
        "2024-11-22 02:48:56+00:00",
    )


def test_order_lines() -> None:
    frame = OrderLines.validate(shape_order_lines(sample("orders"), "de"), lazy=True)
    columns = ("order_id", "line_id", "product_id", "variant_id", "title", "quantity", "price", "discount")
    assert rows_of(frame, *columns) == drawn("""
        order | line | product | variant | title                | quantity | price   | discount
        ------+------+---------+---------+----------------------+----------+---------+---------
        13    | 1    | 11      | 11      | Te ☕ "Grön" & Honung | 3        | 53.0667 | 39.8000
        956   | 2    | 59      | 61      | T-shirt - M          | 1        | 74.7000 | 0.0000
        956   | 3    | -       | -       | -                    | 1        | 0.0000  | 0.0000
    """)


def test_products() -> None:
    frame = Products.validate(shape_products(sample("products"), "de"), lazy=True)
    assert rows_of(frame, "product_id", "variant_id", "title", "variant_title", "sku", "price", "image_url") == drawn("""
        product | variant | title                | variant title        | sku  | price    | image
        --------+---------+----------------------+----------------------+------+----------+------------------------------
        11      | 11      | Te ☕ "Grön" & Honung | Te ☕ "Grön" & Honung | TE-1 | 99.5000  | https://shop.example/te.jpg
        59      | 60      | T-shirt              | S / Blå              | T-S  | 199.0000 | https://shop.example/t.jpg
        59      | 61      | T-shirt              | T-shirt              | -    | -        | https://shop.example/t-m.jpg
    """)


CONSENTS = """
    stored        | consent
    --------------+-------------
    "1"           | in
    "YES "        | in
    "subscribed"  | in
    true          | in
    1             | in
    "0"           | out
    " Off"        | out
    false         | out
    0             | out
    ""            | -
    "  "          | -
    null          | -
    "pending"     | pending
    "archived"    | archived
    "maybe"       | maybe
    "in"          | 'in'
    "OUT"         | 'OUT'
    ["1"]         | ["1"]
    {"a": 1}      | {"a":1}
"""


@pytest.mark.parametrize(("stored", "consent"), drawn(CONSENTS))
def test_what_a_stored_value_means(stored: str, consent: str) -> None:
    record = {"id": 1, "email": "a@x.example", "meta_data": [{"key": "newsletter_optin", "value": orjson.loads(stored)}]}
    frame = shape_customers([record], "de", CONSENT)
    assert rows_of(frame, "consent") == [(consent,)]
    if consent not in {"in", "out", "pending", "-"}:
        with pytest.raises(Exception, match="consent"):
            Customers.validate(frame, lazy=True)


def test_without_a_consent_key_nobody_has_said_anything() -> None:
    frame = shape_customers(sample("customers"), "de", ConsentKey(None, ("1",), ("0",)))
    assert frame["consent"].null_count() == frame["consent_raw"].null_count() == 3


STATES = """
    status           | paid | total | refunded | state
    -----------------+------+-------+----------+-------------------
    checkout-draft   | no   | 100   | 0        | draft
    auto-draft       | no   | 100   | 0        | draft
    pending          | no   | 100   | 0        | pending
    pending          | yes  | 100   | 0        | paid
    on-hold          | no   | 100   | 0        | pending
    on-hold          | yes  | 100   | 0        | paid
    processing       | yes  | 100   | 0        | paid
    processing       | no   | 100   | 0        | paid
    completed        | yes  | 100   | 0        | paid
    completed        | yes  | 100   | 40       | partially_refunded
    completed        | yes  | 100   | 100      | refunded
    completed        | yes  | 0     | 0        | paid
    refunded         | yes  | 100   | 100      | refunded
    refunded         | yes  | 100   | 0        | refunded
    cancelled        | no   | 100   | 0        | cancelled_unpaid
    cancelled        | yes  | 100   | 0        | cancelled
    failed           | no   | 100   | 0        | failed
    trash            | yes  | 100   | 0        | trashed
    awaiting-pickup  | no   | 100   | 0        | pending
    awaiting-pickup  | yes  | 100   | 0        | paid
    awaiting-pickup  | yes  | 100   | 1        | partially_refunded
"""


@pytest.mark.parametrize(("status", "paid", "total", "refunded", "state"), drawn(STATES))
def test_where_an_order_stands(status: str, paid: str, total: str, refunded: str, state: str) -> None:
    record = {
        "id": 1,
        "status": status,
        "date_paid_gmt": "2026-01-01T00:00:00" if paid == "yes" else None,
        "total": total,
        "refunds": [{"total": f"-{refunded}.00"}] if refunded != "0" else [],
    }
    assert rows_of(shape_orders([record], "de", CONSENT), "state", "refunded_total") == [
        (state, str(Decimal(refunded).quantize(Decimal("0.0001"))))
    ]


def test_times_without_gmt_are_not_taken_for_utc() -> None:
    """The plain fields are the shop's local time."""
    record = {"id": 1, "date_created": "2026-01-01T12:00:00", "date_modified": "2026-01-01T12:00:00"}
    assert rows_of(shape_customers([record], "de", CONSENT), "created_at", "updated_at") == [("-", "-")]


def test_a_refund_that_cannot_be_read_makes_the_order_invalid() -> None:
    broken = sample("orders")[1] | {"refunds": [{"total": "-1.00"}, {"total": "a lot"}]}
    frame = shape_orders([broken], "de", CONSENT)
    assert frame["refunded_total"].to_list() == [None]
    with pytest.raises(Exception, match="refunded_total"):
        Orders.validate(frame, lazy=True)


def test_no_records_make_empty_frames_of_the_same_columns() -> None:
    for frame, model in (
        (shape_customers([], "de", CONSENT), Customers),
        (shape_orders([], "de", CONSENT), Orders),
        (shape_order_lines([], "de"), OrderLines),
        (shape_products([], "de"), Products),
    ):
        assert model.validate(frame).height == 0


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1", "-1", "1e400", "9" * 30, "NaN", "&amp;", "x@é", "0001-01-01T00:00:00+14:00", "2026-13-40"])
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["key", "value", "total", "id"]), inner),
    max_leaves=5,
)


@st.composite
def broken(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """A good record some of whose values, at any depth, are nonsense."""
    record = orjson.loads(orjson.dumps(draw(st.sampled_from(sample(name)))))
    for key in draw(st.lists(st.sampled_from(sorted(record)), max_size=5)):
        inner = record[key]
        if isinstance(inner, dict) and inner and draw(st.booleans()):
            inner[draw(st.sampled_from(sorted(inner)))] = draw(JUNK)
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict) and inner[0] and draw(st.booleans()):
            inner[0][draw(st.sampled_from(sorted(inner[0])))] = draw(JUNK)
        else:
            record[key] = draw(JUNK)
    return dict(record)


@settings(max_examples=150, deadline=None)
@given(customer=broken("customers"), order=broken("orders"), product=broken("products"))
def test_malformed_records_never_stop_the_shaping(
    customer: dict[str, Any], order: dict[str, Any], product: dict[str, Any]
) -> None:
    assert shape_customers([customer, customer], "de", CONSENT).height == 2
    assert shape_orders([order], "de", CONSENT).height == 1
    shape_order_lines([order], "de")
    shape_products([product], "de")
