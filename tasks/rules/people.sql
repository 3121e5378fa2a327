-- Everybody a shop knows now: one row per address, accounts first, else the newest order's billing data.
-- An anonymised or test order knows nobody; everybody sharing an address is one person here.
with account as (
    select * from scoped_customers
    where address is not null and deleted_at is null
    qualify row_number() over (
        partition by address
        order by updated_at desc nulls last, created_at desc nulls last, shop, customer_id
    ) = 1
),

shops as (
    select
        address,
        list_sort(list_distinct(flatten(list(shops)))) as shops
    from (
        select
            address,
            [shop] as shops
        from scoped_customers
        where address is not null and deleted_at is null
        union all
        select
            address,
            shops
        from buyers
    ) as known
    group by address
)

select
    shops.address,
    shops.shops,
    account.customer_id is not null as has_account,
    coalesce(account.email, newest.email) as email,
    coalesce(account.first_name, newest.first_name) as first_name,
    coalesce(account.last_name, newest.last_name) as last_name,
    account.language,
    coalesce(account.country, newest.country) as country,
    coalesce(account.city, newest.city) as city,
    coalesce(account.postcode, newest.postcode) as postcode,
    coalesce(account.phone, newest.phone) as phone,
    account.customer_group,
    coalesce(buyers.has_bought, false) as has_bought,
    coalesce(buyers.orders_count, 0) as orders_count,
    buyers.total_spent,
    buyers.currency,
    buyers.first_ordered_at,
    buyers.last_ordered_at,
    greatest(account.created_at, account.updated_at, newest.ordered_at) as last_active_at
from shops
left join account on shops.address = account.address
left join buyers on shops.address = buyers.address
left join scoped_orders as newest on buyers.last_order.shop = newest.shop and buyers.last_order.order_id = newest.order_id
