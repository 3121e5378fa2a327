-- The shops' accounts as they are now: one row per account with an address. `holds` is what the account says: its value, and an
-- opt-out where a value became empty, for that stays empty in the shop (behaviour 2.9). Null: never ticked.
select
    customers.shop,
    customers.customer_id,
    customers.address,
    customers.bounced_at,
    coalesce(customers.consent, case when said.kind = 'opted_out' then 'out' end) as holds
from scoped_customers as customers
left join standing_events as said
    on
        customers.address = said.address
        and said.channel = 'email'
        and customers.shop = said.source
        and said.record = 'customer:' || customers.customer_id
where customers.address is not null and customers.deleted_at is null
