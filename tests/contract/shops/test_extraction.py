"""Contract of every shop: a whole reading of it, into a real state file, comes to the right conclusions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bench import Bench

from schemas.settings import Connection, Switches
from tasks.connector import Page
from tasks.extract import extract_shop
from tasks.run import Run
from tasks.state import State, rows


def read(bench: Bench, folder: Path, *, full: bool = False) -> list[str]:
    """One run's reading. Returns the accounts that were asked for by id."""
    connection = Connection(shops={"de": {}}, esp={}, switches=Switches(promo_codes=True), customers_every_minutes=0)
    shop, asked = bench.connect(), list[str]()  # a run has connectors of its own
    by_id = shop.customers_by_id

    def watched(ids: Sequence[str]) -> Iterator[Page]:
        asked.extend(ids)
        return by_id(ids)

    shop.customers_by_id = watched  # type: ignore[method-assign]
    run = Run("acme", connection, State(folder), {"de": shop}, None, "forward", "run", datetime.now(UTC), full)  # type: ignore[arg-type]
    extract_shop.fn(run, "de")
    return asked


TABLES = {
    "customers": "select customer_id, deleted_at is null and missing_since is null from shop.customers",
    "orders": "select order_id, true from shop.orders",
    "codes": "select code, deleted_at is null and missing_since is null from shop.promo_codes",
    "rejected": "select record_id, false from ops.rejected_rows",
}


def stored(folder: Path) -> dict[str, dict[str, bool]]:
    """Of each table the ids, with whether they are there still."""
    with State(folder).open() as database:
        return {table: dict(database.execute(query).fetchall()) for table, query in TABLES.items()}


@pytest.mark.parametrize("full", [True, False])
def test_everything_is_there_and_who_was_deleted_is_gone(bench: Bench, tmp_path: Path, full: bool) -> None:
    everybody, orders = bench.crowd(), bench.sales()
    if bench.shop.capabilities.promo_codes:
        bench.promo("welcome", 15)
    read(bench, tmp_path)
    first = stored(tmp_path)
    assert set(everybody) <= set(first["customers"])
    assert set(first["orders"]) == set(orders)
    assert set(first["codes"]) == ({"welcome"} if bench.shop.capabilities.promo_codes else set())
    assert all(all(found.values()) for found in first.values())
    bench.wait(600)
    gone, leaver, *_ = everybody
    bench.delete(gone)
    bench.say(leaver, "out")
    new = bench.sign_up("new@example.com")
    read(bench, tmp_path, full=full)
    # Whoever reads by change looks for who is gone once a day only.
    is_seen = full or not bench.shop.capabilities.customers_changed_since
    assert stored(tmp_path) == first | {"customers": first["customers"] | {gone: not is_seen, new: True}}
    with State(tmp_path).open() as database:
        events = rows(database, "select kind from consent.events where record = $1 order by as_of_at", [f"customer:{leaver}"])
    assert events[-1] == {"kind": "opted_out"}


def test_a_second_whole_reading_asks_for_nobody_by_id_and_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.crowd()
    bench.sales()
    read(bench, tmp_path)
    first = stored(tmp_path)
    bench.wait(600)
    assert read(bench, tmp_path, full=True) == []
    assert stored(tmp_path) == first
    with State(tmp_path).open() as database:
        assert rows(database, "from ops.run_counts where measure = 'changed' and rows > 0") == []
