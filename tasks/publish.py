"""The step that publishes: a read-only copy for analysts, swapped in under a link: no run waits, nobody sees half a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.run import Run
from tasks.snapshot import LINK, copy_into, digest, new_file, swap_in
from tasks.state import Database, fact, quoted, remember


@task(cache_policy=NO_CACHE, persist_result=False)
def publish(run: Run) -> Path | None:
    """Publish the state as a snapshot when that would show something else than the last one, and that one is not too fresh.

    Returns the snapshot's path, or None when there was nothing to publish.
    """
    with run.state.open() as database:
        shown = digest(database)
        if (run.state.folder / LINK).exists() and not _is_due(run, database, shown):
            return None
        new = new_file(run.state.folder, run.run_id)
        database.execute(f"attach {quoted(str(new))} as snapshot")
        copy_into(database)
        database.commit()
        database.execute("detach snapshot")
        database.begin()
        swap_in(run.state.folder, new)
        remember(database, "published_digest", shown)
        remember(database, "published_at", datetime.now(UTC).isoformat())
    return new


def _is_due(run: Run, database: Database, shown: str) -> bool:
    """What would be shown is compared, not what this run did: the last run may have come too early, or been killed before it
    published."""
    last = fact(database, "published_at")
    every = timedelta(minutes=run.connection.publish_every_minutes)
    is_changed = fact(database, "published_digest") != shown
    return is_changed and (last is None or datetime.now(UTC) - datetime.fromisoformat(last) >= every)
