"""Mailchimp's words and ours, in both directions: pure functions, no network.

Facts: Marketing API 3.0 description and its pages, read 2026-11-22; where no page says it, the comment names who reported it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson
import polars as pl

from tasks.addresses import with_address, with_sms_address, without_addresses
from tasks.connector import Outcome, Record, Write
from tasks.esps.mailchimp.batches import Result


@dataclass(frozen=True)
class MergeField:
    """One of our profile fields as Mailchimp has it; a merge tag has at most 10 characters."""

    tag: str
    label: str
    type: str = "text"


MERGE_FIELDS: Final = {
    "first_name": MergeField("FNAME", "First Name"),
    "last_name": MergeField("LNAME", "Last Name"),
    "language": MergeField("LANGUAGE", "Language"),
    "country": MergeField("COUNTRY", "Country"),
    "city": MergeField("CITY", "City"),
    "postcode": MergeField("POSTCODE", "Postcode"),
    "phone": MergeField("PHONE", "Phone Number", "phone"),
    "customer_group": MergeField("CUSTGROUP", "Customer group"),
    "orders_count": MergeField("ORDERS", "Number of orders", "number"),
    "total_spent": MergeField("SPENT", "Total spent", "number"),
    "currency": MergeField("CURRENCY", "Currency"),
    "first_ordered_on": MergeField("FIRSTORDER", "First order", "date"),
    "last_ordered_on": MergeField("LASTORDER", "Last order", "date"),
}

TO_STATUS: Final = {
    "subscribed": "subscribed",
    "pending": "pending",
    "not_subscribed": "transactional",
    "unsubscribed": "unsubscribed",
    "complained": "unsubscribed",  # Mailchimp has no status for it
    "bounced": "cleaned",
}
FROM_STATUS: Final = {
    "subscribed": "subscribed",
    "pending": "pending",
    "transactional": "not_subscribed",
    "unsubscribed": "unsubscribed",
    "cleaned": "bounced",
    "archived": "deleted",
}
FROM_SMS_STATUS: Final = {
    "subscribed": "subscribed",
    "pending": "pending",
    "nonsubscribed": "not_subscribed",
    "unsubscribed": "unsubscribed",
}
# Published answers say "N/A (Unsubscribed by an admin)" and "N/A (Unsubscribed by admin)", for the API's doing as well. Nobody
# published the word for a complaint; the survey's own ("Spammy content") counts as one, which is the careful reading.
BY_ADMIN: Final = r"(?i)unsubscribed by (an )?admin"
COMPLAINT: Final = r"(?i)\b(spam|abuse)"

TEXT_LIMIT: Final = 255
"""Bytes of a text merge value. Not in the description; clients report 255."""


def member_hash(email: str) -> str:
    """The name of a member in paths: MD5 of the lower-cased address. It is an id, not a secret."""
    return hashlib.md5(email.strip().lower().encode(), usedforsecurity=False).hexdigest()


def stamp(at: datetime) -> str:
    """With fractions of a second the time filters are ignored and everything comes back (MailChimp.Net issue 525)."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def moment(text: Any) -> datetime | None:
    """An instant in ISO 8601, or None for whatever else stands there."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError):
        return None


# From Mailchimp


def to_contacts(records: Sequence[Record]) -> pl.DataFrame:
    """Shape members; one row per record, columns as in `schemas.esp.Contacts`. Never raises: validation refuses garbage.

    `contact_id` is Mailchimp's contact_id, which survives a change of the address (the `id` is a hash of it). Mailchimp states
    no time for a status: `status_at` is null, and `last_changed` moves with every edit. `timestamp_opt` stands on people who
    never opted in as well, so only those who are or were subscribers get an `opted_in_at`. Archived members do not show what
    they were before. At most 50 tags are shown. What Mailchimp knows about text messages can be read and not written.
    """
    names = (
        *("contact_id", "id", "email_address", "status", "unsubscribe_reason", "timestamp_opt", "last_changed"),
        *("sms_phone_number", "sms_subscription_status", "sms_subscription_last_updated"),
    )
    members = [record if isinstance(record, dict) else {} for record in records]
    raw = pl.DataFrame(
        {name: [_text(member.get(name)) for member in members] for name in names}
        | {"fields": [_fields(m.get("merge_fields")) for m in members], "tags": [_tags(m.get("tags")) for m in members]},
        schema=dict.fromkeys((*names, "fields", "tags"), pl.String),
    )
    reason = pl.col("unsubscribe_reason")
    opted_out = pl.col("status") == "unsubscribed"
    return raw.with_columns(
        status=pl.when(opted_out & reason.str.contains(COMPLAINT))
        .then(pl.lit("complained"))
        .otherwise(pl.col("status").replace(FROM_STATUS))
    ).select(
        pl.coalesce("contact_id", "id").alias("contact_id"),
        pl.col("email_address").alias("email"),
        with_address(pl.col("email_address")),
        "status",
        pl.when(pl.col("status").is_in(["unsubscribed", "complained"]))
        .then(pl.when(reason.str.contains(BY_ADMIN)).then(pl.lit("merchant")).when(reason.is_not_null()).then(pl.lit("self")))
        .alias("actor"),
        reason.alias("reason"),
        pl.when(pl.col("status").is_in(["subscribed", "unsubscribed", "complained", "bounced"]))
        .then(_instant("timestamp_opt"))
        .alias("opted_in_at"),
        pl.lit(None, pl.Datetime("us", "UTC")).alias("status_at"),
        _instant("last_changed").alias("changed_at"),
        with_sms_address(pl.col("sms_phone_number"), pl.lit(None)),
        pl.col("sms_subscription_status").replace_strict(FROM_SMS_STATUS, default=None).alias("sms_status"),
        _instant("sms_subscription_last_updated").alias("sms_status_at"),
        "fields",
        "tags",
    )


def _instant(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%+", strict=False, time_unit="us", time_zone="UTC")


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value) or None


def _fields(merge: Any) -> str:
    values = merge if isinstance(merge, dict) else {}
    return orjson.dumps({name: _ours(name, values.get(field.tag)) for name, field in MERGE_FIELDS.items()}).decode()


def _ours(name: str, value: Any) -> str | int | None:
    text = _text(value)
    if text is None or MERGE_FIELDS[name].type != "number":
        return text
    number = _decimal(text)
    if number is None:
        return None
    return int(number) if name == "orders_count" else f"{number:f}"


def _tags(tags: Any) -> str:
    named = [tag.get("name") for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
    return orjson.dumps(sorted(name for name in named if isinstance(name, str))).decode()


def _decimal(value: Any) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


# To Mailchimp


def merge_values(fields: Mapping[str, Any], usable: Collection[str]) -> Record:
    """Our fields as merge values, as far as the audience has a usable field for them; null empties."""
    return {MERGE_FIELDS[name].tag: _theirs(name, value) for name, value in fields.items() if name in usable}


def _theirs(name: str, value: Any) -> str | float:
    if value is None:
        return ""
    if MERGE_FIELDS[name].type == "number":
        number = _decimal(value)
        return "" if number is None else int(number) if number == number.to_integral_value() else float(number)
    # One value that is too long would refuse the whole contact.
    return str(value).encode()[:TEXT_LIMIT].decode(errors="ignore")


def usable_fields(merge_fields: Sequence[Record]) -> set[str]:
    """Those of our fields that the audience takes as we send them. One value of a wrong form refuses the whole contact.

    A phone field in US form takes ten digits and nothing else; a text field takes everything.
    """
    kinds = {field.get("tag"): field for field in merge_fields}

    def fits(wanted: MergeField) -> bool:
        found = kinds.get(wanted.tag, {})
        is_us_phone = found.get("type") == "phone" and (found.get("options") or {}).get("phone_format") == "US"
        return found.get("type") in {wanted.type, "text"} and not is_us_phone

    return {name for name, wanted in MERGE_FIELDS.items() if fits(wanted)}


def profile_body(payload: Record, usable: Collection[str]) -> Record:
    """Merge values, and the language that Mailchimp translates its own pages by."""
    language = payload["fields"].get("language")
    return {"merge_fields": merge_values(payload["fields"], usable)} | ({"language": str(language)} if language else {})


def consent_body(payload: Record) -> Record:
    given_at = moment(payload.get("consent_at"))
    proof = {"timestamp_opt": stamp(given_at)} if given_at and payload["status"] == "subscribed" else {}
    return {"email_address": payload["email"], "status": TO_STATUS[payload["status"]]} | proof


def tags_body(payload: Record) -> Record:
    """`is_syncing` keeps automations that start at a tag from firing; {"quiet": false} lets them."""
    tags = [{"name": name, "status": "active"} for name in payload["add"]]
    tags += [{"name": name, "status": "inactive"} for name in payload["remove"]]
    return {"tags": tags, "is_syncing": payload.get("quiet", True)}


def holds(found: Any, wanted: Any) -> bool:
    """Does what Mailchimp shows contain all that we wanted? Lists of things with ids are compared by id."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(found) != len(wanted):
            return False
        if all(isinstance(item, dict) and "id" in item for item in [*found, *wanted]):
            found, wanted = (sorted(items, key=lambda item: str(item["id"])) for items in (found, wanted))
        return all(holds(one, other) for one, other in zip(found, wanted, strict=True))
    return _equal(found, wanted)


def _equal(found: Any, wanted: Any) -> bool:
    """Nothing is the same as an empty text; numbers may come as text, instants in another zone."""
    shown = "" if found is None else found
    if shown == "" or wanted == "" or isinstance(wanted, bool):
        return type(shown) is type(wanted) and bool(shown == wanted)
    if isinstance(wanted, float | int):
        number = _decimal(found)
        return number is not None and abs(number - Decimal(str(wanted))) < Decimal("0.005")
    at = moment(wanted)
    return bool(found == wanted) or (at is not None and moment(found) == at)


# Outcomes

_REFUSALS: Final = (
    ("skipped", "exists", "already a list member|already in this list", "The audience has this contact already."),
    (
        "skipped",
        "compliance",
        "compliance state",
        "Mailchimp keeps this contact as it is until the person confirms by mail (compliance state): needs_confirmation.",
    ),
    (
        "skipped",
        "forgotten",
        "permanently deleted|forgotten email",
        "The contact was deleted for good at Mailchimp; only the person can come back, by a Mailchimp form.",
    ),
    ("rejected", "invalid_address", "valid email address|looks fake", "Mailchimp does not take this address; correct it."),
)
_PASSING = re.compile("a lot of lists very recently", re.IGNORECASE)


def taken(write: Write, found: Record) -> Outcome:
    if write.payload.get("status") == "subscribed" and found.get("status") == "pending":
        sentence = "The audience has double opt-in: the person must confirm by mail."
        return Outcome(write.write_id, "acknowledged", "pending", sentence)
    return Outcome(write.write_id, "acknowledged")


def refused(write: Write, code: str, text: str) -> Outcome | None:
    """What a refusal of one record means; None when the same record may well pass later ("too many lists recently")."""
    if _PASSING.search(text):
        return None
    for state, word, pattern, sentence in _REFUSALS:
        if re.search(pattern, text, re.IGNORECASE):
            return Outcome(write.write_id, state, word, sentence)  # type: ignore[arg-type]
    return Outcome(write.write_id, "rejected", code, without_addresses(text))


def outcomes(kind: str, writes: Sequence[Write], results: dict[str, Result]) -> list[Outcome]:
    """One for each write that was answered for good; the others stay "sent" and are looked up."""
    return [o for w in writes if (r := results.get(w.write_id)) and not r.is_passing and (o := _outcome(kind, w, r))]


def _outcome(kind: str, write: Write, result: Result) -> Outcome | None:
    if result.is_good:
        return taken(write, result.body)
    if result.status == 404:
        return Outcome(write.write_id, "skipped", "gone", "Mailchimp does not know this record any more.")
    if result.status == 405 and kind == "archive":
        sentence = "Mailchimp does not archive it: it is archived already, cleaned, or waits for a confirmation."
        return Outcome(write.write_id, "skipped", "not_archivable", sentence)
    return refused(write, result.code, result.text)
