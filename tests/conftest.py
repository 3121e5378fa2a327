"""What several test files share: one run of the demo, whose leftovers the documented commands are tried on, and one Prefect
server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import httpx
import orjson
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
    # The demo's own Prefect: neither the user's server nor runs beside this one matter.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "SHOPSYNC_"))}
    environment |= {"COLUMNS": "200"}
    command = [sys.executable, "-m", "sandbox.demo", "--customers", "150", "--orders", "400", "--folder", str(folder)]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500)
    return DemoRun(folder, run.returncode, run.stdout + run.stderr, environment)


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """The API of one Prefect server for all workers of this test session, started when the first test asks for it.

    The last worker that used it stops it, by its process id.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    note, lock = shared / "prefect.json", filelock.FileLock(shared / "prefect.lock")
    used: list[str] = []

    def url() -> str:
        if not used:
            with lock:
                told = orjson.loads(note.read_bytes()) if note.exists() else _start(shared) | {"users": 0}
                note.write_bytes(orjson.dumps(told | {"users": told["users"] + 1}))
            used.append(told["url"])
        return used[0]

    yield url
    if used:
        with lock:
            told = orjson.loads(note.read_bytes())
            note.write_bytes(orjson.dumps(told | {"users": told["users"] - 1}))
            if told["users"] == 1:
                note.unlink()
                _stop(told["pid"])


def _start(shared: Path) -> dict[str, object]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    home = shared / "prefect"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    url, until = f"http://127.0.0.1:{port}/api", time.monotonic() + 100
    while True:
        assert server.poll() is None, (home / "server.log").read_text()
        assert time.monotonic() < until, "the Prefect server did not start"
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return {"url": url, "pid": server.pid}
        except httpx.TransportError:
            time.sleep(0.2)


def _stop(pid: int) -> None:
    """It is a child of the worker that started it, maybe another one, which reaps it when it ends itself."""
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 60
    while _is_running(pid):
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _is_running(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
