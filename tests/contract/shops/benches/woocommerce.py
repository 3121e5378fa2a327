"""WooCommerce: consent is a bare value in meta data, guests are no customers, keys never end."""

from __future__ import annotations

from dataclasses import replace

import bench
from bench import NOW, Answer, Order

from sandbox.server import Fault
from sandbox.woocommerce import WooCommerce

CONSENT = "newsletter_optin"
VALUES: dict[Answer | None, str | None] = {"in": "1", "out": "0", None: None}
SAID: dict[str | None, Answer] = {"1": "in", "0": "out"}


class Bench(bench.Bench):
    platform = "woocommerce"
    page_size = 100
    twin: WooCommerce

    @classmethod
    def open(cls) -> WooCommerce:
        return WooCommerce(clock=lambda: NOW, consent_key=CONSENT)

    def keys(self) -> dict[str, object]:
        keys = {"consumer_key": "ck_sandbox", "consumer_secret": "cs_sandbox"}
        return {"url": self.running.url, **keys, "consent_meta_key": CONSENT, "write_guest_consent": True}

    def wrong_keys(self) -> dict[str, object]:
        return {"consumer_secret": "cs_wrong"}

    def wait(self, seconds: float) -> None:
        self.twin.act_wait(seconds)

    def call_itself(self, host: str) -> None:
        self.twin.setup = self.twin.rest.setup = replace(self.twin.setup, home_url=f"https://{host}")

    def mails(self) -> int:
        return len(self.twin.shop.mails)

    def sign_up(self, email: str, answer: Answer | None = None, *, level: str | None = None, **names: str) -> str:
        return str(self.twin.act_register(email, consent=VALUES[answer], **names))

    def say(self, customer_id: str, answer: Answer) -> None:
        self.twin.act_tick(int(customer_id), VALUES[answer])

    def mumble(self, customer_id: str) -> bool:
        self.twin.act_tick(int(customer_id), "vielleicht")
        return True

    def change_email(self, customer_id: str, email: str) -> None:
        self.twin.act_change_email(int(customer_id), email)

    def rename(self, customer_id: str, first_name: str) -> None:
        self.twin.act_merchant_edit("customer", int(customer_id), {"first_name": first_name})

    def delete(self, customer_id: str) -> None:
        self.twin.act_delete_customer(int(customer_id))

    def order(self, order: Order) -> str:
        number = self.twin.act_order(
            email=order.email,
            customer_id=int(order.customer_id or 0),
            items=[{"product_id": int(order.product), "quantity": order.quantity}],
            consent_tick=VALUES[order.answer],
            coupon=order.code,
        )
        return str(number)

    def product(self, title: str, price: str) -> str:
        return str(self.twin.shop.create_product({"name": title, "regular_price": price}).id)

    def drop_product(self, product_id: str) -> None:
        self.twin.act_delete_product(int(product_id))

    def refund(self, order_id: str, amount: str | None = None) -> None:
        self.twin.act_refund(int(order_id), amount)

    def drop_order(self, order_id: str) -> None:
        self.twin.act_delete_order(int(order_id))

    def promo(self, code: str, percent: int, *, is_over: bool = False, only_for: str | None = None) -> None:
        asked = {"code": code, "amount": str(percent), "discount_type": "percent"}
        expiry = {"date_expires_gmt": "2020-01-01T00:00:00"} if is_over else {}
        tied = {"email_restrictions": [self.twin.shop.customers[int(only_for)].email]} if only_for else {}
        self.twin.shop.create_coupon({**asked, **expiry, **tied})
        self.wait(0)

    def answer_of(self, customer_id: str) -> Answer | None:
        return SAID.get(self.twin.shop.customers[int(customer_id)].meta.get(CONSENT))

    def bounce_of(self, customer_id: str) -> str | None:
        found: str | None = self.twin.shop.customers[int(customer_id)].meta.get("email_bounced_at")
        return found

    def answer_in(self, order_id: str) -> Answer | None:
        return SAID.get(self.twin.shop.orders[int(order_id)].meta.get(CONSENT))

    def malform_customer(self, customer_id: str) -> str:
        self.twin.shop.customers[int(customer_id)].email = "an import left this"
        self.wait(0)  # the twin forgets its lists
        return "email"

    def malform_order(self, order_id: str) -> str:
        self.twin.shop.orders[int(order_id)].currency = "?"
        self.wait(0)
        return "currency"

    def throttle(self, times: int) -> None:
        self.faults(Fault("status", status=429, headers={"retry-after": "0"}, times=times))

    def end_token(self) -> None:
        """Keys end only by a merchant's hand."""

    def revoke(self) -> None:
        self.twin.act_revoke_key("ck_sandbox")

    def other_secret(self) -> dict[str, object]:
        return {"consumer_secret": "cs_other"}

    def deliver(self) -> None:
        self.twin.act_deliver_webhooks()

    def webhooks(self) -> list[str]:
        return [hook.delivery_url for hook in self.twin.webhooks.hooks.values() if hook.status == "active"]

    def foreign_webhook(self, address: str) -> None:
        self.twin.webhooks.create({"topic": "order.created", "delivery_url": address})

    def give_up_webhooks(self) -> None:
        for hook in self.twin.webhooks.hooks.values():
            hook.status, hook.failures = "disabled", 6
