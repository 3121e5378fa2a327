"""From the invented world to a Shopify shop's records."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from sandbox import world as w
from sandbox.shopify.records import (
    Address,
    Consent,
    Customer,
    Discount,
    Line,
    Order,
    Product,
    Refund,
    Variant,
)
from sandbox.shopify.shop import Shop, normal_email, normal_phone, normal_tags

_FINANCIAL: dict[str, str | None] = {
    "pending": "PENDING",
    "processing": "PAID",
    "on_hold": "AUTHORIZED",
    "completed": "PAID",
    "cancelled": "VOIDED",
    "refunded": "REFUNDED",
    "failed": None,
}
_YES, _NO = {"1", "yes"}, {"0", "no"}
_RATES = {"EUR": Decimal(1), "SEK": Decimal(11)}
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def load(shop: Shop, world: w.World) -> None:
    """Fill an empty shop. Nothing is announced to webhooks.

    What the world's newsletter value says becomes consent: yes SUBSCRIBED, no UNSUBSCRIBED, else NOT_SUBSCRIBED. Guests of
    the checkout become DISABLED customers, as Shopify does; without an address an order has no customer. [memory]
    """
    keys = itertools.count(7_000_000_000_001)
    shop.serial = keys  # what comes later gets higher ids, whatever it is
    accounts: dict[int, int] = {}
    taken: dict[str, int] = {}
    for account in world.accounts:
        made = _account(account, next(keys), next(keys))
        accounts[account.key] = taken.setdefault(normal_email(account.email).lower(), made.key)
        if accounts[account.key] == made.key:
            shop.customers[made.key] = made
    products, variants = _load_products(shop, world, keys)
    for coupon in world.coupons:
        code = coupon.code
        key = next(keys)
        discount = Discount(key, code, [code.upper()], coupon.percent, coupon.created_at, coupon.created_at, coupon.expires_at)
        discount.only_for = [number for number in [taken.get((coupon.only_email or "").lower())] if number]
        shop.discounts[key] = discount
    for sold in world.orders:
        email = normal_email(sold.billing.email)
        known = accounts.get(sold.account or 0) or taken.get(email.lower())
        if known is None and _EMAIL.fullmatch(email):
            guest = _guest(sold, email, next(keys), next(keys))
            shop.customers[guest.key] = guest
            known = taken[email.lower()] = guest.key
        order = _order(shop, sold, keys, products, variants)
        order.customer_key = known
        shop.keep_order(order)
    shop.serial = itertools.count(next(keys) - 7_000_000_000_000)
    shop.changes += 1


def _account(account: w.Account, key: int, address_key: int) -> Customer:
    yes = account.consent in _YES
    state = "SUBSCRIBED" if yes else "UNSUBSCRIBED" if account.consent in _NO else "NOT_SUBSCRIBED"
    phone = normal_phone(account.billing.phone) or None
    changed = max(account.changed_at or account.created_at, account.consent_at or account.created_at)
    customer = Customer(
        key,
        account.created_at,
        changed,
        normal_email(account.email),
        phone,
        account.first_name or None,
        account.last_name or None,
        account.language,
        state="ENABLED",
        # Every third yes was confirmed by mail.
        email_consent=Consent(
            state,
            "CONFIRMED_OPT_IN" if yes and account.key % 3 == 0 else "SINGLE_OPT_IN",
            account.consent_at if state != "NOT_SUBSCRIBED" else None,
        ),
        tags=normal_tags(["stammkund"] if account.key % 7 == 0 else []),
    )
    if phone and account.key % 4 == 0 and yes:
        customer.sms_consent = Consent("SUBSCRIBED", "SINGLE_OPT_IN", account.consent_at)
    if account.billing.city:
        customer.own_addresses = [_address(account.billing, address_key)]
        customer.default_address = customer.own_addresses[0]
    return customer


def _address(billing: w.Address, key: int) -> Address:
    return Address(
        key,
        billing.first_name or None,
        billing.last_name or None,
        billing.company or None,
        city=billing.city or None,
        zip=billing.postcode or None,
        country_code=billing.country or None,
        phone=billing.phone or None,
    )


def _guest(sold: w.Order, email: str, key: int, address_key: int) -> Customer:
    ticked = sold.tick in _YES
    customer = Customer(
        key,
        sold.placed_at,
        sold.placed_at,
        email,
        None,
        sold.billing.first_name or None,
        sold.billing.last_name or None,
        email_consent=Consent("SUBSCRIBED", "SINGLE_OPT_IN", sold.placed_at) if ticked else Consent(),
        verified_email=False,
    )
    if sold.billing.city:
        customer.own_addresses = [_address(sold.billing, address_key)]
        customer.default_address = customer.own_addresses[0]
    return customer


def _load_products(shop: Shop, world: w.World, keys: Iterator[int]) -> tuple[dict[int, int], dict[int, int]]:
    """Keys of products and of variants by the world's; deleted products have keys and no record."""
    products: dict[int, int] = {}
    variants: dict[int, int] = {}
    handles: set[str] = set()
    for product in world.products:
        key = products[product.key] = next(keys)
        handle = re.sub(r"[^a-z0-9]+", "-", product.name.lower()).strip("-") or "product"
        handle = handle if handle not in handles else f"{handle}-{product.key}"
        handles.add(handle)
        made = Product(
            key, product.created_at, product.changed_at, product.name, handle, image=f"https://cdn.example/{handle}.jpg"
        )
        options = product.variations or (w.Variation(product.key, product.sku, "Default Title", product.price),)
        for position, option in enumerate(options, start=1):
            variants[option.key] = next(keys)
            made.own_variants.append(
                Variant(
                    variants[option.key],
                    key,
                    option.option,
                    option.price,
                    product.created_at,
                    product.changed_at,
                    option.sku or None,
                    position=position,
                )
            )
        if not product.is_deleted:
            shop.keep_product(made)
    return products, variants


def _order(shop: Shop, sold: w.Order, keys: Iterator[int], products: dict[int, int], variants: dict[int, int]) -> Order:
    lines = [
        Line(
            next(keys),
            line.name,
            line.quantity,
            line.price,
            line.total,
            line.tax,
            products.get(line.product),
            variants.get(line.variation or line.product),
            sku=line.sku or None,
            vendor="Lilla Butiken",
        )
        for line in sold.lines
    ]
    billing = None
    if sold.billing.first_name or sold.billing.city:
        billing = replace(_address(sold.billing, next(keys)), model="Address")
    key = next(keys)
    order = Order(
        key,
        sold.placed_at,
        sold.changed_at,
        next(shop.order_numbers),
        sold.placed_at,
        shop.setup.currency,
        sold.currency,
        lines,
        _RATES[sold.currency],
        normal_email(sold.billing.email) or None,
        display_financial_status=_FINANCIAL[sold.status],
        display_fulfillment_status="FULFILLED" if sold.status in {"completed", "refunded"} else "UNFULFILLED",
        shipping=sold.shipping,
        discount_codes=[sold.coupon.upper()] if sold.coupon else [],
        percent=next((coupon.percent for coupon in shop.discounts.values() if coupon.title == sold.coupon), Decimal(0)),
        test=sold.key % 97 == 0,
        customer_accepts_marketing=sold.tick in _YES,
        customer_locale=None,
        billing_address=billing,
        shipping_address=replace(billing, key=next(keys)) if billing else None,
    )
    for refund in sold.refunds:
        order.own_refunds.append(Refund(next(keys), key, refund.at, refund.amount, refund.reason))
    if order.own_refunds and order.display_financial_status == "PAID":
        order.display_financial_status = "PARTIALLY_REFUNDED"
    if sold.status == "cancelled":
        order.cancelled_at = order.closed_at = sold.changed_at
        order.cancel_reason = "CUSTOMER"
    if sold.status == "completed":
        order.closed_at = _later(sold.changed_at, world_now=shop.now())
    return order


def _later(at: datetime, *, world_now: datetime) -> datetime:
    return min(at + timedelta(minutes=1), world_now)
