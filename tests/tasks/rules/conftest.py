"""Drawn tables: a test states relations as text, runs one model on a real state file, and compares with a drawn expectation.

A cell is what it looks like: `-` is null, `yes` and `no` are booleans, `02-01 10:00` is an instant of 2026 (UTC), `ever` the
beginning of time; a list is written with commas. Columns that a rule does not need are left out and get a default.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import time_machine

from schemas.esp import Contacts
from schemas.shop import Customers, Orders
from schemas.state import TABLES
from tasks import ledger, merge, plans, rules, storage
from tasks.connector import Outcome, Page, Write
from tasks.decide import decide_and_plan
from tasks.merge import Choices, Store
from tasks.state import Database, State, rows, sql_type
from tasks.validate import check

sys.path.insert(0, str(Path(__file__).parent))

EVER = datetime(1970, 1, 1, tzinfo=UTC)
MODELS = {"incoming_customers": Customers, "incoming_orders": Orders, "incoming_contacts": Contacts}

DEFAULTS: dict[str, str] = {
    "shop": "'shop'",
    "state": "'paid'",
    "channel": "'email'",
    "currency": "'EUR'",
    "seen_at": "timestamptz '2026-01-01 00:00:00+00'",
    "actor": "'self'",
    "status": "'subscribed'",
    "tags": "'[]'",
    "fields": "'{}'",
    "phase": "'ongoing'",
    "time_order": "'unordered'",
    "chosen": "true",
    "shop_carried": "false",
    "target": "'esp'",
    "payload": "'{}'",
    "told_hash": "'told'",
    "is_last": "true",
    "version": "'v'",
}
BY_TYPE = {
    "varchar": "''",
    "boolean": "false",
    "bigint": "0",
    "decimal(18, 4)": "0",
    "timestamptz": "timestamptz '2026-01-01 00:00:00+00'",
}


class Drawn:
    """Relations given as text, models run on them, results compared as text."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.choose()
        at = datetime(2026, 3, 1, tzinfo=UTC)
        for name, model in MODELS.items():
            columns = ", ".join(f"{c} {sql_type(s).removesuffix(' not null')}" for c, s in model.to_schema().columns.items())
            database.execute(f"create or replace temp table {name} ({columns})")
        rules.bind_page(database, at, at)
        database.execute("create or replace temp table settled_writes as from load.writes")
        # Every relation with its real types, and empty.
        rules.build(database, (*rules.MERGE, *rules.PLAN))
        self.drawn_views: set[str] = set()

    def clear(self) -> None:
        """Empty every relation, as before any test."""
        for relation in self.drawn_views:
            self.database.execute(f"drop table {relation}")
            rules.build(self.database, [relation])
        self.drawn_views = set()
        for relation in (*TABLES, *MODELS, "settled_writes", *rules.MERGE, *rules.PLAN):
            if relation not in rules.VIEWS:
                self.database.execute(f"delete from {relation}")
        self.choose()
        self.database.commit()  # a transaction keeps what it replaced
        self.database.begin()

    def choose(self, **choices: Any) -> None:
        """What the merchant chose."""
        stores = [Store("shop", "store-1", "WooCommerce"), Store("second", "store-2", "Shopify")]
        merge.bind_run(self.database, "run-1", datetime(2026, 3, 1, tzinfo=UTC), Choices(**choices), stores)

    def instant(self, cell: str) -> datetime:
        return _instant(cell)

    def page(self, asked_at: str, answered_at: str | None = None) -> None:
        """When the page in hand was asked for and answered."""
        rules.bind_page(self.database, _instant(asked_at), _instant(answered_at or asked_at))

    def given(self, relation: str, text: str) -> None:
        """Fill a relation, instead of what it held."""
        names, drawn = _parse(text)
        if relation in rules.VIEWS - self.drawn_views:
            self.database.execute(f"create temp table drawn as from {relation} limit 0")
            self.database.execute(f"drop view {relation}")
            self.database.execute(f"alter table drawn rename to {relation}")
            self.drawn_views.add(relation)
        columns = {
            row[0]: (row[1], row[2] == "NO")
            for row in self.database.execute(f'select column_name, column_type, "null" from (describe {relation})').fetchall()
        }
        if relation in TABLES:
            spec = TABLES[relation].to_schema().columns
            columns = {name: (sql_type(column), not column.nullable) for name, column in spec.items()}
        self.database.execute(f"delete from {relation}")
        for row in drawn:
            given = dict(zip(names, row, strict=True))
            assert set(given) <= set(columns), f"{relation} has no {set(given) - set(columns)}"
            cells, values = [], []
            for name, (kind, is_needed) in columns.items():
                plain = kind.removesuffix(" not null").lower()
                if name in given:
                    values.append(_value(given[name], plain))
                    cells.append(f"cast(${len(values)} as {plain})")
                elif relation in {"incoming_orders", "incoming_customers"} and name in DEFAULTS and name != "seen_at":
                    cells.append(DEFAULTS[name])
                elif is_needed or (relation == "incoming_orders" and plain == "boolean"):
                    cells.append(DEFAULTS.get(name, BY_TYPE[plain]))
                elif name in {"channel", "phase", "time_order", "chosen", "shop_carried", "payload", "told_hash", "version"}:
                    cells.append(DEFAULTS[name])
                else:
                    cells.append("null")
            self.database.execute(f"insert into {relation} values ({', '.join(cells)})", values)

    def build(self, *models: str) -> None:
        rules.build(self.database, models)

    def gives(self, model: str, text: str, *, where: str = "true") -> None:
        """Run a model and compare the columns that are drawn, in any order of rows."""
        names, drawn = _parse(text)
        found = self.database.execute(f"select {', '.join(names)} from ({rules.model(model)}) where {where}").fetchall()
        shown = sorted(tuple(_shown(value) for value in row) for row in found)
        assert shown == sorted(drawn), "\n" + "\n".join(" | ".join(row) for row in [tuple(names), *shown])

    def add_events(self, model: str) -> None:
        storage.add_events(self.database, rules.model(model), "run-1")

    def model(self, name: str) -> str:
        return rules.model(name)

    def md5(self, text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    def choose_guests(self) -> None:
        """The connection writes a guest's opt-out to the newest order."""
        self.database.execute("update stores set writes_to_guests = true")

    def one(self, query: str) -> Any:
        row = self.database.execute(query).fetchone()
        return row[0] if row and len(row) == 1 else row


def _parse(text: str) -> tuple[list[str], list[tuple[str, ...]]]:
    lines = [
        line.strip()
        for line in text.strip().splitlines()
        if line.strip() and not ("--" in line and set(line.strip()) <= set("-+ "))
    ]
    cells = [tuple(cell.strip() for cell in line.split("|")) for line in lines]
    return list(cells[0]), cells[1:]


def _instant(cell: str) -> datetime:
    if cell == "ever":
        return EVER
    day, _, time = cell.partition(" ")
    return datetime.fromisoformat(f"2026-{day}T{time or '00:00'}").replace(tzinfo=UTC)


def _value(cell: str, kind: str) -> Any:
    if cell == "-":
        return None
    if "timestamp" in kind:
        return _instant(cell)
    if kind == "boolean":
        return {"yes": True, "no": False}[cell]
    if kind.endswith("[]"):
        return [item for item in cell.split(",") if item]
    return cell


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        if value == EVER:
            return "ever"
        at = value.astimezone(UTC)
        return f"{at:%m-%d}" if at.time() == datetime.min.time() else f"{at:%m-%d %H:%M}" + (f"{at::%S}" if at.second else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return str(value)


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    with State(tmp_path_factory.mktemp("drawn")).open() as opened:
        yield Drawn(opened)


@pytest.fixture
def drawn(blank: Drawn) -> Drawn:
    """One state file for all drawn tests, emptied before each."""
    blank.clear()
    return blank


@pytest.fixture(scope="session")
def policy() -> pl.DataFrame:
    """The table of consent-first with every case written out."""
    return rules.load_policy("consent-first")


PLATFORMS = {"second": "Shopify"}

# A small world: shops and an ESP as dictionaries, people who act, and the two flows as the steps of `tasks` without a network.


@dataclass
class Account:
    """A shop's customer record. `consent` is one value without a time, as plugins keep it."""

    email: str
    consent: str | None
    created_at: datetime
    bounced_at: datetime | None = None
    is_listed: bool = True
    by: str | None = None
    phone: str | None = None
    sms: str | None = None
    sms_at: datetime | None = None


@dataclass
class Contact:
    """A contact of the audience; `changed_at` moves with everything and is stamped by the ESP's own clock, in seconds."""

    status: str
    changed_at: datetime
    opted_in_at: datetime | None = None
    reason: str | None = None
    tags: list[str] = field(default_factory=list)
    is_final: bool = False
    phone: str | None = None
    sms: str | None = None
    sms_at: datetime | None = None


class World:
    """Both sides of a connection, and shopsync between them.

    `is_strict`: the ESP subscribes nobody again who left by themselves (Mailchimp's compliance state). `skew` is how far its
    clock is ahead of ours. `is_approving`: the merchant approves whatever waits.
    """

    def __init__(
        self,
        folder: Path,
        clock: Any,
        *,
        is_strict: bool = False,
        skew: timedelta = timedelta(0),
        is_approving: bool = True,
        **choices: Any,
    ) -> None:
        self.state = State(folder)
        self._stack = ExitStack()
        self._database: Database | None = None
        self.clock, self.is_strict, self.skew = clock, is_strict, skew
        self.is_approving = is_approving
        self.approved: str | None = None
        self.waiting: dict[str, dict[str, Any] | None] = {}
        self.choices = Choices(**choices)
        self.accounts: dict[tuple[str, str], Account] = {}
        self.orders: dict[tuple[str, str], dict[str, Any]] = {}
        self.contacts: dict[str, Contact] = {}
        self.shops = ["shop"]
        self.runs = 0
        self.batch = 50
        self.refused: Counter[str] = Counter()
        self.sent: list[tuple[str, str, str]] = []

    @contextmanager
    def opened(self) -> Iterator[Database]:
        """The state, opened once: opening it again for every step is what costs."""
        if self._database is None:
            self._database = self._stack.enter_context(self.state.open())
            self._database.execute("set threads = 1")
        yield self._database

    def commit(self) -> None:
        """What happened so far is kept; a transaction that goes on and on keeps every temporary table it ever had in memory."""
        with self.opened() as database:
            database.commit()
            database.begin()

    def close(self) -> None:
        self._stack.close()
        self._database = None

    # The clock

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def wait(self, **duration: float) -> datetime:
        self.clock.shift(timedelta(**duration))
        return self.now

    def esp_now(self) -> datetime:
        return (self.now + self.skew).replace(microsecond=0)

    # What people do

    def account(self, customer_id: str, email: str, consent: str | None = None, shop: str = "shop") -> None:
        self.accounts[shop, customer_id] = Account(email, consent, self.now)

    def says(self, customer_id: str, consent: str | None, shop: str = "shop", *, by: str | None = None) -> None:
        """`by` is for shops that tell who did it."""
        self.accounts[shop, customer_id].consent, self.accounts[shop, customer_id].by = consent, by

    def texts(self, customer_id: str, consent: str | None, phone: str = "+491701000001", shop: str = "shop") -> None:
        """What somebody says about text messages; this shop states when."""
        account = self.accounts[shop, customer_id]
        account.phone, account.sms, account.sms_at = phone, consent, self.now

    def order(
        self, order_id: str, email: str, *, tick: bool = False, customer_id: str | None = None, shop: str = "shop"
    ) -> None:
        self.orders[shop, order_id] = {"email": email, "customer_id": customer_id, "tick": tick, "at": self.now}

    def at_esp(self, address: str, status: str, *, reason: str | None = None, by_self: bool = True) -> None:
        """The person, or the merchant, does something at the ESP: signs up, leaves, bounces, complains, is archived."""
        contact = self.contacts.setdefault(address, Contact(status, self.esp_now()))
        contact.status, contact.changed_at, contact.reason = status, self.esp_now(), reason
        contact.is_final = status in {"unsubscribed", "bounced", "complained"} and by_self
        if status == "subscribed":
            contact.opted_in_at = self.esp_now()

    # What shopsync does

    def forward(self, between: Callable[[], None] | None = None) -> list[tuple[str, str, str]]:
        """Drain the ESP, read the shops, merge, load. Returns the writes as (target, kind, key)."""
        self.read_esp()
        for shop in self.shops:
            self.read_shop(shop)
        return self._decide_and_carry_out("forward", between)

    def reverse(self, between: Callable[[], None] | None = None) -> list[tuple[str, str, str]]:
        """Drain the ESP, merge, push back."""
        self.read_esp()
        return self._decide_and_carry_out("reverse", between)

    def load_is_done(self) -> None:
        """The first load is over: what comes now is news."""
        self.choices = replace(self.choices, loaded_at=self.now)

    def settle(self) -> None:
        """Run both flows: then everybody knows, and there is nothing left to write."""
        self.forward()
        self.reverse()
        assert self.plans() == []

    def plans(self) -> list[dict[str, Any]]:
        """What both flows would write now, after reading everything again."""
        self.read_esp()
        for shop in self.shops:
            self.read_shop(shop)
        with self.opened() as database:
            return ledger.planned(database, self._decide(database, None))

    def step(self, what: str, target: str = "", kind: str = "") -> None:
        """A run has come this far; tests that let it crash override this."""

    def heal(self, flow: str) -> None:
        """What a crashed run of the flow sent without hearing of it is looked up at the other side, as every run begins."""
        with self.opened() as database:
            for (target, kind), writes in ledger.unsettled(database, flow).items():
                held = [write for write in writes if self._holds(target, kind, write)]
                ledger.settle(database, [Outcome(write.write_id, "acknowledged") for write in held], f"run-{self.runs:04}")
                ledger.give_back(database, [write for write in writes if write not in held])

    def _holds(self, target: str, kind: str, write: Write) -> bool:
        if target == "esp":
            contact = self.contacts.get(write.payload["email"])
            tags = set(contact.tags) if contact else set()
            if kind == "tags":
                return set(write.payload["add"]) <= tags and not tags & set(write.payload["remove"])
            status = "deleted" if kind == "archive" else write.payload.get("status")
            return contact is not None and kind in {"create", "status", "archive"} and contact.status == status
        account = self.accounts.get((target, write.key))
        if account is None or kind == "bounce":
            return account is not None and account.bounced_at is not None
        return account.consent == {"subscribed": "in", "unsubscribed": "out"}[write.payload["status"]]

    def contact_records(self) -> list[dict[str, Any]]:
        return [
            {
                "contact_id": address,
                "email": address,
                "address": address,
                "status": contact.status,
                "actor": "self" if contact.status == "unsubscribed" else None,
                "reason": contact.reason,
                "opted_in_at": contact.opted_in_at,
                "status_at": None,
                "changed_at": contact.changed_at,
                "fields": "{}",
                "tags": orjson.dumps(sorted(contact.tags)).decode(),
                "sms_address": contact.phone,
                "sms_status": contact.sms,
                "sms_status_at": contact.sms_at,
            }
            for address, contact in self.contacts.items()
        ]

    def read_esp(self) -> None:
        self.store("contacts", self.contact_records(), self._page())

    def read_shop(self, shop: str) -> None:
        began = self.now
        page = self._page()
        accounts = {key[1]: a for key, a in self.accounts.items() if key[0] == shop and a.is_listed}
        self.store("customers", [self.customer(shop, i, a) for i, a in accounts.items()], page)
        with self.opened() as database:
            gone = storage.find_missing(database, "customers", shop, began)
            storage.mark_gone(database, "customers", shop, gone=gone, missing=[], run_id="listing")
        orders = [self._order(shop, key[1], order) for key, order in self.orders.items() if key[0] == shop]
        if orders:
            self.store("orders", orders, self._page())

    def customer(self, shop: str, customer_id: str, account: Account) -> dict[str, Any]:
        blank = dict.fromkeys(Customers.to_schema().columns)
        said = {"email": account.email, "address": account.email, "consent": account.consent, "consent_raw": account.consent}
        times = {"created_at": account.created_at, "updated_at": account.created_at, "bounced_at": account.bounced_at}
        said["consent_actor"] = account.by
        sms = {
            "phone": account.phone,
            "sms_address": account.phone,
            "sms_consent": account.sms,
            "sms_consent_at": account.sms_at,
        }
        return blank | {"shop": shop, "customer_id": customer_id} | said | times | sms

    def _order(self, shop: str, order_id: str, order: dict[str, Any]) -> dict[str, Any]:
        money = dict.fromkeys(("total", "discount_total", "tax_total", "shipping_total", "refunded_total"), 0)
        kept = {"shop": shop, "order_id": order_id, "customer_id": order["customer_id"], "email": order["email"]}
        what = {"address": order["email"], "state": "paid", "is_test": False, "currency": "EUR"}
        said = {"consent": "in" if order["tick"] else None, "ordered_at": order["at"], "updated_at": order["at"]}
        return dict.fromkeys(Orders.to_schema().columns) | kept | what | money | said

    def _page(self) -> Page:
        """A page that took a second."""
        asked_at = self.now
        return Page([], asked_at, self.wait(seconds=1))

    def store(self, entity: str, records: list[dict[str, Any]], page: Page) -> None:
        model = {"customers": Customers, "orders": Orders, "contacts": Contacts}[entity]
        schema = {name: column.dtype.type for name, column in model.to_schema().columns.items()}
        frame = pl.DataFrame(records, schema=schema, orient="row")
        key = {"customers": "customer_id", "orders": "order_id", "contacts": "address"}[entity]
        checked = check(frame, model, records, source="esp" if entity == "contacts" else "shop", entity=entity, key=key)
        with self.opened() as database:
            storage.store(database, checked, page, "run")

    def _decide_and_carry_out(self, flow: str, between: Callable[[], None] | None) -> list[tuple[str, str, str]]:
        with self.opened() as database:
            run_id = self._decide(database, flow)
            planned = ledger.planned(database, run_id)
        if flow == "reverse":
            self._read_again(run_id)
        if between:
            between()
        done: list[tuple[str, str, str]] = []
        order = ["archive", "status", "create", "profile", "tags", "sms", "product", "customer", "order", "consent", "bounce"]
        for row in sorted(planned, key=lambda row: order.index(str(row["kind"]))):
            done += self._carry_out(str(row["target"]), str(row["kind"]), run_id)
        self.sent += done
        return done

    def _decide(self, database: Database, flow: str | None) -> str:
        """A flow looks at whom something touched, a dry run at everybody: what it finds, the flows have missed."""
        self.wait(seconds=1)
        self.runs += 1
        run_id = f"run-{self.runs:04}"
        stores = [Store(shop, f"at-{shop}", PLATFORMS.get(shop, "WooCommerce")) for shop in self.shops]
        decide = partial(decide_and_plan, database, flow, self.choices, stores, run_id=run_id, whole=flow is None)
        decide(at=self.now, approved=self.approved)
        if flow:
            waiting = self.waiting[flow] = plans.keep(database, run_id, flow, self.now)
            if waiting and self.is_approving:
                decide(at=self.now, approved=waiting["plan"])
        return run_id

    def approve(self, flow: str) -> list[tuple[str, str, str]]:
        """Run a flow once more, naming the plan that waits."""
        waiting = self.waiting[flow]
        assert waiting
        self.approved = waiting["plan"]
        try:
            return self.forward() if flow == "forward" else self.reverse()
        finally:
            self.approved = None

    def _read_again(self, run_id: str) -> None:
        """Whom a shop would be told to be subscribed is looked at once more: they may have opted out there meanwhile."""
        for shop in self.shops:
            with self.opened() as database:
                ids = ledger.opt_ins_planned(database, run_id, shop)
            accounts = {i: self.accounts[shop, i] for i in ids if (shop, i) in self.accounts}
            if accounts:
                page = self._page()
                self.store("customers", [self.customer(shop, i, a) for i, a in accounts.items()], page)

    def _carry_out(self, target: str, kind: str, run_id: str) -> list[tuple[str, str, str]]:
        done = []
        with self.opened() as database:
            ledger.drop_unreachable(database, run_id, kind)
        while True:
            with self.opened() as database:
                writes = ledger.take(database, run_id, target, kind, self.batch)
            if not writes:
                return done
            self.step("sent", target, kind)
            self.wait(seconds=1)
            outcomes = [
                self._esp_does(kind, write) if target == "esp" else self._shop_does(target, kind, write) for write in writes
            ]
            self.wait(seconds=1)
            self.step("done", target, kind)
            with self.opened() as database:
                ledger.settle(database, outcomes, run_id)
            self.step("settled", target, kind)
            self.refused.update(str(outcome.code) for outcome in outcomes if outcome.state != "acknowledged")
            done += [(target, kind, write.key) for write in writes]

    def _esp_does(self, kind: str, write: Write) -> Outcome:
        payload = write.payload
        address = payload.get("email")
        contact = self.contacts.get(address)
        if kind == "create" and contact:
            return Outcome(write.write_id, "skipped", "exists")
        if kind in {"create", "status"}:
            if contact and self.is_strict and contact.is_final and payload["status"] == "subscribed":
                return Outcome(write.write_id, "skipped", "compliance")
            contact = self.contacts.setdefault(address, Contact("", self.esp_now()))
            contact.status, contact.changed_at, contact.reason, contact.is_final = (
                payload["status"],
                self.esp_now(),
                None,
                False,
            )
            if payload.get("consent_at"):
                contact.opted_in_at = datetime.fromisoformat(payload["consent_at"])
        elif kind == "sms" and contact:
            contact.phone, contact.sms, contact.sms_at = payload["phone"], payload["status"], self.esp_now()
            contact.changed_at = self.esp_now()
        elif kind in {"archive", "profile", "tags"} and contact:
            contact.changed_at = self.esp_now()
            contact.status = "deleted" if kind == "archive" else contact.status
            contact.tags = sorted({*contact.tags, *payload.get("add", ())} - {*payload.get("remove", ())})
        return Outcome(write.write_id, "acknowledged")

    def _shop_does(self, shop: str, kind: str, write: Write) -> Outcome:
        account = self.accounts.get((shop, write.key))
        if account is None or not account.is_listed:
            return Outcome(write.write_id, "skipped", "gone")
        if kind == "bounce":
            account.bounced_at = datetime.fromisoformat(write.payload["bounced_at"])
        else:
            account.consent = {"subscribed": "in", "unsubscribed": "out"}[write.payload["status"]]
        return Outcome(write.write_id, "acknowledged")

    # What can be asked

    def query(self, query: str) -> list[dict[str, Any]]:
        with self.opened() as database:
            return rows(database, query)

    def rule_of(self, address: str) -> str:
        found = self.query(
            f"select rule from merge.decisions where address = '{address}' order by decided_at desc, decision_id desc limit 1"
        )
        return str(found[0]["rule"]) if found else "none"

    def esp_status(self, address: str) -> str:
        contact = self.contacts.get(address)
        return contact.status if contact else "absent"


@contextmanager
def _world_at(folder: Path, **settings: Any) -> Iterator[World]:
    with time_machine.travel(datetime(2026, 2, 1, 10, tzinfo=UTC), tick=False) as traveller:
        world = World(folder, traveller, **settings)
        try:
            yield world
        finally:  # a failing example is kept with its frames, and must not keep a database open
            world.close()


@pytest.fixture(scope="session")
def world_at() -> Callable[..., Any]:
    """A world in a folder of its own, as a context, for tests that share one or need many."""
    return _world_at


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(datetime(2026, 2, 1, 10, tzinfo=UTC), tick=False) as traveller:
        yield traveller


@pytest.fixture
def make_world(tmp_path: Path, clock: Any) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path / f"world-{len(made)}", clock, **settings))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
