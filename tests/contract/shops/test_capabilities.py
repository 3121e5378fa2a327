"""Contract of every shop: it is registered with all it needs, and it promises what it can."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from bench import Bench

from tasks.connector import ShopCapabilities
from tasks.shops import PLATFORMS

BENCHES = Path(__file__).parent / "benches"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_registered_platform_is_tested(platform: str) -> None:
    assert (BENCHES / f"{platform}.py").exists(), (
        f"nothing tests {platform}: write {BENCHES.name}/{platform}.py as its twin wants it."
    )


def test_it_is_registered_under_its_own_name(bench: Bench) -> None:
    make, model = bench.made_of or PLATFORMS[bench.platform]
    assert bench.shop.platform == bench.platform == model.model_fields["platform"].default
    assert isinstance(bench.shop, make)
    assert bench.shop.tag


def test_its_settings_keep_their_secrets(bench: Bench) -> None:
    assert bench.secrets()
    assert not [secret for secret in bench.secrets() if secret in repr(bench.settings)]


def test_what_is_off_has_a_note_that_says_why(bench: Bench) -> None:
    can = bench.shop.capabilities
    assert can.limits
    off = [name for name in ("customers_changed_since", "consent_times", "create_customers") if not getattr(can, name)]
    assert len([note for note in can.notes if "because" in note]) >= len(off)
    assert all(note.endswith(".") for note in can.notes)


def test_as_set_up_it_can_no_more_than_at_best(bench: Bench) -> None:
    best, now = type(bench.shop).capabilities, bench.shop.capabilities
    for name in (field.name for field in fields(ShopCapabilities) if isinstance(getattr(best, field.name), bool)):
        assert getattr(now, name) <= getattr(best, name), name


def test_it_writes_the_kinds_that_it_says(bench: Bench) -> None:
    """How much of it works the other tests find out: all of them ask the capabilities."""
    can = type(bench.shop).capabilities
    kinds = {"consent": can.consent_write_back, "bounce": can.bounce_write_back, "customer": can.create_customers}
    assert set(can.batch_size) == {kind for kind, is_on in kinds.items() if is_on}
    assert min(can.batch_size.values()) > 0


def test_the_registry_needs_no_prefect() -> None:
    code = "import sys, tasks.shops; sys.exit('prefect' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
