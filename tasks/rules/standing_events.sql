-- What each record says now: one row per address, channel and record, its last consent event.
-- A tie goes to the stronger no. Order of arrival and repetition do not matter. A copy of ours does not hide a person's own no
-- that it was not newer than: they said it between our reading and our writing. Nor does a copied opt-out hide a later one of
-- theirs. `is_carried`: it followed an account from another address, or is a copy of what did.
with said as (
    select *
    from scoped_events
    where kind in ('opted_in', 'opted_out', 'pending', 'bounced', 'complained')
),

overtaken as (
    select distinct copies.event_id
    from said as copies
    inner join said as refusals
        on
            copies.address = refusals.address
            and copies.channel = refusals.channel
            and copies.source = refusals.source
            and copies.record = refusals.record
            and copies.as_of_at > refusals.as_of_at
    left join seen_after
        on
            copies.address = seen_after.address
            and copies.channel = seen_after.channel
            and copies.caused_by = seen_after.in_root
            and coalesce(refusals.caused_by, refusals.event_id) = seen_after.out_root
    left join unheard
        on
            copies.address = unheard.address
            and copies.channel = unheard.channel
            and copies.caused_by = unheard.in_root
            and coalesce(refusals.caused_by, refusals.event_id) = unheard.out_root
    where
        copies.actor = 'system'
        and refusals.actor <> 'system'
        and (
            (copies.kind in ('opted_in', 'pending') and refusals.kind in ('bounced', 'complained'))
            or (
                copies.kind in ('opted_in', 'pending')
                and refusals.kind = 'opted_out'
                and (copies.earliest_at <= refusals.latest_at or unheard.in_root is not null)
                and seen_after.in_root is null
            )
            or (
                copies.kind = 'opted_out'
                and refusals.kind in ('opted_out', 'bounced', 'complained')
                and copies.latest_at <= refusals.latest_at
                and not exists (
                    select 1 from said as taken_back
                    where
                        taken_back.address = copies.address
                        and taken_back.channel = copies.channel
                        and taken_back.source = copies.source
                        and taken_back.record = copies.record
                        and taken_back.actor <> 'system'
                        and taken_back.kind in ('opted_in', 'pending')
                        and taken_back.as_of_at > refusals.as_of_at
                        and taken_back.as_of_at <= copies.as_of_at
                )
            )
        )
)

select
    said.*,
    coalesce(origin.address <> said.address, false) as is_carried
from said
left join consent.events as origin on said.caused_by = origin.event_id
anti join overtaken on said.event_id = overtaken.event_id
qualify row_number() over (
    partition by said.address, said.channel, said.source, said.record
    order by
        said.as_of_at desc,
        list_position(['complained', 'bounced', 'opted_out', 'pending', 'opted_in'], said.kind),
        said.event_id
) = 1
