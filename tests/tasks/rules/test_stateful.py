"""Random days, lived through by shopsync on frames and SQL and by the plain reference: at rest both hold the same.

Each example plays many people at once, for people cost little and runs cost much. A person has two addresses and comes and goes
between them with accounts in two shops; so everybody meets only themselves, and a failure tells one person's story.
"""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from reference import POLICIES, Reference

from tasks import chain
from tasks.connector import Page
from tasks.merge import BrokenPromiseError

World = Any
MakeWorld = Callable[..., World]
ANNA, BOB = "anna@example.com", "bob@example.com"

EXAMPLES = int(os.environ.get("SHOPSYNC_DAYS", "1"))
"""How many examples to play per policy. With SHOPSYNC_DAYS other ones each time, else the same, so that CI can be repeated."""
PEOPLE, DAYS, ACTS_A_DAY = 250, 3, 900
LEAST_STEPS = 10_000
"""What all policies together play at the least."""
SHOPS = ("shop", "second")
PLATFORMS = {"shop": "WooCommerce", "second": "Shopify"}
SKEWS = tuple(timedelta(seconds=seconds) for seconds in (0, 40, -40))
"""How far the ESP's clock is ahead of ours; people take more time than that between two acts."""
GROUPS = ("subscriber", "buyer", "contact")

AT_ESP = {
    "sign up": "subscribed",
    "leave": "unsubscribed",
    "bounce": "bounced",
    "complain": "complained",
    "archive": "deleted",
    "merchant subscribes": "subscribed",
    "merchant unsubscribes": "unsubscribed",
    "confirm": "subscribed",
}
AT_SHOP = {"tick": "in", "untick": "out", "empty": None, "register": None}
OFTEN = (*AT_SHOP, "order", "order with tick", "order as guest", "order as guest with tick")
OFTEN += ("sign up", "leave", "merchant subscribes", "merchant unsubscribes")
SELDOM = ("bounce", "complain", "archive", "delete account", "change address", "anonymise", "confirm")
ACTS = (*OFTEN, *OFTEN, *SELDOM)
TEXTS = ("text yes", "text no", "STOP")
NOT_WITH_TEXTS = {"delete account", "change address", "archive"}
"""Every third person has a phone, and one account and one contact with its number, which they keep."""
TEXTS_SINCE = date(2026, 2, 3)
FLOWS = ("forward", "reverse", "forward, reverse", "reverse, forward", "reverse in forward", "forward in reverse")
"""How the runs of a day go."""


class Crash(Exception):
    """The run ends here, as if the machine had been switched off."""


@dataclass
class Person:
    """`word` is, per address, what was really said there last: in, out, or unclear, where no look could have seen it."""

    addresses: tuple[str, str]
    story: list[str] = field(default_factory=list)
    word: dict[str, str] = field(default_factory=dict)
    has_said_yes: bool = False


class Days:
    """Two worlds that go through the same: `world` is shopsync's, the other is the reference's."""

    def __init__(self, world: World, reference: Reference, rng: random.Random) -> None:
        self.world, self.reference, self.rng = world, reference, rng
        self.people = [Person((f"p{n}a@example.com", f"p{n}b@example.com")) for n in range(PEOPLE)]
        self.crash_in: int | None = None
        self.crashed_at = ("", "", "")
        self.has_crashed = False
        self.kept: list[tuple[str, Callable[[], None]]] = []
        self.steps = 0
        self._listen()

    def tell(self, line: str) -> None:
        for person in self.people:
            person.story.append(f"{self.world.now:%m-%d %H:%M:%S} [{line}]")

    # What people do

    def act(self, person: Person, what: str, where: int, shop: str) -> None:
        """One thing that one person does at one of their addresses, in both worlds."""
        now = self.world.wait(minutes=1)
        self.steps += 1
        address = person.addresses[where]
        person.story.append(f"{now:%m-%d %H:%M:%S} {what} {'ab'[where]} {shop}")
        mine = next((key for key, a in self.world.accounts.items() if key[0] == shop and a.email == address), None)
        if what in TEXTS:
            self._text(person, address, what)
        elif what in AT_ESP:
            self._act_at_esp(person, address, what)
        elif what == "anonymise":
            self._anonymise(person, address)
        elif what.startswith("order"):
            self._order(person, address, mine[1] if mine and "guest" not in what else None, shop, tick="tick" in what)
        elif what in AT_SHOP:
            self._say_in_shop(person, address, mine, shop, what)
        elif mine:
            person.word = dict.fromkeys(person.addresses, "unclear")
            if what == "delete account":
                del self.world.accounts[mine], self.reference.customers[mine]
            else:
                new = person.addresses[1 - where]
                self.world.accounts[mine].email = self.reference.customers[mine].email = new

    def _text(self, person: Person, address: str, what: str) -> None:
        key = next((key for key, account in self.world.accounts.items() if key[0] == "shop" and account.email == address), None)
        contact = self.world.contacts.get(address)
        if what == "STOP" and contact and contact.sms == "subscribed":
            contact.sms, contact.sms_at = "unsubscribed", self.world.esp_now()
            contact.changed_at = contact.sms_at
            self.reference.stop_texts(address, contact.sms_at)
        elif what != "STOP" and key:
            consent = {"text yes": "in", "text no": "out"}[what]
            self.world.texts(key[1], consent, f"+49170{self.people.index(person):07}", "shop")
            self.reference.customers[key].texts = (consent, self.world.now)

    def _anonymise(self, person: Person, address: str) -> None:
        """The shop erases who gave this address in an order; accounts are another thing."""
        for key, order in self.world.orders.items():
            if order["email"] == address:
                order["email"] = order["customer_id"] = None
                self.reference.anonymise(key)

    def _act_at_esp(self, person: Person, address: str, what: str) -> None:
        status, held = AT_ESP[what], self.world.esp_status(address)
        if held == status or (held == "absent" and status != "subscribed") or (what == "confirm" and held != "pending"):
            return  # nobody leaves twice, or a list that they are not on
        now = self.world.esp_now()
        by_self = not what.startswith("merchant")
        self.world.at_esp(address, status, by_self=by_self)
        self.reference.at_esp(address, status, by_self=by_self, now=now)
        is_seen = address not in self.reference.members or self.reference.members[address].value != status
        word = {"subscribed": "in", "unsubscribed": "out", "complained": "out"}.get(status, "unclear")
        person.word[address] = word if is_seen else "unclear"
        person.has_said_yes |= status == "subscribed"

    def _order(self, person: Person, address: str, customer_id: str | None, shop: str, *, tick: bool) -> None:
        number = f"o{len(self.world.orders)}"
        self.world.order(number, address, tick=tick, customer_id=customer_id, shop=shop)
        self.reference.order(number, address, customer_id, shop, tick=tick, now=self.world.now)
        if tick:
            person.word[address], person.has_said_yes = "in", True

    def _say_in_shop(self, person: Person, address: str, mine: tuple[str, str] | None, shop: str, what: str) -> None:
        consent = AT_SHOP[what]
        if mine is None:
            customer_id = f"{address}-{self.world.now:%j%H%M%S}"  # never given twice
            self.world.account(customer_id, address, consent, shop=shop)
            self.reference.account(customer_id, address, consent, shop, self.world.now)
            before = None
        elif what == "register":
            return
        else:
            before = self.reference.accounts[mine].value if mine in self.reference.accounts else None
            self.world.accounts[mine].consent = self.reference.customers[mine].consent = consent
        is_seen = consent != before and (consent is not None or before == "in")
        person.word[address] = (consent or "out") if is_seen else "unclear"
        person.has_said_yes |= consent == "in"

    # Looks: whatever shopsync looks at, the reference looks at in its own world

    def _listen(self) -> None:
        world, reference = self.world, self.reference
        page, decide, read_shop = world._page, world._decide, world.read_shop
        read_esp, read_again = world.read_esp, world._read_again
        taken: list[Page] = []

        def pages() -> Page:
            taken.append(page())
            return taken[-1]

        def looks_at_esp() -> None:
            read_esp()
            reference.hear_esp(reference.page_of_esp(), taken[-1].asked_at, taken[-1].answered_at)
            world.step("esp read")

        def looks_at_shop(shop: str) -> None:
            first = len(taken)
            read_shop(shop)
            reference.look_at_shop(shop, taken[first].asked_at, taken[first].answered_at)
            reference.look_at_orders(shop)
            world.step(f"{shop} read")

        def looks_again(run_id: str) -> None:
            read_again(run_id)
            for shop in SHOPS:
                wanted = set(reference.opt_ins(shop))
                customers = {i: c for i, c in reference.page_of_shop(shop).items() if i in wanted}
                reference.hear_shop(shop, customers, world.now, world.now)
            world.step("read again")

        def decides(database: Any, flow: str | None) -> str:
            run_id: str = decide(database, flow)
            if flow:
                reference.decide(flow)
            world.step("decided")
            return run_id

        world._page, world.read_esp, world.read_shop, world._read_again = pages, looks_at_esp, looks_at_shop, looks_again
        world._decide, world.step = decides, self._step

    def _step(self, what: str, target: str = "", kind: str = "") -> None:
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in, self.crashed_at = None, (target, kind, what)
                raise Crash

    def keep_page(self, what: str) -> None:
        """A page is asked for now and arrives later, perhaps more than once, perhaps after one that was asked for later."""
        world, reference = self.world, self.reference
        asked = world.wait(minutes=1)
        contacts, customers = reference.page_of_esp(), reference.page_of_shop(what)
        if what == "esp":
            records = world.contact_records()
        else:
            records = [world.customer(what, i, a) for (shop, i), a in world.accounts.items() if shop == what]
        answered = world.wait(seconds=1)

        def arrive() -> None:
            world.store("contacts" if what == "esp" else "customers", records, Page([], asked, answered))
            if what == "esp":
                reference.hear_esp(contacts, asked, answered)
            else:
                reference.hear_shop(what, customers, asked, answered)

        self.tell(f"a page of {what} is asked for")
        self.kept.append((f"{what} of {asked:%H:%M}", arrive))

    def deliver(self) -> None:
        number = self.rng.randrange(len(self.kept))
        name, arrive = self.kept[number]
        if self.rng.random() < 0.6:
            del self.kept[number]
        self.tell(f"the page of {name} arrives")
        self.steps += 1
        arrive()

    def choose(self, groups: tuple[str, ...]) -> None:
        if groups != self.world.choices.groups:
            self.world.choices = replace(self.world.choices, groups=groups)
            self.reference.groups = set(groups)
            self.tell(f"chosen: {', '.join(groups)}")
            self.steps += 1

    # Runs

    def run(self, flows: str, crash_in: int | None = None) -> None:
        self.tell(flows + ("" if crash_in is None else f", crashing at step {crash_in}"))
        self.steps += 1
        self.crash_in = crash_in
        outer, _, inner = flows.partition(" in ")
        if inner:
            self._flow(inner, between=lambda: self._flow(outer))
        else:
            for flow in flows.split(", "):
                self._flow(flow)
        self.crash_in = None

    def _flow(self, flow: str, between: Callable[[], None] | None = None) -> None:
        world, reference = self.world, self.reference
        world.commit()
        world.heal(flow)
        reference.heal(flow, world.now)
        try:
            getattr(world, flow)(between)
        except Crash:
            self.has_crashed = True
            if self.crashed_at[0]:
                reference.carry_out(flow, world.now, self.crashed_at)
            self.tell(f"{flow} crashed: {' '.join(self.crashed_at).strip()}")
        except BrokenPromiseError:
            broken = world.query("select address, promise, sentence from broken_promises")
            number = int(broken[0]["address"].partition("@")[0][1:-1])
            pytest.fail(f"{self._explained(self.people[number])}\n{broken}")
        else:
            reference.carry_out(flow, world.now)
        world.wait(minutes=1)

    def rest(self) -> None:
        """Each flow once, and once more where one has crashed, since a flow settles its own leftovers only. Then both worlds
        hold the same, the promises hold, and one more run of each writes nothing."""
        for _ in range(2 if self.has_crashed else 1):
            self.run("forward, reverse")
        self.has_crashed = False
        self.compare()
        self.world.wait(hours=1)
        for flow in ("forward", "reverse"):
            written = getattr(self.world, flow)()
            self.reference.carry_out(flow, self.world.now)
            for write in written:
                whose = re.search(r"p(\d+)[ab]@", " ".join(write))
                pytest.fail(f"{self._explained(self.people[int(whose[1])]) if whose else ''}\none more run wrote {write}")
        self.compare()
        self.keeps_promises()

    # What must be

    def compare(self) -> None:
        for person in self.people:
            found, wanted = dict[str, Any](), dict[str, Any]()
            for address in person.addresses:
                contact = self.reference.contacts.get(address)
                found[address], wanted[address] = self.world.esp_status(address), contact.status if contact else "absent"
                if found[address] == "unsubscribed" and self.reference.is_unknown_with_a_no(address):
                    wanted[address] = "unsubscribed"
                elif contact and contact.status != "deleted":
                    found[f"{address}'s tags"] = set(self.world.contacts[address].tags)
                    wanted[f"{address}'s tags"] = set(contact.tags)
                    found[f"{address}'s texts"], wanted[f"{address}'s texts"] = self.world.contacts[address].sms, contact.texts
            for key, account in self.world.accounts.items():
                if account.email in person.addresses:
                    customer = self.reference.customers[key]
                    found[" ".join(key)] = (account.consent, account.bounced_at is not None)
                    wanted[" ".join(key)] = (customer.consent, customer.is_bounce_noted)
            if found != wanted:
                differs = [f"{k}: found {found[k]}, by the reference {wanted[k]}" for k in found if found[k] != wanted[k]]
                pytest.fail("\n".join((self._explained(person), *differs)))

    def keeps_promises(self) -> None:
        """12.1 and 12.2, from what people really did, and not from what either world made of it."""
        named = {(row["address"], row["exception"]) for row in self.world.query("from merge.decisions")}
        for person in self.people:
            for address in person.addresses:
                is_mailed = self.world.esp_status(address) in {"subscribed", "pending"}
                is_told_yes = any(a.consent == "in" for a in self.world.accounts.values() if a.email == address)
                if person.word.get(address) == "out" and (address, "E1") not in named:
                    assert not is_mailed, self._explained(person)
                    assert not is_told_yes, self._explained(person)
                if not person.has_said_yes:
                    assert not is_told_yes, self._explained(person)
                    assert not is_mailed or (address, "E3") in named, self._explained(person)

    def _explained(self, person: Person) -> str:
        """Their story, and what the reference noted."""
        noted = [
            f"{address} {record}: {entry.what}{' (our copy)' if entry.is_copy else ''}, "
            f"{entry.said.earliest:%m-%d %H:%M:%S} to {entry.said.latest:%m-%d %H:%M:%S}"
            for address in person.addresses
            for record, entries in self.reference.entries[address].items()
            for entry in entries
        ]
        rules = ", ".join(self.world.rule_of(address) for address in person.addresses)
        return "\n".join((self.reference.policy, *person.story, *noted, f"last rules: {rules}"))


def play(days: Days, rng: random.Random) -> None:
    for day in range(DAYS):
        days.choose(tuple(g for g in GROUPS if rng.random() < 0.8) if rng.random() < 0.4 else GROUPS)
        for what in rng.sample(("esp", *SHOPS), rng.randrange(3)):
            days.keep_page(what)
        for part in range(3):
            for _ in range(ACTS_A_DAY // 3):
                number = rng.randrange(PEOPLE)
                what, where = rng.choice(ACTS), rng.randrange(2)
                if number % 3 == 0 and (what in NOT_WITH_TEXTS or rng.random() < 0.1):
                    what, where = rng.choice(TEXTS), 0
                days.act(days.people[number], what, where, rng.choice(SHOPS))
            while days.kept and rng.random() < 0.5:
                days.deliver()
            if part < 2:
                days.world.wait(minutes=30)
                days.run(rng.choice(FLOWS), rng.randrange(24) if rng.random() < 0.4 else None)
        days.rest()
        if day == 0:
            days.world.load_is_done()
            days.reference.is_loaded = True
        days.world.wait(hours=10)


@pytest.mark.timeout(600 + 120 * EXAMPLES)
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_both_sides_agree_with_the_reference_after_random_days(world_at: Callable[..., Any], policy: str) -> None:
    played = Counter[str]()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize="SHOPSYNC_DAYS" not in os.environ,
        phases=[Phase.explicit, Phase.generate],  # a person's story in the message says more than hours of shrinking
        database=None,
    )
    @given(rng=st.randoms(use_true_random=True))
    def example(rng: random.Random) -> None:
        number = played["examples"] + sorted(POLICIES).index(policy)
        played["examples"] += 1
        is_strict, asks, skew = number % 2 == 1, number % 4 in {1, 2}, SKEWS[number % len(SKEWS)]
        choices = {"policy": policy, "double_opt_in": "esp" if asks else "shop", "sms_since": TEXTS_SINCE}
        with (
            tempfile.TemporaryDirectory() as folder,
            world_at(Path(folder) / "state", is_strict=is_strict, skew=skew, **choices) as world,
        ):
            world.shops, world.batch = list(SHOPS), 100_000
            since = datetime.combine(TEXTS_SINCE, time(), UTC)
            reference = Reference(
                policy, SHOPS, is_strict=is_strict, asks_to_confirm=asks, platforms=PLATFORMS, texts_since=since
            )
            own = random.Random(f"{policy} {rng.random()}")  # else all policies would live through the same days
            days = Days(world, reference, own)
            play(days, own)
            world.close()
            chain.seal(world.state, "the end")
            proof = chain.verify(world.state)
            assert (proof["broken"], proof["waiting"]) == (None, 0)
        played["steps"] += days.steps

    example()
    assert played["steps"] >= LEAST_STEPS / len(POLICIES)


def test_a_world_that_fails_leaves_no_database_open(world_at: Callable[..., Any], tmp_path: Path) -> None:
    """A failing example is kept together with its frames: hundreds of open databases would fill the memory."""

    def fails(world: World) -> None:
        worlds.append(world)
        raise AssertionError(world.plans())

    worlds: list[World] = []
    with pytest.raises(AssertionError), world_at(tmp_path) as world:
        fails(world)
    assert worlds[0]._database is None


# What the days have found.


def test_a_carried_opt_in_never_lifts_the_new_addresss_own_opt_out_however_old_that_is(make_world: MakeWorld) -> None:
    """12.6."""
    world = make_world()
    world.account("2", BOB, "out")
    world.settle()
    world.wait(days=1)
    world.account("1", ANNA, None)
    world.order("7", ANNA, tick=True, customer_id="1")
    world.settle()
    world.wait(days=1)
    world.accounts["shop", "1"].email = BOB
    world.settle()
    assert world.esp_status(BOB) in {"absent", "unsubscribed"}


def test_a_carried_opt_out_reaches_the_contact_at_the_new_address(make_world: MakeWorld) -> None:
    """12.6, 13b: also one that never opted in."""
    world = make_world()
    world.account("1", ANNA, "in")
    world.account("2", BOB, None)
    world.settle()
    world.wait(hours=1)
    world.at_esp(ANNA, "unsubscribed")
    world.settle()
    world.wait(hours=1)
    world.accounts["shop", "1"].email = BOB
    world.settle()
    assert world.accounts["shop", "2"].consent == "out"
    assert world.esp_status(BOB) == "unsubscribed"


def test_our_own_opt_out_in_a_late_page_is_nobodys_word(make_world: MakeWorld) -> None:
    """2.1, 12.4. The page was asked for while the account held what we had told it; meanwhile it was emptied."""
    world = make_world()
    world.shops = list(SHOPS)
    world.account("1", ANNA, "in")
    world.settle()
    world.wait(hours=1)
    world.at_esp(ANNA, "unsubscribed")
    world.settle()
    world.wait(hours=1)
    world.account("2", ANNA, "in", shop="second")
    world.settle()
    assert world.esp_status(ANNA) == "subscribed"
    asked = world.wait(hours=1)
    records = [world.customer("shop", "1", world.accounts["shop", "1"])]
    late = Page([], asked, world.wait(seconds=1))
    world.says("1", None)
    world.settle()
    world.store("customers", records, late)
    world.settle()
    assert world.esp_status(ANNA) == "subscribed"


def test_a_new_account_is_not_told_of_an_opt_out_that_the_person_took_back_at_the_esp(make_world: MakeWorld) -> None:
    """7, 2.12: both sides were settled as subscribed, and nobody has said no since."""
    world = make_world()
    world.account("1", ANNA, "out")
    world.order("7", ANNA)
    world.settle()
    world.wait(hours=1)
    del world.accounts["shop", "1"]
    world.at_esp(ANNA, "subscribed")
    world.settle()
    assert world.esp_status(ANNA) == "subscribed"
    world.wait(hours=1)
    world.account("2", ANNA, None)
    world.settle()
    assert world.esp_status(ANNA) == "subscribed"
    assert world.accounts["shop", "2"].consent != "out"


def test_a_carried_complaint_reaches_whom_cleverreach_made_active(make_world: MakeWorld) -> None:
    """12.1, 12.6."""
    world = make_world(policy="cleverreach")
    world.account("1", ANNA, "in")
    world.account("2", BOB, None)
    world.settle()
    assert world.esp_status(BOB) == "subscribed"
    world.wait(hours=1)
    world.at_esp(ANNA, "complained")
    world.settle()
    world.wait(hours=1)
    world.accounts["shop", "1"].email = BOB
    world.settle()
    assert world.esp_status(BOB) == "unsubscribed"


def test_our_copy_of_a_no_does_not_hide_a_later_one(make_world: MakeWorld) -> None:
    """12.1, 12.2. The forward flow reads the account's own opt-out while the reverse flow tells it of the ESP's; a tick in an
    order is newer than that one and not than the account's."""
    world = make_world()
    world.account("1", ANNA, "in")
    world.settle()
    world.wait(hours=1)
    world.says("1", None)
    world.at_esp(ANNA, "unsubscribed")
    world.wait(hours=1)
    world.order("7", ANNA, tick=True)
    world.wait(hours=1)
    world.reverse(between=world.forward)
    world.settle()
    assert world.esp_status(ANNA) == "unsubscribed"


def test_tags_come_back_with_the_choice_of_groups(make_world: MakeWorld) -> None:
    """7.4. They had lost a tag while in no chosen group, which left the same ones true that they get now."""
    world = make_world()
    world.account("1", ANNA, None)
    world.settle()
    assert set(world.contacts[ANNA].tags) == {"Contact", "WooCommerce"}
    world.choices = replace(world.choices, groups=("buyer",))
    world.wait(hours=1)
    world.says("1", "in")
    world.settle()
    assert set(world.contacts[ANNA].tags) == {"WooCommerce"}
    world.choices = replace(world.choices, groups=GROUPS)
    world.settle()
    assert set(world.contacts[ANNA].tags) == {"Subscriber", "WooCommerce"}


def test_an_older_opt_out_that_came_with_an_account_does_not_end_the_waiting(make_world: MakeWorld) -> None:
    """2.8, 12.6. The opt-in is newer than both opt-outs, so it is confirmed or not, but not taken back by us."""
    world = make_world(double_opt_in="esp")
    world.account("1", ANNA, "in")
    world.at_esp(BOB, "subscribed")
    world.settle()
    world.load_is_done()
    world.wait(hours=1)
    world.at_esp(ANNA, "unsubscribed")
    world.settle()
    world.wait(hours=1)
    world.at_esp(BOB, "unsubscribed")
    world.settle()
    world.wait(hours=1)
    world.accounts["shop", "1"].email = BOB
    world.wait(hours=1)
    world.order("7", BOB, tick=True)
    world.wait(hours=1)
    world.settle()
    assert world.esp_status(BOB) == "pending"
    world.settle()
    assert world.esp_status(BOB) == "pending"
