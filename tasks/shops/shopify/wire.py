"""Getting through to a Shopify shop: what a call costs and when it may be made, what an error means, pages, objects by id.

Sources: shopify.dev on rate limits, versions and status codes (read 2026-11), and answers recorded against development shops
(shopify-draft-proxy, 2026-08).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tasks.addresses import without_addresses
from tasks.connector import ConnectorError, Page, Record, RefusedCall, SetupError, TryLater
from tasks.http import Answer, Api, Patience, Redirected, Slots
from tasks.shaping import dig, instant, items, money, text
from tasks.shops.shopify.queries import SCOPES, Change, Listing, together

log = logging.getLogger(__name__)

VERSION = "2026-07"
"""The newest stable version whose official schema our documents were held against; Shopify supports it until 2027-07-01."""

API = f"/admin/api/{VERSION}/graphql.json"
SLOTS = 4
"""Calls at the same time. Shopify counts cost, not calls; more would only wait for each other's points."""

MOST = 250
"""The most that a page and a list of ids take."""

BLOCK = 50
"""Objects by id and changes in one call: each costs about 12 points of the 1000 that a call may cost."""

OVERLAP = timedelta(minutes=5)
"""How far each reading of changes goes back behind the last one: lists are served by an index that lags behind (recorded: a
customer just made is not in it yet)."""

MOST_PAGED = 20_000
"""Shopify pages through 25,000 objects at most (shopify.dev, API limits)."""

FAILED_AT_SHOPIFY = frozenset({"INTERNAL_SERVER_ERROR", "TIMEOUT"})


REDIRECTED = (
    "{name} redirects our call to {where}: set url to its permanent name, which ends in .myshopify.com; the address that "
    "buyers see does not do. Keys never follow a redirect."
)


class TooCostly(ConnectorError):
    """The call asks for more than one call may cost: ask for less at a time."""


class TooManyChanged(ConnectorError):
    """More has changed since `since` than pages may show."""

    def __init__(self, since: datetime) -> None:
        super().__init__(f"more than {MOST_PAGED} records changed")
        self.since = since


@dataclass(frozen=True)
class Reply:
    """The data of one call. `errors` are those of single mutations in it, by the name of their answer."""

    data: Record
    asked_at: datetime
    answered_at: datetime
    errors: Mapping[str, Record] = field(default_factory=dict)


class ShopApi:
    """The Admin GraphQL API of one shop. `name` begins our sentences about it; `site` is its address.

    Raises what `Api` raises; where the token, its scopes or the shop itself are to blame, a `SetupError` that says what to do.
    """

    def __init__(
        self, site: str, *, name: str, auth: httpx.Auth, limits: Path, patience: Patience | None, ca_file: Path | None
    ) -> None:
        self.site, self.name = site, name
        self.patience = patience or Patience()
        self.restore_rate = 0.0
        self._ready_at = 0.0
        self._page_size = MOST
        self._api = Api(site, name=name, slots=Slots(limits, site, SLOTS), auth=auth, patience=patience, ca_file=ca_file)
        self.close, self.save = self._api.close, self._api.save

    @cached_property
    def scopes(self) -> frozenset[str]:
        """What the app may do in this shop."""
        installation = self.call(SCOPES).data.get("currentAppInstallation")
        return frozenset(handle for scope in items(installation, "accessScopes") if (handle := text(dig(scope, "handle"))))

    def call(self, document: str, variables: Mapping[str, Any] | None = None, *, repeatable: bool = True) -> Reply:
        """One call, made when the shop has points for it. Throttled calls were not carried out, so all of them are repeated."""
        ends_at = time.monotonic() + self.patience.seconds
        wait = self.patience.first_wait
        while True:
            time.sleep(max(0.0, self._ready_at - time.monotonic()))
            answer = self._post({"query": document, "variables": dict(variables or {})}, repeatable=repeatable)
            missing = self._count(answer.json)
            errors = [error for error in items(answer.json, "errors") if isinstance(error, dict)]
            codes = {text(dig(error, "extensions", "code")) for error in errors}
            if "THROTTLED" in codes:
                pause = max(missing, 0.1)
            elif codes & FAILED_AT_SHOPIFY and repeatable:
                pause, wait = wait, wait * 2
            else:
                return self._reply(answer, errors)
            if time.monotonic() + pause > ends_at:
                raise TryLater(
                    f"{self.name} is busy beyond our patience ({', '.join(sorted(filter(None, codes)))}); run again later."
                )
            log.info("%s: %s; trying again in %.1f s", self.name, ", ".join(sorted(filter(None, codes))), pause)
            time.sleep(pause)

    def _post(self, body: Record, *, repeatable: bool) -> Answer:
        try:
            answer = self._api.request("POST", API, json=body, repeatable=repeatable)
        except Redirected as error:
            raise SetupError(REDIRECTED.format(name=self.name, where=error.where)) from error
        except RefusedCall as refusal:
            raise SetupError(f"{self.name} {_refused(refusal, self.site)}") from refusal
        found = answer.headers.get("x-shopify-api-version")
        # Without the header nothing is known; with it, a version out of support shows itself by the one that took its place.
        if found and found != VERSION:
            raise SetupError(f"{self.name} answers with version {found} of its API instead of {VERSION}: update shopsync.")
        if not isinstance(answer.json, dict):
            raise SetupError(f"{self.name} answers with something else than GraphQL: check url.")
        if isinstance(said := answer.json.get("errors"), str):
            raise SetupError(f"{self.name} refuses the call: {without_addresses(said)[:200]}.")
        return answer

    def _count(self, body: Record) -> float:
        """Seconds until the shop has points for this call again; the next call, probably like it, waits as long beforehand."""
        cost = dig(body, "extensions", "cost")
        asked, rate = _number(cost, "requestedQueryCost"), _number(cost, "throttleStatus", "restoreRate")
        missing = max(0.0, asked - _number(cost, "throttleStatus", "currentlyAvailable")) / rate if rate else 0.0
        self.restore_rate = rate or self.restore_rate
        self._ready_at = time.monotonic() + min(missing, self.patience.seconds)
        return missing

    def _reply(self, answer: Answer, errors: Sequence[Record]) -> Reply:
        data = answer.json.get("data")
        single = {}
        for error in errors:
            code = text(dig(error, "extensions", "code")) or "error"
            path = items(error, "path")
            if code == "MAX_COST_EXCEEDED":
                raise TooCostly(f"{self.name} finds a call too costly.")
            if code == "ACCESS_DENIED":
                raise SetupError(f"{self.name} {_denied(error)}")
            if code in FAILED_AT_SHOPIFY:
                raise TryLater(f"{self.name} failed inside ({code}); run again, what was written is looked up first.")
            if not isinstance(data, dict) or len(path) != 1 or not re.fullmatch(r"c[0-9]+", str(path[0])):
                raise SetupError(f"{self.name} refuses our query ({code}: {_said(error)}): update shopsync, or report this.")
            single[str(path[0])] = error
        for search in items(answer.json, "extensions", "search"):
            if warnings := items(search, "warnings"):
                # An unknown filter is ignored: everything would come back and count as changed.
                raise SetupError(f"{self.name} does not understand our search ({_said(warnings[0])}): update shopsync.")
        return Reply(data if isinstance(data, dict) else {}, answer.asked_at, answer.answered_at, single)

    # --- reading

    def by_id(self, listing: Listing, ids: Sequence[str]) -> Iterator[Page]:
        """The objects with these ids; who does not exist any more comes back as null and is left out.

        Who is missing counts as deleted, so an answer that is not about each of them is refused.
        """
        size, start = BLOCK, 0
        while start < len(ids):
            asked = [f"gid://shopify/{listing.type}/{number}" for number in ids[start : start + size]]
            try:
                reply = self.call(listing.by_id(), {"ids": asked})
            except TooCostly:
                size = self._less(size)
                continue
            nodes = items(reply.data, "nodes")
            if len(nodes) != len(asked):
                raise TryLater(f"{self.name} does not answer for each id it is asked about; run again later.")
            start += size
            records = [record for record in nodes if isinstance(record, dict) and record]
            for record in records:
                self._fetch_children(listing, record)
            yield Page(records, reply.asked_at, reply.answered_at, complete=start >= len(ids))

    def changed(self, listing: Listing, since: datetime) -> Iterator[Page]:
        """What changed since then, in the order of change, up to the time of the first call, so that it ends in a busy shop.

        What changes under way moves behind what is read, and its place is marked by a value and not by a number (cursors hold
        the last time and id), so nothing is skipped.
        """
        after, total, until, reached = None, 0, None, since
        while True:
            variables = {"first": self._page_size, "after": after, "query": changed_since(since - OVERLAP)}
            try:
                reply = self.call(listing.paged(), variables)
            except TooCostly:
                self._page_size = self._less(self._page_size)
                continue
            if not isinstance(dig(reply.data, listing.root, "nodes"), list):
                raise TryLater(f"{self.name} answers without the list it was asked for; run again later.")
            until = until or reply.asked_at
            records = [record for record in reply.data[listing.root]["nodes"] if isinstance(record, dict)]
            for record in records:
                self._fetch_children(listing, record)
            latest = max((at for record in records if (at := instant(record.get("updatedAt")))), default=since)
            reached = max(reached, latest)
            yield Page(records, reply.asked_at, reply.answered_at, cursor=reached.isoformat())
            total += len(records)
            more = dig(reply.data, listing.root, "pageInfo")
            if not dig(more, "hasNextPage") or latest > until:
                return
            if total >= MOST_PAGED:
                raise TooManyChanged(reached)
            after = dig(more, "endCursor")

    def _fetch_children(self, listing: Listing, record: Record) -> None:
        """The children beyond those that came along."""
        while listing.children and dig(record, listing.children, "pageInfo", "hasNextPage"):
            after = dig(record, listing.children, "pageInfo", "endCursor")
            reply = self.call(listing.more_children(), {"id": record["id"], "after": after})
            more = dig(reply.data, "node", listing.children)
            if not isinstance(more, dict):  # deleted meanwhile
                return
            record[listing.children] = more | {"nodes": [*items(record, listing.children, "nodes"), *items(more, "nodes")]}

    def _less(self, size: int) -> int:
        if size == 1:
            raise SetupError(f"{self.name} finds even a single record too costly: report this.")
        log.info("%s: asking for %d at a time instead of %d", self.name, size // 2, size)
        return size // 2

    # --- writing

    def change(self, changes: Sequence[Change], *, repeatable: bool) -> list[Record]:
        """The answers to these mutations, in their order; a mutation that failed as a whole answers with `userErrors` too."""
        answers: list[Record] = []
        for start in range(0, len(changes), BLOCK):
            answers += self._change(changes[start : start + BLOCK], repeatable=repeatable)
        return answers

    def _change(self, changes: Sequence[Change], *, repeatable: bool) -> list[Record]:
        try:
            reply = self.call(*together(changes), repeatable=repeatable)
        except TooCostly:
            half = self._less(len(changes))
            parts = changes[:half], changes[half:]
            return [answer for part in parts for answer in self._change(part, repeatable=repeatable)]
        return [_answer(reply, f"c{number}") for number in range(len(changes))]


def changed_since(at: datetime) -> str:
    """For `query:`, where a time must stand in quotes: its colons mean something else there."""
    return f"updated_at:>='{at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}'"


def first_error(answer: Record) -> tuple[str, str] | None:
    """Code and words of what a mutation was refused for."""
    error = next(iter(items(answer, "userErrors")), None)
    return (text(dig(error, "code")) or "refused", _said(error)) if error else None


def _answer(reply: Reply, name: str) -> Record:
    if found := reply.data.get(name):
        return dict(found)
    error = reply.errors.get(name, {})
    code = text(dig(error, "extensions", "code"))
    return {"userErrors": [{"code": code, "message": text(dig(error, "message")) or "no answer"}]}


def _number(node: Any, *path: str) -> float:
    return float(money(dig(node, *path)) or 0)


def _said(error: Any) -> str:
    return without_addresses(text(dig(error, "message")) or "no reason given").rstrip(".")[:200]


def _denied(error: Record) -> str:
    """The scope is named where Shopify names it; refusals over personal data link to the page about them."""
    said = f"{dig(error, 'extensions', 'requiredAccess') or ''} {dig(error, 'message') or ''}"
    if "protected" in said.lower():
        return (
            "does not show personal data to this app: ask for access to protected customer data (name, e-mail, phone, address) "
            "in the app's settings at Shopify."
        )
    scopes = re.findall(r"`?\b((?:read|write)_\w+)\b`?", said)
    what = f"the scope {scopes[0]}" if scopes else f"a scope ({_said(error)})"
    return f"refuses because the app lacks {what}: add it to the app, and approve it in the shop's admin."


def _refused(refusal: RefusedCall, site: str) -> str:
    """What to do about a call that was turned away; the sentence goes on after the shop's name. [status codes: memory]"""
    body = refusal.body if isinstance(refusal.body, dict) else {}
    said = without_addresses(text(body.get("errors")) or refusal.message or refusal.code).rstrip(".")[:200]
    match refusal.status:
        case 401:
            return "does not accept our token: set a new access_token, or install the app in the shop again."
        case 402:
            return "is frozen until its owner has paid Shopify: nothing can be read from it meanwhile."
        case 403:
            return f"forbids the call ({said}): look whether the app is still installed and the shop still open."
        case 404:
            return f"does not exist at {site}, or is closed: check url; it is the permanent name, which ends in .myshopify.com."
        case 423:
            return "is locked by Shopify: its owner has to write to Shopify's support."
        case status:
            return f"refuses the call ({status}: {said}): check url and the app's access."
