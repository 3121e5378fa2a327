"""The invented world: the same for everybody, full of what goes wrong, and nobody in it can exist."""

from __future__ import annotations

import itertools
from datetime import timedelta
from decimal import Decimal

import pytest

from sandbox.woocommerce import WooCommerce
from sandbox.world import CONSENTS, CONTACT_STATUSES, NOW, World, invent

# RFC 2606 and 6761: nobody can ever own these.
RESERVED = (".example", ".test", ".invalid", "example.com", "example.net", "example.org")


@pytest.fixture(scope="module")
def world() -> World:
    return invent()


def test_the_same_arguments_give_the_same_world(world: World) -> None:
    assert invent() == world
    assert invent(seed=2) != world
    assert (len(world.accounts), len(world.orders)) == (3000, 9000)


def test_every_address_is_at_a_domain_that_cannot_exist(world: World) -> None:
    addresses = {a.email for a in world.accounts} | {c.email for c in world.contacts} | {o.billing.email for o in world.orders}
    domains = {address.rpartition("@")[2].lower() for address in addresses if "@" in address} - {""}
    assert all(domain.endswith(RESERVED) for domain in domains)


def test_shop_and_audience_disagree_in_every_combination(world: World) -> None:
    contacts = {c.email.lower(): c for c in world.contacts}
    pairs = set()
    for account in world.accounts:
        contact = contacts.get(account.email.lower())
        pairs.add((account.consent, contact.status if contact else None))
        if contact and account.consent_at:
            pairs.add((account.consent, contact.status, contact.changed_at > account.consent_at))
    assert set(itertools.product(CONSENTS, (*CONTACT_STATUSES, None))) <= pairs
    said = [consent for consent in CONSENTS if consent]
    assert set(itertools.product(said, CONTACT_STATUSES, (True, False))) <= pairs


def test_the_awkward_are_there_even_in_a_small_world() -> None:
    world = invent(customers=100, orders=100)
    shop = {a.email.lower() for a in world.accounts}
    guests = {o.billing.email for o in world.orders if o.account is None}
    assert {"", "kund@", "anna..b@example.com", "Ny.Gast@Example.com"} <= guests
    assert any(g.lower() in shop and g not in {a.email for a in world.accounts} for g in guests)
    names = {f"{a.first_name} {a.last_name}" for a in world.accounts}
    assert {"Åsa Öberg-O'Neil & Co", " "} <= names
    assert any(a.billing.email and a.billing.email != a.email for a in world.accounts)
    assert {o.currency for o in world.orders} == {"EUR", "SEK"}
    assert any(o.refunds and o.status == "completed" for o in invent().orders)
    gone = {p.key for p in world.products if p.is_deleted}
    assert any(line.product in gone for o in world.orders for line in o.lines)
    assert any(line.variation for o in world.orders for line in o.lines)
    strangers = {c.email.lower() for c in world.contacts} - shop - {g.lower() for g in guests}
    assert len(strangers) >= 12


def test_addresses_are_one_account_each_and_one_contact_each(world: World) -> None:
    for people in (world.accounts, world.contacts):
        addresses = [person.email.lower() for person in people]
        assert len(addresses) == len(set(addresses))


def test_history_lies_in_three_years_before_now_and_in_its_own_order(world: World) -> None:
    placed = [o.placed_at for o in world.orders]
    assert placed == sorted(placed)
    assert NOW - timedelta(days=3 * 365) <= placed[0] <= placed[-1] < NOW
    born = {a.key: a.created_at for a in world.accounts}
    for order in world.orders:
        assert order.placed_at <= order.changed_at <= NOW
        assert order.account is None or born[order.account] <= order.placed_at
    assert all(c.signed_up_at <= c.changed_at < NOW for c in world.contacts)


def test_money_adds_up(world: World) -> None:
    for order in world.orders:
        assert order.total == sum((line.total for line in order.lines), order.shipping)
        assert order.tax == sum((line.tax for line in order.lines), Decimal(0))
        assert sum((r.amount for r in order.refunds), Decimal(0)) <= order.total


def test_woocommerce_holds_the_world_to_the_cent(world: World) -> None:
    twin = WooCommerce()
    twin.from_world(world)
    orders = list(twin.shop.orders.values())
    site = twin.setup.site("http://shop.example")
    for told, kept in zip(world.orders, orders, strict=True):
        assert (kept.total, kept.tax, kept.currency) == (told.total, told.tax, told.currency)
        assert kept.billing.get("email", "") == told.billing.email
        shown = kept.json(site, twin.shop.products)
        assert Decimal(shown["discount_total"]) + Decimal(shown["discount_tax"]) == told.discount
        assert sum(Decimal(r["total"]) for r in shown["refunds"]) == -sum(r.amount for r in told.refunds)
    ticks = [next((m for m in o.meta.rows if m[1] == "newsletter_optin"), None) for o in orders]
    assert [t and t[2] for t in ticks] == [o.tick for o in world.orders]
    consents = [c.meta.get("newsletter_optin") for c in twin.shop.customers.values() if c.role == "customer"]
    assert consents == [a.consent for a in world.accounts]


def test_a_shop_may_read_addresses_that_are_none_as_empty() -> None:
    world = invent(customers=20, orders=30)
    told = [o.billing.email for o in world.orders]
    for hides, shown in ((False, "kund@"), (True, "")):
        twin = WooCommerce(hides_broken_emails=hides)
        twin.from_world(world)
        assert twin.state()["orders"][told.index("kund@")]["billing"]["email"] == shown
