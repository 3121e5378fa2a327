"""One side moves after both were settled, on a small world: what the other side is told (behaviour.md, sections 2, 3 and 12).

A start is what both sides hold in phase ongoing; a move is what one person does, at the shop, at the ESP, or at both.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tasks.connector import Page

World = Any
ANNA = "anna@example.com"
MakeWorld = Callable[..., World]

STARTS = {
    "both subscribed": ("in", "subscribed"),
    "both unsubscribed": ("out", "unsubscribed"),
    "neither": (None, "not_subscribed"),
}

MOVES: dict[str, Callable[[World, str, str], object]] = {
    "ticks the box in the shop": lambda world, i, who: world.says(i, "in"),
    "opts out in the shop": lambda world, i, who: world.says(i, "out"),
    "empties the box in the shop": lambda world, i, who: world.says(i, None),
    "signs up at the ESP": lambda world, i, who: world.at_esp(who, "subscribed"),
    "leaves at the ESP": lambda world, i, who: world.at_esp(who, "unsubscribed"),
    "bounces": lambda world, i, who: world.at_esp(who, "bounced"),
    "complains": lambda world, i, who: world.at_esp(who, "complained"),
    "deletes the account": lambda world, i, who: world.accounts.pop(("shop", i)),
    "is archived at the ESP": lambda world, i, who: world.at_esp(who, "deleted"),
    "ticks the box in an order": lambda world, i, who: world.order(i, who, tick=True, customer_id=i),
    "buys without ticking": lambda world, i, who: world.order(i, who, customer_id=i),
}

OUTCOMES = {
    # start, move: status at the ESP, value in the shop
    ("both subscribed", "ticks the box in the shop"): ("subscribed", "in"),  # nothing moved
    ("both subscribed", "opts out in the shop"): ("unsubscribed", "out"),  # 6
    ("both subscribed", "empties the box in the shop"): ("unsubscribed", None),  # 6; what became empty stays empty (2.9)
    ("both subscribed", "signs up at the ESP"): ("subscribed", "in"),  # 5
    ("both subscribed", "leaves at the ESP"): ("unsubscribed", "out"),  # 6
    ("both subscribed", "bounces"): ("bounced", "in"),  # beside the consent, never as an opt-out (5.2)
    ("both subscribed", "complains"): ("complained", "out"),
    ("both subscribed", "deletes the account"): ("deleted", "gone"),  # 15
    ("both subscribed", "is archived at the ESP"): ("deleted", "in"),  # 16
    ("both subscribed", "ticks the box in an order"): ("subscribed", "in"),
    ("both subscribed", "buys without ticking"): ("subscribed", "in"),
    ("both unsubscribed", "ticks the box in the shop"): ("subscribed", "in"),  # 7
    ("both unsubscribed", "opts out in the shop"): ("unsubscribed", "out"),
    ("both unsubscribed", "empties the box in the shop"): ("unsubscribed", None),
    ("both unsubscribed", "signs up at the ESP"): ("subscribed", "in"),  # 7
    ("both unsubscribed", "leaves at the ESP"): ("unsubscribed", "out"),
    ("both unsubscribed", "bounces"): ("bounced", "out"),
    ("both unsubscribed", "complains"): ("complained", "out"),
    ("both unsubscribed", "deletes the account"): ("unsubscribed", "gone"),  # 15: an opted-out contact stays as it is
    ("both unsubscribed", "is archived at the ESP"): ("deleted", "out"),
    ("both unsubscribed", "ticks the box in an order"): ("subscribed", "out"),  # 7; not written back to the account (2.9)
    ("both unsubscribed", "buys without ticking"): ("unsubscribed", "out"),
    ("neither", "ticks the box in the shop"): ("subscribed", "in"),  # 13
    ("neither", "opts out in the shop"): ("unsubscribed", "out"),  # 13b
    ("neither", "empties the box in the shop"): ("not_subscribed", None),
    ("neither", "signs up at the ESP"): ("subscribed", "in"),  # 7
    ("neither", "leaves at the ESP"): ("unsubscribed", "out"),  # 13a
    ("neither", "bounces"): ("bounced", None),
    ("neither", "complains"): ("complained", "out"),
    ("neither", "deletes the account"): ("deleted", "gone"),
    ("neither", "is archived at the ESP"): ("deleted", None),
    ("neither", "ticks the box in an order"): ("subscribed", None),
    ("neither", "buys without ticking"): ("not_subscribed", None),
}


def begin(world: World, starts: dict[str, tuple[str | None, str]]) -> None:
    for address, (consent, _) in starts.items():
        world.account(address, address, consent)
    world.wait(hours=1)
    for address, (_, status) in starts.items():
        world.at_esp(address, status)
    world.wait(hours=1)
    world.settle()
    world.wait(hours=1)


def both_sides(world: World, address: str = ANNA) -> tuple[str, str | None]:
    account = world.accounts.get(("shop", address))
    return world.esp_status(address), account.consent if account else "gone"


# What differs from section 3.
OTHERWISE: dict[str, dict[tuple[str, str], tuple[str, str | None]]] = {
    "consent-first": {},
    "mailchimp-for-shopify": {},  # 4.3 and 4.4: later on the two follow each other as there
    "newsletter2go": {  # 5.5: an opt-in collected at the ESP stays at the ESP
        ("both unsubscribed", "signs up at the ESP"): ("subscribed", "out"),
        ("neither", "signs up at the ESP"): ("subscribed", None),
    },
    "cleverreach": {  # 6.1: who never opted in was made active before, and stays so without becoming an opt-in of the shop
        ("neither", "empties the box in the shop"): ("subscribed", None),
        ("neither", "signs up at the ESP"): ("subscribed", None),
        ("neither", "buys without ticking"): ("subscribed", None),
    },
}


@pytest.mark.parametrize("policy", OTHERWISE)
def test_one_side_moves(make_world: MakeWorld, policy: str) -> None:
    world = make_world(policy=policy)
    people = {f"p{number}@example.com": case for number, case in enumerate(OUTCOMES)}
    assert set(OUTCOMES) == set(itertools.product(STARTS, MOVES))
    begin(world, {address: STARTS[start] for address, (start, _) in people.items()})
    for address, (_, move) in people.items():
        MOVES[move](world, address, address)
    world.wait(hours=1)
    world.settle()
    assert {case: both_sides(world, address) for address, case in people.items()} == OUTCOMES | OTHERWISE[policy]
    bounced = {people[account.email][1] for account in world.accounts.values() if account.bounced_at}
    assert bounced == {"bounces"}


BOTH_MOVE = {
    # 9: the newer wins where that is sure. A plain value of the shop lies between two looks, so it is unordered.
    ("opts out in the shop", "signs up at the ESP"): "unsubscribed",
    ("signs up at the ESP", "opts out in the shop"): "unsubscribed",
    ("leaves at the ESP", "ticks the box in the shop"): "unsubscribed",
    ("ticks the box in the shop", "leaves at the ESP"): "unsubscribed",
    ("leaves at the ESP", "ticks the box in an order"): "subscribed",  # an order's time is stated
    ("ticks the box in an order", "leaves at the ESP"): "unsubscribed",
    ("leaves at the ESP", "opts out in the shop"): "unsubscribed",
    ("opts out in the shop", "ticks the box in an order"): "unsubscribed",
    ("signs up at the ESP", "ticks the box in an order"): "subscribed",
}


@pytest.mark.parametrize("is_reverse_first", [True, False])
def test_both_sides_move_between_two_runs(world: World, is_reverse_first: bool) -> None:
    people = {f"p{number}@example.com": case for number, case in enumerate(BOTH_MOVE)}
    begin(world, dict.fromkeys(people, (None, "not_subscribed")))
    for turn in (0, 1):
        for address, moves in people.items():
            MOVES[moves[turn]](world, address, address)
        world.wait(minutes=10)
    if is_reverse_first:
        world.reverse()
    world.settle()
    assert {case: world.esp_status(address) for address, case in people.items()} == BOTH_MOVE


Story = Iterator[None]
STORIES: dict[str, Callable[[World, str], Story]] = {}


def story(tell: Callable[[World, str], Story]) -> Callable[[World, str], Story]:
    """One person's story, told in a world that all stories share. At each `yield` both flows run, and nothing is left to write.

    `anna` is the person's address, and the id of her account.
    """
    STORIES[tell.__name__] = tell
    return tell


def start(world: World, anna: str, consent: str | None, status: str) -> Story:
    world.account(anna, anna, consent)
    world.wait(hours=1)
    world.at_esp(anna, status)
    yield
    world.wait(hours=1)


@story
def an_opt_in_of_one_shop_is_not_written_to_the_other(world: World, anna: str) -> Story:
    world.account(anna, anna, None)
    world.account(f"{anna}-2", anna, None, shop="second")
    yield
    world.says(f"{anna}-2", "in", shop="second")
    yield
    assert world.esp_status(anna) == "subscribed"
    assert world.accounts["shop", anna].consent is None


@story
def deleted_in_one_shop_and_known_to_the_other_is_not_deleted(world: World, anna: str) -> Story:
    world.account(anna, anna, "in")
    world.account(f"{anna}-2", anna, None, shop="second")
    yield
    del world.accounts["shop", anna]
    yield
    assert world.esp_status(anna) == "subscribed"


@story
def who_comes_back_without_a_new_tick_stays_archived(world: World, anna: str) -> Story:
    yield from start(world, anna, "in", "subscribed")
    account = world.accounts.pop(("shop", anna))
    yield
    world.accounts["shop", anna] = account  # the same record is listed again
    yield
    assert world.esp_status(anna) == "deleted"


@story
def who_comes_back_after_opting_out_is_not_restored(world: World, anna: str) -> Story:
    yield from start(world, anna, "in", "subscribed")
    del world.accounts["shop", anna]
    yield
    world.account(f"{anna}-9", anna, "in")
    world.wait(hours=1)
    world.at_esp(anna, "unsubscribed")
    world.wait(hours=1)
    yield
    assert both_sides(world, anna)[0] == "unsubscribed"


@story
def who_signs_up_at_the_esp_after_the_deletion_in_the_shop_stays(world: World, anna: str) -> Story:
    yield from start(world, anna, "in", "subscribed")
    del world.accounts["shop", anna]
    yield
    world.at_esp(anna, "subscribed")
    for _ in range(3):
        yield
        world.wait(hours=1)
    assert world.esp_status(anna) == "subscribed"


@story
def deleted_twice_is_archived_twice(world: World, anna: str) -> Story:
    """Without any consent event nothing tells the second deletion from the first but that it was decided anew."""
    world.account(anna, anna, None)
    yield
    del world.accounts["shop", anna]
    yield
    world.contacts[anna].status = "not_subscribed"  # the merchant unarchives her
    world.contacts[anna].changed_at = world.now
    world.account(f"{anna}-2", anna, None)
    world.wait(hours=1)
    yield
    del world.accounts["shop", f"{anna}-2"]
    yield
    assert world.esp_status(anna) == "deleted"


@story
def an_anonymised_guest_is_deleted(world: World, anna: str) -> Story:
    """15. An address that orders still know is still known."""
    world.order(f"{anna}-7", anna, tick=True)
    yield
    assert world.esp_status(anna) == "subscribed"
    world.orders["shop", f"{anna}-7"]["email"] = None
    yield
    assert world.esp_status(anna) == "deleted"


@story
def an_account_is_gone_but_its_orders_still_know_the_address(world: World, anna: str) -> Story:
    world.account(anna, anna, "in")
    world.order(f"{anna}-7", anna, customer_id=anna)
    yield
    del world.accounts["shop", anna]
    yield
    assert world.esp_status(anna) == "subscribed"


@story
def a_guest_opts_out_at_the_esp_and_ticks_again_in_an_order(world: World, anna: str) -> Story:
    """There is no account to write to: we keep the opt-out, and a later tick is newer."""
    world.order(f"{anna}-7", anna, tick=True)
    yield
    world.wait(hours=1)
    world.at_esp(anna, "unsubscribed")
    world.wait(hours=1)
    yield
    assert world.esp_status(anna) == "unsubscribed"
    world.order(f"{anna}-8", anna, tick=True)
    world.wait(hours=1)
    yield
    assert world.esp_status(anna) == "subscribed"


@story
def the_opt_in_at_the_esp_of_somebody_gone_from_the_shop_outlives_the_second_run(world: World, anna: str) -> Story:
    """7, with nobody in the shop to tell: settled at once, and still so when nothing moves any more."""
    yield from start(world, anna, "out", "unsubscribed")
    del world.accounts["shop", anna]
    yield
    world.wait(hours=1)
    world.at_esp(anna, "subscribed")
    world.wait(hours=1)
    for _ in range(3):
        yield
    assert world.esp_status(anna) == "subscribed"


@story
def a_complaint_is_for_good_even_if_the_esp_shows_subscribed_again(world: World, anna: str) -> Story:
    """12.1: never by us; 2.7: no opt-in over a complaint. The ESP is told to stop, the shop stays told."""
    yield from start(world, anna, "in", "subscribed")
    world.at_esp(anna, "complained")
    yield
    world.wait(days=1)
    world.at_esp(anna, "subscribed")
    yield
    assert both_sides(world, anna) == ("unsubscribed", "out")


@story
def an_opt_out_in_the_shop_reaches_whom_the_esp_mails_again_after_a_bounce(world: World, anna: str) -> Story:
    yield from start(world, anna, "in", "subscribed")
    world.at_esp(anna, "bounced")
    yield
    world.says(anna, "out")
    yield
    world.wait(days=1)
    world.at_esp(anna, "subscribed", by_self=False)
    world.contacts[anna].opted_in_at = world.contacts[anna].changed_at - timedelta(days=300)
    world.says(anna, "in")
    yield
    world.says(anna, "out")
    yield
    assert both_sides(world, anna) == ("unsubscribed", "out")


@story
def an_address_change_moves_the_person_and_leaves_no_no_behind(world: World, anna: str) -> Story:
    """12.6: the opt-in follows as carried, the old contact is archived."""
    yield from start(world, anna, "in", "subscribed")
    world.accounts["shop", anna].email = f"new.{anna}"
    yield
    assert world.esp_status(f"new.{anna}") == "subscribed"
    assert world.esp_status(anna) == "deleted"


@story
def an_opt_in_that_we_told_the_shop_follows_an_address_change_too(world: World, anna: str) -> Story:
    """The account's opt-in is a copy of the ESP's; carrying it breaks no promise and stops no run."""
    yield from start(world, anna, None, "subscribed")
    assert both_sides(world, anna) == ("subscribed", "in")
    world.accounts["shop", anna].email = f"new.{anna}"
    yield
    assert world.esp_status(f"new.{anna}") == "subscribed"


@story
def a_tick_in_an_order_follows_an_address_change_of_the_account(world: World, anna: str) -> Story:
    world.account(anna, anna, None)
    world.order(f"{anna}-7", anna, tick=True, customer_id=anna)
    yield
    world.accounts["shop", anna].email = f"new.{anna}"
    world.orders["shop", f"{anna}-7"]["email"] = None
    yield
    assert world.esp_status(f"new.{anna}") == "subscribed"


@story
def an_opt_out_follows_an_address_change_and_stays_on_the_old_address(world: World, anna: str) -> Story:
    """12.6: if the new address already is a contact, the two are decided as one, and it is unsubscribed there."""
    yield from start(world, anna, "in", "subscribed")
    world.at_esp(f"new.{anna}", "subscribed")
    yield
    world.wait(hours=1)
    world.at_esp(anna, "unsubscribed")
    yield
    world.accounts["shop", anna].email = f"new.{anna}"
    yield
    assert world.esp_status(f"new.{anna}") == "unsubscribed"
    assert world.esp_status(anna) == "unsubscribed"


@story
def an_opt_out_told_together_with_a_new_address_counts_for_both(world: World, anna: str) -> Story:
    """Nobody knows at which of the two addresses it was said."""
    yield from start(world, anna, "in", "subscribed")
    world.order(f"{anna}-7", anna)  # a guest's order still knows the old address
    world.accounts["shop", anna].email = f"new.{anna}"
    world.says(anna, "out")
    yield
    assert world.esp_status(anna) == "unsubscribed"
    assert world.esp_status(f"new.{anna}") in {"absent", "unsubscribed"}


@story
def a_carried_opt_in_does_not_lift_the_new_addresss_own_opt_out(world: World, anna: str) -> Story:
    yield from start(world, anna, "in", "subscribed")
    world.at_esp(f"new.{anna}", "unsubscribed")
    yield
    world.accounts["shop", anna].email = f"new.{anna}"
    yield
    assert world.esp_status(f"new.{anna}") == "unsubscribed"
    assert world.accounts["shop", anna].consent == "out"


@story
def a_complaint_is_for_good_however_often_the_esp_shows_subscribed_again(world: World, anna: str) -> Story:
    """The same outcome is written again, since what it answers is new."""
    yield from start(world, anna, "in", "subscribed")
    world.at_esp(anna, "complained")
    yield
    for _ in range(2):
        world.at_esp(anna, "subscribed")
        yield
        assert both_sides(world, anna) == ("unsubscribed", "out")


@story
def an_opt_out_of_one_shop_reaches_the_other_although_mail_bounces(world: World, anna: str) -> Story:
    world.account(f"{anna}-2", anna, "in", shop="second")
    yield from start(world, anna, "in", "subscribed")
    world.at_esp(anna, "bounced")
    yield
    world.says(anna, "out")
    yield
    assert world.accounts["second", f"{anna}-2"].consent == "out"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, world_at: Callable[..., Any]) -> dict[str, BaseException | None]:
    """Every story told to its end, in step with the others: what each came to."""
    with world_at(tmp_path_factory.mktemp("stories")) as world:
        world.shops.append("second")
        going = {name: tell(world, f"{name.replace('_', '.')}@example.com") for name, tell in STORIES.items()}
        ends: dict[str, BaseException | None] = {}
        while going:
            for name, telling in list(going.items()):
                try:
                    next(telling)
                except StopIteration:
                    ends[name] = None
                    del going[name]
                except Exception as error:  # noqa: BLE001  # each story fails for itself
                    ends[name] = error
                    del going[name]
            world.wait(minutes=1)
            world.settle()
            world.wait(hours=1)
        return ends


@pytest.mark.parametrize("name", STORIES)
def test_story(told: dict[str, BaseException | None], name: str) -> None:
    end = told[name]
    if end is not None:
        raise end


def test_a_tick_after_we_told_the_shop_is_newer_whatever_the_clock_of_the_esp_says(make_world: MakeWorld) -> None:
    """2.2: the shop's record showed our copy of the opt-out first, then the tick. The ESP's clock is an hour ahead."""
    world = make_world(skew=timedelta(hours=1))
    begin(world, {ANNA: ("in", "subscribed")})
    world.at_esp(ANNA, "unsubscribed")
    world.settle()
    assert both_sides(world) == ("unsubscribed", "out")
    world.wait(minutes=5)
    world.says(ANNA, "in")
    world.settle()
    assert both_sides(world) == ("subscribed", "in")
    assert world.esp_status(ANNA) == "subscribed"


def test_out_and_in_again_in_two_looks_at_the_shop(world: World) -> None:
    """The two values were seen one after the other at one record; that the looks touch does not unorder them."""
    begin(world, {ANNA: ("in", "subscribed")})
    world.says(ANNA, "out")
    world.forward()
    world.says(ANNA, "in")
    world.settle()
    assert both_sides(world) == ("subscribed", "in")


def test_whom_the_esp_does_not_take_back_is_not_settled_and_not_asked_again(make_world: MakeWorld) -> None:
    """2.8: needs_confirmation. The shop keeps its own tick and is not told subscribed."""
    world = make_world(is_strict=True)
    begin(world, {ANNA: ("in", "subscribed")})
    world.at_esp(ANNA, "unsubscribed")
    world.settle()
    world.says(ANNA, "in")
    world.wait(hours=1)
    world.settle()
    assert both_sides(world) == ("unsubscribed", "in")
    assert world.refused == {"compliance": 1}
    assert world.query("select count(*) as n from load.writes where code = 'compliance'") == [{"n": 1}]
    assert world.query("select count(*) as n from merge.decisions where rule = '7a' and esp_acknowledged_at is not null") == [
        {"n": 0}
    ]
    world.at_esp(ANNA, "subscribed")  # she confirmed
    world.settle()
    assert both_sides(world) == ("subscribed", "in")


def test_an_opt_out_goes_to_every_shop_that_knows_the_address(world: World) -> None:
    """2.12, also when the opt-out is a shop's own and the forward flow told the ESP first."""
    world.shops.append("second")
    world.account(ANNA, ANNA, "in")
    world.account("2", ANNA, "in", shop="second")
    world.settle()
    world.says(ANNA, "out")
    world.forward()
    assert world.esp_status(ANNA) == "unsubscribed"
    world.settle()
    assert world.accounts["second", "2"].consent == "out"


def test_two_shops_out_and_in_again_between_the_same_looks(world: World) -> None:
    """Each opt-out has an opt-in that its own record showed later. No single one is newer than both, and no promise breaks."""
    world.shops.append("second")
    world.account(ANNA, ANNA, "out")
    world.account("2", ANNA, "out", shop="second")
    world.forward()
    world.says(ANNA, "in")
    world.says("2", "in", shop="second")
    world.settle()
    assert world.esp_status(ANNA) == "subscribed"


def test_who_comes_back_to_the_shop_with_a_new_tick_is_restored(world: World) -> None:
    """2.10, also after the next listing of the ESP has shown our own archiving."""
    begin(world, {ANNA: ("in", "subscribed")})
    account = world.accounts.pop(("shop", ANNA))
    world.settle()
    assert world.esp_status(ANNA) == "deleted"
    world.wait(days=1)
    world.forward()
    world.account("9", ANNA, "in")
    world.settle()
    assert world.esp_status(ANNA) == "subscribed"
    assert account.consent == "in"


def test_who_opts_out_and_is_deleted_before_the_next_sync_keeps_no_tag_of_ours(world: World) -> None:
    """7.4: the opt-out leaves the group, and the deletion all that was left of it."""
    begin(world, {ANNA: ("in", "subscribed")})
    assert world.contacts[ANNA].tags == ["Subscriber", "WooCommerce"]
    world.at_esp(ANNA, "unsubscribed")
    world.wait(hours=1)
    world.reverse()
    del world.accounts["shop", ANNA]
    world.settle()
    assert (world.esp_status(ANNA), world.contacts[ANNA].tags) == ("unsubscribed", [])
    world.wait(days=1)
    assert world.plans() == []


def test_a_bounce_ends_when_the_esp_itself_mails_again(world: World) -> None:
    begin(world, {ANNA: ("in", "subscribed")})
    world.at_esp(ANNA, "bounced")
    world.settle()
    world.wait(days=1)
    world.at_esp(ANNA, "subscribed")
    world.settle()
    assert both_sides(world) == ("subscribed", "in")
    assert world.query("select kind, count(*) as n from load.writes where kind in ('status', 'create') group by kind") == []


def test_an_opt_out_that_arrives_during_a_long_load_stops_the_opt_in_on_its_way(world: World) -> None:
    """12.1: what a no overtook stays planned, and the next run decides with it."""
    begin(world, {ANNA: (None, "not_subscribed")})
    world.says(ANNA, "in")

    def meanwhile() -> None:
        world.wait(minutes=5)
        world.at_esp(ANNA, "unsubscribed")
        world.wait(minutes=5)
        world.reverse()

    world.forward(between=meanwhile)
    assert world.esp_status(ANNA) == "unsubscribed"
    world.settle()
    assert both_sides(world) == ("unsubscribed", "out")


def test_an_opt_out_seen_before_and_stored_after_our_write_ran_over_it_still_counts(world: World) -> None:
    """The page of the shop was asked for before we wrote the ESP's opt-in there, and stored after."""
    begin(world, {ANNA: (None, "not_subscribed")})
    world.wait(hours=1)
    world.at_esp(ANNA, "subscribed")
    world.wait(hours=1)
    late: list[Any] = []

    def meanwhile() -> None:
        world.says(ANNA, "out")
        record = world.customer("shop", ANNA, world.accounts["shop", ANNA])
        asked_at = world.now
        late.extend([[record], Page([], asked_at, world.wait(seconds=2))])

    world.reverse(between=meanwhile)
    assert world.accounts["shop", ANNA].consent == "in"  # nobody could know
    world.store("customers", *late)
    world.settle()
    assert both_sides(world) == ("unsubscribed", "out")


def test_the_reverse_flow_does_not_run_over_an_opt_out_that_nobody_has_read_yet(world: World) -> None:
    """12.3: whom a shop would be told to be subscribed is looked at again before it is told."""
    begin(world, {ANNA: (None, "not_subscribed")})
    world.says(ANNA, "out")
    world.wait(minutes=1)
    world.at_esp(ANNA, "subscribed")
    world.wait(minutes=1)
    world.reverse()
    assert world.accounts["shop", ANNA].consent == "out"
    world.settle()
    assert both_sides(world) == ("unsubscribed", "out")


def test_double_opt_in_by_the_esp_asks_new_people_once_and_never_asks_subscribers(make_world: MakeWorld) -> None:
    """2.8: a new explicit opt-in is written as pending; in no other case do we write pending."""
    world = make_world(double_opt_in="esp")
    world.account(ANNA, ANNA, "in")
    world.settle()
    assert world.esp_status(ANNA) == "subscribed"  # first load
    world.load_is_done()
    world.wait(hours=1)
    world.account("2", "bob@example.com", "in")
    world.settle()
    assert world.esp_status("bob@example.com") == "pending"
    world.settle()
    world.at_esp("bob@example.com", "subscribed")
    world.settle()
    assert world.esp_status("bob@example.com") == "subscribed"
    world.says("2", "out")
    world.settle()
    world.wait(hours=1)
    world.at_esp("bob@example.com", "subscribed")
    world.settle()
    assert world.esp_status("bob@example.com") == "subscribed"
    assert world.accounts["shop", "2"].consent == "in"


def test_pages_again_and_in_another_order_change_nothing(world: World) -> None:
    begin(world, {ANNA: ("in", "subscribed")})
    old = [world.customer("shop", ANNA, world.accounts["shop", ANNA])]
    asked_at = world.now
    old_page = Page([], asked_at, world.wait(seconds=1))
    world.says(ANNA, "out")
    world.wait(hours=1)
    world.settle()
    events = world.query("select count(*) as n from consent.events")
    for _ in range(2):
        world.store("customers", old, old_page)
        assert world.forward() + world.reverse() == []
    assert world.query("select count(*) as n from consent.events") == events
    assert both_sides(world) == ("unsubscribed", "out")
