"""The Shopify twin's rules, over real HTTP. What recordings show is in test_shopify_recordings; here is what the facts say."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from sandbox.server import Fault, Running, serve
from sandbox.shopify import SCOPES, Setup, Shopify
from sandbox.world import invent

TOKEN = {"X-Shopify-Access-Token": "shpat_sandbox"}
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclass
class Shop:
    twin: Shopify
    running: Running
    version: str = "2026-07"

    def post(self, query: str, variables: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
        address = f"{self.running.url}/admin/api/{self.version}/graphql.json"
        return httpx.post(
            address, json={"query": query, "variables": variables or {}}, headers=TOKEN | (headers or {}), timeout=60
        )

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self.post(query, variables).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def error(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.post(query, variables)
        assert answer.status_code == 200
        (found,) = answer.json()["errors"]
        return found

    def refused(self, query: str, **variables: Any) -> list[dict[str, Any]]:
        (payload,) = self.ask(query, **variables).values()
        return payload["userErrors"]

    def token(self, **asked: str) -> httpx.Response:
        keys = {"client_id": "sandbox-client", "client_secret": "shpss_sandbox"}
        return httpx.post(f"{self.running.url}/admin/oauth/access_token", data=keys | asked)


@contextlib.contextmanager
def opened(setup: Setup | None = None, *, version: str = "2026-07", **arguments: Any) -> Iterator[Shop]:
    twin = Shopify(setup, **({"clock": lambda: NOW} | arguments))
    with serve(twin) as running:
        yield Shop(twin, running, version)


@pytest.fixture
def shop() -> Iterator[Shop]:
    with opened() as shop:
        yield shop


@pytest.fixture(scope="module")
def town() -> Iterator[Shop]:
    """A shop full of people, which tests only read."""
    with opened() as shop:
        shop.twin.from_world(invent(customers=120, orders=200, now=NOW))
        yield shop


# The way in


def test_a_wrong_token_gets_a_text_for_errors(shop: Shop) -> None:
    answer = shop.post("{ shop { id } }", headers={"X-Shopify-Access-Token": "shpat_wrong"})
    assert answer.status_code == 401
    assert answer.json() == {"errors": "[API] Invalid API key or access token (unrecognized login or wrong password)"}


@pytest.mark.parametrize(("asked", "answered"), [("2026-07", "2026-07"), ("2025-10", "2025-10"), ("2024-01", "2025-10")])
def test_an_expired_version_falls_forward_to_the_oldest_one(shop: Shop, asked: str, answered: str) -> None:
    shop.version = asked
    assert shop.post("{ shop { id } }").headers["X-Shopify-API-Version"] == answered


@pytest.mark.parametrize("status", [402, 403, 404, 423, 430])
def test_a_shop_that_is_closed_says_so_to_every_call(shop: Shop, status: int) -> None:
    shop.twin.act_switch(frozen=status)
    answer = shop.post("{ shop { id } }")
    assert answer.status_code == status
    assert isinstance(answer.json()["errors"], str)


def test_a_redirect_on_demand(shop: Shop) -> None:
    shop.running.door.faults.append(Fault("redirect", location="https://lilla-butiken.example/password"))
    assert shop.post("{ shop { id } }").status_code == 302
    assert shop.post("{ shop { id } }").status_code == 200


def test_client_credentials_give_a_token_for_a_day(shop: Shop) -> None:
    made = shop.token(grant_type="client_credentials").json()
    assert made["expires_in"] == 86399
    assert made["scope"] == ",".join(SCOPES)
    mine = {"X-Shopify-Access-Token": made["access_token"]}
    assert shop.post("{ shop { id } }", headers=mine).status_code == 200
    shop.twin.act_wait(86400)
    assert shop.post("{ shop { id } }", headers=mine).status_code == 401


def test_a_refresh_token_works_until_its_successor_is_first_used(shop: Shop) -> None:
    first = shop.token(grant_type="refresh_token", refresh_token="shprt_sandbox").json()
    again = shop.token(grant_type="refresh_token", refresh_token="shprt_sandbox")  # the answer was lost
    assert again.status_code == 200
    assert shop.token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json() == {
        "error": "invalid_grant",
        "error_description": "The refresh token is invalid or expired.",
    }
    newest = again.json()["refresh_token"]
    assert shop.token(grant_type="refresh_token", refresh_token=newest).status_code == 200
    assert shop.token(grant_type="refresh_token", refresh_token="shprt_sandbox").status_code == 400


def test_a_wrong_client_secret_is_refused(shop: Shop) -> None:
    answer = shop.token(grant_type="client_credentials", client_secret="wrong")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def test_uninstalling_kills_all_tokens(shop: Shop) -> None:
    shop.twin.act_uninstall()
    assert shop.post("{ shop { id } }").status_code == 401


# Scopes and protected data


def test_a_missing_scope_is_denied_beside_the_rest(shop: Shop) -> None:
    shop.twin.act_set_scopes(["read_customers"])
    answer = shop.post('{ shop { name } order(id: "gid://shopify/Order/1") { id } }').json()
    assert answer["data"] == {"shop": {"name": "Lilla Butiken & Co"}, "order": None}
    assert answer["errors"][0]["message"] == "Access denied for order field. Required access: `read_orders` access scope."
    assert answer["errors"][0]["extensions"]["code"] == "ACCESS_DENIED"
    handles = shop.ask("{ currentAppInstallation { accessScopes { handle } } }")["currentAppInstallation"]["accessScopes"]
    assert handles == [{"handle": "read_customers"}]


def test_a_write_scope_includes_reading(shop: Shop) -> None:
    shop.twin.act_set_scopes(["write_customers"])
    assert shop.ask("{ customers(first: 1) { nodes { id } } }") == {"customers": {"nodes": []}}


def test_protected_data_is_hidden_or_denied(shop: Shop) -> None:
    shop.twin.act_register("anna@example.com", first_name="Anna")
    query = "{ customers(first: 1) { nodes { firstName state defaultEmailAddress { emailAddress } } } }"
    shop.twin.act_switch(redacts_customers=True)
    (seen,) = shop.ask(query)["customers"]["nodes"]
    assert seen == {"firstName": None, "state": "ENABLED", "defaultEmailAddress": None}
    shop.twin.act_switch(redacts_customers=False, refuses_protected=True)
    assert {e["extensions"]["code"] for e in shop.post(query).json()["errors"]} == {"ACCESS_DENIED"}


# Cost


def test_the_bucket_empties_and_fills_again(shop: Shop) -> None:
    query = "{ customers(first: 250) { nodes { id } } }"
    cost = shop.post(query).json()["extensions"]["cost"]
    assert cost["requestedQueryCost"] == 13
    assert cost["throttleStatus"] == {"maximumAvailable": 2000, "currentlyAvailable": 1998, "restoreRate": 100}
    shop.twin.act_drain_bucket(leaving=5)
    answer = shop.post(query)
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["extensions"]["code"] == "THROTTLED"
    assert answer.json()["extensions"]["cost"]["actualQueryCost"] is None
    assert "data" not in answer.json()
    shop.twin.act_wait(1)
    assert shop.post(query).json()["data"] == {"customers": {"nodes": []}}


def test_throttling_may_come_as_429(shop: Shop) -> None:
    shop.twin.act_switch(throttled_status=429)
    shop.twin.act_drain_bucket()
    assert shop.post("{ shop { id } }").status_code == 429


def test_a_query_may_not_cost_more_than_1000(shop: Shop) -> None:
    inner = "lineItems(first: 250) { nodes { id product { id variants(first: 250) { nodes { id } } } } }"
    found = shop.error(f"{{ orders(first: 250) {{ nodes {{ id {inner} }} }} }}")
    assert found["extensions"]["code"] == "MAX_COST_EXCEEDED"
    assert found["extensions"]["maxCost"] == 1000


# Lists


def test_pages_hold_every_customer_once(town: Shop) -> None:
    query = (
        "query($after: String) { customers(first: 50, after: $after, sortKey: UPDATED_AT)"
        " { nodes { id updatedAt } pageInfo { hasNextPage endCursor } } }"
    )
    seen: list[dict[str, str]] = []
    after = None
    while True:
        page = town.ask(query, after=after)["customers"]
        seen += page["nodes"]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert {one["id"] for one in seen} == {one.id for one in town.twin.shop.customers.values()}
    assert len(seen) == len(town.twin.shop.customers)
    assert [one["updatedAt"] for one in seen] == sorted(one["updatedAt"] for one in seen)


def test_a_page_has_250_at_most(town: Shop) -> None:
    assert town.error("{ customers(first: 251) { nodes { id } } }")["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("query", "test"),
    [
        ("updated_at:>='2026-09-01T00:00:00Z'", lambda c: c.updated_at >= datetime(2026, 9, 1, tzinfo=UTC)),
        ("updated_at:<2026-01-01", lambda c: c.updated_at < datetime(2026, 1, 1, tzinfo=UTC)),
        ("state:DISABLED", lambda c: c.state == "DISABLED"),
        ("accepts_marketing:true", lambda c: c.email_consent.state == "SUBSCRIBED"),
        ("tag:stammkund -state:disabled", lambda c: "stammkund" in c.tags),
        ("tag_not:stammkund", lambda c: "stammkund" not in c.tags),
        ("email:*@example.com OR email:*@example.org", lambda c: c.email.lower().endswith(("example.com", "example.org"))),
        ("emailMarketingConsent.marketingState:SUBSCRIBED", lambda c: True),
        ("-(state:ENABLED AND tag:stammkund)", lambda c: not (c.state == "ENABLED" and "stammkund" in c.tags)),
    ],
)
def test_filters_of_customers(town: Shop, query: str, test: Any) -> None:
    data = town.ask("query($q: String) { customers(first: 250, query: $q) { nodes { id } } }", q=query)
    assert {one["id"] for one in data["customers"]["nodes"]} == {c.id for c in town.twin.shop.customers.values() if test(c)}


def test_an_unknown_filter_is_ignored_with_a_warning(town: Shop) -> None:
    answer = town.post('{ customers(first: 5, query: "colour:green") { nodes { id } } }').json()
    assert len(answer["data"]["customers"]["nodes"]) == 5
    (note,) = answer["extensions"]["search"]
    assert note["warnings"] == [{"field": "colour", "message": "Invalid search field for this query.", "code": "invalid_field"}]


def test_a_count_ends_at_its_limit(town: Shop) -> None:
    everybody = len(town.twin.shop.customers)
    assert town.ask("{ customersCount(limit: 100) { count precision } }")["customersCount"] == {
        "count": 100,
        "precision": "AT_LEAST",
    }
    assert town.ask("{ customersCount(limit: null) { count precision } }")["customersCount"] == {
        "count": everybody,
        "precision": "EXACT",
    }


def test_what_was_just_written_may_not_be_found_yet(shop: Shop) -> None:
    shop.twin.act_switch(index_seconds=30)
    shop.twin.act_register("anna@example.com")
    query = '{ customers(first: 5, query: "email:anna@example.com") { nodes { id } } }'
    assert shop.ask(query)["customers"]["nodes"] == []
    assert len(shop.ask("{ customers(first: 5) { nodes { id } } }")["customers"]["nodes"]) == 1
    shop.twin.act_wait(30)
    assert len(shop.ask(query)["customers"]["nodes"]) == 1


# Orders and products


def test_orders_older_than_60_days_need_a_scope(town: Shop) -> None:
    query = "{ orders(first: 250) { nodes { createdAt } } }"
    everything = town.ask(query)["orders"]["nodes"]
    town.twin.setup.scopes = tuple(scope for scope in SCOPES if scope != "read_all_orders")
    try:
        recent = town.ask(query)["orders"]["nodes"]
    finally:
        town.twin.setup.scopes = SCOPES
    oldest = (NOW - timedelta(days=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert recent == [one for one in everything if one["createdAt"] >= oldest]
    assert 0 < len(recent) < len(everything)


def test_an_order_shows_both_currencies(shop: Shop) -> None:
    key = shop.twin.act_order(email="ny@example.com", total="110.00", currency="SEK", rate="11", discount_code="SOMMAR20")
    shop.twin.act_refund(key, "55.00")
    query = """query($id: ID!) { order(id: $id) {
        currencyCode presentmentCurrencyCode discountCodes displayFinancialStatus test
        totalPriceSet { shopMoney { amount currencyCode } presentmentMoney { amount currencyCode } }
        currentTotalPriceSet { shopMoney { amount } } totalRefundedSet { presentmentMoney { amount } }
        refunds { totalRefundedSet { shopMoney { amount } } refundLineItems(first: 5) { nodes { quantity } } }
        customer { state defaultEmailAddress { emailAddress marketingState } amountSpent { amount currencyCode } }
    } }"""
    assert shop.ask(query, id=f"gid://shopify/Order/{key}")["order"] == {
        "currencyCode": "EUR",
        "presentmentCurrencyCode": "SEK",
        "discountCodes": ["SOMMAR20"],
        "displayFinancialStatus": "PARTIALLY_REFUNDED",
        "test": False,
        "totalPriceSet": {
            "shopMoney": {"amount": "10.0", "currencyCode": "EUR"},
            "presentmentMoney": {"amount": "110.0", "currencyCode": "SEK"},
        },
        "currentTotalPriceSet": {"shopMoney": {"amount": "5.0"}},
        "totalRefundedSet": {"presentmentMoney": {"amount": "55.0"}},
        "refunds": [{"totalRefundedSet": {"shopMoney": {"amount": "5.0"}}, "refundLineItems": {"nodes": []}}],
        "customer": {
            "state": "DISABLED",
            "defaultEmailAddress": {"emailAddress": "ny@example.com", "marketingState": "NOT_SUBSCRIBED"},
            "amountSpent": {"amount": "5.0", "currencyCode": "EUR"},
        },
    }


def test_an_order_without_an_address_has_no_customer(shop: Shop) -> None:
    key = shop.twin.act_order()
    assert shop.ask("query($id: ID!) { order(id: $id) { email customer { id } } }", id=f"gid://shopify/Order/{key}") == {
        "order": {"email": None, "customer": None}
    }


def test_a_deleted_product_is_gone_from_the_line(town: Shop) -> None:
    query = "{ orders(first: 250) { nodes { lineItems(first: 10) { nodes { title product { id } variant { id } } } } } }"
    lines = [line for order in town.ask(query)["orders"]["nodes"] for line in order["lineItems"]["nodes"]]
    assert any(line["product"] is None and line["variant"] is None and line["title"] for line in lines)
    assert any(line["product"] and line["variant"] for line in lines)


def test_discounts_are_found_by_code_and_status(town: Shop) -> None:
    query = """{ discountNodes(first: 5, query: "method:code AND status:active AND code:SOMMAR20") { nodes { id discount {
        ... on DiscountCodeBasic { status codes(first: 5) { nodes { code } }
            customerGets { value { ... on DiscountPercentage { percentage } } } } } } } }"""
    (found,) = town.ask(query)["discountNodes"]["nodes"]
    assert found["discount"] == {
        "status": "ACTIVE",
        "codes": {"nodes": [{"code": "SOMMAR20"}]},
        "customerGets": {"value": {"percentage": 0.2}},
    }


def test_node_opens_nothing_that_is_shut(shop: Shop) -> None:
    key = shop.twin.act_register("anna@example.com")
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { id ... on Customer { state } } }"
    ids = [f"gid://shopify/Customer/{key}", "gid://shopify/Customer/999999999999"]
    assert shop.ask(query, ids=ids)["nodes"] == [{"id": ids[0], "state": "ENABLED"}, None]
    shop.twin.act_set_scopes(["read_products"])
    assert shop.error(query, ids=ids[:1])["extensions"]["code"] == "ACCESS_DENIED"


# Consent, tags, metafields

CONSENT = """mutation($input: CustomerEmailMarketingConsentUpdateInput!) { customerEmailMarketingConsentUpdate(input: $input) {
    customer { defaultEmailAddress { marketingState marketingOptInLevel marketingUpdatedAt } } userErrors { field message code }
} }"""


def consent(key: int, state: str, level: str | None = "SINGLE_OPT_IN", at: str | None = None) -> dict[str, Any]:
    said = {"marketingState": state, "marketingOptInLevel": level, "consentUpdatedAt": at}
    asked = {name: value for name, value in said.items() if value}
    return {"customerId": f"gid://shopify/Customer/{key}", "emailMarketingConsent": asked}


@pytest.mark.parametrize("is_ignored", [False, True])
def test_an_older_consent_overwrites_or_is_ignored(shop: Shop, is_ignored: bool) -> None:
    shop.twin.act_switch(old_consent_ignored=is_ignored)
    key = shop.twin.act_register("anna@example.com", consent="SUBSCRIBED")
    data = shop.ask(CONSENT, input=consent(key, "UNSUBSCRIBED", at="2020-01-01T00:00:00Z"))
    shown = data["customerEmailMarketingConsentUpdate"]["customer"]["defaultEmailAddress"]["marketingState"]
    assert shown == ("SUBSCRIBED" if is_ignored else "UNSUBSCRIBED")


@pytest.mark.parametrize("state", ["NOT_SUBSCRIBED", "REDACTED", "INVALID"])
def test_only_three_states_are_accepted(shop: Shop, state: str) -> None:
    key = shop.twin.act_register("anna@example.com")
    found = shop.error(CONSENT, input=consent(key, state))
    assert (found["message"], found["extensions"]) == (
        f"Cannot specify {state} as a marketing state input",
        {"code": "INVALID"},
    )


def test_tags_are_added_and_the_list_is_replaced(shop: Shop) -> None:
    gid = f"gid://shopify/Customer/{shop.twin.act_register('anna@example.com')}"
    node = "node { ... on Customer { tags } } userErrors { message }"
    shop.ask(f'mutation($id: ID!) {{ tagsAdd(id: $id, tags: ["vip", "email-bounced"]) {{ {node} }} }}', id=gid)
    data = shop.ask(f'mutation($id: ID!) {{ tagsRemove(id: $id, tags: "VIP") {{ {node} }} }}', id=gid)
    assert data["tagsRemove"]["node"]["tags"] == ["email-bounced"]
    update = "mutation($input: CustomerInput!) { customerUpdate(input: $input) { customer { tags } userErrors { message } } }"
    data = shop.ask(update, input={"id": gid, "tags": ["new"]})
    assert data["customerUpdate"]["customer"]["tags"] == ["new"]


def test_metafields_are_set_all_or_none(shop: Shop) -> None:
    gid = f"gid://shopify/Customer/{shop.twin.act_register('anna@example.com')}"
    query = (
        "mutation($all: [MetafieldsSetInput!]!) { metafieldsSet(metafields: $all) { metafields { key } userErrors { code } } }"
    )
    good = {"ownerId": gid, "key": "bounced_at", "type": "date_time", "value": "2026-11-01T10:00:00Z"}
    assert shop.refused(query, all=[good, good | {"key": "other", "value": "yesterday"}]) == [{"code": "INVALID_VALUE"}]
    read = 'query($id: ID!) { customer(id: $id) { metafield(key: "bounced_at") { namespace value compareDigest } } }'
    assert shop.ask(read, id=gid)["customer"]["metafield"] is None
    assert shop.refused(query, all=[good]) == []
    held = shop.ask(read, id=gid)["customer"]["metafield"]
    assert held["value"] == "2026-11-01T10:00:00Z"
    assert shop.refused(query, all=[good | {"compareDigest": "stale"}]) == [{"code": "STALE_OBJECT"}]
    assert shop.refused(query, all=[good | {"compareDigest": held["compareDigest"]}]) == []
    assert shop.refused(query, all=[good] * 26) == [{"code": "LESS_THAN_OR_EQUAL_TO"}]


def test_customers_with_orders_stay(shop: Shop) -> None:
    shop.twin.act_order(email="anna@example.com")
    person = shop.twin.shop.by_email("anna@example.com")
    assert person is not None
    query = "mutation($input: CustomerDeleteInput!) { customerDelete(input: $input) { userErrors { field message } } }"
    assert shop.refused(query, input={"id": person.id}) == [
        {"field": ["id"], "message": "Customer can’t be deleted because they have associated orders"}
    ]


# Bulk operations

RUN = """mutation($q: String!, $grouped: Boolean!) { bulkOperationRunQuery(query: $q, groupObjects: $grouped) {
    bulkOperation { id status } userErrors { field message code } } }"""
POLL = "query($id: ID!) { bulkOperation(id: $id) { status errorCode objectCount rootObjectCount fileSize url partialDataUrl } }"
PEOPLE = "{ customers { edges { node { id orders { edges { node { id lineItems { edges { node { id title } } } } } } } } } }"


def bulk(shop: Shop, query: str = PEOPLE, *, grouped: bool = False) -> dict[str, Any]:
    shop.twin.act_hold_bulk()
    made = shop.ask(RUN, q=query, grouped=grouped)["bulkOperationRunQuery"]
    assert made["userErrors"] == []
    shop.twin.act_finish_bulk()
    return shop.ask(POLL, id=made["bulkOperation"]["id"])["bulkOperation"]


def lines(url: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in httpx.get(url).text.splitlines()]


@pytest.mark.parametrize("grouped", [False, True])
def test_a_bulk_operation_holds_everything(town: Shop, grouped: bool) -> None:
    done = bulk(town, grouped=grouped)
    assert (done["status"], done["errorCode"]) == ("COMPLETED", None)
    found = lines(done["url"])
    assert done["objectCount"] == str(len(found))
    assert done["rootObjectCount"] == str(len(town.twin.shop.customers))
    parents = {line["id"]: at for at, line in enumerate(found)}
    children = [(at, line) for at, line in enumerate(found) if "__parentId" in line]
    assert all(parents[line["__parentId"]] < at for at, line in children)
    assert all(line["id"].startswith("gid://shopify/Customer/") for line in found if "__parentId" not in line)
    sold = sum(len(order.lines) for order in town.twin.shop.orders.values() if order.customer_key)
    assert sum("title" in line for line in found) == sold
    if not grouped:
        assert any(found[at - 1]["id"] != line["__parentId"] and "__parentId" not in found[at - 1] for at, line in children)


def test_grouping_was_the_default_before_2026(shop: Shop) -> None:
    query = "mutation($q: String!) { bulkOperationRunQuery(query: $q) { bulkOperation { id } } }"
    shop.twin.act_hold_bulk()
    for version, is_grouped in (("2025-10", True), ("2026-01", False)):
        shop.version = version
        shop.ask(query, q="{ customers { edges { node { id } } } }")
        assert list(shop.twin.bulk.operations.values())[-1].group_objects is is_grouped
        shop.twin.act_finish_bulk()


def test_an_empty_result_has_no_address(shop: Shop) -> None:
    done = bulk(shop)
    assert (done["status"], done["objectCount"], done["url"]) == ("COMPLETED", "0", None)


def test_the_storage_wants_no_token(town: Shop) -> None:
    url = bulk(town)["url"]
    assert httpx.get(url).status_code == 200
    assert httpx.get(url, headers=TOKEN).status_code == 400
    assert town.twin.token_leaks == 1


def test_a_result_is_kept_for_a_week(shop: Shop) -> None:
    shop.twin.act_register("anna@example.com")
    url = bulk(shop)["url"]
    shop.twin.act_wait(7 * 86400)
    assert httpx.get(url).status_code == 400


def test_five_at_a_time_and_one_before_2026(shop: Shop) -> None:
    shop.twin.act_hold_bulk()
    for _ in range(5):
        assert shop.refused(RUN, q=PEOPLE, grouped=False) == []
    (refusal,) = shop.refused(RUN, q=PEOPLE, grouped=False)
    assert refusal["code"] == "OPERATION_IN_PROGRESS"
    shop.twin.act_finish_bulk()
    shop.version = "2025-10"
    assert shop.refused(RUN, q=PEOPLE, grouped=False) == []
    assert len(shop.refused(RUN, q=PEOPLE, grouped=False)) == 1


def test_the_old_version_cannot_ask_for_an_operation(shop: Shop) -> None:
    shop.version = "2025-10"
    found = shop.post(POLL, {"id": "gid://shopify/BulkOperation/1"}).json()["errors"][0]
    assert found["message"] == "Field 'bulkOperation' doesn't exist on type 'QueryRoot'"
    assert shop.ask("{ currentBulkOperation { id } }") == {"currentBulkOperation": None}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ shop { id } }", "Bulk queries must contain at least one connection."),
        (
            "{ orders { edges { node { id refunds { refundLineItems { edges { node { id } } } } } } } }",
            "Queries that contain a connection field within a list field are not currently supported.",
        ),
        (
            (
                "{ customers { edges { node { id orders { edges { node { id customer { orders { edges { node { id"
                " lineItems { edges { node { id } } } } } } } } } } } } } }"
            ),
            "Bulk queries cannot contain connections with a nesting depth greater than 2.",
        ),
        (
            (
                "{ customers { edges { node { id addressesV2 { edges { node { id } } } metafields { edges { node { id } } }"
                " orders { edges { node { id lineItems { edges { node { id } } } metafields { edges { node { id } } }"
                " shippingLines { edges { node { id } } } } } } } } } }"
            ),
            "Bulk queries cannot contain more than 5 connections.",
        ),
        (
            "{ customers { edges { node { email orders { edges { node { id } } } } } } }",
            (
                "The parent 'node' field for a nested connection must select the 'id' field without an alias and must be of "
                "'ID' return type. Connection fields without 'id': customers."
            ),
        ),
        (
            "{ customers { edges { node { id colour } } } }",
            "Invalid bulk query: Field 'colour' doesn't exist on type 'Customer'",
        ),
    ],
)
def test_what_a_bulk_query_may_not_be(shop: Shop, query: str, message: str) -> None:
    assert shop.refused(RUN, q=query, grouped=False) == [{"field": ["query"], "message": message, "code": "INVALID"}]


@pytest.mark.parametrize(("kind", "code"), [("fail", "INTERNAL_SERVER_ERROR"), ("timeout", "TIMEOUT")])
def test_a_failed_operation_leaves_a_part(town: Shop, kind: str, code: str) -> None:
    town.twin.act_spoil_bulk(kind)
    done = bulk(town)
    assert (done["status"], done["errorCode"], done["url"]) == ("FAILED", code, None)
    assert len(lines(done["partialDataUrl"])) == int(done["objectCount"]) > 0


def test_a_result_may_be_cut_or_doubled(town: Shop) -> None:
    whole = bulk(town)
    town.twin.act_spoil_bulk("truncate")
    cut = bulk(town)
    assert cut["objectCount"] == whole["objectCount"]
    assert len(httpx.get(cut["url"]).content) < int(cut["fileSize"])
    town.twin.act_spoil_bulk("duplicate")
    doubled = lines(bulk(town)["url"])
    assert len(doubled) > len({json.dumps(line) for line in doubled}) == int(whole["objectCount"])


def test_an_operation_without_the_scope_fails(shop: Shop) -> None:
    shop.twin.act_set_scopes(["read_customers"])
    done = bulk(shop, "{ orders { edges { node { id } } } }")
    assert (done["status"], done["errorCode"]) == ("FAILED", "ACCESS_DENIED")


def test_an_operation_may_be_canceled_or_given_up(shop: Shop) -> None:
    shop.twin.act_hold_bulk()
    made = shop.ask(RUN, q=PEOPLE, grouped=False)["bulkOperationRunQuery"]["bulkOperation"]["id"]
    cancel = "mutation($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { status } userErrors { message } } }"
    assert shop.ask(cancel, id=made)["bulkOperationCancel"]["bulkOperation"] == {"status": "CANCELING"}
    shop.twin.act_finish_bulk()
    assert shop.ask(POLL, id=made)["bulkOperation"]["status"] == "CANCELED"
    other = shop.ask(RUN, q=PEOPLE, grouped=False)["bulkOperationRunQuery"]["bulkOperation"]["id"]
    shop.twin.act_expire_bulk()
    assert shop.ask(POLL, id=other)["bulkOperation"]["status"] == "EXPIRED"


# Webhooks


@dataclass
class Receiver:
    """A server that notes what it is sent and answers `status`."""

    url: str = ""
    status: int = 200
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    here = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(here.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield here
    server.shutdown()
    server.server_close()


SUBSCRIBE = """mutation($topic: WebhookSubscriptionTopic!, $hook: WebhookSubscriptionInput!) {
    webhookSubscriptionCreate(topic: $topic, webhookSubscription: $hook) {
        webhookSubscription { id topic uri } userErrors { field message } } }"""


def test_a_webhook_is_signed_over_its_body(shop: Shop, receiver: Receiver) -> None:
    key = shop.twin.act_register("anna@example.com")
    for path in ("a", "b"):
        hook = {"uri": f"{receiver.url}/{path}"}
        assert shop.refused(SUBSCRIBE, topic="CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE", hook=hook) == []
    shop.ask(CONSENT, input=consent(key, "UNSUBSCRIBED", at="2026-11-01T10:00:00Z"))
    assert [one["status"] for one in shop.twin.act_deliver_webhooks()] == [200, 200]
    (headers, body), (others, _) = receiver.got
    signature = base64.b64encode(hmac.new(b"shpss_sandbox", body, hashlib.sha256).digest()).decode()
    assert headers["x-shopify-hmac-sha256"] == signature
    assert headers["x-shopify-topic"] == "customers_email_marketing_consent/update"
    assert headers["x-shopify-shop-domain"] == "lilla-butiken.myshopify.com"
    assert headers["x-shopify-event-id"] == others["x-shopify-event-id"]
    assert headers["x-shopify-webhook-id"] != others["x-shopify-webhook-id"]
    assert json.loads(body) == {
        "customer_id": key,
        "email_address": "anna@example.com",
        "email_marketing_consent": {
            "state": "unsubscribed",
            "opt_in_level": "single_opt_in",
            "consent_updated_at": "2026-11-01T11:00:00+01:00",
        },
    }


def test_a_subscription_ends_after_eight_failures(shop: Shop, receiver: Receiver) -> None:
    receiver.status = 500
    shop.ask(SUBSCRIBE, topic="CUSTOMERS_CREATE", hook={"uri": receiver.url})
    shop.twin.act_register("anna@example.com")
    for _ in range(7):
        shop.twin.act_deliver_webhooks()
    assert len(shop.twin.hooks.subscriptions) == 1
    shop.twin.act_deliver_webhooks()
    assert shop.twin.hooks.subscriptions == {}
    assert shop.twin.act_deliver_webhooks() == []
    assert len({headers["x-shopify-webhook-id"] for headers, _ in receiver.got}) == 1
    assert len({body for _, body in receiver.got}) == 1


def test_the_end_of_a_bulk_operation_is_told(shop: Shop, receiver: Receiver) -> None:
    shop.ask(SUBSCRIBE, topic="BULK_OPERATIONS_FINISH", hook={"uri": receiver.url})
    bulk(shop)
    shop.twin.act_deliver_webhooks()
    ((headers, body),) = receiver.got
    assert headers["x-shopify-topic"] == "bulk_operations/finish"
    assert json.loads(body)["status"] == "completed"


def test_privacy_topics_go_where_the_app_says(receiver: Receiver) -> None:
    with opened(privacy_uri=receiver.url) as shop:
        order = shop.twin.act_order(email="anna@example.com")
        shop.twin.act_privacy("customers/data_request", "anna@example.com")
        shop.twin.act_erase_person("anna@example.com")
        shop.twin.act_privacy("shop/redact")
        shop.twin.act_deliver_webhooks()
        told = [(headers["x-shopify-topic"], json.loads(body)) for headers, body in receiver.got]
        assert [topic for topic, _ in told] == ["customers/data_request", "customers/redact", "shop/redact"]
        assert told[0][1]["orders_requested"] == told[1][1]["orders_to_redact"] == [order]
        assert told[1][1]["customer"]["email"] == "anna@example.com"
        assert all(body["shop_domain"] == "lilla-butiken.myshopify.com" for _, body in told)
        (left,) = shop.ask("{ customers(first: 1) { nodes { email orders(first: 1) { nodes { email } } } } }")["customers"][
            "nodes"
        ]
        assert left == {"email": None, "orders": {"nodes": [{"email": None}]}}


def test_what_happened_is_told_once_for_each_topic(shop: Shop, receiver: Receiver) -> None:
    topics = ("CUSTOMERS_CREATE", "CUSTOMERS_UPDATE", "CUSTOMERS_MERGE", "CUSTOMERS_DELETE", "CUSTOMER_TAGS_ADDED")
    topics += ("ORDERS_CREATE", "ORDERS_PAID", "ORDERS_UPDATED", "REFUNDS_CREATE", "APP_UNINSTALLED")
    for topic in topics:
        shop.ask(SUBSCRIBE, topic=topic, hook={"uri": receiver.url})
    one, two = shop.twin.act_register("one@example.com"), shop.twin.act_register("two@example.com")
    shop.twin.act_tag(one, ["vip"])
    shop.twin.act_refund(shop.twin.act_order(customer=one))
    shop.twin.act_merge_customers(one, two)
    shop.twin.act_delete_customer(shop.twin.act_register("three@example.com"))
    shop.twin.act_uninstall()
    shop.twin.act_deliver_webhooks()
    assert [headers["x-shopify-topic"] for headers, _ in receiver.got] == [
        "customers/create",
        "customers/create",
        "customers/update",
        "customer.tags_added",
        "orders/create",
        "orders/paid",
        "refunds/create",
        "orders/updated",
        "customers/update",
        "customers/merge",
        "customers/create",
        "customers/delete",
        "app/uninstalled",
    ]


# The town


def test_the_same_world_gives_the_same_shop() -> None:
    shops = [Shopify(clock=lambda: NOW) for _ in range(2)]
    for one in shops:
        one.from_world(invent(customers=60, orders=90, now=NOW))
    first, second = (one.state() for one in shops)
    assert first == second
    assert {c["email_consent"]["state"] for c in first["customers"]} == {"SUBSCRIBED", "UNSUBSCRIBED", "NOT_SUBSCRIBED"}
    assert {o["presentment_currency_code"] for o in first["orders"]} == {"EUR", "SEK"}
    guests = [c for c in first["customers"] if c["state"] == "DISABLED"]
    assert guests
    assert any(o["customer_key"] is None for o in first["orders"])


def test_the_control_door_plays_the_people(shop: Shop) -> None:
    control = f"{shop.running.url}/_sandbox"
    do = {"action": "register", "args": {"email": "anna@example.com", "consent": "SUBSCRIBED"}}
    key = httpx.post(f"{control}/do", json=do).json()
    httpx.post(f"{control}/do", json={"action": "unsubscribe", "args": {"customer": "anna@example.com"}})
    (person,) = httpx.post(f"{control}/state", json={}).json()["customers"]
    assert (person["id"], person["email_consent"]["state"]) == (f"gid://shopify/Customer/{key}", "UNSUBSCRIBED")
