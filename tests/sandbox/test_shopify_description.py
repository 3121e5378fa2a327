"""The twin's schema is part of the platform's own: no type, field, argument, value or nullability that is not there as well.

The description is not ours to ship: it is looked for in the folder that SHOPSYNC_SPECS names, else in ../shared/specs.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    print_ast,
)

from sandbox.shopify.graph import DESCRIPTION, made_schema

ROOT = Path(__file__).parents[2]
SPECS = Path(os.environ.get("SHOPSYNC_SPECS") or ROOT.parent / "shared" / "specs")

pytestmark = pytest.mark.tools


@functools.cache
def official(version: str) -> GraphQLSchema:
    path = SPECS / "shops" / "shopify" / f"admin-{version}.schema.graphql"
    if not path.exists():
        pytest.skip(f"no description of the platform at {path} (SHOPSYNC_SPECS names the folder above)")
    return build_schema(path.read_text(encoding="utf-8"), assume_valid=True)


def ours() -> GraphQLSchema:
    return build_schema(DESCRIPTION.read_text(encoding="utf-8"))


def strangers(mine: GraphQLSchema, theirs: GraphQLSchema) -> Iterator[str]:  # noqa: C901  # one case a kind of type
    """Whatever is said in `mine` and not, or otherwise, in `theirs`."""
    for name, kind in mine.type_map.items():
        if (
            name.startswith(("__", "BulkOperationConnection", "BulkOperationEdge", "BulkOperationsSortKeys"))
            and name not in theirs.type_map
        ):
            continue
        known = theirs.type_map.get(name)
        if known is None or type(known) is not type(kind):
            yield f"{name} is not a {type(kind).__name__}"
        elif isinstance(kind, GraphQLEnumType):
            yield from _members(name, kind.values, known.values)  # type: ignore[union-attr]
        elif isinstance(kind, GraphQLUnionType):
            held = {one.name for one in known.types}  # type: ignore[union-attr]
            yield from (f"{name} holds no {one.name}" for one in kind.types if one.name not in held)
        elif isinstance(kind, GraphQLInputObjectType):
            yield from _members(name, kind.fields, known.fields)  # type: ignore[union-attr]
            # What the platform insists on must be insisted on here.
            for field, asked in known.fields.items():  # type: ignore[union-attr]
                if str(asked.type).endswith("!") and asked.ast_node.default_value is None and field not in kind.fields:
                    yield f"{name}.{field} is required"
        elif isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            yield from _members(name, kind.fields, known.fields)  # type: ignore[union-attr]
            held = {one.name for one in known.interfaces}  # type: ignore[union-attr]
            yield from (f"{name} is no {one.name}" for one in kind.interfaces if one.name not in held)
            for field, own in kind.fields.items():
                if field in known.fields:  # type: ignore[union-attr]
                    yield from _members(f"{name}.{field}", own.args, known.fields[field].args)  # type: ignore[union-attr]


def _members(place: str, mine: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
    """Fields, arguments, input fields or values: the same type, nullability, default and deprecation."""
    for name, own in mine.items():
        known = theirs.get(name)
        if known is None:
            yield f"{place}.{name} does not exist"
            continue
        if str(getattr(own, "type", "")) != str(getattr(known, "type", "")):
            yield f"{place}.{name} is {known.type}, not {own.type}"
        if (own.deprecation_reason is None) != (known.deprecation_reason is None):
            yield f"{place}.{name} is deprecated on one side only"
        if _default(own) != _default(known):
            yield f"{place}.{name} is {_default(known)} by default"


def _default(member: Any) -> str | None:
    node = getattr(member.ast_node, "default_value", None)
    return print_ast(node) if node else None


def test_all_of_it_is_in_the_newest_description() -> None:
    assert list(strangers(ours(), official("2026-07"))) == []


def test_a_stranger_is_found() -> None:
    mine = build_schema("type QueryRoot { shop(id: ID!): Shop, tea: Int } type Shop { id: ID, name: String! @deprecated }")
    found = set(strangers(mine, official("2026-07")))
    assert found >= {
        "QueryRoot.tea does not exist",
        "QueryRoot.shop is Shop!, not Shop",
        "QueryRoot.shop.id does not exist",
        "Shop.id is ID!, not ID",
        "Shop.name is deprecated on one side only",
    }


def test_the_oldest_version_lacks_what_it_lacks() -> None:
    """Fields are gone with it; types and values that nothing can reach any more may stay."""
    mine = made_schema({}, "2025-10")
    assert list(strangers(mine, official("2025-10"))) == [
        # Its printed default is the newer one; which one counts is tested with bulk operations.
        "Mutation.bulkOperationRunQuery.groupObjects is true by default",
        "MetafieldsSetUserErrorCode.MARKET_METAFIELDS_NOT_COMPATIBLE_WITH_CONDITION_TYPES does not exist",
    ]
