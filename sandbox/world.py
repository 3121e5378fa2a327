"""One invented world behind all twins: the people of a shop, what they bought, and the audience that an ESP already holds.

Platform-neutral: a twin's `from_world` translates. The same arguments always give the same world. Everybody is invented, and
every mail domain is one that can never exist (`.example`, `.test`, example.com and its kin).

What a person of the shop says about the newsletter and what the audience says do not agree on purpose: the first accounts walk
through every combination of the two, with the shop's tick before and after the audience's last change.
"""

from __future__ import annotations

import itertools
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)

# Empty is not absent: a form that was shown and left alone writes "", an account older than the plugin has no entry.
CONSENTS = ("1", "0", "yes", "no", "", None)
CONTACT_STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
ORDER_STATUSES = ("pending", "processing", "on_hold", "completed", "cancelled", "refunded", "failed")

_LISTS = {
    "de": (
        "Anna Jürgen Käthe Lukas Mia Sören Björn Heike Uwe Änne Günter Ida Franz Lotte Emil",
        "Müller Schröder Weiß Groß-Gerau Köhler Becker Voß Krüger Jäger Schäfer Böhm Vogt",
        ("Köln", "50667", "DE"),
    ),
    "sv": (
        "Åsa Björn Göran Linnéa Märta Örjan Elsa Nils Saga Åke Ebba Hjördis Viktor Tuva Love",
        "Öberg Åström Lindqvist Sjögren Bäckström Nyström Ek Hägg Söderberg Wallin Ås Löf",
        ("Malmö", "211 20", "SE"),
    ),
    "fr": (
        "Zoé François Hélène Jérôme Agnès Loïc Maëlle Noël Chloé André Élodie Benoît Inès Rémi Luc",
        "Lefèvre d'Aubigné Béranger Noël-Martin Château Dubois Garçon Pélissier Mercier Roux Crête Faure",
        ("Besançon", "25000", "FR"),
    ),
    "pl": (
        "Łukasz Małgorzata Paweł Żaneta Święta Grażyna Michał Jędrzej Ola Stanisław Kinga Bożena Wojciech Ewa Jan",
        "Wójcik Kowalska Łęcki Żuraw Śliwa Zieliński Dąbrowa Gołąb Król Mazur Ćwik Pająk",
        ("Łódź", "90-001", "PL"),
    ),
}
_NAMES = {language: (first.split(), last.split(), city) for language, (first, last, city) in _LISTS.items()}
_DOMAINS = ("example.com", "example.org", "example.net", "exempel.example", "kunde.test", "client.example", "klient.test")
_THINGS = (
    *("Te", "Kaffe", "Mugg", "Kerze", "Seife", "Lampe", "Decke", "Kissen", "Vase", "Schale", "Löffel", "Karaffe"),
    *("Korb", "Teppich", "Spiegel", "Uhr", "Kalender", "Heft", "Stift", "Beutel"),
)
_KINDS = ("Grön", "Blå", "Château", "Łódź", "Größe L", "& Honung", 'med "guldkant"', "<b>Limited</b>", "för två", "N° 5")

_WEIGHTS = {"completed": 70, "processing": 12, "refunded": 4, "cancelled": 5, "failed": 3, "pending": 3, "on_hold": 3}
_TAX_PERCENT = {"EUR": 19, "SEK": 25}
_SEK_PER_EUR = 11


@dataclass(frozen=True, slots=True)
class Address:
    """A billing address as one form stated it; `email` is free text there and need not be the account's."""

    first_name: str = ""
    last_name: str = ""
    company: str = ""
    city: str = ""
    postcode: str = ""
    country: str = ""
    email: str = ""
    phone: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """One customer record of the shop. `consent` is the newsletter value as stored: a text, or None where there is no entry.

    `consent_at` says when it was really given; no shop tells that, it exists to check what we infer. `changed_at` is null for
    an account nobody ever touched again.
    """

    key: int
    email: str
    first_name: str
    last_name: str
    language: str
    billing: Address
    created_at: datetime
    changed_at: datetime | None
    consent: str | None
    consent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Variation:
    key: int
    sku: str
    option: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class Product:
    """A product that the shop sells, or sold: `is_deleted` ones still stand on old orders' lines. Prices are EUR with tax."""

    key: int
    name: str
    sku: str
    price: Decimal
    created_at: datetime
    changed_at: datetime
    variations: tuple[Variation, ...] = ()
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Coupon:
    key: int
    code: str
    percent: Decimal
    created_at: datetime
    expires_at: datetime | None = None
    only_email: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """`price` is one piece with tax before discounts; `total` the line with tax after them; `tax` is inside `total`."""

    product: int
    variation: int | None
    name: str
    sku: str
    quantity: int
    price: Decimal
    total: Decimal
    tax: Decimal


@dataclass(frozen=True, slots=True)
class Refund:
    at: datetime
    amount: Decimal
    reason: str


@dataclass(frozen=True, slots=True)
class Order:
    """`account` is null for a guest, who exists nowhere else. `total` holds tax and shipping and no refund.

    `tick` is the newsletter box of the checkout as stored on the order, or None where none was shown.
    """

    key: int
    account: int | None
    billing: Address
    status: str
    currency: str
    placed_at: datetime
    changed_at: datetime
    paid_at: datetime | None
    completed_at: datetime | None
    lines: tuple[Line, ...]
    shipping: Decimal
    discount: Decimal
    total: Decimal
    tax: Decimal
    coupon: str | None = None
    tick: str | None = None
    refunds: tuple[Refund, ...] = ()


@dataclass(frozen=True, slots=True)
class Contact:
    """Somebody in the audience. `opted_in_at` is null where nobody ever did; `changed_at` is when the status last moved."""

    email: str
    status: str
    signed_up_at: datetime
    opted_in_at: datetime | None
    changed_at: datetime
    first_name: str = ""
    last_name: str = ""
    language: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """Lists are in the order in which things came to be, so that ids given in sequence grow with time."""

    now: datetime
    accounts: tuple[Account, ...]
    guests: tuple[Address, ...]
    products: tuple[Product, ...]
    coupons: tuple[Coupon, ...]
    orders: tuple[Order, ...]
    contacts: tuple[Contact, ...] = field(default=())


def invent(seed: int = 1, customers: int = 3000, orders: int = 9000, now: datetime = NOW) -> World:
    """A shop's last three years before `now`, with some 30 % of its orders by guests, and an audience half as large again."""
    rng = random.Random(seed)
    start = now - timedelta(days=3 * 365)
    accounts = _accounts(rng, customers, start, now)
    guests = _guests(rng, accounts, max(orders // 6, 12))
    products = _products(rng, start, now)
    coupons = _coupons(accounts, start, now)
    return World(
        now=now,
        accounts=accounts,
        guests=guests,
        products=products,
        coupons=coupons,
        orders=_orders(rng, orders, accounts=accounts, guests=guests, products=products, coupons=coupons, start=start, now=now),
        contacts=tuple(_contacts(rng, accounts, guests, start, now)),
    )


def _cents(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-2)


def _moment(rng: random.Random, first: datetime, last: datetime) -> datetime:
    seconds = int((last - first).total_seconds())
    return (first + timedelta(seconds=rng.randrange(max(seconds, 1)))).replace(microsecond=0)


def _ascii(name: str) -> str:
    plain = name.replace("ß", "ss").replace("ł", "l").replace("Ł", "L")
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode().lower()
    return "".join(c for c in plain if c.isalnum() or c in "-'")


def _spelled(rng: random.Random, email: str) -> str:
    """The same mailbox in a spelling that somebody else would type."""
    local, _, domain = email.partition("@")
    return rng.choice((email.upper(), f"{local.title()}@{domain}", f"{local}@{domain.title()}", email.lower()))


def _person(rng: random.Random, number: int) -> tuple[str, str, str, str, Address]:
    """Language, first name, last name, address for mail (unique by its number), billing address."""
    language = rng.choice(tuple(_NAMES))
    firsts, lasts, (city, postcode, country) = _NAMES[language]
    first, last = rng.choice(firsts), rng.choice(lasts)
    email = f"{_ascii(first)}.{_ascii(last)}{number}@{rng.choice(_DOMAINS)}"
    chance = rng.random()
    if chance < 0.05:
        email = email.title() if chance < 0.03 else email.upper()
    elif chance < 0.08:
        email = email.replace("@", "+news@")
    phone = f"+46 70-{rng.randrange(100, 999)} {rng.randrange(10, 99)} {rng.randrange(10, 99)}" if chance > 0.6 else ""
    return language, first, last, email, Address(first, last, "", city, postcode, country, email, phone)


def _accounts(rng: random.Random, count: int, start: datetime, now: datetime) -> tuple[Account, ...]:
    births = sorted(_moment(rng, start, now - timedelta(days=2)) for _ in range(count))
    pairs = itertools.cycle(itertools.product(CONSENTS, (*CONTACT_STATUSES, None), (True, False)))
    every_pair = len(CONSENTS) * (len(CONTACT_STATUSES) + 1) * 2
    found = []
    for key, born in enumerate(births, start=1):
        language, first, last, email, billing = _person(rng, key)
        consent = next(pairs)[0] if key <= every_pair else rng.choices(CONSENTS, (45, 10, 4, 3, 8, 30))[0]
        given = _moment(rng, born, now) if consent else None
        changed = _moment(rng, born, now) if rng.random() < 0.4 else (born if rng.random() < 0.9 else None)
        chance = rng.random()
        if chance < 0.5:  # most accounts never filled in a billing form
            billing = Address()
        elif chance < 0.6:
            billing = replace(billing, email=_spelled(rng, email))
        elif chance < 0.65:
            billing = replace(billing, email=f"rechnung{key}@{rng.choice(_DOMAINS)}")
        if rng.random() < 0.04:
            first, last = "", ""  # registered with nothing but an address
        found.append(Account(key, email, first, last, language, billing, born, changed, consent, given))
    for at, awkward in zip(range(len(found)), _awkward_accounts(), strict=False):
        # Only names and addresses are awkward; the walk through the consent combinations stays as it is.
        email, first, last = awkward
        found[at] = replace(found[at], email=email, first_name=first, last_name=last)
    return tuple(found)


def _awkward_accounts() -> Iterator[tuple[str, str, str]]:
    yield "ASA.Oberg+News@Exempel.Example", "Åsa", "Öberg-O'Neil & Co"
    yield "o'kund@example.com", "Conán", 'O\'Kund "Kalle"'
    yield "noname@example.net", "", ""
    yield "Zoe@xn--rksmrgs-5wao1o.example", "Zoë", "<Müller> & Söhne"
    yield "emoji@example.org", "Te ☕", "Łęcki"
    # WordPress takes two dots in a row for an address; an ESP does not.
    yield "kund..ny@example.com", "Kund", "Ny"


def _guests(rng: random.Random, accounts: tuple[Account, ...], count: int) -> tuple[Address, ...]:
    """Guests; one in eight is an account holder who did not sign in, mostly in another spelling."""
    found = []
    for number in range(1, count + 1):
        _, first, _, email, billing = _person(rng, 900_000 + number)
        if accounts and rng.random() < 0.125:
            billing = replace(billing, email=_spelled(rng, rng.choice(accounts).email))
        elif rng.random() < 0.1:
            billing = Address(first_name=first, email=email)  # half a name, no country
        found.append(billing)
    found[0] = Address(first_name="Gäst", email="Ny.Gast@Example.com")
    found[1] = Address()  # an order typed in by the merchant: no address at all
    # Neither is let in by WooCommerce itself, but imports and plugins that write to the database leave such things behind.
    found[2] = Address(first_name="Trasig", last_name="Kund", email="kund@")
    found[3] = Address(first_name="Ohne", last_name="Klammeraffe", email="ohne.klammeraffe.example.com")
    found[4] = Address(first_name="Anna", last_name="B", email="anna..b@example.com")
    return tuple(found)


def _products(rng: random.Random, start: datetime, now: datetime) -> tuple[Product, ...]:
    found = []
    births = sorted(_moment(rng, start - timedelta(days=60), start) for _ in range(60))
    keys = itertools.count(1)
    for number, born in enumerate(births, start=1):
        name = f"{_THINGS[number % len(_THINGS)]} {_KINDS[number % len(_KINDS)]}"
        price = rng.randrange(290, 14_900, 10)
        key = next(keys)
        variations = (
            tuple(Variation(next(keys), f"P{number}-{size}", size, _cents(price + 200 * i)) for i, size in enumerate("SML"))
            if number % 7 == 0
            else ()
        )
        sku = "" if number % 11 == 0 or variations else f"P-{number}"
        changed = _moment(rng, born, now)
        found.append(Product(key, name, sku, _cents(price), born, changed, variations, is_deleted=number % 15 == 0))
    return tuple(found)


def _coupons(accounts: tuple[Account, ...], start: datetime, now: datetime) -> tuple[Coupon, ...]:
    return (
        Coupon(1, "välkommen10", Decimal(10), start),
        Coupon(2, "sommar20", Decimal(20), start, expires_at=now + timedelta(days=40)),
        Coupon(3, "weg mit rest", Decimal(30), start, expires_at=now - timedelta(days=100)),
        Coupon(4, "nur-fuer-dich", Decimal(15), start, only_email=accounts[0].email if accounts else None),
    )


def _orders(
    rng: random.Random,
    count: int,
    *,
    accounts: tuple[Account, ...],
    guests: tuple[Address, ...],
    products: tuple[Product, ...],
    coupons: tuple[Coupon, ...],
    start: datetime,
    now: datetime,
) -> tuple[Order, ...]:
    buyers = accounts[: max(len(accounts) * 3 // 4, 1)]  # a quarter of the accounts never buys
    drawn: list[tuple[datetime, Account | None, Address]] = []
    for number in range(count):
        if buyers and rng.random() < 0.68:
            account = buyers[int(len(buyers) * rng.random() ** 1.5)]  # some buy often
            billing = account.billing
            if not billing.email:
                _, _, city = _NAMES[account.language]
                billing = Address(account.first_name, account.last_name, "", *city, account.email)
            if rng.random() < 0.08:
                billing = replace(billing, email=_spelled(rng, billing.email))
            drawn.append((_moment(rng, account.created_at, now - timedelta(hours=1)), account, billing))
        else:
            billing = guests[number] if number < 12 else rng.choice(guests)
            drawn.append((_moment(rng, start, now - timedelta(hours=1)), None, billing))
    # The awkward guests must have bought something even in a small world.
    for at, billing in zip(range(len(drawn)), guests[:5], strict=False):
        drawn[at] = (drawn[at][0], None, billing)
    drawn.sort(key=lambda d: d[0])
    statuses = rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()), k=count)
    return tuple(
        _order(
            rng,
            key,
            account=account,
            billing=billing,
            placed=placed,
            status=status,
            products=products,
            coupons=coupons,
            now=now,
        )
        for key, ((placed, account, billing), status) in enumerate(zip(drawn, statuses, strict=True), start=1)
    )


def _order(
    rng: random.Random,
    key: int,
    *,
    account: Account | None,
    billing: Address,
    placed: datetime,
    status: str,
    products: tuple[Product, ...],
    coupons: tuple[Coupon, ...],
    now: datetime,
) -> Order:
    currency = "SEK" if rng.random() < 0.25 else "EUR"
    factor = _SEK_PER_EUR if currency == "SEK" else 1
    tax_percent = _TAX_PERCENT[currency]
    coupon = coupons[0 if rng.random() < 0.7 else 1] if rng.random() < 0.1 else None
    percent = int(coupon.percent) if coupon else 0
    lines, total, tax, discount = [], 0, 0, 0
    for _ in range(rng.choices((1, 2, 3, 4), (50, 30, 15, 5))[0]):
        product = rng.choice(products)
        variation = rng.choice(product.variations) if product.variations else None
        sold = variation or product
        name = f"{product.name} - {variation.option}" if variation else product.name
        quantity = rng.choices((1, 2, 3), (75, 20, 5))[0]
        price = int(sold.price.scaleb(2)) * factor
        off = price * quantity * percent // 100
        gross = price * quantity - off
        part = gross - round(gross * 100 / (100 + tax_percent))
        lines.append(
            Line(
                product.key,
                variation.key if variation else None,
                name,
                sold.sku,
                quantity,
                _cents(price),
                _cents(gross),
                _cents(part),
            )
        )
        total, tax, discount = total + gross, tax + part, discount + off
    shipping = rng.choice((0, 0, 490 * factor))
    total += shipping
    paid = completed = None
    if status in {"processing", "completed", "refunded"}:
        paid = min(placed + timedelta(minutes=rng.randrange(0, 90)), now)
        if status != "processing":
            completed = min(paid + timedelta(hours=rng.randrange(10, 100)), now)
    refunds: tuple[Refund, ...] = ()
    if status == "refunded":
        refunds = (Refund(min((completed or placed) + timedelta(days=rng.randrange(1, 20)), now), _cents(total), "Ångrat köp"),)
    elif status == "completed" and rng.random() < 0.03:
        part = rng.randrange(100, max(total // 2, 101))
        refunds = (Refund(min((completed or placed) + timedelta(days=5), now), _cents(part), "En vara saknades"),)
    changed = max(t for t in (placed, paid, completed, *(r.at for r in refunds)) if t)
    tick = rng.choices((None, "1", "0", "yes", ""), (70, 18, 6, 2, 4))[0]
    return Order(
        key,
        account.key if account else None,
        billing,
        status,
        currency,
        placed,
        changed,
        paid,
        completed,
        tuple(lines),
        _cents(shipping),
        _cents(discount),
        _cents(total),
        _cents(tax),
        coupon.code if coupon else None,
        tick,
        refunds,
    )


def _contacts(
    rng: random.Random, accounts: tuple[Account, ...], guests: tuple[Address, ...], start: datetime, now: datetime
) -> Iterator[Contact]:
    """The audience: accounts (the first of them in every combination with the shop's value), guests, and strangers."""
    seen: set[str] = set()
    pairs = list(itertools.product(CONSENTS, (*CONTACT_STATUSES, None), (True, False)))
    for at, account in enumerate(accounts):
        if at < len(pairs):
            _, status, is_after = pairs[at]
        else:
            status = rng.choices((*CONTACT_STATUSES, None), (34, 8, 3, 3, 8, 2, 42))[0]
            is_after = rng.random() < 0.5
        if status is None or account.email.lower() in seen:
            continue
        seen.add(account.email.lower())
        said = account.consent_at or account.created_at
        changed = _moment(rng, said, now) if is_after else _moment(rng, start - timedelta(days=400), said)
        yield _contact(rng, _spelled(rng, account.email) if rng.random() < 0.1 else account.email, status, changed, account)
    for guest in guests:
        address = guest.email.lower()
        if address.partition("@")[2].count(".") and address not in seen and ".." not in address and rng.random() < 0.2:
            seen.add(address)
            status = rng.choices(CONTACT_STATUSES, (50, 15, 5, 5, 20, 5))[0]
            yield _contact(rng, guest.email, status, _moment(rng, start, now), guest)
    for number in range(max(len(accounts) // 6, 12)):
        language, first, last, email, _ = _person(rng, 500_000 + number)
        status = CONTACT_STATUSES[number % 6] if number < 12 else rng.choices(CONTACT_STATUSES, (70, 15, 5, 5, 3, 2))[0]
        yield replace(
            _contact(rng, email, status, _moment(rng, start, now), None), first_name=first, last_name=last, language=language
        )


def _contact(rng: random.Random, email: str, status: str, changed: datetime, who: Account | Address | None) -> Contact:
    signed_up = changed - timedelta(days=rng.randrange(0, 300), seconds=rng.randrange(0, 80_000))
    never_opted_in = status in {"pending", "transactional"}
    opted_in = None if never_opted_in else (changed if status == "subscribed" else signed_up)
    tags = tuple(t for t in ("vip", "newsletter-2024", "måndag") if rng.random() < 0.15)
    return Contact(
        email,
        status,
        signed_up,
        opted_in,
        changed,
        who.first_name if who else "",
        who.last_name if who else "",
        who.language if isinstance(who, Account) else "",
        tags,
    )
