"""Plans that wait for an approval: decisions that a flow may not carry out by itself, stored under a hash of what they say.

Approving is naming the hash. What is carried out then is what was shown: a decision that came out otherwise meanwhile is part
of another plan, with another hash.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tasks import rules
from tasks.connector import SetupError
from tasks.state import Database, rows

CHANGED_AT_MOST = 0.05
"""Where more of a plan was decided otherwise since it was shown, its approval is not taken."""


def approve(database: Database, plan_id: str, flow: str, at: datetime) -> None:
    """Approve a stored plan of a flow, after the merge that tells how much of it still holds.

    Raises SetupError for a plan that is not known, belongs to the other flow, or does not hold any more.
    """
    held = rows(database, "select flow from merge.plans where plan_id = $1", [plan_id])
    if not held:
        raise SetupError(f"there is no plan {plan_id}: `shopsync plan` shows what waits for an approval now, and its hash.")
    if held[0]["flow"] != flow:
        command = {"forward": "sync", "reverse": "reverse"}[held[0]["flow"]]
        raise SetupError(f"plan {plan_id} is one of the other flow: run `shopsync {command} CONNECTION --plan {plan_id}`.")
    (count,) = rows(
        database,
        """
        select count(*) as planned, count(*) filter (where decisions.address is null) as changed
        from merge.plan_rows as held
        left join (from merge.decisions where is_last) as decisions using (address, channel, decision_id)
        where held.plan_id = $1
        """,
        [plan_id],
    )
    if count["changed"] > CHANGED_AT_MOST * count["planned"]:
        raise SetupError(
            f"{count['changed']:,} of the {count['planned']:,} decisions of plan {plan_id} came out otherwise since: look at "
            "the present plan with `shopsync plan`, and approve that one."
        )
    database.execute("update merge.plans set approved_at = coalesce(approved_at, $1) where plan_id = $2", [at, plan_id])


def keep(database: Database, run_id: str, flow: str, at: datetime) -> dict[str, Any] | None:
    """Store what of a flow waits as a plan, in place of the one that waited before.

    Returns {"plan", "flow", "people", "changes": [{"side", "status_before", "status_after", "rule", "guard", "sentence",
    "people"}]}, or None when nothing waits.
    """
    rules.build(database, ["waiting"])
    (found,) = rows(
        database,
        """
        select
            left(sha256(string_agg(
                concat_ws('|', decision_id, address, channel, status_before, status_after, rule), ';' order by decision_id
            )), 12) as plan_id,
            count(distinct address) as people
        from waiting where flow = $1
        """,
        [flow],
    )
    database.execute(
        """
        delete from merge.plan_rows where plan_id in (
            select plan_id from merge.plans where flow = $1 and approved_at is null
        )
        """,
        [flow],
    )
    database.execute("delete from merge.plans where flow = $1 and approved_at is null", [flow])
    if found["plan_id"] is None:
        return None
    database.execute("insert into merge.plans values ($1, $2, $3, $4, null)", [found["plan_id"], run_id, flow, at])
    database.execute(
        """
        insert into merge.plan_rows by name
        select $plan_id as plan_id, * exclude (side, flow, sentence) from waiting where flow = $flow
        """,
        {"plan_id": found["plan_id"], "flow": flow},
    )
    changes = rows(
        database,
        """
        select
            side, status_before, status_after, rule, guard, min(sentence) as sentence, count(distinct address) as people
        from waiting where flow = $1 group by all order by people desc, rule
        """,
        [flow],
    )
    return {"plan": found["plan_id"], "flow": flow, "people": found["people"], "changes": changes}


def sample(database: Database, run_id: str, each: int) -> list[dict[str, Any]]:
    """Some of the people whom the writes planned by a run, and what waits, concern: `each` per kind of change, the same ones
    each time for the same plan. Returns {"side", "status_before", "status_after", "rule", "address", "waits"}."""
    return rows(
        database,
        """
        with concerned as (
            select
                if(writes.target = 'esp', 'esp', 'shop') as side, decisions.rule, decisions.address, false as waits,
                if(writes.target = 'esp', decisions.esp_status, decisions.shop_status) as status_before,
                if(writes.target = 'esp', decisions.set_esp, decisions.set_shop) as status_after
            from load.writes as writes
            inner join merge.decisions as decisions on writes.decision_id = decisions.decision_id
            where writes.run_id = $run_id
            union
            select
                if(plans.flow = 'forward', 'esp', 'shop'), held.rule, held.address, true,
                held.status_before, held.status_after
            from merge.plan_rows as held
            inner join merge.plans as plans on held.plan_id = plans.plan_id
            where plans.approved_at is null
        )
        select side, status_before, status_after, rule, address, waits
        from concerned
        qualify row_number() over (
            partition by side, status_before, status_after, rule, waits order by md5(address)
        ) <= $each
        order by all
        """,
        {"run_id": run_id, "each": each},
    )
