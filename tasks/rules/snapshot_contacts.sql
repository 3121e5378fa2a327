-- What analysts read first: one row per address and channel that either side knows, with the last decision about it.
select
    last.address,
    last.channel,
    coalesce(people.email, contact.email, last.address) as email,
    people.first_name,
    people.last_name,
    people.country,
    coalesce(people.has_account, false) as has_account,
    people.shops,
    memberships.groups,
    last.shop_status,
    if(last.channel = 'sms', last.esp_status, contact.status) as esp_status,
    contact.tags as esp_tags,
    last.suppression,
    last.phase,
    last.rule,
    last.sentence,
    last.exception,
    last.skipped,
    last.decided_at,
    last.esp_acknowledged_at,
    last.shop_acknowledged_at,
    coalesce(people.orders_count, 0) as orders_count,
    people.total_spent,
    people.currency,
    people.first_ordered_at,
    people.last_ordered_at
from merge.decisions as last
left join people on last.address = people.address
left join memberships on last.address = memberships.address
left join esp.contacts as contact on last.address = contact.address
where last.is_last
