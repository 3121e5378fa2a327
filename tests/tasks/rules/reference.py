"""What both sides should hold, worked out a second time: plain Python, address by address, slow and obvious.

Written from the page on the product's behaviour (the numbers in the code are its paragraphs) and from nothing else: it shares
no line with `tasks`, reads no table of rules, and decides in `match` statements what those say in rows. It lives through the
same days as shopsync: people act on its own shops and its own audience, it looks at them when shopsync looks, and writes when
shopsync writes. If the two hold different things when all is said, one of them is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

EVER = datetime(1970, 1, 1, tzinfo=UTC)

What = Literal["in", "out", "pending", "bounced", "complained"]
Account = tuple[str, str]
"""A shop's name, and the account's id there."""


# What people did: both sides as they are


@dataclass
class Customer:
    email: str
    consent: str | None
    created_at: datetime
    is_bounce_noted: bool = False
    said_at: datetime | None = None
    """When they said so, where the shop states it (2.2)."""
    texts: tuple[str, datetime] | None = None
    """What they said of text messages, and when; shops state that."""


@dataclass
class Order:
    """An order as the shop keeps it; one that is anonymised is nobody's."""

    email: str | None
    customer_id: str | None
    has_tick: bool
    at: datetime


@dataclass
class Contact:
    status: str
    changed_at: datetime
    opted_in_at: datetime | None = None
    is_final: bool = False
    """Left by themselves, bounced or complained: a strict ESP subscribes them again for nobody else (2.8)."""
    tags: frozenset[str] = frozenset()
    texts: str | None = None
    stopped_at: datetime | None = None
    """When they answered STOP."""


# What was seen of it


@dataclass(eq=False)
class Said:
    """Something that somebody said about consent, and when: no earlier and no later than that (2.2).

    `address` is where they said it. `after` is what the same record had shown before: what is seen to follow it is newer.
    """

    what: What
    earliest: datetime
    latest: datetime
    address: str
    after: set[Said] = field(default_factory=set)


@dataclass(frozen=True)
class Entry:
    """One thing a record shows: what somebody said, there or elsewhere (`is_copy`: we wrote it), and since when."""

    said: Said
    what: What
    since: datetime
    is_copy: bool = False
    is_news: bool = False
    """Heard when the first load was over."""


@dataclass
class Known:
    """What a record held when we saw it or wrote it, one value after the other."""

    address: str
    values: list[tuple[datetime, str | None]] = field(default_factory=list)
    said_at: datetime | None = None
    is_gone: bool = False

    @property
    def value(self) -> str | None:
        return self.values[-1][1]

    @property
    def seen_at(self) -> datetime:
        return self.values[-1][0]

    def at(self, moment: datetime) -> tuple[datetime, str | None] | None:
        """The value that we knew then, and since when we had seen no other."""
        return next((known for known in reversed(self.values) if known[0] <= moment), None)


@dataclass
class Write:
    target: str
    """`esp`, or a shop's name."""
    kind: str
    key: str
    status: str | None
    caused_by: Said | None
    decision: Decision
    state: Literal["planned", "sent", "settled", "refused", "gone"] = "planned"


@dataclass(eq=False)
class Decision:
    """The outcome for one address. It is settled once everything it has to write is acknowledged, on both sides (2.5)."""

    address: str
    shop: str
    esp: str
    shop_said: Said | None
    esp_said: Said | None
    overruled: list[Said] = field(default_factory=list)
    """The opt-outs of the shops over which a shop is set to subscribed all the same (exception E1)."""
    waits: int = 0
    overtaken: int = 0
    """How many opt-outs, bounces and complaints of theirs had been heard of when it was made."""


@dataclass
class Case:
    """What a policy is asked."""

    shop: str
    esp: str
    is_first: bool
    shop_moved: bool
    esp_moved: bool
    is_yes_newer: bool
    """One side says yes and the other no: the yes is newer than every no of the other side."""
    is_chosen: bool
    is_no_carried: bool
    """An opt-out in the shops came with an account from another address (12.6)."""


Targets = tuple[str | None, str | None]
"""What to set at the ESP, what in the shops. None: keep."""
NOTHING: Targets = (None, None)
YES: Targets = ("subscribed", "subscribed")
NO: Targets = ("unsubscribed", "unsubscribed")


def consent_first(case: Case) -> Targets:
    """Section 3."""
    if case.shop in {"deleted", "absent"} or case.esp in {"deleted", "absent"}:
        return known_to_one(case)
    match case.shop, case.esp:
        case "unsubscribed", "pending":  # 14: an opt-out ends the waiting
            return "unsubscribed", None
        case _, "pending":  # 14
            return NOTHING
        case "subscribed" | "unsubscribed", "not_subscribed":  # 13, 13b
            return case.shop, None
        case "not_subscribed", "subscribed":  # 10; 7: there is no opt-out that it could be older than
            return (None, "subscribed") if case.is_first or case.esp_moved else NOTHING
        case "not_subscribed", "unsubscribed":  # 13a
            return None, "unsubscribed"
    return NOTHING if case.shop == case.esp else disputed(case)  # 5


def known_to_one(case: Case) -> Targets:
    """One side does not know them, or not any more."""
    match case.shop, case.esp:
        case _, "deleted":  # 16
            return NOTHING
        case "deleted", "subscribed" | "not_subscribed" | "pending":  # 15; who came by themselves afterwards stays
            return ("archived", None) if case.shop_moved else NOTHING
        case "subscribed" | "not_subscribed", "absent":  # 1, 2
            return case.shop, None
    return NOTHING  # 15, 4, 3


def disputed(case: Case) -> Targets:
    """One side says yes, the other no."""
    yes_moved, no_moved = (case.shop_moved, case.esp_moved) if case.shop == "subscribed" else (case.esp_moved, case.shop_moved)
    if case.is_first or yes_moved:  # 11, 12; 7, 8, 9: the newer wins, and the no where nobody can tell
        return YES if case.is_yes_newer else NO
    if no_moved or not case.is_yes_newer:  # 6
        return NO
    # Nobody moved since both sides were settled like this: the newer yes stands where it was given.
    return ("subscribed", None) if case.shop == "subscribed" else NOTHING


def mailchimp_for_shopify(case: Case) -> Targets:
    """Section 4."""
    match case.shop, case.esp:
        case "unsubscribed", "subscribed" if case.is_first and case.is_no_carried and not case.is_yes_newer:  # 4, its end
            return NO
        case "not_subscribed" | "unsubscribed", "subscribed" if case.is_first:  # 1
            return None, "subscribed"
        case "unsubscribed", "absent":  # 1, 4
            return "unsubscribed", None
    return consent_first(case)  # 2, 3, 4


def newsletter2go(case: Case) -> Targets:
    """Section 5."""
    match case.shop, case.esp:
        case "not_subscribed", "subscribed":  # 5: stays there, whatever the shop does not say
            return NOTHING
        case "unsubscribed", "subscribed":  # 5: only by an opt-out
            return NO if disputed(case) == NO else NOTHING
    return consent_first(case)


def cleverreach(case: Case) -> Targets:
    """Section 6."""
    match case.shop, case.esp:
        case "subscribed" | "not_subscribed", "absent" | "not_subscribed" if case.is_chosen:  # 1
            return "subscribed", None
    return consent_first(case)  # 2


POLICIES: dict[str, Callable[[Case], Targets]] = {
    "consent-first": consent_first,
    "mailchimp-for-shopify": mailchimp_for_shopify,
    "newsletter2go": newsletter2go,
    "cleverreach": cleverreach,
}


SAYS: dict[str, What] = {"subscribed": "in", "unsubscribed": "out", "pending": "pending"}
"""What a status that we write says of consent."""


class Reference:
    """Shops, an audience, and somebody with a notebook between them."""

    def __init__(
        self,
        policy: str,
        shops: Iterable[str],
        *,
        is_strict: bool = False,
        groups: Iterable[str] = ("subscriber", "buyer", "contact"),
        state_times: Iterable[str] = (),
        platforms: Mapping[str, str] | None = None,
        asks_to_confirm: bool = False,
        texts_since: datetime | None = None,
    ) -> None:
        """`state_times` are the shops that state when somebody said something, `platforms` how people of a shop are tagged.

        `asks_to_confirm`: double opt-in is left to the ESP (2.8). `texts_since`: the start date of SMS (9.1).
        """
        self.policy, self.shops, self.is_strict, self.groups = policy, list(shops), is_strict, set(groups)
        self.state_times, self.platforms, self.asks_to_confirm = set(state_times), dict(platforms or {}), asks_to_confirm
        self.texts_since = texts_since
        self.heard_texts: dict[str, tuple[str, datetime]] = {}
        """What the account at an address last said of text messages; nobody here shares a number, or takes it elsewhere."""
        self.heard_stops: dict[str, datetime] = {}
        self.is_loaded = False
        """The first load is over."""
        self.customers: dict[Account, Customer] = {}
        self.orders: dict[tuple[str, str], Order] = {}
        self.contacts: dict[str, Contact] = {}

        self.accounts: dict[Account, Known] = {}
        self.members: dict[str, Known] = {}
        self.seen_orders: dict[tuple[str, str], Order] = {}
        self.entries: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
        """By address and record: what was said, as seen one after the other."""
        self.needs_confirmation: dict[str, Said | None] = {}
        """2.8: whom the ESP refused to subscribe again, and for which opt-in; it is asked once."""
        self.archived_by_us: dict[str, datetime] = {}
        self.moved_to: set[str] = set()
        """Addresses that an account with an opt-in got since we archived their contact."""
        self.were_known: set[str] = set()
        self.noes: dict[str, int] = defaultdict(int)
        self.settled: dict[str, Decision] = {}
        self.ongoing: set[str] = set()
        self.writes: dict[str, list[Write]] = {"forward": [], "reverse": []}
        self.tags: dict[str, tuple[bool, frozenset[str]]] = {}
        """By address: whether tags are given, and those that are true (7.4)."""

    # What people do

    def account(self, customer_id: str, email: str, consent: str | None, shop: str, now: datetime) -> None:
        self.customers[shop, customer_id] = Customer(email, None, now)
        self.say((shop, customer_id), consent, now)

    def say(self, key: Account, consent: str | None, now: datetime) -> None:
        customer = self.customers[key]
        customer.consent, customer.said_at = consent, now if consent and key[0] in self.state_times else None

    def order(self, order_id: str, email: str | None, customer_id: str | None, shop: str, *, tick: bool, now: datetime) -> None:
        self.orders[shop, order_id] = Order(email, customer_id, tick, now)

    def stop_texts(self, address: str, now: datetime) -> None:
        self.contacts[address].texts, self.contacts[address].stopped_at = "unsubscribed", now

    def anonymise(self, key: tuple[str, str]) -> None:
        self.orders[key].email = self.orders[key].customer_id = None

    def at_esp(self, address: str, status: str, *, by_self: bool, now: datetime) -> None:
        contact = self.contacts.setdefault(address, Contact(status, now))
        contact.status, contact.changed_at = status, now
        contact.is_final = by_self and status in {"unsubscribed", "bounced", "complained"}
        if status == "subscribed":
            contact.opted_in_at = now

    # Looking: what is seen becomes what was said, once (2.1)

    def page_of_shop(self, shop: str) -> dict[str, Customer]:
        return {key[1]: replace(customer) for key, customer in self.customers.items() if key[0] == shop}

    def page_of_esp(self) -> dict[str, Contact]:
        return {address: replace(contact) for address, contact in self.contacts.items()}

    def look_at_shop(self, shop: str, asked: datetime, answered: datetime) -> None:
        """A complete listing: who is not in it any more is gone (12.8)."""
        page = self.page_of_shop(shop)
        self.hear_shop(shop, page, asked, answered)
        for key, known in self.accounts.items():
            if key[0] == shop and key[1] not in page and known.seen_at < asked:
                known.is_gone = True

    def hear_shop(self, shop: str, page: dict[str, Customer], asked: datetime, answered: datetime) -> None:
        """A page of accounts, whenever it arrives: it says what was so between asking and answering."""
        for customer_id, customer in page.items():
            self._hear_account((shop, customer_id), customer, asked, answered)

    def _hear_account(self, key: Account, customer: Customer, asked: datetime, answered: datetime) -> None:
        known = self.accounts.setdefault(key, Known(customer.email))
        before = known.at(asked)
        is_late = bool(known.values) and known.seen_at > asked
        if not is_late and known.address != customer.email:
            self._carry(key, known.address, customer.email)
        said_before = before[1] if before else None
        record, what = f"customer {key}", meaning(customer.consent, said_before)
        addresses = {known.address} if is_late else {customer.email}
        if what == "out" and known.address != customer.email:  # nobody knows at which address they said it
            addresses |= {known.address, customer.email}
        says_so_again = customer.said_at is not None and (known.said_at is None or customer.said_at > known.said_at)
        is_new = customer.consent != said_before or says_so_again
        if what and is_new and not self._is_on_its_way(key[0], key[1], customer.consent):
            first = customer.said_at or max(before[0] if before else EVER, customer.created_at)
            for address in addresses:
                self._note(address, record, what, first, customer.said_at or answered)
        said = self.heard_texts.get(customer.email)
        if customer.texts and (said is None or customer.texts[1] > said[1]):
            self.heard_texts[customer.email] = customer.texts
        if not is_late:
            known.address, known.is_gone, known.said_at = customer.email, False, customer.said_at
            known.values.append((asked, customer.consent))

    def look_at_orders(self, shop: str) -> None:
        for key, order in self.orders.items():
            if key[0] == shop:
                is_new = key not in self.seen_orders
                self.seen_orders[key] = replace(order)
                owner = self._owner_of(key)
                if is_new and order.has_tick and owner:  # 2.9: at the order's time
                    self._note(owner, f"order {key}", "in", order.at, order.at)

    def hear_esp(self, page: dict[str, Contact], asked: datetime, answered: datetime) -> None:
        for address, contact in page.items():
            known = self.members.setdefault(address, Known(address))
            before = known.at(asked)
            is_late = bool(known.values) and known.seen_at > asked
            if contact.status != (before[1] if before else None) and not self._is_on_its_way("esp", address, contact.status):
                self._hear_contact(address, contact, before)
            if contact.stopped_at:
                self.heard_stops[address] = max(contact.stopped_at, self.heard_stops.get(address, EVER))
            if not is_late:
                if contact.status != "deleted":
                    self.archived_by_us.pop(address, None)
                known.values.append((asked, contact.status))

    def _hear_contact(self, address: str, contact: Contact, before: tuple[datetime, str | None] | None) -> None:
        record, changed, opted_in = f"contact {address}", contact.changed_at, contact.opted_in_at
        since = before[0] if before else opted_in or EVER
        match contact.status:
            case "subscribed" if opted_in and (before is None or opted_in > before[0]):  # a time that the ESP states
                self._note(address, record, "in", opted_in, opted_in)
            case "subscribed":
                self._note(address, record, "in", since, changed)
            case "unsubscribed":
                self._note(address, record, "out", since, changed)
            case "pending" | "bounced" | "complained" as what:
                self._note(address, record, what, since, changed)

    def _note(self, address: str, record: str, what: What, earliest: datetime, latest: datetime) -> None:
        entries = self.entries[address][record]
        before = [entry for entry in entries if entry.since < latest]
        said = Said(what, min(earliest, latest), latest, address, {entry.said for entry in before})
        for entry in entries[len(before) :]:
            if not entry.is_copy:
                entry.said.after.add(said)
        entries.insert(len(before), Entry(said, what, latest, is_news=self.is_loaded))
        self.noes[address] += what in {"out", "bounced", "complained"}

    def _is_on_its_way(self, target: str, key: str, value: str | None) -> bool:
        """We sent just that, and have not heard yet what became of it: it is no word of theirs."""
        words = {"subscribed": "in", "unsubscribed": "out"} if target != "esp" else {}
        return any(
            write.state == "sent"
            and (write.target, write.key) == (target, key)
            and words.get(write.status, write.status) == value
            for write in (*self.writes["forward"], *self.writes["reverse"])
        )

    def _carry(self, key: Account, old: str, new: str) -> None:
        """12.6: opt-outs and complaints follow and stay behind as well; the account's own opt-in follows; a bounce stays."""
        own = {f"customer {key}"} | {f"order {k}" for k, o in self.seen_orders.items() if (k[0], o.customer_id) == key}
        for record in list(self.entries[old]):
            entry = self._standing(old, record)
            complaints = [e for e in self.entries[old][record] if e.what == "complained"]
            for found in {*complaints, *([entry] if entry else [])}:
                if found.what in {"out", "complained"} or (found.what in {"in", "pending"} and record in own):
                    there = record if record in own or not record.startswith("contact") else f"{record}, carried"
                    if found.said not in {e.said for e in self.entries[new][there]}:
                        self.entries[new][there].append(replace(found, is_news=self.is_loaded))
                        self.entries[new][there].sort(key=lambda e: e.since)
                    self.moved_to |= {new} if found.what == "in" else set()

    # What it adds up to

    def _standing(self, address: str, record: str) -> Entry | None:
        """What a record says now: its last entry; but our copy does not hide a no of theirs that it was not newer than."""
        last: Entry | None = None
        for entry in self.entries[address][record]:
            if last and entry.is_copy and not last.is_copy and last.what in {"out", "bounced", "complained"}:
                is_newer_yes = (
                    entry.what in {"in", "pending"} and last.what == "out" and self._is_newer(entry.said, last.said, address)
                )
                is_later_no = entry.what == "out" and entry.said.latest > last.said.latest
                if not (is_newer_yes or is_later_no):
                    continue
            last = entry
        return last

    def _is_newer(self, yes: Said, no: Said, address: str) -> bool:
        """2.2. A yes that was carried here never lifts a no that was said at this very address (12.6)."""
        if yes.address != address and no.address == address:
            return False
        return yes.earliest > no.latest or no in yes.after

    def _side(self, address: str, side: Literal["shop", "esp"]) -> list[Entry]:
        found = [self._standing(address, r) for r in list(self.entries[address]) if r.startswith("contact") == (side == "esp")]
        return [entry for entry in found if entry and entry.what in {"in", "out", "pending"}]

    def _says(self, address: str, side: Literal["shop", "esp"]) -> tuple[str, Said] | None:
        """2.3, 2.12: a no of any record stands unless there is a newer yes; else what waits; else the newest yes."""
        entries = self._side(address, side)
        yeses = [entry.said for entry in entries if entry.what == "in"]
        asked = [
            entry.said for entry in entries if entry.what == "pending" and entry.is_copy
        ]  # 2.8: handed on, to be confirmed
        answers = [*yeses, *asked]
        noes = [e.said for e in entries if e.what == "out" and not any(self._is_newer(y, e.said, address) for y in answers)]
        if noes:
            return "unsubscribed", max(noes, key=lambda said: said.latest)
        waiting = [e for e in entries if e.what == "pending"]
        if waiting and not any(yes.earliest > entry.since for yes in yeses for entry in waiting):
            return "pending", waiting[-1].said
        return ("subscribed", max(yeses, key=lambda said: said.earliest)) if yeses else None

    def _is_answered(self, address: str, by: Literal["shop", "esp"], of: Literal["shop", "esp"]) -> bool:
        """Every no of a side has a yes of the other that is newer."""
        yeses = [entry.said for entry in self._side(address, by) if entry.what == "in"]
        noes = [entry.said for entry in self._side(address, of) if entry.what == "out"]
        own = [entry.said for entry in self._side(address, of) if entry.what == "in"]
        return all(any(self._is_newer(yes, no, address) for yes in [*yeses, *own]) for no in noes)

    def _suppression(self, address: str) -> tuple[str, Said] | None:
        """2.4: a complaint is for good, a bounce lasts as long as the ESP's record says so."""
        records = self.entries[address]
        complaints = [entry.said for entries in records.values() for entry in entries if entry.what == "complained"]
        standing = [self._standing(address, record) for record in list(records)]
        bounces = [entry.said for entry in standing if entry and entry.what == "bounced"]
        found = [("complained", said) for said in complaints] + [("bounced", said) for said in bounces]
        return found[0] if found else None

    def _owner_of(self, key: tuple[str, str]) -> str | None:
        """The account's address while it exists, else the one that was typed in."""
        order = self.seen_orders[key]
        account = self.accounts.get((key[0], order.customer_id)) if order.customer_id else None
        return account.address if account and not account.is_gone else order.email

    def _accounts_at(self, address: str) -> list[Account]:
        return [key for key, known in self.accounts.items() if known.address == address and not known.is_gone]

    def _has_bought(self, address: str) -> bool:
        return any(self._owner_of(key) == address for key in self.seen_orders)

    def _groups_of(self, address: str, shop: str) -> set[str]:
        """7.1. Whoever complained is told to every shop as unsubscribed."""
        suppression = self._suppression(address)
        is_subscriber = shop == "subscribed" and (suppression is None or suppression[0] != "complained")
        found = {"subscriber"} if is_subscriber else set()
        return (found | {"buyer"} if self._has_bought(address) else found) or {"contact"}

    # Deciding

    def decide(self, flow: str) -> None:
        """What was planned and never sent is planned anew."""
        self.writes[flow] = [write for write in self.writes[flow] if write.state in {"sent", "refused", "gone"}]
        self.tags.clear()
        for address in {
            *self.entries,
            *self.members,
            *self.were_known,
            *(known.address for known in self.accounts.values()),
        } | {owner for owner in map(self._owner_of, self.seen_orders) if owner}:
            self._decide_one(address, flow)

    def _held(self, address: str) -> str | None:
        return self.members[address].value if address in self.members else None

    def _shop_status(self, address: str, *, is_known: bool) -> str:
        says = self._says(address, "shop")
        if says and says[0] == "unsubscribed":  # 12.2: an opt-out outlives its record
            return "unsubscribed"
        if not is_known:
            return "deleted" if address in self.were_known else "absent"
        return says[0] if says else "not_subscribed"

    def _esp_status(self, address: str, shop: str, shop_said: Said | None) -> str:
        held, says = self._held(address), self._says(address, "esp")
        if held not in {None, "deleted"}:
            return says[0] if says else "not_subscribed"
        is_lifted = shop == "subscribed" and self._is_answered(address, "shop", "esp")
        if says and says[0] == "unsubscribed" and not is_lifted:  # 12.2
            return "unsubscribed"
        if held is None:
            return "absent"
        archived = self.archived_by_us.get(address)  # 2.10: whom we archived comes back with a newer opt-in
        has_come = shop_said and archived and (shop_said.earliest > archived or address in self.moved_to)
        came_back = shop == "subscribed" and has_come
        return "absent" if came_back else "deleted"

    def _decide_one(self, address: str, flow: str) -> None:
        is_known = bool(self._accounts_at(address)) or self._has_bought(address)
        self.were_known |= {address} if is_known else set()
        shop_said, esp_said = (says[1] if (says := self._says(address, side)) else None for side in ("shop", "esp"))
        shop = self._shop_status(address, is_known=is_known)
        esp = self._esp_status(address, shop, shop_said)
        held = self._held(address)
        last = self.settled.get(address)
        known_said = {last.shop_said, last.esp_said} if last else set()
        case = Case(
            shop,
            esp,
            is_first=address not in self.ongoing,
            shop_moved=(shop_said is not None and shop_said not in known_said)
            or (shop == "deleted") != (last is not None and last.shop == "deleted"),
            esp_moved=esp_said is not None and esp_said not in known_said,
            is_yes_newer=self._is_answered(address, "shop", "esp")
            if shop == "subscribed"
            else self._is_answered(address, "esp", "shop"),
            is_chosen=is_known and bool(self._groups_of(address, shop) & self.groups),
            is_no_carried=any(e.what == "out" and e.said.address != address for e in self._side(address, "shop")),
        )
        suppression = self._suppression(address)
        set_esp, set_shop = POLICIES[self.policy](case) if suppression is None else NOTHING
        decision = Decision(address, shop, esp, shop_said, esp_said, overtaken=self.noes[address])
        if (shop, set_shop) == ("unsubscribed", "subscribed") and not case.is_yes_newer:
            decision.overruled = [e.said for e in self._side(address, "shop") if e.what == "out"]
        writes = []
        if suppression and suppression[0] == "complained" and held in {"subscribed", "pending"}:
            set_esp = "unsubscribed"
        if (set_esp, suppression, esp) == (None, None, "unsubscribed") and held in {"subscribed", "pending", "not_subscribed"}:
            set_esp = "unsubscribed"  # what a contact at a new address may not know yet (12.6)
        if write := self._write_to_esp(address, set_esp, held, case, shop_said, decision):
            writes.append(write)
        for key in self._accounts_at(address):
            writes += self._writes_to(
                key, set_shop, shop, suppression, shop_said, esp_said, decision, is_yes_newer=case.is_yes_newer
            )
        told = next((write.status for write in writes if write.kind == "consent"), None)
        self._plan_tags(address, told or shop, is_known=is_known)
        decision.waits += len(writes)
        self.writes["forward"] += [write for write in writes if write.target == "esp" and flow == "forward"]
        self.writes["reverse"] += [write for write in writes if write.target != "esp" and flow == "reverse"]
        if decision.waits == 0:
            self._is_settled(decision)

    def _plan_tags(self, address: str, shop: str, *, is_known: bool) -> None:
        """7.4, once the shops hold what is decided. Who is in no chosen group gets no tag, and loses what is not true."""
        groups = self._groups_of(address, shop) if is_known else set()
        shops = {key[0] for key in (*self._accounts_at(address), *self.seen_orders) if self._is_of(key, address)}
        is_given = bool(groups & self.groups)
        names = groups & self.groups if is_given else groups
        self.tags[address] = is_given, frozenset(map(str.capitalize, names)) | {self.platforms.get(s, s) for s in shops}

    def _is_of(self, key: tuple[str, str], address: str) -> bool:
        return self._owner_of(key) == address if key in self.seen_orders else True

    def _asks(self, address: str, shop_said: Said | None, held: str | None) -> bool:
        """2.8: a new explicit opt-in is confirmed first, and nobody of a first load is asked."""
        news = [e for e in self._side(address, "shop") if e.said is shop_said and e.what == "in" and e.is_news]
        return self.asks_to_confirm and held != "subscribed" and bool(news)

    def _write_to_esp(
        self, address: str, status: str | None, held: str | None, case: Case, shop_said: Said | None, decision: Decision
    ) -> Write | None:
        is_gone = held in {None, "deleted"}
        if status == "subscribed" and case.shop == "subscribed" and self._asks(address, shop_said, held):
            status = "pending"
        if status is None or status == held or (status == "archived" and is_gone):
            return None
        if is_gone and (not case.is_chosen or (status == "unsubscribed" and case.esp != "absent")):  # 7.2; 16
            return None
        kind = "archive" if status == "archived" else "create" if held is None else "status"
        caused_by = {case.esp: decision.esp_said, case.shop: shop_said, "pending": shop_said}.get(status)
        if status == "subscribed" and caused_by and self.needs_confirmation.get(address) is caused_by:
            decision.waits = 1
            return None
        return Write("esp", kind, address, "deleted" if status == "archived" else status, caused_by, decision)

    def _writes_to(
        self,
        key: Account,
        status: str | None,
        shop: str,
        suppression: tuple[str, Said] | None,
        shop_said: Said | None,
        esp_said: Said | None,
        decision: Decision,
        *,
        is_yes_newer: bool,
    ) -> list[Write]:
        """What one account has to be told."""
        writes = []
        told, caused_by = status, esp_said
        is_lifted = is_yes_newer and decision.esp == "subscribed"
        if suppression and suppression[0] == "complained":  # 5.2
            told, caused_by = "unsubscribed", suppression[1]
        elif shop == "unsubscribed" and status != "subscribed" and not is_lifted:  # 2.12: an opt-out of one goes to all
            told, caused_by = "unsubscribed", shop_said
        elif shop == "subscribed" and status == "subscribed":  # 2.9, 2.12: a shop's own opt-in stays where it was given
            told = None
        if suppression and suppression[0] == "bounced" and not self.customers_note(key):
            writes.append(Write(key[0], "bounce", key[1], None, None, decision))
        value = self.accounts[key].value
        standing = self._standing(self.accounts[key].address, f"customer {key}")
        is_emptied = value is None and standing is not None and standing.what == "out"  # 2.9: what became empty stays empty
        if (told == "unsubscribed" and value != "out" and not is_emptied) or (told == "subscribed" and value != "in"):
            writes.append(Write(key[0], "consent", key[1], told, caused_by, decision))
        return writes

    def is_unknown_with_a_no(self, address: str) -> bool:
        """4.4 does not tell whether somebody whose opt-out came with an account from another contact is unknown at the ESP, and
        so is created as unsubscribed."""
        carried = any(record.endswith(", carried") for record in self.entries[address])
        return self.policy == "mailchimp-for-shopify" and carried and address not in self.contacts

    def customers_note(self, key: Account) -> bool:
        return key in self.customers and self.customers[key].is_bounce_noted

    # Writing

    ORDER = ("archive", "status", "create", "tags", "sms", "consent", "bounce")

    def carry_out(self, flow: str, now: datetime, crash: tuple[str, str, str] | None = None) -> None:
        """Send what is planned and hear the answers, or crash at (target, kind, "sent" | "done" | "settled")."""
        targets = ["esp"] if flow == "forward" else sorted(self.shops)
        for kind in self.ORDER:
            for target in targets:
                taken = [w for w in self.writes[flow] if (w.target, w.kind, w.state) == (target, kind, "planned")]
                taken = [write for write in taken if not self._is_overtaken(write)]
                for write in taken:
                    write.state = "sent"
                if crash == (target, kind, "sent"):
                    return
                for write in taken:
                    self._do(write, now)
                self._do_besides(target, kind)
                if crash == (target, kind, "done"):
                    return
                for write in taken:
                    self._settle(write, now)
                if crash == (target, kind, "settled"):
                    return

    def _do_besides(self, target: str, kind: str) -> None:
        """What no decision waits for, and no answer is waited for."""
        if (target, kind) == ("esp", "tags"):
            self._tag()
        elif (target, kind) == ("esp", "sms"):
            self._allow_texts()

    def _tag(self) -> None:
        for address, (is_given, true) in self.tags.items():
            contact = self.contacts.get(address)
            if contact and contact.status != "deleted":
                contact.tags = true if is_given else contact.tags & true

    def _allow_texts(self) -> None:
        """Section 9: from shop to ESP only, once the first sync is complete; a STOP blocks until somebody newly opts in."""
        for address, (said, at) in self.heard_texts.items():
            contact = self.contacts.get(address)
            if self.texts_since is None or not self.is_loaded or contact is None or contact.status == "deleted":
                continue
            if said == "out" and contact.texts == "subscribed":
                contact.texts = "unsubscribed"
            elif said == "in" and at >= self.texts_since and at > self.heard_stops.get(address, EVER):
                contact.texts = "subscribed"

    def _is_overtaken(self, write: Write) -> bool:
        """12.1, 12.3: a no that arrived since it was decided, or the account is another address's by now."""
        decision = write.decision
        has_moved = write.target != "esp" and self.accounts[write.target, write.key].address != decision.address
        return write.status in {"subscribed", "pending"} and (self.noes[decision.address] > decision.overtaken or has_moved)

    def opt_ins(self, shop: str) -> list[str]:
        return [w.key for w in self.writes["reverse"] if w.target == shop and w.status == "subscribed" and w.state == "planned"]

    def _do(self, write: Write, now: datetime) -> None:
        if write.target != "esp":
            customer = self.customers.get((write.target, write.key))
            if customer is None:
                write.state = "gone"
            elif write.kind == "bounce":
                customer.is_bounce_noted = True
            else:
                customer.consent = {"subscribed": "in", "unsubscribed": "out"}[str(write.status)]
                if write.target in self.state_times:
                    customer.said_at = write.caused_by.latest if write.caused_by else now
            return
        contact = self.contacts.get(write.key)
        if contact and self.is_strict and contact.is_final and write.status == "subscribed":
            write.state = "refused"  # 2.8: needs_confirmation
        elif contact is None or write.kind != "create":
            contact = self.contacts.setdefault(write.key, Contact("", now))
            contact.status, contact.changed_at = str(write.status), now
            contact.is_final = contact.is_final and write.kind == "archive"

    def _settle(self, write: Write, now: datetime) -> None:
        """It is there: our copy stands at the record and keeps the times of what it hands on (2.2)."""
        answer, write.state = write.state, "settled"
        if answer == "refused":
            self.needs_confirmation[write.key] = write.caused_by
            return
        if answer == "sent":
            self._note_copy(write, now)
        write.decision.waits -= 1
        if write.decision.waits == 0:
            self._is_settled(write.decision)

    def _note_copy(self, write: Write, now: datetime) -> None:
        if write.target == "esp":
            self.members.setdefault(write.key, Known(write.key)).values.append((now, write.status))
            self.archived_by_us.pop(write.key, None)
            if write.status == "deleted":
                self.archived_by_us[write.key] = now
                self.moved_to.discard(write.key)
        elif write.kind == "consent":
            known = self.accounts[write.target, write.key]
            known.values.append((now, {"subscribed": "in", "unsubscribed": "out"}[str(write.status)]))
            if write.target in self.state_times:
                known.said_at = write.caused_by.latest if write.caused_by else now
        what = SAYS.get(str(write.status))
        if what and write.caused_by:
            record = f"contact {write.key}" if write.target == "esp" else f"customer {(write.target, write.key)}"
            self.entries[write.decision.address][record].append(Entry(write.caused_by, what, now, is_copy=True))

    def _is_settled(self, decision: Decision) -> None:
        self.settled[decision.address] = decision
        if decision.overruled and decision.esp_said:
            decision.esp_said.after.update(decision.overruled)
        is_contact = decision.address in self.members
        if decision.shop != "absent" and is_contact:  # 2.5: both sides know the address
            self.ongoing.add(decision.address)

    def heal(self, flow: str, now: datetime) -> None:
        """After a crash, what was sent and not acknowledged is looked up at the other side."""
        for write in self.writes[flow]:
            if write.state in {"sent", "refused", "gone"} and self._is_there(write):
                write.state = "sent"
                self._settle(write, now)
        self.writes[flow] = []

    def _is_there(self, write: Write) -> bool:
        if write.target == "esp":
            contact = self.contacts.get(write.key)
            return contact is not None and contact.status == write.status
        customer = self.customers.get((write.target, write.key))
        if write.kind == "bounce":
            return customer is not None and customer.is_bounce_noted
        return customer is not None and customer.consent == {"subscribed": "in", "unsubscribed": "out"}[str(write.status)]


def meaning(value: str | None, before: str | None) -> What | None:
    """2.9: a change from in to anything else is an opt-out; nothing that becomes empty, or was never ticked, is not."""
    said: dict[str | None, What] = {"in": "in", "out": "out"}
    return said.get(value) or ("out" if before == "in" else None)
