-- What the events of one side add up to: one row per address, channel and side that has said anything about consent.
-- An opt-out stands unless an opt-in of the same side is newer than it; a tie, or an unknown order, goes to the opt-out. So is
-- an opt-in that we handed on to be confirmed: an older opt-out of another record must not end the waiting. What waits for a
-- confirmation waits unless an opt-in came later. Bounces and complaints are not folded here but in suppressions.
with ranked as (
    select
        events.*,
        case events.kind when 'opted_out' then 1 when 'pending' then 2 else 3 end as precedence,
        case events.kind
            when 'opted_out' then events.latest_at
            when 'pending' then events.as_of_at
            else events.earliest_at
        end as ranked_at
    from standing_events as events
    where
        events.kind in ('opted_in', 'opted_out', 'pending')
        and not exists (
            select 1 from answers
            where answers.out_event = events.event_id and answers.in_side = events.side
        )
        and not (
            events.kind = 'opted_out'
            and exists (
                select 1 from standing_events as asked
                where
                    asked.kind = 'pending'
                    and asked.actor = 'system'
                    and asked.address = events.address
                    and asked.channel = events.channel
                    and asked.side = events.side
                    and asked.earliest_at > events.latest_at
                    and (events.is_carried or not asked.is_carried)
            )
        )
        and not (
            events.kind = 'pending'
            and exists (
                select 1 from standing_events as ins
                where
                    ins.kind = 'opted_in'
                    and ins.address = events.address
                    and ins.channel = events.channel
                    and ins.side = events.side
                    and ins.earliest_at > events.as_of_at
            )
        )
    qualify row_number() over (
        partition by events.address, events.channel, events.side order by precedence, ranked_at desc, events.event_id
    ) = 1
)

select
    address,
    channel,
    side,
    case kind when 'opted_in' then 'subscribed' when 'opted_out' then 'unsubscribed' else kind end as status,
    event_id,
    coalesce(caused_by, event_id) as root_event_id,
    earliest_at,
    latest_at
from ranked
