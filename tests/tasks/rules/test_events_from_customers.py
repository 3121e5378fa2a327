"""events_from_customers: what a page of accounts says, beside what we knew. The page: asked 03-01 12:00, took 5 s."""

from __future__ import annotations

from typing import Any

import pytest

KNOWN = "shop | customer_id | address | consent | seen_at | deleted_at"
PAGE = "shop | customer_id | address | consent | created_at"
NOTHING = "kind"

CASES = {
    "a box ticked before our first look was ticked after the account was made": (
        "",
        f"""{PAGE}
        shop | 1 | a@x.example | in | 02-01""",
        """address     | record     | kind     | earliest_at | latest_at      | as_of_at       | is_inferred
           a@x.example | customer:1 | opted_in | 02-01       | 03-01 12:00:05 | 03-01 12:00:05 | no""",
    ),
    "without a creation time it may have been ticked ever": (
        "",
        f"""{PAGE}
        shop | 1 | a@x.example | out | -""",
        """kind      | earliest_at | latest_at
           opted_out | ever        | 03-01 12:00:05""",
    ),
    "a box never ticked says nothing": (
        "",
        f"""{PAGE}
        shop | 1 | a@x.example | - | 02-01""",
        NOTHING,
    ),
    "somebody without an address says nothing that could attach": (
        "",
        f"""{PAGE}
        shop | 1 | - | in | 02-01""",
        NOTHING,
    ),
    "a changed box was changed since we last saw the old value": (
        f"""{KNOWN}
        shop | 1 | a@x.example | in | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | out | 02-01""",
        """kind      | earliest_at | latest_at      | is_inferred
           opted_out | 02-20       | 03-01 12:00:05 | no""",
    ),
    "an emptied opt-in is an opt-out that we conclude": (
        f"""{KNOWN}
        shop | 1 | a@x.example | in | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | - | 02-01""",
        """kind      | earliest_at | latest_at      | is_inferred
           opted_out | 02-20       | 03-01 12:00:05 | yes""",
    ),
    "an emptied opt-out is nothing new": (
        f"""{KNOWN}
        shop | 1 | a@x.example | out | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | - | 02-01""",
        NOTHING,
    ),
    "an emptied wait for confirmation is nothing new": (
        f"""{KNOWN}
        shop | 1 | a@x.example | pending | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | - | 02-01""",
        NOTHING,
    ),
    "the same value again is nothing new": (
        f"""{KNOWN}
        shop | 1 | a@x.example | in | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | in | 02-01""",
        NOTHING,
    ),
    "an opt-in in an answer older than what we know says nothing": (
        f"""{KNOWN}
        shop | 1 | a@x.example | out | 03-01 12:00:01 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | in | 02-01""",
        NOTHING,
    ),
    "an opt-out in an answer older than our own write counts: we ran over it": (
        f"""{KNOWN}
        shop | 1 | a@x.example | in | 03-01 12:00:01 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | out | 02-01""",
        """kind      | earliest_at | latest_at      | as_of_at
           opted_out | 02-01       | 03-01 12:00:05 | 03-01 12:00:05""",
    ),
    "the other shop's account of the same number is somebody else": (
        f"""{KNOWN}
        second | 1 | a@x.example | out | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | in | 02-01""",
        """source | kind     | earliest_at
           shop   | opted_in | 02-01""",
    ),
    "an account that gets its first address says what it said without one": (
        f"""{KNOWN}
        shop | 1 | - | out | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | a@x.example | out | 02-01""",
        """address     | kind      | earliest_at | latest_at
           a@x.example | opted_out | 02-01       | 03-01 12:00:05""",
    ),
    "an opt-out together with a new address counts for both addresses": (
        f"""{KNOWN}
        shop | 1 | old@x.example | in | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | new@x.example | out | 02-01""",
        """address       | kind
           old@x.example | opted_out
           new@x.example | opted_out""",
    ),
    "an opt-in together with a new address counts for the new one": (
        f"""{KNOWN}
        shop | 1 | old@x.example | - | 02-20 | -""",
        f"""{PAGE}
        shop | 1 | new@x.example | in | 02-01""",
        """address       | kind
           new@x.example | opted_in""",
    ),
    "two accounts of one address speak each for themselves": (
        "",
        f"""{PAGE}
        shop | 1 | a@x.example | in  | 02-01
        shop | 2 | a@x.example | out | 02-02""",
        """record     | kind      | earliest_at
           customer:1 | opted_in  | 02-01
           customer:2 | opted_out | 02-02""",
    ),
    "an account made after the answer is not earlier than later": (
        "",
        f"""{PAGE}
        shop | 1 | a@x.example | in | 04-01""",
        """earliest_at    | latest_at
           03-01 12:00:05 | 03-01 12:00:05""",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_accounts(drawn: Any, name: str) -> None:
    known, incoming, events = CASES[name]
    drawn.page("03-01 12:00:00", "03-01 12:00:05")
    if known:
        drawn.given("shop.customers", known)
    drawn.given("incoming_customers", incoming)
    drawn.gives("events_from_customers", events)


def test_a_time_that_the_platform_states_is_the_time(drawn: Any) -> None:
    drawn.page("03-01 12:00:00")
    drawn.given(
        "shop.customers",
        """customer_id | address     | consent | consent_at | seen_at
           1           | a@x.example | in      | 02-01      | 02-20
           2           | b@x.example | in      | 02-01      | 02-20""",
    )
    drawn.given(
        "incoming_customers",
        """customer_id | address     | consent | consent_at
           1           | a@x.example | out     | 02-25 08:00
           2           | b@x.example | in      | 02-26""",
    )
    drawn.gives(
        "events_from_customers",
        """address     | kind      | earliest_at | latest_at
           a@x.example | opted_out | 02-25 08:00 | 02-25 08:00
           b@x.example | opted_in  | 02-26       | 02-26""",
    )


def test_what_we_wrote_and_have_not_settled_is_no_event_of_theirs(drawn: Any) -> None:
    drawn.page("03-01 12:00:00")
    drawn.given(
        "shop.customers",
        """customer_id | address     | consent | seen_at
           1           | a@x.example | in      | 02-20
           2           | b@x.example | in      | 02-20""",
    )
    drawn.given(
        "load.writes",
        """target | kind    | key | payload                    | state
           shop   | consent | 1   | {"status": "unsubscribed"} | sent
           shop   | consent | 2   | {"status": "subscribed"}   | sent""",
    )
    drawn.given(
        "incoming_customers",
        """customer_id | address     | consent
           1           | a@x.example | out
           2           | b@x.example | out""",
    )
    drawn.gives("events_from_customers", "address | kind\n b@x.example | opted_out")


def test_our_own_value_with_the_platforms_time_is_no_event_of_theirs(drawn: Any) -> None:
    drawn.page("03-01 12:00:00")
    drawn.given(
        "shop.customers",
        """customer_id | address     | consent | consent_at | seen_at
           1           | a@x.example | out     | -          | 02-20""",
    )
    drawn.given(
        "consent.events",
        """event_id | address     | side | source | record     | kind      | actor  | as_of_at
           copy     | a@x.example | shop | shop   | customer:1 | opted_out | system | 02-20""",
    )
    drawn.given(
        "incoming_customers",
        """customer_id | address     | consent | consent_at
           1           | a@x.example | out     | 02-20""",
    )
    drawn.gives("events_from_customers", NOTHING)


def test_the_same_page_twice_is_one_event(drawn: Any) -> None:
    drawn.page("03-01 12:00:00")
    drawn.given("incoming_customers", f"{PAGE}\n shop | 1 | a@x.example | in | 02-01")
    for _ in range(2):
        drawn.add_events("events_from_customers")
    assert drawn.one("select count(*) from consent.events") == 1
