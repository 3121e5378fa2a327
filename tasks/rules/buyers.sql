-- What people bought: one row per address with an order, over all shops; tests, drafts and the trash are no orders. Money is
-- never added across currencies: spending is told in the currency of most of the person's purchases, of two the first by name.
-- Of two newest orders at one moment, the same one is always taken. Lists and records are made of the few who need them: of
-- everybody they would not fit into memory.
with owned as (
    select
        owners.address,
        owners.shop,
        orders.currency,
        count(*) filter (where owners.is_purchase) as orders_count,
        sum(orders.total - orders.refunded_total) filter (where owners.is_purchase and orders.state <> 'cancelled') as spent,
        min(orders.ordered_at) filter (where owners.is_purchase) as first_ordered_at,
        max(orders.ordered_at) filter (where owners.is_purchase) as last_ordered_at,
        max(epoch_ms(orders.ordered_at) * 1048576 + cast(hash(orders.order_id) % 1048576 as bigint)) as newest
    from order_owners as owners
    inner join scoped_orders as orders on owners.shop = orders.shop and owners.order_id = orders.order_id
    where owners.address is not null and not orders.is_test and orders.state not in ('draft', 'trashed')
    group by owners.address, owners.shop, orders.currency
),

totals as (
    select
        address,
        min(shop) as first_shop,
        max(shop) as last_shop,
        min(currency) filter (where orders_count > 0) as currency,
        min(currency) filter (where orders_count > 0) <> max(currency) filter (where orders_count > 0) as is_mixed,
        sum(orders_count) as orders_count,
        sum(spent) as spent,
        min(first_ordered_at) as first_ordered_at,
        max(last_ordered_at) as last_ordered_at,
        max(newest) as newest
    from owned
    group by address
),

spending as (
    select
        owned.address,
        owned.currency,
        sum(owned.spent) as spent
    from owned
    semi join (
        select address from totals
        where is_mixed
    ) as mixed on owned.address = mixed.address
    where owned.orders_count > 0
    group by owned.address, owned.currency
    qualify row_number() over (partition by owned.address order by sum(owned.orders_count) desc, owned.currency) = 1
)

select
    totals.address,
    totals.first_shop,
    totals.last_shop,
    coalesce(spending.currency, totals.currency) as currency,
    totals.orders_count > 0 as has_bought,
    totals.orders_count,
    if(spending.address is null, totals.spent, spending.spent) as total_spent,
    totals.first_ordered_at,
    totals.last_ordered_at,
    totals.newest
from totals
left join spending on totals.address = spending.address
