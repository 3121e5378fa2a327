-- What each record says now: one row per address, channel and record, its last consent event.
-- A tie goes to the stronger no. Order of arrival and repetition do not matter.
select *
from consent.events
where kind in ('opted_in', 'opted_out', 'pending', 'bounced', 'complained')
qualify row_number() over (
    partition by address, channel, source, record
    order by
        as_of_at desc,
        list_position(['complained', 'bounced', 'opted_out', 'pending', 'opted_in'], kind),
        event_id
) = 1
