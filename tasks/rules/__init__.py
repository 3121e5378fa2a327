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
SMS = POLICIES / "channels" / "sms.csv"

PEOPLE = (
    "seen_after",
    "unheard",
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
    "sms_accounts",
    "sms_facts",
    "sms_decisions",
    "decided",
    "broken_promises",
)
PLAN = (
    "guarded",
    "waiting",
    "memberships_decided",
    "profiles",
    "writes_of_consent",
    "writes_of_sms",
    "reachable",
    "orders_to_send",
    "writes_of_profiles",
    "writes_of_tags",
    "writes_of_products",
    "customers_to_send",
    "writes_of_customers",
    "writes_of_orders",
    "writes_to_shops",
)
WRITES = {
    "forward": (
        "writes_of_consent",
        "writes_of_sms",
        "writes_of_profiles",
        "writes_of_tags",
        "writes_of_products",
        "writes_of_customers",
        "writes_of_orders",
    ),
    "reverse": ("writes_to_shops",),
}
"""What a flow writes. Planned one after the other: all at once would not fit into memory."""
VIEWS = frozenset(
    {
        "order_owners",
        "records_to_tell",
        "profiles",
        "writes_of_profiles",
        "writes_of_tags",
        "writes_of_products",
        "writes_of_customers",
        "writes_of_orders",
        "writes_to_shops",
    }
)
"""Relations that are read anew each time: a copy would be too large, or only a little of it is looked at."""

DOMAINS: dict[str, Sequence[str]] = {
    "phase": ("first", "ongoing"),
    "shop": ("subscribed", "pending", "not_subscribed", "unsubscribed", "absent", "deleted"),
    "shop_moved": ("yes", "no"),
    "shop_carried": ("yes", "no"),
    "esp": ("subscribed", "pending", "not_subscribed", "unsubscribed", "absent", "deleted"),
    "esp_moved": ("yes", "no"),
    "time_order": ("shop_newer", "esp_newer", "unordered"),
    "chosen": ("yes", "no"),
}
"""Every fact a policy's table may ask for, with every value it can have: their product is all cases there are."""

OUTCOMES: dict[str, Sequence[str]] = {
    "set_esp": ("keep", "subscribed", "not_subscribed", "unsubscribed", "archived"),
    "set_shop": ("keep", "subscribed", "unsubscribed"),
}

EXCEPTIONS: dict[str, dict[str, Sequence[str]]] = {
    "E1": {
        "phase": ("first",),
        "shop": ("unsubscribed",),
        "shop_carried": ("no",),
        "esp": ("subscribed",),
        "set_esp": ("keep",),
        "set_shop": ("subscribed",),
    },
    "E3": {
        "shop": ("not_subscribed",),
        "esp": ("absent", "not_subscribed"),
        "chosen": ("yes",),
        "set_esp": ("subscribed",),
        "set_shop": ("keep",),
    },
}
"""The documented exceptions to promise 12.1, and all that each of them excuses (behaviour 4.1 and 6.1)."""

SIDES = ("shop", "esp")
SMS_SIDES = ("esp",)
"""Who sends: what a shop holds about text messages is never written (behaviour 9), and sends nothing by itself."""

COLUMNS = ("precedence", "rule", *DOMAINS, *OUTCOMES, "exception", "sentence")
OPTIONAL = (*DOMAINS, "exception")


@cache
def model(name: str) -> str:
    """The SELECT of one relation."""
    return (FOLDER / f"{name}.sql").read_text(encoding="utf-8")


def build(database: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Build relations one after the other, as temporary tables or views of the same names."""
    for name in names:
        kind = "view" if name in VIEWS else "table"
        database.execute(f"create or replace temp {kind} {name} as {model(name)}")


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
    table that leaves a case open, decides one twice, uses an unknown word, has a row that no case reaches, or would mail
    somebody against promise 12.1 without naming the exception that allows it; it names the line.
    """
    path = POLICIES / f"{name_or_path}.csv"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise SetupError(
            f"there is no policy {name_or_path!r}: use one of {', '.join(policies())}, or the path of a rule table."
        )
    return _as_relation(expand(read_table(path), path.name))


def load_sms() -> pl.DataFrame:
    """The table for text messages, the same under every policy, with every case written out."""
    return _as_relation(expand(read_table(SMS), SMS.name, SMS_SIDES))


def _as_relation(cases: pl.DataFrame) -> pl.DataFrame:
    return cases.with_columns((pl.col(fact) == "yes").alias(fact) for fact, values in DOMAINS.items() if "yes" in values)


def policies() -> list[str]:
    """The names of our own tables."""
    return sorted(path.stem for path in POLICIES.glob("*.csv"))


def read_table(path: Path) -> pl.DataFrame:
    """A rule table as it is written, with its line numbers; a fact that it does not ask for may have any value."""
    try:
        table = pl.read_csv(path, infer_schema=False).fill_null("")
    except pl.exceptions.PolarsError as error:
        raise SetupError(f"{path.name} is no table: put a sentence with a comma in quotes.") from error
    if table.columns != [column for column in COLUMNS if column in table.columns or column not in OPTIONAL]:
        raise SetupError(
            f"{path.name}: the columns must be {', '.join(COLUMNS)}, in this order; {', '.join(OPTIONAL)} may be left out."
        )
    left_out = {column: "" if column == "exception" else "*" for column in OPTIONAL if column not in table.columns}
    return table.with_columns(pl.lit(value).alias(column) for column, value in left_out.items()).select(
        pl.int_range(2, pl.len() + 2).alias("line"), *COLUMNS
    )


def expand(table: pl.DataFrame, name: str, sides: Sequence[str] = SIDES) -> pl.DataFrame:
    """Every case with the row that decides it. An outcome `as POLICY` takes over what that policy of ours does in the case.
    Nobody may be sent to, by one of the `sides`, against promise 12.1."""
    cases = table.with_columns(pl.col("precedence").cast(pl.Int64, strict=False))
    allowed = {column: [*words, *(f"as {policy}" for policy in policies())] for column, words in OUTCOMES.items()}
    for column, words in {**DOMAINS, **allowed}.items():
        cases = cases.with_columns(
            pl.when((pl.col(column) == "*") & (column in DOMAINS))
            .then(pl.lit(list(words)))
            .otherwise(pl.col(column).str.split("|"))
            .alias(column)
        ).explode(column)
        _refuse(name, cases.filter(~pl.col(column).is_in(list(words))), f"{column} must be one of {', '.join(words)}")
    _refuse(name, cases.filter(pl.col("precedence").is_null()), "precedence must be a whole number")
    _refuse(name, cases.filter((pl.col("rule") == "") | (pl.col("sentence") == "")), "rule and sentence must be given")
    known = [*EXCEPTIONS, "|".join(EXCEPTIONS), ""]
    _refuse(name, cases.filter(~pl.col("exception").is_in(known)), f"exception must be one of {', '.join(EXCEPTIONS)}")
    first = cases.filter(pl.col("precedence") == pl.col("precedence").min().over(list(DOMAINS)))
    _refuse(name, first.filter(_facts().is_duplicated()), "another line of the same precedence decides the same case")
    unreached = table.filter(~pl.col("line").is_in(first["line"].to_list()))
    _refuse(name, unreached, "no case reaches this line: others of lower precedence number decide all of them")
    open_cases = every_case().join(first, on=list(DOMAINS), how="anti")
    if not open_cases.is_empty():
        case = ", ".join(f"{fact} {value}" for fact, value in open_cases.row(0, named=True).items())
        raise SetupError(f"{name}: {open_cases.height} cases are open, for example {case}; add a line for them.")
    whole = _taken_over(name, first)
    _refuse(name, whole.filter(pl.col("named") != pl.col("used")), "exception must name what the line takes over, and no more")
    _refuse(
        name,
        whole.filter(breaks_12_1(sides) & (pl.col("exception") == "")),
        "somebody who said no, or never said yes, would be mailed (promise 12.1)",
    )
    _refuse(
        name,
        whole.filter((pl.col("exception") != "") & ~(breaks_12_1(sides) & _is_excused())),
        "the exception does not cover this case, or is not needed in it",
    )
    return whole.select(
        *DOMAINS,
        *OUTCOMES,
        "rule",
        "sentence",
        pl.when(pl.col("exception") != "").then(pl.col("exception")).alias("exception"),
    )


def _taken_over(name: str, first: pl.DataFrame) -> pl.DataFrame:
    """Each case with what is done in it in the end. `named` are the exceptions that its line names, `used` those it takes."""
    is_borrowed = pl.any_horizontal(pl.col(column).str.starts_with("as ") for column in OUTCOMES)
    own = first.filter(~is_borrowed).with_columns(named=pl.col("exception"), used=pl.col("exception"))
    parts = [own]
    borrowed = first.filter(is_borrowed)
    _refuse(
        name, borrowed.filter(pl.col("set_esp") != pl.col("set_shop")), "set_esp and set_shop must take over the same policy"
    )
    for lines in borrowed.partition_by("set_esp"):
        theirs = _of_ours(lines["set_esp"][0].removeprefix("as "))
        kept = lines.select("line", "precedence", *DOMAINS, named="exception").join(theirs, on=list(DOMAINS), how="inner")
        used = pl.col("exception").drop_nulls().unique().sort().str.join("|").over("line")
        parts.append(kept.with_columns(pl.col("exception").fill_null(""), used=used))
    return pl.concat(parts, how="diagonal")


@cache
def _of_ours(policy: str) -> pl.DataFrame:
    return expand(read_table(POLICIES / f"{policy}.csv"), f"{policy}.csv")


def breaks_12_1(sides: Sequence[str] = SIDES) -> pl.Expr:
    """Somebody would become or stay subscribed on one of the sides without an opt-in, or with one that is not newer than the
    opt-out of the other side."""
    ends = {side: pl.when(pl.col(f"set_{side}") == "keep").then(side).otherwise(f"set_{side}") for side in sides}
    opted_in = (pl.col("shop") == "subscribed") | (pl.col("esp") == "subscribed")
    newer_in = ((pl.col("shop") == "subscribed") & (pl.col("time_order") == "shop_newer")) | (
        (pl.col("esp") == "subscribed") & (pl.col("time_order") == "esp_newer")
    )
    opted_out = (pl.col("shop") == "unsubscribed") | (pl.col("esp") == "unsubscribed")
    is_mailed = pl.any_horizontal(end == "subscribed" for end in ends.values())
    return is_mailed & ~(opted_in & (~opted_out | newer_in))


def _is_excused() -> pl.Expr:
    return pl.any_horizontal(
        (pl.col("exception") == exception) & pl.all_horizontal(pl.col(c).is_in(list(words)) for c, words in case.items())
        for exception, case in EXCEPTIONS.items()
    )


def every_case() -> pl.DataFrame:
    """All combinations of all facts."""
    cases = pl.DataFrame({"phase": list(DOMAINS["phase"])})
    for name, values in list(DOMAINS.items())[1:]:
        cases = cases.join(pl.DataFrame({name: list(values)}), how="cross")
    return cases


def _facts() -> pl.Expr:
    return pl.struct(*DOMAINS)


def _refuse(name: str, lines: pl.DataFrame, why: str) -> None:
    if not lines.is_empty():
        raise SetupError(f"{name}, line {min(lines['line'].to_list())}: {why}.")
