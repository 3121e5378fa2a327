-- Special and origin tags: one row per reachable person whose tags at the ESP differ from what they should be.
-- Tags that are not ours are never touched.
with ours as (
    select list_distinct(flatten(list(tags))) as tags from (
        select [run.tag_prefix || 'Subscriber', run.tag_prefix || 'Buyer', run.tag_prefix || 'Contact'] as tags
        from run
        union all
        select [run.tag_prefix || stores.tag] as tags
        from run cross join stores
    ) as each
),

compared as (
    select
        profiles.address,
        coalesce(contact.email, profiles.email) as email,
        profiles.tags,
        list_filter(profiles.tags, lambda tag: not list_contains(coalesce(held.tags, []), tag)) as missing,
        list_filter(
            list_intersect(coalesce(held.tags, []), ours.tags),
            lambda tag: not list_contains(profiles.tags, tag)
        ) as surplus
    from profiles
    cross join ours
    inner join reachable on profiles.address = reachable.address
    left join esp.contacts as contact on profiles.address = contact.address
    left join (
        select
            address,
            cast(tags as varchar[]) as tags
        from esp.contacts
    ) as held on profiles.address = held.address
)

select
    'esp' as target,
    'tags' as kind,
    address as key,
    address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object('email', email, 'add', list_sort(missing), 'remove', list_sort(surplus)) as payload,
    cast(tags as varchar) as version
from compared
where missing <> [] or surplus <> []
