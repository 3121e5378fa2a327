-- What the events of one side add up to: one row per address, channel and side that has said anything about consent.
-- An opt-out stands unless one opt-in is newer than every opt-out: earlier bound after their later bound. A tie, or an unknown
-- order, goes to the opt-out. Bounces and complaints are not folded here but in suppressions.
with outs as (
    select * from standing_events
    where kind = 'opted_out'
    qualify row_number() over (partition by address, channel, side order by latest_at desc, event_id) = 1
),

ins as (
    select * from standing_events
    where kind = 'opted_in'
    qualify row_number() over (partition by address, channel, side order by earliest_at desc, event_id) = 1
),

waiting as (
    select * from standing_events
    where kind = 'pending'
    qualify row_number() over (partition by address, channel, side order by as_of_at desc, event_id) = 1
),

deciding as (
    select coalesce(
        case when ins.event_id is null or ins.earliest_at <= outs.latest_at then outs end,
        case when waiting.event_id is null or waiting.as_of_at < ins.earliest_at then ins end,
        waiting,
        ins
    ) as event
    from outs
    full join ins using (address, channel, side)
    full join waiting using (address, channel, side)
)

select
    event.address,
    event.channel,
    event.side,
    case event.kind
        when 'opted_in' then 'subscribed'
        when 'opted_out' then 'unsubscribed'
        else event.kind
    end as status,
    event.event_id,
    coalesce(event.caused_by, event.event_id) as root_event_id,
    event.earliest_at,
    event.latest_at
from deciding
