"""What a Shopify shop holds. An attribute is called like its GraphQL field, in snake case, and found by that.

`key` is the number that the merchant's admin and webhooks show (`legacyResourceId`); GraphQL's `id` is made of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar

import orjson

Json = dict[str, Any]

APP_KEY = 347082227713
"""Of the one app that is installed; its own namespaces carry it."""


def gid(kind: str, key: int | str) -> str:
    return f"gid://shopify/{kind}/{key}"


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def money(amount: Decimal, currency: str) -> Json:
    return {"__typename": "MoneyV2", "amount": amount, "currencyCode": currency}


@dataclass
class Record:
    kind: ClassVar[str]
    key: int

    @property
    def id(self) -> str:
        return gid(self.kind, self.key)

    @property
    def legacy_resource_id(self) -> int:
        return self.key


@dataclass
class Consent:
    """`updated_at` is null as long as nobody ever said anything."""

    state: str = "NOT_SUBSCRIBED"
    level: str | None = "SINGLE_OPT_IN"
    updated_at: datetime | None = None
    location: str | None = None


@dataclass
class Address(Record):
    kind = "MailingAddress"
    first_name: str | None = None
    last_name: str | None = None
    company: str | None = None
    address1: str | None = None
    address2: str | None = None
    city: str | None = None
    province_code: str | None = None
    country_code: str | None = None
    zip: str | None = None
    phone: str | None = None
    model: str = "CustomerAddress"

    @property
    def id(self) -> str:
        return f"{gid(self.kind, self.key)}?model_name={self.model}"

    @property
    def country_code_v2(self) -> str | None:
        return self.country_code

    @property
    def country(self) -> str | None:
        return COUNTRIES.get(self.country_code or "", self.country_code)

    @property
    def province(self) -> str | None:
        return PROVINCES.get((self.country_code, self.province_code), self.province_code)

    @property
    def name(self) -> str | None:
        return " ".join(part for part in (self.first_name, self.last_name) if part) or None

    @property
    def formatted_area(self) -> str | None:
        town = " ".join(part for part in (self.city, self.province_code) if part)
        return ", ".join(part for part in (town, self.country) if part) or None


COUNTRIES = {
    "AT": "Austria",
    "CA": "Canada",
    "CH": "Switzerland",
    "DE": "Germany",
    "DK": "Denmark",
    "FR": "France",
    "GB": "United Kingdom",
    "PL": "Poland",
    "SE": "Sweden",
    "US": "United States",
}
PROVINCES: dict[tuple[str | None, str | None], str] = {
    ("CA", "BC"): "British Columbia",
    ("CA", "ON"): "Ontario",
    ("CA", "QC"): "Quebec",
    ("US", "CA"): "California",
    ("US", "NY"): "New York",
    ("US", "WA"): "Washington",
}


@dataclass
class Metafield(Record):
    kind = "Metafield"
    owner_type: str
    namespace: str
    name: str  # what GraphQL calls `key`, which is taken here
    type: str
    value: str
    created_at: datetime
    updated_at: datetime

    @property
    def compare_digest(self) -> str:
        return hashlib.sha256(self.value.encode()).hexdigest()

    @property
    def json_value(self) -> Any:
        return orjson.loads(self.value) if self.type in {"json", "number_integer", "boolean"} else self.value


@dataclass
class Owner(Record):
    """Something with tags and metafields."""

    created_at: datetime
    updated_at: datetime
    tags: list[str] = field(default_factory=list, kw_only=True)
    own_metafields: list[Metafield] = field(default_factory=list, kw_only=True)

    def find_metafield(self, namespace: str, name: str) -> Metafield | None:
        return next((m for m in self.own_metafields if (m.namespace, m.name) == (namespace, name)), None)


@dataclass
class Customer(Owner):
    """`state` is about the account: DISABLED for everybody who never made one, guests of the checkout among them."""

    kind = "Customer"
    email: str | None = None
    phone: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    locale: str = "en"
    note: str | None = None
    state: str = "DISABLED"
    verified_email: bool = True
    tax_exempt: bool = False
    tax_exemptions: list[str] = field(default_factory=list)
    data_sale_opt_out: bool = False
    email_consent: Consent = field(default_factory=Consent)
    sms_consent: Consent = field(default_factory=Consent)
    open_tracking: str = "UNKNOWN"
    own_addresses: list[Address] = field(default_factory=list)
    default_address: Address | None = None

    @property
    def full_name(self) -> str:
        return " ".join(part for part in (self.first_name, self.last_name) if part)

    @property
    def display_name(self) -> str:
        """The name, else the e-mail address, else the phone, which is shown as people write it. [recordings]"""
        phone = re.sub(r"^\+1(\d{3})(\d{3})(\d{4})$", r"+1 \1-\2-\3", self.phone or "")
        return self.full_name or self.email or phone


@dataclass
class Variant(Record):
    kind = "ProductVariant"
    product_key: int
    option: str
    price: Decimal
    created_at: datetime
    updated_at: datetime
    sku: str | None = None
    barcode: str | None = None
    compare_at_price: Decimal | None = None
    inventory_quantity: int = 10
    position: int = 1
    taxable: bool = True

    @property
    def title(self) -> str:
        return self.option

    @property
    def available_for_sale(self) -> bool:
        return self.inventory_quantity > 0


@dataclass
class Product(Owner):
    """A product without options has one variant with the option "Default Title"."""

    kind = "Product"
    title: str
    handle: str
    status: str = "ACTIVE"
    vendor: str = "Lilla Butiken"
    product_type: str = ""
    description_html: str = ""
    is_gift_card: bool = False
    image: str | None = None
    own_variants: list[Variant] = field(default_factory=list)

    @property
    def description(self) -> str:
        return self.description_html

    @property
    def published_at(self) -> datetime | None:
        return self.created_at if self.status == "ACTIVE" else None

    @property
    def total_inventory(self) -> int:
        return sum(variant.inventory_quantity for variant in self.own_variants)


@dataclass
class Discount(Record):
    """A discount with one code or several; `only_for` are the customers who may use it, nobody named means everybody."""

    kind = "DiscountCodeNode"
    title: str
    codes: list[str]
    percent: Decimal
    created_at: datetime
    starts_at: datetime
    ends_at: datetime | None = None
    usage_limit: int | None = None
    applies_once_per_customer: bool = False
    minimum_subtotal: Decimal | None = None
    used: int = 0
    only_for: list[int] = field(default_factory=list)

    @property
    def updated_at(self) -> datetime:
        return self.created_at


@dataclass
class Line(Record):
    """Amounts in the buyer's currency. `price` is one piece before discounts, `total` the line after them, `tax` inside it.

    `product_key` and `variant_key` stay when the product is deleted; it is then just not found any more.
    """

    kind = "LineItem"
    title: str
    quantity: int
    price: Decimal
    total: Decimal
    tax: Decimal = Decimal(0)
    product_key: int | None = None
    variant_key: int | None = None
    variant_title: str | None = None
    sku: str | None = None
    vendor: str | None = None
    is_gift_card: bool = False
    requires_shipping: bool = True
    taxable: bool = True
    custom_attributes: list[Json] = field(default_factory=list)
    refunded_quantity: int = 0

    @property
    def name(self) -> str:
        return f"{self.title} - {self.variant_title}" if self.variant_title else self.title

    @property
    def current_quantity(self) -> int:
        return self.quantity - self.refunded_quantity


@dataclass
class RefundLine:
    key: int
    line: Line
    quantity: int
    subtotal: Decimal
    restock_type: str = "NO_RESTOCK"


@dataclass
class Refund(Record):
    kind = "Refund"
    order_key: int
    created_at: datetime
    amount: Decimal
    note: str | None = None
    lines: list[RefundLine] = field(default_factory=list)

    @property
    def processed_at(self) -> datetime:
        return self.created_at

    @property
    def updated_at(self) -> datetime:
        return self.created_at


@dataclass
class Order(Owner):
    """Amounts are the buyer's (presentment); `rate` is how much of that money one unit of the shop's is worth."""

    kind = "Order"
    number: int
    processed_at: datetime
    currency_code: str
    presentment_currency_code: str
    lines: list[Line]
    rate: Decimal = Decimal(1)
    email: str | None = None
    phone: str | None = None
    customer_key: int | None = None
    display_financial_status: str | None = "PAID"
    """Null while no payment was ever tried. [recordings]"""
    display_fulfillment_status: str = "UNFULFILLED"
    return_status: str = "NO_RETURN"
    shipping: Decimal = Decimal(0)
    discount_codes: list[str] = field(default_factory=list)
    percent: Decimal = Decimal(0)
    test: bool = False
    note: str | None = None
    cancelled_at: datetime | None = None
    cancel_reason: str | None = None
    closed_at: datetime | None = None
    customer_accepts_marketing: bool = False
    customer_locale: str | None = None
    billing_address: Address | None = None
    shipping_address: Address | None = None
    own_refunds: list[Refund] = field(default_factory=list)
    source_name: str | None = "web"

    confirmed = True
    taxes_included = True
    po_number = None

    @property
    def name(self) -> str:
        return f"#{self.number}"

    @property
    def closed(self) -> bool:
        return self.closed_at is not None

    @property
    def discount_code(self) -> str | None:
        return self.discount_codes[0] if self.discount_codes else None

    @property
    def payment_gateway_names(self) -> list[str]:
        """Empty while nobody paid. [recordings]"""
        return ["manual"] if self.received else []

    @property
    def custom_attributes(self) -> list[Json]:
        return []

    def bag(self, amount: Decimal) -> Json:
        """The amount in both currencies."""
        return {
            "shopMoney": money(cents(amount / self.rate), self.currency_code),
            "presentmentMoney": money(amount, self.presentment_currency_code),
        }

    # Sums in the buyer's currency

    @property
    def gross(self) -> Decimal:
        return sum((line.price * line.quantity for line in self.lines), Decimal(0))

    @property
    def subtotal(self) -> Decimal:
        return sum((line.total for line in self.lines), Decimal(0))

    @property
    def total(self) -> Decimal:
        return self.subtotal + self.shipping

    @property
    def refunded(self) -> Decimal:
        return sum((refund.amount for refund in self.own_refunds), Decimal(0))

    @property
    def received(self) -> Decimal:
        paid = {"PAID", "PARTIALLY_REFUNDED", "REFUNDED"}
        return self.total if self.display_financial_status in paid else Decimal(0)

    @property
    def current_total(self) -> Decimal:
        """After refunds; nothing is left of what was cancelled. [recordings]"""
        return Decimal(0) if self.cancelled_at else self.total - self.refunded

    @property
    def subtotal_price_set(self) -> Json:
        return self.bag(self.subtotal)

    @property
    def current_subtotal_price_set(self) -> Json:
        return self.bag(Decimal(0) if self.cancelled_at else max(self.subtotal - self.refunded, Decimal(0)))

    @property
    def total_discounts_set(self) -> Json:
        return self.bag(self.gross - self.subtotal)

    current_total_discounts_set = total_discounts_set

    @property
    def total_shipping_price_set(self) -> Json:
        return self.bag(self.shipping)

    @property
    def total_tax_set(self) -> Json:
        return self.bag(sum((line.tax for line in self.lines), Decimal(0)))

    current_total_tax_set = total_tax_set

    @property
    def total_price_set(self) -> Json:
        return self.bag(self.total)

    @property
    def current_total_price_set(self) -> Json:
        return self.bag(self.current_total)

    @property
    def total_refunded_set(self) -> Json:
        return self.bag(self.refunded)

    @property
    def total_received_set(self) -> Json:
        return self.bag(self.received)

    @property
    def total_outstanding_set(self) -> Json:
        is_open = self.display_financial_status in {None, "PENDING", "AUTHORIZED", "PARTIALLY_PAID"} and not self.cancelled_at
        return self.bag(self.total if is_open else Decimal(0))

    @property
    def net_payment_set(self) -> Json:
        return self.bag(self.received - self.refunded)


def owners(*tables: dict[int, Any]) -> Iterator[Any]:
    for table in tables:
        yield from table.values()
