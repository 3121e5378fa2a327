"""What every platform can do, its limits, and what is not possible and why: as its connector declares it."""

from __future__ import annotations

from typing import Any

from tasks import esps, shops

SHOP_WORDS = {
    "customers_changed_since": "customers are read by change",
    "orders_changed_since": "orders are read by change",
    "bulk_export": "a first sync is one export, not pages",
    "consent_times": "says when consent changed",
    "sms_consent": "knows consent to text messages",
    "deletions_visible": "reading changes shows deletions",
    "promo_codes": "discount codes are read",
    "webhooks": "tells changes at once (webhooks)",
    "consent_write_back": "opt-outs and opt-ins are written back",
    "guest_consent_write_back": "those of guests too",
    "bounce_write_back": "bounces are written beside consent",
    "create_customers": "contacts can become customers",
}
"""What `ShopCapabilities` declares, in the order in which people ask."""

ESP_WORDS = {
    "changed_since": "contacts are read by change",
    "bounces_visible": "bounces are visible",
    "double_opt_in": "can ask people to confirm (double opt-in)",
    "webhooks": "tells changes at once (webhooks)",
    "sms_consent": "takes consent to text messages",
    "erasure": "deletes a person for good when asked to",
}
"""What `EspCapabilities` declares."""


def platforms() -> dict[str, list[dict[str, Any]]]:
    """Per kind ("shops", "ESPs") its platforms: name, what they can do (words → yes or no), limits and notes."""
    return {"shops": _kind(shops.PLATFORMS, SHOP_WORDS), "ESPs": _kind(esps.PLATFORMS, ESP_WORDS)}


def _kind(registry: dict[str, Any], words: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "platform": platform,
            "name": connector.__name__,
            "can": {said: bool(getattr(connector.capabilities, field)) for field, said in words.items()},
            "at_once": connector.capabilities.batch_size,
            "limits": connector.capabilities.limits,
            "notes": list(connector.capabilities.notes),
        }
        for platform, (connector, _) in registry.items()
    ]
