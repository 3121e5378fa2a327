"""Text messages (behaviour 9): what is heard of them, the table in every case, and whole days on a small world."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.stories import story
from tasks import rules, snapshot
from tasks.connector import SetupError
from tasks.state import rows

World = Any

PHONE = "+491701000001"
OTHER = "+491701000002"

# What a page of accounts says. The page: asked 03-01 12:00, took 5 s.

KNOWN = "customer_id | address | sms_address | sms_consent | sms_consent_at | seen_at"
PAGE = "customer_id | address | sms_address | sms_consent | sms_consent_at"
ACCOUNTS = {
    "consent to text messages is held by the number": (
        "",
        f"{PAGE}\n 1 | a@x.example | {PHONE} | in | 02-10",
        f"""address | channel | record     | kind     | actor | earliest_at | latest_at
            {PHONE} | sms     | customer:1 | opted_in | self  | 02-10       | 02-10""",
    ),
    "who never said anything says nothing": ("", f"{PAGE}\n 1 | a@x.example | {PHONE} | - | -", "kind"),
    "consent without a number that we can read attaches to nobody": ("", f"{PAGE}\n 1 | a@x.example | - | in | 02-10", "kind"),
    "an account without an e-mail address has a number all the same": (
        "",
        f"{PAGE}\n 1 | - | {PHONE} | in | 02-10",
        f"address | kind\n {PHONE} | opted_in",
    ),
    "the same again is nothing new": (
        f"{KNOWN}\n 1 | a@x.example | {PHONE} | in | 02-10 | 02-20",
        f"{PAGE}\n 1 | a@x.example | {PHONE} | in | 02-10",
        "kind",
    ),
    "an opt-out is one when the platform says so": (
        f"{KNOWN}\n 1 | a@x.example | {PHONE} | in | 02-10 | 02-20",
        f"{PAGE}\n 1 | a@x.example | {PHONE} | out | 02-25",
        "kind | earliest_at | latest_at | is_inferred\n opted_out | 02-25 | 02-25 | no",
    ),
    "an opt-in that is gone is an opt-out that we conclude": (
        f"{KNOWN}\n 1 | a@x.example | {PHONE} | in | 02-10 | 02-20",
        f"{PAGE}\n 1 | a@x.example | {PHONE} | - | -",
        f"address | kind | latest_at | is_inferred\n {PHONE} | opted_out | 03-01 12:00:05 | yes",
    ),
    "an opt-in that is gone with its number is an opt-out of that number": (
        f"{KNOWN}\n 1 | a@x.example | {PHONE} | in | 02-10 | 02-20",
        f"{PAGE}\n 1 | a@x.example | - | - | -",
        f"address | kind\n {PHONE} | opted_out",
    ),
    "without a stated time, when we last wrote to the account says nothing": (
        f"{KNOWN}\n 1 | a@x.example | {PHONE} | - | - | 02-20",
        f"{PAGE}\n 1 | a@x.example | {PHONE} | in | -",
        "kind | earliest_at | latest_at\n opted_in | ever | 03-01 12:00:05",
    ),
    "an opt-out together with a new number counts for both": (
        f"{KNOWN}\n 1 | a@x.example | {PHONE} | in | 02-10 | 02-20",
        f"{PAGE}\n 1 | a@x.example | {OTHER} | out | 02-25",
        f"address | kind\n {PHONE} | opted_out\n {OTHER} | opted_out",
    ),
    "an answer older than what we know says nothing but a no": (
        f"""{KNOWN}
        1 | a@x.example | {PHONE} | out | 02-10 | 03-01 13:00
        2 | b@x.example | {OTHER} | in  | 02-10 | 03-01 13:00""",
        f"{PAGE}\n 1 | a@x.example | {PHONE} | in | 02-11\n 2 | b@x.example | {OTHER} | out | 02-11",
        f"address | kind\n {OTHER} | opted_out",
    ),
}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_accounts(drawn: Any, name: str) -> None:
    known, incoming, events = ACCOUNTS[name]
    drawn.page("03-01 12:00:00", "03-01 12:00:05")
    if known:
        drawn.given("shop.customers", known)
    drawn.given("incoming_customers", incoming)
    drawn.gives("events_from_customers", events, where="channel = 'sms'")
    drawn.gives("events_from_customers", "kind", where="channel = 'email'")


def test_mail_and_text_messages_are_two_things(drawn: Any) -> None:
    drawn.page("03-01 12:00")
    drawn.given(
        "incoming_customers",
        f"""customer_id | address     | consent | consent_at | sms_address | sms_consent | sms_consent_at
            1           | a@x.example | out     | 02-01      | {PHONE}     | in          | 02-02""",
    )
    drawn.gives(
        "events_from_customers",
        f"""address     | channel | kind      | latest_at
            a@x.example | email   | opted_out | 02-01
            {PHONE}     | sms     | opted_in  | 02-02""",
    )


def test_what_we_wrote_about_mail_does_not_hide_what_they_say_about_text_messages(drawn: Any) -> None:
    drawn.page("03-01 12:00")
    drawn.given("load.writes", 'target | kind | key | payload | state\n shop | consent | 1 | {"status": "unsubscribed"} | sent')
    drawn.given("shop.customers", f"{KNOWN}\n 1 | a@x.example | {PHONE} | in | 02-10 | 02-20")
    drawn.given("incoming_customers", f"{PAGE}\n 1 | a@x.example | {PHONE} | out | 02-25")
    drawn.gives("events_from_customers", "channel | kind\n sms | opted_out")


def test_an_opt_out_in_an_account_that_fails_a_check_is_heard(drawn: Any) -> None:
    drawn.page("03-01 12:00")
    drawn.given(
        "shop.customers",
        f"""customer_id | address     | consent | sms_address | sms_consent | seen_at
            1           | a@x.example | in      | {PHONE}     | in          | 02-20
            2           | b@x.example | in      | {OTHER}     | in          | 02-20""",
    )
    drawn.database.execute(
        """
        create or replace temp table refused_customers as
        select
            shop, customer_id, 'in' as consent, 'in' as consent_raw, null as consent_actor,
            if(customer_id = '1', 'out', 'in') as sms_consent
        from shop.customers
        """
    )
    drawn.gives("events_from_refused", f"address | channel | kind | is_inferred\n {PHONE} | sms | opted_out | no")


EVENTS = "event_id | address | channel | side | source | record | kind | as_of_at"


def test_a_new_number_takes_the_old_ones_consent_along(drawn: Any) -> None:
    """12.6: an opt-out follows to the new number and stays on the old, an opt-in of the account follows as carried."""
    drawn.page("03-01 12:00")
    drawn.given("shop.customers", f"customer_id | address | sms_address | seen_at\n 1 | a@x.example | {PHONE} | 02-20")
    drawn.given(
        "consent.events",
        f"""{EVENTS}
        e1 | {PHONE}     | sms   | shop | shop | customer:1          | opted_in  | 02-01
        e2 | {PHONE}     | sms   | esp  | esp  | contact:a@x.example | opted_out | 02-02
        e3 | a@x.example | email | shop | shop | customer:1          | opted_in  | 02-03""",
    )
    drawn.given("incoming_customers", f"customer_id | address | sms_address\n 1 | a@x.example | {OTHER}")
    drawn.gives(
        "events_carried",
        f"""address | channel | record                      | kind      | caused_by
            {OTHER} | sms     | customer:1                  | opted_in  | e1
            {OTHER} | sms     | carried:contact:a@x.example | opted_out | e2""",
    )


# What a page of contacts says. The page: asked 03-01 12:00, answered 12:01.

HELD = "address | sms_address | sms_status | seen_at"
SHOWN = "address | status | sms_address | sms_status | sms_status_at"
A = "a@x.example"
CONTACTS = {
    "a STOP is an opt-out of the number": (
        f"{HELD}\n {A} | {PHONE} | subscribed | 02-20",
        f"{SHOWN}\n {A} | subscribed | {PHONE} | unsubscribed | 02-25",
        f"""address | channel | side | record      | kind      | actor | earliest_at | latest_at
            {PHONE} | sms     | esp  | contact:{A} | opted_out | self  | 02-25       | 02-25""",
    ),
    "a STOP without a time was sent at some time until now": (
        f"{HELD}\n {A} | {PHONE} | subscribed | 02-20",
        f"{SHOWN}\n {A} | subscribed | {PHONE} | unsubscribed | -",
        "kind | earliest_at | latest_at | as_of_at\n opted_out | ever | 03-01 12:01 | 03-01 12:01",
    ),
    "who texts START opts in": (
        f"{HELD}\n {A} | {PHONE} | unsubscribed | 02-20",
        f"{SHOWN}\n {A} | subscribed | {PHONE} | subscribed | 02-25",
        "kind | earliest_at\n opted_in | 02-25",
    ),
    "subscribed turned into never opted in is the merchant's opt-out": (
        f"{HELD}\n {A} | {PHONE} | subscribed | 02-20",
        f"{SHOWN}\n {A} | subscribed | {PHONE} | not_subscribed | 02-25",
        "kind | actor\n opted_out | merchant",
    ),
    "who waits, waits": ("", f"{SHOWN}\n {A} | subscribed | {PHONE} | pending | 02-25", "kind\n pending"),
    "who never opted in says nothing": ("", f"{SHOWN}\n {A} | subscribed | {PHONE} | not_subscribed | -", "kind"),
    "an ESP that tells nothing of text messages says nothing": ("", f"{SHOWN}\n {A} | unsubscribed | - | - | -", "kind"),
    "the same again is nothing new, whatever happens to the mail": (
        f"{HELD}\n {A} | {PHONE} | subscribed | 02-20",
        f"{SHOWN}\n {A} | unsubscribed | {PHONE} | subscribed | 02-25",
        "kind",
    ),
    "another number of the contact speaks for itself": (
        f"{HELD}\n {A} | {PHONE} | unsubscribed | 02-20",
        f"{SHOWN}\n {A} | subscribed | {OTHER} | unsubscribed | 02-25",
        f"address | kind\n {OTHER} | opted_out",
    ),
    "an opt-in in an answer older than our last write says nothing": (
        f"{HELD}\n {A} | {PHONE} | unsubscribed | 03-01 13:00",
        f"{SHOWN}\n {A} | subscribed | {PHONE} | subscribed | 02-25",
        "kind",
    ),
    "a STOP in an answer older than our last write counts": (
        f"{HELD}\n {A} | {PHONE} | subscribed | 03-01 13:00",
        f"{SHOWN}\n {A} | subscribed | {PHONE} | unsubscribed | 03-01 11:59",
        "kind | as_of_at\n opted_out | 03-01 11:59",
    ),
}


@pytest.mark.parametrize("name", CONTACTS)
def test_contacts(drawn: Any, name: str) -> None:
    known, incoming, events = CONTACTS[name]
    drawn.page("03-01 12:00", "03-01 12:01")
    if known:
        drawn.given("esp.contacts", known)
    drawn.given("incoming_contacts", incoming)
    drawn.gives("sms_events_from_contacts", events)


def test_what_we_wrote_and_have_not_settled_is_no_event_of_theirs(drawn: Any) -> None:
    drawn.page("03-01 12:00")
    drawn.given("load.writes", f'kind | key | payload | state\n sms | {PHONE}/{A} | {{"status": "subscribed"}} | sent')
    drawn.given(
        "incoming_contacts",
        f"{SHOWN}\n {A} | subscribed | {PHONE} | subscribed | -\n b@x.example | subscribed | {PHONE} | subscribed | -",
    )
    drawn.gives("sms_events_from_contacts", "record\n contact:b@x.example")


def test_our_own_write_is_an_event_of_the_number_at_the_contact(drawn: Any) -> None:
    drawn.given("consent.events", f"event_id | address | earliest_at | latest_at\n s1 | {PHONE} | 02-01 | 02-01")
    drawn.given(
        "settled_writes",
        f"""target | kind | key          | address | caused_by | payload                  | state        | sent_at
            esp    | sms  | {PHONE}/{A} | {PHONE} | s1        | {{"status": "subscribed"}} | acknowledged | 03-01""",
    )
    drawn.gives(
        "events_from_writes",
        f"""address | channel | side | record      | kind     | actor  | latest_at | as_of_at | caused_by
            {PHONE} | sms     | esp  | contact:{A} | opted_in | system | 02-01     | 03-01    | s1""",
    )


# What the table is asked.

SINCE = date(2026, 2, 3)


@pytest.fixture
def asked(drawn: Any) -> Any:
    """SMS is switched on since 02-03, and the first sync is complete."""
    drawn.choose(sms_since=SINCE, loaded_at=drawn.instant("02-01"))
    return drawn


def built(drawn: Any, events: str) -> None:
    drawn.given(
        "consent.events", f"event_id | address | channel | side | source | record | kind | earliest_at | latest_at\n{events}"
    )
    drawn.build("seen_after", "standing_events", "answers", "side_status", "suppressions", "sms_accounts")


SHOP_IN = f"s1 | {PHONE} | sms | shop | shop | customer:1 | opted_in | 02-05 | 02-05"
SHOP_OUT = f"s2 | {PHONE} | sms | shop | shop | customer:2 | opted_out | 02-05 | 02-05"
STOP = f"e1 | {PHONE} | sms | esp | esp | contact:{A} | opted_out | 02-04 | 02-04"


@pytest.mark.parametrize(
    ("choices", "numbers"),
    [
        ({"sms_since": SINCE, "loaded_at": "02-01"}, 1),
        ({"sms_since": SINCE}, 0),  # the first sync is not complete
        ({"loaded_at": "02-01"}, 0),  # switched off
    ],
)
def test_nothing_is_asked_before_the_first_sync_is_complete_or_while_sms_is_off(
    drawn: Any, choices: dict[str, Any], numbers: int
) -> None:
    loaded = {"loaded_at": drawn.instant(choices["loaded_at"])} if "loaded_at" in choices else {}
    drawn.choose(**choices | loaded)
    built(drawn, SHOP_IN)
    drawn.gives("sms_facts", "address" + f"\n {PHONE}" * numbers)


@pytest.mark.parametrize(
    ("at", "is_chosen"),
    [
        ("02-05 | 02-05", "yes"),
        ("02-03 | 02-03", "yes"),
        ("02-02 | 02-02", "no"),
        ("02-02 | 02-05", "no"),
        ("ever | 02-05", "no"),
    ],
    ids=["after the start date", "on it", "before it", "perhaps before it", "nobody knows when"],
)
def test_only_consent_given_since_the_start_date_is_chosen(asked: Any, at: str, is_chosen: str) -> None:
    built(asked, f"s1 | {PHONE} | sms | shop | shop | customer:1 | opted_in | {at}")
    asked.gives("sms_facts", f"chosen\n {is_chosen}")


@pytest.mark.parametrize(
    ("events", "account", "contact", "status"),
    [
        (SHOP_IN, True, "", "subscribed | absent"),
        (SHOP_IN, False, "", "deleted | absent"),  # gone from the shop
        (f"{SHOP_IN}\n{SHOP_OUT}", True, "", "unsubscribed | absent"),  # a tie; any shop's opt-out counts
        (SHOP_OUT, False, "", "unsubscribed | absent"),  # an opt-out outlives its record
        (STOP, False, "subscribed", "absent | unsubscribed"),
        (STOP, True, "subscribed", "not_subscribed | unsubscribed"),
        (SHOP_IN, True, "subscribed", "subscribed | not_subscribed"),
        (SHOP_IN, True, "deleted", "subscribed | deleted"),
        (f"{SHOP_OUT}\n{STOP}", True, "deleted", "unsubscribed | unsubscribed"),  # gone, with a STOP
        (f"{SHOP_IN.replace('02-05', '02-04')}\n{STOP}", True, "", "subscribed | unsubscribed"),  # a tie
        (f"{SHOP_IN}\n{STOP}", True, "", "subscribed | absent"),  # gone, and a newer opt-in
    ],
)
def test_statuses(asked: Any, events: str, account: bool, contact: str, status: str) -> None:
    if account:
        asked.given("shop.customers", f"customer_id | address | sms_address\n 1 | {A} | {PHONE}")
    if contact:
        asked.given("esp.contacts", f"address | status | sms_address\n {A} | {contact} | {PHONE}")
    built(asked, events)
    asked.gives("sms_facts", f"shop_status | esp_status\n {status}")


@pytest.mark.parametrize(
    ("shop_at", "stop_at", "order"),
    [
        ("02-05 | 02-05", "02-04 | 02-04", "shop_newer"),
        ("02-05 | 02-05", "02-05 | 02-05", "unordered"),  # a tie
        ("02-05 | 02-05", "ever | 02-06", "unordered"),
        ("02-03 | 02-05", "02-04 | 02-04", "unordered"),
    ],
)
def test_order_in_time(asked: Any, shop_at: str, stop_at: str, order: str) -> None:
    built(
        asked,
        f"""s1 | {PHONE} | sms | shop | shop | customer:1 | opted_in | {shop_at}
            e1 | {PHONE} | sms | esp | esp | contact:{A} | opted_out | {stop_at}""",
    )
    asked.gives("sms_facts", f"time_order\n {order}")


# The table, in every case.


def page_says() -> pl.DataFrame:
    """What the drawn page says of every case, once."""
    lines = (Path(__file__).parent / "pages" / "channels" / "sms.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    drawn_rows = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    found, spoken = [], set()
    for case in rules.every_case().iter_rows(named=True):
        is_newer = (case["shop"], case["esp"], case["time_order"]) in {
            ("subscribed", "unsubscribed", "shop_newer"),
            ("unsubscribed", "subscribed", "esp_newer"),
        }
        facts = case | {"newer": "yes" if is_newer else "no", "since": case["chosen"]}
        speaking = [
            row
            for row in drawn_rows
            if all(row[name] == "-" or facts[name] in row[name].split() for name in ("shop", "esp", "newer", "since"))
        ]
        assert len(speaking) == 1, (case, speaking)
        spoken.add(speaking[0]["case"])
        found.append((*case.values(), speaking[0]["ESP"].replace("-", case["esp"])))
    assert spoken == {row["case"] for row in drawn_rows}
    return pl.DataFrame(found, schema=[*rules.DOMAINS, "end_esp"], orient="row")


def in_the_end(table: pl.DataFrame) -> pl.DataFrame:
    end = pl.when(pl.col("set_esp") == "keep").then("esp").otherwise("set_esp").alias("end_esp")
    return rules.expand(table, "sms.csv", rules.SMS_SIDES).with_columns(end)


def test_every_case_ends_as_the_page_says() -> None:
    wrong = in_the_end(rules.read_table(rules.SMS)).join(page_says(), on=[*rules.DOMAINS, "end_esp"], how="anti")
    assert wrong.is_empty(), wrong.row(0, named=True)


def test_in_every_case_nobody_is_texted_without_an_opt_in_newer_than_every_opt_out() -> None:
    for case in in_the_end(rules.read_table(rules.SMS)).iter_rows(named=True):
        newer = {"shop": "shop_newer", "esp": "esp_newer"}
        is_right = any(case[side] == "subscribed" for side in newer) and all(
            case[other] != "unsubscribed" or (case[side] == "subscribed" and case["time_order"] == newer[side])
            for side, other in (("shop", "esp"), ("esp", "shop"))
        )
        assert case["end_esp"] != "subscribed" or is_right, case
        assert case["set_shop"] == "keep"
        assert case["set_esp"] != "subscribed" or (case["shop"] == "subscribed" and case["chosen"] == "yes")


def judged() -> Iterator[tuple[str, str]]:
    """Each slip of the pen in the table, and what becomes of it."""
    table, says = rules.read_table(rules.SMS), page_says()
    right = in_the_end(table)
    for number, row in enumerate(table.iter_rows(named=True)):
        for column, allowed in {**rules.DOMAINS, **rules.OUTCOMES}.items():
            for other in sorted({*allowed, *(["*"] if column in rules.DOMAINS else [])} - {row[column]}):
                changed = pl.when(pl.int_range(pl.len()) == number).then(pl.lit(other)).otherwise(column).alias(column)
                slip = f"{row['rule']}: {column} {row[column]} -> {other}"
                try:
                    found = in_the_end(table.with_columns(changed))
                except SetupError:
                    yield slip, "refused"
                    continue
                is_wrong = not found.join(says, on=[*rules.DOMAINS, "end_esp"], how="anti").is_empty()
                is_kept = found.filter(pl.col("set_shop") != "keep").is_empty()
                is_same = found.join(right, on=[*rules.DOMAINS, "rule", "set_shop"], how="anti").is_empty()
                yield slip, "other than the page" if is_wrong or not is_kept else "the same" if is_same else "survived"


def test_every_slip_of_the_pen_is_found() -> None:
    assert [slip for slip, verdict in judged() if verdict == "survived"] == []


def test_it_is_no_policy() -> None:
    assert "sms" not in rules.policies()
    with pytest.raises(SetupError, match=r"promise 12\.1"):
        rules.load_policy(str(rules.SMS))


# Decisions and writes.

FACTS = (
    "address | channel | shop_moved | esp_moved | shop_status | esp_status | time_order | chosen | is_texted | "
    "suppression | shop_event"
)


@pytest.fixture
def decided(asked: Any) -> Any:
    """Anna's account and contact; the number was given by the account."""
    asked.given("shop.customers", f"customer_id | address | sms_address\n 1 | {A} | {PHONE}")
    asked.given(
        "esp.contacts", f"address | email | status | sms_address | sms_status\n {A} | Anna@x.example | subscribed | - | -"
    )
    asked.given("decisions", f"address | esp_write\n {A} | -")
    built(asked, SHOP_IN)
    return asked


DECISIONS = {
    "an opt-in goes to the contact of the account that gave it": (
        f"{PHONE} | sms | no | no | subscribed | absent | unordered | yes | no | - | s1",
        "9.1 | subscribed | sms | -",
    ),
    "an opt-in from before the start date goes nowhere": (
        f"{PHONE} | sms | no | no | subscribed | absent | unordered | no | no | - | s1",
        "9.1a | keep | - | -",
    ),
    "a STOP goes nowhere": (
        f"{PHONE} | sms | no | no | subscribed | unsubscribed | unordered | yes | no | - | s1",
        "9.2 | keep | - | -",
    ),
    "a STOP that the contact has not got is told": (
        f"{PHONE} | sms | no | no | subscribed | unsubscribed | unordered | yes | yes | - | s1",
        "9.2 | unsubscribed | sms | -",
    ),
    "an opt-out in the shop is told": (
        f"{PHONE} | sms | no | no | unsubscribed | subscribed | unordered | no | yes | - | s1",
        "9.1d | unsubscribed | sms | -",
    ),
    "a complaint ends it": (
        f"{PHONE} | sms | no | no | subscribed | subscribed | unordered | yes | yes | complained | s1",
        "S-complained | unsubscribed | sms | -",
    ),
    "a complaint is never overruled": (
        f"{PHONE} | sms | no | no | subscribed | absent | shop_newer | yes | no | complained | s1",
        "S-complained | keep | - | -",
    ),
    "a number that cannot be reached stays as it is": (
        f"{PHONE} | sms | no | no | subscribed | absent | shop_newer | yes | no | bounced | s1",
        "S-bounced | keep | - | -",
    ),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_decisions(decided: Any, name: str) -> None:
    facts, outcome = DECISIONS[name]
    decided.given("sms_facts", f"{FACTS}\n{facts}")
    decided.gives("sms_decisions", f"rule | set_esp | esp_write | skipped\n {outcome}")
    decided.gives("sms_decisions", "channel | set_shop | shop_write | exception\n sms | keep | - | -")


@pytest.mark.parametrize(
    ("contact", "mail", "is_sent"),
    [
        ("subscribed", "-", True),
        ("unsubscribed", "status", True),  # mail and text messages are two things
        ("", "create", True),
        ("", "-", False),  # nobody there who could hold the number
        ("deleted", "-", False),
        ("deleted", "status", True),  # comes back
        ("subscribed", "archive", False),
    ],
)
def test_an_opt_in_needs_a_contact_to_hold_it(decided: Any, contact: str, mail: str, is_sent: bool) -> None:
    decided.given("esp.contacts", "address | status" + (f"\n {A} | {contact}" if contact else ""))
    decided.given("decisions", f"address | esp_write\n {A} | {mail}")
    decided.given("sms_facts", f"{FACTS}\n {PHONE} | sms | no | no | subscribed | absent | unordered | yes | no | - | s1")
    why = "sms | -" if is_sent else "- | no contact at the ESP that could hold the number"
    decided.gives("sms_decisions", f"esp_write | skipped\n {why}")


DECIDED = "decision_id | address | channel | set_esp | esp_status | esp_write | shop_event | esp_event"


def test_an_opt_in_is_written_to_the_contact_of_the_account_that_gave_it(decided: Any) -> None:
    decided.given("decided", f"{DECIDED}\n d1 | {PHONE} | sms | subscribed | absent | sms | s1 | -")
    payload = f'{{"email":"Anna@x.example","phone":"{PHONE}","status":"subscribed","consent_at":"2026-02-05T00:00:00+00:00"}}'
    decided.gives(
        "writes_of_sms",
        f"target | kind | key | address | caused_by | payload\n esp | sms | {PHONE}/{A} | {PHONE} | s1 | {payload}",
    )


def test_a_no_is_written_to_every_contact_with_the_number_that_has_not_got_it(decided: Any) -> None:
    decided.given(
        "esp.contacts",
        f"""address     | status       | sms_address | sms_status
            {A}         | subscribed   | {PHONE}     | subscribed
            b@x.example | unsubscribed | {PHONE}     | not_subscribed
            c@x.example | subscribed   | {PHONE}     | unsubscribed
            d@x.example | deleted      | {PHONE}     | subscribed
            e@x.example | subscribed   | {OTHER}     | subscribed""",
    )
    decided.given("decided", f"{DECIDED}\n d1 | {PHONE} | sms | unsubscribed | subscribed | sms | s1 | -")
    decided.gives("writes_of_sms", f"key\n {PHONE}/{A}\n {PHONE}/b@x.example")


def test_a_decision_about_text_messages_is_no_write_of_mail(decided: Any) -> None:
    decided.given("decided", f"{DECIDED}\n d1 | {PHONE} | sms | subscribed | absent | sms | s1 | -")
    decided.gives("writes_of_consent", "kind")
    decided.gives("reachable", "address", where="is_new")
    decided.gives("writes_to_shops", "kind")


# Whole days.


def sms(world: World) -> tuple[str | None, str | None]:
    contact = world.contacts.get("anna@x.example")
    return (contact.phone, contact.sms) if contact else (None, None)


@pytest.fixture
def day(make_world: Any) -> World:
    """Anna is subscribed to the newsletter, the first sync is complete, and SMS is switched on."""
    world = make_world(sms_since=date(2026, 2, 1))
    world.account("1", "anna@x.example", "in")
    world.settle()
    world.load_is_done()
    world.wait(hours=1)
    return world


def test_consent_is_sent_once(day: World) -> None:
    day.texts("1", "in")
    assert day.forward() == [("esp", "profile", "anna@x.example"), ("esp", "sms", f"{PHONE}/anna@x.example")]
    assert sms(day) == (PHONE, "subscribed")
    day.settle()
    assert (day.rule_of(PHONE), day.rule_of("anna@x.example")) == ("9.1b", "5")


def test_before_the_first_sync_is_complete_nothing_is_sent(make_world: Any) -> None:
    world = make_world(sms_since=date(2026, 1, 1))
    world.account("1", "anna@x.example", "in")
    world.texts("1", "in")
    world.settle()
    assert sms(world) == (None, None)
    world.load_is_done()
    assert ("esp", "sms", f"{PHONE}/anna@x.example") in world.forward()
    world.settle()


def test_switched_off_nothing_is_decided_and_switching_on_sends_what_was_given_since(make_world: Any) -> None:
    world = make_world()
    world.account("1", "anna@x.example", "in")
    world.texts("1", "in")
    world.settle()
    world.load_is_done()
    world.settle()
    assert world.query("select distinct channel from merge.decisions") == [{"channel": "email"}]
    for since, status in ((date(2026, 2, 2), None), (date(2026, 2, 1), "subscribed")):
        world.choices = world.choices.__class__(**{**world.choices.__dict__, "sms_since": since})
        world.settle()
        assert sms(world)[1] == status


def test_a_stop_stays_at_the_esp_until_a_newer_opt_in(day: World) -> None:
    day.texts("1", "in")
    day.settle()
    day.wait(hours=1)
    day.contacts["anna@x.example"].sms = "unsubscribed"
    day.contacts["anna@x.example"].sms_at = day.now
    day.settle()
    assert day.accounts["shop", "1"].sms == "in"  # 9.2: not written to the shop
    assert (sms(day)[1], day.rule_of(PHONE)) == ("unsubscribed", "9.2")
    day.wait(hours=1)
    day.texts("1", "in")
    day.settle()
    assert sms(day)[1] == "subscribed"
    assert day.esp_status("anna@x.example") == "subscribed"


def test_the_snapshot_and_the_story_of_a_person_show_both_channels(day: World) -> None:
    day.texts("1", "in")
    day.settle()
    with day.opened() as database:
        database.commit()  # a transaction writes to one file only
        database.execute("attach ':memory:' as snapshot")
        database.begin()
        snapshot.copy_into(database)
        found = rows(database, "select address, channel, shop_status, esp_status, rule from snapshot.contacts order by channel")
        assert [tuple(row.values()) for row in found] == [
            ("anna@x.example", "email", "subscribed", "subscribed", "5"),
            (PHONE, "sms", "subscribed", "subscribed", "9.1b"),
        ]
        database.execute("drop table temp.decisions")  # the run's own, which hides that of the snapshot
        database.execute("use snapshot")
        told = story(database, "Anna@x.example")
        database.execute("use state_file")
    assert [row["channel"] for row in told["person"]] == ["email", "sms"]
    assert {row["channel"] for row in told["events"]} == {row["channel"] for row in told["decisions"]} == {"email", "sms"}
    assert "sms" in {row["kind"] for row in told["writes"]}


def test_a_stop_whose_time_is_unknown_is_not_overruled(day: World) -> None:
    day.texts("1", "in")
    day.settle()
    day.contacts["anna@x.example"].sms = "unsubscribed"
    day.contacts["anna@x.example"].sms_at = None
    day.wait(hours=1)
    day.texts("1", "in")
    day.settle()
    assert (sms(day)[1], day.rule_of(PHONE)) == ("unsubscribed", "9.2")


def test_an_opt_out_in_the_shop_is_sent_and_says_nothing_of_mail(day: World) -> None:
    day.texts("1", "in")
    day.settle()
    day.wait(hours=1)
    day.texts("1", "out")
    day.settle()
    assert sms(day)[1] == "unsubscribed"
    assert day.esp_status("anna@x.example") == "subscribed"


def test_leaving_the_newsletter_says_nothing_of_text_messages(day: World) -> None:
    day.texts("1", "in")
    day.settle()
    day.says("1", "out")
    day.settle()
    assert day.esp_status("anna@x.example") == "unsubscribed"
    assert sms(day)[1] == "subscribed"


def test_everybody_sharing_a_number_is_decided_as_one(day: World) -> None:
    day.account("2", "bob@x.example", "in")
    day.texts("1", "in")
    day.texts("2", "in")
    day.settle()
    day.wait(hours=1)
    day.texts("2", "out")
    day.settle()
    assert {contact.sms for contact in day.contacts.values() if contact.phone} == {"unsubscribed"}


def test_a_new_number_keeps_the_old_ones_stop(day: World) -> None:
    day.texts("1", "in")
    day.settle()
    day.wait(hours=1)
    day.contacts["anna@x.example"].sms = "unsubscribed"
    day.contacts["anna@x.example"].sms_at = day.now
    day.settle()
    account = day.accounts["shop", "1"]
    account.phone = OTHER
    day.settle()
    assert sms(day) == (PHONE, "unsubscribed")
    assert day.rule_of(OTHER) == "9.2"


def test_nobody_is_texted_whom_the_esp_does_not_have(make_world: Any) -> None:
    world = make_world(sms_since=date(2026, 2, 1), groups=("buyer",))
    world.account("1", "anna@x.example", None)
    world.load_is_done()
    world.texts("1", "in")
    world.settle()
    assert world.contacts == {}
    found = world.query(f"select distinct channel, skipped from merge.decisions where address = '{PHONE}'")
    assert found == [{"channel": "sms", "skipped": "no contact at the ESP that could hold the number"}]
    for _ in range(3):
        world.settle()  # nobody looks at the number any more
    world.order("7", "anna@x.example", customer_id="1")
    world.settle()
    assert sms(world) == (PHONE, "subscribed")
