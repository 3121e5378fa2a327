-- Where the shops keep what they are told: one row per record and outcome. Accounts hold consent and bounces; a guest has
-- none, so where the connection asks for it their newest order holds an opt-out (behaviour 5.2). `differs`: it does not hold
-- it yet.
with newest_order as (
    select
        owners.shop,
        'order:' || owners.order_id as key,
        cast(null as varchar) as customer_id,
        owners.order_id,
        owners.address,
        owners.consent
    from order_owners as owners
    inner join stores on owners.shop = stores.shop
    where
        stores.writes_to_guests
        and owners.is_guest
        and owners.address is not null
        and owners.address not in (select accounts.address from accounts)
        and owners.state not in ('draft', 'trashed')
    qualify row_number() over (
        partition by owners.shop, owners.address
        order by owners.ordered_at desc, owners.order_id desc
    ) = 1
)

select
    shop,
    customer_id as key,
    customer_id,
    cast(null as varchar) as order_id,
    address,
    unnest(['subscribed', 'unsubscribed', 'bounced']) as set_shop,
    unnest([
        (holds is distinct from 'in'),
        (holds is distinct from 'out'),
        bounced_at is null
    ]) as differs
from accounts
union all
select
    shop,
    key,
    customer_id,
    order_id,
    address,
    'unsubscribed' as set_shop,
    (consent is distinct from 'out') as differs
from newest_order
