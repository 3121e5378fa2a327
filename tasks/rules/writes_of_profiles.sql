-- Profiles of contacts that exist: one row per reachable person. Those created in this run get theirs with the creation.
select
    'esp' as target,
    'profile' as kind,
    profiles.address as key,
    profiles.address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object('email', coalesce(contact.email, profiles.email), 'fields', profiles.fields) as payload,
    cast(profiles.fields as varchar) as version
from profiles
inner join reachable on profiles.address = reachable.address
left join scoped_contacts as contact on profiles.address = contact.address
where not reachable.is_new
