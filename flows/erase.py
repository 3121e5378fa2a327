"""Erasing a person: not a Prefect flow, for what Prefect is told of a run must name nobody."""

from __future__ import annotations

from typing import Any

from flows.running import running
from tasks import privacy
from tasks.lease import lease


def erase(connection: str, email: str, at_esp: str | None = None) -> dict[str, Any]:
    """Erase a person now, with everybody whose request waits. Returns what `privacy.carry_out` tells.

    Raises TryLater while a run is at work, or where the ESP does not answer: the request is kept, and the next sync does it.
    """
    with running("erase", connection) as run:
        how = privacy.how_at_esp(run, at_esp)
        privacy.ask(run, email, how)
        with lease(run.state.folder, "forward", run.run_id), lease(run.state.folder, "reverse", run.run_id):
            privacy.settle_all(run)
            return {"connection": run.name} | privacy.carry_out(run)
