"""Steps that write: to the ESP (forward) and back to the shops (reverse). Both carry out the same ledger in the same way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import ledger, storage
from tasks.connector import Esp, Shop
from tasks.extract import checked_customers
from tasks.fingerprints import former_homes, recognise
from tasks.run import Run
from tasks.state import LOADED_AT, fact, remember

SHOP_WRITES = ("consent", "bounce")
STORE_WRITES = ("product", "customer", "order")
WELCOMED = ("status", "create")
NOTIFIED = ("order",)
"""Kinds that may set off mails at the ESP; those of their writes that bring history are sent while automations are held."""
HELD = "automations_held_by"


@task(cache_policy=NO_CACHE, persist_result=False)
def settle_leftovers(run: Run) -> None:
    """Look up what a killed run sent without hearing what became of it, before anything new is read or repeated."""
    with run.state.open() as database:
        leftovers = ledger.unsettled(database, run.flow, run.stores())
    for (target, kind), writes in leftovers.items():
        connector: Esp | Shop = run.esp if target == "esp" else run.shops[target]
        outcomes = connector.held(kind, writes)
        held = {outcome.write_id for outcome in outcomes}
        with run.state.open() as database:
            ledger.settle(database, outcomes, run.run_id)
            ledger.give_back(database, [write for write in writes if write.write_id not in held])


@task(cache_policy=NO_CACHE, persist_result=False)
def load_esp(run: Run, still_ours: Callable[[], None]) -> None:
    """Carry out the planned writes to the ESP. History triggers nothing there: automations are held at first and when full, and
    for those writes that bring history later; they are released also after a failure, and what a killed run left held is
    released by the next one. A store that somebody deleted is made again, and filled by the next run. A run that lost its lease
    releases nothing, since the one that took over may be loading history."""
    with run.state.open() as database:
        planned = {str(row["kind"]): int(str(row["writes"])) for row in ledger.planned(database, run.run_id)}
        is_history = run.full or fact(database, LOADED_AT) is None
        was_held = fact(database, HELD) is not None
        former = {name: former_homes(database, name) for name in run.shops}
        currency = database.execute("select mode(currency order by currency) from shop.orders").fetchone()
    is_refilled = False
    still_ours()
    if planned or is_history:
        for store in run.stores():
            shop = run.shops[store.shop]
            found = run.esp.prepare(
                {
                    "store_id": store.store_id,
                    "name": f"{run.name} {store.shop}" if len(run.shops) > 1 else run.name,
                    "domain": shop.fingerprint().home,
                    "former_domains": former[store.shop],
                    "currency": (currency and currency[0]) or "EUR",
                    "platform": shop.platform,
                }
            )
            was_held = was_held or found != "ready"
            if found == "made":
                with run.state.open() as database:
                    is_refilled = ledger.forget_store(database, store.store_id) or is_refilled
    if is_refilled:  # the next run fills it, automations being held until then
        planned = {kind: number for kind, number in planned.items() if kind not in STORE_WRITES}
    kinds = {kind: planned[kind] for kind in run.esp.capabilities.writes if kind in planned}
    with run.state.open() as database:
        is_mixed = not (is_history or is_refilled or was_held) and ledger.has_quiet(database, run.run_id)
    try:
        if is_mixed:
            was_held = True
            welcomed = {kind: number for kind, number in kinds.items() if kind in WELCOMED}
            _carry_out(run, "esp", run.esp, welcomed, still_ours, is_quiet=False)
        if is_history or is_refilled or is_mixed:
            _hold(run)
        _carry_out(run, "esp", run.esp, kinds, still_ours, is_quiet=True if is_mixed else None)
    finally:
        if (is_history or was_held) and not is_refilled:
            still_ours()
            _release(run)
    if is_mixed:
        notified = {kind: number for kind, number in kinds.items() if kind in NOTIFIED}
        _carry_out(run, "esp", run.esp, notified, still_ours)
    with run.state.open() as database:
        if fact(database, LOADED_AT) is None:
            remember(database, LOADED_AT, datetime.now(UTC).isoformat())


def _hold(run: Run) -> None:
    with run.state.open() as database:
        remember(database, HELD, run.run_id)
    for store in run.stores():
        run.esp.hold_automations(store.store_id, True)


def _release(run: Run) -> None:
    for store in run.stores():
        run.esp.hold_automations(store.store_id, False)
    with run.state.open() as database:
        database.execute("delete from ops.facts where name = $1", [HELD])


@task(cache_policy=NO_CACHE, persist_result=False)
def push_back(run: Run, name: str, still_ours: Callable[[], None]) -> None:
    """Tell one shop about opt-outs, bounces and opt-ins of the ESP. Whom it would be told to be subscribed is read once more:
    who opted out there since the last sync keeps the opt-out."""
    recognise(run, name)
    shop = run.shops[name]
    with run.state.open() as database:
        planned = {
            str(row["kind"]): int(str(row["writes"])) for row in ledger.planned(database, run.run_id) if row["target"] == name
        }
        opt_ins = ledger.opt_ins_planned(database, run.run_id, name)
    for page in shop.customers_by_id(opt_ins) if opt_ins else ():
        with run.state.open() as database:
            storage.store(database, checked_customers(shop, name, page), page, run.run_id)
    _carry_out(run, name, shop, {k: planned[k] for k in SHOP_WRITES if k in planned}, still_ours)


def _carry_out(
    run: Run,
    target: str,
    connector: Esp | Shop,
    planned: dict[str, int],
    still_ours: Callable[[], None],
    *,
    is_quiet: bool | None = None,
) -> None:
    """Send planned writes kind by kind, in the order given: marked as sent, sent, settled per record. `is_quiet`: of kinds that
    may set off mails only those that bring history, or only the others."""
    for kind, number in planned.items():
        most, done = connector.capabilities.batch_size[kind], 0
        only = is_quiet if kind in (*WELCOMED, *NOTIFIED) else None
        with run.state.open() as database:
            still_ours()
            ledger.drop_unreachable(database, run.run_id, kind)
            writes = ledger.take(database, run.run_id, target, kind, most, stores=run.stores(), is_quiet=only)
        while writes:
            still_ours()
            outcomes = connector.send(kind, writes)
            done += len(writes)
            with run.state.open() as database:
                ledger.settle(database, outcomes, run.run_id)
                database.commit()  # what was heard is kept, also by a run that finds its lease gone
                database.begin()
                still_ours()
                writes = ledger.take(database, run.run_id, target, kind, most, stores=run.stores(), is_quiet=only)
            run.progress(f"{kind} to {target}", done, number)


@task(cache_policy=NO_CACHE, persist_result=False)
def balance(run: Run) -> list[dict[str, object]]:
    """Count what became of this run's writes, per target and kind; planned = acknowledged + skipped + rejected + waiting."""
    with run.state.open() as database:
        counted = ledger.outcomes(database, run.run_id)
        for row in counted:
            measures = {m: int(str(row[m])) for m in ("planned", "acknowledged", "skipped", "rejected", "waiting")}
            run.count(database, "load", f"{row['kind']} to {row['target']}", measures)
    return counted
