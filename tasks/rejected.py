"""Rejected rows: where they can be found again, and how they are tried again without asking the other side."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.esp import Contacts
from schemas.shop import Customers, Orders, Products
from tasks import storage
from tasks.connector import Page
from tasks.run import Run
from tasks.state import rows
from tasks.validate import check

_MODELS = {"customers": Customers, "orders": Orders, "products": Products, "contacts": Contacts}


def retry(run: Run) -> dict[str, int]:
    """Shape, check and store the kept records again, and let refused writes be planned again by the next run.

    For rows that were rejected for what shopsync.toml said (a consent value that no list named, for example). What must be
    corrected at its source comes by itself when it changes there. Returns how many of each were tried and are rejected still.
    """
    with run.state.open() as database:
        kept = rows(
            database, "select distinct source, entity, record_id, record, rejected_at from ops.rejected_rows order by all"
        )
        tried_writes = database.execute("select count(*) from load.held where state = 'rejected'").fetchone()
        database.execute("delete from load.held where state = 'rejected'")
    still = 0
    for source, entity in sorted({(row["source"], row["entity"]) for row in kept}):
        still += _again(run, source, entity, [row for row in kept if (row["source"], row["entity"]) == (source, entity)])
    return {"rows": len(kept), "still_rejected": still, "writes": int(tried_writes[0]) if tried_writes else 0}


def _again(run: Run, source: str, entity: str, kept: list[dict[str, Any]]) -> int:
    """Try the records of one entity again; the lines of an order are tried with their order."""
    if entity not in _MODELS or (source != "esp" and source not in run.shops):
        return len(kept)
    records = [orjson.loads(row["record"]) for row in kept]
    page = Page(records, min(row["rejected_at"] for row in kept), max(row["rejected_at"] for row in kept))
    connector = run.esp if source == "esp" else run.shops[source]
    frame = getattr(connector, f"to_{entity}")(records)
    key = storage.ENTITIES[entity].key[-1] if entity != "products" else "product_id"
    checked = check(frame, _MODELS[entity], records, source=source, entity=entity, key=key)
    with run.state.open() as database:
        return storage.store(database, checked, page, run.run_id).rejected
