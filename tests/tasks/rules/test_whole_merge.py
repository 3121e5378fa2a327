"""Whole merges on a small world: what both sides hold after the two flows ran, for everybody whom a policy sees first."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tasks import plans, scope

World = Any

SHOP = ("in", "out", "pending", "null", "absent")
ESP = ("subscribed", "unsubscribed", "pending", "not_subscribed", "bounced", "complained", "deleted", "absent")
ORDERS = ("shop first", "esp first")


def expected_at_first(shop: str, esp: str, order: str) -> tuple[str, str]:
    """Section 3 for somebody seen for the first time: status at the ESP, value in the shop.

    A shop's plain value was set between the account's creation and our first look, so a tick is newer than what happened at
    the ESP before the account was made, and unordered with everything later.
    """
    if esp == "bounced":
        return esp, shop
    if esp == "complained":
        return esp, "out" if shop != "absent" else shop
    if shop == "absent":
        return esp, shop
    if esp == "deleted":
        return esp, shop
    shop_is_newer = order == "esp first"
    return {
        ("in", "absent"): ("subscribed", "in"),  # 1
        ("null", "absent"): ("not_subscribed", "null"),  # 2
        ("out", "absent"): ("absent", "out"),  # 3
        ("pending", "absent"): ("absent", "pending"),  # 3
        ("in", "subscribed"): ("subscribed", "in"),  # 5
        ("out", "unsubscribed"): ("unsubscribed", "out"),  # 5
        ("null", "not_subscribed"): ("not_subscribed", "null"),  # 5
        ("null", "subscribed"): ("subscribed", "in"),  # 10
        ("out", "subscribed"): ("unsubscribed", "out"),  # 11; the opt-in is never surely newer than a value without a time
        ("in", "unsubscribed"): ("subscribed", "in") if shop_is_newer else ("unsubscribed", "out"),  # 12
        ("in", "not_subscribed"): ("subscribed", "in"),  # 13
        ("null", "unsubscribed"): ("unsubscribed", "out"),  # 13a
        ("out", "not_subscribed"): ("unsubscribed", "out"),  # 13b
        ("out", "pending"): ("unsubscribed", "out"),  # an opt-out ends what waits
        ("pending", "unsubscribed"): ("unsubscribed", "pending"),  # an opt-out stands, nothing is confirmed
    }.get((shop, esp), (esp, shop))  # 14: wait


# What differs from section 3: shop, ESP, then the status at the ESP and the value in the shop.
OTHERWISE: dict[str, dict[tuple[str, str], tuple[str, str]]] = {
    "consent-first": {},
    "mailchimp-for-shopify": {
        ("out", "subscribed"): ("subscribed", "in"),  # 4.1, exception E1
        ("out", "absent"): ("unsubscribed", "out"),  # 4.1
    },
    "newsletter2go": {
        ("null", "subscribed"): ("subscribed", "null"),  # 5.5
    },
    "cleverreach": {
        ("null", "absent"): ("subscribed", "null"),  # 6.1, exception E3
        ("null", "not_subscribed"): ("subscribed", "null"),  # 6.1, exception E3
    },
}


def everybody(world: World) -> dict[str, tuple[str, str, str]]:
    """One person for every combination, all in one world; the two sides have their say an hour apart."""
    combined = itertools.product(SHOP, ESP, ORDERS)
    cases = {f"p{number}@example.com": case for number, case in enumerate(combined) if case[:2] != ("absent", "absent")}

    for turn in (0, 1):
        for address, (shop, esp, order) in cases.items():
            is_shops_turn = (order == "shop first") == (turn == 0)
            if is_shops_turn and shop != "absent":
                world.account(address.partition("@")[0], address, None if shop == "null" else shop)
            if not is_shops_turn and esp != "absent":
                world.at_esp(address, esp)
        world.wait(hours=1)
    return cases


def both_sides(world: World, address: str) -> tuple[str, str]:
    account = world.accounts.get(("shop", address.partition("@")[0]))
    return world.esp_status(address), "absent" if account is None else account.consent or "null"


@pytest.mark.parametrize("policy", OTHERWISE)
def test_every_combination_at_first_ends_as_the_page_says(make_world: Callable[..., World], policy: str) -> None:
    world = make_world(policy=policy)
    cases = everybody(world)
    world.settle()
    found = {(*case, *both_sides(world, address)) for address, case in cases.items()}
    wanted = {(*case, *OTHERWISE[policy].get(case[:2], expected_at_first(*case))) for case in cases.values()}
    assert found - wanted == set()
    world.wait(days=1)
    world.settle()
    assert {(*case, *both_sides(world, address)) for address, case in cases.items()} == found


@pytest.mark.parametrize("policy", OTHERWISE)
def test_who_is_mailed_by_an_exception_is_counted_by_its_name(make_world: Callable[..., World], policy: str) -> None:
    world = make_world(policy=policy)
    cases = everybody(world)
    world.plans()
    found = world.query("select address, exception from merge.decisions where exception is not null")
    exempted = {(*cases[row["address"]][:2], row["exception"]) for row in found}
    assert exempted == {
        "mailchimp-for-shopify": {("out", "subscribed", "E1")},
        "cleverreach": {("null", "absent", "E3"), ("null", "not_subscribed", "E3")},
    }.get(policy, set())
    with world.opened() as database:
        waiting = [plans.keep(database, "run-x", flow, world.now) for flow in scope.FLOWS]
    assert sum(row["people"] for plan in waiting if plan for row in plan["changes"]) == len(found)


def test_own_writes_coming_back_are_no_events_of_theirs(world: World) -> None:
    everybody(world)
    world.read_esp()
    world.read_shop("shop")
    before = world.query("select count(*) as n from consent.events where actor <> 'system'")
    world.settle()
    world.forward()
    assert world.query("select count(*) as n from consent.events where actor <> 'system'") == before
