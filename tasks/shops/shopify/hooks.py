"""Shopify's webhooks: signed deliveries in, what they are about, and our own put into the shop and taken out.

Facts: shopify.dev on webhooks and on privacy law compliance (read 2026-11), and recorded answers. A delivery says what was true
when something happened, in no order, and is repeated for four hours: the account in it is read again. The three privacy topics
cannot be subscribed to here: their address stands in the app's settings at Shopify.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import orjson

from tasks.connector import Notice, PrivacyRequest, Record, SetupError, Webhook
from tasks.shaping import dig, items, text
from tasks.shops.shopify.queries import CREATE_WEBHOOK, DELETE_WEBHOOK, WEBHOOKS, Change
from tasks.shops.shopify.shapes import number
from tasks.shops.shopify.wire import ShopApi, first_error
from tasks.signatures import is_signed

TOPICS = (
    "CUSTOMERS_CREATE",
    "CUSTOMERS_UPDATE",
    "CUSTOMERS_DELETE",
    "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE",
    "CUSTOMERS_MARKETING_CONSENT_UPDATE",  # that of text messages
    "ORDERS_CREATE",
    "ORDERS_UPDATED",
)
MERGE = "CUSTOMERS_MERGE"
MERGE_SCOPE = "read_customer_merge"

NAMES_ACCOUNT = {
    "customers": (("id",),),
    "customers/merge": (("admin_graphql_api_customer_kept_id",), ("admin_graphql_api_customer_deleted_id",)),
    "customers_email_marketing_consent": (("customer_id",),),
    "customers_marketing_consent": (("customer_id",), ("id",)),
    "orders": (("customer", "id"),),
}
"""Where a topic, or else all of its kind, names accounts. [field names: memory; what is not found is not concluded from]"""

REQUESTS = ("customers/data_request", "customers/redact", "shop/redact")


def opened(headers: Mapping[str, str], body: bytes, secret: str | None, domain: str) -> Webhook | None:
    """One app's secret signs for all shops that it is installed in, so the shop's name has to fit, too."""
    named = {name.lower(): value for name, value in headers.items()}
    if not secret or not is_signed(secret, body, named.get("x-shopify-hmac-sha256")):
        return None
    if named.get("x-shopify-shop-domain", domain) != domain:
        return None
    return Webhook(named.get("x-shopify-topic", ""), named.get("x-shopify-webhook-id"), body)


def notice(topic: str, body: bytes) -> Notice:
    """The accounts in customers/* and the buyer in orders/*; what a person, or a merchant who left, asks for."""
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Notice()
    if topic in REQUESTS:
        return Notice(request=_request(topic, record))
    places = NAMES_ACCOUNT.get(topic) or NAMES_ACCOUNT.get(topic.partition("/")[0], ())
    found = dict.fromkeys(filter(None, (number(dig(record, *place)) for place in places)))
    return Notice(tuple(found))


def _request(topic: str, record: object) -> PrivacyRequest | None:
    """A request about a person who is not named must not become one about the whole shop."""
    if topic == "shop/redact":
        return PrivacyRequest("erase")
    customer_id, email = number(dig(record, "customer", "id")), text(dig(record, "customer", "email"))
    if not customer_id and not email:
        return None
    return PrivacyRequest("export" if topic == "customers/data_request" else "erase", customer_id, email)


def connect(api: ShopApi, address: str) -> None:
    """One subscription a topic. One that Shopify gave up after eight failures is gone from its list, and so made anew."""
    if urlsplit(address).scheme != "https":
        raise SetupError(f"{api.name} sends webhooks to https only: give the receiver an address that begins with https://.")
    topics = (*TOPICS, MERGE) if MERGE_SCOPE in api.scopes else TOPICS
    found = list(_ours(api, address))
    good = {text(hook.get("topic")): hook["id"] for hook in found if hook.get("uri") == address}
    keep = {good[topic] for topic in topics if topic in good}
    subscription = {"uri": address, "format": "JSON"}
    _change(
        api,
        [Change(DELETE_WEBHOOK, {"id": hook["id"]}) for hook in found if hook["id"] not in keep]
        + [
            Change(CREATE_WEBHOOK, {"topic": topic, "webhookSubscription": subscription})
            for topic in topics
            if topic not in good
        ],
    )


def disconnect(api: ShopApi, address: str) -> None:
    _change(api, [Change(DELETE_WEBHOOK, {"id": hook["id"]}) for hook in _ours(api, address)])


def _change(api: ShopApi, changes: list[Change]) -> None:
    for answer in api.change(changes, repeatable=True):
        error = first_error(answer)
        # Both mean that a repeated call finds its work done.
        if error and not any(word in error[1] for word in ("already been taken", "does not exist")):
            raise SetupError(f"{api.name} does not take our webhooks: {error[1]}.")


def _ours(api: ShopApi, address: str) -> Iterator[Record]:
    after = None
    while True:
        listed = api.call(WEBHOOKS, {"after": after}).data.get("webhookSubscriptions")
        for hook in items(listed, "nodes"):
            if urlsplit(text(dig(hook, "uri")) or "").path == urlsplit(address).path:
                yield hook
        if not dig(listed, "pageInfo", "hasNextPage"):
            return
        after = dig(listed, "pageInfo", "endCursor")
