"""Signatures of webhooks: base64 of HMAC-SHA256 over the raw body, which is what most shops send."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signature(secret: str, body: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


def is_signed(secret: str, body: bytes, claimed: str | None) -> bool:
    """Compared in constant time, so that nobody can feel their way to a signature."""
    return hmac.compare_digest(signature(secret, body).encode(), (claimed or "").encode())
