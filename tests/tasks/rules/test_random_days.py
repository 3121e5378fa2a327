"""Random days on a small world: whatever people do, in whatever order the flows run, what must never happen does not.

Each example plays several people at once, each at their own address, and compares with what they really did and when.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tasks import rules

World = Any

DAYS = os.environ.get("SHOPSYNC_DAYS")
"""How many examples to play, other ones each time; without it the same few, so that a run in CI can be repeated."""

ACTS = (
    *("tick", "untick", "empty", "tick in an order", "sign up", "leave", "bounce", "complain"),
    *("delete account", "archive", "tick in second shop", "untick in second shop"),
)
FLOWS = ("forward", "reverse", "forward, reverse", "reverse, forward", "reverse in forward", "forward in reverse")


@dataclass
class Person:
    """What somebody really did last: in, out, bounce, complain; `gone` when no look could tell what was said before.

    `seen` is what the shops' accounts held when they were last looked at.
    """

    address: str
    last: str = "nothing"
    story: list[str] = field(default_factory=list)
    seen: dict[str, str | None] = field(default_factory=dict)

    def said(self, what: str) -> None:
        self.last = what


AT_ESP = {"sign up": "subscribed", "leave": "unsubscribed", "bounce": "bounced", "complain": "complained", "archive": "deleted"}


def act(world: World, person: Person, what: str) -> None:
    """One thing that one person does; the clock goes on, so that no two things happen at once."""
    world.wait(minutes=7)
    person.story.append(what)
    shop = "second" if "second" in what else "shop"
    mine = next((key for key, a in world.accounts.items() if key[0] == shop and a.email == person.address), None)
    if what == "tick in an order":
        world.order(f"{person.address}-{world.now:%j%H%M}", person.address, tick=True)
        person.said("in")
    elif what in AT_ESP:
        if world.esp_status(person.address) != AT_ESP[what]:  # nobody leaves twice
            world.at_esp(person.address, AT_ESP[what])
            person.said({"sign up": "in", "leave": "out", "archive": "gone"}.get(what, what))
    elif what == "delete account":
        if mine and world.accounts.pop(mine):
            person.said("gone")
    else:
        if mine is None:  # ids are never given twice
            mine = (shop, f"{person.address}-{world.now:%j%H%M}")
            world.account(mine[1], person.address, None, shop=shop)
        change(world, person, mine, {"tick": "in", "untick": "out", "empty": None}[what.partition(" ")[0]])


def change(world: World, person: Person, mine: tuple[str, str], consent: str | None) -> None:
    """Change an account's plain value: what went there and back again between two looks, nobody can know."""
    before, seen = world.accounts[mine].consent, person.seen.get(mine[1])
    world.accounts[mine].consent = consent
    if consent == before:
        return
    if consent == seen or (consent is None and before != seen):
        person.said("gone")
    elif consent or before == "in":
        person.said(consent or "out")


def see(world: World, people: list[Person]) -> None:
    for person in people:
        person.seen = {i: a.consent for (_, i), a in world.accounts.items() if a.email == person.address}


def run(world: World, flows: str) -> None:
    if flows == "reverse in forward":
        world.forward(between=world.reverse)
    elif flows == "forward in reverse":
        world.reverse(between=world.forward)
    else:
        for flow in flows.split(", "):
            getattr(world, flow)()


def holds(world: World, people: list[Person]) -> None:
    """After everything was said and written: the promises of behaviour.md section 12, from what people really did."""
    named = {(row["address"], row["exception"]) for row in world.query("select address, exception from merge.decisions")}
    for person in people:
        is_overruled, is_made_active = ((person.address, exception) in named for exception in ("E1", "E3"))
        is_in_a_shop = any(a.consent == "in" for a in world.accounts.values() if a.email == person.address)
        at_esp = world.esp_status(person.address)
        if person.last == "complain" or (person.last == "out" and not is_overruled):
            assert at_esp not in {"subscribed", "pending"}, (person, at_esp)
            assert not is_in_a_shop, person
        if person.last == "nothing" and not is_made_active:
            assert at_esp not in {"subscribed", "pending"}, (person, at_esp)
    for row in world.query("select address from consent.events where kind = 'complained'"):
        assert world.esp_status(row["address"]) != "subscribed"


PEOPLE = 18
"""Who plays in one example: people cost little, runs cost much, so 8 examples are 144 histories."""
day = st.tuples(
    st.lists(st.tuples(st.integers(0, PEOPLE - 1), st.sampled_from(ACTS)), min_size=10, max_size=50), st.sampled_from(FLOWS)
)


@pytest.mark.timeout(900 + 60 * int(DAYS or 0))
@settings(
    max_examples=int(DAYS or 8),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    derandomize=not DAYS,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a person's story in the message says more than hours of shrinking
    database=None,
)
@given(days=st.lists(day, min_size=2, max_size=3), is_strict=st.booleans(), policy=st.sampled_from(rules.policies()))
def test_random_days(
    world_at: Callable[..., Any], days: list[tuple[list[tuple[int, str]], str]], is_strict: bool, policy: str
) -> None:
    people = [Person(f"p{number}@example.com") for number in range(PEOPLE)]
    with (
        tempfile.TemporaryDirectory() as folder,
        world_at(Path(folder) / "state", is_strict=is_strict, policy=policy) as world,
    ):
        world.shops.append("second")
        for acts, flows in days:
            for number, what in acts:
                act(world, people[number], what)
            world.wait(hours=1)
            for person in people:
                person.story.append(f"[{flows}]")
            run(world, flows)
            if "forward" in flows:
                see(world, people)
            world.wait(hours=1)
        world.settle()
        holds(world, people)
        world.wait(days=1)
        world.forward()
        assert world.plans() == []
        holds(world, people)


def test_a_story_that_fails_leaves_no_database_open(world_at: Callable[..., Any], tmp_path: Path) -> None:
    """A failing example is kept together with its frames: hundreds of open databases would fill the memory."""

    def fails(world: World) -> None:
        worlds.append(world)
        raise AssertionError(world.plans())

    worlds: list[World] = []
    with pytest.raises(AssertionError), world_at(tmp_path) as world:
        fails(world)
    assert worlds[0]._database is None
