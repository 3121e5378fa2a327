-- Consent events for text messages that one page of contacts reveals: one row per contact whose number says something else than
-- we knew. It happened when the ESP says so, else at any time until it answered: what a contact held when we last wrote to it
-- says nothing of its text messages. A change that we saw after our own write came after it, whatever the two clocks say.
-- A STOP counts even in an answer older than our last write: the cursor passes only once.
with changed as (
    select
        incoming.address as contact,
        incoming.sms_address as address,
        incoming.sms_status as status,
        case when incoming.sms_address = known.sms_address then known.sms_status end as known_status,
        incoming.sms_status_at as stated_at,
        known.seen_at as known_seen_at,
        coalesce(known.seen_at <= (select page.asked_at from page), true) as is_fresh
    from incoming_contacts as incoming
    left join esp.contacts as known on incoming.address = known.address
    where incoming.sms_address is not null
),

ours as (
    select
        key,
        (payload ->> 'status') as status
    from load.writes
    where target = 'esp' and kind = 'sms' and state = 'sent'
),

said as (
    select
        changed.*,
        case
            when status = 'subscribed' then 'opted_in'
            when status = 'not_subscribed' and known_status = 'subscribed' then 'opted_out'
            when status = 'unsubscribed' then 'opted_out'
            when status in ('pending', 'bounced', 'complained') then status
        end as kind,
        coalesce(stated_at, (select page.answered_at from page)) as latest_at
    from changed
    where
        status is distinct from known_status
        and (is_fresh or status in ('unsubscribed', 'bounced', 'complained'))
        and not exists (
            select 1 from ours
            where ours.key = changed.address || '/' || changed.contact and ours.status = changed.status
        )
)

select
    md5(concat_ws('|', 'esp', contact, address, kind, latest_at)) as event_id,
    address,
    'sms' as channel,
    'esp' as side,
    'esp' as source,
    'contact:' || contact as record,
    kind,
    case when status = 'not_subscribed' then 'merchant' else 'self' end as actor,
    coalesce(stated_at, timestamptz '1970-01-01 00:00:00+00') as earliest_at,
    latest_at,
    case when is_fresh then greatest(latest_at, known_seen_at) else latest_at end as as_of_at,
    cast(null as varchar) as caused_by,
    false as is_inferred,
    json_object('status', status, 'status_before', known_status) as evidence
from said
where kind is not null
