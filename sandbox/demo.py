"""The whole way on this machine: an invented shop and audience, two syncs, a day of changes, the way back, and a count.

    python -m sandbox.demo                    # what `make demo` runs
    python -m sandbox.demo --customers 150 --orders 400 --folder /tmp/demo

Both twins run in a process of their own; the flows run in this one. At the end both sides are compared, person by person, with
what `sandbox.reference` works out from the beginning and from what people did. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import orjson
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from flows.cli import prepare_prefect
from sandbox.day import Day, Deed
from sandbox.reference import (
    Change,
    Person,
    differences,
    from_shopify,
    key,
    live_through,
    read_both,
    read_shop,
    settle,
    subscribers_of,
)
from sandbox.town import SIDES

Json = dict[str, Any]

STORE = "shopsync-demo-shop"
SECOND_STORE = "shopsync-second-shop"
OF_SECOND = ("status at the ESP", "tags", "consent in the shop", "bounce noted in the shop", "orders at the ESP")
OF_BOTH = ("status at the ESP", "tags")
PLACE = Path(__file__).parent.parent
SHOWN_DIFFERENCES = 20
START_SECONDS, NAMED_SECONDS = 180.0, 5.0
"""How long to wait for Prefect: to start on a busy machine, and to answer where it was named."""
GATES = ("shop", "esp")
"""The sides between which the demo's day goes by."""


class DemoError(Exception):
    """The demo cannot go on; the message is a sentence for whoever started it."""


class Town:
    """Both twins in a process of their own, and the door behind which one plays the people and the merchant."""

    def __init__(self, folder: Path, customers: int, orders: int) -> None:
        self.folder, self._urls = folder, dict.fromkeys(SIDES, "")
        command = [sys.executable, "-m", "sandbox.town", str(folder), "--customers", str(customers), "--orders", str(orders)]
        self._process = subprocess.Popen(command, cwd=PLACE, stdout=subprocess.PIPE, text=True)
        self._door = httpx.Client(timeout=120, trust_env=False)

    def wait(self) -> None:
        """Until all twins answer."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        found = [word.rstrip(",.") for word in line.split() if word.startswith("http://")]
        if len(found) != len(SIDES):
            raise DemoError("The sandbox did not start; `python -m sandbox.town data/demo` shows why.")
        self._urls = dict(zip(SIDES, (url.removesuffix("/3.0") for url in found), strict=True))

    def ask(self, side: str, what: str, **asked: Any) -> Any:
        answer = self._door.post(f"{self._urls[side]}/_sandbox/{what}", json=asked)
        answer.raise_for_status()
        return orjson.loads(answer.content)

    def states(self) -> tuple[Json, Json]:
        return self.ask("shop", "state"), self.ask("esp", "state")

    def do(self, change: Change) -> None:
        change.at = datetime.now(UTC).replace(microsecond=0)
        change.made = str(self.ask(change.side, "do", action=change.action, args=change.args))

    def forget_calls(self) -> None:
        for side in GATES:
            self.ask(side, "calls", forget=True)

    def calls(self) -> Counter[str]:
        """How many calls of which kind both twins answered since they were last forgotten."""
        return Counter("read" if call["method"] in {"GET", "HEAD"} else "write" for s in GATES for call in self.ask(s, "calls"))

    def close(self) -> None:
        self._door.close()
        stop(self._process)


def run_flow(name: str, connection: str) -> list[Json]:
    """Run a flow as the command line does: `sync` or `reverse`, and once more to approve what waits, as a merchant would."""
    from flows.forward import forward  # noqa: PLC0415  # loads Prefect, which takes its settings from the environment
    from flows.reverse import reverse  # noqa: PLC0415

    run = forward if name == "sync" else reverse
    results: list[Json] = [run(connection)]
    return results + [run(connection, plan=plan["plan"]) for plan in results[0]["waiting"]]


class Beside:
    """Another process, in which flows run one after the other while the demo goes on."""

    def __init__(self) -> None:
        self._worker = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._under_way: list[Future[list[Json]]] = []

    def run(self, name: str, connection: str) -> None:
        self._under_way.append(self._worker.submit(run_flow, name, connection))

    def results(self) -> list[Json]:
        """What the flows asked for until now came to, when all of them are done."""
        found = [result for done in self._under_way for result in done.result()]
        self._under_way.clear()
        return found

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)


class Teller:
    """What the demo prints, and what it says while something goes on."""

    def __init__(self, console: Console) -> None:
        self._console, self._sections = console, 0
        self._doing = ""
        self._status = console.status("")

    def title(self, text: str) -> None:
        self._sections += 1
        self._console.print(f"\n[bold cyan]{self._sections}[/]  [bold]{text}[/]")

    def say(self, text: str) -> None:
        self._console.print(Padding(text, (0, 0, 0, 3)), highlight=False)

    def show(self, what: RenderableType) -> None:
        self._console.print(Padding(what, (0, 0, 0, 3)), highlight=False)

    def say_command(self, what: str, command: str) -> None:
        """Never broken into lines by us, so that it can be copied."""
        self._console.print(f"[dim]# {what}[/]\n{escape(command)}\n", highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        self._doing = what
        self._status.update(f"[dim]{what} …[/]")
        self._status.start()
        try:
            yield
        finally:
            self._status.stop()

    def progress(self, step: str, done: int, total: int | None) -> None:
        of = f" of {total:,}" if total and total >= done else ""
        self._status.update(f"[dim]{self._doing}: {escape(step)}, {done:,}{of}[/]")


def run_demo(folder: Path, customers: int, orders: int, console: Console) -> bool:
    """Play it all. True if both sides hold what they should, and the last sync wrote nothing."""
    teller = Teller(console)
    began = time.monotonic()
    console.print(
        "\n[bold]shopsync[/] keeps webshops' customers and newsletters' contacts in step, and never mails a person who said "
        "no. [dim]Everybody here is invented, and nothing leaves this machine.[/]",
        highlight=False,
    )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as started:
        prefect = started.enter_context(contextlib.closing(Prefect(folder)))
        town = started.enter_context(contextlib.closing(Town(folder, customers, orders)))
        beside = started.enter_context(contextlib.closing(Beside()))
        demo = _Demo(teller, town, beside, share=customers / 3000)
        with teller.doing("Starting shops, ESPs and Prefect"), ThreadPoolExecutor(1) as thread:
            listened = thread.submit(listen, teller)
            town.wait()
            demo.look()
            listened.result()
            prefect.wait()
        is_good = demo.play()
        demo.conclude(folder, time.monotonic() - began)
    return is_good


def listen(teller: Teller) -> None:
    from flows.watching import LISTENERS  # noqa: PLC0415  # loads Prefect, which takes its settings from the environment

    LISTENERS.append(teller.progress)


class Prefect:
    """The server that all flows report to: the one that PREFECT_API_URL names, else one of the demo's own.

    Its own lives in the environment's folder, where `make` has prepared its database, and away from the user's: nobody's real
    runs stand beside invented ones. Nobody opens its UI and it schedules nothing, so it runs none of the services for that.
    """

    HOME = Path(sys.prefix) / "prefect"
    SERVICES = (
        "SCHEDULER",
        "LATE_RUNS",
        "FOREMAN",
        "PAUSE_EXPIRATIONS",
        "CANCELLATION_CLEANUP",
        "TRIGGERS",
        "EVENT_PERSISTER",
        "TASK_RUN_RECORDER",
    )

    def __init__(self, folder: Path) -> None:
        os.environ["SHOPSYNC_CONFIG"] = str((folder / "shopsync.toml").absolute())
        os.environ.setdefault("DO_NOT_TRACK", "1")  # else Prefect prints a notice the first time
        os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
        prepare_prefect()
        self._named = os.environ.get("PREFECT_API_URL")
        self._process = None if self._named else self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        os.environ.setdefault("PREFECT_HOME", str(self.HOME))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        off = {f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in self.SERVICES}
        serve = [sys.executable, "-m", "uvicorn", "--log-level", "error", "--host", "127.0.0.1", "--port", port]
        return subprocess.Popen(
            [*serve, "--factory", "prefect.server.api.server:create_app"],
            env=os.environ | off | {"PREFECT_UI_ENABLED": "false"},
        )

    def wait(self) -> None:
        """Until it answers."""
        url, until = os.environ["PREFECT_API_URL"], time.monotonic() + (NAMED_SECONDS if self._named else START_SECONDS)
        while time.monotonic() < until and (self._process is None or self._process.poll() is None):
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health", trust_env=False).is_success:
                    return
            time.sleep(0.1)
        if self._named:
            raise DemoError(f"No Prefect server answers at {url} (PREFECT_API_URL): start it, or unset PREFECT_API_URL.")
        raise DemoError("The demo's own Prefect server did not start: run the demo again, or start `prefect server start`.")

    def close(self) -> None:
        if self._process:
            stop(self._process)


def stop(process: subprocess.Popen[Any]) -> None:
    """At once: nothing in it outlives the demo."""
    process.kill()
    process.wait()


class _Demo:
    def __init__(self, teller: Teller, town: Town, beside: Beside, share: float) -> None:
        self.teller, self.town, self.beside, self.share = teller, town, beside, share
        self.shop: Json = {}
        self.esp: Json = {}
        self.people: dict[str, Person] = {}
        self.deeds: list[Deed] = []
        self.results: list[Json] = []
        self.last_writes = 0
        self.old_orders: set[str] = set()
        self.unwanted: list[Json] = []
        self.second: dict[str, Person] = {}

    def play(self) -> bool:
        self.meet()
        self.first_sync()
        self.the_day()
        self.second_sync()
        self.third_sync()
        is_same = self.compare() and self.compare_both()
        self.unwanted = self.unwanted_mails()
        return is_same and self.last_writes == 0 and not self.unwanted

    def flow(self, name: str) -> None:
        self.results += run_flow(name, "demo")

    def look(self) -> None:
        """Read both sides as they are before the first sync."""
        self.shop, self.esp = self.town.states()
        self.people = read_both(self.shop, self.esp, datetime.now(UTC))
        self.old_orders = {str(order["id"]) for order in self.shop["orders"]}
        second_shop, second_esp = from_shopify(self.town.ask("second_shop", "state")), self.town.ask("second_esp", "state")
        self.second = read_both(second_shop, second_esp, datetime.now(UTC), origin="Shopify")

    def meet(self) -> None:
        self.teller.title("Two shops, each with an audience that does not agree")
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("")
        for word in ("people", "said yes", "said no", "never said"):
            table.add_column(word, justify="right")
        for name, everybody in (("WooCommerce", self.people.values()), ("Shopify", self.second.values())):
            answers = Counter(person.shop_status() for person in everybody if person.is_known)
            known = (answers[status] for status in ("subscribed", "unsubscribed", "not_subscribed"))
            table.add_row(name, *_numbers(sum(answers.values()), *known))
            statuses = Counter(person.contact for person in everybody if person.contact)
            rest = sum(statuses.values()) - statuses["subscribed"] - statuses["unsubscribed"]
            heard = (statuses["subscribed"], statuses["unsubscribed"], rest)
            table.add_row("  its Mailchimp audience", *_numbers(sum(statuses.values()), *heard))
        self.teller.show(table)
        people = self.people.values()
        accounts = sum(person.account is not None for person in people)
        guests = sum(person.is_known for person in people) - accounts
        self.teller.say(
            f"In WooCommerce {accounts:,} customers with an account, {guests:,} guests, {len(self.shop['orders']):,} orders."
        )
        both = [p for p in people if p.is_known and p.contact]
        torn = sum(
            (p.shop_status(), p.contact) in {("subscribed", "unsubscribed"), ("unsubscribed", "subscribed")} for p in both
        )
        self.teller.say(f"{len(both):,} people are known to both; {torn:,} of them said yes to one and no to the other.")

    def first_sync(self) -> None:
        self.teller.title("First syncs, at the same time: people go to their ESP, everybody's no goes everywhere")
        began = time.monotonic()
        for name in ("sync", "reverse"):
            self.beside.run(name, "second")
        with self.teller.doing("Syncing to the ESP"):
            self.flow("sync")
        with self.teller.doing("Telling the shop"):
            self.flow("reverse")
        self._tell_changes(time.monotonic() - began)
        with self.teller.doing("Waiting for the Shopify shop's"):
            told = self.beside.results()
        written = sum(row["acknowledged"] for result in told for row in result["writes"])
        self.teller.say(f"Beside it, in a process of its own, the Shopify shop's: {written:,} writes.")
        for person in (*self.people.values(), *self.second.values()):
            settle(person)

    def the_day(self) -> None:
        self.teller.title("A day goes by")
        self.deeds = Day(self.people, self.shop, self.share).deeds()
        self.last_seen = datetime.now(UTC)
        with self.teller.doing("People change their minds"):
            for deed in self.deeds:
                for change in deed.changes:
                    self.town.do(change)
        table = Table.grid(padding=(0, 2, 0, 0))
        for side, name in (("esp", "At Mailchimp"), ("shop", "In the shop")):
            table.add_row("", f"[dim]{name}[/]")
            for deed in self.deeds:
                if deed.changes[0].side == side:
                    number = len({change.who for change in deed.changes})
                    table.add_row(f"{number:>6,}", deed.sentence)
        self.teller.show(table)

    def second_sync(self) -> None:
        self.teller.title("Second sync: only what changed is written")
        began, first = time.monotonic(), len(self.results)
        with self.teller.doing("Syncing to the ESP"):
            self.flow("sync")
        with self.teller.doing("Telling the shop"):
            self.flow("reverse")
        self.beside.run("sync", "both")  # the shops are at rest from here on
        self._tell_changes(time.monotonic() - began, first)

    def _tell_changes(self, seconds: float, first: int = 0) -> None:
        """Who changed by which rule, over the flows of one section."""
        table = Table.grid(padding=(0, 2, 0, 0))
        told: dict[tuple[str, str], int] = {}
        for result in self.results[first:]:
            for row in result["transitions"]:
                name = (row["sentence"], row["rule"])
                told[name] = max(told.get(name, 0), row["people"])
        for (sentence, rule), number in told.items():
            table.add_row(f"{number:>6,}", f"[dim]{rule.removeprefix('S-')}[/]", escape(sentence))
        self.teller.show(table)
        for plan in (plan for result in self.results[first:] for plan in result["waiting"]):
            self.teller.say(
                f"{plan['people']:,} of them would have become subscribed in the shop at once. So many wait for an approval; "
                f"it was given by the plan's hash: [bold]shopsync reverse demo --plan {plan['plan']}[/]"
            )
        written = sum(row["acknowledged"] for result in self.results[first:] for row in result["writes"])
        self.teller.say(f"[dim]How many, by which rule, and why.[/] {written:,} writes in {seconds:.0f} seconds.")

    def third_sync(self) -> None:
        self.teller.title("Third sync: nothing changed, so nothing is written")
        self.town.forget_calls()
        with self.teller.doing("Syncing to the ESP"):
            self.flow("sync")
        with self.teller.doing("Telling the shop"):
            self.flow("reverse")
        calls = self.town.calls()
        self.last_writes = calls["write"]
        self.teller.say(f"By both sides' own call logs: {calls['read']:,} calls that read, {calls['write']:,} that write.")

    def compare(self) -> bool:
        self.teller.title("Both sides, person by person")
        self.shop, self.esp = self.town.states()
        changes = [change for deed in self.deeds for change in deed.changes]
        live_through(self.people, changes, self.shop, self.last_seen, datetime.now(UTC))
        self.teller.say(
            "What both sides hold, against a second and independent calculation: status, the shop's consent, bounces, tags, "
            "orders and their sums."
        )
        return self._tell_differences("WooCommerce", self.people, differences(self.people, self.shop, self.esp, STORE))

    def compare_both(self) -> bool:
        """The Shopify shop with its own audience, and the audience that both shops feed since a moment ago."""
        with self.teller.doing("Syncing the newsletter of both shops"):
            self.beside.results()
        shop, esp = from_shopify(self.town.ask("second_shop", "state")), self.town.ask("second_esp", "state")
        own = differences(self.second, shop, esp, SECOND_STORE, compared=OF_SECOND)
        is_same = self._tell_differences("Shopify", self.second, own)
        now = datetime.now(UTC)
        everybody = subscribers_of(read_shop(self.shop, now), read_shop(shop, now, "Shopify"))
        shared = differences(everybody, {"customers": []}, self.town.ask("shared_esp", "state"), "", compared=OF_BOTH)
        in_both = sum(len(person.origins) > 1 for person in everybody.values())
        is_shared = self._tell_differences(f"One newsletter for both shops, {in_both:,} in both", everybody, shared)
        return is_same and is_shared

    def _tell_differences(self, where: str, people: dict[str, Person], found: list[tuple[str, str, str, str]]) -> bool:
        self.teller.say(f"{where}: [bold]{len(people):,} people compared: {len(found):,} differences.[/]")
        for address, what, expected, held in found[:SHOWN_DIFFERENCES]:
            self.teller.say(f"[red]{escape(address)}[/]: {what} should be {escape(expected)}, and is {escape(held)}")
        if len(found) > SHOWN_DIFFERENCES:
            self.teller.say(f"… and {len(found) - SHOWN_DIFFERENCES:,} more.")
        return not found

    def unwanted_mails(self) -> list[Json]:
        """What Mailchimp sent and nobody wanted: anything that the first sync set off, a newsletter's mail to somebody who had
        said no, news of an order that was known before."""
        return [
            mail
            for mail in self.esp["mails"]
            if not self._is_of_the_day(mail)
            or (mail["kind"] != "order_notification" and _said_no(self.people[key(mail["email"])]))
            or (mail.get("status") in {"paid", "pending"} and mail["order_id"] in self.old_orders)
        ]

    def _is_of_the_day(self, mail: Json) -> bool:
        return datetime.fromisoformat(mail["at"]) >= self.last_seen.replace(microsecond=0)

    def conclude(self, folder: Path, seconds: float) -> None:
        """What it came to, in words, and what to try next; the sandbox runs no more then."""
        self.teller.title(f"In short, after {seconds:.0f} seconds")
        table = Table.grid(padding=(0, 2, 0, 0))
        for number, sentence in self._in_short():
            table.add_row(f"[bold]{number:>6,}[/]", sentence)
        self.teller.show(table)
        self.teller.title("To try next")
        for what, command in commands(folder, self.deeds):
            self.teller.say_command(what, command)

    def _in_short(self) -> Iterator[tuple[int, str]]:
        first = self.results[0]
        yield (
            _people(first, side="esp", before={"absent"}),
            "people were new to the newsletter's audience, each with what they had said",
        )
        yield (
            _people(*self.results, side="shop", after={"unsubscribed", "bounced", "complained"}),
            "noes and bounces reached the shop",
        )
        yield _people(*self.results, side="esp", after={"unsubscribed"}), "noes reached the newsletter"
        yield (
            sum(person.needs_confirmation for person in self.people.values()),
            "said yes in the shop after leaving the newsletter: they stay out until they confirm to Mailchimp",
        )
        yield (
            first["rejected"],
            "records cannot be used as they are (broken addresses): `rejected` lists them, the rest went on",
        )
        welcomes = [mail for mail in self.esp["mails"] if mail["kind"] == "welcome" and mail not in self.unwanted]
        yield len(welcomes), "welcome mails on the day, each to somebody who had just said yes"
        yield len(self.unwanted), "mails that nobody wanted: set off by the first sync, or to somebody who had said no"
        yield self.last_writes, "writes in the third sync"


def _said_no(person: Person) -> bool:
    return person.contact in {"unsubscribed", "cleaned"} or person.shop_status() == "unsubscribed"


def _people(*results: Json, side: str, before: set[str] | None = None, after: set[str] | None = None) -> int:
    """How many people changed at a side, as the runs told it."""
    return sum(
        row["people"]
        for result in results
        for row in result["transitions"]
        if row["side"] == side
        and (before is None or row["status_before"] in before)
        and (after is None or row["status_after"] in after)
    )


def commands(folder: Path, deeds: list[Deed]) -> list[tuple[str, str]]:
    """Three commands on what the demo left behind, as one types them; they need no sandbox."""
    program = Path(sys.executable).parent / "shopsync"
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    somebody = min((change.who for change in deeds[0].changes), key=len)
    query = "select rule, sentence, count(*) as people from contacts group by all order by people desc"
    config = f"--config {shlex.quote(str(folder / 'shopsync.toml'))}"
    return [
        ("one person's whole story", f"{program} explain demo {shlex.quote(somebody)} {config}"),
        ("who is treated by which rule", f'{program} sql demo "{query}" {config}'),
        ("what waits for a correction", f"{program} rejected demo {config}"),
    ]


def _numbers(*numbers: int) -> list[str]:
    return [f"{number:,}" for number in numbers]


def main() -> int:
    asked = argparse.ArgumentParser(description="Show the whole way on this machine, with invented people.")
    asked.add_argument("--customers", type=int, default=3000, help="how many customers the shop has")
    asked.add_argument("--orders", type=int, default=9000, help="how many orders they placed")
    asked.add_argument("--folder", type=Path, default=Path("data/demo"), help="is emptied at the start")
    given = asked.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the town is stopped then, too
    console = Console(soft_wrap=False)
    try:
        return 0 if run_demo(given.folder, given.customers, given.orders, console) else 1
    except DemoError as error:
        console.print(f"\n[bold red]demo:[/] {escape(str(error))}", highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
