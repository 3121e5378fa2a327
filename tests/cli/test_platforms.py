"""`shopsync platforms`: every registered platform with what it can do, its limits and its reasons."""

from __future__ import annotations

import io
from dataclasses import fields

from rich.console import Console

from flows import pages
from flows.platforms import ESP_WORDS, SHOP_WORDS, platforms
from tasks import esps, shops
from tasks.connector import EspCapabilities, ShopCapabilities


def test_every_registered_platform_is_told_with_its_limits_and_reasons() -> None:
    said = io.StringIO()
    pages.platforms(Console(file=said, width=200), platforms())
    for connector, _ in (*shops.PLATFORMS.values(), *esps.PLATFORMS.values()):
        assert connector.__name__ in said.getvalue()
        assert connector.capabilities.limits in said.getvalue()
        for note in connector.capabilities.notes:
            assert note in said.getvalue()


def test_what_a_platform_declares_has_words() -> None:
    for capabilities, words in ((ShopCapabilities, SHOP_WORDS), (EspCapabilities, ESP_WORDS)):
        assert {field.name for field in fields(capabilities) if field.type == "bool"} == set(words)
