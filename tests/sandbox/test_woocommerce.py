"""The WooCommerce twin against what real shops were seen to do; every test is one observed behaviour, over real HTTP."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from sandbox.server import Door, serve
from sandbox.woocommerce import Key, WooCommerce
from sandbox.world import invent

KEYS = ("ck_sandbox", "cs_sandbox")


@dataclass
class Shop:
    """A shop that is being served over TLS, and a client with its key."""

    twin: WooCommerce
    url: str
    http: httpx.Client
    door: Door

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/wp-json/wc/v3/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return self.http.request(method, f"/wp-json/wc/v3/{path}", json=body, params=query)

    def made(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.send("POST", path, body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str, str]:
        answer = self.send(method, path, body, **query)
        problem = answer.json()
        assert problem["data"]["status"] == answer.status_code
        return answer.status_code, problem["code"], problem["message"]


@contextlib.contextmanager
def opened(twin: WooCommerce, folder: Path) -> Iterator[Shop]:
    with serve(twin, tls_folder=folder) as running:
        trust = ssl.create_default_context(cafile=str(running.ca_file))
        with httpx.Client(base_url=running.url, auth=KEYS, verify=trust) as client:
            yield Shop(twin, running.url, client, running.door)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def move(self, seconds: float = 60) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture(scope="module", autouse=True)
def small_answers_leave_at_once() -> Iterator[None]:
    """Head and body of an answer are two writes; without TCP_NODELAY the second waits 40 ms for the client's delayed ACK."""
    listen = socket.create_server

    def without_delay(*args: Any, **kwargs: Any) -> socket.socket:
        listener = listen(*args, **kwargs)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_server", without_delay)
        yield


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Shop]:
    """One shop for the module: tests make what they need and count nothing that others change."""
    twin = WooCommerce(clock=clock)
    twin.from_world(invent(customers=120, orders=150))
    with opened(twin, tmp_path_factory.mktemp("tls")) as shop:
        yield shop


@pytest.fixture
def someone(shop: Shop, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A new customer of this test's own."""
    local = hashlib.md5(request.node.nodeid.encode()).hexdigest()[:12]
    return shop.made("customers", email=f"{local}@example.com")


@pytest.fixture
def tea(shop: Shop) -> dict[str, Any]:
    return shop.made("products", name="Te", regular_price="99.50")


# Authentication


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WooCommerce, httpx.Client]]:
    """A shop over plain http."""
    twin = WooCommerce(keys=[Key(*KEYS), Key("ck_read", "cs_read", "read"), Key("ck_write", "cs_write", "write")])
    with serve(twin) as running, httpx.Client(base_url=running.url) as client:
        yield twin, client


def oauth(
    url: str, method: str = "GET", digest: str = "HMAC-SHA256", key: tuple[str, str] = KEYS, **params: str
) -> dict[str, str]:
    """Query parameters with an OAuth 1.0a signature over them; `params` may set the oauth_ ones too."""
    signed = {
        "oauth_consumer_key": key[0],
        "oauth_timestamp": str(int(time.time())),
        "oauth_nonce": hashlib.md5(str(time.perf_counter()).encode()).hexdigest(),
        "oauth_signature_method": digest,
        **params,
    }
    pairs = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(signed.items()))
    base = f"{method}&{quote(url, safe='-_.~')}&{quote(pairs, safe='-_.~')}"
    name = {"HMAC-SHA256": "sha256", "HMAC-SHA1": "sha1"}.get(digest, "md5")
    mac = hmac.new(f"{key[1]}&".encode(), base.encode(), name)
    return signed | {"oauth_signature": base64.b64encode(mac.digest()).decode()}


def test_plain_http_ignores_basic_and_query_keys_as_if_there_were_none(plain: tuple[WooCommerce, httpx.Client]) -> None:
    _, client = plain
    path = "/wp-json/wc/v3/orders"
    answers = [
        client.get(path),
        client.get(path, auth=KEYS),
        client.get(path, params={"consumer_key": KEYS[0], "consumer_secret": KEYS[1]}),
    ]
    assert [a.status_code for a in answers] == [401] * 3
    assert {a.json()["code"] for a in answers} == {"woocommerce_rest_cannot_view"}
    assert {a.json()["message"] for a in answers} == {"Sorry, you cannot list resources."}


@pytest.mark.parametrize("digest", ["HMAC-SHA256", "HMAC-SHA1"])
@pytest.mark.parametrize("search", ["å, b:c + d", "~tilde", "100% & more"])
def test_oauth_passes_over_plain_http_with_awkward_values(plain: Any, digest: str, search: str) -> None:
    _, client = plain
    url = f"{str(client.base_url).rstrip('/')}/wp-json/wc/v3/customers"
    answer = client.get(url, params=oauth(url, digest=digest, search=search))
    assert answer.status_code == 200, answer.text


def test_oauth_refuses_a_replay_an_old_stamp_a_wrong_secret_an_unknown_key_and_half_a_header(plain: Any) -> None:
    _, client = plain
    url = f"{str(client.base_url).rstrip('/')}/wp-json/wc/v3/customers"
    good = oauth(url)
    assert client.get(url, params=good).status_code == 200
    refusals = {
        "replay": good,
        "old": oauth(url, oauth_timestamp=str(int(time.time()) - 16 * 60)),
        "secret": oauth(url, key=(KEYS[0], "cs_wrong")),
        "key": oauth(url, key=("ck_nobody", "cs")),
        "method": oauth(url, digest="PLAINTEXT"),
        "half": {"oauth_consumer_key": KEYS[0]},
    }
    messages = {}
    for name, query in refusals.items():
        answer = client.get(url, params=query)
        assert answer.status_code == 401
        messages[name] = answer.json()["message"]
    assert messages == {
        "replay": "Invalid nonce - nonce has already been used.",
        "old": "Invalid timestamp.",
        "secret": "Invalid signature - provided signature does not match.",
        "key": "Consumer key is invalid.",
        "method": "Invalid signature - signature method is invalid.",
        "half": "Missing OAuth parameters oauth_timestamp, oauth_nonce, oauth_signature, oauth_signature_method",
    }


def test_https_takes_basic_and_query_keys_and_says_what_is_wrong_with_a_secret(shop: Shop) -> None:
    def get(**how: Any) -> httpx.Response:
        return shop.http.get("/wp-json/wc/v3/orders", **({"auth": None} | how))

    assert get(auth=KEYS).status_code == 200
    assert get(params={"consumer_key": KEYS[0], "consumer_secret": KEYS[1]}).status_code == 200
    assert get(auth=("ck_nobody", "cs")).json()["code"] == "woocommerce_rest_cannot_view"
    wrong = get(auth=(KEYS[0], "cs_wrong"))
    assert wrong.status_code == 401
    assert wrong.json()["code"] == "woocommerce_rest_authentication_error"
    assert wrong.json()["message"] == "Consumer secret is invalid."


def test_a_read_key_that_writes_gets_401_and_a_write_key_cannot_read(plain: Any) -> None:
    _, client = plain
    url = f"{str(client.base_url).rstrip('/')}/wp-json/wc/v3/customers"
    writing = client.post(url, params=oauth(url, "POST", key=("ck_read", "cs_read")), json={"email": "a@example.com"})
    reading = client.get(url, params=oauth(url, key=("ck_write", "cs_write")))
    assert (writing.status_code, writing.json()["code"]) == (401, "woocommerce_rest_authentication_error")
    assert writing.json()["message"] == "The API key provided does not have write permissions."
    assert (reading.status_code, reading.json()["message"]) == (401, "The API key provided does not have read permissions.")


def test_behind_a_proxy_that_hides_tls_https_behaves_like_plain_http(tmp_path: Path) -> None:
    with opened(WooCommerce(believes_tls=False), tmp_path) as shop:
        assert shop.send("GET", "orders").json()["code"] == "woocommerce_rest_cannot_view"
        page = shop.http.get("/wp-json/").json()
        assert page["home"].startswith("http://")


def test_rest_route_answers_but_refuses_keys_and_plain_permalinks_need_index_php(tmp_path: Path) -> None:
    with opened(WooCommerce(plain_permalinks=True), tmp_path) as shop:
        assert shop.http.get("/", params={"rest_route": "/"}).json()["namespaces"]
        assert shop.http.get("/", params={"rest_route": "/wc/v3/orders"}).status_code == 401
        assert shop.http.get("/wp-json/wc/v3/orders").status_code == 404
        assert shop.http.get("/index.php/wp-json/wc/v3/orders").status_code == 200


def test_a_revoked_key_is_nobodys(tmp_path: Path) -> None:
    with opened(WooCommerce(), tmp_path) as shop:
        assert shop.send("GET", "orders").status_code == 200
        shop.twin.act_revoke_key(KEYS[0])
        assert shop.refused("GET", "orders")[:2] == (401, "woocommerce_rest_cannot_view")


def test_coming_soon_sends_every_call_to_a_page(tmp_path: Path) -> None:
    with opened(WooCommerce(coming_soon_redirect=True), tmp_path) as shop:
        answer = shop.send("GET", "orders")
        assert answer.status_code == 302
        page = shop.http.get(answer.headers["location"])
        assert page.status_code == 200
        assert "text/html" in page.headers["content-type"]


def test_unknown_routes_are_404_in_json_and_the_index_tells_the_clock(shop: Shop) -> None:
    assert shop.refused("GET", "nonsense")[:2] == (404, "rest_no_route")
    assert shop.refused("PATCH", "customers")[:2] == (404, "rest_no_route")
    assert shop.get("")["namespace"] == "wc/v3"
    index = shop.http.get("/wp-json/", auth=None).json()
    assert index["gmt_offset"] == "1"
    assert "wc/v3" in index["namespaces"]
    assert index["name"] == "Lilla Butiken &amp; Co"


# Paging


def test_per_page_ends_at_100_and_page_begins_at_1(shop: Shop) -> None:
    assert len(shop.get("orders", per_page=100)) == 100
    for wrong in ({"per_page": 101}, {"per_page": 0}, {"page": 0}, {"per_page": "ten"}):
        assert shop.refused("GET", "orders", **wrong)[:2] == (400, "rest_invalid_param")
    details = shop.send("GET", "orders", per_page=101).json()["data"]
    assert details["params"] == {"per_page": "per_page must be between 1 (inclusive) and 100 (inclusive)"}
    assert details["details"]["per_page"]["code"] == "rest_out_of_bounds"


def test_past_the_end_hpos_orders_forget_their_totals_and_others_keep_them(shop: Shop, tmp_path: Path) -> None:
    answer = shop.send("GET", "orders", page=99, per_page=100)
    assert answer.json() == []
    assert (answer.headers["x-wp-total"], answer.headers["x-wp-totalpages"]) == ("0", "0")
    assert "page=0" in answer.links["prev"]["url"]
    customers = shop.send("GET", "customers", page=99)
    assert customers.json() == []
    assert int(customers.headers["x-wp-total"]) >= 120
    old = WooCommerce(version="8.0.0")
    old.from_world(invent(customers=5, orders=12))
    with opened(old, tmp_path) as posts:
        assert posts.send("GET", "orders", page=99).headers["x-wp-total"] == "12"


def test_every_answer_has_a_link_header_and_only_some_a_next_page(shop: Shop) -> None:
    last = shop.send("GET", "settings/general")
    assert 'rel="https://api.w.org/"' in last.headers["link"]
    assert "next" not in last.links
    first = shop.send("GET", "orders", per_page=2, status="completed,refunded")
    assert "page=2" in first.links["next"]["url"]
    assert first.links["next"]["url"].startswith(f"{shop.url}/wp-json/wc/v3/orders?")
    assert shop.http.get(first.links["next"]["url"]).json()[0]["id"] < first.json()[1]["id"]


def test_links_use_the_address_that_wordpress_believes_in(tmp_path: Path) -> None:
    twin = WooCommerce(home_url="http://butik.example")
    twin.from_world(invent(customers=20, orders=30))
    with opened(twin, tmp_path) as shop:
        assert shop.send("GET", "orders").links["next"]["url"].startswith("http://butik.example/wp-json/")
        assert shop.get("system_status")["environment"]["home_url"] == "http://butik.example"


def test_an_order_arriving_during_the_walk_repeats_a_row_and_one_trashed_skips_a_row(shop: Shop) -> None:
    first = [o["id"] for o in shop.get("orders", per_page=5, page=1)]
    shop.twin.act_order(email="new@example.com")
    assert shop.get("orders", per_page=5, page=2)[0]["id"] == first[-1]
    by_id = {"orderby": "id", "order": "asc", "per_page": 5}
    walked = [o["id"] for o in shop.get("orders", **by_id)]
    expected = shop.get("orders", **by_id, page=2)[0]["id"]
    shop.twin.act_trash_order(walked[0])
    assert shop.get("orders", **by_id, page=2)[0]["id"] > expected


def test_head_carries_totals(shop: Shop) -> None:
    answer = shop.send("HEAD", "customers")
    assert answer.content == b""
    assert int(answer.headers["x-wp-total"]) >= 120


def test_fields_reach_into_objects_but_not_into_lists(shop: Shop) -> None:
    for order in shop.get("orders", _fields="id,billing.email,meta_data.key", per_page=3):
        assert set(order) == {"id", "billing", "meta_data"}
        assert set(order["billing"]) == {"email"}
        assert order["meta_data"] == []


def test_include_exclude_offset_and_search(shop: Shop) -> None:
    some = [c["id"] for c in shop.get("customers", orderby="id", per_page=4)]
    assert [c["id"] for c in shop.get("customers", include=f"{some[2]},{some[0]}", orderby="include")] == [some[2], some[0]]
    assert [c["id"] for c in shop.get("customers", **{"include[]": [some[1]]})] == [some[1]]
    assert some[0] not in [c["id"] for c in shop.get("customers", exclude=some[0], orderby="id")]
    assert [c["id"] for c in shop.get("customers", orderby="id", offset=2, per_page=2)] == some[2:]
    assert shop.get("customers", search="ASA.Oberg+News")[0]["last_name"] == "Öberg-O'Neil &amp; Co"


def test_lists_leave_out_the_trash_even_if_any_and_trash_is_asked_for(shop: Shop) -> None:
    number = shop.twin.act_order(email="trash@example.com")
    before = shop.get(f"orders/{number}")
    shop.twin.clock.move()  # type: ignore[attr-defined]
    assert shop.send("DELETE", f"orders/{number}").json()["status"] == "processing"
    ids = {name: [o["id"] for o in shop.get("orders", per_page=100, status=name)] for name in ("any", "any,trash", "trash")}
    assert number in ids["trash"]
    assert number not in ids["any"] + ids["any,trash"]
    trashed = shop.get(f"orders/{number}")
    assert trashed["status"] == "trash"
    assert trashed["date_modified_gmt"] > before["date_modified_gmt"]
    changed = shop.get("orders", modified_after=before["date_modified_gmt"], dates_are_gmt="true", per_page=100)
    assert number not in [o["id"] for o in changed]
    assert shop.refused("DELETE", f"orders/{number}")[:2] == (410, "woocommerce_rest_already_trashed")
    assert shop.send("DELETE", f"orders/{number}", force="true").status_code == 200
    assert shop.refused("GET", f"orders/{number}")[:2] == (404, "woocommerce_rest_shop_order_invalid_id")


def test_an_unknown_status_is_refused(shop: Shop) -> None:
    assert shop.refused("GET", "orders", status="unknown")[:2] == (400, "rest_invalid_param")


def test_customers_are_listed_by_role_and_guests_not_at_all(shop: Shop) -> None:
    shop.twin.act_register("subscriber@example.com", role="subscriber")
    shop.twin.act_order(email="just.a.guest@example.com")
    assert {c["role"] for c in shop.get("customers", per_page=100)} == {"customer"}
    everybody = [*shop.get("customers", per_page=100, role="all"), *shop.get("customers", per_page=100, role="all", page=2)]
    assert {c["role"] for c in everybody} == {"customer", "subscriber", "administrator"}
    assert not shop.get("customers", email="just.a.guest@example.com", role="all")
    assert shop.get("orders", search="just.a.guest@example.com")[0]["customer_id"] == 0


# Incremental reading


def test_customers_ignore_modified_after_and_cannot_be_ordered_by_it(shop: Shop) -> None:
    everybody = shop.send("GET", "customers").headers["x-wp-total"]
    assert shop.send("GET", "customers", modified_after="2099-01-01T00:00:00").headers["x-wp-total"] == everybody
    assert shop.refused("GET", "customers", orderby="modified")[:2] == (400, "rest_invalid_param")
    assert shop.send("GET", "customers", orderby="registered_date", order="desc").status_code == 200


def test_modified_after_wants_a_time_and_is_exclusive_to_the_second(shop: Shop, clock: Clock) -> None:
    clock.move()
    number = shop.twin.act_order(email="time@example.com")
    at = shop.get(f"orders/{number}")["date_modified_gmt"]
    for wrong in ("2026-11-22", "1764000000", "2026-13-01T00:00:00", "soon"):
        assert shop.refused("GET", "orders", modified_after=wrong)[:2] == (400, "rest_invalid_param")

    def found(after: str) -> list[int]:
        return [o["id"] for o in shop.get("orders", modified_after=after, dates_are_gmt="true")]

    earlier = (datetime.fromisoformat(at) - timedelta(seconds=1)).isoformat()
    assert number not in found(at)
    assert number in found(earlier)


@pytest.mark.parametrize(
    ("suffix", "hours", "gmt", "finds"),
    [
        ("", 0, True, True),  # naive and GMT: right
        ("Z", 0, False, True),  # Z alone: right
        ("+01:00", 1, False, True),  # an offset alone: right
        ("", 1, False, True),  # naive alone means the shop's clock
        ("Z", 0, True, False),  # Z and GMT: the last hour is skipped in silence
    ],
)
def test_z_together_with_dates_are_gmt_skips_the_last_hour_east_of_greenwich(
    shop: Shop, clock: Clock, suffix: str, hours: int, gmt: bool, finds: bool
) -> None:
    clock.move()
    number = shop.twin.act_order(email="zone@example.com")
    after = (clock.at - timedelta(seconds=30)).replace(tzinfo=None, microsecond=0) + timedelta(hours=hours)
    query = {"modified_after": after.isoformat() + suffix, **({"dates_are_gmt": "true"} if gmt else {})}
    assert (number in [o["id"] for o in shop.get("orders", **query)]) is finds


def test_wc39_knows_no_modified_after_and_its_refusal_of_orderby_modified_is_a_way_to_tell(tmp_path: Path) -> None:
    twin = WooCommerce(version="3.9.1")
    twin.from_world(invent(customers=5, orders=12))
    with opened(twin, tmp_path) as shop:
        assert shop.send("GET", "orders", modified_after="garbage").headers["x-wp-total"] == "12"
        assert shop.refused("GET", "orders", orderby="modified")[:2] == (400, "rest_invalid_param")
        order = shop.get("orders")[0]
        late = {"payment_url", "is_editable", "needs_payment", "needs_processing", "currency_symbol"}
        assert not late & set(order)


def test_what_changes_an_orders_date_and_what_does_not(shop: Shop, clock: Clock) -> None:
    number = shop.twin.act_order(email="bump@example.com", status="completed")

    def is_changed_by(do: Callable[[], Any]) -> bool:
        before = shop.get(f"orders/{number}")["date_modified_gmt"]
        clock.move()
        do()
        return bool(shop.get(f"orders/{number}")["date_modified_gmt"] > before)

    assert is_changed_by(lambda: shop.send("PUT", f"orders/{number}", {}))
    assert is_changed_by(lambda: shop.send("PUT", f"orders/{number}", {"meta_data": [{"key": "a", "value": "b"}]}))
    assert is_changed_by(lambda: shop.twin.act_refund(number, "1.00"))
    assert not is_changed_by(lambda: shop.made(f"orders/{number}/notes", note="Packat"))
    assert shop.get(f"orders/{number}/notes")[0]["note"] == "Packat"


def test_what_changes_a_customers_date_and_what_does_not(shop: Shop, clock: Clock, someone: dict[str, Any]) -> None:
    number = someone["id"]

    def is_changed_by(do: Callable[[], Any]) -> bool:
        before = shop.get(f"customers/{number}")["date_modified_gmt"]
        clock.move()
        do()
        return bool(shop.get(f"customers/{number}")["date_modified_gmt"] > before)

    assert is_changed_by(lambda: shop.send("PUT", f"customers/{number}", {"first_name": "Åsa"}))
    assert is_changed_by(lambda: shop.send("PUT", f"customers/{number}", {"meta_data": [{"key": "k", "value": "v"}]}))
    assert is_changed_by(lambda: shop.twin.act_change_email(number, f"new.{someone['email']}"))
    assert not is_changed_by(lambda: shop.twin.act_tick(number, "1"))
    assert is_changed_by(lambda: shop.twin.act_order(customer_id=number))  # the first paid order
    assert not is_changed_by(lambda: shop.twin.act_order(customer_id=number))
    now = shop.get(f"customers/{number}")
    assert now["is_paying_customer"] is True
    assert {"newsletter_optin": "1"}.items() <= {m["key"]: m["value"] for m in now["meta_data"]}.items()


def test_a_coupons_amount_expiry_and_use_change_no_date_and_its_description_does(shop: Shop, clock: Clock) -> None:
    number = shop.made("coupons", code="Datum10", amount="10", discount_type="percent")["id"]
    before = shop.get(f"coupons/{number}")["date_modified_gmt"]
    clock.move()
    shop.send("PUT", f"coupons/{number}", {"amount": "21", "date_expires": "2027-12-31T23:59:59"})
    shop.twin.act_order(email="gast3@example.com", coupon="datum10")
    coupon = shop.get(f"coupons/{number}")
    assert coupon["date_modified_gmt"] == before
    assert (coupon["amount"], coupon["usage_count"], coupon["used_by"]) == ("21.00", 1, ["gast3@example.com"])
    assert coupon["date_expires_gmt"] == "2027-12-31T22:59:59"
    shop.send("PUT", f"coupons/{number}", {"description": "Ny"})
    assert shop.get(f"coupons/{number}")["date_modified_gmt"] > before


def test_a_products_stock_and_its_sale_change_its_date(shop: Shop, clock: Clock) -> None:
    number = shop.made("products", name="Mugg", regular_price="10", manage_stock=True, stock_quantity=5)["id"]
    before = shop.get(f"products/{number}")
    clock.move()
    order = shop.twin.act_order(email="stock@example.com", items=[{"product_id": number, "quantity": 2}])
    after = shop.get(f"products/{number}")
    assert after["stock_quantity"] == 3
    assert after["date_modified_gmt"] > before["date_modified_gmt"]
    line = shop.get(f"orders/{order}")["line_items"][0]
    assert {m["key"]: m["value"] for m in line["meta_data"]} == {"_reduced_stock": "2"}


# Data


def test_addresses_keep_their_letter_case_and_are_unique_without_it(shop: Shop) -> None:
    made = shop.made("customers", email="Kajsa.ANKA+News@Exempel.Example")
    assert made["email"] == "Kajsa.ANKA+News@Exempel.Example"
    assert made["username"] == "kajsa.ankanews"
    assert shop.get("customers", email="kajsa.anka+news@exempel.example")[0]["id"] == made["id"]
    assert shop.refused("POST", "customers", {"email": "KAJSA.anka+NEWS@exempel.example"})[:2] == (
        400,
        "registration-error-email-exists",
    )
    assert shop.refused("POST", "customers", {"first_name": "X"})[:2] == (400, "rest_missing_callback_param")


@pytest.mark.parametrize("address", ["räksmörgås@exempel.example", "ok@räksmörgås.example", "a@b", "kund@", "no"])
def test_addresses_beyond_ascii_or_without_a_dot_are_refused(shop: Shop, address: str) -> None:
    assert shop.refused("POST", "customers", {"email": address})[:2] == (400, "customer_invalid_email")
    order = {"billing": {"email": address}}
    assert shop.refused("POST", "orders", order)[:2] == (400, "order_invalid_billing_email")


@pytest.mark.parametrize("address", ["o'kund2@example.com", "ok@xn--rksmrgs-5wao1o.example", "two..dots@example.com"])
def test_apostrophes_punycode_and_double_dots_pass(shop: Shop, address: str) -> None:
    assert shop.made("customers", email=address)["email"] == address


def test_an_address_cannot_be_changed_to_somebody_elses_nor_to_another_letter_case(shop: Shop, someone: dict[str, Any]) -> None:
    other = shop.get("customers", orderby="id", per_page=1)[0]["email"]
    for address in (other.lower(), someone["email"].upper()):
        assert shop.refused("PUT", f"customers/{someone['id']}", {"email": address})[:2] == (
            400,
            "woocommerce_rest_customer_invalid_email",
        )


def test_names_come_trimmed_stripped_and_escaped(shop: Shop, someone: dict[str, Any]) -> None:
    body = {"first_name": "  Åsa ", "last_name": "Öberg-O'Neil & Co <b>", "billing": {"last_name": "A & B"}}
    changed = shop.send("PUT", f"customers/{someone['id']}", body).json()
    assert changed["first_name"] == "Åsa"
    assert changed["last_name"] == "Öberg-O'Neil &amp; Co"
    assert changed["billing"]["last_name"] == "A & B"
    product = shop.made("products", name='Te ☕ "Grön" & Honung')
    assert product["name"] == 'Te ☕ "Grön" &amp; Honung'
    assert product["slug"] == "te-%e2%98%95-gron-honung"
    assert shop.made("products", name="Mugg <b>Blå</b>")["name"] == "Mugg <b>Blå</b>"


def test_a_customer_of_nothing_but_an_address_is_empty_but_for_a_nag(someone: dict[str, Any]) -> None:
    assert someone["first_name"] == ""
    assert set(someone["billing"].values()) == {""}
    assert [(m["key"], m["value"]) for m in someone["meta_data"]] == [("default_password_nag", "1")]


def test_meta_has_ids_and_text_values_and_is_changed_added_and_deleted(shop: Shop, someone: dict[str, Any]) -> None:
    def put(*entries: dict[str, Any]) -> dict[str, tuple[int, Any]]:
        body = shop.send("PUT", f"customers/{someone['id']}", {"meta_data": list(entries)}).json()
        return {m["key"]: (m["id"], m["value"]) for m in body["meta_data"]}

    number, value = put({"key": "newsletter_optin", "value": True})["newsletter_optin"]
    assert value == "1"
    assert put({"key": "newsletter_optin", "value": False})["newsletter_optin"] == (number, "")
    assert put({"key": "count", "value": 3})["count"][1] == "3"
    assert put({"id": number, "key": "newsletter_optin", "value": "yes"})["newsletter_optin"] == (number, "yes")
    assert "newsletter_optin" not in put({"id": number, "key": "newsletter_optin", "value": None})


def test_times_come_on_the_shops_clock_and_in_utc_without_a_suffix(shop: Shop) -> None:
    order = shop.get("orders", per_page=1)[0]
    local, utc = datetime.fromisoformat(order["date_created"]), datetime.fromisoformat(order["date_created_gmt"])
    assert local - utc == timedelta(hours=1)
    assert utc.tzinfo is None
    admin = shop.get("customers/1")
    assert admin["date_modified"] is None
    assert admin["date_modified_gmt"] is None


def test_money_is_text_with_two_decimals_whatever_the_currency(shop: Shop, tea: dict[str, Any]) -> None:
    line = {"product_id": tea["id"], "quantity": 1}
    order = shop.made("orders", currency="JPY", line_items=[line], billing={"email": "yen@example.com"})
    assert (order["total"], order["total_tax"], order["cart_tax"]) == ("99.50", "19.90", "19.90")
    assert order["line_items"][0]["total"] == "79.60"
    assert order["line_items"][0]["price"] == 79.6
    assert order["tax_lines"][0]["tax_total"] == "19.90"
    assert tea["price"] == "99.50"  # as typed
    assert shop.made("products", name="Te", regular_price="99.5")["price"] == "99.5"
    assert shop.made("products", name="T-shirt", type="variable")["regular_price"] == ""


def test_a_line_of_a_product_that_does_not_exist_is_made_empty(shop: Shop) -> None:
    line = shop.made("orders", line_items=[{"product_id": 999_999, "quantity": 2}])["line_items"][0]
    assert (line["product_id"], line["name"], line["sku"], line["price"], line["image"]["id"]) == (0, "", None, 0, 0)


def test_a_line_outlives_its_product(shop: Shop, tea: dict[str, Any]) -> None:
    number = shop.twin.act_order(email="relic@example.com", items=[{"product_id": tea["id"], "quantity": 1}])
    assert shop.get(f"orders/{number}")["line_items"][0]["image"]["id"] == ""
    shop.twin.act_delete_product(tea["id"])
    line = shop.get(f"orders/{number}")["line_items"][0]
    assert (line["product_id"], line["name"], line["sku"], line["price"]) == (0, "Te", None, 79.6)


def test_an_order_may_have_no_address_at_all(shop: Shop) -> None:
    order = shop.made("orders")
    assert set(order["billing"].values()) == {""}
    assert (order["status"], order["customer_id"], order["total"]) == ("pending", 0, "0.00")
    empty = {"billing": {"email": ""}}
    assert shop.refused("POST", "orders", empty)[:2] == (400, "rest_invalid_param")


def test_orders_want_an_existing_customer_a_known_status_and_currency(shop: Shop) -> None:
    assert shop.refused("POST", "orders", {"customer_id": 99_999})[:2] == (400, "woocommerce_rest_invalid_customer_id")
    assert shop.refused("POST", "orders", {"status": "shipped"})[:2] == (400, "rest_invalid_param")
    assert shop.refused("POST", "orders", {"currency": "XXX"})[:2] == (400, "rest_invalid_param")
    assert shop.refused("PUT", "orders/999999", {})[:2] == (400, "woocommerce_rest_shop_order_invalid_id")


def test_setting_refunded_makes_a_refund_and_a_part_leaves_the_status(shop: Shop, tea: dict[str, Any]) -> None:
    items = [{"product_id": tea["id"], "quantity": 2}]
    part = shop.twin.act_order(email="part@example.com", items=items, status="completed")
    line = shop.get(f"orders/{part}")["line_items"][0]["id"]
    body = {"amount": "39.20", "reason": "En vara saknades", "api_refund": False}
    body |= {"line_items": [{"id": line, "quantity": 1, "refund_total": "39.20"}]}
    made = shop.made(f"orders/{part}/refunds", **body)
    assert made["amount"] == "39.20"
    assert (made["line_items"][0]["quantity"], made["line_items"][0]["total"]) == (-1, "-39.20")
    assert {m["key"]: m["value"] for m in made["line_items"][0]["meta_data"]} == {"_refunded_item_id": str(line)}
    order = shop.get(f"orders/{part}")
    assert order["status"] == "completed"
    assert [(r["reason"], r["total"]) for r in order["refunds"]] == [("En vara saknades", "-39.20")]
    shop.send("PUT", f"orders/{part}", {"status": "refunded"})
    order = shop.get(f"orders/{part}")
    assert [r["reason"] for r in order["refunds"]] == ["En vara saknades", "Order fully refunded."]
    assert sum(float(r["total"]) for r in order["refunds"]) == -199.0
    assert order["total"] == "199.00"
    assert order["date_completed"]
    assert len(shop.get(f"orders/{part}/refunds")) == 2


def test_refunds_ask_the_gateway_unless_told_not_to_and_never_exceed_the_order(shop: Shop, tea: dict[str, Any]) -> None:
    number = shop.twin.act_order(email="refund@example.com", items=[{"product_id": tea["id"], "quantity": 1}])
    path = f"orders/{number}/refunds"
    assert shop.refused("POST", path, {"amount": "1"})[:2] == (500, "woocommerce_rest_cannot_create_order_refund")
    too_much = {"amount": "100", "api_refund": False}
    assert shop.refused("POST", path, too_much)[:2] == (500, "woocommerce_rest_cannot_create_order_refund")
    nothing = {"amount": "0", "api_refund": False}
    assert shop.refused("POST", path, nothing)[:2] == (400, "woocommerce_rest_invalid_order_refund")
    shop.made(path, amount="99.50", api_refund=False)
    assert shop.get(f"orders/{number}")["status"] == "refunded"


def test_coupons_are_lower_cased_unique_and_expire(shop: Shop, tea: dict[str, Any]) -> None:
    coupon = shop.made("coupons", code="Sommarrea Å", amount="20", discount_type="percent")
    assert coupon["code"] == "sommarrea å"
    assert shop.refused("POST", "coupons", {"code": "SOMMARREA å"})[:2] == (
        400,
        "woocommerce_rest_coupon_code_already_exists",
    )
    items = [{"product_id": tea["id"], "quantity": 2}]
    order = shop.made("orders", line_items=items, coupon_lines=[{"code": "SOMMARREA Å"}])
    assert (order["total"], order["discount_total"], order["line_items"][0]["subtotal"]) == ("159.20", "31.84", "159.20")
    assert order["coupon_lines"][0]["code"] == "sommarrea å"
    shop.send("PUT", f"coupons/{coupon['id']}", {"date_expires": "2020-01-01T00:00:00"})
    status, code, message = shop.refused("POST", "orders", {"line_items": items, "coupon_lines": [{"code": "sommarrea å"}]})
    assert (status, code) == (400, "woocommerce_rest_invalid_coupon")
    assert "&quot;" in message
    assert shop.refused("POST", "orders", {"coupon_lines": [{"code": "nix"}]})[1] == "woocommerce_rest_invalid_coupon"


def test_a_personal_coupon_works_for_its_address_only(shop: Shop) -> None:
    shop.made("coupons", code="nur-anna", amount="5", email_restrictions=["anna@example.com"], usage_limit=1)
    for address, passes in (("other@example.com", False), ("Anna@example.com", True), ("anna@example.com", False)):
        body = {"billing": {"email": address}, "coupon_lines": [{"code": "nur-anna"}]}
        assert (shop.send("POST", "orders", body).status_code == 201) is passes


def test_variations_are_listed_below_their_product(shop: Shop) -> None:
    product = next(p for p in shop.get("products", type="variable", per_page=100) if p["variations"])
    variations = shop.get(f"products/{product['id']}/variations", orderby="id", order="asc")
    assert [v["id"] for v in variations] == product["variations"]
    assert shop.get(f"products/{product['id']}/variations/{variations[0]['id']}")["sku"] == variations[0]["sku"]
    assert shop.refused("GET", f"products/{product['id']}/variations/1")[0] == 404


def test_customers_are_deleted_for_good_or_not_at_all_and_their_orders_become_a_guests(
    shop: Shop, someone: dict[str, Any]
) -> None:
    number = someone["id"]
    order = shop.twin.act_order(customer_id=number)
    before = shop.get(f"orders/{order}")
    assert shop.refused("DELETE", f"customers/{number}")[:2] == (501, "woocommerce_rest_trash_not_supported")
    assert shop.send("DELETE", f"customers/{number}", force="true").json()["email"] == someone["email"]
    assert shop.refused("GET", f"customers/{number}") == (404, "wc_user_invalid_id", "Invalid user ID.")
    after = shop.get(f"orders/{order}")
    assert after["customer_id"] == 0
    assert after["date_modified_gmt"] == before["date_modified_gmt"]
    assert shop.refused("DELETE", "customers/1", force="true")[:2] == (403, "woocommerce_rest_cannot_delete")


def test_in_a_batch_failures_stand_inside_the_200(shop: Shop, someone: dict[str, Any]) -> None:
    body = {
        "create": [{"email": "batch1@example.com"}, {"email": someone["email"]}, {"email": "nej"}],
        "update": [{"id": someone["id"], "first_name": "Ny"}, {"id": 987_654, "first_name": "X"}],
        "delete": [987_655],
    }
    answer = shop.send("POST", "customers/batch", body)
    assert answer.status_code == 200
    done = answer.json()
    assert done["create"][0]["id"] > 0
    assert [(c["id"], c["error"]["code"]) for c in done["create"][1:]] == [
        (0, "registration-error-email-exists"),
        (0, "customer_invalid_email"),
    ]
    assert done["create"][1]["error"]["data"] == {"status": 400}
    assert done["update"][0]["first_name"] == "Ny"
    assert (done["update"][1]["id"], done["update"][1]["error"]["code"]) == (987_654, "woocommerce_rest_invalid_id")
    assert (done["delete"][0]["id"], done["delete"][0]["error"]["code"]) == (987_655, "wc_user_invalid_id")


def test_a_batch_checks_no_schema_so_that_a_foreign_letter_is_cut_out_of_an_address(
    shop: Shop, someone: dict[str, Any]
) -> None:
    address = f"rä.{someone['email']}"
    assert shop.refused("PUT", f"customers/{someone['id']}", {"email": address})[:2] == (400, "rest_invalid_param")
    done = shop.send("POST", "customers/batch", {"update": [{"id": someone["id"], "email": address}]}).json()
    assert done["update"][0]["email"] == f"r.{someone['email']}"


def test_a_batch_takes_100_things_and_not_one_more(shop: Shop) -> None:
    hundred = {"delete": list(range(1_000_000, 1_000_100))}
    assert len(shop.send("POST", "customers/batch", hundred).json()["delete"]) == 100
    over = hundred | {"update": [{"id": 1_000_000}]}
    assert shop.refused("POST", "customers/batch", over)[:2] == (413, "woocommerce_rest_request_entity_too_large")
    coupons = {"create": [{"code": f"serie-{i}", "amount": "5"} for i in range(100)]}
    assert all("error" not in c for c in shop.send("POST", "coupons/batch", coupons).json()["create"])


def test_settings_and_status_tell_currency_version_and_address(shop: Shop) -> None:
    settings = {s["id"]: s["value"] for s in shop.get("settings/general")}
    assert settings["woocommerce_currency"] == "EUR"
    assert shop.get("settings/general/woocommerce_currency")["value"] == "EUR"
    environment = shop.get("system_status")["environment"]
    assert environment["version"] == "11.0.1"
    assert environment["home_url"] == shop.url
    assert environment["store_id"]


def test_broken_json_and_wrong_types_are_refused_as_wordpress_does(shop: Shop) -> None:
    answer = shop.http.post("/wp-json/wc/v3/customers", content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "rest_invalid_json")
    assert shop.refused("POST", "orders", {"billing": "x"})[2] == "Invalid parameter(s): billing"


def test_erasing_a_person_anonymises_the_orders(shop: Shop) -> None:
    customer = shop.twin.act_register("forget.me@example.com")
    order = shop.twin.act_order(customer_id=customer)
    assert shop.twin.act_erase_person("Forget.Me@example.com") == 1
    assert shop.get(f"orders/{order}")["billing"]["email"] == "deleted@site.invalid"
    assert not shop.get("customers", email="forget.me@example.com")


# Webhooks


@dataclass
class Receiver:
    """Keeps what it gets, with the head as it came over the wire, and answers `answer`."""

    url: str = ""
    answer: int = 200
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    on_delivery: Callable[[], None] = lambda: None

    def take(self) -> list[tuple[dict[str, str], bytes]]:
        found, self.got = self.got, []
        return found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    box = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            box.got.append((dict(self.headers.items()), body))
            box.on_delivery()
            self.send_response(box.answer)
            self.send_header("Location", box.url)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box.url = f"http://127.0.0.1:{server.server_port}/hook"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield box
    server.shutdown()


@pytest.fixture
def hooked(shop: Shop) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes webhooks that are gone after the test."""
    made: list[int] = []

    def make(topic: str, url: str, **more: Any) -> dict[str, Any]:
        hook = shop.made("webhooks", topic=topic, delivery_url=url, **more)
        made.append(hook["id"])
        return hook

    yield make
    for number in made:
        shop.send("DELETE", f"webhooks/{number}", force="true")
    shop.twin.act_deliver_webhooks()


def test_creating_a_webhook_pings_it_with_a_form_and_never_shows_the_secret(
    shop: Shop, receiver: Receiver, hooked: Any
) -> None:
    hook = hooked("customer.created", receiver.url, secret="s3cret")
    assert hook["status"] == "active"
    assert "secret" not in shop.get(f"webhooks/{hook['id']}")
    [(head, body)] = receiver.take()
    assert head["Content-Type"] == "application/x-www-form-urlencoded"
    assert body == f"webhook_id={hook['id']}".encode()
    assert head["User-Agent"] == "WooCommerce/11.0.1 Hookshot (WordPress/7.1)"
    assert not [name for name in head if name.lower().startswith("x-wc")]


def test_a_webhook_is_made_even_if_its_ping_fails_and_every_save_pings_again(
    shop: Shop, receiver: Receiver, hooked: Any
) -> None:
    receiver.answer = 415
    hook = hooked("customer.created", receiver.url)
    assert hook["status"] == "active"
    shop.send("PUT", f"webhooks/{hook['id']}", {"name": "x"})
    assert len(receiver.take()) == 2
    receiver.answer = 200
    shop.send("PUT", f"webhooks/{hook['id']}", {"name": "y"})
    shop.send("PUT", f"webhooks/{hook['id']}", {"name": "z"})
    assert len(receiver.take()) == 1
    secret = next(w for w in shop.twin.state()["webhooks"] if w["id"] == hook["id"])["secret"]
    assert len(secret) == 50


def test_bad_topics_addresses_and_deleting_without_force_are_refused(shop: Shop, receiver: Receiver, hooked: Any) -> None:
    bad = {"topic": "customer.exploded", "delivery_url": receiver.url}
    assert shop.refused("POST", "webhooks", bad)[:2] == (400, "woocommerce_rest_shop_webhook_invalid_topic")
    bad = {"topic": "order.created", "delivery_url": "ftp://x.example"}
    assert shop.refused("POST", "webhooks", bad)[:2] == (400, "woocommerce_rest_shop_webhook_invalid_delivery_url")
    hook = hooked("order.created", receiver.url)
    assert shop.refused("DELETE", f"webhooks/{hook['id']}")[:2] == (501, "woocommerce_rest_trash_not_supported")
    assert shop.refused("GET", "webhooks/98765")[:2] == (404, "woocommerce_rest_shop_webhook_invalid_id")
    assert [w["id"] for w in shop.get("webhooks", status="active")] == [hook["id"]]


@pytest.mark.parametrize(
    ("secret", "signs_as"),
    [("abc123", "abc123"), ("a&amp;b", "a&b"), ("p&q<r>\"s'\t %2F", "p&q<r>\"s'\t %2F"), ("hemligå", "hemligå")],
)
def test_deliveries_are_signed_over_the_raw_bytes_with_the_decoded_secret(
    shop: Shop, receiver: Receiver, hooked: Any, secret: str, signs_as: str
) -> None:
    hook = hooked("customer.created", receiver.url, secret=secret)
    receiver.take()
    made = shop.made("customers", email=f"{hashlib.md5(secret.encode()).hexdigest()}@example.com", first_name="Åsa")
    assert not receiver.got  # asynchronous: nothing leaves before somebody calls wp-cron
    shop.twin.act_deliver_webhooks()
    [(head, body)] = receiver.take()
    signature = base64.b64encode(hmac.new(signs_as.encode(), body, hashlib.sha256).digest()).decode()
    assert head["X-WC-Webhook-Signature"] == signature
    assert (head["X-WC-Webhook-Topic"], head["X-WC-Webhook-Resource"], head["X-WC-Webhook-Event"]) == (
        "customer.created",
        "customer",
        "created",
    )
    assert head["X-WC-Webhook-ID"] == str(hook["id"])
    assert head["X-WC-Webhook-Source"] == f"{shop.url}/"
    assert json.loads(body) == shop.get(f"customers/{made['id']}")
    assert b"\\u00c5sa" in body
    assert b"https:\\/\\/" in body


def test_a_body_is_made_at_delivery_and_several_changes_make_one(shop: Shop, receiver: Receiver, hooked: Any) -> None:
    hooked("order.created", receiver.url)
    hooked("customer.created", receiver.url)
    hooked("customer.updated", receiver.url)
    receiver.take()
    order = shop.twin.act_order(email="late@example.com")
    shop.twin.act_trash_order(order)
    gone = shop.twin.act_register("gone@example.com")
    shop.twin.act_delete_customer(gone)
    stays = shop.twin.act_register("stays@example.com")
    for name in ("A", "B", "C"):
        shop.send("PUT", f"customers/{stays}", {"first_name": name})
    shop.twin.act_deliver_webhooks()
    bodies = [(head["X-WC-Webhook-Topic"], json.loads(body)) for head, body in receiver.take()]
    assert [topic for topic, _ in bodies] == ["order.created", "customer.created", "customer.created", "customer.updated"]
    assert bodies[0][1]["status"] == "trash"
    assert bodies[1][1] == {"code": "wc_user_invalid_id", "message": "Invalid user ID.", "data": {"status": 404}}
    assert bodies[3][1]["first_name"] == "C"


def test_delivery_ids_are_shared_within_a_second_and_bodies_of_deletions_hold_only_an_id(
    shop: Shop, receiver: Receiver, hooked: Any
) -> None:
    hooked("order.created", receiver.url)
    hooked("order.updated", receiver.url)
    hooked("order.deleted", receiver.url)
    receiver.take()
    one, two = (shop.twin.act_order(email="two@example.com") for _ in range(2))
    shop.twin.act_trash_order(one)
    shop.twin.act_deliver_webhooks()
    got = [(h["X-WC-Webhook-Topic"], json.loads(b)["id"], h["X-WC-Webhook-Delivery-ID"]) for h, b in receiver.take()]
    created = [(number, delivery) for topic, number, delivery in got if topic == "order.created"]
    assert [number for number, _ in created] == [one, two]
    assert created[0][1] == created[1][1]
    # A new paid order is created and updated within the same second.
    assert ("order.updated", two) in [(topic, number) for topic, number, _ in got]
    [deleted] = [d for d in shop.twin.state()["deliveries"] if d["topic"] == "order.deleted" and d["id"] == one]
    assert deleted["status"] == 200


def test_a_plugins_tick_and_an_order_note_send_nothing(shop: Shop, receiver: Receiver, hooked: Any, someone: Any) -> None:
    order = shop.twin.act_order(email="quiet@example.com")
    hooked("customer.updated", receiver.url)
    hooked("order.updated", receiver.url)
    receiver.take()
    shop.twin.act_tick(someone["id"], "0")
    shop.made(f"orders/{order}/notes", note="Hej")
    assert shop.twin.act_deliver_webhooks() == []


def test_the_seventh_failure_in_a_row_disables_and_reenabling_leaves_the_count(
    shop: Shop, receiver: Receiver, hooked: Any
) -> None:
    hook = hooked("order.created", receiver.url)

    def fail(times: int) -> str:
        for _ in range(times):
            shop.twin.act_order(email="fail@example.com")
            shop.twin.act_deliver_webhooks()
        return str(shop.get(f"webhooks/{hook['id']}")["status"])

    receiver.answer = 302  # a redirect counts as good and is not followed
    assert fail(8) == "active"
    assert len(receiver.take()) == 9
    receiver.answer = 500
    assert fail(6) == "active"
    receiver.answer = 200
    assert fail(1) == "active"  # a success resets
    receiver.answer = 404
    assert fail(6) == "active"
    assert fail(1) == "disabled"
    receiver.take()
    fail(2)
    assert not receiver.got
    shop.send("PUT", f"webhooks/{hook['id']}", {"status": "active"})
    assert fail(1) == "disabled"


def test_private_hosts_and_odd_ports_are_refused_in_silence_unless_a_plugin_lifts_that(
    tmp_path: Path, receiver: Receiver
) -> None:
    with opened(WooCommerce(delivers_to_private_hosts=False), tmp_path) as shop:
        assert shop.made("webhooks", topic="order.created", delivery_url=receiver.url)["status"] == "active"
        shop.made("orders")
        assert [d["status"] for d in shop.twin.act_deliver_webhooks()] == [0]
    assert not receiver.got


def test_a_receiver_may_ask_the_shop_back_while_it_is_called(shop: Shop, receiver: Receiver, hooked: Any) -> None:
    hooked("order.created", receiver.url)
    receiver.take()
    number = shop.twin.act_order(email="back@example.com")
    asked: list[Any] = []
    receiver.on_delivery = lambda: asked.append(shop.get(f"orders/{number}")["id"])
    shop.twin.act_deliver_webhooks()
    assert asked == [number]


def test_the_control_door_plays_people_and_shows_everything(shop: Shop) -> None:
    def do(action: str, **args: Any) -> Any:
        return shop.http.post("/_sandbox/do", json={"action": action, "args": args}).json()

    customer = do("register", email="door@example.com", consent="0")
    order = do("order", customer_id=customer, consent_tick="1")
    do("tick", customer="door@example.com", value="1")
    do("deliver_webhooks")
    state = shop.http.get("/_sandbox/state").json()
    found = next(c for c in state["customers"] if c["id"] == customer)
    assert {m["key"]: m["value"] for m in found["meta_data"]} == {"newsletter_optin": "1"}
    bought = next(o for o in state["orders"] if o["id"] == order)
    assert [(m["key"], m["value"]) for m in bought["meta_data"]] == [("newsletter_optin", "1")]
    assert {"to": "door@example.com", "kind": "customer_new_account"} in state["mails"]


# Size


def test_sixty_thousand_orders_stream_in_order(tmp_path: Path) -> None:
    twin = WooCommerce()
    world = invent(customers=1000, orders=6000)
    twin.from_world(replace(world, orders=world.orders * 10))
    seen: list[int] = []
    with opened(twin, tmp_path) as shop:
        for page in range(1, 602):
            rows = shop.get("orders", orderby="id", order="asc", per_page=100, page=page, _fields="id")
            seen += [row["id"] for row in rows]
    assert len(seen) == 60_000
    assert seen == sorted(seen)
