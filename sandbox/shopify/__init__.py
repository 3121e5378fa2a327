"""A Shopify shop on this machine: `twin` is the whole, the other modules are its subjects."""

from sandbox.shopify.setup import SCOPES, Setup
from sandbox.shopify.twin import Shopify

__all__ = ["SCOPES", "Setup", "Shopify"]
