-- Consent events that one page of customer accounts reveals: one row per account whose consent differs from what we knew.
-- A value seen for the first time was set between the account's creation and now, a changed one between the last time we saw
-- the old value and now; where the platform states the time, that is the time. An emptied opt-in is an inferred opt-out.
-- What we wrote ourselves and have not settled yet is no event of theirs; an answer asked for before we last saw or wrote the
-- account says nothing new.
with changed as (
    select
        incoming.*,
        known.consent as known_consent,
        known.seen_at as known_seen_at
    from incoming_customers as incoming
    left join shop.customers as known on incoming.shop = known.shop and incoming.customer_id = known.customer_id
    where
        incoming.address is not null
        and (known.customer_id is null or known.seen_at <= (select page.asked_at from page))
        and (
            incoming.consent is distinct from known.consent
            or incoming.consent_at is distinct from known.consent_at
        )
),

ours as (
    select
        target as shop,
        key as customer_id,
        case (payload ->> 'status') when 'subscribed' then 'in' else 'out' end as consent
    from load.writes
    where kind = 'consent' and state = 'sent'
),

said as (
    select
        changed.*,
        case
            when consent = 'in' then 'opted_in'
            when consent = 'out' then 'opted_out'
            when consent = 'pending' then 'pending'
            when known_consent = 'in' then 'opted_out'
        end as kind,
        consent is null as is_inferred,
        coalesce(consent_at, (select page.answered_at from page)) as latest_at
    from changed
    anti join ours using (shop, customer_id, consent)
)

select
    md5(concat_ws('|', shop, 'customer', customer_id, address, kind, latest_at)) as event_id,
    address,
    'email' as channel,
    'shop' as side,
    shop as source,
    'customer:' || customer_id as record,
    kind,
    'self' as actor,
    case
        when consent_at is not null then consent_at
        else least(greatest(known_seen_at, created_at, timestamptz '1970-01-01 00:00:00+00'), latest_at)
    end as earliest_at,
    latest_at,
    greatest(latest_at, known_seen_at) as as_of_at,
    cast(null as varchar) as caused_by,
    is_inferred,
    json_object('value', consent_raw, 'value_before', known_consent) as evidence
from said
where kind is not null
