"""The program under test, started hundreds of times: a warmed-up parent that forks one process for each run.

It runs the bodies of the flows as they stand in `flows/`, with the plain function of each step in the place of its Prefect
task; Prefect's own part is tested with a real server in `test_prefect.py`. One request is one line of JSON on stdin:

    {"flow": "forward", "full": false, "plan": null, "config": ".../shopsync.toml", "out": ".../result.json", "die": []}

It answers {"pid": ...}, waits for a line "go", and when the run is over answers {"status": ..., "signal": ...}. The file
`out` then holds what the run returned, how it ended, and where it committed. `die` lists commits; the first of them that the
run comes to kills it by SIGKILL: [{"site": "extract.drain_esp:40", "nth": 1, "when": "before" or "after"}, ...].
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from prefect import Task

import flows.erase
import flows.forward
import flows.reverse
import flows.running
from tasks.connector import SetupError, TryLater
from tasks.http import Patience
from tasks.run import open_run
from tasks.state import Database, State

BODIES = {
    "forward": flows.forward.forward.fn,
    "plan": flows.forward.plan.fn,
    "reverse": flows.reverse.reverse.fn,
    "erase": flows.erase.erase,
}
STATUSES = ((SetupError, 2), (TryLater, 4))


def without_prefect() -> None:
    for module in (flows.forward, flows.reverse):
        for name, value in list(vars(module).items()):
            if isinstance(value, Task):
                setattr(module, name, value.fn)
    # A lost answer is asked for again at once: nobody waits for the other side here.
    patience = Patience(attempts=3, seconds=20, first_wait=0.01)
    flows.running.open_run = functools.partial(open_run, patience=patience)


def warm_up() -> None:
    """Load what a run loads when it first needs it. No frame is touched: polars' threads would not survive a fork."""
    for name in ("pandera.backends.polars.register", "pandera.strategies.base_strategies", "pyarrow.dataset", "pytz"):
        importlib.import_module(name)


class Commits:
    """Writes down who commits, and kills the process around a commit."""

    def __init__(self, die: list[dict[str, Any]], out: Path) -> None:
        self.sites: list[str] = []
        self._die, self._out, self._count = die, out, Counter[str]()

    def install(self) -> None:
        really_open = State.open

        def counted(state: State) -> Any:
            frame = sys._getframe(1)
            site = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}:{frame.f_lineno}"
            self.sites.append(site)
            self._count[site] += 1
            here = {"site": site, "nth": self._count[site]}
            if here | {"when": "before"} in self._die:
                return self._dying(really_open, state, here | {"when": "before"})
            if here | {"when": "after"} in self._die:
                return self._dying(really_open, state, here | {"when": "after"})
            return really_open(state)

        State.open = counted

    @contextlib.contextmanager
    def _dying(self, really_open: Any, state: State, cut: dict[str, Any]) -> Iterator[Database]:
        with really_open(state) as database:
            yield database
            self._out.write_bytes(orjson.dumps({"died": cut, "commits": self.sites}))
            if cut["when"] == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def run_once(asked: dict[str, Any]) -> int:
    out = Path(asked["out"])
    commits = Commits(asked["die"], out)
    commits.install()
    os.environ["SHOPSYNC_CONFIG"] = asked["config"]
    told: dict[str, Any] = {"result": None, "message": None}
    try:
        options = {name: asked[name] for name in ("full", "plan", "email", "at_esp") if asked.get(name)}
        told["result"] = BODIES[asked["flow"]]("demo", **options)
        status = 6 if told["result"].get("rejected") else 0
    except (SetupError, TryLater) as error:
        told["message"] = str(error)
        status = next(number for kind, number in STATUSES if isinstance(error, kind))
    out.write_bytes(orjson.dumps(told | {"commits": commits.sites}, default=str))
    return status


def forked(asked: dict[str, Any]) -> tuple[int, int]:
    """Start the run; it waits until something is written to the second number, a file descriptor."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid:
        os.close(readable)
        return pid, writable
    os.close(writable)
    status = 1
    try:
        os.read(readable, 1)
        status = run_once(asked)
    finally:  # a traceback of a defect goes to stderr before that
        if sys.exc_info()[1] is not None:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(status)


def say(answer: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    without_prefect()
    warm_up()
    for line in sys.stdin.buffer:
        pid, go = forked(orjson.loads(line))
        say({"pid": pid})
        sys.stdin.buffer.readline()
        os.write(go, b"g")
        os.close(go)
        _, ended = os.waitpid(pid, 0)
        is_killed = os.WIFSIGNALED(ended)
        say({"status": None if is_killed else os.WEXITSTATUS(ended), "signal": os.WTERMSIG(ended) if is_killed else None})


if __name__ == "__main__":
    main()
