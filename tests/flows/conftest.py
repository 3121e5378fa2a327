"""Shared by the tests of whole flows: the small world served over HTTP, the program that is run on it, one Prefect server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import httpx
import orjson
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
