"""Tombstones: what is left of an erased person, a keyed hash that still suppresses.

A plain hash would be no erasure: whoever has it can try addresses until one fits. So it is made with a secret that lies outside
the state, beside the heads of its chain, readable for the user alone. Each tombstone is noted there as well, before anything is
erased: where an older copy of the state is put back, its next run finds which ones are missing, and erases again.

What comes in is sifted here before it is stored. Of somebody erased nothing is, until they opt in again: themselves, and at a
stated time after the erasure. From then on they are known again, and whatever is older stays out.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import orjson
import polars as pl

from tasks import rules
from tasks.addresses import to_address
from tasks.connector import SetupError
from tasks.notes import add_notes, private, read_notes
from tasks.state import Database, State, rows
from tasks.validate import Checked

NAMES = ("hash", "key_id", "erased_at")
TOKENS = (r"""[^\s"<>,;:()\[\]\\]+@[^\s"<>,;:()\[\]\\]+""", r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9.-]+[A-Za-z0-9]")
"""What may be an address inside of other text: once by what surely ends one, once by what most of them are made of."""
LOST = (
    "the key of this connection's erasures (heads_dir/CONNECTION.key) is missing or is another one: without it nobody can tell "
    "who was erased, and they would be mailed again. Put it back from where your backups are."
)
_PERSONAL = ("email", "address", "first_name", "last_name", "city", "postcode", "phone")
"""What an order holds of somebody else than its account."""


# Key, hashes, notes


def make_key(state: State) -> None:
    """Make the secret, once. Raises SetupError when there was one, and it is gone."""
    if state.key.exists():
        return
    with state.open() as database:
        if _any(database) or noted(state):
            raise SetupError(LOST)
    state.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(state.key, "x", encoding="ascii", opener=private) as file:  # a path's own `open` takes no opener
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())


def _key(database: Database) -> bytes:
    row = database.execute("select getvariable('erasure_key')").fetchone()
    if not row or not row[0]:
        raise SetupError(LOST)
    return bytes.fromhex(row[0])


def keyed_hash(key: bytes, what: str) -> str:
    return hmac.digest(key, what.encode(), "sha256").hex()


def key_id(key: bytes) -> str:
    """Tells one key from another, and nothing else about it."""
    return keyed_hash(key, "which key")[:16]


def account(shop: str, customer_id: str) -> str:
    """What is hashed of an account, which may point to another address later."""
    return f"customer:{shop}/{customer_id}"


def hashes(database: Database, names: Iterable[str]) -> list[str]:
    key = _key(database)
    return [keyed_hash(key, name) for name in names]


def note(database: Database, state: State, names: Iterable[str], at: datetime) -> list[dict[str, Any]]:
    """Note tombstones outside the state, through to the disk; to be put into the state when everything else is gone from it."""
    which = key_id(_key(database))
    made = [{"hash": each, "key_id": which, "erased_at": at.isoformat()} for each in hashes(database, names)]
    add_notes(_notes(state), made)
    return made


def _notes(state: State) -> Path:
    return state.key.with_suffix(".tombstones")


def noted(state: State) -> dict[str, datetime]:
    """The hashes noted outside the state, with the time of the last erasure."""
    found: dict[str, datetime] = {}
    for line in read_notes(_notes(state), NAMES):
        found[line["hash"]] = datetime.fromisoformat(line["erased_at"])
    return found


def put(database: Database, stones: Sequence[dict[str, Any]]) -> None:
    """Put tombstones into the state. Who is erased a second time has the later time, and is suppressed again."""
    rules.bind(database, "new_stones", pl.DataFrame(stones, schema=dict.fromkeys(NAMES, pl.String)))
    database.execute(
        """
        merge into consent.tombstones as known
        using (
            select hash, key_id, cast(erased_at as timestamptz) as erased_at from new_stones
            qualify row_number() over (partition by hash order by erased_at desc) = 1
        ) as new
        on known.hash = new.hash
        when matched and new.erased_at > known.erased_at then update set
            key_id = new.key_id, erased_at = new.erased_at, reopened_at = null
        when not matched then insert (hash, key_id, erased_at) values (new.hash, new.key_id, new.erased_at)
        """
    )


def not_applied(database: Database, state: State) -> list[dict[str, Any]]:
    """Tombstones that are noted outside and not in this state, an older copy; those that only the state has are noted again.

    Raises SetupError when the key does not fit to them.
    """
    outside = read_notes(_notes(state), NAMES)
    if not outside and not _any(database):
        return []
    which = key_id(_key(database))
    inside = rows(database, "select hash, key_id, erased_at from consent.tombstones")
    if any(stone["key_id"] != which for stone in [*outside, *inside]):
        raise SetupError(LOST)
    last, there = noted(state), {stone["hash"]: stone["erased_at"] for stone in inside}
    missing = [stone for stone in inside if stone["hash"] not in last]
    add_notes(_notes(state), [stone | {"erased_at": stone["erased_at"].isoformat()} for stone in missing]) if missing else None
    return [
        {"hash": each, "key_id": which, "erased_at": at.isoformat()}
        for each, at in last.items()
        if each not in there or there[each] < at
    ]


# Whose is it?


def _any(database: Database) -> bool:
    row = database.execute("select exists (from consent.tombstones)").fetchone()
    return bool(row and row[0])


_STONES: dict[str, Any] = {
    "name": pl.String,
    "hash": pl.String,
    "erased_at": pl.Datetime("us", "UTC"),
    "is_standing": pl.Boolean,
}


def match(database: Database, names: pl.Series) -> pl.DataFrame:
    """Which of these names (addresses, phone numbers, accounts) have a tombstone: name, hash, erased_at, is_standing."""
    key = _key(database)
    unique = names.drop_nulls().unique()
    found = pl.DataFrame({"name": unique, "hash": [keyed_hash(key, name) for name in unique]}, schema_overrides=_STONES)
    rules.bind(database, "hashed_names", found.select("name", "hash"))
    which = key_id(key)
    stones = rows(
        database,
        """
        select name, hash, erased_at, reopened_at is null as is_standing, key_id
        from hashed_names inner join consent.tombstones using (hash)
        """,
    )
    if database.execute("select exists (from consent.tombstones where key_id <> $1)", [which]).fetchone() == (True,):
        raise SetupError(LOST)
    return pl.DataFrame([{name: stone[name] for name in _STONES} for stone in stones], schema=_STONES)


def of(database: Database, name: str) -> dict[str, Any] | None:
    """The tombstone of one name, standing or not; None: there is none."""
    found = match(database, pl.Series([name])) if _any(database) else pl.DataFrame()
    return found.row(0, named=True) if found.height else None


def check_snapshot(snapshot: Database, state: State) -> None:
    """Raises SetupError for a snapshot that is older than an erasure."""
    there = dict(snapshot.execute("select hash, erased_at from tombstones").fetchall())
    if any(each not in there or there[each] < at for each, at in noted(state).items()):
        raise SetupError(
            "this snapshot may hold somebody who was erased, as after a restored backup or an erasure that was cut off: run "
            "`shopsync sync` first, which erases them again."
        )


def of_snapshot(snapshot: Database, state: State, name: str) -> dict[str, Any] | None:
    """The tombstone of a name as a snapshot holds it: hash, erased_at, reopened_at. None: they were never erased."""
    if snapshot.execute("select exists (from tombstones)").fetchone() == (False,):
        return None
    if not state.key.exists():
        raise SetupError(LOST)
    key = bytes.fromhex(state.key.read_text(encoding="ascii").strip())
    query = "select hash, erased_at, reopened_at from tombstones where hash = $1"
    return next(iter(rows(snapshot, query, [keyed_hash(key, name)])), None)


def mentioned(database: Database, texts: pl.Series) -> pl.Series:
    """Which of these texts hold an address that is erased."""
    if texts.is_empty() or not _any(database):
        return pl.Series([False] * len(texts), dtype=pl.Boolean)
    tokens = (
        pl.concat([texts.to_frame("text").with_row_index().select("index", pl.col("text").str.extract_all(t)) for t in TOKENS])
        .explode("text")
        .drop_nulls()
        .with_columns(name=pl.col("text").str.strip_chars("'.").map_elements(to_address, return_dtype=pl.String))
    )
    erased = match(database, tokens["name"]).filter("is_standing")["name"]
    hits = tokens.filter(pl.col("name").is_in(erased.to_list()))["index"]
    return pl.int_range(len(texts), eager=True, dtype=pl.UInt32).is_in(hits.to_list())


def plain(body: bytes) -> str:
    """A body as it came, without the escapes of JSON or of a form."""
    text = body.decode(errors="replace")
    try:
        return orjson.dumps(orjson.loads(text)).decode()
    except orjson.JSONDecodeError:
        return unquote_plus(text)


# What comes in


@dataclass(frozen=True)
class Sifted:
    """A checked page without what is erased. `refused` rows of it were erased people's; `gone` are the ids of records that are
    an erased person's by now, whosever they were before; `afresh` is who is known again after an erasure."""

    checked: Checked
    refused: int = 0
    gone: tuple[str, ...] = ()
    afresh: tuple[str, ...] = ()


_ACCOUNT = pl.when(pl.col("customer_id").is_not_null()).then(
    pl.concat_str(pl.lit("customer:"), "shop", pl.lit("/"), "customer_id", ignore_nulls=True)
)
_WHOSE = {
    "customers": {"address": pl.col("address"), "account": _ACCOUNT, "phone": pl.col("sms_address")},
    "orders": {"address": pl.col("address"), "account": _ACCOUNT},
    "contacts": {"address": pl.col("address"), "phone": pl.col("sms_address")},
}
"""What a row says about whose it is."""
_KEYS = {"customers": "customer_id", "orders": "order_id", "contacts": "address"}


def sift(database: Database, checked: Checked) -> Sifted:
    """Take out what belongs to erased people; know those again who opted in since, but for what they said before."""
    if checked.entity not in _WHOSE or not _any(database):
        return Sifted(checked)
    whose, key = _WHOSE[checked.entity], _KEYS[checked.entity]
    frames = [frame for frame in (checked.good, checked.refused) if not frame.is_empty()]
    names = [frame.select(name.cast(pl.String).alias("name"))["name"] for frame in frames for name in whose.values()]
    stones = match(database, pl.concat(names)) if names else pl.DataFrame(schema=_STONES)
    good, gone, afresh, reopened = checked.good, (), (), pl.Series("hash", [], pl.String)
    if not stones.is_empty():
        beside = _beside(checked.good, whose, stones)
        if checked.entity == "orders":
            beside = _with_known_accounts(database, beside)
        good, reopened = _JUDGES[checked.entity](beside)
        gone = tuple(set(checked.good[key]) - set(good[key]))
        afresh = tuple(good.filter(pl.col("address_erased_at").is_not_null())["address"])
        good = good.select(checked.good.columns)
    refused = checked.refused
    if not stones.is_empty() and not refused.is_empty():
        beside = _beside(refused, whose, stones)
        standing = [pl.col(f"{name}_is_standing") for name in whose if name != "phone"]
        refused = beside.filter(~pl.any_horizontal(standing)).select(refused.columns)
        gone += tuple(set(checked.refused[key].drop_nulls()) - set(refused[key]))
    rejected = checked.rejected.filter(
        ~pl.col("record_id").is_in(gone) & ~mentioned(database, checked.rejected["record"]).rename("is_mentioned")
    )
    if not reopened.is_empty():
        _reopen(database, reopened)
    sifted = replace(checked, good=good, refused=refused, rejected=rejected)
    return Sifted(sifted, checked.refused.height - refused.height, gone, afresh)


def _reopen(database: Database, hashes: pl.Series) -> None:
    """Know them again. What else both sides hold of them passed unseen, so the next run reads everything once more."""
    rules.bind(database, "reopened", hashes.to_frame("hash").unique())
    database.execute("update consent.tombstones set reopened_at = now() from reopened where tombstones.hash = reopened.hash")
    database.execute("delete from ops.cursors where stream in ('customers', 'contacts')")


def _beside(frame: pl.DataFrame, whose: dict[str, pl.Expr], stones: pl.DataFrame) -> pl.DataFrame:
    """The tombstones beside the rows, for each thing that tells whose a row is."""
    for what, name in whose.items():
        theirs = stones.select(
            pl.col("name").alias("_name"),
            *(pl.col(column).alias(f"{what}_{column}") for column in ("hash", "erased_at", "is_standing")),
        )
        frame = frame.with_columns(name.cast(pl.String).alias("_name")).join(
            theirs, on="_name", how="left", maintain_order="left"
        )
        frame = frame.drop("_name").with_columns(pl.col(f"{what}_is_standing").fill_null(value=False))
    return frame


_SINCE = pl.max_horizontal("address_erased_at", "account_erased_at")
_HASHES = pl.concat_list("address_hash", "account_hash").list.drop_nulls()


def _hashes(frame: pl.DataFrame, is_fresh: pl.Expr, of_these: pl.Expr) -> pl.Series:
    return frame.filter(is_fresh).select(of_these.alias("hash")).to_series().explode().drop_nulls()


def _is(expr: pl.Expr) -> pl.Expr:
    return expr.fill_null(value=False)


def _customers(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """An account's opt-in is dated by its time, or by the account's making, which nothing in it can be older than."""
    said_in, by_hand = _is(pl.col("consent") == "in"), _is(pl.col("consent_actor") == "merchant")
    is_newer = _is(pl.coalesce("consent_at", "created_at") > _SINCE)
    fresh = said_in & ~by_hand & is_newer
    standing = pl.col("address_is_standing") | pl.col("account_is_standing")
    stale = said_in & _SINCE.is_not_null() & ~is_newer
    texts_newer = _is((pl.col("sms_consent") == "in") & (pl.col("sms_consent_at") > pl.col("phone_erased_at")))
    texts_stale = pl.col("phone_is_standing") & ~texts_newer
    reopened = _hashes(frame, standing & fresh, _HASHES)
    kept = frame.filter(~standing | fresh)
    reopened = pl.concat([reopened, _hashes(kept, pl.col("phone_is_standing") & texts_newer, pl.concat_list("phone_hash"))])
    return kept.with_columns(
        *(pl.when(~stale).then(pl.col(name)).alias(name) for name in ("consent", "consent_at", "consent_raw")),
        *(pl.when(~texts_stale).then(pl.col(name)).alias(name) for name in ("sms_consent", "sms_consent_at", "sms_address")),
    ), reopened


def _with_known_accounts(database: Database, frame: pl.DataFrame) -> pl.DataFrame:
    rules.bind(database, "order_accounts", frame.select("shop", "customer_id").drop_nulls().unique())
    query = """
        select shop, customer_id from shop.customers semi join order_accounts using (shop, customer_id) where deleted_at is null
    """
    known = pl.DataFrame(
        database.execute(query).fetchall(), schema={"shop": pl.String, "customer_id": pl.String}, orient="row"
    ).with_columns(is_known=pl.lit(value=True))
    return frame.join(known, on=["shop", "customer_id"], how="left", maintain_order="left")


def _orders(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """An order of an account that is not erased stays that account's, without whom the bill names."""
    anothers = _is(pl.col("is_known")) & pl.col("account_erased_at").is_null()
    is_newer = _is(pl.col("ordered_at") > _SINCE)
    fresh = _is((pl.col("consent") == "in") & ~pl.col("is_test") & (pl.col("state") != "draft")) & is_newer
    standing = pl.col("address_is_standing") | pl.col("account_is_standing")
    reopens = fresh & pl.col("address_is_standing") & ~anothers
    is_old = _SINCE.is_not_null() & ~is_newer
    blank = anothers & (pl.col("address_is_standing") | is_old)
    kept = frame.filter(anothers | reopens | ~(standing | is_old))
    kept = kept.with_columns(pl.when(~blank).then(pl.col(name)).alias(name) for name in _PERSONAL)
    return kept, _hashes(frame, reopens, _HASHES)


def _contacts(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    is_in, since = pl.col("status") == "subscribed", pl.col("address_erased_at")
    fresh = _is(is_in & (pl.col("opted_in_at") > since))
    stale = _is(is_in & (pl.coalesce("opted_in_at", "changed_at") <= since))
    standing = pl.col("address_is_standing")
    texts_newer = _is((pl.col("sms_status") == "subscribed") & (pl.col("sms_status_at") > pl.col("phone_erased_at")))
    texts_stale = pl.col("phone_is_standing") & ~texts_newer
    reopened = _hashes(frame, standing & fresh, pl.concat_list("address_hash"))
    kept = frame.filter((~standing | fresh) & ~stale)
    return kept.with_columns(
        pl.when(~texts_stale).then(pl.col(name)).alias(name) for name in ("sms_address", "sms_status", "sms_status_at")
    ), reopened


_JUDGES = {"customers": _customers, "orders": _orders, "contacts": _contacts}


def unsay(database: Database) -> None:
    """Take out of the events `found` what an erasure blocks: all about somebody erased, and of those known again each opt-in
    that is not newer than the erasure, wherever it was copied or carried from."""
    if not _any(database):
        return
    found = database.execute("select distinct address from found").fetchall()
    rules.bind(database, "blocked", match(database, pl.Series([row[0] for row in found], dtype=pl.String)))
    database.execute(
        """
        delete from found using blocked
        where
            found.address = blocked.name
            and (blocked.is_standing or (found.kind in ('opted_in', 'pending') and found.earliest_at <= blocked.erased_at))
        """
    )
