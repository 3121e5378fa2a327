"""How a Mailchimp audience is read without losing anybody: by the time of the last change, never by bare offsets.

Facts: API description of GET /lists/{list_id}/members, read 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from tasks.connector import Page, Record
from tasks.esps.mailchimp.words import moment, stamp
from tasks.http import Answer

MOST = 1000
"""The most records a page may have; the default of 10 is a trap."""
OVERLAP = timedelta(seconds=60)
"""How far a listing goes back behind its cursor: changes may show up late."""
RESTARTS = 5
_SECOND = timedelta(seconds=1)
_NAMES = (
    *("id", "contact_id", "email_address", "status", "unsubscribe_reason"),
    *("timestamp_opt", "last_changed", "merge_fields", "tags.name"),
    *("sms_phone_number", "sms_subscription_status", "sms_subscription_last_updated"),
)
_FIELDS = ",".join(f"members.{name}" for name in _NAMES) + ",total_items"

Ask = Callable[..., Answer]
"""`ask(path, **params)`: one GET."""


def pages(ask: Ask, path: str, cursor: str | None) -> Iterator[Page]:
    """Archived members first (they only show when asked for), then all others, each in the order of their last change.

    The cursor is the newest `last_changed` read, but no later than the moment when the archived ones were asked for: who was
    archived since then may be in neither walk, and must come next time. It moves on the second walk only.
    """
    newest = None if cursor is None else datetime.fromisoformat(cursor)
    since = newest - OVERLAP if newest else None
    limit: datetime | None = None
    seen: set[str] = set()
    announced = 0
    for archived in (True, False):
        for answer, is_first, is_last in _walk(ask, path, since, archived):
            members = answer.json.get("members") or []
            seen.update(str(member.get("contact_id") or member.get("id")) for member in members)
            announced += answer.json.get("total_items", 0) if is_first else 0
            limit = limit or _server_time(answer)
            if not archived and (last := _last_changed(members)):
                newest = max(filter(None, (newest, min(last, limit))))
            yield Page(
                records=members,
                asked_at=answer.asked_at,
                answered_at=answer.answered_at,
                cursor=stamp(newest) if newest else None,
                complete=is_last and not archived and cursor is None and len(seen) == _count(ask, path),
                announced=announced,
            )


def _walk(ask: Ask, path: str, since: datetime | None, archived: bool) -> Iterator[tuple[Answer, bool, bool]]:
    """Answers with "is it the first" and "is it the last".

    Sorted by the last change, whoever changes during the walk moves to its end and comes (again) there. Offsets over a list
    that moves lose records, so each page goes on from the time of the last record; one second back, because nobody says
    whether "since" includes it. Only where a page spans no more than that (a bulk load) go on by offset, beginning with the
    last record: when another one stands in its place, somebody moved, and this stretch is read afresh.
    """
    offset, last_id, restarts, is_first = 0, None, 0, True
    while True:
        query = {"count": MOST, "offset": offset, "sort_field": "last_changed", "sort_dir": "ASC", "fields": _FIELDS}
        query |= {"status": "archived"} if archived else {}
        query |= {"since_last_changed": stamp(since)} if since else {}
        answer = ask(path, **query)
        members = answer.json.get("members") or []
        if offset and restarts < RESTARTS and (not members or members[0].get("id") != last_id):
            offset, restarts = 0, restarts + 1
            continue
        yield answer, is_first, len(members) < MOST
        if len(members) < MOST:
            return
        is_first, last_id = False, members[-1].get("id")
        first, last = _last_changed(members[:1]), _last_changed(members)
        # The last condition ends the walk even if the filter by time should be ignored one day.
        if first and last and first < last - _SECOND and (since is None or last - _SECOND > since):
            since, offset, restarts = last - _SECOND, 0, 0
        else:
            offset += MOST - 1


def _count(ask: Ask, path: str) -> int:
    """How many members there are now. A walk that has seen fewer missed some; one that has seen more cannot tell."""
    query = {"count": 1, "fields": "total_items"}
    return sum(int(ask(path, **query, **status).json["total_items"]) for status in ({}, {"status": "archived"}))


def _last_changed(members: Sequence[Record]) -> datetime | None:
    return moment(members[-1].get("last_changed")) if members else None


def _server_time(answer: Answer) -> datetime:
    """Mailchimp's clock, which its times come from; ours where the answer does not say."""
    try:
        return min(parsedate_to_datetime(answer.headers["date"]), answer.asked_at)
    except (KeyError, TypeError, ValueError):
        return answer.asked_at
