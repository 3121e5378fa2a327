"""WooCommerce's webhooks: queued at the event, made and signed at delivery, counted when they fail.

Nothing is sent until somebody turns the crank, as on a shop whose wp-cron nobody calls: `deliver` does, one queue's worth.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ipaddress
import itertools
import random
import re
import ssl
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import RLock
from typing import Any
from urllib.parse import urlsplit

from sandbox.woocommerce.records import Site
from sandbox.woocommerce.wordpress import RestError, php_json

RESOURCES = ("coupon", "customer", "order", "product")
EVENTS = ("created", "updated", "deleted", "restored")
STATUSES = ("active", "paused", "disabled")
WORDPRESS = {11: "7.1", 8: "6.3", 3: "6.2"}
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#039;": "'", "&#39;": "'", "&#x27;": "'"}


@dataclass(slots=True)
class Webhook:
    """`is_pending`: the first ping has not been answered well yet, so every save sends it again (observed)."""

    id: int
    name: str
    topic: str
    delivery_url: str
    secret: str
    created: datetime
    modified: datetime
    status: str = "active"
    failures: int = 0
    is_pending: bool = True

    def json(self, site: Site) -> dict[str, Any]:
        """Never the secret (observed), nor the count of failures."""
        resource, _, event = self.topic.partition(".")
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "topic": self.topic,
            "resource": resource,
            "event": event,
            "hooks": [f"woocommerce_{event}_{resource}"],
            "delivery_url": self.delivery_url,
            **site.stamps("date_created", self.created),
            **site.stamps("date_modified", self.modified),
            "_links": site.links("webhooks", self.id),
        }


class Webhooks:
    """The shop's webhooks and their queue.

    `body_of(resource, id)` is what a GET by the webhook's owner answers at that moment, an error's body included. `lock` guards
    the shop while bodies are made; it is never held while a receiver is called, so that a receiver may ask the shop back.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        site: Callable[[], Site],
        body_of: Callable[[str, int], dict[str, Any]],
        lock: RLock,
        reaches_private_hosts: bool,
        timeout: float,
        seed: int,
    ) -> None:
        self.now, self.site, self.body_of, self.lock = now, site, body_of, lock
        self.reaches_private_hosts, self.timeout = reaches_private_hosts, timeout
        self.hooks: dict[int, Webhook] = {}
        self.queue: dict[tuple[int, int], None] = {}  # in order, each once
        self.delivered: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._random = random.Random(seed)

    def get(self, number: int, status: int = 404) -> Webhook:
        if number not in self.hooks:
            raise RestError(
                status, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID." if status == 404 else "ID is invalid."
            )
        return self.hooks[number]

    def create(self, asked: Mapping[str, Any]) -> Webhook:
        if asked.get("id"):
            raise RestError(400, "woocommerce_rest_shop_webhook_exists", "Cannot create existing shop_webhook.")
        topic, url = str(asked.get("topic") or ""), str(asked.get("delivery_url") or "")
        self._check(topic, url, "Webhook topic is required and must be valid.")
        now = self.now()
        # Observed: without a secret the shop makes a random one of 50 characters that nobody can read by REST.
        secret = str(asked.get("secret") or "") or "".join(self._random.choices(string.ascii_letters + string.digits, k=50))
        name = str(asked.get("name") or f"Webhook created on {now:%b %d, %Y @ %I:%M %p}")
        # Whatever status is asked for, creating by REST makes an active one.
        hook = Webhook(next(self._ids), name, topic, url, secret, now, now)
        self.hooks[hook.id] = hook
        return hook

    def update(self, number: int, asked: Mapping[str, Any]) -> Webhook:
        """Re-enabling leaves the count of failures at 6: one more disables it again (observed)."""
        hook = self.get(number, 400)
        topic, url = str(asked.get("topic") or hook.topic), str(asked.get("delivery_url") or hook.delivery_url)
        self._check(topic, url, "Webhook topic must be valid.")
        hook.topic, hook.delivery_url = topic, url
        if asked.get("status"):
            if asked["status"] not in STATUSES:
                raise RestError(400, "woocommerce_rest_shop_webhook_invalid_status", "Webhook status must be valid.")
            hook.status = str(asked["status"])
        hook.secret = str(asked.get("secret") or hook.secret)
        hook.name = str(asked.get("name") or hook.name)
        hook.modified = self.now()
        return hook

    def delete(self, number: int, *, is_forced: bool) -> Webhook:
        if not is_forced:
            raise RestError(501, "woocommerce_rest_trash_not_supported", "Webhooks do not support trashing.")
        hook = self.get(number)
        del self.hooks[number]
        return hook

    @staticmethod
    def _check(topic: str, url: str, sentence: str) -> None:
        resource, _, event = topic.lower().partition(".")
        if not ((resource in RESOURCES and event in EVENTS) or (resource == "action" and event)):
            raise RestError(400, "woocommerce_rest_shop_webhook_invalid_topic", sentence)
        if not re.match(r"https?://[^\s/]", url):
            raise RestError(
                400,
                "woocommerce_rest_shop_webhook_invalid_delivery_url",
                "Webhook delivery URL must be a valid URL starting with http:// or https://.",
            )

    def happened(self, topic: str, number: int) -> None:
        """Several of one kind before the next delivery make one (observed)."""
        for hook in self.hooks.values():
            if hook.topic == topic and hook.status == "active":
                self.queue.setdefault((hook.id, number))

    def deliver(self) -> list[dict[str, Any]]:
        """Send what is queued now; what happens meanwhile waits for the next turn. Returns one entry per delivery."""
        with self.lock:
            waiting = list(self.queue)
            self.queue.clear()
        report = []
        for hook_id, number in waiting:
            with self.lock:
                hook = self.hooks.get(hook_id)
                if hook is None:
                    continue
                body, headers = self._message(hook, number)
            status = self._post(hook.delivery_url, headers, body)
            with self.lock:
                entry = {
                    "webhook_id": hook.id,
                    "topic": hook.topic,
                    "id": number,
                    "status": status,
                    "delivery_id": headers["X-WC-Webhook-Delivery-ID"],
                }
                self._count(hook, status)
                self.delivered.append(entry)
                report.append(entry)
            if hook.is_pending:
                self.ping(hook)
        return report

    def _message(self, hook: Webhook, number: int) -> tuple[bytes, dict[str, str]]:
        """The body is made now, not at the event: what was trashed meanwhile says so, what is gone is an error (observed)."""
        resource, _, event = hook.topic.partition(".")
        body = php_json({"id": number} if event == "deleted" else self.body_of(resource, number))
        secret = re.sub("|".join(map(re.escape, _ENTITIES)), lambda m: _ENTITIES[m[0]], hook.secret)  # observed
        # A hash of webhook and second: two orders of one second share it (observed).
        delivery = hashlib.md5(f"salt{hook.id}{self.now():%Y%m%d%H%M%S}".encode()).hexdigest()
        return body, {
            "Content-Type": "application/json",
            "X-WC-Webhook-Source": f"{self.site().home}/",
            "X-WC-Webhook-Topic": hook.topic,
            "X-WC-Webhook-Resource": resource,
            "X-WC-Webhook-Event": event,
            "X-WC-Webhook-Signature": base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode(),
            "X-WC-Webhook-ID": str(hook.id),
            "X-WC-Webhook-Delivery-ID": delivery,
        }

    @staticmethod
    def _count(hook: Webhook, status: int) -> None:
        """2xx, 301 and 302 are good and reset the count; the seventh failure in a row disables for good (observed)."""
        if 200 <= status < 303:
            hook.failures = 0
        elif hook.failures > 5:
            hook.status = "disabled"
        else:
            hook.failures += 1

    def ping(self, hook: Webhook) -> None:
        """A form, without any X-WC header or signature; only a 200 settles it (observed)."""
        if hook.is_pending:
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            hook.is_pending = self._post(hook.delivery_url, headers, f"webhook_id={hook.id}".encode()) != 200

    def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The receiver's status, or 0 where none came. Redirects are not followed."""
        target = urlsplit(url)
        if not self.reaches_private_hosts and _is_unsafe(target.hostname or "", target.port):
            return 0  # "A valid URL was not provided.", and nobody is told (observed)
        connection: http.client.HTTPConnection
        if target.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # receivers here have made-up certificates
            connection = http.client.HTTPSConnection(target.netloc, timeout=self.timeout, context=context)
        else:
            connection = http.client.HTTPConnection(target.netloc, timeout=self.timeout)
        version = self.site().version
        agent = f"WooCommerce/{'.'.join(map(str, version))} Hookshot (WordPress/{WORDPRESS.get(version[0], '6.5')})"
        try:
            common = {"User-Agent": agent, "Accept": "*/*", "Accept-Encoding": "deflate, gzip, br, zstd", "Connection": "close"}
            connection.request(
                "POST", (target.path or "/") + (f"?{target.query}" if target.query else ""), body, common | dict(headers)
            )
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def _is_unsafe(host: str, port: int | None) -> bool:
    """wp_safe_remote_request(): no loopback or private hosts, no ports but these (observed)."""
    if port not in {None, 80, 443, 8080}:
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
