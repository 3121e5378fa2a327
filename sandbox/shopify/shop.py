"""What a Shopify shop holds and what it lets anybody do to it; every sentence of a refusal is Shopify's. [recordings]"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sandbox.shopify.graph import Failed
from sandbox.shopify.records import (
    APP_KEY,
    COUNTRIES,
    PROVINCES,
    Address,
    Consent,
    Customer,
    Discount,
    Json,
    Line,
    Metafield,
    Order,
    Owner,
    Product,
    Refund,
    RefundLine,
    Variant,
)
from sandbox.shopify.setup import Setup

_LOCALE = re.compile(r"[a-z]{2}(-[A-Z]{2})?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
_PHONE = re.compile(r"\+[1-9]\d{6,14}")
_METAFIELD_TYPES = {
    "boolean",
    "date",
    "date_time",
    "id",
    "json",
    "multi_line_text_field",
    "number_decimal",
    "number_integer",
    "single_line_text_field",
    "url",
}
_LENGTHS = {"firstName": ("First name", 255), "lastName": ("Last name", 255), "note": ("Note", 5000)}


def error(field: Iterable[str] | None, message: str, **code: Any) -> Json:
    return {"field": list(field) if field is not None else None, "message": message, **code}


class Refusal(Exception):
    """User errors of a mutation."""

    def __init__(self, *errors: Json) -> None:
        super().__init__(str(errors))
        self.errors = list(errors)


class Shop:
    """The records. Nothing here knows GraphQL; `happened(topic, record)` is told of everything that a webhook could tell."""

    def __init__(self, setup: Setup, now: Callable[[], datetime]) -> None:
        self.setup, self.now = setup, now
        self.key = 92891250994
        self.created_at = now() - timedelta(days=4 * 365)
        self.customers: dict[int, Customer] = {}
        self.orders: dict[int, Order] = {}
        self.products: dict[int, Product] = {}
        self.variants: dict[int, Variant] = {}
        self.discounts: dict[int, Discount] = {}
        self.jobs: dict[str, bool] = {}
        self.serial = itertools.count(1)
        self.order_numbers = itertools.count(1001)
        self.changes = 0
        self.happened: Callable[..., None] = lambda *_, **__: None
        self._orders_of: dict[int, list[int]] = {}

    def new_key(self, first: int = 7_000_000_000_000) -> int:
        return first + next(self.serial)

    # Finding

    def customer(self, key: int | None) -> Customer | None:
        return self.customers.get(key) if key else None

    def by_email(self, email: str) -> Customer | None:
        wanted = normal_email(email).lower()
        return next((c for c in self.customers.values() if c.email and c.email.lower() == wanted), None)

    def by_phone(self, phone: str) -> Customer | None:
        return next((c for c in self.customers.values() if c.phone and c.phone == normal_phone(phone)), None)

    def orders_of(self, customer: Customer) -> list[Order]:
        return [self.orders[key] for key in self._orders_of.get(customer.key, ())]

    def owner(self, kind: str, key: int) -> Owner | None:
        tables: dict[str, dict[int, Any]] = {"Customer": self.customers, "Order": self.orders, "Product": self.products}
        found: Owner | None = tables.get(kind, {}).get(key)
        return found

    # Keeping

    def keep_order(self, order: Order) -> None:
        self.orders[order.key] = order
        if order.customer_key:
            self._orders_of.setdefault(order.customer_key, []).append(order.key)

    def forget_order(self, key: int) -> Order:
        order = self.orders.pop(key)
        if order.customer_key:
            self._orders_of[order.customer_key].remove(key)
        self.changes += 1
        return order

    def keep_product(self, product: Product) -> None:
        self.products[product.key] = product
        self.variants |= {variant.key: variant for variant in product.own_variants}

    def touch(self, record: Any, topic: str) -> None:
        self.changes += 1
        record.updated_at = self.now()
        self.happened(topic, record)

    # Customers

    def create_customer(self, asked: Json) -> Customer:
        """customerCreate; raises Refusal."""
        if asked.get("id"):
            raise Refusal(error(["id"], "Cannot specify ID on creation"))
        now = self.now()
        customer = Customer(self.new_key(), now, now)
        for at, address in enumerate(asked.get("addresses") or ()):
            if address.get("id"):
                raise Refusal(error(["addresses", str(at), "id"], "Cannot specify address ID on creation"))
        self._check_consents(asked)
        self._profile(customer, asked)
        for field, name, holder in (
            ("emailMarketingConsent", "email_consent", customer.email),
            ("smsMarketingConsent", "sms_consent", customer.phone),
        ):
            if asked.get(field):
                what = "An email address" if name == "email_consent" else "A phone number"
                which = "email marketing" if name == "email_consent" else "SMS"
                if not holder:
                    raise Refusal(error([field], f"{what} is required to set the {which} consent state."))
                setattr(customer, name, self._consent(asked[field], [field]))
        self.customers[customer.key] = customer
        self.changes += 1
        self.happened("CUSTOMERS_CREATE", customer)
        return customer

    def update_customer(self, key: int, asked: Json) -> Customer:
        """customerUpdate: what is not named stays; lists are replaced; consent is none of its business. [recordings]"""
        customer = self.customers.get(key)
        if customer is None:
            raise Refusal(error(["id"], "Customer does not exist"))
        for field in ("emailMarketingConsent", "smsMarketingConsent"):
            if field in asked:
                mutation = f"customer{field[0].upper()}{field[1:]}Update"
                raise Refusal(error([field], f"To update {field}, please use the {mutation} Mutation instead"))
        draft = replace(customer, tags=list(customer.tags), own_metafields=list(customer.own_metafields))
        self._profile(draft, asked)
        before = set(customer.tags)
        customer.__dict__.update(draft.__dict__)
        self.touch(customer, "CUSTOMERS_UPDATE")
        self._tell_tags(customer, before)
        return customer

    def _profile(self, customer: Customer, asked: Json) -> None:
        errors = []
        for field, (words, most) in _LENGTHS.items():
            if field in asked:
                text = asked[field]
                if field != "note":  # an empty note stays one [recordings]
                    text = (text or "").strip() or None
                if text and len(text) > most:
                    errors.append(error([field], f"{words} is too long (maximum is {most} characters)"))
                setattr(customer, {"firstName": "first_name", "lastName": "last_name"}.get(field, field), text)
        if "email" in asked:
            errors += self._email(customer, asked["email"])
        if "phone" in asked:
            errors += self._phone(customer, asked["phone"])
        if asked.get("locale") is not None:
            if not _LOCALE.fullmatch(asked["locale"]):
                errors.append(error(["locale"], "Locale is invalid"))
            customer.locale = asked["locale"]
        if asked.get("tags") is not None:
            errors += self._tags(customer, asked["tags"])
        if errors:
            raise Refusal(*errors)
        customer.tax_exempt = asked.get("taxExempt", customer.tax_exempt)
        customer.tax_exemptions = asked.get("taxExemptions", customer.tax_exemptions)
        if asked.get("addresses") is not None:
            _check_addresses(asked["addresses"])
            made = [self.address(one, customer) for one in asked["addresses"]]
            # The same address twice is one. [recordings]
            customer.own_addresses = list({str(asdict(one) | {"key": 0}): one for one in reversed(made)}.values())[::-1]
            customer.default_address = customer.own_addresses[0] if customer.own_addresses else None
        for at, one in enumerate(asked.get("metafields") or ()):
            if one.get("id"):
                raise Refusal(error(["metafields", str(at), "id"], "Cannot specify metafield ID on creation"))
            self._put_metafield(customer, one, ["metafields", str(at)])
        if not (customer.full_name or customer.email or customer.phone):
            raise Refusal(error(None, "A name, phone number, or email address must be present"))

    def _email(self, customer: Customer, given: str | None) -> list[Json]:
        email = normal_email(given or "")
        customer.email = email or None
        if not email:
            customer.email_consent = Consent()
            return []
        errors = []
        if len(email) > 255:
            errors.append(error(["email"], "Email is too long (maximum is 255 characters)"))
        holder = self.by_email(email)
        if errors or not _EMAIL.fullmatch(email):
            errors.append(error(["email"], "Email is invalid"))
        elif holder is not None and holder.key != customer.key:
            errors.append(error(["email"], "Email has already been taken"))
        return errors

    def _phone(self, customer: Customer, given: str | None) -> list[Json]:
        phone = normal_phone(given or "")
        customer.phone = phone or None
        if not phone:
            customer.sms_consent = Consent()
            return []
        errors = []
        if len(phone) > 255:
            errors.append(error(["phone"], "Phone is too long (maximum is 255 characters)"))
        holder = self.by_phone(phone)
        if errors or not _PHONE.fullmatch(phone):
            errors.append(error(["phone"], "Phone is invalid"))
        elif holder is not None and holder.key != customer.key:
            errors.append(error(["phone"], "Phone has already been taken"))
        return errors

    @staticmethod
    def _tags(owner: Owner, given: Iterable[str]) -> list[Json]:
        owner.tags = normal_tags(given)
        if any(len(tag) > 255 for tag in owner.tags):
            return [error(["tags"], "Tags is too long (maximum is 255 characters)")]
        return [error(["tags"], "Tags cannot be more than 250")] if len(owner.tags) > 250 else []

    def address(self, asked: Json, customer: Customer) -> Address:
        """Names default to the customer's, countries and provinces may come by name or code. [recordings]"""
        countries = {name: code for code, name in COUNTRIES.items()}
        country = asked.get("countryCode") or countries.get(asked.get("country") or "", asked.get("country"))
        provinces = {name: code for (land, code), name in PROVINCES.items() if land == country}
        return Address(
            self.new_key(),
            asked.get("firstName") or customer.first_name,
            asked.get("lastName") or customer.last_name,
            province_code=asked.get("provinceCode") or provinces.get(asked.get("province") or "", asked.get("province")),
            country_code=country,
            company=asked.get("company"),
            address1=asked.get("address1"),
            address2=asked.get("address2"),
            city=asked.get("city"),
            zip=asked.get("zip"),
            phone=normal_phone(asked.get("phone") or "") or None,
        )

    def delete_customer(self, key: int) -> None:
        customer = self.customers.get(key)
        if customer is None:
            raise Refusal(error(["id"], "Customer can't be found"))
        if self.orders_of(customer):
            raise Refusal(error(["id"], "Customer can’t be deleted because they have associated orders"))
        del self.customers[key]
        self.changes += 1
        self.happened("CUSTOMERS_DELETE", customer)

    def merge_customers(self, one: int, two: int) -> Customer:
        """customerMerge: the second stays, the first one's id vanishes. Consent of the one kept stays as it is. [memory]"""
        if one == two:
            raise Refusal(error(None, "Customers IDs should not match", code="INVALID_CUSTOMER_ID"))
        for field, key in (("customerOneId", one), ("customerTwoId", two)):
            if key not in self.customers:
                raise Refusal(error([field], f"Customer does not exist with ID {key}", code="INVALID_CUSTOMER_ID"))
        pair = (("customerOneId", self.customers[one]), ("customerTwoId", self.customers[two]))
        tags = normal_tags(tag for _, customer in pair for tag in customer.tags)
        if len(tags) > 250:
            words = "Customers must have 250 tags or less."
            raise Refusal(*(error([field], words, code="INVALID_CUSTOMER") for field, _ in pair))
        if sum(len(customer.note or "") for _, customer in pair) > 5000:
            words = "Customer notes must be 5,000 characters or less."
            raise Refusal(*(error([field], words, code="INVALID_CUSTOMER") for field, _ in pair))
        gone, kept = self.customers.pop(one), self.customers[two]
        for order in self.orders_of(gone):
            order.customer_key = kept.key
        self._orders_of[two] = sorted(self._orders_of.get(two, []) + self._orders_of.pop(one, []))
        kept.phone = kept.phone or gone.phone
        kept.email = kept.email or gone.email
        kept.tags = tags
        kept.note = " ".join(note for note in (kept.note, gone.note) if note) or None
        self.touch(kept, "CUSTOMERS_UPDATE")
        self.happened("CUSTOMERS_MERGE", kept, gone=gone)
        return kept

    # Consent

    def set_email_consent(self, key: int, asked: Json) -> Customer:
        """For a customer without an address nothing happens, without a word. [recording consent-update-parity]"""
        self._check_state(asked)
        customer = self.customers.get(key)
        if customer is None:
            raise Refusal(error(["input", "customerId"], "Customer not found", code="INVALID"))
        path = ["input", "emailMarketingConsent"]
        consent = self._consent(asked, path, needs_level=True)
        if customer.email:
            self._move_consent(customer, "email_consent", consent, "CUSTOMERS_EMAIL_MARKETING_CONSENT_UPDATE")
        return customer

    def set_sms_consent(self, key: int, asked: Json) -> Customer:
        self._check_state(asked)
        customer = self.customers.get(key)
        if customer is None:
            raise Refusal(error(None, "Customer not found", code=None))
        path = ["input", "smsMarketingConsent"]
        consent = self._consent(asked, path, needs_level=True)
        if not customer.phone:
            raise Refusal(error(path, "A phone number is required to set the SMS consent state.", code="INVALID"))
        self._move_consent(customer, "sms_consent", consent, "CUSTOMERS_MARKETING_CONSENT_UPDATE")
        return customer

    def _move_consent(self, customer: Customer, name: str, consent: Consent, topic: str) -> None:
        held: Consent = getattr(customer, name)
        assert consent.updated_at is not None
        if self.setup.old_consent_ignored and held.updated_at and consent.updated_at < held.updated_at:
            return
        setattr(customer, name, consent)
        self.changes += 1
        customer.updated_at = self.now()
        self.happened(topic, customer)
        if self.setup.webhook_touches:
            self.happened("CUSTOMERS_UPDATE", customer)

    def _check_consents(self, asked: Json) -> None:
        for field in ("emailMarketingConsent", "smsMarketingConsent"):
            if asked.get(field):
                self._check_state(asked[field])

    @staticmethod
    def _check_state(asked: Json) -> None:
        if asked["marketingState"] not in {"SUBSCRIBED", "UNSUBSCRIBED", "PENDING"}:
            raise Failed(f"Cannot specify {asked['marketingState']} as a marketing state input", "INVALID")

    def _consent(self, asked: Json, path: list[str], *, needs_level: bool = False) -> Consent:
        level, at = asked.get("marketingOptInLevel"), asked.get("consentUpdatedAt")
        if level is None and needs_level:
            words = "Marketing opt in level must exist"
            raise Refusal(error([*path, "marketingOptInLevel"], words, code="MISSING_ARGUMENT"))
        if at is not None and at > self.now():
            words = "Consent updated at must not be in the future"
            raise Refusal(error([*path, "consentUpdatedAt"], words, code="INVALID"))
        if asked["marketingState"] == "PENDING" and level != "CONFIRMED_OPT_IN":
            words = "Marketing opt in level must be confirmed opt-in for pending consent state"
            raise Refusal(error([*path, "marketingOptInLevel"], words, code="INVALID"))
        return Consent(asked["marketingState"], level or "SINGLE_OPT_IN", at or self.now(), asked.get("sourceLocationId"))

    # Tags and metafields

    def change_tags(self, owner: Owner, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        before = set(owner.tags)
        gone = {tag.lower() for tag in normal_tags(remove)}
        owner.tags = normal_tags([*(tag for tag in owner.tags if tag.lower() not in gone), *add])
        if set(owner.tags) == before:
            return
        self.changes += 1
        if self.setup.tagging_touches_customer:
            self.touch(owner, f"{owner.kind.upper()}S_UPDATE{'D' if isinstance(owner, Order) else ''}")
        self._tell_tags(owner, before)

    def _tell_tags(self, owner: Owner, before: set[str]) -> None:
        if isinstance(owner, Customer):
            for topic, tags in (
                ("CUSTOMER_TAGS_ADDED", set(owner.tags) - before),
                ("CUSTOMER_TAGS_REMOVED", before - set(owner.tags)),
            ):
                if tags:
                    self.happened(topic, owner, tags=sorted(tags))

    def set_metafields(self, asked: list[Json], found: list[Owner]) -> list[Metafield]:
        """metafieldsSet: all or none. [spec]"""
        if len(asked) > 25:
            words = "Exceeded the maximum metafields input limit of 25."
            raise Refusal(error(["metafields"], words, code="LESS_THAN_OR_EQUAL_TO"))
        before = [list(owner.own_metafields) for owner in found]
        made = []
        try:
            for at, (one, owner) in enumerate(zip(asked, found, strict=True)):
                made.append(self._put_metafield(owner, one, ["metafields", str(at)], is_set=True))
        except Refusal:
            for owner, held in zip(found, before, strict=True):
                owner.own_metafields = held
            raise
        for owner in {id(one): one for one in found}.values():
            self.changes += 1
            if self.setup.tagging_touches_customer:
                self.touch(owner, f"{owner.kind.upper()}S_UPDATE{'D' if isinstance(owner, Order) else ''}")
        return made

    def _put_metafield(self, owner: Owner, asked: Json, path: list[str], *, is_set: bool = False) -> Metafield:
        namespace = (asked.get("namespace") or "$app").replace("$app", f"app--{APP_KEY}")
        held = owner.find_metafield(namespace, asked.get("key") or "")
        kind = asked.get("type") or (held.type if held else None)

        def refusal(field: str, words: str, code: str) -> Refusal:
            return Refusal(error([*path, field], words, **({"code": code, "elementIndex": None} if is_set else {})))

        if kind is None:
            raise refusal("type", "Type can't be blank", "BLANK")
        if kind.removeprefix("list.") not in _METAFIELD_TYPES:
            words = f"Type must be one of the following: {', '.join(sorted(_METAFIELD_TYPES))}."
            raise refusal("type", words, "INCLUSION")
        value = asked.get("value") or ""
        if not value:
            raise refusal("value", "Value can't be blank.", "BLANK")
        if kind == "date_time" and not _is_moment(value):
            words = "Value must be in “YYYY-MM-DDTHH:MM:SS” format. For example: 2022-06-01T15:30:00"
            raise refusal("value", words, "INVALID_VALUE")
        digest = asked.get("compareDigest")
        if is_set and "compareDigest" in asked and digest != (held.compare_digest if held else None):
            words = "The resource has been updated since it was loaded. Try again with an updated `compareDigest` value."
            raise refusal("compareDigest", words, "STALE_OBJECT")
        now = self.now()
        made = Metafield(
            held.key if held else self.new_key(),
            owner.kind.upper(),
            namespace,
            asked.get("key") or "",
            kind,
            value,
            held.created_at if held else now,
            now,
        )
        owner.own_metafields = [one for one in owner.own_metafields if one is not held] + [made]
        return made

    # Orders

    def refund(self, order: Order, amount: Decimal, note: str | None, lines: Iterable[tuple[Line, int]] = ()) -> Refund:
        refund = Refund(self.new_key(), order.key, self.now(), amount, note)
        for line, quantity in lines:
            line.refunded_quantity += quantity
            part = line.total * quantity / line.quantity
            refund.lines.append(RefundLine(self.new_key(), line, quantity, part, "RETURN"))
        order.own_refunds.append(refund)
        order.display_financial_status = "REFUNDED" if order.refunded >= order.total else "PARTIALLY_REFUNDED"
        self.happened("REFUNDS_CREATE", refund)
        self.touch(order, "ORDERS_UPDATED")
        return refund


def normal_email(text: str) -> str:
    """Shopify drops white space anywhere. [recordings]"""
    return re.sub(r"\s+", "", text)


def normal_phone(text: str) -> str:
    """To E.164. Without a leading + the shop's country would be guessed; here it is refused. [recordings, memory]"""
    return re.sub(r"[\s().-]", "", text)


def normal_tags(given: Iterable[str]) -> list[str]:
    """Split at commas, trimmed, the first spelling of each, in alphabetical order whatever the case. [recordings]"""
    kept: dict[str, str] = {}
    for tag in (part.strip() for text in given for part in text.split(",")):
        if tag:
            kept.setdefault(tag.lower(), tag)
    return [kept[lower] for lower in sorted(kept)]


def _check_addresses(asked: list[Json]) -> None:
    """Not checked here: HTML, links and emojis in them, and provinces. [recordings]"""
    for at, one in enumerate(asked):
        path = ["addresses", str(at)]
        texts = {name: text for name, text in one.items() if name != "id" and text and text.strip()}
        if not texts:
            raise Refusal(error(path, "Customer address cannot be blank."))
        for name, text in texts.items():
            if len(text) > 255:
                words = f"{name[0].upper()}{name[1:]} is too long (maximum is 255 characters)"
                raise Refusal(error([*path, name], words))
        if "country" in texts and texts["country"] not in COUNTRIES.values() and texts["country"] not in COUNTRIES:
            raise Refusal(error([*path, "country"], "Country is invalid"))


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
