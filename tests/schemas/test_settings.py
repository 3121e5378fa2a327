"""shopsync.toml: every problem at once, a sentence for each, and never a secret in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.settings import SettingsError, read_settings, resolve_secrets
from tasks.run import open_run, store_id

GOOD = """
[settings]
data_dir = "state"
[connections.acme.shop]
platform = "woocommerce"
url = "https://shop.example"
consumer_key = { env = "KEY" }
consumer_secret = { env = "SECRET" }
consent_meta_key = "newsletter"
[connections.acme.esp]
platform = "mailchimp"
api_key = { env = "ESP_KEY" }
list_id = "abc"
"""
ENVIRONMENT = {"KEY": "ck_1", "SECRET": "cs_1", "ESP_KEY": "k-us1"}


def write(folder: Path, text: str) -> Path:
    path = folder / "shopsync.toml"
    path.write_text(text, encoding="utf-8")
    return path


def opened(path: Path, environment: dict[str, str] | None = None) -> object:
    return open_run(
        read_settings(path), "acme", "check", environment=ENVIRONMENT if environment is None else environment, read_block=str
    )


def test_one_shop_and_several_are_the_same_thing(tmp_path: Path) -> None:
    one = read_settings(write(tmp_path, GOOD)).connection("acme")
    several = read_settings(write(tmp_path, GOOD.replace("acme.shop]", "acme.shops.shop]"))).connection("acme")
    assert one == several
    assert list(one.shops) == ["shop"]


def test_the_data_folder_is_beside_the_file(tmp_path: Path) -> None:
    assert read_settings(write(tmp_path, GOOD)).data_dir == tmp_path / "state"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("[settings]", "[setings]"), "unknown: setings"),
        (('data_dir = "state"', 'data_dri = "state"'), "unknown: data_dri"),
        (('list_id = "abc"', 'list_id = "abc'), "is not valid TOML"),
        (("[connections.acme.shop]", "[connections.acme.shops]"), "connections.acme.shops.platform"),
        (("[connections.acme.esp]", "[connections.acme.guards]\nsubscribe = 2\n[connections.acme.esp]"), "guards.subscribe"),
        (("[connections.acme.shop]", '[connections.acme]\npolicy_name = "x"\n[connections.acme.shop]'), "policy_name"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_settings(write(tmp_path, GOOD.replace(*change)))


def test_sms_needs_a_start_date(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"acme\.switches: sms needs sms_since, the date from which"):
        read_settings(write(tmp_path, f"{GOOD}\n[connections.acme.switches]\nsms = true\n"))


def test_sms_is_refused_for_an_esp_that_does_not_take_it(tmp_path: Path) -> None:
    switched = f"{GOOD}\n[connections.acme.switches]\nsms = true\nsms_since = 2026-01-01\n"
    with pytest.raises(SettingsError, match=r"acme\.switches\.sms: Mailchimp takes no consent to text messages from us"):
        opened(write(tmp_path, switched))
    opened(write(tmp_path, switched.replace("true", "false")))


def test_an_unknown_connection_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no connection 'nope'.*acme"):
        read_settings(write(tmp_path, GOOD)).connection("nope")


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--config"):
        read_settings(tmp_path / "shopsync.toml")


def test_all_problems_of_both_platforms_are_said_at_once(tmp_path: Path) -> None:
    broken = GOOD.replace('url = "https://shop.example"', 'urll = "https://shop.example"').replace("mailchimp", "mailchump")
    with pytest.raises(SettingsError) as caught:
        opened(write(tmp_path, broken))
    said = str(caught.value)
    assert "shops.shop.url" in said
    assert "shops.shop.urll" in said
    assert "esp.platform: must be one of mailchimp" in said


def test_an_unset_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="set the environment variable SECRET"):
        opened(write(tmp_path, GOOD), {"KEY": "ck_1", "ESP_KEY": "k-us1"})


@pytest.mark.parametrize("host", ["https://shop.example", "https://127.0.0.1.evil.example", "http://localhost.example:8080"])
def test_a_secret_in_the_file_is_refused_for_other_machines(tmp_path: Path, host: str) -> None:
    clear = GOOD.replace('{ env = "SECRET" }', '"cs_in_clear"').replace("https://shop.example", host)
    with pytest.raises(SettingsError, match="do not write a secret") as caught:
        opened(write(tmp_path, clear))
    assert "cs_in_clear" not in str(caught.value)


@pytest.mark.parametrize("host", ["http://127.0.0.1:8080", "http://localhost", "https://[::1]:8443/shop"])
def test_a_secret_in_the_file_is_fine_for_this_machine(tmp_path: Path, host: str) -> None:
    clear = GOOD.replace('{ env = "SECRET" }', '"cs_in_clear"').replace("https://shop.example", host)
    opened(write(tmp_path, clear))


def test_secrets_come_from_the_environment_and_from_blocks() -> None:
    raw = {"a": {"env": "KEY"}, "b": {"secret": "acme-key"}, "c": 1, "d": {"env": "KEY", "more": 1}}
    assert resolve_secrets(raw, ENVIRONMENT, {"acme-key": "from the block"}.__getitem__, "here") == {
        "a": "ck_1",
        "b": "from the block",
        "c": 1,
        "d": {"env": "KEY", "more": 1},
    }


def test_store_ids_fit_mailchimp_and_stay_different() -> None:
    long = [store_id("a-connection-with-a-very-long-name-indeed", f"and-a-shop-{n}") for n in range(3)]
    assert store_id("acme", "shop") == "shopsync-acme-shop"
    assert all(len(name) <= 50 for name in long)
    assert len(set(long)) == 3
