"""The step that publishes: a read-only copy for analysts, swapped in under a link: no run waits, nobody sees half a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.run import Run
from tasks.snapshot import LINK, copy_into, swap_in
from tasks.state import Database, fact, remember


@task(cache_policy=NO_CACHE, persist_result=False)
def publish(run: Run) -> Path | None:
    """Publish the state as a snapshot when this run changed something and the last snapshot is not too fresh.

    Returns the snapshot's path, or None when there was nothing to publish.
    """
    folder = run.state.folder / "snapshots"
    folder.mkdir(exist_ok=True, mode=0o700)
    new = folder / f"{run.run_id}.duckdb"
    with run.state.open() as database:
        if (run.state.folder / LINK).exists() and not _is_due(run, database):
            return None
        database.execute(f"attach '{new}' as snapshot")
        copy_into(database)
        database.commit()
        database.execute("detach snapshot")
        database.begin()
        remember(database, "published_at", datetime.now(UTC).isoformat())
    swap_in(run.state.folder, new)
    return new


def _is_due(run: Run, database: Database) -> bool:
    changed = database.execute(
        """
        select count(*) from ops.run_counts
        where run_id = $1 and measure in ('changed', 'decided', 'rejected', 'planned') and rows > 0
        """,
        [run.run_id],
    ).fetchone()
    last = fact(database, "published_at")
    every = timedelta(minutes=run.connection.publish_every_minutes)
    return bool(changed and changed[0]) and (last is None or datetime.now(UTC) - datetime.fromisoformat(last) >= every)
