"""From GraphQL's fields to the shop: whatever is not resolved by the name of an attribute."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from sandbox.shopify import search
from sandbox.shopify.graph import Call, Failed, is_gid
from sandbox.shopify.lists import Window, cut, page, sortable
from sandbox.shopify.records import (
    APP_KEY,
    Consent,
    Customer,
    Discount,
    Json,
    Line,
    Metafield,
    Order,
    Owner,
    Product,
    Refund,
    RefundLine,
    Variant,
    gid,
    money,
)
from sandbox.shopify.shop import Refusal, Shop, error

Resolver = Callable[..., Any]
R = TypeVar("R", bound=Resolver)
RESOLVERS: dict[str, Resolver] = {}

SCOPES = {
    "QueryRoot.customer": "read_customers",
    "QueryRoot.customerByIdentifier": "read_customers",
    "QueryRoot.customers": "read_customers",
    "QueryRoot.customersCount": "read_customers",
    "QueryRoot.order": "read_orders",
    "QueryRoot.orders": "read_orders",
    "QueryRoot.ordersCount": "read_orders",
    "QueryRoot.product": "read_products",
    "QueryRoot.products": "read_products",
    "QueryRoot.productVariant": "read_products",
    "QueryRoot.productVariants": "read_products",
    "QueryRoot.discountNode": "read_discounts",
    "QueryRoot.discountNodes": "read_discounts",
    "QueryRoot.codeDiscountNode": "read_discounts",
    "QueryRoot.codeDiscountNodes": "read_discounts",
    "Customer.orders": "read_orders",
    "Customer.lastOrder": "read_orders",
    "Order.customer": "read_customers",
    "Mutation.customerCreate": "write_customers",
    "Mutation.customerUpdate": "write_customers",
    "Mutation.customerDelete": "write_customers",
    "Mutation.customerMerge": "write_customers",
    "Mutation.customerEmailMarketingConsentUpdate": "write_customers",
    "Mutation.customerSmsMarketingConsentUpdate": "write_customers",
}
"""The scope that a field needs; a write scope includes reading. [docs access-scopes]"""

PROTECTED = {
    "Customer.firstName",
    "Customer.lastName",
    "Customer.email",
    "Customer.phone",
    "Customer.defaultEmailAddress",
    "Customer.defaultPhoneNumber",
    "Customer.defaultAddress",
    "Order.email",
    "Order.phone",
    "Order.billingAddress",
    "Order.shippingAddress",
}
"""Name, address, phone and e-mail: level 2 of protected customer data. [docs protected-customer-data]"""


def resolves(*coordinates: str) -> Callable[[R], R]:
    def keep(function: R) -> R:
        RESOLVERS.update(dict.fromkeys(coordinates, function))
        return function

    return keep


def has_scope(granted: Iterable[str], needed: str) -> bool:
    return needed in granted or needed.replace("read_", "write_", 1) in granted


def guarded(default: Callable[..., Any]) -> dict[str, Resolver]:
    """All resolvers, behind the app's scopes and the protection of customers' data."""

    def guard(coordinate: str, resolve: Resolver) -> Resolver:
        name = coordinate.partition(".")[2]

        @functools.wraps(resolve)
        def checked(source: Any, info: Any, **arguments: Any) -> Any:
            call: Call = info.context
            needed = SCOPES.get(coordinate)
            if needed and not has_scope(call.scopes, needed):
                # Words and extensions as recorded for another field.
                words = f"`{needed}` access scope."
                raise Failed(f"Access denied for {name} field. Required access: {words}", "ACCESS_DENIED", requiredAccess=words)
            if coordinate in PROTECTED:
                if call.shop.setup.refuses_protected:
                    raise Failed(
                        f"This app is not approved to use the {name} field. See "
                        "https://shopify.dev/docs/apps/launch/protected-customer-data for more details.",
                        "ACCESS_DENIED",
                        documentation="https://shopify.dev/docs/apps/launch/protected-customer-data",
                    )
                if call.shop.setup.redacts_customers:
                    return None
            return resolve(source, info, **arguments)

        return checked

    names = RESOLVERS.keys() | SCOPES.keys() | PROTECTED
    return {
        name: guard(name, RESOLVERS.get(name, default)) if name in SCOPES or name in PROTECTED else RESOLVERS[name]
        for name in names
    }


def key_in(text: str, kind: str) -> int | None:
    """The number in a global id of this kind; None for any other kind."""
    if not is_gid(text):
        raise Failed(f"Invalid global id '{text}'", "BAD_REQUEST")
    parts = text.partition("?")[0].split("/")
    return int(parts[4]) if parts[3] == kind and parts[4].isdigit() else None


# Lists

Field = Callable[[Any], Any]


def _orders_seen(call: Call, orders: Iterable[Order]) -> list[Order]:
    """Without read_all_orders only the last 60 days exist, and nothing says so. [memory]"""
    if "read_all_orders" in call.scopes:
        return list(orders)
    oldest = call.shop.now() - timedelta(days=60)
    return [order for order in orders if order.created_at >= oldest]


def _country(c: Customer) -> list[str]:
    return [text for address in c.own_addresses for text in (address.country, address.country_code) if text]


def customer_filters(call: Call) -> dict[str, Field]:
    shop = call.shop

    def last_order_at(c: Customer) -> datetime | None:
        return max((order.created_at for order in shop.orders_of(c)), default=None)

    return {
        "accepts_marketing": lambda c: c.email_consent.state == "SUBSCRIBED",
        "country": _country,
        "customer_date": lambda c: c.created_at,
        "created_at": lambda c: c.created_at,
        "email": lambda c: c.email,
        "first_name": lambda c: c.first_name,
        "id": lambda c: c.key,
        "last_name": lambda c: c.last_name,
        "order_date": last_order_at,
        "orders_count": lambda c: len(shop.orders_of(c)),
        "phone": lambda c: c.phone,
        "state": lambda c: c.state,
        "tag": lambda c: c.tags,
        "total_spent": lambda c: spent(shop, c),
        "updated_at": lambda c: c.updated_at,
    }


CUSTOMER_WORDS: list[Field] = [lambda c: c.display_name, lambda c: c.email, lambda c: c.phone]
ORDER_FILTERS: dict[str, Field] = {
    "cancelled_at": lambda o: o.cancelled_at,
    "created_at": lambda o: o.created_at,
    "customer_id": lambda o: o.customer_key,
    "discount_code": lambda o: o.discount_codes,
    "email": lambda o: o.email,
    "financial_status": lambda o: (o.display_financial_status or "").lower(),
    "fulfillment_status": lambda o: o.display_fulfillment_status.lower(),
    "id": lambda o: o.key,
    "name": lambda o: [o.name, str(o.number)],
    "processed_at": lambda o: o.processed_at,
    "source_name": lambda o: o.source_name,
    "status": lambda o: ["any", "cancelled" if o.cancelled_at else "closed" if o.closed else "open"],
    "tag": lambda o: o.tags,
    "test": lambda o: o.test,
    "updated_at": lambda o: o.updated_at,
}
PRODUCT_FILTERS: dict[str, Field] = {
    "created_at": lambda p: p.created_at,
    "handle": lambda p: p.handle,
    "id": lambda p: p.key,
    "product_type": lambda p: p.product_type,
    "sku": lambda p: [v.sku for v in p.own_variants if v.sku],
    "status": lambda p: p.status,
    "tag": lambda p: p.tags,
    "title": lambda p: p.title,
    "updated_at": lambda p: p.updated_at,
    "vendor": lambda p: p.vendor,
}
VARIANT_FILTERS: dict[str, Field] = {
    "barcode": lambda v: v.barcode,
    "id": lambda v: v.key,
    "product_id": lambda v: v.product_key,
    "sku": lambda v: v.sku,
    "title": lambda v: v.title,
    "updated_at": lambda v: v.updated_at,
}


def discount_filters(call: Call) -> dict[str, Field]:
    return {
        "code": lambda d: d.codes[0],  # codes added in bulk are not found [spec]
        "created_at": lambda d: d.created_at,
        "ends_at": lambda d: d.ends_at,
        "id": lambda d: d.key,
        "method": lambda d: "code",
        "starts_at": lambda d: d.starts_at,
        "status": lambda d: discount_status(d, call.shop.now()),
        "title": lambda d: d.title,
        "updated_at": lambda d: d.updated_at,
    }


ORDERS_BY: dict[str, Field] = {
    "CURRENT_TOTAL_PRICE": lambda o: o.current_total,
    "CUSTOMER_NAME": lambda o: o.email,
    "DESTINATION": lambda o: o.shipping_address.city if o.shipping_address else None,
    "FINANCIAL_STATUS": lambda o: o.display_financial_status,
    "FULFILLMENT_STATUS": lambda o: o.display_fulfillment_status,
    "ORDER_NUMBER": lambda o: o.number,
    "PO_NUMBER": lambda o: None,
    "PROCESSED_AT": lambda o: o.processed_at,
    "TOTAL_ITEMS_QUANTITY": lambda o: sum(line.quantity for line in o.lines),
    "TOTAL_PRICE": lambda o: o.total,
}
SORTED_BY: dict[str, Field] = {
    "ID": lambda r: r.key,
    "RELEVANCE": lambda r: r.key,
    "CREATED_AT": lambda r: r.created_at,
    "UPDATED_AT": lambda r: r.updated_at,
    "NAME": lambda c: f"{c.last_name or ''}, {c.first_name or ''}",
    "LOCATION": lambda c: c.default_address.formatted_area if c.default_address else None,
    "TITLE": lambda r: r.title,
    "SKU": lambda v: v.sku,
    "VENDOR": lambda p: p.vendor,
    "STARTS_AT": lambda d: d.starts_at,
    "ENDS_AT": lambda d: d.ends_at,
    "PRODUCT_TYPE": lambda p: p.product_type,
    "PUBLISHED_AT": lambda p: p.published_at,
    "INVENTORY_TOTAL": lambda p: p.total_inventory,
    "COMPLETED_AT": lambda o: o.completed_at,
    **ORDERS_BY,
}


def found(
    call: Call,
    info: Any,
    records: Iterable[Any],
    query: str | None,
    filters: Mapping[str, Field],
    *,
    words: Iterable[Field] = (),
    accepts: Mapping[str, set[str]] | None = None,
) -> list[Any]:
    """The records that a `query:` finds; warnings go to `extensions.search`.

    What changed within the last `index_seconds` is not found yet: recordings read back nothing right after a write.
    """
    if not (query or "").strip():
        return list(records)
    try:
        asked = search.compiled(query, filters, words, accepts=accepts or {})
    except search.BadSearch as problem:
        raise Failed(str(problem), "BAD_REQUEST") from None
    if asked.warnings:
        call.searches.append(asked.note(info.path.as_list()))
    if lag := call.shop.setup.index_seconds:
        fresh = call.shop.now() - timedelta(seconds=lag)
        records = [record for record in records if record.updated_at <= fresh]
    return [record for record in records if asked.matches(record)]


def listed(info: Any, records: Iterable[Any], arguments: Mapping[str, Any], default: str = "ID") -> Json:
    window = Window.of(arguments, is_bulk=info.context.is_bulk)
    return page(records, window, SORTED_BY[arguments.get("sortKey") or default])


def kept(info: Any, what: str, arguments: Mapping[str, Any], find: Callable[[], list[Any]], default: str) -> Json:
    """As `listed`, but one sorted list serves all pages until something in the shop changes."""
    call: Call = info.context
    window = Window.of(arguments, is_bulk=call.is_bulk)
    order, query = arguments.get("sortKey") or default, arguments.get("query")
    name = (what, order, window.reverse, query, call.shop.changes)
    if call.shop.setup.index_seconds or name not in call.lists:
        value = SORTED_BY[order]
        warned = len(call.searches)
        keyed = [((sortable(value(record)), record.key), record) for record in find()]
        keyed.sort(key=lambda pair: pair[0], reverse=window.reverse)
        if len(call.searches) > warned:
            return cut(keyed, window)  # a warning belongs to each answer
        call.lists.clear()
        call.lists[name] = keyed
        return cut(keyed, window)
    return cut(call.lists[name], window)


@resolves("QueryRoot.customers")
def customers(_: Any, info: Any, **arguments: Any) -> Json:
    call: Call = info.context

    def find() -> list[Any]:
        return found(
            call, info, call.shop.customers.values(), arguments.get("query"), customer_filters(call), words=CUSTOMER_WORDS
        )

    return kept(info, "customers", arguments, find, "ID")


@resolves("QueryRoot.orders")
def orders(_: Any, info: Any, **arguments: Any) -> Json:
    call: Call = info.context

    def find() -> list[Any]:
        seen = _orders_seen(call, call.shop.orders.values())
        return found(call, info, seen, arguments.get("query"), ORDER_FILTERS, words=[lambda o: o.name, lambda o: o.email])

    return kept(info, f"orders {'read_all_orders' in call.scopes}", arguments, find, "PROCESSED_AT")


@resolves("QueryRoot.products")
def products(_: Any, info: Any, **arguments: Any) -> Json:
    call: Call = info.context

    def find() -> list[Any]:
        return found(
            call, info, call.shop.products.values(), arguments.get("query"), PRODUCT_FILTERS, words=[lambda p: p.title]
        )

    return kept(info, "products", arguments, find, "ID")


@resolves("QueryRoot.productVariants")
def variants(_: Any, info: Any, **arguments: Any) -> Json:
    call: Call = info.context
    listing = found(call, info, call.shop.variants.values(), arguments.get("query"), VARIANT_FILTERS, words=[lambda v: v.title])
    return listed(info, listing, arguments)


@resolves("QueryRoot.discountNodes", "QueryRoot.codeDiscountNodes")
def discounts(_: Any, info: Any, **arguments: Any) -> Json:
    call: Call = info.context
    listing = found(
        call, info, call.shop.discounts.values(), arguments.get("query"), discount_filters(call), words=[lambda d: d.title]
    )
    return listed(info, listing, arguments)


def counted(info: Any, records: list[Any], limit: int | None) -> Json:
    """At most 10000 unless `limit: null`. [spec]"""
    if limit is not None and len(records) > limit:
        return {"count": limit, "precision": "AT_LEAST"}
    return {"count": len(records), "precision": "EXACT"}


@resolves("QueryRoot.customersCount")
def customers_count(_: Any, info: Any, query: str | None = None, limit: int | None = None) -> Json:
    """Knows three filters only and ignores the rest with a warning; no words without a name either. [recordings]"""
    call: Call = info.context
    filters = {name: f for name, f in customer_filters(call).items() if name in {"created_at", "id", "updated_at"}}
    return counted(info, found(call, info, call.shop.customers.values(), query, filters), limit)


@resolves("QueryRoot.ordersCount")
def orders_count(_: Any, info: Any, query: str | None = None, limit: int | None = None) -> Json:
    call: Call = info.context
    return counted(info, found(call, info, _orders_seen(call, call.shop.orders.values()), query, ORDER_FILTERS), limit)


# Single records


def by_id(call: Call, text: str) -> Any:
    """Whatever carries this global id, or None."""
    if not is_gid(text):
        raise Failed(f"Invalid global id '{text}'", "BAD_REQUEST")
    kind = text.split("/")[3]
    key = key_in(text, kind)
    shop = call.shop
    ordered = shop.orders.get(key or 0)
    if kind == "BulkOperation":
        return call.bulk.operations.get(key)
    if kind == "WebhookSubscription":
        return call.hooks.subscriptions.get(key)
    if kind in {"DiscountNode", "DiscountCodeNode"}:
        return shop.discounts.get(key or 0)
    tables: dict[str, dict[int, Any]] = {
        "Customer": shop.customers,
        "Order": {order.key: order for order in _orders_seen(call, [ordered] if ordered else [])},
        "Product": shop.products,
        "ProductVariant": shop.variants,
    }
    return tables.get(kind, {}).get(key or 0)


def _needs(call: Call, record: Any) -> None:
    """`node` does not open what `customer` keeps shut."""
    needed = {
        "Customer": "read_customers",
        "Order": "read_orders",
        "Product": "read_products",
        "ProductVariant": "read_products",
    }
    scope = needed.get(getattr(record, "kind", ""))
    if scope and not has_scope(call.scopes, scope):
        words = f"`{scope}` access scope."
        raise Failed(f"Access denied for node field. Required access: {words}", "ACCESS_DENIED", requiredAccess=words)


@resolves("QueryRoot.node")
def node(_: Any, info: Any, id: str) -> Any:  # noqa: A002  # GraphQL's word
    record = by_id(info.context, id)
    _needs(info.context, record)
    return record


@resolves("QueryRoot.nodes")
def nodes(_: Any, info: Any, ids: list[str]) -> list[Any]:
    return [node(None, info, id=one) for one in ids]


def _single(kind: str) -> Resolver:
    def resolve(_: Any, info: Any, id: str) -> Any:  # noqa: A002
        if key_in(id, kind) is None:
            raise Failed(f"Invalid id: {id}", "RESOURCE_NOT_FOUND")  # recorded for bulkOperation
        return by_id(info.context, id)

    return resolve


for _field, _kind in (
    ("customer", "Customer"),
    ("order", "Order"),
    ("product", "Product"),
    ("productVariant", "ProductVariant"),
    ("webhookSubscription", "WebhookSubscription"),
    ("bulkOperation", "BulkOperation"),
    ("codeDiscountNode", "DiscountCodeNode"),
):
    RESOLVERS[f"QueryRoot.{_field}"] = _single(_kind)


@resolves("QueryRoot.discountNode")
def discount_node(_: Any, info: Any, id: str) -> Any:  # noqa: A002
    return by_id(info.context, id)


@resolves("QueryRoot.customerByIdentifier")
def customer_by_identifier(_: Any, info: Any, identifier: Json) -> Customer | None:
    shop: Shop = info.context.shop
    if "id" in identifier:
        return shop.customer(key_in(identifier["id"], "Customer"))
    if "emailAddress" in identifier:
        return shop.by_email(identifier["emailAddress"])
    if "phoneNumber" in identifier:
        return shop.by_phone(identifier["phoneNumber"])
    raise Failed("Metafield definition of type 'id' is required when using custom ids.", "NOT_FOUND")


@resolves("QueryRoot.job")
def job(_: Any, info: Any, id: str) -> Json | None:  # noqa: A002
    return {"id": id, "done": True} if id in info.context.shop.jobs else None


@resolves("QueryRoot.shop", "CustomerDeletePayload.shop")
def shop_itself(_: Any, info: Any) -> Json:
    shop: Shop = info.context.shop
    setup = shop.setup
    offset = shop.now().astimezone(setup.zone).strftime("%z")
    return {
        "__typename": "Shop",
        "id": gid("Shop", shop.key),
        "name": setup.name,
        "myshopifyDomain": setup.domain,
        "url": f"https://{setup.domain}",
        "primaryDomain": {
            "__typename": "Domain",
            "id": gid("Domain", shop.key + 1),
            "host": setup.domain,
            "url": f"https://{setup.domain}",
            "sslEnabled": True,
        },
        "currencyCode": setup.currency,
        "enabledPresentmentCurrencies": sorted({setup.currency, "EUR", "SEK"}),
        "ianaTimezone": setup.timezone,
        "timezoneAbbreviation": shop.now().astimezone(setup.zone).strftime("%Z"),
        "timezoneOffset": offset,
        "timezoneOffsetMinutes": int(f"{offset[0]}1") * (int(offset[1:3]) * 60 + int(offset[3:])),
        "contactEmail": "butik@example.com",
        "email": "butik@example.com",
        "plan": {
            "displayName": "Basic",
            "partnerDevelopment": False,
            "publicDisplayName": "Basic",
            "shopifyPlus": setup.plan in {"plus", "enterprise"},
        },
        "taxesIncluded": True,
        "taxShipping": False,
        "createdAt": shop.created_at,
        "unitSystem": "METRIC_SYSTEM",
        "weightUnit": "KILOGRAMS",
    }


@resolves("QueryRoot.currentAppInstallation")
def installation(_: Any, info: Any) -> Json:
    call: Call = info.context
    return {
        "__typename": "AppInstallation",
        "id": gid("AppInstallation", 923076000000),
        "accessScopes": [
            {"handle": scope, "description": scope.replace("_", " ").capitalize()} for scope in sorted(call.scopes)
        ],
        "app": {
            "__typename": "App",
            "id": gid("App", APP_KEY),
            "title": "shopsync",
            "handle": "shopsync",
            "apiKey": call.client_id,
        },
    }


# Customers


def spent(shop: Shop, customer: Customer) -> Decimal:
    """What was paid and not given back, in the shop's currency, test orders left out. [memory]"""
    counted_ones = [o for o in shop.orders_of(customer) if not o.test and not o.cancelled_at]
    return sum(((o.received - o.refunded) / o.rate for o in counted_ones), Decimal(0)).quantize(Decimal("0.01"))


@resolves("Customer.amountSpent")
def amount_spent(customer: Customer, info: Any) -> Json:
    return money(spent(info.context.shop, customer), info.context.shop.setup.currency)


@resolves("Customer.numberOfOrders")
def number_of_orders(customer: Customer, info: Any) -> int:
    return len(info.context.shop.orders_of(customer))


@resolves("Customer.canDelete")
def can_delete(customer: Customer, info: Any) -> bool:
    return not info.context.shop.orders_of(customer)


@resolves("Customer.lifetimeDuration")
def lifetime_duration(customer: Customer, info: Any) -> str:
    return f"{(info.context.shop.now() - customer.created_at).days} days"


@resolves("Customer.orders")
def customer_orders(customer: Customer, info: Any, **arguments: Any) -> Json:
    call: Call = info.context
    seen = _orders_seen(call, call.shop.orders_of(customer))
    return listed(info, found(call, info, seen, arguments.get("query"), ORDER_FILTERS), arguments)


@resolves("Customer.lastOrder")
def last_order(customer: Customer, info: Any) -> Order | None:
    return max(_orders_seen(info.context, info.context.shop.orders_of(customer)), key=lambda o: o.created_at, default=None)


@resolves("Customer.addresses")
def addresses(customer: Customer, info: Any, first: int | None = None) -> list[Any]:
    return customer.own_addresses[:first]


@resolves("Customer.addressesV2")
def addresses_v2(customer: Customer, info: Any, **arguments: Any) -> Json:
    return listed(info, customer.own_addresses, arguments)


@resolves("Customer.validEmailAddress")
def valid_email_address(customer: Customer, info: Any) -> bool:
    return customer.email is not None


def _unsubscribe_url(customer: Customer, info: Any) -> str:
    return f"https://{info.context.shop.setup.domain}/account/unsubscribe?token={customer.key:x}"


RESOLVERS["Customer.unsubscribeUrl"] = _unsubscribe_url


@resolves("Customer.defaultEmailAddress")
def default_email_address(customer: Customer, info: Any) -> Json | None:
    if customer.email is None:
        return None
    consent = customer.email_consent
    return {
        "emailAddress": customer.email,
        "marketingState": "INVALID" if consent.state == "REDACTED" else consent.state,
        "marketingOptInLevel": consent.level,
        "marketingUpdatedAt": consent.updated_at,
        "marketingUnsubscribeUrl": _unsubscribe_url(customer, info),
        "openTrackingLevel": customer.open_tracking,
        "openTrackingUrl": f"https://{info.context.shop.setup.domain}/tools/open-tracking/{customer.key}",
        "validFormat": True,
        "sourceLocation": _location(consent),
    }


@resolves("Customer.defaultPhoneNumber")
def default_phone_number(customer: Customer, info: Any) -> Json | None:
    if customer.phone is None:
        return None
    consent = customer.sms_consent
    return {
        "phoneNumber": customer.phone,
        "marketingState": consent.state,
        "marketingOptInLevel": consent.level,
        "marketingUpdatedAt": consent.updated_at,
        "marketingCollectedFrom": "OTHER" if consent.updated_at else None,
        "sourceLocation": _location(consent),
    }


@resolves("Customer.emailMarketingConsent")
def email_marketing_consent(customer: Customer, info: Any) -> Json | None:
    return _consent_state(customer.email_consent) if customer.email else None


@resolves("Customer.smsMarketingConsent")
def sms_marketing_consent(customer: Customer, info: Any) -> Json | None:
    consent = customer.sms_consent
    collected = {"consentCollectedFrom": "OTHER" if consent.updated_at else None}
    return _consent_state(consent) | collected if customer.phone else None


def _consent_state(consent: Consent) -> Json:
    return {
        "marketingState": consent.state,
        "marketingOptInLevel": consent.level,
        "consentUpdatedAt": consent.updated_at,
        "sourceLocation": _location(consent),
    }


def _location(consent: Consent) -> Json | None:
    return {"__typename": "Location", "id": consent.location, "name": "Butiken"} if consent.location else None


# Metafields


@resolves("Metafield.key")
def metafield_key(metafield: Metafield, info: Any) -> str:
    return metafield.name


def _metafield(owner: Owner, info: Any, key: str, namespace: str | None = None) -> Metafield | None:
    """The key may carry its namespace: "custom.tier". [memory]"""
    if namespace is None and "." in key:
        namespace, _, key = key.partition(".")
    return owner.find_metafield((namespace or "$app").replace("$app", f"app--{APP_KEY}"), key)


def _metafields(
    owner: Owner, info: Any, *, namespace: str | None = None, keys: list[str] | None = None, **arguments: Any
) -> Json:
    chosen = [
        one
        for one in owner.own_metafields
        if namespace in {None, one.namespace} and (keys is None or f"{one.namespace}.{one.name}" in keys)
    ]
    return listed(info, chosen, arguments)


for _kind in ("Customer", "Order", "Product"):
    RESOLVERS[f"{_kind}.metafield"] = _metafield
    RESOLVERS[f"{_kind}.metafields"] = _metafields


# Products and discounts


@resolves("Product.variants")
def product_variants(product: Product, info: Any, **arguments: Any) -> Json:
    window = Window.of(arguments, is_bulk=info.context.is_bulk)
    return page(product.own_variants, window, lambda v: v.position)


@resolves("Product.variantsCount")
def variants_count(product: Product, info: Any) -> Json:
    return counted(info, product.own_variants, None)


@resolves("Product.priceRangeV2")
def price_range(product: Product, info: Any) -> Json:
    prices = [variant.price for variant in product.own_variants] or [Decimal(0)]
    currency = info.context.shop.setup.currency
    return {"minVariantPrice": money(min(prices), currency), "maxVariantPrice": money(max(prices), currency)}


@resolves("Product.onlineStoreUrl")
def online_store_url(product: Product, info: Any) -> str | None:
    return f"https://{info.context.shop.setup.domain}/products/{product.handle}" if product.status == "ACTIVE" else None


@resolves("Product.onlineStorePreviewUrl")
def online_store_preview_url(product: Product, info: Any) -> str:
    return f"https://{info.context.shop.setup.domain}/products_preview?preview_key={product.key:x}"


@resolves("Product.featuredMedia")
def featured_media(product: Product, info: Any) -> Json | None:
    if product.image is None:
        return None
    image = {"id": gid("ImageSource", product.key), "url": product.image, "altText": product.title, "width": 800, "height": 800}
    return {
        "__typename": "MediaImage",
        "id": gid("MediaImage", product.key),
        "alt": product.title,
        "preview": {"image": image},
        "mediaContentType": "IMAGE",
        "image": image,
    }


@resolves("ProductVariant.product")
def variant_product(variant: Variant, info: Any) -> Product:
    found_one: Product = info.context.shop.products[variant.product_key]
    return found_one


@resolves("ProductVariant.displayName")
def variant_display_name(variant: Variant, info: Any) -> str:
    return f"{info.context.shop.products[variant.product_key].title} - {variant.title}"


@resolves("ProductVariant.selectedOptions")
def selected_options(variant: Variant, info: Any) -> list[Json]:
    return [{"name": "Title" if variant.option == "Default Title" else "Size", "value": variant.option}]


def discount_status(discount: Discount, now: datetime) -> str:
    if discount.starts_at > now:
        return "SCHEDULED"
    return "EXPIRED" if discount.ends_at and discount.ends_at <= now else "ACTIVE"


@resolves("DiscountNode.discount", "DiscountCodeNode.codeDiscount")
def discount_itself(discount: Discount, info: Any) -> Json:
    """A union: the record with the name of its type."""
    shop: Shop = info.context.shop
    percent = discount.percent / 100
    return {
        "__typename": "DiscountCodeBasic",
        "record": discount,
        "title": discount.title,
        "status": discount_status(discount, shop.now()),
        "startsAt": discount.starts_at,
        "endsAt": discount.ends_at,
        "usageLimit": discount.usage_limit,
        "asyncUsageCount": discount.used,
        "appliesOncePerCustomer": discount.applies_once_per_customer,
        "codesCount": {"count": len(discount.codes), "precision": "EXACT"},
        "context": {"__typename": "DiscountCustomers", "customers": [shop.customers[key] for key in discount.only_for]}
        if discount.only_for
        else {"__typename": "DiscountBuyerSelectionAll", "all": "ALL"},
        "customerGets": {
            "items": {"__typename": "AllDiscountItems", "allItems": True},
            "value": {"__typename": "DiscountPercentage", "percentage": float(percent)},
        },
        "minimumRequirement": {
            "__typename": "DiscountMinimumSubtotal",
            "greaterThanOrEqualToSubtotal": money(discount.minimum_subtotal, shop.setup.currency),
        }
        if discount.minimum_subtotal
        else None,
        "shareableUrls": [
            {"title": "shop", "url": f"https://{shop.setup.domain}/discount/{code}"} for code in discount.codes[:1]
        ],
        "createdAt": discount.created_at,
        "updatedAt": discount.updated_at,
        "summary": f"{discount.percent}% off entire order",
        "shortSummary": f"{discount.percent}% off entire order",
    }


@resolves("DiscountNode.id")
def discount_node_id(discount: Discount, info: Any) -> str:
    return gid("DiscountNode", discount.key)


@resolves("DiscountCodeBasic.codes")
def discount_codes(value: Json, info: Any, **arguments: Any) -> Json:
    discount: Discount = value["record"]
    codes = [
        {
            "__typename": "DiscountRedeemCode",
            "id": gid("DiscountRedeemCode", discount.key + at),
            "code": code,
            "asyncUsageCount": 0,
        }
        for at, code in enumerate(discount.codes)
    ]
    window = Window.of(arguments, is_bulk=info.context.is_bulk)
    return page(codes, window, lambda c: c["id"], key=lambda c: int(c["id"].rpartition("/")[2]))


# Orders


@resolves("Order.customer")
def order_customer(order: Order, info: Any) -> Customer | None:
    found_one: Customer | None = info.context.shop.customer(order.customer_key)
    return found_one


def _with_order(order: Order, line: Line) -> Json:
    """A line needs its order for the currencies; it is resolved from a dict that names both."""
    bag = order.bag
    gross = line.price * line.quantity
    shares: list[Json] = []
    if gross != line.total:
        shares = [{"allocatedAmountSet": bag(gross - line.total), "discountApplication": _application(order)}]
    return {
        "__typename": "LineItem",
        "record": line,
        "id": line.id,
        "title": line.title,
        "name": line.name,
        "variantTitle": line.variant_title,
        "sku": line.sku,
        "vendor": line.vendor,
        "quantity": line.quantity,
        "currentQuantity": line.current_quantity,
        "originalUnitPriceSet": bag(line.price),
        "discountedUnitPriceSet": bag(line.price),
        "discountedUnitPriceAfterAllDiscountsSet": bag(line.total / line.quantity),
        "originalTotalSet": bag(gross),
        "discountedTotalSet": bag(gross),  # discounts on the whole order are not in it [spec]
        "totalDiscountSet": bag(Decimal(0)),
        "discountAllocations": shares,
        "isGiftCard": line.is_gift_card,
        "requiresShipping": line.requires_shipping,
        "taxable": line.taxable,
        "customAttributes": line.custom_attributes,
        "taxLines": [{"title": "VAT", "rate": 0.25, "ratePercentage": 25.0, "priceSet": bag(line.tax)}] if line.tax else [],
    }


def _application(order: Order) -> Json:
    return {
        "__typename": "DiscountCodeApplication",
        "allocationMethod": "ACROSS",
        "code": order.discount_code or "",
        "index": 0,
        "targetSelection": "ALL",
        "targetType": "LINE_ITEM",
        "value": {"__typename": "PricingPercentageValue", "percentage": float(order.percent)},
    }


@resolves("LineItem.product")
def line_product(line: Json, info: Any) -> Product | None:
    """Null once the product is deleted. [spec]"""
    found_one: Product | None = info.context.shop.products.get(line["record"].product_key)
    return found_one


@resolves("LineItem.variant")
def line_variant(line: Json, info: Any) -> Variant | None:
    found_one: Variant | None = info.context.shop.variants.get(line["record"].variant_key)
    return found_one


def _page_of(info: Any, items: list[Json], arguments: Mapping[str, Any]) -> Json:
    window = Window.of(arguments, is_bulk=info.context.is_bulk)
    keys = {id(item): at for at, item in enumerate(items, start=1)}
    return page(items, window, lambda item: keys[id(item)], key=lambda item: keys[id(item)])


@resolves("Order.lineItems")
def line_items(order: Order, info: Any, **arguments: Any) -> Json:
    return _page_of(info, [_with_order(order, line) for line in order.lines], arguments)


@resolves("Order.discountApplications")
def discount_applications(order: Order, info: Any, **arguments: Any) -> Json:
    return _page_of(info, [_application(order)] if order.discount_codes else [], arguments)


@resolves("Order.shippingLines")
def shipping_lines(order: Order, info: Any, **arguments: Any) -> Json:
    lines: list[Json] = []
    if order.shipping:
        lines = [{"id": gid("ShippingLine", order.key), "title": "Standard", "originalPriceSet": order.bag(order.shipping)}]
    return _page_of(info, lines, arguments)


@resolves("Order.transactions")
def transactions(order: Order, info: Any, first: int | None = None, **_: Any) -> list[Json]:
    made = [("SALE", order.processed_at, order.received)] if order.received else []
    made += [("REFUND", refund.created_at, refund.amount) for refund in order.own_refunds]
    return [
        {
            "__typename": "OrderTransaction",
            "id": gid("OrderTransaction", order.key + at),
            "kind": kind,
            "status": "SUCCESS",
            "gateway": "manual",
            "amountSet": order.bag(amount),
            "processedAt": when,
            "test": order.test,
        }
        for at, (kind, when, amount) in enumerate(made)
    ][:first]


@resolves("Order.refunds")
def refunds(order: Order, info: Any, first: int | None = None, **_: Any) -> list[Refund]:
    return order.own_refunds[:first]


@resolves("Refund.order")
def refund_order(refund: Refund, info: Any) -> Order:
    found_one: Order = info.context.shop.orders[refund.order_key]
    return found_one


@resolves("Refund.totalRefundedSet")
def total_refunded_set(refund: Refund, info: Any) -> Json:
    return refund_order(refund, info).bag(refund.amount)


@resolves("Refund.refundLineItems")
def refund_line_items(refund: Refund, info: Any, **arguments: Any) -> Json:
    order: Order = refund_order(refund, info)

    def shown(one: RefundLine) -> Json:
        return {
            "id": gid("RefundLineItem", one.key),
            "lineItem": _with_order(order, one.line),
            "quantity": one.quantity,
            "priceSet": order.bag(one.line.price),
            "subtotalSet": order.bag(one.subtotal),
            "totalTaxSet": order.bag(one.line.tax * one.quantity / one.line.quantity),
            "restockType": one.restock_type,
            "restocked": one.restock_type == "RETURN",
        }

    return _page_of(info, [shown(one) for one in refund.lines], arguments)


@resolves("Refund.orderAdjustments")
def order_adjustments(refund: Refund, info: Any, **arguments: Any) -> Json:
    """What was given back beyond the lines, as a negative amount. [memory]"""
    order: Order = refund_order(refund, info)
    rest = refund.amount - sum((one.subtotal for one in refund.lines), Decimal(0))
    made: list[Json] = []
    if rest:
        made = [
            {
                "__typename": "OrderAdjustment",
                "id": gid("OrderAdjustment", refund.key),
                "amountSet": order.bag(-rest),
                "taxAmountSet": order.bag(Decimal(0)),
                "reason": "REFUND_DISCREPANCY",
            }
        ]
    return _page_of(info, made, arguments)


# Mutations


def mutation(name: str, record: str) -> Callable[[Callable[..., Any]], Resolver]:
    """A mutation whose payload names the record it worked on and `userErrors`."""

    def wrap(function: Callable[..., Any]) -> Resolver:
        @functools.wraps(function)
        def resolve(_: Any, info: Any, **arguments: Any) -> Json:
            try:
                return {record: function(info.context, **arguments), "userErrors": []}
            except Refusal as refusal:
                return {record: None, "userErrors": refusal.errors}

        RESOLVERS[f"Mutation.{name}"] = resolve
        return resolve

    return wrap


@mutation("customerCreate", "customer")
def customer_create(call: Call, input: Json) -> Customer:  # noqa: A002
    return call.shop.create_customer(input)


@mutation("customerUpdate", "customer")
def customer_update(call: Call, input: Json) -> Customer:  # noqa: A002
    return call.shop.update_customer(key_in(input.get("id") or gid("Customer", 0), "Customer") or 0, input)


@mutation("customerDelete", "deletedCustomerId")
def customer_delete(call: Call, input: Json) -> str:  # noqa: A002
    call.shop.delete_customer(key_in(input["id"], "Customer") or 0)
    return str(input["id"])


@resolves("Mutation.customerMerge")
def customer_merge(_: Any, info: Any, customerOneId: str, customerTwoId: str) -> Json:  # noqa: N803
    shop: Shop = info.context.shop
    try:
        stays = shop.merge_customers(key_in(customerOneId, "Customer") or 0, key_in(customerTwoId, "Customer") or 0)
    except Refusal as refusal:
        return {"job": None, "resultingCustomerId": None, "userErrors": refusal.errors}
    name = gid("Job", f"00000000-0000-4000-8000-{shop.new_key():012d}")
    shop.jobs[name] = True
    return {"job": {"id": name, "done": False}, "resultingCustomerId": stays.id, "userErrors": []}


def _consent_mutation(field: str, change: Callable[[Shop, int, Json], Customer]) -> Resolver:
    """A refusal still shows the customer as it is, but for SMS. [recordings]"""

    def resolve(_: Any, info: Any, input: Json) -> Json:  # noqa: A002
        shop: Shop = info.context.shop
        key = key_in(input["customerId"], "Customer") or 0
        try:
            return {"customer": change(shop, key, input[field]), "userErrors": []}
        except Refusal as refusal:
            shown = shop.customer(key) if field == "emailMarketingConsent" else None
            return {"customer": shown, "userErrors": refusal.errors}

    return resolve


RESOLVERS["Mutation.customerEmailMarketingConsentUpdate"] = _consent_mutation("emailMarketingConsent", Shop.set_email_consent)
RESOLVERS["Mutation.customerSmsMarketingConsentUpdate"] = _consent_mutation("smsMarketingConsent", Shop.set_sms_consent)


def _owner(call: Call, text: str, field: list[str]) -> Owner:
    record = by_id(call, text)
    if not isinstance(record, Owner):
        raise Refusal(error(field, f"{text.split('/')[3]} does not exist"))
    scope = {"Customer": "write_customers", "Order": "write_orders", "Product": "write_products"}[record.kind]
    if scope not in call.scopes:
        words = f"`{scope}` access scope."
        raise Failed(f"Access denied. Required access: {words}", "ACCESS_DENIED", requiredAccess=words)
    return record


@mutation("tagsAdd", "node")
def tags_add(call: Call, id: str, tags: list[str]) -> Owner:  # noqa: A002
    owner = _owner(call, id, ["id"])
    call.shop.change_tags(owner, add=tags)
    return owner


@mutation("tagsRemove", "node")
def tags_remove(call: Call, id: str, tags: list[str]) -> Owner:  # noqa: A002
    owner = _owner(call, id, ["id"])
    call.shop.change_tags(owner, remove=tags)
    return owner


@mutation("metafieldsSet", "metafields")
def metafields_set(call: Call, metafields: list[Json]) -> list[Metafield]:
    owners = [_owner(call, one["ownerId"], ["metafields", str(at), "ownerId"]) for at, one in enumerate(metafields)]
    return call.shop.set_metafields(metafields, owners)


@mutation("metafieldsDelete", "deletedMetafields")
def metafields_delete(call: Call, metafields: list[Json]) -> list[Json | None]:
    gone: list[Json | None] = []
    for at, one in enumerate(metafields):
        owner = _owner(call, one["ownerId"], ["metafields", str(at), "ownerId"])
        held = owner.find_metafield(one["namespace"].replace("$app", f"app--{APP_KEY}"), one["key"])
        gone.append(dict(one) if held else None)
        if held:
            owner.own_metafields.remove(held)
            call.shop.touch(owner, f"{owner.kind.upper()}S_UPDATE{'D' if isinstance(owner, Order) else ''}")
    return gone
