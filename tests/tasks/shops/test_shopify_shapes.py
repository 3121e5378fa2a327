"""Shopify's records (invented people) as frames, and the file of a bulk operation as records."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.shop import Customers, OrderLines, Orders, Products, PromoCodes
from tasks.shops.shopify import bulk
from tasks.shops.shopify.shapes import (
    shape_customers,
    shape_order_lines,
    shape_orders,
    shape_products,
    shape_promo_codes,
)


def rows_of(frame: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple("-" if cell is None else str(cell) for cell in row) for row in frame.select(columns).iter_rows()]


def drawn(table: str) -> list[tuple[str, ...]]:
    """A drawn table, without its heading and line."""
    return [tuple(cell.strip() for cell in line.split("|")) for line in table.strip().splitlines()[2:]]


def gid(kind: str, number: int) -> str:
    return f"gid://shopify/{kind}/{number}"


def money(amount: str) -> dict[str, Any]:
    return {"shopMoney": {"amount": amount}}


def customer(number: int = 1, **said: Any) -> dict[str, Any]:
    mail = {
        "emailAddress": "Asa.Oberg@Exempel.Example",
        "marketingState": "SUBSCRIBED",
        "marketingOptInLevel": "CONFIRMED_OPT_IN",
        "marketingUpdatedAt": "2026-04-25T01:00:00Z",
    }
    return {
        "id": gid("Customer", number),
        "firstName": "Åsa",
        "lastName": "Öberg & Co",
        "locale": "sv-SE",
        "createdAt": "2024-06-05T01:42:58Z",
        "updatedAt": "2026-11-22T01:35:54Z",
        "defaultEmailAddress": mail,
        "defaultPhoneNumber": None,
        "defaultAddress": {"countryCodeV2": "SE", "city": "Malmö", "zip": "211 20", "phone": "040-1"},
        "bouncedAt": None,
    } | said


def order(number: int = 1, **said: Any) -> dict[str, Any]:
    return {
        "id": gid("Order", number),
        "name": f"#{1000 + number}",
        "email": "Asa.Oberg@Exempel.Example",
        "phone": None,
        "test": False,
        "createdAt": "2026-10-01T08:00:00Z",
        "processedAt": "2026-10-01T07:59:00Z",
        "updatedAt": "2026-10-02T08:00:00Z",
        "cancelledAt": None,
        "displayFinancialStatus": "PAID",
        "currencyCode": "EUR",
        "taxesIncluded": True,
        "discountCodes": ["HEJ"],
        "customer": {"id": gid("Customer", 1)},
        "billingAddress": {"firstName": "Åsa", "lastName": "Öberg", "countryCodeV2": "SE", "city": "Malmö", "zip": "211 20"},
        "shippingAddress": None,
        "totalPriceSet": money("125.0"),
        "totalTaxSet": money("25.0"),
        "totalDiscountsSet": money("12.5"),
        "totalShippingPriceSet": money("5.0"),
        "totalRefundedSet": money("0.0"),
        "transactions": [
            {"kind": "AUTHORIZATION", "status": "SUCCESS", "processedAt": "2026-10-01T08:00:00Z"},
            {"kind": "CAPTURE", "status": "SUCCESS", "processedAt": "2026-10-03T08:00:00Z"},
            {"kind": "CAPTURE", "status": "FAILURE", "processedAt": "2026-10-04T08:00:00Z"},
        ],
        "lineItems": {"nodes": [line()]},
    } | said


def line(number: int = 1, **said: Any) -> dict[str, Any]:
    return {
        "id": gid("LineItem", number),
        "title": "Te",
        "variantTitle": None,
        "sku": "TE-1",
        "quantity": 2,
        "product": {"id": gid("Product", 11)},
        "variant": {"id": gid("ProductVariant", 12)},
        "originalUnitPriceSet": money("66.25"),
        "discountAllocations": [{"allocatedAmountSet": money("10.0")}, {"allocatedAmountSet": money("2.5")}],
        "taxLines": [{"priceSet": money("24.0")}],
    } | said


def test_customers() -> None:
    phone = {"phoneNumber": "+46401234567", "marketingState": "SUBSCRIBED", "marketingUpdatedAt": "2026-05-01T00:00:00Z"}
    records = [
        customer(1, bouncedAt={"value": "2026-10-01T08:00:00+00:00"}),
        customer(2, firstName=None, lastName=" ", locale="UK", defaultAddress=None, defaultPhoneNumber=phone),
        customer(3, defaultEmailAddress=None, locale=""),
    ]
    frame = Customers.validate(shape_customers(records, "de"), lazy=True)
    assert rows_of(frame, "customer_id", "address", "first_name", "last_name", "language", "country", "postcode") == drawn("""
        id | address                   | first | last       | language | country | postcode
        ---+---------------------------+-------+------------+----------+---------+---------
        1  | asa.oberg@exempel.example | Åsa   | Öberg & Co | sv       | SE      | 211 20
        2  | asa.oberg@exempel.example | -     | -          | uk       | -       | -
        3  | -                         | Åsa   | Öberg & Co | -        | SE      | 211 20
    """)
    assert rows_of(frame, "phone", "sms_consent", "sms_consent_at", "bounced_at", "customer_group") == drawn("""
        phone        | sms | at                        | bounced                   | group
        -------------+-----+---------------------------+---------------------------+------
        040-1        | -   | -                         | 2026-10-01 08:00:00+00:00 | -
        +46401234567 | in  | 2026-05-01 00:00:00+00:00 | -                         | -
        040-1        | -   | -                         | -                         | -
    """)


def test_every_state_of_consent() -> None:
    """Shopify states a level for people who never opted in, too: it is no level of theirs."""
    said = drawn("""
        state          | level            | consent | level
        ---------------+------------------+---------+----------
        SUBSCRIBED     | CONFIRMED_OPT_IN | in      | confirmed
        SUBSCRIBED     | SINGLE_OPT_IN    | in      | single
        SUBSCRIBED     | UNKNOWN          | in      | -
        PENDING        | CONFIRMED_OPT_IN | pending | -
        UNSUBSCRIBED   | SINGLE_OPT_IN    | out     | -
        NOT_SUBSCRIBED | SINGLE_OPT_IN    | -       | -
        INVALID        | SINGLE_OPT_IN    | -       | -
        REDACTED       | SINGLE_OPT_IN    | -       | -
        PERHAPS        | SINGLE_OPT_IN    | PERHAPS | -
    """)
    mails = [
        {"emailAddress": "a@x.example", "marketingState": state, "marketingOptInLevel": level} for state, level, _, _ in said
    ]
    frame = shape_customers([customer(defaultEmailAddress=mail) for mail in mails], "de")
    assert rows_of(frame, "consent_raw", "consent", "consent_level") == [
        (raw, consent, level) for raw, _, consent, level in said
    ]


def test_orders() -> None:
    records = [
        order(1),
        order(2, taxesIncluded=False, customer=None, billingAddress=None, discountCodes=[], transactions=[], test=True),
        order(3, totalTaxSet=None, email=None, displayFinancialStatus="PARTIALLY_REFUNDED", totalRefundedSet=money("25.0")),
    ]
    frame = Orders.validate(shape_orders(records, "de"), lazy=True)
    assert rows_of(frame, "order_id", "number", "customer_id", "address", "postcode", "is_test", "promo_codes") == drawn("""
        id | number | customer | address                   | postcode | test  | codes
        ---+--------+----------+---------------------------+----------+-------+--------
        1  | #1001  | 1        | asa.oberg@exempel.example | 211 20   | False | ["HEJ"]
        2  | #1002  | -        | asa.oberg@exempel.example | -        | True  | -
        3  | #1003  | 1        | -                         | 211 20   | False | ["HEJ"]
    """)
    assert rows_of(frame, "currency", "total", "discount_total", "tax_total", "shipping_total", "refunded_total") == drawn("""
        currency | total    | discount | tax     | shipping | refunded
        ---------+----------+----------+---------+----------+---------
        EUR      | 125.0000 | 10.0000  | 25.0000 | 5.0000   | 0.0000
        EUR      | 125.0000 | 12.5000  | 25.0000 | 5.0000   | 0.0000
        EUR      | 125.0000 | 12.5000  | 0.0000  | 5.0000   | 25.0000
    """)
    assert rows_of(frame, "ordered_at", "paid_at", "consent") == drawn("""
        ordered                   | paid                      | consent
        --------------------------+---------------------------+--------
        2026-10-01 07:59:00+00:00 | 2026-10-03 08:00:00+00:00 | -
        2026-10-01 07:59:00+00:00 | 2026-10-01 07:59:00+00:00 | -
        2026-10-01 07:59:00+00:00 | 2026-10-03 08:00:00+00:00 | -
    """)


@pytest.mark.parametrize(
    ("status", "cancelled", "state"),
    drawn("""
        status             | cancelled  | state
        -------------------+------------+-------------------
        PENDING            | -          | pending
        AUTHORIZED         | -          | pending
        PARTIALLY_PAID     | -          | pending
        -                  | -          | pending
        PAID               | -          | paid
        PARTIALLY_REFUNDED | -          | partially_refunded
        REFUNDED           | -          | refunded
        VOIDED             | -          | cancelled_unpaid
        EXPIRED            | -          | failed
        PENDING            | 2026-10-05 | cancelled_unpaid
        VOIDED             | 2026-10-05 | cancelled_unpaid
        PAID               | 2026-10-05 | cancelled
        REFUNDED           | 2026-10-05 | cancelled
    """),
)
def test_every_state_of_an_order(status: str, cancelled: str, state: str) -> None:
    said = {"displayFinancialStatus": None if status == "-" else status, "cancelledAt": None if cancelled == "-" else cancelled}
    assert shape_orders([order(**said)], "de")["state"].to_list() == [state]


def test_lines_without_tax_and_after_discounts() -> None:
    gone = line(2, product=None, variant=None, sku="", discountAllocations=[], taxLines=[])
    free = line(3, originalUnitPriceSet=money("0"), discountAllocations=[], taxLines=[])
    records = [order(1, lineItems={"nodes": [line(1), gone, free]}), order(2, taxesIncluded=False)]
    frame = OrderLines.validate(shape_order_lines(records, "de"), lazy=True)
    columns = ("order_id", "line_id", "product_id", "variant_id", "sku", "quantity", "price", "discount")
    assert rows_of(frame, *columns) == drawn("""
        order | line | product | variant | sku  | quantity | price   | discount
        ------+------+---------+---------+------+----------+---------+---------
        1     | 1    | 11      | 12      | TE-1 | 2        | 48.0000 | 10.0000
        1     | 2    | -       | -       | -    | 2        | 66.2500 | 0.0000
        1     | 3    | 11      | 12      | TE-1 | 2        | 0.0000  | 0.0000
        2     | 1    | 11      | 12      | TE-1 | 2        | 60.0000 | 12.5000
    """)


def test_products() -> None:
    tea = {
        "id": gid("Product", 11),
        "title": "Te &amp; honung",
        "onlineStoreUrl": "https://shop.example/te",
        "featuredMedia": {"preview": {"image": {"url": "https://cdn.example/te.jpg"}}},
        "variants": {"nodes": [{"id": gid("ProductVariant", 12), "title": "Default Title", "sku": "TE-1", "price": "66.25"}]},
    }
    sizes = [{"id": gid("ProductVariant", 20 + n), "title": size, "sku": None, "price": "10"} for n, size in enumerate("SM")]
    shirt = {"id": gid("Product", 19), "title": "Tröja", "onlineStoreUrl": None, "featuredMedia": None}
    frame = Products.validate(shape_products([tea, shirt | {"variants": {"nodes": sizes}}], "de"), lazy=True)
    assert rows_of(frame, "product_id", "variant_id", "title", "variant_title", "sku", "price", "image_url") == drawn("""
        product | variant | title       | variant     | sku  | price   | image
        --------+---------+-------------+-------------+------+---------+---------------------------
        11      | 12      | Te & honung | Te & honung | TE-1 | 66.2500 | https://cdn.example/te.jpg
        19      | 20      | Tröja       | S           | -    | 10.0000 | -
        19      | 21      | Tröja       | M           | -    | 10.0000 | -
    """)


def discount(kind: str, value: Any = None, part: str = "AllDiscountItems", **said: Any) -> dict[str, Any]:
    gets = {"customerGets": {"items": {"__typename": part}, "value": value}} if value else {}
    basic = {"title": "Hej", "status": "ACTIVE", "startsAt": "2026-01-01T00:00:00Z", "usageLimit": 5, "shareableUrls": []}
    nodes = [{"id": gid("DiscountRedeemCode", 1), "code": "HEJ", "asyncUsageCount": 3}]
    return {"id": gid("DiscountCodeNode", 7), "discount": basic | {"__typename": kind} | gets | said, "codes": {"nodes": nodes}}


def test_promo_codes() -> None:
    share = {"__typename": "DiscountPercentage", "percentage": 0.15}
    amount = {"__typename": "DiscountAmount", "amount": {"amount": "5.0", "currencyCode": "EUR"}, "appliesOnEachItem": False}
    several = discount("DiscountCodeBasic", share, shareableUrls=[{"url": "https://shop.example/discount/HEJ"}])
    frame = PromoCodes.validate(
        shape_promo_codes(
            [
                several | {"codes": {"nodes": [{"code": "A", "asyncUsageCount": 0}, {"code": "B", "asyncUsageCount": 0}]}},
                discount("DiscountCodeBasic", share, "DiscountProducts", shareableUrls=[{"url": "https://shop.example/d/HEJ"}]),
                discount("DiscountCodeBasic", amount, status="EXPIRED"),
                discount("DiscountCodeBasic", amount | {"appliesOnEachItem": True}),
                discount("DiscountCodeBxgy", {"__typename": "DiscountOnQuantity", "effect": share}),
                discount("DiscountCodeFreeShipping"),
                discount("DiscountCodeApp"),
                discount("DiscountCodeBasic", share, context={"__typename": "DiscountCustomers"}),
            ],
            "de",
        ),
        lazy=True,
    )
    assert rows_of(
        frame, "promo_id", "code", "kind", "target", "amount", "currency", "is_active", "used_count", "url"
    ) == drawn("""
        id | code | kind       | target   | amount | currency | active | used | url
        ---+------+------------+----------+--------+----------+--------+------+---------------------------
        7  | A    | percentage | total    | 0.1500 | -        | True   | 0    | -
        7  | B    | percentage | total    | 0.1500 | -        | True   | 0    | -
        7  | HEJ  | percentage | per_item | 0.1500 | -        | True   | 3    | https://shop.example/d/HEJ
        7  | HEJ  | fixed      | total    | 5.0000 | EUR      | False  | 3    | -
        7  | HEJ  | fixed      | per_item | 5.0000 | EUR      | True   | 3    | -
        7  | HEJ  | percentage | per_item | 0.1500 | -        | True   | 3    | -
        7  | HEJ  | percentage | shipping | 1.0000 | -        | True   | 3    | -
    """)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "nodes", "shopMoney", "amount"]), inner),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_shaping_takes_whatever_comes(data: st.DataObject) -> None:
    """A wrong value becomes null or fails validation; it never ends a run."""
    product = {"id": gid("Product", 1), "title": "Te", "variants": {"nodes": [{"id": gid("ProductVariant", 2), "price": "1"}]}}
    cases = (
        (customer(), (shape_customers,)),
        (order(), (shape_orders, shape_order_lines)),
        (product, (shape_products,)),
        (discount("DiscountCodeBasic", {"__typename": "DiscountPercentage", "percentage": 0.15}), (shape_promo_codes,)),
    )
    for record, shapes in cases:
        broken = orjson.loads(orjson.dumps(record))
        places = [broken, *(value for value in broken.values() if isinstance(value, dict))]
        place = data.draw(st.sampled_from(places))
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(anything)
        for shape in shapes:
            shape([broken], "de")


# the file of a bulk operation


def joined(folder: Path, lines: list[bytes]) -> tuple[tuple[int, int], list[dict[str, Any]]]:
    file = folder / "objects.jsonl"
    file.write_bytes(b"\n".join(lines))
    with bulk._database(str(folder)) as database:
        counted = bulk._put_together(database, file)
        return counted, [record for page in bulk._in_pages(database, "lineItems") for record in page]


def test_children_find_their_parents_wherever_they_stand(tmp_path: Path) -> None:
    roots = [{"id": gid("Order", n), "n": n} for n in range(2500)]
    children = [{"id": gid("LineItem", n), "__parentId": gid("Order", n // 3)} for n in range(6000)]
    later = random.Random(1).sample(children, len(children))
    lines = [orjson.dumps(line) for line in (*roots[:1000], *later, *roots[1000:])]
    counted, records = joined(tmp_path, lines)
    assert counted == (8500, 2500)
    assert [record["n"] for record in records] == list(range(2500))
    found = [{child["id"] for child in record["lineItems"]["nodes"]} for record in records]
    assert found == [{gid("LineItem", 3 * n + k) for k in range(3)} if n < 2000 else set() for n in range(2500)]


def test_a_file_that_is_not_whole_shows_itself(tmp_path: Path) -> None:
    root, child = {"id": gid("Order", 1)}, {"id": gid("LineItem", 2), "__parentId": gid("Order", 1)}
    whole = [orjson.dumps(line) for line in (root, child, {"id": gid("Order", 3)})]
    assert joined(tmp_path, whole)[0] == (3, 2)
    assert joined(tmp_path, [*whole[:2], whole[2][:9]])[0] == (2, 1)  # cut short
    assert joined(tmp_path, whole[1:])[0] == (1, 1)  # a child whose parent is missing
    assert joined(tmp_path, [*whole, *whole]) == joined(tmp_path, whole)  # doubled
    assert joined(tmp_path, [])[0] == (0, 0)


def test_amounts_stay_exact() -> None:
    frame = shape_orders([order(totalPriceSet=money("12345678901.23"))], "de")
    assert frame["total"].to_list() == [Decimal("12345678901.2300")]
