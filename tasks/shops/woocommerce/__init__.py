"""WooCommerce: `connector` talks and writes, `wire` knows keys and paging, `shapes` makes frames of records, `hooks` knows
webhooks, `check` looks, `settings` is what `shopsync.toml` says."""

from tasks.shops.woocommerce.connector import WooCommerce
from tasks.shops.woocommerce.settings import WooCommerceSettings

__all__ = ["WooCommerce", "WooCommerceSettings"]
