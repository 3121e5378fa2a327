"""What a query costs, and the bucket it is paid from.

Equal to the `requestedQueryCost` of all recordings that have one, near their `actualQueryCost`: scalars nothing, objects 1, a
mutation 10, a count 10, a connection 2 and per record of its page what one record costs, where a page of n counts as 2·ln n.
Money and the default address are free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_composite_type,
)

_FREE = {
    "MoneyV2",
    "MoneyBag",
    "PageInfo",
    "CustomerEmailMarketingConsentState",
    "CustomerSmsMarketingConsentState",
}
MISSING = object()


class Cost:
    """The cost of one operation: `of(operation)` as asked for, `of(operation, data)` as answered."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]
    ) -> None:
        self.schema, self.fragments, self.variables = schema, fragments, variables

    def of(self, operation: OperationDefinitionNode, data: Any = MISSING) -> int:
        root = self.schema.get_root_type(operation.operation)
        assert root is not None
        is_mutation = operation.operation.value == "mutation"
        return self._selection(operation.selection_set, root, data, is_mutation=is_mutation)

    def _selection(
        self, selected: SelectionSetNode | None, parent: Any, data: Any, *, is_mutation: bool = False, is_payload: bool = False
    ) -> int:
        total = 0
        for node in selected.selections if selected else ():
            if isinstance(node, FieldNode):
                total += self._field(node, parent, data, is_mutation=is_mutation, is_payload=is_payload)
                continue
            fragment = self.fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
            condition = getattr(fragment, "type_condition", None)
            inner = self.schema.get_type(condition.name.value) if condition else parent
            total += self._selection(fragment.selection_set, inner, data)  # type: ignore[union-attr]
        return total

    def _field(self, node: FieldNode, parent: Any, data: Any, *, is_mutation: bool, is_payload: bool) -> int:
        if not isinstance(parent, GraphQLObjectType | GraphQLInterfaceType) or node.name.value.startswith("__"):
            return 0
        kind = get_named_type(parent.fields[node.name.value].type)
        if not is_composite_type(kind):
            return 0
        name = kind.name
        value = data
        if data is not MISSING:
            value = data.get(node.alias.value if node.alias else node.name.value) if isinstance(data, dict) else None
        if is_mutation:
            return 10 + self._selection(node.selection_set, kind, value, is_payload=True)
        if name == "Count":
            return 10
        if name.endswith("Connection"):
            return self._connection(node, kind, value)
        if name in _FREE or name.endswith("Error") or node.name.value == "defaultAddress":
            return 0
        if value is None:
            return 0 if is_payload else 1
        one = value[0] if isinstance(value, list) and value else value
        return (0 if is_payload else 1) + self._selection(node.selection_set, kind, one)

    def _connection(self, node: FieldNode, kind: Any, value: Any) -> int:
        total = 2
        for inner in node.selection_set.selections if node.selection_set else ():
            if not isinstance(inner, FieldNode) or inner.name.value not in {"nodes", "edges"}:
                continue
            listed = MISSING if value is MISSING else (value or {}).get(inner.name.value)
            size = self._asked(node) if listed is MISSING else len(listed) if isinstance(listed, list) else 0
            item: Any = MISSING if listed is MISSING else listed[0] if isinstance(listed, list) and listed else None
            target = get_named_type(kind.fields[inner.name.value].type)
            selected = inner.selection_set
            if inner.name.value == "edges":
                edge = (
                    next((n for n in selected.selections if isinstance(n, FieldNode) and n.name.value == "node"), None)
                    if selected
                    else None
                )
                if edge is None:
                    continue
                target, selected = get_named_type(target.fields["node"].type), edge.selection_set
                item = item["node"] if isinstance(item, dict) else item
            if size:
                one = 1 + self._selection(selected, target, item)
                total += max(1, math.floor(2 * math.log(size))) * one
        return total

    def _asked(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value in {"first", "last"}:
                if isinstance(argument.value, IntValueNode):
                    return int(argument.value.value)
                if isinstance(argument.value, VariableNode):
                    return int(self.variables.get(argument.value.name.value) or 0)
        return 0


class Bucket:
    """Leaks `rate` points a second; one app in one shop has one. [docs graphql-admin/rate-limits]"""

    def __init__(self, now: Callable[[], datetime], rate: int, most: int) -> None:
        self.now, self.rate, self.most = now, rate, most
        self._held, self._at = float(most), now()

    def available(self) -> int:
        now = self.now()
        self._held = min(float(self.most), self._held + (now - self._at).total_seconds() * self.rate)
        self._at = now
        return int(self._held)

    def take(self, points: int) -> None:
        self.available()
        self._held -= points

    def status(self) -> dict[str, int]:
        return {"maximumAvailable": self.most, "currentlyAvailable": max(self.available(), 0), "restoreRate": self.rate}
