"""One shop of each platform, found by the platform's name: the tests name none."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from bench import Bench  # noqa: E402

from sandbox.server import Running, serve  # noqa: E402

BENCHES = sorted(file.stem for file in (HERE / "benches").glob("*.py"))


@pytest.fixture(scope="module", params=BENCHES)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[type[Bench], Running]]:
    """A platform's server, started once a module: each test puts a shop of its own behind the door."""
    made: type[Bench] = importlib.import_module(f"benches.{request.param}").Bench
    with serve(made.open()) as running:
        yield made, running


@pytest.fixture
def bench(served: tuple[type[Bench], Running], tmp_path: Path) -> Bench:
    made, running = served
    return made(running, tmp_path)
