"""events_from_writes: our own writes as events. A copy is never newer than its original (behaviour.md 2.2)."""

from __future__ import annotations

from typing import Any

import pytest

ORIGINAL = """
    event_id | address     | side | source | record             | kind      | earliest_at | latest_at | caused_by
    e1       | a@x.example | esp  | esp    | contact:a@x.example | opted_out | 02-01       | 02-02     | -
    e2       | a@x.example | shop | shop   | customer:1          | opted_in  | 02-03       | 02-04     | -
    e3       | a@x.example | shop | second | customer:1          | opted_out | 02-01       | 02-02     | e1"""
WRITES = "write_id | target | kind | key | address | caused_by | payload | state | sent_at | settled_at"

CASES = {
    "an opt-out told to the shop keeps the time of the opt-out": (
        'w1 | shop | consent | 1 | a@x.example | e1 | {"status": "unsubscribed"} | acknowledged | 03-01 | 03-02',
        """side | source | record     | kind      | actor  | earliest_at | latest_at | as_of_at | caused_by
           shop | shop   | customer:1 | opted_out | system | 02-01       | 02-02     | 03-01    | e1""",
    ),
    "an opt-in told to the ESP keeps the time of the opt-in": (
        'w1 | esp | status | a@x.example | a@x.example | e2 | {"status": "subscribed"} | acknowledged | 03-01 | 03-02',
        """side | record              | kind     | earliest_at | latest_at | as_of_at | caused_by
           esp  | contact:a@x.example | opted_in | 02-03       | 02-04     | 03-01    | e2""",
    ),
    "a copy of a copy goes back to the original": (
        'w1 | shop | consent | 1 | a@x.example | e3 | {"status": "unsubscribed"} | acknowledged | 03-01 | 03-02',
        "latest_at | caused_by\n 02-02 | e1",
    ),
    "a creation is an event when it creates consent": (
        'w1 | esp | create | a@x.example | a@x.example | e2 | {"status": "pending"} | acknowledged | 03-01 | 03-02',
        "kind\n pending",
    ),
    "creating somebody who never opted in is no event": (
        'w1 | esp | create | a@x.example | a@x.example | - | {"status": "not_subscribed"} | acknowledged | 03-01 | 03-02',
        "kind",
    ),
    "a guest's order that was told is the record of that order": (
        'w1 | shop | consent | order:7 | a@x.example | e1 | {"order_id": "7", "status": "unsubscribed"} | acknowledged | - | -',
        "record | kind\n order:7 | opted_out",
    ),
    "a write that was refused is no event": (
        """w1 | esp | status | a@x.example | a@x.example | e2 | {"status": "subscribed"} | skipped  | 03-01 | 03-02
           w2 | esp | create | a@x.example | a@x.example | e2 | {"status": "subscribed"} | rejected | 03-01 | 03-02""",
        "kind",
    ),
    "a profile, a tag, a bounce are no events of consent": (
        """w1 | esp  | profile | a@x.example | a@x.example | - | {"status": "subscribed"} | acknowledged | 03-01 | 03-02
           w2 | shop | bounce  | 1           | a@x.example | e1 | {}                      | acknowledged | 03-01 | 03-02""",
        "kind",
    ),
    "without an original the time of sending is the time": (
        'w1 | shop | consent | 1 | a@x.example | - | {"status": "unsubscribed"} | acknowledged | 03-01 | 03-02',
        "earliest_at | latest_at | caused_by\n 03-01 | 03-01 | -",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_writes(drawn: Any, name: str) -> None:
    writes, events = CASES[name]
    drawn.given("consent.events", ORIGINAL)
    drawn.given("settled_writes", f"{WRITES}\n{writes}")
    drawn.gives("events_from_writes", events)


@pytest.mark.parametrize(("exception", "is_event"), [("-", True), ("E1", True), ("E3", False)])
def test_who_is_made_active_by_exception_e3_said_nothing(drawn: Any, exception: str, is_event: bool) -> None:
    drawn.given("merge.decisions", f"decision_id | exception\n d1 | {exception}\n d2 | E3")
    write = 'esp | create | d1 | {"status": "subscribed"} | acknowledged'
    drawn.given("settled_writes", f"target | kind | decision_id | payload | state\n {write}")
    drawn.gives("events_from_writes", "kind" + ("\n opted_in" if is_event else ""))
