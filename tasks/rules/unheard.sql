-- Self opt-outs that a shop had not heard of when its merchant set "subscribed" by hand: one row per pair of originals. Such
-- an opt-in is not newer than the opt-out, whatever the clocks say (behaviour 2.7). The shop has heard what it was told, and
-- what a settled decision found it to hold already.
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
        and opt_in.source <> opt_out.source
left join seen_after
    on
        opt_in.address = seen_after.address
        and opt_in.channel = seen_after.channel
        and coalesce(opt_in.caused_by, opt_in.event_id) = seen_after.in_root
        and coalesce(opt_out.caused_by, opt_out.event_id) = seen_after.out_root
where
    opt_in.side = 'shop'
    and opt_in.kind = 'opted_in'
    and opt_in.actor = 'merchant'
    and opt_out.kind = 'opted_out'
    and opt_out.actor = 'self'
    and seen_after.in_root is null
    and not exists (
        select 1 from scoped_decisions as settled
        where
            settled.address = opt_out.address
            and settled.channel = opt_out.channel
            and settled.esp_root = coalesce(opt_out.caused_by, opt_out.event_id)
            and settled.shop_status = 'unsubscribed'
            and settled.shop_acknowledged_at <= opt_in.latest_at
    )
