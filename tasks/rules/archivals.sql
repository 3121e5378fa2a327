-- When an address was last seen to be archived or gone at the ESP: one row per address.
select
    address,
    max(latest_at) as latest_at
from scoped_events
where side = 'esp' and kind = 'deleted'
group by address
