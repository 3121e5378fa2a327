"""Contract of every shop: whatever stands in the way, people are told what to change, and no key goes astray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bench import IMPATIENT, Bench, Order, bounce, consent

from sandbox.server import Fault
from tasks.connector import SetupError, TryLater

CALLS: dict[str, Callable[[Bench], Any]] = {
    "check": lambda bench: bench.shop.check(),
    "fingerprint": lambda bench: bench.shop.fingerprint(),
    "customers": lambda bench: list(bench.shop.customers()),
    "customer_ids": lambda bench: list(bench.shop.customer_ids()),
    "customers_by_id": lambda bench: list(bench.shop.customers_by_id(["1"])),
    "orders": lambda bench: list(bench.shop.orders()),
    "consent": lambda bench: bench.shop.send("consent", [consent("1")]),
    "bounce": lambda bench: bench.shop.send("bounce", [bounce("1")]),
    "held": lambda bench: bench.shop.held("consent", [consent("1")]),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def assert_discreet(bench: Bench, *sentences: str) -> None:
    """For people: whole sentences without secrets and addresses."""
    for sentence in sentences:
        assert sentence.endswith((".", ".)"))
        assert "@" not in sentence
        assert not [secret for secret in bench.secrets() if secret in sentence]


@every_call
def test_a_redirect_is_named_and_not_followed(bench: Bench, call: Callable[[Bench], Any]) -> None:
    bench.faults(Fault("redirect", location=f"{bench.running.url}/password?key=hidden", times=-1))
    with pytest.raises(SetupError, match=f"redirects our call to {bench.running.url}/password") as refused:
        call(bench)
    assert_discreet(bench, str(refused.value))
    assert "hidden" not in str(refused.value)
    assert not [seen for seen in bench.running.door.calls if seen.path == "/password"]


@every_call
def test_wrong_keys_are_a_sentence_about_what_to_change(bench: Bench, call: Callable[[Bench], Any]) -> None:
    bench.shop = bench.connect(**bench.wrong_keys())
    if call is CALLS["fingerprint"]:  # some shops tell everybody who they are
        return
    with pytest.raises(SetupError) as refused:
        call(bench)
    assert_discreet(bench, str(refused.value))


def test_what_the_merchant_takes_away_is_gone(bench: Bench) -> None:
    bench.sign_up("a@example.com")
    assert list(bench.shop.customers())
    bench.revoke()
    with pytest.raises(SetupError) as refused:
        list(bench.shop.customers())
    assert_discreet(bench, str(refused.value))


def test_what_ends_by_itself_is_renewed(bench: Bench) -> None:
    someone = bench.sign_up("a@example.com", "in")
    assert list(bench.shop.customers())
    bench.end_token()
    assert bench.customer(someone)["consent"] == "in"
    bench.end_token()
    assert bench.shop.send("consent", [consent(someone)])[0].state == "acknowledged"


@pytest.mark.parametrize("name", ["customers", "customer_ids", "orders"])
def test_too_many_calls_are_waited_for(bench: Bench, name: str) -> None:
    bench.order(Order(bench.product("Mugg", "10.00"), customer_id=bench.sign_up("a@example.com")))
    expected = [len(page.records) for page in CALLS[name](bench)]
    bench.throttle(2)
    assert [len(page.records) for page in CALLS[name](bench)] == expected


def test_a_write_that_was_turned_away_for_being_too_many_is_carried_out_once(bench: Bench) -> None:
    someone = bench.sign_up("a@example.com", "in")
    bench.throttle(2)
    assert bench.shop.send("consent", [consent(someone)])[0].state == "acknowledged"
    assert bench.answer_of(someone) == "out"


@every_call
def test_patience_ends(bench: Bench, call: Callable[[Bench], Any]) -> None:
    bench.shop = bench.connect(IMPATIENT)
    bench.throttle(-1)
    with pytest.raises(TryLater) as later:
        call(bench)
    assert_discreet(bench, str(later.value))


@every_call
def test_a_shop_that_is_down_is_for_later(bench: Bench, call: Callable[[Bench], Any]) -> None:
    bench.shop = bench.connect(IMPATIENT)
    bench.faults(Fault("status", status=503, times=-1))
    with pytest.raises(TryLater, match="run again later") as later:
        call(bench)
    assert_discreet(bench, str(later.value))


@every_call
def test_a_page_instead_of_data_is_a_matter_of_the_address(bench: Bench, call: Callable[[Bench], Any]) -> None:
    bench.faults(Fault("status", status=200, body="<html>Opening soon</html>", headers={"content-type": "text/html"}, times=-1))
    with pytest.raises(SetupError) as refused:
        call(bench)
    assert_discreet(bench, str(refused.value))


def test_a_check_finds_a_good_shop_good_and_changes_nothing(bench: Bench) -> None:
    bench.sign_up("a@example.com", "in")
    bench.order(Order(bench.product("Mugg", "10.00"), email="guest@example.com"))
    bench.shop.fingerprint()
    before, mails = bench.twin.state(), bench.mails()
    findings = bench.shop.check()
    assert {"ok"} <= {finding.level for finding in findings} <= {"ok", "warning"}
    assert_discreet(bench, *(finding.sentence for finding in findings))
    assert (bench.twin.state(), bench.mails()) == (before, mails)


def test_the_fingerprint_stays_until_the_shop_believes_in_another_address(bench: Bench) -> None:
    found = bench.shop.fingerprint()
    bench.sign_up("a@example.com")
    assert bench.connect().fingerprint() == found
    assert found.home == found.home.strip("/").lower()
    bench.call_itself("staging.example")
    assert bench.connect().fingerprint().home != found.home
