"""Larder, an invented shop: the connector that docs/add-a-shop.md writes step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandera.polars as pa
import polars as pl
from pydantic import BaseModel, ConfigDict, HttpUrl, SecretStr

from schemas.shop import Customers, OrderLines, Orders, Products, PromoCodes
from tasks.addresses import with_address
from tasks.connector import (
    Finding,
    Fingerprint,
    Notice,
    Outcome,
    Page,
    Record,
    RefusedCall,
    SetupError,
    ShopCapabilities,
    Write,
)
from tasks.http import Answer, Api, Patience, Slots
from tasks.shaping import dig, frame, instant, items, money, text, whole


class LarderSettings(BaseModel):
    """One shop of a connection, as `shopsync.toml` describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Literal["larder"] = "larder"
    url: HttpUrl
    api_key: SecretStr


class Larder:
    """One Larder shop. Each of its records has a revision: a number that grows with every change of any record."""

    platform = "larder"
    tag = "Larder"
    capabilities = ShopCapabilities(
        customers_changed_since=True,
        orders_changed_since=True,
        bulk_export=False,
        consent_times=True,
        sms_consent=False,
        consent_write_back=True,
        guest_consent_write_back=False,
        bounce_write_back=True,
        create_customers=False,
        promo_codes=False,
        webhooks=False,
        deletions_visible=False,
        batch_size={"consent": 50, "bounce": 50},
        limits="none of its own; at most 4 calls at a time",
        notes=("Contacts of the ESP do not become customers, because Larder mails everybody who gets an account.",),
    )

    def __init__(self, settings: LarderSettings, *, shop: str, limits: Path, patience: Patience | None = None) -> None:
        url, key = str(settings.url), settings.api_key.get_secret_value().strip()
        self._shop, self._name = shop, f"Shop {shop}"
        proof = {"Authorization": f"Bearer {key}"}
        self._api = Api(url, name=self._name, slots=Slots(limits, url, size=4), headers=proof, patience=patience)

    def _call(self, method: str, path: str, **what: Any) -> Answer:
        try:
            return self._api.request(method, path, **what)
        except RefusedCall as refusal:
            if refusal.status == 401:
                raise SetupError(f"{self._name} does not take the key: copy api_key again from its settings.") from refusal
            raise

    def check(self) -> list[Finding]:
        for path in ("/customers", "/orders"):
            self._call("GET", path, params={"limit": 1})
        return [Finding("ok", "Larder answers, and the key may read customers and orders.")]

    def fingerprint(self) -> Fingerprint:
        shop = self._call("GET", "/shop").json
        return Fingerprint(text(dig(shop, "home")) or "", text(dig(shop, "id")))

    def foresee(self, listings: Sequence[str]) -> None:
        """Larder prepares nothing."""

    def customers(self, cursor: str | None = None) -> Iterator[Page]:
        return self._changed("/customers", cursor)

    def orders(self, cursor: str | None = None) -> Iterator[Page]:
        return self._changed("/orders", cursor)

    def _changed(self, path: str, cursor: str | None) -> Iterator[Page]:
        """By revision. Who changes meanwhile moves behind what is read, so whoever is there all the time is seen."""
        after, is_over = cursor or "0", False
        while not is_over:
            answer = self._call("GET", path, params={"after": int(after), "limit": 100})
            records, is_over = items(answer.json, "items"), dig(answer.json, "more") is False
            after = max([after, *(f"{record['revision']:020d}" for record in records)])
            yield Page(records, answer.asked_at, answer.answered_at, cursor=after, complete=is_over and cursor is None)

    def customer_ids(self) -> Iterator[Page]:
        for page in self.customers():
            yield replace(page, records=[{"customer_id": record["customer_id"]} for record in page.records], cursor=None)

    def customers_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        return self._by_id("/customers", ids)

    def products_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        return self._by_id("/products", ids)

    def _by_id(self, path: str, ids: Sequence[str]) -> Iterator[Page]:
        for start in range(0, len(ids), 100):
            answer = self._call("GET", path, params={"ids": ",".join(ids[start : start + 100])})
            yield Page(items(answer.json, "items"), answer.asked_at, answer.answered_at)

    def to_customers(self, records: Sequence[Record]) -> pl.DataFrame:
        return self._with_consent(Customers, records)

    def to_orders(self, records: Sequence[Record]) -> pl.DataFrame:
        return self._with_consent(Orders, records)

    def to_order_lines(self, records: Sequence[Record]) -> pl.DataFrame:
        lines = [(text(dig(order, "order_id")), line) for order in records for line in items(order, "lines")]
        return self._shaped(OrderLines, [line for _, line in lines], order_id=[order_id for order_id, _ in lines])

    def to_products(self, records: Sequence[Record]) -> pl.DataFrame:
        return self._shaped(Products, records)

    def _with_consent(self, model: type[pa.DataFrameModel], records: Sequence[Record]) -> pl.DataFrame:
        """A word that nobody explained stays as it is, so that validation rejects the row."""
        said = [text(dig(record, "newsletter")) for record in records]
        shaped = self._shaped(model, records, consent=[CONSENT.get(word, word) for word in said], consent_raw=said)
        return shaped.with_columns(with_address(pl.col("email")))

    def _shaped(self, model: type[pa.DataFrameModel], records: Sequence[Record], **ours: Sequence[Any]) -> pl.DataFrame:
        """What Larder calls as we do is read by the type of its column."""
        readers = {name: READERS[column.dtype.type.base_type()] for name, column in model.to_schema().columns.items()}
        theirs = {name: [read(dig(record, name)) for record in records] for name, read in readers.items()}
        return frame(model, theirs | {"shop": [self._shop] * len(records)} | ours)

    def send(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        return [self._sent(kind, write) for write in writes]

    def _sent(self, kind: str, write: Write) -> Outcome:
        if "order_id" in write.payload:
            return Outcome(write.write_id, "skipped", "guest", "Larder has no place for the opt-out of a guest.")
        try:
            self._call("PUT", f"/customers/{write.payload['customer_id']}", json=_change(kind, write))
        except RefusedCall as refusal:
            if refusal.status == 404:
                return Outcome(write.write_id, "skipped", "gone", "The shop no longer has this record.")
            return Outcome(write.write_id, "rejected", refusal.code, refusal.message)
        return Outcome(write.write_id, "acknowledged")

    def held(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        ids = sorted({str(write.payload["customer_id"]) for write in writes if "customer_id" in write.payload})
        shown = {record["customer_id"]: record.items() for page in self.customers_by_id(ids) for record in page.records}
        is_held = (_change(kind, write).items() <= shown.get(write.payload.get("customer_id"), {}.items()) for write in writes)
        return [Outcome(write.write_id, "acknowledged") for write, held in zip(writes, is_held, strict=True) if held]

    def promo_codes(self) -> Iterator[Page]:
        return iter(())

    def to_promo_codes(self, records: Sequence[Record]) -> pl.DataFrame:
        return self._shaped(PromoCodes, records)

    def webhook(self, headers: Mapping[str, str], body: bytes) -> None:
        """Larder sends none, so whatever claims to be one is not Larder's."""

    def notice(self, topic: str, body: bytes) -> Notice:  # noqa: ARG002
        return Notice()

    def connect_webhooks(self, address: str) -> None:
        raise SetupError(f"{self._name} sends no webhooks, so none can be sent to {address}: let the flow run more often.")

    def disconnect_webhooks(self, address: str) -> None:
        """There are none."""


CONSENT: Mapping[str | None, str] = {"yes": "in", "no": "out"}
READERS: Mapping[Any, Callable[[Any], Any]] = {
    pl.String: text,
    pl.Decimal: money,
    pl.Datetime: instant,
    pl.Int64: whole,
    pl.Boolean: lambda value: value is True,
}


def _change(kind: str, write: Write) -> Record:
    """A write in Larder's words; its records show it in the same."""
    if kind == "bounce":
        return {"bounced_at": write.payload["bounced_at"], "bounce_reason": write.payload["reason"]}
    said = {"subscribed": "yes", "unsubscribed": "no"}[write.payload["status"]]
    return {"newsletter": said, "consent_at": write.payload["at"]}
