"""The consent rules: one SELECT a file, the policy's table as data, and the order in which they are built.

Python holds only that order and the binding. A model reads the state's tables and the relations built before it; what a run
knows besides (its id and time, the merchant's choices, the page it has in hand) is bound as the small relations `run`, `stores`
and `page`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

import duckdb
import polars as pl

from tasks.connector import SetupError

FOLDER = Path(__file__).parent
POLICIES = FOLDER.parent.parent / "data" / "rules"

PEOPLE = (
    "seen_after",
    "standing_events",
    "answers",
    "side_status",
    "suppressions",
    "order_owners",
    "buyers",
    "people",
    "memberships",
)
"""Who is known, and what they said: what decisions and the snapshot both stand on."""
MERGE = (
    *PEOPLE,
    "archivals",
    "settled_decisions",
    "facts",
    "accounts",
    "records_to_tell",
    "decisions",
    "decided",
    "broken_promises",
)
PLAN = (
    "profiles",
    "writes_of_consent",
    "reachable",
    "orders_to_send",
    "lines_to_send",
    "writes_of_profiles",
    "writes_of_tags",
    "writes_of_products",
    "writes_of_customers",
    "writes_of_orders",
    "writes_to_shops",
    "writes_to_plan",
)

DOMAINS: dict[str, Sequence[str]] = {
    "phase": ("first", "ongoing"),
    "shop": ("subscribed", "pending", "not_subscribed", "unsubscribed", "absent", "deleted"),
    "shop_moved": ("yes", "no"),
    "esp": ("subscribed", "pending", "not_subscribed", "unsubscribed", "absent", "deleted"),
    "esp_moved": ("yes", "no"),
    "time_order": ("shop_newer", "esp_newer", "unordered"),
}
"""Every fact a policy's table may ask for, with every value it can have: their product is all cases there are."""

OUTCOMES: dict[str, Sequence[str]] = {
    "set_esp": ("keep", "subscribed", "not_subscribed", "unsubscribed", "archived"),
    "set_shop": ("keep", "subscribed", "unsubscribed"),
}


@cache
def model(name: str) -> str:
    """The SELECT of one relation."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def build(database: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Build relations one after the other, as temporary tables of the same names."""
    for name in names:
        database.execute(f"create or replace temp table {name} as {model(name)}")


def bind(database: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> None:
    """Make a frame a relation that the models can read."""
    arrow = frame.to_arrow()
    database.register(f"bound_{name}", arrow)
    database.execute(f"create or replace temp table {name} as select * from bound_{name}")
    database.unregister(f"bound_{name}")


def bind_page(database: duckdb.DuckDBPyConnection, asked_at: datetime, answered_at: datetime) -> None:
    bind(database, "page", pl.DataFrame({"asked_at": [asked_at], "answered_at": [answered_at]}))


def load_policy(name_or_path: str) -> pl.DataFrame:
    """The policy's table with every case written out: one row per combination of all facts, and what to do in it.

    `name_or_path` is a policy of ours ("consent-first") or the path of a table of the merchant's own. Raises SetupError for a
    table that leaves a case open, decides one twice, uses an unknown word or has a row that no case reaches; it names the line.
    """
    path = POLICIES / f"{name_or_path}.csv"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in POLICIES.glob("*.csv")))
        raise SetupError(f"there is no policy {name_or_path!r}: use one of {known}, or the path of a rule table.")
    columns = ["precedence", "rule", *DOMAINS, *OUTCOMES, "sentence"]
    try:
        table = pl.read_csv(path, infer_schema=False).fill_null("").with_row_index("line", offset=2)
    except pl.exceptions.PolarsError as error:
        raise SetupError(
            f"{path.name} is no table with {len(columns)} columns (put a sentence with a comma in quotes)."
        ) from error
    if table.columns[1:] != columns:
        raise SetupError(f"{path.name}: the columns must be {', '.join(columns)}.")
    expanded = table.with_columns(pl.col("precedence").cast(pl.Int64, strict=False))
    for column, allowed in {**DOMAINS, **OUTCOMES}.items():
        expanded = expanded.with_columns(
            pl.when(pl.col(column) == "*")
            .then(pl.lit(list(allowed)) if column in DOMAINS else pl.lit(["*"]))
            .otherwise(pl.col(column).str.split("|"))
            .alias(column)
        ).explode(column)
        _refuse(path, expanded.filter(~pl.col(column).is_in(list(allowed))), f"{column} must be one of {', '.join(allowed)}")
    _refuse(path, expanded.filter(pl.col("precedence").is_null()), "precedence must be a whole number")
    _refuse(path, expanded.filter((pl.col("rule") == "") | (pl.col("sentence") == "")), "rule and sentence must be given")
    first = expanded.filter(pl.col("precedence") == pl.col("precedence").min().over(list(DOMAINS)))
    _refuse(
        path, first.filter(pl.struct(*DOMAINS).is_duplicated()), "another line of the same precedence decides the same case"
    )
    unreached = table.filter(~pl.col("line").is_in(first["line"].to_list()))
    _refuse(path, unreached, "no case reaches this line: others of lower precedence number decide all of them")
    open_cases = every_case().join(first, on=list(DOMAINS), how="anti")
    if not open_cases.is_empty():
        case = ", ".join(f"{name} {value}" for name, value in open_cases.row(0, named=True).items())
        raise SetupError(f"{path.name}: {open_cases.height} cases are open, for example {case}; add a line for them.")
    return first.select(
        *[
            pl.col(c) if not c.endswith("_moved") else (pl.col(c) == "yes").alias(c)
            for c in [*DOMAINS, *OUTCOMES, "rule", "sentence"]
        ]
    )


def every_case() -> pl.DataFrame:
    """All combinations of all facts."""
    cases = pl.DataFrame({"phase": list(DOMAINS["phase"])})
    for name, values in list(DOMAINS.items())[1:]:
        cases = cases.join(pl.DataFrame({name: list(values)}), how="cross")
    return cases


def _refuse(path: Path, lines: pl.DataFrame, why: str) -> None:
    if not lines.is_empty():
        line = lines["line"].to_list()[0]
        raise SetupError(f"{path.name}, line {line}: {why}.")
