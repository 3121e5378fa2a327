"""Whole frames checked at the border, all failures together. A bad row never fails a run: it is set aside with advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import orjson
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from tasks.connector import Record

ADVICE = "Correct this value at its source; the record is read again when it changes."


@dataclass(frozen=True)
class Checked:
    """A frame after the check: the `good` rows, and the `rejected` ones with one row per failed check.

    `rejected` has the columns record_id, field, check_name, advice and record (the raw record, whole, as JSON). `refused` are
    the rejected rows as they were shaped. A row that failed only in fields that it can do without (`keeps_row` in the schema)
    is good, these fields being null, and stands in `rejected` with what to correct.
    """

    source: str
    entity: str
    good: pl.DataFrame
    rejected: pl.DataFrame
    extracted: int
    refused: pl.DataFrame = field(default_factory=pl.DataFrame)

    def without(self, key: str, ids: pl.Series) -> Checked:
        """The same with these records' rows left out: rows of another entity that belong to them failed."""
        return replace(self, good=self.good.filter(~pl.col(key).is_in(ids.to_list())))


def check(
    frame: pl.DataFrame, model: type[pa.DataFrameModel], records: Sequence[Record], *, source: str, entity: str, key: str
) -> Checked:
    """Check a frame. Where row i was shaped from record i, a rejected row keeps that record, else its own values.

    Values are checked on collected frames only: pandera lets a LazyFrame pass with anything in it.
    """
    failures = _failures(frame, model)
    spared = [name for name, column in model.to_schema().columns.items() if (column.metadata or {}).get("keeps_row")]
    at = failures["row"]
    whole = records if len(records) == frame.height else None
    kept = [orjson.dumps(whole[i] if whole else frame.row(i, named=True), default=str).decode() for i in at.to_list()]
    rejected = failures.select(
        frame[key].cast(pl.String).fill_null("?").gather(at).alias("record_id"),
        "field",
        "check_name",
        "advice",
        pl.Series("record", kept, pl.String),
    )
    numbers = pl.int_range(pl.len())
    failed = frame.select(numbers.is_in(failures.filter(~pl.col("field").is_in(spared))["row"].to_list())).to_series()
    emptied = [
        pl.when(~numbers.is_in(failures.filter(field=name)["row"].to_list())).then(name).alias(name)
        for name in set(spared) & set(failures["field"])
    ]
    frame = frame.with_columns(emptied)
    return Checked(source, entity, frame.filter(~failed), rejected, frame.height, frame.filter(failed))


def _failures(frame: pl.DataFrame, model: type[pa.DataFrameModel]) -> pl.DataFrame:
    """One row per row number, field and failed check."""
    found: list[dict[str, object]] = []
    columns = model.to_schema().columns
    try:
        model.validate(frame, lazy=True)
    except SchemaErrors as errors:
        for failure in errors.failure_cases.iter_rows(named=True):
            if failure["index"] is None:
                raise  # a column is missing or has another type: a defect of the connector, not of the data
            field = str(failure["column"])
            advice = (columns[field].metadata or {}).get("advice", ADVICE)
            found.append({"row": failure["index"], "field": field, "check_name": str(failure["check"]), "advice": advice})
    return pl.DataFrame(
        found, schema={"row": pl.Int64, "field": pl.String, "check_name": pl.String, "advice": pl.String}, orient="row"
    )
