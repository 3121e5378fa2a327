"""Calls that fail in every way: a run ends with what is promised, and the next one brings everything to the same end."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import cuts
import orjson
import pytest
import small_world

from sandbox.server import Fault

EVERY = bool(os.environ.get(cuts.EVERY_CUT))
"""Else the calls of one run fail in different ways, to be quicker."""

SITES = {
    "audience": ("esp", "GET", r"/lists/\w+$"),
    "contacts": ("esp", "GET", r"/members$"),
    "index": ("shop", "GET", r"/wp-json/$"),
    "customers": ("shop", "GET", r"/customers$"),
    "orders": ("shop", "GET", r"/orders$"),
    "products": ("shop", "GET", r"/products$"),
    "field": ("esp", "POST", r"/merge-fields$"),
    "store": ("esp", "POST", r"/stores$"),
    "hold": ("esp", "PATCH", r"/stores/"),
    "consent": ("esp", "POST", r"/lists/\w+$"),
    "batch": ("esp", "POST", r"/batches$"),
    "look at a batch": ("esp", "GET", r"/batches/"),
    "results": ("esp", "GET", r"/batch-archives/"),
}
ONCE = {
    "drop_before": Fault("drop_before"),
    "drop_after": Fault("drop_after"),
    "truncate": Fault("truncate"),
    "500": Fault("status", status=500),
    "503": Fault("status", status=503),
    "429 with Retry-After": Fault("status", status=429, headers={"Retry-After": "0"}),
    "429": Fault("status", status=429),
}
BUSY = ("503", "429 with Retry-After", "429")
PATIENCE_ENDS = {
    "dead": Fault("drop_before", times=-1),
    "busy": Fault("status", status=503, times=-1),
    "asks to wait for long": Fault("status", status=429, headers={"Retry-After": "3600"}),
}


def ordered(fault: Fault, site: str) -> Fault:
    _, method, path = SITES[site]
    return replace(fault, method=method, path=path)


@pytest.fixture(scope="module")
def uncut(program: cuts.Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """How the first sync, and one more, end when nothing goes wrong."""
    town = cuts.Town(*small_world.twins(), tmp_path_factory.mktemp("uncut"), PORTS, program)
    with town.open():
        assert program.run("forward", town.config)["status"] == 0
        assert nothing_more(town) == []
    return plain(town)


PORTS = cuts.free_ports()
"""The same for all, since the shop's address is part of what is compared."""


@pytest.fixture
def here(town: cuts.Town) -> cuts.Town:
    return replace(town, ports=PORTS)


def nothing_more(town: cuts.Town) -> list[str]:
    """What one more run writes."""
    before = len(town.esp.operations)
    assert town.program.run("forward", town.config)["status"] == 0
    return [f"{method} {path}" for method, path, *_ in town.esp.operations[before:] if method != "GET"]


def plain(town: cuts.Town) -> dict[str, Any]:
    held: dict[str, Any] = orjson.loads(orjson.dumps(town.found(), default=str))
    return held


def looked_after(town: cuts.Town, uncut: dict[str, Any]) -> list[str]:
    told = cuts.Counter(small_world.consent_writes(town.esp))
    return [
        *small_world.differences(uncut, plain(town)),
        *(f"created twice: {made}" for made in small_world.created_twice(town.esp)),
        *(f"written {times} times: {write}" for write, times in told.items() if times > 1),
        *cuts.unbalanced(town.folder / "state" / "demo" / "state.duckdb"),
        *cuts.unpublished(town.folder / "state" / "demo"),
    ]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate", "500", *(BUSY if EVERY else ["busy"])])
def test_calls_that_fail_once_change_nothing_in_the_end(here: cuts.Town, uncut: dict[str, Any], kind: str) -> None:
    """The first call to every place fails. What may be repeated is; the rest is left to the next run."""
    with here.open() as doors:
        for number, (site, (side, *_)) in enumerate(SITES.items()):
            doors[side].faults.append(ordered(ONCE[BUSY[number % 3] if kind == "busy" else kind], site))
        ends = []
        while not ends or ends[-1] != 0:
            ended = here.program.run("forward", here.config)
            ends.append(ended["status"])
            assert ended["status"] in {0, 4}, ended["message"]
            assert len(ends) <= len(SITES), "it does not heal"
        assert nothing_more(here) == []
        assert [fault.path for door in doors.values() for fault in door.faults if fault.times != 0] == []
    assert looked_after(here, uncut) == []


@pytest.mark.parametrize("kind", PATIENCE_ENDS if EVERY else ["each in turn"])
def test_a_side_that_stays_away_is_tried_again_later(here: cuts.Town, uncut: dict[str, Any], kind: str) -> None:
    """One place after the other fails for as long as a run is patient; the next run gets on to the next place."""
    with here.open() as doors:
        for number, (site, (side, *_)) in enumerate(SITES.items()):
            doors[side].faults[:] = [ordered(PATIENCE_ENDS.get(kind) or list(PATIENCE_ENDS.values())[number % 3], site)]
            ended = here.program.run("forward", here.config)
            assert (site, ended["status"]) == (site, 4)
            assert "run again" in ended["message"]
            assert "@" not in ended["message"]
            doors[side].faults.clear()
        assert here.program.run("forward", here.config)["status"] == 0
        assert nothing_more(here) == []
    assert looked_after(here, uncut) == []


@pytest.mark.parametrize("kind", ["drop_after", "truncate", "500"])
def test_a_lost_answer_of_the_shop_is_looked_up(town: cuts.Town, kind: str) -> None:
    with town.open() as doors:
        assert town.program.run("forward", town.config)["status"] == 0
        small_world.third_day(town.shop, town.esp)
        doors["shop"].faults.append(replace(ONCE[kind], method="POST", path="/customers/batch$"))
        ended = town.program.run("reverse", town.config)
        assert ended["status"] in {0, 4}, ended["message"]
        assert town.program.run("reverse", town.config)["status"] == 0
        before = len(doors["shop"].calls)
        assert town.program.run("reverse", town.config)["status"] == 0
        assert {call.method for call in doors["shop"].calls[before:]} == {"GET"}
    consent = {
        customer["email"]: {entry["key"]: entry["value"] for entry in customer["meta_data"]}
        for customer in town.shop.state()["customers"]
    }
    assert consent[small_world.address(1)]["newsletter_optin"] == "0"
    assert consent[small_world.address(10)]["email_bounced_at"]
