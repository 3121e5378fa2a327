"""What differs from shop to shop and from app to app, and the switches of what no source settles."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

VERSIONS = ("2025-10", "2026-01", "2026-04", "2026-07")
"""Supported for a year each; by 2026-11-22 the older ones are gone (2025-10 until January 2027). [docs]"""

SCOPES = (
    "read_customers",
    "write_customers",
    "read_orders",
    "read_all_orders",
    "read_products",
    "read_discounts",
)

RESTORE_RATES = {"standard": 100, "advanced": 200, "plus": 1000, "enterprise": 2000}
"""Cost points per second. [docs graphql-admin/rate-limits]"""


@dataclass(kw_only=True)
class Setup:
    """May be changed while the twin runs. Where sources are silent, the default is the reading that is harder on a client."""

    domain: str = "lilla-butiken.myshopify.com"
    """The permanent name; webhooks carry it. The twin answers on whatever address it is called by."""
    name: str = "Lilla Butiken & Co"
    currency: str = "EUR"
    timezone: str = "Europe/Stockholm"
    scopes: tuple[str, ...] = SCOPES
    plan: str = "standard"
    bucket_seconds: int = 20
    """The bucket's size in seconds of restoring: 20 at the standard rate [recordings], on larger plans [unverified]."""
    query_limit: int = 1000
    """Points that a single query may ask for. [memory]"""
    throttled_status: int = 200
    """HTTP status of throttled answers: 200 in what was seen, 429 must be handled too. [unverified]"""
    frozen: int = 0
    """402 frozen, 403 forbidden, 404 closed, 423 locked, 430 rejected: every call is answered with that status. [memory]"""
    redacts_customers: bool = False
    """A public app without approval for protected customer data: personal fields are null. [docs protected-customer-data]"""
    refuses_protected: bool = False
    """As above, but asking for such a field gives ACCESS_DENIED. [docs protected-customer-data]"""
    old_consent_ignored: bool = False
    """A `consentUpdatedAt` older than what is stored changes nothing, without a word. [unverified]"""
    tagging_touches_customer: bool = True
    """tagsAdd and metafieldsSet move `updatedAt`. [memory]"""
    index_seconds: float = 0.0
    """What changed that recently is not found by a `query:` yet. Recordings show a lag of unknown length."""
    bulk_seconds: float = 0.0
    """How long a bulk operation takes at least."""
    storage_refuses_token: bool = True
    """Signed storage addresses answer 400 if a token header comes along: the client leaks its token to a stranger. [memory]"""
    webhook_failures: int = 8
    """Failures in a row after which a subscription is removed. [docs]"""
    webhook_touches: bool = True
    """A change of consent also fires customers/update. [memory]"""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)
