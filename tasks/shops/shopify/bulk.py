"""Whole listings by Shopify's bulk operations: started, waited for, fetched as one file, and put together again.

Facts: shopify.dev on bulk operations (since 2026-01 five at a time for each app and shop; results are kept for seven days), and
recorded answers. The file has a line an object; a child names its parent in `__parentId` and stands somewhere behind it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import duckdb
import orjson

from tasks.connector import Page, Record, SetupError, TryLater
from tasks.shaping import dig, instant, text, whole
from tasks.shops.shopify.queries import BULK_OPERATION, RUN_BULK, Change, Listing
from tasks.shops.shopify.wire import Reply, ShopApi, first_error

log = logging.getLogger(__name__)

PER_PAGE = 1000
MEMORY = "256MB"
"""What putting a file together may hold in memory; beyond that it goes on with files beside the download."""

FRESH = timedelta(hours=1)
"""How old a finished operation of a run that was killed may be to be used: its records are as old."""

FIRST_LOOK, LONGEST_PAUSE = 0.2, 10.0
"""Seconds between two looks whether an operation is done, growing from one to the other."""

WAITS = 30
"""An operation may take as many times our patience with a call; later a run finds it again."""

DOWNLOADS = 3
BUSY = frozenset({"OPERATION_IN_PROGRESS", "LIMIT_REACHED"})
UNDER_WAY = frozenset({"CREATED", "RUNNING", "CANCELING"})


@dataclass(frozen=True)
class Operation:
    """`asked_at` is before the call by our clock, `created_at` is Shopify's: all that the file says was true then or later."""

    operation_id: str
    asked_at: datetime
    created_at: datetime


@dataclass(frozen=True)
class Done:
    url: str | None
    roots: int | None
    objects: int | None
    answered_at: datetime


class BulkOperations:
    """Those of one shop. `folder` remembers which ones were started and not yet read to the end, for a run after a crash."""

    def __init__(self, api: ShopApi, folder: Path) -> None:
        self._api, self._folder = api, folder
        self._started: dict[str, Operation] = {}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def start(self, document: str) -> bool:
        """False when Shopify runs as many as it may."""
        if document not in self._started:
            operation = self._unfinished(document) or self._run(document)
            if operation is None:
                return False
            self._started[document] = operation
        return True

    def pages(self, listing: Listing, query: str | None = None) -> Iterator[Page]:
        """The whole listing. On the last page: the time up to which it is complete as cursor, if counting proves that it is."""
        document = listing.whole(query)
        self._wait_for_a_place(document)
        operation = self._started.pop(document)
        yield from self._read(listing, operation, self._finished(operation))
        self._mark(document).unlink(missing_ok=True)

    def _read(self, listing: Listing, operation: Operation, done: Done) -> Iterator[Page]:
        empty = Page([], operation.asked_at, done.answered_at, announced=done.roots)
        since = operation.created_at.isoformat()
        if done.url is None:
            yield replace(empty, cursor=since, complete=not done.roots)
            return
        # Named after the process: what a killed one leaves here is found, and removed, when somebody is erased.
        download = tempfile.TemporaryDirectory(prefix=f"bulk-{os.getpid()}-", dir=self._folder)
        with download as folder, _database(folder) as database:
            is_whole = self._fetch(database, done, Path(folder) / "objects.jsonl")
            held = empty
            for records in _in_pages(database, listing.children):
                if held.records:
                    yield held
                held = replace(empty, records=records)
            yield replace(held, cursor=since, complete=True) if is_whole else held

    def _fetch(self, database: duckdb.DuckDBPyConnection, done: Done, file: Path) -> bool:
        """Download and put together, again when something is missing. True when everything Shopify counted is there."""
        assert done.url is not None
        for attempt in range(1, DOWNLOADS + 1):
            self._api.save(done.url, file)
            counted = _put_together(database, file)
            if counted == (done.objects, done.roots):
                return True
            log.info("%s: a bulk file has %s objects instead of %s (%d)", self._api.name, counted, done.objects, attempt)
        return False

    def _wait_for_a_place(self, document: str) -> None:
        ends_at, pause = time.monotonic() + self._api.patience.seconds, FIRST_LOOK
        while not self.start(document):
            if time.monotonic() + pause > ends_at:
                raise TryLater(f"{self._api.name} runs as many bulk operations of this app as it may; run again later.")
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _run(self, document: str) -> Operation | None:
        asked_at = datetime.now(UTC)
        # Twice costs the shop some work and does no harm.
        answer = self._api.change([Change(RUN_BULK, {"query": document, "groupObjects": False})], repeatable=True)[0]
        if error := first_error(answer):
            code, said = error
            if code in BUSY:
                return None
            raise SetupError(f"{self._api.name} refuses a bulk operation ({code}: {said}): update shopsync, or report this.")
        found = dig(answer, "bulkOperation")
        operation_id, created_at = text(dig(found, "id")), instant(dig(found, "createdAt"))
        if not operation_id or not created_at:
            raise TryLater(f"{self._api.name} does not say which bulk operation it started; run again later.")
        self._mark(document).write_text(f"{operation_id} {asked_at.isoformat()}")
        return Operation(operation_id, asked_at, created_at)

    def _unfinished(self, document: str) -> Operation | None:
        """What an earlier run started and did not read: still under way, or done a short while ago."""
        try:
            operation_id, _, said = self._mark(document).read_text().partition(" ")
        except FileNotFoundError:
            return None
        found = self._api.call(BULK_OPERATION, {"id": operation_id}).data.get("bulkOperation")
        asked_at, created_at, status = instant(said), instant(dig(found, "createdAt")), dig(found, "status")
        if not asked_at or not created_at:
            return None
        if status in UNDER_WAY or (status == "COMPLETED" and datetime.now(UTC) - asked_at < FRESH):
            log.info("%s: going on with the bulk operation of a run that did not end", self._api.name)
            return Operation(operation_id, asked_at, created_at)
        return None

    def _finished(self, operation: Operation) -> Done:
        ends_at, pause = time.monotonic() + WAITS * self._api.patience.seconds, FIRST_LOOK
        while True:
            reply = self._api.call(BULK_OPERATION, {"id": operation.operation_id})
            if done := self._done(reply):
                return done
            if time.monotonic() + pause > ends_at:
                raise TryLater(f"{self._api.name} still works on a bulk operation; run again later, it is found again.")
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _done(self, reply: Reply) -> Done | None:
        found = reply.data.get("bulkOperation")
        match text(dig(found, "status")):
            case "COMPLETED":
                url = text(dig(found, "url"))
                return Done(url, whole(dig(found, "rootObjectCount")), whole(dig(found, "objectCount")), reply.answered_at)
            case status if status in UNDER_WAY:
                return None
            case "FAILED" if dig(found, "errorCode") == "ACCESS_DENIED":
                raise SetupError(
                    f"{self._api.name} ended a bulk operation because the app lacks access: `shopsync check` names the scopes."
                )
            case status:
                why = text(dig(found, "errorCode")) or "no reason given"
                raise TryLater(f"A bulk operation of {self._api.name} ended as {status or 'unknown'} ({why}); run again later.")

    def _mark(self, document: str) -> Path:
        name = hashlib.sha256("\n".join((self._api.site, document)).encode()).hexdigest()[:16]
        return self._folder / f"{name}.bulk"


def _database(folder: str) -> duckdb.DuckDBPyConnection:
    """One thread: rows are numbered as they stand in the file, and the memory of a second one is better spent on rows."""
    return duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": folder, "threads": 1})


def _put_together(database: duckdb.DuckDBPyConnection, file: Path) -> tuple[int, int]:
    """How many objects, and how many of them roots, the file holds; those that belong nowhere do not count."""
    database.execute("set variable file = $1", [str(file)])
    database.execute(f"create or replace table objects as {_sql()}")
    counted = database.execute("select count(root), count(root) filter (not is_child) from objects").fetchone()
    assert counted is not None
    return counted[0], counted[1]


def _in_pages(database: duckdb.DuckDBPyConnection, children: str | None) -> Iterator[list[Record]]:
    """Each root with its children below `nodes`, as pages of the API have them."""
    rows = database.execute("select json, is_child from objects where root is not null order by root, is_child, line")
    records: list[Record] = []
    while block := rows.fetchmany(PER_PAGE):
        for line, is_child in block:
            record = orjson.loads(line)
            if is_child:
                del record["__parentId"]
                records[-1][children or ""]["nodes"].append(record)
                continue
            if len(records) == PER_PAGE:
                yield records
                records = []
            records.append(record | {children: {"nodes": []}} if children else record)
    if records:
        yield records


@cache
def _sql() -> str:
    return Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
