"""facts: what the policy's table is asked. Statuses of both sides, order in time, what moved, and the phase."""

from __future__ import annotations

from typing import Any

import pytest

SIDES = "address | side | status | event_id | root_event_id | earliest_at | latest_at"
SHOP_IN = "a | shop | subscribed | s1 | s1 | 02-05 | 02-05"
SHOP_OUT = "a | shop | unsubscribed | s1 | s1 | 02-05 | 02-05"
ESP_IN = "a | esp | subscribed | e1 | e1 | 02-03 | 02-03"
ESP_OUT = "a | esp | unsubscribed | e1 | e1 | 02-03 | 02-03"


def known(
    drawn: Any, *, shop: bool = True, contact: str | None = "subscribed", was_known: bool = False, ours: bool = False
) -> None:
    if shop:
        drawn.given("people", "address\n a")
    if was_known or shop:
        drawn.given("merge.addresses", "address\n a")
    if contact:
        drawn.given("esp.contacts", f"address | status | removed_by_us\n a | {contact} | {'yes' if ours else 'no'}")


@pytest.mark.parametrize(
    ("shop", "was_known", "sides", "status"),
    [
        (True, True, SHOP_IN, "subscribed"),
        (True, True, SHOP_OUT, "unsubscribed"),
        (True, True, "a | shop | pending | s1 | s1 | 02-05 | 02-05", "pending"),
        (True, True, "", "not_subscribed"),
        (False, True, "", "deleted"),
        (False, True, SHOP_IN, "deleted"),
        (False, True, SHOP_OUT, "unsubscribed"),  # gone, with an opt-out
        (False, False, SHOP_OUT, "unsubscribed"),  # carried to an address that no shop knew
        (False, False, "", "absent"),
    ],
)
def test_status_of_the_shops(drawn: Any, shop: bool, was_known: bool, sides: str, status: str) -> None:
    known(drawn, shop=shop, was_known=was_known)
    drawn.given("side_status", f"{SIDES}\n{sides}")
    drawn.gives("facts", f"shop_status\n {status}")


@pytest.mark.parametrize(
    ("contact", "ours", "sides", "status"),
    [
        ("subscribed", False, ESP_IN, "subscribed"),
        ("unsubscribed", False, ESP_OUT, "unsubscribed"),
        ("not_subscribed", False, "", "not_subscribed"),
        (None, False, "", "absent"),
        ("deleted", False, "", "deleted"),
        ("deleted", False, ESP_IN, "deleted"),
        ("deleted", False, ESP_OUT, "unsubscribed"),  # gone, with an opt-out
        ("deleted", True, ESP_IN, "deleted"),  # archived by us
        ("bounced", False, "", "not_subscribed"),  # suppressed before any table
        (None, False, ESP_OUT, "unsubscribed"),  # carried to an address that the ESP never knew
    ],
)
def test_status_of_the_esp(drawn: Any, contact: str | None, ours: bool, sides: str, status: str) -> None:
    known(drawn, contact=contact, ours=ours)
    drawn.given("side_status", f"{SIDES}\n{sides}")
    drawn.gives("facts", f"esp_status\n {status}")


@pytest.mark.parametrize(
    ("ours", "archived_at", "sides", "status"),
    [
        (True, "02-04", SHOP_IN, "absent"),  # 2.10: comes back with a newer opt-in
        (True, "02-06", SHOP_IN, "deleted"),  # the opt-in is older than the archiving
        (True, "02-05", SHOP_IN, "deleted"),  # a tie is not newer
        (False, "02-04", SHOP_IN, "deleted"),  # the merchant archived her
        (True, "02-04", f"{SHOP_OUT}", "deleted"),
        (True, "02-04", f"{SHOP_IN}\n a | esp | unsubscribed | e1 | e1 | 02-06 | 02-06", "unsubscribed"),  # opted out later
    ],
)
def test_who_comes_back_after_archiving(drawn: Any, ours: bool, archived_at: str, sides: str, status: str) -> None:
    known(drawn, contact="deleted", ours=ours)
    drawn.given("archivals", f"address | latest_at\n a | {archived_at}")
    drawn.given("side_status", f"{SIDES}\n{sides}")
    drawn.given("standing_events", "event_id | address | side | kind\n e1 | a | esp | opted_out")
    drawn.gives("facts", f"esp_status\n {status}")


@pytest.mark.parametrize(
    ("shop", "esp", "order"),
    [
        ("opted_in | 02-05 | 02-05", "opted_out | 02-03 | 02-03", "shop_newer"),
        ("opted_in | 02-03 | 02-05", "opted_out | 02-03 | 02-03", "unordered"),  # a tie
        ("opted_in | 02-01 | 02-05", "opted_out | 02-03 | 02-03", "unordered"),
        ("opted_in | 02-01 | 02-01", "opted_out | 02-03 | 02-03", "unordered"),  # older: the opt-out wins all the same
        ("opted_out | 02-03 | 02-03", "opted_in | 02-05 | 02-05", "esp_newer"),
        ("opted_out | 02-03 | 02-06", "opted_in | 02-05 | 02-05", "unordered"),
        ("opted_in | 02-05 | 02-05", "opted_in | 02-03 | 02-03", "shop_newer"),
        ("opted_in | 02-01 | 02-01", "opted_in | 02-03 | 02-03", "esp_newer"),
    ],
)
def test_order_in_time(drawn: Any, shop: str, esp: str, order: str) -> None:
    known(drawn)
    drawn.given(
        "consent.events",
        f"""event_id | address | side | source | record    | kind | earliest_at | latest_at
            s1       | a       | shop | shop   | customer:1 | {shop}
            e1       | a       | esp  | esp    | contact:a  | {esp}""",
    )
    drawn.build("seen_after", "standing_events", "answers", "side_status")
    drawn.gives("facts", f"time_order\n {order}")


@pytest.mark.parametrize(
    ("last", "moved"),
    [
        ("", "yes | yes"),
        ("a | subscribed | s1 | e1", "no | no"),
        ("a | subscribed | s0 | e1", "yes | no"),
        ("a | subscribed | s1 | e0", "no | yes"),
        ("a | subscribed | e1 | s1", "no | no"),  # what decides is a copy of what the other side had said
        ("a | deleted | s1 | e1", "yes | no"),  # back from being deleted
    ],
)
def test_moved_since_the_last_decision_that_both_sides_have(drawn: Any, last: str, moved: str) -> None:
    known(drawn)
    drawn.given("side_status", f"{SIDES}\n{SHOP_IN}\n{ESP_IN}")
    drawn.given("settled_decisions", f"address | shop_status | shop_root | esp_root\n{last}")
    drawn.gives("facts", f"shop_moved | esp_moved\n {moved}")


def test_who_says_nothing_does_not_move_but_by_being_deleted(drawn: Any) -> None:
    known(drawn)
    drawn.gives("facts", "shop_moved | esp_moved\n no | no")
    drawn.given("people", "address")
    drawn.gives("facts", "shop_status | shop_moved\n deleted | yes")


DECIDED = (
    "address | decision_id | decided_at | shop_status | esp_status | esp_write | esp_acknowledged_at | shop_acknowledged_at"
)


@pytest.mark.parametrize(
    ("decisions", "phase"),
    [
        ("", "first"),
        ("a | d1 | 02-01 | subscribed | subscribed | - | 02-01 | 02-01", "ongoing"),
        ("a | d1 | 02-01 | subscribed | absent | create | 02-01 | 02-01", "ongoing"),
        ("a | d1 | 02-01 | unsubscribed | absent | - | 02-01 | 02-01", "first"),  # the ESP has never known her
        ("a | d1 | 02-01 | absent | subscribed | - | 02-01 | 02-01", "first"),  # the shop has never known her
        ("a | d1 | 02-01 | subscribed | subscribed | status | - | 02-01", "first"),  # the ESP has not acknowledged
        ("a | d1 | 02-01 | subscribed | subscribed | - | 02-01 | -", "first"),  # the shop has not
        (
            """a | d1 | 02-01 | subscribed | subscribed | - | 02-01 | 02-01
               a | d2 | 02-02 | absent     | deleted    | - | 02-02 | 02-02""",
            "ongoing",  # nothing resets it
        ),
    ],
)
def test_phase(drawn: Any, decisions: str, phase: str) -> None:
    known(drawn)
    drawn.given("merge.decisions", f"{DECIDED}\n{decisions}")
    drawn.build("settled_decisions")
    drawn.gives("facts", f"phase\n {phase}")


def test_everybody_is_asked_about_once(drawn: Any) -> None:
    drawn.given("people", "address\n shop\n both")
    drawn.given("merge.addresses", "address\n was\n both")
    drawn.given("esp.contacts", "address | status\n esp | subscribed\n both | subscribed")
    drawn.given("consent.events", "event_id | address\n e1 | heard\n e2 | both")
    drawn.gives("facts", "address\n shop\n both\n was\n esp\n heard")


@pytest.mark.parametrize(
    ("groups", "active", "since", "chosen"),
    [
        ("buyer", "02-01", None, "yes"),
        ("contact", "02-01", None, "no"),
        ("contact,buyer", "02-01", None, "yes"),
        ("buyer", "02-01", "02-01", "yes"),
        ("buyer", "01-31", "02-01", "no"),
        ("buyer", "-", "02-01", "no"),  # nobody knows when
    ],
)
def test_in_a_chosen_group_and_not_too_old(drawn: Any, groups: str, active: str, since: str | None, chosen: str) -> None:
    drawn.choose(groups=("buyer", "subscriber"), customers_since=drawn.instant(since).date() if since else None)
    drawn.given("people", f"address | last_active_at\n a | {active}")
    drawn.given("memberships", f"address | groups\n a | {groups}")
    drawn.gives("facts", f"chosen\n {chosen}")


def test_whom_no_shop_knows_is_in_no_group(drawn: Any) -> None:
    known(drawn, shop=False)
    drawn.gives("facts", "chosen\n no")


@pytest.mark.parametrize(
    ("event", "is_carried", "answered", "carried"),
    [
        ("a | shop | opted_out", "no", "", "no"),
        ("a | shop | opted_out", "yes", "", "yes"),
        ("a | shop | opted_out", "yes", "s1 | e1 | esp", "no"),  # a newer opt-in answers it
        ("a | esp | opted_out", "yes", "", "no"),  # not of the shops
        ("a | shop | opted_in", "yes", "", "no"),
    ],
)
def test_an_opt_out_that_followed_from_another_address(
    drawn: Any, event: str, is_carried: str, answered: str, carried: str
) -> None:
    known(drawn)
    drawn.given("standing_events", f"event_id | is_carried | address | side | kind\n s1 | {is_carried} | {event}")
    drawn.given("answers", f"out_event | in_event | in_side\n{answered}")
    drawn.gives("facts", f"shop_carried\n {carried}", where="address = 'a'")
