"""The chain over real runs: each adds a link, none changes an event, none that is killed breaks it, and `verify` tells."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import cuts
import orjson
import pytest

from sandbox.server import Fault
from tasks import chain
from tasks.state import State, rows

if TYPE_CHECKING:
    from tests.flows.conftest import Command


def state_of(town: cuts.Town) -> State:
    return State(town.folder / "state" / "demo")


def events(town: cuts.Town) -> dict[str, dict[str, Any]]:
    with state_of(town).open() as database:
        return {row["event_id"]: row for row in rows(database, "from consent.events")}


def test_runs_add_links_and_never_touch_an_event(town: cuts.Town) -> None:
    known: dict[str, dict[str, Any]] = {}
    with town.open():
        for number, day in enumerate(cuts.DAYS, start=1):
            day.begin(town.shop, town.esp)
            ended = town.program.run(day.flow, town.config)
            now = events(town)
            assert {event: now.get(event) for event in known} == known
            assert len(now) > len(known)
            found = chain.verify(state_of(town))
            assert (found["broken"], found["waiting"], found["events"]) == (None, 0, len(now))
            assert ended["result"]["chain"] == {"number": number, "head": found["head"]}
            known = now
        again = town.program.run("forward", town.config)
    assert again["result"]["chain"] == ended["result"]["chain"]  # it saw nothing
    assert events(town) == known


def test_a_run_that_fails_midway_closes_over_what_it_saw(town: cuts.Town) -> None:
    with town.open() as doors:
        doors["shop"].faults.append(Fault("status", path="/orders", times=-1))
        ended = town.program.run("forward", town.config)
    found = chain.verify(state_of(town))
    assert ended["status"] == 4
    assert (found["broken"], found["waiting"], found["link"]) == (None, 0, 1)
    assert found["events"] > 0


def test_a_run_killed_around_the_commit_of_its_link_is_proved_at_once_and_later(town: cuts.Town) -> None:
    with town.open():
        whole = town.program.run("forward", town.config)
        (site,) = {site for site in whole["commits"] if site.startswith("chain.closing")}
        cuts.DAYS[1].begin(town.shop, town.esp)
        for when, links, waits in (("before", 1, True), ("after", 2, False)):
            killed = town.program.run("forward", town.config, cuts=[cuts.Cut("commit", site, 1, when)])
            found = chain.verify(state_of(town))
            assert killed["signal"] == signal.SIGKILL
            assert (found["broken"], found["link"], found["waiting"] > 0) == (None, links, waits)
        assert town.program.run("forward", town.config)["status"] == 0
        found = chain.verify(state_of(town))
    words = [(line["word"], line["number"]) for line in chain.notes(state_of(town).heads)]
    assert (found["broken"], found["waiting"]) == (None, 0)
    assert words[:4] == [("closing", 1), ("closed", 1), ("closing", 2), ("closing", 2)]


@pytest.mark.timeout(300)
def test_verify_says_whole_or_the_first_broken_link(town: cuts.Town, command: Command) -> None:
    with town.open():
        refused = command("verify", "demo")
        assert (refused.returncode, "run `shopsync sync demo` first" in refused.stderr) == (2, True)
        head = town.program.run("forward", town.config)["result"]["chain"]["head"]
    told = command("verify", "demo")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"Whole: {len(events(town))} events in the chain.")
    assert f"Head of link 1: {head}" in told.stdout
    with state_of(town).open() as database:
        database.execute("update consent.events set kind = 'opted_in' where kind = 'opted_out'")
    told = command("verify", "demo")
    assert told.returncode == 2
    assert told.stdout.startswith("Broken: events of link 1 were changed (")
    assert orjson.loads(command("verify", "demo", "--accept", "--json").stdout)["broken"]["link"] == 1


def test_the_heads_can_lie_elsewhere(town: cuts.Town) -> None:
    with town.open():
        other = town.config.with_name("other.toml")
        other.write_text(town.config.read_text().replace("[settings]", '[settings]\nheads_dir = "../elsewhere"'))
        assert town.program.run("forward", other)["status"] == 0
    heads = town.folder.parent / "elsewhere" / "demo.jsonl"
    assert chain.verify(State(state_of(town).folder, heads))["whole"]
    assert not state_of(town).heads.exists()
