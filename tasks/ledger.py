"""The ledger of writes: planned, then sent, then settled per record. Only an acknowledgement says that the other side has it.

Plain functions over an open database. What happened between sending and settling (a crash, a lost answer) is looked up at the
other side before anything is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
import polars as pl

from tasks import rules, scope
from tasks.connector import Outcome, Write
from tasks.merge import Store, bind_stores
from tasks.state import Database, rows
from tasks.storage import add_events

NEEDS_CONTACT = ("profile", "tags", "sms", "customer", "order")
"""Kinds that would make a stranger a contact, or fail, where the contact itself was refused."""


def plan(database: Database, flow: str, *, is_dry: bool = False) -> None:
    """Write down what a flow has to write; what an earlier run planned and never sent is planned anew.

    A dry run holds nobody's lease but its own: it replaces the plans of dry runs, and leaves those of runs at work alone.
    """
    rules.build(database, rules.PLAN)
    database.execute(
        """
        delete from load.writes
        where
            state = 'planned' and flow = $flow
            and (not $is_dry or run_id in (select run_id from ops.runs where flow = 'plan'))
        """,
        {"flow": flow, "is_dry": is_dry},
    )
    for kind in rules.WRITES[flow]:
        database.execute(f"create or replace temp view wanted as from {kind}")
        database.execute(f"insert into load.writes by name {rules.model('writes_to_plan')}")


def planned(database: Database, run_id: str) -> list[dict[str, object]]:
    """How many writes of which kind a run has planned and not sent yet, per target."""
    return rows(
        database,
        """
        select target, kind, count(*) as writes from load.writes
        where state = 'planned' and run_id = $1 group by all order by all
        """,
        [run_id],
    )


def transitions(database: Database, run_id: str) -> list[dict[str, object]]:
    """What the planned writes of a run change, per side: from, to, by which rule and why, and how many people."""
    return rows(
        database,
        """
        select
            case writes.target when 'esp' then 'esp' else 'shop' end as side,
            case writes.target when 'esp' then decisions.esp_status else decisions.shop_status end as status_before,
            case writes.target when 'esp' then decisions.set_esp else decisions.set_shop end as status_after,
            decisions.rule, decisions.sentence, decisions.exception, count(distinct writes.address) as people
        from load.writes as writes
        inner join merge.decisions as decisions on writes.decision_id = decisions.decision_id
        where writes.run_id = $1
        group by all order by side, people desc, decisions.rule
        """,
        [run_id],
    )


def needs_confirmation(database: Database) -> int:
    """How many people the ESP subscribes again only when they confirm by mail themselves (behaviour 2.8)."""
    row = database.execute(
        "select count(*) from load.held where kind = 'status' and state = 'skipped' and target = 'esp'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def outcomes(database: Database, run_id: str) -> list[dict[str, object]]:
    """What became of the writes a run planned, per target and kind. Waiting: planned or sent and not settled."""
    return rows(
        database,
        """
        select
            target, kind, count(*) as planned,
            count(*) filter (where state = 'acknowledged') as acknowledged,
            count(*) filter (where state = 'skipped') as skipped,
            count(*) filter (where state = 'rejected') as rejected,
            count(*) filter (where state in ('planned', 'sent')) as waiting
        from load.writes where run_id = $1 group by target, kind order by target, kind
        """,
        [run_id],
    )


def drop_unreachable(database: Database, run_id: str, kind: str) -> None:
    """Skip a run's planned writes that what was refused before them leaves in the air: a profile, an order or tags for somebody
    who is no contact, an order of a customer whom the ESP's store did not take."""
    if kind not in NEEDS_CONTACT:
        return
    database.execute(
        """
        update load.writes set
            state = 'skipped', code = 'no_contact', settled_at = $now,
            message = 'The person is not a contact there: its creation was refused or it left meanwhile.'
        where
            state = 'planned' and run_id = $run_id and target = 'esp' and kind = $kind
            and (
                if(kind = 'sms', key[length(address) + 2:], address)
                not in (select address from esp.contacts where status <> 'deleted')
                or (
                    kind = 'order'
                    and split_part(key, '/', 1) || '/' || md5(address)
                    not in (select key from load.held where target = 'esp' and kind = 'customer' and was_acknowledged)
                )
            )
        """,
        {"now": datetime.now(UTC), "run_id": run_id, "kind": kind},
    )


def has_quiet(database: Database, run_id: str) -> bool:
    """Whether a run has planned something that must trigger nothing at the ESP."""
    row = database.execute(
        f"select count(*) from load.writes where state = 'planned' and run_id = $1 and {_QUIET}", [run_id]
    ).fetchone()
    return bool(row and row[0])


_QUIET = "coalesce((payload ->> 'quiet') = 'true', false)"


def take(
    database: Database,
    run_id: str,
    target: str,
    kind: str,
    most: int,
    *,
    stores: Sequence[Store] = (),
    is_quiet: bool | None = None,
) -> list[Write]:
    """Mark the next writes of a kind that a run has planned as sent, opt-outs first, and return them; orders need the `stores`.

    `is_quiet`: only those that must trigger nothing there, or only the others.

    A write that would subscribe somebody stays planned when a no of theirs arrived after it was planned (a long load, and the
    other flow goes on meanwhile), or when the account is another address's by now: the next run decides with that.
    """
    database.execute(
        f"""
        create or replace temp table taken as
        from load.writes where state = 'planned' and run_id = $run_id and target = $target and kind = $kind
        and coalesce({_QUIET} = $is_quiet, true)
        and not (
            coalesce((payload ->> 'status') in ('subscribed', 'pending'), false)
            and (
                exists (
                    select 1 from consent.events
                    where
                        events.address = writes.address
                        and events.kind in ('opted_out', 'bounced', 'complained')
                        and events.recorded_at > writes.planned_at
                )
                or exists (
                    select 1 from shop.customers as account
                    where
                        account.shop = writes.target
                        and account.customer_id = writes.key
                        and account.address is distinct from writes.address
                )
            )
        )
        order by (payload ->> 'status') is not distinct from 'unsubscribed' desc, key limit $most
        """,
        {"run_id": run_id, "target": target, "kind": kind, "most": most, "is_quiet": is_quiet},
    )
    database.execute(
        "update load.writes set state = 'sent', sent_at = $1 where write_id in (select write_id from taken)",
        [datetime.now(UTC)],
    )
    return _writes(database, kind, stores)


def opt_ins_planned(database: Database, run_id: str, shop: str) -> list[str]:
    """The accounts that a shop would be told are subscribed. Read and store them before the writes are taken: who opted out
    in the shop since it was read last keeps the opt-out, as `take` leaves such a write alone (behaviour 12.3)."""
    return [
        str(row["customer_id"])
        for row in rows(
            database,
            """
            select payload ->> 'customer_id' as customer_id from load.writes
            where
                state = 'planned' and run_id = $1 and target = $2 and kind = 'consent' and (payload ->> 'status') = 'subscribed'
            order by all
            """,
            [run_id, shop],
        )
    ]


def unsettled(database: Database, flow: str, stores: Sequence[Store] = ()) -> dict[tuple[str, str], list[Write]]:
    """Writes that were sent and never settled, by target and kind."""
    found = {}
    for k in rows(database, "select distinct target, kind from load.writes where state = 'sent' and flow = $1", [flow]):
        database.execute(
            """
            create or replace temp table taken as
            from load.writes where state = 'sent' and target = $1 and kind = $2 and flow = $3
            """,
            [k["target"], k["kind"], flow],
        )
        found[(k["target"], k["kind"])] = _writes(database, k["kind"], stores)
    return found


def give_back(database: Database, writes: Sequence[Write]) -> None:
    """These were sent, and the other side does not hold them: they are planned again."""
    rules.bind(database, "given_back", pl.DataFrame({"write_id": [w.write_id for w in writes]}, schema={"write_id": pl.String}))
    database.execute(
        """
        update load.writes set state = 'planned', sent_at = null
        from given_back where writes.write_id = given_back.write_id
        """
    )


def forget_store(database: Database, store_id: str) -> bool:
    """The store was empty when it was made: what was sent there before is sent again. False: nothing was."""
    scope.forget(database)
    gone = database.execute(
        "delete from load.held where target = 'esp' and kind in ('product', 'customer', 'order') and starts_with(key, $1)",
        [f"{store_id}/"],
    ).fetchone()
    return bool(gone and gone[0])


def _writes(database: Database, kind: str, stores: Sequence[Store]) -> list[Write]:
    """The writes in `taken`, opt-outs first, with what is sent."""
    if kind == "order":
        bind_stores(database, stores)
        database.execute(
            """
            create or replace temp table orders_taken as
            select
                taken.write_id, taken.address, stores.shop, stores.store_id,
                substr(taken.key, length(stores.store_id) + 2) as order_id
            from taken inner join stores on starts_with(taken.key, stores.store_id || '/')
            """
        )
        rules.build(database, ["payloads_of_orders"])
        database.execute(
            "update taken set payload = made.payload from payloads_of_orders as made where taken.write_id = made.write_id"
        )
    query = "from taken order by (payload ->> 'status') is not distinct from 'unsubscribed' desc, key"
    return [Write(row["write_id"], row["key"], orjson.loads(row["payload"]), row["is_known"]) for row in rows(database, query)]


def settle(database: Database, settled: Sequence[Outcome], run_id: str) -> None:
    """Write down what became of sent writes, and what follows from it: our own events, what the other side holds now,
    the decisions that are carried out. An outcome "unknown" is left out by the connector: that write stays sent."""
    if not settled:
        return
    rules.bind(
        database,
        "outcomes",
        pl.DataFrame(
            [(o.write_id, o.state, o.code, o.message) for o in settled],
            schema={"write_id": pl.String, "new_state": pl.String, "new_code": pl.String, "new_message": pl.String},
            orient="row",
        ).unique("write_id", keep="last"),
    )
    database.execute(
        """
        update load.writes set state = new_state, code = new_code, message = new_message, settled_at = $1
        from outcomes where writes.write_id = outcomes.write_id
        """,
        [datetime.now(UTC)],
    )
    database.execute("create or replace temp table settled_writes as from load.writes semi join outcomes using (write_id)")
    follow_up(database, run_id)


def follow_up(database: Database, run_id: str) -> None:
    """What follows from the outcomes of `settled_writes`: events, what both sides hold, decisions carried out."""
    add_events(database, rules.model("events_from_writes"), run_id)
    add_events(database, _ARCHIVED, run_id)
    for statement in _AFTERMATH:
        database.execute(statement)
    scope.touch(database, "select address from settled_writes")


_ARCHIVED = """
    select
        md5('archived|' || write_id) as event_id, address, 'email' as channel, 'esp' as side, 'esp' as source,
        'contact:' || key as record, 'deleted' as kind, 'system' as actor, sent_at as earliest_at, settled_at as latest_at,
        sent_at as as_of_at, null as caused_by, false as is_inferred, json_object('write', write_id) as evidence
    from settled_writes
    where kind = 'archive' and target = 'esp' and state = 'acknowledged'
"""
"""Whom we archived at the ESP: one event per acknowledged write."""

_AFTERMATH = (
    # What the ESP holds now, as far as we know without asking again.
    """
    merge into esp.contacts as known
    using (
        from settled_writes where target = 'esp' and kind in ('create', 'status') and state = 'acknowledged'
    ) as done
    on known.address = done.key
    when matched then update set
        status = (done.payload ->> 'status'), seen_at = done.settled_at, written_at = done.settled_at, run_id = done.run_id,
        removed_by_us = false, deleted_at = null, missing_since = null
    when not matched then insert (
        contact_id, email, address, status, actor, reason, opted_in_at, status_at, changed_at, fields, tags,
        record_hash, seen_at, first_seen_at, run_id, missing_since, deleted_at, written_at, removed_by_us
    ) values (
        done.key, (done.payload ->> 'email'), done.key, (done.payload ->> 'status'), null, null, null, null, done.sent_at,
        coalesce(done.payload -> 'fields', '{}'), '[]',
        'written', done.settled_at, done.settled_at, done.run_id, null, null, done.settled_at, false
    )
    """,
    """
    update esp.contacts as known set
        status = 'deleted', removed_by_us = true, run_id = done.run_id,
        seen_at = done.settled_at, written_at = done.settled_at, deleted_at = done.settled_at
    from settled_writes as done
    where done.kind = 'archive' and done.target = 'esp' and done.state = 'acknowledged' and known.address = done.key
    """,
    """
    update esp.contacts as known set
        tags = to_json(list_sort(list_distinct(
            list_filter(
                cast(known.tags as varchar []),
                lambda tag: not list_contains(cast(done.payload -> 'remove' as varchar []), tag)
            )
            || cast(done.payload -> 'add' as varchar [])
        ))),
        run_id = done.run_id
    from settled_writes as done
    where done.kind = 'tags' and done.target = 'esp' and done.state = 'acknowledged' and known.address = done.key
    """,
    # The key of consent to text messages is number/contact.
    """
    update esp.contacts as known set
        sms_address = done.address, sms_status = (done.payload ->> 'status'), sms_status_at = null, run_id = done.run_id
    from settled_writes as done
    where
        done.kind = 'sms' and done.target = 'esp' and done.state = 'acknowledged'
        and done.key = done.address || '/' || known.address
    """,
    # What the shops hold now.
    """
    update shop.customers as known set
        consent = case (done.payload ->> 'status') when 'subscribed' then 'in' else 'out' end,
        seen_at = done.settled_at, run_id = done.run_id
    from settled_writes as done
    where
        done.kind = 'consent' and done.state = 'acknowledged'
        and known.shop = done.target and known.customer_id = done.key
    """,
    """
    update shop.orders as known set consent = 'out', seen_at = done.settled_at, run_id = done.run_id
    from settled_writes as done
    where
        done.kind = 'consent' and done.state = 'acknowledged' and (done.payload ->> 'order_id') is not null
        and known.shop = done.target and known.order_id = (done.payload ->> 'order_id')
    """,
    """
    update shop.customers as known set bounced_at = cast((done.payload ->> 'bounced_at') as timestamptz), run_id = done.run_id
    from settled_writes as done
    where
        done.kind = 'bounce' and done.state = 'acknowledged'
        and known.shop = done.target and known.customer_id = done.key
    """,
    # A creation brings the profile with it; its hash is that of `writes_of_profiles`.
    """
    create or replace temp table newly_held as
    select target, kind, key, address, payload_hash, state, write_id, settled_at from settled_writes
    union all
    select
        target, 'profile', key, address, coalesce(payload ->> 'fields_hash', ''),
        state, write_id, settled_at
    from settled_writes
    where target = 'esp' and kind = 'create' and state = 'acknowledged'
    """,
    """
    merge into load.held as known using newly_held as new
    on known.target = new.target and known.kind = new.kind and known.key = new.key
    when matched then update set
        address = new.address, payload_hash = new.payload_hash, state = new.state, write_id = new.write_id,
        settled_at = new.settled_at,
        was_acknowledged = known.was_acknowledged or new.state = 'acknowledged'
    when not matched then insert (
        target, kind, key, address, payload_hash, state, was_acknowledged, write_id, settled_at
    ) values (
        new.target, new.kind, new.key, new.address, new.payload_hash, new.state, new.state = 'acknowledged', new.write_id,
        new.settled_at
    )
    """,
    # A decision is carried out on a side when all its writes there are acknowledged. A record that is gone needs none.
    """
    create or replace temp table carried_out as
    select
        decision_id,
        bool_and(state = 'acknowledged' or code is not distinct from 'gone')
            filter (where target = 'esp') as at_esp,
        bool_and(state = 'acknowledged' or code is not distinct from 'gone')
            filter (where target <> 'esp') as at_shops
    from load.writes
    where
        decision_id in (select decision_id from settled_writes)
        and kind in ('create', 'status', 'archive', 'sms', 'consent', 'bounce')
    group by decision_id
    """,
    """
    update merge.decisions set
        esp_acknowledged_at = coalesce(esp_acknowledged_at, case when carried_out.at_esp then now() end),
        shop_acknowledged_at = coalesce(shop_acknowledged_at, case when carried_out.at_shops then now() end)
    from carried_out
    where decisions.decision_id = carried_out.decision_id
    """,
)
