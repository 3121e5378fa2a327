"""Promo rules and codes of a store, and the account's connected sites."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.mailchimp.records import (
    PROMO_CODE,
    PROMO_RULE,
    SITE,
    Store,
    bare,
    check_id,
    check_promo,
    exists,
    normal_times,
    pick,
)
from sandbox.mailchimp.wire import Ask, Json, Routes, bad_request, check_body, only, optional


class Promos:
    """`get` finds a store or says 404; `now` is the time as the platform writes it."""

    def __init__(self, get: Callable[[str], Store], stores: dict[str, Store], now: Callable[[], str]) -> None:
        self.get, self.stores, self._now = get, stores, now
        self.sites: dict[str, Json] = {}

    def routes(self, routes: Routes) -> None:
        rules = "/ecommerce/stores/{}/promo-rules"
        routes.add(rules, get=self.promo_rules, post=self.add_promo_rule)
        one = f"{rules}/{{}}"
        routes.add(one, get=self.promo_rule, patch=self.patch_promo_rule, delete=self.delete_promo_rule)
        routes.add(f"{one}/promo-codes", get=self.promo_codes, post=self.add_promo_code)
        one += "/promo-codes/{}"
        routes.add(one, get=self.promo_code, patch=self.patch_promo_code, delete=self.delete_promo_code)
        routes.add("/connected-sites", get=self.list_sites, post=self.add_site)
        routes.add("/connected-sites/{}", get=self.site, delete=self.delete_site)

    # Promo rules and codes

    def promo_rules(self, ask: Ask, store_id: str) -> Json:
        return ask.page(list(self.get(store_id).promo_rules.values()), bare, "promo_rules", store_id=store_id)

    def add_promo_rule(self, ask: Ask, store_id: str) -> Json:
        store, body = self.get(store_id), check_body(PROMO_RULE, ask.body)
        if body["id"] in store.promo_rules:
            raise exists("A promo rule")
        empty = {"title": "", "starts_at": "", "ends_at": "", "enabled": True}
        made = empty | normal_times(only(PROMO_RULE, body))
        check_promo(made)
        store.promo_rules[body["id"]] = made
        store.promo_codes[body["id"]] = {}
        return bare(made)

    def promo_rule(self, ask: Ask, store_id: str, rule_id: str) -> Json:
        return bare(pick(self.get(store_id).promo_rules, rule_id))

    def patch_promo_rule(self, ask: Ask, store_id: str, rule_id: str) -> Json:
        store = self.get(store_id)
        rule, body = pick(store.promo_rules, rule_id), check_body(optional(PROMO_RULE), ask.body)
        merged = rule | normal_times(only(PROMO_RULE, body)) | {"id": rule_id}
        check_promo(merged)
        store.promo_rules[rule_id] = merged
        return bare(merged)

    def delete_promo_rule(self, ask: Ask, store_id: str, rule_id: str) -> None:
        store = self.get(store_id)
        pick(store.promo_rules, rule_id)
        del store.promo_rules[rule_id], store.promo_codes[rule_id]

    def _codes(self, store_id: str, rule_id: str) -> dict[str, Json]:
        store = self.get(store_id)
        pick(store.promo_rules, rule_id)
        return store.promo_codes[rule_id]

    def promo_codes(self, ask: Ask, store_id: str, rule_id: str) -> Json:
        found = list(self._codes(store_id, rule_id).values())
        return ask.page(found, bare, "promo_codes", store_id=store_id)

    def add_promo_code(self, ask: Ask, store_id: str, rule_id: str) -> Json:
        codes, body = self._codes(store_id, rule_id), check_body(PROMO_CODE, ask.body)
        check_id(body)
        if body["id"] in codes:
            raise exists("A promo code")
        codes[body["id"]] = {"usage_count": 0, "enabled": True} | normal_times(only(PROMO_CODE, body))
        return bare(codes[body["id"]])

    def promo_code(self, ask: Ask, store_id: str, rule_id: str, code_id: str) -> Json:
        return bare(pick(self._codes(store_id, rule_id), code_id))

    def patch_promo_code(self, ask: Ask, store_id: str, rule_id: str, code_id: str) -> Json:
        code, body = pick(self._codes(store_id, rule_id), code_id), check_body(optional(PROMO_CODE), ask.body)
        code |= normal_times(only(PROMO_CODE, body)) | {"id": code_id}
        return bare(code)

    def delete_promo_code(self, ask: Ask, store_id: str, rule_id: str, code_id: str) -> None:
        codes = self._codes(store_id, rule_id)
        pick(codes, code_id)
        del codes[code_id]

    # Connected sites

    def list_sites(self, ask: Ask) -> Json:
        return ask.page(list(self.sites.values()), bare, "sites")

    def add_site(self, ask: Ask) -> Json:
        body = check_body(SITE, ask.body)
        if body["foreign_id"] in self.sites:
            raise bad_request("A connected site with the provided foreign ID already exists in the account.")  # our words
        script = {"url": f"https://site-scripts.example/{body['foreign_id']}.js", "fragment": "<script></script>"}
        store = next((s for s in self.stores.values() if s.fields["domain"] == body["domain"]), None)
        self.sites[body["foreign_id"]] = only(SITE, body) | {
            "store_id": store.fields["id"] if store else "",
            "platform": store.fields["platform"] if store else "",
            "site_script": script,
            "created_at": self._now(),
            "updated_at": self._now(),
        }
        return bare(self.sites[body["foreign_id"]])

    def site(self, ask: Ask, site_id: str) -> Json:
        return bare(pick(self.sites, site_id))

    def delete_site(self, ask: Ask, site_id: str) -> None:
        pick(self.sites, site_id)
        del self.sites[site_id]
