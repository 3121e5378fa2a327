"""What we ask Shopify for, held against its official schema, which is not ours to ship.

It is looked for in the folder that SHOPSYNC_SPECS names, else in ../shared/specs.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from graphql import GraphQLSchema, build_schema, parse, validate

from tasks.shops.shopify import queries
from tasks.shops.shopify.queries import Change, Listing, Mutation, together
from tasks.shops.shopify.wire import VERSION

ROOT = Path(__file__).parents[3]
SPECS = Path(os.environ.get("SHOPSYNC_SPECS") or ROOT.parent / "shared" / "specs")
DESCRIPTION = SPECS / "shops" / "shopify" / f"admin-{VERSION}.schema.graphql"

pytestmark = pytest.mark.tools

LISTINGS = {name: value for name, value in vars(queries).items() if isinstance(value, Listing)}
MUTATIONS = {name: value for name, value in vars(queries).items() if isinstance(value, Mutation)}
BULK_ONLY = {"PROMO_CODES"}
PLAIN = ("SHOP", "SCOPES", "NEWEST_CUSTOMERS", "CUSTOMER_OF_ADDRESS", "WEBHOOKS", "BULK_OPERATION")

DOCUMENTS = (
    {name: getattr(queries, name) for name in PLAIN}
    | {f"{name} whole": listing.whole("updated_at:>='2026-11-22T00:00:00Z'") for name, listing in LISTINGS.items()}
    | {f"{name} in pages": listing.paged() for name, listing in LISTINGS.items() if name not in BULK_ONLY}
    | {f"{name} by id": listing.by_id() for name, listing in LISTINGS.items() if name not in BULK_ONLY}
    | {f"{name} children": listing.more_children() for name, listing in LISTINGS.items() if listing.of_child}
    | {name: together([Change(one, dict.fromkeys(one.arguments))] * 2)[0] for name, one in MUTATIONS.items()}
)


@functools.cache
def schema() -> GraphQLSchema:
    if not DESCRIPTION.exists():
        pytest.skip(f"no schema of the platform at {DESCRIPTION} (SHOPSYNC_SPECS names its folder)")
    return build_schema(DESCRIPTION.read_text(encoding="utf-8"), assume_valid=True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_official_schema_takes_what_we_ask(name: str) -> None:
    assert not validate(schema(), parse(DOCUMENTS[name]))
