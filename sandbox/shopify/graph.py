"""GraphQL as Shopify answers it: our part of the schema, run by graphql-core, with the platform's words for every refusal.

Wording and shape of errors are those of the recordings; those of rarer mistakes are graphql-ruby's [memory].
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLSyntaxError,
    Node,
    OperationDefinitionNode,
    StringValueNode,
    TypeInfo,
    TypeInfoVisitor,
    Undefined,
    Visitor,
    build_ast_schema,
    execute,
    get_location,
    parse,
    print_ast,
    type_from_ast,
    validate,
    visit,
)
from graphql.language import ArgumentNode, ObjectFieldNode, ValueNode, VariableDefinitionNode

from sandbox.shopify.cost import Cost
from sandbox.shopify.records import Json

if TYPE_CHECKING:
    from sandbox.shopify.bulk import BulkOperations
    from sandbox.shopify.shop import Shop
    from sandbox.shopify.webhooks import Webhooks

DESCRIPTION = Path(__file__).with_name("schema.graphql")


class Failed(Exception):
    """A top-level error beside `data`, at the field that raised it."""

    def __init__(self, message: str, code: str, **more: Any) -> None:
        super().__init__(message)
        self.message, self.code, self.more = message, code, more


@dataclass
class Call:
    """One request while it is carried out: what resolvers share."""

    version: str
    schema: GraphQLSchema
    base: str
    """The address by which the twin was called."""
    client_id: str
    scopes: frozenset[str]
    shop: Shop
    bulk: BulkOperations
    hooks: Webhooks
    lists: dict[Any, Any]
    """Sorted lists that serve several pages."""
    searches: list[Json] = field(default_factory=list)
    is_bulk: bool = False


@dataclass
class Prepared:
    """An operation that may be carried out."""

    document: DocumentNode
    operation: OperationDefinitionNode
    variables: dict[str, Any]
    cost: Cost


class Refused(Exception):
    """The whole request is answered with these errors and no data."""

    def __init__(self, errors: list[Json]) -> None:
        super().__init__(str(errors))
        self.errors = errors


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def resolve_by_name(source: Any, info: Any, **_: Any) -> Any:
    return source.get(info.field_name) if isinstance(source, dict) else getattr(source, _snake(info.field_name), None)


_snake = functools.cache(snake)


def type_of(value: Any, info: Any, kind: Any) -> str:
    return str(value["__typename"] if isinstance(value, dict) else value.kind)


def moment_text(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decimal_text(amount: Decimal) -> str:
    """Recorded: "11884.9" and "0.0"."""
    text = f"{amount:f}".rstrip("0") if "." in f"{amount:f}" else f"{amount:f}."
    return f"{text}0" if text.endswith(".") else text


def parse_moment(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise GraphQLError(f"invalid DateTime '{value}'") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


OLD_LACKS = (
    "QueryRoot.bulkOperation",
    "QueryRoot.bulkOperations",
    "Refund.processedAt",
    "WebhookSubscription.name",
    "WebhookSubscriptionInput.name",
)
"""What our part of the schema did not have before 2026-01. [spec of both versions]"""


@functools.cache
def _described() -> DocumentNode:
    return parse(DESCRIPTION.read_text(encoding="utf-8"))


def made_schema(resolvers: Mapping[str, Callable[..., Any]], version: str) -> GraphQLSchema:
    """The version's schema with its resolvers ("Type.field")."""
    schema = build_ast_schema(_described(), assume_valid=True, assume_valid_sdl=True)  # a test proves it valid
    is_old = version < "2026-01"
    for coordinate in OLD_LACKS if is_old else ():
        kind, _, name = coordinate.partition(".")
        del schema.type_map[kind].fields[name]  # type: ignore[attr-defined]
    assert schema.mutation_type is not None
    # true before 2026-01 [spec of both versions]
    arguments = schema.mutation_type.fields["bulkOperationRunQuery"].args
    arguments["groupObjects"] = GraphQLArgument(arguments["groupObjects"].type, default_value=is_old)
    for coordinate, resolve in resolvers.items():
        kind, _, name = coordinate.partition(".")
        if not is_old or coordinate not in OLD_LACKS:
            schema.type_map[kind].fields[name].resolve = resolve  # type: ignore[attr-defined]
    texts: dict[str, Callable[[Any], str]] = {
        "DateTime": moment_text,
        "Decimal": decimal_text,
        "Money": lambda amount: f"{amount:.2f}",
        "UnsignedInt64": str,
    }
    for name, text in texts.items():
        schema.type_map[name].coerce_output_value = text  # type: ignore[attr-defined]
    schema.type_map["DateTime"].coerce_input_value = parse_moment  # type: ignore[attr-defined]
    return schema


def prepare(schema: GraphQLSchema, query: str, variables: Mapping[str, Any], operation_name: str | None) -> Prepared:
    try:
        document = parse(query)
    except GraphQLSyntaxError as error:
        raise Refused([_syntax(error)]) from error
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    chosen = [one for one in operations if operation_name is None or (one.name and one.name.value == operation_name)]
    if len(chosen) != 1:
        message = "An operation name is required" if operation_name is None else f'No operation named "{operation_name}"'
        raise Refused([{"message": message}])
    trails = _trails(schema, document)
    errors = [_validation(error, trails) for error in validate(schema, document, max_errors=1000)]
    bad_ids = _BadIds(trails)
    visit(document, bad_ids)
    errors += bad_ids.errors
    if errors:
        raise Refused(errors)
    values = _values(schema, chosen[0], variables)
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    return Prepared(document, chosen[0], values, Cost(schema, fragments, values))


def carry_out(schema: GraphQLSchema, prepared: Prepared, call: Call) -> Json:
    """`data` and `errors` as Shopify writes them, without extensions."""
    result = execute(
        schema,
        prepared.document,
        context_value=call,
        variable_values=prepared.variables,
        operation_name=prepared.operation.name.value if prepared.operation.name else None,
        field_resolver=resolve_by_name,
        type_resolver=type_of,
    )
    assert isinstance(result, ExecutionResult)
    answer: Json = {"data": result.data}
    if result.errors:
        answer = {"errors": [_failure(error) for error in result.errors]} | answer
    return answer


def _failure(error: GraphQLError) -> Json:
    cause = error.original_error
    if not isinstance(cause, Failed):
        raise cause or error  # a defect of the twin's
    places = [{"line": place.line, "column": place.column} for place in error.locations or ()]
    return {
        "message": cause.message,
        "locations": places,
        "extensions": {"code": cause.code} | cause.more,
        "path": list(error.path or ()),
    }


# What is wrong with the text of a query


def _place(node: Node) -> list[Json]:
    assert node.loc is not None
    at = get_location(node.loc.source, node.loc.start)
    return [{"line": at.line, "column": at.column}]


@dataclass(frozen=True)
class Trail:
    """Where a node stands: the words that lead to it, and the innermost argument (or input field) around it."""

    path: list[str]
    argument: str = ""
    owner: str = ""
    expected: str = ""
    field: FieldNode | None = None


class _Trails(Visitor):
    """A trail for each node. Words: `mutation Name`, fields by their response name, arguments, input fields."""

    def __init__(self, info: TypeInfo) -> None:
        super().__init__()
        self.info, self.stack = info, [Trail([])]
        self.found: dict[int, Trail] = {}

    def enter(self, node: Node, *_: Any) -> None:
        now = self.stack[-1]
        if isinstance(node, OperationDefinitionNode):
            now = Trail([" ".join([node.operation.value, *([node.name.value] if node.name else [])])])
        elif isinstance(node, FragmentDefinitionNode):
            now = Trail([f"fragment {node.name.value}"])
        elif isinstance(node, FieldNode):
            now = Trail([*now.path, (node.alias or node.name).value], owner=node.name.value, field=node)
        elif isinstance(node, ArgumentNode):
            asked = self.info.get_argument()
            expected = str(asked.type) if asked else ""
            now = replace(now, path=[*now.path, node.name.value], argument=node.name.value, expected=expected)
        elif isinstance(node, ObjectFieldNode):
            now = replace(now, path=[*now.path, node.name.value])
        self.stack.append(now)
        self.found[id(node)] = now

    def leave(self, *_: Any) -> None:
        self.stack.pop()


def _trails(schema: GraphQLSchema, document: DocumentNode) -> dict[int, Trail]:
    info = TypeInfo(schema)
    visitor = _Trails(info)
    visit(document, TypeInfoVisitor(info, visitor))
    return visitor.found


def _syntax(error: GraphQLSyntaxError) -> Json:
    place = error.locations[0] if error.locations else None
    line, column = (place.line, place.column) if place else (1, 1)
    what = "unexpected end of file" if "<EOF>" in error.message else error.message.removeprefix("Syntax Error: ")
    return {"message": f"syntax error, {what} at [{line}, {column}]", "locations": [{"line": line, "column": column}]}


def _validation(error: GraphQLError, trails: Mapping[int, Trail]) -> Json:
    nodes = list(error.nodes or ())
    node = nodes[-1] if isinstance(nodes[0], VariableDefinitionNode) else nodes[0]
    trail = trails.get(id(node), Trail([]))
    match = next((found for pattern in _WORDINGS if (found := re.match(pattern, error.message))), None)
    if match:
        message, extensions = _WORDINGS[match.re.pattern](match, trail)
    elif isinstance(node, ValueNode):
        message = f"Argument '{trail.argument}' on Field '{trail.owner}' has an invalid value ({print_ast(node)}). "
        message += f"Expected type '{trail.expected}'."
        extensions = {"code": "argumentLiteralsIncompatible", "typeName": "Field", "argumentName": trail.argument}
    else:
        message, extensions = error.message, {"code": "invalid"}
    place = trail.field or node if isinstance(node, ValueNode) and not match else nodes[0]
    return {"message": message, "locations": _place(place), "path": trail.path, "extensions": extensions}


Wording = Callable[[re.Match[str], Trail], tuple[str, Json]]

_WORDINGS: dict[str, Wording] = {
    r"Cannot query field '(\w+)' on type '(\w+)'": lambda m, _: (
        f"Field '{m[1]}' doesn't exist on type '{m[2]}'",
        {"code": "undefinedField", "typeName": m[2], "fieldName": m[1]},
    ),
    r"Unknown argument '(\w+)' on field '\w+\.(\w+)'": lambda m, _: (
        f"Field '{m[2]}' doesn't accept argument '{m[1]}'",
        {"code": "argumentNotAccepted", "name": m[2], "typeName": "Field", "argumentName": m[1]},
    ),
    r"Argument '\w+\.(\w+)\((\w+):\)' of type .* is required": lambda m, _: (
        f"Field '{m[1]}' is missing required arguments: {m[2]}",
        {"code": "missingRequiredArguments", "className": "Field", "name": m[1], "arguments": m[2]},
    ),
    r"Variable '\$(\w+)' is never used(?: in operation '(\w+)')?": lambda m, _: (
        f"Variable ${m[1]} is declared by {m[2] or 'anonymous query'} but not used",
        {"code": "variableNotUsed", "variableName": m[1]},
    ),
    r"Variable '\$(\w+)' is not defined(?: by operation '(\w+)')?": lambda m, _: (
        f"Variable ${m[1]} is used by {m[2] or 'anonymous query'} but not declared",
        {"code": "variableNotDefined", "variableName": m[1]},
    ),
    r"Variable '\$(\w+)' of type '(.+?)' used in position expecting type '(.+?)'": lambda m, trail: (
        f"Type mismatch on variable ${m[1]} and argument {trail.argument} ({m[2]} / {m[3]})",
        {"code": "variableMismatch", "variableName": m[1], "typeName": m[2], "argumentName": trail.argument},
    ),
    r"Expected value of type '(\w+)' not to include unknown field '(\w+)'": lambda m, _: (
        f"InputObject '{m[1]}' doesn't accept argument '{m[2]}'",
        {"code": "argumentNotAccepted", "name": m[1], "typeName": "InputObject", "argumentName": m[2]},
    ),
    r"Expected value of type '(\w+)' to include required field '(\w+)'": lambda m, _: (
        f"Argument '{m[2]}' on InputObject '{m[1]}' is required.",
        {"code": "missingRequiredInputObjectAttribute", "argumentName": m[2], "inputObjectType": m[1]},
    ),
    r"Field '(\w+)' of type '\W*(\w+)\W*' must have a selection": lambda m, _: (
        f"Field must have selections (field '{m[1]}' returns {m[2]} but has no selections. Did you mean '{m[1]} {{ ... }}'?)",
        {"code": "selectionMismatch", "nodeName": f"field '{m[1]}'", "typeName": m[2]},
    ),
}


class _BadIds(Visitor):
    """A literal that is no global id is refused before anything runs. [recordings]"""

    def __init__(self, trails: Mapping[int, Trail]) -> None:
        super().__init__()
        self.trails, self.errors = trails, list[Json]()
        self.fields: list[FieldNode] = []

    def enter_field(self, node: FieldNode, *_: Any) -> None:
        self.fields.append(node)

    def leave_field(self, *_: Any) -> None:
        self.fields.pop()

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        trail, value = self.trails[id(node)], node.value
        if trail.expected.strip("!") == "ID" and isinstance(value, StringValueNode) and not is_gid(value.value):
            self.errors.append(
                {
                    "message": f"Invalid global id '{value.value}'",
                    "locations": _place(self.fields[-1]),
                    "path": trail.path,
                    "extensions": {"code": "argumentLiteralsIncompatible", "typeName": "CoercionError"},
                }
            )


def is_gid(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch(r"gid://shopify/\w+/[^/?\s]+(\?.*)?", text) is not None


# What is wrong with variables


@dataclass(frozen=True)
class Problem:
    path: tuple[str | int, ...]
    explanation: str


def _values(schema: GraphQLSchema, operation: OperationDefinitionNode, given: Mapping[str, Any]) -> dict[str, Any]:
    """The variables; raises Refused for all that do not fit, in Shopify's words. [recordings]"""
    values: dict[str, Any] = {}
    errors = []
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        kind = type_from_ast(schema, definition.type)
        is_given = name in given
        value = given.get(name)
        if not is_given and definition.default_value is not None:
            continue
        if not is_given and not isinstance(kind, GraphQLNonNull):
            continue
        problems = list(problems_of(kind, value))
        if problems:
            errors.append(_bad_variable(definition, value, problems))
        values[name] = value
    if errors:
        raise Refused(errors)
    return values


def _bad_variable(definition: VariableDefinitionNode, value: Any, problems: list[Problem]) -> Json:
    told = ", ".join(f"{'.'.join(map(str, p.path))} ({p.explanation})" for p in problems if p.path)
    what = f"Variable ${definition.variable.name.value} of type {print_ast(definition.type)} was provided invalid value"
    return {
        "message": f"{what} for {told}" if told else what,
        "locations": _place(definition),
        "extensions": {
            "code": "INVALID_VARIABLE",
            "value": value,
            "problems": [{"path": list(p.path), "explanation": p.explanation} for p in problems],
        },
    }


def problems_of(kind: Any, value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    if isinstance(kind, GraphQLNonNull):
        if value is None:
            yield Problem(path, "Expected value to not be null")
            return
        kind = kind.of_type
    if value is None:
        return
    if isinstance(kind, GraphQLList):
        for at, one in enumerate(value if isinstance(value, list) else [value]):
            yield from problems_of(kind.of_type, one, (*path, at))
    elif isinstance(kind, GraphQLInputObjectType):
        yield from _object_problems(kind, value, path)
    elif isinstance(kind, GraphQLEnumType):
        if value not in kind.values:
            yield Problem(path, f'Expected "{value}" to be one of: {", ".join(kind.values)}')
    elif isinstance(kind, GraphQLScalarType):
        yield from _scalar_problems(kind, value, path)


def _object_problems(kind: GraphQLInputObjectType, value: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(path, f"Expected {value!r} to be a key-value object.")
        return
    for name in value:
        if name not in kind.fields:
            yield Problem((*path, name), f"Field is not defined on {kind.name}")
    for name, asked in kind.fields.items():
        if name in value or (isinstance(asked.type, GraphQLNonNull) and asked.default_value is Undefined):
            yield from problems_of(asked.type, value.get(name), (*path, name))
    if kind.is_one_of and len(value) != 1:
        yield Problem(path, f"'{kind.name}' requires exactly one argument, but {len(value)} were provided.")


def _scalar_problems(kind: GraphQLScalarType, value: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if kind.name == "DateTime":
        try:
            parse_moment(value)
        except GraphQLError as error:
            yield Problem(path, error.message)
    elif kind.name == "ID" and not is_gid(value):
        yield Problem(path, f"Invalid global id '{value}'")
    elif (kind.name == "Int" and not _is_int(value)) or (kind.name == "Boolean" and not isinstance(value, bool)):
        yield Problem(path, f"Could not coerce value {value!r} to {kind.name}")
    elif kind.name == "String" and not isinstance(value, str):
        yield Problem(path, f"Could not coerce value {value!r} to String")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
