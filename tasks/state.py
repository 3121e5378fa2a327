"""The state of one connection: one DuckDB file that nobody holds open for longer than a step.

DuckDB lets one process in. So a step opens the file, does its SQL in one transaction, and closes it again; no HTTP call, no
pause and no wait happens in between. A lock file beside it queues the processes, so that nobody meets DuckDB's own error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import filelock
import pandera.polars as pa
import polars as pl

from schemas.state import TABLES
from tasks.connector import SetupError

SCHEMA_VERSION = 1
MIGRATIONS: dict[int, tuple[str, ...]] = {}
"""Statements that lead from the version before to this one."""

MEMORY = "640MB"
"""What DuckDB may hold in memory; beyond that it goes on with files beside the state."""

LOADED_AT = "first_load_done_at"
"""The fact that says when the first load was done; what happens after it is news, what it carried was history."""

Database = duckdb.DuckDBPyConnection


class State:
    """`folder` holds everything of one connection: the state file, its lock, the inbox, the lease, the snapshots.

    Only the heads of its chain (`tasks.chain`) stand elsewhere, in `heads`, and beside them the `key` of its tombstones
    (`tasks.tombstones`).
    """

    def __init__(self, folder: Path, heads: Path | None = None) -> None:
        self.folder = folder
        self.file = folder / "state.duckdb"
        self.heads = heads or folder.parent / "heads" / f"{folder.name}.jsonl"
        self.key = self.heads.with_suffix(".key")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)  # also one that somebody made by hand
        self._lock = filelock.FileLock(folder / "state.lock")
        self._one_at_a_time = threading.Lock()
        self._started: Database | None = None

    @contextlib.contextmanager
    def open(self) -> Iterator[Database]:
        """The database, in one transaction: committed at the end of the block, rolled back when it raises.

        DuckDB itself is started once and attaches the file each time, which costs a third of starting it each time. Temporary
        tables live in the cursor and end with it.
        """
        with self._lock, self._one_at_a_time:
            duck = self._duck()
            duck.execute(f"attach {quoted(str(self.file))} as state_file")
            database = duck.cursor()
            try:
                database.execute("use state_file")
                database.begin()
                _migrate(database)
                if self.key.exists():
                    database.execute("set variable erasure_key = $1", [self.key.read_text(encoding="ascii").strip()])
                yield database
                database.commit()
            except BaseException:
                with contextlib.suppress(duckdb.Error):
                    database.rollback()
                raise
            finally:
                database.close()
                duck.execute("detach state_file")
        self.file.chmod(0o600)

    def rewrite(self) -> None:
        """Copy all that is in the file into a fresh one, and put that in its place: DuckDB keeps the bytes of what was deleted.

        Other processes wait at the lock meanwhile. Killed at any moment, either file is whole. Raises RewriteError, and leaves
        everything as it was, when the copy is not the same.
        """
        new = self.file.with_name(f"{self.file.name}.new")
        with self._lock, self._one_at_a_time:
            _remove(new)
            duck = self._duck()
            duck.execute(f"attach {quoted(str(self.file))} as state_file")
            try:
                duck.execute(f"attach {quoted(str(new))} as fresh")
                try:
                    duck.execute("checkpoint state_file")
                    duck.execute("copy from database state_file to fresh")
                    if _shape(duck, "state_file") != _shape(duck, "fresh"):
                        raise RewriteError(f"the copy of {self.file.name} is not the same as the file; it was left as it is.")
                finally:
                    duck.execute("detach fresh")  # writes everything into the file, so that no log stays beside it
            finally:
                duck.execute("detach state_file")
            new.chmod(0o600)
            with new.open("rb") as written:
                os.fsync(written.fileno())
            self.file.with_name(f"{self.file.name}.wal").unlink(missing_ok=True)  # empty since the checkpoint
            new.replace(self.file)
            shutil.rmtree(f"{self.file}.tmp", ignore_errors=True)  # what a killed process had too little memory for

    def _duck(self) -> Database:
        if self._started is None:
            self._started = duckdb.connect(
                config={
                    "memory_limit": MEMORY,
                    "temp_directory": f"{self.file}.tmp",
                    "preserve_insertion_order": False,  # keeping it takes memory, and nothing relies on it
                }
            )
            self._started.execute("set global TimeZone = 'UTC'")
        return self._started


class RewriteError(Exception):
    """A copy of the state did not come out the same. Nothing was replaced."""


def _shape(duck: Database, name: str) -> list[tuple[Any, ...]]:
    """What a copy must have in common with its original: tables, columns, types, comments, and how many rows."""
    found: list[tuple[Any, ...]] = duck.execute(
        """
        select columns.schema_name, columns.table_name, column_name, data_type, is_nullable, columns.comment, tables.comment
        from duckdb_columns() as columns
        inner join duckdb_tables() as tables using (database_name, schema_name, table_name)
        where database_name = $1 order by schema_name, table_name, column_index
        """,
        [name],
    ).fetchall()
    tables = sorted({(schema, table) for schema, table, *_ in found})
    return found + [(*table, duck.execute(f"select count(*) from {name}.{'.'.join(table)}").fetchone()) for table in tables]


def _remove(file: Path) -> None:
    """A file and the log that DuckDB may have left beside it."""
    for each in (file, file.with_name(f"{file.name}.wal")):
        each.unlink(missing_ok=True)


def _migrate(database: Database) -> None:
    """Bring the file to this program's schema version. Raises SetupError when the file is newer than the program."""
    try:
        found = int(fact(database, "schema_version") or 0)
    except duckdb.CatalogException:  # a new file
        for statement in creation():
            database.execute(statement)
        database.execute("insert into ops.facts values ('schema_version', $1)", [str(SCHEMA_VERSION)])
        return
    if found > SCHEMA_VERSION:
        raise SetupError(
            f"the state was written by a newer shopsync (schema {found}, this one knows {SCHEMA_VERSION}): update shopsync."
        )
    for version in range(found + 1, SCHEMA_VERSION + 1):
        for statement in MIGRATIONS[version]:
            database.execute(statement)
        remember(database, "schema_version", str(version))


def creation(prefix: str = "") -> list[str]:
    """The statements that create all tables with their comments, made from the dictionary in `schemas.state`."""
    schemas = dict.fromkeys(name.split(".")[0] for name in TABLES)
    statements = [f"create schema if not exists {prefix}{schema}" for schema in schemas]
    for name, model in TABLES.items():
        columns = model.to_schema().columns
        body = ", ".join(f"{column} {sql_type(spec)}" for column, spec in columns.items())
        statements.append(f"create table {prefix}{name} ({body})")
    return statements


def sql_type(column: pa.Column) -> str:
    """DuckDB's type for a column of the dictionary, with its null constraint."""
    dtype = column.dtype.type
    if isinstance(dtype, pl.Datetime):
        kind = "timestamptz"
    elif isinstance(dtype, pl.Decimal):
        kind = "decimal(18, 4)"
    else:
        kind = {pl.String: "varchar", pl.Boolean: "boolean", pl.Int64: "bigint"}[dtype.base_type()]
    return kind if column.nullable else f"{kind} not null"


def fact(database: Database, name: str) -> str | None:
    row = database.execute("select value from ops.facts where name = $1", [name]).fetchone()
    return row[0] if row else None


def remember(database: Database, name: str, value: str) -> None:
    database.execute("delete from ops.facts where name = $1", [name])
    database.execute("insert into ops.facts values ($1, $2)", [name, value])


def rows(database: Database, query: str, parameters: Any = None) -> list[dict[str, Any]]:
    """The result of a query as dictionaries, for small results at the rim."""
    result = database.execute(query, parameters)
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
