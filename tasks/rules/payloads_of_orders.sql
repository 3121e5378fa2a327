-- What is sent of the orders in hand, with their lines: one row per order. A line whose product or variant is gone points to a
-- stand-in, since the ESP refuses lines that point nowhere.
with lines as (
    select
        lines.shop,
        lines.order_id,
        to_json(list(
            {
                'line_id': lines.line_id,
                'product_id': coalesce(products.product_id, 'no-longer-sold'),
                'variant_id': coalesce(products.variant_id, 'no-longer-sold'),
                'quantity': lines.quantity,
                'price': cast(lines.price as varchar),
                'discount': cast(lines.discount as varchar)
            }
            order by lines.line_id
        )) as bought
    from shop.order_lines as lines
    semi join orders_taken on lines.shop = orders_taken.shop and lines.order_id = orders_taken.order_id
    left join shop.products as products
        on lines.shop = products.shop and lines.product_id = products.product_id and lines.variant_id = products.variant_id
    group by lines.shop, lines.order_id
)

select
    taken.write_id,
    json_object(
        'store_id', taken.store_id,
        'order_id', taken.order_id,
        'customer_id', md5(taken.address),
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
        'lines', lines.bought
    ) as payload
from orders_taken as taken
inner join shop.orders as orders on taken.shop = orders.shop and taken.order_id = orders.order_id
inner join lines on taken.shop = lines.shop and taken.order_id = lines.order_id
