-- The orders in hand with a hash over what the ESP is told of them: one row per order. Null: it has no lines, and is not told,
-- since the ESP refuses orders without. A line whose product or variant we do not know points to a stand-in.
select
    orders.*,
    if(bought.told is null, null, md5(concat_ws(
        '|',
        orders.currency,
        orders.total,
        orders.discount_total,
        orders.tax_total,
        orders.shipping_total,
        orders.refunded_total,
        orders.state,
        orders.paid_at is not null,
        epoch_us(orders.ordered_at),
        epoch_us(orders.updated_at),
        coalesce(orders.promo_codes, '[]'),
        bought.told
    ))) as told_hash
from orders_in_hand as orders
left join (
    select
        lines.shop,
        lines.order_id,
        string_agg(
            concat_ws(
                '|',
                lines.line_id,
                coalesce(products.product_id, 'no-longer-sold'),
                coalesce(products.variant_id, 'no-longer-sold'),
                lines.quantity,
                lines.price,
                lines.discount
            ),
            '||'
            order by lines.line_id
        ) as told
    from incoming_lines as lines
    left join shop.products as products
        on lines.shop = products.shop and lines.product_id = products.product_id and lines.variant_id = products.variant_id
    group by lines.shop, lines.order_id
) as bought on orders.shop = bought.shop and orders.order_id = bought.order_id
