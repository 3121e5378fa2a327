"""The merge: events and rows in the state become one decision for everybody, and decisions become planned writes.

Plain functions over an open database; the logic stands in `tasks.rules`, one SELECT a relation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime

import polars as pl

from tasks import rules, scope
from tasks.state import Database, rows


class BrokenPromiseError(Exception):
    """A decision would break a promise of behaviour section 12: nothing is loaded. This is a defect of ours."""


@dataclass(frozen=True)
class Choices:
    """What the merchant chose for a connection, as far as decisions and plans depend on it.

    `loaded_at`: when the first load was done; null before. `sms_since`: null while SMS is switched off. `guards`: of each kind
    of mass change, which share of the people known waits for an approval, if it concerns no fewer than `guarded_from`.
    """

    policy: str = "consent-first"
    groups: tuple[str, ...] = ("subscriber", "buyer", "contact")
    double_opt_in: str = "shop"
    tag_prefix: str = ""
    customers_since: date | None = None
    loaded_at: datetime | None = None
    sms_since: date | None = None
    guards: Mapping[str, float] = field(default_factory=dict)
    guarded_from: int = 1


@dataclass(frozen=True)
class Store:
    """One shop of the connection: its name here, its store at the ESP, its origin tag."""

    shop: str
    store_id: str
    tag: str
    writes_to_guests: bool = False


def bind_stores(database: Database, stores: Sequence[Store]) -> None:
    rules.bind(database, "stores", pl.DataFrame([asdict(store) for store in stores]))


def bind_run(database: Database, run_id: str, at: datetime, choices: Choices, stores: list[Store]) -> None:
    """Make the run and the merchant's choices relations that the models can read, and everybody whom they look at."""
    scope.everybody(database)
    rules.bind(
        database,
        "run",
        pl.DataFrame(
            {
                "run_id": [run_id],
                "at": [at],
                "groups": [list(choices.groups)],
                "double_opt_in": [choices.double_opt_in],
                "tag_prefix": [choices.tag_prefix],
                "customers_since": [choices.customers_since],
                "loaded_at": [choices.loaded_at],
                "sms_since": [choices.sms_since],
            },
            schema_overrides={
                "customers_since": pl.Date,
                "sms_since": pl.Date,
                "loaded_at": pl.Datetime("us", "UTC"),
                "groups": pl.List(pl.String),
            },
        ),
    )
    rules.bind(
        database,
        "guards",
        pl.DataFrame(
            {
                "guard": list(choices.guards),
                "share": list(choices.guards.values()),
                "at_least": [choices.guarded_from] * len(choices.guards),
            },
            schema={"guard": pl.String, "share": pl.Float64, "at_least": pl.Int64},
        ),
    )
    bind_stores(database, stores)
    rules.bind(database, "policy", rules.load_policy(choices.policy))
    rules.bind(database, "sms_rules", rules.load_sms())


def decide(database: Database) -> dict[str, int]:
    """Decide for everybody in scope and write down the decisions that are new; `run`, `stores` and `policy` are bound.

    Returns how many people there are, all in all, and how many decisions are new.
    Raises BrokenPromiseError before anything is planned.
    """
    rules.build(database, rules.MERGE)
    database.execute(  # guests as well: one whose orders are anonymised later was known, and is gone then
        """
        insert into merge.addresses
        select people.address, run.at from people cross join run
        anti join merge.addresses on people.address = addresses.address
        """
    )
    broken = rows(
        database, "select promise, count(*) as people, min(sentence) as sentence from broken_promises group by promise"
    )
    if broken:
        first = broken[0]
        raise BrokenPromiseError(
            f"promise {first['promise']} would be broken for {first['people']} people ({first['sentence']}): nothing was sent; "
            "please report this with the output of `shopsync sql CONNECTION`."
        )
    database.execute(
        """
        update merge.decisions set is_last = false from decided
        where
            decisions.is_last and not decided.is_same
            and decisions.address = decided.address and decisions.channel = decided.channel
        """
    )
    database.execute("insert into merge.decisions by name select * exclude (is_same) from decided where not is_same")
    (people,) = database.execute("select count(*) from merge.decisions where is_last").fetchone() or (0,)
    (decided,) = database.execute("select count(*) from decided where not is_same").fetchone() or (0,)
    return {"people": people, "decided": decided}


def basis(choices: Choices, stores: list[Store]) -> str:
    """Two merges of the same basis decide alike about the same rows."""
    models = map(rules.model, (*rules.MERGE, *rules.PLAN))
    tables = rules.load_policy(choices.policy).write_csv(), rules.load_sms().write_csv()
    return scope.digest(repr(choices), repr(stores), *tables, *models)
