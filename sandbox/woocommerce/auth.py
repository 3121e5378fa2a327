"""Who may call: WooCommerce's consumer keys, by Basic or query over TLS and by OAuth 1.0a over plain http."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from sandbox.woocommerce.wordpress import RestError, rawurlencode

_WINDOW = 15 * 60
_OAUTH = ("oauth_consumer_key", "oauth_timestamp", "oauth_nonce", "oauth_signature", "oauth_signature_method")


@dataclass
class Key:
    """One row of the shop's table of API keys. It dies with the WordPress user it belongs to, or when it is revoked."""

    consumer_key: str
    consumer_secret: str
    permissions: Literal["read", "write", "read_write"] = "read_write"
    user_id: int = 1
    nonces: dict[str, str] = field(default_factory=dict)

    def check_permission(self, method: str) -> None:
        """Observed: a read key that writes gets 401, not 403."""
        wanted = "read" if method in {"GET", "HEAD"} else "write"
        if method != "OPTIONS" and wanted not in self.permissions:
            raise _refused(f"The API key provided does not have {wanted} permissions.")


@dataclass(frozen=True)
class Attempt:
    """What of a call matters to authentication.

    `url` is the address without its query, as WordPress knows itself; `is_tls` is what its server tells it. Behind a TLS proxy
    that does not pass that on, an https address behaves like plain http (observed).
    """

    method: str
    url: str
    query: Mapping[str, Any]
    form: Mapping[str, Any]
    authorization: str
    is_tls: bool


def authenticated(attempt: Attempt, keys: Iterable[Key]) -> Key | None:
    """The key the call comes with, or None for a call without a (known) one; raises RestError where WooCommerce says why not.

    Over plain http Basic and query keys are not even looked at, so the caller gets the same answer as without any key, and so
    does an unknown key over https (both observed).
    """
    known = {key.consumer_key: key for key in keys}
    if attempt.is_tls:
        name, secret = _plain_pair(attempt)
        key = known.get(name)
        if key is not None:
            if not hmac.compare_digest(key.consumer_secret.encode(), secret.encode()):
                raise _refused("Consumer secret is invalid.")
            return key
    return _oauth(attempt, known)


def _plain_pair(attempt: Attempt) -> tuple[str, str]:
    """The query's pair goes before the header's."""
    name, secret = attempt.query.get("consumer_key"), attempt.query.get("consumer_secret")
    if name and secret:
        return str(name), str(secret)
    kind, _, coded = attempt.authorization.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(coded).decode().partition(":")
    except ValueError:
        return "", ""
    return (name, secret) if name and secret else ("", "")


def _oauth(attempt: Attempt, known: Mapping[str, Key]) -> Key | None:
    params = {**attempt.query, **attempt.form, **_header_params(attempt.authorization)}
    missing = [name for name in _OAUTH if not params.get(name)]
    if len(missing) == len(_OAUTH):
        return None
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise RestError(
            401, "woocommerce_rest_authentication_missing_parameter", f"Missing OAuth parameter{plural} {', '.join(missing)}"
        )
    key = known.get(str(params["oauth_consumer_key"]))
    if key is None:
        raise _refused("Consumer key is invalid.")
    _check_signature(attempt, key, params)
    _check_time(key, str(params["oauth_timestamp"]), str(params["oauth_nonce"]))
    return key


def _header_params(authorization: str) -> dict[str, str]:
    if not authorization.startswith("OAuth "):
        return {}
    pairs = (part.strip().partition("=") for part in authorization[6:].split(","))
    return {name: unquote(value.strip('"')) for name, _, value in pairs if name.startswith("oauth_")}


def _check_signature(attempt: Attempt, key: Key, params: dict[str, Any]) -> None:
    given = unquote(str(params["oauth_signature"]).replace(" ", "+"))
    signed = {name: params[name] for name in sorted(params) if name != "oauth_signature"}
    text = "%26".join(_pairs((rawurlencode(name), value) for name, value in signed.items()))
    base = f"{attempt.method.upper()}&{rawurlencode(attempt.url)}&{text}"
    method = params["oauth_signature_method"]
    if method not in {"HMAC-SHA1", "HMAC-SHA256"}:
        raise _refused("Invalid signature - signature method is invalid.")
    digest = hashlib.sha1 if method == "HMAC-SHA1" else hashlib.sha256
    ours = base64.b64encode(hmac.new(f"{key.consumer_secret}&".encode(), base.encode(), digest).digest()).decode()
    if not hmac.compare_digest(ours.encode(), given.encode()):
        raise _refused("Invalid signature - provided signature does not match.")


def _pairs(params: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """WooCommerce's own idea of list parameters (`include[0]`), which hardly a client shares: hence "Invalid signature"
    for lists (observed). Its brackets are encoded once more than the specification says."""
    for name, value in params:
        if isinstance(value, Mapping):
            yield from _pairs((f"{name}%5B{inner}%5D", _encoded(part)) for inner, part in value.items())
        else:
            yield rawurlencode(f"{name}={value if '%5B' in name else rawurlencode(value)}")


def _encoded(part: Any) -> Any:
    return part if isinstance(part, Mapping) else rawurlencode(part)


def _check_time(key: Key, stamp: str, nonce: str) -> None:
    now = time.time()
    if not stamp.lstrip("-").isdigit() or abs(int(stamp) - now) > _WINDOW:
        raise _refused("Invalid timestamp.")
    if nonce in key.nonces.values():
        raise _refused("Invalid nonce - nonce has already been used.")
    # One nonce per second is remembered, the last: WooCommerce keeps them by timestamp.
    key.nonces[stamp] = nonce
    key.nonces = {at: kept for at, kept in key.nonces.items() if int(at) >= now - _WINDOW}


def _refused(message: str) -> RestError:
    return RestError(401, "woocommerce_rest_authentication_error", message)
