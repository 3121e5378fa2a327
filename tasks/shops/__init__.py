"""The registry: one line a shop platform. Whoever needs a shop asks here by the name that `shopsync.toml` uses."""

from __future__ import annotations

from pydantic import BaseModel

from tasks.connector import Shop
from tasks.shops.shopify import Shopify, ShopifySettings
from tasks.shops.woocommerce import WooCommerce, WooCommerceSettings

PLATFORMS: dict[str, tuple[type[Shop], type[BaseModel]]] = {
    "shopify": (Shopify, ShopifySettings),
    "woocommerce": (WooCommerce, WooCommerceSettings),
}
"""Platform: (connector, settings). A connector is made with (settings, shop=name, limits=folder, patience=...)."""
