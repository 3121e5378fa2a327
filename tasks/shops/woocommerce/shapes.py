"""WooCommerce's records as frames of `schemas.shop`. Pure, and never raises: malformed values become null or fail validation.

Facts were observed on WooCommerce 11.0.1, 8.0.0 and 3.9.1 in 2026-11 unless a comment names another source. Texts come
HTML-escaped; times are taken from the `_gmt` fields only, which are UTC without saying so; amounts are strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
import polars as pl

from schemas.shop import Customers, OrderLines, Orders, Products, PromoCodes
from schemas.words import OrderState
from tasks.addresses import with_address
from tasks.connector import Record
from tasks.shaping import dig, frame, identifier, instant, items, money, raw, text, whole

ERASED = "deleted@site.invalid"
"""What WordPress's privacy eraser writes as the billing e-mail of orders; the other billing texts become "[deleted]"."""

BOUNCED_AT, BOUNCE_REASON = "email_bounced_at", "email_bounce_reason"
"""Our own meta keys, beside the consent of an account."""


@dataclass(frozen=True)
class ConsentKey:
    """Where a newsletter plugin keeps consent in `meta_data`, and which values (trimmed, lower-cased) mean in and out."""

    key: str | None
    means_in: Sequence[str]
    means_out: Sequence[str]

    def of(self, record: Record) -> str | None:
        return raw(meta(record, self.key)) if self.key else None

    def consent(self) -> pl.Expr:
        """From `consent_raw`. A value that nobody explained stays as it is, and validation rejects the row; `pending` is one
        of our words too. What only looks like our other words is marked, as nobody said that it means the same."""
        value = pl.col("consent_raw")
        word = value.str.strip_chars().str.to_lowercase()
        return (
            pl.when(word.is_in(list(self.means_in)))
            .then(pl.lit("in"))
            .when(word.is_in(list(self.means_out)))
            .then(pl.lit("out"))
            .when(word.is_in(["in", "out"]))
            .then(pl.format("'{}'", value))
            .otherwise(value)
            .alias("consent")
        )


def meta(record: Record, key: str) -> Any:
    """The value of a meta entry; of several with one key the last wins."""
    return next((dig(entry, "value") for entry in reversed(items(record, "meta_data")) if dig(entry, "key") == key), None)


def shape_customers(records: Sequence[Record], shop: str, consent: ConsentKey) -> pl.DataFrame:
    """The account's e-mail counts; most accounts have another one or none in their billing address."""
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(records),
        "customer_id": [identifier(dig(r, "id")) for r in records],
        "email": [_email(dig(r, "email")) or _email(dig(r, "billing", "email")) for r in records],
        "first_name": [text(dig(r, "first_name")) or text(dig(r, "billing", "first_name")) for r in records],
        "last_name": [text(dig(r, "last_name")) or text(dig(r, "billing", "last_name")) for r in records],
        "language": [None] * len(records),
        "country": [text(dig(r, "billing", "country")) for r in records],
        "city": [text(dig(r, "billing", "city")) for r in records],
        "postcode": [text(dig(r, "billing", "postcode")) for r in records],
        "phone": [text(dig(r, "billing", "phone")) for r in records],
        "customer_group": [text(dig(r, "role")) for r in records],
        "consent_at": [None] * len(records),
        "consent_level": [None] * len(records),
        "consent_raw": [consent.of(r) for r in records],
        "consent_actor": [None] * len(records),
        "sms_consent": [None] * len(records),
        "sms_consent_at": [None] * len(records),
        "sms_address": [None] * len(records),
        "bounced_at": [instant(meta(r, BOUNCED_AT)) for r in records],
        "created_at": [instant(dig(r, "date_created_gmt")) for r in records],
        "updated_at": [instant(dig(r, "date_modified_gmt")) for r in records],
    }
    return (
        frame(Customers, columns)
        .with_columns(pl.col("country").str.to_uppercase(), with_address(pl.col("email")), consent.consent())
        .select(*Customers.to_schema().columns)
    )


def shape_orders(records: Sequence[Record], shop: str, consent: ConsentKey) -> pl.DataFrame:
    billing = [_billing(record) for record in records]
    refunded = [_refunded(record) for record in records]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(records),
        "order_id": [identifier(dig(r, "id")) for r in records],
        "number": [text(dig(r, "number")) for r in records],
        "customer_id": [identifier(dig(r, "customer_id")) for r in records],
        "email": [_email(dig(b, "email")) for b in billing],
        "first_name": [text(dig(b, "first_name")) for b in billing],
        "last_name": [text(dig(b, "last_name")) for b in billing],
        "country": [text(dig(b, "country")) for b in billing],
        "city": [text(dig(b, "city")) for b in billing],
        "postcode": [text(dig(b, "postcode")) for b in billing],
        "phone": [text(dig(b, "phone")) for b in billing],
        "state": [_state(r, back) for r, back in zip(records, refunded, strict=True)],
        "is_test": [False] * len(records),  # WooCommerce does not tell test orders apart
        "currency": [text(dig(r, "currency")) for r in records],
        "total": [money(dig(r, "total")) for r in records],
        "discount_total": [money(dig(r, "discount_total")) for r in records],
        "tax_total": [money(dig(r, "total_tax")) for r in records],
        "shipping_total": [money(dig(r, "shipping_total")) for r in records],
        "refunded_total": refunded,
        "consent_raw": [consent.of(r) for r in records],
        "promo_codes": [_promo_codes(r) for r in records],
        "ordered_at": [instant(dig(r, "date_created_gmt")) for r in records],
        # Imported orders may lack the time of change.
        "updated_at": [instant(dig(r, "date_modified_gmt")) or instant(dig(r, "date_created_gmt")) for r in records],
        "paid_at": [instant(dig(r, "date_paid_gmt")) for r in records],
    }
    return (
        frame(Orders, columns)
        .with_columns(pl.col("country", "currency").str.to_uppercase(), with_address(pl.col("email")), consent.consent())
        .select(*Orders.to_schema().columns)
    )


def shape_order_lines(records: Sequence[Record], shop: str) -> pl.DataFrame:
    lines = [(record, line) for record in records for line in items(record, "line_items")]
    totals = [money(dig(line, "total")) for _, line in lines]
    subtotals = [money(dig(line, "subtotal")) for _, line in lines]
    quantities = [whole(dig(line, "quantity")) for _, line in lines]
    products = [identifier(dig(line, "product_id")) for _, line in lines]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(lines),
        "order_id": [identifier(dig(record, "id")) for record, _ in lines],
        "line_id": [identifier(dig(line, "id")) for _, line in lines],
        "product_id": products,
        "variant_id": [
            (identifier(dig(line, "variation_id")) or product) if product else None
            for (_, line), product in zip(lines, products, strict=True)
        ],
        "title": [text(dig(line, "name")) for _, line in lines],
        "sku": [text(dig(line, "sku")) for _, line in lines],
        "quantity": quantities,
        # The API's own price of a piece is a rounded JSON number.
        "price": [
            money(total / quantity) if total is not None and quantity else None
            for total, quantity in zip(totals, quantities, strict=True)
        ],
        # A merchant may raise a line above its price: that is no discount.
        "discount": [
            max(subtotal - total, Decimal(0)) if subtotal is not None and total is not None else None
            for subtotal, total in zip(subtotals, totals, strict=True)
        ],
    }
    return frame(OrderLines, columns)


def shape_products(records: Sequence[Record], shop: str) -> pl.DataFrame:
    """A product with variations has a row for each of them and none for itself."""
    rows = [(product, variation) for product in records for variation in items(product, "_variations") or [product]]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(rows),
        "product_id": [identifier(dig(product, "id")) for product, _ in rows],
        "variant_id": [identifier(dig(variation, "id")) for _, variation in rows],
        "title": [text(dig(product, "name")) for product, _ in rows],
        "variant_title": [_options(variation) or text(dig(product, "name")) for product, variation in rows],
        "sku": [text(dig(variation, "sku")) or text(dig(product, "sku")) for product, variation in rows],
        "url": [text(dig(variation, "permalink")) or text(dig(product, "permalink")) for product, variation in rows],
        "image_url": [text(dig(variation, "image", "src")) or _first_image(product) for product, variation in rows],
        "price": [money(dig(variation, "price")) for _, variation in rows],
        "updated_at": [instant(dig(variation, "date_modified_gmt")) for _, variation in rows],
    }
    return frame(Products, columns)


def shape_promo_codes(records: Sequence[Record], shop: str, now: datetime) -> pl.DataFrame:
    """A coupon that only frees of shipping is 100 % off the shipping. WooCommerce has no date from which a coupon holds."""
    discounts = [_discount(record) for record in records]
    expiries = [instant(dig(r, "date_expires_gmt")) for r in records]
    columns: dict[str, Sequence[Any]] = {
        "shop": [shop] * len(records),
        "promo_id": [identifier(dig(r, "id")) for r in records],
        "code": [text(dig(r, "code")) for r in records],
        "title": [text(dig(r, "description")) for r in records],
        "kind": [kind for kind, _, _ in discounts],
        "target": [target for _, target, _ in discounts],
        "amount": [amount for _, _, amount in discounts],
        "currency": [
            text(dig(r, "_currency")) if kind == "fixed" else None for r, (kind, _, _) in zip(records, discounts, strict=True)
        ],
        "is_active": [
            dig(r, "status") in (None, "publish") and (expiry is None or expiry > now)
            for r, expiry in zip(records, expiries, strict=True)
        ],
        "starts_at": [None] * len(records),
        "ends_at": expiries,
        "usage_limit": [whole(dig(r, "usage_limit")) for r in records],
        "used_count": [whole(dig(r, "usage_count")) for r in records],
        "url": [None] * len(records),
        "updated_at": [instant(dig(r, "date_modified_gmt")) or instant(dig(r, "date_created_gmt")) for r in records],
    }
    return frame(PromoCodes, columns)


def _discount(coupon: Record) -> tuple[str | None, str | None, Decimal | None]:
    """Kind, target and amount. What plugins invent stays as it is, and validation rejects the row."""
    amount, said = money(dig(coupon, "amount")), text(dig(coupon, "discount_type"))
    if dig(coupon, "free_shipping") is True and not amount:
        return "percentage", "shipping", Decimal(1)
    kinds = {"percent": "percentage", "fixed_cart": "fixed", "fixed_product": "fixed"}
    target = "per_item" if said == "fixed_product" else "total"
    share = amount / 100 if said == "percent" and amount is not None else amount
    return kinds.get(said or "", said), target, share


def _email(value: Any) -> str | None:
    found = text(value)
    return None if found == ERASED else found


def _billing(order: Record) -> Record:
    """Who ordered; of somebody who asked to be forgotten nothing."""
    found = dig(order, "billing")
    return found if isinstance(found, dict) and text(found.get("email")) != ERASED else {}


def _refunded(order: Record) -> Decimal | None:
    """Refunds are negative amounts; one that cannot be read makes the sum unknown."""
    amounts = [money(dig(refund, "total")) for refund in items(order, "refunds")]
    return None if None in amounts else sum((abs(amount) for amount in amounts if amount is not None), Decimal(0))


def _state(order: Record, refunded: Decimal | None) -> OrderState | None:  # noqa: PLR0911 (one line a status)
    """A partial refund leaves the status as it is, and a status never tells whether money came in: `date_paid` does."""
    status = dig(order, "status")
    is_paid = bool(dig(order, "date_paid_gmt") or dig(order, "date_paid"))
    match status:
        case "checkout-draft" | "auto-draft" | "draft":
            return "draft"
        case "failed":
            return "failed"
        case "refunded":
            return "refunded"
        case "trash":
            return "trashed"
        case "cancelled":
            return "cancelled" if is_paid else "cancelled_unpaid"
        case str() if is_paid or status in {"processing", "completed"}:
            if not refunded:
                return "paid"
            return "partially_refunded" if refunded < (money(dig(order, "total")) or 0) else "refunded"
        case str() if status:
            return "pending"  # pending, on-hold, and what plugins invent
    return None


def _promo_codes(order: Record) -> str | None:
    codes = [code for coupon in items(order, "coupon_lines") if (code := text(dig(coupon, "code")))]
    return orjson.dumps(codes).decode() if codes else None


def _options(variation: Record) -> str | None:
    return " / ".join(option for a in items(variation, "attributes") if (option := text(dig(a, "option")))) or None


def _first_image(product: Record) -> str | None:
    return next((src for image in items(product, "images") if (src := text(dig(image, "src")))), None)
