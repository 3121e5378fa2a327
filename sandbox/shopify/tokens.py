"""Who may call: access tokens of one app in one shop, and the door where they are handed out."""

from __future__ import annotations

import hmac
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sandbox.shopify.records import Json

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "shpss_sandbox"
ADMIN_TOKEN = "shpat_sandbox"
"""Of a custom app made in the admin before 2026; it does not expire. [docs]"""
REFRESH_TOKEN = "shprt_sandbox"
"""The first refresh token of a public app with expiring tokens."""

CLIENT_CREDENTIALS_LIVE = timedelta(seconds=86399)
OFFLINE_LIVE = timedelta(minutes=60)
REFRESH_LIVE = timedelta(days=90)


class Denied(Exception):
    """The token door says no; OAuth's error word and a sentence."""

    def __init__(self, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.word, self.sentence = word, sentence


@dataclass
class Access:
    token: str
    expires_at: datetime | None = None


class Tokens:
    """Names of fields in the answers are [memory]; the rules of rotation are [docs, changelog 2026-08-28]."""

    def __init__(self, now: Callable[[], datetime], scopes: Callable[[], tuple[str, ...]]) -> None:
        self.now, self.scopes = now, scopes
        self.client_id, self.client_secret = CLIENT_ID, CLIENT_SECRET
        self.live = {ADMIN_TOKEN: Access(ADMIN_TOKEN)}
        self.refreshing: list[str] = [REFRESH_TOKEN]
        """The refresh token in force, behind it the previous one, which works until the new one is first used."""
        self._serial = itertools.count(1)

    def admits(self, token: str) -> bool:
        found = self.live.get(token)
        return found is not None and (found.expires_at is None or self.now() < found.expires_at)

    def hand_out(self, asked: Mapping[str, str]) -> Json:
        if not (
            hmac.compare_digest(asked.get("client_id", "").encode(), self.client_id.encode())
            and hmac.compare_digest(asked.get("client_secret", "").encode(), self.client_secret.encode())
        ):
            raise Denied("invalid_client", "Client authentication failed.")
        grant = asked.get("grant_type")
        if grant == "client_credentials":
            return self._made("shpca", CLIENT_CREDENTIALS_LIVE)
        if grant == "refresh_token":
            return self._refreshed(asked.get("refresh_token", ""))
        raise Denied("unsupported_grant_type", "The grant type is not supported.")

    def _refreshed(self, given: str) -> Json:
        if given not in self.refreshing:
            raise Denied("invalid_grant", "The refresh token is invalid or expired.")
        newest = f"shprt_{next(self._serial)}"
        # The one just used stays good until its successor is first used; anything older, and a successor never used, is gone.
        self.refreshing = [given, newest]
        live = int(REFRESH_LIVE.total_seconds())
        return self._made("shpat", OFFLINE_LIVE) | {"refresh_token": newest, "refresh_token_expires_in": live}

    def _made(self, kind: str, life: timedelta) -> Json:
        token = f"{kind}_{next(self._serial)}"
        self.live[token] = Access(token, self.now() + life)
        return {"access_token": token, "scope": ",".join(self.scopes()), "expires_in": int(life.total_seconds())}

    def revoke_all(self) -> None:
        self.live.clear()
        self.refreshing.clear()
