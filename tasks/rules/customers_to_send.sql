-- Buyers for the ESP's store: one row per store and address with an order to send, or with one that was sent. The id is made
-- from the address, since everybody sharing an address is one person. `differs`: the store was told otherwise, or nothing.
-- `was_refused`: it did not take them as they are now.
with buying as (
    select
        store_id,
        address
    from orders_to_send
    union
    select
        stores.store_id,
        held.address
    from scoped_held as held
    inner join stores on starts_with(held.key, stores.store_id || '/')
    inner join reachable on held.address = reachable.address
    cross join run
    where held.target = 'esp' and held.kind = 'customer' and list_contains(run.groups, 'buyer')
),

named as (
    select
        buying.store_id,
        buying.address,
        md5(buying.address) as customer_id,
        people.first_name,
        people.last_name
    from buying
    inner join people on buying.address = people.address
)

select
    named.*,
    concat(named.address, '|', named.first_name, '|', named.last_name) as version,
    coalesce(held.payload_hash <> md5(version), true) as differs,
    not differs and held.state <> 'acknowledged' as was_refused
from named
left join scoped_held as held
    on held.target = 'esp' and held.kind = 'customer' and held.key = named.store_id || '/' || named.customer_id
