"""Erasing over real runs: nothing of the person is left on the disk, nothing comes back, and only they can start afresh."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING, Any

import cuts
import orjson
import pytest
import small_world

from sandbox.server import Fault
from tasks import chain
from tasks.inbox import Inbox
from tasks.lease import lease
from tasks.state import State, rows

if TYPE_CHECKING:
    from tests.flows.conftest import Command

ANNA = small_world.address(1)


def state_of(town: cuts.Town) -> State:
    return State(town.folder / "state" / "demo")


def left(town: cuts.Town, *needles: str) -> list[str]:
    """Files below the data folder that hold one of these, byte by byte."""
    return [
        f"{file.relative_to(town.folder)} holds {needle}"
        for file in sorted((town.folder / "state").rglob("*"))
        if file.is_file() and not file.is_symlink()
        for needle in needles
        if needle.lower().encode() in file.read_bytes().lower()
    ]


def member(town: cuts.Town, email: str) -> dict[str, Any] | None:
    return next((m for m in town.esp.state()["members"] if m["email_address"].lower() == email), None)


@pytest.fixture
def synced(town: cuts.Town) -> cuts.Town:
    """The town after its first sync; the person to erase has a name that nobody else has."""
    number = town.shop.shop.customer_by_email(ANNA).id
    town.shop.act_merchant_edit("customer", number, {"first_name": "Wilhelmina"})
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0
    assert left(town, ANNA, "Wilhelmina")
    assert member(town, ANNA)
    return town


def erase(town: cuts.Town, email: str = ANNA, **options: Any) -> dict[str, Any]:
    ended = town.program.run("erase", town.config, email=email, **options)
    assert (ended["status"], ended["message"]) == (0, None)
    assert ended["result"]["found"] == []
    result: dict[str, Any] = ended["result"]
    return result


def run_all(town: cuts.Town) -> None:
    for flow, full in (("forward", False), ("forward", True), ("reverse", False)):
        assert town.program.run(flow, town.config, full=full)["status"] == 0


def is_forgotten(town: cuts.Town) -> None:
    assert left(town, ANNA, "Wilhelmina") == []
    found = chain.verify(state_of(town))
    assert (found["broken"], found["waiting"]) == (None, 0)


def status_of(town: cuts.Town, email: str) -> str | None:
    with state_of(town).open() as database:
        row = database.execute("select status from esp.contacts where address = $1", [email]).fetchone()
    return row[0] if row else None


def test_nothing_is_left_and_nothing_comes_back(synced: cuts.Town) -> None:
    with synced.open():
        told = erase(synced, f"  {ANNA.upper()} ")
        assert (told["people"], told["at_esp"]) == (1, ["deleted"])
        assert told["removed"]["shop.customers"] == told["removed"]["shop.orders"] == 1
        assert told["searched"]["columns"] > 300
        is_forgotten(synced)
        assert chain.verify(state_of(synced))["erased"] > 0
        run_all(synced)
        assert erase(synced)["removed"] == {}
    is_forgotten(synced)
    assert ANNA not in orjson.dumps(synced.esp.state()).decode()
    assert synced.esp.state()["lists"][synced.esp.audience.id]["forgotten"]
    assert synced.shop.shop.customer_by_email(ANNA), "the shop's own customer stays"


def test_a_changed_record_of_theirs_comes_back_no_more_than_an_old_one(synced: cuts.Town) -> None:
    number = synced.shop.shop.customer_by_email(ANNA).id
    with synced.open():
        erase(synced)
        synced.shop.act_wait(5)
        synced.shop.act_merchant_edit("customer", number, {"first_name": "Wilhelmina", "last_name": "Neu"})
        synced.shop.act_order(customer_id=number)
        synced.shop.act_order(email=ANNA)
        run_all(synced)
        is_forgotten(synced)
        assert member(synced, ANNA) is None
        # Another address for the same account does not launder the old opt-in.
        synced.shop.act_merchant_edit("customer", number, {"email": "anna.neu@example.com"})
        run_all(synced)
    assert member(synced, "anna.neu@example.com") is None
    assert left(synced, "anna.neu@example.com", "Wilhelmina") == []


def test_a_newer_opt_in_of_their_own_starts_afresh(synced: cuts.Town) -> None:
    with synced.open():
        erase(synced, at_esp="archive")
        assert member(synced, ANNA)["status"] == "archived"
        run_all(synced)
        is_forgotten(synced)
        synced.shop.act_wait(5)
        synced.shop.act_order(email=ANNA, consent_tick="1", billing={"first_name": "Wilhelmina"})
        run_all(synced)
        assert status_of(synced, ANNA) == "subscribed"
        assert member(synced, ANNA)["status"] == "subscribed"
        with state_of(synced).open() as database:
            old = rows(
                database,
                """
                select kind from consent.events, consent.tombstones
                where address = $1 and reopened_at is not null and earliest_at <= erased_at and kind = 'opted_in'
                """,
                [ANNA],
            )
            orders = rows(database, "select ordered_at from shop.orders where address = $1", [ANNA])
        assert (old, len(orders)) == ([], 1)
        erase(synced)
        is_forgotten(synced)


def test_an_address_that_only_looks_like_theirs_stays(town: cuts.Town) -> None:
    """Theirs is a part of it, in the columns and in the bytes."""
    for other in (f"x{ANNA}", f"{ANNA}.au"):
        town.shop.act_register(other, consent="1", first_name="Xenia")
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0
        erase(town)
        run_all(town)
    assert (status_of(town, f"x{ANNA}"), status_of(town, f"{ANNA}.au"), status_of(town, ANNA)) == (
        "subscribed",
        "subscribed",
        None,
    )


def test_somebody_unknown_leaves_a_tombstone(synced: cuts.Town) -> None:
    with synced.open():
        told = erase(synced, "future@example.com")
        assert (told["removed"], told["at_esp"]) == ({}, ["absent"])
        synced.shop.act_order(email="future@example.com")
        run_all(synced)
    assert left(synced, "future@example.com") == []
    assert left(synced, ANNA)


# Killed, restored, asked for by a shop


def sites_of_an_erasure(town: cuts.Town) -> dict[str, Any]:
    with town.open() as doors:
        seen = cuts.watch(doors, town.program, ())
        ended = town.program.run("erase", town.config, email=ANNA)
    return {"calls": seen.sites, "commits": ended["commits"]}


@pytest.mark.timeout(400)
def test_a_kill_at_any_moment_is_healed_by_running_it_again(synced: cuts.Town) -> None:
    """After each first call and commit of its kind, one after the other."""
    found = cuts.in_child(lambda: sites_of_an_erasure(synced.elsewhere(synced.folder.with_name(f"{synced.folder.name}-copy"))))
    todo = {cuts.Cut("commit", site, 1, "after") for site in found["commits"]}
    todo |= {cuts.Cut("call", site, 1, "after") for site in found["calls"]}
    kills = 0
    with synced.open() as doors:
        while True:
            seen = cuts.watch(doors, synced.program, todo)
            ended = synced.program.run("erase", synced.config, email=ANNA, cuts=todo)
            if ended["signal"] != signal.SIGKILL:
                break
            todo.remove(seen.fired or cuts.Cut("commit", **ended["died"]))
            kills += 1
        assert (ended["status"], ended["message"]) == (0, None)
        assert kills >= 10
        cuts.watch(doors, synced.program, ())
        is_forgotten(synced)
        assert synced.program.run("forward", synced.config, full=True)["status"] == 0
    is_forgotten(synced)
    assert ANNA not in orjson.dumps(synced.esp.state()).decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", ["privacy._carry_out", "chain.closing"])
def test_the_next_sync_finishes_what_was_killed(synced: cuts.Town, place: str) -> None:
    """After the tombstones were noted, and after the state lost the person, whom files still hold."""
    found = cuts.in_child(lambda: sites_of_an_erasure(synced.elsewhere(synced.folder.with_name(f"{synced.folder.name}-copy"))))
    site = next(site for site in found["commits"] if site.startswith(place))
    with synced.open():
        ended = synced.program.run("erase", synced.config, email=ANNA, cuts=[cuts.Cut("commit", site, 1, "after")])
        assert ended["signal"] == signal.SIGKILL
        assert left(synced, ANNA)
        assert synced.program.run("forward", synced.config)["status"] == 0
        is_forgotten(synced)
    assert member(synced, ANNA) is None


def test_an_older_copy_of_the_state_is_erased_again_by_its_next_run(synced: cuts.Town, command: Command) -> None:
    folder = synced.folder / "state" / "demo"
    shutil.copytree(folder, synced.folder / "backup", symlinks=True)
    with synced.open():
        erase(synced)
        shutil.rmtree(folder)
        shutil.copytree(synced.folder / "backup", folder, symlinks=True)
        refused = command("explain", "demo", ANNA)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "may hold somebody who was erased" in refused.stderr
        assert synced.program.run("reverse", synced.config)["status"] == 0
        assert left(synced, ANNA, "Wilhelmina") == []
        assert synced.program.run("forward", synced.config, full=True)["status"] == 0
    assert left(synced, ANNA, "Wilhelmina") == []
    assert "older copy" in chain.verify(state_of(synced))["broken"]["sentence"]
    assert chain.verify(state_of(synced), accept=True)["whole"]
    assert orjson.loads(command("explain", "demo", ANNA, "--json").stdout)["erased"]["reopened_at"] is None


@pytest.mark.parametrize("loss", ["missing", "another"])
def test_no_run_starts_without_the_key(synced: cuts.Town, loss: str) -> None:
    key = state_of(synced).key
    with synced.open():
        erase(synced)
        assert key.stat().st_mode & 0o777 == 0o600
        kept = key.read_text()
        if loss == "missing":
            key.unlink()
        else:
            key.write_text("ab" * 32)
        for flow in ("forward", "reverse", "plan"):
            ended = synced.program.run(flow, synced.config)
            assert (ended["status"], "the key of this connection's erasures" in ended["message"]) == (2, True)
        ended = synced.program.run("erase", synced.config, email="p2@example.com")
        assert ended["status"] == 2
        key.write_text(kept)
        assert synced.program.run("forward", synced.config)["status"] == 0
    is_forgotten(synced)


def test_what_a_shop_asks_for_the_next_sync_does(synced: cuts.Town) -> None:
    number = synced.shop.shop.customer_by_email(ANNA).id
    with state_of(synced).open() as database:
        for kind, delivery, customer_id, address in (
            ("erase", 1, str(number), ANNA),
            ("export", 2, str(number), ANNA),
            ("erase", 3, None, None),  # the whole shop: not ours to decide
        ):
            database.execute(
                "insert into ops.privacy_requests by name select 'shop' as source, $1 as kind, $2 as customer_id, "
                "$3 as address, $4 as delivery, now() as received_at, now() + interval 30 days as due_at",
                [kind, customer_id, address, delivery],
            )
    inbox = Inbox(synced.folder / "state" / "demo")
    inbox.put("shop", "customers/redact", orjson.dumps({"customer": {"id": number, "email": ANNA}}))
    other = inbox.put("shop", "customer.updated", orjson.dumps({"id": number + 1, "email": f"x{ANNA}"}))
    with synced.open():
        ended = synced.program.run("forward", synced.config)
        assert (ended["status"], ended["result"]["erased"], ended["result"]["found_again"]) == (0, 1, 0)
        assert [(r["kind"], r["is_whole_shop"]) for r in ended["result"]["requests"]] == [("erase", True)]
        assert [delivery.number for delivery in inbox.after(0)] == [other]
        shutil.rmtree(synced.folder / "state" / "demo" / "inbox.sqlite", ignore_errors=True)
    assert [line for line in left(synced, ANNA, "Wilhelmina") if "inbox" not in line] == []
    assert member(synced, ANNA) is None
    with state_of(synced).open() as database:
        kept = rows(
            database, "select customer_id, address, done_at is not null as is_done from ops.privacy_requests order by delivery"
        )
    assert kept == [
        {"customer_id": "erased", "address": None, "is_done": True},
        {"customer_id": "erased", "address": None, "is_done": True},
        {"customer_id": None, "address": None, "is_done": False},
    ]


# The command


@pytest.mark.timeout(300)
def test_the_command_shows_asks_and_proves(synced: cuts.Town, command: Command) -> None:
    with synced.open():
        copy = orjson.loads(command("explain", "demo", ANNA, "--json").stdout)
        assert {part for part, found in copy.items() if found} >= {
            *("person", "accounts", "addresses", "orders", "order_lines", "at_the_esp", "events", "decisions", "writes")
        }
        assert copy["accounts"][0]["first_name"] == "Wilhelmina"
        asked = command("erase", "demo", ANNA)
        assert (asked.returncode, asked.stderr.strip()) == (3, "Nothing was erased: run this again with --yes.")
        assert "What would be erased" in asked.stdout
        assert "deleted for good" in asked.stdout
        assert member(synced, ANNA)
        stray = synced.folder / "state" / "demo" / "export.csv"
        stray.write_text(f"email\n{ANNA}\n")
        done = command("erase", "demo", ANNA, "--yes")
        assert done.returncode == 2
        assert "demo/export.csv: bytes" in done.stdout
        assert "something of this person is still there, in 1 places" in done.stderr
        stray.unlink()
        again = command("erase", "demo", ANNA, "--yes")
        assert (again.returncode, again.stderr) == (0, "")
        assert "nothing is left but keyed hashes" in again.stdout
    told = command("explain", "demo", ANNA)
    assert told.returncode == 0
    assert told.stdout.startswith("Erased on ")
    assert ANNA not in told.stdout
    shown = orjson.loads(command("explain", "demo", ANNA.upper(), "--json").stdout)
    assert list(shown) == ["erased"]
    assert list(shown["erased"]) == ["hash", "erased_at", "reopened_at"]
    assert command("explain", "demo", small_world.address(2)).returncode == 0
    refused = command("erase", "demo", "no address", "--yes")
    assert (refused.returncode, "is no e-mail address" in refused.stderr) == (2, True)


def test_it_waits_for_no_run_and_no_outage_forgets_it(synced: cuts.Town) -> None:
    with synced.open() as doors:
        with lease(synced.folder / "state" / "demo", "forward", "another"):
            ended = synced.program.run("erase", synced.config, email=ANNA)
            assert (ended["status"], "another forward run" in ended["message"]) == (4, True)
        doors["esp"].faults.append(Fault("status", status=429, headers={"Retry-After": "3600"}, times=-1))
        ended = synced.program.run("erase", synced.config, email=ANNA)
        assert ended["status"] == 4
        doors["esp"].faults.clear()
        assert synced.program.run("forward", synced.config)["result"]["erased"] == 1
        is_forgotten(synced)
    assert member(synced, ANNA) is None


def test_requests_are_listed_until_they_are_answered(synced: cuts.Town, command: Command) -> None:
    with state_of(synced).open() as database:
        database.execute(
            "insert into ops.privacy_requests by name select 'shop' as source, 'export' as kind, $1 as address, 7 as delivery, "
            "now() as received_at, now() as due_at",
            [ANNA],
        )
    assert ANNA in command("requests", "demo").stdout
    refused = command("requests", "demo", "--answered", "8")
    assert (refused.returncode, "no request of number 8 waits" in refused.stderr) == (2, True)
    assert orjson.loads(command("requests", "demo", "--answered", "7", "--json").stdout) == []
    assert command("requests", "demo").stdout.strip() == "No request waits."
