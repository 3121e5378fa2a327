"""What is asked of Shopify's Admin GraphQL API, version 2026-07. Tests hold each document against its official schema.

A listing is asked for in pages, whole by a bulk operation, and by id; all three give records of the same shape. A page has its
children (an order's lines, a product's variants) below `nodes`, so the bulk file's are put there too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

NAMESPACE, BOUNCED_AT, BOUNCE_REASON = "shopsync", "bounced_at", "bounce_reason"
"""Our own metafields, beside the consent of a customer."""

PAGE_INFO = "pageInfo { hasNextPage endCursor }"


@dataclass(frozen=True)
class Listing:
    """`root` lists objects of one `type` with these `fields`, and below `children` (a connection) those of `of_child`.

    Without `of_child` the fields themselves ask for the children, somewhere inside.
    """

    root: str
    type: str
    fields: str
    children: str | None = None
    of_child: str = ""
    first_children: int = 50

    def paged(self) -> str:
        return f"""
            query ($first: Int!, $after: String, $query: String) {{
              {self.root}(first: $first, after: $after, query: $query, sortKey: UPDATED_AT) {{
                nodes {{ {self._node(f"first: {self.first_children}")} }} {PAGE_INFO}
              }}
            }}"""

    def whole(self, query: str | None = None) -> str:
        """For a bulk operation, which takes neither `nodes` nor variables, and pages by itself."""
        only = f"(query: {orjson.dumps(query).decode()})" if query else ""
        children = f"{self.children} {{ edges {{ node {{ {self.of_child} }} }} }}" if self.of_child else ""
        return f"{{ {self.root}{only} {{ edges {{ node {{ {self.fields} {children} }} }} }} }}"

    def by_id(self) -> str:
        node = self._node(f"first: {self.first_children}")
        return f"query ($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on {self.type} {{ {node} }} }} }}"

    def more_children(self) -> str:
        """The next children of one object, when it has more than come with it."""
        node = self._node("first: 250, after: $after", fields="")
        return f"query ($id: ID!, $after: String) {{ node(id: $id) {{ ... on {self.type} {{ {node} }} }} }}"

    def _node(self, part: str, fields: str | None = None) -> str:
        children = f"{self.children}({part}) {{ nodes {{ {self.of_child} }} {PAGE_INFO} }}" if self.of_child else ""
        return f"{self.fields if fields is None else fields} {children}"


CONSENT_FIELDS = f"""
    id
    defaultEmailAddress {{ emailAddress marketingState marketingOptInLevel marketingUpdatedAt }}
    bouncedAt: metafield(namespace: "{NAMESPACE}", key: "{BOUNCED_AT}") {{ value }}"""

CUSTOMERS = Listing(
    "customers",
    "Customer",
    f"""{CONSENT_FIELDS}
    firstName lastName locale createdAt updatedAt
    defaultPhoneNumber {{ phoneNumber marketingState marketingUpdatedAt }}
    defaultAddress {{ firstName lastName countryCodeV2 city zip phone }}""",
)
CUSTOMER_IDS = Listing("customers", "Customer", "id")
CONSENTS = Listing("customers", "Customer", CONSENT_FIELDS)

_MONEY = "{ shopMoney { amount } }"
_BUYER = "{ firstName lastName countryCodeV2 city zip phone }"

ORDERS = Listing(
    "orders",
    "Order",
    f"""id name email phone test createdAt processedAt updatedAt cancelledAt
    displayFinancialStatus currencyCode taxesIncluded discountCodes
    customer {{ id }}
    billingAddress {_BUYER}
    shippingAddress {_BUYER}
    totalPriceSet {_MONEY} totalTaxSet {_MONEY} totalDiscountsSet {_MONEY}
    totalShippingPriceSet {_MONEY} totalRefundedSet {_MONEY}
    transactions(first: 10) {{ kind status processedAt }}""",
    "lineItems",
    f"""id title variantTitle sku quantity
    product {{ id }} variant {{ id }}
    originalUnitPriceSet {_MONEY}
    discountAllocations {{ allocatedAmountSet {_MONEY} }}
    taxLines {{ priceSet {_MONEY} }}""",
)

PRODUCTS = Listing(
    "products",
    "Product",
    "id title onlineStoreUrl updatedAt featuredMedia { preview { image { url } } }",
    "variants",
    "id title sku price updatedAt",
    first_children=100,
)

_DISCOUNT = "title status startsAt endsAt usageLimit updatedAt shareableUrls { url } context { __typename }"
_CODES = "codes { edges { node { id code asyncUsageCount } } }"
_VALUE = "... on DiscountPercentage { percentage } ... on DiscountAmount { amount { amount currencyCode } appliesOnEachItem }"
_GETS = f"""customerGets {{
      items {{ __typename }}
      value {{ __typename {_VALUE} ... on DiscountOnQuantity {{ effect {{ __typename {_VALUE} }} }} }}
    }}"""

PROMO_CODES = Listing(
    "discountNodes",
    "DiscountNode",
    f"""id discount {{
      __typename
      ... on DiscountCodeBasic {{ {_DISCOUNT} {_GETS} {_CODES} }}
      ... on DiscountCodeBxgy {{ {_DISCOUNT} {_GETS} {_CODES} }}
      ... on DiscountCodeFreeShipping {{ {_DISCOUNT} {_CODES} }}
    }}""",
    "codes",
)
"""Only by a bulk operation: a discount may have millions of codes. Discounts of apps have no amount that anybody could read."""
CODE_METHOD = "method:code"

SHOP = "{ shop { id name myshopifyDomain plan { publicDisplayName } } }"
SCOPES = "{ currentAppInstallation { accessScopes { handle } } }"
NEWEST_CUSTOMERS = (
    "{ customers(first: 25, sortKey: CREATED_AT, reverse: true) { nodes { id defaultEmailAddress { emailAddress } } } }"
)
CUSTOMER_OF_ADDRESS = f"""
    query ($email: String!) {{ customerByIdentifier(identifier: {{ emailAddress: $email }}) {{ {CONSENT_FIELDS} }} }}"""

WEBHOOKS = (
    f"query ($after: String) {{ webhookSubscriptions(first: 100, after: $after) {{ nodes {{ id topic uri }} {PAGE_INFO} }} }}"
)

_OPERATION = "id status errorCode createdAt objectCount rootObjectCount url"
BULK_OPERATION = f"query ($id: ID!) {{ bulkOperation(id: $id) {{ {_OPERATION} }} }}"


@dataclass(frozen=True)
class Mutation:
    """`arguments` maps the name of an argument to its type."""

    name: str
    arguments: Mapping[str, str]
    answer: str
    errors: str = "userErrors { field message code }"


@dataclass(frozen=True)
class Change:
    """One mutation with its values."""

    mutation: Mutation
    values: Mapping[str, Any] = field(default_factory=dict)


def together(changes: Sequence[Change]) -> tuple[str, dict[str, Any]]:
    """Several mutations in one call: the document and its variables; the answers are called c0, c1, ..."""
    variables, declared, called = {}, [], []
    for number, change in enumerate(changes):
        passed = []
        for name, kind in change.mutation.arguments.items():
            variable = f"{name}{number}"
            variables[variable] = change.values[name]
            declared.append(f"${variable}: {kind}")
            passed.append(f"{name}: ${variable}")
        answer = f"{{ {change.mutation.answer} {change.mutation.errors} }}"
        called.append(f"c{number}: {change.mutation.name}({', '.join(passed)}) {answer}")
    return f"mutation ({', '.join(declared)}) {{ {' '.join(called)} }}", variables


_PLAIN = "userErrors { field message }"

UPDATE_CONSENT = Mutation(
    "customerEmailMarketingConsentUpdate",
    {"input": "CustomerEmailMarketingConsentUpdateInput!"},
    f"customer {{ {CONSENT_FIELDS} }}",
)
ADD_TAGS = Mutation("tagsAdd", {"id": "ID!", "tags": "[String!]!"}, "node { id }", _PLAIN)
SET_METAFIELDS = Mutation("metafieldsSet", {"metafields": "[MetafieldsSetInput!]!"}, "metafields { key value }")
CREATE_CUSTOMER = Mutation("customerCreate", {"input": "CustomerInput!"}, f"customer {{ {CONSENT_FIELDS} }}", _PLAIN)
CREATE_WEBHOOK = Mutation(
    "webhookSubscriptionCreate",
    {"topic": "WebhookSubscriptionTopic!", "webhookSubscription": "WebhookSubscriptionInput!"},
    "webhookSubscription { id }",
    _PLAIN,
)
DELETE_WEBHOOK = Mutation("webhookSubscriptionDelete", {"id": "ID!"}, "deletedWebhookSubscriptionId", _PLAIN)
RUN_BULK = Mutation(
    "bulkOperationRunQuery",
    # false is the default since 2026-01 and was not before; only then children name their parent.
    {"query": "String!", "groupObjects": "Boolean!"},
    f"bulkOperation {{ {_OPERATION} }}",
)
