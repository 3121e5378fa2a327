"""A small world in which every kind of write occurs, in three days: first sync, a day of changes, the way back to the shop.

Everything that happens in it is fixed, so that two runs through it can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from sandbox.mailchimp import Mailchimp
from sandbox.server import Running, serve
from sandbox.woocommerce import WooCommerce
from sandbox.world import Account, Address, Contact, Line, Order, Product, Refund, Variation, World

T0 = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

CONFIG = """\
[settings]
data_dir = "state"

[connections.demo]
policy = "consent-first"
customers_every_minutes = 0
{more}
[connections.demo.guards]  # everybody here changes, and most tests are not about that
subscribe = 1
unsubscribe_inferred = 1
delete = 1

[connections.demo.shop]
platform = "woocommerce"
url = "{shop}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"

[connections.demo.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "a1b2c3d4e5"
base_url = "{esp}/3.0"
"""

CONSENTS = ("1", "0", "1", "1", "", "1", "1", None, "1", "1", "yes", "no")
"""Of p1@ to p12@, as the newsletter plugin stored them."""

CONTACTS = {
    1: "transactional",  # opted in in the shop: subscribed at the ESP
    2: "subscribed",  # opted out in the shop: unsubscribed at the ESP
    3: "unsubscribed",  # opted in in the shop, unordered: the shop is told
    4: "cleaned",  # the shop is told of the bounce
    5: "subscribed",  # never said anything in the shop: the shop is told
    6: "archived",
    7: "pending",
}
"""Who of them is in the audience already."""


class LoggedMailchimp(Mailchimp):
    """Writes down every operation, also those inside batches: (method, path, body, status, answer)."""

    def __init__(self, **switches: Any) -> None:
        self.operations: list[tuple[str, str, Any, int, Any]] = []
        super().__init__(**switches)

    def _call(self, method: str, path: str, query: dict[str, str], body: bytes | None, base: str) -> tuple[int, bytes]:
        status, answer = super()._call(method, path, query, body, base)
        told = orjson.loads(body) if body else None
        self.operations.append((method, path, told, status, orjson.loads(answer) if answer else None))
        return status, answer


def address(number: int) -> str:
    return f"p{number}@example.com"


def world() -> World:
    products = (
        Product(1, "Te Grön", "P-1", Decimal("79.00"), T0, T0),
        Product(2, "Mugg", "P-2", Decimal("120.00"), T0, T0),
        Product(
            3,
            "Decke",
            "",
            Decimal("300.00"),
            T0,
            T0,
            (Variation(4, "P3-S", "S", Decimal("300.00")), Variation(5, "P3-L", "L", Decimal("340.00"))),
        ),
        Product(6, "Vase", "P-6", Decimal("55.00"), T0, T0, is_deleted=True),
    )
    accounts = tuple(
        Account(
            number,
            address(number),
            f"Anna{number}",
            "Öberg",
            "sv",
            Address(f"Anna{number}", "Öberg", "", "Malmö", "211 20", "SE", address(number), ""),
            T0 + timedelta(days=number),
            None,
            consent,
            None,
        )
        for number, consent in enumerate(CONSENTS, start=1)
    )
    guests = tuple(
        Address(f"Gast{number}", "Weiß", "", "Köln", "50667", "DE", f"g{number}@example.org") for number in (1, 2, 3)
    )
    buyers: list[tuple[int | None, Address, str, str | None]] = [
        (1, accounts[0].billing, "completed", None),
        (2, accounts[1].billing, "completed", None),
        (3, accounts[2].billing, "processing", None),
        (9, accounts[8].billing, "completed", None),
        (10, accounts[9].billing, "completed", None),
        (10, accounts[9].billing, "refunded", None),
        (11, accounts[10].billing, "pending", None),
        (12, accounts[11].billing, "failed", None),
        (None, guests[0], "completed", "1"),
        (None, guests[1], "completed", "0"),
        (None, guests[2], "completed", None),
        (None, guests[0], "completed", None),
    ]
    orders = tuple(_order(number, *buyer, products) for number, buyer in enumerate(buyers, start=1))
    contacts = tuple(
        Contact(
            address(number),
            status,
            T0 + timedelta(days=20),
            T0 + timedelta(days=20) if status in {"subscribed", "unsubscribed"} else None,
            T0 + timedelta(days=30),
            "Anna",
            "Öberg",
        )
        for number, status in CONTACTS.items()
    )
    return World(T0 + timedelta(days=60), accounts, guests, products, (), orders, contacts)


def _order(
    number: int, account: int | None, billing: Address, status: str, tick: str | None, products: tuple[Product, ...]
) -> Order:
    at = T0 + timedelta(days=30, hours=number)
    product = products[number % len(products)]
    chosen = product.variations[number % 2] if product.variations else None
    price = chosen.price if chosen else product.price
    line = Line(
        product.key,
        chosen.key if chosen else None,
        product.name,
        chosen.sku if chosen else product.sku,
        2,
        price,
        price * 2,
        price * 2 / 5,
    )
    is_paid = status in {"completed", "processing", "refunded"}
    return Order(
        key=number,
        account=account,
        billing=billing,
        status=status,
        currency="EUR",
        placed_at=at,
        changed_at=at,
        paid_at=at if is_paid else None,
        completed_at=at if status == "completed" else None,
        lines=(line,),
        shipping=Decimal(0),
        discount=Decimal(0),
        total=price * 2,
        tax=line.tax,
        tick=tick,
        refunds=(Refund(at, price * 2, "sent back"),) if status == "refunded" else (),
    )


def twins(**switches: Any) -> tuple[WooCommerce, LoggedMailchimp]:
    """The shop and the audience on the morning of the first day."""
    shop = WooCommerce()
    esp = LoggedMailchimp(batch_seconds=0, call_seconds=0, **switches)
    told = world()
    shop.from_world(told)
    esp.load_contacts(esp.audience.id, [asdict(contact) for contact in told.contacts])
    return shop, esp


def second_day(shop: WooCommerce, esp: Mailchimp) -> None:
    """Both sides change: on the next sync somebody is archived, unsubscribed, created, renamed; orders come and change."""
    shop.act_wait(5)
    shop.act_delete_customer(address(8))
    shop.act_tick(address(9), "0")
    shop.act_register("new@example.com", first_name="Nina", last_name="Neu", consent="1")
    number = shop.shop.customer_by_email(address(10)).id
    shop.act_merchant_edit("customer", number, {"last_name": "Lindqvist"})
    shop.act_order(customer_id=number)
    shop.act_order(email="late.guest@example.org", consent_tick="1", billing={"first_name": "Lea", "country": "DE"})
    shop.act_refund(next(iter(shop.shop.orders)))
    esp.act_self_unsubscribe(address(11))


def third_day(shop: WooCommerce, esp: Mailchimp) -> None:
    """People say things at the ESP, and mail to somebody bounces: the shop has to hear of it."""
    esp.act_self_unsubscribe(address(1))
    esp.act_clean(address(10))
    esp.act_complain("new@example.com" if esp.audience.find("new@example.com") else address(9))
    esp.act_self_subscribe(address(12))
    esp.act_admin_unsubscribe("g1@example.org")


def write_config(folder: Path, shop_url: str, esp_url: str, key: str, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "shopsync.toml"
    path.write_text(CONFIG.format(shop=shop_url, esp=esp_url, key=key, more=more), encoding="utf-8")
    return path


@contextmanager
def served(shop: WooCommerce, esp: Mailchimp, ports: tuple[int, int] = (0, 0)) -> Iterator[tuple[Running, Running]]:
    with serve(shop, port=ports[0]) as shop_running, serve(esp, port=ports[1]) as esp_running:
        yield shop_running, esp_running


# What two runs through this world must have in common

_PASSING = {
    *("contact_id", "last_changed", "timestamp_opt", "timestamp_signup", "created_at", "updated_at", "at"),
    *("date_created", "date_created_gmt", "date_modified", "date_modified_gmt", "_links"),
}


def both_sides(shop: WooCommerce, esp: Mailchimp) -> dict[str, Any]:
    """Everything that both twins hold, without the times and ids of the moment; equal worlds give equal values."""
    there, here = esp.state(), shop.state()
    held = {name: there[name] for name in ("lists", "members", "stores", "products", "customers", "orders", "mails")}
    for record in [*here["customers"], *here["orders"]]:
        record["meta_data"] = {entry["key"]: entry["value"] for entry in record["meta_data"]}
    held |= {f"shop {name}": here[name] for name in ("customers", "orders", "mails")}
    plain: dict[str, Any] = _plain(orjson.loads(orjson.dumps(held, default=str)))
    return plain


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in sorted(node.items()) if key not in _PASSING}
    if isinstance(node, list):
        return sorted((_plain(item) for item in node), key=orjson.dumps)
    return node


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two such values differ, as sentences."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [d for key in sorted({*one, *other}) for d in differences(one.get(key), other.get(key), f"{path}/{key}")]
    if isinstance(one, list) and isinstance(other, list):
        ones, others = ([orjson.dumps(item) for item in items] for items in (one, other))
        gone = [item.decode() for item in ones if item not in others]
        came = [item.decode() for item in others if item not in ones]
        if len(gone) == len(came) == 1:
            return differences(orjson.loads(gone[0]), orjson.loads(came[0]), f"{path}[]")
        told = [f"{path}: missing {item}" for item in gone] + [f"{path}: surplus {item}" for item in came]
        return told or ([] if len(one) == len(other) else [f"{path}: {len(one)} became {len(other)}"])
    return [] if one == other else [f"{path}: {one!r} became {other!r}"]


def consent_writes(esp: LoggedMailchimp) -> list[tuple[str, str, str]]:
    """Every consent write that was carried out at the ESP: (address, status, how)."""
    done = []
    for method, path, told, status, answer in esp.operations:
        if method == "POST" and path == f"/lists/{esp.audience.id}" and status == 200:
            taken = {m["email_address"].lower() for m in [*answer["new_members"], *answer["updated_members"]]}
            done += [(m["email_address"].lower(), m["status"], "POST") for m in told["members"] if m["email_address"] in taken]
        elif "/members/" in path and method == "DELETE" and status == 204:
            done.append((path.rpartition("/")[2], "archived", "DELETE"))
        elif "/members/" in path and method in {"PUT", "PATCH"} and "status" in (told or {}):
            done.append((path.rpartition("/")[2], told["status"], method))
    return done


def created_twice(esp: LoggedMailchimp) -> list[str]:
    """Stores, products, customers and orders of which a second creation succeeded."""
    made = [
        (path, str(told.get("id")))
        for method, path, told, status, _ in esp.operations
        if method == "POST" and path.startswith("/ecommerce/stores") and status == 200
    ]
    return sorted({f"{path}/{number}" for path, number in made if made.count((path, number)) > 1})
