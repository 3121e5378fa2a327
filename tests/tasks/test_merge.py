"""Deciding on a real state file: counts, what is written down, and the run that stops before it breaks a promise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tasks import ledger, merge, rules
from tasks.connector import SetupError
from tasks.merge import BrokenPromiseError, Choices, Store
from tasks.state import Database, State, rows

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
SHOPS = [Store("shop", "store-1", "WooCommerce")]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with State(tmp_path).open() as opened:
        yield opened


def decide(database: Database, number: int, choices: Choices | None = None) -> dict[str, int]:
    merge.bind_run(database, f"run-{number}", NOON + timedelta(hours=number), choices or Choices(), SHOPS)
    return merge.decide(database)


def account(database: Database, customer_id: str, address: str | None) -> None:
    database.execute(
        """
        insert into shop.customers by name select
            'shop' as shop, $1 as customer_id, $2 as email, $2 as address, $3 as created_at, $3 as updated_at,
            'h' as record_hash, $3 as seen_at, $3 as first_seen_at, 'run-0' as run_id
        """,
        [customer_id, address, NOON],
    )


def says(database: Database, event_id: str, address: str, kind: str, record: str, at: datetime) -> None:
    database.execute(
        """
        insert into consent.events by name select
            $1 as event_id, $2 as address, 'email' as channel, 'shop' as side, 'shop' as source, $4 as record, $3 as kind,
            'self' as actor, $5 as earliest_at, $5 as latest_at, $5 as as_of_at, false as is_inferred, 'run-0' as run_id,
            $5 as recorded_at
        """,
        [event_id, address, kind, record, at],
    )


def test_nobody_known_is_nothing_decided(database: Database) -> None:
    assert decide(database, 1) == {"people": 0, "decided": 0}


def test_only_new_decisions_are_written_down(database: Database) -> None:
    account(database, "1", "a@x.example")
    account(database, "2", "b@x.example")
    account(database, "3", None)
    assert decide(database, 1) == {"people": 2, "decided": 2}
    assert decide(database, 2) == {"people": 2, "decided": 0}
    says(database, "e1", "a@x.example", "opted_in", "customer:1", NOON)
    assert decide(database, 3) == {"people": 2, "decided": 1}
    assert rows(database, "select run_id, count(*) as n from merge.decisions group by run_id order by run_id") == [
        {"run_id": "run-1", "n": 2},
        {"run_id": "run-3", "n": 1},
    ]


def test_who_was_ever_known_is_remembered_once(database: Database) -> None:
    account(database, "1", "a@x.example")
    decide(database, 1)
    database.execute("update shop.customers set deleted_at = now()")
    decide(database, 2)
    assert rows(database, "select address from merge.addresses") == [{"address": "a@x.example"}]
    assert rows(database, "select shop_status from merge.decisions order by decided_at") == [
        {"shop_status": "not_subscribed"},
        {"shop_status": "deleted"},
    ]


def test_the_merchants_groups_and_start_date_limit_who_is_added(database: Database) -> None:
    account(database, "1", "a@x.example")
    decide(database, 1, Choices(groups=("subscriber",)))
    decide(database, 2, Choices(customers_since=(NOON + timedelta(days=1)).date()))
    assert rows(database, "select esp_write, skipped from merge.decisions") == [
        {"esp_write": None, "skipped": "in none of the chosen groups, or older than the start date"}
    ]
    decide(database, 3)
    assert rows(database, "select esp_write from merge.decisions where run_id = 'run-3'") == [{"esp_write": "create"}]


def test_a_policy_of_the_merchants_own_decides(database: Database, tmp_path: Path) -> None:
    table = tmp_path / "quiet.csv"
    table.write_text(
        "precedence,rule,phase,shop,shop_moved,esp,esp_moved,time_order,set_esp,set_shop,sentence\n"
        "1,Q,*,*,*,*,*,*,unsubscribed,unsubscribed,Nobody gets mail.\n",
        encoding="utf-8",
    )
    account(database, "1", "a@x.example")
    decide(database, 1, Choices(policy=str(table)))
    assert rows(database, "select rule, esp_write, sentence from merge.decisions") == [
        {"rule": "Q", "esp_write": "create", "sentence": "Nobody gets mail."}
    ]
    with pytest.raises(SetupError, match="there is no policy"):
        decide(database, 2, Choices(policy="quite"))


def test_a_table_that_would_break_a_promise_is_not_used(database: Database, tmp_path: Path) -> None:
    """12.1 holds under every policy: a table of the merchant's own cannot subscribe who opted out."""
    table = tmp_path / "greedy.csv"
    table.write_text("precedence,rule,set_esp,set_shop,sentence\n1,G,subscribed,subscribed,Everybody gets mail.\n", "utf-8")
    with pytest.raises(SetupError, match=r"greedy.csv, line 2: .* \(promise 12.1\)"):
        decide(database, 1, Choices(policy=str(table)))


def test_decisions_that_would_break_a_promise_stop_the_run_before_anything_is_planned(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The assertions in the run do not trust the table, should it have been loaded all the same."""
    greedy = rules.load_policy("consent-first").with_columns(set_esp=pl.lit("subscribed"), set_shop=pl.lit("subscribed"))
    monkeypatch.setattr(rules, "load_policy", lambda name: greedy)
    account(database, "1", "a@x.example")
    says(database, "e1", "a@x.example", "opted_in", "order:7", NOON)
    decide(database, 1)
    account(database, "2", "b@x.example")
    says(database, "e2", "b@x.example", "opted_out", "customer:2", NOON)
    with pytest.raises(BrokenPromiseError, match=r"promise 12\.\d would be broken for 1 people") as error:
        decide(database, 2)
    assert "b@x.example" not in str(error.value)
    assert rows(database, "select distinct address from merge.decisions") == [{"address": "a@x.example"}]
    assert rows(database, "from load.writes") == []


def test_deciding_says_nothing_of_itself_to_the_ledger(database: Database) -> None:
    account(database, "1", "a@x.example")
    decide(database, 1)
    assert rows(database, "from load.writes") == []
    ledger.plan(database, "reverse")
    assert rows(database, "from load.writes") == []
