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
        list(distinct shop order by shop) as shops
    from (
        select
            address,
            shop
        from scoped_customers
        where address is not null and deleted_at is null
        union all
        select
            owners.address,
            owners.shop
        from order_owners as owners
        semi join buyers on owners.address = buyers.address
    ) as known
    group by address
)

select
    shops.address,
    shops.shops,
    account.customer_id is not null as has_account,
    coalesce(account.email, buyers.last_order.email) as email,
    coalesce(account.first_name, buyers.last_order.first_name) as first_name,
    coalesce(account.last_name, buyers.last_order.last_name) as last_name,
    account.language,
    coalesce(account.country, buyers.last_order.country) as country,
    coalesce(account.city, buyers.last_order.city) as city,
    coalesce(account.postcode, buyers.last_order.postcode) as postcode,
    coalesce(account.phone, buyers.last_order.phone) as phone,
    account.customer_group,
    coalesce(buyers.has_bought, false) as has_bought,
    coalesce(buyers.orders_count, 0) as orders_count,
    buyers.total_spent,
    buyers.currency,
    buyers.first_ordered_at,
    buyers.last_ordered_at,
    greatest(account.created_at, account.updated_at, buyers.last_order.ordered_at) as last_active_at
from shops
left join account on shops.address = account.address
left join buyers on shops.address = buyers.address
