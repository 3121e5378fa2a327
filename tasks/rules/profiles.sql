-- What is told about people: one row per address that a shop knows and that is in a chosen group, fields as in
-- `tasks.connector.PROFILE_FIELDS`. `version` is all of them as text: JSON for everybody would take longer than all the rest.
-- A view, for most of what it says is only looked at where something differs.
with kinds as (
    select
        known.groups,
        known.shops,
        list_sort(list_distinct(
            list_transform(
                list_intersect(known.groups, run.groups),
                lambda member: run.tag_prefix || upper(member[1]) || member[2:]
            )
            || (
                select list(run.tag_prefix || stores.tag) from stores
                where list_contains(known.shops, stores.shop)
            )
        )) as tags
    from (
        select distinct
            memberships.groups,
            people.shops
        from people
        inner join memberships_decided as memberships on people.address = memberships.address
    ) as known
    cross join run
    where list_has_any(known.groups, run.groups)
),

told as (
    select
        people.address,
        people.email,
        {
            'first_name': people.first_name,
            'last_name': people.last_name,
            'language': people.language,
            'country': people.country,
            'city': people.city,
            'postcode': people.postcode,
            'phone': people.phone,
            'customer_group': people.customer_group,
            'orders_count': people.orders_count,
            'total_spent': cast(people.total_spent as varchar),
            'currency': people.currency,
            'first_ordered_on': cast(cast(people.first_ordered_at as date) as varchar),
            'last_ordered_on': cast(cast(people.last_ordered_at as date) as varchar)
        } as fields,
        kinds.tags
    from people
    inner join memberships_decided as memberships on people.address = memberships.address
    inner join kinds on memberships.groups = kinds.groups and people.shops = kinds.shops
)

select
    told.*,
    concat(
        fields.first_name, chr(31), fields.last_name, chr(31), fields.language, chr(31), fields.country, chr(31), fields.city,
        chr(31), fields.postcode, chr(31), fields.phone, chr(31), fields.customer_group, chr(31), fields.orders_count,
        chr(31), fields.total_spent, chr(31), fields.currency, chr(31), fields.first_ordered_on, chr(31), fields.last_ordered_on
    ) as version
from told
