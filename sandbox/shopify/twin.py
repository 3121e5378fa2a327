"""A Shopify shop on this machine: the Admin GraphQL API of one app in one shop.

    twin = Shopify()                          # token shpat_sandbox, client sandbox-client with the secret shpss_sandbox
    twin.from_world(world.invent())
    with serve(twin) as running:
        httpx.post(f"{running.url}/admin/api/2026-07/graphql.json", headers={"X-Shopify-Access-Token": "shpat_sandbox"}, ...)

Comments that say "recordings" cite answers of the real API, [docs], [spec] and [memory] the fact sheet. Switches are the fields
of `setup.Setup`. The schema is in `schema.graphql`, its fields in `resolvers`, the rules of what may be stored in `shop`; what
people and the merchant do is here.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl

import orjson
from graphql import GraphQLSchema
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.server import utc_now
from sandbox.shopify.bulk import BulkOperation, BulkOperations
from sandbox.shopify.cost import Bucket
from sandbox.shopify.graph import Call, Refused, carry_out, made_schema, moment_text, prepare, resolve_by_name
from sandbox.shopify.loading import load
from sandbox.shopify.records import Consent, Customer, Json, Line, Order, Record
from sandbox.shopify.resolvers import guarded
from sandbox.shopify.setup import RESTORE_RATES, VERSIONS, Setup
from sandbox.shopify.shop import Shop, normal_email, normal_tags
from sandbox.shopify.tokens import Denied, Tokens
from sandbox.shopify.webhooks import PRIVACY, Webhooks
from sandbox.world import World

P = ParamSpec("P")
T = TypeVar("T")

_CLOSED = {
    402: "Unavailable Shop",
    403: "[API] This action requires merchant approval.",
    404: "Not Found",
    423: "[API] Shop is locked.",
    430: "Shopify Security Rejection",
}


def acting(method: Callable[Concatenate[Shopify, P], T]) -> Callable[Concatenate[Shopify, P], T]:
    """Somebody does something in the shop: under its lock, and no list that was sorted before counts any more."""

    @functools.wraps(method)
    def locked(self: Shopify, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            self.shop.changes += 1
            return method(self, *args, **kwargs)

    return locked


class Shopify:
    """The twin.

    - `setup`: what differs from shop to shop and the switches of the doubtful; may be changed while it runs.
    - `privacy_uri`: where the app's settings send the three privacy topics.
    - `webhook_seconds`: deliver webhooks by itself that often; None leaves it to `act_deliver_webhooks`.
    - `clock` is the world's; `act_wait` moves the shop's on.
    """

    name = "shopify"

    def __init__(
        self,
        setup: Setup | None = None,
        *,
        privacy_uri: str | None = None,
        webhook_seconds: float | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.setup = setup or Setup()
        self.clock, self.privacy_uri = clock, privacy_uri
        self.lock = threading.RLock()
        self._waited = timedelta(0)
        self.shop = Shop(self.setup, self.now)
        self.tokens = Tokens(self.now, lambda: self.setup.scopes)
        self.hooks = Webhooks(self.shop, self.lock, lambda: self.tokens.client_secret, lambda: self.privacy_uri)
        self.shop.happened = self.hooks.happened
        self.bulk = BulkOperations(self.lock, self.now, self.hooks.happened)
        rate = RESTORE_RATES[self.setup.plan]
        self.bucket = Bucket(self.now, rate, rate * self.setup.bucket_seconds)
        self.token_leaks = 0
        """How often the storage was sent an access token."""
        self._schemas: dict[str, GraphQLSchema] = {}
        self._lists: dict[Any, Any] = {}
        self.app = Starlette(
            routes=[
                Route("/admin/api/{version}/graphql.json", self._graphql, methods=["POST"]),
                Route("/admin/oauth/access_token", self._access_token, methods=["POST"]),
                Route("/bulk-operation-outputs/{token}", self._storage),
                Route("/{path:path}", self._elsewhere),
            ]
        )
        if webhook_seconds is not None:
            threading.Thread(target=self._keep_delivering, args=(webhook_seconds,), name="webhooks", daemon=True).start()

    def now(self) -> datetime:
        """Whole seconds: that is all that Shopify shows."""
        return (self.clock() + self._waited).replace(microsecond=0)

    def _keep_delivering(self, seconds: float) -> None:
        turn = threading.Event()
        while not turn.wait(seconds):
            self.hooks.deliver()

    # HTTP

    async def _graphql(self, request: Request) -> Response:
        body = await request.body()
        version = self._version(request.path_params["version"])
        if self.setup.frozen:
            return _json(self.setup.frozen, {"errors": _CLOSED.get(self.setup.frozen, "Not Found")}, version)
        if not self.tokens.admits(request.headers.get("x-shopify-access-token", "")):
            words = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return _json(401, {"errors": words}, version)  # a string, not a list [memory]
        try:
            asked = orjson.loads(body)
            query = asked["query"]
        except (ValueError, KeyError, TypeError):
            return _json(400, {"errors": {"query": "Required parameter missing or invalid"}}, version)
        base = f"{request.url.scheme}://{request.headers.get('host', '127.0.0.1')}"
        # In a thread: a query over many records must not keep other calls from being taken.
        status, answer = await run_in_threadpool(
            self._answer, version, base, query, asked.get("variables") or {}, asked.get("operationName")
        )
        return _json(status, answer, version)

    def _version(self, asked: str) -> str:
        """An unknown or expired version falls forward to the oldest one supported. [docs]"""
        return asked if asked in VERSIONS else VERSIONS[0]

    def _schema(self, version: str) -> GraphQLSchema:
        if version not in self._schemas:
            self._schemas[version] = made_schema(guarded(resolve_by_name), version)
        return self._schemas[version]

    def _answer(self, version: str, base: str, query: Any, variables: Json, operation_name: str | None) -> tuple[int, Json]:
        with self.lock:
            schema = self._schema(version)
            try:
                prepared = prepare(schema, str(query), variables, operation_name)
            except Refused as refused:
                return 200, {"errors": refused.errors}
            asked = prepared.cost.of(prepared.operation)
            if asked > self.setup.query_limit:
                return 200, {"errors": [_too_dear(asked, self.setup.query_limit)]}
            if asked > self.bucket.available():
                cost = {"requestedQueryCost": asked, "actualQueryCost": None, "throttleStatus": self.bucket.status()}
                errors = [{"message": "Throttled", "extensions": {"code": "THROTTLED", "documentation": _RATE_LIMITS}}]
                return self.setup.throttled_status, {"errors": errors, "extensions": {"cost": cost}}
            call = Call(
                version,
                schema,
                base,
                self.tokens.client_id,
                frozenset(self.setup.scopes),
                self.shop,
                self.bulk,
                self.hooks,
                self._lists,
            )
            answer = carry_out(schema, prepared, call)
            used = prepared.cost.of(prepared.operation, answer["data"])
            self.bucket.take(used)
            cost = {"requestedQueryCost": asked, "actualQueryCost": used, "throttleStatus": self.bucket.status()}
            answer["extensions"] = {"cost": cost} | ({"search": call.searches} if call.searches else {})
            return 200, answer

    async def _access_token(self, request: Request) -> Response:
        body = await request.body()
        try:
            if request.headers.get("content-type", "").startswith("application/json"):
                asked = orjson.loads(body)
            else:
                asked = dict(parse_qsl(body.decode(), keep_blank_values=True))
            with self.lock:
                return _json(200, self.tokens.hand_out({name: str(value) for name, value in asked.items()}))
        except Denied as denied:
            return _json(400, {"error": denied.word, "error_description": denied.sentence})
        except ValueError:
            return _json(400, {"error": "invalid_request", "error_description": "The request cannot be read."})

    async def _storage(self, request: Request) -> Response:
        if "x-shopify-access-token" in request.headers or "authorization" in request.headers:
            self.token_leaks += 1
            if self.setup.storage_refuses_token:
                refusal = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>InvalidArgument</Code></Error>"
                return Response(refusal, 400, media_type="application/xml")
        with self.lock:
            content = self.bulk.result(request.path_params["token"])
        if content is None:
            refusal = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code></Error>"
            return Response(refusal, 400, media_type="application/xml")
        return Response(content, media_type="application/jsonl")

    async def _elsewhere(self, request: Request) -> Response:
        return _json(404, {"errors": "Not Found"})

    # What people and the merchant do

    @acting
    def act_subscribe(self, customer: int | str, *, level: str = "SINGLE_OPT_IN") -> None:
        """Somebody ticks the newsletter box, or (PENDING) asks for the confirmation mail of double opt-in."""
        state = "PENDING" if level == "PENDING" else "SUBSCRIBED"
        self._say(customer, state, "CONFIRMED_OPT_IN" if level == "PENDING" else level)

    @acting
    def act_unsubscribe(self, customer: int | str) -> None:
        """By the link of a mail that Shopify sent, or by the merchant's hand."""
        self._say(customer, "UNSUBSCRIBED", None)

    def _say(self, customer: int | str, state: str, level: str | None) -> None:
        person = self._person(customer)
        person.email_consent = Consent(state, level or person.email_consent.level, self.now())
        self.hooks.happened("CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE", person)
        self.shop.touch(person, "CUSTOMERS_UPDATE")

    @acting
    def act_register(
        self, email: str, *, first_name: str = "", last_name: str = "", consent: str = "NOT_SUBSCRIBED", state: str = "ENABLED"
    ) -> int:
        """Somebody opens an account; `consent` is a marketing state."""
        asked: Json = {"email": email, "firstName": first_name, "lastName": last_name}
        if consent != "NOT_SUBSCRIBED":
            level = "CONFIRMED_OPT_IN" if consent == "PENDING" else "SINGLE_OPT_IN"
            asked["emailMarketingConsent"] = {"marketingState": consent, "marketingOptInLevel": level}
        person = self.shop.create_customer(asked)
        person.state = state
        return person.key

    @acting
    def act_order(
        self,
        *,
        email: str | None = None,
        customer: int | str | None = None,
        total: str = "25.00",
        financial_status: str | None = "PAID",
        currency: str | None = None,
        rate: str = "1",
        ticks: bool = False,
        test: bool = False,
        discount_code: str | None = None,
        product: int | None = None,
    ) -> int:
        """Somebody buys one piece; a guest by `email` becomes a DISABLED customer, without one there is none. [memory]"""
        person = self._person(customer) if customer is not None else self.shop.by_email(email) if email else None
        now = self.now()
        if person is None and email:
            person = Customer(self.shop.new_key(), now, now, normal_email(email), verified_email=False)
            self.shop.customers[person.key] = person
            self.hooks.happened("CUSTOMERS_CREATE", person)
        if person and ticks:
            self._say(person.key, "SUBSCRIBED", "SINGLE_OPT_IN")
        sold = self.shop.products.get(product or 0) or next(iter(self.shop.products.values()), None)
        variant = sold.own_variants[0] if sold else None
        line = Line(
            self.shop.new_key(),
            sold.title if sold else "Te",
            1,
            Decimal(total),
            Decimal(total),
            product_key=sold.key if sold else None,
            variant_key=variant.key if variant else None,
            sku=variant.sku if variant else None,
        )
        order = Order(
            self.shop.new_key(),
            now,
            now,
            next(self.shop.order_numbers),
            now,
            self.setup.currency,
            currency or self.setup.currency,
            [line],
            Decimal(rate),
            email=email or (person.email if person else None),
            customer_key=person.key if person else None,
            display_financial_status=financial_status,
            discount_codes=[discount_code] if discount_code else [],
            test=test,
            customer_accepts_marketing=ticks,
        )
        self.shop.keep_order(order)
        self.hooks.happened("ORDERS_CREATE", order)
        if financial_status == "PAID":
            self.hooks.happened("ORDERS_PAID", order)
        return order.key

    @acting
    def act_refund(self, order: int, amount: str | None = None, note: str | None = None) -> int:
        """Without `amount` all that is left, its lines included."""
        found = self.shop.orders[order]
        if amount is None:
            lines = [(line, line.current_quantity) for line in found.lines if line.current_quantity]
            return self.shop.refund(found, found.total - found.refunded, note, lines).key
        return self.shop.refund(found, Decimal(amount), note).key

    @acting
    def act_cancel_order(self, order: int, reason: str = "CUSTOMER") -> None:
        found = self.shop.orders[order]
        found.cancelled_at = found.closed_at = self.now()
        found.cancel_reason = reason
        self.hooks.happened("ORDERS_CANCELLED", found)
        self.shop.touch(found, "ORDERS_UPDATED")

    @acting
    def act_delete_order(self, order: int) -> None:
        found = self.shop.forget_order(order)
        self.hooks.happened("ORDERS_DELETE", found)

    @acting
    def act_change_email(self, customer: int | str, email: str) -> None:
        """Consent belongs to the address: a new one starts as the old one was. [memory]"""
        self.shop.update_customer(self._person(customer).key, {"email": email})

    @acting
    def act_merchant_edit(self, customer: int | str, fields: Json) -> None:
        """The merchant edits a customer in the admin; `fields` as in CustomerInput."""
        self.shop.update_customer(self._person(customer).key, fields)

    @acting
    def act_tag(self, customer: int | str, tags: list[str]) -> None:
        self.shop.change_tags(self._person(customer), add=normal_tags(tags))

    @acting
    def act_delete_customer(self, customer: int | str) -> None:
        self.shop.delete_customer(self._person(customer).key)

    @acting
    def act_merge_customers(self, one: int | str, two: int | str) -> int:
        """The second stays."""
        return self.shop.merge_customers(self._person(one).key, self._person(two).key).key

    @acting
    def act_erase_person(self, customer: int | str) -> None:
        """The merchant's request to erase: personal data goes, orders stay, and the app is told (at once, here)."""
        person = self._person(customer)
        body = self._privacy_body(person)
        orders = [order.key for order in self.shop.orders_of(person)]
        for order in self.shop.orders_of(person):
            order.email = order.phone = order.billing_address = order.shipping_address = None
            self.shop.touch(order, "ORDERS_UPDATED")
        person.email = person.phone = person.first_name = person.last_name = person.note = None
        person.own_addresses, person.default_address = [], None
        person.email_consent = person.sms_consent = Consent("REDACTED", None, self.now())
        self.shop.touch(person, "CUSTOMERS_UPDATE")
        self.hooks.privacy("customers/redact", body | {"orders_to_redact": orders})

    @acting
    def act_privacy(self, topic: str, customer: int | str | None = None) -> None:
        """Send one of the three privacy topics, and change nothing."""
        if topic not in PRIVACY:
            raise ValueError(f"{topic} is none of {', '.join(PRIVACY)}")
        if topic == "shop/redact" or customer is None:
            self.hooks.privacy(topic, {})
            return
        person = self._person(customer)
        orders = [order.key for order in self.shop.orders_of(person)]
        if topic == "customers/data_request":
            more: Json = {"orders_requested": orders, "data_request": {"id": self.shop.new_key()}}
        else:
            more = {"orders_to_redact": orders}
        self.hooks.privacy(topic, self._privacy_body(person) | more)

    def _privacy_body(self, person: Customer) -> Json:
        return {"customer": {"id": person.key, "email": person.email, "phone": person.phone}}

    @acting
    def act_uninstall(self) -> None:
        """The merchant removes the app: the token is dead at once, the webhook is the last word."""
        self.hooks.happened("APP_UNINSTALLED", self.shop)
        self.tokens.revoke_all()

    @acting
    def act_set_scopes(self, scopes: list[str]) -> None:
        self.setup.scopes = tuple(scopes)
        self.hooks.happened("APP_SCOPES_UPDATE", self.shop)

    @acting
    def act_switch(self, /, **switches: Any) -> None:
        """Change switches of the setup."""
        for name, value in switches.items():
            if not hasattr(self.setup, name):
                raise ValueError(f"there is no switch {name}")
            setattr(self.setup, name, value)

    @acting
    def act_wait(self, seconds: float) -> None:
        """Time passes in the shop: tokens expire, the bucket fills."""
        self._waited += timedelta(seconds=seconds)

    @acting
    def act_drain_bucket(self, leaving: int = 0) -> None:
        """Other calls of the app have used up the points."""
        self.bucket.take(self.bucket.available() - leaving)

    @acting
    def act_hold_bulk(self, is_waiting: bool = True) -> None:
        """Bulk operations stay CREATED until `act_finish_bulk`."""
        self.bulk.is_waiting = is_waiting

    @acting
    def act_finish_bulk(self) -> list[str]:
        """Carry out all bulk operations that wait, canceled ones included."""
        waiting = self.bulk.under_way()
        for one in waiting:
            self.bulk.finish(one)
        return [one.id for one in waiting]

    @acting
    def act_spoil_bulk(self, kind: str) -> None:
        """What goes wrong with the next bulk operation: fail, timeout, truncate, duplicate."""
        self.bulk.spoil.append(kind)

    @acting
    def act_expire_bulk(self) -> None:
        """Everything under way is given up as EXPIRED."""
        for one in self.bulk.under_way():
            one.status, one.completed_at = "EXPIRED", self.now()

    def act_deliver_webhooks(self) -> list[Json]:
        """Deliver what is queued, once each; returns what became of it.

        Through the control door it runs beside the server and returns [] at once: the receiver may want to ask the shop back.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.hooks.deliver()
        threading.Thread(target=self.hooks.deliver, name="webhooks", daemon=True).start()
        return []

    def _person(self, customer: int | str) -> Customer:
        found = self.shop.by_email(customer) if isinstance(customer, str) else self.shop.customer(customer)
        if found is None:
            raise ValueError(f"nobody is {customer}")
        return found

    # Loading and looking

    @acting
    def from_world(self, world: World) -> None:
        """Fill an empty shop. Nothing is announced to webhooks."""
        load(self.shop, world)

    def state(self) -> dict[str, Any]:
        """Everything the shop holds, as the records are, with their global ids."""
        with self.lock:
            shop = self.shop
            return {
                "customers": [_shown(one) for one in shop.customers.values()],
                "orders": [_shown(one) for one in shop.orders.values()],
                "products": [_shown(one) for one in shop.products.values()],
                "discounts": [_shown(one) for one in shop.discounts.values()],
                "webhooks": [_shown(one) for one in self.hooks.subscriptions.values()],
                "deliveries": list(self.hooks.delivered),
                "queued": len(self.hooks.queue),
                "bulk_operations": [_operation(one) for one in self.bulk.operations.values()],
                "token_leaks": self.token_leaks,
            }


_RATE_LIMITS = "https://shopify.dev/api/usage/rate-limits"


def _too_dear(cost: int, most: int) -> Json:
    """[memory]"""
    return {
        "message": f"Query cost is {cost}, which exceeds the single query max cost limit ({most}).",
        "extensions": {"code": "MAX_COST_EXCEEDED", "cost": cost, "maxCost": most, "documentation": _RATE_LIMITS},
    }


def _json(status: int, body: Any, version: str | None = None) -> Response:
    headers = {"X-Request-Id": str(uuid.uuid4())}
    if version:
        headers["X-Shopify-API-Version"] = version
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def _shown(record: Record) -> Json:
    return {"id": record.id} | {name: _plain(value) for name, value in asdict(record).items()}


def _operation(one: BulkOperation) -> Json:
    return {"id": one.id, "status": one.status, "error_code": one.error_code, "objects": one.object_count, "query": one.query}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
