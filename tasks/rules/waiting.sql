-- What waits for an approval: one row per guarded decision that no approved plan holds. The exceptions always do, a mass change
-- when it concerns more than its share of the people whom the side knows, and not just a few. The other writes go on.
with unapproved as (
    select guarded.*
    from guarded
    anti join (
        select held.decision_id
        from merge.plan_rows as held
        inner join merge.plans as plans on held.plan_id = plans.plan_id
        where plans.approved_at is not null
    ) as approved on guarded.decision_id = approved.decision_id
),

known as (
    select
        'esp' as side,
        count(*) as people
    from esp.contacts
    where status <> 'deleted'
    union all
    select
        'shop' as side,
        count(*) as people
    from shop.customers
    where deleted_at is null
),

stopped as (
    select
        unapproved.side,
        unapproved.guard
    from unapproved
    inner join known on unapproved.side = known.side
    left join guards on unapproved.guard = guards.guard
    group by unapproved.side, unapproved.guard, known.people, guards.share, guards.at_least
    having
        unapproved.guard in ('E1', 'E3')
        or (
            count(distinct unapproved.address) >= guards.at_least
            and count(distinct unapproved.address) > guards.share * known.people
        )
)

select unapproved.*
from unapproved
semi join stopped on unapproved.side = stopped.side and unapproved.guard = stopped.guard
