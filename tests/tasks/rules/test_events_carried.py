"""events_carried: what follows an account from its old address to its new one (behaviour.md 12.6)."""

from __future__ import annotations

from typing import Any

import pytest

EVENTS = "event_id | address | side | source | record | kind | actor | as_of_at | caused_by"

CASES = {
    "the account's own opt-in follows": (
        "e1 | old@x.example | shop | shop | customer:1 | opted_in | self | 02-01 | -",
        "address | record | kind | caused_by\n new@x.example | customer:1 | opted_in | e1",
    ),
    "the opt-in of another account at the old address stays": (
        "e1 | old@x.example | shop | shop | customer:2 | opted_in | self | 02-01 | -",
        "kind",
    ),
    "anybody's opt-out at the old address follows": (
        "e1 | old@x.example | shop | second | customer:2 | opted_out | self | 02-01 | -",
        "address | source | record | kind\n new@x.example | second | customer:2 | opted_out",
    ),
    "an opt-out at the ESP follows, and is no record of the new contact": (
        "e1 | old@x.example | esp | esp | contact:old@x.example | opted_out | self | 02-01 | -",
        "address | record | kind\n new@x.example | carried:contact:old@x.example | opted_out",
    ),
    "an opt-in at the ESP stays": (
        "e1 | old@x.example | esp | esp | contact:old@x.example | opted_in | self | 02-01 | -",
        "kind",
    ),
    "a complaint follows": (
        "e1 | old@x.example | esp | esp | contact:old@x.example | complained | self | 02-01 | -",
        "kind\n complained",
    ),
    "a complaint follows even if the ESP shows another status now": (
        """e1 | old@x.example | esp | esp | contact:old@x.example | complained | self | 02-01 | -
           e2 | old@x.example | esp | esp | contact:old@x.example | opted_in   | self | 02-02 | -""",
        "kind\n complained",
    ),
    "a bounce stays with the old address": (
        "e1 | old@x.example | esp | esp | contact:old@x.example | bounced | self | 02-01 | -",
        "kind",
    ),
    "an opt-out that the same record took back does not follow": (
        """e1 | old@x.example | shop | shop | customer:1 | opted_out | self | 02-01 | -
           e2 | old@x.example | shop | shop | customer:1 | opted_in  | self | 02-02 | -""",
        "kind | caused_by\n opted_in | e2",
    ),
    "a tie at one record is the opt-out": (
        """e1 | old@x.example | shop | shop | customer:1 | opted_out | self | 02-01 | -
           e2 | old@x.example | shop | shop | customer:1 | opted_in  | self | 02-01 | -""",
        "kind | caused_by\n opted_out | e1",
    ),
    "a tick in the account's own order follows": (
        "e1 | old@x.example | shop | shop | order:7 | opted_in | self | 02-01 | -",
        "record | kind\n order:7 | opted_in",
    ),
    "a tick in somebody else's order stays": (
        "e1 | old@x.example | shop | shop | order:8 | opted_in | self | 02-01 | -",
        "kind",
    ),
    "our copy of an opt-in at the ESP follows as what it is a copy of": (
        """e1 | old@x.example | esp  | esp  | contact:old@x.example | opted_in | self   | 02-01 | -
           e2 | old@x.example | shop | shop | customer:1            | opted_in | system | 02-02 | e1""",
        "record | kind | actor | caused_by\n customer:1 | opted_in | self | e1",
    ),
    "what somebody else's address said stays there": (
        "e1 | else@x.example | shop | shop | customer:1 | opted_out | self | 02-01 | -",
        "kind",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_address_change(drawn: Any, name: str) -> None:
    events, carried = CASES[name]
    drawn.page("03-01 12:00")
    drawn.given(
        "shop.customers",
        """shop   | customer_id | address       | seen_at
           shop   | 1           | old@x.example | 02-20
           shop   | 2           | old@x.example | 02-20
           second | 2           | old@x.example | 02-20""",
    )
    drawn.given("shop.orders", "order_id | customer_id | address\n 7 | 1 | old@x.example\n 8 | 2 | old@x.example")
    drawn.given("consent.events", f"{EVENTS}\n{events}")
    drawn.given("incoming_customers", "customer_id | address\n 1 | new@x.example\n 2 | old@x.example")
    drawn.gives("events_carried", carried)


@pytest.mark.parametrize(
    ("address", "seen_at"),
    [("old@x.example", "02-20"), ("-", "02-20"), ("new@x.example", "03-01 12:01")],
    ids=["same address", "no address any more", "an answer older than what we know"],
)
def test_nothing_follows_where_nobody_moved(drawn: Any, address: str, seen_at: str) -> None:
    drawn.page("03-01 12:00")
    drawn.given("shop.customers", f"customer_id | address | seen_at\n 1 | old@x.example | {seen_at}")
    drawn.given("consent.events", f"{EVENTS}\n e1 | old@x.example | shop | shop | customer:1 | opted_out | self | 02-01 | -")
    drawn.given("incoming_customers", f"customer_id | address\n 1 | {address}")
    drawn.gives("events_carried", "kind")


def test_there_and_back_again_is_carried_once_each_way(drawn: Any) -> None:
    drawn.given("consent.events", f"{EVENTS}\n e1 | old@x.example | shop | shop | customer:1 | opted_out | self | 02-01 | -")
    for was, now in [("old", "new"), ("new", "old"), ("old", "new")]:
        drawn.page("03-01 12:00")
        drawn.given("shop.customers", f"customer_id | address | seen_at\n 1 | {was}@x.example | 02-20")
        drawn.given("incoming_customers", f"customer_id | address\n 1 | {now}@x.example")
        drawn.add_events("events_carried")
    assert drawn.one("select count(distinct coalesce(caused_by, event_id)) from consent.events") == 1
