"""What `shopsync.toml` says about a WooCommerce shop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator


class WooCommerceSettings(BaseModel):
    """One shop of a connection, as `shopsync.toml` describes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Literal["woocommerce"] = "woocommerce"
    url: str
    consumer_key: SecretStr
    consumer_secret: SecretStr
    consent_meta_key: str | None = None
    # The words come from Mailchimp for WooCommerce, which writes them beside 1 and 0 (its class User_Submit, read 2026-11).
    consent_in: tuple[str, ...] = ("1", "yes", "true", "on", "subscribed")
    consent_out: tuple[str, ...] = ("0", "no", "false", "off", "unsubscribed")
    write_guest_consent: bool = False
    ca_file: Path | None = None
    base_url: str | None = None

    @field_validator("url", "base_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        site = re.sub(r"(/index\.php)?(/wp-json(/.*)?)?/*$", "", url.strip())
        if urlsplit(site).scheme not in {"http", "https"} or not urlsplit(site).hostname or "@" in urlsplit(site).netloc:
            raise ValueError("write the shop's address as https://shop.example, without keys in it")
        return site

    @field_validator("consent_in", "consent_out")
    @classmethod
    def _values(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(value.strip().lower() for value in values)
        if not found or "" in found:
            raise ValueError("list at least one value, and no empty one: empty means that the box was never ticked")
        return found

    @model_validator(mode="after")
    def _distinct(self) -> WooCommerceSettings:
        if both := set(self.consent_in) & set(self.consent_out):
            raise ValueError(f"consent_in and consent_out share {', '.join(sorted(both))}: a value means one or the other")
        return self
