"""The WooCommerce twin under the official Python client: what passes and fails there must do so here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from woocommerce import API

from sandbox.server import serve
from sandbox.woocommerce import Key, WooCommerce
from sandbox.world import invent

KEYS = {"consumer_key": "ck_sandbox", "consumer_secret": "cs_sandbox"}


@pytest.fixture(scope="module")
def twin() -> WooCommerce:
    twin = WooCommerce(keys=[Key("ck_sandbox", "cs_sandbox"), Key("ck_read", "cs_read", "read")])
    twin.from_world(invent(customers=60, orders=230))
    return twin


@pytest.fixture(scope="module", params=["plain http, OAuth 1.0a", "TLS, Basic", "TLS, query keys"])
def api(request: pytest.FixtureRequest, twin: WooCommerce, tmp_path_factory: pytest.TempPathFactory) -> Iterator[API]:
    """The same shop by each of the three ways in that the client knows."""
    if request.param.startswith("plain"):
        with serve(twin) as running:
            yield API(url=running.url, **KEYS, version="wc/v3")
        return
    with serve(twin, tls_folder=tmp_path_factory.mktemp("tls")) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_file))
        yield API(url=running.url, **KEYS, version="wc/v3", query_string_auth="query" in request.param)


@pytest.fixture(scope="module")
def plain(twin: WooCommerce) -> Iterator[API]:
    with serve(twin) as running:
        yield API(url=running.url, **KEYS, version="wc/v3")


def test_every_order_once_page_by_page(api: API, twin: WooCommerce) -> None:
    seen: list[int] = []
    page = 1
    while True:
        answer = api.get("orders", params={"per_page": 100, "page": page, "orderby": "id", "order": "asc"})
        assert answer.status_code == 200, answer.text
        seen += [order["id"] for order in answer.json()]
        if page >= int(answer.headers["X-WP-TotalPages"]):
            break
        page += 1
    assert page == 3
    assert seen == sorted(number for number, order in twin.shop.orders.items() if order.status != "trash")


def test_a_customer_is_made_found_changed_and_deleted(api: API) -> None:
    made = api.post("customers", {"email": "Asa@client.example", "first_name": "Åsa & Co"}).json()
    assert made["first_name"] == "Åsa &amp; Co"
    [found] = api.get("customers", params={"email": "ASA@client.example"}).json()
    assert found["id"] == made["id"]
    meta = [{"key": "newsletter_optin", "value": "1"}]
    changed = api.put(f"customers/{made['id']}", {"meta_data": meta}).json()
    assert [(m["key"], m["value"]) for m in changed["meta_data"]][-1] == ("newsletter_optin", "1")
    assert api.delete(f"customers/{made['id']}").status_code == 501
    assert api.delete(f"customers/{made['id']}", params={"force": True}).json()["id"] == made["id"]
    assert api.get(f"customers/{made['id']}").status_code == 404


def test_a_batch_with_a_failure_inside(api: API) -> None:
    asked = {"create": [{"email": "one@client.example"}, {"email": "ONE@client.example"}], "delete": []}
    done = api.post("customers/batch", asked).json()
    assert done["create"][1]["error"]["code"] == "registration-error-email-exists"
    gone = api.post("customers/batch", {"delete": [done["create"][0]["id"]]}).json()
    assert gone["delete"][0]["email"] == "one@client.example"


def test_an_incremental_read_finds_what_changed(api: API, twin: WooCommerce) -> None:
    before = max(order.modified for order in twin.shop.orders.values())
    twin.act_wait(5)
    number = twin.act_order(email="kund@client.example")
    query = {"modified_after": before.isoformat(), "dates_are_gmt": "true", "orderby": "modified", "order": "asc"}
    assert [order["id"] for order in api.get("orders", params=query).json()] == [number]


@pytest.mark.parametrize("search", ["Öberg", "a,b", "10:30", "50 % & mer", "a+b"])
def test_awkward_values_pass_the_signature(api: API, search: str) -> None:
    assert api.get("customers", params={"search": search}).status_code == 200


def test_a_list_parameter_has_an_invalid_signature_over_plain_http_and_works_joined(plain: API) -> None:
    refused = plain.get("orders", params={"include": [20, 21, 22]})
    assert refused.status_code == 401
    assert refused.json()["message"].startswith("Invalid signature")
    numbers = [order["id"] for order in plain.get("orders", params={"per_page": 3}).json()]
    joined = plain.get("orders", params={"include": ",".join(map(str, numbers))})
    assert [order["id"] for order in joined.json()] == numbers


def test_a_read_key_reads_and_does_not_write(plain: API) -> None:
    reader = API(url=plain.url, consumer_key="ck_read", consumer_secret="cs_read", version="wc/v3")
    assert reader.get("orders").status_code == 200
    refused = reader.post("orders", {})
    assert (refused.status_code, refused.json()["code"]) == (401, "woocommerce_rest_authentication_error")


def test_an_https_shop_that_hides_tls_answers_as_if_no_key_had_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(WooCommerce(believes_tls=False), tls_folder=tmp_path) as running:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.ca_file))
        refused: Any = json.loads(API(url=running.url, **KEYS, version="wc/v3").get("orders").text)
        assert refused["code"] == "woocommerce_rest_cannot_view"
