-- The groups people are in (behaviour 7.1): one row per address a shop knows. Who reported us as spam is no subscriber,
-- whatever they tick afterwards: the shops are told so, and a tag for subscribers would be one for people whom nobody may mail.
with each_person as (
    select
        people.address,
        people.has_bought,
        coalesce(shop.status = 'subscribed' and suppressions.suppression is distinct from 'complained', false) as has_subscribed
    from people
    left join side_status as shop on people.address = shop.address and shop.channel = 'email' and shop.side = 'shop'
    left join suppressions on people.address = suppressions.address and suppressions.channel = 'email'
)

select
    address,
    list_filter(
        [
            case when has_subscribed then 'subscriber' end,
            case when has_bought then 'buyer' end,
            case when not has_subscribed and not has_bought then 'contact' end
        ],
        lambda member: member is not null
    ) as groups
from each_person
