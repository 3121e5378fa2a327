"""Connections: filters, order, cursors and pages of what the shop lists."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from sandbox.shopify.graph import Failed
from sandbox.shopify.records import Json

PAGE_MOST = 250

Key = tuple[Any, int]


def sortable(value: Any) -> int | str:
    """What a cursor can hold, in an order that stays."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, Decimal):
        return int(value * 100)
    return value if isinstance(value, int) else str(value or "").lower()


def cursor_of(key: Key) -> str:
    return base64.b64encode(orjson.dumps({"last_id": key[1], "last_value": key[0]})).decode()


def key_of(cursor: str) -> Key:
    try:
        held = orjson.loads(base64.b64decode(cursor))
        return held["last_value"], held["last_id"]
    except (ValueError, KeyError, TypeError):
        raise Failed(f"Invalid cursor for current pagination sort: {cursor}", "BAD_REQUEST") from None


@dataclass(frozen=True)
class Window:
    """The arguments of a connection."""

    first: int | None = None
    last: int | None = None
    after: str | None = None
    before: str | None = None
    reverse: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any], *, is_bulk: bool) -> Window:
        """A bulk operation walks through all pages by itself, whatever `first` says. [docs bulk-operations]"""
        if is_bulk:
            return cls(first=10**12, reverse=bool(arguments.get("reverse")))
        first, last = arguments.get("first"), arguments.get("last")
        if first is None and last is None:
            raise Failed("you must provide one of first or last", "BAD_REQUEST")
        if first is not None and last is not None:
            raise Failed("providing both first and last is not supported", "BAD_REQUEST")
        asked = first if first is not None else last
        if not 0 <= (asked or 0) <= PAGE_MOST:  # the limit is documented, the words are [memory]
            raise Failed(f"{'first' if last is None else 'last'} must be between 0 and {PAGE_MOST}", "BAD_REQUEST")
        return cls(first, last, arguments.get("after"), arguments.get("before"), bool(arguments.get("reverse")))


def page(
    records: Iterable[Any], window: Window, value: Callable[[Any], Any], key: Callable[[Any], int] = lambda r: r.key
) -> Json:
    """A page of the records, ordered by (value, key). A cursor stays good when records come, go and move. [memory]"""
    keyed: list[tuple[Key, Any]] = [((sortable(value(record)), key(record)), record) for record in records]
    keyed.sort(key=lambda pair: pair[0], reverse=window.reverse)
    return cut(keyed, window)


def cut(keyed: list[tuple[Key, Any]], window: Window) -> Json:
    left, right = 0, len(keyed)
    try:
        if window.after:
            left = _after(keyed, key_of(window.after), reverse=window.reverse)
        if window.before:
            right = _before(keyed, key_of(window.before), reverse=window.reverse)
    except TypeError:
        # A cursor of another order: numbers do not compare with texts.
        raise Failed("Invalid cursor for current pagination sort", "BAD_REQUEST") from None
    start, stop = left, max(left, right)
    if window.first is not None:
        stop = min(stop, start + window.first)
    elif window.last is not None:
        start = max(start, stop - window.last)
    chosen = keyed[start:stop]
    edges = [{"cursor": cursor_of(at), "node": record} for at, record in chosen]
    return {
        "edges": edges,
        "nodes": [record for _, record in chosen],
        "pageInfo": {
            "hasNextPage": stop < len(keyed),
            "hasPreviousPage": start > 0,
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        },
    }


def _after(keyed: list[tuple[Key, Any]], at: Key, *, reverse: bool) -> int:
    return _boundary(keyed, lambda key: key < at if reverse else key > at)


def _before(keyed: list[tuple[Key, Any]], at: Key, *, reverse: bool) -> int:
    return _boundary(keyed, lambda key: key <= at if reverse else key >= at)


def _boundary(keyed: list[tuple[Key, Any]], is_right: Callable[[Key], bool]) -> int:
    """Where the records begin that lie to the right of a cursor."""
    low, high = 0, len(keyed)
    while low < high:
        middle = (low + high) // 2
        if is_right(keyed[middle][0]):
            high = middle
        else:
            low = middle + 1
    return low
