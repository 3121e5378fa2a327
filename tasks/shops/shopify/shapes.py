"""Shopify's records as frames of `schemas.shop`. Pure, and never raises: malformed values become null or fail validation.

Ids are global ones (gid://shopify/Customer/1); the number at their end is what the admin and webhooks show. Times are UTC and
say so; amounts are strings. All money is the shop's own (`shopMoney`), so that sums over buyers' currencies can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import orjson
import polars as pl

from schemas.shop import Customers, OrderLines, Orders, Products, PromoCodes
from schemas.words import OrderState
from tasks.addresses import with_address, with_sms_address
from tasks.connector import Record
from tasks.shaping import dig, frame, identifier, instant, items, money, text, whole

CONSENT = {"SUBSCRIBED": "in", "UNSUBSCRIBED": "out", "PENDING": "pending"}
NO_CONSENT = ("NOT_SUBSCRIBED", "INVALID", "REDACTED")
"""Neither yes nor no. INVALID is an address that Shopify does not mail, REDACTED a person who was erased."""

LEVELS = {"SINGLE_OPT_IN": "single", "CONFIRMED_OPT_IN": "confirmed"}
PAID = ("PAID", "PARTIALLY_PAID", "PARTIALLY_REFUNDED", "REFUNDED")


def number(gid: Any) -> str | None:
    """The number at the end of a global id, or a plain number as webhooks have it."""
    return identifier(gid.rpartition("/")[2] if isinstance(gid, str) else gid)


def shape_customers(records: Sequence[Record], shop: str) -> pl.DataFrame:
    """Guests of the checkout are customers here too. Shopify has no groups: tags are many, free, and not for the ESP."""
    mail = [dig(r, "defaultEmailAddress") for r in records]
    phone = [dig(r, "defaultPhoneNumber") for r in records]
    home = [dig(r, "defaultAddress") for r in records]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(records),
        "customer_id": [number(dig(r, "id")) for r in records],
        "email": [text(dig(m, "emailAddress")) for m in mail],
        "first_name": [text(dig(r, "firstName")) or text(dig(h, "firstName")) for r, h in zip(records, home, strict=True)],
        "last_name": [text(dig(r, "lastName")) or text(dig(h, "lastName")) for r, h in zip(records, home, strict=True)],
        "language": [_language(r) for r in records],
        "country": [text(dig(h, "countryCodeV2")) for h in home],
        "city": [text(dig(h, "city")) for h in home],
        "postcode": [text(dig(h, "zip")) for h in home],
        "phone": [text(dig(p, "phoneNumber")) or text(dig(h, "phone")) for p, h in zip(phone, home, strict=True)],
        "customer_group": [None] * len(records),
        "consent": [_consent(m) for m in mail],
        "consent_at": [instant(dig(m, "marketingUpdatedAt")) for m in mail],
        # Shopify states SINGLE_OPT_IN for people who never opted in, too (recorded).
        "consent_level": [LEVELS.get(text(dig(m, "marketingOptInLevel")) or "") if _consent(m) == "in" else None for m in mail],
        "consent_raw": [text(dig(m, "marketingState")) for m in mail],
        "consent_actor": [None] * len(records),  # no field says who; the admin, a form and another app look alike
        "sms_consent": [_consent(p) for p in phone],
        "sms_consent_at": [instant(dig(p, "marketingUpdatedAt")) for p in phone],
        "sms_address": [text(dig(p, "phoneNumber")) for p in phone],
        "bounced_at": [instant(dig(r, "bouncedAt", "value")) for r in records],
        "created_at": [instant(dig(r, "createdAt")) for r in records],
        "updated_at": [instant(dig(r, "updatedAt")) for r in records],
    }
    keys = with_address(pl.col("email")), with_sms_address(pl.col("sms_address"), pl.col("sms_consent"))
    return _finished(frame(Customers, columns).with_columns(*keys), Customers)


def shape_orders(records: Sequence[Record], shop: str) -> pl.DataFrame:
    """`customerAcceptsMarketing` is no tick in the order: it repeats what the customer's record said then, which may be old.

    Read as an opt-in, it would count again whenever somebody buys who has unsubscribed at the ESP meanwhile.
    """
    buyer = [dig(r, "billingAddress") or dig(r, "shippingAddress") for r in records]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(records),
        "order_id": [number(dig(r, "id")) for r in records],
        "number": [text(dig(r, "name")) for r in records],
        "customer_id": [number(dig(r, "customer", "id")) for r in records],
        "email": [text(dig(r, "email")) for r in records],
        "first_name": [text(dig(b, "firstName")) for b in buyer],
        "last_name": [text(dig(b, "lastName")) for b in buyer],
        "country": [text(dig(b, "countryCodeV2")) for b in buyer],
        "city": [text(dig(b, "city")) for b in buyer],
        "postcode": [text(dig(b, "zip")) for b in buyer],
        "phone": [text(dig(b, "phone")) or text(dig(r, "phone")) for r, b in zip(records, buyer, strict=True)],
        "state": [_state(r) for r in records],
        "is_test": [dig(r, "test") is True for r in records],
        "currency": [text(dig(r, "currencyCode")) for r in records],
        # "Before returns" in Shopify's words; currentTotalPriceSet is what is left after them.
        "total": [_amount(r, "totalPriceSet") for r in records],
        "discount_total": [_without_tax(r, _amount(r, "totalDiscountsSet")) for r in records],
        "tax_total": [_amount(r, "totalTaxSet") or Decimal(0) for r in records],
        "shipping_total": [_amount(r, "totalShippingPriceSet") for r in records],
        "refunded_total": [_amount(r, "totalRefundedSet") for r in records],
        "consent": [None] * len(records),
        "consent_raw": [None] * len(records),
        "promo_codes": [_promo_codes(r) for r in records],
        "ordered_at": [instant(dig(r, "processedAt")) or instant(dig(r, "createdAt")) for r in records],
        "updated_at": [instant(dig(r, "updatedAt")) for r in records],
        "paid_at": [_paid_at(r) for r in records],
    }
    return _finished(frame(Orders, columns).with_columns(with_address(pl.col("email"))), Orders)


def shape_order_lines(records: Sequence[Record], shop: str) -> pl.DataFrame:
    """Pieces and amounts as ordered, refunded ones included, as in the order's total."""
    lines = [(record, line) for record in records for line in items(record, "lineItems", "nodes")]
    quantities = [whole(dig(line, "quantity")) for _, line in lines]
    sums = [_sums(record, line, quantity) for (record, line), quantity in zip(lines, quantities, strict=True)]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(lines),
        "order_id": [number(dig(record, "id")) for record, _ in lines],
        "line_id": [number(dig(line, "id")) for _, line in lines],
        "product_id": [number(dig(line, "product", "id")) for _, line in lines],
        "variant_id": [number(dig(line, "variant", "id")) or number(dig(line, "product", "id")) for _, line in lines],
        "title": [text(dig(line, "title")) for _, line in lines],
        "sku": [text(dig(line, "sku")) for _, line in lines],
        "quantity": quantities,
        "price": [
            money(total / quantity) if total is not None and quantity else None
            for (total, _), quantity in zip(sums, quantities, strict=True)
        ],
        "discount": [discount for _, discount in sums],
    }
    return frame(OrderLines, columns)


def shape_products(records: Sequence[Record], shop: str) -> pl.DataFrame:
    """Every product has at least one variant; the only one of a product without options is called "Default Title"."""
    rows = [(product, variant) for product in records for variant in items(product, "variants", "nodes")]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(rows),
        "product_id": [number(dig(product, "id")) for product, _ in rows],
        "variant_id": [number(dig(variant, "id")) for _, variant in rows],
        "title": [text(dig(product, "title")) for product, _ in rows],
        "variant_title": [_variant_title(product, variant) for product, variant in rows],
        "sku": [text(dig(variant, "sku")) for _, variant in rows],
        "url": [text(dig(product, "onlineStoreUrl")) for product, _ in rows],
        "image_url": [text(dig(product, "featuredMedia", "preview", "image", "url")) for product, _ in rows],
        "price": [money(dig(variant, "price")) for _, variant in rows],
        "updated_at": [instant(dig(variant, "updatedAt")) for _, variant in rows],
    }
    return frame(Products, columns)


def shape_promo_codes(records: Sequence[Record], shop: str) -> pl.DataFrame:
    """One row a code of every discount for everybody whose amount Shopify knows: an app's own are worked out at checkout."""
    rows = [
        (record, dig(record, "discount"), code, value)
        for record in records
        if (value := _value(dig(record, "discount")))
        for code in items(record, "codes", "nodes")
    ]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(rows),
        "promo_id": [number(dig(record, "id")) for record, _, _, _ in rows],
        "code": [text(dig(code, "code")) for _, _, code, _ in rows],
        "title": [text(dig(discount, "title")) for _, discount, _, _ in rows],
        "kind": [kind for _, _, _, (kind, _, _, _) in rows],
        "target": [target for _, _, _, (_, target, _, _) in rows],
        "amount": [amount for _, _, _, (_, _, amount, _) in rows],
        "currency": [currency for _, _, _, (_, _, _, currency) in rows],
        "is_active": [dig(discount, "status") == "ACTIVE" for _, discount, _, _ in rows],
        "starts_at": [instant(dig(discount, "startsAt")) for _, discount, _, _ in rows],
        "ends_at": [instant(dig(discount, "endsAt")) for _, discount, _, _ in rows],
        "usage_limit": [whole(dig(discount, "usageLimit")) for _, discount, _, _ in rows],
        "used_count": [whole(dig(code, "asyncUsageCount")) for _, _, code, _ in rows],
        "url": [_share_url(record) for record, _, _, _ in rows],
        "updated_at": [instant(dig(discount, "updatedAt")) for _, discount, _, _ in rows],
    }
    return frame(PromoCodes, columns)


def _finished(shaped: pl.DataFrame, model: Any) -> pl.DataFrame:
    return shaped.select(*model.to_schema().columns)


def _consent(of: Any) -> str | None:
    """A state that nobody explained stays as it is, and validation rejects the row."""
    state = text(dig(of, "marketingState"))
    return None if state in NO_CONSENT else CONSENT.get(state or "", state)


def _language(record: Record) -> str | None:
    """From a locale such as de-CH."""
    locale = (text(dig(record, "locale")) or "").replace("_", "-").partition("-")[0].lower()
    return locale if len(locale) == 2 and locale.isalpha() else None


def _amount(node: Any, name: str) -> Decimal | None:
    return money(dig(node, name, "shopMoney", "amount"))


def _sum(nodes: Iterable[Any], name: str) -> Decimal:
    return sum((_amount(node, name) or Decimal(0) for node in nodes), Decimal(0))


def _sums(order: Record, line: Record, quantity: int | None) -> tuple[Decimal | None, Decimal | None]:
    """What a line costs after discounts, and its discounts; without the tax where the shop's prices include it."""
    price = _amount(line, "originalUnitPriceSet")
    if price is None or quantity is None:
        return None, None
    discount = _sum(items(line, "discountAllocations"), "allocatedAmountSet")
    total = price * quantity - discount
    if dig(order, "taxesIncluded") is not True or not total:
        return total, discount
    net = total - _sum(items(line, "taxLines"), "priceSet")
    return net, money(discount * net / total)


def _without_tax(order: Record, amount: Decimal | None) -> Decimal | None:
    """The tax of the whole order, in its proportion: Shopify does not state how much of it belongs to the discounts."""
    total, tax = _amount(order, "totalPriceSet"), _amount(order, "totalTaxSet")
    if amount is None or dig(order, "taxesIncluded") is not True or not total or not tax:
        return amount
    return money(amount * (total - tax) / total)


def _state(order: Record) -> OrderState | None:  # noqa: PLR0911 (one line a status)
    """A cancelled order was paid when money came in; an authorisation that was voided or ran out brought none."""
    status = text(dig(order, "displayFinancialStatus"))
    if dig(order, "cancelledAt"):
        return "cancelled" if status in PAID else "cancelled_unpaid"
    match status:
        case "PAID":
            return "paid"
        case "PARTIALLY_REFUNDED":
            return "partially_refunded"
        case "REFUNDED":
            return "refunded"
        case "VOIDED":
            return "cancelled_unpaid"
        case "EXPIRED":
            return "failed"
    return "pending" if dig(order, "id") else None  # PENDING, AUTHORIZED, PARTIALLY_PAID, or nothing to pay yet


def _paid_at(order: Record) -> Any:
    """When the last payment came in, once all is paid. An order over nothing is paid without a payment."""
    if text(dig(order, "displayFinancialStatus")) not in PAID or dig(order, "displayFinancialStatus") == "PARTIALLY_PAID":
        return None
    payments = [
        instant(dig(t, "processedAt"))
        for t in items(order, "transactions")
        if dig(t, "kind") in ("SALE", "CAPTURE") and dig(t, "status") == "SUCCESS"
    ]
    return max(filter(None, payments), default=None) or instant(dig(order, "processedAt"))


def _promo_codes(order: Record) -> str | None:
    codes = [code for entry in items(order, "discountCodes") if (code := text(entry))]
    return orjson.dumps(codes).decode() if codes else None


def _variant_title(product: Record, variant: Record) -> str | None:
    title = text(dig(variant, "title"))
    return text(dig(product, "title")) if title in {None, "Default Title"} else title


def _value(discount: Any) -> tuple[str, str, Decimal | None, str | None] | None:
    """kind, target, amount, currency. A discount for named customers is nobody else's business."""
    if dig(discount, "context", "__typename") == "DiscountCustomers":
        return None
    if dig(discount, "__typename") == "DiscountCodeFreeShipping":
        return "percentage", "shipping", Decimal(1), None
    value = dig(discount, "customerGets", "value")
    is_part = dig(discount, "customerGets", "items", "__typename") not in ("AllDiscountItems", None)
    if dig(value, "__typename") == "DiscountOnQuantity":
        value, is_part = dig(value, "effect"), True
    match dig(value, "__typename"):
        case "DiscountPercentage":
            return "percentage", "per_item" if is_part else "total", money(dig(value, "percentage")), None
        case "DiscountAmount":
            is_each = dig(value, "appliesOnEachItem") is True
            currency = text(dig(value, "amount", "currencyCode"))
            return "fixed", "per_item" if is_each else "total", money(dig(value, "amount", "amount")), currency
    return None


def _share_url(record: Record) -> str | None:
    """It applies the discount's first code, so it is this row's page only where there is no other."""
    urls = items(record, "discount", "shareableUrls")
    return text(dig(urls[0], "url")) if urls and len(items(record, "codes", "nodes")) == 1 else None
