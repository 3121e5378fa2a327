-- Whose number it is: one row per phone number that somebody consented for, and account that has it now. `holder` is the
-- address of the contact that holds the number at the ESP; null: the account has no e-mail address, so there is none.
select
    customers.sms_address as address,
    customers.shop,
    'customer:' || customers.customer_id as record,
    customers.address as holder
from shop.customers as customers
semi join (
    select address from scoped_events
    where channel = 'sms'
) as said on customers.sms_address = said.address
where customers.deleted_at is null
