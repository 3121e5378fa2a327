"""A WooCommerce shop on this machine: `twin` is the whole, the other modules are its subjects."""

from sandbox.woocommerce.auth import Key
from sandbox.woocommerce.twin import WooCommerce

__all__ = ["Key", "WooCommerce"]
