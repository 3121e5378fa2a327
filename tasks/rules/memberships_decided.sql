-- The groups people are in once the shops hold what is decided: one row per address a shop knows. Tags and profiles go by
-- these, so that the flow which tells the shops leaves nothing for the other one to put right; also where that waits for an
-- approval.
select
    memberships.address,
    case decided.set_shop
        when 'subscribed' then ['subscriber'] || list_filter(memberships.groups, lambda member: member = 'buyer')
        when 'unsubscribed' then if(list_contains(memberships.groups, 'buyer'), ['buyer'], ['contact'])
        else memberships.groups
    end as groups
from memberships
left join decided
    on memberships.address = decided.address and decided.channel = 'email' and decided.shop_write = 'consent'
