"""Addresses as keys (behaviour 1). E-mail: NFC, trimmed, lower-cased, domain in IDNA; dots and plus signs untouched. Text
messages: the phone number in E.164."""

from __future__ import annotations

import re
import unicodedata

import idna
import polars as pl

from schemas.shop import E164


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


def with_sms_address(phone: pl.Expr, sms_consent: pl.Expr) -> pl.Expr:
    """The `sms_address` column for a frame: the number as people write it (`+49 (0)30 / 12-34`, `0049...`) in E.164.

    A number without its country would be a guess, and a wrong one a stranger's: it gets no key. Where consent waits for one, it
    comes back as typed, and validation says what to do.
    """
    digits = phone.str.replace_all(r"\(0\)|[^0-9+]", "").str.replace("^00", "+")
    return (
        pl.when(digits.str.contains(E164) & ~phone.str.contains("[A-Za-z]"))
        .then(digits)
        .when(sms_consent.is_not_null())
        .then(phone)
        .alias("sms_address")
    )


def without_addresses(message: str) -> str:
    """A platform's words for a person's eyes or a log: whatever looks like an address is left out."""
    return re.sub(r"[^\s<>()\"',;:]+@[^\s<>()\"',;:]+", "…", message)
