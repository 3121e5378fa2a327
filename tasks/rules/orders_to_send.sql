-- Orders the ESP should know and does not know as they are now: one row per order, when buyers are chosen. A refund changes the
-- same order, never makes a second one. An order that the ESP has already goes on being updated, whatever became of it.
with wanted as (
    select
        owners.shop,
        owners.order_id,
        stores.store_id,
        stores.store_id || '/' || owners.order_id as key,
        owners.address,
        owners.is_purchase,
        owners.ordered_at,
        owners.address || '|' || owners.told_hash as version
    from order_owners as owners
    inner join stores on owners.shop = stores.shop
    cross join run
    where
        list_contains(run.groups, 'buyer')
        and owners.told_hash is not null
        and (run.customers_since is null or owners.ordered_at >= run.customers_since)
)

select
    wanted.shop,
    wanted.order_id,
    wanted.store_id,
    wanted.key,
    wanted.address,
    wanted.ordered_at,
    wanted.version,
    held.key is null as is_new
from wanted
inner join reachable on wanted.address = reachable.address
left join scoped_held as held on held.target = 'esp' and held.kind = 'order' and wanted.key = held.key
where
    (wanted.is_purchase or coalesce(held.was_acknowledged, false))
    and md5(wanted.version) is distinct from held.payload_hash
