-- Events that follow an account to its new address: one row per account that moved and event that stands at its old address.
-- Opt-outs and complaints follow and stay behind as well, the account's own opt-ins follow as carried (those ticked in its
-- orders too), bounces stay (behaviour 12.6). What a record said before it said something else does not follow. A tie: the
-- stronger no. A new phone number is a new address for text messages. Who moves there and back brings what they said each time.
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
    union all
    select
        incoming.shop,
        incoming.customer_id,
        known.sms_address as old_address,
        incoming.sms_address as new_address
    from incoming_customers as incoming
    inner join shop.customers as known on incoming.shop = known.shop and incoming.customer_id = known.customer_id
    where
        incoming.sms_address <> known.sms_address
        and known.seen_at <= (select page.asked_at from page)
),

standing as (
    select *
    from consent.events
    where
        kind in ('opted_in', 'opted_out', 'pending', 'bounced', 'complained')
        and address in (select moved.old_address from moved)
    qualify row_number() over (
        partition by address, channel, source, record
        order by
            as_of_at desc,
            list_position(['complained', 'bounced', 'opted_out', 'pending', 'opted_in'], kind),
            event_id
    ) = 1
),

complaints as (
    select *
    from consent.events
    where kind = 'complained' and address in (select moved.old_address from moved)
),

followed as (
    select
        moved.*,
        events.*
    from moved
    inner join (
        select * from standing
        where kind <> 'bounced'
        union by name
        select * from complaints
    ) as events on moved.old_address = events.address
    left join shop.orders as orders
        on moved.shop = orders.shop and moved.customer_id = orders.customer_id and events.record = 'order:' || orders.order_id
    where
        events.kind in ('opted_out', 'complained')
        or (
            events.source = moved.shop
            and (events.record = 'customer:' || moved.customer_id or orders.order_id is not null)
        )
)

select
    md5(concat_ws('|', 'carried', followed.new_address, followed.event_id, page.asked_at)) as event_id,
    followed.new_address as address,
    followed.channel,
    followed.side,
    followed.source,
    case when followed.side = 'esp' then 'carried:' || followed.record else followed.record end as record,
    followed.kind,
    coalesce(origin.actor, followed.actor) as actor,
    followed.earliest_at,
    followed.latest_at,
    followed.as_of_at,
    coalesce(followed.caused_by, followed.event_id) as caused_by,
    followed.is_inferred,
    json_object('carried_from_account', followed.customer_id) as evidence
from followed
cross join page
left join consent.events as origin on followed.caused_by = origin.event_id
