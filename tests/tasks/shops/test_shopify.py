"""The Shopify connector against the sandbox's shop, over real HTTP: what only Shopify has; the contract has the rest."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from sandbox.server import Fault, Running, serve
from sandbox.shopify import SCOPES, Setup
from sandbox.shopify import Shopify as Twin
from sandbox.world import World, invent
from tasks.connector import Outcome, Page, SetupError, TryLater, Write
from tasks.http import Patience
from tasks.shops import PLATFORMS
from tasks.shops.shopify import Shopify, ShopifySettings, wire
from tasks.shops.shopify.queries import CUSTOMERS, ORDERS
from tasks.shops.shopify.wire import VERSION
from tasks.signatures import signature

TOKEN: dict[str, Any] = {"access_token": "shpat_sandbox"}
APP: dict[str, Any] = {"client_id": "sandbox-client", "client_secret": "shpss_sandbox"}
LONG_AGO = "2020-01-01T00:00:00+00:00"
HOOK = "https://hooks.example/acme/de"


@dataclass
class Served:
    twin: Twin
    running: Running
    folder: Path
    shop: Shopify

    @property
    def limits(self) -> Path:
        return self.folder / "limits"

    def connect(self, *, seconds: float = 5, first_wait: float = 0.01, **asked: Any) -> Shopify:
        keys = asked if asked.keys() & {"access_token", "client_id"} else TOKEN | asked
        settings = ShopifySettings(**{"url": "lilla-butiken", "base_url": self.running.url} | keys)
        patience = Patience(attempts=3, seconds=seconds, first_wait=first_wait)
        return Shopify(settings, shop="de", limits=self.limits, patience=patience)

    def after(self, do: Callable[[int], Any]) -> None:
        """Somebody does something right after each call; `do` gets its number from 1."""
        done = len(self.running.door.calls)
        self.running.door.after = lambda number, _, __: do(len(self.running.door.calls) - done)

    def calls(self, path: str = "") -> int:
        return sum(path in call.path for call in self.running.door.calls)

    def register(self, email: str, **said: Any) -> str:
        return str(self.twin.act_register(email, **said))


Opening = Callable[..., Served]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serve(Twin()) as found:
        yield found


@pytest.fixture
def open_shop(running: Running, tmp_path: Path) -> Iterator[Opening]:
    opened: list[Served] = []

    def opening(world: World | None = None, **setup: Any) -> Served:
        twin = Twin(Setup(**{"plan": "enterprise"} | setup))
        if world:
            twin.from_world(world)
        running.door.twin = twin
        running.door.calls.clear()
        here = Served(twin, running, tmp_path, None)  # type: ignore[arg-type]
        here.shop = here.connect()
        opened.append(here)
        return here

    yield opening
    running.door.faults.clear()
    running.door.after = None
    for here in opened:
        here.shop._api.close()


@pytest.fixture(scope="session")
def world() -> World:
    return invent(customers=230, orders=320)


@pytest.fixture
def here(open_shop: Opening, world: World) -> Served:
    return open_shop(world)


def ids(pages: Iterable[Page]) -> list[str]:
    return [record["id"] for page in pages for record in page.records]


def consent(customer: str, status: str = "unsubscribed", at: str = "2026-11-20T11:00:00+00:00") -> Write:
    return Write(f"w{customer}", customer, {"customer_id": customer, "status": status, "at": at})


def states(outcomes: Sequence[Outcome]) -> list[tuple[str, str | None]]:
    return [(outcome.state, outcome.code) for outcome in outcomes]


# settings


@pytest.mark.parametrize(
    "url",
    [
        "lilla-butiken",
        "lilla-butiken.myshopify.com",
        " https://Lilla-Butiken.myshopify.com/admin ",
        "https://admin.shopify.com/store/lilla-butiken/settings",
    ],
)
def test_the_shop_is_named_as_people_copy_it(url: str) -> None:
    settings = ShopifySettings(url=url, **TOKEN)
    assert (settings.url, settings.site) == ("lilla-butiken.myshopify.com", "https://lilla-butiken.myshopify.com")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({}, "give access_token, or client_id and client_secret"),
        ({"client_id": "a"}, "client_secret is missing"),
        ({"client_secret": "a"}, "client_id is missing"),
        ({"refresh_token": "a"}, "give access_token, or client_id and client_secret"),
        (TOKEN | APP, "not both"),
        (TOKEN | {"refresh_token": "a"}, "not both"),
        (TOKEN | {"url": "https://key@shop.example"}, "permanent name"),
        (TOKEN | {"url": ""}, "permanent name"),
        (TOKEN | {"base_url": "ftp://shop.example"}, "without keys"),
    ],
)
def test_one_way_to_prove_who_we_are(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ShopifySettings(**{"url": "lilla-butiken"} | keys)


def test_the_registry_knows_it() -> None:
    assert PLATFORMS["shopify"] == (Shopify, ShopifySettings)


def test_webhooks_need_the_secret(here: Served) -> None:
    assert not here.shop.capabilities.webhooks
    assert here.connect(**TOKEN, client_secret="shpss_sandbox").capabilities.webhooks
    with pytest.raises(SetupError, match="client_secret"):
        here.shop.connect_webhooks(HOOK)


# tokens


def test_a_token_is_fetched_once_and_kept_private(here: Served) -> None:
    for _ in range(2):
        assert here.connect(**APP).fingerprint().home == "lilla-butiken.myshopify.com"
    assert here.calls("access_token") == 1
    (kept,) = here.limits.glob("*.token")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "lilla" not in kept.name


def test_a_token_that_ends_early_is_renewed_once(here: Served) -> None:
    shop = here.connect(**APP)
    shop.fingerprint()
    here.twin.act_wait(86_400)
    shop.fingerprint()
    assert here.calls("access_token") == 2
    here.connect(**APP).fingerprint()
    assert here.calls("access_token") == 2


def test_several_at_once_fetch_one_token(here: Served) -> None:
    with ThreadPoolExecutor(4) as pool:
        homes = list(pool.map(lambda _: here.connect(**APP).fingerprint().home, range(4)))
    assert homes == ["lilla-butiken.myshopify.com"] * 4
    assert here.calls("access_token") == 1


def test_a_revoked_app_is_said_after_one_renewal(here: Served) -> None:
    shop = here.connect(**APP)
    shop.fingerprint()
    here.running.door.faults[:] = [Fault("status", path="graphql", status=401, times=-1)]
    with pytest.raises(SetupError, match="does not accept our token"):
        shop.fingerprint()
    assert here.calls("access_token") == 2


def test_refresh_tokens_rotate_and_survive_a_crash(here: Served) -> None:
    keys = APP | {"refresh_token": "shprt_sandbox"}
    here.connect(**keys).fingerprint()
    here.twin.act_wait(3600)
    here.connect(**keys).fingerprint()
    here.twin.act_wait(3600)
    here.running.door.faults[:] = [Fault("drop_after", path="access_token")]  # renewed there, not heard of here
    here.connect(**keys).fingerprint()
    assert here.calls("access_token") >= 4
    assert len(list(here.limits.glob("*.token"))) == 1


def test_other_settings_make_a_kept_token_worthless(here: Served) -> None:
    here.connect(**APP).fingerprint()
    with pytest.raises(SetupError, match="check client_id and client_secret"):
        here.connect(**APP | {"client_secret": "shpss_other"}).fingerprint()
    with pytest.raises(SetupError, match="connect the app to the shop again"):
        here.connect(**APP, refresh_token="shprt_other").fingerprint()


def test_no_token_while_shopify_is_busy(here: Served) -> None:
    here.running.door.faults[:] = [Fault("status", path="access_token", status=503)]
    here.connect(**APP).fingerprint()
    here.running.door.faults[:] = [Fault("status", path="access_token", status=503, times=-1)]
    here.limits.joinpath(next(here.limits.glob("*.token")).name).unlink()
    with pytest.raises(TryLater):
        here.connect(**APP).fingerprint()


@pytest.mark.parametrize("keys", [TOKEN, APP])
def test_the_address_that_buyers_see_does_not_do(here: Served, keys: dict[str, Any]) -> None:
    here.running.door.faults[:] = [Fault("redirect", location="https://butiken.example/password?token=x", times=-1)]
    with pytest.raises(SetupError, match=r"redirects our call to https://butiken.example/password: set url .*myshopify.com"):
        here.connect(**keys).fingerprint()


# getting through


def test_another_version_is_refused(here: Served) -> None:
    answer = {"content-type": "application/json", "x-shopify-api-version": "2026-10"}
    here.running.door.faults[:] = [Fault("status", status=200, headers=answer, body='{"data": {"shop": {}}}')]
    with pytest.raises(SetupError, match=f"version 2026-10 of its API instead of {VERSION}"):
        here.shop.fingerprint()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (402, "frozen until its owner has paid"),
        (403, "forbids the call .*merchant approval"),
        (404, "does not exist at .*permanent name"),
        (423, "is locked by Shopify"),
    ],
)
def test_a_shop_that_is_closed_says_why(open_shop: Opening, status: int, sentence: str) -> None:
    with pytest.raises(SetupError, match=sentence) as refused:
        open_shop(frozen=status).shop.fingerprint()
    assert "shpat_" not in str(refused.value)


def test_shopifys_own_too_many(open_shop: Opening) -> None:
    with pytest.raises(TryLater):
        open_shop(frozen=430).shop.fingerprint()


@pytest.mark.parametrize("status", [200, 429])
def test_calls_wait_until_there_are_points(open_shop: Opening, world: World, status: int) -> None:
    here = open_shop(world, throttled_status=status)
    here.twin.act_drain_bucket(leaving=1)
    assert len(ids(here.connect(first_wait=1.0).customers(LONG_AGO))) >= 230


def test_waiting_for_points_ends(open_shop: Opening, world: World) -> None:
    here = open_shop(world, plan="standard")
    here.twin.act_drain_bucket(leaving=-900)
    with pytest.raises(TryLater, match="busy beyond our patience"):
        list(here.connect(seconds=0.3).customers(LONG_AGO))


def test_too_costly_calls_ask_for_less(open_shop: Opening) -> None:
    here = open_shop(invent(customers=60, orders=40), query_limit=120)
    orders = ids(here.shop.orders(LONG_AGO))
    assert len(set(orders)) == 40
    customers = [str(one["key"]) for one in here.twin.state()["customers"]]
    assert len(ids(here.shop.customers_by_id(customers))) == len(customers)
    outcomes = here.shop.send("consent", [consent(one) for one in customers[:50]])
    assert {outcome.state for outcome in outcomes} <= {"acknowledged", "skipped"}


def test_an_unknown_filter_does_not_pass_for_everything_changed(here: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "changed_since", lambda at: "changed_at:>='2020'")
    with pytest.raises(SetupError, match="does not understand our search"):
        list(here.shop.customers(LONG_AGO))


def test_a_missing_scope_is_named(here: Served) -> None:
    here.twin.act_set_scopes(["read_orders"])
    with pytest.raises(SetupError, match="lacks the scope read_customers"):
        list(here.shop.customers(LONG_AGO))
    with pytest.raises(SetupError, match="lacks"):
        list(here.shop.customers())


def test_an_app_without_approval_does_not_make_everybody_nameless(open_shop: Opening, world: World) -> None:
    here = open_shop(world, redacts_customers=True)
    for cursor in (None, LONG_AGO):
        with pytest.raises(SetupError, match="protected customer data"):
            list(here.shop.customers(cursor))
    with pytest.raises(SetupError, match="protected customer data"):
        list(open_shop(world, refuses_protected=True).shop.customers(LONG_AGO))


def test_an_import_of_people_without_addresses_is_no_such_app(here: Served) -> None:
    cursor = list(here.shop.customers())[-1].cursor
    for number in range(30):
        customer = here.twin.shop.customers[int(here.register(f"p{number}@example.com", first_name="Bo"))]
        customer.email = None
    here.twin.act_wait(0)
    assert len(ids(here.shop.customers(cursor))) >= 30


@pytest.mark.parametrize(
    "body",
    [
        {"data": {}},
        {"data": {"customers": None, "nodes": []}},
        {"data": {"customers": None, "nodes": None}, "errors": [{"message": "no", "path": ["customers"], "extensions": {}}]},
        {"errors": [{"message": "Parse error", "extensions": {"code": "undefinedField"}}]},
        {"errors": "Not today"},
        [],
    ],
)
def test_half_an_answer_is_none(here: Served, body: Any) -> None:
    """An empty list would say that nothing has changed, or that all these people are gone."""
    json = {"content-type": "application/json"}
    answer = Fault("status", status=200, headers=json, body=orjson.dumps(body).decode(), times=-1)
    here.running.door.faults[:] = [answer]
    for pages in (here.shop.customers(LONG_AGO), here.shop.customers_by_id(["1"])):
        with pytest.raises((SetupError, TryLater)):
            list(pages)


# whole listings


def test_listings_are_prepared_side_by_side(here: Served) -> None:
    here.twin.act_hold_bulk()
    here.shop.foresee(["customers", "orders", "customer_ids"])
    assert len(here.twin.bulk.under_way()) == 3
    here.twin.act_finish_bulk()
    customers, orders = list(here.shop.customers()), list(here.shop.orders())
    everybody = {one["id"] for one in here.twin.state()["customers"]}
    assert set(ids(customers)) == everybody
    assert (customers[-1].complete, customers[-1].announced) == (True, len(everybody))
    assert len(ids(orders)) == 320
    assert {f"gid://shopify/Customer/{r['customer_id']}" for p in here.shop.customer_ids() for r in p.records} == everybody
    assert len(here.twin.bulk.operations) == 3
    assert here.twin.token_leaks == 0
    assert not list(here.limits.glob("*.bulk"))


def test_a_bulk_file_gives_the_same_records_as_pages(here: Served) -> None:
    for read in (here.shop.customers, here.shop.orders):
        whole = {record["id"]: record for page in read() for record in page.records}
        paged = {record["id"]: record for page in read(LONG_AGO) for record in page.records}
        for record in paged.values():
            if "lineItems" in record:
                record["lineItems"] = {"nodes": record["lineItems"]["nodes"]}
        order = lambda record: sorted(record.get("lineItems", {}).get("nodes", ()), key=lambda line: line["id"])  # noqa: E731
        assert whole.keys() == paged.keys()
        assert all(order(whole[one]) == order(paged[one]) for one in whole)
        assert all(whole[one] | {"lineItems": 0} == paged[one] | {"lineItems": 0} for one in whole)


def test_what_changed_since_a_listing_is_not_missed(here: Served) -> None:
    cursor = list(here.shop.customers())[-1].cursor
    number = here.register("neu@example.com")
    changed = list(here.shop.customers(cursor))
    assert f"gid://shopify/Customer/{number}" in ids(changed)
    assert not changed[-1].complete
    assert changed[-1].cursor is not None
    assert changed[-1].cursor >= str(cursor)


def test_a_killed_run_goes_on_with_its_own_operation(here: Served) -> None:
    pages = here.connect().customers()
    next(pages)
    pages.close()
    assert len(ids(here.connect().customers())) >= 230
    assert len(here.twin.bulk.operations) == 1
    list(here.connect().customers())  # that one was read to the end
    assert len(here.twin.bulk.operations) == 2


def test_an_old_operation_is_not_taken_for_news(here: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = here.connect().customers()
    next(pages)
    pages.close()
    monkeypatch.setattr("tasks.shops.shopify.bulk.FRESH", timedelta(0))
    list(here.connect().customers())
    assert len(here.twin.bulk.operations) == 2


def test_an_operation_that_takes_too_long_is_found_again(here: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.shops.shopify.bulk.WAITS", 0.1)
    here.twin.act_hold_bulk()
    with pytest.raises(TryLater, match="found again"):
        list(here.shop.customers())
    here.twin.act_finish_bulk()
    assert list(here.connect().customers())[-1].complete
    assert len(here.twin.bulk.operations) == 1


def test_no_place_for_another_operation(here: Served) -> None:
    here.twin.act_hold_bulk()
    for number in range(5):
        document = f'{{ customers(query: "id:{number}") {{ edges {{ node {{ id }} }} }} }}'
        assert here.shop._bulk.start(document)
    here.shop.foresee(["customers", "orders"])
    with pytest.raises(TryLater, match="as many bulk operations"):
        list(here.connect(seconds=0.3).customers())
    here.twin.act_finish_bulk()
    here.twin.act_hold_bulk(is_waiting=False)
    assert list(here.shop.customers())[-1].complete


@pytest.mark.parametrize("kind", ["fail", "timeout"])
def test_a_failed_operation_is_tried_again_later(here: Served, kind: str) -> None:
    here.twin.act_spoil_bulk(kind)
    with pytest.raises(TryLater, match="ended as FAILED"):
        list(here.shop.customers())
    assert list(here.connect().customers())[-1].complete


def test_an_expired_operation_is_tried_again_later(here: Served) -> None:
    here.twin.act_hold_bulk()
    here.shop.foresee(["orders"])
    here.twin.act_expire_bulk()
    with pytest.raises(TryLater, match="ended as EXPIRED"):
        list(here.shop.orders())


def test_a_file_cut_short_proves_nothing(here: Served) -> None:
    here.twin.act_spoil_bulk("truncate")
    pages = list(here.shop.orders())
    assert 0 < len(ids(pages)) < 320
    assert not any(page.complete or page.cursor for page in pages)


def test_a_download_cut_short_is_repeated(here: Served) -> None:
    here.running.door.faults[:] = [Fault("truncate", path="bulk-operation-outputs")]
    pages = list(here.shop.orders())
    assert (len(ids(pages)), pages[-1].complete) == (320, True)


def test_doubled_lines_count_once(here: Served) -> None:
    here.twin.act_spoil_bulk("duplicate")
    pages = list(here.shop.orders())
    assert (len(ids(pages)), pages[-1].complete) == (320, True)
    lines = here.shop.to_order_lines([record for page in pages for record in page.records])
    assert lines["line_id"].n_unique() == len(lines)


def test_an_empty_shop(open_shop: Opening) -> None:
    here = open_shop()
    for pages in (here.shop.customers(), here.shop.orders(), here.shop.customer_ids()):
        (page,) = pages
        assert (page.records, page.complete, page.announced) == ([], True, 0)


# what changed


def test_people_who_change_while_being_read_are_not_lost(here: Served) -> None:
    everybody = {one["id"] for one in here.twin.state()["customers"]}
    touched = sorted(everybody)[::7]
    here.shop._api._page_size = 40

    def move(number: int) -> None:
        if number < len(touched):
            here.twin.act_wait(1)
            here.twin.act_tag(int(touched[number].rpartition("/")[2]), ["vip"])

    here.after(move)
    found = ids(here.shop.customers(LONG_AGO))
    here.running.door.after = None
    assert set(found) == everybody


def test_a_busy_shop_does_not_keep_us_reading(open_shop: Opening) -> None:
    here = open_shop()
    for number in range(30):
        here.register(f"p{number}@example.com")
    here.shop._api._page_size = 10

    def more(_: int) -> None:
        here.twin.act_wait(1)
        for number in range(20):
            here.register(f"q{here.calls()}-{number}@example.com")

    here.after(more)
    assert 30 <= len(ids(here.shop.customers(LONG_AGO))) <= 80


def test_more_changes_than_pages_may_show(here: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_PAGED", 100)
    here.shop._api._page_size = 50
    pages = list(here.shop.customers(LONG_AGO))
    assert set(ids(pages)) == {one["id"] for one in here.twin.state()["customers"]}
    assert len(here.twin.bulk.operations) == 1
    assert not any(page.complete for page in pages)
    assert pages[-1].cursor is not None


def test_an_order_with_more_lines_than_come_along(here: Served) -> None:
    order = next(iter(here.twin.shop.orders.values()))
    first = order.lines[0]
    order.lines += [type(first)(here.twin.shop.new_key(), "Te", 1, first.price, first.price) for _ in range(620)]
    here.twin.act_wait(0)
    record = next(r for page in here.shop.orders(LONG_AGO) for r in page.records if r["id"] == order.id)
    assert len({line["id"] for line in record["lineItems"]["nodes"]}) == len(order.lines)


def test_by_id_comes_back_who_exists(here: Served) -> None:
    one, two, three = (here.register(f"{name}@example.com") for name in ("a", "b", "c"))
    here.twin.act_delete_customer(int(one))
    here.twin.act_merge_customers(int(two), int(three))
    pages = list(here.shop.customers_by_id([one, two, three]))
    assert (ids(pages), pages[-1].complete) == ([f"gid://shopify/Customer/{three}"], True)


# writing


def test_consent_is_written_with_its_time_and_level(open_shop: Opening) -> None:
    here = open_shop()
    one, two = here.register("a@example.com", consent="SUBSCRIBED"), here.register("b@example.com")
    here.twin.act_subscribe(int(one), level="CONFIRMED_OPT_IN")
    writes = [consent(one), consent(two, "subscribed", "2999-01-01T00:00:00+00:00")]
    before = here.calls()
    assert states(here.shop.send("consent", writes)) == [("acknowledged", None)] * 2
    assert here.calls() - before == 2  # a look and a change, however many
    said = [here.twin.shop.customers[int(number)].email_consent for number in (one, two)]
    assert [(who.state, who.level) for who in said] == [
        ("UNSUBSCRIBED", "CONFIRMED_OPT_IN"),
        ("SUBSCRIBED", "SINGLE_OPT_IN"),
    ]
    assert said[0].updated_at == datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert states(here.shop.held("consent", writes)) == [("acknowledged", None)] * 2


def test_an_opt_out_is_not_given_up_for_its_time(open_shop: Opening) -> None:
    here = open_shop(old_consent_ignored=True)
    out, into = (here.register(f"{name}@example.com", consent="SUBSCRIBED") for name in "ab")
    here.twin.act_unsubscribe(int(into))
    writes = [consent(out), consent(into, "subscribed")]
    assert states(here.shop.send("consent", writes)) == [("acknowledged", None), ("skipped", "newer")]
    assert here.twin.shop.customers[int(out)].email_consent.state == "UNSUBSCRIBED"
    assert here.twin.shop.customers[int(into)].email_consent.state == "UNSUBSCRIBED"


def test_people_who_cannot_be_written_to(open_shop: Opening) -> None:
    here = open_shop()
    nameless, gone = here.register("a@example.com"), here.register("b@example.com")
    here.twin.shop.customers[int(nameless)].email = None
    here.twin.act_delete_customer(int(gone))
    assert states(here.shop.send("consent", [consent(nameless), consent(gone)])) == [
        ("skipped", "no_address"),
        ("skipped", "gone"),
    ]
    assert here.shop.held("consent", [consent(gone)]) == []


def test_bounces_of_many_take_few_calls(open_shop: Opening) -> None:
    here = open_shop()
    numbers = [here.register(f"p{n}@example.com") for n in range(30)]
    here.twin.act_delete_customer(int(numbers[3]))
    said = {"bounced_at": "2026-11-20T08:00:00+00:00", "reason": "mailbox\nunknown"}
    writes = [Write(number, number, {"customer_id": number} | said) for number in numbers]
    before = here.calls()
    outcomes = here.shop.send("bounce", writes)
    assert here.calls() - before == 3
    assert [n for n, outcome in enumerate(outcomes) if outcome.state != "acknowledged"] == [3]
    customer = here.twin.shop.customers[int(numbers[0])]
    reason = customer.find_metafield("shopsync", "bounce_reason")
    assert (customer.tags, reason and reason.value) == (["email-bounced"], "mailbox unknown")
    assert len(here.shop.held("bounce", writes)) == 29
    frame = here.shop.to_customers([r for page in here.shop.customers_by_id(numbers[:1]) for r in page.records])
    assert frame["bounced_at"].to_list() == [datetime(2026, 11, 20, 8, tzinfo=UTC)]


def test_new_customers_and_those_who_exist(open_shop: Opening) -> None:
    here = open_shop()
    here.register("da@example.com")

    def write(email: str, status: str) -> Write:
        said = {"email": email, "first_name": "Åsa", "last_name": None, "status": status, "at": "2026-11-20T11:00:00+00:00"}
        return Write(email, email, said)

    writes = [
        write("neu@example.com", "subscribed"),
        write("da@example.com", "subscribed"),
        write("ny@example.com", "not_subscribed"),
    ]
    assert states(here.shop.send("customer", writes)) == [("acknowledged", None), ("skipped", "exists"), ("acknowledged", None)]
    made = here.twin.shop.by_email("neu@example.com")
    assert made
    assert (made.first_name, made.email_consent.state) == ("Åsa", "SUBSCRIBED")
    assert [outcome.write_id for outcome in here.shop.held("customer", writes)] == ["neu@example.com", "ny@example.com"]
    (bad,) = here.shop.send("customer", [write("ohne-klammeraffe", "subscribed")])
    assert (bad.state, bad.message) == ("rejected", "Email is invalid")


# webhooks


def test_webhooks_are_connected_once_and_taken_out(open_shop: Opening) -> None:
    here = open_shop(scopes=(*SCOPES, "read_customer_merge"))
    shop = here.connect(**APP)
    for address in ("https://old.example/acme/de", HOOK, HOOK):
        shop.connect_webhooks(address)
    found = here.twin.state()["webhooks"]
    assert {hook["uri"] for hook in found} == {HOOK}
    assert len(found) == len({hook["topic"] for hook in found}) == 8
    shop.disconnect_webhooks("https://new.example/acme/de")
    assert here.twin.state()["webhooks"] == []


def test_webhooks_go_to_https_only(here: Served) -> None:
    with pytest.raises(SetupError, match="https only"):
        here.connect(**APP).connect_webhooks("http://hooks.example/acme/de")


@pytest.mark.parametrize(
    ("topic", "body", "named"),
    [
        ("customers/create", {"id": 7}, ("7",)),
        ("customers/delete", {"id": 7}, ("7",)),
        ("customers/merge", _merge := {"admin_graphql_api_customer_kept_id": "gid://shopify/Customer/7"}, ("7",)),
        ("customers/merge", _merge | {"admin_graphql_api_customer_deleted_id": "gid://shopify/Customer/8"}, ("7", "8")),
        ("customers_email_marketing_consent/update", {"customer_id": 7, "email_address": "a@x.example"}, ("7",)),
        ("customers_marketing_consent/update", {"id": 7}, ("7",)),
        ("orders/updated", {"id": 5, "customer": {"id": 7}}, ("7",)),
        ("orders/create", {"id": 5, "customer": None}, ()),
        ("products/update", {"id": 5}, ()),
        ("customers/update", {"id": "no number"}, ()),
        ("customers/update", [], ()),
    ],
)
def test_what_a_webhook_is_about(here: Served, topic: str, body: Any, named: tuple[str, ...]) -> None:
    assert here.shop.notice(topic, orjson.dumps(body)).customer_ids == named


def test_a_request_about_nobody_does_not_erase_the_shop(here: Served) -> None:
    assert here.shop.notice("customers/redact", b'{"customer": {}}').request is None
    assert here.shop.notice("customers/redact", b"not json").request is None


def test_the_same_secret_signs_for_other_shops(here: Served) -> None:
    shop, body = here.connect(**APP), b'{"id": 7}'
    signed = {"x-shopify-hmac-sha256": signature("shpss_sandbox", body), "x-shopify-topic": "customers/update"}
    delivered = shop.webhook(
        signed | {"X-Shopify-Shop-Domain": "lilla-butiken.myshopify.com", "X-Shopify-Webhook-Id": "d1"}, body
    )
    assert delivered is not None
    assert (delivered.topic, delivered.delivery_id) == ("customers/update", "d1")
    assert shop.webhook(signed | {"X-Shopify-Shop-Domain": "another.myshopify.com"}, body) is None
    assert shop.webhook(signed, body + b" ") is None


# looking


def test_check_names_what_is_missing(here: Served) -> None:
    here.twin.act_set_scopes(["read_customers", "read_orders", "read_products"])
    found = {finding.sentence: finding.level for finding in here.shop.check()}
    assert [level for sentence, level in found.items() if "write_customers" in sentence] == ["error"]
    assert [level for sentence, level in found.items() if "read_all_orders" in sentence] == ["warning"]
    assert [level for sentence, level in found.items() if "client_secret" in sentence] == ["warning"]
    assert any("2000 points" in sentence for sentence in found)


def test_check_notices_hidden_addresses(open_shop: Opening, world: World) -> None:
    findings = open_shop(world, redacts_customers=True).shop.check()
    assert any(finding.level == "error" and "protected customer data" in finding.sentence for finding in findings)


def test_a_first_sync_takes_a_handful_of_calls(here: Served) -> None:
    here.shop.foresee(["customers", "orders"])
    list(here.shop.customers())
    list(here.shop.orders())
    assert here.calls("graphql") <= 20
    assert CUSTOMERS.whole() != ORDERS.whole()
