"""What all twins share: real HTTP on 127.0.0.1, a call log, faults on demand, and a control door.

A twin is a Starlette application that keeps its state in memory and refuses what the real platform refuses. Around it stands
`Door`, which logs each call, plays the faults that a test ordered, and answers below `/_sandbox/` to whoever plays the people
and the merchant (the platform's own API never sees that path).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson
import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Twin(Protocol):
    """A platform on this machine.

    `app` speaks the platform's wire format. Every method whose name starts with `act_` is something a person, a merchant or
    the platform itself does ("self unsubscribe", "order placed"); `POST /_sandbox/do {"action": ..., "args": {...}}` calls it.
    `state()` is everything the platform holds, as JSON, so that both sides can be compared.
    """

    name: str
    app: Starlette
    lock: threading.RLock

    def state(self) -> dict[str, Any]: ...


@dataclass
class Fault:
    """One thing that goes wrong: for calls that match, after skipping `skip` of them, `times` times (-1: always).

    `drop_before` closes the connection before the platform has seen the call, `drop_after` when it has carried it out,
    `truncate` sends half of the answer, `status` and `redirect` answer in the platform's stead, `latency` waits first.
    """

    kind: Literal["latency", "status", "drop_before", "drop_after", "truncate", "redirect"]
    path: str = ".*"
    method: str = ".*"
    skip: int = 0
    times: int = 1
    seconds: float = 0.0
    status: int = 503
    location: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def hits(self, method: str, path: str) -> bool:
        if self.times == 0 or not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times > 0:
            self.times -= 1
        return True


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    query: str
    status: int
    at: datetime


class Door:
    """The ASGI application in front of a twin.

    `before` and `after` are called around every platform call with (number of the call from 1, method, path): tests hang a
    SIGKILL of the program under test there, to cut a sync at each call.
    """

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.before: Callable[[int, str, str], None] | None = None
        self.after: Callable[[int, str, str], None] | None = None
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.twin.app(scope, receive, send)
        elif scope["path"].startswith("/_sandbox/"):
            await self._control(scope, receive, send)
        else:
            await self._platform(scope, receive, send)

    async def _platform(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._count += 1
        number, method, path = self._count, scope["method"], scope["path"]
        fault = next((f for f in self.faults if f.hits(method, path)), None)
        if self.before:
            self.before(number, method, path)
        answer: list[MutableMapping[str, Any]] = []

        async def collect(message: MutableMapping[str, Any]) -> None:
            answer.append(message)

        if fault and fault.kind == "latency":
            await asyncio.sleep(fault.seconds)
        if fault and fault.kind == "drop_before":
            self._hang_up(receive)
            return
        if fault and fault.kind in {"status", "redirect"}:
            headers = fault.headers | ({"location": fault.location} if fault.location else {})
            status = fault.status if fault.kind == "status" else (fault.status if fault.status in range(300, 400) else 302)
            await Response(fault.body, status, headers)(scope, receive, collect)
        else:
            await self.twin.app(scope, receive, collect)
        self.calls.append(Call(method, path, scope["query_string"].decode(), answer[0]["status"], utc_now()))
        if self.after:
            self.after(number, method, path)
        if fault and fault.kind == "drop_after":
            self._hang_up(receive)
            return
        if fault and fault.kind == "truncate":
            body = b"".join(m.get("body", b"") for m in answer[1:])
            await send(answer[0])
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            self._hang_up(receive)
            return
        for message in answer:
            await send(message)

    @staticmethod
    def _hang_up(receive: Receive) -> None:
        # ASGI has no word for "close the line"; uvicorn's request cycle, which `receive` is bound to, holds the transport.
        transport = receive.__self__.transport  # type: ignore[attr-defined]
        transport.abort()

    async def _control(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = orjson.loads(body) if body else {}
        what = scope["path"].removeprefix("/_sandbox/")
        with self.twin.lock:
            if what == "state":
                result: Any = self.twin.state()
            elif what == "calls":
                result = [asdict(c) for c in self.calls]
                if asked.get("forget"):
                    self.calls.clear()
            elif what == "faults":
                self.faults[:] = [Fault(**f) for f in asked["faults"]]
                result = len(self.faults)
            elif what == "do":
                result = getattr(self.twin, "act_" + asked["action"])(**asked.get("args", {}))
            else:
                await Response("unknown door", 404)(scope, receive, send)
                return
        await Response(orjson.dumps(result, default=str), media_type="application/json")(scope, receive, send)


@dataclass(frozen=True)
class Running:
    """A twin that is being served: `url` without a trailing slash; `ca_file` is set when it speaks TLS."""

    url: str
    door: Door
    ca_file: Path | None = None


@contextlib.contextmanager
def serve(twin: Twin, *, port: int = 0, tls_folder: Path | None = None) -> Iterator[Running]:
    """Serve a twin on 127.0.0.1 (port 0: a free one) until the block ends.

    With `tls_folder` it speaks https with a certificate made there by a new private authority, whose file is `ca_file`.
    """
    door = Door(twin)
    config = uvicorn.Config(door, log_level="critical", access_log=False, lifespan="off", timeout_keep_alive=30)
    ca_file = None
    if tls_folder is not None:
        authority = trustme.CA()
        ca_file = tls_folder / "sandbox-ca.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        config.load()
        config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(config.ssl)
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    # Head and body of an answer are two writes; without this the second waits some 40 ms for an acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=f"sandbox-{twin.name}", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError(f"the sandbox's {twin.name} did not start")
        time.sleep(0.01)
    try:
        scheme = "https" if ca_file else "http"
        yield Running(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", door, ca_file)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
