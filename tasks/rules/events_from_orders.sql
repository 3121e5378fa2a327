-- Consent events in orders: one row per order with a tick. A tick counts at the order's time, however late it is imported, for
-- guests and account holders alike; for the latter it belongs to the account's address. No tick is no event.
select
    md5(concat_ws('|', incoming.shop, 'order', incoming.order_id, 'opted_in', incoming.ordered_at)) as event_id,
    coalesce(account.address, incoming.address) as address,
    'email' as channel,
    'shop' as side,
    incoming.shop as source,
    'order:' || incoming.order_id as record,
    'opted_in' as kind,
    'self' as actor,
    incoming.ordered_at as earliest_at,
    incoming.ordered_at as latest_at,
    incoming.ordered_at as as_of_at,
    cast(null as varchar) as caused_by,
    false as is_inferred,
    json_object('value', incoming.consent_raw, 'order', incoming.number) as evidence
from incoming_orders as incoming
left join shop.customers as account
    on incoming.shop = account.shop and incoming.customer_id = account.customer_id and account.deleted_at is null
where
    incoming.consent = 'in'
    and not incoming.is_test
    and incoming.state <> 'draft'
    and coalesce(account.address, incoming.address) is not null
