"""WooCommerce: `connector` talks and writes, `wire` knows keys and paging, `shapes` makes frames of records, `check` looks."""

from tasks.shops.woocommerce.connector import WooCommerce, WooCommerceSettings

__all__ = ["WooCommerce", "WooCommerceSettings"]
