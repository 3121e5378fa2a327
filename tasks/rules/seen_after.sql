-- Which opt-in was seen to follow which opt-out, whatever the clocks say: one row per pair of originals. They follow each other
-- at one record, where the opt-out may be a copy that we wrote there: who ticks the box after we told the shop of an opt-out at
-- the ESP is newer than that opt-out (behaviour 2.2: changes of one record are ordered as seen). A tie is no order.
-- And, by exception E1, which opt-outs of the shops a settled decision put below the opt-in at the ESP (behaviour 4.1): those
-- it knew of. What was approved is what was shown, so here it matters when we wrote an opt-out down.
select distinct
    opt_in.address,
    opt_in.channel,
    coalesce(opt_in.caused_by, opt_in.event_id) as in_root,
    coalesce(opt_out.caused_by, opt_out.event_id) as out_root
from scoped_events as opt_in
inner join scoped_events as opt_out
    on
        opt_in.address = opt_out.address
        and opt_in.channel = opt_out.channel
        and opt_in.source = opt_out.source
        and opt_in.record = opt_out.record
        and opt_in.as_of_at > opt_out.as_of_at
where
    opt_in.kind = 'opted_in'
    and opt_in.actor <> 'system'
    and opt_out.kind = 'opted_out'
union
select
    decisions.address,
    decisions.channel,
    decisions.esp_root as in_root,
    coalesce(opt_out.caused_by, opt_out.event_id) as out_root
from scoped_decisions as decisions
inner join scoped_events as opt_out
    on
        decisions.address = opt_out.address
        and decisions.channel = opt_out.channel
        and decisions.decided_at >= opt_out.recorded_at
where
    decisions.exception = 'E1'
    and decisions.esp_acknowledged_at is not null
    and decisions.shop_acknowledged_at is not null
    and opt_out.side = 'shop'
    and opt_out.kind = 'opted_out'
