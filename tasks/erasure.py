"""Erasing a person from everything that lies on our disk, and looking whether anything of them is still there.

Plain functions over an open state. What is asked for, and what the ESP is told, stands in `tasks.privacy`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import duckdb
import orjson
import polars as pl

from schemas.state import TABLES
from tasks import chain, rules, scope, snapshot, storage, tombstones
from tasks.addresses import to_address
from tasks.connector import Shop
from tasks.inbox import Inbox
from tasks.run import Run
from tasks.state import Database, State, quoted, rows

TO_FINISH = "erasure_to_finish"
"""The fact that says that files still hold what the state has lost already."""


@dataclass(frozen=True)
class Person:
    """Whom an erasure is about. `spellings` are the address as either side writes it; `phones` are those that nobody else has;
    `names` belong to nobody else; `former` are other addresses that the accounts had, which are not erased with this one."""

    addresses: tuple[str, ...]
    accounts: tuple[tuple[str, str], ...] = ()
    phones: tuple[str, ...] = ()
    spellings: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    former: tuple[str, ...] = ()

    def hashed(self) -> list[str]:
        """All that gets a tombstone."""
        return [*self.addresses, *self.phones, *(tombstones.account(*account) for account in self.accounts)]


def look_up(database: Database, email: str | None, accounts: Sequence[tuple[str, str]] = ()) -> Person:
    """Everything by which the state knows a person: by an address, by accounts of theirs, or by both."""
    found = {(shop, customer_id) for shop, customer_id in accounts}
    rules.bind(database, "gone_accounts", _pairs(found))
    pointed_to = "select distinct address from shop.customers semi join gone_accounts using (shop, customer_id)"
    addresses = {address for (address,) in database.execute(pointed_to).fetchall() if address}
    addresses |= {to_address(email)} if email else set()
    rules.bind(database, "gone_addresses", _texts(addresses))
    found |= set(
        database.execute("select shop, customer_id from shop.customers semi join gone_addresses using (address)").fetchall()
    )
    rules.bind(database, "gone_accounts", _pairs(found))
    phones = [row[0] for row in database.execute(_PHONES).fetchall()]
    spelled = {row[0].strip() for row in database.execute(_SPELLINGS).fetchall()} | ({email.strip()} if email else set())
    spellings = {spelling for spelling in spelled if to_address(spelling) in addresses} | addresses
    return Person(
        tuple(sorted(addresses)),
        tuple(sorted(found)),
        tuple(phones),
        tuple(sorted(spellings)),
        tuple(database.execute(_NAMES).fetchall()),
        tuple(row[0] for row in database.execute(_FORMER).fetchall()),
    )


def _texts(found: Iterable[str]) -> pl.DataFrame:
    return pl.DataFrame({"address": sorted(found)}, schema={"address": pl.String})


def _pairs(found: Iterable[tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(sorted(found), schema={"shop": pl.String, "customer_id": pl.String}, orient="row")


_PHONES = """
    with theirs as (
        select sms_address as phone from shop.customers semi join gone_accounts using (shop, customer_id)
        union select sms_address from esp.contacts semi join gone_addresses using (address)
    ),

    others as (
        select sms_address as phone from shop.customers anti join gone_accounts using (shop, customer_id)
        union select sms_address from esp.contacts anti join gone_addresses using (address)
    )

    select phone from theirs where phone is not null and phone not in (select phone from others where phone is not null)
    order by all
"""
_SPELLINGS = """
    select email from shop.customers semi join gone_addresses using (address) where email is not null
    union select email from shop.orders semi join gone_addresses using (address) where email is not null
    union select email from esp.contacts semi join gone_addresses using (address)
    union select payload ->> 'email' from load.writes semi join gone_addresses using (address)
    where payload ->> 'email' is not null
"""
_NAMES = """
    with everybody as (
        select first_name, last_name, (shop, customer_id) in (select (shop, customer_id) from gone_accounts) as is_theirs
        from shop.customers
        union all
        select
            first_name, last_name,
            coalesce(address in (from gone_addresses), false)
            or coalesce((shop, customer_id) in (select (shop, customer_id) from gone_accounts), false)
        from shop.orders
    )

    select first_name, last_name from everybody where first_name is not null and last_name is not null
    group by all having bool_and(is_theirs) order by all
"""
_FORMER = """
    select distinct events.address
    from consent.events
    inner join gone_accounts as accounts
        on events.source = accounts.shop and events.record = 'customer:' || accounts.customer_id
    where events.channel = 'email' and events.address not in (from gone_addresses)
    order by all
"""


# What goes


def _bind(database: Database, person: Person) -> None:
    """`gone` are addresses and phone numbers, `gone_addresses` the former alone, `their_orders` those that are theirs."""
    rules.bind(database, "gone", _texts([*person.addresses, *person.phones]))
    rules.bind(database, "gone_addresses", _texts(person.addresses))
    rules.bind(database, "gone_accounts", _pairs(person.accounts))
    database.execute("set variable erased_text = $1", [in_text(person.spellings)])
    database.execute(
        """
        create or replace temp table their_orders as
        select orders.shop, orders.order_id
        from shop.orders as orders
        left join shop.customers as account
            on orders.shop = account.shop and orders.customer_id = account.customer_id and account.deleted_at is null
        where
            (orders.shop, orders.customer_id) in (select (shop, customer_id) from gone_accounts)
            or (account.customer_id is null and orders.address in (from gone_addresses))
        """
    )


_THEIRS = "(shop, order_id) in (select (shop, order_id) from their_orders)"
_SAYS = "regexp_matches({column}, getvariable('erased_text'))"
_SPECIAL = {
    "shop.order_lines": _THEIRS,
    "shop.orders": _THEIRS,
    "shop.customers": "(shop, customer_id) in (select (shop, customer_id) from gone_accounts)",
    "load.writes": f"address in (from gone) or {_SAYS.format(column='key')} or {_SAYS.format(column='payload')}",
    "load.held": f"address in (from gone) or {_SAYS.format(column='key')}",
    "ops.rejected_rows": f"""
        {_SAYS.format(column="record")} or {_SAYS.format(column="record_id")}
        or (entity = 'customers' and (source, record_id) in (select (shop, customer_id) from gone_accounts))
        or (entity in ('orders', 'order_lines') and (source, record_id) in (select (shop, order_id) from their_orders))
    """,
}
"""Which rows of a table are theirs, where an address in it does not say so."""
_KEPT = ("consent.events", "ops.privacy_requests")
"""Events go by the chain; of a request it stays that there was one."""


def _parts() -> dict[str, str]:
    """Table by table which rows are theirs; a table that comes to have an address is among them."""
    by_address = {
        table: "address in (from gone)"
        for table, model in TABLES.items()
        if "address" in model.to_schema().columns and table not in _SPECIAL and table not in _KEPT
    }
    return _SPECIAL | by_address


def count(database: Database, person: Person) -> dict[str, int]:
    """What would go: rows by table, where there are any."""
    _bind(database, person)
    parts = _parts() | {"consent.events": "address in (from gone)"}
    counted = {
        table: rows(database, f"select count(*) as n from {table} where {part}")[0]["n"] for table, part in parts.items()
    }
    return {table: number for table, number in counted.items() if number}


def destroy(database: Database, person: Person, stones: Sequence[dict[str, Any]], run_id: str) -> dict[str, int]:
    """Take everything of a person out of the state, and put their tombstones into it; returns the rows by table.

    To be called while the chain is `closing`. Bytes and files that hold them still are left to `sweep`, and a fact says so.
    """
    removed = count(database, person)
    tombstones.put(database, stones)
    _rename_in_records(database, person, run_id)
    scope.touch(  # people from whom an opt-in is taken with this one, and those who share an order with it
        database,
        """
        select copies.address
        from consent.events as copies inner join consent.events as events on copies.caused_by = events.event_id
        where events.address in (from gone) and copies.address not in (from gone)
        union all
        select account.address from shop.orders as orders inner join shop.customers as account using (shop, customer_id)
        where orders.address in (from gone_addresses)
        """,
    )
    for address in [*person.addresses, *person.phones]:
        chain.erase(database, address)
    for table, part in _parts().items():
        database.execute(f"delete from {table} where {part}")
    database.execute(
        """
        update shop.orders set
            email = null, address = null, first_name = null, last_name = null, city = null, postcode = null, phone = null
        where address in (from gone_addresses)
        """
    )
    database.execute("delete from ops.facts where name = $1", [TO_FINISH])
    database.execute("insert into ops.facts values ($1, $2)", [TO_FINISH, run_id])
    return removed


def _rename_in_records(database: Database, person: Person, run_id: str) -> None:
    """An opt-out that followed an account from an erased address to another one stays, and names the old one by its hash."""
    for address in person.addresses:
        (hashed,) = tombstones.hashes(database, [address])
        named = f"""
            select * from consent.events
            where ends_with(record, {quoted("contact:" + address)}) and address not in (from gone)
        """
        found = [row["event_id"] for row in rows(database, named)]
        if not found:
            continue
        renamed = f"""
            select * exclude (run_id, recorded_at) replace (
                md5(event_id || '{hashed}') as event_id, 'carried:contact:{hashed}' as record
            )
            from ({named})
        """
        storage.add_events(database, renamed, run_id)
        chain.erase_events(database, found)


def close_requests(database: Database, person: Person) -> None:
    """Of a person's requests it stays that they came, and when they were done."""
    _bind(database, person)
    database.execute(
        """
        update ops.privacy_requests set address = null, customer_id = 'erased', done_at = coalesce(done_at, now())
        where address in (from gone) or (source, customer_id) in (select (shop, customer_id) from gone_accounts)
        """
    )


def reapply(database: Database, state: State, run_id: str) -> bool:
    """Erase again whom an older copy of the state still knows: their tombstones are noted outside. False: nobody is missing."""
    stones = tombstones.not_applied(database, state)
    if not stones:
        return False
    tombstones.put(database, stones)
    names = [row[0] for row in database.execute(_EVERYBODY).fetchall()]
    known = tombstones.match(database, pl.Series(names, dtype=pl.String)).filter("is_standing")["name"].to_list()
    accounts = [tuple(name.removeprefix("customer:").split("/", 1)) for name in known if name.startswith("customer:")]
    emails = [name for name in known if "@" in name and not name.startswith("customer:")]
    for person in [
        *(look_up(database, email) for email in emails),
        *(look_up(database, None, [(shop, customer_id)]) for shop, customer_id in accounts),
    ]:
        destroy(database, person, stones, run_id)
    return True


def _everybody() -> str:
    """SQL for every address in any table, every phone number and every account."""
    selects = [
        f"select address as name from {table}" for table, model in TABLES.items() if "address" in model.to_schema().columns
    ]
    selects.append("select 'customer:' || shop || '/' || customer_id as name from shop.customers")
    return "select name from (" + " union ".join(selects) + ") where name is not null"


_EVERYBODY = _everybody()


# Files


def sweep(run: Run) -> None:
    """Rid the files of what the state has lost: inbox, bytes in the state file, snapshots. Twice is as once."""
    with run.state.open() as database:
        inbox = Inbox(run.state.folder)
        forgotten = [d.number for d in inbox.after(0) if _is_about_erased(database, run.shops.get(d.source), d)]
    inbox.forget(forgotten)
    run.state.rewrite()
    for download in run.state.folder.parent.glob("limits/bulk-*"):
        if not _is_running(download.name.split("-")[1]):
            shutil.rmtree(download, ignore_errors=True)
    with run.state.open() as database:
        snapshot.remove_all(run.state.folder)
        database.execute("delete from ops.facts where name = $1", [TO_FINISH])


def _is_about_erased(database: Database, shop: Shop | None, delivery: Any) -> bool:
    accounts = [
        tombstones.account(delivery.source, i)
        for i in (shop.notice(delivery.topic, delivery.body).customer_ids if shop else ())
    ]
    texts = pl.Series([tombstones.plain(delivery.body)])
    return bool(tombstones.mentioned(database, texts).any()) or any(
        stone["is_standing"] for name in accounts if (stone := tombstones.of(database, name))
    )


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


# The search


@dataclass(frozen=True)
class Searched:
    """What was looked through, and where something was found: "file: table.column (rows)"."""

    tables: int
    columns: int
    files: int
    found: tuple[str, ...]


def in_text(spellings: Iterable[str]) -> str:
    """A pattern for one of these addresses inside of other text, in any case; not inside of a longer address."""
    each = "|".join(sorted(re.escape(spelling.lower()) for spelling in spellings))
    return rf"(?i)(^|[^\p{{L}}\p{{N}}._%+-])({each})($|[^\p{{L}}\p{{N}}.-]|[.-]($|[^\p{{L}}\p{{N}}]))"


def _pattern(person: Person) -> str:
    """All that is searched for in columns: addresses, the hash that ESPs make of one, phone numbers, names side by side."""
    hashes = [_md5(spelling) for spelling in (*person.addresses, *person.spellings)]
    digits = [re.escape(phone.lstrip("+")) for phone in person.phones]
    names = [f"{re.escape(first)} {re.escape(last)}" for first, last in person.names if len(first) > 1 and len(last) > 1]
    parts = [in_text({*person.addresses, *person.spellings}), *(rf"(?i)\b{each}\b" for each in (*hashes, *digits, *names))]
    return "|".join(f"(?:{part})" for part in parts)


def _md5(spelling: str) -> str:
    return hashlib.md5(spelling.strip().lower().encode(), usedforsecurity=False).hexdigest()


def search(state: State, person: Person) -> Searched:
    """Look for a person in all columns of all tables, and in the bytes of all files of their connection."""
    found: list[str] = []
    tables = columns = files = 0
    is_inside = False
    with state.open() as database:
        tables, columns = _search_tables(database, state.file.name, person, found)
        others = "select exists (select 1 from {} where contains(address, $1) and address <> $1)"
        is_inside = any(
            database.execute(others.format(table), [address]).fetchone() == (True,)
            for table in ("merge.addresses", "esp.contacts", "shop.customers", "shop.orders")
            for address in person.addresses
        )
    for file in _files(state):
        files += 1
        if file.suffix == ".duckdb" and file != state.file and not file.is_symlink():
            with contextlib.suppress(duckdb.Error), duckdb.connect(str(file), read_only=True) as database:
                more = _search_tables(database, file.name, person, found)
                tables, columns = tables + more[0], columns + more[1]
        if file.suffix == ".sqlite":
            more = _search_sqlite(file, person, found)
            tables, columns = tables + more[0], columns + more[1]
        if _is_in_bytes(file, person, whole=is_inside or file.suffix != ".duckdb"):
            found.append(
                f"{file.relative_to(state.folder.parent) if file.is_relative_to(state.folder.parent) else file}: bytes"
            )
    return Searched(tables, columns, files, tuple(found))


def _files(state: State) -> list[Path]:
    """Everything of a connection on this disk, and what all connections share."""
    beside = [file for file in (state.heads, state.key, state.key.with_suffix(".tombstones")) if file.exists()]
    shared = [file for file in state.folder.parent.glob("limits/**/*") if file.is_file()]
    return sorted({file for file in (*state.folder.rglob("*"), *shared, *beside) if file.is_file() and not file.is_symlink()})


def _search_tables(database: Database, name: str, person: Person, found: list[str]) -> tuple[int, int]:
    listed = database.execute(
        "select schema_name, table_name, list(column_name) from duckdb_columns() "
        "where not internal and database_name = current_database() group by all order by all"
    ).fetchall()
    pattern = _pattern(person)
    for schema, table, columns in listed:
        counts = ", ".join(
            f"""count(*) filter (where regexp_matches(cast("{column}" as varchar), $pattern)) as "{column}" """
            for column in columns
        )
        (row,) = rows(database, f'select {counts} from "{schema}"."{table}"', {"pattern": pattern})
        found += [f"{name}: {schema}.{table}.{column} ({number} rows)" for column, number in row.items() if number]
    return len(listed), sum(len(columns) for *_, columns in listed)


def _search_sqlite(file: Path, person: Person, found: list[str]) -> tuple[int, int]:
    """Also what stands on two pages of the file."""
    tables = columns = 0
    pattern = re.compile(_needles_of(person))
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            tables += 1
            cursor = database.execute(f'select * from "{table}"')
            names = [column[0] for column in cursor.description]
            columns += len(names)
            hits = {name for row in cursor for name, value in zip(names, row, strict=True) if pattern.search(_bytes(value))}
            found += [f"{file.name}: {table}.{name}" for name in sorted(hits)]
    return tables, columns


def _bytes(value: object) -> bytes:
    text = value if isinstance(value, bytes) else str(value).encode()
    return text.lower() + b"\n" + tombstones.plain(text).lower().encode()


def _needles_of(person: Person, *, whole: bool = True) -> bytes:
    """A pattern for bytes in lower case. `whole`: not inside of a longer address, as which values side by side may
    look."""
    spelled = {s.lower() for s in (*person.addresses, *person.spellings)}
    forms = {form for s in spelled for form in (s, quote_plus(s).lower(), orjson.dumps(s).decode().strip('"'), ascii(s)[1:-1])}
    parts = [re.escape(form.encode()) for form in sorted(forms)]
    if whole:
        parts = [rb"(?<![a-z0-9._%+-])" + part + rb"(?![a-z0-9-]|\.[a-z0-9])" for part in parts]
    parts += [re.escape(_md5(s).encode()) for s in sorted(spelled)]
    parts += [rb"(?<![0-9])" + re.escape(phone.lstrip("+").encode()) + rb"(?![0-9])" for phone in person.phones]
    return b"|".join(parts)


def _is_in_bytes(file: Path, person: Person, *, whole: bool) -> bool:
    pattern = re.compile(_needles_of(person, whole=whole))
    return any(pattern.search(block) for block in _blocks(file))


def _blocks(file: Path, size: int = 1 << 22, overlap: int = 1024) -> Iterator[bytes]:
    """A file in pieces that overlap, so that nothing falls between two."""
    with file.open("rb") as opened:
        kept = b""
        while read := opened.read(size):
            yield (kept + read).lower()
            kept = read[-overlap:]
