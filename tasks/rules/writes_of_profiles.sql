-- Profiles of contacts that exist: one row per reachable person of whom the ESP holds another one. Those created in this run
-- get theirs with the creation.
select
    'esp' as target,
    'profile' as kind,
    profiles.address as key,
    profiles.address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object('email', coalesce(contact.email, profiles.email), 'fields', profiles.fields) as payload,
    profiles.version
from profiles
inner join reachable on profiles.address = reachable.address
left join scoped_contacts as contact on profiles.address = contact.address
left join scoped_held as held on held.target = 'esp' and held.kind = 'profile' and profiles.address = held.key
where not reachable.is_new and md5(profiles.version) is distinct from held.payload_hash
