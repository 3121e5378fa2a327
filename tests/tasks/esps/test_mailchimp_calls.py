"""How many calls that write contacts a sync makes, counted at the twin: it is bounded, and never one a person.

Whole runs over real HTTP, with all that bounds a call a hundredth of what it really is: 60 people cost what 6,000 do, enough to
tell three calls a thousand from four.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from prefect import Task

import flows.forward
from sandbox.mailchimp import KEY, LIST_ID
from sandbox.mailchimp import Mailchimp as Twin
from sandbox.server import serve
from sandbox.woocommerce import WooCommerce
from sandbox.world import Account, Address, World
from tasks.esps.mailchimp import Mailchimp, batches, connector

PEOPLE, SCALE = 60, 100
KINDS = 5
"""Kinds of writes to contacts, whose last call need not be full: the constant of the bound (20 is promised)."""
BOUND = 3 * PEOPLE / (1000 / SCALE) + KINDS
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CONFIG = """\
[settings]
data_dir = "state"

[connections.demo]
policy = "consent-first"

[connections.demo.guards]
subscribe = 1.0

[connections.demo.shop]
platform = "woocommerce"
url = "{shop}"
consumer_key = "ck_sandbox"
consumer_secret = "cs_sandbox"
consent_meta_key = "newsletter_optin"

[connections.demo.esp]
platform = "mailchimp"
api_key = "{key}"
list_id = "{list_id}"
base_url = "{esp}/3.0"
"""


class CountingTwin(Twin):
    """Counts the calls that write contacts by what they write; a batch is one call, whatever it carries."""

    def __init__(self) -> None:
        self.writes: Counter[str] = Counter()
        super().__init__(batch_seconds=0, call_seconds=0)

    def _timed(self, *call: Any) -> tuple[int, bytes]:
        method, path, _, body, _ = call
        if method == "POST" and path == "/batches":
            kinds = {_kind(one["method"], one["path"]) for one in orjson.loads(body)["operations"]}
            self.writes.update(kinds - {""})
        elif kind := _kind(method, path):
            self.writes[f"{kind}, called alone" if "{}" in kind else kind] += 1
        return super()._timed(*call)


def _kind(method: str, path: str) -> str:
    is_contact = method != "GET" and re.search(r"^/lists/\w+($|/members)", path)
    return f"{method} {re.sub(r'(?<=/members/)[^/]+', '{}', path)}" if is_contact else ""


@contextmanager
def synced(folder: Path, esp: CountingTwin) -> Iterator[None]:
    """A shop of people who all ticked the newsletter, before an audience."""
    shop = WooCommerce()
    accounts = tuple(_account(number) for number in range(1, PEOPLE + 1))
    shop.from_world(World(START + timedelta(days=60), accounts, (), (), (), (), ()))
    with serve(shop) as at_shop, serve(esp) as at_esp:
        config = CONFIG.format(shop=at_shop.url, esp=at_esp.url, key=KEY, list_id=LIST_ID)
        (folder / "shopsync.toml").write_text(config, encoding="utf-8")
        yield


def address(number: int) -> str:
    return f"p{number}@example.com"


def _account(number: int) -> Account:
    home = Address(f"Anna{number}", "Öberg", "", "Malmö", "211 20", "SE", address(number), "")
    return Account(number, address(number), home.first_name, home.last_name, "sv", home, START, None, "1", None)


@pytest.fixture
def scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {kind: size // SCALE for kind, size in Mailchimp.capabilities.batch_size.items()}
    monkeypatch.setattr(Mailchimp, "capabilities", replace(Mailchimp.capabilities, batch_size=sizes))
    monkeypatch.setattr(connector, "STATUSES_AT_ONCE", connector.STATUSES_AT_ONCE // SCALE)
    monkeypatch.setattr(batches, "MOST_OPERATIONS", batches.MOST_OPERATIONS // SCALE)


@pytest.fixture
def without_prefect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in list(vars(flows.forward).items()):
        if isinstance(value, Task):
            monkeypatch.setattr(flows.forward, name, value.fn)
    monkeypatch.setenv("SHOPSYNC_CONFIG", str(tmp_path / "shopsync.toml"))


MEMBERS = f"/lists/{LIST_ID}"
CREATE, STATUS = f"POST {MEMBERS}", f"PUT {MEMBERS}/members/{{}}"
PROFILE, TAGS = f"PATCH {MEMBERS}/members/{{}}", f"POST {MEMBERS}/members/{{}}/tags"


@pytest.mark.usefixtures("scaled_down", "without_prefect")
@pytest.mark.parametrize(
    ("known", "calls"),
    [
        pytest.param(0, {CREATE: 12, TAGS: 6}, id="a fresh audience"),
        pytest.param(PEOPLE, {STATUS: 6, PROFILE: 6, TAGS: 6}, id="all are there, and all of each changes"),
        pytest.param(PEOPLE // 3, {CREATE: 8, STATUS: 2, PROFILE: 2, TAGS: 6}, id="mixed"),
    ],
)
def test_writing_contacts_takes_three_calls_a_thousand_people(tmp_path: Path, known: int, calls: dict[str, int]) -> None:
    esp = CountingTwin()
    esp.load_contacts(
        LIST_ID,
        [{"email": address(n), "status": "transactional", "first_name": "Old"} for n in range(1, known + 1)],
    )
    with synced(tmp_path, esp):
        flows.forward.forward.fn("demo")
        members = esp.state()["members"]
        assert {m["status"] for m in members} == {"subscribed"}
        assert {m["merge_fields"]["LNAME"] for m in members} == {"Öberg"}
        assert {tuple(m["tags"]) for m in members} == {("Subscriber", "WooCommerce")}
        assert esp.writes == calls
        assert esp.writes.total() <= BOUND
        esp.writes.clear()
        flows.forward.forward.fn("demo")
        assert esp.writes == {}
