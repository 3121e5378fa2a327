-- Our own writes as events: one row per acknowledged write of consent. It stands at the record it was written to from the
-- moment it was sent (what the person did there between sending and acknowledgement came after it), and carries the times of
-- the event it hands on, so that a copy is never newer than its original (behaviour 2.2). Who is made active by exception E3
-- said nothing, so there is nothing to write down.
with consent_writes as (
    select
        write_id,
        target,
        case target when 'esp' then 'esp' else 'shop' end as side,
        case
            when kind = 'sms' then 'contact:' || key[length(address) + 2:]
            when target = 'esp' then 'contact:' || key
            when (payload ->> 'order_id') is not null then key
            else 'customer:' || key
        end as record,
        if(kind = 'sms', 'sms', 'email') as channel,
        address,
        caused_by,
        sent_at,
        case (payload ->> 'status')
            when 'subscribed' then 'opted_in'
            when 'unsubscribed' then 'opted_out'
            when 'pending' then 'pending'
        end as kind
    from settled_writes
    where
        kind in ('create', 'status', 'sms', 'consent')
        and state = 'acknowledged'
        and not exists (
            select 1 from merge.decisions as exempted
            where exempted.decision_id = settled_writes.decision_id and exempted.exception = 'E3'
        )
)

select
    md5(concat_ws('|', 'ours', consent_writes.write_id)) as event_id,
    consent_writes.address,
    consent_writes.channel,
    consent_writes.side,
    consent_writes.target as source,
    consent_writes.record,
    consent_writes.kind,
    'system' as actor,
    coalesce(origin.earliest_at, consent_writes.sent_at) as earliest_at,
    coalesce(origin.latest_at, consent_writes.sent_at) as latest_at,
    consent_writes.sent_at as as_of_at,
    coalesce(origin.caused_by, origin.event_id) as caused_by,
    false as is_inferred,
    json_object('write', consent_writes.write_id) as evidence
from consent_writes
left join consent.events as origin on consent_writes.caused_by = origin.event_id
where consent_writes.kind is not null
