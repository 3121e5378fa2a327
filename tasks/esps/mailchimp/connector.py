"""Mailchimp (Marketing API 3.0): one audience, and the e-commerce store behind it.

Facts: Mailchimp's API description and its pages, read 2026-11-22; what only clients reported is marked where it matters.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import httpx
import polars as pl
from pydantic import BaseModel, ConfigDict, SecretStr

from tasks.addresses import to_address
from tasks.connector import (
    EspCapabilities,
    Finding,
    Outcome,
    Page,
    Record,
    RefusedCall,
    SetupError,
    StoreState,
    TryLater,
    Write,
)
from tasks.esps.mailchimp import words
from tasks.esps.mailchimp.batches import MOST_OPERATIONS, REFUSED_WHOLE, Batches, Operation, Result
from tasks.esps.mailchimp.store import KINDS, OURS, Stores, body_of, path_of, set_up
from tasks.esps.mailchimp.walk import MOST, pages
from tasks.http import Answer, Api, Patience, Slots


class MailchimpSettings(BaseModel):
    """What a connection says about its Mailchimp audience."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Literal["mailchimp"]
    api_key: SecretStr
    list_id: str | None = None
    base_url: str | None = None
    ca_file: Path | None = None


STATUSES_AT_ONCE = 500
"""As many changes of status are made while we wait, the most that one call takes: a tick at checkout is there at once."""


class Mailchimp:
    """One audience of a Mailchimp account.

    Side effects: which calls could subscribe somebody again or send mail, and why none of them is made by accident.

    - A status is written by the kinds `create` and `status` alone: `create` cannot touch who is there already, `status` carries
      a decision, and nothing else. Only such a decision brings an archived contact back (what it was before archiving cannot
      be read, so nothing else may).
    - `pending` sends a confirmation mail each time it is written: only when a decision says so. A `status` call whose answer
      got lost is therefore looked up and never repeated.
    - `opt_in_status: true` of an e-commerce customer: always false. False makes an address that the audience does not know a
      contact that never opted in (transactional); it changes nobody else.
    - Welcome journeys, order notifications: held back while the store is_syncing (`hold_automations`); journeys that start at a
      tag by `is_syncing` of the call.
    - Deleting for good makes an address unusable for us: `erase` alone does it. `archive` is reversible.
    """

    platform = "mailchimp"
    capabilities = EspCapabilities(
        changed_since=True,
        bounces_visible=True,
        webhooks=True,
        double_opt_in=True,
        sms_consent=False,
        erasure=True,
        writes=("status", "create", "profile", "tags", "archive", "product", "customer", "order"),
        batch_size={"create": 500}
        | dict.fromkeys(("status", "profile", "tags", "archive", "product", "customer", "order"), MOST_OPERATIONS),
        limits="10 calls at the same time to one key, of which shopsync uses at most 8; a batch holds 1,000 writes",
        notes=(
            "People who unsubscribed themselves, bounced or complained come back only by confirming a mail (compliance state).",
            "The time of a status change is not stated, only that of the last edit; a contact shows at most 50 tags.",
            "Cleaned and pending contacts cannot be archived.",
            "Who is erased can never be imported again: they come back only by a form of Mailchimp's own.",
            "Consent to text messages is read and not written: the API takes neither the number nor the consent of a contact.",
        ),
    )

    def __init__(self, settings: MailchimpSettings, *, limits: Path, patience: Patience | None = None) -> None:
        """`limits`: the folder by which processes count their calls under way to one account together."""
        key = settings.api_key.get_secret_value()
        _, dash, center = key.rpartition("-")
        if not settings.base_url and not (dash and center.isalnum()):
            raise SetupError(
                "The Mailchimp API key does not end with its data centre (like -us21); copy it whole, or set base_url."
            )
        base_url = (settings.base_url or f"https://{center}.api.mailchimp.com/3.0").rstrip("/")
        # 10 calls at the same time are allowed to one key; the rest is for the merchant's other programs.
        slots = Slots(limits, f"{base_url}#{hashlib.sha256(key.encode()).hexdigest()}", 8)
        self._patience = patience or Patience()
        self._api = Api(
            base_url,
            name="Mailchimp",
            slots=slots,
            auth=httpx.BasicAuth("shopsync", key),
            patience=self._patience,
            timeout=125.0,  # Mailchimp itself gives up after 120 s
            ca_file=settings.ca_file,
        )
        self._list_id = settings.list_id
        self._batches = Batches(self._ask, self._api.download)
        self._stores = Stores(self._ask, self._batches)
        self._usable: set[str] | None = None

    # Calling

    def _ask(self, method: str, path: str, **options: Any) -> Answer:
        """One call, whose refusals that need somebody's hand come as sentences."""
        for attempt in range(self._patience.attempts):
            try:
                return self._api.request(method, path, **options)
            except RefusedCall as refused:
                if refused.status == 401:
                    raise SetupError("Mailchimp does not accept the API key; make a new one and set api_key.") from refused
                if refused.status == 403 and refused.body is not None:
                    raise SetupError(
                        "Mailchimp denies the API key this call; use a key of a user who may manage the audience, and see "
                        "whether the account is suspended."
                    ) from refused
                if refused.status != 403:
                    raise
                # Without JSON a 403 means what 429 means: too much at once.
                time.sleep(min(self._patience.first_wait * 2**attempt, 30.0))
        raise TryLater("Mailchimp takes no more calls for now; run again later, nothing is lost.")

    def _get(self, path: str, **params: Any) -> Any:
        return self._ask("GET", path, params=params).json

    @property
    def _list(self) -> str:
        if not self._list_id:
            raise SetupError(f"Set list_id to the audience that this connection shall use. {self._audiences()}")
        return f"/lists/{quote(self._list_id, safe='')}"

    def _audiences(self) -> str:
        found = self._get("/lists", count=MOST, fields="lists.id,lists.name").get("lists") or []
        return "The key sees: " + (", ".join(f"{a['name']} ({a['id']})" for a in found) or "no audience") + "."

    def _audience(self) -> Record:
        try:
            found: Record = self._get(self._list, fields="id,name,double_optin,stats.member_count")
        except RefusedCall as refused:
            if refused.status == 404:
                raise SetupError(
                    f"Mailchimp knows no audience {self._list_id}; correct list_id. {self._audiences()}"
                ) from refused
            raise
        return found

    def _all(self, path: str, key: str, fields: str) -> list[Record]:
        found: list[Record] = []
        while True:
            answer = self._get(path, count=MOST, offset=len(found), fields=f"{fields},total_items")
            page: list[Record] = answer.get(key) or []
            found += page
            if not page or len(found) >= answer.get("total_items", 0):
                return found

    # Setting up

    def check(self) -> list[Finding]:
        audience = self._audience()
        count = (audience.get("stats") or {}).get("member_count")
        findings = [Finding("ok", f"Audience {audience['name']} ({audience['id']}) answers; it has {count} subscribers.")]

        def warn(sentence: str) -> None:
            findings.append(Finding("warning", sentence))

        if audience.get("double_optin"):
            warn(
                "The audience asks new subscribers to confirm (double opt-in): whom we add as subscribed may get a mail and "
                "stay pending; switch it off there, or leave the confirmation to Mailchimp and set double_opt_in to esp."
            )
        stores = self._all("/ecommerce/stores", "stores", "stores.id,stores.name,stores.list_id")
        others = [s["name"] for s in stores if s.get("list_id") == self._list_id and not s["id"].startswith(OURS)]
        if others:
            warn(f"Another integration feeds this audience: store {', '.join(others)}. Two connectors fighting lose consent.")
        hooks = self._all(f"{self._list}/webhooks", "webhooks", "webhooks.url")
        if hooks:
            hosts = sorted({urlsplit(hook.get("url", "")).hostname or "unknown" for hook in hooks})
            warn(f"Other programs listen to this audience (webhooks to {', '.join(hosts)}); see that they do not write to it.")
        there = self._merge_fields()
        tags = {field["tag"] for field in there}
        unfit = [f.tag for n, f in words.MERGE_FIELDS.items() if f.tag in tags and n not in words.usable_fields(there)]
        if unfit:
            warn(f"These audience fields have another type than we need and are left alone: {', '.join(unfit)}.")
        return findings

    def _merge_fields(self) -> list[Record]:
        shown = "merge_fields.tag,merge_fields.type,merge_fields.options"
        return self._all(f"{self._list}/merge-fields", "merge_fields", shown)

    def _usable_fields(self) -> set[str]:
        if self._usable is None:
            self._usable = words.usable_fields(self._merge_fields())
        return self._usable

    def prepare(self, store: Record) -> StoreState:
        self._audience()
        there = {field["tag"] for field in self._merge_fields()}
        for wanted in words.MERGE_FIELDS.values():
            if wanted.tag not in there:
                field = {"tag": wanted.tag, "name": wanted.label, "type": wanted.type, "required": False, "public": False}
                set_up(self._ask, "POST", f"{self._list}/merge-fields", field, f"the audience field {wanted.tag}")
        self._usable = None
        return self._stores.prepare(store, self._list_id)

    def hold_automations(self, store_id: str, hold: bool) -> None:
        """The store's `is_syncing`: it stops every automation of the audience that the store feeds."""
        self._stores.hold(store_id, hold)

    # Reading

    def contacts(self, cursor: str | None = None) -> Iterator[Page]:
        self._audience()
        yield from pages(lambda path, **params: self._ask("GET", path, params=params), f"{self._list}/members", cursor)

    def to_contacts(self, records: Sequence[Record]) -> pl.DataFrame:
        return words.to_contacts(records)

    # Writing

    def send(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        if not writes:
            return []
        if kind == "create":
            return self._create(writes)
        if kind == "status" and len(writes) <= STATUSES_AT_ONCE:
            return list(self._send_members(kind, writes))
        if kind in KINDS:
            return words.outcomes(kind, writes, self._stores.send(kind, writes))
        results = self._batches.run([self._member_call(kind, write) for write in writes])
        if any(result.status == 404 for result in results.values()):
            self._audience()  # is it the contacts that are gone, or the audience?
        return words.outcomes(kind, writes, results)

    def _create(self, writes: Sequence[Write]) -> list[Outcome]:
        """A lost answer is no reason to stop: whom Mailchimp has is done, and creating the others cannot change anybody.

        Repeating it blindly would do no harm either, but our own contacts would come back as "exists", and as news.
        """
        try:
            return list(self._send_members("create", writes))
        except TryLater:
            done = self.held("create", writes)
            known = {outcome.write_id for outcome in done}
            return done + list(self._send_members("create", [write for write in writes if write.write_id not in known]))

    def _send_members(self, kind: str, writes: Sequence[Write]) -> Iterator[Outcome]:
        """POST /lists/{id}: many members in one call, each with its own answer.

        With update_existing false (`create`) a contact that is there stays exactly as it is.
        """
        if not writes:
            return
        creates = kind == "create"
        members = [self._new_member(w.payload) if creates else words.consent_body(w.payload) for w in writes]
        try:
            answer = self._ask(
                "POST",
                self._list,
                params={"skip_merge_validation": "true"},
                json={"members": members, "update_existing": not creates},
                repeatable=False,
            ).json
        except RefusedCall as refused:
            if refused.status == 404:
                self._audience()
            if refused.status not in REFUSED_WHOLE:
                raise
            # One odd record makes Mailchimp refuse the whole call: halve it until that one stands alone.
            if len(writes) > 1:
                half = len(writes) // 2
                yield from self._send_members(kind, writes[:half])
                yield from self._send_members(kind, writes[half:])
            elif outcome := words.refused(writes[0], refused.code, f"{refused.code} {refused.message}"):
                yield outcome
            return
        yield from _member_outcomes(writes, answer)

    def _new_member(self, payload: Record) -> Record:
        return words.consent_body(payload) | words.profile_body(payload, self._usable_fields())

    def _member(self, write: Write) -> str:
        return f"{self._list}/members/{words.member_hash(write.payload['email'])}"

    def _member_call(self, kind: str, write: Write) -> Operation:
        path = self._member(write)
        if kind == "status":
            # What POST /lists does with update_existing. PATCH knows no "transactional", and nobody reports that it restores.
            body = words.consent_body(write.payload)
            body["status_if_new"] = body["status"]
            return Operation(write.write_id, "PUT", path, body, {"skip_merge_validation": "true"})
        if kind == "profile":
            # PATCH never creates a contact, leaves out every field that is not in its body, so the status too, and an archived
            # contact stays archived. PUT would create, and POST /lists takes no member without a status.
            body, params = words.profile_body(write.payload, self._usable_fields()), {"skip_merge_validation": "true"}
            return Operation(write.write_id, "PATCH", path, body, params)
        if kind == "tags":
            return Operation(write.write_id, "POST", f"{path}/tags", words.tags_body(write.payload))
        if kind == "archive":
            return Operation(write.write_id, "DELETE", path)
        raise ValueError(f"Mailchimp knows no writes of the kind {kind}")

    def erase(self, email: str, store_ids: Sequence[str]) -> bool:
        """The store's customers and orders name the address as well; they go first, for they are found by it."""
        for store_id in store_ids:
            self._stores.forget(store_id, email)
        path = f"{self._list}/members/{words.member_hash(email)}/actions/delete-permanent"
        try:
            self._ask("POST", path, repeatable=True)
        except RefusedCall as refused:
            if refused.status != 404:
                raise SetupError(
                    f"Mailchimp does not delete the contact for good: {refused.message or refused.code}. Do it there by hand."
                ) from refused
            self._audience()  # is it the contact that is not there, or the audience?
            return False
        return True

    def held(self, kind: str, writes: Sequence[Write]) -> list[Outcome]:
        """Asks for each record, in one batch of GETs: a filter by time would have to know when the writes were sent."""
        if not writes:
            return []
        self._batches.wait_for_earlier()
        params = {"exclude_fields": "_links"}
        paths = {write.write_id: path_of(kind, write) if kind in KINDS else self._member(write) for write in writes}
        found = self._batches.run([Operation(write_id, "GET", path, params=params) for write_id, path in paths.items()])
        if any(write.write_id not in found or found[write.write_id].is_passing for write in writes):
            # "Cannot tell" is not "no": what is there after all would be written twice.
            raise TryLater("Mailchimp did not say what it holds of a record; run again later, it is looked up then.")
        return [
            Outcome(write.write_id, "acknowledged")
            for write in writes
            if self._is_held(kind, write.payload, found[write.write_id])
        ]

    def _is_held(self, kind: str, payload: Record, found: Result) -> bool:
        if kind == "archive":
            return found.status == 404 or found.body.get("status") == "archived"
        if not found.is_good:
            return False
        body = found.body
        if kind in {"create", "status"}:
            # A confirmation mail is not sent twice, and a double opt-in may have made "pending" of a new "subscribed".
            wanted = {words.TO_STATUS[payload["status"]]} | ({"subscribed"} if payload["status"] == "pending" else set())
            wanted |= {"pending"} if kind == "create" and payload["status"] == "subscribed" else set()
            if body.get("status") not in wanted:
                return False
        if kind in {"create", "profile"}:
            return words.holds(body, words.profile_body(payload, self._usable_fields()))
        if kind == "tags":
            shown = {tag.get("name") for tag in body.get("tags") or []}
            is_whole = body.get("tags_count", 0) <= len(shown)
            return (
                shown.issuperset(payload["add"]) and (is_whole or not payload["remove"]) and shown.isdisjoint(payload["remove"])
            )
        return kind == "status" or words.holds(body, body_of(kind, payload))


def _member_outcomes(writes: Sequence[Write], answer: Record) -> Iterator[Outcome]:
    """Answers and questions stand in no order: the address tells which belongs to which. Who is in no list stays open."""
    errors = {to_address(str(error.get("email_address"))): error for error in answer.get("errors") or []}
    members = [*(answer.get("new_members") or []), *(answer.get("updated_members") or [])]
    taken = {to_address(member["email_address"]): member for member in members}
    for write in writes:
        address = to_address(write.payload["email"])
        if error := errors.get(address):
            words_of_it = [str(error.get(part) or "") for part in ("error_code", "error", "field", "field_message")]
            if outcome := words.refused(write, words_of_it[0], " ".join(filter(None, words_of_it))):
                yield outcome
        elif member := taken.get(address):
            yield words.taken(write, member)
