-- Whom profile, tags and orders may be sent for: one row per address that is at the ESP, or will be after this run's creates.
-- Nobody else: an order for a stranger would make them a contact there. A creation that was refused is not tried again, and one
-- that needs an approval is not made, so whoever waits for it is not reachable.
with refused as (
    select writes.address
    from writes_of_consent as writes
    inner join scoped_held as held
        on
            held.target = 'esp'
            and writes.kind = held.kind
            and writes.key = held.key
            and md5(writes.version) = held.payload_hash
    where held.state <> 'acknowledged'
)

select
    contact.address,
    false as is_new
from scoped_contacts as contact
where
    contact.status <> 'deleted'
    and contact.address not in (
        select decided.address from decided
        where decided.esp_write = 'archive'
    )
union
select
    decided.address,
    contact.status is null as is_new
from decided
left join scoped_contacts as contact on decided.address = contact.address
where
    decided.esp_write in ('create', 'status')
    and decided.address not in (select refused.address from refused)
    and decided.decision_id not in (
        select waiting.decision_id from waiting
        where waiting.side = 'esp'
    )
