"""The shop's own rules: what may be stored, what follows from it, and which of it counts as a change.

Nothing in here knows HTTP. Whatever a rule refuses is a `RestError`; whatever happened is told through `happened(topic, id)`,
the name of the webhook topic it belongs to.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from sandbox.woocommerce import records
from sandbox.woocommerce.records import Coupon, CouponLine, Customer, Line, Meta, Order, Product, Refund, Variation, cents
from sandbox.woocommerce.wordpress import RestError, escaped, is_email, is_true, kept_tags, missing_params, moment, plain_text

# WooCommerce lets the API change the addresses of these only, and delete only these.
_OPEN_ROLES = ("customer", "subscriber")


def refuse_id(kind: str, status: int = 404) -> RestError:
    """Every kind has its own words for "there is no such thing"."""
    if kind == "customer":
        return RestError(404, "wc_user_invalid_id", "Invalid user ID.")  # observed in a webhook's body
    if kind in {"order", "coupon"}:
        return RestError(status, f"woocommerce_rest_shop_{kind}_invalid_id", "Invalid ID.")
    return RestError(status, f"woocommerce_rest_{kind}_invalid_id", "Invalid ID.")


class Shop:
    """Customers, products, orders and coupons in memory; `now` gives naive UTC without fractions of a second.

    Products, orders, refunds and coupons share one sequence of ids, customers have another: 1 is the shop's administrator.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        version: tuple[int, ...],
        utc_offset: timedelta,
        currency: str,
        tax_percent: Decimal,
        generates_passwords: bool = True,
    ) -> None:
        self.now, self.version, self.utc_offset = now, version, utc_offset
        self.currency, self.tax_percent, self.generates_passwords = currency, tax_percent, generates_passwords
        self.customers: dict[int, Customer] = {}
        self.products: dict[int, Product] = {}
        self.variations: dict[int, Variation] = {}
        self.orders: dict[int, Order] = {}
        self.coupons: dict[int, Coupon] = {}
        self.mails: list[dict[str, str]] = []
        self.happened: Callable[[str, int], None] = lambda topic, number: None
        self.user_ids, self.post_ids, self.item_ids = itertools.count(1), itertools.count(11), itertools.count(1)
        self._addresses: dict[str, int] = {}
        self._usernames: set[str] = set()
        admin = Customer(next(self.user_ids), "admin@shop.example", "admin", now(), None, role="administrator")
        self.keep_customer(admin)

    # Customers

    def customer(self, number: int) -> Customer:
        if number not in self.customers:
            raise refuse_id("customer")
        return self.customers[number]

    def customer_by_email(self, email: str) -> Customer | None:
        """In whatever letter case (observed)."""
        number = self._addresses.get(email.lower())
        return self.customers[number] if number else None

    def keep_customer(self, customer: Customer) -> None:
        self.customers[customer.id] = customer
        self._addresses[customer.email.lower()] = customer.id
        self._usernames.add(customer.username.lower())

    def username_for(self, email: str) -> str:
        """Observed: ASA.Oberg+News@... becomes asa.obergnews."""
        base = re.sub(r"[^a-z0-9_.-]", "", email.partition("@")[0].lower()) or "user"
        found, tail = base, 0
        while found in self._usernames:
            tail += 1
            found = f"{base}-{tail:04}"
        return found

    def create_customer(self, asked: Mapping[str, Any]) -> Customer:
        if asked.get("id"):
            raise RestError(400, "woocommerce_rest_customer_exists", "Cannot create existing resource.")
        email = str(asked.get("email") or "").strip()
        self._check_address(email, "customer_invalid_email", "Invalid email address")
        if not email:
            raise RestError(400, "registration-error-invalid-email", "Please provide a valid email address.")
        if self.customer_by_email(email):
            raise RestError(400, "registration-error-email-exists", self._taken(email))
        username = str(asked.get("username") or "")
        if username and username.lower() in self._usernames:
            raise RestError(
                400,
                "registration-error-username-exists",
                "An account is already registered with that username. Please choose another.",
            )
        if not asked.get("password") and not self.generates_passwords:
            raise missing_params("password")
        now = self.now()
        made = Customer(0, email, username or self.username_for(email), now, now)
        self._fill_customer(made, asked)
        made.id = next(self.user_ids)
        # Observed: default_password_nag turns up in every customer made by REST.
        made.meta.rows.insert(0, (next(Meta.ids), "default_password_nag", "1"))
        self.keep_customer(made)
        self.mails.append({"to": email, "kind": "customer_new_account"})
        self.happened("customer.created", made.id)
        return made

    def _taken(self, email: str) -> str:
        if self.version >= (9,):
            return f"An account is already registered with {email}. Please log in or use a different email address."
        return (
            "An account is already registered with your email address. "
            '<a href="#" class="showlogin">Please log in.</a>'
        )  # fmt: skip

    def update_customer(self, number: int, asked: Mapping[str, Any], *, is_batch: bool = False) -> Customer:
        """Any PUT counts as a change, even an empty one: WordPress saves the user anew."""
        if is_batch and number not in self.customers:
            raise RestError(400, "woocommerce_rest_invalid_id", "Invalid resource ID.")
        customer = self.customer(number)
        email = asked.get("email")
        if self.version >= (9, 5) and customer.role not in _OPEN_ROLES and not is_batch:
            for name in ("email", "password"):
                if name in asked and (name == "password" or asked[name] != customer.email):
                    raise RestError(
                        403,
                        "woocommerce_rest_cannot_edit",
                        f"Sorry, {name} cannot be updated via this endpoint for a user with role {customer.role}.",
                    )
        # It looks whether anybody has the address, the customer included: a change of letter case alone is refused too.
        if email and self.customer_by_email(str(email)) and email != customer.email:
            raise RestError(400, "woocommerce_rest_customer_invalid_email", "Email address is invalid.")
        if asked.get("username") and asked["username"] != customer.username:
            raise RestError(400, "woocommerce_rest_customer_invalid_argument", "Username isn't editable.")
        self._fill_customer(customer, asked)
        if email:
            self.move_customer(customer, _sanitized_email(str(email)))
        self.touch_customer(customer)
        return customer

    def move_customer(self, customer: Customer, email: str) -> None:
        if email:
            self._addresses.pop(customer.email.lower(), None)
            customer.email = email
            self._addresses[email.lower()] = customer.id

    def touch_customer(self, customer: Customer) -> None:
        customer.modified = self.now()
        self.happened("customer.updated", customer.id)

    def _fill_customer(self, customer: Customer, asked: Mapping[str, Any]) -> None:
        billing = asked.get("billing")
        if isinstance(billing, Mapping):
            self._check_address(
                str(billing.get("email") or ""), "customer_invalid_billing_email", "Invalid billing email address"
            )
            customer.billing |= _address(billing, records.BILLING)
        if isinstance(asked.get("shipping"), Mapping):
            customer.shipping |= _address(asked["shipping"], records.SHIPPING)
        for name in ("first_name", "last_name"):
            if asked.get(name) is not None:
                setattr(customer, name, escaped(plain_text(asked[name])))
        _put_meta(customer.meta, asked)

    @staticmethod
    def _check_address(email: str, code: str, message: str) -> None:
        """Observed: letters beyond ASCII are refused on either side of the @ sign, and so is a domain without a dot."""
        if email and not is_email(email):
            raise RestError(400, code, message)

    def delete_customer(self, number: int, *, is_forced: bool, is_batch: bool = False) -> Customer:
        """The orders stay, as a guest's: nothing of theirs counts as changed."""
        if not is_forced:
            raise RestError(501, "woocommerce_rest_trash_not_supported", "Customers do not support trashing.")
        customer = self.customer(number)
        if self.version >= (9, 5) and customer.role not in _OPEN_ROLES and not is_batch:
            raise RestError(
                403,
                "woocommerce_rest_cannot_delete",
                f"Sorry, users with {customer.role} role cannot be deleted via this endpoint. "
                f"Allowed roles: {', '.join(_OPEN_ROLES)}",
            )
        if customer.role == "customer":
            self.happened("customer.deleted", number)
        del self.customers[number]
        self._addresses.pop(customer.email.lower(), None)
        self._usernames.discard(customer.username.lower())
        for order in self.orders.values():
            if order.customer_id == number:
                order.customer_id = 0
        return customer

    # Products

    def product(self, number: int, status: int = 404) -> Product:
        if number not in self.products:
            raise refuse_id("product", status)
        return self.products[number]

    def create_product(self, asked: Mapping[str, Any]) -> Product:
        if asked.get("id"):
            raise RestError(400, "woocommerce_rest_product_exists", "Cannot create existing product.")
        now = self.now()
        made = Product(next(self.post_ids), "Product", "", now, now)
        self._fill_product(made, asked)
        self.products[made.id] = made
        self.happened("product.created", made.id)
        return made

    def update_product(self, number: int, asked: Mapping[str, Any]) -> Product:
        product = self.product(number, 400)
        self._fill_product(product, asked)
        product.modified = self.now()
        self.happened("product.updated", number)
        return product

    def _fill_product(self, product: Product, asked: Mapping[str, Any]) -> None:
        self._check_sku(product.id, asked)
        if "name" in asked:
            product.name = kept_tags(asked["name"])
        for name in ("type", "status", "description", "short_description"):
            if asked.get(name) is not None:
                setattr(product, name, str(asked[name]))
        _fill_sold(product, asked)

    def _check_sku(self, number: int, asked: Mapping[str, Any]) -> None:
        sku = asked.get("sku")
        sold: itertools.chain[Product | Variation] = itertools.chain(self.products.values(), self.variations.values())
        if sku and any(other.sku == sku and other.id != number for other in sold):
            raise RestError(
                400, "product_invalid_sku", "Invalid or duplicated SKU.", unique_sku=f"{sku}-1", resource_id=number
            )  # fmt: skip

    def create_variation(self, parent: int, asked: Mapping[str, Any]) -> Variation:
        product = self.product(parent)
        self._check_sku(0, asked)
        now = self.now()
        option = next((str(a.get("option", "")) for a in asked.get("attributes") or []), "")
        made = Variation(next(self.post_ids), parent, option, "", now, now)
        _fill_sold(made, asked)
        self.variations[made.id] = made
        product.variations.append(made.id)
        self.happened("product.created", made.id)
        return made

    def update_variation(self, parent: int, number: int, asked: Mapping[str, Any]) -> Variation:
        variation = self.variation(parent, number, 400)
        self._check_sku(number, asked)
        _fill_sold(variation, asked)
        variation.modified = self.now()
        self.happened("product.updated", number)
        return variation

    def variation(self, parent: int, number: int, status: int = 404) -> Variation:
        found = self.variations.get(number)
        if found is None or found.parent != parent:
            raise RestError(status, "woocommerce_rest_product_variation_invalid_id", "Invalid ID.")
        return found

    def delete_variation(self, parent: int, number: int) -> Variation:
        variation = self.variation(parent, number)
        del self.variations[number]
        self.products[parent].variations.remove(number)
        return variation

    # Orders

    def order(self, number: int, status: int = 404) -> Order:
        if number not in self.orders:
            raise refuse_id("order", status)
        return self.orders[number]

    def create_order(self, asked: Mapping[str, Any], *, created_via: str = "rest-api") -> Order:
        if asked.get("id"):
            raise RestError(400, "woocommerce_rest_shop_order_exists", "Cannot create existing shop_order.")
        now = self.now()
        order = Order(0, "pending", str(asked.get("currency") or self.currency), now, now, created_via=created_via)
        self._fill_order(order, asked)
        order.id = next(self.post_ids)
        self.orders[order.id] = order
        # Observed: a new paid order sends order.created and order.updated within the same second.
        self.happened("order.created", order.id)
        wanted = str(asked.get("status") or "pending")
        if is_true(asked.get("set_paid")):
            wanted = "processing" if wanted in {"pending", "on-hold", "failed"} else wanted
        if wanted != "pending":
            self._enter(order, wanted)
            self.happened("order.updated", order.id)
        return order

    def update_order(self, number: int, asked: Mapping[str, Any]) -> Order:
        """Even an empty PUT counts as a change (observed)."""
        order = self.order(number, 400)
        self._fill_order(order, asked)
        wanted = str(asked.get("status") or "")
        if wanted and wanted != order.status:
            self._enter(order, wanted)
        if is_true(asked.get("set_paid")) and order.needs_payment:
            self._enter(order, "processing")
        self.touch_order(order)
        return order

    def touch_order(self, order: Order) -> None:
        order.modified = self.now()
        self.happened("order.updated", order.id)

    def _fill_order(self, order: Order, asked: Mapping[str, Any]) -> None:
        if asked.get("customer_id"):
            if int(asked["customer_id"]) not in self.customers:
                raise RestError(400, "woocommerce_rest_invalid_customer_id", "Customer ID is invalid.")
            order.customer_id = int(asked["customer_id"])
        elif asked.get("customer_id") is not None:
            order.customer_id = 0
        for name, fields in (("billing", records.BILLING), ("shipping", records.SHIPPING)):
            given = asked.get(name)
            if isinstance(given, Mapping):
                email = str(given.get("email") or "")
                self._check_address(email, "order_invalid_billing_email", "Invalid billing email address")
                getattr(order, name).update(_address(given, fields))
        for name in ("payment_method", "payment_method_title", "transaction_id", "customer_note", "currency"):
            if asked.get(name) is not None:
                setattr(order, name, str(asked[name]))
        for item in asked.get("line_items") or []:
            self._put_line(order, item)
        for item in asked.get("shipping_lines") or []:
            order.shipping_id = order.shipping_id or next(self.item_ids)
            order.shipping_total = _decimal(item.get("total"))
            order.shipping_title = str(item.get("method_title") or order.shipping_title)
        for item in asked.get("fee_lines") or []:
            order.fees.append((next(self.item_ids), str(item.get("name", "")), _decimal(item.get("total"))))
        if "coupon_lines" in asked:
            self._apply_coupons(order, [str(c.get("code") or "") for c in asked["coupon_lines"]])
        _put_meta(order.meta, asked)

    def _put_line(self, order: Order, item: Mapping[str, Any]) -> None:
        line = next((old for old in order.lines if old.id == item.get("id")), None)
        if line is not None and item.get("quantity") == 0:
            order.lines.remove(line)
            return
        if line is None:
            if item.get("id"):
                raise RestError(
                    400, "woocommerce_rest_invalid_item_id", "Order item ID provided is not associated with order."
                )  # fmt: skip
            if not item.get("product_id") and not item.get("variation_id") and not item.get("sku"):
                raise RestError(400, "woocommerce_rest_required_product_reference", "Product ID or SKU is required.")
            line = self._line_for(item)
            order.lines.append(line)
        for name in ("subtotal", "total"):
            if item.get(name) is not None:
                net = _decimal(item[name])
                setattr(line, name, net)
                setattr(line, f"{name}_tax", cents(net * self.tax_percent / 100))

    def _line_for(self, item: Mapping[str, Any]) -> Line:
        """A product that does not exist is no error: the line has no name, price 0 and product_id 0 (observed)."""
        quantity = int(item.get("quantity") or 1)
        product, variation = self._sold(item)
        sold: Product | Variation | None = variation or product
        gross = _decimal(sold.price if sold else 0) * quantity
        net = cents(gross * 100 / (100 + self.tax_percent))
        name = product.name if product else ""
        if product and variation:
            name = f"{name} - {variation.option}"
        return Line(
            id=next(self.item_ids),
            name=str(item.get("name") or name),
            product_id=product.id if product else 0,
            variation_id=variation.id if variation else 0,
            quantity=quantity,
            subtotal=net,
            subtotal_tax=gross - net,
            total=net,
            total_tax=gross - net,
            sku=sold.sku if sold else None,
        )

    def _sold(self, item: Mapping[str, Any]) -> tuple[Product | None, Variation | None]:
        sku = item.get("sku")
        number = int(item.get("variation_id") or item.get("product_id") or 0)
        if not number and sku:
            both: itertools.chain[Product | Variation] = itertools.chain(self.variations.values(), self.products.values())
            number = next((sold.id for sold in both if sold.sku == sku), 0)
        variation = self.variations.get(number)
        return self.products.get(variation.parent if variation else number), variation

    def _apply_coupons(self, order: Order, codes: list[str]) -> None:
        coupons = [self._usable(order, code.strip().lower()) for code in codes]
        for line in order.lines:
            line.total, line.total_tax = line.subtotal, line.subtotal_tax
        order.coupons = []
        for coupon in coupons:
            net = sum((line.total for line in order.lines), Decimal(0))
            share = coupon.amount / 100
            if coupon.discount_type != "percent":
                share = min(coupon.amount / (net + order.tax), Decimal(1)) if net else Decimal(0)
            off = off_tax = Decimal(0)
            for line in order.lines:
                cut, cut_tax = cents(line.total * share), cents(line.total_tax * share)
                line.total, line.total_tax = line.total - cut, line.total_tax - cut_tax
                off, off_tax = off + cut, off_tax + cut_tax
            percent = coupon.amount if coupon.discount_type == "percent" else None
            order.coupons.append(CouponLine(next(self.item_ids), coupon.code, off, off_tax, percent))
            coupon.usage_count += 1  # the coupon itself does not count as changed (observed)
            coupon.used_by.append(str(order.customer_id or order.billing.get("email", "")))

    def _usable(self, order: Order, code: str) -> Coupon:
        def refused(sentence: str) -> RestError:
            return RestError(400, "woocommerce_rest_invalid_coupon", sentence)

        if not code:
            raise refused("Coupon code is required.")
        coupon = next((c for c in self.coupons.values() if c.code == code and c.status == "publish"), None)
        quoted = f"Coupon &quot;{escaped(code)}&quot;"  # observed: the message holds &quot;
        if coupon is None:
            raise refused(
                f"{quoted} does not exist!" if self.version < (9,) else f"{quoted} cannot be applied: it does not exist."
            )
        if any(line.code == code for line in order.coupons):
            return coupon
        if coupon.expires and coupon.expires < self.now():
            raise refused(f"{quoted} has expired.")
        if coupon.usage_limit and coupon.usage_count >= coupon.usage_limit:
            raise refused(f"Usage limit for {quoted.lower()} has been reached.")
        buyer = self.customers.get(order.customer_id)
        addresses = {order.billing.get("email", "").lower(), buyer.email.lower() if buyer else ""} - {""}
        allowed = [re.escape(r.lower()).replace(r"\*", ".*") for r in coupon.email_restrictions]
        if allowed and not any(re.fullmatch(rule, address) for rule in allowed for address in addresses):
            raise refused(f"Please enter a valid email to use {quoted.lower()}.")
        return coupon

    def _enter(self, order: Order, status: str) -> None:
        """A status is entered, with all that WooCommerce does on its own then."""
        before, order.status = order.status, status
        now = self.now()
        if status in records.PAID and order.paid is None:
            order.paid = now
        if status == "completed" and order.completed is None:
            order.completed = now
        if status in records.PAID and before not in records.PAID:
            self._sell(order)
            self._paid_by(order)
            self._mail(order, f"customer_{status}_order")
        if status == "refunded" and order.refunded < order.total:
            # Observed: WooCommerce then makes a refund of the rest itself.
            self._keep_refund(order, order.total - order.refunded, "Order fully refunded.", [])

    def _sell(self, order: Order) -> None:
        """Stock goes down once; that counts as a change of the product (observed: "and a sale of it")."""
        for line in order.lines:
            sold = self.variations.get(line.variation_id) or self.products.get(line.product_id)
            if isinstance(sold, Product):
                sold.total_sales += line.quantity
            if sold is not None and sold.manage_stock and not line.reduced_stock:
                sold.stock = (sold.stock or 0) - line.quantity
                line.reduced_stock = line.quantity
                sold.modified = self.now()
                self.happened("product.updated", sold.id)

    def _paid_by(self, order: Order) -> None:
        """Observed: the first paid order changes its customer, later ones do not."""
        customer = self.customers.get(order.customer_id)
        if customer is not None and not customer.is_paying:
            customer.is_paying = True
            self.touch_customer(customer)

    def _mail(self, order: Order, kind: str) -> None:
        if order.billing.get("email"):
            self.mails.append({"to": order.billing["email"], "kind": kind, "order": str(order.id)})

    def create_refund(self, number: int, asked: Mapping[str, Any]) -> Refund:
        order = self.orders.get(number)
        if order is None:
            raise RestError(404, "woocommerce_rest_invalid_order_id", "Invalid order ID.")
        lines = [self._refund_line(order, item) for item in asked.get("line_items") or []]
        amount = _decimal(asked.get("amount"))
        if not amount and lines:
            amount = -sum((_decimal(line["total"]) + _decimal(line["total_tax"]) for line in lines), Decimal(0))
        if amount <= 0:
            raise RestError(400, "woocommerce_rest_invalid_order_refund", "Refund amount must be greater than zero.")
        reason = ""
        if amount > order.total - order.refunded:
            reason = "Invalid refund amount."
        elif is_true(asked.get("api_refund", True)):
            # The default asks the payment gateway for the money, which none here can give.
            reason = (
                "The payment gateway for this order does not support automatic refunds."
                if order.payment_method
                else "The payment gateway for this order does not exist."
            )
        if reason:
            raise RestError(500, "woocommerce_rest_cannot_create_order_refund", reason)
        return self.refund(order, amount, str(asked.get("reason") or ""), lines)

    def refund(self, order: Order, amount: Decimal, reason: str, lines: list[dict[str, Any]]) -> Refund:
        """Observed: what is refunded in full becomes "refunded", a part leaves the status; both count as a change."""
        made = self._keep_refund(order, amount, reason, lines)
        if order.refunded >= order.total:
            made.kind = "full"
            order.status = "refunded"
        self._mail(order, "customer_refunded_order")
        self.touch_order(order)
        return made

    def _keep_refund(self, order: Order, amount: Decimal, reason: str, lines: list[dict[str, Any]]) -> Refund:
        now = self.now()
        made = Refund(next(self.post_ids), order.id, now, amount, reason, lines, modified=now)
        order.refunds.append(made)
        return made

    def _refund_line(self, order: Order, item: Mapping[str, Any]) -> dict[str, Any]:
        old = next((line for line in order.lines if line.id == int(item.get("id") or 0)), None)
        if old is None:
            raise RestError(400, "woocommerce_rest_invalid_item_id", "Order item ID provided is not associated with order.")
        quantity = int(item.get("quantity") or 0)
        net = _decimal(item.get("refund_total"))
        tax = sum((_decimal(t.get("refund_total")) for t in item.get("refund_tax") or []), Decimal(0))
        made = next(self.item_ids)
        meta = {"id": made * 10, "key": "_refunded_item_id", "value": str(old.id)}
        return old.json(is_known=old.product_id in self.products) | {
            "id": made,
            "quantity": -quantity,
            "subtotal": records.money(-net),
            "total": records.money(-net),
            "total_tax": records.money(-tax),
            "meta_data": [meta | {"display_key": meta["key"], "display_value": meta["value"]}],
        }

    def create_note(self, number: int, asked: Mapping[str, Any]) -> dict[str, Any]:
        """An order does not count as changed by a note (observed)."""
        order = self.orders.get(number)
        if order is None:
            raise RestError(404, "woocommerce_rest_order_invalid_id", "Invalid order ID.")
        if not asked.get("note"):
            raise missing_params("note")
        note = {
            "id": next(self.item_ids),
            "author": "admin" if is_true(asked.get("added_by_user")) else "WooCommerce",
            "at": self.now(),
            "note": str(asked["note"]),
            "customer_note": is_true(asked.get("customer_note")),
        }
        order.notes.append(note)
        if note["customer_note"]:
            self._mail(order, "customer_note")
        return note

    # Coupons

    def coupon(self, number: int, status: int = 404) -> Coupon:
        if number not in self.coupons:
            raise refuse_id("coupon", status)
        return self.coupons[number]

    def create_coupon(self, asked: Mapping[str, Any]) -> Coupon:
        if asked.get("id"):
            raise RestError(400, "woocommerce_rest_shop_coupon_exists", "Cannot create existing shop_coupon.")
        if not asked.get("code"):
            raise RestError(400, "woocommerce_rest_empty_coupon_code", "The coupon code cannot be empty.")
        now = self.now()
        made = Coupon(0, "", Decimal(0), now, now)
        self._fill_coupon(made, asked)
        made.id = next(self.post_ids)
        self.coupons[made.id] = made
        self.happened("coupon.created", made.id)
        return made

    def update_coupon(self, number: int, asked: Mapping[str, Any]) -> Coupon:
        """Observed: the description changes date_modified, amount and expiry do not."""
        coupon = self.coupon(number, 400)
        before = (coupon.code, coupon.description, coupon.status)
        self._fill_coupon(coupon, asked)
        if (coupon.code, coupon.description, coupon.status) != before:
            coupon.modified = self.now()
        self.happened("coupon.updated", number)
        return coupon

    def _fill_coupon(self, coupon: Coupon, asked: Mapping[str, Any]) -> None:
        if asked.get("code"):
            code = plain_text(asked["code"]).lower()  # observed: lower-cased, å and blanks stay
            if any(other.code == code and other.id != coupon.id for other in self.coupons.values()):
                raise RestError(400, "woocommerce_rest_coupon_code_already_exists", "The coupon code already exists")
            coupon.code = code
        if asked.get("amount") is not None:
            coupon.amount = _decimal(asked["amount"])
        for name in ("description", "discount_type", "status"):
            if asked.get(name) is not None:
                setattr(coupon, name, str(asked[name]))
        for name in ("usage_limit", "usage_limit_per_user"):
            if name in asked:
                setattr(coupon, name, int(asked[name]) if asked[name] else None)
        for name in ("individual_use", "free_shipping"):
            if name in asked:
                setattr(coupon, name, is_true(asked[name]))
        for name in ("minimum_amount", "maximum_amount"):
            if name in asked:
                setattr(coupon, name, records.money(_decimal(asked[name])))
        if "email_restrictions" in asked:
            coupon.email_restrictions = [str(e) for e in asked["email_restrictions"] or []]
        if asked.get("date_expires_gmt"):
            coupon.expires = moment(_with_time(str(asked["date_expires_gmt"])), timedelta(0))
        elif asked.get("date_expires"):
            coupon.expires = moment(_with_time(str(asked["date_expires"])), self.utc_offset) - self.utc_offset
        elif "date_expires" in asked:
            coupon.expires = None
        _put_meta(coupon.meta, asked)

    # The trash

    def trash(self, kind: str, number: int, *, is_forced: bool) -> Order | Product | Coupon:
        """Without force it goes to the trash, where a GET by id still finds it with status "trash" (observed).

        Only the trash is announced to webhooks; what is deleted for good at once goes silently.
        """
        table = self._trashable(kind)
        if number not in table:
            raise refuse_id(kind)
        found: Order | Product | Coupon = table[number]
        if is_forced:
            del table[number]
            return found
        if found.status == "trash":
            raise RestError(410, "woocommerce_rest_already_trashed", f"The {kind} has already been deleted.")
        found.before_trash, found.status = found.status, "trash"
        found.modified = self.now()
        self.happened(f"{kind}.deleted", number)
        return found

    def _trashable(self, kind: str) -> dict[int, Any]:
        tables: dict[str, dict[int, Any]] = {"order": self.orders, "product": self.products, "coupon": self.coupons}
        return tables[kind]

    def untrash(self, kind: str, number: int) -> None:
        table = self._trashable(kind)
        found = table[number]
        found.status, found.before_trash = found.before_trash or found.status, ""
        found.modified = self.now()
        self.happened(f"{kind}.restored", number)


def _address(given: Mapping[str, Any], fields: tuple[str, ...]) -> dict[str, str]:
    return {name: plain_text(given[name]) for name in fields if name in given}


def _put_meta(meta: Meta, asked: Mapping[str, Any]) -> None:
    for entry in asked.get("meta_data") or []:
        meta.put(str(entry.get("key") or ""), entry.get("value"), int(entry.get("id") or 0))


def _fill_sold(sold: Product | Variation, asked: Mapping[str, Any]) -> None:
    for name in ("sku", "regular_price", "sale_price"):
        if asked.get(name) is not None:
            setattr(sold, name, str(asked[name]))  # as typed: "99.5" stays (observed)
    if "manage_stock" in asked:
        sold.manage_stock = is_true(asked["manage_stock"])
    if asked.get("stock_quantity") is not None:
        sold.stock = int(asked["stock_quantity"])
    _put_meta(sold.meta, asked)


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(str(value if value not in (None, "") else 0))
    except InvalidOperation:
        return Decimal(0)


def _with_time(text: str) -> str:
    return text if "T" in text or " " in text else f"{text}T00:00:00"


def _sanitized_email(email: str) -> str:
    """sanitize_email(): in a batch nothing checks the address first, and letters it does not know are simply cut out."""
    local, _, domain = email.strip().rpartition("@")
    local = re.sub(r"[^a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]", "", local)
    labels = [re.sub(r"[^a-zA-Z0-9-]", "", part).strip("-") for part in domain.split(".")]
    domain = ".".join(part for part in labels if part)
    return f"{local}@{domain}" if local and "." in domain else ""
