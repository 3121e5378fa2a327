"""The twin's answers have the shapes of the platform's published description; a Singer tap reads what it holds.

The description is not ours to ship: it is looked for in the folder that SHOPSYNC_SPECS names, else in ../shared/specs.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import httpx
import jsonschema
import orjson
import pytest

from sandbox.mailchimp import KEY, LIST_ID, Mailchimp
from sandbox.server import serve

ROOT = Path(__file__).parents[2]
SPECS = Path(os.environ.get("SHOPSYNC_SPECS") or ROOT.parent / "shared" / "specs")
DESCRIPTION = SPECS / "esps" / "mailchimp-marketing-3.0.swagger.json"
TOOLS = ROOT / "tests" / ".tools"
TAP = "tap-mailchimp==1.3.3"

pytestmark = pytest.mark.tools

MOMENT = r"^$|^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+00:00$"


def is_known_gap(path: str) -> bool:
    """What this version of the description lacks, compared with the platform."""
    return path.endswith((".signing_enabled", ".signing_secret")) or ".constraints" in path


@functools.cache
def description() -> dict[str, Any]:
    """The description, with two corrections.

    The platform writes an unknown time as "", which is no date-time, and a 204 has no content, whatever its schema says.
    """
    if not DESCRIPTION.exists():
        pytest.skip(f"no description of the platform at {DESCRIPTION} (SHOPSYNC_SPECS names its folder)")
    found: dict[str, Any] = orjson.loads(DESCRIPTION.read_bytes())

    def correct(schema: Any) -> None:
        if isinstance(schema, list):
            for one in schema:
                correct(one)
        elif isinstance(schema, dict):
            if schema.get("format") == "date-time" and schema.get("type") == "string":
                del schema["format"]
                schema["pattern"] = MOMENT
            for one in schema.values():
                correct(one)

    for operations in found["paths"].values():
        for operation in operations.values():
            correct(operation["responses"])
            operation["responses"].get("204", {}).pop("schema", None)
    return found


@functools.cache
def templates() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """Path patterns with their operations; those with more fixed words first."""
    paths = sorted(description()["paths"].items(), key=lambda p: p[0].count("{"))
    return [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), operations) for path, operations in paths]


def operation_of(method: str, path: str) -> dict[str, Any]:
    for pattern, operations in templates():
        if pattern.fullmatch(path) and method.lower() in operations:
            found: dict[str, Any] = operations[method.lower()]
            return found
    raise AssertionError(f"the description does not know {method} {path}")


def unknown_fields(schema: dict[str, Any], value: Any, path: str = "") -> Iterator[str]:
    """Fields of an answer that the description has not heard of."""
    if isinstance(value, list):
        for one in value:
            yield from unknown_fields(schema.get("items", {}), one, path + "[]")
    elif isinstance(value, dict) and "properties" in schema and "additionalProperties" not in schema:
        for name, inner in value.items():
            if name in schema["properties"]:
                yield from unknown_fields(schema["properties"][name], inner, f"{path}.{name}")
            elif not is_known_gap(f"{path}.{name}"):
                yield f"{path}.{name}"


def check(answer: httpx.Response) -> None:
    """The call and its answer both fit; used as a response hook."""
    answer.read()
    request = answer.request
    operation = operation_of(request.method, request.url.path.removeprefix("/3.0") or "/")
    if answer.status_code < 300:
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "body":
                jsonschema.validate(orjson.loads(request.content), parameter["schema"])
    described = operation["responses"].get(str(answer.status_code)) or operation["responses"]["default"]
    if answer.status_code == 204:
        assert "204" in operation["responses"]
        assert answer.content == b""
        return
    assert answer.status_code == 200 or described is operation["responses"]["default"]
    jsonschema.validate(answer.json(), described["schema"])
    if answer.status_code == 200:
        assert list(unknown_fields(described["schema"], answer.json())) == [], sorted(
            set(unknown_fields(described["schema"], answer.json()))
        )


def md5(email: str) -> str:
    return hashlib.md5(email.encode()).hexdigest()


def tour(twin: Mailchimp, client: httpx.Client) -> int:
    """Call every endpoint of the twin at least once, with a refusal of each kind; gives the number of calls."""
    count = 0

    def call(method: str, path: str, body: Any = None, expect: int = 200, **params: Any) -> Any:
        nonlocal count
        count += 1
        answer = client.request(method, path, json=body, params=params) if body else client.request(method, path, params=params)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    get, post, put = (functools.partial(call, m) for m in ("GET", "POST", "PUT"))
    patch, delete = functools.partial(call, "PATCH"), functools.partial(call, "DELETE", expect=204)
    audience, members = f"/lists/{LIST_ID}", f"/lists/{LIST_ID}/members"
    get("/")
    get("/ping")
    shown = get(audience, include_total_contacts="true")
    names = ("contact", "permission_reminder", "campaign_defaults", "email_type_option", "name")
    patch(audience, {n: shown[n] for n in names})
    made = post("/lists", {n: shown[n] for n in names})
    get("/lists", count=5)
    delete(f"/lists/{made['id']}")
    field = post(f"{audience}/merge-fields", {"tag": "KIND", "name": "Kind", "type": "dropdown", "options": {"choices": ["a"]}})
    get(f"{audience}/merge-fields")
    patch(f"{audience}/merge-fields/{field['merge_id']}", {"name": "Sort", "type": "dropdown"})
    get(f"{audience}/merge-fields/{field['merge_id']}")
    ann, bob = (f"{members}/{md5(e)}" for e in ("ann@example.com", "bob@example.com"))
    address = {"addr1": "Weg 1", "city": "Ulm", "state": "BW", "zip": "89073", "country": "DE"}
    profile = {"FNAME": "Ann", "ADDRESS": address, "KIND": "a"}
    new = {"email_address": "ann@example.com", "status": "subscribed", "merge_fields": profile, "tags": ["x"]}
    post(members, new)
    post(members, new, expect=400)
    put(bob, {"email_address": "bob@example.com", "status_if_new": "pending", "language": "de"})
    put(bob, {"email_address": "bob@example.com", "status_if_new": "pending", "merge_fields": {"ADDRESS": {"zip": "1"}}}, 400)
    patch(ann, {"vip": True, "location": {"latitude": 48.4, "longitude": 10.0}})
    batch = [{"email_address": "eve@example.com", "status": "subscribed"}, {"email_address": "bad", "status": "subscribed"}]
    post(audience, {"members": [*batch, {"email_address": "ann@example.com", "vip": False}], "update_existing": True})
    post(f"{ann}/tags", {"tags": [{"name": "y", "status": "active"}]}, expect=204)
    get(f"{ann}/tags")
    get(f"{audience}/tag-search", name="y")
    post(f"{ann}/events", {"name": "page_viewed", "properties": {"url": "https://shop.example"}}, expect=204)
    twin.act_self_unsubscribe("ann@example.com")
    twin.act_complain("eve@example.com")
    get(f"{ann}/activity-feed")
    get(ann)
    patch(ann, {"status": "subscribed"}, expect=400)
    get(members, count=1000, sort_field="last_changed", sort_dir="ASC", since_last_changed="2020-01-01T00:00:00+00:00")
    get(members, status="unsubscribed", fields="members.email_address,total_items")
    reports = get(f"{audience}/abuse-reports")["abuse_reports"]
    get(f"{audience}/abuse-reports/{reports[0]['id']}")
    post(f"{audience}/webhooks", {"url": "http://127.0.0.1:9/", "events": {"subscribe": True}}, expect=400)
    get(f"{audience}/webhooks")
    delete(ann)
    delete(ann, expect=405)
    get(members, status="archived")
    post(f"{bob}/actions/delete-permanent", expect=204)
    get(bob, expect=404)
    store = "/ecommerce/stores/shop"
    post(
        "/ecommerce/stores",
        {"id": "shop", "list_id": LIST_ID, "name": "Shop", "currency_code": "EUR", "domain": "shop.example"},
    )
    post("/connected-sites", {"foreign_id": "site", "domain": "shop.example"})
    get("/connected-sites")
    get("/connected-sites/site")
    get("/ecommerce/stores")
    get(store)
    patch(store, {"is_syncing": True})
    product = {"id": "p", "title": "Mug", "variants": [{"id": "v", "title": "Blue", "price": 9.5, "inventory_quantity": 3}]}
    image = {"id": "i", "url": "https://shop.example/i.png", "variant_ids": ["v"]}
    post(f"{store}/products", product | {"images": [image], "published_at_foreign": "2026-01-01T00:00:00+00:00"})
    post(f"{store}/products", product, expect=400)
    get(f"{store}/products")
    get(f"{store}/products/p")
    patch(f"{store}/products/p", {"title": "Cup"})
    put(f"{store}/products/p/variants/w", {"id": "w", "title": "Red"})
    post(f"{store}/products/p/variants", {"id": "z", "title": "Green"})
    patch(f"{store}/products/p/variants/w", {"price": 1.5})
    get(f"{store}/products/p/variants")
    get(f"{store}/products/p/variants/w")
    delete(f"{store}/products/p/variants/w")
    customer = {"id": "c", "email_address": "kim@example.com", "opt_in_status": False, "first_name": "Kim"}
    put(f"{store}/customers/c", customer | {"address": {"city": "Ulm", "country_code": "DE"}})
    post(f"{store}/customers", customer | {"id": "d"})
    patch(f"{store}/customers/d", {"company": "Muster"})
    get(f"{store}/customers")
    get(f"{store}/customers/c")
    delete(f"{store}/customers/d")
    lines = [{"id": "1", "product_id": "p", "product_variant_id": "v", "quantity": 1, "price": 9.5, "discount": 0.5}]
    order = {"id": "o", "customer": {"id": "c"}, "currency_code": "EUR", "order_total": 9, "lines": lines}
    promos = [{"code": "TEN", "amount_discounted": 0.5, "type": "fixed"}]
    more = {"processed_at_foreign": "2026-01-01T00:00:00+00:00", "billing_address": {"name": "Kim", "city": "Ulm"}}
    post(f"{store}/orders", order | more | {"promos": promos, "financial_status": "paid"})
    post(f"{store}/orders", order, expect=400)
    patch(f"{store}/orders/o", {"financial_status": "refunded"})
    get(f"{store}/orders")
    get(f"{store}/orders/o")
    get("/ecommerce/orders", customer_id="c")
    post(f"{store}/orders/o/lines", lines[0] | {"id": "2"})
    patch(f"{store}/orders/o/lines/2", {"quantity": 2})
    get(f"{store}/orders/o/lines")
    get(f"{store}/orders/o/lines/2")
    delete(f"{store}/orders/o/lines/2")
    cart_lines = [{k: v for k, v in lines[0].items() if k != "discount"}]
    post(f"{store}/carts", order | {"id": "k", "lines": cart_lines, "checkout_url": "https://shop.example/k"})
    patch(f"{store}/carts/k", {"order_total": 8})
    get(f"{store}/carts")
    get(f"{store}/carts/k")
    delete(f"{store}/carts/k")
    rule = {"id": "r", "description": "Ten", "amount": 0.1, "type": "percentage", "target": "total"}
    post(f"{store}/promo-rules", rule | {"starts_at": "2026-01-01T00:00:00+00:00"})
    post(f"{store}/promo-rules", rule | {"id": "s", "amount": 10}, expect=400)
    patch(f"{store}/promo-rules/r", {"enabled": False})
    get(f"{store}/promo-rules")
    get(f"{store}/promo-rules/r")
    codes = f"{store}/promo-rules/r/promo-codes"
    post(codes, {"id": "t", "code": "TEN", "redemption_url": "https://shop.example"})
    patch(f"{codes}/t", {"usage_count": 1})
    get(codes)
    get(f"{codes}/t")
    delete(f"{codes}/t")
    delete(f"{store}/promo-rules/r")
    delete(f"{store}/orders/o")
    delete(f"{store}/products/p")
    delete("/connected-sites/site")
    delete(store)
    batched = post("/batches", {"operations": [{"method": "GET", "path": "/ping", "operation_id": "p"}]})
    while batched["status"] != "finished":
        time.sleep(0.01)
        batched = get(f"/batches/{batched['id']}")
    get("/batches")
    delete(f"/batches/{batched['id']}")
    delete(f"{audience}/merge-fields/{field['merge_id']}")
    get("/batches/none", expect=404)
    return count


def test_every_answer_has_the_described_shape() -> None:
    description()
    twin = Mailchimp(batch_seconds=0)
    with serve(twin) as running:
        hooks: dict[str, list[Callable[..., Any]]] = {"response": [check]}
        with httpx.Client(base_url=f"{running.url}/3.0", auth=("any", KEY), trust_env=False, event_hooks=hooks) as client:
            assert tour(twin, client) > 90


# Prism stands between client and twin and refuses what does not fit the description.


def ran(command: list[str], folder: Path, why: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=110)
    if done.returncode:
        pytest.skip(f"{why}: {done.stderr.strip()[-300:]}")


def tools_folder(name: str) -> Path:
    folder = TOOLS / name
    folder.mkdir(parents=True, exist_ok=True)
    (TOOLS / ".gitignore").write_text("*\n")
    return folder


@pytest.fixture(scope="module")
def prism() -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    folder = tools_folder("node")
    with filelock.FileLock(str(TOOLS / "node.lock")):
        wanted = (ROOT / "tests" / "tools" / "package-lock.json").read_text()
        lock = folder / "package-lock.json"
        command = folder / "node_modules" / ".bin" / "prism"
        if not command.exists() or lock.read_text() != wanted:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(ROOT / "tests" / "tools" / name, folder / name)
            ran([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, "npm could not install Prism")
    return command


@contextlib.contextmanager
def proxy(command: Path, upstream: str, folder: Path) -> Iterator[str]:
    """Prism before `upstream`; gives its address."""
    file = folder / "description.json"
    file.write_bytes(orjson.dumps(description()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    call = [str(command), "proxy", str(file), upstream, "--errors", "--port", str(port), "--host", "127.0.0.1"]
    with (folder / "prism.log").open("w") as log:
        process = subprocess.Popen(call, stdout=log, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                assert process.poll() is None, (folder / "prism.log").read_text()[-2000:]
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_prism_lets_every_call_and_answer_through(prism: Path, tmp_path: Path) -> None:
    description()
    twin = Mailchimp(batch_seconds=0)

    def no_complaint(answer: httpx.Response) -> None:
        answer.read()
        assert "sl-violations" not in answer.headers, answer.headers["sl-violations"]
        assert b"stoplight.io" not in answer.content, f"{answer.request.method} {answer.request.url.path} {answer.text}"

    with serve(twin) as running, proxy(prism, f"{running.url}/3.0", tmp_path) as url:
        hooks: dict[str, list[Callable[..., Any]]] = {"response": [no_complaint]}
        with httpx.Client(base_url=url, auth=("any", KEY), trust_env=False, event_hooks=hooks, timeout=30) as client:
            assert tour(twin, client) > 90


# A Singer tap, in its own virtual environment because of its pins.

LAUNCH = """
import sys
from tap_mailchimp import main
from tap_mailchimp.client import MailchimpClient

url = sys.argv.pop(1)


def ask_the_twin(self):
    found = self.request("GET", url=url + "/oauth2/metadata", endpoint="base_url")
    self._MailchimpClient__base_url = found["api_endpoint"]


MailchimpClient.get_base_url = ask_the_twin
main()
"""


@pytest.fixture(scope="module")
def tap() -> Path:
    """The Python of an environment that holds the tap."""
    folder = tools_folder("tap-mailchimp")
    python = folder / "bin" / "python"
    with filelock.FileLock(str(TOOLS / "tap-mailchimp.lock")):
        done = folder / "installed.txt"
        if not done.exists() or done.read_text() != TAP:
            ran([sys.executable, "-m", "venv", "--clear", str(folder)], TOOLS, "no virtual environment can be made")
            ran([str(python), "-m", "pip", "install", "--quiet", TAP], TOOLS, f"{TAP} cannot be installed")
            done.write_text(TAP)
    return python


def read_with(tap: Path, url: str, folder: Path, state: dict[str, Any]) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """What the tap reads, by stream, and the state it would go on from."""
    files = {name: folder / f"{name}.json" for name in ("config", "catalog", "state")}
    config = {"access_token": KEY, "start_date": "2015-01-01T00:00:00+00:00", "page_size": "7"}
    files["config"].write_bytes(orjson.dumps(config))
    files["state"].write_bytes(orjson.dumps(state))

    def call(*more: str) -> bytes:
        command = [str(tap), "-c", LAUNCH, url, "--config", str(files["config"]), *more]
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=100, env=os.environ | {"NO_PROXY": "127.0.0.1"}
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout

    catalog = orjson.loads(call("--discover"))
    for stream in catalog["streams"]:
        chosen = stream["tap_stream_id"] in {"lists", "list_members"}
        stream["metadata"].append({"breadcrumb": [], "metadata": {"selected": chosen}})
        for field in stream["metadata"]:
            if field["metadata"].get("inclusion") == "available":
                field["metadata"]["selected"] = chosen
    files["catalog"].write_bytes(orjson.dumps(catalog))
    records: dict[str, list[Any]] = {}
    for line in call("--catalog", str(files["catalog"]), "--state", str(files["state"])).splitlines():
        message = orjson.loads(line)
        if message["type"] == "RECORD":
            records.setdefault(message["stream"], []).append(message["record"])
        elif message["type"] == "STATE":
            state = message["value"]
    return records, state


def test_a_singer_tap_reads_what_the_twin_holds_and_then_only_what_changed(tap: Path, tmp_path: Path) -> None:
    twin = Mailchimp()
    statuses = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived")
    people = [
        {"email": f"p{n}@example.com", "status": statuses[n % 6], "first_name": f"P{n}", "tags": ["old"]}
        | {"last_changed": f"2026-01-{n + 1:02}T00:00:00+00:00", "timestamp_opt": "2025-01-01T00:00:00+00:00"}
        for n in range(24)
    ]
    twin.load_contacts(LIST_ID, people)
    with serve(twin) as running:
        records, state = read_with(tap, running.url, tmp_path, {})
        held = {m["email_address"]: m for m in twin.state()["members"] if m["status"] != "archived"}
        assert [x["id"] for x in records["lists"]] == [LIST_ID]
        read = {m["email_address"]: m for m in records["list_members"]}
        assert len(records["list_members"]) == len(read)
        assert {e: (m["id"], m["status"], m["list_id"]) for e, m in read.items()} == {
            e: (m["id"], m["status"], m["list_id"]) for e, m in held.items()
        }
        assert [t["name"] for t in read["p0@example.com"]["tags"]] == ["old"]
        twin.act_self_unsubscribe("p0@example.com")
        again, _ = read_with(tap, running.url, tmp_path, state)
        changed = [(m["email_address"], m["status"], m["unsubscribe_reason"]) for m in again["list_members"]]
        assert changed == [("p0@example.com", "unsubscribed", "No longer interested")]
