"""What a WooCommerce shop holds, and how its REST API writes it. Times are naive UTC in here; the shop's clock is `Site`'s."""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol
from urllib.parse import quote

BILLING = (
    "first_name",
    "last_name",
    "company",
    "address_1",
    "address_2",
    "city",
    "state",
    "postcode",
    "country",
    "email",
    "phone",
)
SHIPPING = tuple(f for f in BILLING if f != "email")
STATUSES = ("pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed", "checkout-draft")
PAID = ("processing", "completed")
SYMBOLS = {
    "EUR": "€", "SEK": "kr", "NOK": "kr", "DKK": "kr.", "USD": "$", "GBP": "£", "PLN": "zł", "CHF": "CHF", "CZK": "Kč",
    "JPY": "¥", "KWD": "د.ك",
}  # fmt: skip
_CENT = Decimal("0.01")


def money(amount: Decimal | str | float) -> str:
    """Two decimals whatever the currency (observed: JPY "1252.60", KWD "246.80")."""
    return str(Decimal(str(amount or 0)).quantize(_CENT, ROUND_HALF_UP))


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, ROUND_HALF_UP)


@dataclass(frozen=True)
class Site:
    """What the shop believes about itself: `home` without trailing slash as in links and hooks, `rest` where its API is."""

    version: tuple[int, ...]
    home: str
    rest: str
    utc_offset: timedelta

    def local(self, at: datetime | None) -> str | None:
        return (at + self.utc_offset).isoformat() if at else None

    def stamps(self, name: str, at: datetime | None) -> dict[str, str | None]:
        """`date_x` on the shop's clock and `date_x_gmt` in UTC, neither with a suffix (observed)."""
        return {name: self.local(at), f"{name}_gmt": at.isoformat() if at else None}

    def links(self, path: str, number: int, **more: str) -> dict[str, list[dict[str, str]]]:
        base = f"{self.rest}/wc/v3/"
        found = {"self": [{"href": f"{base}{path}/{number}"}], "collection": [{"href": base + path}]}
        return found | {name: [{"href": base + target}] for name, target in more.items()}


class Meta:
    """`meta_data`: entries with ids, several of one key are possible. Values of scalars are stored as text."""

    __slots__ = ("rows",)
    ids = itertools.count(31)

    def __init__(self, pairs: Iterable[tuple[str, Any]] = ()) -> None:
        self.rows: list[tuple[int, str, Any]] = [(next(self.ids), key, stored(value)) for key, value in pairs]

    def get(self, key: str) -> Any:
        return next((value for _, name, value in self.rows if name == key), None)

    def put(self, key: str, value: Any, number: int = 0) -> None:
        """With a known id that entry changes; otherwise the key's first entry does and its doubles go; null removes."""
        at = next((i for i, row in enumerate(self.rows) if row[0] == number), None) if number else None
        if at is None:
            same = [row for row in self.rows if row[1] == key]
            self.rows = [row for row in self.rows if row[1] != key or row is same[0]]
            at = self.rows.index(same[0]) if same else None
        if value is None:
            if at is not None:
                del self.rows[at]
        elif at is None:
            self.rows.append((next(self.ids), key, stored(value)))
        else:
            self.rows[at] = (self.rows[at][0], key or self.rows[at][1], stored(value))

    def json(self) -> list[dict[str, Any]]:
        return [{"id": number, "key": key, "value": value} for number, key, value in self.rows]


def stored(value: Any) -> Any:
    """A database column holds text: true comes back as "1" (observed), false as ""."""
    if isinstance(value, bool):
        return "1" if value else ""
    return str(value) if isinstance(value, int | float) else value


class Record(Protocol):
    """What lists need of every kind of record: `modified` is null only for a customer nobody ever changed."""

    id: int
    created: datetime
    modified: datetime | None


@dataclass(slots=True)
class Customer:
    id: int
    email: str
    username: str
    created: datetime
    modified: datetime | None
    first_name: str = ""
    last_name: str = ""
    role: str = "customer"
    billing: dict[str, str] = field(default_factory=dict)
    shipping: dict[str, str] = field(default_factory=dict)
    meta: Meta = field(default_factory=Meta)
    is_paying: bool = False

    def json(self, site: Site) -> dict[str, Any]:
        face = hashlib.md5(self.email.strip().lower().encode()).hexdigest()
        return {
            "id": self.id,
            **site.stamps("date_created", self.created),
            **site.stamps("date_modified", self.modified),
            "email": self.email,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "role": self.role,
            "username": self.username,
            "billing": address(self.billing, BILLING),
            "shipping": address(self.shipping, SHIPPING),
            "is_paying_customer": self.is_paying,
            "avatar_url": f"https://secure.gravatar.com/avatar/{face}?s=96&d=mm&r=g",
            "meta_data": self.meta.json(),
            "_links": site.links("customers", self.id),
        }


def address(filled: dict[str, str], fields: tuple[str, ...]) -> dict[str, str]:
    return {name: filled.get(name, "") for name in fields}


@dataclass(slots=True)
class Variation:
    id: int
    parent: int
    option: str
    regular_price: str
    created: datetime
    modified: datetime
    sku: str = ""
    sale_price: str = ""
    manage_stock: bool = False
    stock: int | None = None
    meta: Meta = field(default_factory=Meta)
    status: str = "publish"

    @property
    def price(self) -> str:
        return self.sale_price or self.regular_price

    def json(self, site: Site) -> dict[str, Any]:
        path = f"products/{self.parent}/variations"
        return {
            "id": self.id,
            **({"type": "variation", "name": self.option, "parent_id": self.parent} if site.version >= (8,) else {}),
            **site.stamps("date_created", self.created),
            **site.stamps("date_modified", self.modified),
            "description": "",
            "permalink": f"{site.home}/?p={self.parent}&variation_id={self.id}",
            "sku": self.sku,
            **prices(self),
            "status": self.status,
            "purchasable": bool(self.price),
            **stock(self),
            "image": None,
            "attributes": [{"id": 0, "name": "Storlek", "option": self.option}],
            "menu_order": 0,
            "meta_data": self.meta.json(),
            "_links": site.links(path, self.id, up=f"products/{self.parent}"),
        }


@dataclass(slots=True)
class Product:
    id: int
    name: str
    regular_price: str
    created: datetime
    modified: datetime
    type: str = "simple"
    status: str = "publish"
    sku: str = ""
    sale_price: str = ""
    description: str = ""
    short_description: str = ""
    manage_stock: bool = False
    stock: int | None = None
    total_sales: int = 0
    variations: list[int] = field(default_factory=list)
    meta: Meta = field(default_factory=Meta)
    before_trash: str = ""

    @property
    def price(self) -> str:
        return self.sale_price or self.regular_price

    @property
    def slug(self) -> str:
        """Observed: `Te ☕ "Grön" &amp; Honung` becomes te-%e2%98%95-gron-honung."""
        words = re.sub(r"<[^>]*>|&\w+;", " ", self.name.lower())
        plain = "".join(c for c in unicodedata.normalize("NFKD", words) if not unicodedata.combining(c))
        kept = re.sub(r"""[\s"'.,:;!?&/()]+""", "-", plain).strip("-")
        return quote(re.sub(r"-+", "-", kept), safe="-_").lower()

    def json(self, site: Site) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "slug": self.slug,
            "permalink": f"{site.home}/product/{self.slug}/",
            **site.stamps("date_created", self.created),
            **site.stamps("date_modified", self.modified),
            "type": self.type,
            "status": self.status,
            "featured": False,
            "catalog_visibility": "visible",
            "description": self.description,
            "short_description": self.short_description,
            "sku": self.sku,
            **prices(self),
            "purchasable": bool(self.price),
            "total_sales": self.total_sales,
            "virtual": False,
            "downloadable": False,
            "tax_status": "taxable",
            "tax_class": "",
            **stock(self),
            "parent_id": 0,
            "categories": [{"id": 15, "name": "Uncategorized", "slug": "uncategorized"}],
            "tags": [],
            "images": [],
            "attributes": [],
            "default_attributes": [],
            "variations": self.variations,
            "grouped_products": [],
            "menu_order": 0,
            "price_html": "",
            "related_ids": [],
            "meta_data": self.meta.json(),
            "_links": site.links("products", self.id),
        }


def prices(sold: Product | Variation) -> dict[str, Any]:
    return {
        "price": sold.price,
        "regular_price": "" if isinstance(sold, Product) and sold.type == "variable" else sold.regular_price,
        "sale_price": sold.sale_price,
        "on_sale": bool(sold.sale_price),
    }


def stock(sold: Product | Variation) -> dict[str, Any]:
    is_out = sold.manage_stock and (sold.stock or 0) <= 0
    return {
        "manage_stock": sold.manage_stock,
        "stock_quantity": sold.stock if sold.manage_stock else None,
        "stock_status": "outofstock" if is_out else "instock",
        "backorders": "no",
        "backorders_allowed": False,
        "backordered": False,
    }


@dataclass(slots=True)
class Line:
    """Net amounts, as WooCommerce stores them. Of a product that is gone, `sku` is null and image.id a number (observed)."""

    id: int
    name: str
    product_id: int
    variation_id: int
    quantity: int
    subtotal: Decimal
    subtotal_tax: Decimal
    total: Decimal
    total_tax: Decimal
    sku: str | None = ""
    reduced_stock: int = 0
    meta: Meta | None = None

    def json(self, *, is_known: bool) -> dict[str, Any]:
        meta = self.meta.json() if self.meta else []
        if self.reduced_stock:
            meta = [*meta, {"id": self.id * 10 + 3, "key": "_reduced_stock", "value": str(self.reduced_stock)}]
        taxes = {"id": 1, "total": plain(self.total_tax), "subtotal": plain(self.subtotal_tax)}
        return {
            "id": self.id,
            "name": self.name,
            "product_id": self.product_id if is_known else 0,
            "variation_id": self.variation_id if is_known else 0,
            "quantity": self.quantity,
            "tax_class": "",
            "subtotal": money(self.subtotal),
            "subtotal_tax": money(self.subtotal_tax),
            "total": money(self.total),
            "total_tax": money(self.total_tax),
            "taxes": [taxes] if self.total_tax else [],
            "meta_data": [m | {"display_key": m["key"], "display_value": m["value"]} for m in meta],
            "sku": self.sku if is_known else None,
            "price": number(self.total / self.quantity) if self.quantity else 0,
            "image": {"id": "" if is_known else 0, "src": ""},
            "parent_name": None,
        }


def plain(amount: Decimal) -> str:
    """A decimal as PHP prints a float: "39.8", "0" (observed on coupon lines)."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def number(amount: Decimal) -> int | float:
    rounded = round(float(amount), 6)
    return int(rounded) if rounded == int(rounded) else rounded


@dataclass(slots=True)
class CouponLine:
    id: int
    code: str
    discount: Decimal
    discount_tax: Decimal
    percent: Decimal | None = None

    def json(self, site: Site) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": self.id,
            "code": self.code,
            "discount": plain(self.discount),
            "discount_tax": plain(self.discount_tax),
            "meta_data": [],
        }
        if site.version >= (9,):
            found["discount_type"] = "fixed_cart" if self.percent is None else "percent"
            found["nominal_amount"] = number(self.discount if self.percent is None else self.percent)
        return found


@dataclass(slots=True)
class Refund:
    id: int
    parent: int
    created: datetime
    amount: Decimal
    reason: str
    lines: list[dict[str, Any]] = field(default_factory=list)
    kind: str = "partial"
    modified: datetime | None = None

    def json(self, site: Site) -> dict[str, Any]:
        path = f"orders/{self.parent}/refunds"
        return {
            "id": self.id,
            **({"parent_id": self.parent} if site.version >= (8,) else {}),
            **site.stamps("date_created", self.created),
            "amount": money(self.amount),
            "reason": self.reason,
            "refunded_by": 1,
            "refunded_payment": False,
            "meta_data": [{"id": self.id * 10, "key": "_refund_type", "value": self.kind}],
            "line_items": self.lines,
            "shipping_lines": [],
            "tax_lines": [],
            "fee_lines": [],
            "_links": site.links(path, self.id, up=f"orders/{self.parent}"),
        }


@dataclass(slots=True)
class Order:
    id: int
    status: str
    currency: str
    created: datetime
    modified: datetime
    customer_id: int = 0
    billing: dict[str, str] = field(default_factory=dict)
    shipping: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    coupons: list[CouponLine] = field(default_factory=list)
    fees: list[tuple[int, str, Decimal]] = field(default_factory=list)
    shipping_total: Decimal = Decimal(0)
    shipping_id: int = 0
    shipping_title: str = "Flat rate"
    paid: datetime | None = None
    completed: datetime | None = None
    refunds: list[Refund] = field(default_factory=list)
    meta: Meta = field(default_factory=Meta)
    payment_method: str = ""
    payment_method_title: str = ""
    transaction_id: str = ""
    created_via: str = "rest-api"
    customer_note: str = ""
    before_trash: str = ""
    made_by_version: str = ""
    notes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def tax(self) -> Decimal:
        return sum((line.total_tax for line in self.lines), Decimal(0))

    @property
    def total(self) -> Decimal:
        fees = sum((amount for _, _, amount in self.fees), Decimal(0))
        return sum((line.total for line in self.lines), Decimal(0)) + self.tax + self.shipping_total + fees

    @property
    def refunded(self) -> Decimal:
        return sum((r.amount for r in self.refunds), Decimal(0))

    @property
    def needs_payment(self) -> bool:
        return self.status in {"pending", "failed"} and self.total > 0

    def json(self, site: Site, known_products: Iterable[int]) -> dict[str, Any]:
        tax, total = self.tax, self.total
        discount = sum((line.subtotal - line.total for line in self.lines), Decimal(0))
        discount_tax = sum((line.subtotal_tax - line.total_tax for line in self.lines), Decimal(0))
        customer = {"customer": f"customers/{self.customer_id}"} if self.customer_id else {}
        late_tax = {"total_tax": "0.00"} if site.version >= (9,) else {}
        # WooCommerce 3.9 does not know these five yet (observed).
        late = {
            "payment_url": f"{site.home}/checkout/order-pay/{self.id}/?pay_for_order=true&key=wc_order_{self.id:013d}",
            "is_editable": self.status in {"pending", "on-hold", "auto-draft"},
            "needs_payment": self.needs_payment,
            "needs_processing": bool(self.lines),
        }
        return {
            "id": self.id,
            "parent_id": 0,
            "status": self.status,
            "currency": self.currency,
            "version": self.made_by_version or ".".join(map(str, site.version)),
            "prices_include_tax": True,
            "date_created": site.local(self.created),
            "date_modified": site.local(self.modified),
            "discount_total": money(discount),
            "discount_tax": money(discount_tax),
            "shipping_total": money(self.shipping_total),
            "shipping_tax": "0.00",
            "cart_tax": money(tax),
            "total": money(total),
            "total_tax": money(tax),
            "customer_id": self.customer_id,
            "order_key": f"wc_order_{self.id:013d}",
            "billing": address(self.billing, BILLING),
            "shipping": address(self.shipping, SHIPPING),
            "payment_method": self.payment_method,
            "payment_method_title": self.payment_method_title,
            "transaction_id": self.transaction_id,
            "customer_ip_address": "",
            "customer_user_agent": "",
            "created_via": self.created_via,
            "customer_note": self.customer_note,
            "date_completed": site.local(self.completed),
            "date_paid": site.local(self.paid),
            "cart_hash": "",
            "number": str(self.id),
            "meta_data": self.meta.json(),
            "line_items": [line.json(is_known=line.product_id in known_products) for line in self.lines],
            "tax_lines": [self._tax_line(site)] if tax else [],
            "shipping_lines": [self._shipping_line()] if self.shipping_id else [],
            "fee_lines": [
                {"id": i, "name": name, "tax_class": "", "tax_status": "none", "total": money(amount), "total_tax": "0.00",
                 "taxes": [], "meta_data": []} for i, name, amount in self.fees
            ],
            "coupon_lines": [coupon.json(site) for coupon in self.coupons],
            "refunds": [
                {"id": r.id, "reason": r.reason, "total": money(-r.amount)} | late_tax for r in self.refunds
            ],
            **(late if site.version >= (4,) else {}),
            "date_created_gmt": self.created.isoformat(),
            "date_modified_gmt": self.modified.isoformat(),
            "date_completed_gmt": self.completed.isoformat() if self.completed else None,
            "date_paid_gmt": self.paid.isoformat() if self.paid else None,
            **({"currency_symbol": SYMBOLS.get(self.currency, self.currency)} if site.version >= (4,) else {}),
            "_links": site.links("orders", self.id, **customer),
        }  # fmt: skip

    @property
    def _tax_percent(self) -> int:
        net = sum((line.total for line in self.lines), Decimal(0))
        return round(self.tax * 100 / net) if net else 0

    def _tax_line(self, site: Site) -> dict[str, Any]:
        return {
            "id": self.id * 10 + 1,
            "rate_code": "SE-MOMS-1",
            "rate_id": 1,
            "label": "Moms",
            "compound": False,
            "tax_total": money(self.tax),
            "shipping_tax_total": "0.00",
            **({"rate_percent": self._tax_percent} if site.version >= (4,) else {}),
            "meta_data": [],
        }

    def _shipping_line(self) -> dict[str, Any]:
        return {
            "id": self.shipping_id,
            "method_title": self.shipping_title,
            "method_id": "flat_rate",
            "instance_id": "1",
            "total": money(self.shipping_total),
            "total_tax": "0.00",
            "taxes": [],
            "meta_data": [],
        }


@dataclass(slots=True)
class Coupon:
    id: int
    code: str
    amount: Decimal
    created: datetime
    modified: datetime
    discount_type: str = "fixed_cart"
    status: str = "publish"
    description: str = ""
    expires: datetime | None = None
    usage_count: int = 0
    usage_limit: int | None = None
    usage_limit_per_user: int | None = None
    individual_use: bool = False
    free_shipping: bool = False
    minimum_amount: str = "0.00"
    maximum_amount: str = "0.00"
    email_restrictions: list[str] = field(default_factory=list)
    used_by: list[str] = field(default_factory=list)
    meta: Meta = field(default_factory=Meta)
    before_trash: str = ""

    def json(self, site: Site) -> dict[str, Any]:
        return {
            "id": self.id,
            "code": self.code,
            "amount": money(self.amount),
            **({"status": self.status} if site.version >= (8,) else {}),
            **site.stamps("date_created", self.created),
            **site.stamps("date_modified", self.modified),
            "discount_type": self.discount_type,
            "description": self.description,
            **site.stamps("date_expires", self.expires),
            "usage_count": self.usage_count,
            "individual_use": self.individual_use,
            "product_ids": [],
            "excluded_product_ids": [],
            "usage_limit": self.usage_limit,
            "usage_limit_per_user": self.usage_limit_per_user,
            "limit_usage_to_x_items": None,
            "free_shipping": self.free_shipping,
            "product_categories": [],
            "excluded_product_categories": [],
            "exclude_sale_items": False,
            "minimum_amount": self.minimum_amount,
            "maximum_amount": self.maximum_amount,
            "email_restrictions": self.email_restrictions,
            "used_by": self.used_by,
            "meta_data": self.meta.json(),
            "_links": site.links("coupons", self.id),
        }
