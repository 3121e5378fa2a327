"""What every flow does around its steps: open the connection, write down the run and how it ended, say what was done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from prefect.context import FlowRunContext
from prefect.states import Completed

from flows.blocks import read_block
from flows.pages import changes
from flows.watching import Watcher, announce, tell
from schemas.settings import SettingsError, read_settings
from tasks import chain, privacy
from tasks.connector import SetupError, TryLater
from tasks.run import Run, open_run
from tasks.state import Database, rows

CONFIG = "SHOPSYNC_CONFIG"


def config_path() -> Path:
    """Where shopsync.toml is: named by SHOPSYNC_CONFIG, else in the current folder."""
    return Path(os.environ.get(CONFIG, "shopsync.toml"))


@contextlib.contextmanager
def running(flow: str, connection: str, *, full: bool = False) -> Iterator[Run]:
    """Open a connection for a run, and write down its outcome, whatever it is.

    Raises SetupError for settings that cannot be used.
    """
    try:
        settings = read_settings(config_path())
        run = open_run(settings, connection, flow, environment=os.environ, read_block=read_block, full=full, progress=Watcher())
    except SettingsError as error:
        raise SetupError(str(error)) from error
    with run.state.open() as database:
        database.execute(
            "insert into ops.runs values ($1, $2, $3, null, null, null, $4)",
            [run.run_id, flow, run.started_at, run.connection.policy],
        )
    try:
        privacy.finish(run)
        yield run
    except BaseException as error:
        outcome = "setup_error" if isinstance(error, SetupError) else "try_later" if isinstance(error, TryLater) else "defect"
        _end(run, outcome, str(error) or type(error).__name__)
        chain.seal(run.state, run.run_id)  # a run that ended well has closed it in its report
        raise
    _end(run, None, None)


def _end(run: Run, outcome: str | None, message: str | None) -> None:
    """Write down how a run ended; without an outcome it was done, but for what waits for somebody."""
    with run.state.open() as database:
        if outcome is None:
            is_waiting, is_rejected = (counted(database, run.run_id, measure) for measure in ("awaiting_approval", "rejected"))
            outcome = "awaiting_approval" if is_waiting else "rejected_rows" if is_rejected else "done"
        database.execute(
            "update ops.runs set ended_at = $1, outcome = $2, message = $3 where run_id = $4",
            [datetime.now(UTC), outcome, message, run.run_id],
        )


def counted(database: Database, run_id: str, measure: str) -> int:
    """What a run counted, all in all: `rejected` are rows on their way in, and writes that the other side wants corrected."""
    row = database.execute(
        "select coalesce(sum(rows), 0) from ops.run_counts where run_id = $1 and measure = $2", [run_id, measure]
    ).fetchone()
    return int(row[0]) if row else 0


def report(run: Run, decided: dict[str, Any], writes: list[dict[str, Any]]) -> dict[str, Any]:
    """What a run did, as a dictionary for the command line and as tables for the Prefect UI. It holds no address.

    The chain of events is closed first: its head, known to whoever keeps these results, proves them later.
    """
    end = chain.seal(run.state, run.run_id)
    with run.state.open() as database:
        extracted = rows(
            database,
            """
            pivot (select entity, measure, rows from ops.run_counts where run_id = $1 and stage = 'extract')
            on measure in ('extracted', 'changed', 'unchanged', 'rejected') using sum(rows) group by entity order by entity
            """,
            [run.run_id],
        )
        rejected = counted(database, run.run_id, "rejected")
        erased, found_again = (counted(database, run.run_id, measure) for measure in ("erased", "found_again"))
        requests = rows(
            database,
            """
            select kind, customer_id is null and address is null as is_whole_shop, count(*) as people, min(due_at) as due_at
            from ops.privacy_requests where done_at is null group by all order by all
            """,
        )
    tell(f"{run.name}-{run.flow}-read", extracted, "What was read, and what became of it.")
    tell(f"{run.name}-{run.flow}-decided", changes(decided["transitions"]), "Who changes, and by which rule.")
    for plan in decided["waiting"]:
        tell(f"{run.name}-{run.flow}-waiting", changes(plan["changes"]), f"What waits for an approval, as plan {plan['plan']}.")
        announce(run.name, plan)
    tell(f"{run.name}-{run.flow}-written", writes, "What was written, and what became of it.")
    tell(f"{run.name}-{run.flow}-chain", [vars(end)], "The head of the chain that proves the consent events.")
    return {
        "connection": run.name,
        "flow": run.flow,
        "run_id": run.run_id,
        "read": extracted,
        "people": decided["people"],
        "needs_confirmation": decided["needs_confirmation"],
        "transitions": decided["transitions"],
        "writes": writes,
        "waiting": decided["waiting"],
        "rejected": rejected,
        "erased": erased,
        "found_again": found_again,
        "requests": requests,
        "chain": vars(end),
    }


def ended(result: dict[str, Any]) -> dict[str, Any]:
    """What a flow returns. One that leaves a plan waiting ends in a state that says so, for whoever looks in the Prefect UI."""
    if not result["waiting"] or FlowRunContext.get() is None:
        return result
    plans = ", ".join(f"plan {plan['plan']} ({plan['people']:,} people)" for plan in result["waiting"])
    message = f"{plans}: run this flow with the plan's hash to approve it."
    state: Any = Completed(name="AwaitingApproval", message=message, data=result)
    return cast("dict[str, Any]", state)  # Prefect hands the caller of a flow the data of the state that it returns
