"""Shopify, Admin GraphQL API (version in `wire`).

Facts come from shopify.dev (read 2026-11), the official schema and answers recorded against development shops, unless a comment
marks them [memory] or unverified: then both ways are handled.
What shapes this file:

- whole listings come from bulk operations, and what changed from pages in the order of change;
- every buyer is a customer, guests of the checkout too, and consent has a state, a level and a time;
- there is no list of deletions: who vanished is found by listing all ids, or by a webhook;
- calls are paid for with points, so several changes go in one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from tasks.connector import (
    Finding,
    Fingerprint,
    Notice,
    Outcome,
    Page,
    Record,
    SetupError,
    ShopCapabilities,
    Webhook,
    Write,
)
from tasks.http import Patience
from tasks.shaping import dig, instant, text
from tasks.shops.shopify import hooks
from tasks.shops.shopify.bulk import BulkOperations
from tasks.shops.shopify.check import ASK_FOR_ACCESS, are_hidden, check
from tasks.shops.shopify.queries import (
    ADD_TAGS,
    BOUNCE_REASON,
    BOUNCED_AT,
    CODE_METHOD,
    CONSENTS,
    CREATE_CUSTOMER,
    CUSTOMER_IDS,
    CUSTOMER_OF_ADDRESS,
    CUSTOMERS,
    NAMESPACE,
    ORDERS,
    PRODUCTS,
    PROMO_CODES,
    SET_METAFIELDS,
    SHOP,
    UPDATE_CONSENT,
    Change,
    Listing,
)
from tasks.shops.shopify.settings import ShopifySettings
from tasks.shops.shopify.shapes import (
    number,
    shape_customers,
    shape_order_lines,
    shape_orders,
    shape_products,
    shape_promo_codes,
)
from tasks.shops.shopify.tokens import auth_of
from tasks.shops.shopify.wire import BLOCK, ShopApi, TooManyChanged, changed_since, first_error

TAG = "email-bounced"
STATES = {"subscribed": "SUBSCRIBED", "unsubscribed": "UNSUBSCRIBED"}
METAFIELDS = 25
"""The most that one metafieldsSet takes, all or none."""

LISTINGS = {"customers": CUSTOMERS, "orders": ORDERS, "customer_ids": CUSTOMER_IDS}


class Shopify:
    """One Shopify shop. `limits` is the folder of the locks that count calls over all processes of this machine; tokens that we
    renew and bulk operations that we wait for are remembered there, too.

    Side effects: subscribing somebody fires the merchant's own automations at Shopify ("customer subscribed"). PENDING, which
    sends Shopify's confirmation mail, is never written.
    """

    platform = "shopify"
    tag = "Shopify"
    capabilities: ShopCapabilities = ShopCapabilities(
        customers_changed_since=True,
        orders_changed_since=True,
        bulk_export=True,
        consent_times=True,
        sms_consent=True,
        consent_write_back=True,
        guest_consent_write_back=False,
        bounce_write_back=True,
        create_customers=True,
        promo_codes=True,
        webhooks=True,
        deletions_visible=False,
        batch_size={"consent": BLOCK, "bounce": BLOCK, "customer": BLOCK},
        limits="points by the cost of calls: 100 a second on standard plans, up to 2000; five bulk operations at a time",
        notes=(
            "Orders older than 60 days are invisible without the scope read_all_orders.",
            "Names and addresses are empty until Shopify has approved the app's access to protected customer data.",
            "Deleted and merged customers are found by listing all ids, or by webhooks, because there is no list of them.",
            "Opt-outs of buyers without a customer record are kept by us, because an order has no consent in Shopify.",
            "A hard bounce becomes the tag email-bounced and two metafields, because Shopify's own mark cannot be written.",
            "Amounts are in the shop's currency, also where the buyer paid in another one.",
            "Discounts of apps have no amount that could be read, so their codes are left out.",
            "Subscribing a customer sets off the shop's own automations for new subscribers.",
        ),
    )

    def __init__(self, settings: ShopifySettings, *, shop: str, limits: Path, patience: Patience | None = None) -> None:
        self._settings, self._shop = settings, shop
        name = f"Shop {shop}"
        self._api = ShopApi(
            settings.site,
            name=name,
            auth=auth_of(settings, name=name, folder=limits),
            limits=limits,
            patience=patience,
            ca_file=settings.ca_file,
        )
        self._bulk = BulkOperations(self._api, limits)
        self._webhook_secret = settings.client_secret.get_secret_value().strip() if settings.client_secret else None
        self.capabilities = replace(type(self).capabilities, webhooks=self._webhook_secret is not None)

    def check(self) -> list[Finding]:
        return check(self._api, can_verify=self._webhook_secret is not None)

    def fingerprint(self) -> Fingerprint:
        shop = self._api.call(SHOP).data.get("shop")
        return Fingerprint(text(dig(shop, "myshopifyDomain")) or self._settings.url, number(dig(shop, "id")))

    # --- fetching

    def foresee(self, listings: Sequence[str]) -> None:
        """Bulk operations start at once and run side by side; one that finds no place starts when it is asked for."""
        for listing in listings:
            if not self._bulk.start(LISTINGS[listing].whole()):
                return

    def customers(self, cursor: str | None = None) -> Iterator[Page]:
        """Refuses to read people whose addresses Shopify hides, because they would all count as having none."""
        for page in self._listed(CUSTOMERS, cursor):
            if are_hidden(page.records, is_sample=cursor is None):
                raise SetupError(f"Shop {self._shop} shows no e-mail addresses of its customers: {ASK_FOR_ACCESS}")
            yield page

    def customer_ids(self) -> Iterator[Page]:
        for page in self._bulk.pages(CUSTOMER_IDS):
            yield replace(page, records=[{"customer_id": number(record.get("id"))} for record in page.records])

    def customers_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        """Of customers that were merged into one, one comes back."""
        return self._api.by_id(CUSTOMERS, ids)

    def orders(self, cursor: str | None = None) -> Iterator[Page]:
        """Whole, in no order; the cursor moves at the end then."""
        return self._listed(ORDERS, cursor)

    def _listed(self, listing: Listing, cursor: str | None) -> Iterator[Page]:
        """All, or what changed: in pages, and what pages cannot show by a bulk operation over the rest."""
        since = instant(cursor)
        if since is None:
            yield from self._bulk.pages(listing)
            return
        try:
            yield from self._api.changed(listing, since)
        except TooManyChanged as error:
            for page in self._bulk.pages(listing, changed_since(error.since)):
                yield replace(page, cursor=page.cursor or error.since.isoformat(), complete=False)

    def products_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        return self._api.by_id(PRODUCTS, ids)

    def promo_codes(self) -> Iterator[Page]:
        return self._bulk.pages(PROMO_CODES, CODE_METHOD)

    # --- webhooks

    def webhook(self, headers: Mapping[str, str], body: bytes) -> Webhook | None:
        return hooks.opened(headers, body, self._webhook_secret, self._settings.url)

    def notice(self, topic: str, body: bytes) -> Notice:
        return hooks.notice(topic, body)

    def connect_webhooks(self, address: str) -> None:
        if self._webhook_secret is None:
            raise SetupError(f"Shop {self._shop} has no client_secret, so webhooks could not be verified: set it.")
        hooks.connect(self._api, address)

    def disconnect_webhooks(self, address: str) -> None:
        hooks.disconnect(self._api, address)

    # --- writing

    def send(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        """Changes of customers are preceded by a look at them, for who is gone and for the level of their opt-in."""
        if kind == "customer":
            return self._create(writes)
        outcomes: dict[str, Outcome] = {}
        customers = self._customers(writes)
        for write in writes:
            if not _target(write):
                sentence = "Opt-outs of guests are kept by shopsync only, because orders have no consent in Shopify."
                outcomes[write.write_id] = Outcome(write.write_id, "skipped", "guest", sentence)
            elif not (customer := customers.get(_target(write))):
                outcomes[write.write_id] = _gone(write)
            elif kind == "consent" and not customer.get("defaultEmailAddress"):
                # Shopify answers without an error, and changes nothing (recorded).
                sentence = "The customer has no e-mail address any more."
                outcomes[write.write_id] = Outcome(write.write_id, "skipped", "no_address", sentence)
        left = [write for write in writes if write.write_id not in outcomes]
        sent = self._bounce(left) if kind == "bounce" else self._consent(left, customers)
        outcomes |= {outcome.write_id: outcome for outcome in sent}
        return [outcomes[write.write_id] for write in writes]

    def _consent(self, writes: Sequence[Write], customers: Mapping[str, Record]) -> Iterator[Outcome]:
        changes = [_consent_change(write, customers[_target(write)]) for write in writes]
        answers = self._api.change(changes, repeatable=True)
        untimely = [place for place, answer in enumerate(answers) if _is_for_its_time(writes[place], answer)]
        again = self._api.change([_without_time(changes[place]) for place in untimely], repeatable=True)
        answers = [dict(zip(untimely, again, strict=True)).get(place, answer) for place, answer in enumerate(answers)]
        for write, answer in zip(writes, answers, strict=True):
            yield _outcome("consent", write, answer)

    def _bounce(self, writes: Sequence[Write]) -> Iterator[Outcome]:
        """Metafields of several customers go in one mutation, which does all of them or none."""
        tagged = self._api.change([Change(ADD_TAGS, {"id": _gid(write), "tags": [TAG]}) for write in writes], repeatable=True)
        size = METAFIELDS // 2
        blocks = [writes[start : start + size] for start in range(0, len(writes), size)]
        metafields = [[field for write in block for field in _bounce_fields(write)] for block in blocks]
        kept = self._api.change([Change(SET_METAFIELDS, {"metafields": fields}) for fields in metafields], repeatable=True)
        for place, (write, tags) in enumerate(zip(writes, tagged, strict=True)):
            error = first_error(tags) or first_error(kept[place // size])
            yield _refused(write, *error) if error else Outcome(write.write_id, "acknowledged")

    def _create(self, writes: Sequence[Write]) -> list[Outcome]:
        """Shopify mails nobody for a customer made by an app. [memory]"""
        answers = self._api.change([_new_customer(write) for write in writes], repeatable=False)
        return [_outcome("customer", write, answer) for write, answer in zip(writes, answers, strict=True)]

    def held(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        if kind == "customer":
            answers = (self._api.call(CUSTOMER_OF_ADDRESS, {"email": write.payload["email"]}).data for write in writes)
            found = [(write, answer.get("customerByIdentifier")) for write, answer in zip(writes, answers, strict=True)]
        else:
            customers = self._customers(writes)
            found = [(write, customers.get(_target(write))) for write in writes]
        return [
            Outcome(write.write_id, "acknowledged")
            for write, customer in found
            if customer and _holds(kind, write, {"customer": customer})
        ]

    def _customers(self, writes: Sequence[Write]) -> dict[str, Record]:
        ids = sorted({_target(write) for write in writes} - {""})
        return {number(record.get("id")) or "": record for page in self._api.by_id(CONSENTS, ids) for record in page.records}

    # --- shaping

    def to_customers(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_customers(records, self._shop)

    def to_orders(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_orders(records, self._shop)

    def to_order_lines(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_order_lines(records, self._shop)

    def to_products(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_products(records, self._shop)

    def to_promo_codes(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_promo_codes(records, self._shop)


def _consent_change(write: Write, customer: Record) -> Change:
    """The level that the customer has stays; without any level Shopify refuses (recorded)."""
    level = text(dig(customer, "defaultEmailAddress", "marketingOptInLevel")) or "SINGLE_OPT_IN"
    return Change(UPDATE_CONSENT, {"input": {"customerId": _gid(write), "emailMarketingConsent": _consent(write, level)}})


def _consent(write: Write, level: str) -> Record:
    said = {"marketingState": STATES[write.payload["status"]], "marketingOptInLevel": level}
    at = instant(write.payload.get("at"))
    # A time in the future is refused (recorded); Shopify counts whole seconds.
    return said | {"consentUpdatedAt": min(at, datetime.now(UTC).replace(microsecond=0)).isoformat()} if at else said


def _is_for_its_time(write: Write, answer: Record) -> bool:
    """Not taken because of the time alone: without one, Shopify takes the present.

    Where our clock is ahead, a time is in its future. Whether it ignores a change older than its own is unverified; an opt-out
    that was decided is not given up for that, an opt-in is.
    """
    if error := first_error(answer):
        return "in the future" in error[1]
    return write.payload["status"] == "unsubscribed" and not _holds("consent", write, answer)


def _without_time(change: Change) -> Change:
    asked = change.values["input"]
    consent = {name: value for name, value in asked["emailMarketingConsent"].items() if name != "consentUpdatedAt"}
    return replace(change, values={"input": asked | {"emailMarketingConsent": consent}})


def _bounce_fields(write: Write) -> Iterator[Record]:
    """A metafield is never empty, and one of a single line takes no line breaks."""
    ours = {"ownerId": _gid(write), "namespace": NAMESPACE}
    yield ours | {"key": BOUNCED_AT, "type": "date_time", "value": str(write.payload["bounced_at"])}
    reason = " ".join(str(write.payload.get("reason") or "").split()) or "not given"
    yield ours | {"key": BOUNCE_REASON, "type": "single_line_text_field", "value": reason}


def _new_customer(write: Write) -> Change:
    named = {"email": write.payload["email"], "firstName": write.payload["first_name"], "lastName": write.payload["last_name"]}
    if write.payload["status"] == "subscribed":
        named["emailMarketingConsent"] = _consent(write, "SINGLE_OPT_IN")
    return Change(CREATE_CUSTOMER, {"input": {name: value for name, value in named.items() if value}})


def _outcome(kind: str, write: Write, answer: Record) -> Outcome:
    if error := first_error(answer):
        return _refused(write, *error)
    if _holds(kind, write, answer):
        return Outcome(write.write_id, "acknowledged")
    stated = instant(dig(answer, "customer", "defaultEmailAddress", "marketingUpdatedAt"))
    at = instant(write.payload.get("at"))
    if stated and at and stated > at:
        return Outcome(write.write_id, "skipped", "newer", "The shop holds a newer consent, which the next sync reads.")
    return Outcome(write.write_id, "rejected", "not_kept", "Shopify took the value and does not show it; look at the customer.")


def _refused(write: Write, code: str, message: str) -> Outcome:
    """Mutations of customers have no codes for these (recorded), so their words have to do."""
    if "not found" in message or "does not exist" in message:
        return _gone(write)
    if "already been taken" in message:
        return Outcome(write.write_id, "skipped", "exists", "The shop has a customer with this address.")
    return Outcome(write.write_id, "rejected", code, message)


def _gone(write: Write) -> Outcome:
    return Outcome(write.write_id, "skipped", "gone", "The shop no longer has this record.")


def _holds(kind: str, write: Write, answer: Record) -> bool:
    """Whether the customer in the answer shows what the write says."""
    customer = answer.get("customer")
    if kind == "bounce":
        return instant(dig(customer, "bouncedAt", "value")) == instant(str(write.payload["bounced_at"]))
    if kind == "customer" and write.payload["status"] != "subscribed":
        return bool(dig(customer, "id"))
    return bool(dig(customer, "defaultEmailAddress", "marketingState") == STATES[write.payload["status"]])


def _target(write: Write) -> str:
    return str(write.payload.get("customer_id") or "")


def _gid(write: Write) -> str:
    return f"gid://shopify/Customer/{_target(write)}"
