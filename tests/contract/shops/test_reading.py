"""Contract of every shop: nothing is missed whatever happens meanwhile, and `complete` is a proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from bench import IMPATIENT, Bench, Order, cursor_of, records

from sandbox.server import Fault
from tasks.connector import Page, TryLater

Listing = Callable[[Bench], list[Page]]


def foreseen(bench: Bench) -> list[Page]:
    bench.shop.foresee(["customers", "orders"])
    return list(bench.shop.customers())


def unforeseen(bench: Bench) -> list[Page]:
    return list(bench.shop.customers())


def ids(bench: Bench) -> list[Page]:
    return list(bench.shop.customer_ids())


def foreseen_ids(bench: Bench) -> list[Page]:
    bench.shop.foresee(["customer_ids"])
    return list(bench.shop.customer_ids())


def listed(bench: Bench, pages: Sequence[Page]) -> list[str]:
    """The ids in pages of accounts or of ids."""
    found = records(pages)
    return (
        [r["customer_id"] for r in found]
        if found and "customer_id" in found[0]
        else list(bench.customers(pages)["customer_id"])
    )


def read_next(bench: Bench, pages: Sequence[Page]) -> list[Page]:
    """What the next run reads: what changed, or everything where the platform cannot tell."""
    cursor = cursor_of(pages) if bench.shop.capabilities.customers_changed_since else None
    return list(bench.shop.customers(cursor))


# Customers


@pytest.mark.parametrize("listing", [foreseen, unforeseen, ids, foreseen_ids])
def test_everybody_is_listed_and_the_listing_ends_complete(bench: Bench, listing: Listing) -> None:
    everybody = bench.crowd()
    pages = listing(bench)
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert set(everybody) <= set(listed(bench, pages))
    assert len(listed(bench, pages)) == len(set(listed(bench, pages)))
    assert all(page.asked_at <= page.answered_at for page in pages)


@pytest.mark.parametrize("listing", [foreseen, unforeseen])
def test_an_empty_shop_is_complete(bench: Bench, listing: Listing) -> None:
    pages = listing(bench)
    assert (records(pages), pages[-1].complete) == ([], True)
    assert records(bench.shop.orders()) == []


@pytest.mark.parametrize("listing", [foreseen, unforeseen, ids, foreseen_ids])
def test_whoever_is_there_all_the_time_is_listed_whoever_else_leaves(bench: Bench, listing: Listing) -> None:
    """Somebody of the first page is deleted: those behind move up in a listing by numbers."""
    everybody = bench.crowd()
    for at, pages in bench.meanwhile(lambda _: bench.delete(everybody.pop(0)), lambda: listing(bench)):
        assert pages[-1].complete
        assert set(everybody) <= set(listed(bench, pages)), f"after call {at}"


def test_a_shop_that_loses_people_all_the_time_is_complete_only_with_everybody(bench: Bench) -> None:
    everybody = bench.crowd()
    leaving = iter(list(everybody))

    def leave(*_: object) -> None:
        gone = next(leaving)
        everybody.remove(gone)
        bench.delete(gone)

    bench.running.door.after = leave
    pages = unforeseen(bench)
    bench.running.door.after = None
    assert not any(page.complete for page in pages) or set(everybody) <= set(listed(bench, pages))


@pytest.mark.parametrize("listing", [foreseen, unforeseen])
def test_who_comes_or_changes_during_a_listing_is_in_it_or_in_the_next(bench: Bench, listing: Listing) -> None:
    everybody = bench.crowd()

    def act(at: int) -> None:
        bench.wait(1)
        everybody.append(bench.sign_up(f"new{at}@example.com"))
        bench.rename(everybody[at], f"Renamed {at}")
        bench.say(everybody[at], "out" if at % 2 else "in")

    for at, pages in bench.meanwhile(act, lambda: listing(bench)):
        assert pages[-1].complete
        frame = bench.customers([*pages, *read_next(bench, pages)]).unique("customer_id", keep="last")
        assert set(everybody) <= set(frame["customer_id"]), f"after call {at}"
        row = frame.filter(customer_id=everybody[at]).row(0, named=True)
        assert (row["first_name"], row["consent"]) == (f"Renamed {at}", "out" if at % 2 else "in"), f"after call {at}"


def test_nothing_is_lost_when_people_change_while_changes_are_read(bench: Bench) -> None:
    before = cursor_of(unforeseen(bench))
    everybody = bench.crowd()

    def act(at: int) -> None:
        bench.wait(1)
        bench.rename(everybody[at], f"Renamed {at}")
        bench.delete(everybody.pop(-1))

    for at, pages in bench.meanwhile(act, lambda: list(bench.shop.customers(before))):
        frame = bench.customers([*pages, *read_next(bench, pages)]).unique("customer_id", keep="last")
        assert set(everybody) <= set(frame["customer_id"]), f"after call {at}"
        assert frame.filter(customer_id=everybody[at])["first_name"].item() == f"Renamed {at}"


def test_reading_what_changed_brings_every_kind_of_change(bench: Bench) -> None:
    """In the very second of the last listing, too."""
    first, second, third, fourth = (bench.sign_up(f"p{number}@example.com", "in") for number in range(4))
    pages = unforeseen(bench)
    bench.rename(first, "Renamed")
    bench.say(second, "out")
    bench.change_email(third, "moved@example.com")
    fifth = bench.sign_up("new@example.com")
    found = (
        bench.customers(read_next(bench, pages))
        .unique("customer_id", keep="last")
        .select("customer_id", "first_name", "consent", "address")
    )
    told = {row[0]: row[1:] for row in found.iter_rows()}
    assert told[first][0] == "Renamed"
    assert told[second][1] == "out"
    assert told[third][2] == "moved@example.com"
    assert fifth in told
    if bench.shop.capabilities.customers_changed_since:
        bench.wait(600)
        bench.rename(fourth, "Later")
        again = bench.customers(bench.shop.customers(cursor_of(pages)))
        assert fourth in set(again["customer_id"])


def test_reading_what_changed_costs_less_where_the_platform_says_so(bench: Bench) -> None:
    everybody, orders = bench.crowd(), bench.sales()
    bench.wait(600)
    late = bench.sign_up("late@example.com")
    pages, order_pages = unforeseen(bench), list(bench.shop.orders())
    bench.wait(600)
    bench.rename(late, "Renamed")
    bench.refund(orders[0], "1.00")
    if bench.shop.capabilities.customers_changed_since:
        assert late in listed(bench, read_next(bench, pages))
        assert len(listed(bench, read_next(bench, pages))) < len(everybody) / 2
    if bench.shop.capabilities.orders_changed_since:
        found = bench.orders(bench.shop.orders(cursor_of(order_pages)))
        assert orders[0] in set(found["order_id"])
        assert found.height < len(orders) / 2


def test_an_export_takes_no_more_calls_for_many_than_for_few(bench: Bench) -> None:
    if not bench.shop.capabilities.bulk_export:
        return
    calls, counts = bench.running.door.calls, []
    for fill in (lambda: None, bench.crowd):
        fill()
        calls.clear()
        foreseen(bench)
        counts.append(len(calls))
    assert counts[1] <= counts[0] + 2, "its result is fetched, and perhaps waited for"


def test_cursors_sort_as_texts_which_is_how_they_are_kept(bench: Bench) -> None:
    someone = bench.crowd()[0]
    order = bench.sales()[0]
    for entity in (bench.shop.customers, bench.shop.orders):
        first = [page.cursor or "" for page in entity()]
        bench.wait(600)
        bench.rename(someone, "Renamed")
        bench.refund(order, "1.00")
        second = [page.cursor or "" for page in entity(max(first) or None)]
        assert (first, second) == (sorted(first), sorted(second))
        assert max(first) <= max(second)


# By id


def test_asked_by_id_whoever_exists_comes_back_and_nobody_else(bench: Bench) -> None:
    everybody = bench.crowd()
    gone = everybody.pop(7)
    bench.delete(gone)
    pages = list(bench.shop.customers_by_id([*everybody, gone]))
    assert sorted(listed(bench, pages)) == sorted(everybody)
    assert gone not in listed(bench, ids(bench))
    assert gone not in listed(bench, unforeseen(bench))
    assert records(bench.shop.customers_by_id([gone])) == []


def test_who_changed_their_address_keeps_their_account(bench: Bench) -> None:
    someone = bench.sign_up("Old@Example.com", "in")
    bench.change_email(someone, "New@Example.com")
    row = bench.customer(someone)
    assert (row["customer_id"], row["email"].lower(), row["address"]) == (someone, "new@example.com", "new@example.com")


def test_products_that_are_gone_do_not_come_back(bench: Bench) -> None:
    kept, gone = bench.product("Te Grön & Honung", "12.50"), bench.product("Mugg", "8.00")
    order = bench.order(Order(gone, email="guest@example.com"))
    bench.drop_product(gone)
    products = bench.shop.to_products(records(bench.shop.products_by_id([kept, gone])))
    assert products.select("product_id", "title").rows() == [(kept, "Te Grön & Honung")]
    lines = bench.shop.to_order_lines(records(bench.shop.orders()))
    assert lines.select("order_id", "title").rows() == [(order, "Mugg")]


# Orders


@pytest.mark.parametrize("is_first", [True, False])
def test_an_order_that_comes_or_changes_while_orders_are_read_is_there_now_or_the_next_time(
    bench: Bench, is_first: bool
) -> None:
    before = None if is_first else cursor_of(list(bench.shop.orders()))
    orders, product = bench.sales(), bench.product("Mugg", "10.00")

    def act(at: int) -> None:
        bench.wait(1)
        orders.append(bench.order(Order(product, email="late@example.com")))
        bench.drop_order(orders.pop(0))
        bench.refund(orders[at], "1.00")

    for at, pages in bench.meanwhile(act, lambda: list(bench.shop.orders(before))):
        frame = bench.orders([*pages, *bench.shop.orders(cursor_of(pages))]).unique("order_id", keep="last")
        assert set(orders) <= set(frame["order_id"]), f"after call {at}"
        assert frame.filter(order_id=orders[at])["refunded_total"].item() == 1, f"after call {at}"


def test_an_order_of_the_cursors_own_second_comes_with_the_next_reading(bench: Bench) -> None:
    product = bench.product("Mugg", "10.00")
    bench.order(Order(product, email="first@example.com"))
    cursor = cursor_of(list(bench.shop.orders()))
    late = bench.order(Order(product, email="second@example.com"))
    assert late in set(bench.orders(bench.shop.orders(cursor))["order_id"])


# Calls that fail


@pytest.mark.parametrize("listing", [foreseen, unforeseen, ids])
def test_an_answer_cut_short_is_asked_for_again(bench: Bench, listing: Listing) -> None:
    everybody = bench.crowd()
    for at, pages in bench.failing("truncate", lambda: listing(bench)):
        assert pages[-1].complete
        assert set(everybody) <= set(listed(bench, pages)), f"call {at}"


@pytest.mark.parametrize("listing", [unforeseen, ids])
def test_a_listing_that_breaks_off_is_not_complete(bench: Bench, listing: Listing) -> None:
    """The shop goes silent before the first call of it, before the second, and so on."""
    bench.crowd()
    bench.shop = bench.connect(IMPATIENT)
    for at in range(100):
        bench.faults(Fault("drop_before", skip=at, times=-1))
        pages: list[Page] = []
        try:
            for page in bench.shop.customers() if listing is unforeseen else bench.shop.customer_ids():
                pages.append(page)  # noqa: PERF402 (what came before it broke off)
        except TryLater:
            assert not any(page.complete for page in pages)
            continue
        assert pages[-1].complete
        assert at > 0
        return
