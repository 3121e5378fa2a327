-- Opt-outs in accounts that failed a check: one row per account that was opted in and whose record, unfit for anything else,
-- does not say so any more (behaviour 2.9: a change from in to anything else is an opt-out). It counts for the address we
-- know. An answer asked for before we last saw or wrote the account says nothing.
select
    md5(concat_ws('|', known.shop, 'customer', known.customer_id, known.address, 'opted_out', page.answered_at)) as event_id,
    known.address,
    'email' as channel,
    'shop' as side,
    known.shop as source,
    'customer:' || known.customer_id as record,
    'opted_out' as kind,
    'self' as actor,
    known.seen_at as earliest_at,
    page.answered_at as latest_at,
    page.answered_at as as_of_at,
    cast(null as varchar) as caused_by,
    (refused.consent is distinct from 'out') as is_inferred,
    json_object('value', refused.consent_raw, 'value_before', known.consent) as evidence
from refused_customers as refused
inner join shop.customers as known on refused.shop = known.shop and refused.customer_id = known.customer_id
cross join page
where
    known.consent = 'in'
    and refused.consent is distinct from 'in'
    and known.address is not null
    and known.seen_at <= page.asked_at
