"""A day in the demo's town: what people and the merchant do at both ends between two syncs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sandbox.reference import Change, Person, is_purchase, key, mailchimp_takes

Json = dict[str, Any]


@dataclass
class Deed:
    """What several people did alike, in a sentence that begins with their number."""

    sentence: str
    changes: list[Change] = field(default_factory=list)


class Day:
    """Chooses who does what: `people` as after the first sync, `shop` as its twin tells it. The same for the same town.

    Nobody does two things, but for those who say yes at one side and no at the other.
    """

    def __init__(self, people: dict[str, Person], shop: Json, share: float, seed: int = 7) -> None:
        self._people, self._share = people, share
        self._rng = random.Random(seed)
        self._free = sorted(people)
        self._rng.shuffle(self._free)
        self._products = [product["id"] for product in shop["products"] if product["type"] == "simple"]
        self._spelled = {key(customer["email"]): customer["email"] for customer in shop["customers"]}
        self._invented = 0

    def deeds(self) -> list[Deed]:
        return [deed for deed in (*self._at_the_esp(), *self._in_the_shop(), *self._orders()) if deed.changes]

    def _at_the_esp(self) -> Iterator[Deed]:
        yield self._by("left the newsletter by its link", 12, agreed, "esp", "self_unsubscribe", reason="Too many mails")
        yield self._by("were unsubscribed by the merchant", 6, agreed, "esp", "admin_unsubscribe")
        yield self._by("could not be reached any more: hard bounce", 8, agreed, "esp", "clean")
        yield self._by("reported a newsletter as spam", 4, agreed, "esp", "complain")
        yield self._by("were archived by the merchant", 4, agreed, "esp", "archive")
        yield self._by("signed up with the newsletter's form, unknown to the shop", 10, None, "esp", "self_subscribe")
        yield self._by("signed up there, customers who had never ticked the box", 6, never_asked, "esp", "self_subscribe")
        yield self._by("came back there after a no on both sides", 4, both_out, "esp", "self_subscribe")

    def _in_the_shop(self) -> Iterator[Deed]:
        yield self._by("registered and ticked the box", 10, None, "shop", "register", first_name="Nova", consent="1")
        yield self._by("registered without ticking it", 6, None, "shop", "register", first_name="Nils")
        yield self._by("registered, and had once left the newsletter", 2, left_and_unknown, "shop", "register", consent="1")
        yield self._by("ticked the box in their account", 8, never_asked, "shop", "tick", value="1")
        yield self._by("took back the no they had said in the shop", 4, no_in_the_shop, "shop", "tick", value="1")
        yield self._by("ticked it, and had left the newsletter by its link", 4, left_by_themselves, "shop", "tick", value="1")
        yield self._by("took their tick away", 6, agreed, "shop", "tick", value="0")
        yield self._by("have an emptied box where a tick was", 4, agreed, "shop", "tick", value="")
        yield self._torn()
        yield self._by("were deleted, and had never ordered", 4, agreed_and_never_bought, "shop", "delete_customer")
        yield self._by("were deleted, and their orders remain", 3, bought_as_themselves, "shop", "delete_customer")
        yield self._by("were deleted after a no", 2, out_and_never_bought, "shop", "delete_customer")
        deed = self._by("were given another first name", 6, agreed, "shop", "merchant_edit", fields={"first_name": "Åsa-Lo"})
        for change in deed.changes:
            change.args |= {"kind": "customer", "number": int(self._people[key(change.who)].account or 0)}
        yield deed

    def _torn(self) -> Deed:
        """Said yes in the shop and no at the ESP, and nobody can tell which came first."""
        deed = self._by("said yes in the shop and no in the newsletter", 3, never_asked, "shop", "tick", value="1")
        deed.changes += [
            Change("esp", "self_unsubscribe", change.who, {"email": change.args["customer"]}) for change in deed.changes
        ]
        return deed

    def _orders(self) -> Iterator[Deed]:
        yield self._ordered("ordered as guests and ticked the box", 6, None, tick="1")
        yield self._ordered("ordered as guests without ticking it", 6, None)
        yield self._ordered("ordered again as guests, and ticked it this time", 3, guest_never_asked, tick="1")
        yield self._ordered("ordered with their account", 30, has_account)
        yield self._refunded("got their money back", 6, lambda total: None)
        yield self._refunded("got part of it back", 4, lambda total: f"{total / 2:.2f}")
        yield self._with_order(
            "have an order that the merchant corrected",
            4,
            lambda order: len(order["line_items"]) > 1,
            lambda order: (
                "merchant_edit",
                {
                    "kind": "order",
                    "number": order["id"],
                    "fields": {"line_items": [{"id": order["line_items"][0]["id"], "quantity": 0}]},
                },
            ),
        )
        yield self._with_order(
            "have an order that was called off",
            3,
            lambda order: order["status"] == "processing",
            lambda order: ("set_status", {"order": order["id"], "status": "cancelled"}),
        )

    def _by(
        self,
        sentence: str,
        number: int,
        who: Callable[[Person], bool] | None,
        side: Literal["shop", "esp"],
        action: str,
        **args: Any,
    ) -> Deed:
        """The action by so many people of a kind; by new ones where none is named."""
        name = "email" if side == "esp" or action == "register" else "customer"
        changes = []
        for address in self._choose(number, who):
            spelled = self._spelled.get(address, address) if side == "shop" else address
            own = {} if action == "merchant_edit" else {name: spelled}
            changes.append(Change(side, action, address, {**own, **args}))
        return Deed(sentence, changes)

    def _choose(self, number: int, who: Callable[[Person], bool] | None) -> list[str]:
        wanted = max(1, round(number * self._share))
        if who is None:
            self._invented += wanted
            return [f"new.person{self._invented - i}@example.com" for i in range(wanted)]
        found = [address for address in self._free if mailchimp_takes(address) and who(self._people[address])][:wanted]
        self._free = [address for address in self._free if address not in set(found)]
        return found

    def _ordered(self, sentence: str, number: int, who: Callable[[Person], bool] | None, tick: str | None = None) -> Deed:
        deed = Deed(sentence)
        for address in self._choose(number, who):
            items = [{"product_id": self._rng.choice(self._products), "quantity": self._rng.choice((1, 1, 2))}]
            account = self._people[address].account if address in self._people else None
            buyer: Json = {"customer_id": int(account)} if account else {"email": address, "billing": {"first_name": "Gabi"}}
            deed.changes.append(Change("shop", "order", address, {**buyer, "items": items, "consent_tick": tick}))
        return deed

    def _refunded(self, sentence: str, number: int, part: Callable[[float], str | None]) -> Deed:
        return self._with_order(
            sentence,
            number,
            lambda order: order["status"] == "completed" and not order["refunds"] and float(order["total"]) > 0,
            lambda order: ("refund", {"order": order["id"], "amount": part(float(order["total"])), "reason": "Ångrat köp"}),
        )

    def _with_order(
        self,
        sentence: str,
        number: int,
        fits: Callable[[Json], bool],
        deed: Callable[[Json], tuple[str, Json]],
    ) -> Deed:
        made = Deed(sentence)
        for address in self._choose(number, lambda person: person.address != "" and any(map(fits, person.orders.values()))):
            action, args = deed(next(order for order in self._people[address].orders.values() if fits(order)))
            made.changes.append(Change("shop", action, address, args))
        return made


def has_account(person: Person) -> bool:
    return person.account is not None


def agreed(person: Person) -> bool:
    """Customers who are subscribed on both sides."""
    return has_account(person) and person.value == "1" and person.contact == "subscribed"


def agreed_and_never_bought(person: Person) -> bool:
    return agreed(person) and not person.orders


def bought_as_themselves(person: Person) -> bool:
    """Their orders bear the account's own address."""
    own = all(key(order["billing"]["email"]) == person.address for order in person.orders.values())
    return agreed(person) and own and any(map(is_purchase, person.orders.values()))


def never_asked(person: Person) -> bool:
    return has_account(person) and person.contact == "transactional" and person.shop_status() == "not_subscribed"


def guest_never_asked(person: Person) -> bool:
    return not has_account(person) and person.is_known and person.contact == "transactional"


def both_out(person: Person) -> bool:
    return has_account(person) and person.value == "0" and person.contact == "unsubscribed"


def no_in_the_shop(person: Person) -> bool:
    return both_out(person) and not person.is_final


def left_by_themselves(person: Person) -> bool:
    return both_out(person) and person.is_final and person.suppression is None


def out_and_never_bought(person: Person) -> bool:
    return both_out(person) and not person.orders


def left_and_unknown(person: Person) -> bool:
    return not person.is_known and person.contact == "unsubscribed" and person.is_final
