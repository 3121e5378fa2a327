-- Buyers in the ESP's store: one row per store and address with an order to send. The id is made from the address, since
-- everybody sharing an address is one person.
select distinct
    'esp' as target,
    'customer' as kind,
    orders.store_id || '/' || md5(orders.address) as key,
    orders.address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object(
        'store_id', orders.store_id,
        'customer_id', md5(orders.address),
        'email', orders.address,
        'first_name', people.first_name,
        'last_name', people.last_name
    ) as payload,
    cast(payload as varchar) as version
from orders_to_send as orders
left join people on orders.address = people.address
