"""An e-mail address as a key: NFC, trimmed, lower-cased, domain in IDNA; dots and plus signs untouched (behaviour 1)."""

from __future__ import annotations

import re
import unicodedata

import idna
import polars as pl


def to_address(email: str) -> str:
    """The key of one spelling. What is no address at all comes back merely trimmed and lower-cased: validation refuses it."""
    trimmed = unicodedata.normalize("NFC", email).strip().lower()
    local, at, domain = trimmed.rpartition("@")
    if not at or domain.isascii():
        return trimmed
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError:
        return trimmed


def with_address(email: pl.Expr) -> pl.Expr:
    """The `address` column for a frame. Plain ASCII, which is nearly everybody, never leaves polars."""
    plain = email.str.strip_chars().str.to_lowercase()
    return (
        pl.when(email.str.contains(r"[^\x00-\x7f]"))
        .then(email.map_elements(to_address, return_dtype=pl.String, skip_nulls=True))
        .otherwise(plain)
        .alias("address")
    )


def without_addresses(message: str) -> str:
    """A platform's words for a person's eyes or a log: whatever looks like an address is left out."""
    return re.sub(r"[^\s<>()\"',;:]+@[^\s<>()\"',;:]+", "…", message)
