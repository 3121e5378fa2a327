"""Pages into the state, in one transaction: bad rows set aside, consent events found, rows upserted, the cursor moved.

Plain functions over an open database. Each may be given the same page twice without a difference.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from schemas.shop import OrderLines
from schemas.state import TABLES
from tasks import rules, scope, tombstones
from tasks.addresses import with_address
from tasks.connector import Page, PrivacyRequest
from tasks.inbox import Delivery
from tasks.state import Database
from tasks.validate import Checked


@dataclass(frozen=True)
class Stored:
    """What became of rows that came in: extracted = changed + unchanged + rejected."""

    extracted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class _Entity:
    """Where an entity is stored, what identifies it, which models find consent events in a page of it, and whom its `changed`
    rows touch (they hold what was known `before`)."""

    table: str
    key: tuple[str, ...]
    events: tuple[str, ...] = ()
    touches: str = ""


_OF_ITS_ORDERS = "select orders.address from shop.orders as orders semi join ({accounts}) as moved using (shop, customer_id)"
"""An order belongs to the address in it when its account is gone, and no longer when the account comes."""

ENTITIES = {
    "customers": _Entity(
        "shop.customers",
        ("shop", "customer_id"),
        ("events_carried", "events_from_customers"),
        "select unnest([address, before.address, sms_address, before.sms_address]) as address from changed union all "
        + _OF_ITS_ORDERS.format(
            accounts="from changed where before.address is distinct from address or before.deleted_at is not null"
        ),
    ),
    "orders": _Entity(
        "shop.orders",
        ("shop", "order_id"),
        ("events_from_orders",),
        """
        select unnest([address, before.address]) as address from changed
        union all
        select account.address from shop.customers as account
        semi join (select shop, unnest([customer_id, before.customer_id]) as customer_id from changed) as owners
            using (shop, customer_id)
        """,
    ),
    "products": _Entity(
        "shop.products",
        ("shop", "product_id", "variant_id"),
        touches="""
        select coalesce(account.address, orders.address) as address
        from shop.orders as orders
        semi join (
            from shop.order_lines semi join (from changed where before.record_hash is null) as new
                using (shop, product_id, variant_id)
        ) as lines using (shop, order_id)
        left join shop.customers as account using (shop, customer_id)
        """,
    ),
    "promo_codes": _Entity("shop.promo_codes", ("shop", "promo_id", "code")),
    "contacts": _Entity(
        "esp.contacts",
        ("address",),
        ("events_from_contacts", "sms_events_from_contacts"),
        "select unnest([address, sms_address, before.sms_address]) as address from changed",
    ),
}

KNOWN = {
    "customers": ("shop", "known.shop", "'customer:' || known.customer_id", "known.deleted_at is not null", "true"),
    "contacts": ("esp", "'esp'", "'contact:' || known.address", "known.status = 'deleted'", "incoming.status <> 'deleted'"),
}
"""Whose coming and going is an event: its side, source and record, how we know that somebody is gone, and who comes back."""

DUE_AFTER = timedelta(days=30)
"""Within a month of a request it must be done (GDPR Art. 12(3); Shopify's page on its privacy webhooks says 30 days)."""

AFRESH = {"missing_since": "null", "deleted_at": "null", "removed_by_us": "false", "written_at": "null"}
"""What a row that comes in says about the columns that only we keep; an update leaves `written_at` alone."""
ARCHIVED = "known.removed_by_us and hashed.status = 'deleted'"
"""`removed_by_us` after an update: our own archiving coming back does not make it the merchant's (behaviour 2.10)."""


def store(database: Database, checked: Checked, page: Page, run_id: str, lines: Checked | None = None) -> Stored:
    """Store one checked page with the consent events it reveals; orders come with their `lines`.

    A row that the state has seen or written later than this page was asked for is left as it is. What belongs to erased people
    is not stored, and counts as unchanged.
    """
    entity = ENTITIES[checked.entity]
    incoming = f"incoming_{checked.entity}"
    came, sifted = checked, tombstones.sift(database, checked)
    checked = sifted.checked
    _withdraw(database, checked, sifted.gone, run_id)
    rows = checked.good.unique(list(entity.key), keep="last", maintain_order=True)
    if checked.entity == "orders":
        rules.bind(database, "orders_in_hand", rows)
        bought = lines.good if lines else pl.DataFrame(schema=_LINES)
        rules.bind(database, "incoming_lines", bought.unique(["shop", "order_id", "line_id"], keep="last"))
        database.execute(f"create or replace temp table {incoming} as {rules.model('orders_told')}")
    else:
        rules.bind(database, incoming, rows)
    rules.bind_page(database, page.asked_at, page.answered_at)
    for model in entity.events:
        add_events(database, rules.model(model), run_id)
    if checked.entity in KNOWN:
        add_events(database, _coming_and_going(checked.entity, "returned"), run_id)
    if checked.entity == "customers" and not checked.refused.is_empty():
        _hear_refused(database, checked.refused, run_id)
    changed = _upsert(database, entity, incoming, page.asked_at, run_id)
    if checked.entity == "contacts" and sifted.afresh:
        _start_afresh(database, sifted.afresh)
    if changed and checked.entity == "products":
        database.execute(_TELL_AGAIN)
    if checked.entity == "orders":
        _replace_lines(database)
    if lines:
        set_aside(database, lines, "order_id", run_id)
    set_aside(database, checked, entity.key[-1] if checked.entity != "products" else "product_id", run_id)
    rejected = came.extracted - came.good.height - sifted.refused
    return Stored(came.extracted, changed, came.extracted - changed - rejected, rejected)


def _start_afresh(database: Database, addresses: Collection[str]) -> None:
    """Whom an erasure left in the ESP's archive, nobody there has chosen to archive: a new opt-in brings them back."""
    rules.bind(database, "afresh", pl.DataFrame({"address": list(addresses)}))
    database.execute(
        """
        update esp.contacts set removed_by_us = true
        where
            status = 'deleted' and address in (from afresh)
            and address in (select address from changed where before.record_hash is null)
        """
    )


def _withdraw(database: Database, checked: Checked, gone: Collection[str], run_id: str) -> None:
    """These records are an erased person's by now: whoever they belonged to before has them no more."""
    if not gone:
        return
    if checked.entity == "customers":
        mark_gone(database, "customers", checked.source, gone=list(gone), missing=[], run_id=run_id)
    if checked.entity == "orders":
        rules.bind(database, "withdrawn", pl.DataFrame({"order_id": list(gone)}).with_columns(shop=pl.lit(checked.source)))
        theirs = "from shop.orders semi join withdrawn using (shop, order_id)"
        scope.touch(database, f"select address from ({theirs})")
        for table in ("shop.order_lines", "shop.orders"):
            database.execute(f"delete from {table} where (shop, order_id) in (select (shop, order_id) from withdrawn)")
    rules.bind(database, "withdrawn", pl.DataFrame({"record_id": list(gone)}))
    database.execute(
        "delete from ops.rejected_rows where source = $1 and entity = $2 and record_id in (from withdrawn)",
        [checked.source, checked.entity],
    )


_LINES: Any = {name: column.dtype.type for name, column in OrderLines.to_schema().columns.items()}

_TELL_AGAIN = """
    update shop.orders set told_hash = md5(told_hash || '|known')
    from (
        select distinct shop, order_id from shop.order_lines
        semi join (from changed where before.record_hash is null) as new using (shop, product_id, variant_id)
    ) as relined
    where orders.shop = relined.shop and orders.order_id = relined.order_id
"""
"""Orders whose lines pointed to a stand-in until their product came are told anew."""


def _hear_refused(database: Database, refused: pl.DataFrame, run_id: str) -> None:
    """A record that failed a check is set aside, but not the opt-out in it."""
    rules.bind(database, "refused_customers", refused)
    add_events(database, rules.model("events_from_refused"), run_id)
    scope.touch(
        database,
        "select address from shop.customers as known semi join refused_customers as refused using (shop, customer_id)",
    )
    database.execute(
        """
        update shop.customers as known set
            consent = if(refused.consent is distinct from 'in', nullif(known.consent, 'in'), known.consent),
            sms_consent = if(refused.sms_consent is distinct from 'in', nullif(known.sms_consent, 'in'), known.sms_consent),
            record_hash = 'refused', run_id = $run
        from refused_customers as refused, page
        where
            known.shop = refused.shop and known.customer_id = refused.customer_id and known.seen_at <= page.asked_at
            and (
                (known.consent = 'in' and refused.consent is distinct from 'in')
                or (known.sms_consent = 'in' and refused.sms_consent is distinct from 'in')
            )
        """,
        {"run": run_id},
    )


def _replace_lines(database: Database) -> None:
    """Replace the lines of the orders of the page just stored (an order that came twice in it has them once)."""
    database.execute(
        """
        delete from shop.order_lines using (select shop, order_id from incoming_orders) as page
        where order_lines.shop = page.shop and order_lines.order_id = page.order_id
        """
    )
    database.execute(
        "insert into shop.order_lines by name from incoming_lines semi join incoming_orders using (shop, order_id)"
    )


def add_events(database: Database, select: str, run_id: str) -> None:
    """Append the events of a SELECT that are not known yet: what is told twice is one event.

    Nothing is recorded before the last link of the chain was closed, also when the clock was set back since.
    """
    (found,) = database.execute(
        f"""
        create or replace temp table found as
        select
            found.*, $run_id as run_id,
            greatest($now, (select max(closed_at) from consent.chain)) as recorded_at
        from (from ({select}) qualify row_number() over (partition by event_id) = 1) as found
        anti join consent.events as known on found.event_id = known.event_id
        """,
        {"run_id": run_id, "now": datetime.now(UTC)},
    ).fetchone() or (0,)
    if found:
        tombstones.unsay(database)
        database.execute("insert into consent.events by name from found")
        scope.touch(database, "select address from found")


def _coming_and_going(entity: str, kind: str) -> str:
    """A SELECT of events about being known at all: who is `lost` for sure was deleted, who is incoming though deleted returned.

    Nobody says who did it, so it counts as the person.
    """
    found, (side, source, record, is_gone, is_back) = ENTITIES[entity], KNOWN[entity]
    happened = {
        "deleted": f"""
            select
                known.address, {source} as source, {record} as record, known.seen_at as last_at, $now as latest_at,
                not lost.is_sure as is_inferred, json_object('missing_since', known.missing_since) as evidence
            from {found.table} as known
            inner join lost on known.{found.key[-1]} = lost.id and {source} = lost.source
            where not ({is_gone}) and (lost.is_sure or known.missing_since is not null)
        """,
        "returned": f"""
            select
                incoming.address, {source} as source, {record} as record, coalesce(known.deleted_at, known.seen_at) as last_at,
                page.answered_at as latest_at, false as is_inferred, json_object('deleted_at', known.deleted_at) as evidence
            from incoming_{entity} as incoming
            inner join {found.table} as known using ({", ".join(found.key)})
            inner join page on known.seen_at <= page.asked_at
            where ({is_gone}) and {is_back}
        """,
    }[kind]
    return f"""
        select
            md5(concat_ws('|', source, record, address, '{kind}', latest_at)) as event_id, address, 'email' as channel,
            '{side}' as side, source, record, '{kind}' as kind, 'self' as actor, least(last_at, latest_at) as earliest_at,
            latest_at, latest_at as as_of_at, cast(null as varchar) as caused_by, is_inferred, evidence
        from ({happened})
        where address is not null
    """


def _upsert(database: Database, entity: _Entity, incoming: str, asked_at: datetime, run_id: str) -> int:
    """Merge the incoming relation into the entity's table; returns how many of its rows are new, differ or are back."""
    database.execute(
        f"""
        create or replace temp table hashed as
        select
            incoming.*, md5(cast(to_json(incoming) as varchar)) as record_hash,
            $at as seen_at, $at as first_seen_at, $run as run_id
        from {incoming} as incoming
        """,
        {"at": asked_at, "run": run_id},
    )
    on = " and ".join(f"known.{column} = hashed.{column}" for column in entity.key)
    columns = list(TABLES[entity.table].to_schema().columns)
    values = {column: AFRESH.get(column, f"hashed.{column}") for column in columns}
    kept = {"first_seen_at", "written_at", *entity.key}
    gone = [column for column in ("missing_since", "deleted_at") if column in columns]
    differs = " or ".join(("known.record_hash is distinct from hashed.record_hash", *(f"known.{c} is not null" for c in gone)))
    changes = values | {"run_id": f"case when {differs} then hashed.run_id else known.run_id end"}
    changes |= {"removed_by_us": ARCHIVED} if "removed_by_us" in values else {}
    updates = ", ".join(f"{column} = {value}" for column, value in changes.items() if column not in kept)
    (changed,) = database.execute(
        f"""
        create or replace temp table changed as
        select hashed.*, known as before
        from hashed left join {entity.table} as known on {on}
        where ({differs}) and coalesce(known.seen_at <= hashed.seen_at, true)
        """
    ).fetchone() or (0,)
    database.execute(
        f"""
        merge into {entity.table} as known using hashed on {on}
        when matched and known.seen_at <= hashed.seen_at then update set {updates}
        when not matched then insert ({", ".join(values)}) values ({", ".join(values.values())})
        """
    )
    if changed and entity.touches:
        scope.touch(database, entity.touches)
    return int(changed)


def set_aside(database: Database, checked: Checked, key: str, run_id: str) -> int:
    """Keep the rejected records whole, replacing what was said of the same records before; returns how many there are."""
    seen = pl.concat([checked.good.select(pl.col(key).alias("record_id")), checked.rejected.select("record_id")])
    rules.bind(database, "seen", seen)
    database.execute(
        "delete from ops.rejected_rows where source = $1 and entity = $2 and record_id in (select record_id from seen)",
        [checked.source, checked.entity],
    )
    if checked.rejected.is_empty():
        return 0
    rules.bind(database, "failed", checked.rejected)
    database.execute(
        """
        insert into ops.rejected_rows by name
        select failed.*, $source as source, $entity as entity, md5(record) as record_hash, $run as run_id, $now as rejected_at
        from failed
        """,
        {"source": checked.source, "entity": checked.entity, "run": run_id, "now": datetime.now(UTC)},
    )
    return checked.rejected["record_id"].n_unique()


def move_cursor(database: Database, source: str, stream: str, cursor: str | None, listed_at: datetime | None = None) -> None:
    """Say up to where everything of a stream is stored, in the transaction that stored it. A cursor never moves back."""
    database.execute(
        """
        merge into ops.cursors as known
        using (select $source as source, $stream as stream, $cursor as cursor, $listed as listed_at, $now as moved_at) as new
        on known.source = new.source and known.stream = new.stream
        when matched then update set
            cursor = coalesce(greatest(known.cursor, new.cursor), new.cursor, known.cursor),
            listed_at = coalesce(new.listed_at, known.listed_at),
            moved_at = new.moved_at
        when not matched then insert by name
        """,
        {"source": source, "stream": stream, "cursor": cursor, "listed": listed_at, "now": datetime.now(UTC)},
    )


def where_to_go_on(database: Database, source: str, stream: str) -> tuple[str | None, datetime | None]:
    """The cursor of a stream, and when its last complete listing was asked for."""
    row = database.execute(
        "select cursor, listed_at from ops.cursors where source = $1 and stream = $2", [source, stream]
    ).fetchone()
    return (row[0], row[1]) if row else (None, None)


def find_missing(database: Database, entity: str, source: str, listing_began_at: datetime) -> list[str]:
    """The ids that a complete listing begun at that time did not show, and that are not known to be gone."""
    found = ENTITIES[entity]
    where = "shop = $source" if "shop" in found.key else "$source = 'esp'"
    return [
        row[0]
        for row in database.execute(
            f"select {found.key[-1]} from {found.table} where {where} and deleted_at is null and seen_at < $began",
            {"source": source, "began": listing_began_at},
        ).fetchall()
    ]


def find_unlisted(database: Database, shop: str, listed: Collection[str], listing_began_at: datetime) -> list[str]:
    """The accounts that a complete listing of ids begun at that time did not show, though they were there before it."""
    rules.bind(database, "listed", pl.DataFrame({"customer_id": list(listed)}, schema={"customer_id": pl.String}))
    return [
        row[0]
        for row in database.execute(
            """
            select customer_id from shop.customers anti join listed using (customer_id)
            where shop = $shop and deleted_at is null and first_seen_at < $began
            """,
            {"shop": shop, "began": listing_began_at},
        ).fetchall()
    ]


def keep_requests(database: Database, shop: str, requests: Sequence[tuple[Delivery, PrivacyRequest]]) -> None:
    """Keep what people ask of us through this shop, each delivery once."""
    if not requests:
        return
    asked = pl.DataFrame(
        [
            {
                "source": shop,
                "kind": request.kind,
                "customer_id": request.customer_id,
                "email": request.email,
                "delivery": delivery.number,
                "received_at": delivery.received_at,
                "due_at": delivery.received_at + DUE_AFTER,
            }
            for delivery, request in requests
        ],
        schema_overrides={"customer_id": pl.String, "email": pl.String},
    ).select(pl.exclude("email"), with_address(pl.col("email")))
    rules.bind(database, "asked", asked)
    database.execute("insert into ops.privacy_requests by name from asked anti join ops.privacy_requests using (delivery)")


def mark_gone(database: Database, entity: str, source: str, *, gone: list[str], missing: list[str], run_id: str) -> None:
    """Gone is what was asked for by id and not found, or is missing for the second time; else it is only missing (12.8).

    A contact that is gone has the status `deleted`; its opt-outs stay in the events.
    """
    found = ENTITIES[entity]
    lost = {"id": [*gone, *missing], "is_sure": [True] * len(gone) + [False] * len(missing)}
    rules.bind(database, "lost", pl.DataFrame(lost).with_columns(source=pl.lit(source)))
    if entity in KNOWN:
        add_events(database, _coming_and_going(entity, "deleted"), run_id)
    where = "known.shop = $source" if "shop" in found.key else "$source = 'esp'"
    if entity in KNOWN:
        rows = f"from {found.table} as known semi join lost on known.{found.key[-1]} = lost.id"
        theirs = f" union all {_OF_ITS_ORDERS.format(accounts=rows)}" if entity == "customers" else ""
        scope.touch(database, f"select address from ({rows}){theirs}")
    status = ", status = case when lost.is_sure or known.missing_since is not null then 'deleted' else known.status end"
    database.execute(
        f"""
        update {found.table} as known set
            missing_since = coalesce(known.missing_since, $now),
            deleted_at = case when lost.is_sure or known.missing_since is not null then $now end,
            run_id = $run
            {status if entity == "contacts" else ""}
        from lost
        where known.{found.key[-1]} = lost.id and known.deleted_at is null and {where}
        """,
        {"source": source, "now": datetime.now(UTC), "run": run_id},
    )
