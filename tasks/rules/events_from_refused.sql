-- Opt-outs in accounts that failed a check: one row per account and channel that was opted in and whose record, unfit for
-- anything else, does not say so any more (behaviour 2.9: a change from in to anything else is an opt-out). It counts for the
-- address we know. An answer asked for before we last saw or wrote the account says nothing.
with each_channel as (
    select
        known.shop,
        known.customer_id,
        'email' as channel,
        known.address,
        known.consent as known_consent,
        refused.consent,
        refused.consent_raw,
        refused.consent_actor as actor,
        known.seen_at
    from refused_customers as refused
    inner join shop.customers as known on refused.shop = known.shop and refused.customer_id = known.customer_id
    union all
    select
        known.shop,
        known.customer_id,
        'sms' as channel,
        known.sms_address as address,
        known.sms_consent as known_consent,
        refused.sms_consent as consent,
        refused.sms_consent as consent_raw,
        cast(null as varchar) as actor,
        known.seen_at
    from refused_customers as refused
    inner join shop.customers as known on refused.shop = known.shop and refused.customer_id = known.customer_id
)

select
    md5(concat_ws('|', said.shop, 'customer', said.customer_id, said.address, 'opted_out', page.answered_at)) as event_id,
    said.address,
    said.channel,
    'shop' as side,
    said.shop as source,
    'customer:' || said.customer_id as record,
    'opted_out' as kind,
    coalesce(said.actor, 'self') as actor,
    said.seen_at as earliest_at,
    page.answered_at as latest_at,
    page.answered_at as as_of_at,
    cast(null as varchar) as caused_by,
    (said.consent is distinct from 'out') as is_inferred,
    json_object('value', said.consent_raw, 'value_before', said.known_consent) as evidence
from each_channel as said
cross join page
where
    said.known_consent = 'in'
    and said.consent is distinct from 'in'
    and said.address is not null
    and said.seen_at <= page.asked_at
