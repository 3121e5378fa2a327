-- Who in the shops would have to be told what: one row per address with an account and outcome for the shops.
with told as (
    select
        address,
        unnest(['subscribed', 'unsubscribed', 'bounced']) as set_shop,
        unnest([
            consent is distinct from 'in',
            consent is distinct from 'out',
            bounced_at is null
        ]) as differs
    from shop.customers
    where address is not null and deleted_at is null
)

select
    address,
    set_shop,
    bool_or(differs) as to_tell
from told
group by address, set_shop
