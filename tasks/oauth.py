"""OAuth 1.0a with HMAC-SHA256 and without tokens (RFC 5849; WooCommerce over plain http).

authlib, the obvious choice, signs with HMAC-SHA1 at best, drops JSON bodies and has moved on from httpx (1.9.9).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Generator
from urllib.parse import quote

import httpx


class OAuth1(httpx.Auth):
    """Signs the query, not a header: many web servers keep the Authorization header from the application behind them."""

    def __init__(self, key: str, secret: str) -> None:
        self._key, self._secret = key, secret

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        # A repeated call comes here with its old signature, and a nonce is good for one call.
        params = {name: value for name, value in request.url.params.items() if not name.startswith("oauth_")} | {
            "oauth_consumer_key": self._key,
            "oauth_nonce": secrets.token_hex(16),
            "oauth_signature_method": "HMAC-SHA256",
            "oauth_timestamp": str(int(time.time())),
        }
        query = "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, value in params.items()))
        base = "&".join(_encoded(part) for part in (request.method, str(request.url.copy_with(query=None)), query))
        digest = hmac.new(f"{self._secret}&".encode(), base.encode(), hashlib.sha256).digest()
        signature = _encoded(base64.b64encode(digest).decode())
        request.url = request.url.copy_with(query=f"{query}&oauth_signature={signature}".encode())
        yield request


def _encoded(part: str) -> str:
    return quote(part, safe="~")
