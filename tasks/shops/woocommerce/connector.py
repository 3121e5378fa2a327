"""WooCommerce, REST API v3 (WooCommerce 3.5 and newer).

Facts were observed on WooCommerce 11.0.1, 8.0.0 and 3.9.1 in 2026-11 unless a comment names another source.
What shapes this file:

- customers cannot be listed by change, so all of them are listed every time, and the listing proves that it missed nothing;
- guests are no customers: only orders know them;
- newsletter consent is whatever a plugin writes into `meta_data` under a key of its own, without a time;
- there is no list of deletions.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from tasks.addresses import without_addresses
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
    TryLater,
    Webhook,
    Write,
)
from tasks.http import Patience
from tasks.shaping import dig, identifier, instant, raw, text
from tasks.shops.woocommerce import hooks
from tasks.shops.woocommerce.check import check
from tasks.shops.woocommerce.settings import WooCommerceSettings
from tasks.shops.woocommerce.shapes import (
    BOUNCE_REASON,
    BOUNCED_AT,
    ConsentKey,
    meta,
    shape_customers,
    shape_order_lines,
    shape_orders,
    shape_products,
    shape_promo_codes,
)
from tasks.shops.woocommerce.wire import PER_PAGE, KeyAuth, ShopApi

STAFF = frozenset({"administrator", "shop_manager", "editor", "author", "contributor"})
"""WordPress's own roles of people who work there. Any other role may be a plugin's name for buyers (wholesale, member, ...)."""

CUSTOMER_FIELDS = "id,email,first_name,last_name,role,is_paying_customer,billing,meta_data,date_created_gmt,date_modified_gmt"
ORDER_FIELDS = (
    "id,number,status,currency,customer_id,billing,total,total_tax,discount_total,shipping_total,date_created_gmt,"
    "date_modified_gmt,date_paid_gmt,line_items,coupon_lines,refunds,meta_data"
)
PRODUCT_FIELDS = "id,name,type,sku,permalink,images,price,variations,date_modified_gmt"
COUPON_FIELDS = (
    "id,code,amount,status,discount_type,description,free_shipping,date_expires_gmt,usage_count,usage_limit,email_restrictions,"
    "date_created_gmt,date_modified_gmt"
)
VARIATION_FIELDS = "id,sku,permalink,image,price,attributes,date_modified_gmt"


class WooCommerce:
    """One WooCommerce shop. `limits` is the folder of the locks that count calls over all processes of this machine."""

    platform = "woocommerce"
    tag = "WooCommerce"
    capabilities: ShopCapabilities = ShopCapabilities(
        customers_changed_since=False,
        orders_changed_since=True,
        bulk_export=False,
        consent_times=False,
        sms_consent=False,
        consent_write_back=True,
        guest_consent_write_back=True,
        bounce_write_back=True,
        create_customers=False,
        promo_codes=True,
        webhooks=True,
        deletions_visible=False,
        batch_size={"consent": PER_PAGE, "bounce": PER_PAGE},
        limits="none of its own; at most 2 calls at a time, for the sake of the shop's hosting",
        notes=(
            "Every sync lists all customer accounts, because WooCommerce cannot list those that changed.",
            "Before WooCommerce 5.8 every sync lists all orders too, because orders cannot be listed by change there.",
            "WooCommerce has no newsletter consent of its own: consent_meta_key names the field of the plugin that has.",
            "Consent carries no time, because plugins store a bare value.",
            "A guest's opt-out can be written only to an order (write_guest_consent), because guests have no account.",
            "Contacts of the ESP do not become customers, because WooCommerce mails everybody who gets an account.",
            "Deleted accounts are found by listing and asking by id, because WooCommerce keeps no list of deletions.",
            "An order moved to the trash silently leaves the lists; its last known state stays.",
            "The variations of a product cost one call a product, because there is no list across products.",
        ),
    )

    def __init__(self, settings: WooCommerceSettings, *, shop: str, limits: Path, patience: Patience | None = None) -> None:
        self._settings, self._shop = settings, shop
        self._consent = ConsentKey(settings.consent_meta_key, settings.consent_in, settings.consent_out)
        self._api = ShopApi(
            settings.base_url or settings.url,
            name=f"Shop {shop}",
            auth=KeyAuth(settings.consumer_key.get_secret_value().strip(), settings.consumer_secret.get_secret_value().strip()),
            limits=limits,
            patience=patience,
            ca_file=settings.ca_file,
        )
        self._webhook_secret = hooks.webhook_secret(settings.consumer_secret.get_secret_value().strip())
        can_write = settings.consent_meta_key is not None
        self.capabilities = replace(
            type(self).capabilities,
            consent_write_back=can_write,
            guest_consent_write_back=can_write and settings.write_guest_consent,
        )

    def check(self) -> list[Finding]:
        return check(self._api, self._settings.consent_meta_key)

    def fingerprint(self) -> Fingerprint:
        _, index = self._api.root_and_index
        home = urlsplit(str(index.get("home") or self._api.site))
        store_id = self._api.environment().get("store_id")
        return Fingerprint(home.netloc.lower() + home.path.rstrip("/"), str(store_id) if store_id else None)

    # --- fetching

    def foresee(self, listings: Sequence[str]) -> None:
        """WooCommerce prepares nothing."""

    def customers(self, cursor: str | None = None) -> Iterator[Page]:  # noqa: ARG002 (no way to ask for changes)
        """Every account of somebody who may be a customer; `cursor` is of no use here.

        Left out are people who work there (`STAFF`) and have neither bought nor said anything about the newsletter.
        """
        if self._settings.consent_meta_key is None:
            raise SetupError(
                f"Shop {self._shop} has no consent key, so nobody could become subscribed and no opt-out would reach it: set "
                "consent_meta_key to the field that the shop's newsletter plugin writes; `shopsync check` names likely ones."
            )
        for page in self._api.walk("/customers", {"role": "all", "_fields": CUSTOMER_FIELDS}):
            # `announced` still counts those who are left out: it is for showing progress, `complete` is the proof.
            yield replace(page, records=[record for record in page.records if self._is_customer(record)])

    def _is_customer(self, record: Record) -> bool:
        return (
            record.get("role") not in STAFF or record.get("is_paying_customer") is True or self._consent.of(record) is not None
        )

    def customer_ids(self) -> Iterator[Page]:
        for page in self._api.walk("/customers", {"role": "all", "_fields": "id"}):
            yield replace(page, records=[{"customer_id": identifier(record.get("id"))} for record in page.records])

    def customers_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        """Whoever exists comes back, staff too: an account that got another role is not deleted."""
        return self._api.by_id("/customers", ids, {"role": "all", "_fields": CUSTOMER_FIELDS})

    def orders(self, cursor: str | None = None) -> Iterator[Page]:
        """By time of change (naive UTC, to the second), up to the newest change at the start, so that it ends in a busy shop.

        Some orders come twice: `modified_after` excludes its own second, so each call overlaps the last one by a second.
        """
        newest = {"orderby": "modified", "order": "desc", "per_page": 1, "_fields": "id,date_modified_gmt"}
        try:
            _, first = self._api.get("/orders", newest)
        except RefusedCall as refusal:
            if refusal.status != 400:
                raise
            yield from self._all_orders(cursor)  # before WooCommerce 5.8, which would ignore modified_after silently
            return
        until = _latest(first)
        reached = since = instant(cursor)
        while True:
            answer, records = self._api.get(
                "/orders",
                {"orderby": "modified", "order": "asc", "per_page": PER_PAGE, "_fields": ORDER_FIELDS} | _after(since),
            )
            latest = _latest(records)
            is_full = len(records) == PER_PAGE
            if is_full and latest is None:
                yield from self._all_orders(cursor)  # imports leave orders that do not say when they changed
                return
            reached = max(filter(None, (reached, latest)), default=None)
            if is_full and latest == since and since is not None:
                yield from self._orders_of_second(since)
                since += timedelta(seconds=1)
                continue
            # An order dated into the future (a wrong clock, an import) must not hide all that change until then.
            cursor = _naive(min(reached, answer.asked_at)) if reached else None
            yield Page(records, answer.asked_at, answer.answered_at, cursor=cursor)
            if not is_full or (until and latest and latest > until):
                return
            since = latest

    def _orders_of_second(self, second: datetime) -> Iterator[Page]:
        """More than a page of orders changed in one second (imports do that): by id, as equal times have no order."""
        before = {"modified_before": _naive(second + timedelta(seconds=1))}
        for page in self._api.walk("/orders", {"_fields": ORDER_FIELDS} | _after(second) | before):
            yield replace(page, cursor=_naive(min(second, page.asked_at)), complete=False)
            proven = page.complete
        if not proven:
            raise TryLater(f"Orders of shop {self._shop} change faster than they can be read; run again later.")

    def _all_orders(self, cursor: str | None) -> Iterator[Page]:
        """The cursor moves only with a listing that missed nothing, to its start, so that it stays true after an update."""
        started: datetime | None = None
        for page in self._api.walk("/orders", {"_fields": ORDER_FIELDS}):
            started = started or page.asked_at
            yield replace(page, cursor=_naive(started) if page.complete else cursor)

    def products_by_id(self, ids: Sequence[str]) -> Iterator[Page]:
        """Products with their variations below `_variations`."""
        for page in self._api.by_id("/products", ids, {"status": "any", "_fields": PRODUCT_FIELDS}):
            for product in page.records:
                if product.get("variations"):
                    product["_variations"] = self._variations(product.get("id"))
            yield page

    def _variations(self, product_id: object) -> list[Record]:
        params = {"orderby": "id", "order": "asc", "_fields": VARIATION_FIELDS}
        try:
            return [row for _, rows in self._api.pages(f"/products/{product_id}/variations", params) for row in rows]
        except RefusedCall as refusal:
            if refusal.status == 404:  # deleted meanwhile
                return []
            raise

    def promo_codes(self) -> Iterator[Page]:
        """Coupons for everybody: one that is tied to addresses is nobody else's business."""
        currency = self._api.currency()
        for page in self._api.walk("/coupons", {"status": "any", "_fields": COUPON_FIELDS}):
            public = [record | {"_currency": currency} for record in page.records if not record.get("email_restrictions")]
            yield replace(page, records=public)

    # --- webhooks

    def webhook(self, headers: Mapping[str, str], body: bytes) -> Webhook | None:
        return hooks.opened(headers, body, self._webhook_secret)

    def notice(self, topic: str, body: bytes) -> Notice:
        return hooks.notice(topic, body)

    def connect_webhooks(self, address: str) -> None:
        hooks.connect(self._api, address, self._webhook_secret)

    def disconnect_webhooks(self, address: str) -> None:
        hooks.disconnect(self._api, address)

    # --- writing

    def send(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        """Writes meta data and nothing else. A guest's `consent` has an "order_id" instead of a "customer_id"."""
        outcomes: dict[str, Outcome] = {}
        for path, group in self._by_path(writes):
            if path == "/orders" and not self.capabilities.guest_consent_write_back:
                sentence = "Opt-outs of guests are kept by shopsync only; set write_guest_consent to write them to orders."
                outcomes |= {write.write_id: Outcome(write.write_id, "skipped", "guest", sentence) for write in group}
            else:
                outcomes |= {outcome.write_id: outcome for outcome in self._send(path, kind, group)}
        return [outcomes[write.write_id] for write in writes]

    def _send(self, path: str, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        metas = [self._meta_of(kind, write) for write in writes]
        # An entry without id replaces the key's first entry and removes its doubles (WC_Data::update_meta_data).
        update = [
            {"id": int(_target(write)), "meta_data": [{"key": k, "value": v} for k, v in meta.items()]}
            for write, meta in zip(writes, metas, strict=True)
        ]
        try:
            answer = self._api.call("POST", f"{path}/batch", json={"update": update})
        except RefusedCall as refusal:
            return [_rejected(write, refusal.code, refusal.message) for write in writes]
        rows = dig(answer.json, "update")
        if not isinstance(rows, list) or len(rows) != len(writes):
            raise TryLater(f"Shop {self._shop} did not answer for every write; run again, they are looked up first.")
        return [_outcome(write, row, meta) for write, row, meta in zip(writes, rows, metas, strict=True)]

    def held(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        found = []
        for path, group in self._by_path(writes):
            params = {"_fields": "id,meta_data"} | ({"role": "all"} if path == "/customers" else {})
            ids = sorted({_target(write) for write in group})
            records = {str(record.get("id")): record for page in self._api.by_id(path, ids, params) for record in page.records}
            found += [
                Outcome(write.write_id, "acknowledged")
                for write in group
                if _holds(records.get(_target(write)), self._meta_of(kind, write))
            ]
        return found

    def _by_path(self, writes: Sequence[Write]) -> Iterator[tuple[str, list[Write]]]:
        for path in ("/customers", "/orders"):
            if group := [write for write in writes if bool(write.payload.get("order_id")) == (path == "/orders")]:
                yield path, group

    def _meta_of(self, kind: str, write: Write) -> dict[str, str]:
        """What the write puts where; its first entry is what the shop must show afterwards."""
        if kind == "bounce":
            return {BOUNCED_AT: str(write.payload["bounced_at"]), BOUNCE_REASON: str(write.payload.get("reason") or "")}
        if self._settings.consent_meta_key is None:
            raise SetupError(f"Shop {self._shop} has no consent_meta_key, so consent cannot be written back; set it.")
        values = {"subscribed": self._settings.consent_in[0], "unsubscribed": self._settings.consent_out[0]}
        return {self._settings.consent_meta_key: values[write.payload["status"]]}

    # --- shaping

    def to_customers(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_customers(records, self._shop, self._consent)

    def to_orders(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_orders(records, self._shop, self._consent)

    def to_order_lines(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_order_lines(records, self._shop)

    def to_products(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_products(records, self._shop)

    def to_promo_codes(self, records: Sequence[Record]) -> pl.DataFrame:
        return shape_promo_codes(records, self._shop, datetime.now(UTC))


def _outcome(write: Write, row: Any, wanted: Mapping[str, str]) -> Outcome:
    code = text(dig(row, "error", "code"))
    if code and code.endswith("invalid_id"):
        return Outcome(write.write_id, "skipped", "gone", "The shop no longer has this record.")
    if code:
        return _rejected(write, code, text(dig(row, "error", "message")) or "")
    if str(dig(row, "id")) == _target(write) and _holds(row, wanted):
        return Outcome(write.write_id, "acknowledged")
    return _rejected(write, "not_kept", "The shop took the value and does not show it; look for a plugin that changes it.")


def _rejected(write: Write, code: str, message: str) -> Outcome:
    return Outcome(write.write_id, "rejected", code, without_addresses(html.unescape(message)))


def _holds(record: Any, wanted: Mapping[str, str]) -> bool:
    key, value = next(iter(wanted.items()))
    return raw(meta(record, key)) == value


def _target(write: Write) -> str:
    return str(write.payload.get("order_id") or write.payload["customer_id"])


def _latest(records: Iterable[Record]) -> datetime | None:
    return max((at for record in records if (at := instant(record.get("date_modified_gmt")))), default=None)


def _naive(at: datetime) -> str:
    """Without a suffix: together with dates_are_gmt, a Z makes WordPress skip the last hours of a shop east of Greenwich."""
    return at.replace(tzinfo=None).isoformat(timespec="seconds")


def _after(since: datetime | None) -> dict[str, str]:
    """`modified_after` excludes its own second, hence one second earlier."""
    return {"modified_after": _naive(since - timedelta(seconds=1)), "dates_are_gmt": "true"} if since else {}
