"""The endpoints below /ecommerce: stores, customers, products, orders, carts.

Order of writes: store, products with variants, customers, orders and carts, promo rules, promo codes; whatever points to
something that is not there is refused [docs; wordings from issues of published connectors].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.mailchimp.audience import Audience, member_hash
from sandbox.mailchimp.promos import Promos
from sandbox.mailchimp.records import (
    CART,
    CART_LINE,
    CUSTOMER,
    ID_MOST,
    LINE,
    ORDER,
    PATCH_CART,
    PATCH_ORDER,
    PATCH_PRODUCT,
    PRODUCT,
    STORE,
    VARIANT,
    Store,
    bare,
    check_currency,
    check_id,
    exists,
    normal_times,
    pick,
)
from sandbox.mailchimp.rules import Books
from sandbox.mailchimp.wire import (
    Ask,
    Json,
    Problem,
    Routes,
    Schema,
    bad_request,
    check_body,
    invalid,
    is_address,
    method_not_allowed,
    not_found,
    only,
    optional,
    stamp,
)

# The words of financial_status and fulfillment_status that start an order notification [spec].
NOTIFYING = {"paid", "pending", "refunded", "cancelled", "shipped"}


class Shops:
    def __init__(self, books: Books, audience: Callable[[str], Audience | None]) -> None:
        self.books = books
        self.stores: dict[str, Store] = {}
        self.promos = Promos(self.get, self.stores, self._now)
        self._audience = audience

    def is_syncing(self, list_id: str) -> bool:
        return any(s.fields["is_syncing"] for s in self.stores.values() if s.fields["list_id"] == list_id)

    def has_store(self, list_id: str) -> bool:
        return any(s.fields["list_id"] == list_id for s in self.stores.values())

    def money(self, list_id: str, email: str) -> Json | None:
        """What a contact spent in the stores of an audience; none if no store knows them."""
        if not self.stores:
            return None
        key, total, count, currency = member_hash(email), 0.0, 0, ""
        for store in self.stores.values():
            if store.fields["list_id"] != list_id:
                continue
            for customer_id in store.customers_of.get(key, ()):
                orders = [store.orders[o] for o in store.orders_of.get(customer_id, ())]
                total, count = total + sum(o["order_total"] for o in orders), count + len(orders)
                currency = currency or store.fields["currency_code"]
        return {"total_revenue": round(total, 4), "number_of_orders": count, "currency_code": currency} if currency else None

    def routes(self, routes: Routes) -> None:
        routes.add("/ecommerce/orders", get=self.all_orders)
        routes.add("/ecommerce/stores", get=self.list_stores, post=self.add_store)
        store = "/ecommerce/stores/{}"
        routes.add(store, get=self.store, patch=self.patch_store, delete=self.delete_store)
        routes.add(f"{store}/customers", get=self.customers, post=self.add_customer)
        one = f"{store}/customers/{{}}"
        routes.add(one, get=self.customer, put=self.put_customer, patch=self.patch_customer, delete=self.delete_customer)
        routes.add(f"{store}/products", get=self.products, post=self.add_product)
        one = f"{store}/products/{{}}"
        routes.add(one, get=self.product, put=self.put_product, patch=self.patch_product, delete=self.delete_product)
        routes.add(f"{one}/variants", get=self.variants, post=self.add_variant)
        one += "/variants/{}"
        routes.add(one, get=self.variant, put=self.put_variant, patch=self.patch_variant, delete=self.delete_variant)
        routes.add(f"{store}/orders", get=self.orders, post=self.add_order)
        one = f"{store}/orders/{{}}"
        routes.add(one, get=self.order, put=self.put_order, patch=self.patch_order, delete=self.delete_order)
        routes.add(f"{store}/carts", get=self.carts, post=self.add_cart)
        routes.add(f"{store}/carts/{{}}", get=self.cart, patch=self.patch_cart, delete=self.delete_cart)
        for kind in ("orders", "carts"):
            get, add, show, change, delete = self._line_handlers(kind)
            routes.add(f"{store}/{kind}/{{}}/lines", get=get, post=add)
            routes.add(f"{store}/{kind}/{{}}/lines/{{}}", get=show, patch=change, delete=delete)
        self.promos.routes(routes)

    def _now(self) -> str:
        return stamp(self.books.now())

    # Stores

    def get(self, store_id: str) -> Store:
        if store_id not in self.stores:
            raise not_found()
        return self.stores[store_id]

    def list_stores(self, ask: Ask) -> Json:
        return ask.page(list(self.stores.values()), self._show_store, "stores")

    def add_store(self, ask: Ask) -> Json:
        body = check_body(STORE, ask.body)
        self._check_store(body, None)
        if body["id"] in self.stores:
            raise bad_request("A store with the provided ID already exists in the account.")
        defaults: Json = {
            "platform": "",
            "domain": "",
            "is_syncing": False,
            "email_address": "",
            "money_format": "",
            "primary_locale": "",
            "timezone": "",
            "phone": "",
            "address": {},
        }
        made = Store(defaults | only(STORE, body), self._now(), self._now())
        self.stores[body["id"]] = made
        return self._show_store(made)

    def _check_store(self, body: Json, known: Store | None) -> None:
        check_id(body)
        if "list_id" in body and self._audience(body["list_id"]) is None:
            raise invalid(("list_id", "The list ID provided does not exist."))  # our words
        check_currency(body)
        others = (s for s in self.stores.values() if s is not known)
        domain = body.get("domain")
        if self.books.rules.unique_store_domain and domain and any(s.fields["domain"] == domain for s in others):
            raise bad_request("A store with the provided domain already exists in the account.")

    def store(self, ask: Ask, store_id: str) -> Json:
        return self._show_store(self.get(store_id))

    def patch_store(self, ask: Ask, store_id: str) -> Json:
        store, body = self.get(store_id), check_body(optional(STORE), ask.body)
        if body.get("list_id", store.fields["list_id"]) != store.fields["list_id"]:
            raise invalid(("list_id", "The list ID of a store cannot be changed."))  # immutable [spec]; our words
        body.pop("id", None)
        self._check_store(body, store)
        store.fields |= only(STORE, body)
        store.updated = self._now()
        return self._show_store(store)

    def delete_store(self, ask: Ask, store_id: str) -> None:
        """Customers, products, orders and carts go with it [spec]; the audience's members stay [memory]."""
        self.get(store_id)
        del self.stores[store_id]

    def _show_store(self, store: Store) -> Json:
        none = {"is_supported": False}
        site = next((s for s in self.promos.sites.values() if s["store_id"] == store.fields["id"]), None)
        shown = store.fields | {
            "automations": {"abandoned_cart": none, "abandoned_browse": none},
            "list_is_active": self._audience(store.fields["list_id"]) is not None,
            "created_at": store.created,
            "updated_at": store.updated,
            "_links": [],
        }
        if site:
            shown["connected_site"] = {"site_foreign_id": site["foreign_id"], "site_script": site["site_script"]}
        return shown

    # Customers

    def customers(self, ask: Ask, store_id: str) -> Json:
        store = self.get(store_id)
        found = list(store.customers.values())
        if "email_address" in ask.query:
            found = [store.customers[c] for c in store.customers_of.get(member_hash(ask.query["email_address"]), ())]
        return ask.page(found, lambda c: self._show_customer(store, c), "customers", store_id=store_id)

    def add_customer(self, ask: Ask, store_id: str) -> Json:
        store, body = self.get(store_id), check_body(CUSTOMER, ask.body)
        if body["id"] in store.customers:
            raise exists("A customer")
        return self._show_customer(store, self._write_customer(store, body))

    def customer(self, ask: Ask, store_id: str, customer_id: str) -> Json:
        store = self.get(store_id)
        return self._show_customer(store, pick(store.customers, customer_id))

    def put_customer(self, ask: Ask, store_id: str, customer_id: str) -> Json:
        store, body = self.get(store_id), check_body(CUSTOMER, ask.body)
        if body["id"] != customer_id:
            raise invalid(("id", "The ID in the body does not match the ID in the path."))  # our words
        return self._show_customer(store, self._write_customer(store, body))

    def patch_customer(self, ask: Ask, store_id: str, customer_id: str) -> Json:
        store, body = self.get(store_id), check_body(optional(CUSTOMER), ask.body)
        known = pick(store.customers, customer_id)
        return self._show_customer(store, self._write_customer(store, body | {"id": known["id"]}))

    def delete_customer(self, ask: Ask, store_id: str, customer_id: str) -> None:
        store = self.get(store_id)
        customer = pick(store.customers, customer_id)
        del store.customers[customer_id]
        store.customers_of[member_hash(customer["email_address"])].discard(customer_id)

    def _write_customer(self, store: Store, body: Json) -> Json:
        """Create or change a customer, and the contact that goes with it."""
        check_id(body)
        known = store.customers.get(body["id"])
        email: str = body["email_address"] if "email_address" in body else known["email_address"] if known else ""
        if not is_address(email):
            raise Problem(400, "Invalid Resource", "Please provide a valid email address.")
        if known and email.lower() != known["email_address"].lower():
            raise bad_request("An email address may not be changed once a customer is created.")  # [issue mc-magento#17]
        if known is None:
            empty = {"company": "", "first_name": "", "last_name": "", "address": {}}
            known = store.customers[body["id"]] = empty | {"opt_in_status": False, "created_at": self._now()}
            store.customers_of.setdefault(member_hash(email), set()).add(body["id"])
        known |= only(CUSTOMER, body)
        known["updated_at"] = self._now()
        if "opt_in_status" in body:
            self._opt_in(store, known)
        return known

    def _opt_in(self, store: Store, customer: Json) -> None:
        """`true` subscribes (pending with double opt-in), `false` makes an unknown address transactional [spec].

        For a known contact the sources contradict each other: `opt_in_status_subscribes_existing`. It never unsubscribes.
        """
        audience = self._audience(store.fields["list_id"])
        if audience is None:
            return
        email, wants = customer["email_address"], customer["opt_in_status"]
        known = audience.members.get(member_hash(email))
        if known and (
            not wants or known.status in {"subscribed", "pending"} or not self.books.rules.opt_in_status_subscribes_existing
        ):
            return
        status = ("pending" if audience.double_optin else "subscribed") if wants else "transactional"
        names = {"FNAME": customer["first_name"], "LNAME": customer["last_name"]}
        body = {"email_address": email, "merge_fields": {k: v for k, v in names.items() if v}}
        try:
            audience.write(body, member=known, status=status, source="api", skip_required=True, origin=store.fields["name"])
        except Problem:
            return  # compliance state, forgotten: the customer is kept, the contact is left alone

    def _show_customer(self, store: Store, customer: Json) -> Json:
        orders = [store.orders[o] for o in store.orders_of.get(customer["id"], ())]
        spent = round(sum(o["order_total"] for o in orders), 4)
        return customer | {"orders_count": len(orders), "total_spent": spent, "_links": []}

    # Products and variants

    def products(self, ask: Ask, store_id: str) -> Json:
        store = self.get(store_id)
        return ask.page(list(store.products.values()), lambda p: _show_product(store, p), "products", store_id=store_id)

    def add_product(self, ask: Ask, store_id: str) -> Json:
        store, body = self.get(store_id), check_body(PRODUCT, ask.body)
        if body["id"] in store.products:
            raise exists("A product")
        return self._write_product(store, body)

    def product(self, ask: Ask, store_id: str, product_id: str) -> Json:
        store = self.get(store_id)
        return _show_product(store, pick(store.products, product_id))

    def put_product(self, ask: Ask, store_id: str, product_id: str) -> Json:
        if not self.books.rules.put_orders:
            raise method_not_allowed()
        store, body = self.get(store_id), check_body(PRODUCT, ask.body)
        if body["id"] != product_id:
            raise invalid(("id", "The ID in the body does not match the ID in the path."))
        return self._write_product(store, body)

    def _write_product(self, store: Store, body: Json) -> Json:
        check_id(body, 10_000)
        ids = [v["id"] for v in body["variants"]]
        if not ids:
            raise invalid(("variants", "A product needs at least one variant."))  # ≥ 1 [spec]; our words
        if len(set(ids)) < len(ids):
            raise bad_request("A product may not contain the same variant id more than once.")  # our words
        empty = dict.fromkeys(("handle", "url", "description", "type", "vendor", "image_url", "published_at_foreign"), "")
        variants = {v["id"]: self._new_variant(v) for v in body["variants"]}
        made = empty | normal_times(only(PRODUCT, body)) | {"variants": variants, "images": body.get("images", [])}
        store.products[body["id"]] = made
        return _show_product(store, made)

    def _new_variant(self, body: Json) -> Json:
        empty: Json = {
            "url": "",
            "sku": "",
            "price": 0,
            "inventory_quantity": 0,
            "image_url": "",
            "backorders": "",
            "visibility": "",
            "created_at": self._now(),
            "updated_at": self._now(),
        }
        return empty | only(VARIANT, body)

    def patch_product(self, ask: Ask, store_id: str, product_id: str) -> Json:
        """Variants that are named by their id are changed or added; the others stay."""
        store = self.get(store_id)
        product, body = pick(store.products, product_id), check_body(PATCH_PRODUCT, ask.body)
        for given in body.pop("variants", []):
            if "id" not in given:
                raise invalid(("variants", "Required fields were not provided: id"))
            self._upsert_variant(product, given["id"], given)
        body.pop("id", None)
        product |= normal_times(only(PRODUCT, body))
        return _show_product(store, product)

    def _upsert_variant(self, product: Json, variant_id: str, given: Json) -> Json:
        if variant_id in product["variants"]:
            product["variants"][variant_id] |= only(VARIANT, given) | {"updated_at": self._now()}
        else:
            product["variants"][variant_id] = self._new_variant(check_body(VARIANT, given))
        return bare(product["variants"][variant_id])

    def delete_product(self, ask: Ask, store_id: str, product_id: str) -> None:
        store = self.get(store_id)
        pick(store.products, product_id)
        del store.products[product_id]

    def _variants(self, store_id: str, product_id: str) -> Json:
        found: Json = pick(self.get(store_id).products, product_id)["variants"]
        return found

    def variants(self, ask: Ask, store_id: str, product_id: str) -> Json:
        found = list(self._variants(store_id, product_id).values())
        return ask.page(found, lambda v: v | {"_links": []}, "variants", store_id=store_id, product_id=product_id)

    def add_variant(self, ask: Ask, store_id: str, product_id: str) -> Json:
        variants, body = self._variants(store_id, product_id), check_body(VARIANT, ask.body)
        if body["id"] in variants:
            raise exists("A product variant")
        variants[body["id"]] = self._new_variant(body)
        return bare(variants[body["id"]])

    def variant(self, ask: Ask, store_id: str, product_id: str, variant_id: str) -> Json:
        return pick(self._variants(store_id, product_id), variant_id) | {"_links": []}

    def put_variant(self, ask: Ask, store_id: str, product_id: str, variant_id: str) -> Json:
        self._variants(store_id, product_id)
        body = check_body(VARIANT, ask.body)
        return self._upsert_variant(self.get(store_id).products[product_id], variant_id, body | {"id": variant_id})

    def patch_variant(self, ask: Ask, store_id: str, product_id: str, variant_id: str) -> Json:
        pick(self._variants(store_id, product_id), variant_id)
        body = check_body(optional(VARIANT), ask.body)
        return self._upsert_variant(self.get(store_id).products[product_id], variant_id, body | {"id": variant_id})

    def delete_variant(self, ask: Ask, store_id: str, product_id: str, variant_id: str) -> None:
        variants = self._variants(store_id, product_id)
        pick(variants, variant_id)
        if len(variants) == 1:
            raise bad_request("A product needs at least one variant.")  # our words
        del variants[variant_id]

    # Orders and carts

    def all_orders(self, ask: Ask) -> Json:
        found = [(store, o) for store in self.stores.values() for o in store.orders.values()]
        for name, own in {"campaign_id": "campaign_id", "customer_id": "customer"}.items():
            if name in ask.query:
                found = [(s, o) for s, o in found if o[own] == ask.query[name]]
        return ask.page(found, lambda pair: self._show_order(*pair), "orders")

    def orders(self, ask: Ask, store_id: str) -> Json:
        store = self.get(store_id)
        found = list(store.orders.values())
        if "customer_id" in ask.query:
            found = [store.orders[o] for o in store.orders_of.get(ask.query["customer_id"], ())]
        return ask.page(found, lambda o: self._show_order(store, o), "orders", store_id=store_id)

    def add_order(self, ask: Ask, store_id: str) -> Json:
        store, body = self.get(store_id), check_body(ORDER, ask.body)
        if body["id"] in store.orders:
            raise exists("An order")
        return self._write_order(store, body)

    def order(self, ask: Ask, store_id: str, order_id: str) -> Json:
        store = self.get(store_id)
        return self._show_order(store, pick(store.orders, order_id))

    def put_order(self, ask: Ask, store_id: str, order_id: str) -> Json:
        if not self.books.rules.put_orders:
            raise method_not_allowed()
        store, body = self.get(store_id), check_body(ORDER, ask.body)
        if body["id"] != order_id:
            raise invalid(("id", "The ID in the body does not match the ID in the path."))
        return self._write_order(store, body)

    def _write_order(self, store: Store, body: Json) -> Json:
        check_currency(body)
        lines = self._check_lines(store, body["lines"], "An order")
        customer = self._buyer(store, body["customer"])
        empty: Json = dict.fromkeys(
            ("campaign_id", "landing_site", "financial_status", "fulfillment_status", "order_url"), ""
        ) | dict.fromkeys(("discount_total", "tax_total", "shipping_total"), 0)
        before = store.orders.get(body["id"])
        made = empty | normal_times(only(ORDER, body)) | {"customer": customer["id"], "lines": lines}
        made["store_id"] = store.fields["id"]
        if before:
            store.orders_of[before["customer"]].discard(body["id"])
        store.orders[body["id"]] = made
        store.orders_of.setdefault(customer["id"], set()).add(body["id"])
        self._notify(store, made, before or {})
        return self._show_order(store, made)

    def _buyer(self, store: Store, given: Json) -> Json:
        """A customer that is there, or one with all that makes a new one."""
        if len(given["id"]) > ID_MOST:  # answered with 404, whatever that means [issue mailchimp-client-lib-codegen#128]
            raise not_found()
        if given["id"] in store.customers:
            # For a known customer only the id should be sent; a contact is never changed by an order.
            rest = {k: v for k, v in given.items() if k != "opt_in_status"}
            return self._write_customer(store, rest) if len(rest) > 1 else store.customers[given["id"]]
        if not {"email_address", "opt_in_status"} <= set(given):
            raise bad_request("A customer with the provided ID does not exist in the account for this list.")
        return self._write_customer(store, given)

    def _check_lines(self, store: Store, lines: list[Json], what: str) -> dict[str, Json]:
        if not lines and self.books.rules.order_needs_lines:
            raise invalid(("lines", f"{what} needs at least one line."))  # our words
        found: dict[str, Json] = {}
        for line in lines:
            self._check_line(store, line)
            if line["id"] in found:
                raise bad_request(f"{what} may not contain the same line item id more than once.")
            found[line["id"]] = {"discount": 0} | only(LINE, line)
        return found

    def _check_line(self, store: Store, line: Json) -> None:
        product = store.products.get(line["product_id"])
        if product is None:
            raise bad_request("A product with the provided ID does not exist in the account for this list.")
        if line["product_variant_id"] not in product["variants"]:
            raise bad_request("A product with the provided variant ID does not exist in the account for this list.")

    def _notify(self, store: Store, order: Json, before: Json) -> None:
        """Order notifications go out when a status is set, whatever the order's age, unless the store is_syncing [spec]."""
        if not self.books.rules.automations or store.fields["is_syncing"]:
            return
        for name in ("financial_status", "fulfillment_status"):
            if order[name] in NOTIFYING and order[name] != before.get(name):
                email = store.customers[order["customer"]]["email_address"]
                self.books.mail("order_notification", email, store.fields["list_id"], status=order[name], order_id=order["id"])

    def patch_order(self, ask: Ask, store_id: str, order_id: str) -> Json:
        store = self.get(store_id)
        order, body = pick(store.orders, order_id), check_body(PATCH_ORDER, ask.body)
        before = dict(order)
        self._patch(store, order, body, ORDER, LINE)
        self._notify(store, order, before)
        return self._show_order(store, order)

    def _patch(self, store: Store, record: Json, body: Json, schema: Schema, line_schema: Schema) -> None:
        """Lines that are named by their id are changed or added; the others stay. So does the customer, whose id PATCH does not
        take [spec]."""
        check_currency(body)
        lines = dict(record["lines"])
        for given in body.pop("lines", []):
            if "id" not in given:
                raise invalid(("lines", "Required fields were not provided: id"))
            merged = lines.get(given["id"], {}) | only(line_schema, given)
            self._check_line(store, check_body(line_schema, merged))
            lines[given["id"]] = merged
        customer = body.pop("customer", None)
        if customer and record["customer"] in store.customers:
            rest = {k: v for k, v in customer.items() if k not in {"id", "opt_in_status"}}
            self._write_customer(store, rest | {"id": record["customer"]})
        body.pop("id", None)
        record |= normal_times(only(schema, body)) | {"lines": lines}

    def delete_order(self, ask: Ask, store_id: str, order_id: str) -> None:
        store = self.get(store_id)
        order = pick(store.orders, order_id)
        store.orders_of[order["customer"]].discard(order_id)
        del store.orders[order_id]

    def _show_order(self, store: Store, order: Json) -> Json:
        return order | {
            "customer": self._show_buyer(store, order),
            "lines": [_show_line(store, line) for line in order["lines"].values()],
            "_links": [],
        }

    def _show_buyer(self, store: Store, record: Json) -> Json:
        customer = store.customers.get(record["customer"])
        return self._show_customer(store, customer) if customer else {"id": record["customer"]}

    def carts(self, ask: Ask, store_id: str) -> Json:
        store = self.get(store_id)
        return ask.page(list(store.carts.values()), lambda c: self._show_cart(store, c), "carts", store_id=store_id)

    def add_cart(self, ask: Ask, store_id: str) -> Json:
        store, body = self.get(store_id), check_body(CART, ask.body)
        if body["id"] in store.carts:
            raise exists("A cart")
        check_currency(body)
        lines = self._check_lines(store, body["lines"], "A cart")
        customer = self._buyer(store, body["customer"])
        made = {"campaign_id": "", "checkout_url": "", "tax_total": 0} | only(CART, body)
        made |= {"customer": customer["id"], "lines": lines, "created_at": self._now(), "updated_at": self._now()}
        store.carts[body["id"]] = made
        # An abandoned-cart mail needs the checkout_url [docs].
        if made["checkout_url"] and self.books.rules.automations and not store.fields["is_syncing"]:
            self.books.mail("abandoned_cart", customer["email_address"], store.fields["list_id"], cart_id=body["id"])
        return self._show_cart(store, made)

    def cart(self, ask: Ask, store_id: str, cart_id: str) -> Json:
        store = self.get(store_id)
        return self._show_cart(store, pick(store.carts, cart_id))

    def patch_cart(self, ask: Ask, store_id: str, cart_id: str) -> Json:
        store = self.get(store_id)
        cart, body = pick(store.carts, cart_id), check_body(PATCH_CART, ask.body)
        self._patch(store, cart, body, CART, CART_LINE)
        cart["updated_at"] = self._now()
        return self._show_cart(store, cart)

    def delete_cart(self, ask: Ask, store_id: str, cart_id: str) -> None:
        store = self.get(store_id)
        pick(store.carts, cart_id)
        del store.carts[cart_id]

    def _show_cart(self, store: Store, cart: Json) -> Json:
        shown = (_show_line(store, x) for x in cart["lines"].values())
        lines = [{k: v for k, v in x.items() if k not in {"discount", "image_url"}} for x in shown]
        return cart | {"customer": self._show_buyer(store, cart), "lines": lines, "_links": []}

    def _line_handlers(self, kind: str) -> tuple[Callable[..., Any], ...]:
        schema = LINE if kind == "orders" else CART_LINE

        def record(store_id: str, record_id: str) -> tuple[Store, Json]:
            store = self.get(store_id)
            return store, pick(getattr(store, kind), record_id)

        def show_all(ask: Ask, store_id: str, record_id: str) -> Json:
            store, found = record(store_id, record_id)
            return ask.page(list(found["lines"].values()), lambda x: _show_line(store, x), "lines", store_id=store_id)

        def add(ask: Ask, store_id: str, record_id: str) -> Json:
            (store, found), body = record(store_id, record_id), check_body(schema, ask.body)
            if body["id"] in found["lines"]:
                raise bad_request("An order may not contain the same line item id more than once.")
            self._check_line(store, body)
            found["lines"][body["id"]] = {"discount": 0} | only(schema, body)
            return _show_line(store, found["lines"][body["id"]])

        def show(ask: Ask, store_id: str, record_id: str, line_id: str) -> Json:
            store, found = record(store_id, record_id)
            return _show_line(store, pick(found["lines"], line_id))

        def change(ask: Ask, store_id: str, record_id: str, line_id: str) -> Json:
            store, found = record(store_id, record_id)
            merged = pick(found["lines"], line_id) | only(schema, check_body(optional(schema), ask.body)) | {"id": line_id}
            self._check_line(store, merged)
            found["lines"][line_id] = merged
            return _show_line(store, merged)

        def delete(ask: Ask, store_id: str, record_id: str, line_id: str) -> None:
            _, found = record(store_id, record_id)
            pick(found["lines"], line_id)
            del found["lines"][line_id]

        return show_all, add, show, change, delete


def _show_product(store: Store, product: Json) -> Json:
    variants = [v | {"_links": []} for v in product["variants"].values()]
    return product | {"variants": variants, "currency_code": store.fields["currency_code"], "_links": []}


def _show_line(store: Store, line: Json) -> Json:
    product: Json = store.products.get(line["product_id"], {})
    variant = product.get("variants", {}).get(line["product_variant_id"], {})
    titles = {"product_title": product.get("title", ""), "product_variant_title": variant.get("title", "")}
    return line | titles | {"image_url": product.get("image_url", ""), "_links": []}
