-- Buyers in the ESP's store: one row per customer to send.
select
    'esp' as target,
    'customer' as kind,
    store_id || '/' || customer_id as key,
    address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object(
        'store_id', store_id,
        'customer_id', customer_id,
        'email', address,
        'first_name', first_name,
        'last_name', last_name
    ) as payload,
    version
from customers_to_send
