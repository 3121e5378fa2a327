"""Contract of every shop: a delivery is believed only with its signature, and our webhooks are ours alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

import pytest
from bench import Bench, Order
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from sandbox.server import serve
from tasks.connector import Notice, SetupError, Webhook

PATH = "/webhooks/acme/de"


@dataclass
class Receiver:
    """Keeps what is sent to it."""

    name: str = "receiver"
    url: str = ""
    lock: RLock = field(default_factory=RLock)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = Starlette()
        self.app.add_route("/{path:path}", self._take, methods=["POST"])

    async def _take(self, request: Request) -> Response:
        self.came.append((dict(request.headers), await request.body()))
        return Response()

    def state(self) -> dict[str, Any]:
        return {}


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with serve(receiver := Receiver(), tls_folder=tmp_path_factory.mktemp("tls")) as running:
        receiver.url = running.url
        yield receiver


@pytest.fixture
def receiver(listening: Receiver) -> Receiver:
    listening.came.clear()
    return listening


@pytest.fixture
def talking(bench: Bench) -> Bench:
    """A shop that sends webhooks; one that does not says so when it is asked to."""
    if not bench.shop.capabilities.webhooks:
        assert bench.shop.webhook({}, b"{}") is None
        assert bench.shop.notice("customer", b"{}") == Notice()
        with pytest.raises(SetupError):
            bench.shop.connect_webhooks("https://shopsync.example/webhooks")
        pytest.skip(f"{bench.platform} sends no webhooks")
    return bench


def heard(bench: Bench, receiver: Receiver) -> list[Webhook]:
    """What has come and proved to come from the shop, since the last time."""
    bench.deliver()
    came = [found for headers, body in receiver.came if (found := bench.shop.webhook(headers, body))]
    receiver.came.clear()
    return came


def told(bench: Bench, receiver: Receiver) -> set[str]:
    return {i for hook in heard(bench, receiver) for i in bench.shop.notice(hook.topic, hook.body).customer_ids}


def test_each_change_of_an_account_is_told(talking: Bench, receiver: Receiver) -> None:
    talking.shop.connect_webhooks(receiver.url + PATH)
    someone = talking.sign_up("a@example.com", "in")
    assert told(talking, receiver) == {someone}
    talking.rename(someone, "Anna")
    assert told(talking, receiver) == {someone}
    talking.order(Order(talking.product("Mugg", "10.00"), customer_id=someone))
    assert told(talking, receiver) == {someone}
    other = talking.sign_up("b@example.com")
    heard(talking, receiver)
    talking.delete(other)
    assert told(talking, receiver) == {other}


def test_only_what_is_signed_is_believed(talking: Bench, receiver: Receiver) -> None:
    talking.shop.connect_webhooks(receiver.url + PATH)
    talking.sign_up("a@example.com", "in")
    talking.deliver()
    headers, body = next((h, b) for h, b in receiver.came if talking.shop.webhook(h, b))
    shouted = {name.upper(): value for name, value in headers.items()}
    assert talking.shop.webhook(shouted, body) == talking.shop.webhook(headers, body)
    assert talking.shop.webhook(headers, body.replace(b"a@example.com", b"b@example.com")) is None
    assert talking.shop.webhook(headers, body + b" ") is None
    assert talking.shop.webhook({}, body) is None
    proof = [name for name in headers if not talking.shop.webhook({k: v for k, v in headers.items() if k != name}, body)]
    assert proof, "one header proves it"
    for name in proof:
        for wrong in ("", "x", "ä", headers[name][:-1], headers[name].swapcase()):
            assert talking.shop.webhook(headers | {name: wrong}, body) is None
    assert talking.connect(**talking.other_secret()).webhook(headers, body) is None


def test_what_another_shop_sent_is_not_ours(talking: Bench, receiver: Receiver) -> None:
    talking.shop.connect_webhooks(receiver.url + PATH)
    if talking.shares_secret:
        talking.call_itself("other.example")
    talking.sign_up("a@example.com", "in")
    assert bool(heard(talking, receiver)) != talking.shares_secret


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"id": null}', b'{"id": "x"}', b'{"customer": []}', b"\xff"])
def test_a_body_that_says_nothing_is_no_reason_to_stop(talking: Bench, receiver: Receiver, body: bytes) -> None:
    talking.shop.connect_webhooks(receiver.url + PATH)
    talking.sign_up("a@example.com")
    topics = {hook.topic for hook in heard(talking, receiver)} | {"", "unknown", "a/b", "a.b"}
    assert {talking.shop.notice(topic, body) for topic in topics} == {Notice()}


def test_what_people_ask_for_through_the_shop(bench: Bench) -> None:
    for topic, body, request in bench.privacy_notices():
        assert bench.shop.notice(topic, body).request == request


def test_connecting_twice_is_as_once(talking: Bench, receiver: Receiver) -> None:
    talking.shop.connect_webhooks(receiver.url + PATH)
    once = sorted(talking.webhooks())
    assert once
    assert {*once} == {receiver.url + PATH}
    talking.connect().connect_webhooks(receiver.url + PATH)
    assert sorted(talking.webhooks()) == once


def test_a_move_to_another_host_leaves_no_double(talking: Bench, receiver: Receiver) -> None:
    talking.shop.connect_webhooks("https://old.example" + PATH)
    topics = len(talking.webhooks())
    talking.shop.connect_webhooks(receiver.url + PATH)
    assert talking.webhooks() == [receiver.url + PATH] * topics


def test_what_the_shop_gave_up_is_made_anew(talking: Bench, receiver: Receiver) -> None:
    talking.shop.connect_webhooks(receiver.url + PATH)
    topics = len(talking.webhooks())
    talking.give_up_webhooks()
    talking.shop.connect_webhooks(receiver.url + PATH)
    assert len(talking.webhooks()) == topics
    heard(talking, receiver)
    someone = talking.sign_up("a@example.com")
    assert told(talking, receiver) == {someone}


def test_disconnecting_leaves_the_webhooks_of_others(talking: Bench, receiver: Receiver) -> None:
    other = "https://other.example/in"
    talking.foreign_webhook(other)
    talking.shop.connect_webhooks(receiver.url + PATH)
    for _ in range(2):
        talking.shop.disconnect_webhooks("https://moved.example" + PATH)
        assert talking.webhooks() == [other]
    talking.sign_up("a@example.com")
    assert heard(talking, receiver) == []
