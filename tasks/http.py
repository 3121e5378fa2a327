"""The one place where HTTP happens: timeouts, bounded retries, limits that belong to the account, redirects refused.

What may be repeated is repeated here; what may not (a POST whose answer got lost) ends as `TryLater`, and the ledger finds out
at the other side what became of it. Query strings and bodies are never logged: they hold keys and addresses.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import filelock
import httpx
import orjson
import stamina

from tasks.addresses import without_addresses
from tasks.connector import RefusedCall, SetupError, TryLater

stamina.instrumentation.set_on_retry_hooks([])  # it would log on its own; we do, with what failed

log = logging.getLogger(__name__)
T = TypeVar("T")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, and some platforms take keys in the query
logging.getLogger("httpcore").setLevel(logging.WARNING)  # at DEBUG it logs headers, where a redirect's query stands
logging.getLogger("filelock").setLevel(logging.WARNING)

BUSY = frozenset({429, 430, 502, 503, 504})
"""Answers that say "not now": the call was not carried out (Shopify's 430 included) or a gateway gave up on it."""

_UNSAID = "{name} did not say whether it carried out a call; run again, it is looked up before it is repeated."


@dataclass(frozen=True)
class Answer:
    """One good answer (2xx): its JSON (None when there is no body), its headers, and when it was asked and answered (UTC)."""

    status: int
    json: Any
    headers: Mapping[str, str]
    asked_at: datetime
    answered_at: datetime


@dataclass(frozen=True)
class Slots:
    """How many calls may be under way to one account at the same time, counted over all processes of this machine."""

    folder: Path
    account: str
    size: int

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(self.account.encode()).hexdigest()[:16]
        locks = [filelock.FileLock(self.folder / f"{name}-{n}.lock") for n in range(self.size)]
        while True:
            for lock in locks:
                with contextlib.suppress(filelock.Timeout):
                    lock.acquire(timeout=0)
                    try:
                        yield
                    finally:
                        lock.release()
                    return
            time.sleep(0.02)


@dataclass(frozen=True)
class Patience:
    """How long one call is tried: at most `attempts` times and `seconds` in all; a longer Retry-After ends it at once."""

    attempts: int = 6
    seconds: float = 120.0
    first_wait: float = 0.5


@cache
def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    """Which certificates are believed. Reading the usual authorities takes longer than most calls, so it is done once."""
    return ssl.create_default_context(cafile=str(ca_file)) if ca_file else httpx.create_ssl_context()


class Redirected(SetupError):
    """The other side sends our call to `where`. A connector may know better what to do about that."""

    def __init__(self, name: str, where: str) -> None:
        super().__init__(
            f"{name} redirects our call to {where}: if that is its right address, set it in shopsync.toml; otherwise take the "
            "shop out of its test, 'coming soon' or password mode. Keys never follow a redirect."
        )
        self.where = where


class _Again(Exception):
    """One failed attempt that may be repeated; `after` is what the other side asked for (seconds)."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class Api:
    """A platform's API at one base URL.

    `name` is what messages call it ("the shop", "Mailchimp"). Raises `TryLater` when patience ends, `SetupError` for a redirect
    or a page instead of data, `RefusedCall` for every other 4xx; its message holds no addresses, its body may.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        slots: Slots,
        auth: httpx.Auth | None = None,
        headers: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        timeout: float = 60.0,
        ca_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        self._slots = slots
        self._patience = patience or Patience()
        self._auth = auth
        self._client = httpx.Client(
            headers={"User-Agent": "shopsync", "Accept": "application/json", **(headers or {})},
            timeout=httpx.Timeout(timeout, connect=15.0),
            follow_redirects=False,
            verify=_trusted(ca_file),
            transport=transport,
        )

    def close(self) -> None:
        """Hang up. Not needed before the end of a process."""
        self._client.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Answer:
        return self.request("GET", path, params=params)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """One call. `repeatable` says whether it may be carried out twice without harm (default: every method but POST)."""
        body = None if json is None else orjson.dumps(json)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = self._client.build_request(method, self.base_url + path, params=params, content=body, headers=headers)
        may_repeat = method != "POST" if repeatable is None else repeatable
        asked_at = datetime.now(UTC)

        def read(response: httpx.Response) -> Answer:
            answered_at = datetime.now(UTC)
            return Answer(response.status_code, _read(self.name, response, may_repeat), response.headers, asked_at, answered_at)

        return self._patiently(request, repeatable=may_repeat, auth=self._auth, read=read)

    def download(self, url: str) -> bytes:
        """The bytes at a signed address, which another host may serve: asked for without our credentials."""
        request = self._client.build_request("GET", url, headers={"Accept": "*/*"})
        return self._patiently(request, repeatable=True, auth=None, read=lambda response: response.content)

    def save(self, url: str, file: Path) -> None:
        """As `download`, straight into a file: for what may be too large for memory."""
        request = self._client.build_request("GET", url, headers={"Accept": "*/*"})
        self._patiently(request, repeatable=True, auth=None, read=lambda _: None, into=file)

    def _patiently(
        self,
        request: httpx.Request,
        *,
        repeatable: bool,
        auth: httpx.Auth | None,
        read: Callable[[httpx.Response], T],
        into: Path | None = None,
    ) -> T:
        patience = self._patience

        def again(error: Exception) -> bool | float:
            if not isinstance(error, _Again):
                return False
            log.info("%s: %s %s: %s; trying again", self.name, request.method, request.url.path, error)
            return True if error.after is None else error.after

        try:
            for attempt in stamina.retry_context(
                on=again,
                attempts=patience.attempts,
                timeout=patience.seconds,
                wait_initial=patience.first_wait,
                wait_jitter=patience.first_wait,
                wait_max=30.0,
            ):
                with attempt:
                    return read(self._once(request, repeatable=repeatable, auth=auth, into=into))
        except _Again as error:
            raise TryLater(
                f"{self.name} did not answer ({error}); look at the address if it is new, or run again later: nothing is lost."
            ) from error
        raise AssertionError("stamina ends with a result or an error")

    def _once(
        self, request: httpx.Request, *, repeatable: bool, auth: httpx.Auth | None, into: Path | None = None
    ) -> httpx.Response:
        """One attempt; every way to fail is sorted here into: again, later, stop, or the platform's own refusal."""
        try:
            with self._slots.take(), contextlib.closing(self._client.send(request, auth=auth, stream=True)) as response:
                if into and response.is_success:
                    with into.open("wb") as file:
                        file.writelines(response.iter_bytes())
                else:
                    response.read()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in str(error):
                raise SetupError(
                    f"{self.name}'s certificate cannot be verified; mend it there, or set ca_file to its authority."
                ) from error
            raise _Again(f"no connection to {self.base_url}") from error
        except (httpx.TransportError, httpx.DecodingError) as error:  # the second: a compressed answer cut short
            if repeatable:
                raise _Again(f"connection lost: {type(error).__name__}") from error
            raise TryLater(_UNSAID.format(name=self.name)) from error
        self._accept(response, repeatable)
        return response

    def _accept(self, response: httpx.Response, repeatable: bool) -> None:
        """Pass a good answer; sort a bad one into again, later, stop or refused."""
        status = response.status_code
        if 300 <= status < 400:
            raise Redirected(self.name, redirect_target(response))
        # At high volume Mailchimp answers 403 without a JSON body where it means 429 (fundamentals page).
        if status in BUSY or (status == 403 and not response.content):
            after = _retry_after(response)
            if after is not None and after > self._patience.seconds:
                raise TryLater(f"{self.name} asks to wait {after:.0f} s; run again after that.")
            if status in {502, 504} and not repeatable:
                raise TryLater(_UNSAID.format(name=self.name))
            raise _Again(f"busy: {status}", after)
        if status >= 500:
            if repeatable:
                raise _Again(f"failed: {status}")
            raise TryLater(_UNSAID.format(name=self.name))
        if status >= 400:
            raise _refused(response)


def _read(name: str, response: httpx.Response, repeatable: bool) -> Any:
    """The JSON of a good answer; a byte order mark in front is forgiven (some WordPress plugins write one)."""
    content = response.content.removeprefix(b"\xef\xbb\xbf").strip()
    if not content:
        return None
    if not _is_json(response):
        raise SetupError(
            f"{name} answers with a page instead of data; check the address, and whether a login, maintenance or "
            "protection page stands in front of its API."
        )
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if content.startswith(b"<"):
            raise SetupError(
                f"{name} writes text in front of its data, probably a plugin's warnings; have it log them, not show them."
            ) from error
        if repeatable:
            raise _Again("answer cut short") from error
        raise TryLater(_UNSAID.format(name=name)) from error


def _is_json(response: httpx.Response) -> bool:
    return "json" in response.headers.get("content-type", "")


def _refused(response: httpx.Response) -> RefusedCall:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    explained = body if isinstance(body, dict) else {}
    code = explained.get("code") or explained.get("title") or response.reason_phrase
    message = explained.get("message") or explained.get("detail") or ""
    return RefusedCall(response.status_code, str(code), without_addresses(str(message)), body)


def redirect_target(response: httpx.Response) -> str:
    """Where a redirect leads, without a query or user in it."""
    target = urlsplit(response.headers.get("location", ""))
    host = target.netloc.rpartition("@")[2]
    return f"{target.scheme or 'https'}://{host}{target.path}" if host else target.path or "nowhere"


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds from a Retry-After header, which holds a number or an HTTP date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
