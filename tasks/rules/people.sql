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

-- Most people know one shop; a list is gathered only of the others.
known as (
    select
        address,
        min(first_shop) as first_shop,
        max(last_shop) as last_shop
    from (
        select
            address,
            shop as first_shop,
            shop as last_shop
        from scoped_customers
        where address is not null and deleted_at is null
        union all
        select
            address,
            first_shop,
            last_shop
        from buyers
    ) as each_source
    group by address
),

several as (
    select
        address,
        list(distinct shop order by shop) as shops
    from (
        select
            address,
            shop
        from scoped_customers
        where deleted_at is null
        union all
        select
            owners.address,
            owners.shop
        from order_owners as owners
        semi join buyers on owners.address = buyers.address
    ) as each_record
    semi join (
        select address from known
        where first_shop <> last_shop
    ) as mixed using (address)
    group by address
),

shops as (
    select
        known.address,
        coalesce(several.shops, [known.first_shop]) as shops
    from known
    left join several on known.address = several.address
),

newest_orders as (
    select
        owners.address,
        orders.* exclude (address)
    from order_owners as owners
    inner join buyers on owners.address = buyers.address
    inner join scoped_orders as orders on owners.shop = orders.shop and owners.order_id = orders.order_id
    where
        not orders.is_test and orders.state not in ('draft', 'trashed')
        and buyers.newest = epoch_ms(orders.ordered_at) * 1048576 + cast(hash(orders.order_id) % 1048576 as bigint)
    qualify row_number() over (partition by owners.address order by orders.order_id) = 1
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
left join newest_orders as newest on shops.address = newest.address
