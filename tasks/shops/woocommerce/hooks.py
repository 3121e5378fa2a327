"""WooCommerce's webhooks: signed deliveries in, what they are about, and our own put into the shop and taken out.

A delivery's body is made when it is sent, not when something happened: it may be an error or a bare id (observed on 11.0.1).
Its delivery id is shared by all that one webhook sends in a second, so there is none to tell repetitions by.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import orjson

from tasks.connector import Notice, Record, Webhook
from tasks.shaping import dig, identifier, text
from tasks.shops.woocommerce.wire import ShopApi
from tasks.signatures import is_signed

TOPICS = ("customer.created", "customer.updated", "customer.deleted", "order.created", "order.updated")
NAMES_ACCOUNT = {"customer": "id", "order": "customer_id"}


def webhook_secret(consumer_secret: str) -> str:
    """Ours alone and the same after a restart. Letters and digits only: WooCommerce decodes entities in a secret."""
    return hmac.new(consumer_secret.encode(), b"shopsync webhooks", hashlib.sha256).hexdigest()


def opened(headers: Mapping[str, str], body: bytes, secret: str) -> Webhook | None:
    """The ping of a new webhook has no signature; WooCommerce keeps the webhook though nobody thanks for the ping."""
    named = {name.lower(): value for name, value in headers.items()}
    if not is_signed(secret, body, named.get("x-wc-webhook-signature")):
        return None
    return Webhook(named.get("x-wc-webhook-topic", ""), None, body)


def notice(topic: str, body: bytes) -> Notice:
    """The account in customer.* and the buyer in order.*."""
    try:
        record = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Notice()
    number = identifier(dig(record, NAMES_ACCOUNT.get(topic.partition(".")[0], "")))
    return Notice((number,)) if number else Notice()


def connect(api: ShopApi, address: str, secret: str) -> None:
    """One webhook a topic. One that the shop gave up is made anew: put back to active, it ends at its next failure."""
    found = list(_ours(api, address))
    good = {text(hook.get("topic")): hook for hook in found if _is_good(hook, address)}
    create = [
        {"name": "shopsync", "topic": topic, "delivery_url": address, "secret": secret} for topic in TOPICS if topic not in good
    ]
    keep = {good[topic]["id"] for topic in TOPICS if topic in good}
    _change(api, create=create, delete=[hook["id"] for hook in found if hook["id"] not in keep])


def disconnect(api: ShopApi, address: str) -> None:
    _change(api, create=[], delete=[hook["id"] for hook in _ours(api, address)])


def _change(api: ShopApi, *, create: list[Record], delete: list[int]) -> None:
    if create or delete:
        api.call("POST", "/webhooks/batch", json={"create": create, "delete": delete})


def _ours(api: ShopApi, address: str) -> Iterator[Record]:
    for _, hooks in api.pages("/webhooks", {"orderby": "id", "order": "asc"}):
        yield from (hook for hook in hooks if urlsplit(str(hook.get("delivery_url"))).path == urlsplit(address).path)


def _is_good(hook: Record, address: str) -> bool:
    return hook.get("status") == "active" and hook.get("delivery_url") == address
