-- Orders with their lines: one row per order to send that is not as it was sent. A refund changes the same order, never makes a
-- second one. Orders of a customer whom the ESP's store refused are not sent. JSON is made only of what differs: of millions of
-- orders that takes longest. `quiet`: history that comes late notifies nobody (behaviour 8.3).
with bought as (
    select
        store_id,
        order_id,
        bit_xor(md5_number_lower(
            concat(line_id, '|', product_id, '|', variant_id, '|', quantity, '|', price, '|', discount)
        )) as lines_version
    from lines_to_send
    group by store_id, order_id
),

differing as (
    select
        orders.*,
        concat(
            orders.address, '|', orders.currency, '|', orders.total, '|', orders.discount_total, '|', orders.tax_total, '|',
            orders.shipping_total, '|', orders.refunded_total, '|', orders.state, '|', orders.paid_at is not null, '|',
            epoch_us(orders.ordered_at), '|', epoch_us(orders.updated_at), '|', cast(orders.promo_codes as varchar), '|',
            bought.lines_version
        ) as version
    from orders_to_send as orders
    inner join bought on orders.store_id = bought.store_id and orders.order_id = bought.order_id
    anti join (
        select
            store_id,
            address
        from customers_to_send
        where was_refused
    ) as refused on orders.store_id = refused.store_id and orders.address = refused.address
    where md5(version) is distinct from orders.sent_hash
),

itemised as (
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
    semi join differing using (store_id, order_id)
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
        'quiet', coalesce(orders.sent_hash is null and orders.ordered_at <= run.loaded_at, false),
        'lines', itemised.lines
    ) as payload,
    orders.version
from differing as orders
cross join run
inner join itemised on orders.store_id = itemised.store_id and orders.order_id = itemised.order_id
