"""What the twin's stores are made of: the schemas of their records, and the checks that all of them share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sandbox.mailchimp.wire import Json, Problem, Schema, bad_request, invalid, not_found, optional, parse_moment, stamp

ADDRESS: Schema = {
    "address1": "string",
    "address2": "string",
    "city": "string",
    "province": "string",
    "province_code": "string",
    "postal_code": "string",
    "country": "string",
    "country_code": "string",
}
PLACE: Schema = ADDRESS | {"longitude": "number", "latitude": "number"}
DELIVERY: Schema = PLACE | {"name": "string", "phone": "string", "company": "string"}
STORE: Schema = {
    "id*": "string",
    "list_id*": "string",
    "name*": "string",
    "platform": "string",
    "domain": "string",
    "is_syncing": "boolean",
    "email_address": "string",
    "currency_code*": "string",
    "money_format": "string",
    "primary_locale": "string",
    "timezone": "string",
    "phone": "string",
    "address": PLACE,
}
CUSTOMER: Schema = {
    "id*": "string",
    "email_address*": "string",
    "opt_in_status*": "boolean",
    "company": "string",
    "first_name": "string",
    "last_name": "string",
    "address": ADDRESS,
}
VARIANT: Schema = {
    "id*": "string",
    "title*": "string",
    "url": "string",
    "sku": "string",
    "price": "number",
    "inventory_quantity": "integer",
    "image_url": "string",
    "backorders": "string",
    "visibility": "string",
}
IMAGE: Schema = {"id*": "string", "url*": "string", "variant_ids": ["string"]}
PRODUCT: Schema = {
    "id*": "string",
    "title*": "string",
    "handle": "string",
    "url": "string",
    "description": "string",
    "type": "string",
    "vendor": "string",
    "image_url": "string",
    "variants*": [VARIANT],
    "images": [IMAGE],
    "published_at_foreign": "datetime",
}
PATCH_PRODUCT: Schema = optional(PRODUCT) | {"variants": [optional(VARIANT)], "images": [optional(IMAGE)]}
LINE: Schema = {
    "id*": "string",
    "product_id*": "string",
    "product_variant_id*": "string",
    "quantity*": "integer",
    "price*": "number",
    "discount": "number",
}
CART_LINE: Schema = {name: kind for name, kind in LINE.items() if name != "discount"}
ORDER: Schema = {
    "id*": "string",
    "customer*": optional(CUSTOMER) | {"id*": "string"},
    "campaign_id": "string",
    "landing_site": "string",
    "financial_status": "string",
    "fulfillment_status": "string",
    "currency_code*": "string",
    "order_total*": "number",
    "order_url": "string",
    "discount_total": "number",
    "tax_total": "number",
    "shipping_total": "number",
    "tracking_code": ("prec",),
    "processed_at_foreign": "datetime",
    "cancelled_at_foreign": "datetime",
    "updated_at_foreign": "datetime",
    "shipping_address": DELIVERY,
    "billing_address": DELIVERY,
    "promos": [{"code*": "string", "amount_discounted*": "number", "type*": ("fixed", "percentage")}],
    "lines*": [LINE],
    "outreach": {"id": "string"},
    "tracking_number": "string",
    "tracking_carrier": "string",
    "tracking_url": "string",
}
PATCH_ORDER: Schema = optional(ORDER) | {"customer": optional(CUSTOMER), "lines": [optional(LINE)]}
CART: Schema = {
    "id*": "string",
    "customer*": optional(CUSTOMER) | {"id*": "string"},
    "campaign_id": "string",
    "checkout_url": "string",
    "currency_code*": "string",
    "order_total*": "number",
    "tax_total": "number",
    "lines*": [CART_LINE],
}
PATCH_CART: Schema = optional(CART) | {"customer": optional(CUSTOMER), "lines": [optional(CART_LINE)]}
PROMO_RULE: Schema = {
    "id*": "string",
    "title": "string",
    "description*": "string",
    "starts_at": "datetime",
    "ends_at": "datetime",
    "amount*": "number",
    "type*": ("fixed", "percentage"),
    "target*": ("per_item", "total", "shipping"),
    "enabled": "boolean",
    "created_at_foreign": "datetime",
    "updated_at_foreign": "datetime",
}
PROMO_CODE: Schema = {
    "id*": "string",
    "code*": "string",
    "redemption_url*": "string",
    "usage_count": "integer",
    "enabled": "boolean",
    "created_at_foreign": "datetime",
    "updated_at_foreign": "datetime",
}
SITE: Schema = {"foreign_id*": "string", "domain*": "string"}
ID_MOST, DESCRIPTION_MOST = 50, 255


@dataclass
class Store:
    fields: Json
    created: str
    updated: str
    customers: dict[str, Json] = field(default_factory=dict)
    products: dict[str, Json] = field(default_factory=dict)
    orders: dict[str, Json] = field(default_factory=dict)
    carts: dict[str, Json] = field(default_factory=dict)
    promo_rules: dict[str, Json] = field(default_factory=dict)
    promo_codes: dict[str, dict[str, Json]] = field(default_factory=dict)
    orders_of: dict[str, set[str]] = field(default_factory=dict)
    """Order ids per customer id."""
    customers_of: dict[str, set[str]] = field(default_factory=dict)
    """Customer ids per address hash."""


def exists(what: str) -> Problem:
    return bad_request(f"We were unable to process the request. {what} with the provided ID already exists in the account.")


def pick(found: dict[str, Json], key: str) -> Json:
    if key not in found:
        raise not_found()
    return found[key]


def bare(record: Json) -> Json:
    return record | {"_links": []}


def _normal(given: str) -> str:
    return stamp(parse_moment(given)) if given else ""


def normal_times(body: Json) -> Json:
    times = {k: _normal(v) for k, v in body.items() if k.endswith("_foreign") or k in {"starts_at", "ends_at"}}
    return body | times


def check_id(body: Json, most: int = ID_MOST) -> None:
    if "id" in body and not 0 < len(body["id"]) <= most:
        raise invalid(("id", f"The ID must have between 1 and {most} characters."))  # ≤ 50 [spec]; our words


def check_currency(body: Json) -> None:
    if "currency_code" in body and not re.fullmatch(r"[A-Z]{3}", body["currency_code"]):
        raise invalid(("currency_code", "The currency code must be a three-letter ISO 4217 code."))  # our words


def check_promo(rule: Json) -> None:
    check_id(rule)
    if len(rule["description"]) > DESCRIPTION_MOST:  # [spec]
        raise invalid(("description", f"The description must be at most {DESCRIPTION_MOST} characters long."))  # our words
    if rule["amount"] < 0 or (rule["type"] == "percentage" and rule["amount"] > 1):  # a percentage is 0..1 [spec]
        raise invalid(("amount", "The amount must be a positive number, and a percentage at most 1."))  # our words
