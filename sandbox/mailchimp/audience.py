"""One Mailchimp audience: members with their statuses, merge fields, tags; every consent rule of the twin is here.

Facts and their sources: the project's notes on the Marketing API 3.0; what is cited in brackets is where a rule comes from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sandbox.mailchimp.rules import Books
from sandbox.mailchimp.wire import Json, Problem, invalid, is_address, not_found, parse_moment, stamp

SETTABLE = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
PATCHABLE = ("subscribed", "unsubscribed", "cleaned", "pending")  # not transactional [spec]
Source = Literal["user", "admin", "api"]
INVALID_MERGE = "Your merge fields were invalid."
_WORLD_NAMES = {"signed_up_at": "timestamp_signup", "opted_in_at": "timestamp_opt", "changed_at": "last_changed"}
_FAKE = re.compile(
    r"(^(abuse|admin|info|noreply|no-reply|postmaster|test|webmaster)@)|(@|\.)(example|invalid|localhost|test)(\.[a-z]+)?$"
)


def member_hash(email: str) -> str:
    """The key of a member: MD5 of the lower-cased address [spec]."""
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Member:
    """`compliance` is why the API may not subscribe: "unsubscribe", "bounce", "complaint" or "".

    `before_archive` is what the platform knows and does not show [issue MailChimp.Net#529].
    """

    email: str
    key: str
    unique_email_id: str
    contact_id: str
    web_id: int
    status: str
    last_changed: datetime
    compliance: str = ""
    before_archive: str = ""
    unsubscribe_reason: str = ""
    unsubscribed_at: datetime | None = None
    merge: Json = field(default_factory=dict)
    tags: dict[str, datetime] = field(default_factory=dict)
    interests: Json = field(default_factory=dict)
    email_type: str = "html"
    language: str = ""
    vip: bool = False
    latitude: float = 0
    longitude: float = 0
    ip_signup: str = ""
    timestamp_signup: datetime | None = None
    ip_opt: str = ""
    timestamp_opt: datetime | None = None
    source: str = "API - Generic"
    permissions: list[Json] = field(default_factory=list)
    activity: list[Json] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class MergeField:
    merge_id: int
    tag: str
    name: str
    type: str
    required: bool = False
    default_value: str = ""
    public: bool = False
    display_order: int = 1
    options: Json = field(default_factory=dict)
    help_text: str = ""


def _first_fields() -> list[MergeField]:
    """What every new audience has."""
    rows: list[tuple[str, str, str, Json]] = [
        ("ADDRESS", "Address", "address", {"default_country": 164}),
        ("FNAME", "First Name", "text", {"size": 25}),
        ("LNAME", "Last Name", "text", {"size": 25}),
        ("PHONE", "Phone Number", "phone", {"phone_format": "none"}),
        ("BIRTHDAY", "Birthday", "birthday", {"date_format": "MM/DD"}),
    ]
    ids = {"FNAME": 1, "LNAME": 2, "ADDRESS": 3, "PHONE": 4, "BIRTHDAY": 5}
    found = [MergeField(ids[tag], tag, name, kind, options=options) for tag, name, kind, options in rows]
    found.sort(key=lambda f: f.merge_id)
    for order, one in enumerate(found, 2):
        one.display_order = order
    return found


@dataclass
class Audience:
    id: str
    name: str
    books: Books
    settings: Json = field(default_factory=dict)
    double_optin: bool = False
    created: datetime | None = None
    members: dict[str, Member] = field(default_factory=dict)
    contact_ids: dict[str, str] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    throttled: set[str] = field(default_factory=set)
    """Hashes of addresses that signed up to too many lists lately, anywhere."""
    fields: list[MergeField] = field(default_factory=_first_fields)
    tag_ids: dict[str, int] = field(default_factory=dict)
    abuse_reports: list[Json] = field(default_factory=list)
    webhooks: dict[str, Json] = field(default_factory=dict)
    notify: Callable[[Audience, str, Source, Json], None] = lambda audience, kind, source, data: None

    # Finding

    def find(self, name: str) -> Member | None:
        """By hash, address or contact_id [spec]."""
        key = member_hash(name) if "@" in name else name.lower()
        return self.members.get(key) or self.members.get(self.contact_ids.get(key, ""))

    def get(self, name: str) -> Member:
        found = self.find(name)
        if found is None:
            raise not_found()
        return found

    def listed(self) -> Iterator[Member]:
        return (m for m in self.members.values() if m.status != "archived")

    # Checks that come before any change

    def check_address(self, email: str) -> None:
        if not email:
            raise invalid(("email_address", "This value should not be blank."))
        if not is_address(email):
            raise Problem(400, "Invalid Resource", "Please provide a valid email address.")
        if self.books.rules.refuse_fake_addresses and _FAKE.search(email.lower()):
            raise Problem(400, "Invalid Resource", f"{email} looks fake or invalid, please enter a real email address.")

    def check_may_be(self, member: Member | None, email: str, status: str) -> None:
        """Refuse what the platform refuses: forgotten addresses, and lifting a compliance state."""
        if member_hash(email) in self.throttled and status in {"subscribed", "pending"}:
            detail = f"{email} has signed up to a lot of lists very recently; we're not allowing more signups for now"
            raise Problem(400, "Invalid Resource", detail)
        if member is None:
            if member_hash(email) in self.forgotten:  # even `pending` is refused [issue mailchimp-for-wordpress#771]
                raise Problem(
                    400,
                    "Forgotten Email Not Subscribed",
                    f"{email} was permanently deleted and cannot be re-imported. "
                    "The contact must re-subscribe to get back on the list.",
                )
            return
        if member.status == "archived" and not self.books.rules.archive_keeps_compliance:
            return  # un-archiving may re-subscribe an opted-out person [issue jethro-pmm#708]
        lifted = member.compliance and status == "subscribed"
        cleaned = member.compliance == "bounce" and status in {"unsubscribed", "transactional"}
        if lifted or (cleaned and not self.books.rules.cleaned_may_be_unsubscribed):
            raise Problem(
                400,
                "Member In Compliance State",
                f"{email} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed.",
            )

    def check_merge(self, given: Json, member: Member | None, *, skip_required: bool) -> Json:
        """The merge values to keep. Unknown tags are dropped without a word; an empty string empties."""
        errors: list[tuple[str, str]] = []
        kept: Json = {}
        by_tag = {f.tag: f for f in self.fields}
        for tag, value in given.items():
            if type(value) not in (str, int, float, dict):
                raise invalid((f"merge_fields.{tag}", "Data did not match any of the schemas described in anyOf."))
            if tag in by_tag:
                kept[tag] = value
                wrong = value not in ("", {}) and self._wrong_value(by_tag[tag], value)
                if wrong:
                    errors.append((tag, wrong))
        if not skip_required:
            before = member.merge if member else {}
            needed = (f.tag for f in self.fields if f.required)
            errors += [(t, "Please enter a value") for t in needed if kept.get(t, before.get(t, "")) in ("", {})]
        if errors:
            raise invalid(*errors, detail=INVALID_MERGE)
        return kept

    def _wrong_value(self, one: MergeField, value: Any) -> str:
        if one.type == "address":
            needed = ["addr1", "city", "zip"] + (["state"] if self.books.rules.address_needs_state else [])
            whole = isinstance(value, dict) and all(isinstance(value.get(n), str) and value[n].strip() for n in needed)
            return "" if whole else "Please enter a complete address"
        if isinstance(value, dict):
            return "Please enter a value"
        text = str(value)
        if one.type == "number":
            return "" if re.fullmatch(r"\s*-?\d+([.,]\d+)?\s*", text) else "Please enter a number"
        if one.type == "birthday":
            first, second = (31, 12) if one.options.get("date_format") == "DD/MM" else (12, 31)
            parts = re.fullmatch(r"(\d{1,2})[/-](\d{1,2})", text)
            fits = parts and 1 <= int(parts[1]) <= first and 1 <= int(parts[2]) <= second
            return "" if fits else "Please enter a month (01-12) and a day (01-31)"
        if one.type == "date":
            return "" if _is_date(text) else "Please enter the date"
        if one.type == "zip":
            return "" if re.fullmatch(r"\d{5}", text) else "Please enter a zip code (5 digits)"
        if one.type == "phone" and one.options.get("phone_format") == "US":
            return "" if len(re.sub(r"\D", "", text)) == 10 else "Please enter a phone number"
        if one.type in {"url", "imageurl"}:
            return "" if re.fullmatch(r"https?://\S+", text) else "Please enter a valid URL"
        if one.type in {"radio", "dropdown"}:
            return "" if text in one.options.get("choices", []) else "Please pick a value from the list"  # our words
        limit = self.books.rules.merge_text_limit
        return "" if len(text) <= limit else f"Please enter a value no longer than {limit} characters"  # our words

    # Writing

    def write(
        self,
        body: Json,
        *,
        member: Member | None,
        status: str | None,
        source: Source,
        skip_required: bool = False,
        origin: str = "API - Generic",
    ) -> Member:
        """Create or change one member by an API call; `status` None leaves the status of a known one alone."""
        email = body.get("email_address") or (member.email if member else "")
        self.check_address(email)
        if status is not None or member is None:
            self.check_may_be(member, email, status or "")
        if member is not None and member_hash(email) != member.key:
            self._check_new_address(email)
        merge = self.check_merge(body.get("merge_fields", {}), member, skip_required=skip_required)
        if member is None:
            member = self._add(email, origin)
            if status == "subscribed" and self.double_optin and self.books.rules.double_optin_applies_to_api:
                status = "pending"
        elif member_hash(email) != member.key:
            self.rename(member, email, source)
        else:
            member.email = email  # another spelling is no other address
        changed_profile = any(member.merge.get(k, "") != v for k, v in merge.items())
        member.merge |= {k: ("" if v == {} else v) for k, v in merge.items()}
        self._keep_profile(member, body)
        if status is not None:
            self._set_status(member, status, source, opt_given=bool(body.get("timestamp_opt")))
        self.touch(member)
        if changed_profile and status is None:
            self.notify(self, "profile", source, self.webhook_data(member))
        return member

    def _check_new_address(self, email: str) -> None:
        if self.books.rules.address_change_refused:
            raise invalid(("email_address", "This email address cannot be changed."))  # our words
        if member_hash(email) in self.forgotten:
            self.check_may_be(None, email, "")
        other = self.members.get(member_hash(email))
        if other is not None:
            # An archived contact is in the way too [issue MailChimp.Net#201].
            raise invalid(("email address", f'"{email}" is already in this list with a status of "{other.status}".'))

    def _add(self, email: str, origin: str) -> Member:
        number, key, now = next(self.books.serial), member_hash(email), self.books.now()
        unique = hashlib.sha1(f"{key}".encode(), usedforsecurity=False).hexdigest()[:10]
        contact = hashlib.md5(f"{self.id}/{number}".encode(), usedforsecurity=False).hexdigest()
        member = Member(email, key, unique, contact, 500_000_000 + number, "", now, source=origin)
        self.members[key] = member
        self.contact_ids[contact] = key
        return member

    def rename(self, member: Member, email: str, source: Source) -> None:
        """The contact keeps its contact_id, status and history; its key changes with the address."""
        old = member.email
        del self.members[member.key]
        member.email, member.key = email, member_hash(email)
        self.members[member.key] = member
        self.contact_ids[member.contact_id] = member.key
        self.touch(member)
        self.notify(
            self,
            "upemail",
            source,
            {"new_id": member.unique_email_id, "new_email": email, "old_email": old, "list_id": self.id},
        )

    def _keep_profile(self, member: Member, body: Json) -> None:
        for name in ("email_type", "language", "vip", "ip_signup", "ip_opt"):
            if name in body:
                setattr(member, name, body[name])
        for name in ("timestamp_signup", "timestamp_opt"):  # consent proof is writable [spec]
            if body.get(name):
                setattr(member, name, parse_moment(body[name]).replace(microsecond=0))
        if "location" in body:
            member.latitude = body["location"].get("latitude", member.latitude)
            member.longitude = body["location"].get("longitude", member.longitude)
        member.interests |= body.get("interests", {})
        for permission in body.get("marketing_permissions", []):
            rest = [p for p in member.permissions if p["marketing_permission_id"] != permission["marketing_permission_id"]]
            member.permissions = [*rest, {"text": "", **permission}]

    def _set_status(self, member: Member, status: str, source: Source, *, opt_given: bool = False) -> None:
        before, now = member.status, self.books.now()
        if before == "archived" and not self.books.rules.archive_keeps_compliance:
            member.compliance = ""
        member.status, member.before_archive = status, ""
        if status == "pending":  # writing `pending` sends the confirmation mail, each time [spec]
            self.books.mail("confirmation", member.email, self.id)
        if status == before:
            return
        if status == "cleaned":
            member.compliance = "bounce"
        if status == "unsubscribed":
            if self.books.rules.every_unsubscribe_is_final:
                member.compliance = member.compliance or "unsubscribe"
            member.unsubscribed_at = now
            member.activity.append({"activity_type": "unsub", "created_at_timestamp": stamp(now), "admin": source == "admin"})
        if status == "subscribed":
            member.unsubscribe_reason, member.unsubscribed_at = "", None
            member.activity.append({"activity_type": "signup", "created_at_timestamp": stamp(now)})
            self._welcome(member)
        # Everybody added by the API gets a timestamp_opt, those who never opted in too; only who has to confirm waits for it.
        if not opt_given and status != "pending" and (status == "subscribed" or member.timestamp_opt is None):
            member.timestamp_opt = now
        if before in {"", "transactional", "archived", "unsubscribed", "pending", "cleaned"} and status == "subscribed":
            self.notify(self, "subscribe", source, self.webhook_data(member))
        elif status == "unsubscribed" and before in {"subscribed", "pending"}:
            self.notify(self, "unsubscribe", source, self.webhook_data(member) | {"action": "unsub", "reason": "manual"})
        elif status == "cleaned":
            self.notify(self, "cleaned", source, self._cleaned_data(member, "hard"))

    def _welcome(self, member: Member) -> None:
        """Journeys start for a newly subscribed contact unless a connected store says is_syncing [spec]."""
        if self.books.rules.automations and not self.books.is_syncing(self.id):
            self.books.mail("welcome", member.email, self.id)

    def touch(self, member: Member) -> None:
        member.last_changed = self.books.now()

    def archive(self, member: Member, source: Source) -> None:
        stuck = {"archived"} if self.books.rules.cleaned_may_be_archived else {"archived", "cleaned", "pending"}
        if source == "api" and member.status in stuck:
            raise Problem(405, "Method Not Allowed", "This list member cannot be removed.  Please contact support.")
        was = member.status
        member.before_archive, member.status = was, "archived"
        self.touch(member)
        if was == "subscribed":
            self.notify(self, "unsubscribe", source, self.webhook_data(member) | {"action": "delete", "reason": "manual"})

    def forget(self, member: Member, source: Source) -> None:
        """delete-permanent: nothing is left but the refusal to take the address again."""
        del self.members[member.key]
        del self.contact_ids[member.contact_id]
        self.forgotten.add(member.key)
        if member.status == "subscribed":
            self.notify(self, "unsubscribe", source, self.webhook_data(member) | {"action": "delete", "reason": "manual"})

    def set_tags(self, member: Member, active: list[str], inactive: list[str], *, is_syncing: bool = False) -> None:
        now = self.books.now()
        for name in active:
            self.tag_ids.setdefault(name, 10_000 + next(self.books.serial))
            if name not in member.tags:
                member.tags[name] = now
                held = is_syncing or self.books.is_syncing(self.id)
                if (
                    self.books.rules.tag_journeys
                    and self.books.rules.automations
                    and member.status == "subscribed"
                    and not held
                ):
                    self.books.mail("tag_journey", member.email, self.id, tag=name)
        for name in inactive:
            member.tags.pop(name, None)
        self.touch(member)

    # What people and the merchant do

    def self_unsubscribe(self, member: Member, reason: str) -> None:
        was = member.status
        member.status, member.compliance, member.unsubscribe_reason = "unsubscribed", "unsubscribe", reason
        member.unsubscribed_at = now = self.books.now()
        member.activity.append({"activity_type": "unsub", "created_at_timestamp": stamp(now), "admin": False, "reason": reason})
        self.touch(member)
        if was != "unsubscribed":
            self.notify(self, "unsubscribe", "user", self.webhook_data(member) | {"action": "unsub", "reason": "manual"})

    def complain(self, member: Member) -> None:
        """A spam report unsubscribes and leaves an abuse report."""
        was = member.status
        member.status, member.compliance, member.unsubscribe_reason = "unsubscribed", "complaint", "abuse"
        member.unsubscribed_at = now = self.books.now()
        self.abuse_reports.append(
            {"id": next(self.books.serial), "email_id": member.key, "email_address": member.email, "date": stamp(now)}
        )
        member.activity.append(
            {"activity_type": "unsub", "created_at_timestamp": stamp(now), "admin": False, "reason": "abuse"}
        )
        self.touch(member)
        if was != "unsubscribed":
            self.notify(self, "unsubscribe", "user", self.webhook_data(member) | {"action": "unsub", "reason": "abuse"})

    def clean(self, member: Member) -> None:
        """A hard bounce, or one soft bounce too many."""
        member.status, member.compliance = "cleaned", "bounce"
        member.activity.append(
            {"activity_type": "bounce", "created_at_timestamp": stamp(self.books.now()), "bounce_type": "hard"}
        )
        self.touch(member)
        self.notify(self, "cleaned", "admin", self._cleaned_data(member, "hard"))

    def self_subscribe(self, email: str, merge: Json) -> Member:
        """The platform's own form: the only way back for a forgotten address, and it lifts a compliance state."""
        self.check_address(email)
        key = member_hash(email)
        self.forgotten.discard(key)
        member = self.members.get(key) or self._add(email, "Hosted Signup Form")
        member.merge |= merge
        member.timestamp_signup = self.books.now()
        self.touch(member)
        if self.double_optin:
            self._set_status(member, "pending", "user")
        else:
            self.confirm(member)
        return member

    def confirm(self, member: Member) -> None:
        """The person followed the link in the confirmation mail."""
        member.compliance = ""
        self._set_status(member, "subscribed", "user")
        member.timestamp_opt = self.books.now()
        self.touch(member)

    def edit(self, member: Member, merge: Json) -> None:
        member.merge |= merge
        self.touch(member)
        self.notify(self, "profile", "user", self.webhook_data(member))

    def admin_set(self, member: Member, status: str) -> None:
        self._set_status(member, status, "admin")
        self.touch(member)

    def load(self, given: Json) -> None:
        """A contact from before, written without any of the consequences; see `Mailchimp.load_contacts`."""
        given = {_WORLD_NAMES.get(name, name): value for name, value in given.items()}
        email, status = given["email"], given.get("status", "subscribed")
        member = self.members.get(member_hash(email)) or self._add(email, given.get("source", "Import"))
        member.status = status
        member.compliance = {"cleaned": "bounce"}.get(status, "")
        member.before_archive = "subscribed" if status == "archived" else ""
        if status == "unsubscribed" and given.get("unsubscribed_by", "self") == "self":
            reason = given.get("unsubscribe_reason") or ""
            member.unsubscribe_reason, member.compliance = reason, "complaint" if reason == "abuse" else "unsubscribe"
        names = {"FNAME": given.get("first_name"), "LNAME": given.get("last_name")}
        member.merge |= {k: v for k, v in names.items() if v} | (given.get("merge_fields") or {})
        for name in ("language", "vip", "ip_signup", "ip_opt"):
            if given.get(name):
                setattr(member, name, given[name])
        for name in ("timestamp_signup", "timestamp_opt", "last_changed"):
            if given.get(name):
                setattr(member, name, _moment(given[name]))
        if status == "unsubscribed":
            member.unsubscribed_at = _moment(given["unsubscribed_at"]) if given.get("unsubscribed_at") else member.last_changed
        for tag in given.get("tags") or ():
            self.tag_ids.setdefault(tag, 10_000 + next(self.books.serial))
            member.tags.setdefault(tag, member.last_changed)

    # Showing

    def webhook_data(self, member: Member) -> Json:
        merges = {"EMAIL": member.email, **{f.tag: member.merge.get(f.tag, "") for f in self.fields}}
        return {
            "id": member.unique_email_id,
            "email": member.email,
            "email_type": member.email_type,
            "ip_opt": member.ip_opt,
            "web_id": str(member.web_id),
            "merges": merges,
            "list_id": self.id,
        }

    def _cleaned_data(self, member: Member, reason: str) -> Json:
        return {"list_id": self.id, "campaign_id": "", "reason": reason, "email": member.email}

    def merge_values(self, member: Member) -> Json:
        return {f.tag: member.merge.get(f.tag, "") for f in self.fields}

    def show(self, member: Member, ask_base: str = "", money: Json | None = None) -> Json:
        merge = self.merge_values(member)
        shown: Json = {
            "id": member.key,
            "email_address": member.email,
            "unique_email_id": member.unique_email_id,
            "contact_id": member.contact_id,
            "full_name": f"{merge.get('FNAME', '')} {merge.get('LNAME', '')}".strip(),
            "web_id": member.web_id,
            "email_type": member.email_type,
            "status": member.status,
            "consents_to_one_to_one_messaging": True,
            "sms_phone_number": "",
            "sms_subscription_status": "nonsubscribed",
            "sms_subscription_last_updated": "",
            "merge_fields": merge,
            "interests": member.interests,
            "stats": {"avg_open_rate": 0, "avg_click_rate": 0},
            "ip_signup": member.ip_signup,
            "timestamp_signup": stamp(member.timestamp_signup),
            "ip_opt": member.ip_opt,
            "timestamp_opt": stamp(member.timestamp_opt),
            "member_rating": 2,
            "last_changed": stamp(member.last_changed),
            "language": member.language,
            "vip": member.vip,
            "email_client": "",
            "location": {
                "latitude": member.latitude,
                "longitude": member.longitude,
                "gmtoff": 0,
                "dstoff": 0,
                "country_code": "",
                "timezone": "",
                "region": "",
            },
            "marketing_permissions": member.permissions,
            "source": member.source,
            "tags_count": len(member.tags),
            # An answer shows at most 50 tags [spec]; the others only through the tags endpoint.
            "tags": [{"id": self.tag_ids[t], "name": t} for t in list(member.tags)[:50]],
            "list_id": self.id,
            "_links": [
                {"rel": "self", "href": f"{ask_base}/lists/{self.id}/members/{member.key}", "method": "GET"},
            ],
        }
        if money:
            shown["stats"]["ecommerce_data"] = money
        # Only somebody who left on their own has a reason; one set by the API or the merchant has none.
        if member.status == "unsubscribed" and member.unsubscribe_reason:
            shown["unsubscribe_reason"] = member.unsubscribe_reason
        return shown


def _moment(given: str | datetime) -> datetime:
    found = parse_moment(given) if isinstance(given, str) else given.astimezone(UTC)
    return found.replace(microsecond=0)


def _is_date(text: str) -> bool:
    if re.fullmatch(r"\d{1,2}/\d{1,2}/\d{4}", text):
        month, day = (int(p) for p in text.split("/")[:2])
        return 1 <= month <= 12 and 1 <= day <= 31
    try:
        parse_moment(text)
    except ValueError:
        return False
    return True
