"""seen_after: which opt-in was seen to follow which opt-out at one record, whatever the clocks say (behaviour.md 2.2)."""

from __future__ import annotations

from typing import Any

import pytest

EVENTS = "event_id | address | side | source | record | kind | actor | as_of_at | caused_by"

CASES = {
    "out, then in, at one record": (
        """out | a | shop | shop | customer:1 | opted_out | self | 02-01 | -
           in  | a | shop | shop | customer:1 | opted_in  | self | 02-02 | -""",
        "in_root | out_root\n in | out",
    ),
    "in after our copy of an opt-out at the ESP is after that opt-out": (
        """out  | a | esp  | esp  | contact:a  | opted_out | self   | 02-05 | -
           copy | a | shop | shop | customer:1 | opted_out | system | 02-01 | out
           in   | a | shop | shop | customer:1 | opted_in  | self   | 02-02 | -""",
        "in_root | out_root\n in | out",
    ),
    "in, then out, is no opt-in that follows": (
        """in  | a | shop | shop | customer:1 | opted_in  | self | 02-01 | -
           out | a | shop | shop | customer:1 | opted_out | self | 02-02 | -""",
        "in_root",
    ),
    "at the same moment is no order": (
        """out | a | shop | shop | customer:1 | opted_out | self | 02-01 | -
           in  | a | shop | shop | customer:1 | opted_in  | self | 02-01 | -""",
        "in_root",
    ),
    "two records are not ordered by when they were seen": (
        """out | a | shop | shop | customer:1 | opted_out | self | 02-01 | -
           in  | a | shop | shop | customer:2 | opted_in  | self | 02-02 | -""",
        "in_root",
    ),
    "two shops' accounts of one number are two records": (
        """out | a | shop | shop   | customer:1 | opted_out | self | 02-01 | -
           in  | a | shop | second | customer:1 | opted_in  | self | 02-02 | -""",
        "in_root",
    ),
    "two addresses are two people": (
        """out | a | shop | shop | customer:1 | opted_out | self | 02-01 | -
           in  | b | shop | shop | customer:1 | opted_in  | self | 02-02 | -""",
        "in_root",
    ),
    "our own copy of an opt-in proves nothing": (
        """out | a | shop | shop | customer:1 | opted_out | self   | 02-01 | -
           in  | a | shop | shop | customer:1 | opted_in  | system | 02-02 | e9""",
        "in_root",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_record(drawn: Any, name: str) -> None:
    events, pairs = CASES[name]
    drawn.given("consent.events", f"{EVENTS}\n{events}")
    drawn.gives("seen_after", pairs)


E1 = "address | exception | esp_root | decided_at | esp_acknowledged_at | shop_acknowledged_at"
OUTS = "event_id | caused_by | address | side | record | kind | recorded_at"


@pytest.mark.parametrize(
    ("decision", "opt_out", "is_overruled"),
    [
        ("a | E1 | e1 | 02-03 | 02-03 | 02-04", "s1 | - | a | shop | customer:1 | opted_out | 02-02", True),
        ("a | E1 | e1 | 02-03 | 02-03 | 02-04", "s1 | - | a | shop | customer:1 | opted_out | 02-03", True),
        ("a | E1 | e1 | 02-03 | 02-03 | 02-04", "s1 | - | a | shop | customer:1 | opted_out | 02-04", False),  # not known yet
        ("a | E1 | e1 | 02-03 | 02-03 | -", "s1 | - | a | shop | customer:1 | opted_out | 02-02", False),  # not carried out
        ("a | E1 | e1 | 02-03 | - | 02-04", "s1 | - | a | shop | customer:1 | opted_out | 02-02", False),
        ("a | - | e1 | 02-03 | 02-03 | 02-04", "s1 | - | a | shop | customer:1 | opted_out | 02-02", False),  # no exception
        ("a | E3 | e1 | 02-03 | 02-03 | 02-04", "s1 | - | a | shop | customer:1 | opted_out | 02-02", False),
        ("a | E1 | e1 | 02-03 | 02-03 | 02-04", "s1 | - | a | esp | contact:a | opted_out | 02-02", False),  # not the shops'
        ("a | E1 | e1 | 02-03 | 02-03 | 02-04", "s1 | - | b | shop | customer:1 | opted_out | 02-02", False),
        ("a | E1 | e1 | 02-03 | 02-03 | 02-04", "s1 | - | a | shop | customer:1 | pending | 02-02", False),
    ],
)
def test_what_exception_e1_overrules(drawn: Any, decision: str, opt_out: str, is_overruled: bool) -> None:
    """4.1: of the shops' opt-outs those that a decision knew, once both sides have it."""
    drawn.given("merge.decisions", f"{E1}\n{decision}")
    drawn.given("consent.events", f"{OUTS}\n{opt_out}")
    drawn.gives("seen_after", "in_root | out_root" + ("\n e1 | s1" if is_overruled else ""))
