-- What is told about people: one row per address a shop knows, fields as in `tasks.connector.PROFILE_FIELDS`.
select
    people.address,
    people.email,
    people.shops,
    json_object(
        'first_name', people.first_name,
        'last_name', people.last_name,
        'language', people.language,
        'country', people.country,
        'city', people.city,
        'postcode', people.postcode,
        'phone', people.phone,
        'customer_group', people.customer_group,
        'orders_count', people.orders_count,
        'total_spent', cast(people.total_spent as varchar),
        'currency', people.currency,
        'first_ordered_on', strftime(people.first_ordered_at, '%Y-%m-%d'),
        'last_ordered_on', strftime(people.last_ordered_at, '%Y-%m-%d')
    ) as fields,
    list_sort(list_distinct(
        list_transform(
            list_intersect(memberships.groups, run.groups),
            lambda member: run.tag_prefix || upper(member[1]) || member[2:]
        )
        || (
            select list(run.tag_prefix || stores.tag) from stores
            where list_contains(people.shops, stores.shop)
        )
    )) as tags
from people
cross join run
inner join memberships_decided as memberships on people.address = memberships.address
where list_has_any(memberships.groups, run.groups)
