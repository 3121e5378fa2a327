"""Shared by the tests of whole flows: the small world served over HTTP, and the program that is run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cuts
import small_world


@pytest.fixture(scope="session")
def program() -> Iterator[cuts.Program]:
    """Runs flows in processes of their own, without Prefect."""
    started = cuts.Program()
    yield started
    started.close()


@pytest.fixture
def town(tmp_path: Path, program: cuts.Program) -> cuts.Town:
    """The small world on its first morning; `with town.open() as doors:` serves it."""
    shop, esp = small_world.twins()
    return cuts.Town(shop, esp, tmp_path, cuts.free_ports(), program)


Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(town: cuts.Town, prefect_url: Callable[[], str]) -> Command:
    """Run `shopsync` as people do; commands that run a flow say so, since they need the server."""

    def run(*arguments: str, flow: bool = False) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment |= {"SHOPSYNC_CONFIG": str(town.config), "COLUMNS": "1000", "NO_COLOR": "1"}
        environment["PREFECT_HOME"] = str(town.folder / "prefect")
        if flow:
            environment["PREFECT_API_URL"] = prefect_url()
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return run
