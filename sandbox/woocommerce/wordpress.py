"""WordPress's part of WooCommerce's REST API: parameters, errors, texts, addresses and times, as WordPress treats them.

Facts marked "observed" were seen on shops with WooCommerce 11.0.1, 8.0.0 and 3.9.1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

import orjson


class RestError(Exception):
    """What WordPress calls WP_Error: `data` ends up beside the status."""

    def __init__(self, status: int, code: str, message: str, **data: Any) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.data = {"status": status} | data

    def body(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "data": self.data}


@dataclass(frozen=True)
class Param:
    """One declared query parameter; undeclared ones are ignored, as WordPress does (observed: customers' modified_after)."""

    kind: Literal["string", "integer", "boolean", "email", "date", "integers", "strings"] = "string"
    default: Any = None
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None


_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:\d\d)?)?", re.IGNORECASE)
# is_email() of WordPress: ASCII only, no dot needed before the @ sign's neighbours, at least one dot in the domain.
_LOCAL = re.compile(r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]+")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>?")
_LOOSE_AMPERSAND = re.compile(r"&(?!(?:[a-zA-Z][a-zA-Z0-9]*|#\d+|#[xX][0-9a-fA-F]+);)")


def is_email(value: str) -> bool:
    """Observed: räksmörgås@exempel.se, ok@räksmörgås.se and a@b are refused; punycode domains and o'kund@ pass."""
    local, at, domain = value.rpartition("@")
    labels = domain.split(".")
    return bool(
        at
        and len(value) >= 6
        and _LOCAL.fullmatch(local)
        and "@" not in local
        and len(labels) >= 2
        and all(_LABEL.fullmatch(part) for part in labels)
    )


def plain_text(value: Any) -> str:
    """sanitize_text_field(): tags, line breaks and outer blanks go (observed)."""
    text = _TAG.sub("", str(value if value is not None else ""))
    text = re.sub(r"%[a-fA-F0-9]{2}", "", text)
    return re.sub(r"\s+", " ", text).strip()


def escaped(text: str) -> str:
    """Loose `&`, `<` and `>` become entities, quotes and what is an entity already do not (observed: "O'Neil &amp; Co")."""
    return _LOOSE_AMPERSAND.sub("&amp;", text).replace("<", "&lt;").replace(">", "&gt;")


def kept_tags(value: Any) -> str:
    """wp_filter_post_kses() for product names: tags stay, loose ampersands are escaped (observed: `Mugg <b>Blå</b>`)."""
    return _LOOSE_AMPERSAND.sub("&amp;", str(value or "")).strip()


def php_json(value: Any) -> bytes:
    """JSON as PHP writes it, with \\u escapes and \\/ (observed): signatures must be checked over these very bytes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True).replace("/", "\\/").encode()


def php_query(raw: str) -> dict[str, Any]:
    """parse_str(): `a[]=1&a[]=2` is a list, `a[b]=1` a mapping, and of repeated plain names the last one counts."""
    found: dict[str, Any] = {}
    for name, value in parse_qsl(raw, keep_blank_values=True):
        base, *inner = re.findall(r"^[^\[]+|\[[^\]]*\]", name) or [name]
        base = base.replace(".", "_").replace(" ", "_")
        if not inner:
            found[base] = value
            continue
        node = found.setdefault(base, {})
        if not isinstance(node, dict):
            node = found[base] = {}
        for at, part in enumerate(inner):
            key = part[1:-1] or str(len(node))
            if at == len(inner) - 1:
                node[key] = value
            else:
                inside = node.setdefault(key, {})
                node = inside if isinstance(inside, dict) else node
    return found


def body_params(content_type: str, body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if "json" in content_type:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise RestError(
                400, "rest_invalid_json", "Invalid JSON body passed.", json_error_code=4, json_error_message="Syntax error"
            ) from None
        return parsed if isinstance(parsed, dict) else {}
    if "x-www-form-urlencoded" in content_type:
        return php_query(body.decode("utf-8", "replace"))
    return {}


def as_list(value: Any) -> list[Any]:
    """wp_parse_list(): a list, PHP's numbered mapping, or a text with commas or blanks between its items."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list):
        return value
    return [part for part in re.split(r"[\s,]+", str(value)) if part]


def is_true(value: Any) -> bool:
    """PHP's notion as WordPress sends booleans through rest_sanitize_boolean()."""
    return bool(value) and str(value).lower() not in {"false", "0", ""}


def checked(params: Mapping[str, Any], declared: Mapping[str, Param]) -> dict[str, Any]:
    """The declared parameters with their types and defaults; raises RestError listing everything that is wrong at once."""
    values: dict[str, Any] = {}
    wrong: dict[str, tuple[str, str]] = {}
    for name, param in declared.items():
        if name not in params:
            values[name] = param.default
            continue
        try:
            values[name] = _value(name, params[name], param)
        except _Wrong as problem:
            wrong[name] = (problem.code, problem.sentence)
    if wrong:
        raise invalid_params(wrong)
    return values


def invalid_params(wrong: Mapping[str, tuple[str, str]]) -> RestError:
    """400 rest_invalid_param; `wrong` maps a parameter to (code, sentence)."""
    return RestError(
        400,
        "rest_invalid_param",
        f"Invalid parameter(s): {', '.join(wrong)}",
        params={name: sentence for name, (_, sentence) in wrong.items()},
        details={name: {"code": code, "message": sentence, "data": None} for name, (code, sentence) in wrong.items()},
    )


def missing_params(*names: str) -> RestError:
    return RestError(400, "rest_missing_callback_param", f"Missing parameter(s): {', '.join(names)}", params=list(names))


class _Wrong(Exception):
    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence


def _value(name: str, raw: Any, param: Param) -> Any:
    match param.kind:
        case "integer":
            return _integer(name, raw, param)
        case "boolean":
            if isinstance(raw, bool):
                return raw
            if str(raw).lower() not in {"0", "1", "true", "false", ""}:
                raise _Wrong("rest_invalid_type", f"{name} is not of type boolean.")
            return is_true(raw)
        case "email":
            if not is_email(str(raw)):
                raise _Wrong("rest_invalid_email", "Invalid email address.")
            return str(raw)
        case "date":
            # Observed: a date without a time, or an epoch, is a 400.
            if not _DATE.fullmatch(str(raw)) or not _is_parsable(str(raw)):
                raise _Wrong("rest_invalid_date", "Invalid date.")
            return str(raw)
        case "integers":
            return [_integer(f"{name}[{i}]", item, Param("integer")) for i, item in enumerate(as_list(raw))]
        case "strings":
            items = [str(item) for item in as_list(raw)]
            for i, item in enumerate(items):
                _among(f"{name}[{i}]", item, param.choices)
            return items
        case _:
            if isinstance(raw, Mapping | list):
                raise _Wrong("rest_invalid_type", f"{name} is not of type string.")
            _among(name, str(raw), param.choices)
            return str(raw)


def _integer(name: str, raw: Any, param: Param) -> int:
    if isinstance(raw, bool) or not re.fullmatch(r"\s*-?\d+(\.0*)?\s*", str(raw)):
        raise _Wrong("rest_invalid_type", f"{name} is not of type integer.")
    number = int(float(raw))
    low, high = param.low, param.high
    if low is not None and high is not None and not low <= number <= high:
        raise _Wrong("rest_out_of_bounds", f"{name} must be between {low} (inclusive) and {high} (inclusive)")
    if low is not None and number < low:
        raise _Wrong("rest_out_of_bounds", f"{name} must be greater than or equal to {low}")
    return number


def _among(name: str, value: str, choices: Iterable[str]) -> None:
    choices = tuple(choices)
    if choices and value not in choices:
        *first, last = choices
        raise _Wrong("rest_not_in_enum", f"{name} is not one of {', '.join(first)}, and {last}.")


def moment(text: str, utc_offset: timedelta) -> datetime:
    """A date parameter as a naive time on the shop's clock, whatever its suffix says.

    WordPress turns Z or +01:00 into the shop's local time before anybody looks at dates_are_gmt; a caller who then compares
    with a GMT column skips the last hours of changes in a shop east of Greenwich (observed).
    """
    parsed = _parsed(text).replace(microsecond=0)
    return parsed.astimezone(UTC).replace(tzinfo=None) + utc_offset if parsed.tzinfo else parsed


def _parsed(text: str) -> datetime:
    stamp = text.upper().replace(" ", "T")
    return datetime.fromisoformat(stamp + ":00" if re.search(r"[+-]\d\d$", stamp[19:]) else stamp)


def _is_parsable(text: str) -> bool:
    try:
        _parsed(text)
    except ValueError:
        return False
    return True


def trimmed(item: Any, fields: list[str]) -> Any:
    """`_fields=id,billing.email`: works nested in objects; into a list it cannot reach and leaves it empty."""
    wanted: dict[str, Any] = {}
    for path in fields:
        node = wanted
        *parents, leaf = path.split(".")
        for part in parents:
            inner = node.setdefault(part, {})
            if inner is True:
                break
            node = inner
        else:
            node[leaf] = True
    return _kept(item, wanted)


def _kept(item: Any, wanted: dict[str, Any]) -> Any:
    if isinstance(item, list):
        return []
    found = {}
    for key, value in item.items():
        choice = wanted.get(key)
        if choice is True or (choice is not None and not isinstance(value, dict | list)):
            found[key] = value
        elif choice is not None:
            found[key] = _kept(value, choice)
    return found


def rawurlencode(text: str) -> str:
    return quote(str(text), safe="-_.~")
