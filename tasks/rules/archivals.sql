-- When an address was last seen to be archived or gone at the ESP: one row per address. `is_moved_to`: since then an account
-- with an opt-in got this address, maybe again.
with archived as (
    select
        address,
        max(latest_at) as latest_at,
        max(recorded_at) as recorded_at
    from scoped_events
    where side = 'esp' and kind = 'deleted'
    group by address
),

moved_to as (
    select distinct events.address
    from scoped_events as events
    inner join archived on events.address = archived.address
    where
        events.side = 'shop'
        and events.kind = 'opted_in'
        and (events.evidence ->> 'carried_from_account') is not null
        and events.recorded_at > archived.recorded_at
)

select
    archived.address,
    archived.latest_at,
    moved_to.address is not null as is_moved_to
from archived
left join moved_to on archived.address = moved_to.address
