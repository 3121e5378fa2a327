"""What both sides should hold after a sync, worked out a second time and in another way: plain Python, person by person.

It shares nothing with `tasks`: it is written from the written rules of `consent-first` (the numbers in the code are theirs),
reads the twins' own states and knows what people did on the demo's day. If it and the product disagree, one of them is wrong.

Times are the two bounds of `Said`: something happened no earlier and no later than that. Newer means: its earliest bound lies
after the other's latest one. Whatever overlaps is unordered, and then the no wins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

Json = dict[str, Any]
Yes = Literal["in", "out", "pending"]

CONSENT_KEY = "newsletter_optin"
MEANS_IN, MEANS_OUT = {"1", "yes", "true", "on"}, {"0", "no", "false", "off"}
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
ORIGIN = "WooCommerce"
OUR_TAGS = {"Subscriber", "Buyer", "Contact", "WooCommerce", "Shopify"}
FROM_MAILCHIMP = {"transactional": "not_subscribed", "cleaned": "bounced", "archived": "deleted"}
TO_MAILCHIMP = {ours: theirs for theirs, ours in FROM_MAILCHIMP.items()}


@dataclass(frozen=True)
class Said:
    """Somebody's yes or no, and when."""

    what: Yes
    earliest: datetime
    latest: datetime

    def is_newer_than(self, other: Said) -> bool:
        return self.earliest > other.latest


@dataclass
class Change:
    """One thing that somebody does at one side: `action` and `args` as the sandbox's control door takes them.

    `at` is when it was asked for, `made` the id of what came to be by it.
    """

    side: Literal["shop", "esp"]
    action: str
    who: str
    args: Json = field(default_factory=dict)
    at: datetime = LONG_AGO
    made: str = ""


@dataclass
class Person:
    """One address: what either side knows of it. `shop` holds what each of its records says, by the record's name."""

    address: str
    origins: set[str] = field(default_factory=lambda: {ORIGIN})
    account: str | None = None
    value: str | None = None
    """What the shop stores as consent, to the letter. None: no such entry, or no account."""
    bounce_noted: bool = False
    shop: dict[str, Said] = field(default_factory=dict)
    was_known: bool = False
    orders: dict[str, Json] = field(default_factory=dict)

    contact: str | None = None
    """The status at Mailchimp, in Mailchimp's word. None: no contact."""
    esp: Said | None = None
    is_final: bool = False
    """Left by themselves, bounced or complained: Mailchimp lets nobody else bring them back (compliance state)."""
    suppression: str | None = None
    tags: set[str] = field(default_factory=set)
    sent_orders: dict[str, Json] = field(default_factory=dict)
    new_name: str | None = None
    """The first name that was edited in the shop and has to arrive."""

    needs_confirmation: bool = False
    is_settled: bool = False
    """One decision has reached both sides: from then on the phase is ongoing."""

    @property
    def is_known(self) -> bool:
        """A shop knows whoever has an account or an order, whatever became of the order."""
        return self.account is not None or any(order["status"] not in {"draft", "trash"} for order in self.orders.values())

    @property
    def has_bought(self) -> bool:
        return any(is_purchase(order) for order in self.orders.values())

    def shop_says(self) -> Said | None:
        """One answer for all of the shop's records: a no stands unless a yes is newer than every no."""
        noes = [said for said in self.shop.values() if said.what == "out"]
        yeses = [said for said in self.shop.values() if said.what == "in"]
        good = [yes for yes in yeses if all(yes.is_newer_than(no) for no in noes)]
        return max(good or noes, key=lambda said: said.earliest if said.what == "in" else said.latest, default=None)

    def shop_status(self) -> str:
        said = self.shop_says()
        if said and said.what == "out":
            return "unsubscribed"
        if not self.is_known:
            return "deleted" if self.was_known else "absent"
        return "subscribed" if said else "not_subscribed"

    def groups(self) -> set[str]:
        found = {"Subscriber"} if self.shop_status() == "subscribed" else set()
        if self.has_bought:
            found.add("Buyer")
        return found or {"Contact"}


def key(email: str) -> str:
    return email.strip().lower()


def is_address(email: str) -> bool:
    local, _, domain = email.partition("@")
    return bool(local) and "." in domain.strip(".") and "@" not in domain and ".." not in domain


def mailchimp_takes(address: str) -> bool:
    """WordPress thinks that two dots in a row are fine; Mailchimp does not."""
    return ".." not in address


def utc(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def meaning(value: str | None) -> Yes | None:
    """An empty value is a box that nobody ticked, which is neither yes nor no."""
    word = (value or "").strip().lower()
    return "in" if word in MEANS_IN else "out" if word in MEANS_OUT else None


def entry(record: Json, name: str) -> str | None:
    return next((str(meta["value"]) for meta in reversed(record["meta_data"]) if meta["key"] == name), None)


def is_purchase(order: Json) -> bool:
    """Refunded orders count; drafts, failed ones and those cancelled before they were paid do not."""
    if order["status"] == "cancelled":
        return order["date_paid_gmt"] is not None
    return order["status"] not in {"draft", "checkout-draft", "trash", "failed"}


def amount(order: Json) -> Decimal:
    """What the shop has of the order now: its total without what was paid back."""
    return Decimal(order["total"]) + sum((Decimal(refund["total"]) for refund in order["refunds"]), Decimal(0))


def sums(orders: Iterable[Json]) -> dict[str, Decimal]:
    """Per currency, over the orders that were not called off."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for order in orders:
        if order["status"] != "cancelled" and is_purchase(order):
            found[order["currency"]] += amount(order)
    return {currency: total for currency, total in found.items() if total}


# Reading the twins


def read_both(shop: Json, esp: Json, seen_at: datetime, origin: str = ORIGIN) -> dict[str, Person]:
    """Everybody in a shop and an audience that have never been synced, as somebody who looks at `seen_at` sees them."""
    people = read_shop(shop, seen_at, origin)
    for member in esp["members"]:
        person = people.setdefault(key(member["email_address"]), Person(key(member["email_address"])))
        _read_member(person, member)
    return people


def from_shopify(shop: Json) -> Json:
    """A Shopify shop as the rest of this page reads WooCommerce's. It says when somebody said yes or no (`said_at`), keeps the
    tick of an order with the customer, and notes a bounce by a tag; a test order is nobody's."""
    values = {"SUBSCRIBED": "1", "UNSUBSCRIBED": "0"}
    customers = [
        {
            "id": customer["key"],
            "role": "customer",
            "email": customer["email"],
            "date_created_gmt": customer["created_at"],
            "said_at": customer["email_consent"]["updated_at"],
            "meta_data": [{"key": CONSENT_KEY, "value": v} for v in [values.get(customer["email_consent"]["state"])] if v]
            + [{"key": "email_bounced_at", "value": "yes"} for tag in customer["tags"] if tag == "email-bounced"],
        }
        for customer in shop["customers"]
        if customer["email"]
    ]
    orders = [
        {
            "id": order["key"],
            "customer_id": order["customer_key"],
            "status": _status_in_shopify(order),
            "date_paid_gmt": order["display_financial_status"] in {"PAID", "PARTIALLY_REFUNDED", "REFUNDED"} or None,
            "date_created_gmt": order["processed_at"],
            "billing": {"email": order["email"] or ""},
            "meta_data": [],
        }
        for order in shop["orders"]
    ]
    return {"customers": customers, "orders": orders}


def _status_in_shopify(order: Json) -> str:
    if order["test"]:
        return "draft"
    if order["cancelled_at"] or order["display_financial_status"] == "VOIDED":
        return "cancelled"
    return "failed" if order["display_financial_status"] == "EXPIRED" else "completed"


def subscribers_of(*shops: Mapping[str, Person]) -> dict[str, Person]:
    """Everybody of several shops as a new audience for subscribers: a no in any shop stands unless a yes is newer, and then one
    is a contact, tagged with every shop that knows one."""
    found: dict[str, Person] = {}
    for number, people in enumerate(shops):
        for address, person in people.items():
            if person.is_known:
                one = found.setdefault(address, Person(address, origins=set()))
                one.account, one.origins = "of a shop", one.origins | person.origins
                one.shop |= {f"{number} {record}": said for record, said in person.shop.items()}
    for one in found.values():
        if one.shop_status() == "subscribed" and mailchimp_takes(one.address):
            one.contact, one.tags = "subscribed", {"Subscriber"} | one.origins
    return found


def read_shop(shop: Json, seen_at: datetime, origin: str = ORIGIN) -> dict[str, Person]:
    people: dict[str, Person] = {}
    accounts: dict[int, str] = {}
    for customer in shop["customers"]:
        if customer["role"] == "administrator":
            continue
        address = accounts[customer["id"]] = key(customer["email"])
        person = people[address] = Person(address, account=str(customer["id"]))
        person.value = entry(customer, CONSENT_KEY)
        person.bounce_noted = entry(customer, "email_bounced_at") is not None
        if what := meaning(person.value):
            # A bare value says nothing about when: any time between the account's first day and now.
            said_at = utc(customer["said_at"]) if customer.get("said_at") else None
            person.shop["account"] = Said(what, said_at or utc(customer["date_created_gmt"]), said_at or seen_at)
    for order in shop["orders"]:
        take_order(people, order, accounts.get(order["customer_id"]))
    for person in people.values():
        person.was_known, person.origins = person.is_known, {origin}
    return people


def take_order(people: dict[str, Person], order: Json, account: str | None) -> str | None:
    """Give an order to whom it belongs: the account, else the address that was typed in. A tick in it counts from its time."""
    typed = key(order["billing"]["email"])
    if typed and not is_address(typed):
        return None  # set aside until somebody corrects it
    owner = account or typed
    if not owner:
        return None
    person = people.setdefault(owner, Person(owner))
    person.orders[str(order["id"])] = order
    if meaning(entry(order, CONSENT_KEY)) == "in" and order["status"] not in {"draft", "checkout-draft"}:
        at = utc(order["date_created_gmt"])
        person.shop[f"order {order['id']}"] = Said("in", at, at)
    return owner


def _read_member(person: Person, member: Json) -> None:
    person.contact, person.tags = member["status"], set(member["tags"])
    person.is_final = bool(member["compliance"])
    opted_in = utc(member["timestamp_opt"]) if member["timestamp_opt"] else None
    changed = utc(member["last_changed"])
    match member["status"]:
        case "subscribed":
            person.esp = Said("in", opted_in or LONG_AGO, opted_in or changed)
        case "unsubscribed":
            # When they left is not told: after they came, and no later than the last edit.
            person.esp = Said("out", min(opted_in or LONG_AGO, changed), changed)
        case "pending":
            person.esp = Said("pending", LONG_AGO, changed)
        case "cleaned":
            person.suppression = "bounced"


# The rules


def settle(person: Person, *, shop_moved: bool = False, esp_moved: bool = False) -> None:
    """Decide for one person and carry it out on both sides, then tags and orders as they follow from it."""
    esp_target, shop_target = _suppressed(person) or _decided(person, shop_moved=shop_moved, esp_moved=esp_moved)
    shop_said, esp_said = person.shop_says(), person.esp
    was_contact = person.contact is not None
    person.needs_confirmation = False
    person.is_settled = person.shop_status() != "absent"
    if esp_target:
        _write_to_esp(person, esp_target, shop_said)
    if shop_target:
        _write_to_shop(person, shop_target, esp_said)
    person.is_settled &= was_contact or person.contact is not None
    if (person.was_known or person.is_known) and person.contact not in {None, "archived"}:
        person.tags = (person.tags - OUR_TAGS) | (person.groups() | person.origins if person.is_known else set())
    if person.is_known and person.contact not in {None, "archived"} and mailchimp_takes(person.address):
        person.sent_orders = {
            number: order for number, order in person.orders.items() if is_purchase(order) or number in person.sent_orders
        }


Targets = tuple[str | None, str | None]
NOTHING: Targets = (None, None)


def _suppressed(person: Person) -> Targets | None:
    """Before any rule: bounces and complaints stay as they are, and the shop is told."""
    if person.suppression == "bounced":
        return None, "bounced"
    if person.suppression == "complained":
        return None, "unsubscribed"
    return None


def _decided(person: Person, *, shop_moved: bool, esp_moved: bool) -> Targets:
    shop, esp = person.shop_status(), FROM_MAILCHIMP.get(person.contact or "absent", person.contact or "absent")
    match shop, esp:
        case _, "deleted":  # 16
            return NOTHING
        case "deleted", "subscribed" | "not_subscribed" | "pending":  # 15, and who came back by themselves stays
            return NOTHING if esp_moved and not shop_moved else ("archived", None)
        case ("deleted" | "absent", _) | ("unsubscribed" | "pending", "absent"):  # 4, 15, 3
            return NOTHING
        case _, "absent":  # 1, 2
            return shop, None
        case _, "pending":  # 14; an open question ends with a no
            return ("unsubscribed", None) if shop == "unsubscribed" else NOTHING
        case "subscribed" | "unsubscribed", "not_subscribed":  # 13, 13b
            return shop, None
        case "not_subscribed", "subscribed":  # 10, and 7: nobody ever said no
            return (None, "subscribed") if not person.is_settled or esp_moved else NOTHING
        case "not_subscribed", "unsubscribed":  # 13a
            return None, "unsubscribed"
        case ("subscribed", "unsubscribed") | ("unsubscribed", "subscribed"):
            return _disputed(person, shop_moved=shop_moved, esp_moved=esp_moved)
    return NOTHING  # 5: both say the same


def _disputed(person: Person, *, shop_moved: bool, esp_moved: bool) -> Targets:
    """One side says yes and the other no: it needs to be newer, and in the ongoing phase somebody must just have said it."""
    shop, esp = person.shop_says(), person.esp
    if shop is None or esp is None:
        raise ValueError(f"{person.address}: sides that disagree have said something")
    yes, no, has_yes_moved = (shop, esp, shop_moved) if shop.what == "in" else (esp, shop, esp_moved)
    if yes.is_newer_than(no) and (has_yes_moved or not person.is_settled):  # 7, 9, 11, 12
        return "subscribed", "subscribed"
    return "unsubscribed", "unsubscribed"  # 6, 8, 9, 11, 12


def _write_to_esp(person: Person, target: str, origin: Said | None) -> None:
    status = TO_MAILCHIMP.get(target, target)
    if person.contact == status or (status == "archived" and person.contact in {"pending", "cleaned"}):
        return  # holds it already; these two Mailchimp does not archive
    if person.contact is None and not mailchimp_takes(person.address):
        person.is_settled = False
        return
    if status == "subscribed" and person.is_final:
        person.needs_confirmation, person.is_settled = True, False
        return
    person.contact = status
    if origin and target in {"subscribed", "unsubscribed"}:
        person.esp = origin


def _write_to_shop(person: Person, target: str, origin: Said | None) -> None:
    """Only accounts can be told. A copy keeps the times of what it was copied from."""
    if person.account is None or (target == "subscribed" and person.shop_status() == "subscribed"):
        return
    if target == "bounced":
        person.bounce_noted = True
        return
    wanted: Yes = "in" if target == "subscribed" else "out"
    if meaning(person.value) == wanted or (wanted == "out" and person.value == "" and "account" in person.shop):
        return  # holds it already; a value that was emptied on purpose stays empty
    person.value = {"in": "1", "out": "0"}[wanted]
    if origin:
        person.shop["account"] = Said(wanted, origin.earliest, origin.latest)


# The day


def live_through(people: dict[str, Person], day: Iterable[Change], shop: Json, last_seen: datetime, now: datetime) -> None:
    """Let everybody say what they said on the day, then decide again for these people and for nobody else.

    `shop` is the shop's state at the end of the day, for the orders: they flow in one direction only. Whatever was not stated
    with a time happened between `last_seen` and `now`.
    """
    moved: dict[str, set[str]] = {}
    for change in day:
        address = key(change.who)
        person = people.setdefault(address, Person(address))
        says_something = _say(person, change, last_seen, now)
        moved.setdefault(address, set()).update({change.side} if says_something else ())
    for address in _renew_orders(people, shop):
        moved.setdefault(address, set()).add("shop")
    for address, sides in moved.items():
        settle(people[address], shop_moved="shop" in sides, esp_moved="esp" in sides)
        people[address].was_known |= people[address].is_known


def _say(person: Person, change: Change, last_seen: datetime, now: datetime) -> bool:
    """One thing that somebody did. True if it says something about consent, or about being there at all."""
    args = change.args
    match change.action:
        case "register":
            person.account, person.value, person.was_known = change.made, args.get("consent"), True
            if what := meaning(person.value):
                person.shop["account"] = Said(what, change.at, now)
            return what is not None
        case "tick":
            before, person.value = meaning(person.value), args["value"]
            # A yes that was emptied is a no; a no or nothing that was emptied is nothing new.
            if what := meaning(person.value) or ("out" if before == "in" else None):
                person.shop["account"] = Said(what, last_seen, now)
            return what is not None
        case "delete_customer":
            person.account, person.value, person.bounce_noted = None, None, False
        case "merchant_edit":
            person.new_name = args["fields"].get("first_name")
            return False
        case "self_unsubscribe" | "admin_unsubscribe":
            person.is_final = person.is_final or change.action == "self_unsubscribe"
            person.contact, person.esp = "unsubscribed", Said("out", last_seen, now)
        case "complain":
            person.contact, person.suppression, person.is_final = "unsubscribed", "complained", True
            person.esp = Said("out", last_seen, now)
        case "clean":
            person.contact, person.suppression, person.is_final = "cleaned", "bounced", True
        case "self_subscribe":
            person.contact, person.is_final = "subscribed", False
            person.esp = Said("in", change.at, now)
        case "archive":
            person.contact, person.esp = "archived", None
        case _:  # orders and refunds: the shop's state at the end tells
            return False
    return True


def _renew_orders(people: dict[str, Person], shop: Json) -> set[str]:
    """Give everybody their orders as the shop has them now. Returns who is new by them, or ticked the box in one."""
    accounts = {customer["id"]: key(customer["email"]) for customer in shop["customers"]}
    before = {address: set(person.shop) for address, person in people.items()}
    for person in people.values():
        person.orders = {}
    owners = {take_order(people, order, accounts.get(order["customer_id"])) for order in shop["orders"]} - {None}
    return {owner for owner in owners if owner and (owner not in before or set(people[owner].shop) > before[owner])}


# Comparing


EVERYTHING = (
    "status at the ESP",
    "tags",
    "first name at the ESP",
    "consent in the shop",
    "bounce noted in the shop",
    "orders at the ESP",
    "totals at the ESP",
)


def differences(
    people: Mapping[str, Person],
    shop: Json,
    esp: Json,
    store_id: str,
    compared: Collection[str] = EVERYTHING,
) -> list[tuple[str, str, str, str]]:
    """Everything that one side holds and should not, or the other way round: (address, what, expected, found)."""
    found = {address: _facts_found() for address in people}
    for customer in shop["customers"]:
        if customer["role"] != "administrator":
            facts = found.setdefault(key(customer["email"]), _facts_found())
            facts["consent in the shop"] = entry(customer, CONSENT_KEY)
            facts["bounce noted in the shop"] = entry(customer, "email_bounced_at") is not None
    for member in esp["members"]:
        facts = found.setdefault(key(member["email_address"]), _facts_found())
        facts["status at the ESP"], facts["tags"] = member["status"], ", ".join(sorted(member["tags"]))
        facts["first name at the ESP"] = member["merge_fields"].get("FNAME", "")
    buyers = {customer["id"]: key(customer["email_address"]) for customer in esp["customers"].get(store_id, [])}
    for order in esp["orders"].get(store_id, []):
        facts = found.setdefault(buyers[order["customer"]], _facts_found())
        facts["orders at the ESP"] += 1
        if order["financial_status"] != "cancelled":
            totals = facts["totals at the ESP"]
            totals[order["currency_code"]] = totals.get(order["currency_code"], Decimal(0)) + Decimal(str(order["order_total"]))
    return [
        (address, what, _shown(expected), _shown(facts[what]))
        for address, facts in sorted(found.items())
        for what, expected in _facts_expected(people.get(address) or Person(address)).items()
        if what in compared and _shown(expected) != _shown(facts[what])
    ]


def _facts_found() -> Json:
    return {
        "status at the ESP": None,
        "tags": "",
        "first name at the ESP": "",
        "consent in the shop": None,
        "bounce noted in the shop": False,
        "orders at the ESP": 0,
        "totals at the ESP": {},
    }


def _facts_expected(person: Person) -> Json:
    facts = _facts_found() | {
        "status at the ESP": person.contact,
        "tags": ", ".join(sorted(person.tags)),
        "first name at the ESP": person.new_name,
        "consent in the shop": person.value,
        "bounce noted in the shop": person.bounce_noted,
        "orders at the ESP": len(person.sent_orders),
        "totals at the ESP": sums(order for order in person.sent_orders.values() if "total" in order),
    }
    if person.new_name is None:
        del facts["first name at the ESP"]
    if person.contact == "archived":
        del facts["tags"]  # nobody looks after the tags of somebody who is gone there
    return facts


def _shown(fact: Any) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{amount:.2f} {currency}" for currency, amount in sorted(fact.items()) if amount) or "nothing"
    return "nothing" if fact is None else str(fact)
