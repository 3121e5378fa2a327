"""What `shopsync check` finds out about a WooCommerce shop, without changing anything in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from tasks.connector import Finding, RefusedCall, SetupError, TryLater
from tasks.shaping import dig, items, text
from tasks.shops.woocommerce.wire import PER_PAGE, ShopApi

LIKELY = re.compile("newsletter|subscri|opt_?in|marketing", re.IGNORECASE)
OTHERS = ("mailchimp", "klaviyo", "mailpoet", "omnisend", "brevo", "sendinblue", "cleverreach")


def check(api: ShopApi, consent_key: str | None) -> list[Finding]:
    """Raises SetupError where nothing can work: no API, no key, no permission to read."""
    for what in ("customers", "orders", "products"):
        api.get(f"/{what}", {"per_page": 1, "_fields": "id"})
    return [
        Finding("ok", f"WooCommerce answers at {api.site}, and the key may read customers, orders and products."),
        *_writing(api),
        *_consent(api, consent_key),
        *_version(api),
        *_surroundings(api),
    ]


def _writing(api: ShopApi) -> Iterator[Finding]:
    """A batch of nothing is refused for every reason for which a batch of changes is, and changes nothing."""
    try:
        api.call("POST", "/customers/batch", json={})
        yield Finding("ok", "The key may write opt-outs and bounces back to customers.")
    except (SetupError, RefusedCall, TryLater) as error:
        yield Finding("error", f"Nothing can be written back to the shop: {error}")


def _consent(api: ShopApi, key: str | None) -> Iterator[Finding]:
    newest = {"role": "all", "orderby": "id", "order": "desc", "per_page": PER_PAGE, "_fields": "id,meta_data"}
    _, records = api.get("/customers", newest)
    keys = [{name for entry in items(record, "meta_data") if (name := text(dig(entry, "key")))} for record in records]
    if key is None:
        likely = sorted(name for name in set().union(*keys) if LIKELY.search(name))
        seen = f" Likely fields in this shop: {', '.join(likely[:5])}." if likely else ""
        yield Finding(
            "error",
            "There is no consent key: without it nobody can become subscribed and no opt-out reaches the shop; set "
            f"consent_meta_key to the field that the shop's newsletter plugin writes.{seen}",
        )
    elif keys and not any(key in names for names in keys):
        yield Finding(
            "warning",
            f"None of the newest {len(keys)} customers has the field {key}: look how the shop's newsletter plugin spells it.",
        )


def _version(api: ShopApi) -> Iterator[Finding]:
    version = api.environment().get("version")
    try:
        api.get("/orders", {"orderby": "modified", "per_page": 1, "_fields": "id"})
        yield Finding("ok", f"WooCommerce {version or 'of a version it does not tell us'} lists orders by change.")
    except RefusedCall:
        sentence = "is older than 5.8, so every sync lists all orders: update it if they are many."
        yield Finding("warning", f"WooCommerce {version or ''} {sentence}".replace("  ", " "))


def _surroundings(api: ShopApi) -> Iterator[Finding]:
    _, index = api.root_and_index
    names = " ".join(text(name) or "" for name in items(index, "namespaces")).lower()
    for other in OTHERS:
        if other in names:
            sentence = f"A plugin of {other} is active in this shop: switch off its syncing, or the two overwrite each other."
            yield Finding("warning", sentence)
    site = urlsplit(api.site)
    if site.scheme == "http" and site.hostname not in {"127.0.0.1", "localhost", "::1"}:
        yield Finding("warning", "Customers' data travel readable over http: give the shop https, and url its new address.")
