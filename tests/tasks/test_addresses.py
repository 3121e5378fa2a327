"""Addresses as keys (behaviour 1)."""

from __future__ import annotations

import polars as pl
import pytest

from tasks.addresses import with_sms_address


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("+4915112345678", "+4915112345678"),
        ("+49 (0)30 / 12-34.567", "+49301234567"),
        ("0049 151 12345678", "+4915112345678"),
        ("0151 12345678", None),  # whose country?
        ("+1 555 CALL-NOW", None),
        ("+49", None),
        ("+1234567890123456", None),  # more than fifteen digits
        (None, None),
    ],
)
def test_a_phone_number_as_a_key(typed: str | None, key: str | None) -> None:
    frame = pl.DataFrame({"phone": [typed]}, schema={"phone": pl.String})
    silent = frame.select(with_sms_address(pl.col("phone"), pl.lit(None, pl.String)))
    assert silent["sms_address"].to_list() == [key]
    waiting = frame.select(with_sms_address(pl.col("phone"), pl.lit("in")))
    assert waiting["sms_address"].to_list() == [key or typed], "validation says what to correct"
