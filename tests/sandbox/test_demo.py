"""The demo as a newcomer sees it, and the second calculation that it compares both sides with."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.reference import Change, Person, Said, differences, live_through, read_both, settle

if TYPE_CHECKING:
    from tests.conftest import DemoRun

ROOT = Path(__file__).parent.parent.parent
LAST_YEAR = datetime(2025, 5, 1, tzinfo=UTC)
LAST_MONTH = datetime(2026, 10, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.timeout(600)
@pytest.mark.xdist_group("demo")
class TestTheDemo:
    def test_it_ends_well(self, demo_run: DemoRun) -> None:
        assert demo_run.status == 0, demo_run.output

    def test_both_sides_hold_what_they_should(self, demo_run: DemoRun) -> None:
        compared = re.findall(r"(WooCommerce|Shopify|One newsletter).*: (\d+) people compared: 0 differences", demo_run.output)
        assert [(where, int(people) > few) for (where, people), few in zip(compared, (200, 30, 200), strict=True)] == [
            ("WooCommerce", True),
            ("Shopify", True),
            ("One newsletter", True),
        ]

    def test_the_third_sync_writes_nothing(self, demo_run: DemoRun) -> None:
        assert re.search(r"\d+ calls that read, 0 that write", demo_run.output)
        assert re.search(r"\b0  writes in the third sync", demo_run.output)

    def test_nobody_gets_mail_who_should_not(self, demo_run: DemoRun) -> None:
        assert re.search(r"\b0  mails that nobody wanted", demo_run.output)

    def test_what_it_says_to_try_next_works_right_then(self, demo_run: DemoRun) -> None:
        commands = re.findall(r"^\S+/shopsync (.+)$", demo_run.output, flags=re.MULTILINE)
        assert [shlex.split(command)[0] for command in commands] == ["explain", "sql", "rejected"]
        for command in commands:
            run = [sys.executable, "-m", "flows.cli", *shlex.split(command)]
            done = subprocess.run(run, cwd=ROOT, env=demo_run.environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert done.stdout

    def test_a_prefect_server_that_does_not_answer_is_a_sentence(self, demo_run: DemoRun, tmp_path: Path) -> None:
        environment = demo_run.environment | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
        run = [sys.executable, "-m", "sandbox.demo", "--customers", "20", "--orders", "20", "--folder", str(tmp_path / "demo")]
        done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "No Prefect server answers at http://127.0.0.1:9/api (PREFECT_API_URL)" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr


def customer(value: str | None = None, since: datetime = LAST_YEAR, contact: str | None = None, **more: object) -> Person:
    """Somebody with an account whose value was found today: it was given at any time since the account was made."""
    person = Person("ann@kunde.example", account="2", value=value, contact=contact, was_known=True)
    if value:
        person.shop["account"] = Said("in" if value == "1" else "out", since, NOW)
    for name, given in more.items():
        setattr(person, name, given)
    return person


def left(at: datetime) -> Said:
    return Said("out", at - timedelta(days=30), at)


def joined(at: datetime) -> Said:
    return Said("in", at, at)


FIRST_SYNC = {
    # who: (before, status at the ESP after, value in the shop after)
    "1 ticked and unknown to the ESP: added as subscribed": (customer("1"), "subscribed", "1"),
    "2 never ticked and unknown to the ESP: added without an opt-in": (customer(None), "transactional", None),
    "2 an empty box is a box that nobody ticked": (customer(""), "transactional", ""),
    "3 said no in the shop and unknown to the ESP: not added": (customer("0"), None, "0"),
    "5 subscribed on both sides: nothing changes": (
        customer("1", contact="subscribed", esp=joined(LAST_MONTH)),
        "subscribed",
        "1",
    ),
    "10 subscribed at the ESP and never asked in the shop: the shop is told": (
        customer(None, contact="subscribed", esp=joined(LAST_MONTH)),
        "subscribed",
        "1",
    ),
    "11 nobody can tell whether the yes or the shop's no came last: the no wins": (
        customer("0", contact="subscribed", esp=joined(LAST_MONTH)),
        "unsubscribed",
        "0",
    ),
    "12 the account is younger than the opt-out, so its tick is newer": (
        customer("1", since=LAST_MONTH, contact="unsubscribed", esp=left(LAST_YEAR)),
        "subscribed",
        "1",
    ),
    "12 nobody can tell whether the tick or the opt-out came last: the shop is told no": (
        customer("1", contact="unsubscribed", esp=left(LAST_MONTH)),
        "unsubscribed",
        "0",
    ),
    "13 ticked, and a contact who never opted in: subscribed": (customer("1", contact="transactional"), "subscribed", "1"),
    "13a never ticked, and left the newsletter: the shop is told no": (
        customer(None, contact="unsubscribed", esp=left(LAST_MONTH)),
        "unsubscribed",
        "0",
    ),
    "13b no in the shop, and a contact who never opted in: unsubscribed": (
        customer("0", contact="transactional"),
        "unsubscribed",
        "0",
    ),
    "14 not confirmed at the ESP yet: wait": (customer("1", contact="pending"), "pending", "1"),
    "14 a no in the shop ends the open question": (customer("0", contact="pending"), "unsubscribed", "0"),
    "16 archived by the merchant: not created again": (customer("1", contact="archived"), "archived", "1"),
    "bounced: stays, and the shop keeps its consent": (
        customer("1", contact="cleaned", suppression="bounced"),
        "cleaned",
        "1",
    ),
}


@pytest.mark.parametrize(("before", "contact", "value"), FIRST_SYNC.values(), ids=FIRST_SYNC)
def test_the_reference_decides_the_first_sync_as_the_rules_say(before: Person, contact: str | None, value: str | None) -> None:
    settle(before)
    assert (before.contact, before.value) == (contact, value)


def test_a_yes_that_mailchimp_does_not_take_needs_confirmation() -> None:
    person = customer("1", since=LAST_MONTH, contact="unsubscribed", esp=left(LAST_YEAR), is_final=True)
    settle(person)
    assert (person.contact, person.value, person.needs_confirmation) == ("unsubscribed", "1", True)


def test_a_bounce_is_noted_beside_the_consent() -> None:
    person = customer("1", contact="cleaned", suppression="bounced")
    settle(person)
    assert person.bounce_noted


def after_a_day(person: Person, *changes: Change) -> Person:
    settle(person)
    people = {person.address: person}
    last_seen = NOW + timedelta(hours=1)
    live_through(people, changes, {"customers": [], "orders": []}, last_seen, NOW + timedelta(days=1))
    return person


def change(side: str, action: str, **args: object) -> Change:
    return Change(side, action, "ann@kunde.example", args, at=NOW + timedelta(hours=5))  # type: ignore[arg-type]


SUBSCRIBED = {"contact": "subscribed", "esp": joined(LAST_MONTH)}
A_DAY = {
    "leaves by the link: the shop is told no": (
        customer("1", **SUBSCRIBED), [change("esp", "self_unsubscribe")], "unsubscribed", "0",
    ),
    "takes the tick away: unsubscribed": (
        customer("1", **SUBSCRIBED), [change("shop", "tick", value="0")], "unsubscribed", "0",
    ),
    "the tick was emptied: a no, and the box stays empty": (
        customer("1", **SUBSCRIBED), [change("shop", "tick", value="")], "unsubscribed", "",
    ),
    "takes back a no that only the shop had heard": (
        customer("0", **SUBSCRIBED), [change("shop", "tick", value="1")], "subscribed", "1",
    ),
    "comes back at the ESP after a no on both sides": (
        customer("0", **SUBSCRIBED), [change("esp", "self_subscribe")], "subscribed", "1",
    ),
    "yes in the shop and no at the ESP on one day: the no wins": (
        customer(None, contact="transactional"),
        [change("shop", "tick", value="1"), change("esp", "self_unsubscribe")],
        "unsubscribed",
        "0",
    ),
    "reports spam: the shop is told no": (customer("1", **SUBSCRIBED), [change("esp", "complain")], "unsubscribed", "0"),
    "is archived by the merchant: stays so": (customer("1", **SUBSCRIBED), [change("esp", "archive")], "archived", "1"),
    "is deleted in the shop: archived": (customer("1", **SUBSCRIBED), [change("shop", "delete_customer")], "archived", None),
    "is deleted after a no: the opt-out stays": (
        customer("0", **SUBSCRIBED), [change("shop", "delete_customer")], "unsubscribed", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("before", "changes", "contact", "value"), A_DAY.values(), ids=A_DAY)
def test_the_reference_decides_a_day_as_the_rules_say(
    before: Person, changes: list[Change], contact: str | None, value: str | None
) -> None:
    person = after_a_day(before, *changes)
    assert (person.contact, person.value) == (contact, value)


def test_every_kind_of_difference_is_found() -> None:
    shop = {
        "customers": [
            {
                "id": 2,
                "role": "customer",
                "email": "Ann@Kunde.example",
                "date_created_gmt": "2025-05-01T00:00:00",
                "meta_data": [{"key": "newsletter_optin", "value": "1"}],
            }
        ],
        "orders": [
            {
                "id": 7,
                "customer_id": 2,
                "status": "completed",
                "currency": "EUR",
                "total": "12.00",
                "refunds": [{"total": "-2.00"}],
                "billing": {"email": "ann@kunde.example"},
                "meta_data": [],
                "date_created_gmt": "2026-01-01T00:00:00",
                "date_paid_gmt": "2026-01-01T00:00:00",
            }
        ],
    }
    people = read_both(shop, {"members": []}, NOW)
    settle(people["ann@kunde.example"])
    empty = {"members": [], "customers": {}, "orders": {}}
    assert {what: (expected, found) for _, what, expected, found in differences(people, shop, empty, "store")} == {
        "status at the ESP": ("subscribed", "nothing"),
        "tags": ("Buyer, Subscriber, WooCommerce", ""),
        "orders at the ESP": ("1", "0"),
        "totals at the ESP": ("10.00 EUR", "nothing"),
    }
