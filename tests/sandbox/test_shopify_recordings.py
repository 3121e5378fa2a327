"""The Shopify twin against recorded answers of the real Admin GraphQL API: the same requests, shapes, refusals and words.

The recordings are not ours to ship: they are looked for in the folder that SHOPSYNC_SPECS names, else in ../shared/specs.
A file is a story: its requests are replayed in order on an empty shop, and ids are translated as they become known.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import (
    FieldNode,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    build_schema,
    get_named_type,
    is_composite_type,
    parse,
    validate,
)

from sandbox.server import serve
from sandbox.shopify import Setup, Shopify
from sandbox.shopify.graph import DESCRIPTION
from sandbox.shopify.records import Consent, Customer, Line, Order, Product, Refund

ROOT = Path(__file__).parents[2]
SPECS = Path(os.environ.get("SHOPSYNC_SPECS") or ROOT.parent / "shared" / "specs")
RECORDINGS = SPECS / "shops" / "shopify" / "recordings"
SUBJECTS = ("bulk-operations", "customers", "orders", "webhooks")

pytestmark = pytest.mark.tools

REPLAYED = "replayed"
NOT_MADE = "names a record that no request here has made"
NOT_SERVED = "asks for something that is not part of the sandbox"
NO_DOCUMENT = "came without its document, and the answer does not tell what was asked"

_EARLIER = "shows what stood in the recorded shop before"
_MUTATIONS = "bulk mutations are not part of the sandbox"
_CLOUD = "webhooks to a cloud's queues are not part of the sandbox"
_ADDRESSES = "addresses are kept and shown, not judged or changed one by one"
_SHOWN = "the file shows less of the customer than there was"
_AFTER = "follows a request that is not served"

LEFT_OUT: dict[str, str] = {
    "2025-01/customer-by-identifier": _EARLIER,
    "2025-01/customer-detail": _EARLIER,
    "2025-01/customer-nested-subresources": _EARLIER,
    "2025-01/customers-advanced-search": _EARLIER,
    "2025-01/customers-catalog": _EARLIER,
    "2025-01/customers-count": _EARLIER,
    "2025-01/customers-relevance-search": _EARLIER,
    "2025-01/customers-search": _EARLIER,
    "2025-01/customers-sort-keys": _EARLIER,
    "2026-04/bulk-operations-live-hybrid-base-overlay": _EARLIER,
    "2026-04/bulk-operation-run-mutation-allowed-roots": _MUTATIONS,
    "2026-04/bulk-operation-run-mutation-client-identifier-validation": _MUTATIONS,
    "2026-04/bulk-operation-run-mutation-created-status": _MUTATIONS,
    "2026-04/bulk-operation-run-mutation-file-size": _MUTATIONS,
    "2026-04/eventbridge-cloud-format-json-only": _CLOUD,
    "2026-04/gcp-project-topic-char-rules": _CLOUD,
    "2026-04/webhook-subscription-cloud-uri-validation": _CLOUD,
    "2026-04/webhook-subscription-metafields-lifecycle": NOT_SERVED,
    "2026-04/webhook-subscription-api-version-projection": "tells which versions there were in June 2026",
    "2026-04/customer-update-inline-address-id-semantics": _ADDRESSES,
    "2025-01/customer-address-lifecycle": _ADDRESSES,
    "2026-04/bulk-operation-run-query-schema-roots:/cases/ordersRoot/beforeCleanup/before": _EARLIER,
    "2026-04/bulk-operation-run-query-schema-roots:/cases/draftOrdersWarningsList/afterCleanup/settle/before": _AFTER,
    "2026-04/bulk-operation-run-query-schema-roots:/cases/draftOrdersWarningsList/afterCleanup/settle/cancel": _AFTER,
    "2026-04/bulk-operations-sort-key:/cases/completedAtDesc": _EARLIER,
    "2026-04/bulk-operations-sort-key:/cases/completedAtAsc": _EARLIER,
    "2026-04/bulk-operations-sort-key:/cases/createdAtDesc": _EARLIER,
    "2026-04/bulk-operations-sort-key:/cases/createdAtAsc": _EARLIER,
    "2025-01/customer-delete-blocked-by-orders:/cleanup/customerDelete": _AFTER,
    "2025-01/customer-input-validation-parity:/updateScenarios/blankScalarNormalization": _SHOWN,
    "2025-01/customer-input-validation-parity:/updateScenarios/nullScalarNormalization": _SHOWN,
    "2025-01/customer-input-validation-parity:/updateScenarios/tagNormalization": _SHOWN,
    "2025-01/customer-live-hybrid-overlay:/setup/countHydrate": _EARLIER,
    "2025-01/customer-live-hybrid-overlay:/setup/baseRead": _EARLIER,
    "2025-01/customer-live-hybrid-overlay:/finalRead": _EARLIER,
    "2025-01/customer-merge-blockers:/giftCard/merge": _AFTER,
    "2025-01/customer-merge-blockers:/cleanup/5": _AFTER,
    "2026-04/customer-email-marketing-consent-update-parity:/validation/matrix/5": _SHOWN,
    **{f"2026-04/customer-sms-marketing-consent-update-parity:/validation/matrix/{at}": _SHOWN for at in (9, 10, 11, 12)},
    "2026-07/customer-input-inline-consent-parity:/validation/createWhatsAppConsentRedacted": NOT_SERVED,
    "2025-01/order-create-line-item-fields:/setup/productLookup": _EARLIER,
    **{
        f"2025-01/order-live-hybrid-mixed-catalog:/operations/{place}": _AFTER
        for place in ("mixedAfterCreateRead", "afterUpdateRead", "afterDeleteRead")
    },
    "2025-01/orderCreate-state-derived-payment-and-count:/operations/countRead": _AFTER,
    "2026-04/webhook-subscription-conformance:/updateValidation/updateInvalidPubSub": _CLOUD,
    "2026-04/webhook-subscription-topic-format-name-validation:/validation/createXmlOnCloudDeliveryRejected": _CLOUD,
    "2026-04/webhook-subscription-metafield-namespaces-resolution:/cleanup": "deletes what the story has deleted before",
}
"""Files, or requests in them (`file:place`), that are not compared, and why."""

OTHER_TIMES = "upstreamCalls"
"""A part of most files: reads that were taken at other moments than the story."""

LAGGING = {"2025-01/customer-input-inline-consent-parity", "2026-07/customer-input-inline-consent-parity"}
"""Where the real search had not yet found what was just written."""
LAG = 60


EARLIER = ("precondition", "preconditions", "matrixPreconditions", "baseCustomer", "setup", "deleteBeforeUpdate")
"""What stands beside a request in a file and happened before it."""


TOTALS = ("totalPriceSet", "totalReceivedSet", "currentTotalPriceSet", "totalOutstandingSet")

VOLATILE = {"objectCount", "rootObjectCount", "fileSize"}
"""How far an operation got when it was looked at."""


@dataclass
class Exchange:
    """A request and the recorded answer to it. `document` is null where only the answer is left of it."""

    place: str
    document: str | None
    variables: dict[str, Any]
    answer: dict[str, Any]
    operation_name: str | None = None


def exchanges(value: Any, place: str = "") -> Iterator[Exchange]:
    """All exchanges in a file, in its order; an outer one comes before those nested in it."""
    if isinstance(value, list):
        for at, one in enumerate(value):
            yield from exchanges(one, f"{place}/{at}")
    if not isinstance(value, dict):
        return
    answer = _answer(value)
    inner = {name: one for name, one in value.items() if name not in {OTHER_TIMES, "response", "payload", "variables"}}
    for name in [name for name in inner if name in EARLIER]:
        yield from exchanges(inner.pop(name), f"{place}/{name}")
    if answer is not None:
        request = value.get("request") if isinstance(value.get("request"), dict) else value
        document = next(
            (text for name in ("query", "document") if isinstance(text := request.get(name), str) and "{" in text), None
        )
        yield Exchange(place, document, request.get("variables") or {}, answer)
    for name, one in inner.items():
        yield from exchanges(one, f"{place}/{name}")


def _answer(value: dict[str, Any]) -> dict[str, Any] | None:
    for name in ("response", "payload", "result"):
        held = value.get(name)
        for wrapped in ("payload", "body"):
            if isinstance(held, dict) and isinstance(held.get(wrapped), dict):
                held = held[wrapped]
        if isinstance(held, dict) and ("data" in held or "errors" in held):
            return held
    return None


@functools.cache
def ours() -> GraphQLSchema:
    return build_schema(DESCRIPTION.read_text(encoding="utf-8"))


def shown_before(value: Any) -> Iterator[dict[str, Any]]:
    """Customers that a file shows in what happened before a request."""
    if isinstance(value, list):
        for one in value:
            yield from shown_before(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _customers_in(one) if name in EARLIER else shown_before(one)


def _customers_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for one in value:
            yield from _customers_in(one)
    elif isinstance(value, dict):
        if str(value.get("id")).startswith("gid://shopify/Customer/") and ("email" in value or "defaultEmailAddress" in value):
            yield value
        for one in value.values():
            yield from _customers_in(one)


def document_for(exchange: Exchange) -> str | None:
    """The request, or one that asks for what the answer holds; None where the answer does not tell."""
    if exchange.document is not None:
        return exchange.document
    data = exchange.answer.get("data")
    if not isinstance(data, dict) or len(data) != 1:
        return None
    ((name, value),) = data.items()
    for word, root in (("mutation", ours().mutation_type), ("query", ours().query_type)):
        assert root is not None
        if name in root.fields:
            arguments = root.fields[name].args
            if "first" in arguments and "last" not in exchange.variables:
                exchange.variables.setdefault("first", 10)
            if not set(exchange.variables) <= set(arguments) or any(
                str(argument.type).endswith("!") and key not in exchange.variables for key, argument in arguments.items()
            ):
                return None
            declared = ", ".join(f"${key}: {arguments[key].type}" for key in exchange.variables)
            passed = ", ".join(f"{key}: ${key}" for key in exchange.variables)
            selected = _selection(get_named_type(root.fields[name].type), value)
            if selected is None:
                return None
            head = f"{word} Replay({declared})" if declared else word
            return f"{head} {{ {name}{f'({passed})' if passed else ''} {selected} }}"
    return None


def _selection(kind: Any, value: Any) -> str | None:
    """The selection that an answer shows; fields under an alias, or with arguments nobody knows, are dropped."""
    if isinstance(value, list):
        value = {name: one for item in value if isinstance(item, dict) for name, one in item.items()}
    if not is_composite_type(kind):
        return ""
    parts = []
    for name, inner in (value or {}).items():
        known = getattr(kind, "fields", {}).get(name)
        if known is None or any(str(argument.type).endswith("!") for argument in known.args.values()):
            continue
        below = _selection(get_named_type(known.type), inner)
        window = "(first: 50)" if "first" in known.args else ""
        parts.append(f"{name}{window} {below}")
    return f"{{ {' '.join(parts) or ('field message' if kind.name.endswith('Error') else '__typename')} }}"


@dataclass
class Story:
    """One file being replayed: `ids` from the recorded ones to the twin's."""

    twin: Shopify
    url: str
    version: str
    seeds: dict[str, dict[str, Any]]
    ids: dict[str, str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    def knows(self, text: str) -> bool:
        """Have all records been made that this text names? Those the file shows beforehand are put into the shop now."""
        for recorded in re.findall(r"gid://shopify/\w+/[\w-]+", text):
            if recorded in self.seeds and recorded.rpartition("/")[2] not in self.ids:
                self.seed(recorded, self.seeds[recorded])
        keys = set(re.findall(r"gid://shopify/\w+/([\w-]+)", text))
        return all(key in self.ids or re.fullmatch(r"9{9,}|[01]", key) for key in keys)

    def seed(self, recorded: str, shown: dict[str, Any]) -> None:
        now = self.twin.now()
        email, phone = shown.get("defaultEmailAddress") or {}, shown.get("defaultPhoneNumber") or {}
        customer = Customer(
            self.twin.shop.new_key(),
            now,
            now,
            shown.get("email") or email.get("emailAddress"),
            shown.get("phone") or phone.get("phoneNumber"),
            shown.get("firstName"),
            shown.get("lastName") or (name if (name := shown.get("displayName")) != shown.get("email") else None),
            tags=shown.get("tags") or [],
            email_consent=_consent(email),
            sms_consent=_consent(phone),
        )
        self.twin.shop.customers[customer.key] = customer
        self.ids[recorded.rpartition("/")[2]] = str(customer.key)

    def seed_order(self, shown: dict[str, Any]) -> None:
        """An order is put into the shop from what is shown of it; what the twin then makes of it must be the same again."""
        if (shown.get("customer") or {}).get("id"):
            self.seed(shown["customer"]["id"], shown["customer"])
        now = self.twin.now()
        bags = [shown[name] for name in TOTALS if shown.get(name)]
        bags += [paid["amountSet"] for paid in (shown.get("transactions") or [])[:1]]
        total = max((_amount(bag) for bag in bags), default=Decimal(0))
        bag = next((bag for bag in bags if _amount(bag) == total), {"shopMoney": {"amount": "0", "currencyCode": "CAD"}})
        theirs = bag.get("presentmentMoney") or bag["shopMoney"]
        nodes = (shown.get("lineItems") or {}).get("nodes") or [{"title": "All", "quantity": 1, "originalUnitPriceSet": bag}]
        lines = []
        for node in nodes:
            price = _amount(node["originalUnitPriceSet"]) if "originalUnitPriceSet" in node else Decimal(0)
            line = Line(self.twin.shop.new_key(), node["title"], node["quantity"], price, price * node["quantity"])
            line.sku, line.vendor = node.get("sku"), node.get("vendor")
            line.requires_shipping, line.taxable = node.get("requiresShipping", True), node.get("taxable", True)
            line.custom_attributes = node.get("customAttributes", [])
            if node.get("product"):
                line.product_key = self.twin.shop.new_key()
                self.twin.shop.keep_product(Product(line.product_key, now, now, "Product", f"product-{line.product_key}"))
            lines.append(line)
        moments = {
            name: _moment(shown.get(field)) for name, field in (("cancelled_at", "cancelledAt"), ("closed_at", "closedAt"))
        }
        order = Order(
            self.twin.shop.new_key(),
            now,
            now,
            int(shown.get("name", "#1")[1:]),
            now,
            bag["shopMoney"]["currencyCode"],
            theirs["currencyCode"],
            lines,
            total / Decimal(bag["shopMoney"]["amount"]) if total else Decimal(1),
            shown.get("email"),
            customer_key=int(self.ids[shown["customer"]["id"].rpartition("/")[2]]) if shown.get("customer") else None,
            display_financial_status=shown.get("displayFinancialStatus"),
            note=shown.get("note"),
            tags=shown.get("tags", []),
            cancel_reason=shown.get("cancelReason"),
            **moments,
        )
        for given in shown.get("refunds", []):
            amount = Decimal(given["totalRefundedSet"]["shopMoney"]["amount"])
            order.own_refunds.append(Refund(self.twin.shop.new_key(), order.key, now, amount, given.get("note")))
        self.twin.shop.keep_order(order)
        self.ids[shown["id"].rpartition("/")[2]] = str(order.key)

    def ask(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        body = json.loads(self.translated(json.dumps({"query": document, "variables": variables})))
        answer = httpx.post(
            f"{self.url}/admin/api/{self.version}/graphql.json",
            json=body,
            headers={"X-Shopify-Access-Token": "shpat_sandbox"},
            timeout=60,
        )
        return answer.json()

    def translated(self, text: str) -> str:
        return re.sub(r"[\w=/+-]{12,}", self._translated_word, text)

    def _translated_word(self, word: re.Match[str]) -> str:
        """A cursor, or an id at the end of a global one."""
        head, slash, tail = word[0].rpartition("/")
        return self.ids.get(word[0]) or head + slash + self.ids.get(tail, tail)

    def compare(self, recorded: Any, got: Any, path: str, *, drops: bool) -> None:  # noqa: C901  # one case a JSON type
        """`drops`: the request was made up from the answer, so the answer may hold more."""
        if isinstance(recorded, dict) and isinstance(got, dict):
            for name in recorded.keys() | got.keys():
                if name in VOLATILE and name in got:
                    continue
                if name not in got:
                    if not drops:
                        self.differences.append(f"{path}.{name} is missing")
                elif name == "__typename" and name not in recorded:
                    continue
                elif name not in recorded:
                    self.differences.append(f"{path}.{name} is too much: {got[name]!r}")
                else:
                    self.compare(recorded[name], got[name], f"{path}.{name}", drops=drops)
        elif isinstance(recorded, list) and isinstance(got, list):
            if len(recorded) != len(got):
                self.differences.append(f"{path}: {len(recorded)} recorded, {len(got)} here: {recorded!r:.300} / {got!r:.300}")
            for at, (one, other) in enumerate(zip(recorded, got, strict=False)):
                self.compare(one, other, f"{path}[{at}]", drops=drops)
        elif isinstance(recorded, str) and isinstance(got, str):
            self.compare_text(recorded, got, path)
        elif recorded != got or type(recorded) is not type(got):
            self.differences.append(f"{path}: {recorded!r:.200} recorded, {got!r:.200} here")

    def compare_text(self, recorded: str, got: str, path: str) -> None:
        if recorded == got or {recorded, got} == {"CREATED", "RUNNING"}:
            return
        gid = r"gid://shopify/\w+/([\w-]+)(\?.*)?"
        if (was := re.fullmatch(gid, recorded)) and (now := re.fullmatch(gid, got)) and was[1] not in self.ids:
            self.ids[was[1]] = now[1]
        if path.endswith("ursor") and got:
            self.ids[recorded] = got
        moment = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"
        if (
            re.fullmatch(moment, recorded)
            and re.fullmatch(moment, got)
            and not path.endswith(("marketingUpdatedAt", "consentUpdatedAt"))
        ):
            return
        if path.endswith((".url", "callbackUrl")) and got:
            return
        if self.translated(recorded) != got:
            self.differences.append(f"{path}: {recorded!r:.300} recorded, {got!r:.300} here")


def _consent(shown: dict[str, Any]) -> Consent:
    at = shown.get("marketingUpdatedAt")
    state, level = shown.get("marketingState", "NOT_SUBSCRIBED"), shown.get("marketingOptInLevel", "SINGLE_OPT_IN")
    return Consent(state, level, datetime.fromisoformat(at) if at else None)


def _amount(bag: dict[str, Any]) -> Decimal:
    return Decimal((bag.get("presentmentMoney") or bag["shopMoney"])["amount"])


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def is_served(document: str, variables: dict[str, Any], *, is_refused: bool) -> bool:
    """Is all that is asked for part of the sandbox's schema? Of what is refused as a whole only the top must be."""
    parsed = parse(document)
    operation = next(node for node in parsed.definitions if isinstance(node, OperationDefinitionNode))
    root = ours().get_root_type(operation.operation)
    assert root is not None
    names = {node.name.value for node in operation.selection_set.selections if isinstance(node, FieldNode)}
    if not names <= set(root.fields):
        return False
    if "bulkOperationRunQuery" in names and "{" in (inner := variables.get("query", "")):
        with contextlib.suppress(GraphQLSyntaxError):
            return not validate(ours(), parse(inner)) or inner.lstrip("#graphql\n ").startswith("mutation")
    return is_refused or not validate(ours(), parsed)


def replay(file: Path) -> tuple[Counter[str], list[str]]:
    """What became of the file's exchanges, and every difference found."""
    held = json.loads(file.read_text(encoding="utf-8"))
    name = f"{file.parent.parent.name}/{file.stem}"
    counts: Counter[str] = Counter()
    if name in LEFT_OUT:
        return Counter({LEFT_OUT[name]: max(len(list(exchanges(held))), 1)}), []
    twin = Shopify(Setup(currency="CAD", index_seconds=LAG if name in LAGGING else 0))
    twin.act_hold_bulk()
    differences: list[str] = []
    with serve(twin) as running:
        story = Story(twin, running.url, file.parent.parent.name, {one["id"]: one for one in shown_before(held)})
        for exchange in sorted(exchanges(held), key=lambda one: "leanup" in one.place and "Before" not in one.place):
            place = f"{name}:{exchange.place}"
            story.differences = []
            counts[LEFT_OUT.get(place) or told(story, exchange)] += 1
            differences += [f"{place} {one}" for one in story.differences]
    return counts, differences


def told(story: Story, exchange: Exchange) -> str:
    """Ask the twin the same; REPLAYED, or why not."""
    document = document_for(exchange)
    if document is None or "<" in json.dumps(exchange.variables):
        return NO_DOCUMENT
    if not is_served(document, exchange.variables, is_refused="data" not in exchange.answer):
        return NOT_SERVED
    read = (exchange.answer.get("data") or {}).get("order")
    if isinstance(read, dict) and "id" in read:
        story.seed_order(read)
    if not story.knows(document + json.dumps(exchange.variables)):
        return NOT_MADE
    if '"CANCELED"' in json.dumps(exchange.answer):
        story.twin.act_finish_bulk()
    got = story.ask(document, exchange.variables)
    if "errors" not in exchange.answer and "INVALID_VARIABLE" in str(got.get("errors")):
        return NOT_SERVED
    drops = exchange.document is None
    story.compare(exchange.answer.get("data"), got.get("data"), "data", drops=drops)
    story.compare(_comparable(exchange.answer, drops), _comparable(got, drops), "errors", drops=drops)
    if not drops:
        story.compare(_extensions(exchange.answer), _extensions(got), "extensions", drops=False)
    return REPLAYED


def _extensions(answer: dict[str, Any]) -> dict[str, Any]:
    """The cost, and what the search remarked. What was really paid is only near the truth in the twin, so it does not count."""
    held = answer.get("extensions", {})
    return {"search": held.get("search"), "requestedQueryCost": held.get("cost", {}).get("requestedQueryCost")}


def _comparable(answer: dict[str, Any], is_made_up: bool) -> Any:
    """The errors; places in the text only count where the text is the recorded one."""
    return [
        {name: value for name, value in error.items() if name != "locations" or not is_made_up}
        for error in answer.get("errors", [])
    ]


def stories() -> list[Any]:
    found = sorted(file for subject in SUBJECTS for file in RECORDINGS.glob(f"*/{subject}/*.json"))
    why = f"no recordings at {RECORDINGS} (SHOPSYNC_SPECS names the folder above)"
    absent = pytest.param(None, marks=pytest.mark.skip(reason=why))
    return [pytest.param(file, id=f"{file.parent.parent.name}-{file.stem}") for file in found] or [absent]


@pytest.mark.parametrize("file", stories())
def test_the_twin_answers_as_recorded(file: Path) -> None:
    _, differences = replay(file)
    assert differences == []


def test_what_is_left_out_exists() -> None:
    if not RECORDINGS.exists():
        pytest.skip(f"no recordings at {RECORDINGS}")
    known = {
        f"{file.parent.parent.name}/{file.stem}" for subject in SUBJECTS for file in RECORDINGS.glob(f"*/{subject}/*.json")
    }
    assert {name.partition(":")[0] for name in LEFT_OUT} <= known
