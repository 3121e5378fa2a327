-- What waits for an approval: one row per guarded decision that no approved plan holds. The other writes go on.
select guarded.*
from guarded
anti join (
    select held.decision_id
    from merge.plan_rows as held
    inner join merge.plans as plans on held.plan_id = plans.plan_id
    where plans.approved_at is not null
) as approved on guarded.decision_id = approved.decision_id
