-- What people bought: one row per address with an order, over all shops; tests, drafts and the trash are no orders. Money is
-- never added across currencies: spending is told in the currency of most of the person's purchases, of two the first by name.
-- `newest` finds the newest order; of two at one moment, always the same one. Millions of orders are grouped once, by numbers
-- alone, since groups that hold strings or lists would not fit into memory: a shop is a bit, a currency its place in a list.
with names as (
    select
        list(distinct shop order by shop) as shops,
        list(distinct currency order by currency) as currencies
    from scoped_orders
),

owned as not materialized (
    select
        owners.address,
        if(owners.is_purchase and owners.state <> 'cancelled', owners.total - owners.refunded_total, null) as spent,
        if(owners.is_purchase, owners.ordered_at, null) as bought_at,
        cast(1 as hugeint) << cast(list_position(names.shops, owners.shop) - 1 as hugeint) as shop,
        if(owners.is_purchase, list_position(names.currencies, owners.currency), null) as currency,
        cast(epoch_us(owners.ordered_at) as hugeint) * 18446744073709551616 + hash(owners.shop, owners.order_id) as newest
    from order_owners as owners
    cross join names
    where owners.address is not null and not owners.is_test and owners.state not in ('draft', 'trashed')
),

totals as (
    select
        address,
        bit_or(shop) as shops,
        min(currency) as currency,
        max(currency) as last_currency,
        count(bought_at) as orders_count,
        sum(spent) as spent,
        min(bought_at) as first_ordered_at,
        max(bought_at) as last_ordered_at,
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
        where currency <> last_currency
    ) as mixed on owned.address = mixed.address
    where owned.currency is not null
    group by owned.address, owned.currency
    qualify row_number() over (partition by owned.address order by count(*) desc, owned.currency) = 1
)

select
    totals.address,
    list_transform(
        list_filter(
            range(len(names.shops)),
            lambda place: totals.shops & (cast(1 as hugeint) << cast(place as hugeint)) <> 0
        ),
        lambda place: names.shops[place + 1]
    ) as shops,
    names.currencies[coalesce(spending.currency, totals.currency)] as currency,
    totals.orders_count > 0 as has_bought,
    totals.orders_count,
    if(spending.address is null, totals.spent, spending.spent) as total_spent,
    totals.first_ordered_at,
    totals.last_ordered_at,
    totals.newest
from totals
cross join names
left join spending on totals.address = spending.address
