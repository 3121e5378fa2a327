"""Reading foreign JSON: what is not what it should be becomes null, never an exception, and validation says so later."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import pandera.polars as pa
import polars as pl

_FOUR_PLACES = Decimal("0.0001")
_TOO_MUCH = Decimal(10) ** 14
_MANY = 2**31


def dig(node: Any, *path: str) -> Any:
    """What stands at the end of a path of keys, or None."""
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def items(node: Any, *path: str) -> list[Any]:
    """A list at the end of a path, or an empty one."""
    found = dig(node, *path)
    return found if isinstance(found, list) else []


def text(value: Any) -> str | None:
    """Entities decoded, blanks around it gone, empty is None. Numbers are text too: a postcode may be one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        return None
    return (html.unescape(value) if "&" in value else value).strip() or None


def raw(value: Any) -> str | None:
    """A value as evidence: text as it stands but for blanks around it, everything else as JSON; empty is None."""
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def identifier(value: Any) -> str | None:
    """A whole number above zero, as text; 0 is how some platforms say "none"."""
    found = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value):
        found = int(value)
    return str(found) if found and found > 0 else None


def whole(value: Any) -> int | None:
    """A count. Half a piece is no count."""
    number = money(value)
    return int(number) if number is not None and number == int(number) and abs(number) < _MANY else None


def money(value: Any) -> Decimal | None:
    """An amount with four places, from a text or a JSON number; empty and unreadable are None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    try:
        amount = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return amount.quantize(_FOUR_PLACES) if amount.is_finite() and abs(amount) < _TOO_MUCH else None


def instant(value: Any) -> datetime | None:
    """An ISO 8601 time; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def frame(model: type[pa.DataFrameModel], columns: Mapping[str, Sequence[Any]]) -> pl.DataFrame:
    """A frame with the column types of its schema. Columns that are computed from others come afterwards, with `select`."""
    dtypes = {name: column.dtype.type for name, column in model.to_schema().columns.items()}
    return pl.DataFrame(dict(columns), schema={name: dtypes[name] for name in columns})
