"""Shopify: consent has a state, a level and a time, every buyer is a customer, tokens end after a day."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import bench
import orjson
from bench import NOW, Answer, Order

from sandbox.server import Fault, utc_now
from sandbox.shopify import Setup, Shopify
from sandbox.shopify.cost import Bucket
from sandbox.shopify.records import Consent, Discount, Product, Variant
from tasks.connector import PrivacyRequest, Shop

STATES: dict[Answer | None, str] = {"in": "SUBSCRIBED", "out": "UNSUBSCRIBED", None: "NOT_SUBSCRIBED"}
SAID: dict[str, Answer] = {"SUBSCRIBED": "in", "UNSUBSCRIBED": "out"}
THROTTLED = {
    "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
    "extensions": {
        "cost": {
            "requestedQueryCost": 10,
            "actualQueryCost": None,
            "throttleStatus": {"maximumAvailable": 2000.0, "currentlyAvailable": 0, "restoreRate": 2000.0},
        }
    },
}


class Bench(bench.Bench):
    platform = "shopify"
    page_size = 50
    tells_levels = True
    shares_secret = True
    twin: Shopify

    @classmethod
    def open(cls) -> Shopify:
        made = Shopify(Setup(plan="enterprise"), clock=lambda: NOW)
        made.bucket = Bucket(utc_now, 2000, 40_000)  # fills as time really passes
        return made

    def connect(self, *args: Any, **changes: Any) -> Shop:
        made = super().connect(*args, **changes)
        made._api._page_size = self.page_size  # type: ignore[attr-defined]  # 250 would need a larger crowd
        return made

    def keys(self) -> dict[str, Any]:
        app = {"client_id": "sandbox-client", "client_secret": "shpss_sandbox"}
        return {"url": "lilla-butiken.myshopify.com", "base_url": self.running.url, **app}

    def wrong_keys(self) -> dict[str, Any]:
        return {"client_secret": "shpss_wrong"}

    def wait(self, seconds: float) -> None:
        self.twin.act_wait(seconds)

    def call_itself(self, host: str) -> None:
        self.twin.setup.domain = host

    def mails(self) -> int:
        """The twin sends none: what Shopify mails by itself hangs on calls that it does not take from us."""
        return 0

    def sign_up(self, email: str, answer: Answer | None = None, *, level: str | None = None, **names: str) -> str:
        number = self.twin.act_register(email, consent=STATES[answer], **names)
        if level == "confirmed":
            self.twin.act_subscribe(number, level="CONFIRMED_OPT_IN")
        return str(number)

    def say(self, customer_id: str, answer: Answer) -> None:
        {"in": self.twin.act_subscribe, "out": self.twin.act_unsubscribe}[answer](int(customer_id))

    def say_by_sms(self, customer_id: str, phone: str, answer: Answer) -> None:
        self.twin.act_merchant_edit(int(customer_id), {"phone": phone})
        self.twin.shop.customers[int(customer_id)].sms_consent = Consent(STATES[answer], "SINGLE_OPT_IN", self.twin.now())

    def change_email(self, customer_id: str, email: str) -> None:
        self.twin.act_change_email(int(customer_id), email)

    def rename(self, customer_id: str, first_name: str) -> None:
        self.twin.act_merchant_edit(int(customer_id), {"firstName": first_name})

    def delete(self, customer_id: str) -> None:
        self.twin.act_delete_customer(int(customer_id))

    def order(self, order: Order) -> str:
        shop = self.twin.shop
        number = self.twin.act_order(
            email=order.email,
            customer=int(order.customer_id) if order.customer_id else None,
            product=int(order.product),
            ticks=order.answer == "in",
            discount_code=order.code,
        )
        (line,) = shop.orders[number].lines
        percent = next((d.percent for d in shop.discounts.values() if order.code in d.codes), Decimal(0))
        line.quantity, line.price = order.quantity, shop.products[int(order.product)].own_variants[0].price
        line.total = line.price * line.quantity * (100 - percent) / 100
        line.tax = line.total / 5
        return str(number)

    def product(self, title: str, price: str) -> str:
        shop, now = self.twin.shop, self.twin.now()
        product = Product(shop.new_key(), now, now, title, "a-thing")
        product.own_variants = [Variant(shop.new_key(), product.key, "Default Title", Decimal(price), now, now)]
        shop.keep_product(product)
        self.wait(0)  # the twin forgets its lists
        return str(product.key)

    def drop_product(self, product_id: str) -> None:
        product = self.twin.shop.products.pop(int(product_id))
        del self.twin.shop.variants[product.own_variants[0].key]
        self.wait(0)

    def refund(self, order_id: str, amount: str | None = None) -> None:
        self.twin.act_refund(int(order_id), amount)

    def drop_order(self, order_id: str) -> None:
        shop = self.twin.shop
        order = shop.orders.pop(int(order_id))
        if order.customer_key:
            shop._orders_of[order.customer_key].remove(order.key)
        self.wait(0)

    def promo(self, code: str, percent: int, *, is_over: bool = False, only_for: str | None = None) -> None:
        number, at = self.twin.shop.new_key(), NOW - timedelta(days=30)
        ends_at = NOW - timedelta(days=1) if is_over else None
        self.twin.shop.discounts[number] = Discount(number, code, [code], Decimal(percent), at, at, ends_at)
        self.twin.shop.discounts[number].only_for = [int(only_for)] if only_for else []
        self.wait(0)

    def answer_of(self, customer_id: str) -> Answer | None:
        return SAID.get(self.twin.shop.customers[int(customer_id)].email_consent.state)

    def bounce_of(self, customer_id: str) -> str | None:
        found = self.twin.shop.customers[int(customer_id)].find_metafield("shopsync", "bounced_at")
        return found.value if found else None

    def malform_customer(self, customer_id: str) -> str:
        self.twin.shop.customers[int(customer_id)].email = "an import left this"
        self.wait(0)
        return "email"

    def malform_order(self, order_id: str) -> str:
        self.twin.shop.orders[int(order_id)].email = "an import left this"
        self.wait(0)
        return "email"

    def throttle(self, times: int) -> None:
        json = {"content-type": "application/json"}
        self.faults(
            Fault("status", path="graphql", status=200, headers=json, body=orjson.dumps(THROTTLED).decode(), times=times)
        )

    def end_token(self) -> None:
        self.wait(90_000)

    def revoke(self) -> None:
        self.twin.act_uninstall()
        self.twin.tokens.client_secret = "shpss_another"

    def other_secret(self) -> dict[str, Any]:
        return {"client_secret": "shpss_other"}

    def deliver(self) -> None:
        self.twin.act_deliver_webhooks()

    def webhooks(self) -> list[str]:
        return [hook.uri for hook in self.twin.hooks.subscriptions.values()]

    def foreign_webhook(self, address: str) -> None:
        self.twin.hooks.subscribe("ORDERS_CREATE", {"uri": address})

    def give_up_webhooks(self) -> None:
        self.twin.hooks.subscriptions.clear()

    def privacy_notices(self) -> list[tuple[str, bytes, PrivacyRequest | None]]:
        person = {"customer": {"id": 7, "email": "a@example.com", "phone": None}}
        return [
            ("customers/data_request", orjson.dumps(person), PrivacyRequest("export", "7", "a@example.com")),
            ("customers/redact", orjson.dumps(person), PrivacyRequest("erase", "7", "a@example.com")),
            ("customers/redact", b"{}", None),
            ("shop/redact", b'{"shop_id": 1}', PrivacyRequest("erase")),
        ]
