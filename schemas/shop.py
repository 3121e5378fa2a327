"""What a shop tells us: frames as the connectors shape them, checked whole before they are stored (schema `shop`).

Every frame keeps the order of the raw records it was shaped from, so that a rejected row can be kept with its record.
Instants are UTC; money is decimal(18,4) in the `currency` beside it.
An `address` is the e-mail as a key (see `tasks.addresses`).
"""

from __future__ import annotations

from typing import Annotated

import pandera.polars as pa
import polars as pl

from schemas.words import Consent, DiscountKind, DiscountTarget, OptInLevel, OrderState, words

Instant = Annotated[pl.Datetime, "us", "UTC"]
Money = Annotated[pl.Decimal, 18, 4]

EMAIL_PATTERN = r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$"
E164 = r"^\+[1-9][0-9]{6,14}$"
BAD_EMAIL = "Correct the e-mail address in the shop; the record is read again when it changes."
BAD_PHONE = "Give the phone number its country code (+49 ...) in the shop: without it no text message is sent. E-mail goes on."
BAD_RECORD = "Correct this value in the shop; the record is read again when it changes."


class Customers(pa.DataFrameModel):
    """One row per shop and customer account. Guests are not here: orders know them."""

    shop: str = pa.Field(description="Name of the shop in the connection.")
    customer_id: str = pa.Field(description="The shop's id of the account.", metadata={"advice": BAD_RECORD})
    email: str = pa.Field(
        nullable=True,
        str_matches=EMAIL_PATTERN,
        description="As the shop spells it. Null: no address; consent cannot attach.",
        metadata={"advice": BAD_EMAIL},
    )
    address: str = pa.Field(nullable=True, description="The e-mail address as a key.", metadata={"advice": BAD_EMAIL})
    first_name: str = pa.Field(nullable=True, description="Entities decoded. Null: not given.")
    last_name: str = pa.Field(nullable=True, description="Entities decoded. Null: not given.")
    language: str = pa.Field(nullable=True, description="ISO 639-1 code where the shop knows one.")
    country: str = pa.Field(nullable=True, description="ISO 3166-1 alpha-2 code.")
    city: str = pa.Field(nullable=True, description="City of the billing address.")
    postcode: str = pa.Field(nullable=True, description="Postcode of the billing address.")
    phone: str = pa.Field(nullable=True, description="As typed.")
    customer_group: str = pa.Field(nullable=True, description="The shop's own grouping (role, group).")
    consent: str = pa.Field(
        nullable=True,
        isin=words(Consent),
        description="in, out or pending; null: never ticked.",
        metadata={"advice": "Set consent_in and consent_out of this shop so that they list this value."},
    )
    consent_at: Instant = pa.Field(nullable=True, description="When consent last changed, where the platform states it.")
    consent_level: str = pa.Field(
        nullable=True, isin=words(OptInLevel), description="How sure the opt-in is, where the platform says."
    )
    consent_raw: str = pa.Field(nullable=True, description="The value as the shop stores it: evidence.")
    consent_actor: str = pa.Field(
        nullable=True,
        isin=["self", "merchant"],
        description="Who last changed consent, where the platform tells: self or merchant.",
    )
    sms_consent: str = pa.Field(
        nullable=True, isin=words(Consent), description="in, out or pending for text messages to `phone`; null: never ticked."
    )
    sms_consent_at: Instant = pa.Field(nullable=True, description="When it last changed, where the platform states it.")
    sms_address: str = pa.Field(
        nullable=True,
        str_matches=E164,
        description="The phone number as a key, in E.164. Null: none, or without its country; consent cannot attach.",
        metadata={"advice": BAD_PHONE, "keeps_row": True},
    )
    bounced_at: Instant = pa.Field(nullable=True, description="The hard bounce recorded beside the consent.")
    created_at: Instant = pa.Field(nullable=True, description="When the account was made.")
    updated_at: Instant = pa.Field(
        nullable=True, description="When the shop says the record changed; not every change moves it."
    )


class Orders(pa.DataFrameModel):
    """One row per shop and order."""

    shop: str = pa.Field(description="Name of the shop in the connection.")
    order_id: str = pa.Field(description="The shop's id of the order.", metadata={"advice": BAD_RECORD})
    number: str = pa.Field(nullable=True, description="The number people see.")
    customer_id: str = pa.Field(nullable=True, description="The account that ordered. Null: a guest.")
    email: str = pa.Field(
        nullable=True, str_matches=EMAIL_PATTERN, description="Billing e-mail as typed.", metadata={"advice": BAD_EMAIL}
    )
    address: str = pa.Field(nullable=True, description="The billing e-mail as a key.", metadata={"advice": BAD_EMAIL})
    first_name: str = pa.Field(nullable=True, description="Billing first name.")
    last_name: str = pa.Field(nullable=True, description="Billing last name.")
    country: str = pa.Field(nullable=True, description="ISO 3166-1 alpha-2 code.")
    city: str = pa.Field(nullable=True, description="Billing city.")
    postcode: str = pa.Field(nullable=True, description="Billing postcode.")
    phone: str = pa.Field(nullable=True, description="Billing phone as typed.")
    state: str = pa.Field(isin=words(OrderState), description="Where the order stands.", metadata={"advice": BAD_RECORD})
    is_test: bool = pa.Field(description="A test order counts for nothing.")
    currency: str = pa.Field(str_matches=r"^[A-Z]{3}$", description="ISO 4217 code.", metadata={"advice": BAD_RECORD})
    total: Money = pa.Field(
        description="The shop's current total, tax included, before refunds.", metadata={"advice": BAD_RECORD}
    )
    discount_total: Money = pa.Field(description="Discounts, tax excluded.", metadata={"advice": BAD_RECORD})
    tax_total: Money = pa.Field(description="Tax inside the total.", metadata={"advice": BAD_RECORD})
    shipping_total: Money = pa.Field(description="Shipping inside the total.", metadata={"advice": BAD_RECORD})
    refunded_total: Money = pa.Field(ge=0, description="What was paid back so far.", metadata={"advice": BAD_RECORD})
    consent: str = pa.Field(nullable=True, isin=words(Consent), description="The tick in the order itself; null: none.")
    consent_raw: str = pa.Field(nullable=True, description="The tick as the shop stores it: evidence.")
    promo_codes: str = pa.Field(nullable=True, description="Codes used, as a JSON list.")
    ordered_at: Instant = pa.Field(description="When it was placed.", metadata={"advice": BAD_RECORD})
    updated_at: Instant = pa.Field(description="When the shop last changed it.", metadata={"advice": BAD_RECORD})
    paid_at: Instant = pa.Field(nullable=True, description="When it was paid.")


class OrderLines(pa.DataFrameModel):
    """One row per order line. A line of a product that is gone has no product_id and keeps its title."""

    shop: str = pa.Field(description="Name of the shop in the connection.")
    order_id: str = pa.Field(description="The order.")
    line_id: str = pa.Field(description="The shop's id of the line.", metadata={"advice": BAD_RECORD})
    product_id: str = pa.Field(nullable=True, description="Null: the product no longer exists.")
    variant_id: str = pa.Field(nullable=True, description="The variant bought; equals product_id where there are none.")
    title: str = pa.Field(nullable=True, description="Name at the time of the order.")
    sku: str = pa.Field(nullable=True, description="Stock keeping unit.")
    quantity: int = pa.Field(description="Pieces.", metadata={"advice": BAD_RECORD})
    price: Money = pa.Field(description="Price of one piece after discount, tax excluded.", metadata={"advice": BAD_RECORD})
    discount: Money = pa.Field(description="Discount on the whole line, tax excluded.", metadata={"advice": BAD_RECORD})


class Products(pa.DataFrameModel):
    """One row per product variant; a product without variants has one, with variant_id = product_id."""

    shop: str = pa.Field(description="Name of the shop in the connection.")
    product_id: str = pa.Field(description="The shop's id of the product.", metadata={"advice": BAD_RECORD})
    variant_id: str = pa.Field(description="The shop's id of the variant.", metadata={"advice": BAD_RECORD})
    title: str = pa.Field(description="Name of the product, entities decoded.", metadata={"advice": BAD_RECORD})
    variant_title: str = pa.Field(description="Name of the variant.", metadata={"advice": BAD_RECORD})
    sku: str = pa.Field(nullable=True, description="Stock keeping unit.")
    url: str = pa.Field(nullable=True, description="Page in the shop.")
    image_url: str = pa.Field(nullable=True, description="Main picture.")
    price: Money = pa.Field(nullable=True, description="Current price; null where the shop has none (variable products).")
    updated_at: Instant = pa.Field(nullable=True, description="When the shop last changed it.")


class PromoCodes(pa.DataFrameModel):
    """One row per discount code that buyers can type in."""

    shop: str = pa.Field(description="Name of the shop in the connection.")
    promo_id: str = pa.Field(description="The shop's id of the discount that the code gives.", metadata={"advice": BAD_RECORD})
    code: str = pa.Field(description="What buyers type in.", metadata={"advice": BAD_RECORD})
    title: str = pa.Field(nullable=True, description="What the merchant calls it.")
    kind: str = pa.Field(isin=words(DiscountKind), description="percentage or fixed.", metadata={"advice": BAD_RECORD})
    target: str = pa.Field(
        isin=words(DiscountTarget),
        description="What gets cheaper: per_item, total or shipping.",
        metadata={"advice": BAD_RECORD},
    )
    amount: Money = pa.Field(
        ge=0, description="Of a percentage its share (0.15 is 15 %), else an amount.", metadata={"advice": BAD_RECORD}
    )
    currency: str = pa.Field(nullable=True, str_matches=r"^[A-Z]{3}$", description="Of a fixed amount; null for a percentage.")
    is_active: bool = pa.Field(description="Buyers can use it now.")
    starts_at: Instant = pa.Field(nullable=True, description="Not before; null: at any time.")
    ends_at: Instant = pa.Field(nullable=True, description="Not after; null: without end.")
    usage_limit: int = pa.Field(nullable=True, description="How often it may be used in all; null: without limit.")
    used_count: int = pa.Field(nullable=True, description="How often it was used; may lag behind.")
    url: str = pa.Field(nullable=True, description="A page that applies it.")
    updated_at: Instant = pa.Field(nullable=True, description="When the shop last changed it.")
