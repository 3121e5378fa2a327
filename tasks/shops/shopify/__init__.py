"""Shopify: `connector` talks and writes, `wire` knows costs, errors and paging, `tokens` proves who we are, `bulk` fetches
whole listings, `queries` is what is asked, `shapes` makes frames of records, `hooks` knows webhooks, `check` looks, `settings`
is what `shopsync.toml` says."""

from tasks.shops.shopify.connector import Shopify
from tasks.shops.shopify.settings import ShopifySettings

__all__ = ["Shopify", "ShopifySettings"]
