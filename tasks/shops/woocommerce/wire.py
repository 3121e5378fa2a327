"""Getting through to a WooCommerce shop: where its API is, how a call proves who we are, listings that prove to be complete.

Facts were observed on WooCommerce 11.0.1, 8.0.0 and 3.9.1 in 2026-11 unless a comment names another source.
"""

from __future__ import annotations

import html
import itertools
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tasks.connector import ConnectorError, Page, Record, RefusedCall, SetupError
from tasks.http import Answer, Api, Patience, Slots
from tasks.oauth import OAuth1
from tasks.shaping import dig, identifier, text, whole

log = logging.getLogger(__name__)

API = "/wc/v3"
ROOTS = ("/wp-json", "/index.php/wp-json")
"""Where WordPress keeps its REST API; the second with plain permalinks. `?rest_route=` answers, but refuses keys."""

PER_PAGE = 100
"""The most that a page, an `include` list and a batch take; 101 is refused."""

SLOTS = 2
"""Calls at the same time. WooCommerce has no rate limit; the merchant's hosting has, and it is never written down."""

WALKS = 3
KEYS_PAGE = "WooCommerce > Settings > Advanced > REST API"


class KeyAuth(httpx.Auth):
    """Basic over https; OAuth 1.0a over http, where WooCommerce ignores everything else.

    Only WooCommerce's part of the API sees the key: WordPress itself would take it for an application password of somebody.
    """

    def __init__(self, key: str, secret: str) -> None:
        self._basic, self._oauth = httpx.BasicAuth(key, secret), OAuth1(key, secret)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if API in request.url.path:
            yield from (self._basic if request.url.scheme == "https" else self._oauth).auth_flow(request)
        else:
            yield request


class ShopApi:
    """The REST API of one shop; `site` is its address without /wp-json. `name` begins our sentences about it.

    Raises what `Api` raises; where the key, the plugins or a firewall are to blame, a `SetupError` that says what to do.
    """

    def __init__(
        self, site: str, *, name: str, auth: KeyAuth, limits: Path, patience: Patience | None, ca_file: Path | None
    ) -> None:
        self.site, self.name = site, name
        self._api = Api(site, name=name, slots=Slots(limits, site, SLOTS), auth=auth, patience=patience, ca_file=ca_file)
        self.close = self._api.close

    @cached_property
    def root_and_index(self) -> tuple[str, Record]:
        """Where the REST API is, and what it tells about itself: found out once, without a key."""
        failures: list[ConnectorError] = []
        for root in ROOTS:
            try:
                index = self._api.get(f"{root}/", {"_fields": "name,home,namespaces"}).json
            except (RefusedCall, SetupError) as error:
                failures.append(error)
                continue
            if "wc/v3" not in (dig(index, "namespaces") or ()):
                raise SetupError(f"WordPress at {self.site} runs no WooCommerce, or one before 3.5: activate or update it.")
            return root, index
        first = failures[0]
        if isinstance(first, SetupError):  # a redirect or a page: of the usual address, not of the other one
            raise first
        if isinstance(first, RefusedCall) and first.status != 404:
            raise SetupError(f"{self.name} {_refused(first, is_tls=True)}") from first
        raise SetupError(
            f"No WordPress REST API at {self.site}: check url; it is the address of the shop's front page."
        ) from first

    def environment(self) -> Record:
        """What the system status says; empty where the key's user may not see it. Single fields spare its slow self-tests."""
        try:
            status = self.call("GET", "/system_status", params={"_fields": "environment.version,environment.store_id"}).json
        except (SetupError, RefusedCall):
            return {}
        found = dig(status, "environment")
        return found if isinstance(found, dict) else {}

    def currency(self) -> str | None:
        """The shop's own currency; of orders only they know it."""
        return text(dig(self.call("GET", "/data/currencies/current", params={"_fields": "code"}).json, "code"))

    def get(self, path: str, params: Mapping[str, Any]) -> tuple[Answer, list[Record]]:
        answer = self.call("GET", path, params=params)
        if not isinstance(answer.json, list):
            raise SetupError(f"{self.name} answers {path} with something else than a list; look for a plugin that alters it.")
        return answer, [record if isinstance(record, dict) else {} for record in answer.json]  # a page keeps its length

    def call(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None) -> Answer:
        root, _ = self.root_and_index
        try:
            return self._api.request(method, f"{root}{API}{path}", params=params, json=json)
        except RefusedCall as refusal:
            is_explained = isinstance(refusal.body, dict) and refusal.code != "rest_no_route"
            if refusal.status in {401, 403} or not is_explained:
                raise SetupError(f"{self.name} {_refused(refusal, is_tls=self.site.startswith('https:'))}") from refusal
            raise

    def by_id(self, path: str, ids: Sequence[str], params: Mapping[str, Any]) -> Iterator[Page]:
        """The records with these ids. Who is missing counts as deleted, so an answer to another question is refused."""
        for start in range(0, len(ids), PER_PAGE):
            # Comma-joined: WooCommerce signs repeated keys in a way of its own.
            asked = ids[start : start + PER_PAGE]
            answer, records = self.get(path, {"include": ",".join(asked), "per_page": PER_PAGE, **params})
            if not {str(_number(record)) for record in records} <= set(asked):
                raise SetupError(
                    f"{self.name} ignores which {path} it is asked for; look for a plugin that alters its answers."
                )
            yield Page(records, answer.asked_at, answer.answered_at, complete=start + PER_PAGE >= len(ids))

    def walk(self, path: str, params: Mapping[str, Any]) -> Iterator[Page]:
        """All records by id. A row deleted during the walk moves those behind it up, and the next page skips one: then again.

        Proof that nothing was skipped: the total on the last page is the total before plus what came to be meanwhile (ids
        above the highest one before), and that many different rows were seen.
        """
        for attempt in range(1, WALKS + 1):
            newest, first = self.get(path, {**params, "orderby": "id", "order": "desc", "per_page": 1, "_fields": "id"})
            before = _total(newest) if first else 0
            highest = max(map(_number, first), default=0)
            seen: set[int] = set()
            announced: int | None = 0
            held: Page | None = None
            for answer, records in self.pages(path, {**params, "orderby": "id", "order": "asc"}):
                if held:
                    yield held
                seen.update(map(_number, records))
                # On WooCommerce 11 a page past the end says that there are no orders at all.
                announced = _total(answer) if records else announced
                held = Page(records, answer.asked_at, answer.answered_at, announced=announced)
            assert held is not None, "the first page is always there"
            came = sum(number > highest for number in seen)
            proven = before is not None and announced == before + came == len(seen)
            yield replace(held, complete=proven)
            if proven:
                return
            log.info("%s: %s changed while they were listed (walk %d of %d)", self.name, path, attempt, WALKS)

    def pages(self, path: str, params: Mapping[str, Any]) -> Iterator[tuple[Answer, list[Record]]]:
        """Pages are counted here: links point to the host that WordPress believes in, which behind a proxy is another."""
        for number in itertools.count(1):
            answer, records = self.get(path, {**params, "per_page": PER_PAGE, "page": number})
            if records or number == 1:
                yield answer, records
            if len(records) < PER_PAGE:
                return


def _refused(refusal: RefusedCall, *, is_tls: bool) -> str:  # noqa: PLR0911 (one sentence a case)
    """What to do about a call that was turned away; the sentence goes on after the shop's name."""
    said = html.unescape(refusal.message).rstrip(".")
    match refusal.code:
        case "woocommerce_rest_authentication_error" if "permission" in said:
            return f"says: {said}. Set the key to Read/Write under {KEYS_PAGE}."
        case "woocommerce_rest_authentication_error" if "signature" in said.lower():
            return (
                f"says: {said}. Check consumer_secret, and that url is the Site Address under WordPress > Settings > General; "
                "over https the address does not matter."
            )
        case "woocommerce_rest_authentication_error":
            return f"says: {said}. Copy consumer_key and consumer_secret again, or make a new key under {KEYS_PAGE}."
        case "woocommerce_rest_cannot_batch":
            # WooCommerce asks for promote_users here, which shop managers do not have (wc_rest_check_user_permissions).
            return "does not let the key's user change customers: make the key for an administrator."
        case code if code.startswith("woocommerce_rest_cannot") and refusal.status == 403:
            return f"does not show this to the key's user: make the key for an administrator under {KEYS_PAGE}."
        case code if code.startswith("woocommerce_rest_cannot") and is_tls:
            return (
                "does not know the key: check consumer_key. If it is right, the server hides https or the Authorization header "
                "from WordPress: have its TLS proxy send X-Forwarded-Proto, and wp-config.php honour it."
            )
        case code if code.startswith("woocommerce_rest_cannot"):
            return f"does not know the key: check consumer_key, or make a new key under {KEYS_PAGE}."
        case "rest_no_route":
            return "has lost this part of WooCommerce's API: look whether WooCommerce is still active."
        case code:
            return f"refuses the call ({refusal.status} {code}): let shopsync through the plugin or firewall before {API}."


def _total(answer: Answer) -> int | None:
    return whole(answer.headers.get("x-wp-total"))


def _number(record: Record) -> int:
    return int(identifier(record.get("id")) or 0)
