"""The official Python client works against the twin as it does against the platform."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import httpx
import mailchimp_marketing
import pytest
from mailchimp_marketing.api_client import ApiClientError

from sandbox.mailchimp import KEY, LIST_ID, Mailchimp
from sandbox.server import serve

ANN = "ann@example.com"
HASH = hashlib.md5(ANN.encode()).hexdigest()


@pytest.fixture(scope="module")
def official() -> Iterator[Any]:
    """The client on a twin that all tests of this file share."""
    with pytest.MonkeyPatch.context() as environment, serve(Mailchimp(batch_seconds=0.05)) as running:
        environment.setenv("NO_PROXY", "127.0.0.1")
        client = mailchimp_marketing.Client({"api_key": KEY, "server": ""})
        client.api_client.host = f"{running.url}/3.0"
        yield client


def member(**more: Any) -> dict[str, Any]:
    return {"email_address": ANN, "status": "subscribed"} | more


def problem(refused: pytest.ExceptionInfo[ApiClientError]) -> Any:
    return json.loads(refused.value.text)


def test_ping_and_root(official: Any) -> None:
    assert official.ping.get() == {"health_status": "Everything's Chimpy!"}
    assert official.root.get_root()["account_name"]


def test_an_access_token_works_like_a_key(official: Any) -> None:
    client = mailchimp_marketing.Client({"access_token": KEY, "server": ""})
    client.api_client.host = official.api_client.host
    assert client.ping.get()["health_status"]
    client.set_config({"access_token": "wrong", "server": ""})
    with pytest.raises(ApiClientError) as refused:
        client.ping.get()
    assert problem(refused)["title"] == "API Key Invalid"


def test_lists_and_merge_fields(official: Any) -> None:
    assert [x["id"] for x in official.lists.get_all_lists()["lists"]] == [LIST_ID]
    assert official.lists.get_list(LIST_ID, include_total_contacts=True)["stats"]["total_contacts"] >= 0
    made = official.lists.add_list_merge_field(LIST_ID, {"tag": "SPEND", "name": "Spend", "type": "number"})
    assert official.lists.update_list_merge_field(LIST_ID, made["merge_id"], {"name": "Spent"})["name"] == "Spent"
    assert official.lists.get_list_merge_fields(LIST_ID, count=100)["total_items"] == 6
    official.lists.delete_list_merge_field(LIST_ID, made["merge_id"])
    assert official.lists.get_list_merge_fields(LIST_ID)["total_items"] == 5


def test_members_and_tags(official: Any) -> None:
    lists = official.lists
    assert lists.add_list_member(LIST_ID, member(tags=["first"]))["id"] == HASH
    with pytest.raises(ApiClientError) as refused:
        lists.add_list_member(LIST_ID, member())
    assert (refused.value.status_code, problem(refused)["title"]) == (400, "Member Exists")
    changed = lists.set_list_member(LIST_ID, HASH, {"email_address": ANN, "status_if_new": "transactional", "vip": True})
    assert (changed["status"], changed["vip"]) == ("subscribed", True)
    assert lists.update_list_member(LIST_ID, HASH, {"status": "unsubscribed"})["status"] == "unsubscribed"
    tags = {"tags": [{"name": "first", "status": "inactive"}, {"name": "second", "status": "active"}]}
    assert lists.update_list_member_tags(LIST_ID, HASH, tags).status_code == 204
    assert [t["name"] for t in lists.get_list_member_tags(LIST_ID, HASH)["tags"]] == ["second"]
    assert lists.tag_search(LIST_ID, name="sec")["total_items"] == 1
    found = lists.get_list_members_info(LIST_ID, status="unsubscribed", fields=["members.email_address", "total_items"])
    assert found == {"members": [{"email_address": ANN}], "total_items": 1}
    assert lists.get_list_members_info(LIST_ID, since_last_changed="2020-01-01T00:00:00+00:00")["total_items"] == 1
    assert lists.create_list_member_event(LIST_ID, HASH, {"name": "page_viewed"}).status_code == 204
    assert lists.get_list_member_activity_feed(LIST_ID, HASH)["email_id"] == HASH
    lists.delete_list_member(LIST_ID, HASH)
    assert lists.get_list_member(LIST_ID, HASH)["status"] == "archived"
    lists.delete_list_member_permanent(LIST_ID, HASH)
    with pytest.raises(ApiClientError) as refused:
        lists.get_list_member(LIST_ID, HASH)
    assert refused.value.status_code == 404


def test_batch_members(official: Any) -> None:
    people = [{"email_address": f"b{n}@example.com", "status": "transactional"} for n in range(3)]
    done = official.lists.batch_list_members(LIST_ID, {"members": [*people, people[0]], "update_existing": True})
    assert (done["total_created"], done["error_count"]) == (3, 1)


def test_batches(official: Any) -> None:
    body = json.dumps({"email_address": "late@example.com", "status": "subscribed"})
    operations = [
        {"method": "POST", "path": f"/lists/{LIST_ID}/members", "operation_id": "add", "body": body},
        {"method": "GET", "path": f"/lists/{LIST_ID}/members/nobody", "operation_id": "look"},
    ]
    batch = official.batches.start({"operations": operations})
    while batch["status"] != "finished":
        time.sleep(0.01)
        batch = official.batches.status(batch["id"])
    assert (batch["total_operations"], batch["errored_operations"]) == (2, 1)
    packed = httpx.get(batch["response_body_url"], trust_env=False).content
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        files = [tar.extractfile(one) for one in tar if one.isfile()]
        results = [result for file in files if file for result in json.loads(file.read())]
    assert {r["operation_id"]: r["status_code"] for r in results} == {"add": 200, "look": 404}
    assert official.batches.list()["total_items"] == 1
    official.batches.delete_request(batch["id"])
    assert official.batches.list()["total_items"] == 0


def test_ecommerce(official: Any) -> None:
    shop = official.ecommerce
    shop.add_store({"id": "shop", "list_id": LIST_ID, "name": "Shop", "currency_code": "EUR", "is_syncing": True})
    shop.add_store_product("shop", {"id": "p", "title": "Mug", "variants": [{"id": "v", "title": "Blue"}]})
    shop.add_product_variant("shop", "p", "v2", {"id": "v2", "title": "Red"})
    shop.update_product_variant("shop", "p", "v2", {"price": 3})
    customer = {"id": "c", "email_address": "buyer@example.com", "opt_in_status": False}
    assert shop.set_store_customer("shop", "c", customer)["orders_count"] == 0
    line = {"id": "1", "product_id": "p", "product_variant_id": "v2", "quantity": 1, "price": 3}
    order = {"id": "o", "customer": {"id": "c"}, "currency_code": "EUR", "order_total": 3, "lines": [line]}
    shop.add_store_order("shop", order)
    with pytest.raises(ApiClientError) as refused:
        shop.add_store_order("shop", order)
    assert "already exists in the account" in problem(refused)["detail"]
    assert shop.update_order("shop", "o", {"financial_status": "refunded", "order_total": 0})["order_total"] == 0
    assert shop.get_store_orders("shop", count=100)["total_items"] == 1
    assert shop.orders()["orders"][0]["customer"]["email_address"] == "buyer@example.com"
    shop.add_store_cart("shop", order | {"id": "k"})
    shop.delete_store_cart("shop", "k")
    rule = {"id": "r", "description": "5 off", "amount": 5, "type": "fixed", "target": "total"}
    shop.add_promo_rules("shop", rule)
    shop.add_promo_code("shop", "r", {"id": "five", "code": "FIVE", "redemption_url": "https://shop.example"})
    assert shop.get_promo_codes("r", "shop")["total_items"] == 1
    assert shop.update_store("shop", {"is_syncing": False})["is_syncing"] is False
    shop.delete_store("shop")
    assert shop.stores()["total_items"] == 0
