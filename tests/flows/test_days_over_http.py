"""Random days through the twins over HTTP, with the real flows: at rest both sides hold what the plain reference holds.

The reference is that of the days on frames (`tests/tasks/rules/reference.py`). Many people a day, few runs: runs cost.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cuts
import pytest
import small_world

from sandbox.woocommerce import WooCommerce
from tasks.chain import verify
from tasks.state import State

sys.path.insert(0, str(Path(__file__).parent.parent / "tasks" / "rules"))

from reference import Reference

PEOPLE, DAYS, ROUNDS, ACTS = 120, 2, 3, 96
LEAST_STEPS = 300
FROM_MAILCHIMP = {"transactional": "not_subscribed", "cleaned": "bounced", "archived": "deleted"}
MEANING = {"1": "in", "0": "out"}


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Days:
    """The twins and the reference, in which the same people do the same."""

    town: cuts.Town
    reference: Reference
    rng: random.Random
    steps: int = 0
    stories: dict[str, list[str]] = field(default_factory=dict)

    # What people do

    def round(self) -> None:
        """Some people do one thing each; in the next second others may, or the same."""
        for number in self.rng.sample(range(PEOPLE), ACTS):
            addresses = [f"p{number}a@example.com", f"p{number}b@example.com"]
            self.rng.shuffle(addresses)
            what = self.rng.choice(list(self.acts))
            if self.acts[what](*addresses):
                self.steps += 1
                for address in addresses:
                    self.stories.setdefault(address, []).append(f"{now():%H:%M:%S} {what} {addresses[0]}")
        time.sleep(1.1)

    @property
    def acts(self) -> dict[str, Callable[[str, str], bool]]:
        return {
            "ticks": lambda address, _: self.says(address, "1"),
            "unticks": lambda address, _: self.says(address, "0"),
            "empties": lambda address, _: self.says(address, ""),
            "registers": lambda address, _: self.says(address, None),
            "orders": lambda address, _: self.orders(address, tick=False, is_guest=False),
            "orders and ticks": lambda address, _: self.orders(address, tick=True, is_guest=False),
            "orders as a guest": lambda address, _: self.orders(address, tick=False, is_guest=True),
            "orders as a guest and ticks": lambda address, _: self.orders(address, tick=True, is_guest=True),
            "deletes the account": self.deletes,
            "changes address": self.moves,
            "signs up": lambda address, _: self.at_esp(address, "self_subscribe", "subscribed"),
            "leaves": lambda address, _: self.at_esp(address, "self_unsubscribe", "unsubscribed"),
            "is unsubscribed by the merchant": lambda address, _: self.at_esp(address, "admin_unsubscribe", "unsubscribed"),
            "bounces": lambda address, _: self.at_esp(address, "clean", "bounced"),
            "complains": lambda address, _: self.at_esp(address, "complain", "complained"),
            "is archived": lambda address, _: self.at_esp(address, "archive", "deleted"),
        }

    def says(self, address: str, value: str | None) -> bool:
        account = self.town.shop.shop.customer_by_email(address)
        if account is None:
            number = self.town.shop.act_register(address, consent=value)
            created = self.town.shop.shop.customer(number).created.replace(tzinfo=UTC)
            self.reference.account(str(number), address, MEANING.get(value or ""), "shop", created)
            return True
        if value is None:
            return False
        self.town.shop.act_tick(account.id, value)
        self.reference.customers["shop", str(account.id)].consent = MEANING.get(value)
        return True

    def orders(self, address: str, *, tick: bool, is_guest: bool) -> bool:
        account = None if is_guest else self.town.shop.shop.customer_by_email(address)
        buyer: dict[str, Any] = {"customer_id": account.id} if account else {"email": address}
        number = self.town.shop.act_order(**buyer, consent_tick="1" if tick else None)
        at = self.town.shop.shop.order(number).created.replace(tzinfo=UTC)
        self.reference.order(str(number), address, str(account.id) if account else None, "shop", tick=tick, now=at)
        return True

    def deletes(self, address: str, _: str) -> bool:
        account = self.town.shop.shop.customer_by_email(address)
        if account:
            self.town.shop.act_delete_customer(account.id)
            del self.reference.customers["shop", str(account.id)]
        return account is not None

    def moves(self, address: str, new: str) -> bool:
        account = self.town.shop.shop.customer_by_email(address)
        if account is None or self.town.shop.shop.customer_by_email(new):
            return False
        self.town.shop.act_change_email(account.id, new)
        self.reference.customers["shop", str(account.id)].email = new
        return True

    def at_esp(self, address: str, action: str, status: str) -> bool:
        contact = self.reference.contacts.get(address)
        held = contact.status if contact else "absent"
        if held in {status, "bounced", "complained"} or (held in {"absent", "deleted"} and status != "subscribed"):
            return False
        getattr(self.town.esp, f"act_{action}")(address)
        at = self.town.esp.audience.find(address).last_changed
        by_self = not action.startswith("admin")
        self.reference.at_esp(address, status, by_self=by_self, now=at if at.tzinfo else at.replace(tzinfo=UTC))
        return True

    # Runs

    def run(self, flow: str) -> list[str]:
        """One run of a flow here and in the reference; returns what it wrote."""
        before = len(self.town.esp.operations)
        with self.town.open() as doors:
            asked = now()
            ended = self.town.program.run(flow, self.town.config)
            answered = now()
            calls = [f"{call.method} {call.path}" for call in doors["shop"].calls if call.method != "GET"]
        assert ended["status"] == 0, ended["message"]
        self.reference.heal(flow, asked)
        self.reference.hear_esp(self.reference.page_of_esp(), asked, answered)
        if flow == "forward":
            self.reference.look_at_shop("shop", asked, answered)
            self.reference.look_at_orders("shop")
        self.reference.decide(flow)
        if flow == "reverse":
            wanted = set(self.reference.opt_ins("shop"))
            again = {i: c for i, c in self.reference.page_of_shop("shop").items() if i in wanted}
            self.reference.hear_shop("shop", again, answered, answered)
        self.reference.carry_out(flow, answered)
        time.sleep(1.1)  # the platforms' clocks know seconds only
        return calls + [f"{method} {path}" for method, path, *_ in self.town.esp.operations[before:] if method != "GET"]

    # What must be

    def differences(self) -> list[str]:
        members = {m["email_address"]: m["status"] for m in self.town.esp.state()["members"]}
        contacts = {address: contact.status for address, contact in self.reference.contacts.items()}
        accounts = {}
        for customer in self.town.shop.state()["customers"]:
            if customer["role"] == "customer":
                meta = {entry["key"]: entry["value"] for entry in customer["meta_data"]}
                accounts[str(customer["id"])] = (
                    customer["email"],
                    MEANING.get(str(meta.get("newsletter_optin", ""))),
                    "email_bounced_at" in meta,
                )
        found = []
        for address in sorted({*members, *contacts}):
            status = FROM_MAILCHIMP.get(members.get(address, "absent"), members.get(address, "absent"))
            wanted = contacts.get(address, "absent").replace("complained", "unsubscribed")
            if status != wanted:
                found.append(self.explained(address, status, wanted))
        for (_, number), customer in self.reference.customers.items():
            told = (customer.email, customer.consent, customer.is_bounce_noted)
            if accounts.get(number) != told:
                found.append(self.explained(customer.email, accounts.get(number), told))
        assert set(accounts) == {number for _, number in self.reference.customers}
        return found

    def explained(self, address: str, found: object, wanted: object) -> str:
        noted = [
            f"{record} {entry.what} {'(our copy) ' * entry.is_copy}{entry.said.earliest:%H:%M:%S}-{entry.said.latest:%H:%M:%S}"
            for record, entries in self.reference.entries[address].items()
            for entry in entries
        ]
        return "\n".join((f"{address}: found {found}, by the reference {wanted}", *self.stories.get(address, ()), *noted))


@pytest.mark.timeout(300)
def test_both_sides_agree_with_the_reference_after_random_days(program: cuts.Program, tmp_path: Path) -> None:
    shop, esp = WooCommerce(), small_world.LoggedMailchimp(batch_seconds=0, call_seconds=0)
    shop.from_world(replace(small_world.world(), accounts=(), guests=(), orders=(), contacts=()))
    town = cuts.Town(shop, esp, tmp_path, cuts.free_ports(), program)
    days = Days(town, Reference("consent-first", ["shop"], is_strict=True), random.Random(11))
    for _ in range(DAYS):
        for number in range(ROUNDS):
            days.round()
            if number == 1:
                days.run(days.rng.choice(("forward", "reverse")))
        for flow in ("forward", "reverse"):
            days.run(flow)
        assert days.differences() == []
    days.run("forward")  # whose address changed may be in another group once the shop was told
    assert [written for flow in ("forward", "reverse") for written in days.run(flow)] == []
    proof = verify(State(tmp_path / "state" / "demo"))
    assert (proof["broken"], proof["waiting"]) == (None, 0)
    assert days.steps >= LEAST_STEPS
