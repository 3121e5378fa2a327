"""What `shopsync check` finds out about a Shopify shop, without changing anything in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tasks.connector import Finding, Record
from tasks.shaping import dig, items, text
from tasks.shops.shopify.hooks import MERGE_SCOPE
from tasks.shops.shopify.queries import NEWEST_CUSTOMERS, SHOP
from tasks.shops.shopify.wire import VERSION, ShopApi

NEEDED = {
    "read_customers": "customers cannot be read",
    "read_orders": "orders cannot be read",
    "read_products": "products cannot be read",
    "write_customers": "no opt-out and no bounce can be written back to the shop",
}
USEFUL = {
    "read_all_orders": "orders older than 60 days are invisible, and so is who bought before",
    "read_discounts": "discount codes cannot be read",
    MERGE_SCOPE: "merged customers are noticed by the daily listing only, not at once",
}

ENOUGH = 20
"""From so many customers on it is no accident that none of them has something."""


def check(api: ShopApi, *, can_verify: bool) -> list[Finding]:
    """Raises SetupError where nothing can work: no shop, no token, another version."""
    shop = api.call(SHOP).data.get("shop")
    plan = text(dig(shop, "plan", "publicDisplayName")) or "unknown"
    return [
        Finding("ok", f"Shopify answers for {text(dig(shop, 'myshopifyDomain'))} with version {VERSION} of its API."),
        Finding("ok", f"Its plan ({plan}) restores {api.restore_rate:.0f} points a second; a call costs ten to some hundred."),
        *_scopes(api),
        *_personal_data(api),
        *_webhooks(can_verify=can_verify),
    ]


def _scopes(api: ShopApi) -> Iterator[Finding]:
    # Who may write may read, and Shopify then lists the writing scope alone. [memory]
    granted = api.scopes | {scope.replace("write_", "read_") for scope in api.scopes}
    sentence = "The app lacks the scope {}, so {}: add it to the app, and approve it in the shop's admin."
    yield from (Finding("error", sentence.format(*lack)) for lack in NEEDED.items() if lack[0] not in granted)
    yield from (Finding("warning", sentence.format(*lack)) for lack in USEFUL.items() if lack[0] not in granted)
    if NEEDED.keys() <= granted:
        yield Finding("ok", "The app may read customers, orders and products, and write opt-outs and bounces back.")


def _personal_data(api: ShopApi) -> Iterator[Finding]:
    """Without approval Shopify either refuses, which raises, or leaves the fields empty."""
    if "read_customers" not in api.scopes and "write_customers" not in api.scopes:
        return
    newest = items(api.call(NEWEST_CUSTOMERS).data, "customers", "nodes")
    if are_hidden(newest, is_sample=True):
        yield Finding("error", f"None of the newest {len(newest)} customers has an e-mail address: {ASK_FOR_ACCESS}")


def are_hidden(customers: Sequence[Record], *, is_sample: bool) -> bool:
    """Whether Shopify leaves out who these people are. It may do so with e-mail addresses alone, which shows in a sample of
    everybody; of people who changed, some import may really have none, but no names and phones either is not to be believed."""
    shown = ("defaultEmailAddress",) if is_sample else ("defaultEmailAddress", "defaultPhoneNumber", "firstName", "lastName")
    return len(customers) >= ENOUGH and not any(dig(customer, name) for customer in customers for name in shown)


def _webhooks(*, can_verify: bool) -> Iterator[Finding]:
    if not can_verify:
        sentence = "There is no client_secret, so webhooks cannot be verified and changes arrive with the next sync only."
        yield Finding("warning", sentence)
    yield Finding(
        "warning",
        "Shopify does not show which other apps sync newsletters: look under Apps in the shop's admin, and switch off what "
        "else writes consent, or the two overwrite each other.",
    )


ASK_FOR_ACCESS = (
    "ask for access to protected customer data (name, e-mail, phone, address) in the app's settings at Shopify, unless the "
    "customers really have none."
)
