"""Steps that decide: merge everything known into one decision for everybody, and plan what a flow has to write."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import ledger, merge, plans, rules, scope
from tasks.merge import Choices, Store
from tasks.run import Run
from tasks.state import LOADED_AT, Database, fact, rows


@task(cache_policy=NO_CACHE, persist_result=False)
def merge_and_plan(run: Run, flow: str | None = None, approved: str | None = None) -> dict[str, Any]:
    """Decide for everybody and plan this flow's writes; in a dry run, which names none, those of both.

    Returns {"people", "decided", "transitions": [...], "writes": [{"target", "kind", "writes"}], "needs_confirmation",
    "waiting": [...]}; what waits for an approval as `tasks.plans.keep` tells it. `approved` is the hash of a plan to carry out.
    Raises BrokenPromiseError; SetupError for a plan that cannot be approved.
    """
    with run.state.open() as database:
        loaded_at = fact(database, LOADED_AT)
        choices = run.choices(datetime.fromisoformat(loaded_at) if loaded_at else None)
        at = datetime.now(UTC)
        counts = decide_and_plan(
            database, flow, choices, run.stores(), run_id=run.run_id, at=at, whole=run.full, approved=approved
        )
        kept = [plans.keep(database, run.run_id, each, at) for each in ([flow] if flow else scope.FLOWS)]
        planned = ledger.planned(database, run.run_id)
        for row in planned:
            number = int(str(row["writes"]))  # it balances from here on, also when the run is killed
            run.count(database, "load", f"{row['kind']} to {row['target']}", {"planned": number, "waiting": number})
        waiting = [plan for plan in kept if plan]
        run.count(database, "merge", "people", counts | {"awaiting_approval": sum(plan["people"] for plan in waiting)})
        return {
            **counts,
            "transitions": ledger.transitions(database, run.run_id),
            "writes": planned,
            "needs_confirmation": ledger.needs_confirmation(database),
            "waiting": waiting,
        }


def decide_and_plan(
    database: Database,
    flow: str | None,
    choices: Choices,
    stores: list[Store],
    *,
    run_id: str,
    at: datetime,
    whole: bool,
    approved: str | None = None,
) -> dict[str, int]:
    """Decide for those whom something touched, or for everybody, and plan what follows for a flow, or for both in a dry run."""
    flows, basis = ((flow,) if flow else scope.FLOWS), merge.basis(choices, stores)
    merge.bind_run(database, run_id, at, choices, stores)
    is_part = not whole and scope.may_narrow(database, flows, basis, at)
    if is_part:
        scope.narrow(database, flow)
    counts = merge.decide(database)
    if approved and flow:
        plans.approve(database, approved, flow, at)
    for each in flows:
        ledger.plan(database, each, is_dry=flow is None)
    if flow:
        scope.conclude(database, flow, basis, at, was_whole=not is_part)
    return counts


def decided_otherwise(run: Run, policy: str) -> dict[str, Any]:
    """Who would be decided otherwise under another policy, over all that the state knows; nothing is kept, read or sent.

    Returns {"policy", "instead_of", "people", "changes": [...]}, rows as in the model; people and changes are None when nothing
    has been read yet, so that nobody can tell. Raises SetupError for a policy that cannot be used.
    """
    with run.state.open() as database:
        told = {"connection": run.name, "policy": policy, "instead_of": run.connection.policy, "people": None, "changes": None}
        loaded_at = fact(database, LOADED_AT)
        choices = run.choices(datetime.fromisoformat(loaded_at) if loaded_at else None)
        merge.bind_run(database, run.run_id, datetime.now(UTC), choices, run.stores())
        other = rules.load_policy(policy)
        rules.build(database, rules.MERGE[: rules.MERGE.index("decisions") + 1])
        database.execute("create temp table decisions_now as from decisions")
        rules.bind(database, "policy", other)
        rules.build(database, ["decisions"])
        (count,) = rows(database, "select count(*) as people from decisions")
        if count["people"]:
            found = f"from ({rules.model('decided_otherwise')}) order by side, people desc, rule"
            told |= count | {"changes": rows(database, found)}
        return told
