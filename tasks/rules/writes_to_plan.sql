-- What this run has to write of what is `wanted`, the relation of one kind of write: one row per target, kind and key whose
-- last settled write was another one. What waits for an approval is not planned.
with hashed as (
    select
        wanted.*,
        md5(version) as payload_hash
    from wanted
)

select
    md5(concat_ws('|', run.run_id, hashed.target, hashed.kind, hashed.key)) as write_id,
    run.run_id,
    case hashed.target when 'esp' then 'forward' else 'reverse' end as flow,
    hashed.target,
    hashed.kind,
    hashed.key,
    hashed.address,
    hashed.decision_id,
    hashed.caused_by,
    cast(hashed.payload as varchar) as payload,
    hashed.payload_hash,
    coalesce(held.was_acknowledged, false) as is_known,
    'planned' as state,
    cast(null as varchar) as code,
    cast(null as varchar) as message,
    run.at as planned_at,
    cast(null as timestamptz) as sent_at,
    cast(null as timestamptz) as settled_at
from hashed
cross join run
left join scoped_held as held
    on hashed.target = held.target and hashed.kind = held.kind and hashed.key = held.key
where
    hashed.payload_hash is distinct from held.payload_hash
    and not exists (
        select 1 from waiting
        where
            waiting.decision_id = hashed.decision_id
            and waiting.side = if(hashed.target = 'esp', 'esp', 'shop')
    )
    and not exists (
        select 1 from load.writes as under_way
        where
            under_way.state = 'sent'
            and under_way.target = hashed.target
            and under_way.kind = hashed.kind
            and under_way.key = hashed.key
    )
