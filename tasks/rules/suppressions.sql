-- Why an address is never mailed, whatever either side's consent says: one row per suppressed address and channel.
-- A complaint beats a bounce.
select
    address,
    channel,
    kind as suppression,
    event_id
from standing_events
where kind in ('bounced', 'complained')
qualify row_number() over (
    partition by address, channel
    order by kind = 'complained' desc, as_of_at desc, event_id
) = 1
