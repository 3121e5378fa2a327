-- Products that the lines of orders to send point to, and those that the ESP was told of: one row per store and product, with
-- all its variants. A line whose product or variant is gone points to a stand-in, since the ESP needs a product.
with needed as (
    select
        orders.store_id,
        coalesce(products.product_id, 'no-longer-sold') as product_id
    from orders_to_send as orders
    inner join shop.order_lines as lines on orders.shop = lines.shop and orders.order_id = lines.order_id
    left join shop.products as products
        on lines.shop = products.shop and lines.product_id = products.product_id and lines.variant_id = products.variant_id
    union
    select
        stores.store_id,
        substr(held.key, length(stores.store_id) + 2) as product_id
    from scoped_held as held
    inner join stores on starts_with(held.key, stores.store_id || '/')
    where held.target = 'esp' and held.kind = 'product'
)

select
    'esp' as target,
    'product' as kind,
    needed.store_id || '/' || needed.product_id as key,
    cast(null as varchar) as address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object(
        'store_id', needed.store_id,
        'product_id', needed.product_id,
        'title', coalesce(min(products.title), 'No longer sold'),
        'url', min(products.url),
        'image_url', min(products.image_url),
        'variants', to_json(list(
            {
                'variant_id': coalesce(products.variant_id, 'no-longer-sold'),
                'title': coalesce(products.variant_title, 'No longer sold'),
                'sku': products.sku,
                'price': cast(products.price as varchar)
            }
            order by products.variant_id
        ))
    ) as payload,
    cast(payload as varchar) as version
from needed
inner join stores on needed.store_id = stores.store_id
left join shop.products as products on stores.shop = products.shop and needed.product_id = products.product_id
group by needed.store_id, needed.product_id
