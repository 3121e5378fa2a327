-- Orders with their lines: one row per order to send. A refund changes the same order, never makes a second one.
-- Orders of a customer whom the ESP's store refused are not sent.
with bought as (
    select
        store_id,
        order_id,
        to_json(list(
            {
                'line_id': line_id,
                'product_id': product_id,
                'variant_id': variant_id,
                'quantity': quantity,
                'price': cast(price as varchar),
                'discount': cast(discount as varchar)
            }
            order by line_id
        )) as lines
    from lines_to_send
    group by store_id, order_id
)

select
    'esp' as target,
    'order' as kind,
    orders.store_id || '/' || orders.order_id as key,
    orders.address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object(
        'store_id', orders.store_id,
        'order_id', orders.order_id,
        'customer_id', md5(orders.address),
        'currency', orders.currency,
        'total', cast(orders.total as varchar),
        'discount_total', cast(orders.discount_total as varchar),
        'tax_total', cast(orders.tax_total as varchar),
        'shipping_total', cast(orders.shipping_total as varchar),
        'refunded_total', cast(orders.refunded_total as varchar),
        'state', orders.state,
        'is_paid', orders.paid_at is not null,
        'ordered_at', strftime(orders.ordered_at, '%Y-%m-%dT%H:%M:%S+00:00'),
        'updated_at', strftime(orders.updated_at, '%Y-%m-%dT%H:%M:%S+00:00'),
        'promo_codes', coalesce(cast(orders.promo_codes as json), cast('[]' as json)),
        'lines', bought.lines
    ) as payload,
    cast(payload as varchar) as version
from orders_to_send as orders
inner join bought on orders.store_id = bought.store_id and orders.order_id = bought.order_id
inner join (
    select
        key,
        version
    from writes_of_customers
) as customers on orders.store_id || '/' || md5(orders.address) = customers.key
left join scoped_held as taken
    on
        taken.target = 'esp'
        and taken.kind = 'customer'
        and customers.key = taken.key
        and md5(customers.version) = taken.payload_hash
where coalesce(taken.state, 'acknowledged') = 'acknowledged'
