"""The e-commerce store of a Mailchimp audience: products, customers and orders, and the switch that holds automations.

Facts: API description and "E-commerce" guide, read 2026-11-22. What a record points to has to be there first: store, products
with their variants, customers, orders.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlsplit

from tasks.connector import Record, RefusedCall, SetupError, StoreState, Write
from tasks.esps.mailchimp.batches import Batches, Operation, Result
from tasks.esps.mailchimp.walk import MOST
from tasks.esps.mailchimp.words import stamp
from tasks.http import Answer

OURS = "shopsync-"
"""What the ids of our stores start with."""
KINDS: Final = {"product": "products", "customer": "customers", "order": "orders"}
"""Our kinds of writes, and Mailchimp's collections."""
FINANCIAL_STATUS: Final = {
    "paid": "paid",
    "pending": "pending",
    "refunded": "refunded",
    "partially_refunded": "partially_refunded",
    # An order that was sent once and is none any more: Mailchimp's figures must lose it.
    "cancelled": "cancelled",
    "cancelled_unpaid": "cancelled",
    "failed": "cancelled",
    "trashed": "cancelled",
}


class Stores:
    """`ask(method, path, **options)` is the connector's way to call."""

    def __init__(self, ask: Callable[..., Answer], batches: Batches) -> None:
        self._ask, self._batches = ask, batches

    def prepare(self, store: Record, list_id: str | None) -> StoreState:
        known = self._find(store["store_id"])
        if known is None:
            body = {"id": store["store_id"], "list_id": list_id, "name": store["name"], "is_syncing": True}
            body |= {"domain": store["domain"], "currency_code": store["currency"], "platform": store["platform"]}
            advice = " Another plugin or connection has brought this shop there: disconnect that, or use another account."
            set_up(self._ask, "POST", "/ecommerce/stores", body, "the store", if_taken=advice)
            return "made"
        home = _home(known.get("domain"))
        has_moved = home != _home(store["domain"])
        if has_moved and home not in map(_home, store["former_domains"]):
            raise SetupError(
                f"Mailchimp's store {store['store_id']} belongs to {known.get('domain')}, and this shop is {store['domain']}. "
                "A copy of a shop must not write; if the shop has moved, correct the store's domain at Mailchimp."
            )
        if known.get("list_id") != list_id:
            raise SetupError(
                f"Mailchimp's store {store['store_id']} feeds audience {known.get('list_id')}, not {list_id}, and a store "
                "cannot change its audience; set list_id back, or disconnect the shop first."
            )
        if has_moved:
            path, body = _store_path(store["store_id"]), {"domain": store["domain"]}
            set_up(self._ask, "PATCH", path, body, "the new domain of the store")
        return "held" if known.get("is_syncing") else "ready"

    def _find(self, store_id: str) -> Record | None:
        try:
            found: Record = self._ask("GET", _store_path(store_id), params={"fields": "id,list_id,domain,is_syncing"}).json
        except RefusedCall as refused:
            if refused.status == 404:
                return None
            raise
        return found

    def hold(self, store_id: str, hold: bool) -> None:
        set_up(self._ask, "PATCH", _store_path(store_id), {"is_syncing": hold}, "to switch automations of the store")

    def forget(self, store_id: str, email: str) -> None:
        """Delete the customers of an address, and before them their orders, by which nothing else would lead to them."""
        store = _store_path(store_id)
        for customer in self._listed(f"{store}/customers", "customers", email_address=email):
            while orders := self._listed(f"{store}/orders", "orders", customer_id=customer):
                for order in orders:
                    self._delete(f"{store}/orders/{quote(order, safe='')}")
            self._delete(f"{store}/customers/{quote(customer, safe='')}")

    def _listed(self, path: str, key: str, **filters: str) -> list[str]:
        try:
            found = self._ask("GET", path, params={"count": MOST, "fields": f"{key}.id", **filters}).json
        except RefusedCall as refused:
            if refused.status == 404:  # there is no such store
                return []
            raise
        return [each["id"] for each in found.get(key) or []]

    def _delete(self, path: str) -> None:
        try:
            self._ask("DELETE", path)
        except RefusedCall as refused:
            if refused.status != 404:
                raise SetupError(
                    f"Mailchimp does not delete what its store holds: {refused.message or refused.code}."
                ) from refused

    def send(self, kind: str, writes: Sequence[Write]) -> dict[str, Result]:
        """Answers by write_id. Only customers have PUT everywhere (that of products and orders came in 2026): the others are
        made or changed. Whoever is there although we did not know, or is gone although we did, goes the other way then.
        """
        first = {w.write_id: "PUT" if kind == "customer" else "PATCH" if w.known else "POST" for w in writes}
        results = self._batches.run([_call(kind, write, first[write.write_id]) for write in writes])
        second = {
            write_id: "PATCH" if first[write_id] == "POST" else "POST"
            for write_id, result in results.items()
            if (first[write_id] == "POST" and "already exists" in result.text)
            or (first[write_id] == "PATCH" and result.status == 404)
        }
        for write_id in second:
            del results[write_id]
        results |= self._batches.run([_call(kind, w, second[w.write_id]) for w in writes if w.write_id in second])
        if kind == "order":
            self._hand_over(writes, results)
            self._drop_lines(writes, results)
        if any(result.status == 404 for result in results.values()):
            for store_id in {write.payload["store_id"] for write in writes}:
                if self._find(store_id) is None:
                    raise SetupError(
                        f"Mailchimp's store {store_id} is gone; sync twice: the first makes it again, the second fills it."
                    )
        return results

    def _hand_over(self, writes: Sequence[Write], results: dict[str, Result]) -> None:
        """PATCH leaves an order with the customer who has it: for another one it is taken away and made again, quietly, since
        a new order's status sends its buyer a notification."""
        moved = [w for w in writes if w.write_id in results and _is_anothers(w, results[w.write_id])]
        if not moved:
            return
        with self._quiet({w.payload["store_id"] for w in moved}):
            gone = self._batches.run([Operation(w.write_id, "DELETE", path_of("order", w)) for w in moved])
            for write in moved:
                del results[write.write_id]
                if (answer := gone.get(write.write_id)) and not answer.is_good and answer.status != 404:
                    results[write.write_id] = answer
            free = [w for w in moved if w.write_id in gone and w.write_id not in results]
            results |= self._batches.run([_call("order", w, "POST") for w in free])

    @contextlib.contextmanager
    def _quiet(self, store_ids: set[str]) -> Iterator[None]:
        """With automations held; what a kill leaves held is found by the next `prepare`."""
        loud = [store_id for store_id in store_ids if not (self._find(store_id) or {}).get("is_syncing")]
        for store_id in loud:
            self.hold(store_id, True)
        try:
            yield
        finally:
            for store_id in loud:
                self.hold(store_id, False)

    def _drop_lines(self, writes: Sequence[Write], results: dict[str, Result]) -> None:
        """PATCH of an order changes and adds lines and keeps the others: take those away that the shop took away."""
        drops: dict[str, Operation] = {}
        owner: dict[str, str] = {}
        for write in writes:
            shown = results[write.write_id].body.get("lines") if write.write_id in results else None
            kept = {line["line_id"] for line in write.payload["lines"]}
            for line_id in {str(line.get("id")) for line in shown or []} - kept:
                key, path = f"{write.write_id}/{line_id}", f"{path_of('order', write)}/lines/{quote(line_id, safe='')}"
                drops[key], owner[key] = Operation(key, "DELETE", path), write.write_id
        answers = self._batches.run(list(drops.values()))
        for key in drops:
            if key not in answers:
                results.pop(owner[key], None)
            elif not answers[key].is_good and answers[key].status != 404 and owner[key] in results:
                results[owner[key]] = answers[key]


def set_up(ask: Callable[..., Answer], method: str, path: str, body: Record, what: str, *, if_taken: str = "") -> None:
    """A call of the set-up; a refusal is something that the merchant has to mend. `if_taken` says how, where it is there."""
    try:
        ask(method, path, json=body)
    except RefusedCall as refused:
        advice = if_taken if "already exists" in refused.message else ""
        raise SetupError(f"Mailchimp refuses {what}: {refused.message or refused.code}{advice}") from refused


def _store_path(store_id: str) -> str:
    return f"/ecommerce/stores/{quote(store_id, safe='')}"


def _collection(kind: str, write: Write) -> str:
    return f"{_store_path(write.payload['store_id'])}/{KINDS[kind]}"


def path_of(kind: str, write: Write) -> str:
    return f"{_collection(kind, write)}/{quote(write.payload[f'{kind}_id'], safe='')}"


def _call(kind: str, write: Write, method: str) -> Operation:
    path, body = _collection(kind, write) if method == "POST" else path_of(kind, write), body_of(kind, write.payload)
    if method == "PATCH":  # it takes neither
        body = {name: value for name, value in body.items() if name not in {"id", "customer"}}
    return Operation(write.write_id, method, path, body)


def _is_anothers(order: Write, result: Result) -> bool:
    owner = (result.body.get("customer") or {}).get("id")
    return result.is_good and owner is not None and owner != order.payload["customer_id"]


def _home(address: Any) -> str:
    """`HTTPS://www.Shop.example/` and `shop.example` are one home."""
    text = str(address or "").strip().lower()
    parts = urlsplit(text if "//" in text else f"//{text}")
    return f"{parts.netloc}{parts.path}".removeprefix("www.").rstrip("/")


def body_of(kind: str, payload: Record) -> Record:
    return _BODIES[kind](payload)


def _customer(payload: Record) -> Record:
    """`opt_in_status` is always false: true subscribes contacts, known ones too by Mailchimp's e-commerce guide."""
    return {
        "id": payload["customer_id"],
        "email_address": payload["email"],
        "opt_in_status": False,
        "first_name": payload["first_name"] or "",
        "last_name": payload["last_name"] or "",
    }


def _product(payload: Record) -> Record:
    def variant(given: Record) -> Record:
        shown = {"id": given["variant_id"], "title": given["title"] or payload["title"], "sku": given["sku"] or ""}
        return shown | ({} if given["price"] is None else {"price": float(given["price"])})

    return {
        "id": payload["product_id"],
        "title": payload["title"],
        "url": payload["url"] or "",
        "image_url": payload["image_url"] or "",
        "variants": [variant(given) for given in payload["variants"]],
    }


def _order(payload: Record) -> Record:
    """An order as it stands now: what was paid back is no longer part of `order_total`, so that sums can be compared.

    The customer goes by id alone; anything more would be another way to change a contact. Which code gave which discount is
    not known: the first one carries the whole.
    """
    status = FINANCIAL_STATUS[payload["state"]]
    body = {
        "id": payload["order_id"],
        "customer": {"id": payload["customer_id"]},
        "currency_code": payload["currency"],
        "order_total": float(Decimal(payload["total"]) - Decimal(payload["refunded_total"])),
        "discount_total": float(payload["discount_total"]),
        "tax_total": float(payload["tax_total"]),
        "shipping_total": float(payload["shipping_total"]),
        "financial_status": status,
        "processed_at_foreign": stamp(datetime.fromisoformat(payload["ordered_at"])),
        "updated_at_foreign": stamp(datetime.fromisoformat(payload["updated_at"])),
        "promos": [
            {"code": code, "amount_discounted": 0.0 if number else float(payload["discount_total"]), "type": "fixed"}
            for number, code in enumerate(payload["promo_codes"])
        ],
        "lines": [
            {
                "id": line["line_id"],
                "product_id": line["product_id"],
                "product_variant_id": line["variant_id"],
                "quantity": line["quantity"],
                "price": float(line["price"]),
                "discount": float(line["discount"]),
            }
            for line in payload["lines"]
        ],
    }
    # The mere presence of this field cancels the order.
    return body | ({"cancelled_at_foreign": body["updated_at_foreign"]} if status == "cancelled" else {})


_BODIES: Final = {"product": _product, "customer": _customer, "order": _order}
