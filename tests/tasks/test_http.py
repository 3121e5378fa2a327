"""The HTTP client against a server that misbehaves: what is repeated, what is not, and what never leaves in a message."""

from __future__ import annotations

import gzip
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina.instrumentation
import time_machine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.server import Fault, Running, serve
from tasks.connector import ConnectorError, RefusedCall, SetupError, TryLater
from tasks.http import Api, Patience, Slots, _retry_after

SECRET = "s3cr3t"
ANSWERS: dict[str, tuple[bytes, str, int]] = {
    "html": (b"<!DOCTYPE html><p>Please log in", "text/html; charset=UTF-8", 200),
    "bom": (b'\xef\xbb\xbf{"fine": true}', "application/json", 200),
    "warned": (b"<br />\n<b>Warning</b>: oh in plugin.php<br />{}", "application/json", 200),
    "cut": (b'{"fine": tr', "application/json", 200),
    "empty": (b"", "application/json", 200),
    "taken": (b'{"code": "taken", "message": "anna@example.com exists", "data": {"status": 400}}', "application/json", 400),
    "mailchimp": (b'{"title": "Invalid Resource", "detail": "Sorry", "status": 400}', "application/problem+json", 400),
    "wall": (b"<html>Forbidden</html>", "text/html", 403),
}


class Odd:
    """A platform that answers in every odd way, and counts the calls that it carried out and how many at once."""

    name = "odd"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.carried_out = 0
        self.busiest = 0
        self._now = 0
        self.app = Starlette(
            routes=[
                Route("/slow", self.slow),
                Route("/zip", self.half_zipped),
                Route("/{what}", self.answer, methods=["GET", "POST", "PUT"]),
            ]
        )

    def state(self) -> dict[str, Any]:
        return {}

    def answer(self, request: Request) -> Response:
        with self.lock:
            self.carried_out += 1
        body, kind, status = ANSWERS.get(request.path_params["what"], (b'{"fine": true}', "application/json", 200))
        return Response(body, status, media_type=kind)

    def half_zipped(self, _: Request) -> Response:
        whole = gzip.compress(b'{"fine": true}')
        return Response(whole[:-9] + b"garbage!!", media_type="application/json", headers={"content-encoding": "gzip"})

    def slow(self, _: Request) -> Response:
        with self.lock:
            self._now += 1
            self.busiest = max(self.busiest, self._now)
        time.sleep(0.02)
        with self.lock:
            self._now -= 1
        return JSONResponse({})


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Odd, Running]]:
    odd = Odd()
    with serve(odd) as server:
        yield odd, server


@pytest.fixture
def odd(served: tuple[Odd, Running]) -> Odd:
    served[0].carried_out = served[0].busiest = 0
    return served[0]


@pytest.fixture
def running(served: tuple[Odd, Running], odd: Odd) -> Running:
    door = served[1].door
    door.faults.clear()
    door.calls.clear()
    return served[1]


@pytest.fixture
def api(running: Running, tmp_path: Path) -> Api:
    return make_api(running.url, tmp_path)


def make_api(url: str, folder: Path, patience: Patience | None = None) -> Api:
    return Api(
        url,
        name="The shop",
        slots=Slots(folder, "account", 2),
        auth=httpx.BasicAuth("key", SECRET),
        patience=patience or Patience(attempts=3, seconds=5, first_wait=0.01),
    )


@pytest.fixture
def waits() -> Iterator[list[float]]:
    """How long was waited before each repetition (seconds)."""
    found: list[float] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: found.append(details.wait_for)])
    yield found
    stamina.instrumentation.set_on_retry_hooks(None)


def paths(running: Running) -> list[tuple[str, int]]:
    return [(call.path, call.status) for call in running.door.calls]


# what is repeated


@pytest.mark.parametrize("status", [429, 430, 502, 503, 504, 500])
def test_a_busy_shop_is_asked_again(api: Api, running: Running, status: int) -> None:
    running.door.faults = [Fault("status", status=status)]
    assert api.get("/fine").json == {"fine": True}
    assert paths(running) == [("/fine", status), ("/fine", 200)]


def test_patience_ends_and_says_that_nothing_is_lost(api: Api, running: Running) -> None:
    running.door.faults = [Fault("status", status=503, times=-1)]
    with pytest.raises(TryLater, match=r"The shop did not answer \(busy: 503\); .* run again later: nothing is lost"):
        api.get("/fine")
    assert len(running.door.calls) == 3


def test_retry_after_in_seconds_is_waited_for(api: Api, running: Running, waits: list[float]) -> None:
    running.door.faults = [Fault("status", status=429, headers={"Retry-After": "0.3"})]
    assert api.get("/fine").status == 200
    assert waits == [pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("12", 12),
        ("-5", 0),
        ("Sun, 22 Nov 2026 04:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 03:59:00 GMT", 0),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    with time_machine.travel("2026-11-22T04:00:00Z", tick=False):
        assert _retry_after(httpx.Response(429, headers={"Retry-After": header})) == seconds


def test_a_longer_retry_after_than_our_patience_ends_it_at_once(api: Api, running: Running) -> None:
    running.door.faults = [Fault("status", status=429, times=-1, headers={"Retry-After": "3600"})]
    with pytest.raises(TryLater, match="asks to wait 3600 s"):
        api.get("/fine")
    assert len(running.door.calls) == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate"])
def test_a_lost_read_is_repeated(api: Api, running: Running, kind: Any) -> None:
    running.door.faults = [Fault(kind)]
    assert api.get("/fine").json == {"fine": True}


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "truncate"])
def test_a_lost_post_is_not_repeated(api: Api, running: Running, odd: Odd, kind: Any) -> None:
    running.door.faults = [Fault(kind)]
    with pytest.raises(TryLater, match="did not say whether it carried out a call"):
        api.request("POST", "/fine", json={})
    assert odd.carried_out == (0 if kind == "drop_before" else 1)


def test_a_lost_post_is_repeated_where_the_caller_knows_that_it_may(api: Api, running: Running, odd: Odd) -> None:
    running.door.faults = [Fault("drop_after")]
    assert api.request("POST", "/fine", json={}, repeatable=True).json == {"fine": True}
    assert odd.carried_out == 2


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_post_that_failed_halfway_is_not_repeated(api: Api, running: Running, status: int) -> None:
    running.door.faults = [Fault("status", status=status, times=-1)]
    with pytest.raises(TryLater):
        api.request("POST", "/fine", json={})
    assert len(running.door.calls) == 1


def test_a_post_that_was_turned_away_is_repeated(api: Api, running: Running) -> None:
    running.door.faults = [Fault("status", status=429)]
    assert api.request("POST", "/fine", json={}).status == 200


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(TryLater, match="no connection"):
        make_api("http://127.0.0.1:1", tmp_path).get("/fine")


# what stops


def test_a_redirect_is_refused_and_shown_without_its_query(api: Api, running: Running) -> None:
    running.door.faults = [Fault("redirect", location=f"https://u:{SECRET}@other.example/login?key={SECRET}")]
    with pytest.raises(SetupError) as error:
        api.get("/fine")
    assert "redirects our call to https://other.example/login: " in str(error.value)
    assert len(running.door.calls) == 1


def test_a_page_instead_of_data_is_a_setup_error(api: Api) -> None:
    with pytest.raises(SetupError, match="a page instead of data"):
        api.get("/html")


def test_warnings_in_front_of_the_data_are_a_setup_error(api: Api) -> None:
    with pytest.raises(SetupError, match="writes text in front of its data"):
        api.get("/warned")


def test_an_unknown_certificate_is_a_setup_error(tmp_path: Path) -> None:
    with serve(Odd(), tls_folder=tmp_path) as server, pytest.raises(SetupError, match="set ca_file"):
        make_api(server.url, tmp_path).get("/fine")


def test_a_byte_order_mark_is_forgiven_and_an_empty_answer_is_none(api: Api) -> None:
    assert api.get("/bom").json == {"fine": True}
    assert api.get("/empty").json is None


def test_an_answer_that_is_always_cut_short_ends_as_try_later(api: Api) -> None:
    with pytest.raises(TryLater, match="cut short"):
        api.get("/cut")
    with pytest.raises(TryLater, match="connection lost"):
        api.get("/zip")


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("/taken", 400, "taken", "… exists"),
        ("/mailchimp", 400, "Invalid Resource", "Sorry"),
        ("/wall", 403, "Forbidden", ""),
    ],
)
def test_a_refusal_keeps_the_platforms_words(api: Api, path: str, status: int, code: str, message: str) -> None:
    with pytest.raises(RefusedCall) as refused:
        api.request("PUT", path, json={})
    assert (refused.value.status, refused.value.code, refused.value.message) == (status, code, message)


# what is never told


def test_no_secret_and_no_query_in_messages_and_logs(api: Api, running: Running, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    params = {"api_key": SECRET, "email": "anna@example.com"}
    said = []
    for fault in (
        Fault("status", status=503),
        Fault("drop_before"),
        Fault("truncate"),
        Fault("status", status=500, times=-1),
        Fault("redirect", location=f"/x?api_key={SECRET}"),
        Fault("status", status=429, headers={"Retry-After": "999"}),
    ):
        running.door.faults = [fault]
        try:
            api.get("/fine", params)
        except ConnectorError as error:
            said.append(str(error))
    with pytest.raises(RefusedCall) as refused:
        api.get("/taken", params)
    told = "\n".join([caplog.text, *said, str(refused.value)])
    assert "trying again" in told
    for private in (SECRET, "api_key", "anna@example.com", "anna%40example.com", "Basic "):
        assert private not in told


# limits of the account


ANOTHER_PROGRAM = """
import pathlib, sys
from tasks.http import Api, Slots
api = Api(sys.argv[1], name="The shop", slots=Slots(pathlib.Path(sys.argv[2]), "one account", 1))
for _ in range(10):
    api.get("/slow")
"""


def test_slots_are_shared_between_processes(running: Running, odd: Odd, tmp_path: Path) -> None:
    program = [sys.executable, "-c", ANOTHER_PROGRAM, running.url, str(tmp_path)]
    others = [subprocess.Popen(program) for _ in range(2)]
    assert [process.wait() for process in others] == [0, 0]
    assert len(running.door.calls) == 20
    assert odd.busiest == 1


def test_slots_let_as_many_through_as_the_account_takes(running: Running, odd: Odd, tmp_path: Path) -> None:
    api = make_api(running.url, tmp_path)
    threads = [threading.Thread(target=api.get, args=("/slow",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= odd.busiest <= 2
