"""Batch operations: /batches, their worker, and the archives with the results."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

from sandbox.mailchimp.rules import Books
from sandbox.mailchimp.wire import Ask, Json, Problem, Routes, Schema, check_body, invalid, not_found, stamp

BATCH: Schema = {
    "operations*": [
        {
            "method*": ("GET", "POST", "PUT", "PATCH", "DELETE"),
            "path*": "string",
            "params": "object",
            "body": "string",
            "operation_id": "string",
        }
    ]
}
OPERATIONS_MOST, OPEN_MOST = 1000, 500
AT_ONCE = 25
"""Operations carried out before the lock is given free for a moment."""
PER_FILE = 400
"""Results per file of the archive; a large batch has several files."""

Run = Callable[[str, str, dict[str, str], bytes | None], tuple[int, bytes]]


@dataclass
class Batch:
    id: str
    operations: list[Json]
    submitted: datetime
    status: str = "pending"
    results: list[Json] = field(default_factory=list)
    errored: int = 0
    completed: datetime | None = None


class Batches:
    """`seconds` is how long a batch takes from pending to finished at least; `lives` how long an archive's URL works."""

    def __init__(self, books: Books, lock: threading.RLock, run: Run, *, seconds: float, lives: timedelta, seed: int) -> None:
        self.books, self.lock, self._run = books, lock, run
        self.seconds, self.lives = seconds, lives
        self.batches: dict[str, Batch] = {}
        self.links: dict[str, tuple[str, datetime]] = {}
        self._random = random.Random(seed)
        self._waiting: list[Batch] = []
        self._worker: threading.Thread | None = None

    def routes(self, routes: Routes) -> None:
        routes.add("/batches", get=self.list_all, post=self.submit)
        routes.add("/batches/{}", get=self.show, delete=self.delete)

    def submit(self, ask: Ask) -> Json:
        body = check_body(BATCH, ask.body)
        if len(body["operations"]) > OPERATIONS_MOST:
            raise invalid(("operations", f"Array must contain at most {OPERATIONS_MOST} items"))  # our words
        if sum(b.status != "finished" for b in self.batches.values()) >= OPEN_MOST:
            raise Problem(429, "Too Many Requests", f"You have more than {OPEN_MOST} pending batches.")  # our words
        batch_id = hashlib.md5(f"batch{next(self.books.serial)}".encode(), usedforsecurity=False).hexdigest()[:10]
        made = Batch(batch_id, body["operations"], self.books.now())
        self.batches[batch_id] = made
        self._waiting.append(made)
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="mailchimp-batches", daemon=True)
            self._worker.start()
        return self._show(made, ask)

    def list_all(self, ask: Ask) -> Json:
        return ask.page(list(self.batches.values()), lambda b: self._show(b, ask), "batches")

    def _get(self, batch_id: str) -> Batch:
        if batch_id not in self.batches:
            raise not_found()
        return self.batches[batch_id]

    def show(self, ask: Ask, batch_id: str) -> Json:
        return self._show(self._get(batch_id), ask)

    def delete(self, ask: Ask, batch_id: str) -> None:
        """Stops it; what has been carried out stays carried out."""
        self._get(batch_id)
        del self.batches[batch_id]

    def _show(self, batch: Batch, ask: Ask) -> Json:
        url = ""
        if batch.status == "finished":  # each look gives a fresh address [docs]
            token = hashlib.sha256(f"{batch.id}/{next(self.books.serial)}".encode()).hexdigest()
            self.links[token] = (batch.id, self.books.clock() + self.lives)
            url = f"{ask.base.removesuffix('/3.0')}/batch-archives/{token}.tar.gz"
        return {
            "id": batch.id,
            "status": batch.status,
            "total_operations": 0 if batch.status == "pending" else len(batch.operations),
            "finished_operations": len(batch.results),
            "errored_operations": batch.errored,
            "submitted_at": stamp(batch.submitted),
            "completed_at": stamp(batch.completed),
            "response_body_url": url,
            "_links": [{"rel": "self", "href": f"{ask.base}/batches/{batch.id}", "method": "GET"}],
        }

    def archive(self, token: str) -> bytes | None:
        """The gzipped tar behind an address, or None when it has expired."""
        batch_id, until = self.links.get(token, ("", self.books.clock()))
        if batch_id not in self.batches or self.books.clock() >= until:
            return None
        results, packed = self.batches[batch_id].results, io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            folder = tarfile.TarInfo(f"{batch_id}/")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
            for at in range(0, max(len(results), 1), PER_FILE):
                content = orjson.dumps(results[at : at + PER_FILE])
                one = tarfile.TarInfo(
                    f"{batch_id}/{hashlib.md5(str(at).encode(), usedforsecurity=False).hexdigest()[:10]}.json"
                )
                one.size = len(content)
                tar.addfile(one, io.BytesIO(content))
        return gzip.compress(packed.getvalue(), compresslevel=1)

    # The worker

    def _work(self) -> None:
        while True:
            with self.lock:
                if not self._waiting:
                    self._worker = None
                    return
                # Batches are worked off in no promised order, nor are the operations of one.
                batch = self._waiting.pop(self._random.randrange(len(self._waiting)))
            self._carry_out(batch)

    def _carry_out(self, batch: Batch) -> None:
        time.sleep(self.seconds / 4)
        batch.status = "preprocessing"
        time.sleep(self.seconds / 4)
        batch.status = "started"
        order = list(batch.operations)
        self._random.shuffle(order)
        for at in range(0, len(order), AT_ONCE):
            with self.lock:
                if batch.id not in self.batches:
                    return
                for operation in order[at : at + AT_ONCE]:
                    self._operate(batch, operation)
            time.sleep(0)
        time.sleep(self.seconds / 4)
        batch.status = "finalizing"
        time.sleep(self.seconds / 4)
        with self.lock:
            batch.completed, batch.status = self.books.now(), "finished"

    def _operate(self, batch: Batch, operation: Json) -> None:
        params = {k: _word(v) for k, v in operation.get("params", {}).items()}
        body = operation["body"].encode() if "body" in operation else None
        path = "/" + operation["path"].strip("/")
        status, answer = self._run(operation["method"], path, params, body)
        batch.errored += not 200 <= status < 300
        batch.results.append(
            {"status_code": status, "operation_id": operation.get("operation_id"), "response": answer.decode()}
        )


def _word(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
