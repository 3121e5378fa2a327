"""A setup error is one sentence that says what to change: no traceback, no secret, no address; exit status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.mailchimp import Mailchimp
from sandbox.server import Fault, Running, serve
from sandbox.woocommerce import Key, WooCommerce

KEYS = [Key("ck_right", "cs_right"), Key("ck_reader", "cs_reader", "read")]


@pytest.fixture(scope="module")
def shop() -> Iterator[Running]:
    twin = WooCommerce(keys=KEYS)
    twin.act_register("anna@kunde.example", consent="1")
    with serve(twin) as running:
        yield running


@pytest.fixture(scope="module")
def esp() -> Iterator[Running]:
    with serve(Mailchimp(key="esp-key-us1")) as running:
        yield running


@pytest.fixture
def shopsync(tmp_path: Path, shop: Running, esp: Running) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command on a configuration that is right but for the changes given."""

    def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        values = {
            "url": shop.url,
            "consumer_key": "ck_right",
            "consumer_secret": "cs_right",
            "consent": 'consent_meta_key = "newsletter_optin"',
            "api_key": "esp-key-us1",
            "list_id": "a1b2c3d4e5",
            "base_url": f"{esp.url}/3.0",
        } | changes
        (tmp_path / "shopsync.toml").write_text(
            """
            [connections.acme.shop]
            platform = "woocommerce"
            url = "{url}"
            consumer_key = "{consumer_key}"
            consumer_secret = "{consumer_secret}"
            {consent}
            [connections.acme.esp]
            platform = "mailchimp"
            api_key = "{api_key}"
            list_id = "{list_id}"
            base_url = "{base_url}"
            """.format(**values),
            encoding="utf-8",
        )
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            env=os.environ | {"SHOPSYNC_CONFIG": str(tmp_path / "shopsync.toml"), "COLUMNS": "400"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_right_setup_is_ready(shopsync: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    result = shopsync("check", "acme")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Ready to sync." in result.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"consumer_key": "ck_wrong"}, ["key"]),
        ({"consumer_secret": "cs_wrong"}, ["secret"]),
        ({"consumer_key": "ck_reader", "consumer_secret": "cs_reader"}, ["write"]),
        ({"url": "http://127.0.0.1:9"}, ["127.0.0.1:9"]),
        ({"consent": ""}, ["consent_meta_key"]),
        ({"api_key": "esp-wrong-us1"}, ["API key"]),
        ({"list_id": "nope"}, ["list_id", "a1b2c3d4e5"]),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else None,
)
def test_check_says_what_to_change(
    shopsync: Callable[..., subprocess.CompletedProcess[str]], changes: dict[str, str], words: list[str]
) -> None:
    result = shopsync("check", "acme", **changes)
    assert result.returncode == 2, result.stdout + result.stderr
    said = result.stdout + result.stderr
    errors = [line for line in said.splitlines() if line.startswith("error")]
    assert errors
    assert all(any(word in line for line in errors) for word in words), said
    for never in ("Traceback", "cs_right", "cs_wrong", "esp-key", "esp-wrong", "anna@"):
        assert never not in said


def test_a_redirecting_shop_is_named_with_its_target(
    shopsync: Callable[..., subprocess.CompletedProcess[str]], shop: Running
) -> None:
    shop.door.faults[:] = [Fault("redirect", times=-1, location="https://www.shop.example/coming-soon?secret=1")]
    try:
        result = shopsync("check", "acme")
    finally:
        shop.door.faults.clear()
    assert result.returncode == 2
    assert "https://www.shop.example/coming-soon" in result.stdout
    assert "secret=1" not in result.stdout


@pytest.mark.parametrize("command", [("explain", "acme", "anna@kunde.example"), ("sql", "acme"), ("rejected", "acme")])
def test_before_the_first_sync_there_is_nothing_to_read(
    shopsync: Callable[..., subprocess.CompletedProcess[str]], command: tuple[str, ...]
) -> None:
    result = shopsync(*command)
    assert result.returncode == 2
    assert "run `shopsync sync acme` first" in result.stderr


@pytest.mark.parametrize("arguments", [("sync", "nobody"), ("sync",), ("bogus",), ("sync", "acme", "--nope")])
def test_wrong_usage_ends_with_two(
    shopsync: Callable[..., subprocess.CompletedProcess[str]], arguments: tuple[str, ...]
) -> None:
    result = shopsync(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
