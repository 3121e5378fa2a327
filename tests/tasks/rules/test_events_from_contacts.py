"""events_from_contacts: what a page of contacts says about consent, beside what we knew. The page was asked for 03-01 12:00."""

from __future__ import annotations

from typing import Any

import pytest

KNOWN = "address | status | changed_at | seen_at"
PAGE = "address | status | changed_at | opted_in_at"
A = "a@x.example"

CASES = {
    "a subscriber seen first opted in when the ESP says so": (
        "",
        f"{PAGE}\n {A} | subscribed | 02-10 | 02-01",
        "kind | actor | earliest_at | latest_at | as_of_at\n opted_in | self | 02-01 | 02-01 | 02-01",
    ),
    "a subscriber without a stated time opted in no later than the last change": (
        "",
        f"{PAGE}\n {A} | subscribed | 02-10 | -",
        "kind | earliest_at | latest_at\n opted_in | ever | 02-10",
    ),
    "who is unsubscribed at first left between the opt-in and the last change": (
        "",
        f"{PAGE}\n {A} | unsubscribed | 02-10 | 02-01",
        "kind | earliest_at | latest_at\n opted_out | 02-01 | 02-10",
    ),
    "who never opted in says nothing": ("", f"{PAGE}\n {A} | not_subscribed | 02-10 | -", "kind"),
    "who waits, waits": ("", f"{PAGE}\n {A} | pending | 02-10 | -", "kind\n pending"),
    "who bounced, bounced": ("", f"{PAGE}\n {A} | bounced | 02-10 | -", "kind\n bounced"),
    "who complained, complained": ("", f"{PAGE}\n {A} | complained | 02-10 | -", "kind\n complained"),
    "who was archived is gone": ("", f"{PAGE}\n {A} | deleted | 02-10 | -", "kind\n deleted"),
    "who left did so since we last saw the old status": (
        f"{KNOWN}\n {A} | subscribed | 02-01 | 02-20",
        f"{PAGE}\n {A} | unsubscribed | 02-25 | 02-01",
        "kind | earliest_at | latest_at\n opted_out | 02-20 | 02-25",
    ),
    "who comes back says when": (
        f"{KNOWN}\n {A} | unsubscribed | 02-01 | 02-20",
        f"{PAGE}\n {A} | subscribed | 02-26 | 02-25",
        "kind | earliest_at | latest_at\n opted_in | 02-25 | 02-25",
    ),
    "an opt-in time from before we last looked is not when they came back": (
        f"{KNOWN}\n {A} | unsubscribed | 02-01 | 02-20",
        f"{PAGE}\n {A} | subscribed | 02-26 | 01-05",
        "kind | earliest_at | latest_at\n opted_in | 02-20 | 02-26",
    ),
    "subscribed turned into never opted in is the merchant's opt-out": (
        f"{KNOWN}\n {A} | subscribed | 02-01 | 02-20",
        f"{PAGE}\n {A} | not_subscribed | 02-25 | -",
        "kind | actor | earliest_at\n opted_out | merchant | 02-20",
    ),
    "unsubscribed turned into never opted in takes nothing back": (
        f"{KNOWN}\n {A} | unsubscribed | 02-01 | 02-20",
        f"{PAGE}\n {A} | not_subscribed | 02-25 | -",
        "kind",
    ),
    "the same status again is nothing new, whatever else changed": (
        f"{KNOWN}\n {A} | subscribed | 02-01 | 02-20",
        f"{PAGE}\n {A} | subscribed | 02-25 | 02-24",
        "kind",
    ),
    "a clock of the ESP that is behind does not put the change before our own write": (
        f"{KNOWN}\n {A} | subscribed | 02-28 12:00 | 03-01 11:00",
        f"{PAGE}\n {A} | unsubscribed | 03-01 10:00 | -",
        "kind | earliest_at | latest_at | as_of_at\n opted_out | 03-01 10:00 | 03-01 10:00 | 03-01 11:00",
    ),
    "an opt-in in an answer older than our last write says nothing": (
        f"{KNOWN}\n {A} | unsubscribed | 03-01 12:30 | 03-01 12:30",
        f"{PAGE}\n {A} | subscribed | 03-01 11:59 | 03-01 11:59",
        "kind",
    ),
    "an opt-out in an answer older than our last write counts, at its own time": (
        f"{KNOWN}\n {A} | subscribed | 02-01 | 03-01 12:30",
        f"{PAGE}\n {A} | unsubscribed | 03-01 11:59 | -",
        "kind | latest_at | as_of_at\n opted_out | 03-01 11:59 | 03-01 11:59",
    ),
    "a complaint in an answer older than our last write counts": (
        f"{KNOWN}\n {A} | subscribed | 02-01 | 03-01 12:30",
        f"{PAGE}\n {A} | complained | 03-01 11:59 | -",
        "kind\n complained",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_contacts(drawn: Any, name: str) -> None:
    known, incoming, events = CASES[name]
    drawn.page("03-01 12:00", "03-01 12:01")
    if known:
        drawn.given("esp.contacts", known)
    drawn.given("incoming_contacts", incoming)
    drawn.gives("events_from_contacts", events)


def test_a_time_of_the_status_that_the_esp_states_is_the_time(drawn: Any) -> None:
    drawn.page("03-01 12:00")
    drawn.given("incoming_contacts", f"address | status | changed_at | status_at\n {A} | unsubscribed | 02-25 | 02-11")
    drawn.gives("events_from_contacts", "earliest_at | latest_at\n 02-11 | 02-11")


def test_the_merchant_is_named_where_the_esp_tells(drawn: Any) -> None:
    drawn.page("03-01 12:00")
    drawn.given("incoming_contacts", f"address | status | changed_at | actor\n {A} | unsubscribed | 02-25 | merchant")
    drawn.gives("events_from_contacts", "kind | actor\n opted_out | merchant")


@pytest.mark.parametrize(
    ("kind", "payload", "status"),
    [
        ("create", '{"status": "subscribed"}', "subscribed"),
        ("status", '{"status": "unsubscribed"}', "unsubscribed"),
        ("status", '{"status": "pending"}', "pending"),
        ("archive", "{}", "deleted"),
    ],
)
def test_what_we_wrote_and_have_not_settled_is_no_event_of_theirs(drawn: Any, kind: str, payload: str, status: str) -> None:
    drawn.page("03-01 12:00")
    drawn.given("load.writes", f"kind | key | payload | state\n {kind} | {A} | {payload} | sent")
    drawn.given("incoming_contacts", f"{PAGE}\n {A} | {status} | 03-01 | -\n b@x.example | {status} | 03-01 | -")
    drawn.gives("events_from_contacts", "address\n b@x.example")
