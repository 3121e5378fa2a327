-- What people bought: one row per address with an order, over all shops; tests, drafts and the trash are no orders. Money is
-- never added across currencies: spending is told in the currency of most of the person's purchases.
with owned as (
    select
        owners.address,
        owners.is_purchase,
        orders.*
    from order_owners as owners
    inner join scoped_orders as orders on owners.shop = orders.shop and owners.order_id = orders.order_id
    where owners.address is not null and not orders.is_test and orders.state not in ('draft', 'trashed')
),

main_currency as (
    select
        address,
        mode(currency order by currency) as currency
    from owned
    where is_purchase
    group by address
)

select
    owned.address,
    main_currency.currency,
    bool_or(owned.is_purchase) as has_bought,
    count(*) filter (where owned.is_purchase) as orders_count,
    sum(owned.total - owned.refunded_total) filter (
        where owned.is_purchase and owned.currency = main_currency.currency and owned.state <> 'cancelled'
    ) as total_spent,
    min(owned.ordered_at) filter (where owned.is_purchase) as first_ordered_at,
    max(owned.ordered_at) filter (where owned.is_purchase) as last_ordered_at,
    max_by(owned, (owned.ordered_at, owned.order_id)) as last_order
from owned
left join main_currency on owned.address = main_currency.address
group by owned.address, main_currency.currency
