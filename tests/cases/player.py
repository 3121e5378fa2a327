"""Plays the cases of this folder: many people share one world, in which the real flows run between two real servers' twins.

A case is a block of a text file: the rule it is about, a sentence, and what happens to one person day by day.

    3.7 Comes back by a tick that is newer than the no
        first: shop no, esp unsubscribed
        later: shop ticks
        then: esp subscribed, shop yes
        then double: esp pending, mails confirmation

`first` is what both sides hold before the first sync, each `later` a day of changes; after each come the runs of the world, as
a rule a sync and a reverse run. `then` is what both sides hold after the runs of the day above it; the last one must hold to
the end. `shop` is played once as WooCommerce and once as Shopify. `@-20` is twenty days ago (of an account in WooCommerce,
which states no time of consent: when it was made); `b:` is another address, `a:` need not be written.
`a|b` is one or the other. A `then` with more words behind it goes before, part by part: names of policies, `double`
(double_opt_in = "esp"), `single` (double_opt_in = "shop"), `woocommerce`, `shopify`. `only:` holds such words for a whole case.

A file whose first block begins with `world:` has worlds of its own: `settings` are lines of the connection, `day 3` those from
the third day on ({-10} is the date ten days ago), `approve` the day from which on plans are approved, `only` as in a case.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

sys.path.insert(0, str(Path(__file__).parent.parent / "flows"))

from small_world import LoggedMailchimp

from sandbox.server import serve
from sandbox.shopify import Shopify
from sandbox.shopify.records import Consent
from sandbox.shopify.setup import Setup
from sandbox.woocommerce import WooCommerce
from sandbox.world import Account, Address, Contact, Line, Order, Product, World

POLICIES = ("consent-first", "mailchimp-for-shopify", "newsletter2go", "cleverreach")
DOUBLE_OPT_IN = {"single": "shop", "double": "esp"}
PLATFORMS = ("woocommerce", "shopify")
SHOPS = ("woo", "woo2", "shopify")
"""woo2 is a WooCommerce shop whose plugin stores "ja" and "nein"."""
TICKS = {"woo": {"yes": "1", "no": "0", "silent": ""}, "woo2": {"yes": "ja", "no": "nein", "silent": ""}}
STATES = {"yes": "SUBSCRIBED", "no": "UNSUBSCRIBED", "silent": "NOT_SUBSCRIBED", "pending": "PENDING"}

CONFIG = """\
[settings]
data_dir = "state"

[connections.demo]
policy = "{policy}"
double_opt_in = "{double_opt_in}"
customers_every_minutes = 0
deletions_every_hours = 0
{more}
[connections.demo.guards]
subscribe = 1
unsubscribe_inferred = 1
delete = 1

[connections.demo.shops.woo]
platform = "woocommerce"
url = "{woo}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"

[connections.demo.shops.woo2]
platform = "woocommerce"
url = "{woo2}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"
consent_in = ["ja", "oui"]
consent_out = ["nein", "non"]

[connections.demo.shops.shopify]
platform = "shopify"
url = "lilla-butiken.myshopify.com"
base_url = "{shopify}"
access_token = "shpat_sandbox"

[connections.demo.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "a1b2c3d4e5"
base_url = "{esp}/3.0"
"""


# Reading the files


@dataclass(frozen=True)
class Clause:
    """`who` is a shop, `esp`, or what is looked at; `at` in days from now."""

    address: str
    who: str
    words: tuple[str, ...]
    at: float | None

    @property
    def said(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True)
class Then:
    day: int
    conditions: frozenset[str]
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Case:
    rule: str
    title: str
    file: str
    days: tuple[tuple[Clause, ...], ...]
    thens: tuple[Then, ...]
    only: frozenset[str]
    text: str

    @property
    def name(self) -> str:
        return f"{self.file}: {self.rule} {self.title}"

    def fits(self, conditions: frozenset[str]) -> bool:
        return holds(self.only, conditions)

    def platforms(self) -> list[str]:
        clauses = [*(c for day in self.days for c in day), *(c for then in self.thens for c in then.clauses)]
        if not any(clause.who == "shop" for clause in clauses):
            return [""]
        return [platform for platform in PLATFORMS if not self.only & {*PLATFORMS} or platform in self.only]

    def wanted(self, conditions: frozenset[str]) -> dict[int, list[Clause]]:
        """What must hold after each day, of the lines that hold here the most special one for each part."""
        found: dict[int, dict[tuple[str, str], tuple[int, list[Clause]]]] = {}
        for then in self.thens:
            if not holds(then.conditions, conditions):
                continue
            special, parts = len(kinds(then.conditions)), found.setdefault(then.day, {})
            fresh: dict[tuple[str, str], list[Clause]] = {}
            for clause in then.clauses:
                fresh.setdefault((clause.address, part(clause)), []).append(clause)
            for key, clauses in fresh.items():
                if special >= parts.get(key, (0, []))[0]:
                    parts[key] = (special, clauses)
        return {day: [c for _, clauses in parts.values() for c in clauses] for day, parts in found.items()}


@dataclass(frozen=True)
class Setting:
    """What makes a world: lines of the connection by the day from which they hold, the runs of a day, who may play in it."""

    name: str = "common"
    settings: tuple[tuple[int, str], ...] = ()
    runs: str = "sync reverse"
    approves_from: int = 1
    only: frozenset[str] = frozenset()

    def lines(self, day: int, today: datetime) -> str:
        """The settings of a day, which replace those of the day before."""
        told = max((since for since, _ in self.settings if since <= day), default=1)
        text = "\n".join(line for since, line in self.settings if since == told)
        return re.sub(r"\{(-\d+)\}", lambda found: str((today + timedelta(days=int(found[1]))).date()), text)


KINDS = ({*POLICIES}, {*DOUBLE_OPT_IN}, {*PLATFORMS})


def kinds(words: frozenset[str]) -> list[frozenset[str]]:
    return [words & kind for kind in KINDS if words & kind]


def holds(words: frozenset[str], conditions: frozenset[str]) -> bool:
    unknown = words - set().union(*KINDS)
    assert not unknown, f"unknown condition {sorted(unknown)}"
    return all(some & conditions for some in kinds(words))


def part(clause: Clause) -> str:
    return f"{clause.who} bounce" if "bounce" in clause.words else clause.who


def read(path: Path) -> tuple[Setting, list[Case]]:
    setting, cases = Setting(), []
    for block in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
        if lines and lines[0].startswith("world:"):
            setting = _setting(lines)
        elif lines:
            cases.append(_case(path.stem, lines))
    return setting, cases


def _setting(lines: list[str]) -> Setting:
    told = {}
    settings = []
    for word, _, said in (line.partition(":") for line in lines):
        if word == "settings" or word.startswith("day "):
            settings.append((int(word.removeprefix("day ")) if word != "settings" else 1, said.strip()))
        else:
            told[word] = said.strip()
    approves_from = int(told.get("approve", "day 1").removeprefix("day "))
    return Setting(
        told["world"], tuple(settings), told.get("runs", Setting.runs), approves_from, frozenset(told.get("only", "").split())
    )


def _case(file: str, lines: list[str]) -> Case:
    rule, _, title = lines[0].strip().partition(" ")
    days: list[tuple[Clause, ...]] = []
    thens: list[Then] = []
    only: frozenset[str] = frozenset()
    for line in lines[1:]:
        head, _, said = line.strip().partition(":")
        word, *conditions = head.split()
        if word == "only":
            only = frozenset(said.split())
        elif word in {"first", "later"}:
            assert (word == "first") == (not days), f"{file}: {title}: {line}"
            days.append(_clauses(said))
        else:
            assert word == "then", f"{file}: {title}: {line}"
            thens.append(Then(len(days) - 1, frozenset(conditions), _clauses(said)))
    return Case(rule, title, file, tuple(days), tuple(thens), only, "\n".join(lines))


def _clauses(said: str) -> tuple[Clause, ...]:
    found = []
    for text in filter(None, (part.strip() for part in said.split(","))):
        address, rest = (text[0], text[2:].strip()) if re.match(r"[a-z]:", text) else ("a", text)
        words = rest.split()
        if words == ["nothing"]:
            continue
        at = next((float(word[1:]) for word in words if word.startswith("@")), None)
        who, *words = (word for word in words if not word.startswith("@"))
        found.append(Clause(address, who, tuple(words), at))
    return tuple(found)


def worlds(folder: Path) -> list[tuple[Setting, list[Case]]]:
    """Every world without its policy, and who plays in it: files without a setting share one."""
    found: dict[Setting, list[Case]] = {}
    for path in sorted(folder.glob("*.txt")):
        setting, cases = read(path)
        found.setdefault(setting, []).extend(cases)
    return list(found.items())


# Playing them


@dataclass(frozen=True)
class Player:
    """One person: a case, on a platform."""

    case: Case
    number: int
    platform: str

    def email(self, address: str) -> str:
        return f"p{self.number}{address}@example.com"

    def shop(self, who: str) -> str:
        return {"woocommerce": "woo", "shopify": "shopify"}[self.platform] if who == "shop" else who


@dataclass
class Seen:
    """What both sides hold after a day's runs."""

    contacts: dict[str, dict[str, Any]]
    accounts: dict[tuple[str, str], tuple[str, bool, dict[str, Any]]]
    orders: dict[str, int]
    mails: dict[str, list[str]]


@dataclass
class Played:
    players: list[Player]
    days: list[Seen] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    """What was written when nothing had changed any more."""
    endings: list[str] = field(default_factory=list)
    stories: Callable[[str], str] = str


Run = Callable[[str, Path, str | None], dict[str, Any]]
"""Runs a flow ("forward", "reverse") and approves a plan; returns {"status", "message", "result"}."""


class Town:
    """Three shops and an audience, served, with one connection."""

    def __init__(self, folder: Path, policy: str, double_opt_in: str, setting: Setting, run: Run) -> None:
        self.folder, self.policy, self.double_opt_in, self.setting, self._run = folder, policy, double_opt_in, setting, run
        self.woo = {"woo": WooCommerce(store_id="11111111-5f6e-4d0e-9d5a-2f1c7a1e7b10"), "woo2": WooCommerce()}
        self.shopify = Shopify(Setup(plan="enterprise"))
        self.esp = LoggedMailchimp(batch_seconds=0, call_seconds=0)
        self.started = datetime.now(UTC)
        self.doors: dict[str, Any] = {}

    def moment(self, at: float | None, otherwise: float) -> datetime:
        return self.started + timedelta(days=otherwise if at is None else at)

    # The first morning

    def load(self, players: list[Player]) -> None:
        first = [(player, clause) for player in players for clause in player.case.days[0]]
        for shop in SHOPS:
            told = [(player, clause) for player, clause in first if player.shop(clause.who) == shop]
            world = _World(self, shop)
            for player, clause in told:
                world.take(player.email(clause.address), clause)
            (self.shopify if shop == "shopify" else self.woo[shop]).from_world(world.made())
            for email in world.pending:
                person = self.shopify.shop.by_email(email)
                assert person is not None
                person.email_consent = Consent("PENDING", "CONFIRMED_OPT_IN", self.moment(None, -30))
        contacts = [self._contact(player.email(c.address), c) for player, c in first if c.who == "esp"]
        self.esp.load_contacts(self.esp.audience.id, contacts)

    def _contact(self, email: str, clause: Clause) -> dict[str, Any]:
        status = {
            "not_subscribed": "transactional",
            "bounced": "cleaned",
            "complained": "unsubscribed",
        }.get(clause.words[0], clause.words[0])
        at = self.moment(clause.at, -10)
        contact = asdict(Contact(email, status, at, at if status == "subscribed" else None, at, "Anna", "Öberg"))
        return contact | {
            "unsubscribed_by": "admin" if "merchant" in clause.words else "self",
            "unsubscribe_reason": "abuse" if clause.words[0] == "complained" else "No longer interested",
        }

    # Days

    def act(self, player: Player, clause: Clause) -> None:
        email = player.email(clause.address)
        if clause.who == "esp":
            self._at_esp(player, email, clause)
        elif player.shop(clause.who) == "shopify":
            self._in_shopify(player, email, clause)
        else:
            self._in_woo(player, email, clause, player.shop(clause.who))

    def _at_esp(self, player: Player, email: str, clause: Clause) -> None:
        match clause.words:
            case ["moves", "to", address]:
                self.esp.act_change_email(email, player.email(address))
            case ["renamed"]:
                self.esp.act_edit(email, {"FNAME": "Renamed"})
            case [*words]:
                actions = {
                    "leaves": "self_unsubscribe",
                    "joins": "self_subscribe",
                    "bounces": "clean",
                    "complains": "complain",
                    "archives": "archive",
                    "forgets": "delete_permanent",
                    "confirms": "confirm",
                    "merchant unsubscribes": "admin_unsubscribe",
                    "merchant subscribes": "admin_subscribe",
                }
                getattr(self.esp, f"act_{actions[' '.join(words)]}")(email)

    def _in_woo(self, player: Player, email: str, clause: Clause, shop: str) -> None:
        twin, ticks, (word, *more) = self.woo[shop], TICKS[shop], clause.words
        if "buys" in clause.words:
            buyer = {"email": email} if word == "guest" else {"customer_id": twin.shop.customer_by_email(email).id}
            tick = ticks["yes"] if "ticking" in more else ticks["no"] if "unticking" in more else None
            number = twin.act_order(**buyer, consent_tick=tick)
            if clause.at is not None:  # an old order that comes only now
                twin.shop.order(number).created = self.moment(clause.at, 0).replace(tzinfo=None, microsecond=0)
            return
        {
            "ticks": lambda: twin.act_tick(email, ticks["yes"]),
            "unticks": lambda: twin.act_tick(email, ticks["no"]),
            "empties": lambda: twin.act_tick(email, ""),
            "says": lambda: twin.act_tick(email, more[0]),
            "registers": lambda: twin.act_register(email, first_name="Anna", consent=ticks.get(more[0])),
            "deletes": lambda: twin.act_delete_customer(email),
            "anonymises": lambda: twin.act_erase_person(email),
            "moves": lambda: twin.act_change_email(email, player.email(more[1])),
            "renamed": lambda: twin.act_merchant_edit(
                "customer", twin.shop.customer_by_email(email).id, {"first_name": "Renamed"}
            ),
        }[word]()

    def _in_shopify(self, player: Player, email: str, clause: Clause) -> None:
        twin, (word, *more) = self.shopify, clause.words
        {
            "ticks": lambda: twin.act_subscribe(email),
            "unticks": lambda: twin.act_unsubscribe(email),
            "asks": lambda: twin.act_subscribe(email, level="PENDING"),
            "registers": lambda: twin.act_register(email, first_name="Anna", consent=STATES[more[0]]),
            "deletes": lambda: twin.act_delete_customer(email),
            "anonymises": lambda: twin.act_erase_person(email),
            "moves": lambda: twin.act_change_email(email, player.email(more[1])),
            "renamed": lambda: twin.act_merchant_edit(email, {"firstName": "Renamed"}),
            "buys": lambda: twin.act_order(customer=email, ticks="ticking" in more),
        }[word]()

    # Runs

    def run(self, flow: str, *, approves: bool = True) -> tuple[str, list[str]]:
        """One run, and what was sent; what waits for an approval gets it, or not."""
        before = {name: len(door.calls) for name, door in self.doors.items()}
        operations = len(self.esp.operations)
        ended = self._run(flow, self.config, None)
        for plan in (ended["result"] or {}).get("waiting") or []:
            if plan["flow"] == flow and approves:
                ended = self._run(flow, self.config, plan["plan"])
        sent = [
            f"{name} {call.method} {call.path}"
            for name, door in self.doors.items()
            for call in door.calls[before[name] :]
            if name not in {"esp", "shopify"} and call.method != "GET"
        ]
        sent += [f"esp {m} {path} {body}" for m, path, body, *_ in self.esp.operations[operations:] if m != "GET"]
        return f"{flow}: {ended['status']} {ended['message'] or ''}", sent

    @property
    def config(self) -> Path:
        return self.folder / "shopsync.toml"

    def configure(self, day: int, urls: dict[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = CONFIG.format(
            policy=self.policy,
            double_opt_in=self.double_opt_in,
            more=self.setting.lines(day, self.started),
            key=self.esp.key,
            **urls,
        )
        self.config.write_text(text, encoding="utf-8")

    def play(self, players: list[Player], *, is_proved: bool) -> Played:
        """All days; where it is proved that the last runs write nothing, four runs more."""
        self.load(players)
        played = Played(players)
        flows = self.setting.runs.replace("sync", "forward").split()
        with ExitStack() as stack:
            served = {name: stack.enter_context(serve(twin)) for name, twin in self._twins().items()}
            self.doors = {name: running.door for name, running in served.items()}
            for day in range(1, max(len(player.case.days) for player in players) + 1):
                self.configure(day, {name: running.url for name, running in served.items()})
                for player in players if day > 1 else ():
                    for clause in player.case.days[day - 1] if day <= len(player.case.days) else ():
                        self.act(player, clause)
                time.sleep(1.1)  # the platforms' clocks know seconds only
                played.endings += [self.run(flow, approves=day >= self.setting.approves_from)[0] for flow in flows]
                time.sleep(1.1)
                played.days.append(self.seen())
            if is_proved:
                for flow in flows:  # whose address changed may be in another group once the shop was told
                    self.run(flow)
                played.days.append(self.seen())
                for flow in flows:
                    ending, sent = self.run(flow)
                    played.endings.append(ending)
                    played.surplus += sent
        played.stories = self.story
        return played

    def _twins(self) -> dict[str, Any]:
        return {**self.woo, "shopify": self.shopify, "esp": self.esp}

    # Looking

    def seen(self) -> Seen:
        esp = self.esp.state()
        orders: dict[str, int] = {}
        for store, customers in esp["customers"].items():
            emails = {customer["id"]: customer["email_address"].lower() for customer in customers}
            for order in esp["orders"][store]:
                email = emails.get(order["customer"], "")
                orders[email] = orders.get(email, 0) + 1
        mails: dict[str, list[str]] = {}
        for mail in esp["mails"]:
            mails.setdefault(mail["email"].lower(), []).append(mail["kind"])
        accounts = {}
        for shop, twin in self.woo.items():
            values = {**{v: k for k, v in TICKS[shop].items()}, "None": "silent"}
            values |= {"oui": "yes", "non": "no"} if shop == "woo2" else {}
            for customer in twin.state()["customers"]:
                meta = {entry["key"]: entry["value"] for entry in customer["meta_data"]}
                said = str(meta.get("newsletter_optin", ""))
                accounts[shop, customer["email"].lower()] = (values.get(said, said), "email_bounced_at" in meta, customer)
        for customer in self.shopify.state()["customers"]:
            said = {state: word for word, state in STATES.items()}.get(customer["email_consent"]["state"])
            is_noted = "email-bounced" in customer["tags"]
            accounts["shopify", (customer["email"] or "").lower()] = (str(said), is_noted, customer)
        contacts = {member["email_address"].lower(): member for member in esp["members"]}
        return Seen(contacts, accounts, orders, mails)

    def story(self, email: str) -> str:
        """What the state knows of an address, for whoever looks why a case failed."""
        with duckdb.connect(str(self.folder / "state" / "demo" / "state.duckdb"), read_only=True) as database:
            database.execute("set TimeZone = 'UTC'")
            rows = [row for query in STORY for row in database.execute(query, [email]).fetchall()]
        return "\n".join(" | ".join(map(str, row)) for row in rows)


STORY = (
    """
    select
        side, source, kind, actor, strftime(earliest_at, '%d %H:%M:%S'), strftime(latest_at, '%d %H:%M:%S'), is_inferred, record
    from consent.events where address = $1 order by recorded_at
    """,
    """
    select
        strftime(decided_at, '%d %H:%M:%S'), phase, shop_status, esp_status, suppression, set_esp, set_shop, rule, skipped
    from merge.decisions where address = $1 order by decided_at
    """,
)


class _World:
    """What a shop holds on the first morning."""

    def __init__(self, town: Town, shop: str) -> None:
        self._town, self._shop = town, shop
        self.accounts: list[Account] = []
        self.orders: list[Order] = []
        self.pending: list[str] = []

    def take(self, email: str, clause: Clause) -> None:
        match clause.words:
            case ["buys", *how] | ["guest", "buys", *how]:
                account = None if clause.words[0] == "guest" else next(a.key for a in self.accounts if a.email == email)
                self.orders.append(self._order(email, account, how, self._town.moment(clause.at, -20)))
            case [said]:
                self.accounts.append(self._account(email, said, clause.at))

    def _account(self, email: str, said: str, at: float | None) -> Account:
        moment = self._town.moment
        if said == "pending":
            self.pending.append(email)
        ticks = {"yes": "1", "no": "0"} if self._shop == "shopify" else TICKS[self._shop]
        value = ticks.get(said) if said in {"yes", "no", "silent", "never", "pending"} else said
        billing = Address("Anna", "Öberg", "", "Malmö", "211 20", "SE", email, "")
        created = moment(at if self._shop != "shopify" else min(at or -40, -40), -40)
        is_dated = self._shop == "shopify" and said in {"yes", "no"}
        key = len(self.accounts) + 1
        return Account(key, email, "Anna", "Öberg", "sv", billing, created, None, value, moment(at, -30) if is_dated else None)

    def _order(self, email: str, account: int | None, how: list[str], at: datetime) -> Order:
        ticks = TICKS.get(self._shop, TICKS["woo"])
        status = next((word for word in how if "tick" not in word), "completed").replace("-", "_")
        return Order(
            key=len(self.orders) + 1,
            account=account,
            billing=Address("Anna", "Öberg", "", "Malmö", "211 20", "SE", email),
            status=status,
            currency="EUR",
            placed_at=at,
            changed_at=at,
            paid_at=at if status == "completed" else None,
            completed_at=at if status == "completed" else None,
            lines=(Line(1, None, "Te Grön", "P-1", 1, Decimal(79), Decimal(79), Decimal(15)),),
            shipping=Decimal(0),
            discount=Decimal(0),
            total=Decimal(79),
            tax=Decimal(15),
            tick=ticks["yes"] if "ticking" in how else ticks["no"] if "unticking" in how else None,
        )

    def made(self) -> World:
        start = self._town.moment(None, -100)
        product = Product(1, "Te Grön", "P-1", Decimal(79), start, start)
        self.orders.sort(key=lambda order: order.placed_at)
        return World(self._town.started, tuple(self.accounts), (), (product,), (), tuple(self.orders))


# Judging


def problems(played: Played, player: Player, conditions: frozenset[str]) -> list[str]:
    """Where what both sides hold differs from what the case wants."""
    found = []
    wanted = player.case.wanted(conditions)
    last = max(wanted, default=0)
    for day, clauses in wanted.items():
        moments = [day] if day != last else range(day, len(played.days))
        for moment in moments:
            for clause in clauses:
                email = player.email(clause.address)
                held = look(played.days[moment], player, clause)
                want = wish(player, clause)
                if held not in want.split("|"):
                    found.append(f"day {moment + 1}: {clause.who} of {email} should be {want!r} and is {held!r}")
            if found:
                break
    return found


def wish(player: Player, clause: Clause) -> str:
    if clause.who not in {"tags", "mails"}:
        return clause.said
    platform = {"shopify": "Shopify"}.get(player.platform, "WooCommerce")
    return " ".join(sorted(platform if word == "Platform" else word for word in clause.words))


def look(seen: Seen, player: Player, clause: Clause) -> str:
    email = player.email(clause.address)
    contact = seen.contacts.get(email)
    if clause.who == "esp":
        if contact is None:
            return "absent"
        if contact["compliance"] == "complaint" and contact["status"] == "unsubscribed":
            return "complained"
        words = {"transactional": "not_subscribed", "cleaned": "bounced"}
        return words.get(contact["status"], contact["status"])
    if clause.who == "tags":
        return " ".join(sorted(contact["tags"])) if contact and contact["tags"] else "none"
    if clause.who == "name":
        return contact["merge_fields"].get("FNAME", "") if contact else "absent"
    if clause.who == "mails":
        return " ".join(sorted(seen.mails.get(email, []))) or "none"
    if clause.who == "orders":
        return str(seen.orders.get(email, 0))
    account = seen.accounts.get((player.shop(clause.who), email))
    if account is None:
        return "gone"
    if "bounce" in clause.words:
        return "bounce noted" if account[1] else "bounce unknown"
    return account[0]
