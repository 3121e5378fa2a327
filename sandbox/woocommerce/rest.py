"""Calls of the REST API: who may, what for, and how the answer looks. What is stored follows `woocommerce_shop`'s rules."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from sandbox.woocommerce import records
from sandbox.woocommerce.auth import Attempt, Key, authenticated
from sandbox.woocommerce.lists import declared, in_order, in_time, matching
from sandbox.woocommerce.records import Order, Site
from sandbox.woocommerce.shop import Shop
from sandbox.woocommerce.webhooks import STATUSES as WEBHOOK_STATUSES
from sandbox.woocommerce.webhooks import WORDPRESS, Webhook, Webhooks
from sandbox.woocommerce.wordpress import (
    Param,
    RestError,
    as_list,
    body_params,
    checked,
    invalid_params,
    is_email,
    is_true,
    missing_params,
    php_query,
    trimmed,
)

_PAGING = ("page", "per_page", "offset", "_fields", "context")
_NAMESPACES = ["oembed/1.0", "wc/v1", "wc/v2", "wc/v3", "wc/store", "wc-analytics", "wp/v2"]
_DENIED = {
    "list": ("woocommerce_rest_cannot_view", "Sorry, you cannot list resources."),
    "get": ("woocommerce_rest_cannot_view", "Sorry, you cannot view this resource."),
    "create": ("woocommerce_rest_cannot_create", "Sorry, you are not allowed to create resources."),
    "update": ("woocommerce_rest_cannot_edit", "Sorry, you are not allowed to edit this resource."),
    "delete": ("woocommerce_rest_cannot_delete", "Sorry, you are not allowed to delete this resource."),
    "batch": ("woocommerce_rest_cannot_batch", "Sorry, you are not allowed to batch manipulate this resource."),
}
_TYPES: dict[str, tuple[type, str]] = {
    "billing": (dict, "object"),
    "shipping": (dict, "object"),
    "meta_data": (list, "array"),
    "line_items": (list, "array"),
    "shipping_lines": (list, "array"),
    "fee_lines": (list, "array"),
    "coupon_lines": (list, "array"),
    "first_name": (str, "string"),
    "last_name": (str, "string"),
    "email_restrictions": (list, "array"),
}


@dataclass
class Answer:
    """What goes back; `body` None is an empty one. `pings` are webhooks to greet before the answer leaves, as the shop does."""

    body: Any
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    media: str = "application/json; charset=UTF-8"
    pings: list[Webhook] = field(default_factory=list)


@dataclass(frozen=True)
class Call:
    """A call on its way through: `asked` holds query and body together, the body going first as in WordPress."""

    method: str
    route: str
    parts: list[str]
    query: dict[str, Any]
    asked: dict[str, Any]
    site: Site
    key: Key | None

    def allow(self, deed: str) -> None:
        if self.key is None:
            code, message = _DENIED[deed]
            raise RestError(401, code, message)


@dataclass(frozen=True)
class Setup:
    """How this shop is set up; `WooCommerce` explains each."""

    version: tuple[int, ...]
    hpos: bool
    utc_offset: timedelta
    timezone_string: str
    home_url: str | None
    believes_tls: bool | None
    plain_permalinks: bool
    coming_soon_redirect: bool
    hides_broken_emails: bool
    store_id: str
    shop_name: str

    def site(self, home: str) -> Site:
        rest = f"{home}/index.php/wp-json" if self.plain_permalinks else f"{home}/wp-json"
        return Site(self.version, home, rest, self.utc_offset)


class Rest:
    """The API of one shop. `found` keeps lists between calls and must be emptied whenever anything changes."""

    def __init__(self, setup: Setup, shop: Shop, keys: list[Key]) -> None:
        self.setup, self.shop, self.keys = setup, shop, keys
        self.called_by = setup.home_url or "http://127.0.0.1"
        self.found: dict[str, list[int]] = {}
        self.webhooks: Webhooks

    def _is_tls(self, request: Request) -> bool:
        return request.url.scheme == "https" if self.setup.believes_tls is None else self.setup.believes_tls

    def home(self, request: Request) -> str:
        """Links and hooks use the host and scheme WordPress believes in (observed)."""
        return (
            self.setup.home_url
            or f"{'https' if self._is_tls(request) else 'http'}://{request.headers.get('host', '127.0.0.1')}"
        )

    def answer(self, request: Request, body: bytes) -> Answer:
        home = self.called_by = self.home(request)
        if self.setup.coming_soon_redirect and request.url.path != "/coming-soon/":
            return Answer(b"", 302, [("Location", f"{home}/coming-soon/")], "text/html; charset=UTF-8")
        raw_path: str = request.scope.get("raw_path", request.url.path.encode()).decode().partition("?")[0]
        query = php_query(request.url.query)
        route, takes_keys = self._route(raw_path, query)
        if route is None:
            return self._page(request.url.path)
        parts = [part for part in route.strip("/").split("/") if part]
        if not parts:
            return Answer(self._index(home))
        kind = request.headers.get("content-type", "")
        form = body_params(kind, body) if "urlencoded" in kind else {}
        key = None
        if parts[0] == "wc" and takes_keys:
            key = authenticated(
                Attempt(
                    method=request.method,
                    url=f"{'https' if self._is_tls(request) else 'http'}://{home.partition('://')[2]}{raw_path}",
                    query=query,
                    form=form,
                    authorization=request.headers.get("authorization", ""),
                    is_tls=self._is_tls(request),
                ),
                self.keys,
            )
        method = str(query.get("_method") or request.headers.get("x-http-method-override") or request.method).upper()
        if key is not None:
            key.check_permission(method)
        if parts[:2] != ["wc", "v3"]:
            raise _no_route()
        asked = query | (form or body_params(kind, body))
        call = Call(
            "GET" if method == "HEAD" else method, "/".join(parts[2:]), parts[2:], query, asked, self.setup.site(home), key
        )
        if call.method != "GET":
            self.found.clear()
        return self._dispatch(call)

    def _route(self, path: str, query: Mapping[str, Any]) -> tuple[str | None, bool]:
        """The REST route that a path means, and whether keys count there.

        Observed: /?rest_route= answers but refuses keys; with plain permalinks only /index.php/wp-json takes them.
        """
        if "rest_route" in query and path in {"/", "/index.php"}:
            return str(query["rest_route"]), False
        prefixes = ("/index.php/wp-json",) if self.setup.plain_permalinks else ("/wp-json", "/index.php/wp-json")
        for prefix in prefixes:
            if path == prefix or path.startswith(prefix + "/"):
                return path[len(prefix) :], True
        return None, False

    def _page(self, path: str) -> Answer:
        """The shop front, for those who follow a link out of the API."""
        is_there = path in {"/", "/coming-soon/"}
        title = html.escape(self.setup.shop_name) if is_there else "Page not found"
        text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
        return Answer(text.encode(), 200 if is_there else 404, media="text/html; charset=UTF-8")

    def _index(self, home: str) -> dict[str, Any]:
        hours = self.setup.utc_offset.total_seconds() / 3600
        return {
            "name": html.escape(self.setup.shop_name, quote=False),
            "description": "",
            "url": home,
            "home": home,
            # The option is a text; where a named zone is set, WordPress works a number out of it.
            "gmt_offset": hours if self.setup.timezone_string else f"{hours:g}",
            "timezone_string": self.setup.timezone_string,
            "namespaces": _NAMESPACES,
            "authentication": [],
            "routes": {},
        }

    # Routes

    def _dispatch(self, call: Call) -> Answer:
        match call.parts:
            case [] if call.method == "GET":
                return Answer({"namespace": "wc/v3", "routes": {}})
            case ["customers" | "orders" | "products" | "coupons" | "webhooks" as kind]:
                return self._many(call, kind)
            case ["customers" | "orders" | "products" | "coupons" | "webhooks" as kind, "batch"]:
                return self._batch(call, lambda deed, asked: self._one_of_batch(call, kind, deed, asked))
            case ["customers" | "orders" | "products" | "coupons" | "webhooks" as kind, number] if number.isdigit():
                return self._single(call, kind, int(number))
            case ["products", parent, "variations", *rest] if parent.isdigit():
                return self._variations(call, int(parent), rest)
            case ["orders", order, "refunds", *rest] if order.isdigit():
                return self._refunds(call, int(order), rest)
            case ["orders", order, "notes", *rest] if order.isdigit():
                return self._notes(call, int(order), rest)
            case ["settings", "general", *rest] if call.method == "GET":
                return self._settings(call, rest)
            case ["system_status"] if call.method == "GET":
                call.allow("list")
                return self._shown(call, self._system_status(call.site))
            case ["data", "currencies", "current"] if call.method == "GET":
                call.allow("get")
                code = self.shop.currency
                return self._shown(call, {"code": code, "name": code, "symbol": records.SYMBOLS.get(code, code)})
        raise _no_route()

    def _many(self, call: Call, kind: str) -> Answer:
        if call.method == "GET":
            return self._list(call, kind)
        if call.method != "POST":
            raise _no_route()
        self._validate(kind, call.asked, is_new=True)
        call.allow("create")
        made = self._create(kind, call.asked)
        pings = [made] if isinstance(made, Webhook) else []
        return self._shown(call, self.json(made, call.site), 201, f"{kind}/{made.id}", pings=pings)

    def _single(self, call: Call, kind: str, number: int) -> Answer:
        # A body's id goes before the address's: WordPress reads the JSON first.
        asked_id = call.asked.get("id")
        number = int(asked_id) if isinstance(asked_id, int | str) and str(asked_id).isdigit() else number
        if call.method == "GET":
            call.allow("get")
            return self._shown(call, self.json(self._get(kind, number), call.site))
        if call.method in {"PUT", "POST", "PATCH"}:
            self._validate(kind, call.asked, is_new=False)
            call.allow("update")
            changed = self.update(kind, number, call.asked)
            pings = [changed] if isinstance(changed, Webhook) else []
            return self._shown(call, self.json(changed, call.site), pings=pings)
        if call.method == "DELETE":
            call.allow("delete")
            return self._shown(call, self._delete(kind, number, call.site, is_forced=is_true(call.asked.get("force"))))
        raise _no_route()

    def _shown(
        self, call: Call, body: Any, status: int = 200, made: str = "", *, pings: list[Webhook] | None = None
    ) -> Answer:  # fmt: skip
        if call.query.get("_fields"):
            fields = [str(f).strip() for f in as_list(call.query["_fields"])]
            body = [trimmed(item, fields) for item in body] if isinstance(body, list) else trimmed(body, fields)
        headers = [("Location", f"{call.site.rest}/wc/v3/{made}")] if made else []
        return Answer(body, status, headers, pings=pings or [])

    def _batch(self, call: Call, do: Callable[[str, dict[str, Any]], tuple[Any, list[Webhook]]]) -> Answer:
        """Observed: what fails stands inside the 200, at its place. More than 100 things are refused as a whole."""
        if call.method not in {"POST", "PUT", "PATCH"}:
            raise _no_route()
        call.allow("batch")
        wanted = {deed: call.asked.get(deed) or [] for deed in ("create", "update", "delete")}
        if sum(len(items) for items in wanted.values()) > 100:
            raise RestError(
                413, "woocommerce_rest_request_entity_too_large", "Unable to accept more than 100 items for this request."
            )
        found: dict[str, list[Any]] = {}
        pings: list[Webhook] = []
        for deed, items in wanted.items():
            for item in items:
                asked = {"id": int(item)} if deed == "delete" else dict(item)
                if deed == "delete" and not asked["id"]:
                    continue
                try:
                    body, greeted = do(deed, asked)
                    pings += greeted
                except RestError as refused:
                    number = 0 if deed == "create" else asked.get("id")
                    body = {"id": number, "error": refused.body()}
                found.setdefault(deed, []).append(body)
        return Answer(found or [], pings=pings)

    def _one_of_batch(self, call: Call, kind: str, deed: str, asked: dict[str, Any]) -> tuple[Any, list[Webhook]]:
        """Nothing validates the items of a batch against the schema; only the shop's own rules hold."""
        if deed == "delete":
            return self._delete(kind, asked["id"], call.site, is_forced=True, is_batch=True), []
        if deed == "create":
            done = self._create(kind, asked)
        else:
            done = self.update(kind, int(asked.get("id") or 0), asked, is_batch=True)
        return self.json(done, call.site), [done] if isinstance(done, Webhook) else []

    def _get(self, kind: str, number: int) -> Any:
        getters: dict[str, Callable[[int], Any]] = {
            "customers": self.shop.customer,
            "orders": self.shop.order,
            "products": self.shop.product,
            "coupons": self.shop.coupon,
            "webhooks": self.webhooks.get,
        }
        return getters[kind](number)

    def _create(self, kind: str, asked: dict[str, Any]) -> Any:
        makers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "customers": self.shop.create_customer,
            "orders": self.shop.create_order,
            "products": self.shop.create_product,
            "coupons": self.shop.create_coupon,
            "webhooks": self.webhooks.create,
        }
        return makers[kind](asked)

    def update(self, kind: str, number: int, asked: dict[str, Any], *, is_batch: bool = False) -> Any:
        if kind == "customers":
            return self.shop.update_customer(number, asked, is_batch=is_batch)
        changers: dict[str, Callable[[int, Mapping[str, Any]], Any]] = {
            "orders": self.shop.update_order,
            "products": self.shop.update_product,
            "coupons": self.shop.update_coupon,
            "webhooks": self.webhooks.update,
        }
        return changers[kind](number, asked)

    def _delete(self, kind: str, number: int, site: Site, *, is_forced: bool, is_batch: bool = False) -> Any:
        """The answer shows the thing as it was before."""
        if kind == "customers":
            return self.json(self.shop.delete_customer(number, is_forced=is_forced, is_batch=is_batch), site)
        if kind == "webhooks":
            return self.json(self.webhooks.delete(number, is_forced=is_forced), site)
        before = self.json(self._get(kind, number), site)
        self.shop.trash(kind.removesuffix("s"), number, is_forced=is_forced)
        return before

    def json(self, thing: Any, site: Site) -> dict[str, Any]:
        if isinstance(thing, Order):
            found = thing.json(site, self.shop.products)
            if self.setup.hides_broken_emails and found["billing"]["email"] and not is_email(found["billing"]["email"]):
                found["billing"]["email"] = ""
            return found
        shown: dict[str, Any] = thing.json(site)
        return shown

    def _validate(self, kind: str, asked: Mapping[str, Any], *, is_new: bool) -> None:
        """What WordPress checks against the schema before WooCommerce sees it: single calls only."""
        wrong: dict[str, tuple[str, str]] = {}
        if is_new and kind == "customers" and "email" not in asked:
            raise missing_params("email")
        for name, (wanted, word) in _TYPES.items():
            if asked.get(name) is not None and not isinstance(asked[name], wanted):
                wrong[name] = ("rest_invalid_type", f"{name} is not of type {word}.")
        if kind == "customers" and not is_new and "email" in asked and not is_email(str(asked["email"])):
            wrong["email"] = ("rest_invalid_email", "Invalid email address.")
        billing = asked.get("billing")
        if kind in {"customers", "orders"} and isinstance(billing, Mapping) and billing.get("email") == "":
            # An empty address is none; null clears it.
            wrong["billing"] = ("rest_invalid_email", "Invalid email address.")
        choices: dict[str, tuple[str, ...]] = {}
        if kind == "orders":
            choices = {"status": records.STATUSES, "currency": tuple(records.SYMBOLS)}
        elif kind == "webhooks":
            choices = {"status": WEBHOOK_STATUSES}
        for name, among in choices.items():
            if asked.get(name) is not None and asked[name] not in among:
                wrong[name] = ("rest_not_in_enum", f"{name} is not one of {', '.join(among[:-1])}, and {among[-1]}.")
        if wrong:
            raise invalid_params(wrong)

    # Below products and orders

    def _variations(self, call: Call, parent: int, rest: list[str]) -> Answer:
        shop = self.shop
        if rest == ["batch"]:

            def do(deed: str, asked: dict[str, Any]) -> tuple[Any, list[Webhook]]:
                if deed == "create":
                    return shop.create_variation(parent, asked).json(call.site), []
                if deed == "update":
                    return shop.update_variation(parent, int(asked.get("id") or 0), asked).json(call.site), []
                return shop.delete_variation(parent, asked["id"]).json(call.site), []

            return self._batch(call, do)
        if not rest and call.method == "GET":
            values = self._list_params(call, "products")
            rows = [v for v in shop.variations.values() if v.parent == parent]
            return self._listed(call, "products", values, in_order(rows, values), shop.variations)
        if not rest and call.method == "POST":
            call.allow("create")
            made = shop.create_variation(parent, call.asked)
            return self._shown(call, made.json(call.site), 201, f"products/{parent}/variations/{made.id}")
        if len(rest) == 1 and rest[0].isdigit():
            number = int(rest[0])
            if call.method == "GET":
                call.allow("get")
                return self._shown(call, shop.variation(parent, number).json(call.site))
            if call.method == "DELETE":
                call.allow("delete")
                return self._shown(call, shop.delete_variation(parent, number).json(call.site))
            call.allow("update")
            return self._shown(call, shop.update_variation(parent, number, call.asked).json(call.site))
        raise _no_route()

    def _refunds(self, call: Call, number: int, rest: list[str]) -> Answer:
        if not rest and call.method == "POST":
            call.allow("create")
            made = self.shop.create_refund(number, call.asked)
            return self._shown(call, made.json(call.site), 201, f"orders/{number}/refunds/{made.id}")
        if not rest and call.method == "GET":
            values = self._list_params(call, "refunds")
            order = self.shop.orders.get(number)
            if order is None:
                raise RestError(404, "woocommerce_rest_invalid_order_id", "Invalid order ID.")
            table = {refund.id: refund for refund in order.refunds}
            rows = in_time(list(order.refunds), values, self.setup.utc_offset)
            return self._listed(call, "refunds", values, in_order(rows, values), table)
        order = self.shop.orders.get(number)
        refund = next((r for r in order.refunds if [str(r.id)] == rest), None) if order else None
        if order is None or refund is None:
            raise RestError(404, "woocommerce_rest_invalid_order_refund_id", "Invalid order refund ID.")
        if call.method == "DELETE":
            call.allow("delete")
            if not is_true(call.asked.get("force")):
                raise RestError(501, "woocommerce_rest_trash_not_supported", "The shop_order_refund does not support trashing.")
            order.refunds.remove(refund)
        else:
            call.allow("get")
        return self._shown(call, refund.json(call.site))

    def _notes(self, call: Call, number: int, rest: list[str]) -> Answer:
        def shown(note: Mapping[str, Any]) -> dict[str, Any]:
            return {
                "id": note["id"],
                "author": note["author"],
                **call.site.stamps("date_created", note["at"]),
                "note": note["note"],
                "customer_note": note["customer_note"],
                "_links": call.site.links(f"orders/{number}/notes", note["id"], up=f"orders/{number}"),
            }

        if not rest and call.method == "POST":
            if "note" not in call.asked:
                raise missing_params("note")
            call.allow("create")
            made = self.shop.create_note(number, call.asked)
            return self._shown(call, shown(made), 201, f"orders/{number}/notes/{made['id']}")
        call.allow("list")
        order = self.shop.orders.get(number)
        if order is None:
            raise RestError(404, "woocommerce_rest_order_invalid_id", "Invalid order ID.")
        if rest:
            note = next((n for n in order.notes if [str(n["id"])] == rest), None)
            if note is None:
                raise RestError(404, "woocommerce_rest_invalid_id", "Invalid resource ID.")
            return self._shown(call, shown(note))
        kind = checked(call.query, {"type": Param("string", "any", ("any", "customer", "internal"))})["type"]
        wanted = [n for n in reversed(order.notes) if kind == "any" or n["customer_note"] == (kind == "customer")]
        return self._shown(call, [shown(n) for n in wanted])

    def _settings(self, call: Call, rest: list[str]) -> Answer:
        call.allow("list")
        values = {
            "woocommerce_store_address": "",
            "woocommerce_store_city": "Malmö",
            "woocommerce_default_country": "SE",
            "woocommerce_store_postcode": "211 20",
            "woocommerce_calc_taxes": "yes",
            "woocommerce_enable_coupons": "yes",
            "woocommerce_currency": self.shop.currency,
            "woocommerce_currency_pos": "right_space",
            "woocommerce_price_thousand_sep": " ",
            "woocommerce_price_decimal_sep": ",",
            "woocommerce_price_num_decimals": "2",
        }
        shown = {
            name: {
                "id": name,
                "label": name.removeprefix("woocommerce_").replace("_", " ").capitalize(),
                "description": "",
                "type": "text",
                "default": "",
                "value": value,
                "group_id": "general",
                "_links": {"self": [{"href": f"{call.site.rest}/wc/v3/settings/general/{name}"}]},
            }
            for name, value in values.items()
        }
        if not rest:
            return self._shown(call, list(shown.values()))
        if len(rest) > 1 or rest[0] not in shown:
            raise RestError(404, "rest_setting_setting_invalid", "Invalid setting.")
        return self._shown(call, shown[rest[0]])

    def _system_status(self, site: Site) -> dict[str, Any]:
        environment = {
            "home_url": site.home,
            "site_url": site.home,
            "version": ".".join(map(str, self.setup.version)),
            "wp_version": WORDPRESS.get(self.setup.version[0], "6.5"),
            "wp_multisite": False,
            "language": "sv_SE",
            "server_info": "PHP 8.2 Development Server",
            "php_version": "8.2.0",
        }
        if self.setup.version >= (8, 4):
            environment["store_id"] = self.setup.store_id
        return {
            "environment": environment,
            "database": {"wc_database_version": ".".join(map(str, self.setup.version))},
            "active_plugins": [
                {"plugin": "woocommerce/woocommerce.php", "name": "WooCommerce", "version": environment["version"]}
            ],
            "inactive_plugins": [],
            "settings": {
                "api_enabled": False,
                "force_ssl": False,
                "currency": self.shop.currency,
                "currency_symbol": records.SYMBOLS.get(self.shop.currency, ""),
                "number_of_decimals": 2,
                **({"HPOS_enabled": self.setup.hpos} if self.setup.version >= (8, 0) else {}),
            },
        }

    # Lists

    def _list_params(self, call: Call, kind: str) -> dict[str, Any]:
        """Checked before anybody asks for a key, as WordPress does; raises for what is not allowed."""
        values = checked(call.query, declared(kind, self.setup.version))
        call.allow("list")
        return values

    def _list(self, call: Call, kind: str) -> Answer:
        values = self._list_params(call, kind)
        tables: dict[str, dict[int, Any]] = {
            "customers": self.shop.customers,
            "orders": self.shop.orders,
            "products": self.shop.products,
            "coupons": self.shop.coupons,
            "webhooks": self.webhooks.hooks,
        }
        table = tables[kind]
        if kind == "webhooks":  # their status changes by failing, which is nobody's call
            self.found.clear()
        # One search serves all its pages until something changes: sorting 60,000 orders for each page would not do.
        name = repr((kind, [(k, v) for k, v in values.items() if k not in _PAGING]))
        found = self.found.get(name)
        if found is None:
            if len(self.found) > 50:
                self.found.clear()
            found = self.found[name] = in_order(matching(kind, table, values, self.setup.utc_offset), values)
        return self._listed(call, kind, values, found, table)

    def _listed(self, call: Call, kind: str, values: dict[str, Any], found: list[int], table: Mapping[int, Any]) -> Answer:
        per_page, page = values["per_page"], values["page"]
        start = values["offset"] or (page - 1) * per_page
        shown = found[start : start + per_page]
        total, pages = len(found), math.ceil(len(found) / per_page)
        if kind == "customers" and values["offset"]:
            page = math.ceil(values["offset"] / per_page + 1)
        if kind == "orders" and self.setup.hpos and not shown:
            total = pages = 0  # observed: with HPOS a page past the end knows no totals
        answer = self._shown(call, [self.json(table[number], call.site) for number in shown])
        answer.headers += [("X-WP-Total", str(total)), ("X-WP-TotalPages", str(pages))]
        links = []
        if page > 1:
            links.append((min(page - 1, pages), "prev"))
        if pages > page:
            links.append((page + 1, "next"))
        if links:
            base = f"{call.site.rest}/wc/v3/{call.route}"
            answer.headers.append(
                ("Link", ", ".join(f'<{base}?{urlencode(_flat(call.query) | {"page": n})}>; rel="{rel}"' for n, rel in links))
            )
        return answer

    def body_for_webhook(self, resource: str, number: int) -> dict[str, Any]:
        """What the owner of a webhook would GET now, be it an error (observed: wc_user_invalid_id, validly signed)."""
        site = self.setup.site(self.called_by)
        try:
            variation = self.shop.variations.get(number) if resource == "product" else None
            return self.json(variation or self._get(f"{resource}s", number), site)
        except RestError as refused:
            return refused.body()


def _no_route() -> RestError:
    return RestError(404, "rest_no_route", "No route was found matching the URL and request method.")


def _flat(query: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in query.items():
        name = f"{prefix}[{key}]" if prefix else str(key)
        found |= _flat(value, name) if isinstance(value, Mapping) else {name: str(value)}
    return found
