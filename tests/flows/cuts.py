"""Cuts a sync by SIGKILL at every call and around every commit, and looks whether the next runs heal it.

    python cuts.py FOLDER SHARD SHARDS

goes through the three days of `small_world`. Before each day it forks one child for every case: the child has both twins as
they stand, serves them, lets the program be killed, runs it again until it succeeds, once more, and compares with the day that
nobody cut. Each case becomes one line of JSON: {"case", "problems": [...], "kills"}. Shards share the cases evenly.

A case is a list of cuts. The first of them that a run comes to kills it; the next run is cut at the next one, until one ends by
itself. With SHOPSYNC_EVERY_CUT each call and each commit of a day is a case of its own. Without it those where something is
written are, and the first occurrence of every site is cut, before and after, in a few long cases.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import orjson
from small_world import (
    LoggedMailchimp,
    both_sides,
    consent_writes,
    created_twice,
    differences,
    second_day,
    served,
    third_day,
    twins,
    write_config,
)

from sandbox.server import Door
from sandbox.woocommerce import WooCommerce
from tasks.chain import verify
from tasks.state import State

EVERY_CUT = "SHOPSYNC_EVERY_CUT"
MADE = re.compile(r"^load\.load_esp:")
"""What is written down of a store just made: after a kill right behind the making, the next run finds it there already."""
POLLED = re.compile(r"GET .*/batches/\{\}$")
"""How often a batch is asked for depends on how quickly it is done."""
WRITE = re.compile(r" of (?!GET)|/batch$")
LONG = 2
"""How many long cases share the sites of a day."""


@dataclass(frozen=True)
class Cut:
    """Kill the program before or after the nth call, or commit, of a site."""

    kind: str
    site: str
    nth: int
    when: str


class Program:
    """The forking parent of the runs, see `program.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("program.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pid = 0

    def run(
        self,
        flow: str,
        config: Path,
        *,
        full: bool = False,
        plan: str | None = None,
        email: str | None = None,
        at_esp: str | None = None,
        cuts: Collection[Cut] = (),
    ) -> dict[str, Any]:
        """One run from its start to its end: {"status", "signal", "result", "message", "commits"}."""
        out = config.with_name("result.json")
        out.unlink(missing_ok=True)
        dying = [{"site": c.site, "nth": c.nth, "when": c.when} for c in cuts if c.kind == "commit"]
        asked = {"flow": flow, "full": full, "plan": plan, "email": email, "at_esp": at_esp}
        started = self._say(asked | {"config": str(config), "out": str(out), "die": dying})
        self.pid = started["pid"]
        ended = self._say("go")
        return ended | (orjson.loads(out.read_bytes()) if out.exists() else {"result": None, "message": None, "commits": []})

    def _say(self, line: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(line) + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = orjson.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Killed(Exception):
    """The call ends here: whoever made it is dead."""


def site_of(where: str, method: str, path: str) -> str:
    """A call without what differs from run to run."""
    plain = re.sub(r"/(batches|members|products|orders|customers|batch-archives)/(?!batch$)[^/]+", r"/\1/{}", path)
    return f"{where} {method} {plain}"


def kind_of(site: str, door: Door) -> str:
    """The site of a call that was carried out, with what kind of write it held."""
    if site == "esp POST /3.0/batches":
        handed_over = list(door.twin.batches.batches.values())[-1].operations[0]
        return f"{site} of {site_of('', handed_over['method'], handed_over['path']).strip()}"
    if re.fullmatch(r"esp POST /3.0/lists/\w+", site):
        return f"{site} of {'status' if door.twin.operations[-1][2]['update_existing'] else 'create'}"
    return site


@dataclass
class Watch:
    """The calls of one run, and the cut that ended it."""

    sites: list[str]
    kinds: list[str]
    """The same calls, told apart by what they wrote; see `kind_of`."""
    fired: Cut | None = None


def watch(doors: dict[str, Door], program: Program, cuts: Collection[Cut]) -> Watch:
    """Note every call at the doors, and kill the caller at the first of these cuts."""
    seen = Watch([], [])
    sites = seen.sites
    count: Counter[str] = Counter()

    def kill_if(site: str, when: str) -> None:
        cut = Cut("call", site, count[site], when)
        if cut in cuts and seen.fired is None:
            seen.fired = cut
            os.kill(program.pid, signal.SIGKILL)
            raise Killed  # "before" means that the platform never sees the call

    def hooks(name: str, door: Door) -> None:
        def before(number: int, method: str, path: str) -> None:
            site = site_of(name, method, path)
            sites.append(site)
            count[site] += 1
            kill_if(site, "before")

        def after(number: int, method: str, path: str) -> None:
            site = site_of(name, method, path)
            seen.kinds.append(kind_of(site, door))
            kill_if(site, "after")
            if seen.kinds[-1] != site:  # also by what it wrote, which only the platform can tell
                count[seen.kinds[-1]] += 1
                kill_if(seen.kinds[-1], "after")

        door.before, door.after = before, after

    for name, door in doors.items():
        hooks(name, door)
    return seen


@dataclass
class Town:
    """Both twins, and the folder with shopsync.toml and the state."""

    shop: WooCommerce
    esp: LoggedMailchimp
    folder: Path
    ports: tuple[int, int]
    program: Program

    @property
    def config(self) -> Path:
        return self.folder / "shopsync.toml"

    @contextlib.contextmanager
    def open(self) -> Iterator[dict[str, Door]]:
        with served(self.shop, self.esp, self.ports) as (shop, esp):
            write_config(self.folder, shop.url, esp.url, self.esp.key)
            yield {"shop": shop.door, "esp": esp.door}

    def elsewhere(self, folder: Path) -> Town:
        """The same twins with a copy of the state: for a forked child, whose changes nobody else sees."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Town(self.shop, self.esp, folder, self.ports, self.program)

    def found(self) -> dict[str, Any]:
        """What both sides and the state hold."""
        return both_sides(self.shop, self.esp) | {"state": state_of(self.folder / "state" / "demo" / "state.duckdb")}


def state_of(file: Path) -> dict[str, Any]:
    """What two runs through the same world must have understood, whatever happened on the way."""
    queries = {
        "events": "select distinct address, side, source, record, kind, actor, is_inferred from consent.events",
        "decisions": """
            select address, shop_status, esp_status, suppression, set_esp, set_shop, rule, skipped,
                esp_acknowledged_at is not null as at_esp, shop_acknowledged_at is not null as in_shop
            from merge.decisions qualify row_number() over (partition by address order by decided_at desc, decision_id desc) = 1
        """,
        "held": "select target, kind, key, payload_hash, state from load.held where kind in ('profile', 'product', 'order')",
        "open": "select target, kind, key, state from load.writes where state in ('planned', 'sent')",
        "customers": "select customer_id, email, consent, bounced_at, deleted_at is not null as gone from shop.customers",
        "contacts": "select address, status, tags, fields, removed_by_us from esp.contacts",
        "products": "select product_id, variant_id, title, price from shop.products",
        "orders": "select order_id, state, total, refunded_total from shop.orders",
    }
    with duckdb.connect(str(file)) as database:
        database.execute("set TimeZone = 'UTC'")
        return {
            name: sorted(
                (orjson.loads(orjson.dumps([str(value) for value in row])) for row in database.execute(query).fetchall()),
                key=orjson.dumps,
            )
            for name, query in queries.items()
        }


def unbalanced(file: Path) -> list[str]:
    """Runs whose counts do not add up (promise 4); what a killed run had not counted yet is missing, never wrong."""
    with duckdb.connect(str(file)) as database:
        counted = database.execute(
            """
            select run_id, stage, entity, map(list(measure), list(rows)) from ops.run_counts
            where stage in ('extract', 'load') group by all
            """
        ).fetchall()
    found = []
    for run_id, stage, entity, rows in counted:
        whole, parts = {
            "extract": ("extracted", ("changed", "unchanged", "rejected")),
            "load": ("planned", ("acknowledged", "skipped", "rejected", "waiting")),
        }[stage]
        if rows.get(whole, 0) != sum(rows.get(part, 0) for part in parts):
            found.append(f"counts of {entity} in {run_id} do not balance: {rows}")
    return found


@dataclass(frozen=True)
class Day:
    name: str
    flow: str
    begin: Callable[[WooCommerce, LoggedMailchimp], None]


DAYS = (
    Day("first sync", "forward", lambda shop, esp: None),
    Day("a day of changes", "forward", second_day),
    Day("the way back", "reverse", third_day),
)


def run_day(town: Town, day: Day, cuts: Collection[Cut]) -> dict[str, Any]:
    """A day's run, cut or not, healed, and proved to be over. Returns what was found, and every problem."""
    left, sites, kinds, commits = set(cuts), [], [], []
    problems: list[str] = []
    with town.open() as doors:
        while True:
            seen = watch(doors, town.program, left)
            ended = town.program.run(day.flow, town.config, cuts=left)
            sites, kinds, commits = sites or seen.sites, kinds or seen.kinds, commits or ended["commits"]
            if ended["signal"] != signal.SIGKILL:
                break
            left.remove(seen.fired or Cut("commit", **ended["died"]))
        if ended["status"] != 0:
            return {"problems": [f"the last run ended with {ended['status']}: {ended['message']}"], "kills": 0}
        watch(doors, town.program, ())  # what comes now is no part of the day, and is not cut
        before, calls_before = len(town.esp.operations), len(doors["shop"].calls)
        again = town.program.run(day.flow, town.config)
        if again["status"] != 0:
            problems.append(f"one more run ended with {again['status']}: {again['message']}")
        problems += [f"one more run wrote: {m} {path}" for m, path, *_ in town.esp.operations[before:] if m != "GET"]
        shop_calls = doors["shop"].calls[calls_before:]
        problems += [f"one more run wrote: {call.method} {call.path}" for call in shop_calls if call.method != "GET"]
    problems += [f"created twice: {made}" for made in created_twice(town.esp)]
    told = Counter(consent_writes(town.esp))
    problems += [f"consent written {times} times: {write}" for write, times in told.items() if times > 1]
    problems += [f"never came to {cut}" for cut in left if not POLLED.search(cut.site) and not MADE.search(cut.site)]
    problems += unbalanced(town.folder / "state" / "demo" / "state.duckdb")
    problems += unpublished(town.folder / "state" / "demo")
    problems += unproved(town.folder / "state" / "demo")
    return {"sites": sites, "kinds": kinds, "commits": commits, "kills": len(cuts) - len(left), "problems": problems}


def unpublished(folder: Path) -> list[str]:
    """What analysts see must be what the state holds, whenever the run was cut."""
    with duckdb.connect(str(folder / "snapshot.duckdb"), read_only=True) as database:
        shown = database.execute("select (select count(*) from orders), (select count(*) from consent_events)").fetchone()
        states = dict(database.execute("select state, count(*) from writes group by all").fetchall())
    with duckdb.connect(str(folder / "state.duckdb")) as database:
        query = "select (select count(*) from shop.orders), (select count(*) from consent.events)"
        held = database.execute(query).fetchone()
        known = dict(database.execute("select state, count(*) from load.writes group by all").fetchall())
    problems = [] if shown == held else [f"the snapshot shows {shown} orders and events, the state holds {held}"]
    return problems + ([] if states == known else [f"the snapshot shows writes {states}, the state holds {known}"])


def unproved(folder: Path) -> list[str]:
    """The chain must be whole, whenever the run was cut, and closed over every event. Its salts and heads differ each time."""
    proof = verify(State(folder))
    problems = [proof["broken"]["sentence"]] if proof["broken"] else []
    return problems + ([f"{proof['waiting']} events stand in no link"] if proof["waiting"] else [])


def all_cuts(kind: str, sites: list[str]) -> list[Cut]:
    count: Counter[str] = Counter()
    found = []
    for site in sites:
        count[site] += 1
        found += [Cut(kind, site, count[site], when) for when in ("before", "after")]
    return found


def cases(day: dict[str, Any], known: set[str], *, every: bool) -> list[list[Cut]]:
    """The cuts of a day, as cases; `known` are sites that an earlier day had already.

    Around a commit one cut is enough when not every place is tried: the moment before it is the one after the call or
    the commit that came before.
    """
    calls, commits = all_cuts("call", day["sites"]), all_cuts("commit", day["commits"])
    if every:
        return [[cut] for cut in calls + commits]
    firsts = [cut for cut in calls if cut.nth == 1 and cut.site not in known]
    firsts += [cut for cut in commits if cut.nth == 1 and cut.when == "after" and cut.site not in known]
    # Each kind of write that was carried out while nobody heard the answer.
    kinds = dict.fromkeys(kind for kind in day["kinds"] if WRITE.search(kind) and kind not in known)
    alone = [[Cut("call", kind, 1, "after")] for kind in kinds]
    return [*alone, *filter(None, (firsts[start::LONG] for start in range(LONG)))]


def in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do something in a fork, and forget everything it did but its answer."""
    readable, writable = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(readable)
        try:
            answer = work()
        except BaseException:  # noqa: BLE001  # a child must end here, whatever happened
            answer = {"problems": [traceback.format_exc()], "kills": 0}
        with os.fdopen(writable, "wb") as pipe:
            pipe.write(orjson.dumps(answer, default=str))
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        answer = orjson.loads(pipe.read())
    os.waitpid(pid, 0)
    return answer


def one_case(morning: Town, day: Day, cuts: list[Cut], wanted: dict[str, Any]) -> dict[str, Any]:
    """Go through a day that is cut, and compare its end with the one that it should have."""
    here = morning.elsewhere(morning.folder.with_name("case"))
    try:
        found = run_day(here, day, cuts)
        found["problems"] += differences(wanted, orjson.loads(orjson.dumps(here.found(), default=str)))
    finally:
        shutil.rmtree(here.folder)
    return found


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def main(folder: Path, shard: int, shards: int) -> None:
    every = bool(os.environ.get(EVERY_CUT))
    shop, esp = twins()
    town = Town(shop, esp, folder / "town", free_ports(), Program())
    town.folder.mkdir(parents=True)
    known, numbers = set[str](), itertools.count()
    try:
        for day in DAYS:
            day.begin(shop, esp)
            uncut = folder / "uncut.json"
            os.mkfifo(uncut)
            morning = town.elsewhere(folder / "morning")
            holder = os.fork()  # keeps the twins as they are now, until the uncut day is over
            if not holder:
                with uncut.open("rb") as pipe:
                    told = orjson.loads(pipe.read())
                mine = [cuts for cuts in told["cases"] if next(numbers) % shards == shard]
                for cuts in ([Cut(**cut) for cut in case] for case in mine):
                    found = in_child(functools.partial(one_case, morning, day, cuts, told["held"]))
                    name = f"{day.name}: {cuts[0]}" + (f" and {len(cuts) - 1} more" if len(cuts) > 1 else "")
                    _tell({"case": name, "problems": found["problems"], "kills": found["kills"]})
                os._exit(0)
            found = run_day(town, day, [])
            _tell({"case": f"{day.name}: uncut", "problems": found["problems"], "kills": 0})
            todo = [] if found["problems"] else cases(found, known, every=every)
            uncut.write_bytes(orjson.dumps({"cases": todo, "held": town.found()}, default=str))
            os.waitpid(holder, 0)
            uncut.unlink()
            shutil.rmtree(morning.folder)
            known |= {*found["sites"], *found["kinds"], *found["commits"]}
            for _ in todo:
                next(numbers)
    finally:
        town.program.close()


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
