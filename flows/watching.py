"""Who watches a run: listeners hear every step's progress; Prefect keeps it as progress artifacts and says what was done."""

from __future__ import annotations

import logging
import re
import time
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.events import emit_event

from tasks.connector import ConnectorError
from tasks.run import Progress

LISTENERS: list[Progress] = []
"""Called with (step, done, total) in the run's own process: the terminal's progress bars."""

EVERY_SECONDS = 2.0


class Watcher:
    """Passes progress on: to the listeners at once, to Prefect every other second, since each update is a call."""

    def __init__(self) -> None:
        self._artifacts: dict[str, UUID] = {}
        self._told_at: dict[str, float] = {}

    def __call__(self, step: str, done: int, total: int | None) -> None:
        for listener in LISTENERS:
            listener(step, done, total)
        is_last = total is not None and done >= total
        if FlowRunContext.get() is None or not (is_last or time.monotonic() - self._told_at.get(step, 0) > EVERY_SECONDS):
            return
        self._told_at[step] = time.monotonic()
        share = min(100.0, 100.0 * done / total) if total else 0.0
        description = f"{step}: {done:,}" + (f" of {total:,}" if total else "")
        if step in self._artifacts:
            update_progress_artifact(self._artifacts[step], share, description)
        else:
            made = create_progress_artifact(share, key=slug(f"progress-{step}"), description=description)
            assert isinstance(made, UUID)
            self._artifacts[step] = made


def tell(key: str, table: list[dict[str, Any]], description: str) -> None:
    """Leave a table at the run, and its lines in the run's log, for whoever opens it in the Prefect UI."""
    if FlowRunContext.get() is None or not table:
        return
    create_table_artifact(table=table, key=slug(key), description=description)
    log = get_run_logger()
    for row in table:
        words = " · ".join(value for value in row.values() if isinstance(value, str))
        numbers = ", ".join(f"{name} {value:,}" for name, value in row.items() if isinstance(value, int))
        log.info("%s: %s", words, numbers)


WAITS = "shopsync.plan.waits"


def announce(connection: str, plan: dict[str, Any]) -> None:
    """Emit the Prefect event that a plan waits for an approval, for automations that tell somebody: the resource is the
    connection (`shopsync.connection.NAME`), the payload says how many people, which guards, and the plan's hash."""
    if FlowRunContext.get() is None:
        return
    emit_event(
        event=WAITS,
        resource={"prefect.resource.id": f"shopsync.connection.{connection}", "prefect.resource.name": connection},
        payload={
            "plan": plan["plan"],
            "flow": plan["flow"],
            "people": plan["people"],
            "guards": sorted({row["guard"] for row in plan["changes"]}),
        },
    )


def slug(name: str) -> str:
    """Artifact keys hold lower-case letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


class _OneSentence(logging.Filter):
    """What somebody must mend, or what is to be tried later, is a sentence and no traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, ConnectorError):
            record.msg, record.args, record.exc_info, record.exc_text = str(error), (), None, None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_OneSentence())
