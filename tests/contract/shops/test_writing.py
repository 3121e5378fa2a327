"""Contract of every shop: what is written is what was meant, nothing else changes, and a lost answer can be looked up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bench import NOW, Bench, Order, bounce, consent, newcomer

from tasks.connector import TryLater, Write


def states(outcomes: Any) -> list[tuple[str, str, str | None]]:
    return [(outcome.write_id, outcome.state, outcome.code) for outcome in outcomes]


def test_consent_is_written_and_read_back_with_its_time_where_the_platform_keeps_it(bench: Bench) -> None:
    leaver, joiner = bench.sign_up("a@example.com", "in"), bench.sign_up("b@example.com")
    bench.wait(7200)
    at = NOW + timedelta(hours=1)
    writes = [consent(leaver, "out", at=at), consent(joiner, "in", at=at)]
    assert [state for _, state, _ in states(bench.shop.send("consent", writes))] == ["acknowledged"] * 2
    assert (bench.answer_of(leaver), bench.answer_of(joiner)) == ("out", "in")
    for customer_id, answer in ((leaver, "out"), (joiner, "in")):
        row = bench.customer(customer_id)
        assert row["consent"] == answer
        assert row["consent_at"] == (at if bench.shop.capabilities.consent_times else None)


def test_a_write_of_consent_changes_nothing_else_and_mails_nobody(bench: Bench) -> None:
    someone, other = bench.sign_up("a@example.com", "in", first_name="Anna"), bench.sign_up("b@example.com", "in")
    before, mails = (bench.customer(someone), bench.customer(other)), bench.mails()
    bench.shop.send("consent", [consent(someone, "out")])
    moving = ("consent", "consent_at", "consent_level", "consent_raw", "updated_at")
    assert {k: v for k, v in bench.customer(someone).items() if k not in moving} == {
        k: v for k, v in before[0].items() if k not in moving
    }
    assert bench.customer(other) == before[1]
    assert bench.mails() == mails


def test_a_bounce_stands_beside_the_consent(bench: Bench) -> None:
    someone = bench.sign_up("a@example.com", "in")
    assert states(bench.shop.send("bounce", [bounce(someone)])) == [(f"bounce {someone}", "acknowledged", None)]
    assert bench.bounce_of(someone)
    row = bench.customer(someone)
    assert (row["consent"], row["bounced_at"]) == ("in", NOW)


@pytest.mark.parametrize("write", [consent, bounce])
def test_one_outcome_for_each_write_in_their_order(bench: Bench, write: Any) -> None:
    kind = write.__name__
    everybody = [bench.sign_up(f"p{number}@example.com", "in") for number in range(5)]
    gone = everybody[2]
    bench.delete(gone)
    writes = [write(customer_id) for customer_id in everybody[::-1]]
    assert states(bench.shop.send(kind, writes)) == [
        (w.write_id, "skipped", "gone") if w.key == gone else (w.write_id, "acknowledged", None) for w in writes
    ]


@pytest.mark.parametrize("write", [consent, bounce])
def test_as_many_writes_as_the_connector_asks_for_are_carried_out(bench: Bench, write: Any) -> None:
    kind = write.__name__
    most = bench.shop.capabilities.batch_size[kind]
    writes = [write(bench.sign_up(f"p{number}@example.com", "in")) for number in range(most)]
    outcomes = bench.shop.send(kind, writes)
    assert [outcome.write_id for outcome in outcomes] == [w.write_id for w in writes]
    assert {outcome.state for outcome in outcomes} == {"acknowledged"}
    assert [outcome.write_id for outcome in bench.shop.held(kind, writes)] == [w.write_id for w in writes]


def test_the_same_write_twice_changes_nothing_the_second_time(bench: Bench) -> None:
    someone = bench.sign_up("a@example.com", "in")
    for writes in ([consent(someone)], [bounce(someone)]):
        kind = writes[0].write_id.partition(" ")[0]
        bench.shop.send(kind, writes)
        before = bench.customer(someone)
        assert [outcome.state for outcome in bench.shop.send(kind, writes)] == ["acknowledged"]
        after = bench.customer(someone)
        assert {**after, "updated_at": None} == {**before, "updated_at": None}


def test_a_guests_opt_out_goes_to_the_order_or_is_left_to_us(bench: Bench) -> None:
    """Where guests have no account to keep it."""
    order = bench.order(Order(bench.product("Mugg", "10.00"), email="guest@example.com", answer="in"))
    write = consent(order, "out", key="order_id")
    (outcome,) = bench.shop.send("consent", [write])
    if bench.shop.capabilities.guest_consent_write_back:
        assert outcome.state == "acknowledged"
        assert bench.answer_in(order) == "out"
        assert [held.state for held in bench.shop.held("consent", [write])] == ["acknowledged"]
    else:
        assert (outcome.state, bool(outcome.message)) == ("skipped", True)


def test_new_accounts_are_made_and_existing_ones_left_alone(bench: Bench) -> None:
    if not bench.shop.capabilities.create_customers:
        assert "customer" not in bench.shop.capabilities.batch_size
        return
    someone = bench.sign_up("a@example.com", "out", first_name="Anna")
    before, mails = bench.customer(someone), bench.mails()
    writes = [newcomer("A@example.com"), newcomer("new@example.com"), newcomer("quiet@example.com", "not_subscribed")]
    assert [(state, code) for _, state, code in states(bench.shop.send("customer", writes))] == [
        ("skipped", "exists"),
        ("acknowledged", None),
        ("acknowledged", None),
    ]
    assert bench.customer(someone) == before
    made = bench.customers(bench.shop.customers()).filter(address="new@example.com").row(0, named=True)
    quiet = bench.customers(bench.shop.customers()).filter(address="quiet@example.com").row(0, named=True)
    assert (made["first_name"], made["last_name"], made["consent"]) == ("Åsa", "Öberg", "in")
    assert made["consent_at"] == (NOW if bench.shop.capabilities.consent_times else None)
    assert quiet["consent"] is None
    assert bench.mails() == mails
    assert {outcome.write_id for outcome in bench.shop.held("customer", writes[1:])} == {w.write_id for w in writes[1:]}


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "truncate"])
@pytest.mark.parametrize("kind", ["consent", "bounce"])
def test_after_a_lost_answer_the_shop_is_asked_what_it_holds(bench: Bench, kind: str, fault: Any) -> None:
    """Whichever call it was: what `held` says is what the shop shows, and what it leaves out can be sent again."""
    write = {"consent": consent, "bounce": bounce}[kind]
    round_ = iter(range(100))

    def run() -> tuple[list[Write], bool]:
        number = next(round_)
        writes = [write(bench.sign_up(f"p{number}-{n}@example.com", "in")) for n in range(3)]
        try:
            return writes, {outcome.state for outcome in bench.shop.send(kind, writes)} == {"acknowledged"}
        except TryLater:
            return writes, False

    for at, (writes, is_done) in bench.failing(fault, run):
        shown = {
            w.write_id: bench.answer_of(w.key) == "out" if kind == "consent" else bench.bounce_of(w.key) is not None
            for w in writes
        }
        held = {outcome.write_id for outcome in bench.shop.held(kind, writes)}
        assert held == {write_id for write_id, is_shown in shown.items() if is_shown}, f"call {at}"
        assert len(held) == len(writes) or not is_done
        if again := [w for w in writes if w.write_id not in held]:
            assert {outcome.state for outcome in bench.shop.send(kind, again)} == {"acknowledged"}


def test_nothing_is_held_that_was_never_written(bench: Bench) -> None:
    someone, gone = bench.sign_up("a@example.com", "in"), bench.sign_up("b@example.com", "in")
    bench.delete(gone)
    assert bench.shop.held("consent", [consent(someone, "out"), consent(gone, "out")]) == []
    assert bench.shop.held("bounce", [bounce(someone), bounce(gone)]) == []
