"""The forward flow: what the shops know goes to the ESP, after what people said at the ESP has been heard."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.running import ended, report, running
from tasks.decide import merge_and_plan
from tasks.extract import drain_esp, extract_shop, import_inbox
from tasks.lease import lease
from tasks.load import balance, load_esp, settle_leftovers
from tasks.privacy import carry_out_erasures
from tasks.publish import publish


@flow(name="forward", flow_run_name="forward {connection}", persist_result=False)
def forward(connection: str, full: bool = False, plan: str | None = None) -> dict[str, Any]:
    """Sync a connection's customers and orders to its ESP; `full` reads everything again and triggers nothing there.

    `plan` is the hash of a plan that waits for approval: naming it approves what it says, and that is carried out as well.
    """
    with running("forward", connection, full=full) as run, lease(run.state.folder, "forward", run.run_id) as still_ours:
        settle_leftovers(run)
        drain_esp(run)
        for shop in run.shops:
            extract_shop(run, shop)
        import_inbox(run)
        carry_out_erasures(run)
        decided = merge_and_plan(run, "forward", plan)
        load_esp(run, still_ours)
        done = report(run, decided, balance(run))
    publish(run)
    return ended(done)


@flow(name="plan", flow_run_name="plan {connection}", persist_result=False)
def plan(connection: str, full: bool = False) -> dict[str, Any]:
    """The same up to the first write to either side: what `forward` and `reverse` would send now."""
    with running("plan", connection, full=full) as run, lease(run.state.folder, "forward", run.run_id):
        drain_esp(run)
        for shop in run.shops:
            extract_shop(run, shop)
        import_inbox(run)
        decided = merge_and_plan(run)
        done = report(run, decided, decided["writes"])
    publish(run)
    return done
