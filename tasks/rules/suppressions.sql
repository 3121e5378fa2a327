-- Why an address is never mailed, whatever either side's consent says: one row per suppressed address and channel.
-- A complaint is for good. A bounce stands as long as the ESP's record says so. A complaint beats a bounce.
with reasons as (
    select * from scoped_events
    where kind = 'complained'
    union all by name
    select * from standing_events
    where kind = 'bounced'
)

select
    address,
    channel,
    kind as suppression,
    event_id
from reasons
qualify row_number() over (
    partition by address, channel
    order by kind = 'complained' desc, as_of_at desc, event_id
) = 1
