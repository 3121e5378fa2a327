"""What is WooCommerce's own in its connector, over real HTTP; what holds for every shop stands in tests/contract/shops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from sandbox.server import Fault, Running, serve
from sandbox.woocommerce import Key
from sandbox.woocommerce import WooCommerce as Twin
from sandbox.world import World, invent
from tasks.connector import Page, SetupError, TryLater, Write
from tasks.http import Patience
from tasks.shops.woocommerce import WooCommerce, WooCommerceSettings
from tasks.shops.woocommerce.wire import KeyAuth, ShopApi

CONSENT = "newsletter_optin"
KEYS: dict[str, Any] = {"consumer_key": "ck_sandbox", "consumer_secret": "cs_sandbox"}
NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
"""The shops' clock: after the invented world, before any real run of these tests."""


@dataclass
class Served:
    twin: Twin
    running: Running
    folder: Path
    shop: WooCommerce

    def connect(self, **settings: Any) -> WooCommerce:
        return connect(self.running, self.folder, **settings)

    def after(self, path: str, do: Callable[[int], Any]) -> None:
        """Somebody does something right after each answer to this path; `do` gets the number of the answer from 1."""
        count = 0

        def act(_: int, __: str, called: str) -> None:
            nonlocal count
            if called.endswith(path):
                count += 1
                with self.twin.lock:
                    do(count)

        self.running.door.after = act


Opening = Callable[..., Served]


def connect(running: Running, folder: Path, **settings: Any) -> WooCommerce:
    asked = {
        "url": running.url,
        **KEYS,
        "consent_meta_key": CONSENT,
        "ca_file": running.ca_file,
    }
    patience = Patience(attempts=3, seconds=5, first_wait=0.01)
    return WooCommerce(WooCommerceSettings(**asked | settings), shop="de", limits=folder / "limits", patience=patience)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, Running]]:
    """With TLS and without, started once: each test puts a shop of its own behind the door."""
    with serve(Twin()) as plain, serve(Twin(), tls_folder=tmp_path_factory.mktemp("tls")) as tls:
        yield {False: plain, True: tls}


@pytest.fixture
def open_shop(servers: dict[bool, Running], tmp_path: Path) -> Iterator[Opening]:
    opened: list[Served] = []

    def opening(world: World | None = None, *, is_tls: bool = False, **setup: Any) -> Served:
        twin = Twin(**{"clock": lambda: NOW} | setup)
        if world:
            twin.from_world(world)
        running = servers[is_tls]
        running.door.twin = twin
        running.door.calls.clear()
        opened.append(Served(twin, running, tmp_path, connect(running, tmp_path)))
        return opened[-1]

    yield opening
    for here in opened:
        here.running.door.faults.clear()
        here.running.door.after = None
        here.shop._api.close()  # a server with TLS waits for its clients to hang up


@pytest.fixture(scope="session")
def world() -> World:
    return invent(customers=230, orders=320)


@pytest.fixture
def here(open_shop: Opening, world: World) -> Served:
    return open_shop(world)


def ids(pages: Iterable[Page]) -> list[int]:
    return [record["id"] for page in pages for record in page.records]


def customers_of(twin: Twin) -> set[int]:
    return {customer["id"] for customer in twin.state()["customers"] if customer["role"] == "customer"}


def orders_of(twin: Twin) -> set[int]:
    return {order["id"] for order in twin.state()["orders"] if order["status"] != "trash"}


def consent_write(number: int, status: str = "unsubscribed", key: str = "customer_id") -> Write:
    return Write(f"w{number}", str(number), {key: str(number), "status": status, "at": "2026-11-22T11:00:00+00:00"})


def bounce_write(number: int) -> Write:
    payload = {"customer_id": str(number), "bounced_at": "2026-11-20T08:00:00+00:00", "reason": "mailbox unknown"}
    return Write(f"b{number}", str(number), payload)


# getting in


@pytest.mark.parametrize(
    "setup",
    [
        {},
        {"version": "8.0.0"},
        {"version": "3.9.1"},
        {"is_tls": True},
        {"is_tls": True, "version": "3.9.1"},
        {"plain_permalinks": True},
        {"is_tls": True, "plain_permalinks": True},
    ],
    ids=str,
)
def test_every_kind_of_shop_is_read_and_written(world: World, open_shop: Opening, setup: dict[str, Any]) -> None:
    here = open_shop(world, **setup)
    assert {finding.level for finding in here.shop.check()} <= {"ok", "warning"}
    assert set(ids(here.shop.customers())) == customers_of(here.twin)
    assert set(ids(here.shop.orders())) == orders_of(here.twin)
    someone = min(customers_of(here.twin))
    sent = here.shop.send("consent", [consent_write(someone)])
    assert [outcome.state for outcome in sent] == ["acknowledged"]


def test_signatures_survive_awkward_characters(here: Served) -> None:
    api = ShopApi(
        here.running.url,
        name="Shop de",
        auth=KeyAuth("ck_sandbox", "cs_sandbox"),
        limits=here.folder,
        patience=None,
        ca_file=None,
    )
    for awkward in ("å, ö:", "a&b=c", "1+1 = 2", "~'()*!", "100 % 日本", "a/b?c#d"):
        assert api.get("/customers", {"search": awkward, "include": "20,21,22"})[0].status == 200


def test_a_repeated_call_has_a_signature_of_its_own(here: Served) -> None:
    here.running.door.faults = [Fault("drop_after", path="/customers$")]  # carried out, so its nonce is used up
    assert here.shop.check()


def test_wordpress_itself_never_sees_the_key(here: Served) -> None:
    here.shop.check()
    index, *others = here.running.door.calls
    assert (index.path, "oauth" in index.query) == ("/wp-json/", False)
    assert all("oauth_signature" in call.query and "cs_sandbox" not in call.query for call in others)


@pytest.mark.parametrize(
    ("settings", "setup", "sentence"),
    [
        ({"consumer_key": "ck_wrong"}, {}, "Consumer key is invalid. Copy consumer_key and consumer_secret again"),
        ({"consumer_secret": "cs_wrong"}, {}, "provided signature does not match. Check consumer_secret, and that url"),
        ({"consumer_key": "ck_wrong"}, {"is_tls": True}, "does not know the key: check consumer_key"),
        ({"consumer_secret": "cs_wrong"}, {"is_tls": True}, "Consumer secret is invalid. Copy consumer_key"),
        ({}, {"is_tls": True, "believes_tls": False}, "have its TLS proxy send X-Forwarded-Proto"),
        ({}, {"home_url": "http://other.example"}, "url is the Site Address"),
        ({}, {"coming_soon_redirect": True}, "coming-soon/: if that is its right address"),
    ],
    ids=str,
)
def test_what_to_change_when_the_shop_refuses_us(
    open_shop: Opening, settings: dict[str, Any], setup: dict[str, Any], sentence: str
) -> None:
    here = open_shop(**setup)
    here.shop = here.connect(**settings)
    with pytest.raises(SetupError) as refused:
        here.shop.check()
    assert sentence in str(refused.value)
    assert "cs_" not in str(refused.value)


NO_SHOP = '{"name": "A blog", "namespaces": ["wp/v2"]}'
DENIED = '{"code": "woocommerce_rest_cannot_view", "message": "Sorry, you cannot list resources.", "data": {"status": 403}}'
NO_ROUTE = '{"code": "rest_no_route", "message": "No route was found", "data": {"status": 404}}'
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Fault("status", path="wp-json/$", status=404, times=-1), "No WordPress REST API at"),
        (Fault("status", path="wp-json/$", status=403, body="<html>", times=-1), "refuses the call (403 Forbidden)"),
        (Fault("status", path="wp-json/$", status=200, body=NO_SHOP, headers=JSON), "runs no WooCommerce"),
        (Fault("status", path="/orders$", status=403, body=DENIED), "make the key for an administrator"),
        (Fault("status", path="/orders$", status=406, body="<html>"), "through the plugin or firewall"),
        (Fault("status", path="/orders$", status=404, body=NO_ROUTE), "look whether WooCommerce is still active"),
        (Fault("status", path="/orders$", status=200, body="{}", headers=JSON), "something else than a list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_to_change_when_something_stands_in_the_way(here: Served, fault: Fault, sentence: str) -> None:
    here.running.door.faults = [fault]
    with pytest.raises(SetupError) as refused:
        here.shop.check()
    assert sentence in str(refused.value)


# checking


def levels(shop: WooCommerce) -> dict[str, str]:
    return {finding.sentence: finding.level for finding in shop.check()}


def sentence(found: dict[str, str], level: str) -> str:
    return " ".join(text for text, of in found.items() if of == level)


def test_a_key_that_may_only_read_is_found_out(world: World, open_shop: Opening) -> None:
    here = open_shop(world, keys=[Key("ck_sandbox", "cs_sandbox", "read")])
    assert "Set the key to Read/Write" in sentence(levels(here.shop), "error")
    with pytest.raises(SetupError, match="Read/Write"):
        here.shop.send("consent", [consent_write(2)])


def test_a_shop_managers_key_is_found_out(here: Served) -> None:
    body = '{"code": "woocommerce_rest_cannot_batch", "message": "Sorry", "data": {"status": 403}}'
    here.running.door.faults = [Fault("status", path="/batch$", status=403, body=body)]
    assert "make the key for an administrator" in sentence(levels(here.shop), "error")


def test_without_a_consent_key_the_likely_one_is_named(here: Served) -> None:
    shop = here.connect(consent_meta_key=None)
    assert not shop.capabilities.consent_write_back
    assert (
        f"nobody can become subscribed and no opt-out reaches the shop; set consent_meta_key to the field that the shop's "
        f"newsletter plugin writes. Likely fields in this shop: {CONSENT}." in sentence(levels(shop), "error")
    )
    with pytest.raises(SetupError, match="consent_meta_key"):
        shop.send("consent", [consent_write(2)])


def test_a_consent_key_that_nobody_has_is_warned_of(here: Served) -> None:
    assert "None of the newest 100 customers has the field typo" in sentence(
        levels(here.connect(consent_meta_key="typo")), "warning"
    )


def test_an_old_version_and_another_newsletter_plugin_are_warned_of(world: World, open_shop: Opening) -> None:
    here = open_shop(world, version="3.9.1")
    index = '{"home": "http://x.example", "namespaces": ["wc/v3", "mailchimp-for-woocommerce/v1"]}'
    here.running.door.faults = [Fault("status", path="wp-json/$", status=200, body=index, headers=JSON)]
    warned = sentence(levels(here.shop), "warning")
    assert "WooCommerce 3.9.1 is older than 5.8" in warned
    assert "A plugin of mailchimp is active" in warned


@pytest.mark.parametrize(
    ("setup", "home", "shop_id"),
    [
        ({"home_url": "https://Shop.Example:8443/de/", "store_id": "s-1"}, "shop.example:8443/de", "s-1"),
        ({"home_url": "https://shop.example", "version": "3.9.1"}, "shop.example", None),
    ],
)
def test_the_fingerprint_is_the_address_that_the_shop_believes_in(
    open_shop: Opening, setup: dict[str, Any], home: str, shop_id: str | None
) -> None:
    here = open_shop(is_tls=True, **setup)
    found = here.shop.fingerprint()
    assert (found.home, found.shop_id) == (home, shop_id)


def test_a_key_that_may_not_see_the_system_status_still_works(here: Served) -> None:
    here.running.door.faults = [Fault("status", path="/system_status$", status=403, body=DENIED, times=-1)]
    assert here.shop.fingerprint().shop_id is None
    assert "error" not in levels(here.shop).values()


# customers


def test_a_listing_that_fills_its_last_page_ends_too(open_shop: Opening) -> None:
    here = open_shop(invent(customers=199, orders=12))  # and the administrator
    assert [page.complete for page in here.shop.customers()] == [False, True]


def test_a_deletion_hidden_by_a_registration_is_noticed(here: Served) -> None:
    gone = min(customers_of(here.twin))

    def act(answer: int) -> None:
        if answer == 2:
            here.twin.act_delete_customer(gone)
            here.twin.act_register("new@example.com")

    here.after("/customers", act)
    pages = list(here.shop.customers())
    assert pages[-1].complete
    assert set(ids(pages[3:])) == customers_of(here.twin)


def test_half_of_the_accounts_deleted_during_the_walk(here: Served) -> None:
    """The page after is empty, and the totals of the pages seen still agree with the total before."""
    half = sorted(customers_of(here.twin))[:150]
    here.after("/customers", lambda answer: [here.twin.act_delete_customer(n) for n in half] if answer == 3 else None)
    pages = list(here.shop.customers())
    assert pages[-1].complete
    assert customers_of(here.twin) <= set(ids(pages))


def test_a_registration_during_the_walk_is_no_reason_to_doubt(here: Served) -> None:
    here.after("/customers", lambda answer: here.twin.act_register("new@example.com") if answer == 2 else None)
    pages = list(here.shop.customers())
    assert [page.complete for page in pages] == [False, False, True]
    assert set(ids(pages)) == customers_of(here.twin)


def test_a_shop_that_never_stands_still_is_never_called_complete(here: Served) -> None:
    waiting = iter(sorted(customers_of(here.twin)))
    here.after("/customers", lambda _: here.twin.act_delete_customer(next(waiting)))
    assert not any(page.complete for page in here.shop.customers())
    assert sum("order=desc" in call.query for call in here.running.door.calls) == 3


def test_staff_is_left_out_unless_it_is_a_customer_too(here: Served) -> None:
    plain = here.twin.act_register("boss@example.com", role="shop_manager")
    reader = here.twin.act_register("reader@example.com", role="editor", consent="1")
    dealer = here.twin.act_register("dealer@example.com", role="wholesale_customer")
    listed = set(ids(here.shop.customers()))
    assert {reader, dealer} <= listed
    assert not {plain, 1} & listed
    assert set(ids(here.shop.customers_by_id([str(plain), "1"]))) == {plain, 1}, "asked by id they exist"


def test_an_answer_to_another_question_proves_no_deletion(here: Served) -> None:
    here.running.door.faults = [Fault("status", path="/customers$", status=200, body='[{"id": 77}, null]', headers=JSON)]
    with pytest.raises(SetupError, match="ignores which /customers it is asked for"):
        list(here.shop.customers_by_id(["2", "3"]))


# orders


def test_an_order_in_the_trash_does_not_show(here: Served) -> None:
    cursor = list(here.shop.orders())[-1].cursor
    trashed = min(orders_of(here.twin))
    here.twin.act_wait(60)
    here.twin.act_trash_order(trashed)
    here.twin.act_order(email="guest@example.com")
    found = list(here.shop.orders(cursor))
    assert trashed not in ids(found)
    assert found[-1].cursor == "2026-11-22T03:01:00"


@pytest.mark.parametrize("hours", [-8, 0, 1, 9.5])
def test_the_last_hours_are_not_lost_east_of_greenwich(world: World, open_shop: Opening, hours: float) -> None:
    here = open_shop(world, utc_offset_hours=hours)
    order = here.twin.act_order(email="guest@example.com")
    for minutes in (0, 5, 59, 61):
        cursor = (NOW - timedelta(minutes=minutes)).replace(tzinfo=None).isoformat()
        assert order in ids(here.shop.orders(cursor))
    assert ids(here.shop.orders("2026-11-22T03:00:01")) == []


def test_a_shop_that_never_stops_selling_does_not_hold_us(open_shop: Opening) -> None:
    here = open_shop(invent(customers=5, orders=150))

    def sell(_: int) -> None:
        here.twin.act_wait(1)
        for _ in range(120):
            here.twin.act_order(email="guest@example.com")

    here.after("/orders", sell)
    assert len(list(here.shop.orders())) <= 4


def test_an_order_dated_into_the_future_hides_no_other(here: Served) -> None:
    future = here.twin.act_order(email="guest@example.com")
    here.twin.shop.orders[future].modified = datetime(2099, 1, 1)  # noqa: DTZ001 (the twin keeps naive UTC)
    cursor = list(here.shop.orders())[-1].cursor
    here.twin.clock = lambda: datetime.now(UTC)
    new = here.twin.act_order(email="guest@example.com")
    assert set(ids(here.shop.orders(cursor))) == {future, new}


@pytest.mark.parametrize("cursor", [None, "2026-11-20T10:00:00", "2026-11-20T09:00:00"])
def test_an_import_that_changed_all_orders_in_one_second(here: Served, cursor: str | None) -> None:
    for order in here.twin.shop.orders.values():
        order.modified = datetime(2026, 11, 20, 10, 0)  # noqa: DTZ001 (the twin keeps naive UTC)
    later = here.twin.act_order(email="guest@example.com")
    pages = list(here.shop.orders(cursor))
    assert set(ids(pages)) == orders_of(here.twin)
    assert pages[-1].cursor == "2026-11-22T03:00:00"
    assert set(ids(here.shop.orders(pages[-1].cursor))) == {later}


def test_within_one_second_too_a_change_skips_nobody(here: Served) -> None:
    for order in here.twin.shop.orders.values():
        order.modified = datetime(2026, 11, 20, 10, 0)  # noqa: DTZ001
    first = min(orders_of(here.twin))
    here.after("/orders", lambda answer: here.twin.act_trash_order(first) if answer == 5 else None)
    assert set(ids(here.shop.orders())) >= orders_of(here.twin)


def test_before_5_8_all_orders_are_listed_and_the_cursor_waits_for_the_end(world: World, open_shop: Opening) -> None:
    here = open_shop(world, version="3.9.1")
    pages = list(here.shop.orders("2026-01-01T00:00:00"))
    assert set(ids(pages)) == orders_of(here.twin)
    *others, last = pages
    assert {page.cursor for page in others} == {"2026-01-01T00:00:00"}
    assert last.complete
    assert last.cursor == pages[0].asked_at.replace(tzinfo=None).isoformat(timespec="seconds")


def test_an_erased_guest_leaves_no_address(here: Served) -> None:
    order = here.twin.act_order(email="Vergiss.Mich@example.com")
    here.twin.act_erase_person("vergiss.mich@example.com")
    records = [record for page in here.shop.orders() for record in page.records if record["id"] == order]
    row = here.shop.to_orders(records).row(0, named=True)
    assert (row["email"], row["address"], row["first_name"]) == (None, None, None)


# products


def test_products_come_with_their_variations(here: Served) -> None:
    products = here.twin.state()["products"]
    gone = products[0]["id"]
    here.twin.act_delete_product(gone)
    pages = list(here.shop.products_by_id([str(product["id"]) for product in products]))
    assert set(ids(pages)) == {product["id"] for product in products} - {gone}
    frame = here.shop.to_products([record for page in pages for record in page.records])
    variable = next(product for product in products if product["variations"])
    assert set(frame.filter(product_id=str(variable["id"]))["variant_id"]) == {str(number) for number in variable["variations"]}
    simple = next(product for product in products[1:] if not product["variations"])
    assert frame.filter(product_id=str(simple["id"]))["variant_id"].to_list() == [str(simple["id"])]


# writing


def meta_of(twin: Twin, kind: str, number: int) -> dict[str, str]:
    record = next(record for record in twin.state()[kind] if record["id"] == number)
    return {entry["key"]: entry["value"] for entry in record["meta_data"]}


def test_consent_is_written_and_nothing_else(here: Served) -> None:
    someone = here.twin.act_register("anna@example.com", consent="1", first_name="Anna")
    other = here.twin.act_register("otto@example.com")
    here.shop.fingerprint()  # the twin learns its address from the first call
    before = here.twin.state()
    sent = here.shop.send("consent", [consent_write(someone), consent_write(other, "subscribed")])
    assert [(outcome.write_id, outcome.state) for outcome in sent] == [
        (f"w{someone}", "acknowledged"),
        (f"w{other}", "acknowledged"),
    ]
    assert meta_of(here.twin, "customers", someone)[CONSENT] == "0"
    assert meta_of(here.twin, "customers", other)[CONSENT] == "1"
    after = here.twin.state()
    assert after["mails"] == before["mails"]
    for old, new in zip(before["customers"], after["customers"], strict=True):
        assert {k: v for k, v in new.items() if k not in {"meta_data", "date_modified", "date_modified_gmt"}} == {
            k: v for k, v in old.items() if k not in {"meta_data", "date_modified", "date_modified_gmt"}
        }


def test_the_shops_own_words_are_written(here: Served) -> None:
    someone = here.twin.act_register("anna@example.com", consent="ja")
    shop = here.connect(consent_in=["Ja"], consent_out=["Nein"])
    assert shop.send("consent", [consent_write(someone)])[0].state == "acknowledged"
    assert meta_of(here.twin, "customers", someone)[CONSENT] == "nein"


def test_of_several_entries_of_one_key_one_stays(here: Served) -> None:
    someone = here.twin.act_register("anna@example.com", consent="1")
    rows = here.twin.shop.customers[someone].meta.rows
    rows.append((9999, CONSENT, "1"))
    assert here.shop.send("consent", [consent_write(someone)])[0].state == "acknowledged"
    page = next(iter(here.shop.customers_by_id([str(someone)])))
    assert here.shop.to_customers(page.records)["consent"].to_list() == ["out"]


def test_failures_of_single_writes_do_not_touch_the_others(here: Served) -> None:
    someone, gone = here.twin.act_register("anna@example.com"), here.twin.act_register("otto@example.com")
    here.twin.act_delete_customer(gone)
    order = here.twin.act_order(email="guest@example.com")
    sent = here.shop.send("consent", [consent_write(gone), consent_write(order, key="order_id"), consent_write(someone)])
    assert [(outcome.state, outcome.code) for outcome in sent] == [
        ("skipped", "gone"),
        ("skipped", "guest"),
        ("acknowledged", None),
    ]
    assert CONSENT not in meta_of(here.twin, "orders", order)


def test_a_rejection_keeps_the_shops_words_without_addresses(here: Served) -> None:
    error = {"code": "plugin_says_no", "message": "anna@example.com isn&#039;t wanted", "data": {"status": 400}}
    unkept = {"id": 3, "meta_data": [{"key": CONSENT, "value": "1"}]}
    body = orjson.dumps({"update": [{"id": 2, "error": error}, unkept]}).decode()
    here.running.door.faults = [Fault("status", path="/batch$", status=200, body=body, headers=JSON)]
    rejected, not_kept = here.shop.send("consent", [consent_write(2), consent_write(3)])
    assert (rejected.state, rejected.code, rejected.message) == ("rejected", "plugin_says_no", "… isn't wanted")
    assert (not_kept.state, not_kept.code) == ("rejected", "not_kept")


def test_a_batch_refused_as_a_whole_is_rejected_one_by_one(here: Served) -> None:
    refused = here.shop.send("consent", [consent_write(number) for number in range(2, 103)])
    assert {(outcome.state, outcome.code) for outcome in refused} == {("rejected", "woocommerce_rest_request_entity_too_large")}


def test_a_bounce_keeps_its_reason(here: Served) -> None:
    someone = here.twin.act_register("anna@example.com", consent="1")
    assert here.shop.send("bounce", [bounce_write(someone)])[0].state == "acknowledged"
    assert meta_of(here.twin, "customers", someone)["email_bounce_reason"] == "mailbox unknown"


def test_a_write_whose_answer_got_lost_is_not_repeated_blindly(here: Served) -> None:
    here.running.door.faults = [Fault("drop_after", path="/batch$")]
    with pytest.raises(TryLater, match="did not say whether"):
        here.shop.send("consent", [consent_write(here.twin.act_register("anna@example.com", consent="1"))])
    assert sum(call.path.endswith("/batch") for call in here.running.door.calls) == 1


# settings


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://shop.example", "https://shop.example"),
        (" https://shop.example/ ", "https://shop.example"),
        ("https://shop.example/de/wp-json", "https://shop.example/de"),
        ("http://shop.example:8080/wp-json/wc/v3/", "http://shop.example:8080"),
        ("https://shop.example/index.php/wp-json/", "https://shop.example"),
    ],
)
def test_addresses_as_people_write_them(url: str, site: str) -> None:
    assert WooCommerceSettings(**KEYS | {"url": url}).url == site


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "shop.example"},
        {"url": "https://ck_1:cs_1@shop.example"},
        {"consent_in": []},
        {"consent_out": ["0", " "]},
        {"consent_in": ["1", "Maybe"], "consent_out": ["maybe"]},
        {"consumer_kee": "x"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WooCommerceSettings(**KEYS | {"url": "https://shop.example"} | wrong)


def test_base_url_goes_before_url(here: Served) -> None:
    settings = WooCommerceSettings(**KEYS | {"url": "https://shop.example", "base_url": here.running.url})
    shop = WooCommerce(settings, shop="de", limits=here.folder)
    assert f"WooCommerce answers at {here.running.url}" in next(iter(levels(shop)))
