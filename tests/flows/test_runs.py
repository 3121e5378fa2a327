"""What runs do to each other, to the state file, and to the counts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cuts
import duckdb
import httpx
import pytest
import small_world

import flows.forward
import flows.reverse
from tasks.state import Database, State


@contextlib.contextmanager
def at_the_door(door: Any, method: str, path: str, do: Callable[[], None]) -> Iterator[None]:
    """Do something once, while a call of the program waits for its answer."""
    once = threading.Lock()

    def before(number: int, called: str, at: str) -> None:
        if called == method and at.endswith(path) and once.acquire(blocking=False):
            do()

    door.before = before
    yield
    door.before = None


def owned_by(town: cuts.Town, direction: str, run_id: str, beat_at: float) -> None:
    with sqlite3.connect(town.folder / "state" / "demo" / "lease.sqlite", timeout=30) as database:
        database.execute(
            "update leases set run_id = ?, host = 'elsewhere', beat_at = ? where direction = ?", (run_id, beat_at, direction)
        )


def second_config(town: cuts.Town) -> Path:
    """Another file for the same connection and state: for a program that runs beside the first."""
    urls = [f"http://127.0.0.1:{port}" for port in town.ports]
    path = small_world.write_config(town.folder / "second", *urls, town.esp.key)
    path.write_text(path.read_text().replace('data_dir = "state"', 'data_dir = "../state"'))
    return path


def test_a_second_forward_run_is_refused_and_a_reverse_run_is_not(town: cuts.Town) -> None:
    other = cuts.Program()
    ends: list[dict[str, Any]] = []

    def meanwhile() -> None:
        ends.append(other.run("forward", elsewhere))
        ends.append(other.run("reverse", elsewhere))
        os.kill(town.program.pid, signal.SIGCONT)

    def stop_the_first_run() -> None:
        os.kill(town.program.pid, signal.SIGSTOP)
        thread.start()

    thread = threading.Thread(target=meanwhile)
    with town.open() as doors:
        elsewhere = second_config(town)
        with at_the_door(doors["esp"], "POST", "/merge-fields", stop_the_first_run):
            first = town.program.run("forward", town.config)
        thread.join()
        other.close()
    assert first["status"] == 0
    assert [end["status"] for end in ends] == [4, 0]
    assert "another forward run" in ends[0]["message"]
    assert "run again later" in ends[0]["message"]


def test_a_run_that_lost_its_lease_stops_before_its_next_write(town: cuts.Town) -> None:
    with town.open() as doors:
        with at_the_door(doors["esp"], "POST", "/lists/a1b2c3d4e5", lambda: owned_by(town, "forward", "the-other", 9e9)):
            ended = town.program.run("forward", town.config)
        writes = [call for call in doors["esp"].calls if call.method != "GET"]
        assert ended["status"] == 4
        assert "another forward run took over this connection" in ended["message"]
        assert writes[-1].path.endswith("/lists/a1b2c3d4e5")  # the one under way was the last
        store = next(iter(town.esp.shops.stores.values()))
        assert store.fields["is_syncing"] is True  # the other one may be loading history
        owned_by(town, "forward", "the-other", 0)
        assert town.program.run("forward", town.config)["status"] == 0
        assert store.fields["is_syncing"] is False
    assert town.esp.state()["mails"] == []


def test_a_full_run_that_is_killed_leaves_no_automation_held_for_good(town: cuts.Town) -> None:
    with town.open() as doors:
        assert town.program.run("forward", town.config)["status"] == 0
        small_world.second_day(town.shop, town.esp)
        batches = [cuts.Cut("call", "esp POST /3.0/batches", 1, "after")]
        cuts.watch(doors, town.program, batches)
        assert town.program.run("forward", town.config, full=True)["signal"] == 9
        store = next(iter(town.esp.shops.stores.values()))
        assert store.fields["is_syncing"] is True
        cuts.watch(doors, town.program, [])
        assert town.program.run("forward", town.config)["status"] == 0
        assert store.fields["is_syncing"] is False


def test_an_order_that_is_another_ones_now_moves_also_when_the_run_is_killed_on_it(town: cuts.Town) -> None:
    def owners() -> dict[str, str]:
        (store,) = town.esp.shops.stores.values()
        assert store.fields["is_syncing"] is False
        return {number: store.customers[order["customer"]]["email_address"] for number, order in store.orders.items()}

    with town.open() as doors:
        assert town.program.run("forward", town.config)["status"] == 0
        before = owners()
        number = next(number for number, email in before.items() if email == "g1@example.org")
        town.shop.act_wait(5)
        town.shop.act_merchant_edit("order", int(number), {"billing": {"email": "g2@example.org"}})
        taken_away = "esp POST /3.0/batches of DELETE /ecommerce/stores/shopsync-demo-shop/orders/{}"
        cuts.watch(doors, town.program, [cuts.Cut("call", taken_away, 1, "after")])
        ends = [town.program.run("forward", town.config) for _ in range(3)]
    assert owners() == before | {number: "g2@example.org"}
    assert town.esp.state()["mails"] == []
    assert [end["status"] for end in ends] == [None, 0, 0]


def test_a_store_that_somebody_deleted_is_filled_again_and_triggers_nothing(town: cuts.Town) -> None:
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0
        before = town.esp.state()
        (store_id,) = town.esp.shops.stores
        del town.esp.shops.stores[store_id]
        small_world.second_day(town.shop, town.esp)
        mails = town.esp.state()["mails"]
        assert [town.program.run("forward", town.config)["status"] for _ in range(2)] == [0, 0]
        after = town.esp.state()
        assert after["stores"][store_id]["is_syncing"] is False
        for what in ("products", "customers", "orders"):
            was, now = ({one["id"] for one in state[what][store_id]} for state in (before, after))
            assert was <= now, what
        assert [mail for mail in after["mails"] if mail not in mails] == []
    assert cuts.unbalanced(town.folder / "state" / "demo" / "state.duckdb") == []


@pytest.mark.parametrize(
    ("policy", "flow", "exception"), [("mailchimp-for-shopify", "reverse", "E1"), ("cleverreach", "forward", "E3")]
)
def test_exceptions_wait_for_an_approval_and_nothing_else_does(town: cuts.Town, policy: str, flow: str, exception: str) -> None:
    with town.open():
        town.config.write_text(town.config.read_text().replace("consent-first", policy))
        ends = {each: town.program.run(each, town.config) for each in ("forward", "reverse")}
        assert [end["status"] for end in ends.values()] == [0, 0]
        (plan,) = ends[flow]["result"]["waiting"]
        assert {row["guard"] for row in plan["changes"]} == {exception}
        assert sum(row["acknowledged"] for end in ends.values() for row in end["result"]["writes"]) > 20
        again = town.program.run(flow, town.config)["result"]
        assert [one["plan"] for one in again["waiting"]] == [plan["plan"]], "the same plan, as long as nothing else is decided"
        assert again["writes"] == [], "and nothing of it is written"

        approved = town.program.run(flow, town.config, plan=plan["plan"])
        assert approved["status"] == 0
        assert approved["result"]["waiting"] == []
        told = {"forward": ("create", "status"), "reverse": ("consent",)}[flow]
        written = sum(row["acknowledged"] for row in approved["result"]["writes"] if row["kind"] in told)
        assert written == plan["people"]
        for each in ("forward", "reverse", "forward", "reverse"):
            last = town.program.run(each, town.config)["result"]
        assert (last["writes"], last["waiting"]) == ([], [])
    assert cuts.unbalanced(town.folder / "state" / "demo" / "state.duckdb") == []


def test_a_plan_that_does_not_hold_any_more_is_not_approved(town: cuts.Town) -> None:
    with town.open():
        town.config.write_text(town.config.read_text().replace("consent-first", "cleverreach"))
        (plan,) = town.program.run("forward", town.config)["result"]["waiting"]
        for customer in list(town.shop.shop.customers.values()):
            town.shop.act_tick(customer.id, "0")
        for what, message in ((plan["plan"], "came out otherwise"), ("0123456789ab", "there is no plan")):
            ended = town.program.run("forward", town.config, plan=what)
            assert ended["status"] == 2
            assert message in ended["message"]


def test_a_dry_run_writes_to_neither_side_and_counts_what_waits(town: cuts.Town) -> None:
    with town.open() as doors:
        ended = town.program.run("plan", town.config)
        assert ended["status"] == 0
        assert {call.method for door in doors.values() for call in door.calls} == {"GET"}
        assert sum(row["writes"] for row in ended["result"]["writes"]) > 0
    assert cuts.unbalanced(town.folder / "state" / "demo" / "state.duckdb") == []


def test_a_dry_run_beside_a_reverse_run_changes_nothing_for_it(town: cuts.Town) -> None:
    other = cuts.Program()
    ends: list[dict[str, Any]] = []

    def meanwhile() -> None:
        ends.append(other.run("plan", second_config(town)))
        os.kill(town.program.pid, signal.SIGCONT)

    def stop_the_run() -> None:
        os.kill(town.program.pid, signal.SIGSTOP)
        thread.start()

    thread = threading.Thread(target=meanwhile)
    with town.open() as doors:
        assert town.program.run("forward", town.config)["status"] == 0
        small_world.third_day(town.shop, town.esp)
        # The reverse run has planned, and looks whether it is still the same shop.
        with at_the_door(doors["shop"], "GET", "/wp-json/", stop_the_run):
            reverse = town.program.run("reverse", town.config)
        thread.join()
        other.close()
    (dry,) = ends
    assert (dry["status"], reverse["status"]) == (0, 0)
    written = {row["kind"]: row for row in reverse["result"]["writes"]}
    assert written["consent"]["acknowledged"] > 3
    assert all(row["planned"] == row["acknowledged"] + row["skipped"] for row in written.values())
    state = town.folder / "state" / "demo" / "state.duckdb"
    assert cuts.unbalanced(state) == []
    with duckdb.connect(str(state)) as database:
        runs = database.execute("select distinct run_id from load.writes where state = 'planned'").fetchall()
    assert runs == [(dry["result"]["run_id"],)]


def test_an_opt_out_in_the_shop_since_the_last_sync_is_not_run_over_by_a_reverse_run(town: cuts.Town) -> None:
    """Subscribed at the ESP and never ticked in the shop: the shop would be told, but has heard a no meanwhile."""
    somebody = small_world.address(5)
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0
        town.shop.act_wait(1)
        town.shop.act_tick(somebody, "0")
        assert town.program.run("reverse", town.config)["status"] == 0
        (held,) = [customer for customer in town.shop.state()["customers"] if customer["email"] == somebody]
        assert {entry["key"]: entry["value"] for entry in held["meta_data"]}["newsletter_optin"] == "0"
        assert town.program.run("forward", town.config)["status"] == 0
        assert town.esp.audience.find(somebody).status == "unsubscribed"


def test_counts_balance_also_with_rows_that_are_set_aside(town: cuts.Town) -> None:
    for number in (1, 2, 3):  # imports and plugins leave such things behind
        order = list(town.shop.shop.orders.values())[-number]
        order.billing["email"], order.currency = f"broken{number}", "?"
    town.shop.act_wait(1)
    with town.open():
        ended = town.program.run("forward", town.config)
        assert ended["status"] == 6
        orders = next(row for row in ended["result"]["read"] if row["entity"] == "orders of shop")
        assert orders == {"entity": "orders of shop", "extracted": 12, "changed": 9, "unchanged": 0, "rejected": 3}
    state = town.folder / "state" / "demo" / "state.duckdb"
    assert cuts.unbalanced(state) == []
    with duckdb.connect(str(state)) as database:
        kept = database.execute("select count(distinct record_id), count(*) filter (where advice = '') from ops.rejected_rows")
        assert kept.fetchone() == (3, 0)


def test_no_call_is_made_while_the_state_is_open(town: cuts.Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, so that both can be watched."""
    is_open, during = [0], list[str]()
    really_open, really_send = State.open, httpx.Client.send

    @contextlib.contextmanager
    def watched(state: State) -> Iterator[Database]:
        with really_open(state) as database:
            is_open[0] += 1
            try:
                yield database
            finally:
                is_open[0] -= 1

    def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        during.append(f"{request.method} {request.url.path}: {is_open[0]}")
        return really_send(client, request, **options)

    monkeypatch.setattr(State, "open", watched)
    monkeypatch.setattr(httpx.Client, "send", send)
    for module in (flows.forward, flows.reverse):
        for name, value in list(vars(module).items()):
            if type(value).__name__ == "Task":
                monkeypatch.setattr(module, name, value.fn)
    with town.open():
        monkeypatch.setenv("SHOPSYNC_CONFIG", str(town.config))
        flows.forward.forward.fn("demo")
        small_world.second_day(town.shop, town.esp)
        flows.forward.forward.fn("demo", full=True)
        small_world.third_day(town.shop, town.esp)
        flows.reverse.reverse.fn("demo")
    assert len(during) > 80
    assert [call for call in during if not call.endswith(": 0")] == []


def test_another_policy_is_shown_before_it_is_chosen(town: cuts.Town, command: Callable[..., Any]) -> None:
    """Nothing is read or sent for it, and a policy that decides alike changes nobody."""

    def asked(policy: str, status: int = 0) -> Any:
        ended = command("plan", "demo", "--policy", policy, "--json")
        assert ended.returncode == status, ended.stderr
        return json.loads(ended.stdout) if status == 0 else ended.stderr

    with town.open() as doors:
        told = asked("mailchimp-for-shopify")
        assert (told["people"], told["changes"]) == (None, None), "nothing has been read yet"
        assert "Cannot tell" in command("plan", "demo", "--policy", "mailchimp-for-shopify").stdout
        assert town.program.run("plan", town.config)["status"] == 0
        for door in doors.values():
            door.calls.clear()
        told = asked("mailchimp-for-shopify")
        assert {row["exception"] for row in told["changes"] if row["side"] == "shop"} == {"E1"}
        assert {(row["becomes_now"], row["becomes_then"]) for row in told["changes"] if row["exception"]} == {
            ("unsubscribed", "subscribed")
        }
        assert asked("consent-first")["changes"] == []
        assert "there is no policy" in asked("nobodys", status=2)
        page = command("plan", "demo", "--policy", "mailchimp-for-shopify").stdout
        assert "Who would be decided otherwise" in page
        assert "exception E1" in page
        assert [call for door in doors.values() for call in door.calls] == []
    with State(town.folder / "state" / "demo").open() as database:
        assert database.execute("select count(distinct rule) from merge.decisions where exception is not null").fetchone() == (
            0,
        )
