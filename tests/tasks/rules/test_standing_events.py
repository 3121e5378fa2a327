"""standing_events: what each record says now."""

from __future__ import annotations

import random
from typing import Any

import pytest

EVENTS = "event_id | address | source | record | kind | actor | earliest_at | latest_at | as_of_at | caused_by"

CASES = {
    "the last word of a record stands": (
        """e1 | a | shop | customer:1 | opted_out | self | 02-01 | 02-01 | 02-01 | -
           e2 | a | shop | customer:1 | opted_in  | self | 02-02 | 02-02 | 02-02 | -""",
        "e2",
    ),
    "every record speaks for itself": (
        """e1 | a | shop   | customer:1 | opted_out | self | 02-01 | 02-01 | 02-01 | -
           e2 | a | shop   | order:7    | opted_in  | self | 02-02 | 02-02 | 02-02 | -
           e3 | a | second | customer:1 | pending   | self | 02-02 | 02-02 | 02-02 | -
           e4 | b | shop   | customer:1 | bounced   | self | 02-02 | 02-02 | 02-02 | -""",
        "e1 e2 e3 e4",
    ),
    "a tie goes to the stronger no": (
        """e1 | a | shop | customer:1 | opted_in  | self | 02-01 | 02-01 | 02-01 | -
           e2 | a | shop | customer:1 | opted_out | self | 02-01 | 02-01 | 02-01 | -
           e3 | a | shop | customer:1 | pending   | self | 02-01 | 02-01 | 02-01 | -""",
        "e2",
    ),
    "a tie of complaint and bounce goes to the complaint": (
        """e1 | a | esp | contact:a | bounced    | self | 02-01 | 02-01 | 02-01 | -
           e2 | a | esp | contact:a | complained | self | 02-01 | 02-01 | 02-01 | -""",
        "e2",
    ),
    "when the record held the value counts, not when it may have happened": (
        """e1 | a | shop | customer:1 | opted_out | self | 02-01 | 02-09 | 02-01 | -
           e2 | a | shop | customer:1 | opted_in  | self | 01-01 | 02-02 | 02-02 | -""",
        "e2",
    ),
    "being archived takes no opt-out back": (
        """e1 | a | esp | contact:a | opted_out | self | 02-01 | 02-01 | 02-01 | -
           e2 | a | esp | contact:a | deleted   | self | 02-02 | 02-02 | 02-02 | -""",
        "e1",
    ),
    "our copy of a newer opt-in replaces the opt-out": (
        """e1 | a | shop | customer:1 | opted_out | self   | 02-01 | 02-01 | 02-01 | -
           e2 | a | shop | customer:1 | opted_in  | system | 02-02 | 02-02 | 02-03 | e9""",
        "e2",
    ),
    "our copy of an older opt-in does not hide what the person said while we wrote": (
        """e1 | a | esp | contact:a | opted_out | self   | 02-03 | 02-03 | 02-03 | -
           e2 | a | esp | contact:a | opted_in  | system | 02-02 | 02-02 | 02-04 | e9""",
        "e1",
    ),
    "a tie of copy and opt-out does not hide the opt-out": (
        """e1 | a | esp | contact:a | opted_out | self   | 02-02 | 02-02 | 02-02 | -
           e2 | a | esp | contact:a | opted_in  | system | 02-02 | 02-02 | 02-04 | e9""",
        "e1",
    ),
    "our copy never hides a bounce": (
        """e1 | a | esp | contact:a | bounced  | self   | 02-01 | 02-01 | 02-01 | -
           e2 | a | esp | contact:a | opted_in | system | 02-02 | 02-02 | 02-04 | e9""",
        "e1",
    ),
    "the ESP itself takes a bounce back": (
        """e1 | a | esp | contact:a | bounced  | self | 02-01 | 02-01 | 02-01 | -
           e2 | a | esp | contact:a | opted_in | self | 02-02 | 02-02 | 02-02 | -""",
        "e2",
    ),
    "our copy of an opt-out replaces an opt-in": (
        """e1 | a | shop | customer:1 | opted_in  | self   | 02-03 | 02-03 | 02-03 | -
           e2 | a | shop | customer:1 | opted_out | system | 02-01 | 02-03 | 02-04 | e9""",
        "e2",
    ),
    "our copy of an opt-out does not hide a later one of theirs": (
        """e1 | a | shop | customer:1 | opted_out | self   | 02-01 | 02-03 | 02-03 | -
           e2 | a | shop | customer:1 | opted_out | system | 02-01 | 02-02 | 02-04 | e9""",
        "e1",
    ),
    "our copy of an opt-out replaces an opt-in, also one that took back a later opt-out": (
        """e1 | a | shop | customer:1 | opted_out | self   | 02-01 | 02-03 | 02-03 | -
           e2 | a | shop | customer:1 | opted_in  | self   | 02-03 | 02-04 | 02-04 | -
           e3 | a | shop | customer:1 | opted_out | system | 02-01 | 02-02 | 02-05 | e9""",
        "e3",
    ),
    "our copy of a later opt-out replaces an earlier one of theirs": (
        """e1 | a | shop | customer:1 | opted_out | self   | 02-01 | 02-01 | 02-01 | -
           e2 | a | shop | customer:1 | opted_out | system | 02-02 | 02-02 | 02-04 | e9""",
        "e2",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_records(drawn: Any, name: str) -> None:
    """In any order of arrival."""
    events, standing = CASES[name]
    lines = events.splitlines()
    for seed in range(3):
        random.Random(seed).shuffle(lines)
        drawn.given("consent.events", "\n".join([EVENTS, *lines]))
        drawn.build("seen_after")
        drawn.gives("standing_events", "event_id\n" + "\n".join(standing.split()))


def test_a_copy_stands_where_its_original_was_seen_after_the_opt_out(drawn: Any) -> None:
    """The ESP's clock is ahead: by the times alone the tick would not be newer than the opt-out."""
    drawn.given(
        "consent.events",
        f"""{EVENTS}
        out   | a | esp  | contact:a  | opted_out | self   | 02-05 | 02-05 | 02-01 | -
        told  | a | shop | customer:1 | opted_out | system | 02-05 | 02-05 | 02-02 | out
        in    | a | shop | customer:1 | opted_in  | self   | 02-02 | 02-03 | 02-03 | -
        copy  | a | esp  | contact:a  | opted_in  | system | 02-02 | 02-03 | 02-04 | in""",
    )
    drawn.build("seen_after")
    drawn.gives("standing_events", "event_id\n in\n copy")


@pytest.mark.parametrize(("cause", "is_carried"), [("-", "no"), ("here", "no"), ("there", "yes")])
def test_what_followed_from_another_address_is_carried(drawn: Any, cause: str, is_carried: str) -> None:
    drawn.given(
        "consent.events",
        f"""event_id | address | record | kind     | caused_by
            here     | a       | 1      | opted_in | -
            there    | b       | 1      | opted_in | -
            copy     | a       | 2      | opted_in | {cause}""",
    )
    drawn.gives("standing_events", f"event_id | is_carried\n copy | {is_carried}", where="event_id = 'copy'")
