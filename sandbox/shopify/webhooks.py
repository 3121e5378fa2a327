"""Webhooks: what the app subscribed to, the bodies that are sent, and what becomes of them.

Signature, headers, time limits and retries are [docs]; names of topics and the shape of bodies, which are those of the old REST
API, are [memory]. Refusals of subscriptions are [recordings].
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import itertools
import re
import ssl
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import orjson

from sandbox.shopify.graph import Call
from sandbox.shopify.records import APP_KEY, Consent, Customer, Json, Order, Product, Record, Refund, gid
from sandbox.shopify.resolvers import found, key_in, listed, mutation, resolves
from sandbox.shopify.setup import VERSIONS
from sandbox.shopify.shop import Refusal, Shop, error

CONNECT_SECONDS, TOTAL_SECONDS = 1, 5
PRIVACY = ("customers/data_request", "customers/redact", "shop/redact")
_INTERNAL = re.compile(r"(^|\.)(shopify\.com|myshopify\.com|localhost)$|^127\.|^10\.|^192\.168\.")


@dataclass
class Subscription(Record):
    """`uri` is where to; `failures` counts those in a row."""

    kind = "WebhookSubscription"
    topic: str
    uri: str
    created_at: datetime
    updated_at: datetime
    format: str = "JSON"
    filter: str | None = None
    include_fields: list[str] = field(default_factory=list)
    metafield_namespaces: list[str] = field(default_factory=list)
    name: str | None = None
    failures: int = 0

    @property
    def callback_url(self) -> str:
        return self.uri

    @property
    def endpoint(self) -> Json:
        return {"__typename": "WebhookHttpEndpoint", "callbackUrl": self.uri}

    @property
    def api_version(self) -> Json:
        return {"handle": VERSIONS[-1], "displayName": f"{VERSIONS[-1]} (Latest)", "supported": True}


@dataclass
class Delivery:
    """One message on its way. `webhook_id` stays on retries, `event_id` is the same for all subscriptions."""

    topic: str
    uri: str
    body: bytes
    triggered_at: datetime
    webhook_id: str
    event_id: str
    subscription: int | None = None
    tries: int = 0


def topic_name(topic: str) -> str:
    """CUSTOMERS_UPDATE is called customers/update on the wire. [memory]"""
    named = {
        "APP_SCOPES_UPDATE": "app/scopes_update",
        "CUSTOMER_TAGS_ADDED": "customer.tags_added",
        "CUSTOMER_TAGS_REMOVED": "customer.tags_removed",
    }
    what, _, happened = topic.rpartition("_")
    return named.get(topic, f"{what.lower()}/{happened.lower()}")


class Webhooks:
    """`queue` are the deliveries that wait; `deliver` sends them once each, and what failed waits for the next turn."""

    def __init__(
        self, shop: Shop, lock: threading.RLock, secret: Callable[[], str], privacy_uri: Callable[[], str | None]
    ) -> None:
        self.shop, self.lock, self.secret, self.privacy_uri = shop, lock, secret, privacy_uri
        self.subscriptions: dict[int | None, Subscription] = {}
        self.queue: list[Delivery] = []
        self.delivered: list[Json] = []
        self._keys = itertools.count(1_927_961_477_426, 32_768)

    # Subscribing

    def subscribe(self, topic: str, asked: Json) -> Subscription:
        uri = self._checked(topic, asked, None)
        now = self.shop.now()
        made = Subscription(next(self._keys), topic, uri, now, now)
        self._fill(made, asked)
        self.subscriptions[made.key] = made
        return made

    def change(self, key: int | None, asked: Json) -> Subscription:
        held = self.subscriptions.get(key)
        if held is None:
            raise Refusal(error(["id"], "Webhook subscription does not exist"))
        held.uri = self._checked(held.topic, {"uri": held.uri} | asked, held)
        self._fill(held, asked)
        held.updated_at = self.shop.now()
        return held

    def _checked(self, topic: str, asked: Json, but_for: Subscription | None) -> str:
        uri = asked.get("uri") or asked.get("callbackUrl") or ""
        path = ["webhookSubscription", "callbackUrl"]
        if not uri.strip():
            raise Refusal(error(path, "Address can't be blank"))
        if len(uri.encode()) > 65535:
            raise Refusal(error(path, "Address is too big (maximum is 64 KB)"))
        target = urlsplit(uri)
        host = target.hostname or ""
        # A receiver of the sandbox is on this machine and speaks http; everybody else is held to the platform's rule.
        if host not in {"127.0.0.1", "localhost"}:
            if target.scheme != "https":
                raise Refusal(error(path, f"Address protocol {target.scheme}:// is not supported"))
            if not host:
                raise Refusal(error(path, "Address is invalid"))
            if _INTERNAL.search(host):
                raise Refusal(error(path, "Address cannot be a Shopify or an internal domain"))
        name = asked.get("name")
        if name is not None:
            self._check_name(name, but_for)
        words = (asked.get("filter") or "").split()
        if any(":" not in word and word not in {"AND", "OR", "NOT"} for word in words):
            sentence = "The specified filter is invalid, please ensure you specify the field(s) you wish to filter on."
            raise Refusal(error(["webhookSubscription"], sentence))
        for other in self.subscriptions.values():
            same = (other.topic, other.uri, other.filter, other.format) == (
                topic,
                uri,
                asked.get("filter"),
                asked.get("format") or "JSON",
            )
            if other is not but_for and same:
                raise Refusal(error(path, "Address for this topic has already been taken"))
        return str(uri)

    def _check_name(self, name: str, but_for: Subscription | None) -> None:
        path = ["webhookSubscription", "name"]
        if not name:
            raise Refusal(
                error(path, "Name is too short (minimum is 1 character)"),
                error(path, "Name name field can only contain alphanumeric characters, underscores, and hyphens"),
            )
        if not re.fullmatch(r"[\w-]+", name):
            words = "Name name field can only contain alphanumeric characters, underscores, and hyphens"
            raise Refusal(error(path, words))
        if any((other.name or "").lower() == name.lower() and other is not but_for for other in self.subscriptions.values()):
            raise Refusal(error(path, "Name already exists, no duplicate allowed"))

    @staticmethod
    def _fill(held: Subscription, asked: Json) -> None:
        held.format = asked.get("format") or held.format
        held.filter = asked.get("filter", held.filter)
        held.include_fields = held.include_fields if asked.get("includeFields") is None else asked["includeFields"]
        if asked.get("metafieldNamespaces") is not None:
            own = f"app--{APP_KEY}--"
            held.metafield_namespaces = [name.replace("$app:", own, 1) for name in asked["metafieldNamespaces"]]
        held.name = asked.get("name", held.name)

    # Happening

    def happened(self, topic: str, record: Any, **more: Any) -> None:
        """Something the shop tells of; the body is made now and stays the same on retries. [docs]"""
        event = str(uuid.uuid4())
        for one in self.subscriptions.values():
            if one.topic == topic:
                body = body_of(self.shop, topic, record, more)
                if one.include_fields:
                    body = {name: value for name, value in body.items() if name in one.include_fields}
                self._put(topic_name(topic), one.uri, body, event, one.key)

    def privacy(self, topic: str, body: Json) -> None:
        """The three that nobody can subscribe to; their address stands in the app's settings. [docs privacy-law-compliance]"""
        uri = self.privacy_uri()
        if uri:
            shop = {"shop_id": self.shop.key, "shop_domain": self.shop.setup.domain}
            self._put(topic, uri, shop | body, str(uuid.uuid4()), None)

    def _put(self, topic: str, uri: str, body: Json, event: str, subscription: int | None) -> None:
        made = Delivery(topic, uri, orjson.dumps(body), self.shop.now(), str(uuid.uuid4()), event, subscription)
        self.queue.append(made)

    def deliver(self) -> list[Json]:
        """One turn; returns what became of each message."""
        with self.lock:
            waiting, self.queue = self.queue, []
        report = []
        for one in waiting:
            status = self._post(one)
            with self.lock:
                report.append(self._settle(one, status))
        return report

    def _settle(self, one: Delivery, status: int) -> Json:
        one.tries += 1
        held = self.subscriptions.get(one.subscription)
        is_good = 200 <= status < 300
        if held is not None:
            held.failures = 0 if is_good else held.failures + 1
            if held.failures >= self.shop.setup.webhook_failures:
                del self.subscriptions[held.key]
                self.queue = [other for other in self.queue if other.subscription != held.key]
        is_over = one.tries >= self.shop.setup.webhook_failures or (one.subscription is not None and held is None)
        if not is_good and not is_over and (held is None or held.key in self.subscriptions):
            self.queue.append(one)
        entry = {"topic": one.topic, "uri": one.uri, "status": status, "webhook_id": one.webhook_id, "event_id": one.event_id}
        self.delivered.append(entry)
        return entry

    def _post(self, one: Delivery) -> int:
        """The receiver's status, 0 where none came. Redirects count as failures and are not followed. [docs]"""
        target = urlsplit(one.uri)
        connection: http.client.HTTPConnection
        if target.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # receivers here have made-up certificates
            connection = http.client.HTTPSConnection(target.netloc, timeout=TOTAL_SECONDS, context=context)
        else:
            connection = http.client.HTTPConnection(target.netloc, timeout=TOTAL_SECONDS)
        signature = base64.b64encode(hmac.new(self.secret().encode(), one.body, hashlib.sha256).digest()).decode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Shopify-Captain-Hook",
            "X-Shopify-API-Version": VERSIONS[-1],
            "X-Shopify-Event-Id": one.event_id,
            "X-Shopify-Hmac-Sha256": signature,
            "X-Shopify-Shop-Domain": self.shop.setup.domain,
            "X-Shopify-Topic": one.topic,
            "X-Shopify-Triggered-At": one.triggered_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "X-Shopify-Webhook-Id": one.webhook_id,
        }
        try:
            connection.request("POST", (target.path or "/") + (f"?{target.query}" if target.query else ""), one.body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


# Bodies


def body_of(shop: Shop, topic: str, record: Any, more: Json) -> Json:
    if topic == "BULK_OPERATIONS_FINISH":
        return {
            "admin_graphql_api_id": record.id,
            "completed_at": _at(shop, record.completed_at),
            "created_at": _at(shop, record.created_at),
            "error_code": record.error_code.lower() if record.error_code else None,
            "status": record.status.lower(),
            "type": "query",
        }
    if topic.startswith("CUSTOMER_TAGS"):
        return {"customerId": record.id, "tags": more["tags"], "occurredAt": _at(shop, shop.now())}
    if topic == "CUSTOMERS_MERGE":
        return {
            "admin_graphql_api_customer_kept_id": record.id,
            "admin_graphql_api_customer_deleted_id": more["gone"].id,
            "admin_graphql_api_job_id": None,
            "status": "completed",
            "errors": [],
        }
    if topic == "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE":
        return {
            "customer_id": record.key,
            "email_address": record.email,
            "email_marketing_consent": _consent(shop, record.email_consent),
        }
    if topic == "CUSTOMERS_MARKETING_CONSENT_UPDATE":
        consent = _consent(shop, record.sms_consent) | {"consent_collected_from": "OTHER"}
        return {"id": record.key, "phone": record.phone, "sms_marketing_consent": consent}
    if topic.endswith("_DELETE"):
        return {"id": record.key, "admin_graphql_api_id": record.id}
    return _whole(shop, record)


def _whole(shop: Shop, record: Any) -> Json:
    if isinstance(record, Customer):
        return customer_body(shop, record)
    if isinstance(record, Order):
        return order_body(shop, record)
    if isinstance(record, Product):
        return _times(shop, record) | {"title": record.title, "handle": record.handle, "status": record.status.lower()}
    if isinstance(record, Refund):
        return {
            "id": record.key,
            "admin_graphql_api_id": record.id,
            "order_id": record.order_key,
            "created_at": _at(shop, record.created_at),
            "note": record.note,
            "refund_line_items": [
                {"id": one.key, "line_item_id": one.line.key, "quantity": one.quantity, "subtotal": str(one.subtotal)}
                for one in record.lines
            ],
        }
    return {"id": shop.key, "name": shop.setup.name, "myshopify_domain": shop.setup.domain}


def customer_body(shop: Shop, customer: Customer) -> Json:
    return _times(shop, customer) | {
        "email": customer.email,
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "phone": customer.phone,
        "state": customer.state.lower(),
        "note": customer.note,
        "verified_email": customer.verified_email,
        "tags": ", ".join(customer.tags),
        "email_marketing_consent": _consent(shop, customer.email_consent) if customer.email else None,
        "sms_marketing_consent": _consent(shop, customer.sms_consent) if customer.phone else None,
    }


def order_body(shop: Shop, order: Order) -> Json:
    held = shop.customer(order.customer_key)
    return _times(shop, order) | {
        "name": order.name,
        "order_number": order.number,
        "email": order.email or "",
        "phone": order.phone,
        "currency": order.currency_code,
        "presentment_currency": order.presentment_currency_code,
        "total_price": str(order.total),
        "financial_status": (order.display_financial_status or "").lower() or None,
        "cancelled_at": _at(shop, order.cancelled_at),
        "test": order.test,
        "buyer_accepts_marketing": order.customer_accepts_marketing,
        "customer": customer_body(shop, held) if held else None,
        "line_items": [
            {"id": line.key, "title": line.title, "quantity": line.quantity, "price": str(line.price), "sku": line.sku}
            for line in order.lines
        ],
    }


def _times(shop: Shop, record: Any) -> Json:
    return {
        "id": record.key,
        "admin_graphql_api_id": record.id,
        "created_at": _at(shop, record.created_at),
        "updated_at": _at(shop, record.updated_at),
    }


def _at(shop: Shop, at: datetime | None) -> str | None:
    """With the shop's offset, unlike GraphQL. [memory]"""
    return at.astimezone(shop.setup.zone).isoformat(timespec="seconds") if at else None


def _consent(shop: Shop, consent: Consent) -> Json:
    return {
        "state": consent.state.lower(),
        "opt_in_level": consent.level.lower() if consent.level else None,
        "consent_updated_at": _at(shop, consent.updated_at),
    }


# GraphQL


@mutation("webhookSubscriptionCreate", "webhookSubscription")
def webhook_subscription_create(call: Call, topic: str, webhookSubscription: Json) -> Subscription:  # noqa: N803
    return call.hooks.subscribe(topic, webhookSubscription)


@mutation("webhookSubscriptionUpdate", "webhookSubscription")
def webhook_subscription_update(call: Call, id: str, webhookSubscription: Json) -> Subscription:  # noqa: A002, N803
    return call.hooks.change(key_in(id, "WebhookSubscription"), webhookSubscription)


@mutation("webhookSubscriptionDelete", "deletedWebhookSubscriptionId")
def webhook_subscription_delete(call: Call, id: str) -> str:  # noqa: A002
    key = key_in(id, "WebhookSubscription")
    if key not in call.hooks.subscriptions:
        raise Refusal(error(["id"], "Webhook subscription does not exist"))
    del call.hooks.subscriptions[key]
    return gid("WebhookSubscription", key or 0)


_FILTERS: dict[str, Callable[[Any], Any]] = {
    "created_at": lambda one: one.created_at,
    "id": lambda one: one.key,
    "updated_at": lambda one: one.updated_at,
}


@resolves("QueryRoot.webhookSubscriptions")
def webhook_subscriptions(
    _: Any,
    info: Any,
    *,
    topics: list[str] | None = None,
    uri: str | None = None,
    callbackUrl: str | None = None,  # noqa: N803
    format: str | None = None,  # noqa: A002
    **arguments: Any,
) -> Json:
    call: Call = info.context
    chosen = [
        one
        for one in call.hooks.subscriptions.values()
        if (topics is None or one.topic in topics) and (uri or callbackUrl) in {None, one.uri} and format in {None, one.format}
    ]
    return listed(info, found(call, info, chosen, arguments.get("query"), _FILTERS), arguments, "CREATED_AT")
