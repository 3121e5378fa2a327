-- The groups people are in (behaviour 7.1): one row per address a shop knows.
select
    people.address,
    list_filter(
        [
            case when shop.status = 'subscribed' then 'subscriber' end,
            case when people.has_bought then 'buyer' end,
            case when shop.status is distinct from 'subscribed' and not people.has_bought then 'contact' end
        ],
        lambda member: member is not null
    ) as groups
from people
left join side_status as shop on people.address = shop.address and shop.channel = 'email' and shop.side = 'shop'
