"""events_from_orders: a tick in an order counts at the order's time, however late it is read."""

from __future__ import annotations

from typing import Any

import pytest

CASES = {
    "a guest's tick counts for the billing address": (
        """order_id | customer_id | address     | consent | ordered_at
           7        | -           | a@x.example | in      | 02-01 10:00""",
        """address     | record  | kind     | actor | earliest_at | latest_at   | as_of_at
           a@x.example | order:7 | opted_in | self  | 02-01 10:00 | 02-01 10:00 | 02-01 10:00""",
    ),
    "an account holder's tick counts for the account's address, not for the one on the bill": (
        """order_id | customer_id | address        | consent | ordered_at
           7        | 1           | bill@x.example | in      | 02-01 10:00""",
        """address           | kind
           account@x.example | opted_in""",
    ),
    "the tick of an account that is gone counts for the billing address": (
        """order_id | customer_id | address        | consent | ordered_at
           7        | 2           | bill@x.example | in      | 02-01 10:00""",
        """address        | kind
           bill@x.example | opted_in""",
    ),
    "the tick of an account we have not read counts for the billing address": (
        """order_id | customer_id | address        | consent | ordered_at
           7        | 99          | bill@x.example | in      | 02-01 10:00""",
        """address
           bill@x.example""",
    ),
    "an order of last year counts at last year's time": (
        """order_id | customer_id | address     | consent | ordered_at
           7        | -           | a@x.example | in      | 01-01 10:00""",
        """earliest_at
           01-01 10:00""",
    ),
    "no tick is no event, neither yes nor no": (
        """order_id | address     | consent | ordered_at
           7        | a@x.example | -       | 02-01
           8        | a@x.example | out     | 02-01
           9        | a@x.example | pending | 02-01""",
        "kind",
    ),
    "a test order and a draft say nothing; a failed order was ticked all the same": (
        """order_id | address     | consent | is_test | state  | ordered_at
           7        | a@x.example | in      | yes     | paid   | 02-01
           8        | a@x.example | in      | no      | draft  | 02-01
           9        | a@x.example | in      | no      | failed | 02-01""",
        """record
           order:9""",
    ),
    "an anonymised order says nothing that could attach": (
        """order_id | address | consent | ordered_at
           7        | -       | in      | 02-01""",
        "kind",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_orders(drawn: Any, name: str) -> None:
    orders, events = CASES[name]
    drawn.given(
        "shop.customers",
        """customer_id | address           | deleted_at
           1           | account@x.example | -
           2           | gone@x.example    | 02-01""",
    )
    drawn.given("incoming_orders", orders)
    drawn.gives("events_from_orders", events)


def test_the_same_order_read_again_is_one_event(drawn: Any) -> None:
    order = """order_id | address     | consent | ordered_at | state
               7        | a@x.example | in      | 02-01      | {}"""
    for state in ("pending", "paid", "refunded"):
        drawn.given("incoming_orders", order.format(state))
        drawn.add_events("events_from_orders")
    assert drawn.one("select count(*) from consent.events") == 1
