"""What decisions and rows become as writes: to the ESP, to the shops, and which of them a run has to plan."""

from __future__ import annotations

from typing import Any

import pytest

DECIDED = (
    "address | decision_id | rule | shop_status | esp_status | set_esp | set_shop | esp_write | shop_write"
    " | shop_event | esp_event | shop_root | esp_root | suppression"
)
EVENTS = "event_id | address | kind | latest_at | evidence"


def test_consent_for_the_esp(drawn: Any) -> None:
    """What is handed on is the shop's event, but where the no is the ESP's own. Only an opt-in carries its time."""
    drawn.given("profiles", 'address | email | fields\n new | New | {"first_name": "Anna"}\n back | Back | {}')
    drawn.given(
        "esp.contacts", "address | email | status\n old | OLD | subscribed\n carried | C | subscribed\n back | Back | deleted"
    )
    drawn.given("consent.events", f"{EVENTS}\n s | new | opted_in | 02-01 10:00 | -\n e | carried | opted_out | 02-02 | -")
    drawn.given(
        "decided",
        f"""{DECIDED}
        new     | d1 | 1  | subscribed   | absent       | subscribed   | keep         | create  | - | s | - | s | - | -
        old     | d2 | 6  | unsubscribed | subscribed   | unsubscribed | unsubscribed | status  | - | s | e | s | e | -
        carried | d3 | 5b | subscribed   | unsubscribed | unsubscribed | keep         | status  | - | s | e | s | e | -
        spam    | d4 | S  | subscribed   | subscribed   | unsubscribed | unsubscribed | status  | - | s | e | s | x | complained
        gone    | d5 | 15 | deleted      | subscribed   | archived     | keep         | archive | - | - | - | - | - | -
        quiet   | d6 | 5  | subscribed   | subscribed   | keep         | keep         | -       | - | s | e | s | e | -""",
    )
    drawn.gives(
        "writes_of_consent",
        """key     | kind    | caused_by | decision_id
           new     | create  | s         | d1
           old     | status  | s         | d2
           carried | status  | e         | d3
           spam    | status  | e         | d4
           gone    | archive | -         | d5""",
    )
    payload = "payload ->> 'email' as email, payload ->> 'status' as status, payload ->> 'consent_at' as consent_at"
    found = drawn.database.execute(f"select {payload} from ({drawn.model('writes_of_consent')}) where key in ('new', 'old')")
    assert sorted(found.fetchall()) == [
        ("New", "subscribed", "2026-02-01T10:00:00+00:00"),
        ("OLD", "unsubscribed", None),
    ]


@pytest.mark.parametrize("column", ["shop_event", "esp_event", "esp_root", "set_esp"])
def test_the_same_outcome_is_another_write_when_what_it_answers_is_new(drawn: Any, column: str) -> None:
    versions = set()
    for value in ("one", "two"):
        drawn.given("decided", f"address | esp_write | {column}\n a | status | {value}")
        versions.add(drawn.one(f"select version from ({drawn.model('writes_of_consent')})"))
    assert len(versions) == 2


def test_a_second_deletion_is_another_write(drawn: Any) -> None:
    versions = set()
    for decision in ("d1", "d2"):
        drawn.given("decided", f"address | decision_id | set_esp | esp_write\n a | {decision} | archived | archive")
        versions.add(drawn.one(f"select version from ({drawn.model('writes_of_consent')})"))
    assert len(versions) == 2


def test_what_goes_back_to_the_shops(drawn: Any) -> None:
    drawn.given(
        "shop.customers",
        """shop   | customer_id | address | consent | bounced_at | deleted_at
           shop   | 1           | out     | in      | -          | -
           second | 2           | out     | -       | -          | -
           second | 3           | out     | out     | -          | -
           shop   | 4           | out     | in      | -          | 02-01
           shop   | 5           | in      | -       | -          | -
           shop   | 6           | bounce  | in      | -          | -
           shop   | 7           | bounce  | in      | 02-01      | -
           shop   | 8           | own     | out     | -          | -
           second | 9           | own     | in      | -          | -
           shop   | 10          | both    | out     | -          | -
           second | 11          | both    | in      | -          | -""",
    )
    drawn.given(
        "consent.events",
        f'{EVENTS}\n e | out | opted_out | 02-02 10:00 | {{"reason": "hard"}}\n s | own | opted_out | 02-03 | -',
    )
    drawn.given(
        "decided",
        f"""{DECIDED}
        out    | d1 | 6a | subscribed   | unsubscribed | keep | unsubscribed | - | consent | s | e | s | e | -
        in     | d2 | 7b | not_subscribed | subscribed | keep | subscribed   | - | consent | - | e | - | e | -
        bounce | d3 | S  | subscribed   | not_subscribed | keep | bounced    | - | bounce  | s | e | s | - | bounced
        own    | d4 | 5b | unsubscribed | unsubscribed | keep | unsubscribed | - | consent | s | e | s | e | -
        both   | d5 | S  | unsubscribed | not_subscribed | keep | bounced    | - | bounce  | s | e | s | - | bounced
        quiet  | d6 | 5  | subscribed   | subscribed   | keep | keep         | - | -       | s | e | s | e | -""",
    )
    drawn.build("accounts", "records_to_tell")
    drawn.gives(
        "writes_to_shops",
        """target | key | kind    | address | caused_by | decision_id
           shop   | 1   | consent | out     | e         | d1
           second | 2   | consent | out     | e         | d1
           shop   | 5   | consent | in      | e         | d2
           shop   | 6   | bounce  | bounce  | e         | d3
           second | 9   | consent | own     | s         | d4
           shop   | 10  | bounce  | both    | e         | d5
           second | 11  | bounce  | both    | e         | d5
           second | 11  | consent | both    | s         | d5""",
    )
    payload = drawn.one(f"select cast(payload as varchar) from ({drawn.model('writes_to_shops')}) where key = '6'")
    assert payload == '{"customer_id":"6","bounced_at":"2026-02-02T10:00:00+00:00","reason":"hard"}'


def test_a_value_that_became_empty_stays_empty(drawn: Any) -> None:
    """2.9: the account's own opt-out stands, there is nothing to tell. Who never ticked is told."""
    drawn.given("shop.customers", "customer_id | address | consent\n 1 | a | -\n 2 | b | -")
    drawn.given(
        "standing_events",
        "event_id | address | source | record | kind | is_inferred\n e | a | shop | customer:1 | opted_out | yes",
    )
    drawn.gives("accounts", "customer_id | holds\n 1 | out\n 2 | -")
    drawn.build("accounts")
    drawn.gives("records_to_tell", "key | differs\n 1 | no\n 2 | yes", where="set_shop = 'unsubscribed'")


def test_a_guest_is_told_in_the_newest_order_where_the_connection_asks_for_it(drawn: Any) -> None:
    drawn.given("shop.customers", "customer_id | address\n 1 | account")
    drawn.given(
        "shop.orders",
        """order_id | address | ordered_at | consent | state
           7        | guest   | 02-01      | in      | paid
           8        | guest   | 02-02      | in      | paid
           9        | guest   | 02-03      | in      | trashed
           10       | account | 02-02      | in      | paid""",
    )
    drawn.build("order_owners", "accounts")
    drawn.gives("records_to_tell", "key | set_shop", where="order_id is not null")
    drawn.choose_guests()
    drawn.gives("records_to_tell", "key | set_shop | differs\n order:8 | unsubscribed | yes", where="order_id is not null")


def test_profiles_of_the_chosen_groups_with_their_tags(drawn: Any) -> None:
    """7.4: a special tag per chosen group, an origin tag per shop platform, with the prefix."""
    drawn.choose(groups=("subscriber", "buyer"), tag_prefix="x-")
    drawn.given(
        "people",
        """address | email | shops       | first_name | orders_count | total_spent | currency | first_ordered_at
           both    | Both  | second,shop | Anna       | 2            | 10.5        | EUR      | 02-01 23:59
           buyer   | Buyer | shop        | -          | 1            | -           | -        | -
           contact | C     | shop        | -          | 0            | -           | -        | -""",
    )
    drawn.given("memberships_decided", "address | groups\n both | subscriber,buyer\n buyer | buyer\n contact | contact")
    drawn.gives(
        "profiles",
        """address | tags
           both    | x-Buyer,x-Shopify,x-Subscriber,x-WooCommerce
           buyer   | x-Buyer,x-WooCommerce""",
    )
    drawn.build("profiles")
    fields = "fields ->> 'first_name', fields ->> 'total_spent', fields ->> 'first_ordered_on'"
    assert drawn.one(f"select {fields} from profiles where address = 'both'") == ("Anna", "10.5000", "2026-02-01")


def test_groups_follow_what_the_shops_are_told(drawn: Any) -> None:
    drawn.given(
        "memberships",
        """address  | groups
           quiet    | subscriber,buyer
           left     | subscriber
           shopper  | subscriber,buyer
           joined   | contact
           customer | buyer
           untold   | subscriber
           bounced  | subscriber""",
    )
    drawn.given(
        "decided",
        """address  | channel | set_shop     | shop_write
           quiet    | email   | keep         | -
           left     | email   | unsubscribed | consent
           shopper  | email   | unsubscribed | consent
           joined   | email   | subscribed   | consent
           customer | email   | subscribed   | consent
           untold   | email   | unsubscribed | -
           bounced  | email   | bounced      | bounce
           quiet    | sms     | unsubscribed | consent""",
    )
    drawn.gives(
        "memberships_decided",
        """address  | groups
           quiet    | subscriber,buyer
           left     | contact
           shopper  | buyer
           joined   | subscriber
           customer | subscriber,buyer
           untold   | subscriber
           bounced  | subscriber""",
    )


def test_whom_profiles_and_orders_may_be_sent_for(drawn: Any) -> None:
    drawn.given(
        "esp.contacts",
        """address  | status
           there    | subscribed
           out      | unsubscribed
           archived | deleted
           leaving  | subscribed
           restored | deleted""",
    )
    drawn.given(
        "decided",
        """address  | esp_write
           there    | -
           out      | -
           archived | -
           leaving  | archive
           restored | status
           new      | create
           stranger | -
           refused  | create""",
    )
    drawn.given("writes_of_consent", "target | kind | key | address | version\n esp | create | refused | refused | v")
    drawn.given(
        "load.held", f"target | kind | key | payload_hash | state\n esp | create | refused | {drawn.md5('v')} | rejected"
    )
    drawn.gives("reachable", "address | is_new\n there | no\n out | no\n restored | no\n new | yes")


def test_profiles_of_who_is_created_go_with_the_creation(drawn: Any) -> None:
    drawn.given("profiles", "address | email | fields\n old | old | {}\n new | new | {}\n stranger | s | {}")
    drawn.given("reachable", "address | is_new\n old | no\n new | yes")
    drawn.gives("writes_of_profiles", "key\n old")


def test_tags(drawn: Any) -> None:
    """Only ours are touched: missing ones are added, those of a group left are taken away."""
    drawn.given(
        "profiles",
        """address | email | tags
           same    | same  | Buyer,WooCommerce
           left    | left  | Contact,WooCommerce
           new     | new   | Subscriber""",
    )
    drawn.given("reachable", "address | is_new\n same | no\n left | no\n new | yes")
    drawn.given(
        "esp.contacts",
        """address | email | status     | tags
           same    | same  | subscribed | ["Buyer", "VIP", "WooCommerce"]
           left    | left  | subscribed | ["Subscriber", "VIP", "WooCommerce"]""",
    )
    found = drawn.database.execute(
        f"select key, payload -> 'add', payload -> 'remove' from ({drawn.model('writes_of_tags')}) order by key"
    ).fetchall()
    assert found == [("left", '["Contact"]', '["Subscriber"]'), ("new", '["Subscriber"]', "[]")]


def test_tags_of_who_has_no_profile_any_more(drawn: Any) -> None:
    """7.4, 7.5: leaving a group takes its tag away, also in the same breath as the account; taking a group out of the choice
    takes nothing away. Whom we never tagged, we do not untag."""
    drawn.choose(groups=("buyer",), tag_prefix="x-")
    drawn.given("memberships_decided", "address | groups\n unchosen | subscriber\n unticked | contact")
    drawn.given("people", "address | email | shops\n unchosen | u | shop\n unticked | t | shop")
    everybody = ("gone", "unchosen", "unticked", "stranger")
    tags = '["VIP", "x-Subscriber", "x-WooCommerce"]'
    drawn.given("reachable", "\n".join(["address | is_new", *(f" {who} | no" for who in everybody)]))
    drawn.given("esp.contacts", "\n".join(["address | email | tags", *(f" {who} | {who} | {tags}" for who in everybody)]))
    held = [f" esp | tags | {who} | acknowledged | yes" for who in everybody if who != "stranger"]
    drawn.given("load.held", "\n".join(["target | kind | key | state | was_acknowledged", *held]))
    found = drawn.database.execute(
        f"select key, payload -> 'add', payload -> 'remove' from ({drawn.model('writes_of_tags')}) order by key"
    ).fetchall()
    assert found == [("gone", "[]", '["x-Subscriber","x-WooCommerce"]'), ("unticked", "[]", '["x-Subscriber"]')]


def bought(drawn: Any, products: str = "7 | 70 | 70 | Te | 5") -> None:
    drawn.given("reachable", "address\n a")
    drawn.given("people", "address | email | first_name\n a | a | Anna")
    drawn.given(
        "shop.orders",
        "order_id | address | currency | total | state | ordered_at | updated_at\n 1 | a | SEK | 12.5 | paid | 02-01 | 02-01",
    )
    drawn.given(
        "shop.order_lines",
        """shop | order_id | line_id | product_id | variant_id | quantity | price
           shop | 1        | 1       | 70         | 70         | 2        | 5
           shop | 1        | 2       | 71         | 71         | 1        | 2.5""",
    )
    drawn.given(
        "shop.products",
        """shop   | product_id | variant_id | title | variant_title | price
           shop   | 70         | 70         | Te    | Te            | 5
           second | 71         | 71         | Kaffe | Kaffe         | 5""",
    )
    drawn.build("orders_to_send", "customers_to_send")


def test_products_that_lines_point_to_come_first(drawn: Any) -> None:
    """A line whose product is gone, or another shop's, points to a stand-in."""
    bought(drawn)
    drawn.gives("writes_of_products", "key\n store-1/70\n store-1/no-longer-sold")


def test_an_order_is_one_however_often_it_changes(drawn: Any) -> None:
    bought(drawn)
    drawn.gives("writes_of_orders", "key | kind | address\n store-1/1 | order | a")
    drawn.gives("writes_of_customers", f"key | kind\n store-1/{drawn.md5('a')} | customer")
    drawn.database.execute(
        """
        create or replace temp table orders_taken as
        select 'w' as write_id, 'a' as address, 'shop' as shop, 'store-1' as store_id, '1' as order_id
        """
    )
    names = "payload ->> 'currency', payload ->> 'total', payload ->> '$.lines[*].product_id'"
    made = drawn.one(f"select {names} from ({drawn.model('payloads_of_orders')})")
    assert made == ("SEK", "12.5000", ["70", "no-longer-sold"])


def test_an_order_of_a_customer_whom_the_store_refused_is_not_sent(drawn: Any) -> None:
    bought(drawn)
    version = drawn.one("select version from writes_of_customers")
    key = f"store-1/{drawn.md5('a')}"
    drawn.given(
        "load.held", f"target | kind | key | payload_hash | state\n esp | customer | {key} | {drawn.md5(version)} | rejected"
    )
    drawn.build("customers_to_send")
    drawn.gives("writes_of_orders", "key")


@pytest.mark.parametrize(
    ("state", "was_sent", "goes"),
    [("paid", "no", True), ("failed", "no", False), ("cancelled_unpaid", "yes", True)],
)
def test_an_order_that_the_esp_has_goes_on_being_updated(drawn: Any, state: str, was_sent: str, goes: bool) -> None:
    drawn.given("reachable", "address\n a")
    drawn.given("shop.orders", f"order_id | address | state\n 1 | a | {state}")
    drawn.given("load.held", f"target | kind | key | was_acknowledged\n esp | order | store-1/1 | {was_sent}")
    drawn.gives("orders_to_send", "order_id" + ("\n 1" if goes else ""))


def test_the_start_date_limits_which_orders_go(drawn: Any) -> None:
    drawn.choose(customers_since=drawn.instant("02-15").date())
    drawn.given("reachable", "address\n a")
    drawn.given("shop.orders", "order_id | address | ordered_at\n 1 | a | 02-14 23:59\n 2 | a | 02-15")
    drawn.gives("orders_to_send", "order_id\n 2")


def test_only_what_is_new_is_planned(drawn: Any) -> None:
    """Unchanged and refused writes are not repeated, a changed one is, and what is under way is waited for."""
    drawn.given(
        "writes_of_profiles",
        """target | kind    | key      | version | payload
           esp    | profile | same     | v1      | {}
           esp    | profile | changed  | v2      | {}
           esp    | profile | new      | v1      | {}
           esp    | profile | refused  | v1      | {}
           esp    | profile | underway | v1      | {}
           shop   | consent | 1        | v1      | {}""",
    )
    hashed = drawn.md5("v1")
    drawn.given(
        "load.held",
        f"""target | kind    | key     | payload_hash | state        | was_acknowledged
            esp    | profile | same    | {hashed}     | acknowledged | yes
            esp    | profile | changed | {hashed}     | acknowledged | yes
            esp    | profile | refused | {hashed}     | rejected     | no
            esp    | tags    | new     | {hashed}     | acknowledged | yes""",
    )
    drawn.given("load.writes", "target | kind | key | state\n esp | profile | underway | sent\n esp | profile | new | skipped")
    drawn.database.execute("create or replace temp view wanted as from writes_of_profiles")
    drawn.gives(
        "writes_to_plan",
        """target | key     | flow    | state   | is_known
           esp    | changed | forward | planned | yes
           esp    | new     | forward | planned | no
           shop   | 1       | reverse | planned | no""",
    )
