-- Which standing opt-in is newer than which standing opt-out: one row per pair of one address and channel (behaviour 2.2).
-- Newer is: no earlier than after the latest moment of the opt-out, or seen to follow it; but what a shop had not heard of its
-- merchant did not answer, and a carried opt-in never answers the address's own opt-out (behaviour 12.6). A tie is not newer.
select
    outs.address,
    outs.channel,
    outs.event_id as out_event,
    ins.event_id as in_event,
    ins.side as in_side
from standing_events as outs
inner join standing_events as ins on outs.address = ins.address and outs.channel = ins.channel
left join seen_after
    on
        outs.address = seen_after.address
        and outs.channel = seen_after.channel
        and coalesce(ins.caused_by, ins.event_id) = seen_after.in_root
        and coalesce(outs.caused_by, outs.event_id) = seen_after.out_root
left join unheard
    on
        outs.address = unheard.address
        and outs.channel = unheard.channel
        and coalesce(ins.caused_by, ins.event_id) = unheard.in_root
        and coalesce(outs.caused_by, outs.event_id) = unheard.out_root
where
    outs.kind = 'opted_out'
    and ins.kind = 'opted_in'
    and (outs.is_carried or not ins.is_carried)
    and ((ins.earliest_at > outs.latest_at and unheard.in_root is null) or seen_after.in_root is not null)
