"""What `shopsync.toml` says about a Shopify shop."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator, model_validator

ADMIN = "admin.shopify.com"


class ShopifySettings(BaseModel):
    """One shop of a connection, as `shopsync.toml` describes it. One way to prove who we are:

    - `access_token`: of an app made in the shop's admin (until 2025); it never expires;
    - `client_id`, `client_secret`: of the merchant's own app (Dev Dashboard); we fetch a token for about 24 hours;
    - these two and `refresh_token`: of an app for many merchants; we renew both tokens every hour.

    `client_secret` also proves that webhooks are Shopify's. It may stand beside `access_token` for that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Literal["shopify"] = "shopify"
    url: str
    access_token: SecretStr | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None
    ca_file: Path | None = None
    base_url: str | None = None

    @property
    def site(self) -> str:
        """Where the API is called."""
        return self.base_url or f"https://{self.url}"

    @field_validator("url")
    @classmethod
    def _domain(cls, url: str) -> str:
        """The permanent name, from whatever people copy: lilla-butiken, its myshopify.com address, its admin's address."""
        address = urlsplit(url.strip() if "//" in url else f"https://{url.strip()}")
        domain = (address.hostname or "").lower()
        if domain == ADMIN:
            domain = address.path.removeprefix("/store/").partition("/")[0]
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", domain) or "@" in address.netloc:
            raise ValueError("write the shop's permanent name, as in lilla-butiken.myshopify.com")
        return domain if "." in domain else f"{domain}.myshopify.com"

    @field_validator("base_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        address = urlsplit(url.strip())
        if address.scheme not in {"http", "https"} or not address.hostname or "@" in address.netloc:
            raise ValueError("write the address as https://shop.example, without keys in it")
        return url.strip().rstrip("/")

    @model_validator(mode="after")
    def _one_way(self) -> ShopifySettings:
        if self.access_token:
            if self.client_id or self.refresh_token:
                raise ValueError("give either access_token, or client_id with client_secret, not both: they belong to two apps")
        elif not self.client_id and not self.client_secret:
            raise ValueError("give access_token, or client_id and client_secret of the app")
        elif not self.client_id:
            raise ValueError("client_id is missing beside client_secret")
        elif not self.client_secret:
            raise ValueError("client_secret is missing beside client_id")
        return self
