"""Whole frames at the border: bad rows are set aside whole, with advice, and never fail a run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import polars as pl
import pytest
from pandera.errors import SchemaErrors

from schemas.shop import Customers
from tasks.validate import check

NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
SCHEMA: dict[str, Any] = {name: column.dtype.type for name, column in Customers.to_schema().columns.items()}


def customers(*rows: dict[str, Any]) -> pl.DataFrame:
    blank = dict.fromkeys(SCHEMA) | {"shop": "shop", "created_at": NOON}
    return pl.DataFrame([blank | row for row in rows], schema=SCHEMA, orient="row")


def checked(frame: pl.DataFrame, records: list[dict[str, Any]] | None = None) -> Any:
    return check(frame, Customers, records or [], source="shop", entity="customers", key="customer_id")


def test_good_rows_pass_as_they_are() -> None:
    frame = customers({"customer_id": "1", "email": "Anna@x.example", "address": "anna@x.example", "consent": "in"})
    result = checked(frame)
    assert result.good.equals(frame)
    assert result.rejected.is_empty()
    assert result.refused.is_empty()
    assert result.extracted == 1


def test_a_bad_row_is_kept_whole_with_its_own_record_and_advice() -> None:
    frame = customers(
        {"customer_id": "1", "email": "anna@x.example"},
        {"customer_id": "2", "email": "not an address"},
        {"customer_id": "3", "consent": "oui"},
    )
    records = [{"id": 1}, {"id": 2, "nested": {"as": ["it", "came"]}}, {"id": 3}]
    result = checked(frame, records)
    assert result.good["customer_id"].to_list() == ["1"]
    assert result.refused["customer_id"].to_list() == ["2", "3"]
    found = {row["record_id"]: row for row in result.rejected.iter_rows(named=True)}
    assert {key: row["field"] for key, row in found.items()} == {"2": "email", "3": "consent"}
    assert orjson.loads(found["2"]["record"]) == records[1]
    assert "consent_in" in found["3"]["advice"]


def test_all_failures_of_a_row_are_told_together() -> None:
    result = checked(customers({"customer_id": "1", "email": "x", "consent": "oui"}))
    assert sorted(result.rejected["field"]) == ["consent", "email"]
    assert result.good.is_empty()
    assert result.refused.height == 1


def test_a_row_without_an_id_is_kept_too() -> None:
    result = checked(customers({"customer_id": None, "email": "anna@x.example"}, {"customer_id": "2"}))
    assert result.rejected["record_id"].to_list() == ["?"]
    assert result.good["customer_id"].to_list() == ["2"]


def test_rows_that_are_not_one_per_record_keep_their_own_values() -> None:
    result = checked(customers({"customer_id": "1", "email": "x"}, {"customer_id": "2"}), [{"id": 1}])
    assert orjson.loads(result.rejected["record"][0])["customer_id"] == "1"


def test_an_empty_frame_is_fine() -> None:
    result = checked(customers())
    assert result.extracted == 0
    assert result.good.columns == list(SCHEMA)


def test_a_missing_column_is_a_defect_of_the_connector() -> None:
    with pytest.raises(SchemaErrors):
        checked(customers({"customer_id": "1"}).drop("consent"))


def test_a_column_of_another_type_is_a_defect_of_the_connector() -> None:
    with pytest.raises(SchemaErrors):
        checked(customers({"customer_id": "1"}).with_columns(pl.lit(1).alias("consent")))


def test_a_row_that_fails_only_where_it_can_do_without_is_kept_and_told() -> None:
    """A phone number without its country: text messages wait, e-mail goes on."""
    result = checked(
        customers(
            {"customer_id": "1", "email": "anna@x.example", "sms_consent": "in", "sms_address": "0151 234"},
            {"customer_id": "2", "email": "x", "sms_consent": "in", "sms_address": "0151 234"},
            {"customer_id": "3", "email": "carl@x.example", "sms_consent": "in", "sms_address": "+49151234567"},
        )
    )
    assert result.good.select("customer_id", "sms_address").rows() == [("1", None), ("3", "+49151234567")]
    assert result.refused["customer_id"].to_list() == ["2"]
    told = {(row["record_id"], row["field"]): row["advice"] for row in result.rejected.iter_rows(named=True)}
    assert sorted(told) == [("1", "sms_address"), ("2", "email"), ("2", "sms_address")]
    assert "country code" in told["1", "sms_address"]


def test_rows_that_belong_to_failed_ones_are_left_out() -> None:
    result = checked(customers({"customer_id": "1"}, {"customer_id": "2"}, {"customer_id": "3", "email": "x"}))
    left = result.without("customer_id", pl.Series(["2"]))
    assert left.good["customer_id"].to_list() == ["1"]
    assert left.rejected.equals(result.rejected)
    assert left.extracted == 3
