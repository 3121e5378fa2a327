-- The lines of those orders: one row per line. A line whose product or variant is gone points to a stand-in, since the ESP
-- refuses lines that point nowhere.
select
    orders.store_id,
    orders.order_id,
    lines.line_id,
    coalesce(products.product_id, 'no-longer-sold') as product_id,
    coalesce(products.variant_id, 'no-longer-sold') as variant_id,
    lines.quantity,
    lines.price,
    lines.discount
from orders_to_send as orders
inner join shop.order_lines as lines on orders.shop = lines.shop and orders.order_id = lines.order_id
left join shop.products as products
    on lines.shop = products.shop and lines.product_id = products.product_id and lines.variant_id = products.variant_id
