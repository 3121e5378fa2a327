"""Random days through the twins over HTTP, with the real flows: at rest both sides hold what the plain reference holds.

Two shops feed one audience: in one (WooCommerce) consent is a value without a time and buyers may be guests, the other
(Shopify) states when somebody said something, and makes every buyer a customer. The reference is that of the days on frames
(`tests/tasks/rules/reference.py`). Many people a day, few runs: runs cost.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cuts
import pytest
import small_world

from sandbox.server import Door, serve
from sandbox.shopify import Setup, Shopify
from sandbox.woocommerce import WooCommerce
from tasks.chain import verify
from tasks.state import State

sys.path.insert(0, str(Path(__file__).parent.parent / "tasks" / "rules"))

from reference import POLICIES, Reference

PEOPLE, ACTS = 90, 70
DAY = ((), ("forward",), ("reverse",), ("forward", "reverse"))
"""Which flows run after each round of acts."""
LEAST_STEPS = 300
FROM_MAILCHIMP = {"transactional": "not_subscribed", "cleaned": "bounced", "archived": "deleted"}
MEANING = {"1": "in", "0": "out"}
STATES = {"1": "SUBSCRIBED", "0": "UNSUBSCRIBED", None: "NOT_SUBSCRIBED"}
SAID = {"SUBSCRIBED": "in", "UNSUBSCRIBED": "out"}
"""WooCommerce's plugin, and Shopify."""
CONFIG = """\
[settings]
data_dir = "state"

[connections.demo]
policy = "{policy}"
customers_every_minutes = 0
deletions_every_hours = 0

[connections.demo.shops.woo]
platform = "woocommerce"
url = "{woo}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"

[connections.demo.shops.lilla]
platform = "shopify"
url = "lilla-butiken.myshopify.com"
base_url = "{lilla}"
access_token = "shpat_sandbox"

[connections.demo.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "a1b2c3d4e5"
base_url = "{esp}/3.0"
"""


def now() -> datetime:
    return datetime.now(UTC)


class Woo:
    """What customers do in the WooCommerce shop, in the twin and in the reference."""

    name = "woo"

    def __init__(self, reference: Reference) -> None:
        self.twin, self.reference = WooCommerce(), reference
        self.twin.from_world(replace(small_world.world(), accounts=(), guests=(), orders=(), contacts=()))

    def says(self, address: str, value: str | None) -> bool:
        account = self.twin.shop.customer_by_email(address)
        if account is None:
            number = self.twin.act_register(address, consent=value)
            created = self.twin.shop.customer(number).created.replace(tzinfo=UTC)
            self.reference.account(str(number), address, MEANING.get(value or ""), self.name, created)
            return True
        if value is None:
            return False
        self.twin.act_tick(account.id, value)
        self.reference.customers[self.name, str(account.id)].consent = MEANING.get(value)
        return True

    def orders(self, address: str, *, tick: bool, is_guest: bool) -> bool:
        account = None if is_guest else self.twin.shop.customer_by_email(address)
        buyer: dict[str, Any] = {"customer_id": account.id} if account else {"email": address}
        number = self.twin.act_order(**buyer, consent_tick="1" if tick else None)
        at = self.twin.shop.order(number).created.replace(tzinfo=UTC)
        self.reference.order(str(number), address, str(account.id) if account else None, self.name, tick=tick, now=at)
        return True

    def deletes(self, address: str, _: str) -> bool:
        account = self.twin.shop.customer_by_email(address)
        if account:
            self.twin.act_delete_customer(account.id)
            del self.reference.customers[self.name, str(account.id)]
        return account is not None

    def moves(self, address: str, new: str) -> bool:
        account = self.twin.shop.customer_by_email(address)
        if account is None or self.twin.shop.customer_by_email(new):
            return False
        self.twin.act_change_email(account.id, new)
        self.reference.customers[self.name, str(account.id)].email = new
        return True

    def held(self) -> dict[str, tuple[str, str | None, bool]]:
        """By id: address, consent, whether a bounce is noted."""
        found = {}
        for customer in self.twin.state()["customers"]:
            if customer["role"] == "customer":
                meta = {entry["key"]: entry["value"] for entry in customer["meta_data"]}
                said = MEANING.get(str(meta.get("newsletter_optin", "")))
                found[str(customer["id"])] = (customer["email"], said, "email_bounced_at" in meta)
        return found


class Lilla:
    """What customers do in the Shopify shop: who buys is a customer, a tick in an order is the customer's word."""

    name = "lilla"

    def __init__(self, reference: Reference) -> None:
        self.twin, self.reference = Shopify(Setup(plan="enterprise")), reference

    def says(self, address: str, value: str | None) -> bool:
        if value == "":
            return False  # consent is a state here, which nobody can empty
        person = self.twin.shop.by_email(address)
        if person is None:
            number = self.twin.act_register(address, consent=STATES[value])
            created = self.twin.shop.customers[number].created_at
            self.reference.account(str(number), address, MEANING.get(value or ""), self.name, created)
            return True
        if value is None:
            return False
        {"1": self.twin.act_subscribe, "0": self.twin.act_unsubscribe}[value](person.key)
        self._heard(person)
        return True

    def _heard(self, person: Any) -> None:
        consent = person.email_consent
        self.reference.say((self.name, str(person.key)), SAID.get(consent.state), consent.updated_at)

    def orders(self, address: str, *, tick: bool, is_guest: bool) -> bool:
        is_new = self.twin.shop.by_email(address) is None
        number = self.twin.act_order(email=address, ticks=tick)
        person, at = self.twin.shop.by_email(address), self.twin.shop.orders[number].created_at
        assert person is not None
        if is_new:
            self.reference.account(str(person.key), address, None, self.name, at)
        if tick:
            self._heard(person)
        self.reference.order(str(number), address, str(person.key), self.name, tick=False, now=at)
        return True

    def deletes(self, address: str, _: str) -> bool:
        person = self.twin.shop.by_email(address)
        if person is None or self.twin.shop.orders_of(person):  # Shopify keeps who has bought
            return False
        self.twin.act_delete_customer(person.key)
        del self.reference.customers[self.name, str(person.key)]
        return True

    def moves(self, address: str, new: str) -> bool:
        person = self.twin.shop.by_email(address)
        if person is None or self.twin.shop.by_email(new):
            return False
        self.twin.act_change_email(person.key, new)
        self.reference.customers[self.name, str(person.key)].email = new
        return True

    def held(self) -> dict[str, tuple[str | None, str | None, bool]]:
        return {
            str(person.key): (
                person.email,
                SAID.get(person.email_consent.state),
                person.find_metafield("shopsync", "bounced_at") is not None,
            )
            for person in self.twin.shop.customers.values()
        }


@dataclass
class Days:
    """The twins and the reference, in which the same people do the same."""

    folder: Path
    program: cuts.Program
    reference: Reference
    rng: random.Random
    esp: small_world.LoggedMailchimp
    shops: tuple[Woo, Lilla]
    woo: Door | None = None
    steps: int = 0
    stories: dict[str, list[str]] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "shopsync.toml"

    # What people do

    def round(self) -> None:
        """Some people do one thing each; in the next second others may, or the same."""
        for number in self.rng.sample(range(PEOPLE), ACTS):
            addresses = [f"p{number}a@example.com", f"p{number}b@example.com"]
            self.rng.shuffle(addresses)
            shop: Woo | Lilla = self.rng.choice(self.shops)
            acts = self.acts_in(shop)
            what = self.rng.choice(list(acts))
            if acts[what](*addresses):
                self.steps += 1
                for address in addresses:
                    self.stories.setdefault(address, []).append(f"{now():%H:%M:%S} {what} {addresses[0]} ({shop.name})")
        time.sleep(1.1)

    def acts_in(self, shop: Woo | Lilla) -> dict[str, Callable[[str, str], bool]]:
        return {
            "ticks": lambda address, _: shop.says(address, "1"),
            "unticks": lambda address, _: shop.says(address, "0"),
            "empties": lambda address, _: shop.says(address, ""),
            "registers": lambda address, _: shop.says(address, None),
            "orders": lambda address, _: shop.orders(address, tick=False, is_guest=False),
            "orders and ticks": lambda address, _: shop.orders(address, tick=True, is_guest=False),
            "orders as a guest": lambda address, _: shop.orders(address, tick=False, is_guest=True),
            "orders as a guest and ticks": lambda address, _: shop.orders(address, tick=True, is_guest=True),
            "deletes the account": shop.deletes,
            "changes address": shop.moves,
            "signs up": lambda address, _: self.at_esp(address, "self_subscribe", "subscribed"),
            "leaves": lambda address, _: self.at_esp(address, "self_unsubscribe", "unsubscribed"),
            "is unsubscribed by the merchant": lambda address, _: self.at_esp(address, "admin_unsubscribe", "unsubscribed"),
            "bounces": lambda address, _: self.at_esp(address, "clean", "bounced"),
            "complains": lambda address, _: self.at_esp(address, "complain", "complained"),
            "is archived": lambda address, _: self.at_esp(address, "archive", "deleted"),
        }

    def at_esp(self, address: str, action: str, status: str) -> bool:
        contact = self.reference.contacts.get(address)
        held = contact.status if contact else "absent"
        if held in {status, "bounced", "complained"} or (held in {"absent", "deleted"} and status != "subscribed"):
            return False
        getattr(self.esp, f"act_{action}")(address)
        at = self.esp.audience.find(address).last_changed
        by_self = not action.startswith("admin")
        self.reference.at_esp(address, status, by_self=by_self, now=at if at.tzinfo else at.replace(tzinfo=UTC))
        return True

    # Runs

    def run(self, flow: str) -> None:
        """A flow, here and in the reference, until nothing waits for an approval; both hold the same then."""
        plan: str | None = None
        while True:
            waiting = self.run_once(flow, plan)
            if not waiting or waiting == plan:
                break
            plan = waiting  # the merchant approves whatever waits for it
        assert self.differences() == []
        time.sleep(1.1)  # the platforms' clocks know seconds only

    def run_once(self, flow: str, plan: str | None) -> str | None:
        asked = now()
        ended = self.program.run(flow, self.config, plan=plan)
        answered = now()
        assert ended["status"] == 0, ended["message"]
        self.reference.heal(flow, asked)
        self.reference.hear_esp(self.reference.page_of_esp(), asked, answered)
        if flow == "forward":
            for shop in self.shops:
                self.reference.look_at_shop(shop.name, asked, answered)
                self.reference.look_at_orders(shop.name)
        self.reference.decide(flow)
        if flow == "reverse":
            for shop in self.shops:
                wanted = set(self.reference.opt_ins(shop.name))
                again = {i: c for i, c in self.reference.page_of_shop(shop.name).items() if i in wanted}
                self.reference.hear_shop(shop.name, again, answered, answered)
        self.reference.carry_out(flow, answered)
        waiting = [kept["plan"] for kept in ended["result"]["waiting"] if kept["flow"] == flow]
        return waiting[0] if waiting else None

    # What must be

    def written(self) -> dict[str, Any]:
        """All that was ever written. Reading is a POST as well in GraphQL, so there the shop counts its changes."""
        return {
            "esp": [(method, path, told) for method, path, told, *_ in self.esp.operations if method != "GET"],
            "woo": [(call.method, call.path) for call in self.woo.calls if call.method != "GET"],
            "lilla": self.shops[1].twin.shop.changes,
        }

    def differences(self) -> list[str]:
        members = {m["email_address"]: m["status"] for m in self.esp.state()["members"]}
        contacts = {address: contact.status for address, contact in self.reference.contacts.items()}
        found = []
        for address in sorted({*members, *contacts}):
            status = FROM_MAILCHIMP.get(members.get(address, "absent"), members.get(address, "absent"))
            wanted = contacts.get(address, "absent").replace("complained", "unsubscribed")
            if status != wanted:
                found.append(self.explained(address, status, wanted))
        for shop in self.shops:
            held = shop.held()
            for (where, number), customer in self.reference.customers.items():
                told = (customer.email, customer.consent, customer.is_bounce_noted)
                if where == shop.name and held.pop(number, None) != told:
                    found.append(self.explained(customer.email, shop.held().get(number), told))
            assert held == {}
        return found

    def explained(self, address: str, found: object, wanted: object) -> str:
        noted = [
            f"{record} {entry.what} {'(our copy) ' * entry.is_copy}{entry.said.earliest:%H:%M:%S}-{entry.said.latest:%H:%M:%S}"
            for record, entries in self.reference.entries[address].items()
            for entry in entries
        ]
        return "\n".join((f"{address}: found {found}, by the reference {wanted}", *self.stories.get(address, ()), *noted))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_both_sides_agree_with_the_reference_after_random_days(program: cuts.Program, tmp_path: Path, policy: str) -> None:
    reference = Reference(policy, ["woo", "lilla"], is_strict=True, state_times=["lilla"])
    esp = small_world.LoggedMailchimp(batch_seconds=0, call_seconds=0)
    days = Days(tmp_path, program, reference, random.Random(policy), esp, (Woo(reference), Lilla(reference)))
    with ExitStack() as served:
        woo, lilla, audience = (served.enter_context(serve(twin)) for twin in (days.shops[0].twin, days.shops[1].twin, esp))
        days.woo = woo.door
        days.config.write_text(CONFIG.format(policy=policy, woo=woo.url, lilla=lilla.url, esp=audience.url, key=esp.key))
        for flows in DAY:
            days.round()
            for flow in flows:
                days.run(flow)
        before = days.written()
        for flow in ("forward", "reverse"):
            days.run(flow)
        assert days.written() == before
    proof = verify(State(tmp_path / "state" / "demo"))
    assert (proof["broken"], proof["waiting"]) == (None, 0)
    assert days.steps >= LEAST_STEPS / len(POLICIES)
