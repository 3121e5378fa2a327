-- Buyers in the ESP's store: one row per customer to send.
select
    'esp' as target,
    'customer' as kind,
    customers.store_id || '/' || customers.customer_id as key,
    customers.address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object(
        'store_id', customers.store_id,
        'customer_id', customers.customer_id,
        'email', customers.address,
        'first_name', customers.first_name,
        'last_name', customers.last_name
    ) as payload,
    customers.version
from customers_to_send as customers
where customers.differs
