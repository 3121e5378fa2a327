"""E1 and E3 on a small world: what the two exceptions do, for how long, and whom they never touch (behaviour 4.1, 4.4, 6.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flows.pages import changes
from tasks import plans, rules

World = Any
ANNA, BERT = "anna@example.com", "bert@example.com"
MakeWorld = Callable[..., World]


@pytest.fixture
def overruling(make_world: MakeWorld) -> World:
    """Anna is subscribed at the ESP and opted out in the shop; nothing has been synced yet."""
    world = make_world(policy="mailchimp-for-shopify")
    world.at_esp(ANNA, "subscribed")
    world.wait(hours=1)
    world.account("1", ANNA, "out")
    world.wait(hours=1)
    return world


@pytest.fixture
def active(make_world: MakeWorld) -> World:
    """Anna has an account and never said anything."""
    world = make_world(policy="cleverreach")
    world.account("1", ANNA, None)
    world.wait(hours=1)
    return world


def sides(world: World, customer_id: str = "1") -> tuple[str, str | None]:
    account = world.accounts["shop", customer_id]
    return world.esp_status(account.email), account.consent


def test_the_first_sync_overrules_the_opt_out_of_the_shop_and_leaves_it_at_that(overruling: World) -> None:
    overruling.settle()
    assert sides(overruling) == ("subscribed", "in")
    overruling.forward()  # the tag of a subscriber
    for _ in range(3):
        overruling.wait(days=1)
        assert overruling.forward() + overruling.reverse() == []
    assert sides(overruling) == ("subscribed", "in")


def test_the_opt_out_is_not_lost_by_being_overruled(overruling: World) -> None:
    overruling.settle()
    events = overruling.query("select kind, actor from consent.events where side = 'shop' order by as_of_at")
    assert events == [{"kind": "opted_out", "actor": "self"}, {"kind": "opted_in", "actor": "system"}]


@pytest.mark.parametrize("leave", [lambda world: world.says("1", "out"), lambda world: world.at_esp(ANNA, "unsubscribed")])
def test_an_opt_out_after_that_counts_for_both_sides(overruling: World, leave: Callable[[World], object]) -> None:
    overruling.settle()
    overruling.wait(days=1)
    leave(overruling)
    overruling.wait(hours=1)
    overruling.settle()
    assert sides(overruling) == ("unsubscribed", "out")


def test_an_opt_out_that_the_plan_did_not_know_stops_the_write(overruling: World) -> None:
    """A second account opts out before the shop is told: nothing is written, and the next plan counts and shows it."""
    overruling.account("2", ANNA, None)
    overruling.read_shop("shop")
    overruling.read_esp()

    def meanwhile() -> None:
        overruling.wait(minutes=1)
        overruling.says("2", "out")
        overruling.read_shop("shop")

    assert overruling.reverse(between=meanwhile) == []
    assert {account.consent for account in overruling.accounts.values()} == {"out"}
    overruling.plans()
    assert overruling.rule_of(ANNA) == "4.1b"


def test_every_account_of_the_address_is_overruled_at_once(overruling: World) -> None:
    overruling.shops.append("second")
    overruling.account("2", ANNA, "out")
    overruling.account("3", ANNA, "out", shop="second")
    overruling.settle()
    assert {account.consent for account in overruling.accounts.values()} == {"in"}
    assert overruling.esp_status(ANNA) == "subscribed"


def test_an_opt_out_of_somebody_gone_from_the_shop_is_overruled_where_another_account_is(overruling: World) -> None:
    overruling.read_shop("shop")
    del overruling.accounts["shop", "1"]
    overruling.account("2", ANNA, None)
    for _ in range(2):
        overruling.wait(days=1)
        overruling.settle()
        assert sides(overruling, "2")[0] == "subscribed"


def test_who_has_no_account_to_be_told_stays_subscribed_at_the_esp(make_world: MakeWorld) -> None:
    world = make_world(policy="mailchimp-for-shopify")
    world.at_esp(ANNA, "subscribed")
    world.account("1", ANNA, "out")
    world.order("7", ANNA)
    world.wait(hours=1)
    world.read_shop("shop")
    del world.accounts["shop", "1"]
    for _ in range(3):
        world.wait(days=1)
        world.settle()
        assert world.esp_status(ANNA) == "subscribed"


def test_an_opt_out_that_follows_an_address_change_beats_the_first_sync(make_world: MakeWorld) -> None:
    """4.4: the new address is subscribed at the ESP and seen with an account for the first time."""
    world = make_world(policy="mailchimp-for-shopify")
    world.account("1", ANNA, "out")
    world.at_esp(BERT, "subscribed")
    world.wait(hours=1)
    world.settle()
    world.wait(hours=1)
    world.accounts["shop", "1"].email = BERT
    world.settle()
    assert sides(world) == ("unsubscribed", "out")


@pytest.mark.parametrize("status", ["bounced", "complained"])
def test_nobody_suppressed_is_set_to_subscribed(overruling: World, status: str) -> None:
    overruling.at_esp(ANNA, status)
    overruling.settle()
    assert sides(overruling) == (status, "out")


def test_who_is_made_active_is_no_opt_in(active: World) -> None:
    active.settle()
    assert sides(active) == ("subscribed", None)
    assert active.query("select kind from consent.events") == []
    for _ in range(3):
        active.wait(days=1)
        assert active.forward() + active.reverse() == []
    assert sides(active) == ("subscribed", None)
    assert active.contacts[ANNA].tags == ["Contact", "WooCommerce"]


@pytest.mark.parametrize(
    ("moves", "ends"),
    [
        (lambda world: world.says("1", "out"), ("unsubscribed", "out")),
        (lambda world: world.at_esp(ANNA, "unsubscribed"), ("unsubscribed", "out")),
        (lambda world: world.at_esp(ANNA, "not_subscribed"), ("unsubscribed", "out")),  # 13b: said in so many words
        (lambda world: world.at_esp(ANNA, "complained"), ("complained", "out")),
        (lambda world: world.says("1", "in"), ("subscribed", "in")),
    ],
    ids=["opts out in the shop", "leaves at the ESP", "is taken off by the merchant", "complains", "ticks the box"],
)
def test_who_is_active_and_then_says_something(
    active: World, moves: Callable[[World], object], ends: tuple[str, str | None]
) -> None:
    active.settle()
    active.wait(days=1)
    moves(active)
    active.wait(hours=1)
    active.settle()
    assert sides(active) == ends
    active.wait(days=1)
    assert active.plans() == []


@pytest.mark.parametrize("known", [True, False])
def test_who_is_in_no_chosen_group_is_not_made_active(make_world: MakeWorld, known: bool) -> None:
    world = make_world(policy="cleverreach", groups=("subscriber", "buyer"))
    world.account("1", ANNA, None)
    world.account("2", BERT, None)
    world.order("7", BERT, customer_id="2")
    if known:
        for address in (ANNA, BERT):
            world.at_esp(address, "not_subscribed")
    world.wait(hours=1)
    world.settle()
    assert sides(world, "1") == ("not_subscribed" if known else "absent", None)
    assert sides(world, "2") == ("subscribed", None)


@pytest.mark.parametrize("consent", ["out", "pending"])
@pytest.mark.parametrize("at_esp", [None, "not_subscribed", "pending", "unsubscribed", "bounced"])
def test_nobody_who_said_no_or_waits_is_made_active(active: World, consent: str, at_esp: str | None) -> None:
    active.says("1", consent)
    if at_esp:
        active.at_esp(ANNA, at_esp)
    active.wait(hours=1)
    active.settle()
    assert active.esp_status(ANNA) != "subscribed"


@pytest.mark.parametrize("at_esp", ["pending", "unsubscribed", "bounced", "complained", "deleted"])
def test_nobody_of_whom_the_esp_knows_better_is_made_active(active: World, at_esp: str) -> None:
    active.at_esp(ANNA, at_esp)
    active.wait(hours=1)
    active.settle()
    assert active.esp_status(ANNA) == at_esp


def test_what_plan_prints_names_the_exception(overruling: World) -> None:
    assert "consent" not in {row["kind"] for row in overruling.plans()}, "it is not sent unasked"
    with overruling.opened() as database:
        waiting = plans.keep(database, "run-x", "reverse", overruling.now)
    assert waiting
    shown = changes(waiting["changes"])
    assert [(row["people"], row["at"], row["from"], row["to"], row["rule"]) for row in shown] == [
        (1, "shop", "unsubscribed", "subscribed", "4.1b, exception E1")
    ]


def test_the_snapshot_shows_the_exception(active: World) -> None:
    active.settle()
    with active.opened() as database:
        rules.build(database, rules.PEOPLE)
    assert active.query(f"select exception from ({rules.model('snapshot_contacts')})") == [{"exception": "E3"}]
