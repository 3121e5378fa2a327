"""The Mailchimp twin keeps Mailchimp's rules; each test is one group of them, over real HTTP."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import hmac
import io
import tarfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import orjson
import pytest

from sandbox.mailchimp import KEY, LIST_ID, Mailchimp
from sandbox.mailchimp import batches as mailchimp_batches
from sandbox.server import Running, serve
from sandbox.world import Contact

ANN = "ann@example.com"
MEMBERS = f"/lists/{LIST_ID}/members"


def md5(email: str) -> str:
    return hashlib.md5(email.lower().encode()).hexdigest()


def path_of(email: str) -> str:
    return f"{MEMBERS}/{md5(email)}"


_free: list[Running] = []
"""Servers that wait for their next twin: starting one for each test would take longer than all tests do."""


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with serve(Mailchimp()) as one, serve(Mailchimp()) as another:  # some tests hold two platforms at a time
        _free.extend((one, another))
        yield
        _free.clear()


@contextlib.contextmanager
def platform(**options: Any) -> Iterator[tuple[Mailchimp, httpx.Client]]:
    twin = Mailchimp(**{"batch_seconds": 0.0, "call_seconds": 0.0} | options)
    running = _free.pop()
    running.door.twin = twin
    try:
        with httpx.Client(base_url=f"{running.url}/3.0", auth=("any", KEY), trust_env=False) as client:
            yield twin, client
    finally:
        _free.append(running)


@pytest.fixture
def both() -> Iterator[tuple[Mailchimp, httpx.Client]]:
    with platform() as pair:
        yield pair


@pytest.fixture
def twin(both: tuple[Mailchimp, httpx.Client]) -> Mailchimp:
    return both[0]


@pytest.fixture
def client(both: tuple[Mailchimp, httpx.Client]) -> httpx.Client:
    return both[1]


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def step(self, **much: float) -> None:
        self.now += timedelta(**much)


def refused(answer: httpx.Response, status: int, title: str) -> str:
    """The detail of an expected problem."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json; charset=utf-8")
    body = answer.json()
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "instance"}
    assert (body["title"], body["status"]) == (title, status)
    return str(body["detail"])


def fields_of(answer: httpx.Response) -> dict[str, str]:
    refused(answer, 400, "Invalid Resource")
    return {e["field"]: e["message"] for e in answer.json()["errors"]}


def subscribe(client: httpx.Client, email: str = ANN, status: str = "subscribed", **more: Any) -> dict[str, Any]:
    answer = client.post(MEMBERS, json={"email_address": email, "status": status, **more})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def status_of(client: httpx.Client, email: str = ANN) -> str:
    return str(client.get(path_of(email)).json()["status"])


def mails(twin: Mailchimp) -> list[tuple[str, str]]:
    return [(m["kind"], m["email"]) for m in twin.state()["mails"]]


def results_of(client: httpx.Client, operations: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run a batch to its end; the batch and the results from its archive."""
    batch = client.post("/batches", json={"operations": operations}).json()
    while batch["status"] != "finished":
        time.sleep(0.005)
        batch = client.get(f"/batches/{batch['id']}").json()
    return batch, unpack(httpx.get(batch["response_body_url"], trust_env=False).content)


def unpack(packed: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        for one in tar:
            if one.isfile() and (file := tar.extractfile(one)):
                found += orjson.loads(file.read())
    return found


STORE: dict[str, Any] = {"id": "shop", "list_id": LIST_ID, "name": "Shop", "currency_code": "EUR", "domain": "shop.example"}
PRODUCT: dict[str, Any] = {"id": "p1", "title": "Mug", "variants": [{"id": "v1", "title": "Blue", "price": 9.5}]}
LINE: dict[str, Any] = {"id": "1", "product_id": "p1", "product_variant_id": "v1", "quantity": 2, "price": 9.5}
ORDER: dict[str, Any] = {
    "id": "o1",
    "customer": {"id": "c1", "email_address": ANN, "opt_in_status": False},
    "currency_code": "EUR",
    "order_total": 19,
    "lines": [LINE],
}
SHOP = "/ecommerce/stores/shop"


def open_store(client: httpx.Client, **more: Any) -> None:
    assert client.post("/ecommerce/stores", json=STORE | more).status_code == 200
    assert client.post(f"{SHOP}/products", json=PRODUCT).status_code == 200


class TestTransport:
    def test_a_key_is_asked_for_and_both_ways_of_giving_it_work(self, client: httpx.Client) -> None:
        assert client.get("/ping").json() == {"health_status": "Everything's Chimpy!"}
        nobody = httpx.Client(base_url=client.base_url, trust_env=False)
        assert "invalid" in refused(nobody.get("/ping"), 401, "API Key Invalid")
        assert refused(nobody.get("/ping", auth=("any", "wrong-us1")), 401, "API Key Invalid")
        assert refused(nobody.get("/ping", headers={"authorization": "Basic !"}), 401, "API Key Invalid")
        assert nobody.get("/ping", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
        metadata = str(client.base_url).replace("/3.0/", "/oauth2/metadata")
        assert nobody.get(metadata, headers={"authorization": f"OAuth {KEY}"}).json()["dc"] == "us1"
        assert refused(nobody.get(metadata), 401, "API Key Invalid")

    def test_unknown_paths_methods_and_broken_json_are_problems(self, client: httpx.Client) -> None:
        refused(client.get("/nowhere"), 404, "Resource Not Found")
        refused(client.get(str(client.base_url).replace("/3.0/", "/2.0/lists")), 404, "Resource Not Found")
        refused(client.get("/lists/0000000000"), 404, "Resource Not Found")
        refused(client.put("/lists", json={}), 405, "Method Not Allowed")
        refused(client.post(MEMBERS, content=b"{"), 400, "JSON Parse Error")

    def test_types_and_required_fields_are_told_one_by_one(self, client: httpx.Client) -> None:
        assert fields_of(client.post(MEMBERS, json={"status": 1, "merge_fields": [], "vip": None, "tags": [1]})) == {
            "": "Required fields were not provided: email_address",
            "status": "Schema describes string, integer found instead",
            "merge_fields": "Schema describes object, array found instead",
            "vip": "Schema describes boolean, NULL found instead",
            "tags.item:0": "Schema describes string, integer found instead",
        }
        assert fields_of(client.post(MEMBERS, json=[])) == {"": "Schema describes object, array found instead"}
        assert "status" in fields_of(client.post(MEMBERS, json={"email_address": ANN, "status": "archived"}))
        bad_time = {"email_address": ANN, "status": "subscribed", "timestamp_opt": "yesterday"}
        assert "timestamp_opt" in fields_of(client.post(MEMBERS, json=bad_time))

    def test_the_eleventh_connection_is_refused(self) -> None:
        with platform(call_seconds=0.5) as (_, client):
            codes: list[int] = []
            threads = [threading.Thread(target=lambda: codes.append(client.get("/ping").status_code)) for _ in range(11)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(codes) == [200] * 10 + [429]

    def test_an_overrun_platform_answers_without_json(self, twin: Mailchimp, client: httpx.Client) -> None:
        twin.act_busy(times=1, status=403)
        answer = client.get("/ping")
        assert (answer.status_code, answer.headers["content-type"]) == (403, "text/html; charset=utf-8")
        assert client.get("/ping").status_code == 200

    def test_a_page_has_ten_records_unless_asked_for_more_and_a_thousand_at_most(
        self, twin: Mailchimp, client: httpx.Client
    ) -> None:
        twin.load_contacts(LIST_ID, [{"email": f"p{n}@example.com"} for n in range(12)])
        page = client.get(MEMBERS).json()
        assert (len(page["members"]), page["total_items"], page["list_id"]) == (10, 12, LIST_ID)
        assert len(client.get(MEMBERS, params={"count": 1000, "offset": 10}).json()["members"]) == 2
        assert "count" in fields_of(client.get(MEMBERS, params={"count": 1001}))
        assert "offset" in fields_of(client.get(MEMBERS, params={"offset": -1}))

    def test_fields_and_exclude_fields_take_dotted_paths(self, client: httpx.Client) -> None:
        subscribe(client, merge_fields={"FNAME": "Ann"})
        asked = {"fields": "members.email_address,members.merge_fields.FNAME,total_items"}
        assert client.get(MEMBERS, params=asked).json() == {
            "members": [{"email_address": ANN, "merge_fields": {"FNAME": "Ann"}}],
            "total_items": 1,
        }
        less = client.get(path_of(ANN), params={"exclude_fields": "_links,merge_fields.FNAME,stats"}).json()
        assert not {"_links", "stats"} & set(less)
        assert set(less["merge_fields"]) == {"LNAME", "ADDRESS", "PHONE", "BIRTHDAY"}

    def test_the_account_and_its_audience_can_be_read_and_the_audience_changed(self, client: httpx.Client) -> None:
        subscribe(client)
        assert client.get("/").json()["total_subscribers"] == 1
        shown = client.get(f"/lists/{LIST_ID}", params={"include_total_contacts": "true"}).json()
        assert (shown["stats"]["member_count"], shown["stats"]["total_contacts"]) == (1, 1)
        assert client.patch(f"/lists/{LIST_ID}", json={"double_optin": True}).json()["double_optin"] is True
        assert "" in fields_of(client.post("/lists", json={"name": "New"}))
        made = client.post("/lists", json={k: shown[k] for k in NEW_LIST} | {"name": "New"}).json()
        assert [x["name"] for x in client.get("/lists").json()["lists"]] == ["Customers", "New"]
        assert client.get("/lists", params={"email": ANN}).json()["total_items"] == 1
        assert client.delete(f"/lists/{made['id']}").status_code == 204


NEW_LIST = ("contact", "permission_reminder", "campaign_defaults", "email_type_option")


class TestMembers:
    def test_a_member_is_found_by_hash_address_and_contact_id(self, client: httpx.Client) -> None:
        made = subscribe(client, "Ann@Example.com")
        assert made["id"] == md5(ANN)
        for name in (md5(ANN), "ANN@example.com", made["contact_id"]):
            assert client.get(f"{MEMBERS}/{name}").json()["email_address"] == "Ann@Example.com"
        refused(client.get(path_of("nobody@example.com")), 404, "Resource Not Found")

    def test_tags_and_permanent_deletion_take_the_hash_only(self, client: httpx.Client) -> None:
        made = subscribe(client)
        for name in (ANN, made["contact_id"]):
            tags = {"tags": [{"name": "x", "status": "active"}]}
            refused(client.post(f"{MEMBERS}/{name}/tags", json=tags), 404, "Resource Not Found")
            refused(client.post(f"{MEMBERS}/{name}/actions/delete-permanent"), 404, "Resource Not Found")

    @pytest.mark.parametrize(
        "email", ["", "ann", "ann@example", "a b@example.com", "a@b@example.com", ".a@example.com", "a@x..de"]
    )
    def test_addresses_that_cannot_be_are_refused(self, client: httpx.Client, email: str) -> None:
        answer = client.post(MEMBERS, json={"email_address": email, "status": "subscribed"})
        assert (answer.status_code, answer.json()["title"]) == (400, "Invalid Resource")
        assert email == "" or answer.json()["detail"] == "Please provide a valid email address."

    def test_fake_looking_addresses_are_refused_when_switched_on(self) -> None:
        with platform(refuse_fake_addresses=True) as (_, client):
            for email in (ANN, "test@shop.de"):
                answer = client.post(MEMBERS, json={"email_address": email, "status": "subscribed"})
                detail = f"{email} looks fake or invalid, please enter a real email address."
                assert refused(answer, 400, "Invalid Resource") == detail

    def test_post_of_a_known_address_is_refused_whatever_its_status(self, twin: Mailchimp, client: httpx.Client) -> None:
        for number, status in enumerate(("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")):
            email = f"p{number}@example.com"
            twin.load_contacts(LIST_ID, [{"email": email, "status": status}])
            answer = client.post(MEMBERS, json={"email_address": email, "status": "subscribed"})
            assert refused(answer, 400, "Member Exists") == (
                f"{email} is already a list member. Use PUT to insert or update list members."
            )

    def test_put_creates_with_status_if_new_and_then_leaves_the_status_alone(self, client: httpx.Client) -> None:
        body = {"email_address": ANN, "status_if_new": "transactional", "merge_fields": {"FNAME": "Ann"}}
        assert client.put(path_of(ANN), json=body).json()["status"] == "transactional"
        again = client.put(path_of(ANN), json=body | {"status_if_new": "subscribed", "merge_fields": {"LNAME": "B"}}).json()
        assert (again["status"], again["full_name"]) == ("transactional", "Ann B")
        assert client.put(path_of(ANN), json=body | {"status": "subscribed"}).json()["status"] == "subscribed"

    def test_put_of_a_new_address_needs_status_if_new_and_the_right_hash(self, client: httpx.Client) -> None:
        assert "status_if_new" in fields_of(client.put(path_of(ANN), json={"email_address": ANN, "status": "subscribed"}))
        other = {"email_address": ANN, "status_if_new": "subscribed"}
        assert "email_address" in fields_of(client.put(path_of("bob@example.com"), json=other))
        assert "Required" in fields_of(client.put(path_of(ANN), json={"status_if_new": "subscribed"}))[""]

    def test_put_does_not_take_tags(self, client: httpx.Client) -> None:
        body = {"email_address": ANN, "status_if_new": "subscribed", "tags": ["x"]}
        assert client.put(path_of(ANN), json=body).json()["tags"] == []

    def test_patch_cannot_make_somebody_transactional_and_needs_a_known_member(self, client: httpx.Client) -> None:
        refused(client.patch(path_of(ANN), json={"vip": True}), 404, "Resource Not Found")
        subscribe(client)
        assert "status" in fields_of(client.patch(path_of(ANN), json={"status": "transactional"}))
        assert client.patch(path_of(ANN), json={"vip": True}).json()["vip"] is True

    def test_consent_proof_is_writable_and_what_the_platform_observes_is_not(self, client: httpx.Client) -> None:
        proof = {
            "ip_signup": "192.0.2.1",
            "timestamp_signup": "2020-01-02T03:04:05+02:00",
            "ip_opt": "192.0.2.2",
            "timestamp_opt": "2020-01-03 00:00:00",
        }
        made = subscribe(client, **proof, last_changed="2000-01-01T00:00:00+00:00", unsubscribe_reason="x", source="x")
        assert made["timestamp_signup"] == "2020-01-02T01:04:05+00:00"
        assert (made["timestamp_opt"], made["ip_opt"]) == ("2020-01-03T00:00:00+00:00", "192.0.2.2")
        assert made["last_changed"] > "2026"
        assert made["source"] == "API - Generic"
        assert "unsubscribe_reason" not in made

    def test_everybody_added_has_a_timestamp_opt_but_those_who_have_to_confirm(self, client: httpx.Client) -> None:
        for status in ("subscribed", "unsubscribed", "transactional", "pending"):
            assert bool(subscribe(client, f"{status}@example.com", status)["timestamp_opt"]) is (status != "pending")

    def test_an_address_that_signs_up_everywhere_is_refused_for_a_while(self, twin: Mailchimp, client: httpx.Client) -> None:
        twin.act_throttle(ANN)
        answer = client.post(MEMBERS, json={"email_address": ANN, "status": "subscribed"})
        assert refused(answer, 400, "Invalid Resource") == (
            f"{ANN} has signed up to a lot of lists very recently; we're not allowing more signups for now"
        )
        twin.act_throttle(ANN, on=False)
        subscribe(client)

    def test_an_address_can_change_and_the_contact_stays_the_same(self, client: httpx.Client) -> None:
        made, new = subscribe(client), "ann.new@example.com"
        moved = client.patch(path_of(ANN), json={"email_address": new}).json()
        assert (moved["id"], moved["contact_id"], moved["status"]) == (md5(new), made["contact_id"], "subscribed")
        refused(client.get(path_of(ANN)), 404, "Resource Not Found")
        subscribe(client, "bob@example.com")
        client.delete(path_of("bob@example.com"))
        assert fields_of(client.patch(path_of(new), json={"email_address": "bob@example.com"})) == {
            "email address": '"bob@example.com" is already in this list with a status of "archived".'
        }

    def test_another_spelling_is_no_other_address(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        body = {"email_address": "Ann@Example.com", "status_if_new": "transactional"}
        assert client.put(path_of(ANN), json=body).json()["email_address"] == "Ann@Example.com"
        assert [m["id"] for m in twin.state()["members"]] == [md5(ANN)]

    def test_address_changes_can_be_refused_altogether(self) -> None:
        with platform(address_change_refused=True) as (_, client):
            subscribe(client)
            assert "email_address" in fields_of(client.patch(path_of(ANN), json={"email_address": "new@example.com"}))


class TestComplianceState:
    @pytest.mark.parametrize("act", ["self_unsubscribe", "complain", "clean"])
    def test_who_left_bounced_or_complained_cannot_be_subscribed_by_the_api(
        self, twin: Mailchimp, client: httpx.Client, act: str
    ) -> None:
        subscribe(client)
        getattr(twin, f"act_{act}")(ANN)
        before = status_of(client)
        put = {"email_address": ANN, "status_if_new": "subscribed", "status": "subscribed"}
        for answer in (client.put(path_of(ANN), json=put), client.patch(path_of(ANN), json={"status": "subscribed"})):
            assert refused(answer, 400, "Member In Compliance State") == (
                f"{ANN} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed."
            )
        assert status_of(client) == before
        profile = {"email_address": ANN, "status_if_new": "subscribed", "merge_fields": {"FNAME": "Ann"}}
        assert client.put(path_of(ANN), json=profile).json()["status"] == before

    def test_only_the_persons_confirmation_leads_back(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        twin.act_self_unsubscribe(ANN)
        assert client.patch(path_of(ANN), json={"status": "pending"}).json()["status"] == "pending"
        assert mails(twin)[-1] == ("confirmation", ANN)
        refused(client.patch(path_of(ANN), json={"status": "subscribed"}), 400, "Member In Compliance State")
        twin.act_confirm(ANN)
        assert status_of(client) == "subscribed"
        client.patch(path_of(ANN), json={"status": "unsubscribed"})
        assert client.patch(path_of(ANN), json={"status": "subscribed"}).status_code == 200

    def test_the_hosted_form_leads_back_too(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        twin.act_self_unsubscribe(ANN)
        twin.act_self_subscribe(ANN)
        assert status_of(client) == "subscribed"

    def test_who_was_unsubscribed_by_api_or_admin_can_be_subscribed_again(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        client.patch(path_of(ANN), json={"status": "unsubscribed"})
        assert client.patch(path_of(ANN), json={"status": "subscribed"}).json()["status"] == "subscribed"
        twin.act_admin_unsubscribe(ANN)
        assert client.patch(path_of(ANN), json={"status": "subscribed"}).json()["status"] == "subscribed"

    def test_every_unsubscribe_can_be_final(self) -> None:
        with platform(every_unsubscribe_is_final=True) as (_, client):
            subscribe(client)
            client.patch(path_of(ANN), json={"status": "unsubscribed"})
            refused(client.patch(path_of(ANN), json={"status": "subscribed"}), 400, "Member In Compliance State")

    def test_only_somebody_who_left_alone_has_a_reason(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        twin.act_admin_unsubscribe(ANN)
        assert "unsubscribe_reason" not in client.get(path_of(ANN)).json()
        subscribe(client, "bob@example.com")
        twin.act_self_unsubscribe("bob@example.com", reason="Too many mails")
        assert client.get(path_of("bob@example.com")).json()["unsubscribe_reason"] == "Too many mails"
        feed = client.get(f"{path_of('bob@example.com')}/activity-feed", params={"activity_filters": "unsub"}).json()
        assert [a["unsubscribe_reason"] for a in feed["activity"]] == ["Too many mails"]

    def test_a_complaint_leaves_an_abuse_report(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        twin.act_complain(ANN)
        assert client.get(path_of(ANN)).json()["unsubscribe_reason"] == "abuse"
        (report,) = client.get(f"/lists/{LIST_ID}/abuse-reports").json()["abuse_reports"]
        assert report["email_address"] == ANN
        assert client.get(f"/lists/{LIST_ID}/abuse-reports/{report['id']}").json()["email_id"] == md5(ANN)

    def test_a_cleaned_contact_cannot_become_merely_unsubscribed_unless_switched_on(
        self, twin: Mailchimp, client: httpx.Client
    ) -> None:
        subscribe(client, status="cleaned")
        refused(client.patch(path_of(ANN), json={"status": "unsubscribed"}), 400, "Member In Compliance State")
        with platform(cleaned_may_be_unsubscribed=True) as (_, lenient):
            subscribe(lenient, status="cleaned")
            assert lenient.patch(path_of(ANN), json={"status": "unsubscribed"}).status_code == 200
            refused(lenient.patch(path_of(ANN), json={"status": "subscribed"}), 400, "Member In Compliance State")

    def test_the_merchant_cannot_lift_it_either(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        twin.act_self_unsubscribe(ANN)
        with pytest.raises(Exception, match="compliance state"):
            twin.act_admin_subscribe(ANN)
        twin.act_admin_subscribe("new@example.com", {"FNAME": "New"})
        assert client.get(path_of("new@example.com")).json()["source"] == "Admin Add"


class TestForgottenAndArchived:
    def test_a_forgotten_address_looks_new_and_is_refused_in_every_way(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        assert client.post(f"{path_of(ANN)}/actions/delete-permanent").status_code == 204
        refused(client.get(path_of(ANN)), 404, "Resource Not Found")
        body = {"email_address": ANN, "status": "pending", "status_if_new": "transactional"}
        for answer in (client.post(MEMBERS, json=body), client.put(path_of(ANN), json=body)):
            assert refused(answer, 400, "Forgotten Email Not Subscribed") == (
                f"{ANN} was permanently deleted and cannot be re-imported. "
                "The contact must re-subscribe to get back on the list."
            )
        subscribe(client, "bob@example.com")
        move = client.patch(path_of("bob@example.com"), json={"email_address": ANN})
        refused(move, 400, "Forgotten Email Not Subscribed")
        twin.act_self_subscribe(ANN)
        assert status_of(client) == "subscribed"

    def test_delete_archives_and_archived_members_only_show_when_asked_for(self, client: httpx.Client) -> None:
        subscribe(client)
        assert client.delete(path_of(ANN)).status_code == 204
        assert client.get(MEMBERS).json()["total_items"] == 0
        assert client.get(MEMBERS, params={"status": "archived"}).json()["total_items"] == 1
        shown = client.get(path_of(ANN)).json()
        assert shown["status"] == "archived"
        assert "before_archive" not in shown
        assert "cannot be removed" in refused(client.delete(path_of(ANN)), 405, "Method Not Allowed")

    def test_cleaned_and_pending_contacts_cannot_be_archived(self, client: httpx.Client) -> None:
        for status in ("cleaned", "pending"):
            subscribe(client, f"{status}@example.com", status)
            refused(client.delete(path_of(f"{status}@example.com")), 405, "Method Not Allowed")
        with platform(cleaned_may_be_archived=True) as (_, lenient):
            subscribe(lenient, status="cleaned")
            assert lenient.delete(path_of(ANN)).status_code == 204

    def test_a_put_without_status_leaves_an_archived_contact_archived(self, client: httpx.Client) -> None:
        subscribe(client)
        client.delete(path_of(ANN))
        body = {"email_address": ANN, "status_if_new": "subscribed"}
        assert client.put(path_of(ANN), json=body).json()["status"] == "archived"
        assert client.put(path_of(ANN), json=body | {"status": "transactional"}).json()["status"] == "transactional"

    def test_un_archiving_can_resubscribe_somebody_who_had_left(self, twin: Mailchimp, client: httpx.Client) -> None:
        twin.load_contacts(LIST_ID, [{"email": ANN, "status": "unsubscribed"}])
        client.delete(path_of(ANN))
        body = {"members": [{"email_address": ANN, "status": "subscribed"}], "update_existing": True}
        assert client.post(f"/lists/{LIST_ID}", json=body).json()["total_updated"] == 1
        assert status_of(client) == "subscribed"
        with platform(archive_keeps_compliance=True) as (strict, careful):
            strict.load_contacts(LIST_ID, [{"email": ANN, "status": "unsubscribed"}])
            careful.delete(path_of(ANN))
            refused(careful.patch(path_of(ANN), json={"status": "subscribed"}), 400, "Member In Compliance State")

    def test_post_can_restore_an_archived_contact_when_switched_on(self) -> None:
        with platform(post_restores_archived=True) as (_, client):
            subscribe(client)
            client.delete(path_of(ANN))
            assert subscribe(client)["status"] == "subscribed"


class TestMergeFields:
    def test_values_must_fit_their_types(self, client: httpx.Client) -> None:
        fields = f"/lists/{LIST_ID}/merge-fields"
        for tag, kind in {"COUNT": "number", "SINCE": "date", "SITE": "url", "ZIPC": "zip"}.items():
            assert client.post(fields, json={"tag": tag, "name": tag, "type": kind}).status_code == 200
        choices = {"tag": "SIZE", "name": "Size", "type": "dropdown", "options": {"choices": ["S", "M"]}}
        client.post(fields, json=choices)
        wrong: dict[str, Any] = {
            "BIRTHDAY": "1980-05-17",
            "COUNT": "many",
            "SINCE": "DecDec",
            "SITE": "shop",
            "ZIPC": "1",
            "SIZE": "XL",
        }
        wrong |= {"ADDRESS": {"addr1": "Weg 1", "city": "Ulm", "zip": "89073"}, "FNAME": "x" * 256}
        answer = client.post(MEMBERS, json={"email_address": ANN, "status": "subscribed", "merge_fields": wrong})
        assert refused(answer, 400, "Invalid Resource") == "Your merge fields were invalid."
        messages = fields_of(answer)
        assert set(messages) == set(wrong)
        assert messages["ADDRESS"] == "Please enter a complete address"
        assert messages["BIRTHDAY"] == "Please enter a month (01-12) and a day (01-31)"
        assert messages["SINCE"] == "Please enter the date"
        address = {"addr1": "Weg 1", "city": "Ulm", "state": "BW", "zip": "89073", "country": "DE"}
        right: dict[str, Any] = {
            "BIRTHDAY": "05/17",
            "COUNT": 3,
            "SINCE": "2020-01-31",
            "SITE": "https://shop.example",
            "ZIPC": "12345",
        }
        right |= {"SIZE": "M", "ADDRESS": address, "NOSUCHTAG": "dropped"}
        made = subscribe(client, merge_fields=right)
        assert made["merge_fields"]["ADDRESS"] == address
        assert "NOSUCHTAG" not in made["merge_fields"]
        emptied = client.patch(path_of(ANN), json={"merge_fields": {"ADDRESS": "", "SIZE": ""}}).json()
        assert (emptied["merge_fields"]["ADDRESS"], emptied["merge_fields"]["COUNT"]) == ("", 3)

    def test_a_value_is_neither_null_nor_boolean(self, client: httpx.Client) -> None:
        for value in (None, True, ["x"]):
            answer = client.post(MEMBERS, json={"email_address": ANN, "status": "subscribed", "merge_fields": {"FNAME": value}})
            assert fields_of(answer) == {"merge_fields.FNAME": "Data did not match any of the schemas described in anyOf."}

    def test_a_required_field_is_asked_for_unless_the_check_is_skipped(self, client: httpx.Client) -> None:
        client.patch(f"/lists/{LIST_ID}/merge-fields/2", json={"required": True})
        body = {"email_address": ANN, "status": "subscribed"}
        assert fields_of(client.post(MEMBERS, json=body)) == {"LNAME": "Please enter a value"}
        assert client.post(MEMBERS, json=body, params={"skip_merge_validation": "true"}).status_code == 200
        assert fields_of(client.patch(path_of(ANN), json={"vip": True})) == {"LNAME": "Please enter a value"}

    def test_fields_are_created_changed_and_deleted(self, client: httpx.Client) -> None:
        fields = f"/lists/{LIST_ID}/merge-fields"
        assert [f["tag"] for f in client.get(fields).json()["merge_fields"]] == [
            "FNAME",
            "LNAME",
            "ADDRESS",
            "PHONE",
            "BIRTHDAY",
        ]
        made = client.post(fields, json={"tag": "GROUP", "name": "Group", "type": "text"}).json()
        subscribe(client, merge_fields={"GROUP": "vip"})
        assert client.patch(f"{fields}/{made['merge_id']}", json={"tag": "KIND"}).json()["tag"] == "KIND"
        assert client.get(path_of(ANN)).json()["merge_fields"]["KIND"] == "vip"
        assert client.delete(f"{fields}/{made['merge_id']}").status_code == 204
        refused(client.get(f"{fields}/{made['merge_id']}"), 404, "Resource Not Found")
        assert client.post(fields, json={"name": "No tag", "type": "text"}).json()["tag"] == "MMERGE6"

    def test_a_tag_has_ten_characters_at_most_and_is_there_once(self, client: httpx.Client) -> None:
        fields = f"/lists/{LIST_ID}/merge-fields"
        assert "tag" in fields_of(client.post(fields, json={"tag": "ELEVENCHARS", "name": "x", "type": "text"}))
        assert "tag" in fields_of(client.post(fields, json={"tag": "EMAIL", "name": "x", "type": "text"}))
        refused(client.post(fields, json={"tag": "FNAME", "name": "x", "type": "text"}), 400, "Bad Request")
        assert "type" in fields_of(client.post(fields, json={"name": "x", "type": "choice"}))


class TestTags:
    def test_tags_come_and_go_and_an_answer_shows_fifty(self, client: httpx.Client) -> None:
        subscribe(client, tags=["one"])
        sixty = [{"name": f"t{n:02}", "status": "active"} for n in range(60)]
        answer = client.post(f"{path_of(ANN)}/tags", json={"tags": [*sixty, {"name": "one", "status": "inactive"}]})
        assert (answer.status_code, answer.content) == (204, b"")
        shown = client.get(path_of(ANN)).json()
        assert (shown["tags_count"], len(shown["tags"])) == (60, 50)
        assert client.get(f"{path_of(ANN)}/tags", params={"count": 1000}).json()["total_items"] == 60
        found = client.get(f"/lists/{LIST_ID}/tag-search", params={"name": "t5"}).json()
        assert found["total_items"] == 10

    def test_a_tag_needs_a_name_and_a_status(self, client: httpx.Client) -> None:
        subscribe(client)
        assert "tags.item:0" in fields_of(client.post(f"{path_of(ANN)}/tags", json={"tags": [{"name": "x"}]}))
        wrong = {"tags": [{"name": "x", "status": "on"}]}
        assert "tags.item:0.status" in fields_of(client.post(f"{path_of(ANN)}/tags", json=wrong))


class TestReadingChanges:
    def test_changes_are_found_by_their_time_to_the_second_and_exclusively(self) -> None:
        clock = Clock()
        with platform(clock=clock) as (twin, client):
            for number in range(3):
                subscribe(client, f"p{number}@example.com")
                clock.step(seconds=10)
            twin.act_edit("p0@example.com", {"FNAME": "Zoe"})

            def found(**params: str) -> list[str]:
                page = client.get(MEMBERS, params={"sort_field": "last_changed", "sort_dir": "ASC", **params}).json()
                return [m["email_address"][:2] for m in page["members"]]

            assert found() == ["p1", "p2", "p0"]
            assert found(since_last_changed="2026-11-01T12:00:10+00:00") == ["p2", "p0"]
            assert found(before_last_changed="2026-11-01T12:00:20+00:00") == ["p1"]
            assert found(since_last_changed="2026-11-01T12:00:10Z", before_last_changed="2026-11-01T14:00:30+02:00") == ["p2"]
            assert found(sort_dir="DESC") == ["p0", "p2", "p1"]
            # Fractional seconds switch the filter off without a word.
            assert len(found(since_last_changed="2026-11-01T12:00:10.5+00:00")) == 3
            assert "since_last_changed" in fields_of(client.get(MEMBERS, params={"since_last_changed": "soon"}))
            assert client.get(path_of("p0@example.com")).json()["last_changed"] == "2026-11-01T12:00:30+00:00"

    def test_every_kind_of_change_moves_last_changed(self) -> None:
        clock = Clock()
        with platform(clock=clock) as (twin, client):
            subscribe(client)
            seen = []

            def moved() -> None:
                shown = client.get(path_of(ANN)).json()
                seen.append(shown["last_changed"])
                assert shown["last_changed"] == clock.now.strftime("%Y-%m-%dT%H:%M:%S+00:00")
                clock.step(seconds=7)

            moved()
            client.patch(path_of(ANN), json={"vip": True})
            moved()
            client.post(f"{path_of(ANN)}/tags", json={"tags": [{"name": "x", "status": "active"}]})
            moved()
            twin.act_self_unsubscribe(ANN)
            moved()
            twin.act_change_email(ANN, "new@example.com")
            twin.act_change_email("new@example.com", ANN)
            moved()
            client.delete(path_of(ANN))
            moved()
            assert len(set(seen)) == 6

    def test_unsubscribed_since_only_goes_with_that_status(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        twin.act_self_unsubscribe(ANN)
        since = {"unsubscribed_since": "2026-01-01T00:00:00+00:00"}
        refused(client.get(MEMBERS, params=since), 400, "Bad Request")
        refused(client.get(MEMBERS, params=since | {"status": "subscribed"}), 400, "Bad Request")
        assert client.get(MEMBERS, params=since | {"status": "unsubscribed"}).json()["total_items"] == 1
        refused(client.get(MEMBERS, params={"since_last_campaign": "true"}), 400, "Bad Request")

    def test_contacts_are_loaded_with_their_past_and_without_consequences(self, twin: Mailchimp, client: httpx.Client) -> None:
        loaded = {
            "email": ANN,
            "status": "pending",
            "first_name": "Ann",
            "tags": ["old"],
            "last_changed": "2021-01-01T00:00:00Z",
        }
        past = datetime(2020, 1, 1, tzinfo=UTC)
        bob = Contact("bob@example.com", "subscribed", signed_up_at=past, opted_in_at=past, changed_at=past)
        assert twin.load_contacts(LIST_ID, [loaded, bob]) == 2
        shown = client.get(path_of(ANN)).json()
        assert (shown["full_name"], shown["last_changed"], shown["tags_count"]) == ("Ann", "2021-01-01T00:00:00+00:00", 1)
        assert client.get(path_of("bob@example.com")).json()["timestamp_opt"] == "2020-01-01T00:00:00+00:00"
        assert mails(twin) == []


class TestMailsAndAutomations:
    def test_pending_sends_a_confirmation_mail_each_time(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client, status="pending")
        client.patch(path_of(ANN), json={"status": "pending"})
        assert mails(twin) == [("confirmation", ANN), ("confirmation", ANN)]

    def test_a_newly_subscribed_contact_is_welcomed_once(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        client.patch(path_of(ANN), json={"status": "subscribed", "vip": True})
        subscribe(client, "bob@example.com", "transactional")
        subscribe(client, "eve@example.com", "unsubscribed")
        assert mails(twin) == [("welcome", ANN)]
        assert set(twin.state()["mails"][0]) == {"kind", "email", "list_id", "at"}

    def test_nothing_is_sent_while_a_connected_store_is_syncing(self, twin: Mailchimp, client: httpx.Client) -> None:
        open_store(client, is_syncing=True)
        subscribe(client)
        client.post(f"{SHOP}/orders", json=ORDER | {"financial_status": "paid"})
        assert mails(twin) == []
        client.patch(SHOP, json={"is_syncing": False})
        subscribe(client, "bob@example.com")
        assert mails(twin) == [("welcome", "bob@example.com")]
        client.patch(SHOP, json={"is_syncing": True})
        subscribe(client, "eve@example.com", "pending")
        assert mails(twin)[-1] == ("confirmation", "eve@example.com")  # that one is no automation

    def test_in_an_audience_with_double_opt_in_new_contacts_have_to_confirm(self) -> None:
        with platform(double_optin=True) as (twin, client):
            assert subscribe(client)["status"] == "pending"
            open_store(client)
            optin = {"id": "c2", "email_address": "bob@example.com", "opt_in_status": True}
            client.put(f"{SHOP}/customers/c2", json=optin)
            assert status_of(client, "bob@example.com") == "pending"
            twin.act_self_subscribe("eve@example.com")
            assert status_of(client, "eve@example.com") == "pending"
            assert {kind for kind, _ in mails(twin)} == {"confirmation"}
        with platform(double_optin=True, double_optin_applies_to_api=False) as (_, client):
            assert subscribe(client)["status"] == "subscribed"

    def test_order_statuses_send_notifications_when_they_are_new(self, twin: Mailchimp, client: httpx.Client) -> None:
        open_store(client)
        client.post(f"{SHOP}/orders", json=ORDER | {"financial_status": "paid"})
        client.patch(f"{SHOP}/orders/o1", json={"financial_status": "paid", "fulfillment_status": "shipped"})
        sent = [m["status"] for m in twin.state()["mails"] if m["kind"] == "order_notification"]
        assert sent == ["paid", "shipped"]

    def test_a_cart_that_can_be_returned_to_sends_a_mail(self, twin: Mailchimp, client: httpx.Client) -> None:
        open_store(client)
        client.post(f"{SHOP}/carts", json=ORDER | {"id": "k1"})
        client.post(f"{SHOP}/carts", json=ORDER | {"id": "k2", "checkout_url": "https://shop.example/k2"})
        assert [m["cart_id"] for m in twin.state()["mails"]] == ["k2"]

    def test_a_journey_for_a_tag_starts_unless_the_call_says_is_syncing(self) -> None:
        with platform(tag_journeys=True, automations=True) as (twin, client):
            subscribe(client)
            for name, syncing in (("new", False), ("old", True)):
                body = {"tags": [{"name": name, "status": "active"}], "is_syncing": syncing}
                client.post(f"{path_of(ANN)}/tags", json=body)
            assert [m["tag"] for m in twin.state()["mails"] if m["kind"] == "tag_journey"] == ["new"]

    def test_events_have_names_of_two_to_thirty_characters_and_text_properties(
        self, twin: Mailchimp, client: httpx.Client
    ) -> None:
        subscribe(client)
        event = {"name": "product_viewed", "properties": {"id": "p1"}, "is_syncing": True}
        assert client.post(f"{path_of(ANN)}/events", json=event).status_code == 204
        assert "name" in fields_of(client.post(f"{path_of(ANN)}/events", json={"name": "x"}))
        number = event | {"properties": {"n": 1}}
        assert "properties.n" in fields_of(client.post(f"{path_of(ANN)}/events", json=number))
        assert client.get(f"{path_of(ANN)}/events").json()["total_items"] == 1


class TestBatchMembers:
    def test_each_failure_is_told_and_the_rest_goes_through(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client, "known@example.com")
        subscribe(client, "left@example.com")
        twin.act_self_unsubscribe("left@example.com")
        subscribe(client, "gone@example.com")
        twin.act_delete_permanent("gone@example.com")
        people = ["new", "left", "gone", "new", "known"]
        members: list[dict[str, Any]] = [{"email_address": f"{p}@example.com", "status": "subscribed"} for p in people]
        members += [{"email_address": "bad", "status": "subscribed"}, {"email_address": "silent@example.com"}]
        members += [{"email_address": "born@example.com", "status": "subscribed", "merge_fields": {"BIRTHDAY": "x"}}]
        answer = client.post(f"/lists/{LIST_ID}", json={"members": members, "update_existing": True})
        assert answer.status_code == 200
        body = answer.json()
        assert (body["total_created"], body["total_updated"], body["error_count"]) == (1, 1, 6)
        errors = {(e["email_address"], e["field"]): e for e in body["errors"]}
        assert {e["error_code"] for e in body["errors"]} == {"ERROR_GENERIC"}
        assert "compliance state" in errors["left@example.com", ""]["error"]
        assert "permanently deleted" in errors["gone@example.com", ""]["error"]
        assert errors["bad", ""]["error"] == "Please provide a valid email address."
        assert "more than once" in errors["new@example.com", ""]["error"]
        assert errors["silent@example.com", "status"]["field_message"] == "This value should not be blank."
        assert errors["born@example.com", "BIRTHDAY"]["error"] == "Your merge fields were invalid."

    def test_known_members_are_left_alone_without_update_existing(self, client: httpx.Client) -> None:
        subscribe(client, status="unsubscribed")
        body = {"members": [{"email_address": ANN, "status": "subscribed"}]}
        (error,) = client.post(f"/lists/{LIST_ID}", json=body).json()["errors"]
        assert error["error_code"] == "ERROR_CONTACT_EXISTS"
        assert error["error"].endswith("please provide update_existing:true in the request body")
        assert status_of(client) == "unsubscribed"

    def test_a_known_members_status_stays_when_none_is_sent(self, client: httpx.Client) -> None:
        subscribe(client, status="transactional", tags=["old"])
        item = {"email_address": ANN, "merge_fields": {"FNAME": "Ann"}, "tags": ["new"]}
        body = {"members": [item], "update_existing": True, "sync_tags": True}
        (updated,) = client.post(f"/lists/{LIST_ID}", json=body).json()["updated_members"]
        assert (updated["status"], updated["merge_fields"]["FNAME"], [t["name"] for t in updated["tags"]]) == (
            "transactional",
            "Ann",
            ["new"],
        )

    def test_five_hundred_is_the_most(self, client: httpx.Client) -> None:
        members = [{"email_address": f"p{n}@example.com", "status": "subscribed"} for n in range(501)]
        assert "members" in fields_of(client.post(f"/lists/{LIST_ID}", json={"members": members}))
        assert client.post(f"/lists/{LIST_ID}", json={"members": members[:500]}).json()["total_created"] == 500
        twice = {"members": [members[500]] * 2}
        params = {"skip_duplicate_check": "true"}
        assert client.post(f"/lists/{LIST_ID}", json=twice, params=params).json()["error_count"] == 0


class TestBatches:
    def test_a_batch_goes_through_its_states_and_its_archive_tells_each_result(self) -> None:
        with platform(batch_seconds=0.2) as (twin, client):
            operations: list[dict[str, Any]] = [
                {"method": "PUT", "path": path_of(f"p{n}@example.com"), "operation_id": f"op{n}"}
                | {"body": orjson.dumps({"email_address": f"p{n}@example.com", "status_if_new": "transactional"}).decode()}
                for n in range(900)
            ]
            operations.append({"method": "GET", "path": MEMBERS, "params": {"count": 1, "fields": "total_items"}})
            operations.append({"method": "GET", "path": path_of("nobody@example.com").lstrip("/"), "operation_id": "none"})
            operations.append({"method": "POST", "path": "/batches", "body": "{}", "operation_id": "nested"})
            operations.append({"method": "POST", "path": MEMBERS, "body": "{", "operation_id": "broken"})
            seen = []
            batch = client.post("/batches", json={"operations": operations}).json()
            assert (batch["status"], batch["total_operations"], batch["response_body_url"]) == ("pending", 0, "")
            while batch["status"] != "finished":
                seen.append(batch["status"])
                time.sleep(0.005)
                batch = client.get(f"/batches/{batch['id']}").json()
            order = ["pending", "preprocessing", "started", "finalizing"]
            assert [s for s in order if s in seen] == list(dict.fromkeys(seen))
            counts = (batch["total_operations"], batch["finished_operations"], batch["errored_operations"])
            assert counts == (904, 904, 3)
            results = unpack(httpx.get(batch["response_body_url"], trust_env=False).content)
            assert len(results) == 904
            by_id = {r["operation_id"]: r for r in results}
            assert orjson.loads(by_id["op7"]["response"])["email_address"] == "p7@example.com"
            assert {i: by_id[i]["status_code"] for i in ("none", "nested", "broken")} == {
                "none": 404,
                "nested": 400,
                "broken": 400,
            }
            assert [r["operation_id"] for r in results if str(r["operation_id"]).startswith("op")] != [
                f"op{n}" for n in range(900)
            ]
            assert twin.state()["batches"] == [{"id": batch["id"], "status": "finished", "operations": 904, "errored": 3}]

    def test_the_archive_needs_no_key_expires_and_each_look_gives_a_fresh_address(self) -> None:
        clock = Clock()
        with platform(clock=clock, archive_seconds=600) as (_, client):
            batch, _ = results_of(client, [{"method": "GET", "path": "/ping"}])
            clock.step(seconds=599)
            assert httpx.get(batch["response_body_url"], trust_env=False).status_code == 200
            clock.step(seconds=1)
            expired = httpx.get(batch["response_body_url"], trust_env=False)
            assert (expired.status_code, expired.headers["content-type"]) == (403, "application/xml")
            fresh = client.get(f"/batches/{batch['id']}").json()["response_body_url"]
            assert fresh != batch["response_body_url"]
            assert httpx.get(fresh, trust_env=False).status_code == 200
            assert client.delete(f"/batches/{batch['id']}").status_code == 204
            refused(client.get(f"/batches/{batch['id']}"), 404, "Resource Not Found")

    def test_a_resubscription_that_fails_in_a_batch_only_shows_in_the_archive(
        self, twin: Mailchimp, client: httpx.Client
    ) -> None:
        twin.load_contacts(LIST_ID, [{"email": ANN, "status": "unsubscribed"}])
        body = orjson.dumps({"status": "subscribed"}).decode()
        batch, (result,) = results_of(client, [{"method": "PATCH", "path": path_of(ANN), "body": body}])
        assert (batch["status"], batch["errored_operations"]) == ("finished", 1)
        assert orjson.loads(result["response"])["title"] == "Member In Compliance State"
        assert result["operation_id"] is None

    def test_a_thousand_operations_and_five_hundred_open_batches_are_the_most(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert mailchimp_batches.OPEN_MOST == 500
        monkeypatch.setattr(mailchimp_batches, "OPEN_MOST", 5)
        with platform(batch_seconds=600) as (_, client):
            ping: dict[str, Any] = {"method": "GET", "path": "/ping"}
            assert "operations" in fields_of(client.post("/batches", json={"operations": [ping] * 1001}))
            assert "operations.item:0" in fields_of(client.post("/batches", json={"operations": [{"method": "GET"}]}))
            as_object = {"operations": [ping | {"body": {}}]}
            assert "operations.item:0.body" in fields_of(client.post("/batches", json=as_object))
            for _ in range(5):
                assert client.post("/batches", json={"operations": [ping] * 1000}).status_code == 200
            refused(client.post("/batches", json={"operations": [ping]}), 429, "Too Many Requests")
            assert client.get("/batches").json()["total_items"] == 5


class TestEcommerce:
    def test_a_store_belongs_to_one_audience_for_good(self, client: httpx.Client) -> None:
        assert "Required" in fields_of(client.post("/ecommerce/stores", json={"id": "x"}))[""]
        assert "list_id" in fields_of(client.post("/ecommerce/stores", json=STORE | {"list_id": "nope"}))
        assert "currency_code" in fields_of(client.post("/ecommerce/stores", json=STORE | {"currency_code": "euro"}))
        open_store(client)
        refused(client.post("/ecommerce/stores", json=STORE | {"domain": "other.example"}), 400, "Bad Request")
        same_domain = client.post("/ecommerce/stores", json=STORE | {"id": "shop2"})
        assert "domain" in refused(same_domain, 400, "Bad Request")
        assert client.post("/ecommerce/stores", json=STORE | {"id": "shop2", "domain": "2.example"}).status_code == 200
        assert "list_id" in fields_of(client.patch(SHOP, json={"list_id": "other"}))
        assert client.patch(SHOP, json={"is_syncing": True}).json()["is_syncing"] is True
        assert client.get("/ecommerce/stores").json()["total_items"] == 2
        assert client.get("/lists", params={"has_ecommerce_store": "true"}).json()["total_items"] == 1

    def test_deleting_a_store_takes_its_records_and_leaves_the_members(self, twin: Mailchimp, client: httpx.Client) -> None:
        open_store(client)
        client.post(f"{SHOP}/orders", json=ORDER)
        assert client.delete(SHOP).status_code == 204
        refused(client.get(f"{SHOP}/orders"), 404, "Resource Not Found")
        assert twin.state()["orders"] == {}
        assert status_of(client) == "transactional"

    def test_a_customer_without_opt_in_becomes_transactional_and_with_one_subscribed(self, client: httpx.Client) -> None:
        open_store(client)
        for number, opt_in in enumerate((False, True)):
            body = {"id": f"c{number}", "email_address": f"p{number}@example.com", "opt_in_status": opt_in, "first_name": "Ann"}
            assert client.put(f"{SHOP}/customers/c{number}", json=body).json()["opt_in_status"] is opt_in
        assert status_of(client, "p0@example.com") == "transactional"
        assert status_of(client, "p1@example.com") == "subscribed"
        assert client.get(path_of("p1@example.com")).json()["merge_fields"]["FNAME"] == "Ann"
        found = client.get(f"{SHOP}/customers", params={"email_address": "P1@example.com"}).json()
        assert [c["id"] for c in found["customers"]] == ["c1"]

    @pytest.mark.parametrize("subscribes", [True, False])
    def test_opt_in_status_of_a_known_contact_follows_the_guide_or_the_description(self, subscribes: bool) -> None:
        with platform(opt_in_status_subscribes_existing=subscribes) as (twin, client):
            open_store(client)
            twin.load_contacts(
                LIST_ID,
                [
                    {"email": "t@example.com", "status": "transactional"},
                    {"email": "a@example.com", "status": "unsubscribed", "unsubscribed_by": "admin"},
                    {"email": "s@example.com", "status": "unsubscribed"},
                    {"email": "y@example.com", "status": "subscribed"},
                ],
            )
            for letter in "tasy":
                body = {"id": letter, "email_address": f"{letter}@example.com", "opt_in_status": letter != "y"}
                assert client.put(f"{SHOP}/customers/{letter}", json=body).status_code == 200
            after = "".join(status_of(client, f"{letter}@example.com")[0] for letter in "tasy")
            assert after == ("ssus" if subscribes else "tuus")

    def test_a_customer_keeps_the_address_and_has_a_short_id(self, client: httpx.Client) -> None:
        open_store(client)
        body = {"id": "c1", "email_address": ANN, "opt_in_status": False}
        assert client.post(f"{SHOP}/customers", json=body).status_code == 200
        assert "A customer with the provided ID already exists" in refused(
            client.post(f"{SHOP}/customers", json=body), 400, "Bad Request"
        )
        moved = client.put(f"{SHOP}/customers/c1", json=body | {"email_address": "new@example.com"})
        assert refused(moved, 400, "Bad Request") == "An email address may not be changed once a customer is created."
        long = "c" * 51
        assert "id" in fields_of(client.put(f"{SHOP}/customers/{long}", json=body | {"id": long}))
        assert "id" in fields_of(client.put(f"{SHOP}/customers/c2", json=body))
        order = ORDER | {"customer": {"id": long, "email_address": ANN, "opt_in_status": False}}
        refused(client.post(f"{SHOP}/orders", json=order), 404, "Resource Not Found")
        refused(client.patch(f"{SHOP}/customers/c9", json={"company": "x"}), 404, "Resource Not Found")
        assert client.patch(f"{SHOP}/customers/c1", json={"company": "x"}).json()["company"] == "x"
        assert client.delete(f"{SHOP}/customers/c1").status_code == 204

    def test_an_order_points_to_products_variants_and_a_customer_that_exist(self, client: httpx.Client) -> None:
        open_store(client)
        stranger = ORDER | {"customer": {"id": "c1"}}
        assert "A customer with the provided ID does not exist" in refused(
            client.post(f"{SHOP}/orders", json=stranger), 400, "Bad Request"
        )
        for name, value, words in (
            ("product_id", "p9", "A product with the provided ID does not exist in the account for this list."),
            ("product_variant_id", "v9", "A product with the provided variant ID does not exist in the account for this list."),
        ):
            answer = client.post(f"{SHOP}/orders", json=ORDER | {"lines": [LINE | {name: value}]})
            assert refused(answer, 400, "Bad Request") == words
        twice = client.post(f"{SHOP}/orders", json=ORDER | {"lines": [LINE, LINE]})
        assert refused(twice, 400, "Bad Request") == "An order may not contain the same line item id more than once."
        assert "lines" in fields_of(client.post(f"{SHOP}/orders", json=ORDER | {"lines": []}))
        assert "order_total" in fields_of(client.post(f"{SHOP}/orders", json=ORDER | {"order_total": "19.00"}))
        assert client.get(f"{SHOP}/customers").json()["total_items"] == 0

    def test_orders_are_posted_once_then_patched_and_counted_for_their_buyer(self, client: httpx.Client) -> None:
        open_store(client)
        made = client.post(f"{SHOP}/orders", json=ORDER | {"processed_at_foreign": "2026-01-02 03:04:05"}).json()
        assert made["processed_at_foreign"] == "2026-01-02T03:04:05+00:00"
        assert made["lines"][0]["product_title"] == "Mug"
        assert refused(client.post(f"{SHOP}/orders", json=ORDER), 400, "Bad Request") == (
            "We were unable to process the request. An order with the provided ID already exists in the account."
        )
        assert client.post(f"{SHOP}/orders", json=ORDER | {"id": "o2", "customer": {"id": "c1"}}).status_code == 200
        refused(client.patch(f"{SHOP}/orders/o9", json={"order_total": 1}), 404, "Resource Not Found")
        refund = {"order_total": 9.5, "financial_status": "refunded", "lines": [{"id": "1", "quantity": 1}]}
        patched = client.patch(f"{SHOP}/orders/o1", json=refund).json()
        assert (patched["order_total"], patched["lines"][0]["quantity"]) == (9.5, 1)
        customer = client.get(f"{SHOP}/customers/c1").json()
        assert (customer["orders_count"], customer["total_spent"]) == (2, 28.5)
        money = client.get(path_of(ANN)).json()["stats"]["ecommerce_data"]
        assert money == {"total_revenue": 28.5, "number_of_orders": 2, "currency_code": "EUR"}
        assert client.get("/ecommerce/orders", params={"customer_id": "c1"}).json()["total_items"] == 2
        assert client.delete(f"{SHOP}/orders/o2").status_code == 204
        assert client.get(f"{SHOP}/orders", params={"customer_id": "c1"}).json()["total_items"] == 1

    def test_lines_can_be_written_one_by_one(self, client: httpx.Client) -> None:
        open_store(client)
        client.post(f"{SHOP}/orders", json=ORDER)
        lines = f"{SHOP}/orders/o1/lines"
        assert client.post(lines, json=LINE | {"id": "2"}).json()["product_variant_title"] == "Blue"
        refused(client.post(lines, json=LINE | {"id": "2"}), 400, "Bad Request")
        refused(client.patch(f"{lines}/2", json={"product_id": "p9"}), 400, "Bad Request")
        assert client.patch(f"{lines}/2", json={"quantity": 5}).json()["quantity"] == 5
        assert client.delete(f"{lines}/1").status_code == 204
        assert [x["id"] for x in client.get(lines).json()["lines"]] == ["2"]
        refused(client.get(f"{lines}/1"), 404, "Resource Not Found")

    def test_products_have_variants_and_exist_once(self, client: httpx.Client) -> None:
        open_store(client)
        assert refused(client.post(f"{SHOP}/products", json=PRODUCT), 400, "Bad Request") == (
            "We were unable to process the request. A product with the provided ID already exists in the account."
        )
        assert "variants" in fields_of(client.post(f"{SHOP}/products", json=PRODUCT | {"id": "p2", "variants": []}))
        refused(client.patch(f"{SHOP}/products/p9", json={"title": "x"}), 404, "Resource Not Found")
        assert client.patch(f"{SHOP}/products/p1", json={"title": "Cup"}).json()["title"] == "Cup"
        variants = f"{SHOP}/products/p1/variants"
        assert client.put(f"{variants}/v2", json={"id": "v2", "title": "Red"}).json()["id"] == "v2"
        assert client.put(f"{variants}/v2", json={"id": "v2", "title": "Rose"}).json()["title"] == "Rose"
        refused(client.post(variants, json={"id": "v2", "title": "Red"}), 400, "Bad Request")
        assert client.patch(f"{variants}/v1", json={"price": 1}).json()["price"] == 1
        assert client.delete(f"{variants}/v1").status_code == 204
        assert client.get(variants).json()["total_items"] == 1
        assert client.delete(f"{SHOP}/products/p1").status_code == 204

    def test_patch_leaves_an_order_with_its_customer(self, client: httpx.Client) -> None:
        open_store(client)
        client.post(f"{SHOP}/orders", json=ORDER)
        client.post(f"{SHOP}/customers", json={"id": "c9", "email_address": "c9@example.com", "opt_in_status": False})
        patched = client.patch(f"{SHOP}/orders/o1", json={"customer": {"id": "c9"}, "order_total": 5})
        assert (patched.json()["customer"]["id"], patched.json()["order_total"]) == ("c1", 5)

    def test_put_of_orders_and_products_is_there_only_when_switched_on(self, client: httpx.Client) -> None:
        open_store(client)
        refused(client.put(f"{SHOP}/orders/o1", json=ORDER), 405, "Method Not Allowed")
        refused(client.put(f"{SHOP}/products/p1", json=PRODUCT), 405, "Method Not Allowed")
        with platform(put_orders=True) as (_, newer):
            open_store(newer)
            for total in (19, 20):
                answer = newer.put(f"{SHOP}/orders/o1", json=ORDER | {"order_total": total})
                assert answer.json()["order_total"] == total
            assert newer.put(f"{SHOP}/products/p1", json=PRODUCT | {"title": "Cup"}).json()["title"] == "Cup"
            assert newer.get(f"{SHOP}/orders").json()["total_items"] == 1

    def test_carts_come_and_go(self, client: httpx.Client) -> None:
        open_store(client)
        cart = ORDER | {"id": "k1"}
        assert client.post(f"{SHOP}/carts", json=cart).json()["customer"]["id"] == "c1"
        refused(client.post(f"{SHOP}/carts", json=cart), 400, "Bad Request")
        assert client.patch(f"{SHOP}/carts/k1", json={"order_total": 1}).json()["order_total"] == 1
        assert client.delete(f"{SHOP}/carts/k1").status_code == 204
        refused(client.delete(f"{SHOP}/carts/k1"), 404, "Resource Not Found")

    def test_a_promo_code_needs_its_rule_and_a_percentage_is_a_fraction(self, client: httpx.Client) -> None:
        open_store(client)
        rule = {"id": "r1", "description": "Ten", "amount": 0.1, "type": "percentage", "target": "total"}
        code = {"id": "k1", "code": "TEN", "redemption_url": "https://shop.example"}
        codes = f"{SHOP}/promo-rules/r1/promo-codes"
        refused(client.post(codes, json=code), 404, "Resource Not Found")
        assert "amount" in fields_of(client.post(f"{SHOP}/promo-rules", json=rule | {"amount": 10}))
        assert "description" in fields_of(client.post(f"{SHOP}/promo-rules", json=rule | {"description": "x" * 256}))
        assert "target" in fields_of(client.post(f"{SHOP}/promo-rules", json=rule | {"target": "order"}))
        assert client.post(f"{SHOP}/promo-rules", json=rule).status_code == 200
        refused(client.post(f"{SHOP}/promo-rules", json=rule), 400, "Bad Request")
        assert client.post(codes, json=code).json()["enabled"] is True
        refused(client.post(codes, json=code), 400, "Bad Request")
        assert client.patch(f"{codes}/k1", json={"usage_count": 3}).json()["usage_count"] == 3
        assert client.patch(f"{SHOP}/promo-rules/r1", json={"enabled": False}).json()["enabled"] is False
        assert client.delete(f"{codes}/k1").status_code == 204
        assert client.delete(f"{SHOP}/promo-rules/r1").status_code == 204
        assert client.get(f"{SHOP}/promo-rules").json()["total_items"] == 0

    def test_a_connected_site_is_shown_with_its_store(self, client: httpx.Client) -> None:
        open_store(client)
        site = {"foreign_id": "site1", "domain": "shop.example"}
        assert client.post("/connected-sites", json=site).json()["store_id"] == "shop"
        refused(client.post("/connected-sites", json=site), 400, "Bad Request")
        assert client.get(SHOP).json()["connected_site"]["site_foreign_id"] == "site1"
        assert client.delete("/connected-sites/site1").status_code == 204
        refused(client.get("/connected-sites/site1"), 404, "Resource Not Found")


class Receiver:
    """What stands behind a webhook's URL: keeps the forms it is sent; `status` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[dict[str, str], bytes, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append((dict(urllib.parse.parse_qsl(body.decode())), body, dict(self.headers.items())))
                self._answer()

            def _answer(self) -> None:
                self.send_response(outer.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?secret=x"

    @property
    def kinds(self) -> list[str]:
        return [form["type"] for form, _, _ in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


ALL_EVENTS = dict.fromkeys(("subscribe", "unsubscribe", "profile", "cleaned", "upemail"), True)


class TestWebhooks:
    hooks = f"/lists/{LIST_ID}/webhooks"

    def test_the_url_is_asked_before_it_is_taken(self, client: httpx.Client, receiver: Receiver) -> None:
        assert "url" in fields_of(client.post(self.hooks, json={"url": "http://127.0.0.1:9/", "events": ALL_EVENTS}))
        receiver.status = 500
        assert "url" in fields_of(client.post(self.hooks, json={"url": receiver.url}))
        receiver.status = 200
        made = client.post(self.hooks, json={"url": receiver.url, "events": ALL_EVENTS, "sources": {"user": True}}).json()
        assert made["sources"] == {"user": True, "admin": False, "api": False}
        assert "url" in fields_of(client.post(self.hooks, json={"url": receiver.url}))
        assert client.patch(f"{self.hooks}/{made['id']}", json={"sources": {"admin": True}}).json()["sources"]["admin"] is True
        assert client.get(self.hooks).json()["total_items"] == 1
        assert client.delete(f"{self.hooks}/{made['id']}").status_code == 204
        refused(client.get(f"{self.hooks}/{made['id']}"), 404, "Resource Not Found")

    def test_sources_decide_whose_changes_are_told(self, twin: Mailchimp, client: httpx.Client, receiver: Receiver) -> None:
        sources = {"user": True, "admin": True, "api": False}
        client.post(self.hooks, json={"url": receiver.url, "events": ALL_EVENTS, "sources": sources})
        subscribe(client)
        client.patch(path_of(ANN), json={"status": "unsubscribed"})
        twin.act_self_subscribe(ANN)
        twin.act_edit(ANN, {"FNAME": "Ann"})
        twin.act_change_email(ANN, "new@example.com")
        twin.act_admin_unsubscribe("new@example.com")
        assert twin.act_deliver_webhooks() == 4
        assert receiver.kinds == ["subscribe", "profile", "upemail", "unsubscribe"]

    def test_deliveries_are_forms_in_the_documented_shape(
        self, twin: Mailchimp, client: httpx.Client, receiver: Receiver
    ) -> None:
        sources = dict.fromkeys(("user", "admin", "api"), True)
        client.post(self.hooks, json={"url": receiver.url, "events": ALL_EVENTS, "sources": sources})
        made = subscribe(client, merge_fields={"FNAME": "Ann"})
        twin.act_self_unsubscribe(ANN)
        subscribe(client, "bob@example.com")
        twin.act_clean("bob@example.com")
        subscribe(client, "eve@example.com")
        client.delete(path_of("eve@example.com"))
        twin.act_deliver_webhooks()
        form, _, headers = receiver.got[0]
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        assert (form["type"], form["data[merges][FNAME]"], form["data[list_id]"]) == ("subscribe", "Ann", LIST_ID)
        assert form["data[id]"] == made["unique_email_id"]
        datetime.strptime(form["fired_at"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        left, cleaned, deleted = (receiver.got[n][0] for n in (1, 3, 5))
        assert (left["type"], left["data[action]"], left["data[reason]"]) == ("unsubscribe", "unsub", "manual")
        assert (cleaned["type"], cleaned["data[reason]"], cleaned["data[email]"]) == ("cleaned", "hard", "bob@example.com")
        assert (deleted["type"], deleted["data[action]"]) == ("unsubscribe", "delete")
        assert twin.act_deliver_webhooks() == 0

    def test_a_delivery_that_fails_is_tried_again(self, twin: Mailchimp, client: httpx.Client, receiver: Receiver) -> None:
        client.post(self.hooks, json={"url": receiver.url, "events": ALL_EVENTS, "sources": {"api": True}})
        subscribe(client)
        receiver.status = 503
        twin.act_deliver_webhooks()
        receiver.status = 200
        assert twin.act_deliver_webhooks() == 1
        assert receiver.kinds == ["subscribe", "subscribe"]
        (delivery,) = twin.state()["deliveries"]
        assert (delivery["tries"], delivery["status"]) == (2, 200)

    def test_a_signed_webhook_shows_its_secret_once(self, receiver: Receiver) -> None:
        with platform(sign_webhooks=True) as (twin, client):
            made = client.post(self.hooks, json={"url": receiver.url, "events": ALL_EVENTS, "sources": {"api": True}}).json()
            assert "signing_secret" not in client.get(f"{self.hooks}/{made['id']}").json()
            subscribe(client)
            twin.act_deliver_webhooks()
            ((_, body, headers),) = receiver.got
            at, signature = (part.partition("=")[2] for part in headers["X-Mailchimp-Signature"].split(","))
            signed = hmac.new(made["signing_secret"].encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
            assert hmac.compare_digest(signature, signed)

    def test_deliveries_can_go_out_at_once(self, receiver: Receiver) -> None:
        with platform(deliver_at_once=True) as (_, client):
            client.post(self.hooks, json={"url": receiver.url, "events": ALL_EVENTS, "sources": {"api": True}})
            subscribe(client)
            while not receiver.got:
                time.sleep(0.005)
            assert receiver.kinds == ["subscribe"]


class TestControlDoor:
    def test_people_act_and_the_state_is_read_through_the_door(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client, tags=["x"], merge_fields={"FNAME": "Ann"})
        door = str(client.base_url).replace("/3.0/", "/_sandbox/")
        httpx.post(f"{door}do", json={"action": "self_unsubscribe", "args": {"email": ANN}}, trust_env=False)
        (member,) = httpx.post(f"{door}state", trust_env=False).json()["members"]
        assert (member["email_address"], member["status"], member["compliance"]) == (ANN, "unsubscribed", "unsubscribe")
        assert (member["tags"], member["merge_fields"]) == (["x"], {"FNAME": "Ann"})
        orjson.dumps(twin.state())

    def test_every_act_works(self, twin: Mailchimp, client: httpx.Client) -> None:
        subscribe(client)
        twin.act_tag(ANN, add=["x"], remove=["y"])
        twin.act_archive(ANN)
        assert status_of(client) == "archived"
        twin.act_delete_permanent(ANN)
        with pytest.raises(LookupError):
            twin.act_confirm(ANN)
        twin.act_set_double_optin(on=True)
        twin.act_self_subscribe(ANN, {"FNAME": "Ann"})
        assert status_of(client) == "pending"
