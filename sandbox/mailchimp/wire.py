"""How Mailchimp's Marketing API 3.0 speaks: problems, body checks, dotted `fields`, paging, times.

Nothing here knows a resource. Error titles and details are the platform's own words where clients have published them; a
wording that nobody published is marked with "our words".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

ERRORS_PAGE = "https://mailchimp.com/developer/marketing/docs/errors/"
NOT_VALIDATED = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."
MAX_COUNT, DEFAULT_COUNT = 1000, 10


class Problem(Exception):
    """An answer of the type application/problem+json; `errors` are its [{field, message}]."""

    def __init__(self, status: int, title: str, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.errors = status, title, detail, errors

    def body(self, instance: str) -> Json:
        found: Json = {
            "type": ERRORS_PAGE,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        return found | {"errors": self.errors} if self.errors else found


def bad_request(detail: str) -> Problem:
    return Problem(400, "Bad Request", detail)


def not_found() -> Problem:
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")


def method_not_allowed() -> Problem:
    return Problem(
        405,
        "Method Not Allowed",
        "The requested method and resource are not compatible. See the Allow header for this resource's available methods.",
    )


def invalid(*errors: tuple[str, str], detail: str = NOT_VALIDATED) -> Problem:
    return Problem(400, "Invalid Resource", detail, [{"field": f, "message": m} for f, m in errors])


@dataclass(slots=True)
class Ask:
    """One call as a handler sees it. `base` is what links start with: "http://host/3.0"."""

    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    base: str = ""

    def flag(self, name: str) -> bool:
        given = self.query.get(name, "").lower()
        if given not in {"", "true", "false", "1", "0"}:
            raise invalid((name, "Schema describes boolean, string found instead"))
        return given in {"true", "1"}

    def number(self, name: str, default: int, most: int | None = None) -> int:
        given = self.query.get(name)
        if given is None:
            return default
        if not re.fullmatch(r"\d{1,9}", given):
            raise invalid((name, "Schema describes integer, string found instead"))
        if most is not None and int(given) > most:
            raise invalid((name, f"The value must be at most {most}"))  # our words
        return int(given)

    def moment(self, name: str) -> datetime | None:
        """A time filter. With fractional seconds the platform ignores it without a word [issue MailChimp.Net#525]."""
        given = self.query.get(name)
        if not given or re.search(r":\d\d\.\d+", given):
            return None
        try:
            return parse_moment(given)
        except ValueError as bad:
            raise invalid((name, "This value is not a valid datetime.")) from bad  # our words

    def page(self, found: list[Any], show: Callable[[Any], Json], key: str, **beside: Any) -> Json:
        """One page of a collection: only the shown records are built."""
        offset, count = self.number("offset", 0), self.number("count", DEFAULT_COUNT, MAX_COUNT)
        shown = [show(x) for x in found[offset : offset + count]]
        return {key: shown, **beside, "total_items": len(found), "_links": []}


# Times


def parse_moment(given: str) -> datetime:
    """ISO 8601, with a blank for the T as well; without a zone it is UTC. Raises ValueError."""
    found = datetime.fromisoformat(given.strip())
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def stamp(at: datetime | None) -> str:
    """Second resolution and `+00:00`, as the platform writes times; an unknown time is the empty string."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00") if at else ""


# Bodies. A schema maps a field to a kind: "string", "integer", "number", "boolean", "object", "any", "datetime", a tuple of
# allowed words, a nested schema (dict) or a list holding the schema of the items. A `*` after the name says required.

Schema = dict[str, Any]
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array", type(None): "NULL"}


def _wrong(path: str, wanted: str, value: Any) -> tuple[str, str]:
    return path, f"Schema describes {wanted}, {_NAMES.get(type(value), 'string')} found instead"


def _check_value(kind: Any, value: Any, path: str, errors: list[tuple[str, str]]) -> None:
    if kind == "string":
        if type(value) is not str:
            errors.append(_wrong(path, "string", value))
    elif kind == "any":
        return
    elif kind == "number":
        if type(value) not in (int, float):
            errors.append(_wrong(path, "number", value))
    elif kind == "integer":
        if type(value) is not int:
            errors.append(_wrong(path, "integer", value))
    elif kind == "boolean":
        if type(value) is not bool:
            errors.append(_wrong(path, "boolean", value))
    elif kind == "object":
        if type(value) is not dict:
            errors.append(_wrong(path, "object", value))
    elif kind == "datetime":
        if type(value) is not str:
            errors.append(_wrong(path, "string", value))
            return
        try:
            if value:
                parse_moment(value)
        except ValueError:
            errors.append((path, "This value is not a valid datetime."))
    elif isinstance(kind, tuple):
        if type(value) is not str:
            errors.append(_wrong(path, "string", value))
        elif value not in kind:
            errors.append((path, "Value must be one of: " + ", ".join(kind)))  # our words
    elif isinstance(kind, list):
        if type(value) is not list:
            errors.append(_wrong(path, "array", value))
            return
        for at, item in enumerate(value):
            _check_value(kind[0], item, f"{path}.item:{at}", errors)
    elif type(value) is not dict:
        errors.append(_wrong(path, "object", value))
    else:
        _check_fields(kind, value, f"{path}." if path else "", errors)


def _check_fields(schema: Schema, body: Json, prefix: str, errors: list[tuple[str, str]]) -> None:
    missing = [name[:-1] for name in schema if name[-1] == "*" and name[:-1] not in body]
    if missing:
        errors.append((prefix.rstrip("."), "Required fields were not provided: " + ", ".join(missing)))
    for name, kind in schema.items():
        bare = name[:-1] if name[-1] == "*" else name
        if bare in body:
            _check_value(kind, body[bare], prefix + bare, errors)


def check_body(schema: Schema, body: Any) -> Json:
    """Give the body back if it fits; fields that the schema does not know are let through, as the platform does."""
    errors: list[tuple[str, str]] = []
    if type(body) is not dict:
        raise invalid(_wrong("", "object", body))
    _check_fields(schema, body, "", errors)
    if errors:
        raise invalid(*errors)
    return body


def optional(schema: Schema) -> Schema:
    """The same schema with nothing required at its top level: what PATCH takes."""
    return {name.rstrip("*"): kind for name, kind in schema.items()}


def only(schema: Schema, body: Json) -> Json:
    """The fields that the platform keeps."""
    names = {name.rstrip("*") for name in schema}
    return {name: value for name, value in body.items() if name in names}


# Dotted `fields` and `exclude_fields`

Tree = dict[str, "Tree"]


def _tree(dotted: str) -> Tree:
    root: Tree = {}
    for path in filter(None, (p.strip() for p in dotted.split(","))):
        node = root
        for part in path.split("."):
            node = node.setdefault(part, {})
    return root


def _keep(value: Any, tree: Tree) -> Any:
    if not tree:
        return value
    if isinstance(value, list):
        return [_keep(v, tree) for v in value]
    if isinstance(value, dict):
        return {k: _keep(value[k], sub) for k, sub in tree.items() if k in value}
    return value


def _drop(value: Any, tree: Tree) -> Any:
    if isinstance(value, list):
        return [_drop(v, tree) for v in value]
    if isinstance(value, dict):
        return {k: _drop(v, tree[k]) if k in tree else v for k, v in value.items() if k not in tree or tree[k]}
    return value


def chosen_fields(payload: Any, query: Mapping[str, str]) -> Any:
    if query.get("fields"):
        payload = _keep(payload, _tree(query["fields"]))
    if query.get("exclude_fields"):
        payload = _drop(payload, _tree(query["exclude_fields"]))
    return payload


# Routes

Handler = Callable[..., Any]


class Routes:
    """Path templates as a tree, so that an operation of a batch finds its handler in a microsecond.

    A handler takes the Ask and the path's values; it returns a payload (200) or None (204).
    """

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, template: str, **handlers: Handler) -> None:
        node = self._root
        for part in filter(None, template.split("/")):
            node = node.setdefault("{}" if part.startswith("{") else part, {})
        node.setdefault("", {}).update({method.upper(): handler for method, handler in handlers.items()})

    def find(self, method: str, parts: Iterable[str]) -> tuple[Handler, list[str]]:
        node, values = self._root, []
        for part in parts:
            if part in node and part not in {"", "{}"}:
                node = node[part]
            elif "{}" in node:
                node = node["{}"]
                values.append(part)
            else:
                raise not_found()
        handlers = node.get("")
        if not handlers:
            raise not_found()
        if method not in handlers:
            raise method_not_allowed()
        return handlers[method], values


_ADDRESS = re.compile(
    r"[^@\s,;:<>()\[\]\\\"]{1,64}@(?:[a-z0-9\-\u0080-\U0010ffff]{1,63}\.)+[a-z0-9\-\u0080-\U0010ffff]{2,63}", re.IGNORECASE
)


def is_address(given: str) -> bool:
    if not _ADDRESS.fullmatch(given) or len(given) > 254:
        return False
    local = given.partition("@")[0]
    return not (local.startswith(".") or local.endswith(".") or ".." in local)
