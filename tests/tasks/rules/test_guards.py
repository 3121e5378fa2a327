"""Which changes wait because they are many (behaviour 12.10), and what goes on all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

GUARDS = {"subscribe": 0.1, "unsubscribe_inferred": 0.1, "delete": 0.1}
COLUMNS = (
    "decision_id | address | shop_status | esp_status | set_shop | set_esp | shop_write | esp_write | exception | shop_event"
)

KINDS = {
    "subscribed at the ESP": ("subscribed | not_subscribed | keep | subscribed | - | status | - | in", "subscribe"),
    "asked to confirm": ("subscribed | unsubscribed | keep | pending | - | status | - | in", "subscribe"),
    "subscribed in the shop": ("not_subscribed | subscribed | subscribed | keep | consent | - | - | -", "subscribe"),
    "archived": ("deleted | subscribed | keep | archived | - | archive | - | -", "delete"),
    "emptied in the shop": (
        "unsubscribed | subscribed | keep | unsubscribed | - | status | - | emptied",
        "unsubscribe_inferred",
    ),
    "opted out in the shop": ("unsubscribed | subscribed | keep | unsubscribed | - | status | - | out", None),
    "opted out at the ESP": ("subscribed | unsubscribed | unsubscribed | keep | consent | - | - | -", None),
    "bounced": ("subscribed | unsubscribed | bounced | keep | bounce | - | - | -", None),
    "created": ("subscribed | absent | keep | subscribed | - | create | - | in", None),
    "created by E3": ("not_subscribed | absent | keep | subscribed | - | create | E3 | -", "E3"),
    "active by E3": ("not_subscribed | not_subscribed | keep | subscribed | - | status | E3 | -", "E3"),
    "overruled by E1": ("unsubscribed | subscribed | subscribed | keep | consent | - | E1 | -", "E1"),
}


@pytest.fixture
def known(drawn: Any) -> Callable[[int], None]:
    """So many accounts and contacts are known."""

    def make(people: int) -> None:
        drawn.choose(guards=GUARDS, guarded_from=2)
        numbers = range(people)
        drawn.given("shop.customers", "\n".join(["customer_id | address", *(f"{n} | p{n}" for n in numbers)]))
        drawn.given("esp.contacts", "\n".join(["address | status", *(f"p{n} | subscribed" for n in numbers)]))
        drawn.given(
            "consent.events",
            """event_id | address | source | record     | kind      | is_inferred
               in       | p0      | shop   | customer:0 | opted_in  | no
               out      | p0      | shop   | customer:0 | opted_out | no
               emptied  | p0      | shop   | customer:0 | opted_out | yes""",
        )

    return make


def decided(drawn: Any, what: str, people: int) -> None:
    rows = (f"d{n} | p{n} | {what}" for n in range(people))
    drawn.given("decided", "\n".join([COLUMNS, *rows]))
    drawn.build("guarded")


@pytest.mark.parametrize("name", KINDS)
def test_what_waits_when_it_concerns_many(drawn: Any, known: Callable[[int], None], name: str) -> None:
    what, guard = KINDS[name]
    known(20)
    decided(drawn, what, 3)
    drawn.gives("waiting", "decision_id | guard" + "".join(f"\n d{n} | {guard}" for n in range(3) if guard))


@pytest.mark.parametrize(
    ("people", "changing", "waits"),
    [
        (20, 2, False),  # as many as the share
        (19, 2, True),
        (5, 1, False),  # more than the share, but hardly anybody
        (2, 2, True),
        (60, 6, False),
        (60, 7, True),
    ],
)
def test_how_many_are_many(drawn: Any, known: Callable[[int], None], people: int, changing: int, waits: bool) -> None:
    known(people)
    decided(drawn, KINDS["archived"][0], changing)
    assert drawn.one(f"select count(*) from ({drawn.model('waiting')})") == (changing if waits else 0)


def test_an_exception_waits_also_for_one(drawn: Any, known: Callable[[int], None]) -> None:
    known(60)
    decided(drawn, KINDS["created by E3"][0], 1)
    drawn.gives("waiting", "decision_id | guard\n d0 | E3")


def test_a_guard_holds_back_its_own_kind_only(drawn: Any, known: Callable[[int], None]) -> None:
    known(20)
    archived, subscribed = (KINDS[name][0] for name in ("archived", "subscribed at the ESP"))
    rows = [*(f"d{n} | p{n} | {archived}" for n in range(3)), f"d8 | p8 | {subscribed}", f"d9 | p9 | {subscribed}"]
    drawn.given("decided", "\n".join([COLUMNS, *rows]))
    drawn.build("guarded")
    drawn.gives("waiting", "decision_id\n d0\n d1\n d2")


def test_what_was_approved_goes_and_counts_no_more(drawn: Any, known: Callable[[int], None]) -> None:
    known(20)
    decided(drawn, KINDS["archived"][0], 4)
    drawn.given("merge.plans", "plan_id | run_id | flow | approved_at\n p | r | forward | 03-01\n q | r | forward | -")
    drawn.given("merge.plan_rows", "plan_id | decision_id\n p | d0\n p | d1\n q | d2")
    drawn.gives("waiting", "decision_id")
    drawn.given("merge.plan_rows", "plan_id | decision_id\n p | d0\n q | d2")
    drawn.gives("waiting", "decision_id\n d1\n d2\n d3")


# Whole days: on frames, with the guards as they are by default.

DEFAULTS = {"guards": {"subscribe": 0.005, "unsubscribe_inferred": 0.02, "delete": 0.02}, "guarded_from": 5}


@pytest.fixture
def town(make_world: Callable[..., Any]) -> Any:
    """Ten subscribed customers who are contacts, all settled. Nobody approves anything by himself."""
    world = make_world(is_approving=False, **DEFAULTS)
    for n in range(10):
        world.account(str(n), f"p{n}@example.com", "in")
    world.wait(hours=1)
    world.settle()
    return world


def test_a_shop_that_shows_fewer_people_archives_nobody_unasked(town: Any) -> None:
    for n in range(6):
        del town.accounts["shop", str(n)]
    town.says("9", "out")
    town.wait(hours=1)
    for _ in range(2):
        town.read_shop("shop")
        done = town.forward()
        town.wait(hours=1)
    statuses = [town.esp_status(f"p{n}@example.com") for n in range(10)]
    assert statuses[:9] == ["subscribed"] * 9
    assert statuses[9] == "unsubscribed", "the opt-out goes on"
    assert not any(kind == "archive" for _, kind, _ in done)
    plan = town.waiting["forward"]
    assert (plan["people"], {row["guard"] for row in plan["changes"]}) == (6, {"delete"})
    town.approve("forward")
    assert sorted(town.contacts[f"p{n}@example.com"].status for n in range(6)) == ["deleted"] * 6


def test_who_is_back_before_anybody_approved_is_left_alone(town: Any) -> None:
    gone = {key: town.accounts.pop(key) for key in [("shop", str(n)) for n in range(6)]}
    town.wait(hours=1)
    for _ in range(2):
        town.read_shop("shop")
        town.forward()
        town.wait(hours=1)
    town.accounts |= gone
    town.read_shop("shop")
    town.forward()
    assert town.waiting["forward"] is None
    assert {town.esp_status(f"p{n}@example.com") for n in range(10)} == {"subscribed"}
