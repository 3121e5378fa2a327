"""Bulk operations: a query over everything, carried out in the background; its result is a file of JSON lines elsewhere.

Words of refusals as recorded, limits as documented (five at a time from 2026-01, one before).
"""

from __future__ import annotations

import itertools
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    is_composite_type,
    parse,
)

from sandbox.shopify import search
from sandbox.shopify.graph import Call, Failed, Refused, carry_out, prepare
from sandbox.shopify.lists import Window, page
from sandbox.shopify.records import Json, Record
from sandbox.shopify.resolvers import key_in, mutation, resolves
from sandbox.shopify.shop import Refusal, error

BYTES_MOST = 65535
RESULTS_LIVE = timedelta(days=7)
OPEN = {"CREATED", "RUNNING", "CANCELING"}
_BATCH = 100
"""Root records whose children follow together, where children need not stand directly after their parents."""


@dataclass
class BulkOperation(Record):
    kind = "BulkOperation"
    query: str
    created_at: datetime
    call: Call
    schema: GraphQLSchema
    group_objects: bool
    base: str
    status: str = "CREATED"
    completed_at: datetime | None = None
    error_code: str | None = None
    object_count: int = 0
    root_object_count: int = 0
    file_size: int | None = None
    token: str = field(default_factory=lambda: secrets.token_hex(14))
    content: bytes = b""
    is_partial: bool = False

    type = "QUERY"

    @property
    def address(self) -> str:
        return f"{self.base}/bulk-operation-outputs/{self.token}?GoogleAccessId=sandbox&Signature={self.token}"

    @property
    def url(self) -> str | None:
        """Null when nothing was found. [memory]"""
        return self.address if self.status == "COMPLETED" and self.content else None

    @property
    def partial_data_url(self) -> str | None:
        return self.address if self.status in {"FAILED", "CANCELED"} and self.is_partial and self.content else None


class BulkOperations:
    """`spoil` names what goes wrong with the next operation: "fail", "timeout", "truncate", "duplicate"."""

    def __init__(self, lock: threading.RLock, now: Callable[[], datetime], happened: Callable[..., None]) -> None:
        self.lock, self.now, self.happened = lock, now, happened
        self.operations: dict[int | None, BulkOperation] = {}
        self.spoil: list[str] = []
        self.is_waiting = False
        """Operations stay CREATED until `finish` is called."""
        self._keys = itertools.count(7_749_099_028_786, 32_768)

    def under_way(self) -> list[BulkOperation]:
        return [one for one in self.operations.values() if one.status in OPEN]

    def run(
        self, call: Call, schema: GraphQLSchema, query: str, *, group_objects: bool, base: str, seconds: float
    ) -> BulkOperation:
        errors = list(_problems(schema, query))
        if errors:
            raise Refusal(*(error(["query"], message, code="INVALID") for message in errors))
        busy = self.under_way()
        if len(busy) >= (1 if call.version < "2026-01" else 5):
            ids = ", ".join(one.id for one in busy)
            words = f"A bulk query operation for this app and shop is already in progress: {ids}."
            raise Refusal(error(None, words, code="OPERATION_IN_PROGRESS"))
        made = BulkOperation(
            next(self._keys), query, self.now(), replace(call, is_bulk=True, searches=[], lists={}), schema, group_objects, base
        )
        self.operations[made.key] = made
        if not self.is_waiting:
            timer = threading.Timer(seconds, self.finish, [made])
            timer.daemon = True
            timer.start()
        return made

    def finish(self, one: BulkOperation) -> None:
        """Carry it out, on the shop as it is now."""
        with self.lock:
            if one.status == "CANCELING":
                self._close(one, "CANCELED")
            if one.status not in OPEN:
                return
            one.status = "RUNNING"
            spoiled = self.spoil.pop(0) if self.spoil else ""
            try:
                lines, roots = self._lines(one)
            except Failed as failure:
                one.error_code = failure.code if failure.code == "ACCESS_DENIED" else "INTERNAL_SERVER_ERROR"
                self._close(one, "FAILED")
                return
            one.object_count, one.root_object_count = len(lines), roots
            if spoiled in {"fail", "timeout"}:
                lines = lines[: len(lines) // 2]
                one.is_partial, one.object_count = True, len(lines)
                one.error_code = "TIMEOUT" if spoiled == "timeout" else "INTERNAL_SERVER_ERROR"
            if spoiled == "duplicate":
                lines = [line for at, line in enumerate(lines) for _ in range(2 if at % 3 == 0 else 1)]
            one.content = b"".join(line + b"\n" for line in lines)
            one.file_size = len(one.content)
            if spoiled == "truncate":
                one.content = one.content[: len(one.content) * 2 // 3]
            self._close(one, "FAILED" if one.error_code else "COMPLETED")

    def _close(self, one: BulkOperation, status: str) -> None:
        one.status, one.completed_at = status, self.now()
        self.happened("BULK_OPERATIONS_FINISH", one)

    def _lines(self, one: BulkOperation) -> tuple[list[bytes], int]:
        answer = carry_out(one.schema, prepare(one.schema, one.query, {}, None), one.call)
        if answer.get("errors"):
            first = answer["errors"][0]
            raise Failed(first["message"], first["extensions"]["code"])
        roots = [edge["node"] for value in answer["data"].values() for edge in _edges(value)]
        if one.group_objects:
            return [orjson.dumps(line) for root in roots for line in _grouped(root, None)], len(roots)
        mixed = random.Random(one.key)
        lines: list[bytes] = []
        for start in range(0, len(roots), _BATCH):
            levels: list[list[Json]] = [[], [], []]
            for root in roots[start : start + _BATCH]:
                _by_level(root, None, levels, 0)
            for level in levels[1:]:
                mixed.shuffle(level)
            lines += [orjson.dumps(line) for level in levels for line in level]
        return lines, len(roots)

    def cancel(self, key: int | None) -> BulkOperation:
        one = self.operations.get(key)
        if one is None:
            raise Refusal(error(["id"], "Bulk operation does not exist"))
        if one.status not in OPEN:
            words = "A bulk operation cannot be canceled when it is"
            raise Refusal(error(None, f"{words} {one.status.lower()}"))
        one.status = "CANCELING"
        if not self.is_waiting:
            timer = threading.Timer(0.01, self.finish, [one])
            timer.daemon = True
            timer.start()
        return one

    def result(self, token: str) -> bytes | None:
        """The file, or None where there is none (any more)."""
        for one in self.operations.values():
            if one.token == token and one.completed_at and self.now() - one.completed_at < RESULTS_LIVE:
                return one.content if one.url or one.partial_data_url else None
        return None


def _edges(value: Any) -> list[Json]:
    """The edges of all connections in a value, also of those below a plain object."""
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("edges"), list):
        edges: list[Json] = value["edges"]
        return edges
    return [edge for inner in value.values() for edge in _edges(inner)]


def _split(node: Json, parent: str | None) -> tuple[Json, list[Json]]:
    """A record's own line, and the records of its connections."""
    line = _without_connections(node)
    if parent is not None:
        line["__parentId"] = parent
    return line, [edge["node"] for value in node.values() for edge in _edges(value)]


def _without_connections(value: Json) -> Json:
    """Plain objects stay, without the connections below them."""
    kept = {name: inner for name, inner in value.items() if not (isinstance(inner, dict) and "edges" in inner)}
    return {name: _without_connections(inner) if isinstance(inner, dict) else inner for name, inner in kept.items()}


def _grouped(node: Json, parent: str | None) -> Iterator[Json]:
    line, children = _split(node, parent)
    yield line
    for child in children:
        yield from _grouped(child, node["id"])


def _by_level(node: Json, parent: str | None, levels: list[list[Json]], level: int) -> None:
    line, children = _split(node, parent)
    levels[level].append(line)
    for child in children:
        _by_level(child, node["id"], levels, level + 1)


# What may be asked


@dataclass
class _Survey:
    """What a walk through the query found."""

    connections: int = 0
    depth: int = -1
    by_nodes: list[str] = field(default_factory=list)
    without_id: list[str] = field(default_factory=list)
    in_list: bool = False


def _problems(schema: GraphQLSchema, query: str) -> Iterator[str]:
    size = len(query.encode())
    if size > BYTES_MOST:
        yield f"Query is too large ({size} bytes; maximum is {BYTES_MOST} bytes)"
        return
    try:
        document = parse(query)
    except GraphQLSyntaxError as problem:
        words = "unexpected end of file" if "<EOF>" in problem.message else problem.message.removeprefix("Syntax Error: ")
        yield f"Invalid bulk query: syntax error, {words}"
        return
    operation = next((one for one in document.definitions if isinstance(one, OperationDefinitionNode)), None)
    if operation is None or operation.operation.value != "query":
        yield "Invalid operation type. Only `query` operations are supported."
        return
    try:
        prepare(schema, query, {}, None)
    except Refused as refused:
        yield f"Invalid bulk query: {refused.errors[0]['message']}"
        return
    roots = [node for node in operation.selection_set.selections if isinstance(node, FieldNode)]
    if len(roots) > 1:
        yield "Bulk queries cannot contain multiple top level fields."  # the limit is documented, the words are [memory]
    for node in roots:
        if node.name.value in {"node", "nodes"}:
            yield f"Bulk queries cannot contain a top level `{node.name.value}` field."
    survey = _Survey()
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    _look(schema, fragments, operation.selection_set, schema.query_type, survey, depth=-1, parent=None, in_list=False)
    yield from _judged(survey)


def _judged(survey: _Survey) -> Iterator[str]:
    if survey.connections == 0:
        yield "Bulk queries must contain at least one connection."
    if survey.by_nodes:
        names = ", ".join(f"'{name}'" for name in survey.by_nodes)
        yield (
            "All connection fields in a bulk query must select their contents using 'edges' > 'node', e.g: "
            f"'{survey.by_nodes[0]} {{ edges {{ node {{'. Selecting via 'nodes' is not supported. "
            f"Invalid connection fields: {names}."
        )
    if survey.depth > 2:
        yield "Bulk queries cannot contain connections with a nesting depth greater than 2."
    if survey.connections > 5:
        yield "Bulk queries cannot contain more than 5 connections."
    if survey.without_id:
        yield (
            "The parent 'node' field for a nested connection must select the 'id' field without an alias and must be of "
            f"'ID' return type. Connection fields without 'id': {', '.join(survey.without_id)}."
        )
    if survey.in_list:
        yield "Queries that contain a connection field within a list field are not currently supported."


def _fields(fragments: dict[str, FragmentDefinitionNode], selected: SelectionSetNode | None) -> Iterator[FieldNode]:
    for node in selected.selections if selected else ():
        if isinstance(node, FieldNode):
            yield node
        else:
            inner = fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
            yield from _fields(fragments, inner.selection_set)  # type: ignore[union-attr]


def _look(
    schema: GraphQLSchema,
    fragments: dict[str, FragmentDefinitionNode],
    selected: SelectionSetNode | None,
    kind: Any,
    survey: _Survey,
    *,
    depth: int,
    parent: tuple[str, bool] | None,
    in_list: bool,
) -> None:
    """`parent` is the connection around this selection and whether its node selects `id`."""
    for node in _fields(fragments, selected):
        field_of = getattr(kind, "fields", {}).get(node.name.value)
        if field_of is None or not is_composite_type(get_named_type(field_of.type)):
            continue
        inner = get_named_type(field_of.type)
        bare = field_of.type.of_type if isinstance(field_of.type, GraphQLNonNull) else field_of.type
        if not inner.name.endswith("Connection"):
            below = in_list or isinstance(bare, GraphQLList)
            _look(schema, fragments, node.selection_set, inner, survey, depth=depth, parent=parent, in_list=below)
            continue
        survey.connections += 1
        survey.depth = max(survey.depth, depth + 1)
        survey.in_list |= in_list
        if parent and not parent[1] and parent[0] not in survey.without_id:
            survey.without_id.append(parent[0])
        name = node.name.value
        chosen = {part.name.value: part for part in _fields(fragments, node.selection_set)}
        if "nodes" in chosen:
            survey.by_nodes.append(name)
        edges = chosen.get("edges")
        item = (
            next((part for part in _fields(fragments, edges.selection_set) if part.name.value == "node"), None)
            if edges
            else None
        )
        if item is not None:
            has_id = any(part.name.value == "id" and not part.alias for part in _fields(fragments, item.selection_set))
            target = get_named_type(get_named_type(inner.fields["edges"].type).fields["node"].type)
            _look(schema, fragments, item.selection_set, target, survey, depth=depth + 1, parent=(name, has_id), in_list=False)


# GraphQL


@mutation("bulkOperationRunQuery", "bulkOperation")
def bulk_operation_run_query(call: Call, query: str, groupObjects: bool = False) -> BulkOperation:  # noqa: N803
    return call.bulk.run(
        call, call.schema, query, group_objects=groupObjects, base=call.base, seconds=call.shop.setup.bulk_seconds
    )


@mutation("bulkOperationCancel", "bulkOperation")
def bulk_operation_cancel(call: Call, id: str) -> BulkOperation:  # noqa: A002
    return call.bulk.cancel(key_in(id, "BulkOperation"))


@resolves("QueryRoot.currentBulkOperation")
def current_bulk_operation(_: Any, info: Any, type: str = "QUERY") -> BulkOperation | None:  # noqa: A002
    """The last one started, whatever became of it."""
    operations = list(info.context.bulk.operations.values())
    return operations[-1] if operations and type == "QUERY" else None


_ACCEPTED = {
    "status": {"canceled", "canceling", "completed", "created", "failed", "running"},  # "expired" is refused [recordings]
    "operation_type": {"query", "mutation"},
}
_FILTERS: dict[str, search.Value] = {
    "created_at": lambda one: one.created_at,
    "id": lambda one: one.key,
    "operation_type": lambda one: one.type,
    "status": lambda one: one.status,
}


@resolves("QueryRoot.bulkOperations")
def bulk_operations(_: Any, info: Any, **arguments: Any) -> Json:
    """Newest first unless reversed. [recordings]"""
    call: Call = info.context
    window = Window.of(arguments, is_bulk=False)
    try:
        asked = search.compiled(arguments.get("query"), _FILTERS, [], accepts=_ACCEPTED)
    except search.BadSearch as problem:
        raise Failed(str(problem), "BAD_REQUEST") from None
    if asked.warnings:
        call.searches.append(asked.note(info.path.as_list()))
    found = [one for one in call.bulk.operations.values() if asked.matches(one)]
    by_end = arguments.get("sortKey") == "COMPLETED_AT"
    order = (lambda one: one.completed_at) if by_end else (lambda one: one.created_at)
    return page(found, replace(window, reverse=not window.reverse), order)
