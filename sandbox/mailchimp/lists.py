"""The endpoints below /lists: audiences, members, batch members, tags, merge fields, webhooks, abuse reports, events."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from sandbox.mailchimp.audience import PATCHABLE, SETTABLE, Audience, Member, MergeField, member_hash
from sandbox.mailchimp.rules import Books
from sandbox.mailchimp.wire import (
    Ask,
    Json,
    Problem,
    Routes,
    Schema,
    bad_request,
    check_body,
    invalid,
    not_found,
    only,
    optional,
    stamp,
)

MEMBER: Schema = {
    "email_type": "string",
    "merge_fields": "object",
    "interests": "object",
    "language": "string",
    "vip": "boolean",
    "location": {"latitude": "number", "longitude": "number"},
    "marketing_permissions": [{"marketing_permission_id*": "string", "enabled": "boolean"}],
    "ip_signup": "string",
    "timestamp_signup": "datetime",
    "ip_opt": "string",
    "timestamp_opt": "datetime",
}
POST_MEMBER: Schema = MEMBER | {"email_address*": "string", "status*": SETTABLE, "tags": ["string"]}
# The description requires status_if_new too; the platform asks for it only when the address is new.
PUT_MEMBER: Schema = MEMBER | {"email_address*": "string", "status_if_new": SETTABLE, "status": SETTABLE}
PATCH_MEMBER: Schema = MEMBER | {"email_address": "string", "status": PATCHABLE}
BATCH: Schema = {
    "members*": [MEMBER | {"email_address": "string", "status": SETTABLE, "tags": ["string"]}],
    "sync_tags": "boolean",
    "update_existing": "boolean",
}
BATCH_MOST = 500
# What the answer to POST /lists/{id} does not tell of a member [spec].
NOT_IN_BATCH = {
    "contact_id",
    "full_name",
    "web_id",
    "unsubscribe_reason",
    "consents_to_one_to_one_messaging",
    "sms_phone_number",
    "sms_subscription_status",
    "sms_subscription_last_updated",
    "marketing_permissions",
    "source",
}
TAGS: Schema = {"tags*": [{"name*": "string", "status*": ("active", "inactive")}], "is_syncing": "boolean"}
EVENT: Schema = {"name*": "string", "properties": "object", "is_syncing": "boolean", "occurred_at": "datetime"}
FIELD_TYPES = ("text", "number", "address", "phone", "date", "url", "imageurl", "radio", "dropdown", "birthday", "zip")
MERGE_FIELD: Schema = {
    "tag": "string",
    "name*": "string",
    "type*": FIELD_TYPES,
    "required": "boolean",
    "default_value": "string",
    "public": "boolean",
    "display_order": "integer",
    "options": {
        "default_country": "integer",
        "phone_format": "string",
        "date_format": "string",
        "choices": ["string"],
        "size": "integer",
    },
    "help_text": "string",
}
RESERVED_TAGS = {"EMAIL", "INTERESTS", "UNSUB", "FORWARD", "REWARDS", "ARCHIVE", "USER_URL", "DATE", "LIST", "VCARD"}
EVENTS = ("subscribe", "unsubscribe", "profile", "cleaned", "upemail", "campaign")
SOURCES = ("user", "admin", "api")
WEBHOOK: Schema = {
    "url": "string",
    "events": dict.fromkeys(EVENTS, "boolean"),
    "sources": dict.fromkeys(SOURCES, "boolean"),
    "signing_enabled": "boolean",
}
CONTACT: Schema = {
    "company*": "string",
    "address1*": "string",
    "address2": "string",
    "city*": "string",
    "state*": "string",
    "zip*": "string",
    "country*": "string",
    "phone": "string",
}
LIST: Schema = {
    "name*": "string",
    "contact*": CONTACT,
    "permission_reminder*": "string",
    "use_archive_bar": "boolean",
    "campaign_defaults*": {"from_name*": "string", "from_email*": "string", "subject*": "string", "language*": "string"},
    "notify_on_subscribe": "string",
    "notify_on_unsubscribe": "string",
    "email_type_option*": "boolean",
    "double_optin": "boolean",
    "marketing_permissions": "boolean",
}


def first_settings(name: str) -> Json:
    return {
        "name": name,
        "contact": {
            "company": "Muster GmbH",
            "address1": "Musterweg 1",
            "address2": "",
            "city": "Musterstadt",
            "state": "",
            "zip": "12345",
            "country": "DE",
            "phone": "",
        },
        "permission_reminder": "You signed up in our shop.",
        "use_archive_bar": True,
        "campaign_defaults": {"from_name": "Muster", "from_email": "shop@example.com", "subject": "", "language": "en"},
        "notify_on_subscribe": "",
        "notify_on_unsubscribe": "",
        "email_type_option": False,
        "marketing_permissions": False,
    }


class Lists:
    """All audiences of the account. `money` gives what a contact has spent (e-commerce), or nothing."""

    def __init__(self, books: Books, notify: Callable[[Audience, str, Any, Json], None]) -> None:
        self.books = books
        self.audiences: dict[str, Audience] = {}
        self.money: Callable[[str, str], Json | None] = lambda list_id, email: None
        self.has_store: Callable[[str], bool] = lambda list_id: False
        self._notify = notify

    def add(self, list_id: str, name: str, settings: Json | None = None, *, double_optin: bool = False) -> Audience:
        made = Audience(list_id, name, self.books, settings or first_settings(name), double_optin, self.books.now())
        made.notify = self._notify
        self.audiences[list_id] = made
        return made

    def get(self, list_id: str) -> Audience:
        if list_id not in self.audiences:
            raise not_found()
        return self.audiences[list_id]

    def routes(self, routes: Routes) -> None:
        routes.add("/lists", get=self.list_all, post=self.create)
        routes.add("/lists/{}", get=self.show, patch=self.change, delete=self.delete, post=self.batch)
        routes.add("/lists/{}/members", get=self.members, post=self.add_member)
        member = "/lists/{}/members/{}"
        routes.add(member, get=self.member, put=self.put_member, patch=self.patch_member, delete=self.archive_member)
        routes.add(member + "/actions/delete-permanent", post=self.forget_member)
        routes.add(member + "/tags", get=self.tags, post=self.set_tags)
        routes.add(member + "/activity-feed", get=self.activity)
        routes.add(member + "/events", get=self.events, post=self.add_event)
        routes.add("/lists/{}/merge-fields", get=self.merge_fields, post=self.add_merge_field)
        merge_field = "/lists/{}/merge-fields/{}"
        routes.add(merge_field, get=self.merge_field, patch=self.patch_merge_field, delete=self.delete_merge_field)
        routes.add("/lists/{}/tag-search", get=self.tag_search)
        routes.add("/lists/{}/webhooks", get=self.webhooks, post=self.add_webhook)
        routes.add("/lists/{}/webhooks/{}", get=self.webhook, patch=self.patch_webhook, delete=self.delete_webhook)
        routes.add("/lists/{}/abuse-reports", get=self.abuse_reports)
        routes.add("/lists/{}/abuse-reports/{}", get=self.abuse_report)

    # Audiences

    def list_all(self, ask: Ask) -> Json:
        found = list(self.audiences.values())
        if "email" in ask.query:
            found = [a for a in found if a.find(ask.query["email"])]
        if "has_ecommerce_store" in ask.query:
            found = [a for a in found if self.has_store(a.id) == ask.flag("has_ecommerce_store")]
        page = ask.page(found, lambda a: self._show_list(a, ask), "lists")
        return page | {"constraints": {"may_create": True, "max_instances": -1, "current_total_instances": len(self.audiences)}}

    def create(self, ask: Ask) -> Json:
        body = check_body(LIST, ask.body)
        list_id = hashlib.md5(f"list{next(self.books.serial)}".encode(), usedforsecurity=False).hexdigest()[:10]
        settings = first_settings(body["name"]) | only(LIST, body)
        return self._show_list(self.add(list_id, body["name"], settings, double_optin=settings.pop("double_optin", False)), ask)

    def show(self, ask: Ask, list_id: str) -> Json:
        return self._show_list(self.get(list_id), ask)

    def change(self, ask: Ask, list_id: str) -> Json:
        audience, body = self.get(list_id), only(LIST, check_body(optional(LIST), ask.body))
        audience.double_optin = body.pop("double_optin", audience.double_optin)
        audience.settings |= body
        audience.name = audience.settings["name"]
        return self._show_list(audience, ask)

    def delete(self, ask: Ask, list_id: str) -> None:
        self.get(list_id)
        del self.audiences[list_id]

    def _show_list(self, audience: Audience, ask: Ask) -> Json:
        counts = dict.fromkeys((*SETTABLE, "archived"), 0)
        for member in audience.members.values():
            counts[member.status] += 1
        stats: Json = {
            "member_count": counts["subscribed"],
            "unsubscribe_count": counts["unsubscribed"],
            "cleaned_count": counts["cleaned"],
            "member_count_since_send": counts["subscribed"],
            "unsubscribe_count_since_send": counts["unsubscribed"],
            "cleaned_count_since_send": counts["cleaned"],
            "campaign_count": 0,
            "campaign_last_sent": "",
            "merge_field_count": len(audience.fields),
            "avg_sub_rate": 0,
            "avg_unsub_rate": 0,
            "target_sub_rate": 0,
            "open_rate": 0,
            "click_rate": 0,
            "last_sub_date": "",
            "last_unsub_date": "",
        }
        if ask.flag("include_total_contacts"):
            stats["total_contacts"] = sum(counts.values()) - counts["archived"]
        return {
            "id": audience.id,
            "web_id": int(hashlib.md5(audience.id.encode(), usedforsecurity=False).hexdigest()[:6], 16),
            **audience.settings,
            "name": audience.name,
            "date_created": stamp(audience.created),
            "list_rating": 0,
            "subscribe_url_short": f"http://eepurl.example/{audience.id}",
            "subscribe_url_long": f"https://shop.list-manage.example/subscribe?id={audience.id}",
            "beamer_address": f"{audience.id}@inbound.example",
            "visibility": "prv",
            "double_optin": audience.double_optin,
            "has_welcome": False,
            "modules": [],
            "stats": stats,
            "_links": [{"rel": "self", "href": f"{ask.base}/lists/{audience.id}", "method": "GET"}],
        }

    # Members

    def _show(self, audience: Audience, member: Member, ask: Ask) -> Json:
        return audience.show(member, ask.base, self.money(audience.id, member.email))

    def members(self, ask: Ask, list_id: str) -> Json:
        audience, query = self.get(list_id), ask.query
        status = query.get("status")
        if status is not None and status not in (*SETTABLE, "archived"):
            raise invalid(("status", "Value must be one of: " + ", ".join((*SETTABLE, "archived"))))
        if query.get("unsubscribed_since") and status != "unsubscribed":
            raise bad_request("The unsubscribed_since filter needs the status unsubscribed.")  # our words
        if query.get("since_last_campaign") and status is None:
            raise bad_request("The since_last_campaign filter needs a status.")  # our words
        # Without a status everybody but the archived [docs].
        found = [m for m in audience.members.values() if m.status == status] if status else list(audience.listed())
        # "after" and "before" are exclusive: at a resolution of a second, the reading that loses changes of careless clients.
        for name in ("last_changed", "timestamp_opt"):
            if since := ask.moment(f"since_{name}"):
                found = [m for m in found if (at := getattr(m, name)) is not None and at > since]
            if before := ask.moment(f"before_{name}"):
                found = [m for m in found if (at := getattr(m, name)) is not None and at < before]
        if since := ask.moment("unsubscribed_since"):
            found = [m for m in found if m.unsubscribed_at is not None and m.unsubscribed_at > since]
        if "email_type" in query:
            found = [m for m in found if m.email_type == query["email_type"]]
        if "unique_email_id" in query:
            found = [m for m in found if m.unique_email_id == query["unique_email_id"]]
        if ask.flag("vip_only"):
            found = [m for m in found if m.vip]
        if sort := query.get("sort_field"):
            if sort not in {"timestamp_opt", "timestamp_signup", "last_changed"}:
                raise invalid(("sort_field", "Value must be one of: timestamp_opt, timestamp_signup, last_changed"))
            never = datetime(1, 1, 1, tzinfo=UTC)
            found.sort(key=lambda m: getattr(m, sort) or never, reverse=query.get("sort_dir", "").upper() == "DESC")
        return ask.page(found, lambda m: self._show(audience, m, ask), "members", list_id=audience.id)

    def add_member(self, ask: Ask, list_id: str) -> Json:
        audience, body = self.get(list_id), check_body(POST_MEMBER, ask.body)
        email = body["email_address"]
        audience.check_address(email)
        known = audience.members.get(member_hash(email))
        if known and not (known.status == "archived" and self.books.rules.post_restores_archived):
            detail = f"{email} is already a list member. Use PUT to insert or update list members."
            raise Problem(400, "Member Exists", detail)
        skip = ask.flag("skip_merge_validation")
        member = audience.write(body, member=known, status=body["status"], source="api", skip_required=skip)
        if body.get("tags"):
            audience.set_tags(member, body["tags"], [])
        return self._show(audience, member, ask)

    def member(self, ask: Ask, list_id: str, name: str) -> Json:
        audience = self.get(list_id)
        return self._show(audience, audience.get(name), ask)

    def put_member(self, ask: Ask, list_id: str, name: str) -> Json:
        """Upsert. Without `status` a known member's status stays as it is, the archived one's too [spec, issues]."""
        audience, body = self.get(list_id), check_body(PUT_MEMBER, ask.body)
        member, email = audience.find(name), body["email_address"]
        audience.check_address(email)
        if member is None:
            if member_hash(email) != (member_hash(name) if "@" in name else name.lower()):
                raise invalid(("email_address", "The email address does not match the subscriber hash."))  # our words
            if "status_if_new" not in body:
                raise invalid(("status_if_new", "This value should not be blank."))
        status = body.get("status") if member else body["status_if_new"]
        skip = ask.flag("skip_merge_validation")
        written = audience.write(body, member=member, status=status, source="api", skip_required=skip)
        return self._show(audience, written, ask)

    def patch_member(self, ask: Ask, list_id: str, name: str) -> Json:
        audience = self.get(list_id)
        member, body = audience.get(name), check_body(PATCH_MEMBER, ask.body)
        skip = ask.flag("skip_merge_validation")
        written = audience.write(body, member=member, status=body.get("status"), source="api", skip_required=skip)
        return self._show(audience, written, ask)

    def archive_member(self, ask: Ask, list_id: str, name: str) -> None:
        audience = self.get(list_id)
        audience.archive(audience.get(name), "api")

    def forget_member(self, ask: Ask, list_id: str, name: str) -> None:
        audience = self.get(list_id)
        key = name.lower()
        if key not in audience.members:  # documented for the hash only [spec]
            raise not_found()
        audience.forget(audience.members[key], "api")

    def batch(self, ask: Ask, list_id: str) -> Json:
        """POST /lists/{id}: up to 500 members; 200 even when each of them fails [spec]."""
        audience, body = self.get(list_id), check_body(BATCH, ask.body)
        if len(body["members"]) > BATCH_MOST:
            raise invalid(("members", f"Array must contain at most {BATCH_MOST} items"))  # our words
        skip, update = ask.flag("skip_merge_validation"), body.get("update_existing", False)
        new: list[Json] = []
        updated: list[Json] = []
        errors: list[Json] = []
        seen: set[str] = set()
        for item in body["members"]:
            email = item.get("email_address", "")
            key = member_hash(email)
            if key in seen:
                if not ask.flag("skip_duplicate_check"):
                    errors.append(_failed(email, f"{email} appears more than once in this request."))  # our words
                continue
            seen.add(key)
            known = audience.members.get(key)
            if known and not update:
                detail = (
                    f"{email} is already a list member, do you want to update? "
                    "please provide update_existing:true in the request body"
                )
                errors.append(_failed(email, detail, "ERROR_CONTACT_EXISTS"))
                continue
            try:
                if known is None and "status" not in item:
                    raise invalid(("status", "This value should not be blank."))
                member = audience.write(item, member=known, status=item.get("status"), source="api", skip_required=skip)
            except Problem as refused:
                fields = refused.errors or [{"field": "", "message": ""}]
                errors.append(_failed(email, refused.detail, "ERROR_GENERIC", fields[0]["field"], fields[0]["message"]))
                continue
            if "tags" in item:
                gone = [t for t in member.tags if t not in item["tags"]] if body.get("sync_tags") else []
                audience.set_tags(member, item["tags"], gone)
            shown = audience.show(member, ask.base)
            shown["location"].pop("region")
            (updated if known else new).append({k: v for k, v in shown.items() if k not in NOT_IN_BATCH})
        return {
            "new_members": new,
            "updated_members": updated,
            "errors": errors,
            "total_created": len(new),
            "total_updated": len(updated),
            "error_count": len(errors),
            "_links": [],
        }

    # Tags, activity, events

    def tags(self, ask: Ask, list_id: str, name: str) -> Json:
        audience = self.get(list_id)
        member = audience.get(name)
        return ask.page(
            list(member.tags.items()),
            lambda tag: {"id": audience.tag_ids[tag[0]], "name": tag[0], "date_added": stamp(tag[1])},
            "tags",
        )

    def set_tags(self, ask: Ask, list_id: str, name: str) -> None:
        audience = self.get(list_id)
        if name.lower() not in audience.members:  # documented for the hash only [spec]
            raise not_found()
        member, body = audience.members[name.lower()], check_body(TAGS, ask.body)
        if any(not t["name"].strip() for t in body["tags"]):
            raise invalid(("tags", "This value should not be blank."))
        active = [t["name"] for t in body["tags"] if t["status"] == "active"]
        inactive = [t["name"] for t in body["tags"] if t["status"] == "inactive"]
        audience.set_tags(member, active, inactive, is_syncing=body.get("is_syncing", False))

    def tag_search(self, ask: Ask, list_id: str) -> Json:
        audience, start = self.get(list_id), ask.query.get("name", "").lower()
        found = [{"id": i, "name": name} for name, i in audience.tag_ids.items() if name.lower().startswith(start)]
        return {"tags": found, "total_items": len(found)}

    def activity(self, ask: Ask, list_id: str, name: str) -> Json:
        audience = self.get(list_id)
        member = audience.get(name)
        wanted = set(filter(None, ask.query.get("activity_filters", "").split(",")))
        found = [a for a in reversed(member.activity) if not wanted or a["activity_type"] in wanted]
        page = ask.page(found, _show_activity, "activity", email_id=member.key, list_id=audience.id)
        page.pop("total_items")
        return page

    def events(self, ask: Ask, list_id: str, name: str) -> Json:
        return ask.page(self.get(list_id).get(name).events, lambda e: e, "events")

    def add_event(self, ask: Ask, list_id: str, name: str) -> None:
        member, body = self.get(list_id).get(name), check_body(EVENT, ask.body)
        if not re.fullmatch(r".{2,30}", body["name"]):
            raise invalid(("name", "The event name must be between 2 and 30 characters."))  # our words
        wrong = [k for k, v in body.get("properties", {}).items() if type(v) is not str]
        if wrong:
            raise invalid(*((f"properties.{k}", "Schema describes string, another type found instead") for k in wrong))
        at = body.get("occurred_at") or stamp(self.books.now())
        member.events.append({"name": body["name"], "properties": body.get("properties", {}), "occurred_at": at})

    # Merge fields

    def merge_fields(self, ask: Ask, list_id: str) -> Json:
        audience = self.get(list_id)
        found = sorted(audience.fields, key=lambda f: f.display_order)
        if "type" in ask.query:
            found = [f for f in found if f.type == ask.query["type"]]
        if "required" in ask.query:
            found = [f for f in found if f.required == ask.flag("required")]
        return ask.page(found, lambda f: _show_field(f, list_id), "merge_fields", list_id=list_id)

    def add_merge_field(self, ask: Ask, list_id: str) -> Json:
        audience, body = self.get(list_id), check_body(MERGE_FIELD, ask.body)
        if len(audience.fields) >= self.books.rules.merge_field_limit:
            raise bad_request("This list has reached its maximum number of merge fields.")  # our words
        number = max((f.merge_id for f in audience.fields), default=0) + 1
        tag = body.get("tag") or f"MMERGE{number}"
        self._check_tag(audience, tag)
        if body["type"] in {"radio", "dropdown"} and not body.get("options", {}).get("choices"):
            raise invalid(("options.choices", "This value should not be blank."))
        made = MergeField(number, tag, body["name"], body["type"], display_order=len(audience.fields) + 2)
        audience.fields.append(made)
        return self._change_field(made, body, list_id)

    def _check_tag(self, audience: Audience, tag: str) -> None:
        if not re.fullmatch(r"[A-Z0-9_]{1,10}", tag) or tag in RESERVED_TAGS:  # at most 10 characters [memory]
            raise invalid(("tag", f'"{tag}" is not a valid merge tag: at most 10 of A-Z, 0-9 and _.'))  # our words
        if any(f.tag == tag for f in audience.fields):
            raise bad_request(f'A Merge Field with the tag "{tag}" already exists for this list.')

    def _change_field(self, one: MergeField, body: Json, list_id: str) -> Json:
        for name in ("name", "required", "default_value", "public", "display_order", "help_text"):
            setattr(one, name, body.get(name, getattr(one, name)))
        one.options = one.options | body.get("options", {})
        return _show_field(one, list_id)

    def _field(self, list_id: str, merge_id: str) -> tuple[Audience, MergeField]:
        audience = self.get(list_id)
        for one in audience.fields:
            if str(one.merge_id) == merge_id:
                return audience, one
        raise not_found()

    def merge_field(self, ask: Ask, list_id: str, merge_id: str) -> Json:
        return _show_field(self._field(list_id, merge_id)[1], list_id)

    def patch_merge_field(self, ask: Ask, list_id: str, merge_id: str) -> Json:
        """Everything but the type; a new tag carries the members' values along."""
        audience, one = self._field(list_id, merge_id)
        body = check_body(optional(MERGE_FIELD), ask.body)
        if body.get("type", one.type) != one.type:
            raise invalid(("type", "The type of a merge field cannot be changed."))  # our words
        if body.get("tag", one.tag) != one.tag:
            self._check_tag(audience, body["tag"])
            for member in audience.members.values():
                if one.tag in member.merge:
                    member.merge[body["tag"]] = member.merge.pop(one.tag)
            one.tag = body["tag"]
        return self._change_field(one, body, list_id)

    def delete_merge_field(self, ask: Ask, list_id: str, merge_id: str) -> None:
        audience, one = self._field(list_id, merge_id)
        audience.fields.remove(one)
        for member in audience.members.values():
            member.merge.pop(one.tag, None)

    # Webhooks and abuse reports

    def webhooks(self, ask: Ask, list_id: str) -> Json:
        return ask.page(list(self.get(list_id).webhooks.values()), _show_webhook, "webhooks", list_id=list_id)

    def add_webhook(self, ask: Ask, list_id: str) -> Json:
        audience, body = self.get(list_id), check_body(WEBHOOK, ask.body)
        if any(w["url"] == body.get("url") for w in audience.webhooks.values()):
            raise invalid(("url", "Sorry, you can't set up multiple WebHooks for one URL"))
        self._check_url(body.get("url", ""))
        hook_id = hashlib.md5(f"hook{next(self.books.serial)}".encode(), usedforsecurity=False).hexdigest()[:10]
        signed = body.get("signing_enabled", self.books.rules.sign_webhooks)
        made = {
            "id": hook_id,
            "url": body["url"],
            "events": dict.fromkeys(EVENTS, False) | body.get("events", {}),
            "sources": dict.fromkeys(SOURCES, False) | body.get("sources", {}),
            "list_id": list_id,
            "signing_enabled": signed,
            "secret": hashlib.sha256(f"secret{hook_id}".encode()).hexdigest() if signed else "",
        }
        audience.webhooks[hook_id] = made
        # The secret is shown once, here.
        return _show_webhook(made) | ({"signing_secret": made["secret"]} if signed else {})

    def _check_url(self, url: str) -> None:
        """The platform asks the URL with a GET before it accepts it [docs]."""
        try:
            answer = httpx.get(url, timeout=10, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as unreachable:
            raise invalid(
                ("url", "We couldn't connect to the specified URL. Please double-check and try again.")
            ) from unreachable
        if not answer.is_success:
            raise invalid(("url", "The specified URL did not return a valid response. Please double-check and try again."))

    def _hook(self, list_id: str, hook_id: str) -> Json:
        hooks = self.get(list_id).webhooks
        if hook_id not in hooks:
            raise not_found()
        return hooks[hook_id]

    def webhook(self, ask: Ask, list_id: str, hook_id: str) -> Json:
        return _show_webhook(self._hook(list_id, hook_id))

    def patch_webhook(self, ask: Ask, list_id: str, hook_id: str) -> Json:
        hook, body = self._hook(list_id, hook_id), check_body(WEBHOOK, ask.body)
        if body.get("url", hook["url"]) != hook["url"]:
            self._check_url(body["url"])
            hook["url"] = body["url"]
        hook["events"] |= body.get("events", {})
        hook["sources"] |= body.get("sources", {})
        return _show_webhook(hook)

    def delete_webhook(self, ask: Ask, list_id: str, hook_id: str) -> None:
        self._hook(list_id, hook_id)
        del self.get(list_id).webhooks[hook_id]

    def abuse_reports(self, ask: Ask, list_id: str) -> Json:
        audience = self.get(list_id)
        return ask.page(audience.abuse_reports, lambda r: _show_report(audience, r), "abuse_reports", list_id=list_id)

    def abuse_report(self, ask: Ask, list_id: str, report_id: str) -> Json:
        audience = self.get(list_id)
        for report in audience.abuse_reports:
            if str(report["id"]) == report_id:
                return _show_report(audience, report)
        raise not_found()


def _failed(email: str, error: str, code: str = "ERROR_GENERIC", field: str = "", message: str = "") -> Json:
    return {"email_address": email, "error": error, "error_code": code, "field": field, "field_message": message}


def _show_field(one: MergeField, list_id: str) -> Json:
    return {
        "merge_id": one.merge_id,
        "tag": one.tag,
        "name": one.name,
        "type": one.type,
        "required": one.required,
        "default_value": one.default_value,
        "public": one.public,
        "display_order": one.display_order,
        "options": one.options,
        "help_text": one.help_text,
        "list_id": list_id,
        "_links": [],
    }


def _show_webhook(hook: Json) -> Json:
    return {k: v for k, v in hook.items() if k != "secret"} | {"_links": []}


def _show_report(audience: Audience, report: Json) -> Json:
    member = audience.members.get(report["email_id"])
    merge = audience.merge_values(member) if member else {}
    return {"campaign_id": "", "list_id": audience.id, "merge_fields": merge, "vip": False, "_links": []} | report


def _show_activity(entry: Json) -> Json:
    at = {"activity_type": entry["activity_type"], "created_at_timestamp": entry["created_at_timestamp"]}
    if entry["activity_type"] == "unsub":
        more = {"is_admin_unsubscribed": entry["admin"], "unsubscribe_reason": entry.get("reason", "")}
        return at | {"campaign_id": "", "campaign_title": ""} | more
    if entry["activity_type"] == "bounce":
        more = {"bounce_type": entry["bounce_type"], "bounce_has_open_activity": False}
        return at | {"campaign_id": "", "campaign_title": ""} | more
    return at
