"""What is WooCommerce's own about webhooks and coupons; what holds for every shop stands in tests/contract/shops."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox.server import Running, serve
from sandbox.woocommerce import WooCommerce as Twin
from schemas.shop import PromoCodes
from tasks.connector import Notice
from tasks.shops.woocommerce import WooCommerce, WooCommerceSettings, hooks
from tasks.shops.woocommerce.shapes import shape_promo_codes
from tasks.signatures import signature
from tasks.validate import check

ADDRESS = "https://shopsync.example/webhooks/acme/de"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRET = hooks.webhook_secret("cs_sandbox")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serve(Twin()) as served:
        yield served


@pytest.fixture
def twin(running: Running) -> Twin:
    running.door.twin = twin = Twin(clock=lambda: NOW)
    return twin


@pytest.fixture
def shop(running: Running, twin: Twin, tmp_path: Any) -> WooCommerce:
    settings = WooCommerceSettings(url=running.url, consumer_key="ck_sandbox", consumer_secret="cs_sandbox")
    return WooCommerce(settings, shop="de", limits=tmp_path)


# Webhooks


def test_the_secret_is_ours_alone_and_survives_what_woocommerce_does_to_secrets() -> None:
    assert SECRET == hooks.webhook_secret("cs_sandbox") != hooks.webhook_secret("cs_other")
    assert SECRET.isalnum()
    assert "cs_sandbox" not in SECRET


def test_a_delivery_has_no_id_to_tell_repetitions_by() -> None:
    """All that one webhook sends within a second share theirs."""
    headers = {"X-WC-Webhook-Topic": "order.created", "X-WC-Webhook-Delivery-ID": "d1"}
    hook = hooks.opened(headers | {"X-WC-Webhook-Signature": signature(SECRET, b"{}")}, b"{}", SECRET)
    assert hook
    assert (hook.topic, hook.delivery_id) == ("order.created", None)


def test_the_ping_of_a_new_webhook_is_not_believed() -> None:
    assert hooks.opened({"Content-Type": "application/x-www-form-urlencoded"}, b"webhook_id=1", SECRET) is None


@pytest.mark.parametrize(
    ("topic", "body", "accounts"),
    [
        ("customer.created", b'{"id": 7, "email": "a@example.com"}', ("7",)),
        ("customer.deleted", b'{"id": 7}', ("7",)),
        ("customer.updated", b'{"code": "wc_user_invalid_id", "message": "Invalid user ID.", "data": {"status": 404}}', ()),
        ("order.created", b'{"id": 9, "customer_id": 7}', ("7",)),
        ("order.created", b'{"id": 9, "customer_id": 0}', ()),
        ("order.deleted", b'{"id": 9}', ()),
        ("product.updated", b'{"id": 7}', ()),
    ],
)
def test_what_a_delivery_is_about(topic: str, body: bytes, accounts: tuple[str, ...]) -> None:
    """A guest's order names no account; who was deleted before the delivery is an error instead of a record."""
    assert hooks.notice(topic, body) == Notice(accounts)


def test_one_webhook_for_each_topic_signed_with_our_secret(shop: WooCommerce, twin: Twin) -> None:
    shop.connect_webhooks(ADDRESS)
    made = twin.webhooks.hooks.values()
    assert [hook.topic for hook in made] == list(hooks.TOPICS)
    assert {(hook.delivery_url, hook.secret, hook.status) for hook in made} == {(ADDRESS, SECRET, "active")}


@pytest.mark.parametrize("status", ["disabled", "paused"])
def test_one_that_no_longer_sends_is_made_anew_and_not_put_back(shop: WooCommerce, twin: Twin, status: str) -> None:
    """Put back to active, it would end at its next failure: its count stays."""
    shop.connect_webhooks(ADDRESS)
    old = twin.webhooks.hooks[3]
    old.status, old.failures = status, 6
    shop.connect_webhooks(ADDRESS)
    assert sorted(twin.webhooks.hooks) == [1, 2, 4, 5, 6]
    assert (twin.webhooks.hooks[6].topic, twin.webhooks.hooks[6].failures) == (old.topic, 0)


def test_hundreds_of_other_webhooks_hide_ours_from_nobody(shop: WooCommerce, twin: Twin) -> None:
    for number in range(150):
        twin.webhooks.create({"topic": "order.created", "delivery_url": f"https://other.example/{number}"})
    shop.connect_webhooks(ADDRESS)
    shop.connect_webhooks(ADDRESS)
    assert len(twin.webhooks.hooks) == 150 + len(hooks.TOPICS)
    shop.disconnect_webhooks(ADDRESS)
    assert len(twin.webhooks.hooks) == 150


# Coupons


def coupon(**values: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "code": "c",
        "amount": "10.00",
        "status": "publish",
        "discount_type": "percent",
        "_currency": "SEK",
    } | values


@pytest.mark.parametrize(
    ("said", "kind", "target", "amount", "currency", "is_active"),
    [
        ({}, "percentage", "total", "0.1000", None, True),
        ({"amount": "12.5"}, "percentage", "total", "0.1250", None, True),
        ({"discount_type": "fixed_cart"}, "fixed", "total", "10.0000", "SEK", True),
        ({"discount_type": "fixed_product"}, "fixed", "per_item", "10.0000", "SEK", True),
        ({"amount": "0.00", "free_shipping": True}, "percentage", "shipping", "1.0000", None, True),
        ({"free_shipping": True}, "percentage", "total", "0.1000", None, True),
        ({"date_expires_gmt": "2026-11-20T12:00:01"}, "percentage", "total", "0.1000", None, True),
        ({"date_expires_gmt": "2026-11-20T12:00:00"}, "percentage", "total", "0.1000", None, False),
        ({"status": "draft"}, "percentage", "total", "0.1000", None, False),
        ({"status": "trash"}, "percentage", "total", "0.1000", None, False),
    ],
    ids=str,
)
def test_what_a_coupon_gives(
    said: dict[str, Any], kind: str, target: str, amount: str, currency: str | None, is_active: bool
) -> None:
    frame = PromoCodes.validate(shape_promo_codes([coupon(**said)], "de", NOW))
    row = frame.row(0, named=True)
    assert (row["kind"], row["target"], str(row["amount"])) == (kind, target, amount)
    assert (row["currency"], row["is_active"]) == (currency, is_active)


@pytest.mark.parametrize(("field", "wrong"), [("kind", {"discount_type": "buy_two_get_one"}), ("amount", {"amount": "-5"})])
def test_what_plugins_invent_is_rejected(field: str, wrong: dict[str, Any]) -> None:
    frame = shape_promo_codes([coupon(**wrong)], "de", NOW)
    told = check(frame, PromoCodes, [coupon(**wrong)], source="de", entity="promo_codes", key="code")
    assert list(told.rejected["field"]) == [field]


def test_a_coupon_tied_to_addresses_stays_in_the_shop(shop: WooCommerce, twin: Twin) -> None:
    for number in range(150):
        only = {"email_restrictions": ["anna@example.com"]} if number % 3 == 0 else {}
        twin.shop.create_coupon({"code": f"code{number}", "amount": "5", **only})
    pages = list(shop.promo_codes())
    assert pages[-1].complete
    records = [record for page in pages for record in page.records]
    assert len(records) == 100
    assert "anna@example.com" not in str(records)
    assert set(shop.to_promo_codes(records)["kind"]) == {"fixed"}
    assert set(shop.to_promo_codes(records)["currency"]) == {"EUR"}
