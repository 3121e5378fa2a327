"""Cases written from the rules of behaviour alone, played through the twins over HTTP by the real flows; see `player`.

Every policy plays with one of the two settings of double opt-in; with SHOPSYNC_EVERY_CASE with both.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "flows"))

import cuts
from player import DOUBLE_OPT_IN, POLICIES, Played, Player, Setting, Town, holds, problems, worlds

HERE = Path(__file__).parent
EVERY_CASE = "SHOPSYNC_EVERY_CASE"
USUAL = {
    ("consent-first", "single"),
    ("mailchimp-for-shopify", "double"),
    ("newsletter2go", "single"),
    ("cleverreach", "double"),
}


@dataclass(frozen=True)
class World:
    setting: Setting
    policy: str
    double_opt_in: str
    players: tuple[Player, ...]

    @property
    def is_proved(self) -> bool:
        """Whether it is proved here that the last runs write nothing."""
        return (self.policy, self.setting.name) == ("consent-first", "common") or bool(os.environ.get(EVERY_CASE))

    @property
    def conditions(self) -> frozenset[str]:
        return frozenset({self.policy, self.double_opt_in})

    def __str__(self) -> str:
        return f"{self.setting.name}-{self.policy}-{self.double_opt_in}"


def all_worlds() -> list[World]:
    found = []
    for setting, cases in worlds(HERE):
        for policy, double_opt_in in itertools.product(POLICIES, DOUBLE_OPT_IN):
            here = frozenset({policy, double_opt_in})
            told = [(case, platform) for case in cases if case.fits(here) for platform in case.platforms()]
            people = tuple(Player(case, number, platform) for number, (case, platform) in enumerate(told))
            is_played = (policy, double_opt_in) in USUAL or setting.only or os.environ.get(EVERY_CASE)
            if people and is_played and holds(setting.only, here):
                found.append(World(setting, policy, double_opt_in, people))
    return found


WORLDS = all_worlds()
pytestmark = pytest.mark.timeout(600)  # the first case of a world waits for its runs


class Theatre:
    """Plays each world once, when its first case is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = cuts.Program()
        self.played: dict[World, Played] = {}

    def __call__(self, world: World) -> Played:
        if world not in self.played:
            town = Town(self.folder / str(world), world.policy, DOUBLE_OPT_IN[world.double_opt_in], world.setting, self._run)
            self.played[world] = town.play(list(world.players), is_proved=world.is_proved)
        return self.played[world]

    def _run(self, flow: str, config: Path, plan: str | None) -> dict[str, Any]:
        return self.program.run(flow, config, plan=plan)


@pytest.fixture(scope="session")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    opened = Theatre(tmp_path_factory.mktemp("cases"))
    yield opened
    opened.program.close()


def each_world() -> list[Any]:
    return [pytest.param(world, id=str(world), marks=pytest.mark.xdist_group(f"cases-{world}")) for world in WORLDS]


def each_person() -> list[Any]:
    return [
        pytest.param(world, person, id=f"{world}: {person.case.name} {person.platform}".strip().replace("::", ":"), marks=marks)
        for world in WORLDS
        for marks in [pytest.mark.xdist_group(f"cases-{world}")]
        for person in world.players
    ]


@pytest.mark.parametrize(("world", "person"), each_person())
def test_both_sides_hold_what_the_case_wants(theatre: Theatre, world: World, person: Player) -> None:
    played = theatre(world)
    conditions = world.conditions | ({person.platform} if person.platform else set())
    found = problems(played, person, conditions)
    stories = [f"--- {person.email(letter)}\n{played.stories(person.email(letter))}" for letter in "abc" if found]
    assert not found, "\n".join((person.case.text, *found, *stories))


@pytest.mark.parametrize("world", each_world())
def test_the_runs_end_well_and_the_last_ones_write_nothing(theatre: Theatre, world: World) -> None:
    played = theatre(world)
    assert {ending.split()[1] for ending in played.endings} == {"0"}, played.endings
    assert played.surplus == []
