-- Orders the ESP should know: one row per order, when buyers are chosen. An order that it has already goes on being updated,
-- whatever became of it. `sent_hash`: what was sent of it last.
select
    owners.address,
    stores.store_id,
    owners.shop,
    owners.order_id,
    owners.state,
    owners.currency,
    owners.total,
    owners.discount_total,
    owners.tax_total,
    owners.shipping_total,
    owners.refunded_total,
    owners.promo_codes,
    owners.ordered_at,
    owners.updated_at,
    owners.paid_at,
    held.payload_hash as sent_hash
from order_owners as owners
inner join stores on owners.shop = stores.shop
inner join reachable on owners.address = reachable.address
cross join run
left join scoped_held as held
    on held.target = 'esp' and held.kind = 'order' and held.key = stores.store_id || '/' || owners.order_id
where
    list_contains(run.groups, 'buyer')
    and (owners.is_purchase or coalesce(held.was_acknowledged, false))
    and (run.customers_since is null or owners.ordered_at >= run.customers_since)
