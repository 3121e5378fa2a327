"""From the invented world to a WooCommerce shop's records."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sandbox.woocommerce import records
from sandbox.woocommerce.records import Coupon, CouponLine, Customer, Line, Order, Product, Variation
from sandbox.woocommerce.shop import Shop
from sandbox.woocommerce.wordpress import escaped, kept_tags, plain_text
from sandbox.world import World


def load(shop: Shop, world: World, consent_key: str) -> None:
    """Fill an empty shop with a world. Accounts get ids 2, 3, ... in the world's order; orders grow with time, too.

    Nothing is announced to webhooks, and nobody gets mail. Products that the world calls deleted exist on lines only.
    """
    users = _load_accounts(shop, world, consent_key)
    posts: dict[int, int] = {}
    for product in world.products:
        number = posts[product.key] = next(shop.post_ids)
        if product.is_deleted:
            continue
        kind = "variable" if product.variations else "simple"
        price = str(product.price)
        made = Product(number, kept_tags(product.name), price, _naive(product.created_at), _naive(product.changed_at), kind)
        made.sku = product.sku
        shop.products[number] = made
        for variation in product.variations:
            child = posts[variation.key] = next(shop.post_ids)
            made.variations.append(child)
            shop.variations[child] = Variation(
                child, number, variation.option, str(variation.price), made.created, made.modified, variation.sku
            )
    for coupon in world.coupons:
        born = _naive(coupon.created_at)
        number = next(shop.post_ids)
        shop.coupons[number] = Coupon(
            number,
            coupon.code.lower(),
            coupon.percent,
            born,
            born,
            "percent",
            expires=_naive(coupon.expires_at) if coupon.expires_at else None,
            email_restrictions=[coupon.only_email] if coupon.only_email else [],
        )
    _load_orders(shop, world, users, posts, consent_key)


def _load_accounts(shop: Shop, world: World, consent_key: str) -> dict[int, int]:
    users: dict[int, int] = {}
    for account in world.accounts:
        number = users[account.key] = next(shop.user_ids)
        customer = Customer(
            number,
            account.email,
            shop.username_for(account.email),
            _naive(account.created_at),
            _naive(account.changed_at) if account.changed_at else None,
            _name(account.first_name),
            _name(account.last_name),
            billing=_filled(account.billing),
        )
        if account.consent is not None:
            customer.meta.put(consent_key, account.consent)
        shop.keep_customer(customer)
    return users


def _load_orders(shop: Shop, world: World, users: dict[int, int], posts: dict[int, int], consent_key: str) -> None:
    for sold in world.orders:
        number = next(shop.post_ids)
        order = Order(
            number,
            sold.status.replace("_", "-"),
            sold.currency,
            _naive(sold.placed_at),
            _naive(sold.changed_at),
            users[sold.account] if sold.account else 0,
            _filled(sold.billing),
            paid=_naive(sold.paid_at) if sold.paid_at else None,
            completed=_naive(sold.completed_at) if sold.completed_at else None,
            shipping_total=sold.shipping,
            payment_method="bacs",
            payment_method_title="Direct bank transfer",
            created_via="checkout",
        )
        if sold.shipping:
            order.shipping_id = next(shop.item_ids)
        off = Decimal(0)
        for line in sold.lines:
            gross = line.price * line.quantity
            subtotal_tax = line.tax if gross == line.total else records.cents(line.tax * gross / line.total)
            off += gross - line.total
            order.lines.append(
                Line(
                    next(shop.item_ids),
                    kept_tags(line.name),
                    posts.get(line.product, 0),
                    posts.get(line.variation, 0) if line.variation else 0,
                    line.quantity,
                    gross - subtotal_tax,
                    subtotal_tax,
                    line.total - line.tax,
                    line.tax,
                    line.sku,
                )
            )
        if sold.coupon:
            tax_part = sum((li.subtotal_tax - li.total_tax for li in order.lines), Decimal(0))
            order.coupons.append(CouponLine(next(shop.item_ids), sold.coupon.lower(), off - tax_part, tax_part))
        if sold.tick is not None:
            order.meta.put(consent_key, sold.tick)
        for refund in sold.refunds:
            kind = "full" if sold.status == "refunded" else "partial"
            at = _naive(refund.at)
            order.refunds.append(
                records.Refund(next(shop.post_ids), number, at, refund.amount, refund.reason, kind=kind, modified=at)
            )
        if order.customer_id and order.paid:
            shop.customers[order.customer_id].is_paying = True
        shop.orders[number] = order


def _naive(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None, microsecond=0)


def _name(text: str) -> str:
    return escaped(plain_text(text))


def _filled(billing: Any) -> dict[str, str]:
    names = (*records.BILLING,)
    return {name: value for name in names if (value := getattr(billing, name, ""))}
