"""decisions, decided, broken_promises: the outcome for everybody, and what must never be among them."""

from __future__ import annotations

from typing import Any

import pytest

FACTS = "address | phase | shop_status | shop_moved | esp_status | esp_moved | time_order | contact_status | suppression"


def decide(drawn: Any, facts: str, *, accounts: str = "") -> Any:
    """Decide from drawn facts. Accounts: id and what it holds."""
    drawn.given("facts", f"{FACTS}\n{facts}")
    drawn.given("shop.customers", f"customer_id | address | consent | bounced_at\n{accounts}")
    drawn.build("accounts", "records_to_tell")
    return drawn


CASES = {
    "an opt-out in the shop goes to the ESP": (
        "a | ongoing | unsubscribed | yes | subscribed | no | shop_newer | subscribed | -",
        "1 | a | out | -",
        "6 | status | -",
    ),
    "an opt-out at the ESP goes to the shop": (
        "a | ongoing | subscribed | no | unsubscribed | yes | esp_newer | unsubscribed | -",
        "1 | a | in | -",
        "6a | - | consent",
    ),
    "who is new is created": (
        "a | first | subscribed | no | absent | no | unordered | - | -",
        "1 | a | in | -",
        "1 | create | -",
    ),
    "who was archived and comes back is restored, not created": (
        "a | ongoing | subscribed | yes | absent | no | shop_newer | deleted | -",
        "1 | a | in | -",
        "1 | status | -",
    ),
    "who is deleted in the shop is archived": (
        "a | ongoing | deleted | yes | subscribed | no | unordered | subscribed | -",
        "",
        "15 | archive | -",
    ),
    "who is gone on both sides needs nothing": (
        "a | ongoing | deleted | yes | deleted | no | unordered | deleted | -",
        "",
        "16 | - | -",
    ),
    "an opt-out of somebody gone from the ESP needs no write there": (
        "a | ongoing | subscribed | no | unsubscribed | yes | unordered | deleted | -",
        "1 | a | in | -",
        "6a | - | consent",
    ),
    "a guest has no account to tell": (
        "a | ongoing | subscribed | no | unsubscribed | yes | esp_newer | unsubscribed | -",
        "",
        "6a | - | -",
    ),
    "an opt-in of the shop stays where it was given": (
        "a | ongoing | subscribed | yes | unsubscribed | no | shop_newer | unsubscribed | -",
        "1 | a | out | -",
        "7a | status | -",
    ),
    "an opt-in at the ESP is told to the shop": (
        "a | ongoing | unsubscribed | no | subscribed | yes | esp_newer | subscribed | -",
        "1 | a | out | -",
        "7 | - | consent",
    ),
    "an account that says out already is not told again": (
        "a | ongoing | unsubscribed | yes | subscribed | yes | unordered | subscribed | -",
        "1 | a | out | -",
        "9a | status | -",
    ),
    "the other account of an address that opted out is told": (
        "a | ongoing | unsubscribed | no | unsubscribed | no | unordered | unsubscribed | -",
        "1 | a | out | -\n 2 | a | in | -",
        "5b | - | consent",
    ),
    "an opt-out that followed to an address is told to the contact there": (
        "a | ongoing | unsubscribed | no | unsubscribed | no | unordered | subscribed | -",
        "1 | a | out | -",
        "5b | status | -",
    ),
    "a bounce is written beside the consent": (
        "a | ongoing | subscribed | no | not_subscribed | no | unordered | bounced | bounced",
        "1 | a | in | -",
        "S-bounced | - | bounce",
    ),
    "a bounce is written once": (
        "a | ongoing | subscribed | no | not_subscribed | no | unordered | bounced | bounced",
        "1 | a | in | 02-01",
        "S-bounced | - | -",
    ),
    "a complaint unsubscribes in the shop": (
        "a | ongoing | subscribed | yes | not_subscribed | no | shop_newer | complained | complained",
        "1 | a | in | -",
        "S-complained | - | consent",
    ),
    "a complaint unsubscribes at the ESP that shows subscribed again": (
        "a | ongoing | unsubscribed | no | subscribed | yes | esp_newer | subscribed | complained",
        "1 | a | out | -",
        "S-complained | status | -",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_outcomes(drawn: Any, name: str) -> None:
    facts, accounts, outcome = CASES[name]
    decide(drawn, facts, accounts=accounts).gives("decisions", f"rule | esp_write | shop_write\n {outcome}")


@pytest.mark.parametrize(
    ("facts", "writes"),
    [
        ("a | first | subscribed | no | absent | no | unordered | - | -", "-"),
        ("a | ongoing | unsubscribed | yes | subscribed | no | shop_newer | subscribed | -", "status"),
        ("a | ongoing | deleted | yes | subscribed | no | unordered | subscribed | -", "archive"),
        ("a | ongoing | subscribed | yes | not_subscribed | no | unordered | not_subscribed | -", "status"),
    ],
    ids=["who is new is not added", "an opt-out is sent", "a deletion is sent", "who is there already is decided for"],
)
def test_the_choice_of_groups_limits_who_is_added_and_nothing_else(drawn: Any, facts: str, writes: str) -> None:
    """7.3."""
    drawn.given("facts", f"{FACTS} | chosen\n{facts} | no")
    drawn.gives("decisions", f"esp_write\n {writes}")


ASKED = "a | {phase} | subscribed | yes | {esp} | no | shop_newer | {contact} | -"


@pytest.mark.parametrize(
    ("esp", "contact", "opted_in", "loaded", "outcome"),
    [
        ("absent", "-", "02-20", "02-10", "pending"),  # a new explicit opt-in
        ("absent", "-", "02-01", "02-10", "subscribed"),  # of the first load
        ("absent", "-", "02-20", None, "subscribed"),  # in the first load
        ("unsubscribed", "unsubscribed", "02-20", "02-10", "pending"),
        ("not_subscribed", "not_subscribed", "02-20", "02-10", "pending"),
        ("unsubscribed", "subscribed", "02-20", "02-10", "subscribed"),  # who is subscribed is not asked
    ],
)
def test_double_opt_in_by_the_esp(drawn: Any, esp: str, contact: str, opted_in: str, loaded: str | None, outcome: str) -> None:
    """2.8."""
    drawn.choose(double_opt_in="esp", loaded_at=drawn.instant(loaded) if loaded else None)
    drawn.given("facts", f"{FACTS} | shop_event\n{ASKED.format(phase='ongoing', esp=esp, contact=contact)} | e1")
    drawn.given("consent.events", f"event_id | address | kind | recorded_at\n e1 | a | opted_in | {opted_in}")
    drawn.gives("decisions", f"set_esp\n {outcome}")
    drawn.choose(double_opt_in="shop", loaded_at=drawn.instant(loaded) if loaded else None)
    drawn.gives("decisions", "set_esp\n subscribed")


def test_why_something_decided_is_not_written(drawn: Any) -> None:
    drawn.given(
        "facts",
        f"""{FACTS} | chosen
        a | first   | subscribed | no | absent       | no | unordered | -            | - | no
        b | ongoing | subscribed | no | unsubscribed | no | unordered | unsubscribed | - | no
        c | ongoing | subscribed | no | subscribed   | no | unordered | subscribed   | - | no""",
    )
    drawn.gives(
        "decisions",
        """address | skipped
           a       | in none of the chosen groups, or older than the start date
           b       | no record in the shop to write to
           c       | -""",
    )


def test_a_case_that_no_rule_decides_stops_the_run(drawn: Any) -> None:
    decide(drawn, "a | ongoing | subscribed | no | what | no | unordered | - | -")
    drawn.gives("decisions", "rule | set_esp\n none | -")
    drawn.build("decisions", "decided")
    drawn.gives("broken_promises", "promise | address\n 12.9 | a")


# decided: only what is new is written down.


def test_a_decision_that_says_the_same_is_the_last_one(drawn: Any) -> None:
    """It is only looked at again while something is to be written."""
    drawn.given(
        "decisions",
        """address | rule | set_esp | set_shop | phase   | shop_status | shop_moved | esp_status | esp_moved | esp_write
           done    | 5    | keep    | keep     | ongoing | subscribed  | no         | subscribed | no        | -
           same    | 5    | keep    | keep     | ongoing | subscribed  | no         | subscribed | no        | status
           moved   | 5    | keep    | keep     | ongoing | subscribed  | no         | subscribed | no        | -
           new     | 5    | keep    | keep     | ongoing | subscribed  | no         | subscribed | no        | -""",
    )
    drawn.database.execute("update decisions set sentence = 'Why.'")
    drawn.build("decided")
    drawn.database.execute("insert into merge.decisions by name select * exclude (is_same) from decided where address <> 'new'")
    drawn.database.execute("update decisions set shop_moved = true where address = 'moved'")
    drawn.database.execute("update run set run_id = 'run-2'")
    drawn.gives(
        "decided",
        """address | is_same | run_id
           same    | yes     | run-2
           moved   | no      | run-2
           new     | no      | run-2""",
    )
    kept = "select decided.decision_id = known.decision_id from ({}) as decided join merge.decisions as known using (address)"
    assert drawn.one(f"{kept.format(drawn.model('decided'))} where address = 'same'") is True


@pytest.mark.parametrize(
    "change",
    [
        "phase = 'first'",
        "shop_moved = true",
        "shop_status = 'unsubscribed'",
        "esp_status = 'unsubscribed'",
        "esp_moved = true",
        "shop_carried = true",
        "time_order = 'esp_newer'",
        "chosen = false",
        "rule = '6'",
        "set_esp = 'archived'",
        "set_shop = 'unsubscribed'",
        "exception = 'E1'",
        "esp_write = 'status'",
        "shop_write = 'consent'",
        "skipped = 'why'",
        "shop_event = 'other'",
        "esp_event = 'other'",
    ],
)
def test_whatever_is_otherwise_makes_another_decision(drawn: Any, change: str) -> None:
    drawn.given(
        "decisions",
        """address | rule | set_esp | set_shop | phase   | shop_status | shop_moved | esp_status | esp_moved
           a       | 5    | keep    | keep     | ongoing | a           | no         | a          | no""",
    )
    drawn.database.execute("update decisions set sentence = 'Why.'")
    drawn.build("decided")
    drawn.database.execute("insert into merge.decisions by name select * exclude (is_same) from decided")
    drawn.gives("decided", "address")
    drawn.database.execute(f"update decisions set {change}")
    drawn.gives("decided", "address | is_same\n a | no")


def test_what_is_to_be_written_is_acknowledged_by_nobody_yet(drawn: Any) -> None:
    drawn.given("decisions", "address | esp_write | shop_write\n a | status | -\n b | - | consent\n c | - | -")
    drawn.gives(
        "decided",
        """address | esp_acknowledged_at | shop_acknowledged_at
           a       | -                   | 03-01
           b       | 03-01               | -
           c       | 03-01               | 03-01""",
    )


# broken_promises: looked for from the events alone.

EVENTS = "event_id | address | source | record | kind | actor | earliest_at | latest_at | as_of_at | caused_by"
IN = "in | a | shop | order:7 | opted_in | self | 02-03 | 02-03 | 02-03 | -"

PROMISES = {
    "an opt-in alone": (IN, ""),
    "an opt-in newer than the opt-out": (
        f"{IN}\n out | a | esp | contact:a | opted_out | self | 02-01 | 02-02 | 02-02 | -",
        "",
    ),
    "a tie": (f"{IN}\n out | a | esp | contact:a | opted_out | self | 02-01 | 02-03 | 02-02 | -", "12.1"),
    "an opt-in older than the opt-out": (
        f"{IN}\n out | a | esp | contact:a | opted_out | self | 02-04 | 02-04 | 02-04 | -",
        "12.1",
    ),
    "no opt-in at all": ("out | b | esp | contact:b | opted_out | self | 02-01 | 02-01 | 02-01 | -", "12.1"),
    "an opt-in that is newer than one of two opt-outs": (
        f"""{IN}
        out1 | a | esp  | contact:a  | opted_out | self | 02-01 | 02-02 | 02-02 | -
        out2 | a | shop | customer:1 | opted_out | self | 02-01 | 02-09 | 02-09 | -""",
        "12.1",
    ),
    "an opt-in that its record showed after the opt-out": (
        """out | a | shop | customer:1 | opted_out | self | 02-01 | 02-05 | 02-05 | -
           in  | a | shop | customer:1 | opted_in  | self | 02-04 | 02-06 | 02-06 | -""",
        "",
    ),
    "our own write without an original": (
        "in | a | esp | contact:a | opted_in | system | 02-03 | 02-03 | 02-03 | -",
        "12.1",
    ),
    "a bounce": (f"{IN}\n b | a | esp | contact:a | bounced | self | 02-01 | 02-01 | 02-01 | -", "12.1"),
    "a complaint, however old": (
        f"{IN}\n c | a | esp | contact:a | complained | self | 01-01 | 01-01 | 01-01 | -",
        "12.1",
    ),
}


@pytest.mark.parametrize(
    "outcome",
    ["subscribed | keep | status | -", "pending | keep | create | -", "keep | subscribed | - | consent"],
)
@pytest.mark.parametrize("name", PROMISES)
def test_nobody_becomes_subscribed_without_an_opt_in_newer_than_every_opt_out(drawn: Any, name: str, outcome: str) -> None:
    events, broken = PROMISES[name]
    drawn.given("consent.events", f"{EVENTS}\n{events}")
    drawn.build("seen_after", "standing_events", "suppressions")
    drawn.given("decided", f"address | rule | set_esp | set_shop | esp_write | shop_write\n a | 7 | {outcome}")
    drawn.gives("broken_promises", f"promise\n{broken}")


def test_whoever_is_not_written_to_breaks_nothing(drawn: Any) -> None:
    drawn.given("consent.events", f"{EVENTS}\n out | a | esp | contact:a | opted_out | self | 02-04 | 02-04 | 02-04 | -")
    drawn.given("decided", "address | rule | set_esp | set_shop | esp_write | shop_write\n a | 5 | keep | keep | - | -")
    drawn.gives("broken_promises", "promise")


DECISION = "address | rule | shop_status | esp_status | time_order | set_esp | set_shop"


def test_an_opt_out_of_the_shop_that_would_reach_neither_side(drawn: Any) -> None:
    drawn.given("decisions", f"{DECISION}\n a | 7 | unsubscribed | not_subscribed | unordered | subscribed | keep")
    drawn.gives("broken_promises", "promise\n 12.2")


@pytest.mark.parametrize(
    ("facts", "decision", "is_broken"),
    [
        ("subscribed | unordered", "keep", True),  # kept subscribed against the opt-out
        ("pending | unordered", "keep", True),
        ("subscribed | esp_newer", "keep", False),
        ("subscribed | unordered", "unsubscribed", False),
    ],
)
def test_an_opt_out_of_the_shop_that_the_esp_would_not_hear_of(drawn: Any, facts: str, decision: str, is_broken: bool) -> None:
    drawn.given("decisions", f"{DECISION}\n a | 7 | unsubscribed | {facts} | {decision} | keep")
    drawn.gives("broken_promises", "promise" + ("\n 12.2" if is_broken else ""))


# The exceptions excuse what they are for, and nothing more.

ESP_IN = "e1 | a | esp | contact:a | opted_in | self | 01-01 | 01-01 | 01-01 | -"
SHOP_OUT = "s1 | a | shop | customer:1 | opted_out | self | 02-01 | 02-02 | 02-02 | -"
CARRIED = "s2 | a | shop | customer:1 | opted_out | self | 02-01 | 02-02 | 02-02 | s0"
ELSEWHERE = "s0 | b | shop | customer:1 | opted_out | self | 02-01 | 02-02 | 02-02 | -"
ESP_OUT = "e2 | a | esp | contact:a | opted_out | self | 02-01 | 02-02 | 02-02 | -"
SHOP_TOLD = "first | keep | subscribed | - | consent"
AT_ESP = "first | subscribed | keep | create | -"

EXCUSED = {
    "E1: the shop's own opt-out": ("E1", SHOP_TOLD, [ESP_IN, SHOP_OUT], False),
    "not without the name": ("-", SHOP_TOLD, [ESP_IN, SHOP_OUT], True),
    "not by another name": ("E3", SHOP_TOLD, [ESP_IN, SHOP_OUT], True),
    "E1: not later on": ("E1", SHOP_TOLD.replace("first", "ongoing"), [ESP_IN, SHOP_OUT], True),
    "E1: not at the ESP": ("E1", AT_ESP, [ESP_IN, SHOP_OUT], True),
    "E1: not on both sides": ("E1", "first | subscribed | subscribed | status | consent", [ESP_IN, SHOP_OUT], True),
    "E1: not an opt-out that followed": ("E1", SHOP_TOLD, [ESP_IN, CARRIED, ELSEWHERE], True),
    "E1: not an opt-out at the ESP": ("E1", SHOP_TOLD, [ESP_IN, ESP_OUT, SHOP_OUT], True),
    "E1: not without an opt-in at the ESP": ("E1", SHOP_TOLD, [SHOP_OUT], True),
    "E1: not by an opt-in in the shop": ("E1", SHOP_TOLD, [SHOP_OUT, IN.replace("02-03", "01-03")], True),
    "E1: not over a bounce": ("E1", SHOP_TOLD, [ESP_IN, SHOP_OUT, ESP_OUT.replace("opted_out", "bounced")], True),
    "E3: nobody said anything": ("E3", AT_ESP, [], False),
    "E3: nor in a later run": ("E3", "ongoing | subscribed | keep | status | -", [], False),
    "not without its name": ("-", AT_ESP, [], True),
    "nor by the other name": ("E1", AT_ESP, [], True),
    "E3: not in the shop": ("E3", SHOP_TOLD, [], True),
    "E3: not as pending": ("E3", AT_ESP.replace("subscribed", "pending"), [], True),
    "E3: not over an opt-out in the shop": ("E3", AT_ESP, [SHOP_OUT], True),
    "E3: not over an opt-out at the ESP": ("E3", AT_ESP, [ESP_OUT], True),
    "E3: not over an opt-out that followed": ("E3", AT_ESP, [CARRIED, ELSEWHERE], True),
    "E3: not over a complaint": ("E3", AT_ESP, [ESP_OUT.replace("opted_out", "complained")], True),
}


@pytest.mark.parametrize("name", EXCUSED)
def test_what_an_exception_excuses(drawn: Any, name: str) -> None:
    exception, outcome, events, is_broken = EXCUSED[name]
    drawn.given("consent.events", "\n".join([EVENTS, *events]))
    drawn.database.execute("update consent.events set side = source")
    drawn.build("seen_after", "standing_events", "suppressions")
    drawn.given(
        "decided",
        f"address | rule | exception | phase | set_esp | set_shop | esp_write | shop_write\n a | x | {exception} | {outcome}",
    )
    found = drawn.database.execute(f"select distinct promise from ({drawn.model('broken_promises')})").fetchall()
    assert found == ([("12.1",)] if is_broken else [])
