"""The merchant's hand (behaviour 2.7): "subscribed" set in a shop by hand is an opt-in only as a change that we saw, and never
over a bounce, a complaint, or a self opt-out that the shop has not heard of."""

from __future__ import annotations

from typing import Any

import pytest

World = Any

# What a page of accounts says. The page: asked 03-01 12:00, took 5 s.

A = "a@x.example"
KNOWN = "customer_id | address | consent | seen_at"
PAGE = "customer_id | address | consent | consent_actor"
EVENTS = "event_id | address | side | source | record | kind | actor | earliest_at | latest_at | as_of_at"
CASES = {
    "seen to change, it is the merchant's opt-in": (
        f"{KNOWN}\n 1 | {A} | out | 02-20",
        "",
        f"{PAGE}\n 1 | {A} | in | merchant",
        "kind | actor | earliest_at | latest_at\n opted_in | merchant | 02-20 | 03-01 12:00:05",
    ),
    "from never ticked is a change as well": (
        f"{KNOWN}\n 1 | {A} | - | 02-20",
        "",
        f"{PAGE}\n 1 | {A} | in | merchant",
        "kind | actor\n opted_in | merchant",
    ),
    "at first sight it is no opt-in": ("", "", f"{PAGE}\n 1 | {A} | in | merchant", "kind"),
    "the person's own tick at first sight is one": ("", "", f"{PAGE}\n 1 | {A} | in | self", "kind | actor\n opted_in | self"),
    "where the shop cannot tell, it counts as the person's": (
        "",
        "",
        f"{PAGE}\n 1 | {A} | in | -",
        "kind | actor\n opted_in | self",
    ),
    "the merchant saving what the person said is nothing new": (
        f"{KNOWN}\n 1 | {A} | in | 02-20",
        "",
        f"{PAGE}\n 1 | {A} | in | merchant",
        "kind",
    ),
    "the merchant's opt-out counts, also at first sight": (
        "",
        "",
        f"{PAGE}\n 1 | {A} | out | merchant",
        "kind | actor\n opted_out | merchant",
    ),
    "over a bounce it is no opt-in": (
        f"{KNOWN}\n 1 | {A} | out | 02-20",
        f"{EVENTS}\n e1 | {A} | esp | esp | contact:{A} | bounced | self | 02-10 | 02-10 | 02-10",
        f"{PAGE}\n 1 | {A} | in | merchant",
        "kind",
    ),
    "over a bounce that is over it is one": (
        f"{KNOWN}\n 1 | {A} | out | 02-20",
        f"""{EVENTS}
        e1 | {A} | esp | esp | contact:{A} | bounced  | self | 02-10 | 02-10 | 02-10
        e2 | {A} | esp | esp | contact:{A} | opted_in | self | 02-11 | 02-11 | 02-11""",
        f"{PAGE}\n 1 | {A} | in | merchant",
        "kind\n opted_in",
    ),
    "over a complaint it is no opt-in, whatever came later": (
        f"{KNOWN}\n 1 | {A} | out | 02-20",
        f"""{EVENTS}
        e1 | {A} | esp | esp | contact:{A} | complained | self | 02-10 | 02-10 | 02-10
        e2 | {A} | esp | esp | contact:{A} | opted_in   | self | 02-11 | 02-11 | 02-11""",
        f"{PAGE}\n 1 | {A} | in | merchant",
        "kind",
    ),
    "somebody else's bounce is not theirs": (
        f"{KNOWN}\n 1 | {A} | out | 02-20",
        f"{EVENTS}\n e1 | b@x.example | esp | esp | contact:b@x.example | bounced | self | 02-10 | 02-10 | 02-10",
        f"{PAGE}\n 1 | {A} | in | merchant",
        "kind\n opted_in",
    ),
    "the person's own tick over a bounce is heard, and mail stays suppressed": (
        f"{KNOWN}\n 1 | {A} | out | 02-20",
        f"{EVENTS}\n e1 | {A} | esp | esp | contact:{A} | bounced | self | 02-10 | 02-10 | 02-10",
        f"{PAGE}\n 1 | {A} | in | self",
        "kind | actor\n opted_in | self",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_accounts(drawn: Any, name: str) -> None:
    known, events, incoming, found = CASES[name]
    drawn.page("03-01 12:00:00", "03-01 12:00:05")
    if known:
        drawn.given("shop.customers", known)
    if events:
        drawn.given("consent.events", events)
    drawn.given("incoming_customers", incoming)
    drawn.gives("events_from_customers", found)


# Self opt-outs that the shop has not heard of.

OUT = f"out | {A} | esp | esp | contact:{A} | opted_out | self | 02-01 | 02-01 | 02-01"
BY_HAND = f"hand | {A} | shop | shop | customer:1 | opted_in | merchant | 02-05 | 02-05 | 02-05"
UNHEARD = {
    "an opt-out at the ESP that nobody told the shop": (f"{OUT}\n{BY_HAND}", "hand | out", False),
    "the person's own opt-in answers it by its time": (f"{OUT}\n{BY_HAND.replace('merchant', 'self')}", "", True),
    "the merchant's own opt-out at the ESP is no self opt-out": (f"{OUT.replace('self', 'merchant')}\n{BY_HAND}", "", True),
    "an opt-out in the same shop needs no telling": (
        f"out | {A} | shop | shop | customer:2 | opted_out | self | 02-01 | 02-01 | 02-01\n{BY_HAND}",
        "",
        True,
    ),
    "an opt-out in another shop does": (
        f"out | {A} | shop | second | customer:2 | opted_out | self | 02-01 | 02-01 | 02-01\n{BY_HAND}",
        "hand | out",
        False,
    ),
}
CAUSED = f"{EVENTS} | caused_by"


@pytest.mark.parametrize("name", UNHEARD)
def test_unheard(drawn: Any, name: str) -> None:
    events, pairs, is_answered = UNHEARD[name]
    drawn.given("consent.events", f"{EVENTS}\n{events}")
    drawn.build("seen_after")
    drawn.gives("unheard", "in_root | out_root" + (f"\n {pairs}" if pairs else ""))
    drawn.build("unheard", "standing_events")
    drawn.gives("answers", "out_event" + ("\n out" if is_answered else ""))


@pytest.mark.parametrize(
    ("told_at", "is_heard"), [("02-03", True), ("02-06", False), ("02-05", False)], ids=["before", "after", "a tie"]
)
def test_the_shop_has_heard_what_it_was_told_before(drawn: Any, told_at: str, is_heard: bool) -> None:
    copy = f"copy | {A} | shop | shop | customer:1 | opted_out | system | 02-01 | 02-01 | {told_at} | out"
    drawn.given("consent.events", f"{CAUSED}\n{OUT} | -\n{BY_HAND} | -\n{copy}")
    drawn.build("seen_after")
    drawn.gives("unheard", "out_root" + ("" if is_heard else "\n out"))


@pytest.mark.parametrize(
    ("decision", "is_heard"),
    [
        ("out | unsubscribed | 02-03", True),
        ("out | unsubscribed | 02-06", False),  # too late
        ("out | unsubscribed | -", False),  # not carried out
        ("out | subscribed | 02-03", False),  # the shop did not hold it
        ("e0 | unsubscribed | 02-03", False),  # it was about another opt-out
    ],
)
def test_the_shop_has_heard_what_a_settled_decision_found_it_to_hold(drawn: Any, decision: str, is_heard: bool) -> None:
    drawn.given("consent.events", f"{EVENTS}\n{OUT}\n{BY_HAND}")
    drawn.given("merge.decisions", f"address | esp_root | shop_status | shop_acknowledged_at\n {A} | {decision}")
    drawn.build("seen_after")
    drawn.gives("unheard", "out_root" + ("" if is_heard else "\n out"))


def test_our_copy_of_it_at_the_esp_does_not_hide_the_opt_out_there(drawn: Any) -> None:
    """We wrote it before we heard of the opt-out."""
    copy = f"copy | {A} | esp | esp | contact:{A} | opted_in | system | 02-05 | 02-05 | 02-06 | hand"
    drawn.given("consent.events", f"{CAUSED}\n{OUT} | -\n{BY_HAND} | -\n{copy}")
    drawn.build("seen_after", "unheard")
    drawn.gives("standing_events", "event_id\n out\n hand")


# Whole days.


@pytest.fixture
def day(make_world: Any) -> World:
    """Anna is subscribed on both sides."""
    world = make_world()
    world.account("1", "anna@x.example", "in")
    world.settle()
    world.load_is_done()
    world.wait(hours=1)
    return world


def holds(world: World) -> tuple[str, str | None]:
    return world.esp_status("anna@x.example"), world.accounts["shop", "1"].consent


def test_subscribed_by_hand_at_first_sight_is_no_opt_in(make_world: Any) -> None:
    world = make_world()
    world.account("1", "anna@x.example", "in")
    world.says("1", "in", by="merchant")
    world.settle()
    assert holds(world) == ("not_subscribed", "in")


def test_subscribed_by_hand_seen_to_change_is_one(make_world: Any) -> None:
    world = make_world()
    world.account("1", "anna@x.example", None)
    world.settle()
    world.wait(hours=1)
    world.says("1", "in", by="merchant")
    world.settle()
    assert holds(world) == ("subscribed", "in")


def test_after_the_shop_was_told_the_merchant_may_set_it_back(day: World) -> None:
    day.at_esp("anna@x.example", "unsubscribed")
    day.settle()
    assert holds(day) == ("unsubscribed", "out")
    day.wait(hours=1)
    day.says("1", "in", by="merchant")
    day.settle()
    assert holds(day) == ("subscribed", "in")


@pytest.mark.parametrize(("by", "end"), [("merchant", ("unsubscribed", "out")), ("self", ("subscribed", "in"))])
def test_before_the_shop_is_told_only_the_person_may(day: World, by: str, end: tuple[str, str]) -> None:
    day.says("1", None)
    day.settle()  # an emptied tick: opted out, and the shop holds it
    day.at_esp("anna@x.example", "subscribed")
    day.settle()
    day.wait(hours=1)
    day.at_esp("anna@x.example", "unsubscribed")
    day.wait(hours=1)
    day.says("1", None)
    day.read_shop("shop")
    day.wait(hours=1)
    day.says("1", "in", by=by)
    day.settle()
    assert holds(day) == end


def test_both_sides_had_said_no_and_the_merchant_sets_it_back(day: World) -> None:
    """Nothing had to be written to the shop, for it held the no already."""
    day.at_esp("anna@x.example", "unsubscribed")
    day.says("1", "out")
    day.settle()
    day.wait(hours=1)
    day.says("1", "in", by="merchant")
    day.settle()
    assert holds(day) == ("subscribed", "in")


@pytest.mark.parametrize("status", ["bounced", "complained"])
def test_never_over_a_bounce_or_a_complaint(day: World, status: str) -> None:
    day.says("1", "out")
    day.settle()
    day.at_esp("anna@x.example", status)
    day.settle()
    day.wait(hours=1)
    day.says("1", "in", by="merchant")
    day.settle()
    assert day.esp_status("anna@x.example") == status
    day.at_esp("anna@x.example", "not_subscribed", by_self=False)
    day.settle()
    assert day.esp_status("anna@x.example") != "subscribed"
