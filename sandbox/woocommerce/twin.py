"""A WooCommerce shop on this machine: REST v3 as shops with 11.0.1 (HPOS), 8.0.0 and 3.9.1 were seen to answer.

    twin = WooCommerce()                       # 11.0.1, UTC+1, one read_write key
    twin.from_world(world.invent())
    with serve(twin) as running: ...           # plain http: OAuth 1.0a only; with tls_folder: Basic works too

Comments that say "observed" cite what was seen on those shops. The API is in `woocommerce_rest`, the rules of what may be
stored in `woocommerce_shop`, webhooks in `woocommerce_webhooks`; what people and the merchant do is here.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, TypeVar

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from sandbox.server import utc_now
from sandbox.woocommerce.auth import Key
from sandbox.woocommerce.loading import load
from sandbox.woocommerce.records import Customer
from sandbox.woocommerce.rest import Answer, Rest, Setup
from sandbox.woocommerce.shop import Shop
from sandbox.woocommerce.webhooks import Webhooks
from sandbox.woocommerce.wordpress import RestError, escaped, is_email, plain_text
from sandbox.world import World

P = ParamSpec("P")
T = TypeVar("T")

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def acting(method: Callable[Concatenate[WooCommerce, P], T]) -> Callable[Concatenate[WooCommerce, P], T]:
    """Somebody does something in the shop: under its lock, and no list that was found before counts any more."""

    @functools.wraps(method)
    def locked(self: WooCommerce, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            self.rest.found.clear()
            return method(self, *args, **kwargs)

    return locked


class WooCommerce:
    """The twin. What differs from shop to shop is an argument:

    - `version` "11.0.1", "8.0.0" or "3.9.1" (others behave like the next older one); `hpos` whether orders live in their own
      tables (by default what the version does), which shows in the totals of a page past the end.
    - `utc_offset_hours`, `timezone_string`: the shop's clock. `clock` is the world's; `act_wait` moves the shop's on.
    - `currency`, `tax_percent`: for what is ordered here; prices include tax. A loaded world brings its own amounts.
    - `consent_key`: the meta key of the newsletter's consent, on customers and on orders.
    - `keys`: who may call; by default ck_sandbox with the secret cs_sandbox, which may read and write.
    - `home_url` what the shop takes for its address in links and hooks (by default what it was last called by);
      `believes_tls` what its web server tells WordPress (by default the truth).
    - `plain_permalinks`: then only /index.php/wp-json takes keys. `coming_soon_redirect`: then every call is sent to a page.
    - `hides_broken_emails`: an order's address that is none is read as "", as WooCommerce does unless a plugin interferes.
    - `generates_passwords`: else a new customer must come with one.
    - `delivers_to_private_hosts`: what a merchant's real shop refuses, and what receivers on this machine need.
    - `cron_seconds`: deliver webhooks by itself that often; None leaves it to `act_deliver_webhooks`.

    Tests that change `shop` directly must call an `act_` method or the API afterwards: lists are kept until something happens.
    """

    name = "woocommerce"

    def __init__(
        self,
        *,
        version: str = "11.0.1",
        hpos: bool | None = None,
        utc_offset_hours: float = 1,
        timezone_string: str = "",
        currency: str = "EUR",
        tax_percent: int = 25,
        consent_key: str = "newsletter_optin",
        keys: Iterable[Key] | None = None,
        home_url: str | None = None,
        believes_tls: bool | None = None,
        plain_permalinks: bool = False,
        coming_soon_redirect: bool = False,
        hides_broken_emails: bool = False,
        generates_passwords: bool = True,
        delivers_to_private_hosts: bool = True,
        webhook_timeout: float = 60,
        cron_seconds: float | None = None,
        store_id: str = "0b9e6a0c-5f6e-4d0e-9d5a-2f1c7a1e7b10",
        shop_name: str = "Lilla Butiken & Co",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.setup = Setup(
            version=(numbers := tuple(int(part) for part in version.split("."))),
            hpos=numbers >= (8, 2) if hpos is None else hpos,
            utc_offset=timedelta(hours=utc_offset_hours),
            timezone_string=timezone_string,
            home_url=home_url,
            believes_tls=believes_tls,
            plain_permalinks=plain_permalinks,
            coming_soon_redirect=coming_soon_redirect,
            hides_broken_emails=hides_broken_emails,
            store_id=store_id,
            shop_name=shop_name,
        )
        self.consent_key, self.clock = consent_key, clock
        self.keys = list(keys) if keys is not None else [Key("ck_sandbox", "cs_sandbox")]
        self.lock = threading.RLock()
        self._waited = timedelta(0)
        self.shop = Shop(
            now=self.now,
            version=numbers,
            utc_offset=self.setup.utc_offset,
            currency=currency,
            tax_percent=Decimal(tax_percent),
            generates_passwords=generates_passwords,
        )
        self.rest = Rest(self.setup, self.shop, self.keys)
        self.webhooks = self.rest.webhooks = Webhooks(
            now=self.now,
            site=lambda: self.setup.site(self.rest.called_by),
            body_of=self.rest.body_for_webhook,
            lock=self.lock,
            # Observed: WooCommerce refuses them in silence; the observed shops had a plugin that lifts that.
            reaches_private_hosts=delivers_to_private_hosts,
            timeout=webhook_timeout,
            seed=7,
        )
        self.shop.happened = self.webhooks.happened
        self.app = Starlette()
        self.app.add_route("/{path:path}", self._respond, methods=_METHODS)
        if cron_seconds is not None:
            threading.Thread(target=self._cron, args=(cron_seconds,), name="wp-cron", daemon=True).start()

    def now(self) -> datetime:
        """UTC without zone and fractions: a second is all that WooCommerce keeps."""
        return (self.clock() + self._waited).astimezone(UTC).replace(tzinfo=None, microsecond=0)

    def _cron(self, seconds: float) -> None:
        turn = threading.Event()
        while not turn.wait(seconds):
            self.webhooks.deliver()

    # HTTP

    async def _respond(self, request: Request) -> Response:
        body = await request.body()
        try:
            with self.lock:
                answer = self.rest.answer(request, body)
        except RestError as refused:
            answer = Answer(refused.body(), refused.status)
        for hook in answer.pings:
            # The shop's answer waits for the ping's (observed: it succeeds whatever the receiver says).
            await asyncio.to_thread(self.webhooks.ping, hook)
        content = answer.body if isinstance(answer.body, bytes) else orjson.dumps(answer.body)
        response = Response(content, answer.status, media_type=answer.media)
        for name, value in answer.headers:
            response.headers.append(name, value)
        if answer.media.startswith("application/json"):
            # Observed: every answer has a Link header, so it is no sign of a next page.
            response.headers.append("Link", f'<{self.setup.site(self.rest.home(request)).rest}/>; rel="https://api.w.org/"')
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers["Access-Control-Expose-Headers"] = "X-WP-Total, X-WP-TotalPages, Link"
        return response

    # What people and the merchant do

    @acting
    def act_register(
        self,
        email: str,
        *,
        first_name: str = "",
        last_name: str = "",
        consent: str | None = None,
        billing: dict[str, str] | None = None,
        role: str = "customer",
    ) -> int:
        """Somebody opens an account in the shop. `consent` is what the newsletter box stores, None: there is none.

        Registered by the form: the account has never been changed, so date_modified stays null.
        """
        self._check_free(email)
        customer = Customer(next(self.shop.user_ids), email, self.shop.username_for(email), self.now(), None, role=role)
        customer.first_name, customer.last_name = escaped(plain_text(first_name)), escaped(plain_text(last_name))
        customer.billing |= billing or {}
        if consent is not None:
            customer.meta.put(self.consent_key, consent)
        self.shop.keep_customer(customer)
        self.shop.mails.append({"to": email, "kind": "customer_new_account"})
        self.webhooks.happened("customer.created", customer.id)
        return customer.id

    @acting
    def act_order(
        self,
        *,
        email: str | None = None,
        customer_id: int = 0,
        items: list[dict[str, Any]] | None = None,
        consent_tick: str | None = None,
        status: str = "processing",
        currency: str | None = None,
        billing: dict[str, str] | None = None,
        coupon: str | None = None,
    ) -> int:
        """Somebody buys; a guest without `customer_id`. `items` as REST line items, by default one of the first product."""
        if not items:
            items = [{"product_id": next(iter(self.shop.products), 0), "quantity": 1}]
        if email is None and customer_id:
            email = self.shop.customer(customer_id).email
        asked: dict[str, Any] = {
            "customer_id": customer_id,
            "billing": {**({"email": email} if email else {}), **(billing or {})},
            "line_items": items,
            "payment_method": "bacs",
            "payment_method_title": "Direct bank transfer",
            "status": status,
            "currency": currency,
        }
        if consent_tick is not None:
            asked["meta_data"] = [{"key": self.consent_key, "value": consent_tick}]
        if coupon:
            asked["coupon_lines"] = [{"code": coupon}]
        return self.shop.create_order(asked, created_via="checkout").id

    @acting
    def act_tick(self, customer: int | str, value: str | None) -> None:
        """The newsletter plugin stores a value by update_user_meta: no date changes, no webhook hears of it (observed)."""
        self._person(customer).meta.put(self.consent_key, value)

    @acting
    def act_merchant_edit(self, kind: str, number: int, fields: dict[str, Any]) -> None:
        """The merchant edits a "customer", "order", "product" or "coupon" in the admin; `fields` as in a PUT."""
        self.rest.update(f"{kind}s", number, fields)

    @acting
    def act_change_email(self, customer: int | str, email: str) -> None:
        """Somebody changes the account's address under "my account"."""
        person = self._person(customer)
        self._check_free(email, but_for=person)
        self.shop.move_customer(person, email)
        self.shop.touch_customer(person)

    @acting
    def act_set_status(self, order: int, status: str) -> None:
        self.shop.update_order(order, {"status": status})

    @acting
    def act_refund(self, order: int, amount: str | None = None, reason: str = "") -> int:
        """By hand, not through the payment gateway; without `amount` all that is left."""
        found = self.shop.order(order)
        return self.shop.refund(found, Decimal(amount) if amount else found.total - found.refunded, reason, []).id

    @acting
    def act_delete_customer(self, customer: int | str) -> None:
        self.shop.delete_customer(self._person(customer).id, is_forced=True, is_batch=True)

    @acting
    def act_trash_order(self, order: int) -> None:
        self.shop.trash("order", order, is_forced=False)

    @acting
    def act_untrash_order(self, order: int) -> None:
        self.shop.untrash("order", order)

    @acting
    def act_delete_order(self, order: int) -> None:
        """Deleted for good."""
        self.shop.trash("order", order, is_forced=True)

    @acting
    def act_delete_product(self, product: int) -> None:
        self.shop.trash("product", product, is_forced=True)

    @acting
    def act_erase_person(self, email: str) -> int:
        """WordPress's privacy tool: orders lose the person, the account goes. Returns how many orders were changed."""
        changed = 0
        for order in self.shop.orders.values():
            if order.billing.get("email", "").lower() == email.lower():
                order.billing = {"email": "deleted@site.invalid", "first_name": "[deleted]", "last_name": "[deleted]"}
                order.customer_id = 0
                self.shop.touch_order(order)
                changed += 1
        person = self.shop.customer_by_email(email)
        if person is not None:
            self.shop.delete_customer(person.id, is_forced=True, is_batch=True)
        return changed

    @acting
    def act_revoke_key(self, consumer_key: str) -> None:
        self.keys[:] = [key for key in self.keys if key.consumer_key != consumer_key]

    @acting
    def act_wait(self, seconds: float) -> None:
        """Time passes in the shop."""
        self._waited += timedelta(seconds=seconds)

    def act_deliver_webhooks(self) -> list[dict[str, Any]]:
        """wp-cron comes by once and delivers what is queued; returns the deliveries.

        Through the control door it runs beside the server and returns [] at once: the receiver may want to ask the shop back.
        `state()["deliveries"]` tells what became of it.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.webhooks.deliver()
        threading.Thread(target=self.webhooks.deliver, name="wp-cron", daemon=True).start()
        return []

    def _check_free(self, email: str, but_for: Customer | None = None) -> None:
        """What the shop's own forms check, too."""
        if not is_email(email):
            raise ValueError(f"{email} is no address to WordPress")
        holder = self.shop.customer_by_email(email)
        if holder is not None and holder is not but_for:
            raise ValueError(f"{email} has an account already")

    def _person(self, customer: int | str) -> Customer:
        found = self.shop.customer_by_email(customer) if isinstance(customer, str) else self.shop.customer(customer)
        if found is None:
            raise ValueError(f"nobody has the address {customer}")
        return found

    # Loading and looking

    @acting
    def from_world(self, world: World) -> None:
        """Fill an empty shop. Nothing is announced to webhooks, and nobody gets mail."""
        load(self.shop, world, self.consent_key)

    def state(self) -> dict[str, Any]:
        """Everything the shop holds; customers and orders as REST shows them, webhooks with their secrets and counts."""
        with self.lock:
            site, shop = self.setup.site(self.rest.called_by), self.shop
            return {
                "customers": [c.json(site) for c in shop.customers.values()],
                "orders": [
                    self.rest.json(o, site) | {"notes": [n | {"at": n["at"].isoformat()} for n in o.notes]}
                    for o in shop.orders.values()
                ],
                "products": [p.json(site) for p in shop.products.values()],
                "coupons": [c.json(site) for c in shop.coupons.values()],
                "webhooks": [
                    w.json(site) | {"secret": w.secret, "failures": w.failures, "is_pending": w.is_pending}
                    for w in self.webhooks.hooks.values()
                ],
                "deliveries": list(self.webhooks.delivered),
                "queued": len(self.webhooks.queue),
                "mails": list(shop.mails),
            }


__all__ = ["Key", "WooCommerce"]
