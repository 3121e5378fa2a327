-- What people bought: one row per address with an order, over all shops; tests, drafts and the trash are no orders. Money is
-- never added across currencies: spending is told in the currency of most of the person's purchases, of two the first by name.
-- Of two newest orders at one moment, the same one is always taken.
with owned as (
    select
        owners.address,
        owners.shop,
        orders.currency,
        count(*) filter (where owners.is_purchase) as orders_count,
        sum(orders.total - orders.refunded_total) filter (where owners.is_purchase and orders.state <> 'cancelled') as spent,
        min(orders.ordered_at) filter (where owners.is_purchase) as first_ordered_at,
        max(orders.ordered_at) filter (where owners.is_purchase) as last_ordered_at,
        max(orders.ordered_at) as last_at,
        arg_max(
            orders.order_id,
            epoch_ms(orders.ordered_at) * 1048576 + cast(hash(orders.order_id) % 1048576 as bigint)
        ) as last_order_id
    from order_owners as owners
    inner join scoped_orders as orders on owners.shop = orders.shop and owners.order_id = orders.order_id
    where owners.address is not null and not orders.is_test and orders.state not in ('draft', 'trashed')
    group by owners.address, owners.shop, orders.currency
),

by_currency as (
    select
        address,
        currency,
        sum(orders_count) as orders_count,
        sum(spent) as spent
    from owned
    where orders_count > 0
    group by address, currency
),

spending as (
    select *
    from by_currency
    qualify row_number() over (partition by address order by orders_count desc, currency) = 1
),

totals as (
    select
        address,
        list(distinct shop order by shop) as shops,
        coalesce(sum(orders_count), 0) as orders_count,
        min(first_ordered_at) as first_ordered_at,
        max(last_ordered_at) as last_ordered_at,
        arg_max({ 'shop': shop, 'order_id': last_order_id }, last_at) as last_order
    from owned
    group by address
)

select
    totals.address,
    totals.shops,
    spending.currency,
    totals.orders_count > 0 as has_bought,
    totals.orders_count,
    spending.spent as total_spent,
    totals.first_ordered_at,
    totals.last_ordered_at,
    totals.last_order
from totals
left join spending on totals.address = spending.address
