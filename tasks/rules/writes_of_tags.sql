-- Special and origin tags: one row per reachable person whose tags at the ESP differ from what they should be. Who has no
-- profile to send any more (gone from the shops, or in no chosen group) gets none, and loses those that are not true any more.
-- Tags that are not ours, and those of people whom we never tagged, are never touched. The version is what is left of our tags
-- after the write: somebody may lose one and, in a chosen group again, have to get others.
with each_tag as (
    select
        run.tag_prefix || upper(member[1]) || member[2:] as tag,
        member,
        cast(null as varchar) as shop
    from run
    cross join (select unnest(['subscriber', 'buyer', 'contact']) as member) as known
    union all
    select
        run.tag_prefix || stores.tag as tag,
        cast(null as varchar) as member,
        stores.shop
    from run
    cross join stores
),

left_over as (
    select
        held.key as address,
        (
            select coalesce(list(each_tag.tag), []) from each_tag
            where list_contains(memberships.groups, each_tag.member) or list_contains(people.shops, each_tag.shop)
        ) as allowed
    from scoped_held as held
    left join memberships_decided as memberships on held.key = memberships.address
    left join people on held.key = people.address
    where
        held.target = 'esp' and held.kind = 'tags' and held.was_acknowledged
        and held.key not in (select profiles.address from profiles)
),

wanted as (
    select
        address,
        email,
        tags,
        tags as allowed
    from profiles
    union all by name
    select
        address,
        cast([] as varchar[]) as tags,
        allowed
    from left_over
),

compared as (
    select
        wanted.address,
        coalesce(contact.email, wanted.email) as email,
        list_filter(wanted.tags, lambda tag: not list_contains(held.tags, tag)) as missing,
        list_filter(ours.tags, lambda tag: not list_contains(wanted.allowed, tag)) as surplus,
        list_filter(ours.tags, lambda tag: list_contains(wanted.allowed, tag)) as kept
    from wanted
    inner join reachable on wanted.address = reachable.address
    left join scoped_contacts as contact on wanted.address = contact.address
    cross join lateral (select coalesce(cast(contact.tags as varchar[]), []) as tags) as held
    cross join lateral (select list_intersect(held.tags, (select list(distinct each_tag.tag) from each_tag)) as tags) as ours
)

select
    'esp' as target,
    'tags' as kind,
    address as key,
    address,
    cast(null as varchar) as decision_id,
    cast(null as varchar) as caused_by,
    json_object('email', email, 'add', list_sort(missing), 'remove', list_sort(surplus)) as payload,
    cast(list_sort(kept || missing) as varchar) as version
from compared
where missing <> [] or surplus <> []
