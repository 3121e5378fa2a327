"""Mailchimp's /batches: up to 1000 calls handed over at once, carried out later, answered in an archive.

Facts: "Run async requests with the batch endpoint" (Mailchimp's guide) and the API description, read 2026-11-22.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tasks.connector import Record, RefusedCall, TryLater
from tasks.http import Answer

log = logging.getLogger(__name__)

MOST_OPERATIONS = 1000
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.02, 10.0, 1.4
STUCK_AFTER = timedelta(days=1)
"""A batch that is unfinished after that long is not waited for: it may be another program's, and dead."""
DOWNLOADS = 3
REFUSED_WHOLE = frozenset({400, 413, 422})


@dataclass(frozen=True)
class Operation:
    """One call of a batch; `operation_id` comes back with its answer."""

    operation_id: str
    method: str
    path: str
    body: Record | None = None
    params: Record | None = None

    def json(self) -> Record:
        call: Record = {"operation_id": self.operation_id, "method": self.method, "path": self.path}
        if self.params:
            call["params"] = self.params
        if self.body is not None:
            call["body"] = orjson.dumps(self.body).decode()
        return call


@dataclass(frozen=True)
class Result:
    """What one call of a batch was answered."""

    status: int
    body: Record

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_passing(self) -> bool:
        """Not carried out, and worth another try later; 403 without JSON is Mailchimp's other word for 429."""
        return self.status == 429 or self.status >= 500 or (self.status == 403 and not self.body)

    @property
    def code(self) -> str:
        return str(self.body.get("title") or self.status)

    @property
    def text(self) -> str:
        """Title, detail and the complaints about single fields, in one line."""
        errors = self.body.get("errors")
        fields = [f"{e.get('field')}: {e.get('message')}" for e in errors if isinstance(e, dict)] if errors else []
        return " ".join([self.code, str(self.body.get("detail") or ""), *fields]).strip()


class Batches:
    """`ask(method, path, **options)` is the connector's way to call, `download(url)` fetches without credentials."""

    def __init__(
        self, ask: Callable[..., Answer], download: Callable[[str], bytes], *, longest: timedelta = timedelta(hours=2)
    ) -> None:
        self._ask, self._download, self._longest = ask, download, longest

    def run(self, operations: Sequence[Operation]) -> dict[str, Result]:
        """Answers by operation_id. Whoever got none is missing: nobody knows then whether it was carried out.

        The order within a batch is not kept. A batch is handed over once: were it sent again because its answer got lost,
        everything in it would be carried out twice; only reading may be.
        """
        found: dict[str, Result] = {}
        for start in range(0, len(operations), MOST_OPERATIONS):
            found |= self._run(operations[start : start + MOST_OPERATIONS])
        return found

    def _run(self, operations: Sequence[Operation]) -> dict[str, Result]:
        only_reads = all(operation.method == "GET" for operation in operations)
        body = {"operations": [operation.json() for operation in operations]}
        try:
            batch = self._ask("POST", "/batches", json=body, repeatable=only_reads).json
        except RefusedCall as refused:
            if refused.status not in REFUSED_WHOLE:
                raise
            # Nothing of it is carried out. Too large, or one odd operation: halve it until that one stands alone.
            if len(operations) == 1:
                explained = refused.body if isinstance(refused.body, dict) else {}
                return {operations[0].operation_id: Result(refused.status, explained)}
            half = len(operations) // 2
            return self._run(operations[:half]) | self._run(operations[half:])
        return self._results(self._finished(batch["id"]))

    def wait_for_earlier(self) -> None:
        """Return when every batch that is under way now is done, ours or another program's (nothing tells them apart)."""
        waiting: set[str] | None = None
        for _ in self._patiently():
            unfinished = set(self._unfinished())
            waiting = unfinished if waiting is None else waiting & unfinished
            if not waiting:
                return
        raise TryLater("Mailchimp has not finished the batches under way yet; run again later, they are waited for.")

    def _unfinished(self) -> Iterator[str]:
        seen = 0
        while True:
            fields = "batches.id,batches.status,batches.submitted_at,total_items"
            answer = self._ask("GET", "/batches", params={"count": 1000, "offset": seen, "fields": fields})
            page = answer.json.get("batches") or []
            for batch in page:
                submitted_at = datetime.fromisoformat(batch["submitted_at"]) if batch.get("submitted_at") else answer.asked_at
                if batch["status"] != "finished" and answer.asked_at - submitted_at.astimezone(UTC) < STUCK_AFTER:
                    yield batch["id"]
            seen += len(page)
            if not page or seen >= answer.json.get("total_items", 0):
                return

    def _finished(self, batch_id: str) -> Record:
        for _ in self._patiently():
            batch = self._get(batch_id)
            if batch["status"] == "finished":
                return batch
        # What it holds was decided long ago: it must not be done behind our back, when something else may have been decided.
        with contextlib.suppress(RefusedCall):  # it is gone
            self._ask("DELETE", f"/batches/{batch_id}")
        raise TryLater("Mailchimp did not finish a batch, so it was stopped; run again later, it is looked up first.")

    def _get(self, batch_id: str) -> Record:
        try:
            found: Record = self._ask("GET", f"/batches/{batch_id}", params={"fields": "id,status,response_body_url"}).json
        except RefusedCall as refused:
            if refused.status != 404:
                raise
            raise TryLater("Somebody stopped a batch at Mailchimp; run again later, it is looked up first.") from refused
        return found

    def _patiently(self) -> Iterator[None]:
        """Goes on as long as it is worth waiting, with a pause after each turn."""
        until = time.monotonic() + self._longest.total_seconds()
        for pause in pauses():
            yield
            if time.monotonic() + pause > until:
                return
            time.sleep(pause)

    def _results(self, batch: Record) -> dict[str, Result]:
        """The archive of a finished batch. Its address lives for minutes only; each look at the batch gives a fresh one."""
        for _ in range(DOWNLOADS):
            try:
                return _unpack(self._download(batch["response_body_url"]))
            except RefusedCall as refused:
                if refused.status not in {403, 404, 410}:
                    raise
            except (OSError, EOFError, zlib.error, tarfile.TarError, orjson.JSONDecodeError) as broken:
                log.info("The results of a batch cannot be read (%s); fetching them again", type(broken).__name__)
            batch = self._get(batch["id"])
        raise TryLater("Mailchimp's results of a batch cannot be fetched; run again later, they are looked up first.")


def pauses() -> Iterator[float]:
    """Seconds between two looks at a batch: a small one costs next to nothing, a large one at most two fifths more than its
    own time, and none is asked for more than about twenty times in its first half minute."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(LONGEST_PAUSE, pause * GROWTH)


def _unpack(archive: bytes) -> dict[str, Result]:
    found: dict[str, Result] = {}
    # Unpacked whole first: gzip checks its sum at the end only, and a cut archive must not pass for a short one.
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive)), mode="r:") as tar:
        for name in tar:
            file = tar.extractfile(name) if name.isfile() else None
            for answer in orjson.loads(file.read()) if file else []:
                found[str(answer.get("operation_id"))] = Result(int(answer["status_code"]), _body(answer.get("response")))
    return found


def _body(response: Any) -> Record:
    try:
        body = orjson.loads(response or "{}")
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}
