-- Buyers for the ESP's store: one row per store and address with an order to send. The id is made from the address, since
-- everybody sharing an address is one person. `was_refused`: the store did not take them as they are now.
with buying as (
    select distinct
        store_id,
        address
    from orders_to_send
),

named as (
    select
        buying.store_id,
        buying.address,
        md5(buying.address) as customer_id,
        people.first_name,
        people.last_name
    from buying
    left join people on buying.address = people.address
)

select
    named.*,
    concat(named.address, '|', named.first_name, '|', named.last_name) as version,
    coalesce(held.state <> 'acknowledged' and held.payload_hash = md5(version), false) as was_refused
from named
left join scoped_held as held
    on held.target = 'esp' and held.kind = 'customer' and held.key = named.store_id || '/' || named.customer_id
