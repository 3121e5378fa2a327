"""The language of `query:` arguments: `tag:vip updated_at:>='2026-11-01T00:00:00Z' -(state:DISABLED OR email:*@x.de)`.

Terms are joined by AND unless OR stands between them; `-` or NOT excludes; a name without quotes may end in `*`. A filter that
the list does not know matches everything and leaves a warning in `extensions.search`. [recordings customers-count, memory]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<minus>-)(?=[\w(])|(?P<term>(?:[\w.]+:)?(?:[<>]=?)?(?:'[^']*'|"[^"]*"|[^\s()]+)))"""
)

Test = Callable[[Any], bool]
Value = Callable[[Any], Any]
"""What a filter compares: text, a moment, a number, a truth value, or a list of texts of which one has to match."""


class BadSearch(Exception):
    """The message is Shopify's, for a top-level BAD_REQUEST."""


@dataclass
class Search:
    """A compiled query: `matches`, and what `extensions.search` says about it."""

    text: str
    matches: Test
    warnings: list[dict[str, str]] = field(default_factory=list)
    parsed: dict[str, Any] = field(default_factory=dict)

    def note(self, path: Sequence[str | int]) -> dict[str, Any]:
        return {"path": list(path), "query": self.text, "parsed": self.parsed, "warnings": self.warnings}


def compiled(
    text: str | None, filters: Mapping[str, Value], default: Iterable[Value], *, accepts: Mapping[str, set[str]]
) -> Search:
    """`default` are the fields that a term without a name looks into (none: such a term is ignored with a warning).

    `accepts` names the values that a filter takes, where others make the whole list empty. [recording bulk-operations-read-arg]
    """
    search = Search(text or "", lambda _: True)
    tokens = list(_tokens(text or ""))
    if tokens:
        search.matches = _Parser(tokens, filters, list(default), accepts, search).all_of()
    return search


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        kind = match.lastgroup or ""
        yield kind, match[kind]


class _Parser:
    def __init__(
        self,
        tokens: list[tuple[str, str]],
        filters: Mapping[str, Value],
        default: list[Value],
        accepts: Mapping[str, set[str]],
        search: Search,
    ) -> None:
        self.tokens, self.filters, self.default, self.accepts, self.search = tokens, filters, default, accepts, search

    def all_of(self) -> Test:
        """AND binds closer than OR."""
        branches: list[list[Test]] = [[]]
        while self.tokens:
            kind, text = self.tokens.pop(0)
            if kind == "close":
                break
            if kind == "term" and text == "OR":
                branches.append([])
            elif kind != "term" or text != "AND":
                branches[-1].append(self.one(kind, text))
        alternatives = [branch for branch in branches if branch]
        return lambda record: not alternatives or any(all(test(record) for test in branch) for branch in alternatives)

    def one(self, kind: str, text: str) -> Test:
        if kind == "minus" or text == "NOT":
            inner = self.one(*self.tokens.pop(0)) if self.tokens else lambda _: False
            return lambda record: not inner(record)
        return self.all_of() if kind == "open" else self.term(text)

    def term(self, text: str) -> Test:
        name, colon, rest = text.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z_.]+", name):
            return self.words(text.strip("'\""))
        match = re.fullmatch(r"([<>]=?)?(.*)", rest, re.DOTALL)
        assert match is not None
        operator, value = match[1] or "", match[2]
        is_quoted = value[:1] in {"'", '"'}
        value = value.strip("'\"")
        self.search.parsed = {"field": name, "match_all": value}
        if name.endswith("_not"):
            inner = self.term(f"{name.removesuffix('_not')}:{rest}")
            return lambda record: not inner(record)
        if name not in self.filters:
            return self.ignored(name, "Invalid search field for this query.", "invalid_field")
        if value.lower() not in self.accepts.get(name, {value.lower()}):
            self.search.warnings.append(
                {"field": name, "message": f"Input `{value}` is not an accepted value.", "code": "invalid_value"}
            )
            return lambda _: False
        found = self.filters[name]
        if value == "*" and not is_quoted:
            return lambda record: found(record) not in (None, "", [])
        if name.endswith(("_at", "_date")):
            moment = _moment(name, value)
            return lambda record: _holds(found(record), operator, moment)
        return lambda record: _holds(found(record), operator, value)

    def words(self, text: str) -> Test:
        if not self.default:
            self.search.parsed = {"field": "default", "match_all": text}
            return self.ignored("default", "Input must use named search fields in this query.", "missing_named_field")
        fields = self.default
        return lambda record: any(_matches(str(found(record) or ""), text, is_word=True) for found in fields)

    def ignored(self, name: str, message: str, code: str) -> Test:
        self.search.warnings.append({"field": name, "message": message, "code": code})
        return lambda _: True


def _moment(name: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise BadSearch(f"Invalid timestamp for query filter `{name}`.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _holds(held: Any, operator: str, wanted: Any) -> bool:
    if isinstance(held, list):
        return any(_holds(one, operator, wanted) for one in held)
    if held is None:
        return False
    if isinstance(held, bool):
        return str(held).lower() == str(wanted).lower()
    if isinstance(held, int | Decimal):
        try:
            wanted = Decimal(str(wanted))
        except InvalidOperation:
            return False
    elif isinstance(held, str):
        wanted = str(wanted)
        if not operator:
            return _matches(held, wanted)
    if operator in {">", "<"}:
        return bool(held > wanted) if operator == ">" else bool(held < wanted)
    if operator:
        return bool(held >= wanted) if operator == ">=" else bool(held <= wanted)
    return bool(held == wanted)


def _matches(held: str, wanted: str, *, is_word: bool = False) -> bool:
    """Case does not count; `*` stands for any end (or beginning)."""
    held, wanted = held.lower(), wanted.lower()
    if "*" in wanted:
        pattern = ".*".join(re.escape(part) for part in wanted.split("*"))
        return bool(re.search(rf"(?:^|\s){pattern}" if is_word else rf"^{pattern}$", held))
    return wanted in re.split(r"\s+", held) or held == wanted if is_word else held == wanted
