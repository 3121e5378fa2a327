"""The Mailchimp connector: shaping from a saved answer, everything else over real HTTP against the twin."""

from __future__ import annotations

import copy
import itertools
import logging
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from pydantic import SecretStr

from sandbox.mailchimp import KEY, LIST_ID
from sandbox.mailchimp import Mailchimp as Twin
from sandbox.mailchimp.batches import Batch
from sandbox.server import Door, Fault, Running, serve
from schemas.esp import Contacts
from tasks.connector import PROFILE_FIELDS, Outcome, Page, SetupError, TryLater, Write
from tasks.esps import PLATFORMS
from tasks.esps.mailchimp import Mailchimp, MailchimpSettings, connector
from tasks.esps.mailchimp.batches import Batches, Operation, pauses
from tasks.esps.mailchimp.words import MERGE_FIELDS, holds, merge_values, usable_fields
from tasks.http import Patience

SAMPLES = Path(__file__).parent / "samples"
STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
STORE = {
    "store_id": "shopsync-shop",
    "name": "Shop",
    "domain": "shop.example",
    "former_domains": [],
    "currency": "EUR",
    "platform": "WooCommerce",
}
START = datetime(2026, 1, 1, tzinfo=UTC)
LISTED = r"/lists/\w+/members$"
_numbers = itertools.count()


@dataclass
class World:
    """A twin that is being served, and a connector to it that gives up soon."""

    twin: Twin
    door: Door
    url: str
    limits: Path

    def connect(self, *, attempts: int = 4, **settings: Any) -> Mailchimp:
        given: dict[str, Any] = {
            "api_key": SecretStr(self.twin.key),
            "list_id": LIST_ID,
            "base_url": f"{self.url}/3.0",
        } | settings
        return Mailchimp(
            MailchimpSettings(platform="mailchimp", **given),
            limits=self.limits,
            patience=Patience(attempts=attempts, seconds=10, first_wait=0.01),
        )

    def state(self, email: str) -> dict[str, Any]:
        return next(m for m in self.twin.state()["members"] if m["email_address"] == email)

    def count(self, method: str, path: str) -> int:
        return sum(call.method == method and re.search(path, call.path) is not None for call in self.door.calls)

    def load(self, *contacts: dict[str, Any]) -> None:
        self.twin.load_contacts(LIST_ID, contacts)

    def load_each_status(self) -> dict[str, str]:
        """One contact of each status; status by address."""
        people = {f"{status}@example.com": status for status in STATUSES}
        self.load(*({"email": email, "status": status, "first_name": "Old"} for email, status in people.items()))
        return people


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """One server for all tests; each test puts a twin of its own behind its door."""
    with pytest.MonkeyPatch.context() as patch:
        # asyncio switches Nagle's algorithm off only for sockets that say they are TCP; with it each answer takes 40 ms more.
        made = socket.create_server(("127.0.0.1", 0))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        patch.setattr("sandbox.server.socket.create_server", lambda *args, **options: made)
        with serve(Twin()) as found:
            yield found


@pytest.fixture
def serving(running: Running, tmp_path: Path) -> Callable[..., World]:
    """A world with a fresh twin; `switches` are the twin's."""

    def fresh(**switches: Any) -> World:
        twin = Twin(**{"batch_seconds": 0.0} | switches)
        door = running.door
        door.twin, door.before, door.after = twin, None, None
        door.calls.clear()
        door.faults.clear()
        return World(twin, door, running.url, tmp_path)

    return fresh


@pytest.fixture
def world(serving: Callable[..., World]) -> World:
    return serving()


@pytest.fixture(scope="module")
def after_prepare(running: Running, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """What `prepare` leaves at Mailchimp, so that not every test has to wait for it."""
    twin = running.door.twin = Twin()
    World(twin, running.door, running.url, tmp_path_factory.mktemp("limits")).connect().prepare(STORE)
    return twin.lists.audiences[LIST_ID].fields, twin.shops.stores


@pytest.fixture
def esp(after_prepare: tuple[Any, Any], world: World) -> Mailchimp:
    world.twin.lists.audiences[LIST_ID].fields, world.twin.shops.stores = copy.deepcopy(after_prepare)
    return world.connect()


def write(key: str, payload: dict[str, Any], *, known: bool = False) -> Write:
    return Write(f"w{next(_numbers)}", key, payload, known)


def create(email: str, status: str = "subscribed", **fields: Any) -> Write:
    return write(email, {"email": email, "status": status, "fields": fields, "consent_at": "2026-02-03T04:05:06.789+00:00"})


def set_status(email: str, status: str) -> Write:
    return write(email, {"email": email, "status": status, "consent_at": None})


def profile(email: str, **fields: Any) -> Write:
    return write(email, {"email": email, "fields": fields})


def tags(email: str, add: list[str], remove: list[str]) -> Write:
    return write(email, {"email": email, "add": add, "remove": remove})


def archive(email: str) -> Write:
    return write(email, {"email": email})


def customer(email: str, customer_id: str = "c1") -> Write:
    payload = {"customer_id": customer_id, "email": email, "first_name": "New", "last_name": None}
    return write(customer_id, {"store_id": "shopsync-shop", **payload})


def product(product_id: str = "p1", title: str = "Tee", price: str | None = "9.9000") -> Write:
    variant = {"variant_id": f"{product_id}v", "title": title, "sku": None, "price": price}
    payload = {"product_id": product_id, "title": title, "url": None, "image_url": None, "variants": [variant]}
    return write(product_id, {"store_id": "shopsync-shop", **payload})


def order(order_id: str = "o1", *, known: bool = False, **changes: Any) -> Write:
    line = {"product_id": "p1", "variant_id": "p1v", "quantity": 1, "price": "9.9000", "discount": "0.0000"}
    payload = {
        "store_id": "shopsync-shop",
        "order_id": order_id,
        "customer_id": "c1",
        "currency": "EUR",
        "total": "19.8000",
        "discount_total": "1.0000",
        "tax_total": "3.1600",
        "shipping_total": "0.0000",
        "refunded_total": "0.0000",
        "state": "paid",
        "is_paid": True,
        "ordered_at": "2026-03-01T10:00:00+00:00",
        "updated_at": "2026-03-01T10:00:00+00:00",
        "promo_codes": ["SPRING", "TEA"],
        "lines": [{"line_id": "1", **line}, {"line_id": "2", **line}],
    }
    return write(order_id, payload | changes, known=known)


def states(outcomes: list[Outcome]) -> list[tuple[str, str | None]]:
    return [(outcome.state, outcome.code) for outcome in outcomes]


def all_done(outcomes: list[Outcome], writes: list[Write]) -> bool:
    return [(o.write_id, o.state) for o in outcomes] == [(w.write_id, "acknowledged") for w in writes]


def statuses(esp: Mailchimp, pages: list[Page]) -> dict[str, str]:
    """What the ESP says last about each address."""
    frame = esp.to_contacts([record for page in pages for record in page.records])
    return dict(frame.select("address", "status").iter_rows())


# Shaping


@pytest.fixture
def shaped(tmp_path: Path) -> pl.DataFrame:
    members = orjson.loads((SAMPLES / "mailchimp-members-200.json").read_bytes())["members"]
    settings = MailchimpSettings(platform="mailchimp", api_key=SecretStr("0-us1"), list_id="x")
    frame = Mailchimp(settings, limits=tmp_path).to_contacts(members)
    assert frame.height == len(members)
    return frame


def test_a_saved_answer_fits_the_schema(shaped: pl.DataFrame) -> None:
    Contacts.validate(shaped)
    assert shaped.columns == list(Contacts.to_schema().columns)


@pytest.mark.parametrize(
    ("number", "status", "key", "said"),
    [
        ("+15550100200", "unsubscribed", "+15550100200", "unsubscribed"),
        ("+1 555-010-0200", "nonsubscribed", "+15550100200", "not_subscribed"),
        ("555 010 0200", "subscribed", None, "subscribed"),
        ("", "", None, None),
        (None, "on holiday", None, None),
    ],
)
def test_text_messages_are_read(tmp_path: Path, number: str | None, status: str, key: str | None, said: str | None) -> None:
    """Words and names of the fields: the API description; a number without its country attaches to nobody."""
    member = orjson.loads((SAMPLES / "mailchimp-members-200.json").read_bytes())["members"][0]
    told = {"sms_phone_number": number, "sms_subscription_status": status}
    esp = Mailchimp(MailchimpSettings(platform="mailchimp", api_key=SecretStr("0-us1"), list_id="x"), limits=tmp_path)
    frame = esp.to_contacts([member | told | {"sms_subscription_last_updated": "2026-11-01T08:00:00+00:00"}])
    Contacts.validate(frame)
    at = datetime(2026, 11, 1, 8, tzinfo=UTC)
    assert frame.select("sms_address", "sms_status", "sms_status_at").row(0) == (key, said, at)


def test_statuses_and_who_did_it(shaped: pl.DataFrame) -> None:
    assert shaped.select("status", "actor", "reason").rows() == [
        ("subscribed", None, None),
        ("unsubscribed", "self", "No longer interested"),
        ("unsubscribed", "merchant", "N/A (Unsubscribed by an admin)"),
        ("unsubscribed", "merchant", "N/A (Unsubscribed by admin)"),
        ("unsubscribed", None, None),
        ("complained", "self", "abuse"),
        ("complained", "self", "Spammy content"),
        ("bounced", None, None),
        ("pending", None, None),
        ("not_subscribed", None, None),
        ("deleted", None, None),
    ]


def test_times_are_what_mailchimp_states(shaped: pl.DataFrame) -> None:
    assert shaped["status_at"].null_count() == shaped.height
    assert set(shaped["changed_at"]) == {datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC)}
    never_opted_in = shaped.filter(pl.col("opted_in_at").is_null())["status"].to_list()
    assert never_opted_in == ["pending", "not_subscribed", "deleted"]


def test_profile_and_tags(shaped: pl.DataFrame) -> None:
    first = shaped.row(0, named=True)
    assert (first["email"], first["address"]) == ("Zoe.Example@Example.COM", "zoe.example@example.com")
    assert orjson.loads(first["tags"]) == ["Buyer", "Subscriber"]
    fields = orjson.loads(first["fields"])
    assert list(fields) == list(PROFILE_FIELDS)
    assert (fields["city"], fields["orders_count"], fields["total_spent"]) == ("Besançon", 2, "49.90")
    assert (fields["first_ordered_on"], fields["last_ordered_on"], fields["phone"]) == ("2026-01-31", None, None)


@pytest.mark.parametrize(
    "garbage",
    [
        {},
        {"email_address": 7, "status": "asleep", "last_changed": "soon", "merge_fields": [], "tags": "x"},
        {"email_address": None, "status": None, "merge_fields": {"ORDERS": "many", "FNAME": {}}, "tags": [None, {"name": 1}]},
        {
            "status": True,
            "merge_fields": {"ORDERS": "NaN", "SPENT": "Infinity"},
            "timestamp_opt": 1.5,
            "unsubscribe_reason": {},
        },
        None,
        "text",
    ],
)
def test_garbage_is_shaped_and_left_to_validation(esp: Mailchimp, garbage: Any) -> None:
    frame = esp.to_contacts([garbage])
    assert frame.height == 1
    assert frame["changed_at"].to_list() == [None]
    assert frame.columns == list(Contacts.to_schema().columns)


def test_no_records_make_an_empty_frame(esp: Mailchimp) -> None:
    Contacts.validate(esp.to_contacts([]))


def test_merge_values_fit_what_the_audience_takes() -> None:
    assert set(MERGE_FIELDS) == set(PROFILE_FIELDS)
    assert all(len(field.tag) <= 10 for field in MERGE_FIELDS.values())
    there: list[dict[str, Any]] = [
        {"tag": "FNAME", "type": "text", "options": {}},
        {"tag": "PHONE", "type": "phone", "options": {"phone_format": "US"}},
        {"tag": "ORDERS", "type": "number"},
        {"tag": "SPENT", "type": "text"},
        {"tag": "COUNTRY", "type": "dropdown"},
    ]
    usable = usable_fields(there)
    assert usable == {"first_name", "orders_count", "total_spent"}
    given = {"first_name": "ü" * 300, "phone": "030 1", "orders_count": 3, "total_spent": None, "country": "DE"}
    assert merge_values(given, usable) == {"FNAME": "ü" * 127, "ORDERS": 3.0, "SPENT": ""}


@pytest.mark.parametrize(
    ("found", "wanted", "is_held"),
    [
        ({"a": 1, "b": 2}, {"a": 1.0}, True),
        ({"a": "9.90"}, {"a": 9.9}, True),
        ({"a": None}, {"a": ""}, True),
        ({"a": None}, {"a": "x"}, False),
        ({"a": 0}, {"a": False}, False),
        ({"at": "2026-01-01T00:00:00Z"}, {"at": "2026-01-01T01:00:00+01:00"}, True),
        ({"l": [{"id": "2", "n": 1}, {"id": "1", "n": 1}]}, {"l": [{"id": "1", "n": 1}, {"id": "2"}]}, True),
        ({"l": [{"id": "1"}, {"id": "2"}]}, {"l": [{"id": "1"}]}, False),
        ({"l": None}, {"l": []}, False),
    ],
)
def test_what_counts_as_held(found: Any, wanted: Any, is_held: bool) -> None:
    assert holds(found, wanted) is is_held


# Setting up


def test_the_registry_knows_it() -> None:
    assert PLATFORMS["mailchimp"] == (Mailchimp, MailchimpSettings)


def test_a_good_audience_has_nothing_to_warn_of(world: World) -> None:
    assert [finding.level for finding in world.connect().check()] == ["ok"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"api_key": SecretStr("ffffffffffffffffffffffffffffffff-us1")}, "does not accept the API key"),
        ({"list_id": "ffffffffff"}, rf"no audience ffffffffff.*Customers \({LIST_ID}\)"),
        ({"list_id": None}, rf"Set list_id.*Customers \({LIST_ID}\)"),
        ({"api_key": SecretStr("ffffffffffffffffffffffffffffffff"), "base_url": None}, "data centre"),
    ],
)
def test_wrong_settings_end_in_a_sentence(world: World, settings: dict[str, Any], sentence: str) -> None:
    for use in (lambda esp: esp.check(), lambda esp: list(esp.contacts()), lambda esp: esp.prepare(STORE)):
        with pytest.raises(SetupError, match=sentence) as stopped:
            use(world.connect(**settings))
        assert KEY not in str(stopped.value)
        assert "ffffffffffffffffffffff" not in str(stopped.value)


def test_writes_to_a_wrong_audience_stop(world: World) -> None:
    esp = world.connect(list_id="ffffffffff")
    for kind, one in [("status", set_status("a@example.com", "unsubscribed")), ("archive", archive("a@example.com"))]:
        with pytest.raises(SetupError, match="no audience"):
            esp.send(kind, [one])


def test_check_finds_other_integrations_and_traps(world: World) -> None:
    world.twin.act_set_double_optin()
    world.twin.lists.audiences[LIST_ID].webhooks["h"] = {"id": "h", "url": "https://hooks.example/?secret=1", "secret": ""}
    field = next(f for f in world.twin.lists.audiences[LIST_ID].fields if f.tag == "PHONE")
    field.options = {"phone_format": "US"}
    other = world.connect()
    other.prepare(STORE | {"store_id": "other-plugin", "name": "Their shop", "domain": "theirs.example"})
    other.prepare(STORE)
    warnings = [finding.sentence for finding in other.check() if finding.level == "warning"]
    assert [
        bool(re.search(word, s)) for word, s in zip(("confirm", "Their shop", "hooks.example", "PHONE"), warnings, strict=True)
    ]
    assert "secret" not in " ".join(warnings)


def test_prepare_makes_fields_and_store_once_and_tells_that_it_holds_automations(world: World) -> None:
    esp = world.connect()
    assert [esp.prepare(STORE) for _ in range(2)] == ["made", "held"]
    state = world.twin.state()
    assert {f.tag for f in MERGE_FIELDS.values()} <= {f["tag"] for f in state["lists"][LIST_ID]["merge_fields"]}
    assert list(state["stores"]) == ["shopsync-shop"]
    assert state["stores"]["shopsync-shop"]["is_syncing"] is True
    assert world.count("POST", "merge-fields") == 10
    esp.hold_automations("shopsync-shop", hold=False)
    assert esp.prepare(STORE) == "ready"
    assert world.count("POST", "stores$") == 1


def test_another_shops_store_is_not_touched(world: World) -> None:
    esp = world.connect()
    esp.prepare(STORE)
    with pytest.raises(SetupError, match=r"belongs to shop\.example.*staging\.shop\.example"):
        esp.prepare(STORE | {"domain": "https://staging.shop.example/"})
    esp.prepare(STORE | {"domain": "https://WWW.shop.example/"})


def test_the_store_of_a_shop_that_moved_moves_with_it(world: World) -> None:
    esp = world.connect()
    esp.prepare(STORE | {"domain": "old.example"})
    moved = STORE | {"former_domains": ["older.example", "https://old.example/"]}
    for _ in range(2):
        esp.prepare(moved)
    assert world.twin.state()["stores"]["shopsync-shop"]["domain"] == "shop.example"
    assert world.count("PATCH", "stores/") == 1
    with pytest.raises(SetupError, match=r"belongs to shop\.example, and this shop is old\.example"):
        esp.prepare(STORE | {"domain": "old.example"})


def test_a_store_of_another_audience_is_not_touched(world: World) -> None:
    world.twin.lists.add("second", "Second")
    world.connect().prepare(STORE)
    moved = STORE | {"domain": "new.example", "former_domains": ["shop.example"]}
    for store in (STORE, moved):
        with pytest.raises(SetupError, match=f"feeds audience {LIST_ID}"):
            world.connect(list_id="second").prepare(store)
    assert world.count("PATCH", "stores/") == 0


def test_a_store_that_mailchimp_refuses_is_a_sentence(world: World) -> None:
    esp = world.connect()
    esp.prepare(STORE)
    with pytest.raises(SetupError, match=r"domain already exists.* use another account"):
        esp.prepare(STORE | {"store_id": "shopsync-second"})


# Reading


def test_the_first_load_and_the_first_listing(esp: Mailchimp, world: World) -> None:
    people = [
        create(f"p{n}@example.com", first_name=f"N{n}", orders_count=n, last_ordered_on="2026-01-02") for n in range(1500)
    ]
    for start in range(0, len(people), 500):
        assert all_done(esp.send("create", people[start : start + 500]), people[start : start + 500])
    assert world.count("POST", f"/lists/{LIST_ID}$") == 3
    assert world.twin.state()["mails"] == []
    stored = world.state("p7@example.com")
    assert (stored["status"], stored["merge_fields"]["FNAME"], stored["merge_fields"]["ORDERS"]) == ("subscribed", "N7", 7)
    assert stored["timestamp_opt"] == "2026-02-03T04:05:06+00:00"
    pages = list(esp.contacts())
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert pages[-1].announced == 1500
    assert len(statuses(esp, pages)) == 1500
    again = esp.to_contacts([r for page in pages for r in page.records]).filter(pl.col("address") == "p7@example.com")
    assert orjson.loads(again["fields"][0])["orders_count"] == 7


def test_archived_contacts_are_listed(esp: Mailchimp, world: World) -> None:
    people = world.load_each_status()
    pages = list(esp.contacts())
    assert pages[-1].complete
    assert len(statuses(esp, pages)) == len(people)
    assert statuses(esp, pages)["archived@example.com"] == "deleted"


def test_an_empty_audience_is_complete(esp: Mailchimp) -> None:
    pages = list(esp.contacts())
    assert (pages[-1].complete, pages[-1].cursor, sum(len(p.records) for p in pages)) == (True, None, 0)


def spread(count: int, *, step: timedelta) -> list[dict[str, Any]]:
    return [{"email": f"p{n}@example.com", "last_changed": START + n * step} for n in range(count)]


def test_what_changed_since_the_cursor_comes_without_fractions(esp: Mailchimp, world: World) -> None:
    world.load(*spread(30, step=timedelta(hours=1)))
    cursor = list(esp.contacts())[-1].cursor
    assert cursor == "2026-01-02T05:00:00+00:00"
    world.twin.act_self_unsubscribe("p3@example.com")
    world.twin.act_archive("p4@example.com")
    pages = list(esp.contacts("2026-01-02T05:00:00.123456+00:00"))
    # The newest of before comes again: a listing goes back a minute behind its cursor.
    assert statuses(esp, pages) == {
        "p3@example.com": "unsubscribed",
        "p4@example.com": "deleted",
        "p29@example.com": "subscribed",
    }
    assert not pages[-1].complete
    assert pages[-1].cursor is not None
    assert pages[-1].cursor > cursor
    asked = [call.query for call in world.door.calls if "since_last_changed" in call.query]
    assert asked
    assert not any(re.search(r"since_last_changed=[^&]*\.", query) for query in asked)


def test_the_cursor_waits_for_whoever_was_archived_meanwhile(serving: Callable[..., World]) -> None:
    """Archived between the two walks: in neither of them, so the listing is not complete and the next one must find them."""
    late = timedelta(0)
    world = serving(clock=lambda: datetime.now(UTC) + late)
    world.load(*spread(5, step=timedelta(hours=1)))
    esp = world.connect()

    def change() -> None:
        nonlocal late
        late = timedelta(minutes=5)
        world.twin.act_archive("p2@example.com")
        late = timedelta(minutes=10)
        world.twin.act_edit("p3@example.com", {"FNAME": "Edited"})

    at_members_call(world, 2, change)
    pages = list(esp.contacts())
    assert not pages[-1].complete
    assert statuses(esp, list(esp.contacts(pages[-1].cursor)))["p2@example.com"] == "deleted"


def at_members_call(world: World, number: int, act: Callable[[], None]) -> None:
    """Let something happen just before the nth page of members is answered."""
    counter = itertools.count(1)

    def before(_: int, method: str, path: str) -> None:
        if method == "GET" and re.search(LISTED, path) and next(counter) == number:
            act()

    world.door.before = before


@pytest.mark.parametrize("a_second", [1, 7, 1200, 2600])
def test_nobody_is_lost_when_contacts_change_during_a_walk(esp: Mailchimp, world: World, a_second: int) -> None:
    """With offsets alone, whoever moves to the end pulls the others over the edge between two pages."""
    people = spread(2600, step=timedelta(0))
    world.load(*(one | {"last_changed": START + timedelta(seconds=n // a_second)} for n, one in enumerate(people)))

    def change() -> None:
        world.twin.act_self_unsubscribe("p5@example.com")
        world.twin.act_edit("p6@example.com", {"FNAME": "Edited"})
        world.twin.act_self_unsubscribe("p2500@example.com")

    at_members_call(world, 3, change)  # the archived, the first page, and now the second
    pages = list(esp.contacts())
    found = statuses(esp, pages)
    assert len(found) == 2600
    assert {email for email, status in found.items() if status == "unsubscribed"} == {"p5@example.com", "p2500@example.com"}
    assert pages[-1].complete


def test_a_contact_deleted_during_the_walk_makes_it_tell_nothing(esp: Mailchimp, world: World) -> None:
    world.load(*spread(1200, step=timedelta(seconds=7)))
    at_members_call(world, 3, lambda: world.twin.act_delete_permanent("p5@example.com"))
    assert not any(page.complete for page in esp.contacts())


def test_passing_trouble_is_waited_out(esp: Mailchimp, world: World) -> None:
    world.load(*spread(3, step=timedelta(seconds=1)))
    world.twin.act_busy(2, 429)
    assert len(statuses(esp, list(esp.contacts()))) == 3
    world.twin.act_busy(2, 403)
    assert len(statuses(esp, list(esp.contacts()))) == 3
    world.twin.act_busy(50, 403)
    with pytest.raises(TryLater):
        list(esp.contacts())


# Writing: nobody's consent changes by accident


def writes_to(kind: str, emails: list[str]) -> list[Write]:
    if kind == "create":
        return [create(email, "subscribed", first_name="New") for email in emails]
    if kind == "profile":
        return [profile(email, first_name="New", language="fr") for email in emails]
    if kind == "tags":
        return [tags(email, ["Buyer"], ["Other"]) for email in emails]
    if kind == "customer":
        return [customer(email, f"c{number}") for number, email in enumerate(emails)]
    return [order(f"o{number}", customer_id=f"c{number}") for number in range(len(emails))]


@pytest.mark.parametrize("double_optin", [False, True])
@pytest.mark.parametrize("kind", ["create", "profile", "tags", "customer", "order"])
def test_no_status_changes_but_by_status(serving: Callable[..., World], kind: str, double_optin: bool) -> None:
    world = serving(double_optin=double_optin, post_restores_archived=True, tag_journeys=True)
    esp = world.connect()
    esp.prepare(STORE)
    people = world.load_each_status()
    if kind == "order":
        esp.send("product", [product()])
        esp.send("customer", writes_to("customer", list(people)))
    outcomes = esp.send(kind, writes_to(kind, list(people)))
    assert {m["email_address"]: m["status"] for m in world.twin.state()["members"]} == people
    assert states(outcomes) == [("skipped", "exists") if kind == "create" else ("acknowledged", None)] * 6
    assert world.twin.state()["mails"] == []
    assert {m["merge_fields"]["FNAME"] for m in world.twin.state()["members"]} == {"New" if kind == "profile" else "Old"}


@pytest.fixture(params=["at once", "in a batch"])
def however_many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few statuses are written while we wait, many in a batch."""
    if request.param == "in a batch":
        monkeypatch.setattr(connector, "STATUSES_AT_ONCE", 0)


@pytest.mark.usefixtures("however_many")
def test_status_does_what_was_decided_and_no_more(esp: Mailchimp, world: World) -> None:
    world.load_each_status()
    world.twin.act_self_subscribe("self@example.com")
    world.twin.act_self_unsubscribe("self@example.com")
    world.twin.act_self_subscribe("admin@example.com")
    world.twin.act_admin_unsubscribe("admin@example.com")
    decided = {
        "subscribed@example.com": "unsubscribed",
        "transactional@example.com": "subscribed",
        "pending@example.com": "unsubscribed",
        "cleaned@example.com": "subscribed",
        "self@example.com": "subscribed",
        "admin@example.com": "subscribed",
        "archived@example.com": "not_subscribed",
        "gone@example.com": "subscribed",
        "no address": "unsubscribed",
    }
    world.twin.act_self_subscribe("gone@example.com")
    world.twin.act_delete_permanent("gone@example.com")
    writes = [set_status(email, status) for email, status in decided.items()]
    outcomes = esp.send("status", writes)
    assert [o.write_id for o in outcomes] == [w.write_id for w in writes]
    compliance = ("skipped", "compliance")
    done = ("acknowledged", None)
    ends = [done, done, done, compliance, compliance, done, done, ("skipped", "forgotten"), ("rejected", "invalid_address")]
    assert states(outcomes) == ends
    assert "needs_confirmation" in str(outcomes[4].message)
    assert world.state("archived@example.com")["status"] == "transactional"
    assert world.state("self@example.com")["status"] == "unsubscribed"
    assert world.state("cleaned@example.com")["status"] == "cleaned"
    assert world.state("transactional@example.com")["status"] == "subscribed"
    assert world.state("transactional@example.com")["merge_fields"]["FNAME"] == "Old"


def test_every_status_can_be_created(esp: Mailchimp, world: World) -> None:
    wanted = {
        "subscribed": "subscribed",
        "not_subscribed": "transactional",
        "unsubscribed": "unsubscribed",
        "complained": "unsubscribed",
        "bounced": "cleaned",
        "pending": "pending",
    }
    writes = [create(f"{status}@example.com", status) for status in wanted]
    assert all_done(esp.send("create", writes), writes)
    assert [world.state(w.key)["status"] for w in writes] == list(wanted.values())
    assert [mail["kind"] for mail in world.twin.state()["mails"]] == ["confirmation"]


def test_refusals_of_single_contacts(esp: Mailchimp, world: World) -> None:
    world.twin.act_self_subscribe("gone@example.com")
    world.twin.act_delete_permanent("gone@example.com")
    writes = [
        create("fine@example.com"),
        create("gone@example.com"),
        create("no address"),
        create("Fine.Too@Example.com"),
        create("wrong@example.com", last_ordered_on="some day"),
    ]
    outcomes = esp.send("create", writes)
    assert [o.write_id for o in outcomes] == [w.write_id for w in writes]
    assert states(outcomes) == [
        ("acknowledged", None),
        ("skipped", "forgotten"),
        ("rejected", "invalid_address"),
        ("acknowledged", None),
        ("rejected", "ERROR_GENERIC"),
    ]
    assert "LASTORDER" in str(outcomes[4].message)
    assert not any("@" in (o.message or "") for o in outcomes)


def test_an_answer_that_may_change_leaves_the_write_open(esp: Mailchimp, world: World) -> None:
    busy = "a@example.com has signed up to a lot of lists very recently; we're not allowing more signups for now"
    error = {"email_address": "a@example.com", "error": busy, "error_code": "ERROR_GENERIC"}
    body = orjson.dumps({"new_members": [], "updated_members": [], "errors": [error]}).decode()
    json = {"content-type": "application/json"}
    world.door.faults = [Fault("status", path=f"/lists/{LIST_ID}$", method="POST", status=200, headers=json, body=body)]
    assert esp.send("create", [create("a@example.com")]) == []


def test_double_opt_in_of_the_audience_is_told(serving: Callable[..., World]) -> None:
    world = serving(double_optin=True)
    outcomes = world.connect().send("create", [create("new@example.com")])
    assert states(outcomes) == [("acknowledged", "pending")]


def test_one_odd_operation_does_not_stop_the_others(esp: Mailchimp, world: World) -> None:
    people = [f"p{n}@example.com" for n in range(3)]
    world.load(*({"email": email} for email in people))
    body = orjson.dumps({"title": "Invalid Resource", "status": 400, "detail": "odd@example.com is odd"}).decode()
    world.door.faults = [Fault("status", path="/batches$", method="POST", status=400, body=body, times=2)]
    outcomes = esp.send("profile", [profile(email, first_name="New") for email in people])
    assert [o.state for o in outcomes] == ["rejected", "acknowledged", "acknowledged"]
    assert outcomes[0].message == "Invalid Resource … is odd"


def test_one_odd_record_does_not_stop_the_others(esp: Mailchimp, world: World) -> None:
    """Mailchimp refuses a whole call when one record in it has a form that it does not know."""
    body = orjson.dumps({"title": "Invalid Resource", "status": 400, "detail": "odd@example.com is odd"}).decode()
    # Refused: all three, the first one alone, and nothing more.
    world.door.faults = [Fault("status", path=f"/lists/{LIST_ID}$", method="POST", status=400, body=body, times=2)]
    outcomes = esp.send("create", [create(f"p{n}@example.com") for n in range(3)])
    assert [o.state for o in outcomes] == ["rejected", "acknowledged", "acknowledged"]
    assert outcomes[0].message == "Invalid Resource … is odd"


def test_archiving_is_reversible_and_refused_where_mailchimp_keeps(esp: Mailchimp, world: World) -> None:
    people = [*world.load_each_status(), "nobody@example.com"]
    outcomes = dict(zip(people, states(esp.send("archive", [archive(email) for email in people])), strict=True))
    kept = ("skipped", "not_archivable")
    assert outcomes == {
        "subscribed@example.com": ("acknowledged", None),
        "unsubscribed@example.com": ("acknowledged", None),
        "cleaned@example.com": kept,
        "pending@example.com": kept,
        "transactional@example.com": ("acknowledged", None),
        "archived@example.com": kept,
        "nobody@example.com": ("skipped", "gone"),
    }
    assert world.twin.state()["lists"][LIST_ID]["forgotten"] == []


def test_erasing_leaves_nothing_and_is_once_however_often(esp: Mailchimp, world: World) -> None:
    """In each status, and with its customers and orders; whoever looks like them stays."""
    people = world.load_each_status()
    world.load({"email": "xsubscribed@example.com", "status": "subscribed"})
    esp.send("product", [product()])
    buyers = [customer("subscribed@example.com", "c1"), customer("xsubscribed@example.com", "c2")]
    assert all_done(esp.send("customer", buyers), buyers)
    bought = [order("o1", customer_id="c1"), order("o2", customer_id="c1"), order("o3", customer_id="c2")]
    assert all_done(esp.send("order", bought), bought)
    stores = [STORE["store_id"], "shopsync-never-made"]
    assert [esp.erase(email, stores) for email in people] == [True] * len(people)
    assert [esp.erase(email, stores) for email in (*people, "nobody@example.com")] == [False] * (len(people) + 1)
    held = world.twin.state()
    assert [m["email_address"] for m in held["members"]] == ["xsubscribed@example.com"]
    told = orjson.dumps({name: held[name] for name in ("customers", "orders")}).decode()
    assert [(word in told) for word in ('"subscribed@example.com"', '"o1"', '"o2"', '"xsubscribed@example.com"', '"o3"')] == [
        *(False, False, False),
        *(True, True),
    ]
    assert states(esp.send("create", [create("subscribed@example.com")])) == [("skipped", "forgotten")]


def test_erasing_in_a_wrong_audience_stops(world: World) -> None:
    with pytest.raises(SetupError, match="knows no audience"):
        world.connect(list_id="other").erase("a@example.com", [])


def test_tags_come_and_go(esp: Mailchimp, world: World) -> None:
    world.load({"email": "a@example.com", "tags": ["Contact", "VIP"]})
    esp.send("tags", [tags("a@example.com", ["Buyer"], ["Contact", "Never there"])])
    assert world.state("a@example.com")["tags"] == ["Buyer", "VIP"]


@pytest.mark.parametrize("quiet", [True, False])
def test_tags_start_journeys_only_when_asked_to(serving: Callable[..., World], quiet: bool) -> None:
    world = serving(tag_journeys=True)
    world.load({"email": "a@example.com"})
    one = tags("a@example.com", ["Buyer"], [])
    world.connect().send("tags", [replace(one, payload=one.payload | {"quiet": quiet})])
    assert len(world.twin.state()["mails"]) == (0 if quiet else 1)


def test_held_automations_send_nothing(esp: Mailchimp, world: World) -> None:
    load_shop(esp, [order("o1"), order("o2", state="cancelled")])
    esp.send("create", [create("b@example.com")])
    assert world.twin.state()["mails"] == []
    esp.hold_automations("shopsync-shop", hold=False)
    esp.send("create", [create("welcome@example.com")])
    assert [mail["email"] for mail in world.twin.state()["mails"]] == ["welcome@example.com"]
    esp.hold_automations("shopsync-shop", hold=True)
    esp.send("create", [create("c@example.com")])
    assert len(world.twin.state()["mails"]) == 1


# Batches


def test_a_batch_with_partial_failure(esp: Mailchimp, world: World) -> None:
    world.load(*({"email": f"p{n}@example.com"} for n in range(450)))
    writes = [profile(f"p{n}@example.com", first_name=f"N{n}") for n in range(450)]
    writes[10] = profile("nobody@example.com", first_name="x")
    writes[20] = profile("p20@example.com", first_ordered_on="someday")
    outcomes = esp.send("profile", writes)
    assert [o.write_id for o in outcomes] == [w.write_id for w in writes]
    odd = {n: states([o])[0] for n, o in enumerate(outcomes) if o.state != "acknowledged"}
    assert odd == {10: ("skipped", "gone"), 20: ("rejected", "Invalid Resource")}
    assert "FIRSTORDER" in str(outcomes[20].message)
    assert world.state("p449@example.com")["merge_fields"]["FNAME"] == "N449"
    assert world.count("POST", "/batches$") == 1


EXPIRED = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", path="batch-archives", status=403, body=EXPIRED),
        Fault("truncate", path="batch-archives"),
        Fault("drop_before", path="batch-archives"),
        Fault("status", path="batch-archives", status=503),
        Fault("status", path="batch-archives", status=200, body="not an archive"),
        Fault("truncate", path="/batches/", method="GET"),
        Fault("status", path="/batches/", method="GET", status=500),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.path}-{fault.status}",
)
def test_results_that_do_not_come_at_once(esp: Mailchimp, world: World, fault: Fault) -> None:
    world.load({"email": "a@example.com"})
    world.door.faults = [fault]
    writes = [profile("a@example.com", first_name="New")]
    assert all_done(esp.send("profile", writes), writes)
    assert fault.times == 0
    assert world.count("POST", "/batches$") == 1


def test_results_that_never_come(serving: Callable[..., World]) -> None:
    world = serving(archive_seconds=0)
    world.load({"email": "a@example.com"})
    writes = [profile("a@example.com", first_name="New")]
    with pytest.raises(TryLater):
        world.connect().send("profile", writes)
    assert world.count("POST", "/batches$") == 1


def test_the_archive_is_fetched_without_our_key(esp: Mailchimp, world: World) -> None:
    world.load({"email": "a@example.com"})
    seen: list[str] = []
    inner = world.twin.app

    async def watch(scope: Any, receive: Any, send: Any) -> None:
        if "batch-archives" in scope["path"]:
            seen.extend(name.decode() for name, _ in scope["headers"])
        await inner(scope, receive, send)

    world.twin.app = watch  # type: ignore[assignment]
    esp.send("profile", [profile("a@example.com", first_name="New")])
    assert "host" in seen
    assert "authorization" not in seen


# Orders


def load_shop(esp: Mailchimp, orders: list[Write]) -> list[Outcome]:
    esp.send("product", [product()])
    esp.send("customer", [customer("a@example.com")])
    return esp.send("order", orders)


def stored_orders(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.twin.state()["orders"]["shopsync-shop"]
    return found


@pytest.mark.parametrize("put_orders", [True, False])
def test_an_order_is_there_once_and_a_refund_is_an_update(serving: Callable[..., World], put_orders: bool) -> None:
    world = serving(put_orders=put_orders)
    esp = world.connect()
    esp.prepare(STORE)
    assert states(load_shop(esp, [order()])) == [("acknowledged", None)]
    stored = stored_orders(world)
    assert [(o["id"], o["order_total"], o["financial_status"]) for o in stored] == [("o1", 19.8, "paid")]
    assert [(p["code"], p["amount_discounted"]) for p in stored[0]["promos"]] == [("SPRING", 1.0), ("TEA", 0.0)]
    refund = {"state": "partially_refunded", "refunded_total": "5.0000", "updated_at": "2026-03-02T10:00:00+00:00"}
    for known in (True, False):
        assert states(esp.send("order", [order(known=known, **refund)])) == [("acknowledged", None)]
        stored = stored_orders(world)
        assert [(o["order_total"], o["financial_status"]) for o in stored] == [(14.8, "partially_refunded")]
        assert stored[0]["updated_at_foreign"] == "2026-03-02T10:00:00+00:00"


def test_what_we_think_known_and_is_not_is_made(esp: Mailchimp, world: World) -> None:
    esp.send("product", [replace(product(), known=True)])
    esp.send("customer", [customer("a@example.com")])
    writes = [order("o1", known=True), order("o2")]
    assert all_done(esp.send("order", writes), writes)
    assert len(stored_orders(world)) == 2


def test_a_line_that_the_shop_took_away_goes(esp: Mailchimp, world: World) -> None:
    load_shop(esp, [order(), order("o2")])
    one_line = order(known=True).payload["lines"][1:]
    writes = [order(known=True, lines=one_line), order("o2", known=True)]
    assert all_done(esp.send("order", writes), writes)
    lines = {o["id"]: sorted(o["lines"]) for o in stored_orders(world)}
    assert lines == {"o1": ["2"], "o2": ["1", "2"]}


def moved_order(**changes: Any) -> Write:
    return order(known=True, customer_id="c2", **changes)


def test_an_order_that_is_another_ones_now_moves_without_a_notification(esp: Mailchimp, world: World) -> None:
    load_shop(esp, [order(), order("o2")])
    esp.send("customer", [customer("b@example.com", "c2")])
    esp.hold_automations("shopsync-shop", hold=False)
    writes = [moved_order(lines=order().payload["lines"][1:]), order("o2", known=True, updated_at="2026-03-02T10:00:00+00:00")]
    for _ in range(2):
        assert all_done(esp.send("order", writes), writes)
    owners = {(o["id"], o["customer"], tuple(o["lines"])) for o in stored_orders(world)}
    assert owners == {("o1", "c2", ("2",)), ("o2", "c1", ("1", "2"))}
    assert len(stored_orders(world)) == 2
    assert world.twin.state()["mails"] == []
    refund = moved_order(state="refunded", refunded_total="19.8000", updated_at="2026-03-03T10:00:00+00:00")
    assert all_done(esp.send("order", [refund]), [refund])
    assert [(mail["email"], mail["status"]) for mail in world.twin.state()["mails"]] == [("b@example.com", "refunded")]


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("call", [1, 2], ids=["taken away", "made again"])
def test_an_order_that_is_lost_on_its_move_is_made_by_the_next_run(esp: Mailchimp, world: World, kind: Any, call: int) -> None:
    load_shop(esp, [order()])
    esp.send("customer", [customer("b@example.com", "c2")])
    esp.hold_automations("shopsync-shop", hold=False)
    world.door.faults = [
        Fault(kind, method="POST", path="/batches$", skip=call),
        Fault("drop_before", method="PATCH", path="stores/", skip=1),  # as when the program is killed
    ]
    writes = [moved_order()]
    with pytest.raises(TryLater):
        world.connect(attempts=1).send("order", writes)
    assert esp.prepare(STORE) == "held"
    held = esp.held("order", writes)
    if not held:
        assert all_done(esp.send("order", writes), writes)
    assert [(o["id"], o["customer"], len(o["lines"])) for o in stored_orders(world)] == [("o1", "c2", 2)]
    assert world.twin.state()["mails"] == []
    assert all_done(esp.held("order", writes), writes)


def test_a_cancelled_order_is_cancelled(esp: Mailchimp, world: World) -> None:
    load_shop(esp, [order()])
    esp.send("order", [order(known=True, state="cancelled_unpaid", updated_at="2026-03-05T00:00:00+00:00")])
    stored = stored_orders(world)[0]
    assert (stored["financial_status"], stored["cancelled_at_foreign"]) == ("cancelled", "2026-03-05T00:00:00+00:00")


def test_products_are_made_and_changed(esp: Mailchimp, world: World) -> None:
    esp.send("product", [product(), product("p 2/ä", price=None)])
    writes = [product(title="New", price="12.5000"), product("p 2/ä", title="Too")]
    assert all_done(esp.send("product", writes), writes)
    stored = {p["id"]: p["title"] for p in world.twin.state()["products"]["shopsync-shop"]}
    assert stored == {"p1": "New", "p 2/ä": "Too"}


def test_an_order_of_an_unknown_product_is_rejected_alone(esp: Mailchimp) -> None:
    line = order().payload["lines"][0] | {"product_id": "p9"}
    outcomes = load_shop(esp, [order("o1", lines=[line]), order("o2")])
    assert states(outcomes) == [("rejected", "Bad Request"), ("acknowledged", None)]
    assert "product with the provided ID does not exist" in str(outcomes[0].message)


def test_a_store_that_went_stops_the_load(esp: Mailchimp, world: World) -> None:
    load_shop(esp, [order()])
    world.twin.shops.stores.clear()
    with pytest.raises(SetupError, match="store shopsync-shop is gone"):
        esp.send("order", [order("o2")])


# After a lost answer


def held_cases() -> dict[str, list[Write]]:
    return {
        "create": [create("new1@example.com", first_name="N"), create("new2@example.com", "not_subscribed")],
        "status": [set_status("a@example.com", "unsubscribed"), set_status("b@example.com", "unsubscribed")],
        "profile": [profile("a@example.com", first_name="N", orders_count=3, total_spent="12.5000", city=None)],
        "tags": [tags("a@example.com", ["Buyer"], []), tags("b@example.com", [], ["Contact"])],
        "archive": [archive("a@example.com"), archive("b@example.com")],
        "product": [product("p2"), product("p3")],
        "customer": [customer("a@example.com", "c2")],
        "order": [order("o2"), order("o3", state="refunded", refunded_total="19.8000")],
    }


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("kind", list(held_cases()))
def test_after_a_lost_answer_the_esp_is_asked(esp: Mailchimp, world: World, kind: str, arrived: bool) -> None:
    world.load(*({"email": email, "tags": ["Contact"]} for email in ("a@example.com", "b@example.com")))
    esp.send("product", [product()])
    esp.send("customer", [customer("a@example.com")])
    writes = held_cases()[kind]
    lost: Any = "drop_after" if arrived else "drop_before"
    # Twice, because `create` asks at once what became of it.
    world.door.faults = [Fault(lost, method="POST", path=f"(/batches|/lists/{LIST_ID})$", times=2)]
    hasty = world.connect(attempts=1)
    with pytest.raises(TryLater):
        hasty.send(kind, writes)
    held = esp.held(kind, writes)
    assert held == ([Outcome(w.write_id, "acknowledged") for w in writes] if arrived else [])
    if not arrived:
        assert all_done(esp.send(kind, writes), writes)
    assert esp.held(kind, writes) == [Outcome(w.write_id, "acknowledged") for w in writes]


@pytest.mark.parametrize("lost", ["drop_after", "drop_before", "truncate"])
def test_a_lost_answer_to_create_is_found_out_at_once(esp: Mailchimp, world: World, lost: Any) -> None:
    world.load({"email": "there@example.com", "status": "unsubscribed"})
    writes = [create("new@example.com", first_name="N"), create("there@example.com")]
    world.door.faults = [Fault(lost, method="POST", path=f"/lists/{LIST_ID}$")]
    outcomes = {outcome.write_id: (outcome.state, outcome.code) for outcome in esp.send("create", writes)}
    assert outcomes == {writes[0].write_id: ("acknowledged", None), writes[1].write_id: ("skipped", "exists")}
    assert world.state("there@example.com")["status"] == "unsubscribed"


@pytest.mark.usefixtures("however_many")
def test_a_lost_answer_to_status_is_never_repeated(esp: Mailchimp, world: World) -> None:
    """Between the two, the person may have said no."""
    world.load({"email": "a@example.com", "status": "transactional"})
    world.door.faults = [Fault("drop_after", method="POST")]
    writes = [set_status("a@example.com", "subscribed")]
    with pytest.raises(TryLater):
        esp.send("status", writes)
    assert world.count("POST", "") == 1
    assert all_done(esp.held("status", writes), writes)


def test_a_batch_that_takes_too_long_is_stopped(serving: Callable[..., World]) -> None:
    """Else it would carry out today's decision some day, over whatever was decided since."""
    world = serving(batch_seconds=600)
    world.load({"email": "a@example.com", "status": "transactional"})
    esp = world.connect()
    impatient = Batches(esp._ask, esp._api.download, longest=timedelta(0))
    with pytest.raises(TryLater, match="it was stopped"):
        impatient.run([Operation("w", "PUT", f"/lists/{LIST_ID}/members/a@example.com", {"status": "subscribed"})])
    assert world.twin.state()["batches"] == []


def test_a_batch_that_somebody_stopped_is_looked_up_later(serving: Callable[..., World]) -> None:
    world = serving(batch_seconds=600)
    world.door.before = lambda _, method, path: world.twin.batches.batches.clear() if "/batches/" in path else None
    with pytest.raises(TryLater, match="stopped a batch"):
        world.connect().send("profile", [profile("a@example.com", first_name="New")])


def test_looks_at_a_batch_come_early_and_grow_rare() -> None:
    waits = list(itertools.islice(pauses(), 60))
    assert waits[0] < 0.05
    assert waits == sorted(waits)
    assert max(waits) <= 10
    assert all(pause <= 0.02 + 0.4 * sum(waits[:number]) + 1e-9 for number, pause in enumerate(waits))
    assert sum(waits[:20]) > 30


def test_held_waits_for_what_is_under_way(serving: Callable[..., World]) -> None:
    world = serving(batch_seconds=0.4)
    esp = world.connect()
    world.load({"email": "a@example.com"})
    world.door.faults = [Fault("drop_after", method="POST", path="/batches$")]
    writes = [profile("a@example.com", first_name="New")]
    with pytest.raises(TryLater):
        esp.send("profile", writes)
    under_way: list[str] = []

    def before(_: int, method: str, path: str) -> None:
        if method == "POST" and path.endswith("/batches"):
            under_way.extend(b["id"] for b in world.twin.state()["batches"] if b["status"] != "finished")

    world.door.before = before
    assert all_done(esp.held("profile", writes), writes)
    assert under_way == []


def test_held_does_not_wait_for_what_others_begin_meanwhile(esp: Mailchimp, world: World) -> None:
    world.load({"email": "a@example.com", "status": "unsubscribed"})

    def other_program(_: int, method: str, path: str) -> None:
        if method == "GET" and path.endswith("/batches"):
            running = world.twin.batches.batches
            if first := running.pop("other0", None):
                running["other1"] = replace(first, id="other1")

    world.twin.batches.batches["other0"] = Batch("other0", [], datetime.now(UTC), status="started")
    world.door.after = other_program
    writes = [set_status("a@example.com", "unsubscribed")]
    assert all_done(esp.held("status", writes), writes)
    assert "other1" in world.twin.batches.batches


def test_held_that_cannot_tell_says_so(esp: Mailchimp, world: World) -> None:
    """Taken for a no, it would have a confirmation mail sent twice."""
    world.load({"email": "a@example.com", "status": "pending"}, {"email": "b@example.com", "status": "pending"})
    answers, really = iter([(503, b"")]), world.twin.batches._run
    world.twin.batches._run = lambda *call: next(answers, None) or really(*call)
    writes = [set_status("a@example.com", "pending"), set_status("b@example.com", "pending")]
    with pytest.raises(TryLater, match="did not say"):
        esp.held("status", writes)
    assert all_done(esp.held("status", writes), writes)


def test_held_does_not_wait_for_a_batch_that_is_long_dead(esp: Mailchimp, world: World) -> None:
    world.load({"email": "a@example.com", "status": "unsubscribed"})
    world.twin.batches.batches["dead"] = Batch("dead", [], datetime.now(UTC) - timedelta(days=2), status="started")
    writes = [set_status("a@example.com", "unsubscribed")]
    assert all_done(esp.held("status", writes), writes)


def test_a_newer_state_is_not_taken_for_ours(esp: Mailchimp, world: World) -> None:
    load_shop(esp, [order()])
    world.load({"email": "a@example.com", "tags": [f"t{n}" for n in range(60)]})
    later = order(updated_at="2026-04-01T00:00:00+00:00")
    assert esp.held("order", [later]) == []
    assert esp.held("tags", [tags("a@example.com", [], ["Not shown"])]) == []
    assert esp.held("status", [set_status("a@example.com", "unsubscribed")]) == []
    assert esp.held("create", [create("a@example.com", first_name="Other")]) == []


def test_nothing_to_do_costs_no_call(esp: Mailchimp, world: World) -> None:
    for kind in Mailchimp.capabilities.writes:
        assert esp.send(kind, []) == []
        assert esp.held(kind, []) == []
    assert world.door.calls == []


def test_no_address_and_no_key_in_any_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    esp = world.connect()
    esp.prepare(STORE)
    world.load({"email": "secret.person@example.com"})
    world.door.faults = [Fault("status", status=503, times=2), Fault("truncate", path="/members")]
    list(esp.contacts("2026-01-01T00:00:00+00:00"))
    esp.send("profile", [profile("secret.person@example.com", first_name="Hidden")])
    esp.send("create", [create("secret.person@example.com"), create("other.person@")])
    assert caplog.text
    assert not re.search(rf"secret\.person|other\.person|Hidden|{KEY}", caplog.text)
