"""order_owners, buyers, people and memberships: who is known, what they bought, which groups they are in."""

from __future__ import annotations

from typing import Any

import pytest

ACCOUNTS = """
    customer_id | address         | email           | first_name | updated_at | created_at | deleted_at
    1           | anna@x.example  | Anna@x.example  | Anna       | 02-06      | 01-01      | -
    2           | anna@x.example  | ANNA@x.example  | Änne       | 02-05      | 01-02      | -
    3           | gone@x.example  | gone@x.example  | Gone       | 02-01      | 01-01      | 02-02
    4           | -               | -               | Nobody     | 02-01      | 01-01      | -"""
"""Of two accounts at one address the newer one tells who they are: what we write moves the time of the last change."""
ORDERS = (
    "shop | order_id | customer_id | address | email | first_name | state | is_test | currency | total | refunded_total"
    " | ordered_at"
)


@pytest.fixture
def bought(drawn: Any) -> Any:
    def build(orders: str) -> Any:
        drawn.given("shop.customers", ACCOUNTS)
        drawn.given("shop.orders", f"{ORDERS}\n{orders}")
        drawn.build("order_owners", "buyers", "people")
        return drawn

    return build


def test_an_order_belongs_to_the_account_while_there_is_one(bought: Any) -> None:
    bought("""
        shop | 10 | 1  | bill@x.example | - | - | paid | no | EUR | 5 | 0 | 02-01
        shop | 11 | 3  | bill@x.example | - | - | paid | no | EUR | 5 | 0 | 02-01
        shop | 12 | 99 | bill@x.example | - | - | paid | no | EUR | 5 | 0 | 02-01
        shop | 13 | -  | bill@x.example | - | - | paid | no | EUR | 5 | 0 | 02-01
        shop | 14 | -  | -              | - | - | paid | no | EUR | 5 | 0 | 02-01""").gives(
        "order_owners",
        """order_id | address        | is_guest
           10       | anna@x.example | no
           11       | bill@x.example | yes
           12       | bill@x.example | yes
           13       | bill@x.example | yes
           14       | -              | yes""",
    )


@pytest.mark.parametrize(
    ("state", "is_test", "is_purchase"),
    [
        ("paid", "no", "yes"),
        ("pending", "no", "yes"),
        ("partially_refunded", "no", "yes"),
        ("refunded", "no", "yes"),
        ("cancelled", "no", "yes"),
        ("cancelled_unpaid", "no", "no"),
        ("failed", "no", "no"),
        ("draft", "no", "no"),
        ("trashed", "no", "no"),
        ("paid", "yes", "no"),
    ],
)
def test_what_makes_a_buyer(bought: Any, state: str, is_test: str, is_purchase: str) -> None:
    """7.1: not a test, draft, failed or cancelled-unpaid one; refunded ones count."""
    bought(f"shop | 10 | - | g@x.example | g@x.example | G | {state} | {is_test} | EUR | 5 | 0 | 02-01").gives(
        "order_owners", f"is_purchase\n {is_purchase}"
    )


def test_currencies_are_never_added(bought: Any) -> None:
    bought("""
        shop   | 10 | - | g@x.example | - | - | paid               | no | EUR | 10.50 | 0    | 02-01
        second | 11 | - | g@x.example | - | - | partially_refunded | no | EUR | 20.00 | 5.25 | 02-03
        shop   | 12 | - | g@x.example | - | - | paid               | no | SEK | 900   | 0    | 02-02
        shop   | 13 | - | g@x.example | - | - | cancelled          | no | EUR | 7     | 0    | 02-04
        shop   | 14 | - | g@x.example | - | - | failed             | no | EUR | 7     | 0    | 02-05""").gives(
        "buyers",
        """address     | currency | orders_count | total_spent | first_ordered_at | last_ordered_at | has_bought
           g@x.example | EUR      | 4            | 25.2500     | 02-01            | 02-04           | yes""",
    )


def test_a_tie_of_currencies_goes_to_one_of_them_and_never_to_their_sum(bought: Any) -> None:
    bought("""
        shop | 10 | - | g@x.example | - | - | paid | no | SEK | 900 | 0 | 02-01
        shop | 11 | - | g@x.example | - | - | paid | no | EUR | 10  | 0 | 02-02""").gives(
        "buyers", "currency | total_spent\n EUR | 10.0000"
    )


def test_who_never_bought_anything_has_no_money(bought: Any) -> None:
    bought("shop | 10 | - | g@x.example | - | - | failed | no | EUR | 5 | 0 | 02-01").gives(
        "buyers", "has_bought | orders_count | total_spent | currency | first_ordered_at\n no | 0 | - | - | -"
    )


def test_everybody_a_shop_knows_once(bought: Any) -> None:
    """Accounts first, the one changed last; else the newest order. Tests, drafts and the trash know nobody."""
    bought("""
        shop   | 10 | 1 | other@x.example | other@x.example | Other | paid    | no  | EUR | 5 | 0 | 02-01
        second | 11 | - | guest@x.example | Guest@x.example | Old   | paid    | no  | EUR | 5 | 0 | 02-01
        shop   | 12 | - | guest@x.example | guest@X.example | New   | failed  | no  | EUR | 5 | 0 | 02-02
        shop   | 13 | - | test@x.example  | test@x.example  | Test  | paid    | yes | EUR | 5 | 0 | 02-02
        shop   | 14 | - | draft@x.example | draft@x.example | Draft | draft   | no  | EUR | 5 | 0 | 02-02
        shop   | 15 | - | trash@x.example | trash@x.example | Trash | trashed | no  | EUR | 5 | 0 | 02-02
        shop   | 16 | - | -               | -               | -     | paid    | no  | EUR | 5 | 0 | 02-02
        shop   | 17 | 3 | gone@x.example  | gone@x.example  | Gone  | paid    | no  | EUR | 5 | 0 | 02-02""").gives(
        "people",
        """address         | email           | first_name | has_account | shops       | orders_count | has_bought
           anna@x.example  | ANNA@x.example  | Änne       | yes         | shop        | 1            | yes
           guest@x.example | guest@X.example | New        | no          | second,shop | 1            | yes
           gone@x.example  | gone@x.example  | Gone       | no          | shop        | 1            | yes""",
    )


def test_the_shops_that_know_somebody_by_an_account_or_by_an_order(drawn: Any) -> None:
    """A test order knows nobody."""
    drawn.given(
        "shop.customers",
        "shop | customer_id | address\n second | 1 | both\n shop | 2 | both\n shop | 3 | buyer\n second | 4 | tester",
    )
    drawn.given(
        "shop.orders",
        "shop | order_id | address | is_test\n second | 7 | buyer | no\n shop | 8 | buyer | no\n shop | 9 | tester | yes",
    )
    drawn.build("order_owners", "buyers", "people")
    drawn.gives("people", "address | shops\n both | second,shop\n buyer | second,shop\n tester | second")


@pytest.mark.parametrize(
    ("status", "has_bought", "groups"),
    [
        ("subscribed", "no", "subscriber"),
        ("subscribed", "yes", "subscriber,buyer"),
        ("unsubscribed", "yes", "buyer"),
        ("unsubscribed", "no", "contact"),
        ("pending", "no", "contact"),
        ("pending", "yes", "buyer"),
        (None, "no", "contact"),
        (None, "yes", "buyer"),
    ],
)
def test_groups(drawn: Any, status: str | None, has_bought: str, groups: str) -> None:
    """7.1. What the ESP says makes nobody a subscriber."""
    drawn.given("people", f"address | has_bought\n a | {has_bought}")
    shop = f"\n a | shop | {status}" if status else ""
    drawn.given("side_status", f"address | side | status{shop}\n a | esp | subscribed")
    drawn.gives("memberships", f"address | groups\n a | {groups}")


@pytest.mark.parametrize(("suppression", "groups"), [("complained", "contact"), ("bounced", "subscriber")])
def test_who_reported_us_as_spam_is_no_subscriber(drawn: Any, suppression: str, groups: str) -> None:
    """Also after a newer tick in an order: the shops are told that they left (5.2). A bounce is nothing that they said."""
    drawn.given("people", "address | has_bought\n a | no")
    drawn.given("side_status", "address | side | status\n a | shop | subscribed")
    drawn.given("suppressions", f"address | suppression\n a | {suppression}")
    drawn.gives("memberships", f"address | groups\n a | {groups}")


@pytest.mark.parametrize(
    ("groups", "chosen", "is_added", "orders_go"),
    [
        # behaviour.md 7.2, row by row
        ("subscriber", ("subscriber",), True, False),
        ("subscriber", ("buyer", "contact"), False, False),
        ("subscriber,buyer", ("subscriber",), True, False),
        ("subscriber,buyer", ("buyer",), True, True),
        ("subscriber,buyer", ("contact",), False, False),
        ("buyer", ("buyer",), True, True),
        ("buyer", ("subscriber", "contact"), False, False),
        ("contact", ("contact",), True, False),
        ("contact", ("subscriber", "buyer"), False, False),
    ],
)
def test_the_choice_of_groups(drawn: Any, groups: str, chosen: tuple[str, ...], is_added: bool, orders_go: bool) -> None:
    drawn.choose(groups=chosen)
    drawn.given("people", "address | email | shops\n a | a | shop")
    drawn.given("memberships", f"address | groups\n a | {groups}")
    if "subscriber" in groups:
        drawn.given("side_status", "address | side | status\n a | shop | subscribed")
    drawn.build("facts", "decisions", "decided", "memberships_decided", "profiles", "writes_of_consent", "reachable")
    drawn.gives("writes_of_consent", "kind | key" + ("\n create | a" if is_added else ""))
    drawn.gives("profiles", "address" + ("\n a" if is_added else ""))
    bought = "buyer" in groups
    drawn.given("shop.orders", f"order_id | address | state\n 7 | a | {'paid' if bought else 'failed'}")
    drawn.gives("orders_to_send", "order_id" + ("\n 7" if orders_go else ""))


def test_an_order_for_a_stranger_is_not_sent(drawn: Any) -> None:
    """It would make them a contact there."""
    drawn.given("shop.orders", "order_id | address\n 7 | stranger")
    drawn.gives("orders_to_send", "order_id")
