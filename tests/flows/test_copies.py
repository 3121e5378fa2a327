"""A copy of a shop can neither be synced nor written to, and a Mailchimp store of another shop stops the load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cuts
import pytest
import small_world

from sandbox.woocommerce import WooCommerce

OTHER_ID = "ffffffff-0000-4d0e-9d5a-2f1c7a1e7b10"


def copy_of_the_shop(**differences: Any) -> WooCommerce:
    copy = WooCommerce(**differences)
    copy.from_world(small_world.world())
    return copy


def moved(town: cuts.Town) -> cuts.Town:
    """The copy answers at another address, and shopsync.toml says so."""
    port, _ = cuts.free_ports()
    return cuts.Town(copy_of_the_shop(), town.esp, town.folder, (port, town.ports[1]), town.program)


def replaced(town: cuts.Town) -> cuts.Town:
    """Another installation answers at the same address."""
    return cuts.Town(copy_of_the_shop(store_id=OTHER_ID), town.esp, town.folder, town.ports, town.program)


@pytest.mark.parametrize(
    ("copied", "sentence"),
    [
        (moved, "calls itself 127.0.0.1:{new}, but this connection was first synced with 127.0.0.1:{old}: a copy"),
        (replaced, "is another shop than the one this connection was first synced with"),
    ],
)
def test_a_copy_is_neither_read_nor_written(town: cuts.Town, copied: Callable[[cuts.Town], cuts.Town], sentence: str) -> None:
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0
    town.esp.act_self_unsubscribe(small_world.address(11))
    copy = copied(town)
    copy.shop.act_register("tester@example.com", consent="1")
    before = len(town.esp.operations)
    with copy.open() as doors:
        for flow, full in (("forward", False), ("forward", True), ("reverse", False)):
            ended = copy.program.run(flow, copy.config, full=full)
            assert ended["status"] == 2
            assert sentence.format(old=town.ports[0], new=copy.ports[0]) in ended["message"]
            assert "shopsync check demo --accept-move shop" in ended["message"]
        assert {call.method for call in doors["shop"].calls} == {"GET"}
        assert not [call for call in doors["shop"].calls if call.path.endswith(("/customers", "/orders"))]
    assert [method for method, *_ in town.esp.operations[before:] if method != "GET"] == []
    known = cuts.state_of(copy.folder / "state" / "demo" / "state.duckdb")
    assert not [row for row in known["customers"] if "tester@example.com" in row]


def test_the_shop_itself_goes_on_after_a_copy_was_refused(town: cuts.Town) -> None:
    with town.open():
        town.program.run("forward", town.config)
    with replaced(town).open():
        assert town.program.run("forward", town.config)["status"] == 2
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0


@pytest.mark.parametrize("move", [moved, replaced])
def test_a_real_move_is_accepted_by_name(town: cuts.Town, command: Any, move: Callable[[cuts.Town], cuts.Town]) -> None:
    with town.open():
        assert town.program.run("forward", town.config)["status"] == 0
    town.esp.act_self_unsubscribe(small_world.address(11))
    new = move(town)
    with new.open() as doors:
        refused = command("check", "demo")
        assert (refused.returncode, "--accept-move shop" in refused.stdout) == (2, True)
        unknown = command("check", "demo", "--accept-move", "shop2")
        assert (unknown.returncode, "has no shop 'shop2'; it has shop" in unknown.stderr) == (2, True)
        assert new.program.run("reverse", new.config)["status"] == 2
        assert command("check", "demo", "--accept-move", "shop").returncode == 0
        assert new.program.run("forward", new.config)["status"] == 0
        assert new.program.run("reverse", new.config)["status"] == 0
        assert "POST" in {call.method for call in doors["shop"].calls}
        assert command("check", "demo").returncode == 0
        small_world.second_day(new.shop, new.esp)
        assert new.program.run("forward", new.config)["status"] == 0
    (store,) = new.esp.shops.stores.values()
    assert store.fields["domain"] == f"127.0.0.1:{new.ports[0]}"


def test_a_store_of_another_shop_stops_the_load_before_anything_is_written(town: cuts.Town) -> None:
    with town.open():
        store = town.program.run("forward", town.config)["result"]
        assert store is not None
    for held in town.esp.shops.stores.values():
        held.fields["domain"] = "other.example"
    small_world.second_day(town.shop, town.esp)
    before = len(town.esp.operations)
    with town.open():
        ended = town.program.run("forward", town.config)
    assert ended["status"] == 2
    assert "belongs to other.example, and this shop is" in ended["message"]
    assert [method for method, *_ in town.esp.operations[before:] if method != "GET"] == []
