"""The reverse flow: what people said at the ESP goes back to the shops: opt-outs, hard bounces, complaints, opt-ins."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.running import ended, report, running
from tasks.decide import merge_and_plan
from tasks.extract import drain_esp
from tasks.lease import lease
from tasks.load import balance, push_back, settle_leftovers
from tasks.publish import publish


@flow(name="reverse", flow_run_name="reverse {connection}", persist_result=False)
def reverse(connection: str, plan: str | None = None) -> dict[str, Any]:
    """Tell a connection's shops what changed at the ESP. It has its own schedule and waits for no forward run.

    `plan` is the hash of a plan that waits for approval: naming it approves what it says, and that is carried out as well.
    """
    with running("reverse", connection) as run, lease(run.state.folder, "reverse", run.run_id) as still_ours:
        settle_leftovers(run)
        drain_esp(run)
        decided = merge_and_plan(run, "reverse", plan)
        for shop in run.shops:
            push_back(run, shop, still_ours)
        done = report(run, decided, balance(run))
    publish(run)
    return ended(done)
