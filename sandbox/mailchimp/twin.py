"""A twin of the Mailchimp Marketing API 3.0: audiences, members, batches, e-commerce, webhooks.

    twin = Mailchimp(key="0123456789abcdef0123456789abcdef-us1", list_id="a1b2c3d4e5")
    with serve(twin) as running:
        httpx.get(f"{running.url}/3.0/ping", auth=("any", twin.key))

The switches (`put_orders=True`, ...) are the fields of `mailchimp_rules.Rules`. Every mail and automation that the platform
would have sent is in `state()["mails"]`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.mailchimp.audience import Audience, Member, member_hash
from sandbox.mailchimp.batches import Batches
from sandbox.mailchimp.lists import Lists
from sandbox.mailchimp.rules import Books, Rules
from sandbox.mailchimp.shop import Shops
from sandbox.mailchimp.wire import Ask, Json, Problem, Routes, chosen_fields, not_found, stamp
from sandbox.server import utc_now

LIST_ID = "a1b2c3d4e5"
KEY = "0123456789abcdef0123456789abcdef-us1"
CONNECTIONS_MOST = 10
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Mailchimp:
    """See the module's docstring.

    `batch_seconds` is how long a batch takes at least, `archive_seconds` how long the address of its results works,
    `call_seconds` how long an API call takes, so that calls made at the same time are seen as such. Switches: `Rules`.
    """

    name = "mailchimp"

    def __init__(
        self,
        *,
        list_id: str = LIST_ID,
        list_name: str = "Customers",
        key: str = KEY,
        double_optin: bool = False,
        batch_seconds: float = 0.02,
        archive_seconds: float = 600,
        call_seconds: float = 0.001,
        connections: int = CONNECTIONS_MOST,
        deliver_at_once: bool = False,
        seed: int = 0,
        clock: Callable[[], datetime] = utc_now,
        **switches: Any,
    ) -> None:
        self.key, self.call_seconds, self.connections, self.deliver_at_once = key, call_seconds, connections, deliver_at_once
        self.lock = threading.RLock()
        self.books = Books(Rules(**switches), clock)
        self.lists = Lists(self.books, self._notify)
        self.shops = Shops(self.books, self.lists.audiences.get)
        self.books.is_syncing = self.shops.is_syncing
        self.lists.money, self.lists.has_store = self.shops.money, self.shops.has_store
        self.batches = Batches(
            self.books, self.lock, self._operate, seconds=batch_seconds, lives=timedelta(seconds=archive_seconds), seed=seed
        )
        self.audience = self.lists.add(list_id, list_name, double_optin=double_optin)
        self.deliveries: list[Json] = []
        self._delivering = threading.Lock()
        self.busy: list[int] = []
        self._under_way = 0
        self._routes = Routes()
        self._routes.add("/", get=self._root)
        self._routes.add("/ping", get=lambda ask: {"health_status": "Everything's Chimpy!"})
        for part in (self.lists, self.shops, self.batches):
            part.routes(self._routes)
        self.app = Starlette(
            routes=[
                Route("/batch-archives/{token}.tar.gz", self._archive),
                Route("/oauth2/metadata", self._metadata),
                Route("/3.0", self._http, methods=METHODS),
                Route("/3.0/{path:path}", self._http, methods=METHODS),
                Route("/{path:path}", self._elsewhere, methods=METHODS),
            ]
        )

    # HTTP

    async def _http(self, request: Request) -> Response:
        if self.busy:  # at very high volume the answer has no JSON body [docs]
            return Response("<html><body>Too busy</body></html>", self.busy.pop(0), media_type="text/html")
        if not self._knows(request.headers.get("authorization", "")):
            return _answer(*self._problem(_stranger()))
        self._under_way += 1
        try:
            if self._under_way > self.connections:  # per key, no rate headers, no Retry-After [docs]
                detail = f"You have exceeded the limit of {self.connections} simultaneous connections."
                return _answer(*self._problem(Problem(429, "Too Many Requests", detail)))
            body = await request.body()
            raw = request.scope["raw_path"].decode().partition("?")[0].removeprefix("/3.0")
            base = f"{request.url.scheme}://{request.headers.get('host', '127.0.0.1')}/3.0"
            call = (request.method, raw, dict(request.query_params), body or None, base)
            # In a thread: a batch may hold the lock, and the loop has to go on counting connections meanwhile.
            status, answer = await run_in_threadpool(self._timed, *call)
            return _answer(status, answer)
        finally:
            self._under_way -= 1

    async def _archive(self, request: Request) -> Response:
        with self.lock:
            packed = self.batches.archive(request.path_params["token"])
        if packed is None:
            refusal = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            return Response(refusal, 403, media_type="application/xml")
        return Response(packed, media_type="application/octet-stream")

    async def _metadata(self, request: Request) -> Response:
        """What login.mailchimp.com tells the holder of an access token: where the account's API is."""
        if not self._knows(request.headers.get("authorization", "")):
            return _answer(*self._problem(_stranger()))
        here = f"{request.url.scheme}://{request.headers.get('host', '127.0.0.1')}"
        return _answer(200, orjson.dumps({"dc": "us1", "api_endpoint": here, "login_url": here, "accountname": "Muster GmbH"}))

    async def _elsewhere(self, request: Request) -> Response:
        return _answer(*self._problem(not_found()))

    def _knows(self, header: str) -> bool:
        """Basic with any user and the key as the password, or Bearer [docs]."""
        kind, _, rest = header.partition(" ")
        if kind.lower() in {"bearer", "oauth"}:  # older clients write OAuth [code, the Singer tap]
            return hmac.compare_digest(rest.strip(), self.key)
        if kind.lower() != "basic":
            return False
        try:
            password = base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False
        return hmac.compare_digest(password, self.key)

    # Calls

    def _timed(self, *call: Any) -> tuple[int, bytes]:
        time.sleep(self.call_seconds)
        with self.lock:
            return self._call(*call)

    def _operate(self, method: str, path: str, query: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        if path.startswith("/batches"):
            return self._problem(Problem(400, "Bad Request", "Batch operations cannot be nested."))  # our words
        return self._call(method, path, query, body, "https://us1.api.mailchimp.example/3.0")

    def _call(self, method: str, path: str, query: dict[str, str], body: bytes | None, base: str) -> tuple[int, bytes]:
        try:
            parts = [urllib.parse.unquote(p) for p in path.strip("/").split("/")] if path.strip("/") else []
            handler, values = self._routes.find(method, parts)
            payload = handler(Ask(query, self._parse(method, body), base), *values)
        except Problem as refused:
            return self._problem(refused)
        if payload is None:
            return 204, b""
        return 200, orjson.dumps(chosen_fields(payload, query) if method == "GET" else payload)

    def _parse(self, method: str, body: bytes | None) -> Any:
        if method in {"GET", "DELETE"}:
            return None
        try:
            return orjson.loads(body) if body else None
        except orjson.JSONDecodeError as broken:
            raise Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error.") from broken

    def _problem(self, problem: Problem) -> tuple[int, bytes]:
        return problem.status, orjson.dumps(problem.body(str(uuid.uuid4())))

    def _root(self, ask: Ask) -> Json:
        return {
            "account_id": "sandbox",
            "login_id": "1",
            "account_name": "Muster GmbH",
            "email": "shop@example.com",
            "first_name": "Maria",
            "last_name": "Muster",
            "username": "muster",
            "avatar_url": "",
            "role": "owner",
            "member_since": "2020-01-01T00:00:00+00:00",
            "pricing_plan_type": "monthly",
            "first_payment": "2020-01-01T00:00:00+00:00",
            "account_timezone": "Europe/Berlin",
            "account_industry": "",
            "contact": {
                "company": "Muster GmbH",
                "addr1": "Musterweg 1",
                "addr2": "",
                "city": "Musterstadt",
                "state": "",
                "zip": "12345",
                "country": "DE",
            },
            "pro_enabled": False,
            "last_login": stamp(self.books.now()),
            "total_subscribers": sum(
                m.status == "subscribed" for a in self.lists.audiences.values() for m in a.members.values()
            ),
            "industry_stats": {"open_rate": 0, "bounce_rate": 0, "click_rate": 0},
            "_links": [],
        }

    # Webhooks

    def _notify(self, audience: Audience, kind: str, source: str, data: Json) -> None:
        for hook in audience.webhooks.values():
            if hook["events"].get(kind) and hook["sources"].get(source):
                fired = self.books.now().strftime("%Y-%m-%d %H:%M:%S")
                queued = {
                    "url": hook["url"],
                    "type": kind,
                    "fired_at": fired,
                    "data": data,
                    "secret": hook["secret"],
                    "tries": 0,
                }
                self.deliveries.append(queued | {"status": None})
                if self.deliver_at_once:
                    threading.Thread(target=self.act_deliver_webhooks, daemon=True).start()

    def act_deliver_webhooks(self, *, wait: bool = True) -> int:
        """Deliver what is due, form-encoded, at least once; gives the number of deliveries tried.

        A receiver that calls the twin back while it answers needs wait=False when this is asked through the control door.
        """
        with self.lock:
            due = [d for d in self.deliveries if _is_due(d)]
        if wait:
            self._deliver(due)
        else:
            threading.Thread(target=self._deliver, args=(due,), daemon=True).start()
        return len(due)

    def _deliver(self, due: list[Json]) -> None:
        with self._delivering, httpx.Client(timeout=10, trust_env=False) as client:
            for one in filter(_is_due, due):
                form = {"type": one["type"], "fired_at": one["fired_at"]} | dict(_flat("data", one["data"]))
                body = urllib.parse.urlencode(form).encode()
                headers = {"content-type": "application/x-www-form-urlencoded"}
                if one["secret"]:
                    at = int(self.books.clock().timestamp())
                    signed = hmac.new(one["secret"].encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
                    headers["X-Mailchimp-Signature"] = f"t={at},v1={signed}"
                one["tries"] += 1
                try:
                    one["status"] = client.post(one["url"], content=body, headers=headers).status_code
                except httpx.HTTPError:
                    one["status"] = 0

    # What people, the merchant and the platform do

    def _list(self, list_id: str | None) -> Audience:
        return self.lists.audiences[list_id] if list_id else self.audience

    def _member(self, email: str, list_id: str | None) -> tuple[Audience, Member]:
        audience = self._list(list_id)
        member = audience.find(email)
        if member is None:
            raise LookupError(f"{email} is not in the audience {audience.id}")
        return audience, member

    def act_self_unsubscribe(self, email: str, reason: str = "No longer interested", list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.self_unsubscribe(member, reason)

    def act_self_subscribe(self, email: str, merge_fields: Json | None = None, list_id: str | None = None) -> None:
        """By the platform's own form; with double opt-in `act_confirm` has to follow."""
        with self.lock:
            self._list(list_id).self_subscribe(email, merge_fields or {})

    def act_confirm(self, email: str, list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            if member.status != "pending":
                raise ValueError(f"{email} is {member.status}, there is nothing to confirm")
            audience.confirm(member)

    def act_admin_unsubscribe(self, email: str, list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.admin_set(member, "unsubscribed")

    def act_admin_subscribe(self, email: str, merge_fields: Json | None = None, list_id: str | None = None) -> None:
        """The merchant's "add a contact"; the platform does not let them lift a compliance state or a deletion for good."""
        with self.lock:
            audience = self._list(list_id)
            member = audience.find(email)
            audience.check_may_be(member, email, "subscribed")
            body = {"email_address": email, "merge_fields": merge_fields or {}}
            audience.write(body, member=member, status="subscribed", source="admin", skip_required=True, origin="Admin Add")

    def act_clean(self, email: str, list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.clean(member)

    def act_complain(self, email: str, list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.complain(member)

    def act_archive(self, email: str, list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.archive(member, "admin")

    def act_delete_permanent(self, email: str, list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.forget(member, "admin")

    def act_change_email(self, old: str, new: str, list_id: str | None = None) -> None:
        with self.lock:
            audience, member = self._member(old, list_id)
            audience.rename(member, new, "user")

    def act_edit(self, email: str, merge_fields: Json, list_id: str | None = None) -> None:
        """The person (or the merchant) edits the profile."""
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.edit(member, merge_fields)

    def act_tag(
        self, email: str, add: list[str] | None = None, remove: list[str] | None = None, list_id: str | None = None
    ) -> None:
        with self.lock:
            audience, member = self._member(email, list_id)
            audience.set_tags(member, add or [], remove or [])

    def act_busy(self, times: int = 1, status: int = 429) -> None:
        """Answer the next calls with 429 or 403 and no JSON, as the platform does when it is overrun."""
        self.busy.extend([status] * times)

    def act_throttle(self, email: str, on: bool = True, list_id: str | None = None) -> None:
        """The address has signed up to too many lists lately and is refused for hours or days."""
        with self.lock:
            throttled = self._list(list_id).throttled
            (throttled.add if on else throttled.discard)(member_hash(email))

    def act_set_double_optin(self, on: bool = True, list_id: str | None = None) -> None:
        with self.lock:
            self._list(list_id).double_optin = on

    # Loading and looking

    def load_contacts(self, list_id: str, contacts: Iterable[Any]) -> int:
        """Contacts that were there before: no mail, no webhook. Gives their number.

        Dicts or dataclasses. Each has `email`; besides `status` (default subscribed), `first_name`, `last_name`,
        `merge_fields`, `tags`, `language`, `vip`, `source`, `ip_signup`, `ip_opt`, `timestamp_signup`, `timestamp_opt`,
        `last_changed`, `unsubscribed_at` (ISO text or datetime), `unsubscribe_reason`, and `unsubscribed_by`: "self" (default),
        "api" or "admin". The invented world's names for times work too (`signed_up_at`, `opted_in_at`, `changed_at`). Other
        keys are ignored.
        """
        audience, count = self.lists.audiences[list_id], 0
        with self.lock:
            for given in contacts:
                audience.load(given if isinstance(given, dict) else asdict(given))
                count += 1
        return count

    def state(self) -> dict[str, Any]:
        """Everything, as JSON. `members` of all audiences in one list, each with its `list_id`."""
        with self.lock:
            audiences, stores = self.lists.audiences.values(), self.shops.stores
            return {
                "lists": {
                    a.id: {
                        "name": a.name,
                        "double_optin": a.double_optin,
                        "merge_fields": [
                            {"tag": f.tag, "name": f.name, "type": f.type, "required": f.required} for f in a.fields
                        ],
                        "forgotten": sorted(a.forgotten),
                        "webhooks": [{k: v for k, v in w.items() if k != "secret"} for w in a.webhooks.values()],
                        "abuse_reports": list(a.abuse_reports),
                    }
                    for a in audiences
                },
                "members": [_state_of(a, m) for a in audiences for m in a.members.values()],
                "stores": {i: s.fields | {"created_at": s.created, "updated_at": s.updated} for i, s in stores.items()},
                "products": {i: list(s.products.values()) for i, s in stores.items()},
                "customers": {i: list(s.customers.values()) for i, s in stores.items()},
                "orders": {i: list(s.orders.values()) for i, s in stores.items()},
                "carts": {i: list(s.carts.values()) for i, s in stores.items()},
                "promo_rules": {i: list(s.promo_rules.values()) for i, s in stores.items()},
                "promo_codes": {i: {r: list(c.values()) for r, c in s.promo_codes.items()} for i, s in stores.items()},
                "connected_sites": list(self.shops.promos.sites.values()),
                "batches": [
                    {"id": b.id, "status": b.status, "operations": len(b.operations), "errored": b.errored}
                    for b in self.batches.batches.values()
                ],
                "deliveries": [{k: v for k, v in d.items() if k != "secret"} for d in self.deliveries],
                "mails": list(self.books.mails),
            }


def _state_of(audience: Audience, member: Member) -> Json:
    return {
        "list_id": audience.id,
        "email_address": member.email,
        "id": member.key,
        "contact_id": member.contact_id,
        "status": member.status,
        "compliance": member.compliance,
        "before_archive": member.before_archive,
        "unsubscribe_reason": member.unsubscribe_reason,
        "merge_fields": dict(member.merge),
        "tags": sorted(member.tags),
        "language": member.language,
        "vip": member.vip,
        "source": member.source,
        "ip_signup": member.ip_signup,
        "ip_opt": member.ip_opt,
        "timestamp_signup": stamp(member.timestamp_signup),
        "timestamp_opt": stamp(member.timestamp_opt),
        "last_changed": stamp(member.last_changed),
        "events": list(member.events),
    }


def _answer(status: int, body: bytes) -> Response:
    if status == 204:
        return Response(status_code=204)
    kind = "application/json" if status == 200 else "application/problem+json"
    return Response(body, status, media_type=f"{kind}; charset=utf-8")


def _stranger() -> Problem:
    detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
    return Problem(401, "API Key Invalid", detail)


def _is_due(delivery: Json) -> bool:
    return delivery["status"] is None or not 200 <= delivery["status"] < 300


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    """data[merges][FNAME]=Ann, as PHP writes nested forms."""
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in _flat(f"{name}[{k}]", v)]
    return [(name, str(value))]
