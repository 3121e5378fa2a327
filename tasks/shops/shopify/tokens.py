"""How a call to Shopify proves who we are: a token that never expires, or tokens that are renewed and kept on this machine.

Sources: Shopify's pages on the client credentials grant and on offline access tokens, changelog of 2025-12-10 and 2026-08-28.
authlib's httpx client is not used: what is hard here is to renew once over all processes and to keep the new token before it is
used, which it leaves to its caller; the rest is one form to post.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import httpx
import orjson

from tasks.connector import SetupError
from tasks.http import redirect_target
from tasks.shaping import dig, money, text
from tasks.shops.shopify.settings import ShopifySettings
from tasks.shops.shopify.wire import REDIRECTED

HEADER = "X-Shopify-Access-Token"
PATH = "/admin/oauth/access_token"
EARLY = 60
"""Seconds before its end at which a token is renewed, so that it does not end under way."""

Flow = Generator[httpx.Request, httpx.Response, str]


def auth_of(settings: ShopifySettings, *, name: str, folder: Path) -> httpx.Auth:
    if settings.access_token:
        return StaticToken(settings.access_token.get_secret_value().strip())
    return RenewedToken(settings, name=name, folder=folder)


class StaticToken(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[HEADER] = self._token
        yield request


@dataclass(frozen=True)
class _Kept:
    """`given` is a hash of what the settings said: other settings make what is kept worthless."""

    access_token: str
    ends_at: float
    refresh_token: str | None
    given: str


class RenewedToken(httpx.Auth):
    """A token that this or another process fetched, from a file that only this user reads.

    The old refresh token works until the new one is first used (since 2026-08-28), so the new one is on disk before that.
    """

    requires_response_body = True

    def __init__(self, settings: ShopifySettings, *, name: str, folder: Path) -> None:
        self._site, self._name = settings.site, name
        self._form = {"client_id": settings.client_id or ""}
        if settings.client_secret:
            self._form["client_secret"] = settings.client_secret.get_secret_value().strip()
        self._refresh_token = settings.refresh_token.get_secret_value().strip() if settings.refresh_token else None
        self._given = _hash(*self._form.values(), self._refresh_token or "")
        self._file = folder / f"{_hash(self._site, self._form['client_id'])[:16]}.token"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = yield from self._token(request)
        request.headers[HEADER] = token
        response = yield request
        if response.status_code == 401:  # it ended early, or a newer one took its place
            request.headers[HEADER] = yield from self._token(request, refused=token)
            yield request

    def _token(self, request: httpx.Request, refused: str | None = None) -> Flow:
        if kept := self._usable(refused):
            return kept.access_token
        with filelock.FileLock(self._file.with_suffix(".lock")):
            if kept := self._usable(refused):  # another process was faster
                return kept.access_token
            kept = self._accepted((yield self._asking(request)))
            self._keep(kept)  # before it is used
            return kept.access_token

    def _asking(self, request: httpx.Request) -> httpx.Request:
        form = {**self._form, "grant_type": "client_credentials"}
        if self._refresh_token:
            kept = self._kept()
            newest = kept.refresh_token if kept and kept.refresh_token else self._refresh_token
            form |= {"grant_type": "refresh_token", "refresh_token": newest}
        headers = {name: request.headers[name] for name in ("User-Agent", "Accept")}
        return httpx.Request("POST", self._site + PATH, data=form, headers=headers, extensions=request.extensions)

    def _accepted(self, response: httpx.Response) -> _Kept:
        status = response.status_code
        if status == 429 or status >= 500:
            # The call itself was not made: as if there had been no connection, so it is tried again.
            raise httpx.ConnectError(f"no token: {status}")
        try:
            answer = orjson.loads(response.content) if response.is_success else None
        except orjson.JSONDecodeError:
            answer = None
        token, seconds = text(dig(answer, "access_token")), money(dig(answer, "expires_in"))
        if not token:
            raise SetupError(self._sentence(response))
        return _Kept(token, time.time() + float(seconds or EARLY), text(dig(answer, "refresh_token")), self._given)

    def _sentence(self, response: httpx.Response) -> str:
        if response.is_redirect:
            return REDIRECTED.format(name=self._name, where=redirect_target(response))
        if response.status_code == 404:
            return f"There is no shop at {self._site}: check url; it is the permanent name, which ends in .myshopify.com."
        if self._refresh_token:
            return (
                f"{self._name} no longer takes the refresh token: connect the app to the shop again, and set the refresh_token "
                "that this gives."
            )
        return (
            f"{self._name} gives us no token ({response.status_code}): check client_id and client_secret, and that the app is "
            "installed in this shop and belongs to the same organisation."
        )

    def _usable(self, refused: str | None) -> _Kept | None:
        kept = self._kept()
        return kept if kept and kept.access_token != refused and time.time() < kept.ends_at - EARLY else None

    def _kept(self) -> _Kept | None:
        try:
            kept = _Kept(**orjson.loads(self._file.read_bytes()))
        except (OSError, orjson.JSONDecodeError, TypeError):
            return None
        return kept if kept.given == self._given else None

    def _keep(self, kept: _Kept) -> None:
        """Whole or not at all. `mkstemp` makes files that only this user reads."""
        handle, name = tempfile.mkstemp(dir=self._file.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(asdict(kept)))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._file)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
