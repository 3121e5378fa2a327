"""Whole merges on a small world: what both sides hold after the two flows ran, for every case of behaviour.md section 3."""

from __future__ import annotations

import itertools
from typing import Any

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


def test_every_combination_at_first_ends_as_section_3_says(world: World) -> None:
    cases = everybody(world)
    world.settle()
    found = {(*case, *both_sides(world, address)) for address, case in cases.items()}
    wanted = {(*case, *expected_at_first(*case)) for case in cases.values()}
    assert found - wanted == set()


def test_own_writes_coming_back_are_no_events_of_theirs(world: World) -> None:
    everybody(world)
    world.read_esp()
    world.read_shop("shop")
    before = world.query("select count(*) as n from consent.events where actor <> 'system'")
    world.settle()
    world.forward()
    assert world.query("select count(*) as n from consent.events where actor <> 'system'") == before
