"""Larder, the invented shop of docs/add-a-shop.md: lists of JSON, each record with its revision."""

from __future__ import annotations

import itertools
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import bench
from bench import NOW, Answer, Order
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.server import Fault

sys.path.insert(0, str(Path(__file__).parents[4] / "docs" / "examples"))

import larder

WORDS: dict[Answer, str] = {"in": "yes", "out": "no"}
SAID: dict[str, Answer] = {"yes": "in", "no": "out"}


class Twin:
    """The shop. `tables` hold its records by id."""

    name = "larder"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.keys, self.home, self.now = {"key-sandbox"}, "larder.example", NOW
        self.tables: dict[str, dict[str, dict[str, Any]]] = {"customers": {}, "orders": {}, "products": {}}
        self._numbers = itertools.count(1)
        self.app = Starlette(
            routes=[
                Route("/shop", self._answer),
                Route("/customers/{id}", self._answer, methods=["PUT"]),
                Route("/{table}", self._answer),
            ]
        )

    def state(self) -> dict[str, Any]:
        return {name: [dict(record) for record in table.values()] for name, table in self.tables.items()}

    def keep(self, table: str, record_id: str | None = None, **values: Any) -> str:
        """A new record, or a change of an old one."""
        with self.lock:
            record_id = record_id or str(next(self._numbers))
            new = {f"{table[:-1]}_id": record_id, "created_at": self.now.isoformat()}
            held = self.tables[table].setdefault(record_id, new)
            held |= {"updated_at": self.now.isoformat(), "revision": next(self._numbers), **values}
            return record_id

    async def _answer(self, request: Request) -> Response:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.keys:
            return JSONResponse({"code": "unauthorized", "message": "This key is unknown."}, 401)
        with self.lock:
            if request.url.path == "/shop":
                return JSONResponse({"id": "larder-1", "home": self.home})
            if request.method == "GET":
                return JSONResponse(self._listed(request.path_params["table"], request.query_params))
        said, number = await request.json(), request.path_params["id"]
        if number not in self.tables["customers"]:
            return JSONResponse({"code": "not_found", "message": "There is no such customer."}, 404)
        self.keep("customers", number, **said)
        return JSONResponse(self.tables["customers"][number])

    def _listed(self, name: str, asked: Any) -> dict[str, Any]:
        table = self.tables[name]
        if "ids" in asked:
            return {"items": [table[number] for number in asked["ids"].split(",") if number in table]}
        after, limit = int(asked.get("after", 0)), min(int(asked["limit"]), 100)
        found = sorted((r for r in table.values() if r["revision"] > after), key=lambda r: r["revision"])
        return {"items": found[:limit], "more": len(found) > limit}


class Bench(bench.Bench):
    platform = "larder"
    page_size = 100
    made_of = larder.Larder, larder.LarderSettings
    twin: Twin

    @classmethod
    def open(cls) -> Twin:
        return Twin()

    def keys(self) -> dict[str, Any]:
        return {"url": self.running.url, "api_key": "key-sandbox"}

    def wrong_keys(self) -> dict[str, Any]:
        return {"api_key": "key-wrong"}

    def wait(self, seconds: float) -> None:
        self.twin.now += timedelta(seconds=seconds)

    def call_itself(self, host: str) -> None:
        self.twin.home = host

    def mails(self) -> int:
        return 0

    def sign_up(self, email: str, answer: Answer | None = None, *, level: str | None = None, **names: str) -> str:
        return self.twin.keep("customers", email=email, **self._said(answer), **names)

    def _said(self, answer: Answer | None) -> dict[str, str]:
        return {"newsletter": WORDS[answer], "consent_at": self.twin.now.isoformat()} if answer else {}

    def say(self, customer_id: str, answer: Answer) -> None:
        self.twin.keep("customers", customer_id, **self._said(answer))

    def mumble(self, customer_id: str) -> bool:
        self.twin.keep("customers", customer_id, newsletter="vielleicht")
        return True

    def change_email(self, customer_id: str, email: str) -> None:
        self.twin.keep("customers", customer_id, email=email)

    def rename(self, customer_id: str, first_name: str) -> None:
        self.twin.keep("customers", customer_id, first_name=first_name)

    def delete(self, customer_id: str) -> None:
        del self.twin.tables["customers"][customer_id]

    def order(self, order: Order) -> str:
        product, buyer = self.twin.tables["products"][order.product], self.twin.tables["customers"].get(order.customer_id or "")
        at, price = self.twin.now.isoformat(), bench.cents(product["price"])
        amounts = {"total": str(price * order.quantity), "tax_total": str(price * order.quantity / 5)}
        line = {"line_id": "1", "product_id": order.product, "variant_id": order.product, "title": product["title"]}
        return self.twin.keep(
            "orders",
            customer_id=order.customer_id,
            email=order.email or (buyer and buyer["email"]),
            newsletter=WORDS[order.answer] if order.answer else None,
            state="paid",
            is_test=False,
            currency="EUR",
            **amounts | dict.fromkeys(("discount_total", "shipping_total", "refunded_total"), "0"),
            ordered_at=at,
            paid_at=at,
            lines=[line | {"quantity": order.quantity, "price": str(price * 4 / 5), "discount": "0"}],
        )

    def product(self, title: str, price: str) -> str:
        number = self.twin.keep("products", title=title, variant_title=title, price=price)
        return self.twin.keep("products", number, variant_id=number)

    def drop_product(self, product_id: str) -> None:
        del self.twin.tables["products"][product_id]

    def drop_order(self, order_id: str) -> None:
        del self.twin.tables["orders"][order_id]

    def refund(self, order_id: str, amount: str | None = None) -> None:
        order = self.twin.tables["orders"][order_id]
        total, before = bench.cents(order["total"]), bench.cents(order["refunded_total"])
        now = before + bench.cents(amount) if amount else total
        self.twin.keep("orders", order_id, refunded_total=str(now), state="partially_refunded" if now < total else "refunded")

    def answer_of(self, customer_id: str) -> Answer | None:
        return SAID.get(self.twin.tables["customers"][customer_id].get("newsletter", ""))

    def bounce_of(self, customer_id: str) -> str | None:
        return self.twin.tables["customers"][customer_id].get("bounced_at")

    def malform_customer(self, customer_id: str) -> str:
        self.twin.keep("customers", customer_id, email="an import left this")
        return "email"

    def malform_order(self, order_id: str) -> str:
        self.twin.keep("orders", order_id, currency="?")
        return "currency"

    def throttle(self, times: int) -> None:
        self.faults(Fault("status", status=429, headers={"retry-after": "0"}, times=times))

    def end_token(self) -> None:
        """Keys end only by a merchant's hand."""

    def revoke(self) -> None:
        self.twin.keys.clear()
