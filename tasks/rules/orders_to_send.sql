-- Orders the ESP should know: one row per order, when buyers are chosen. An order that it has already goes on being updated,
-- whatever became of it. `sent_hash`: what was sent of it last.
select
    owners.address,
    stores.store_id,
    orders.* exclude (address),
    held.payload_hash as sent_hash
from order_owners as owners
inner join scoped_orders as orders on owners.shop = orders.shop and owners.order_id = orders.order_id
inner join stores on orders.shop = stores.shop
inner join reachable on owners.address = reachable.address
cross join run
left join scoped_held as held
    on held.target = 'esp' and held.kind = 'order' and held.key = stores.store_id || '/' || orders.order_id
where
    list_contains(run.groups, 'buyer')
    and (owners.is_purchase or coalesce(held.was_acknowledged, false))
    and (run.customers_since is null or orders.ordered_at >= run.customers_since)
