"""What people may ask for through a shop or by the merchant's hand: to be forgotten. A copy is what `explain` tells.

A request is written down first, so that what a crash, an outage or another run leaves undone is done by the next forward run.
Then, in this order: tombstones are noted outside the state, the ESP forgets, the state, the files. From the first step on, each
run finds what is missing and goes on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import chain, erasure, scope, tombstones
from tasks.addresses import to_address
from tasks.connector import SetupError, Write
from tasks.erasure import Person
from tasks.load import settle_leftovers
from tasks.publish import publish
from tasks.run import Run
from tasks.state import Database, State, fact, rows
from tasks.storage import DUE_AFTER

AT_ESP = ("delete", "archive", "keep")
"""What becomes of the contact: deleted for good, archived (which can be taken back), or left alone."""


def how_at_esp(run: Run, wanted: str | None) -> str:
    """Raises SetupError for what this ESP cannot do."""
    can = {"delete": run.esp.capabilities.erasure, "archive": "archive" in run.esp.capabilities.writes, "keep": True}
    if wanted is None:
        return next(how for how in AT_ESP if can[how])
    if not can[wanted]:
        other = next(how for how in AT_ESP if can[how])
        raise SetupError(
            f"{type(run.esp).__name__} cannot {wanted} a contact through its API: do it there by hand, and run this again with "
            f"--at-esp {other}."
        )
    return wanted


def foresee(run: Run, email: str) -> dict[str, Any]:
    """What would go, and what the state says of the contact at the ESP. Writes nothing."""
    with run.state.open() as database:
        person = erasure.look_up(database, email)
        status = database.execute("select status from esp.contacts where address = $1", [to_address(email)]).fetchone()
        stone = tombstones.of(database, to_address(email))
        return {
            "connection": run.name,
            "address": to_address(email),
            "removed": erasure.count(database, person),
            "contact": status[0] if status else None,
            "erased_before": bool(stone and stone["is_standing"]),
            "former_addresses": list(person.former),
        }


def ask(run: Run, email: str, at_esp: str | None) -> None:
    """Write a request down that was typed in here; asked for again while it waits, it is the same request."""
    now = datetime.now(UTC)
    with run.state.open() as database:
        database.execute(
            "delete from ops.privacy_requests where source = 'command' and address = $1 and done_at is null",
            [to_address(email)],
        )
        database.execute(
            """
            insert into ops.privacy_requests by name
            select
                'command' as source, 'erase' as kind, null as customer_id, $address as address, $at_esp as at_esp,
                0 as delivery, $now as received_at, $due as due_at, null as done_at
            """,
            {"address": to_address(email), "at_esp": at_esp, "now": now, "due": now + DUE_AFTER},
        )


def waiting(state: State) -> list[dict[str, Any]]:
    """All requests that wait, the first due first: {"number", "kind", "source", "address", "customer_id", "received_at",
    "due_at"}."""
    with state.open() as database:
        return rows(
            database,
            """
            select delivery as number, kind, source, address, customer_id, received_at, due_at
            from ops.privacy_requests where done_at is null order by due_at, delivery
            """,
        )


def answered(state: State, number: int) -> None:
    """Somebody has done what a request asks for. Raises SetupError where none of this number waits."""
    with state.open() as database:
        (done,) = database.execute(
            "update ops.privacy_requests set done_at = $1 where delivery = $2 and done_at is null", [datetime.now(UTC), number]
        ).fetchone() or (0,)
    if not done:
        raise SetupError(f"no request of number {number} waits: `shopsync requests` lists those that do.")


def open_erasures(database: Database) -> list[dict[str, Any]]:
    """Requests to erase a person that wait. One about a whole shop is the merchant's to decide: it is only listed."""
    return rows(
        database,
        """
        select source, customer_id, address, at_esp from ops.privacy_requests
        where kind = 'erase' and done_at is null and (address is not null or customer_id is not null)
        order by received_at, delivery
        """,
    )


@task(cache_policy=NO_CACHE, persist_result=False)
def carry_out_erasures(run: Run) -> None:
    """Erase whom the shops' webhooks named; what the ESP refuses waits, and is counted. Tells nobody whom."""
    with run.state.open() as database:
        is_asked = bool(open_erasures(database))
        _close_needless(database)
    told = carry_out(run, is_patient=True) if is_asked else None
    counts = {"erased": told["people"], "found_again": len(told["found"]), "refused": len(told["refused"])} if told else {}
    with run.state.open() as database:
        run.count(database, "erase", "people", counts)


def _close_needless(database: Database) -> None:
    """Who is erased already and asks for a copy is told that there is nothing; their request is not kept with their name."""
    for request in rows(database, "select * from ops.privacy_requests where kind = 'export' and done_at is null"):
        names = [request["address"]] if request["address"] else []
        names += [tombstones.account(request["source"], request["customer_id"])] if request["customer_id"] else []
        if any(stone["is_standing"] for name in names if (stone := tombstones.of(database, name))):
            erasure.close_requests(database, erasure.look_up(database, request["address"]))


def carry_out(run: Run, *, is_patient: bool = False) -> dict[str, Any]:
    """Erase everybody whose request waits. Returns {"people", "removed": rows by table, "at_esp": what became of the contacts,
    "former_addresses", "searched": {"tables", "columns", "files"}, "found": [...], "refused": [...]}.

    Raises SetupError for what the ESP refuses, unless `is_patient`.
    """
    told: dict[str, Any] = {"people": 0, "removed": {}, "at_esp": [], "former_addresses": [], "refused": []}
    people: list[Person] = []
    with run.state.open() as database:
        requests = open_erasures(database)
    if requests:
        tombstones.make_key(run.state)
    for request in requests:
        try:
            person, at_esp, removed = _carry_out(run, request)
        except SetupError as error:
            if not is_patient:
                raise
            told["refused"].append(str(error))
            continue
        people.append(person)
        told["people"] += 1
        told["at_esp"].append(at_esp)
        told["former_addresses"] += person.former
        for table, number in removed.items():
            told["removed"][table] = told["removed"].get(table, 0) + number
    if people:
        erasure.sweep(run)
        publish.fn(run)
    return told | _searched(run.state, people)


def _carry_out(run: Run, request: dict[str, Any]) -> tuple[Person, str, dict[str, int]]:
    how = how_at_esp(run, request["at_esp"])
    accounts = [(request["source"], request["customer_id"])] if request["customer_id"] else []
    with run.state.open() as database:
        person = erasure.look_up(database, request["address"], accounts)
        stones = tombstones.note(database, run.state, person.hashed(), datetime.now(UTC))
    at_esp = _at_esp(run, person, how)
    with chain.closing(run.state, run.run_id) as database:
        removed = erasure.destroy(database, person, stones, run.run_id)
        erasure.close_requests(database, person)
    return person, at_esp, removed


def _at_esp(run: Run, person: Person, how: str) -> str:
    """What became of the contact: deleted, archived, kept or absent."""
    emails = {spelling.strip().lower(): spelling for spelling in (*person.addresses, *person.spellings)}
    if how == "delete":
        stores = [store.store_id for store in run.stores()]
        there = [run.esp.erase(email, stores) for email in emails]
        return "deleted" if any(there) else "absent"
    if how == "archive":
        archived = run.esp.send("archive", [Write(email, email, {"email": email}) for email in emails])
        return "archived" if any(outcome.state == "acknowledged" for outcome in archived) else "absent"
    return "kept"


def _searched(state: State, people: Sequence[Person]) -> dict[str, Any]:
    if not people:
        return {"searched": {"tables": 0, "columns": 0, "files": 0}, "found": []}
    looked = [erasure.search(state, person) for person in people]
    counts = {name: getattr(looked[-1], name) for name in ("tables", "columns", "files")}
    return {"searched": counts, "found": sorted({place for each in looked for place in each.found})}


def settle_all(run: Run) -> None:
    """Whatever is under way to the ESP has to be there before somebody is deleted there."""
    for flow in scope.FLOWS:
        settle_leftovers.fn(dataclasses.replace(run, flow=flow))


def finish(run: Run) -> None:
    """What an erasure left undone when it was killed, and who stands again in a state that was put back, goes now."""
    with run.state.open() as database:
        is_due = fact(database, erasure.TO_FINISH) is not None or bool(tombstones.not_applied(database, run.state))
    if not is_due:
        return
    with chain.closing(run.state, run.run_id) as database:
        erasure.reapply(database, run.state, run.run_id)
    erasure.sweep(run)
    publish.fn(run)
