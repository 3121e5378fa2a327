"""What the steps and the connectors agree on: pages in, writes out, and errors that say what to do.

A connector is plain Python over HTTP. It knows its platform's addresses, words and limits, and nothing of Prefect, of the
state, of the other connectors or of the consent rules. Fetching yields raw records; shaping is a pure function from records to
a frame of `schemas`; sending takes writes and answers for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import polars as pl

from schemas.words import WriteState

Record = dict[str, Any]

PROFILE_FIELDS = (
    "first_name",
    "last_name",
    "language",
    "country",
    "city",
    "postcode",
    "phone",
    "customer_group",
    "orders_count",
    "total_spent",
    "currency",
    "first_ordered_on",
    "last_ordered_on",
)
"""What we own at the ESP by default (behaviour 7.7); connectors say how their platform calls and types each of them.

`orders_count` is a number, `total_spent` a money string in `currency` (the currency of most of the person's orders), dates are
ISO dates, everything else is text; null empties the field.
"""


class ConnectorError(Exception):
    """Something went wrong at the other side. The message is one sentence for a person and holds no secret and no address."""


class SetupError(ConnectorError):
    """Stop: somebody must change something (key, URL, permission, list). The sentence says what."""


class TryLater(ConnectorError):
    """The other side is unavailable or busy beyond our patience: run again later. Nothing is lost meanwhile."""


class RefusedCall(ConnectorError):
    """The other side understood one call and refused it (4xx). A connector turns it into outcomes or into a `SetupError`."""

    def __init__(self, status: int, code: str, message: str, body: Any = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.body = status, code, message, body


@dataclass(frozen=True)
class Page:
    """Raw records of one answer, stored before the cursor moves.

    The records held true at some moment between `asked_at` and `answered_at` (our clock, UTC). `cursor` is where to go on after
    this page, opaque to everybody but the connector. `complete` is true on the last page of a listing that provably missed
    nothing; a listing that ends without it means "cannot tell".
    """

    records: list[Record]
    asked_at: datetime
    answered_at: datetime
    cursor: str | None = None
    complete: bool = False
    announced: int | None = None


@dataclass(frozen=True)
class Write:
    """One planned write. `payload` is in our words; `key` is the entity's id in the ledger (an address, an order id, ...).

    `known`: an earlier write of this entity was acknowledged, so the other side has it already.
    """

    write_id: str
    key: str
    payload: dict[str, Any]
    known: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one write. `message` is a sentence without addresses; `code` is the platform's own word."""

    write_id: str
    state: WriteState
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Finding:
    """One line of `shopsync check`."""

    level: Literal["ok", "warning", "error"]
    sentence: str


@dataclass(frozen=True)
class Fingerprint:
    """Which shop answers: `home` is the address it believes in, `shop_id` an id of its own where it has one."""

    home: str
    shop_id: str | None = None


@dataclass(frozen=True)
class Webhook:
    """One delivery that proved to come from the shop. `delivery_id` is the same when it is delivered again."""

    topic: str
    delivery_id: str | None
    body: bytes


@dataclass(frozen=True)
class PrivacyRequest:
    """What a person asks for through the shop: a copy of what we hold (`export`) or to be forgotten (`erase`).

    `erase` without a person is about the whole shop, after it was disconnected.
    """

    kind: Literal["export", "erase"]
    customer_id: str | None = None
    email: str | None = None


@dataclass(frozen=True)
class Notice:
    """What a webhook is about. The accounts in it are read again by id: one that does not come back is gone."""

    customer_ids: tuple[str, ...] = ()
    request: PrivacyRequest | None = None


@dataclass(frozen=True)
class ShopCapabilities:
    """What a shop platform can do. Flows ask these, never a platform's name. On the class: at best; on a shop: as set up.

    `customers_changed_since`, `orders_changed_since`: reading what changed costs less than reading all · `bulk_export`: a first
    sync reads no pages · `consent_times`: the shop states when consent changed (else we know only between which looks) ·
    `deletions_visible`: reading what changed shows what was deleted too · `limits` is a sentence, `notes` are what the merchant
    should know, each with its reason.
    """

    customers_changed_since: bool
    orders_changed_since: bool
    bulk_export: bool
    consent_times: bool
    sms_consent: bool
    consent_write_back: bool
    guest_consent_write_back: bool
    bounce_write_back: bool
    create_customers: bool
    promo_codes: bool
    webhooks: bool
    deletions_visible: bool
    batch_size: dict[str, int]
    limits: str
    notes: tuple[str, ...] = ()


StoreState = Literal["made", "held", "ready"]
"""made: it was not there; it is empty and holds automations · held: a killed run left it holding automations · ready."""


@dataclass(frozen=True)
class EspCapabilities:
    """What an ESP platform can do. `writes` are the kinds `send` takes, in the order in which they must go.

    `sms_consent`: consent to text messages can be written (kind `sms`) · `erasure`: a contact can be deleted for good.
    """

    changed_since: bool
    bounces_visible: bool
    webhooks: bool
    double_opt_in: bool
    sms_consent: bool
    erasure: bool
    writes: tuple[str, ...]
    batch_size: dict[str, int]
    limits: str
    notes: tuple[str, ...] = ()


class Shop(Protocol):
    """A shop platform. One instance serves one shop of one connection."""

    platform: str
    tag: str
    capabilities: ShopCapabilities

    def check(self) -> list[Finding]:
        """Credentials, permissions and traps, without changing anything. Raises SetupError where nothing can work."""
        ...

    def fingerprint(self) -> Fingerprint: ...

    def foresee(self, listings: Sequence[str]) -> None:
        """This run will ask for all "customers", "orders" or "customer_ids": what takes the shop a while may start now."""
        ...

    def customers(self, cursor: str | None = None) -> Iterator[Page]:
        """Every account (cursor None), or those changed since the cursor where the platform can tell."""
        ...

    def customer_ids(self) -> Iterator[Page]:
        """The id of every account as {"customer_id"}: who is missing from a complete listing may be gone."""
        ...

    def customers_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        """The accounts with these ids; one that does not come back does not exist."""
        ...

    def orders(self, cursor: str | None = None) -> Iterator[Page]:
        """Orders in the order of their last change, from the cursor on; trashed and deleted ones do not show."""
        ...

    def products_by_id(self, ids: Sequence[str]) -> Iterator[Page]: ...

    def promo_codes(self) -> Iterator[Page]:
        """Every discount code that buyers can type in. Nothing where `capabilities.promo_codes` is false."""
        ...

    def webhook(self, headers: Mapping[str, str], body: bytes) -> Webhook | None:
        """A delivery as it came in, or None when its signature does not fit: then nothing in it may be believed."""
        ...

    def notice(self, topic: str, body: bytes) -> Notice:
        """What a webhook of this topic is about; an empty notice for what it does not understand."""
        ...

    def connect_webhooks(self, address: str) -> None:
        """Have the shop send webhooks to this address; twice is as once. Ours are those that lead to the same path: those to
        another host, and those that the shop gave up, are replaced."""
        ...

    def disconnect_webhooks(self, address: str) -> None:
        """Take our webhooks out of the shop again, whatever host they lead to."""
        ...

    def to_customers(self, records: Sequence[Record]) -> pl.DataFrame:
        """Shape accounts: one row per record in the same order, columns as `schemas.shop.Customers`."""
        ...

    def to_orders(self, records: Sequence[Record]) -> pl.DataFrame:
        """Shape orders: one row per record in the same order, columns as `schemas.shop.Orders`."""
        ...

    def to_order_lines(self, records: Sequence[Record]) -> pl.DataFrame:
        """Shape the lines of these orders, columns as `schemas.shop.OrderLines`."""
        ...

    def to_products(self, records: Sequence[Record]) -> pl.DataFrame:
        """Shape products: one row per variant, columns as `schemas.shop.Products`."""
        ...

    def to_promo_codes(self, records: Sequence[Record]) -> pl.DataFrame:
        """Shape discount codes, columns as `schemas.shop.PromoCodes`."""
        ...

    def send(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out writes of one kind, at most `batch_size[kind]` of them.

        `consent`: payload {"customer_id", "status": subscribed|unsubscribed, "at"}; a guest's has "order_id" instead.
        `bounce`: payload {"customer_id", "bounced_at", "reason"}.
        `customer`: payload {"email", "first_name", "last_name", "status": subscribed|not_subscribed, "at"}; makes an
        account and never changes one (then: skipped, code "exists"). Where `capabilities.create_customers`.
        """
        ...

    def held(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        """After a crash: which of these writes the shop already holds (acknowledged); the others are left out."""
        ...


class Esp(Protocol):
    """An ESP platform. One instance serves one audience of one connection."""

    platform: str
    capabilities: EspCapabilities

    def check(self) -> list[Finding]: ...

    def prepare(self, store: Record) -> StoreState:
        """Make what loads need: missing profile fields, the store {"store_id", "name", "domain", "former_domains", "currency",
        "platform"}. A store that still has a former domain gets the new one.

        Raises SetupError when a store of this id belongs to another shop.
        """
        ...

    def hold_automations(self, store_id: str, hold: bool) -> None:
        """While held, loads trigger nothing: no welcome mail, no journey, no order notification (behaviour 8.3)."""
        ...

    def contacts(self, cursor: str | None = None) -> Iterator[Page]:
        """Every contact, archived ones included (cursor None), or those changed since the cursor."""
        ...

    def to_contacts(self, records: Sequence[Record]) -> pl.DataFrame:
        """Shape contacts: one row per record in the same order, columns as `schemas.esp.Contacts`."""
        ...

    def send(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        """Carry out writes of one kind, at most `batch_size[kind]` of them.

        `create`: payload {"email", "status", "fields", "fields_hash", "consent_at"}; must not change a contact that exists
        (then: skipped, code "exists").
        `status`: payload {"email", "status", "consent_at"}; the only kind that changes an existing contact's consent.
        `profile`: payload {"email", "fields"}; must never change consent.
        `tags`: payload {"email", "add": [...], "remove": [...]}.
        `archive`: payload {"email"}; the reversible removal.
        `sms`: payload {"email", "phone" (E.164), "status": subscribed|unsubscribed, "consent_at"}; consent to text messages.
        Must never make a contact (then: skipped, code "no_contact") nor change consent to mail.
        `product`: {"store_id", "product_id", "title", "url", "image_url",
        "variants": [{"variant_id", "title", "sku", "price"}]}.
        `customer`: {"store_id", "customer_id", "email", "first_name", "last_name"}; must never change consent.
        `order`: {"store_id", "order_id", "customer_id", "currency", "total", "discount_total", "tax_total", "shipping_total",
        "refunded_total", "state", "is_paid", "ordered_at", "updated_at", "promo_codes": [...],
        "lines": [{"line_id", "product_id", "variant_id", "quantity", "price", "discount"}]}.
        Money is a string, instants are ISO 8601 in UTC, absent values null. `fields` holds the names of `PROFILE_FIELDS`.
        """
        ...

    def held(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        """After a crash: which of these writes the ESP already holds (acknowledged); the others are left out.

        Waits first for whatever the ESP is still working on.
        """
        ...

    def erase(self, email: str, store_ids: Sequence[str]) -> bool:
        """Delete for good what the ESP holds of an address: the contact, and customers and orders in these stores. Called for
        an erasure and for nothing else, where `capabilities.erasure`. Twice is as once; False: there was no contact."""
        ...
