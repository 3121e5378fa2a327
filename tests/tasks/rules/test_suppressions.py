"""suppressions: why an address is never mailed."""

from __future__ import annotations

from typing import Any

import pytest

EVENTS = "event_id | address | record | kind | as_of_at"

CASES = {
    "a bounce suppresses": ("e1 | a | contact:a | bounced | 02-01", "a | bounced"),
    "a complaint suppresses": ("e1 | a | contact:a | complained | 02-01", "a | complained"),
    "a complaint beats a later bounce": (
        "e1 | a | contact:a | complained | 02-01\n e2 | a | contact:a | bounced | 02-02",
        "a | complained",
    ),
    "a bounce ends when the ESP shows another status": (
        "e1 | a | contact:a | bounced | 02-01\n e2 | a | contact:a | opted_in | 02-02",
        "",
    ),
    "a complaint is for good": (
        "e1 | a | contact:a | complained | 02-01\n e2 | a | contact:a | opted_in | 02-02",
        "a | complained",
    ),
    "a carried complaint suppresses the new address": ("e1 | b | carried:contact:a | complained | 02-01", "b | complained"),
    "an opt-out is no suppression of this kind": ("e1 | a | contact:a | opted_out | 02-01", ""),
    "one row, however often they complained": (
        "e1 | a | contact:a | complained | 02-01\n e2 | a | contact:a | complained | 02-02",
        "a | complained",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reasons(drawn: Any, name: str) -> None:
    events, suppressed = CASES[name]
    drawn.given("consent.events", f"{EVENTS}\n{events}")
    drawn.build("seen_after", "standing_events")
    drawn.gives("suppressions", f"address | suppression\n{suppressed}")
