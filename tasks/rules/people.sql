-- Everybody a shop knows now: one row per address, accounts first, else the newest order's billing data.
-- An anonymised or test order knows nobody; everybody sharing an address is one person here. Of several accounts the newest
-- tells who they are, not the one that changed last: what we write to an account changes it as well. Only who has several
-- accounts is sorted and gathered: everybody would not fit into memory.
with accounts_known as not materialized (
    select * from scoped_customers
    where address is not null and deleted_at is null
),

several as (
    select
        address,
        list(distinct shop order by shop) as shops,
        max(updated_at) as updated_at
    from accounts_known
    semi join (
        select each_account.address from accounts_known as each_account
        group by each_account.address
        having count(*) > 1
    ) as repeated using (address)
    group by address
),

account as not materialized (
    select
        known.*,
        [known.shop] as shops
    from accounts_known as known
    anti join several on known.address = several.address
    union all
    select
        known.* replace (several.updated_at as updated_at),
        several.shops
    from accounts_known as known
    inner join several on known.address = several.address
    qualify row_number() over (
        partition by known.address
        order by known.created_at desc nulls last, known.shop, known.customer_id
    ) = 1
),

buyer as not materialized (
    select
        buyers.*,
        newest.email,
        newest.first_name,
        newest.last_name,
        newest.country,
        newest.city,
        newest.postcode,
        newest.phone,
        newest.ordered_at as newest_at
    from buyers
    left join scoped_orders as newest
        on
            buyers.newest
            = cast(epoch_us(newest.ordered_at) as hugeint) * 18446744073709551616 + hash(newest.shop, newest.order_id)
)

select
    coalesce(account.address, buyer.address) as address,
    case
        when buyer.shops is null or account.shops = buyer.shops then account.shops
        when account.shops is null then buyer.shops
        else list_sort(list_distinct(account.shops || buyer.shops))
    end as shops,
    account.customer_id is not null as has_account,
    coalesce(account.email, buyer.email) as email,
    coalesce(account.first_name, buyer.first_name) as first_name,
    coalesce(account.last_name, buyer.last_name) as last_name,
    account.language,
    coalesce(account.country, buyer.country) as country,
    coalesce(account.city, buyer.city) as city,
    coalesce(account.postcode, buyer.postcode) as postcode,
    coalesce(account.phone, buyer.phone) as phone,
    account.customer_group,
    coalesce(buyer.has_bought, false) as has_bought,
    coalesce(buyer.orders_count, 0) as orders_count,
    buyer.total_spent,
    buyer.currency,
    buyer.first_ordered_at,
    buyer.last_ordered_at,
    greatest(account.created_at, account.updated_at, buyer.newest_at) as last_active_at
from account
full outer join buyer on account.address = buyer.address
