-- Orders: one row per order to send. Orders of a customer whom the ESP's store refused are not sent. What is sent of them is
-- made when they are taken from the ledger (`payloads_of_orders`): of millions it would be more text than all else together.
-- `quiet`: history that comes late notifies nobody (behaviour 8.3).
select
    'esp' as target,
    'order' as kind,
    orders.key,
    orders.address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    if(orders.is_new and orders.ordered_at <= run.loaded_at, cast('{"quiet":true}' as json), null) as payload,
    orders.version
from orders_to_send as orders
cross join run
anti join (
    select
        store_id,
        address
    from customers_to_send
    where was_refused
) as refused on orders.store_id = refused.store_id and orders.address = refused.address
