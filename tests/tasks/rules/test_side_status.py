"""side_status: what the events of one side add up to. answers: which opt-in is newer than which opt-out."""

from __future__ import annotations

from typing import Any

import pytest

EVENTS = "event_id | side | source | record | kind | earliest_at | latest_at | as_of_at"

CASES = {
    "an opt-in makes a subscriber": (
        "e1 | shop | shop | customer:1 | opted_in | 02-01 | 02-01 | 02-01",
        "shop | subscribed | e1",
    ),
    "an opt-out unsubscribes": (
        "e1 | shop | shop | customer:1 | opted_out | 02-01 | 02-01 | 02-01",
        "shop | unsubscribed | e1",
    ),
    "an open confirmation waits": ("e1 | shop | shop | customer:1 | pending | 02-01 | 02-01 | 02-01", "shop | pending | e1"),
    "a bounce alone is no consent": ("e1 | esp | esp | contact:a | bounced | 02-01 | 02-01 | 02-01", ""),
    "an opt-in newer than the opt-out wins": (
        """e1 | shop | shop | customer:1 | opted_out | 02-01 | 02-02 | 02-02
           e2 | shop | shop | order:7    | opted_in  | 02-03 | 02-03 | 02-03""",
        "shop | subscribed | e2",
    ),
    "an opt-in older than the opt-out loses": (
        """e1 | shop | shop | customer:1 | opted_out | 02-03 | 02-04 | 02-04
           e2 | shop | shop | order:7    | opted_in  | 02-01 | 02-01 | 02-01""",
        "shop | unsubscribed | e1",
    ),
    "a tie goes to the opt-out": (
        """e1 | shop | shop | customer:1 | opted_out | 02-01 | 02-03 | 02-03
           e2 | shop | shop | order:7    | opted_in  | 02-03 | 02-03 | 02-03""",
        "shop | unsubscribed | e1",
    ),
    "an unknown order goes to the opt-out": (
        """e1 | shop | shop | customer:1 | opted_out | 02-01 | 02-05 | 02-05
           e2 | shop | shop | order:7    | opted_in  | 02-03 | 02-03 | 02-03""",
        "shop | unsubscribed | e1",
    ),
    "any shop's opt-out counts": (
        """e1 | shop | shop   | customer:1 | opted_in  | 02-01 | 02-01 | 02-01
           e2 | shop | second | customer:1 | opted_out | 02-02 | 02-02 | 02-02""",
        "shop | unsubscribed | e2",
    ),
    "the newest opt-in of any shop is the shops' opt-in": (
        """e1 | shop | shop   | customer:1 | opted_in | 02-01 | 02-01 | 02-01
           e2 | shop | second | customer:1 | opted_in | 02-02 | 02-02 | 02-02""",
        "shop | subscribed | e2",
    ),
    "two opt-outs, an opt-in newer than one of them only": (
        """e1 | shop | shop   | customer:1 | opted_out | 02-01 | 02-01 | 02-01
           e2 | shop | second | customer:1 | opted_out | 02-05 | 02-05 | 02-05
           e3 | shop | shop   | order:7    | opted_in  | 02-03 | 02-03 | 02-03""",
        "shop | unsubscribed | e2",
    ),
    "a later opt-in ends the waiting of another record": (
        """e1 | shop | shop | customer:1 | pending  | 02-01 | 02-01 | 02-01
           e2 | shop | shop | order:7    | opted_in | 02-02 | 02-02 | 02-02""",
        "shop | subscribed | e2",
    ),
    "an earlier opt-in does not": (
        """e1 | shop | shop | customer:1 | pending  | 02-03 | 02-03 | 02-03
           e2 | shop | shop | order:7    | opted_in | 02-02 | 02-02 | 02-02""",
        "shop | pending | e1",
    ),
    "waiting does not lift an opt-out": (
        """e1 | shop | shop | customer:1 | opted_out | 02-01 | 02-01 | 02-01
           e2 | shop | shop | customer:2 | pending   | 02-03 | 02-03 | 02-03""",
        "shop | unsubscribed | e1",
    ),
    "the two sides are folded each for itself": (
        """e1 | shop | shop | customer:1 | opted_out | 02-01 | 02-01 | 02-01
           e2 | esp  | esp  | contact:a  | opted_in  | 02-03 | 02-03 | 02-03""",
        "shop | unsubscribed | e1\n esp | subscribed | e2",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_sides(drawn: Any, name: str) -> None:
    events, sides = CASES[name]
    drawn.given("consent.events", f"{EVENTS}\n{events}")
    drawn.build("seen_after", "standing_events", "answers")
    drawn.gives("side_status", f"side | status | event_id\n{sides}")


def test_a_copy_decides_as_its_original(drawn: Any) -> None:
    drawn.given(
        "consent.events", f"{EVENTS} | caused_by\n e2 | shop | shop | customer:1 | opted_in | 02-01 | 02-01 | 02-05 | e1"
    )
    drawn.build("seen_after", "standing_events", "answers")
    drawn.gives("side_status", "event_id | root_event_id | earliest_at\n e2 | e1 | 02-01")


def test_answers(drawn: Any) -> None:
    drawn.given(
        "consent.events",
        f"""{EVENTS}
        out  | shop | shop | customer:1 | opted_out | 02-01 | 02-02 | 02-02
        old  | esp  | esp  | contact:a  | opted_in  | 02-01 | 02-01 | 02-01
        tie  | shop | shop | order:7    | opted_in  | 02-02 | 02-02 | 02-02
        new  | shop | shop | order:8    | opted_in  | 02-03 | 02-03 | 02-03""",
    )
    drawn.build("seen_after", "standing_events")
    drawn.gives("answers", "out_event | in_event | in_side\n out | new | shop")
