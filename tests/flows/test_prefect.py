"""Real flows against a real Prefect server: what it shows, and what it must never know."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import cuts
import httpx
import pytest
import small_world

from flows.watching import WAITS
from sandbox.server import Fault
from tasks.state import State

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.timeout(600)]


def everything(url: str, what: str, **body: Any) -> list[dict[str, Any]]:
    """All that the server tells of one kind."""
    found: list[dict[str, Any]] = []
    while True:
        answer = httpx.post(f"{url}/{what}/filter", json={"limit": 200, "offset": len(found), **body}, timeout=60)
        page = answer.raise_for_status().json()
        found += page
        if len(page) < 200:
            return found


def newest_run(url: str, flow: str) -> dict[str, Any]:
    query = {"flows": {"name": {"any_": [flow]}}, "sort": "EXPECTED_START_TIME_DESC"}
    return everything(url, "flow_runs", **query)[0]


def addresses(town: cuts.Town) -> list[str]:
    held = [customer["email"] for customer in town.shop.state()["customers"]]
    held += [order["billing"]["email"] for order in town.shop.state()["orders"]]
    held += [member["email_address"] for member in town.esp.state()["members"]]
    return sorted({address for address in held if "@" in address})


def test_flows_complete_with_tables_and_tell_the_server_no_address(
    town: cuts.Town, command: Callable[..., Any], prefect_url: Callable[[], str]
) -> None:
    url = prefect_url()
    with town.open():
        for name, flow in (("plan", "plan"), ("sync", "forward"), ("reverse", "reverse")):
            if name == "reverse":
                small_world.third_day(town.shop, town.esp)
            if name == "sync":  # somebody asked to be erased, and whoever it is, nobody may read it here
                with State(town.folder / "state" / "demo").open() as database:
                    database.execute(
                        "insert into ops.privacy_requests by name select 'shop' as source, 'erase' as kind, $1 as address, "
                        "1 as delivery, now() as received_at, now() as due_at",
                        [small_world.address(5)],
                    )
            ended = command(name, "demo", "--json", flow=True)
            assert ended.returncode == 0, ended.stderr
            result = json.loads(ended.stdout)
            run = newest_run(url, flow)
            assert (run["state_type"], run["name"]) == ("COMPLETED", f"{flow} demo")
            mine = {"flow_runs": {"id": {"any_": [run["id"]]}}}
            steps = everything(url, "task_runs", **mine)
            assert {step["state_type"] for step in steps} == {"COMPLETED"}
            artifacts = everything(url, "artifacts", **mine)
            assert {artifact["type"] for artifact in artifacts} == {"table", "progress"}
            tables = {artifact["key"]: json.loads(artifact["data"]) for artifact in artifacts if artifact["type"] == "table"}
            assert result["erased"] == (name == "sync")
            assert tables[f"demo-{flow}-written"] == result["writes"]
            decided = {(row["people"], row["rule"], row["why"]) for row in tables[f"demo-{flow}-decided"]}
            assert decided == {(row["people"], row["rule"], row["sentence"]) for row in result["transitions"]}
            said = [log["message"] for log in everything(url, "logs", logs={"flow_run_id": {"any_": [run["id"]]}})]
            assert any(f"people {row['people']:,}" in line for row in result["transitions"] for line in said)
            if name != "reverse":
                assert tables[f"demo-{flow}-read"] == result["read"]
    told = json.dumps([everything(url, what) for what in ("flow_runs", "task_runs", "artifacts", "logs")])
    assert "demo-forward-written" in told
    assert [address for address in addresses(town) if address in told.lower()] == []
    shown = json.dumps([json.loads(command("sql", "demo", "select address from contacts", "--json").stdout)])
    assert small_world.address(1) in shown  # the search would have found one


def test_a_setup_error_fails_the_run_with_the_sentence_alone(
    town: cuts.Town, command: Callable[..., Any], prefect_url: Callable[[], str]
) -> None:
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0
    town.esp.key = "another-us1"
    with town.open():
        config = town.config.read_text().replace("another-us1", "0123456789abcdef0123456789abcdef-us1")
        town.config.write_text(config)
        ended = command("sync", "demo", flow=True)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.strip().splitlines()[-1].startswith("shopsync: Mailchimp does not accept the API key")
    assert "Traceback" not in ended.stderr
    run = newest_run(prefect_url(), "forward")
    assert run["state_type"] == "FAILED"
    assert "Mailchimp does not accept the API key; make a new one and set api_key." in run["state"]["message"]
    logs = everything(prefect_url(), "logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    assert logs
    assert [log["message"] for log in logs if "Traceback" in log["message"]] == []


def test_a_side_that_is_away_fails_the_run_for_now(
    town: cuts.Town, command: Callable[..., Any], prefect_url: Callable[[], str]
) -> None:
    with town.open() as doors:
        doors["esp"].faults.append(Fault("status", status=429, headers={"Retry-After": "3600"}))
        ended = command("sync", "demo", flow=True)
    assert ended.returncode == 4
    assert "Traceback" not in ended.stderr
    assert "asks to wait 3600 s; run again after that" in ended.stderr
    run = newest_run(prefect_url(), "forward")
    assert run["state_type"] == "FAILED"
    assert "asks to wait 3600 s" in run["state"]["message"]


def test_a_mass_change_ends_the_run_as_awaiting_approval_and_is_announced(
    town: cuts.Town, command: Callable[..., Any], prefect_url: Callable[[], str]
) -> None:
    """The shop loses people. The merchant approves by the hash, as a parameter of the flow."""
    url = prefect_url()
    with town.open():
        town.config.write_text(town.config.read_text().replace("delete = 1", "delete = 0.02\nat_least = 2"))
        for flow in ("forward", "reverse", "forward"):
            assert town.program.run(flow, town.config)["status"] == 0
        gone = [small_world.address(number) for number in range(4, 9)]
        for address in gone:
            town.shop.act_delete_customer(address)
        ended = command("sync", "demo", "--json", flow=True)
        assert ended.returncode == 3, ended.stderr
        (plan,) = json.loads(ended.stdout)["waiting"]
        assert {row["guard"] for row in plan["changes"]} == {"delete"}
        run = newest_run(url, "forward")
        assert (run["state_type"], run["state_name"]) == ("COMPLETED", "AwaitingApproval")
        assert plan["plan"] in run["state"]["message"]

        shown = command("plan", "demo", flow=True)
        assert shown.returncode == 3
        assert f"shopsync sync demo --plan {plan['plan']}" in shown.stdout
        assert any(address in shown.stdout for address in gone), "some of the people, on the terminal only"

        approved = command("sync", "demo", "--plan", plan["plan"], "--json", flow=True)
        assert approved.returncode == 0, approved.stderr
        planned = {row["kind"]: row["planned"] for row in json.loads(approved.stdout)["writes"]}
        assert planned["archive"] == plan["people"]
        assert newest_run(url, "forward")["state_name"] == "Completed"
    events = announced(url)
    assert {event["payload"]["plan"] for event in events} == {plan["plan"]}
    assert events[0]["resource"]["prefect.resource.id"] == "shopsync.connection.demo"
    assert [address for address in addresses(town) if address in json.dumps(events).lower()] == []


def announced(url: str) -> list[dict[str, Any]]:
    """The events that say that a plan waits; Prefect stores events a moment after they were sent."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        answer = httpx.post(f"{url}/events/filter", json={"filter": {"event": {"name": [WAITS]}}}, timeout=60)
        found: list[dict[str, Any]] = answer.raise_for_status().json()["events"]
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError("no event was stored")
