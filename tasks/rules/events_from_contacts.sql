-- Consent events that one page of contacts reveals: one row per contact whose status differs from what we knew.
-- The status changed no later than the contact did as a whole, and no earlier than we last saw the old status; an opt-in whose
-- time the ESP states happened at that time. Subscribed turned into "never opted in" is an opt-out by the merchant.
-- A change that we saw after our own write came after it, whatever the two clocks say.
-- An opt-out, a bounce or a complaint counts even in an answer older than our last write: the cursor passes only once.
with changed as (
    select
        incoming.*,
        known.status as known_status,
        known.seen_at as known_seen_at,
        known.seen_at <= (select page.asked_at from page) as is_fresh,
        -- greatest and least pass over nulls: of somebody seen first there is no such time.
        case
            when known.address is not null then greatest(known.changed_at, least(known.seen_at, incoming.changed_at))
        end as known_at
    from incoming_contacts as incoming
    left join esp.contacts as known on incoming.address = known.address
    where
        incoming.status is distinct from known.status
        and (
            known.address is null
            or known.seen_at <= (select page.asked_at from page)
            or incoming.status in ('unsubscribed', 'bounced', 'complained')
        )
),

ours as (
    select
        key as address,
        case kind when 'archive' then 'deleted' else (payload ->> 'status') end as status
    from load.writes
    where target = 'esp' and kind in ('create', 'status', 'archive') and state = 'sent'
),

said as (
    select
        changed.*,
        case
            when status = 'subscribed' then 'opted_in'
            when status = 'not_subscribed' and known_status = 'subscribed' then 'opted_out'
            when status = 'unsubscribed' then 'opted_out'
            when status = 'deleted' then 'deleted'
            when status in ('pending', 'bounced', 'complained') then status
        end as kind,
        case
            when status = 'subscribed' and (known_at is null or opted_in_at > known_at) then opted_in_at
            else status_at
        end as stated_at
    from changed
    anti join ours using (address, status)
),

timed as (
    select
        said.*,
        coalesce(stated_at, changed_at) as latest_at,
        coalesce(stated_at, known_at, opted_in_at, timestamptz '1970-01-01 00:00:00+00') as first_possible_at
    from said
)

select
    md5(concat_ws('|', 'esp', address, kind, latest_at)) as event_id,
    address,
    'email' as channel,
    'esp' as side,
    'esp' as source,
    'contact:' || address as record,
    kind,
    case
        when status = 'not_subscribed' then 'merchant'
        else coalesce(actor, 'self')
    end as actor,
    least(first_possible_at, latest_at) as earliest_at,
    latest_at,
    case when is_fresh then greatest(latest_at, known_seen_at) else latest_at end as as_of_at,
    cast(null as varchar) as caused_by,
    false as is_inferred,
    json_object('status', status, 'status_before', known_status, 'reason', reason) as evidence
from timed
where kind is not null
