"""What several test files share: one run of the demo, whose leftovers the documented commands are tried on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class DemoRun:
    folder: Path
    status: int
    output: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo with a small town. Tests that use it belong to the xdist group "demo", so that it runs once."""
    folder = tmp_path_factory.mktemp("demo")
    # A Prefect of its own: neither the user's server nor runs beside this one matter.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SHOPSYNC_"))}
    environment |= {"PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")), "COLUMNS": "200"}
    command = [sys.executable, "-m", "sandbox.demo", "--customers", "150", "--orders", "400", "--folder", str(folder)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500)
    return DemoRun(folder, run.returncode, run.stdout + run.stderr, environment)
