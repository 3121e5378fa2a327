"""What an erasure takes out of the state, what it leaves, and what the search finds."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.state import TABLES
from tasks import chain, erasure, tombstones
from tasks.inbox import Inbox
from tasks.state import Database, State, rows

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
ANNA, BERT = "anna@x.example", "bert@x.example"
PHONE = "+4915112345678"


@pytest.fixture
def state(tmp_path: Path) -> State:
    found = State(tmp_path / "acme")
    tombstones.make_key(found)
    return found


def put(database: Database, table: str, **values: Any) -> None:
    """A row with these values; what else must be there gets something of its type."""
    blank: dict[str, Any] = {"VARCHAR": "x", "BOOLEAN": False, "BIGINT": 1, "DECIMAL(18,4)": 1}
    described = database.execute(f"describe {table}").fetchall()
    row = {name: blank.get(kind, NOON) for name, kind, null, *_ in described if null == "NO"} | values
    database.execute(
        f"insert into {table} by name select " + ", ".join(f"${name} as {name}" for name in row),
        row,
    )


def event(database: Database, event_id: str, address: str, kind: str, **values: Any) -> None:
    given = {"channel": "email", "side": "shop", "source": "shop", "record": "customer:1", "actor": "self", "recorded_at": NOON}
    put(database, "consent.events", event_id=event_id, address=address, kind=kind, **given | values)


def erase(state: State, email: str = ANNA, **options: Any) -> erasure.Person:
    with state.open() as database:
        person = erasure.look_up(database, email, **options)
        stones = tombstones.note(database, state, person.hashed(), NOON + timedelta(days=1))
    with chain.closing(state, "run-2") as database:
        erasure.destroy(database, person, stones, "run-2")
    return person


def test_every_table_that_knows_addresses_is_thought_of() -> None:
    """A new table with an address is emptied by itself; one with another name for it has to be added."""
    told = {
        table for table, model in TABLES.items() if {"address", "email", "payload", "record"} & {*model.to_schema().columns}
    }
    assert told <= {*erasure._parts(), *erasure._KEPT}


def test_all_their_rows_go_and_nobody_elses(state: State) -> None:
    with state.open() as database:
        for table, model in TABLES.items():
            columns = model.to_schema().columns
            if "address" in columns and table != "consent.events":
                for address in (ANNA, BERT, f"x{ANNA}"):
                    more = {"shop.customers": {"customer_id": address}, "shop.orders": {"order_id": address}}
                    more["load.writes"] = {"payload": "{}"}
                    put(database, table, address=address, **more.get(table, {}))
        event(database, "1", ANNA, "opted_in")
        event(database, "2", BERT, "opted_out")
    erase(state)
    with state.open() as database:
        for table, model in TABLES.items():
            if "address" in model.to_schema().columns and table != "ops.privacy_requests":
                left = {row["address"] for row in rows(database, f"select distinct address from {table}")}
                assert left == ({BERT} if table == "consent.events" else {BERT, f"x{ANNA}"}), table
    assert chain.verify(state)["whole"]


def test_what_derives_from_an_opt_in_goes_and_an_opt_out_stays(state: State) -> None:
    """The account was Anna's, and is another address's now, to which it brought what was said."""
    with chain.closing(state, "run-1") as database:
        event(database, "in", ANNA, "opted_in")
        event(database, "out", ANNA, "opted_out", side="esp", source="esp", record=f"contact:{ANNA}")
        event(database, "carried-in", BERT, "opted_in", caused_by="in")
        event(database, "copied-in", BERT, "opted_in", caused_by="in", side="esp", source="esp", record=f"contact:{BERT}")
        event(
            database,
            "carried-out",
            BERT,
            "opted_out",
            caused_by="out",
            side="esp",
            source="esp",
            record=f"carried:contact:{ANNA}",
        )
        event(database, "own", BERT, "opted_in", record="order:9")
    person = erase(state)
    with state.open() as database:
        found = {row["record"].partition(":")[0]: row for row in rows(database, "from consent.events")}
        (hashed,) = tombstones.hashes(database, [ANNA])
        touched = {row["address"] for row in rows(database, "from merge.touched")}
    assert set(found) == {"order", "carried"}
    assert (found["carried"]["record"], found["carried"]["kind"]) == (f"carried:contact:{hashed}", "opted_out")
    assert touched == {BERT}
    assert chain.verify(state)["whole"]
    assert erasure.search(state, person).found == ("acme/state.duckdb: bytes",)  # those of deleted rows
    state.rewrite()
    assert erasure.search(state, person).found == ()


def test_a_number_goes_unless_somebody_else_has_it(state: State) -> None:
    with state.open() as database:
        put(database, "shop.customers", shop="shop", customer_id="1", address=ANNA, sms_address=PHONE)
        event(database, "1", PHONE, "opted_in", channel="sms")
    assert erase(state).phones == (PHONE,)
    with state.open() as database:
        assert rows(database, "from consent.events") == []
        put(database, "shop.customers", shop="shop", customer_id="2", address="c@x.example", sms_address=PHONE)
        put(database, "shop.customers", shop="shop", customer_id="3", address=BERT, sms_address=PHONE)
        event(database, "2", PHONE, "opted_out", channel="sms")
    assert erase(state, BERT).phones == ()
    with state.open() as database:
        assert [row["kind"] for row in rows(database, "from consent.events")] == ["opted_out"]


def test_a_former_address_is_named_and_stays(state: State) -> None:
    with state.open() as database:
        put(database, "shop.customers", shop="shop", customer_id="1", address=ANNA)
        event(database, "1", BERT, "opted_out")
        put(database, "esp.contacts", address=BERT, email=BERT, status="unsubscribed")
    assert erase(state).former == (BERT,)
    with state.open() as database:
        assert len(rows(database, "from esp.contacts") + rows(database, "from consent.events")) == 2


def test_an_account_that_a_shop_names_is_erased_at_whichever_address(state: State) -> None:
    with state.open() as database:
        put(database, "shop.customers", shop="shop", customer_id="1", address=BERT)
        put(database, "shop.orders", shop="shop", order_id="7", customer_id="1", address="c@x.example", email="c@x.example")
    person = erase(state, ANNA, accounts=[("shop", "1")])
    assert person.addresses == (ANNA, BERT)
    with state.open() as database:
        assert rows(database, "from shop.customers") + rows(database, "from shop.orders") == []


@pytest.mark.parametrize(
    "text",
    [
        ANNA,
        ANNA.upper(),
        f"data%5Bemail%5D={ANNA.replace('@', '%40')}&x=1",
        hashlib.md5(ANNA.encode()).hexdigest(),
        f"tel {PHONE}",
    ],
)
def test_the_search_finds_them_in_columns_and_files(state: State, text: str) -> None:
    person = erasure.Person((ANNA,), phones=(PHONE,), spellings=("Anna@x.example",))
    assert erasure.search(state, person).found == ()
    stray = state.folder / "export.csv"
    stray.write_text(f"one,{text}\n")
    Inbox(state.folder).put("shop", "topic", orjson.dumps({"text": text, "filler": "x" * 9000}))
    with state.open() as database:
        put(database, "ops.runs", message=text.replace("%40", "@").replace("%5D", "]"))
    found = erasure.search(state, person).found
    assert {place.partition(" ")[0] for place in found} >= {"acme/export.csv:", "inbox.sqlite:", "state.duckdb:"}


def test_what_only_looks_like_them_is_not_found(state: State) -> None:
    person = erasure.Person((ANNA,), spellings=(ANNA,), names=(("Anna", "Ek"),))
    (state.folder / "export.csv").write_text(f"x{ANNA},{ANNA}.au,anna-{ANNA}\n")
    with state.open() as database:
        put(database, "merge.addresses", address=f"x{ANNA}")
        put(database, "ops.runs", message="Joanna Eklund")
    assert erasure.search(state, person).found == ()
    with state.open() as database:
        put(database, "ops.runs", message="Anna Ek")
    assert erasure.search(state, person).found == ("state.duckdb: ops.runs.message (1 rows)",)
