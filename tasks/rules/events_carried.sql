-- Events that follow an account to its new address: one row per standing event of the old address and account that moved.
-- Opt-outs and complaints follow and stay behind as well, opt-ins follow as carried, bounces stay (behaviour 12.6).
with moved as (
    select
        incoming.shop,
        incoming.customer_id,
        known.address as old_address,
        incoming.address as new_address
    from incoming_customers as incoming
    inner join shop.customers as known on incoming.shop = known.shop and incoming.customer_id = known.customer_id
    where
        incoming.address <> known.address
        and known.seen_at <= (select page.asked_at from page)
),

followed as (
    select
        moved.*,
        events.*
    from moved
    inner join consent.events as events on moved.old_address = events.address
    where
        events.kind in ('opted_out', 'complained')
        or (
            events.kind in ('opted_in', 'pending')
            and events.source = moved.shop
            and events.record = 'customer:' || moved.customer_id
        )
)

select
    md5(concat_ws('|', 'carried', new_address, event_id)) as event_id,
    new_address as address,
    channel,
    side,
    source,
    case when side = 'esp' then 'carried:' || record else record end as record,
    kind,
    actor,
    earliest_at,
    latest_at,
    as_of_at,
    coalesce(caused_by, event_id) as caused_by,
    is_inferred,
    json_object('carried_from_account', customer_id) as evidence
from followed
