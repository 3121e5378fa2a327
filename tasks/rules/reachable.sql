-- Whom profile, tags and orders may be sent for: one row per address that is at the ESP, or will be after this run's creates.
-- Nobody else: an order for a stranger would make them a contact there.
select
    decided.address,
    coalesce(decided.esp_write = 'create', false) as is_new
from decided
left join esp.contacts as contact on decided.address = contact.address
where
    (contact.status <> 'deleted' and decided.esp_write is distinct from 'archive')
    or decided.esp_write in ('create', 'status')
