"""The ledger on a real state file: planned, sent, settled; only an acknowledgement says that the other side has it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from tasks import ledger, merge
from tasks.connector import Outcome
from tasks.merge import Choices, Store
from tasks.state import Database, State, rows

ANNA, BOB = "anna@x.example", "bob@x.example"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with State(tmp_path).open() as opened:
        yield opened


def run(database: Database, run_id: str, *flows: str, is_dry: bool = False) -> None:
    flow = "plan" if is_dry else flows[0]
    database.execute(
        "insert into ops.runs by name select $1 as run_id, $2 as flow, now() as started_at, 'p' as policy", [run_id, flow]
    )
    merge.bind_run(database, run_id, datetime.now(UTC), Choices(), [Store("shop", "store-1", "WooCommerce")])
    merge.decide(database)
    for flow in flows:
        ledger.plan(database, flow, is_dry=is_dry)


def account(database: Database, customer_id: str, address: str, consent: str | None) -> None:
    """An account, and the event that its consent is."""
    database.execute(
        """
        insert into shop.customers by name select
            'shop' as shop, $1 as customer_id, $2 as email, $2 as address, $3 as consent,
            'h' as record_hash, $4 as seen_at, $4 as first_seen_at, 'run-0' as run_id
        """,
        [customer_id, address, consent, LONG_AGO],
    )
    if consent:
        says(
            database,
            f"s{customer_id}",
            address,
            "shop",
            f"customer:{customer_id}",
            {"in": "opted_in", "out": "opted_out"}[consent],
        )


def contact(database: Database, address: str, status: str) -> None:
    database.execute(
        """
        insert into esp.contacts by name select
            $1 as contact_id, $1 as email, $1 as address, $2 as status, $3 as changed_at, '{}' as fields, '["VIP"]' as tags,
            'h' as record_hash, $3 as seen_at, $3 as first_seen_at, 'run-0' as run_id, false as removed_by_us
        """,
        [address, status, LONG_AGO],
    )
    kind = {"subscribed": "opted_in", "unsubscribed": "opted_out"}.get(status)
    if kind:
        says(database, f"e-{address}", address, "esp", f"contact:{address}", kind)


def says(
    database: Database, event_id: str, address: str, source: str, record: str, kind: str, *, at: datetime = LONG_AGO
) -> None:
    database.execute(
        """
        insert into consent.events by name select
            $1 as event_id, $2 as address, 'email' as channel, $3 as side, $3 as source, $4 as record, $5 as kind,
            'self' as actor, $6 as earliest_at, $6 as latest_at, $6 as as_of_at,
            false as is_inferred, 'run-0' as run_id, $7 as recorded_at
        """,
        [event_id, address, source, record, kind, at, datetime.now(UTC)],
    )


def states(database: Database) -> dict[tuple[str, str], str]:
    return {(row["kind"], row["key"]): row["state"] for row in rows(database, "from load.writes")}


def settle(database: Database, kind: str, state: str = "acknowledged", code: str | None = None, target: str = "esp") -> None:
    (newest,) = database.execute("select max(run_id) from load.writes").fetchone() or ()
    writes = ledger.take(database, newest, target, kind, 100)
    assert writes
    ledger.settle(database, [Outcome(w.write_id, state, code) for w in writes], "run-1")  # type: ignore[arg-type]


def decision(database: Database, address: str = ANNA) -> dict[str, Any]:
    query = """
        select rule, esp_acknowledged_at is not null as esp, shop_acknowledged_at is not null as shop
        from merge.decisions where address = $1 order by decided_at desc limit 1
    """
    return rows(database, query, [address])[0]


# Planning


def test_planning_again_replaces_what_was_never_sent(database: Database) -> None:
    account(database, "1", ANNA, "in")
    run(database, "run-1", "forward")
    run(database, "run-2", "forward")
    assert rows(database, "select distinct run_id from load.writes") == [{"run_id": "run-2"}]
    assert ledger.planned(database, "run-2") == [
        {"target": "esp", "kind": "create", "writes": 1},
        {"target": "esp", "kind": "tags", "writes": 1},
    ]
    assert ledger.planned(database, "run-1") == []


def test_a_flow_leaves_the_other_flows_plan_alone(database: Database) -> None:
    account(database, "1", ANNA, "in")
    account(database, "2", BOB, None)
    contact(database, BOB, "unsubscribed")
    run(database, "run-1", "forward", "reverse")
    run(database, "run-2", "forward")
    assert rows(database, "select run_id from load.writes where flow = 'reverse'") == [{"run_id": "run-1"}]


@pytest.mark.parametrize("flow", ["forward", "reverse"])
def test_a_dry_run_leaves_the_plan_of_a_run_at_work_alone_and_replaces_the_last_dry_run(database: Database, flow: str) -> None:
    account(database, "1", ANNA, "in")
    account(database, "2", BOB, None)
    contact(database, BOB, "unsubscribed")
    run(database, "run-1", flow)
    mine = rows(database, "from load.writes where run_id = 'run-1' order by all")
    run(database, "run-2", "forward", "reverse", is_dry=True)
    run(database, "run-3", "forward", "reverse", is_dry=True)
    assert rows(database, "from load.writes where run_id = 'run-1' order by all") == mine
    assert ledger.planned(database, "run-2") == []
    assert {str(row["target"]) for row in ledger.planned(database, "run-3")} == {"esp", "shop"}
    target, kind = {"forward": ("esp", "create"), "reverse": ("shop", "consent")}[flow]
    ledger.drop_unreachable(database, "run-1", "tags")
    assert len(ledger.take(database, "run-1", target, kind, 10)) == 1
    assert {row["state"] for row in rows(database, "from load.writes where run_id = 'run-3'")} == {"planned"}
    run(database, "run-4", flow)
    assert {row["target"] for row in rows(database, "from load.writes where run_id = 'run-3'")} == {"esp", "shop"} - {target}


def test_what_is_under_way_is_not_planned_again(database: Database) -> None:
    account(database, "1", ANNA, "in")
    run(database, "run-1", "forward")
    ledger.take(database, "run-1", "esp", "create", 10)
    run(database, "run-2", "forward")
    assert states(database)["create", ANNA] == "sent"
    assert len(rows(database, "from load.writes where kind = 'create'")) == 1


def test_transitions_are_counted_per_person_and_rule(database: Database) -> None:
    for number in range(3):
        account(database, str(number), f"p{number}@x.example", "in")
    run(database, "run-1", "forward")
    found = ledger.transitions(database, "run-1")
    assert [(row["side"], row["status_before"], row["status_after"], row["rule"], row["people"]) for row in found] == [
        ("esp", "absent", "subscribed", "1", 3)
    ]


# Taking


def test_opt_outs_are_taken_first(database: Database) -> None:
    for number, consent in enumerate(["in", "in", "out"]):
        account(database, str(number), f"{number}@x.example", consent)
        contact(database, f"{number}@x.example", "not_subscribed")
    run(database, "run-1", "forward")
    taken = [write.key for _ in range(3) for write in ledger.take(database, "run-1", "esp", "status", 1)]
    assert taken == ["2@x.example", "0@x.example", "1@x.example"]
    assert ledger.take(database, "run-1", "esp", "status", 1) == []


def test_a_write_is_what_the_connector_needs(database: Database) -> None:
    account(database, "1", ANNA, "in")
    run(database, "run-1", "forward")
    (write,) = ledger.take(database, "run-1", "esp", "create", 10)
    assert (write.key, write.known) == (ANNA, False)
    assert write.payload["status"] == "subscribed"
    assert write.payload["consent_at"] == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("kind", "is_taken"), [("opted_out", False), ("complained", False), ("bounced", False), ("opted_in", True)]
)
def test_a_no_that_arrived_after_planning_stops_the_write_that_would_subscribe(
    database: Database, kind: str, is_taken: bool
) -> None:
    account(database, "1", ANNA, "in")
    contact(database, ANNA, "not_subscribed")
    account(database, "2", BOB, "in")
    contact(database, BOB, "not_subscribed")
    run(database, "run-1", "forward")
    says(database, "late", ANNA, "esp", f"contact:{ANNA}", kind, at=datetime.now(UTC))
    taken = {write.key for write in ledger.take(database, "run-1", "esp", "status", 10)}
    assert taken == ({ANNA, BOB} if is_taken else {BOB})
    assert {write.key for write in ledger.take(database, "run-1", "esp", "profile", 10)} == {
        ANNA,
        BOB,
    }  # says nothing about consent


@pytest.mark.parametrize(("status", "is_taken"), [("subscribed", False), ("unsubscribed", True)])
def test_who_changed_their_address_meanwhile_is_not_subscribed_by_what_was_planned_for_the_old_one(
    database: Database, status: str, is_taken: bool
) -> None:
    account(database, "1", ANNA, None)
    contact(database, ANNA, status)
    run(database, "run-1", "reverse")
    database.execute("update shop.customers set address = $1", [BOB])
    assert len(ledger.take(database, "run-1", "shop", "consent", 10)) == is_taken


def test_accounts_to_look_at_again_before_they_are_told_subscribed(database: Database) -> None:
    account(database, "1", ANNA, None)
    contact(database, ANNA, "subscribed")
    account(database, "2", BOB, None)
    contact(database, BOB, "unsubscribed")
    run(database, "run-1", "reverse")
    assert ledger.opt_ins_planned(database, "run-1", "shop") == ["1"]
    assert ledger.opt_ins_planned(database, "run-1", "second") == []


# Settling


def test_an_acknowledged_creation_is_held_known_and_an_event_of_ours(database: Database) -> None:
    account(database, "1", ANNA, "in")
    run(database, "run-1", "forward")
    assert decision(database) == {"rule": "1", "esp": False, "shop": True}
    settle(database, "create")
    assert decision(database) == {"rule": "1", "esp": True, "shop": True}
    assert rows(database, "select status, removed_by_us from esp.contacts") == [
        {"status": "subscribed", "removed_by_us": False}
    ]
    copy = rows(database, "select kind, actor, caused_by, latest_at from consent.events where side = 'esp'")
    assert copy == [{"kind": "opted_in", "actor": "system", "caused_by": "s1", "latest_at": LONG_AGO}]
    settle(database, "tags")
    run(database, "run-2", "forward", "reverse")
    assert ledger.planned(database, "run-2") == []  # the profile went with the creation


@pytest.mark.parametrize(
    ("state", "code", "is_carried_out"),
    [
        ("acknowledged", None, True),
        ("skipped", "gone", True),  # a record that is gone needs nothing
        ("skipped", "compliance", False),  # needs_confirmation must not settle
        ("skipped", "exists", False),
        ("rejected", "invalid_address", False),
    ],
)
def test_what_carries_a_decision_out(database: Database, state: str, code: str | None, is_carried_out: bool) -> None:
    account(database, "1", ANNA, "in")
    contact(database, ANNA, "not_subscribed")
    run(database, "run-1", "forward")
    settle(database, "status", state, code)
    assert decision(database)["esp"] is is_carried_out
    run(database, "run-2", "forward")
    assert ("status", ANNA) not in {key for key, state in states(database).items() if state == "planned"}  # nor asked again
    assert ledger.needs_confirmation(database) == (1 if code == "compliance" else ledger.needs_confirmation(database))


def test_a_decision_for_two_accounts_is_carried_out_when_both_have_it(database: Database) -> None:
    account(database, "1", ANNA, None)
    account(database, "2", ANNA, None)
    contact(database, ANNA, "unsubscribed")
    run(database, "run-1", "reverse")
    for is_done in (False, True):
        (write,) = ledger.take(database, "run-1", "shop", "consent", 1)
        ledger.settle(database, [Outcome(write.write_id, "acknowledged")], "run-1")
        assert decision(database)["shop"] is is_done
    assert rows(database, "select distinct consent from shop.customers") == [{"consent": "out"}]


def test_an_acknowledged_archiving_is_ours(database: Database) -> None:
    account(database, "1", ANNA, "in")
    contact(database, ANNA, "subscribed")
    run(database, "run-1", "forward")
    database.execute("update shop.customers set deleted_at = now()")
    run(database, "run-2", "forward")
    settle(database, "archive")
    assert rows(database, "select status, removed_by_us from esp.contacts") == [{"status": "deleted", "removed_by_us": True}]
    assert rows(database, "select actor from consent.events where kind = 'deleted'") == [{"actor": "system"}]
    run(database, "run-3", "forward")
    assert ledger.planned(database, "run-3") == []


def test_a_bounce_is_written_beside_the_consent(database: Database) -> None:
    account(database, "1", ANNA, "in")
    contact(database, ANNA, "bounced")
    says(database, "b", ANNA, "esp", f"contact:{ANNA}", "bounced")
    run(database, "run-1", "reverse")
    settle(database, "bounce", target="shop")
    assert rows(database, "select consent, bounced_at from shop.customers") == [{"consent": "in", "bounced_at": LONG_AGO}]
    run(database, "run-2", "reverse")
    assert ledger.planned(database, "run-2") == []


def test_tags_are_added_and_taken_away_and_others_left(database: Database) -> None:
    account(database, "1", ANNA, "in")
    contact(database, ANNA, "subscribed")
    database.execute("""update esp.contacts set tags = '["Contact","VIP"]'""")
    run(database, "run-1", "forward")
    settle(database, "tags")
    (row,) = rows(database, "select tags from esp.contacts")
    assert orjson.loads(row["tags"]) == ["Subscriber", "VIP", "WooCommerce"]


def test_settling_nothing_changes_nothing(database: Database) -> None:
    ledger.settle(database, [], "run-1")
    assert rows(database, "from load.held") == []


def test_the_last_of_two_outcomes_of_one_write_counts(database: Database) -> None:
    account(database, "1", ANNA, "in")
    run(database, "run-1", "forward")
    (write,) = ledger.take(database, "run-1", "esp", "create", 1)
    ledger.settle(database, [Outcome(write.write_id, "rejected"), Outcome(write.write_id, "acknowledged")], "run-1")
    assert states(database)["create", ANNA] == "acknowledged"


# After a crash


def test_what_was_sent_and_never_heard_of_is_looked_up(database: Database) -> None:
    account(database, "1", ANNA, "in")
    account(database, "2", BOB, "in")
    run(database, "run-1", "forward")
    ledger.take(database, "run-1", "esp", "create", 10)
    ((key, writes),) = ledger.unsettled(database, "forward").items()
    assert key == ("esp", "create")
    assert ledger.unsettled(database, "reverse") == {}
    held = [write for write in writes if write.key == ANNA]
    ledger.settle(database, [Outcome(held[0].write_id, "acknowledged")], "run-2")
    ledger.give_back(database, [write for write in writes if write.key == BOB])
    assert ledger.unsettled(database, "forward") == {}
    run(database, "run-2", "forward")
    planned = {key for key, state in states(database).items() if state == "planned"}
    assert ("create", BOB) in planned
    assert ("create", ANNA) not in planned


def test_giving_nothing_back_is_fine(database: Database) -> None:
    ledger.give_back(database, [])


# What hangs on a refused write


def test_tags_for_whom_the_esp_refused_are_not_sent(database: Database) -> None:
    account(database, "1", ANNA, "in")
    account(database, "2", BOB, "in")
    run(database, "run-1", "forward")
    for write in ledger.take(database, "run-1", "esp", "create", 10):
        state: Any = "acknowledged" if write.key == ANNA else "rejected"
        ledger.settle(database, [Outcome(write.write_id, state)], "run-1")
    ledger.drop_unreachable(database, "run-1", "tags")
    assert states(database)["tags", BOB] == "skipped"
    assert states(database)["tags", ANNA] == "planned"
    (row,) = [row for row in ledger.outcomes(database, "run-1") if row["kind"] == "tags"]
    assert (row["planned"], row["skipped"], row["waiting"]) == (2, 1, 1)


def test_consent_is_never_dropped(database: Database) -> None:
    account(database, "1", ANNA, "out")
    contact(database, ANNA, "subscribed")
    run(database, "run-1", "forward")
    before = states(database)
    for kind in ("create", "status", "archive", "consent", "bounce"):
        ledger.drop_unreachable(database, "run-1", kind)
    assert states(database) == before


def test_counts_of_a_run_balance(database: Database) -> None:
    for number in range(5):
        account(database, str(number), f"{number}@x.example", "in")
    run(database, "run-1", "forward")
    states_: list[Any] = ["acknowledged", "skipped", "rejected"]
    for write, state in zip(ledger.take(database, "run-1", "esp", "create", 4), states_, strict=False):
        ledger.settle(database, [Outcome(write.write_id, state)], "run-1")
    (row,) = [row for row in ledger.outcomes(database, "run-1") if row["kind"] == "create"]
    assert row == {
        "target": "esp",
        "kind": "create",
        "planned": 5,
        "acknowledged": 1,
        "skipped": 1,
        "rejected": 1,
        "waiting": 2,
    }


def test_a_run_that_planned_long_ago_still_knows_what_arrived_since(database: Database) -> None:
    """`take` compares with the time of planning, so an opt-out heard before it was planned with is no reason to wait."""
    account(database, "1", ANNA, "in")
    contact(database, ANNA, "unsubscribed")
    says(database, "tick", ANNA, "shop", "order:7", "opted_in", at=LONG_AGO + timedelta(days=1))
    run(database, "run-1", "forward")
    assert [write.payload["status"] for write in ledger.take(database, "run-1", "esp", "status", 10)] == ["subscribed"]
