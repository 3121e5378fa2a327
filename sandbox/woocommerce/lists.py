"""Lists: which parameters each kind of list takes, which rows it finds, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sandbox.woocommerce import records
from sandbox.woocommerce.records import Customer
from sandbox.woocommerce.webhooks import STATUSES as WEBHOOK_STATUSES
from sandbox.woocommerce.wordpress import Param, moment

_ROLES = ("all", "administrator", "editor", "author", "contributor", "subscriber", "customer", "shop_manager")


def declared(kind: str, version: tuple[int, ...]) -> dict[str, Param]:
    common = {
        "page": Param("integer", 1, low=1),
        "per_page": Param("integer", 10, low=1, high=100),
        "offset": Param("integer", 0),
        "search": Param(),
        "order": Param("string", "asc" if kind == "customers" else "desc", ("asc", "desc")),
        "include": Param("integers", []),
        "exclude": Param("integers", []),
    }
    if kind == "customers":
        # No date parameter at all: modified_after is ignored, orderby=modified a 400 (observed).
        return common | {
            "orderby": Param("string", "name", ("id", "include", "name", "registered_date")),
            "role": Param("string", "customer", _ROLES),
            "email": Param("email"),
        }
    dates = {"after": Param("date"), "before": Param("date")}
    if kind == "webhooks":
        return (
            common
            | dates
            | {
                "orderby": Param("string", "date", ("date", "id", "title")),
                "status": Param("string", "all", ("all", *WEBHOOK_STATUSES)),
            }
        )
    orders_by = ["date", "id", "include", "title", "slug"]
    if version >= (5, 8):
        # Observed: 3.9 ignores modified_after whatever it holds, and orderby=modified is a 400 there.
        dates |= {name: Param("date") for name in ("modified_after", "modified_before")}
        dates["dates_are_gmt"] = Param("boolean", default=False)
        orders_by.append("modified")
    if kind == "products":
        orders_by += ["popularity", "rating", "price"]
    found = common | dates | {"orderby": Param("string", "date", tuple(orders_by))}
    if kind == "orders":
        found |= {
            "status": Param("strings", ["any"], ("any", "trash", *records.STATUSES)),
            "customer": Param("integer"),
            "product": Param("integer"),
        }
    elif kind == "products":
        kinds = ("simple", "grouped", "external", "variable")
        found |= {
            "status": Param("string", "any", ("any", "future", "trash", "draft", "pending", "private", "publish")),
            "type": Param("string", None, kinds),
            "sku": Param(),
            "slug": Param(),
            "stock_status": Param("string", None, ("instock", "outofstock", "onbackorder")),
            "on_sale": Param("boolean"),
        }
    elif kind == "coupons":
        found["code"] = Param()
    return found


def matching(kind: str, table: Mapping[int, Any], values: dict[str, Any], utc_offset: timedelta) -> list[Any]:
    """The rows of a table that a list call asks for; `values` are `checked` against `declared`."""
    if values["include"]:
        rows = [table[number] for number in dict.fromkeys(values["include"]) if number in table]
    else:
        rows = list(table.values())
    if values["exclude"]:
        without = set(values["exclude"])
        rows = [row for row in rows if row.id not in without]
    tests = _tests(kind, values)
    rows = [row for row in rows if all(test(row) for test in tests)]
    return in_time(rows, values, utc_offset)


def _tests(kind: str, values: dict[str, Any]) -> list[Callable[[Any], bool]]:
    tests: list[Callable[[Any], bool]] = []
    term = str(values.get("search") or "").lower()
    if kind == "customers":
        if values["role"] != "all":
            # Observed: by default admins, subscribers and shop managers who bought are left out; guests always are.
            tests.append(lambda c: c.role == values["role"])
        if values["email"]:
            address = values["email"].lower()
            tests.append(lambda c: c.email.lower() == address)
        elif term:
            tests.append(lambda c: term in f"{c.username} {c.email} {display_name(c)}".lower())
        return tests
    if kind == "webhooks":
        if values["status"] != "all":
            tests.append(lambda w: w.status == values["status"])
        return tests
    statuses = [values["status"]] if isinstance(values.get("status"), str) else values.get("status", ["any"])
    if "any" in statuses:
        # Observed: `any` leaves out the trash, and status=any,trash does not add it.
        tests.append(lambda row: row.status != "trash")
    else:
        tests.append(lambda row: row.status in statuses)
    if kind == "orders":
        if values["customer"] is not None:
            tests.append(lambda o: o.customer_id == values["customer"])
        if values["product"] is not None:
            tests.append(lambda o: any(values["product"] in {li.product_id, li.variation_id} for li in o.lines))
        if term:
            tests.append(
                lambda o: (
                    term == str(o.id)
                    or any(term in text.lower() for text in o.billing.values())
                    or any(term in line.name.lower() for line in o.lines)
                )
            )
    elif kind == "products":
        exact = {name: values[name] for name in ("type", "sku", "slug") if values[name]}
        tests.append(lambda p: all(getattr(p, name) == value for name, value in exact.items()))
        if values["on_sale"] is not None:
            tests.append(lambda p: bool(p.sale_price) == values["on_sale"])
        if values["stock_status"]:
            tests.append(lambda p: records.stock(p)["stock_status"] == values["stock_status"])
        if term:
            tests.append(lambda p: term in f"{p.name} {p.description} {p.sku}".lower())
    elif kind == "coupons":
        if values["code"]:
            tests.append(lambda c: c.code == values["code"].lower())
        if term:
            tests.append(lambda c: term in f"{c.code} {c.description}".lower())
    return tests


def in_time(rows: list[Any], values: dict[str, Any], utc_offset: timedelta) -> list[Any]:
    """Exclusive, and of second resolution (observed)."""
    column = timedelta(0) if values.get("dates_are_gmt") else utc_offset
    for name in ("after", "before", "modified_after", "modified_before"):
        if values.get(name):
            # `moment` gives the shop's clock where a suffix was sent; with dates_are_gmt that is the observed trap.
            bound = moment(values[name], utc_offset) - column
            stamp = "modified" if name.startswith("modified") else "created"
            if name.endswith("after"):
                rows = [row for row in rows if getattr(row, stamp) > bound]
            else:
                rows = [row for row in rows if getattr(row, stamp) < bound]
    return rows


def in_order(rows: list[Any], values: dict[str, Any]) -> list[int]:
    keys: dict[str, Callable[[Any], Any]] = {
        "id": lambda row: row.id,
        "date": lambda row: (row.created, row.id),
        "registered_date": lambda row: (row.created, row.id),
        "modified": lambda row: (row.modified, row.id),
        "name": lambda row: (display_name(row).lower(), row.id),
        "price": lambda row: (Decimal(row.price or 0), row.id),
        "popularity": lambda row: (row.total_sales, row.id),
        "rating": lambda row: row.id,
    }
    if values["orderby"] == "include":
        return [row.id for row in rows]
    rows = sorted(rows, key=keys.get(values["orderby"], _title), reverse=values["order"] == "desc")
    return [row.id for row in rows]


def _title(row: Any) -> tuple[str, int]:
    return str(getattr(row, "name", getattr(row, "code", row.id))).lower(), row.id


def display_name(customer: Customer) -> str:
    return f"{customer.first_name} {customer.last_name}".strip() or customer.username
