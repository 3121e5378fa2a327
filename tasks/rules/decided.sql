-- The decisions to act on, with their identity: one row per address and channel whose decision is new, has something to write,
-- or is a suppression. A decision that says the same as the last one, from the same facts, is the last one; only the others are
-- written down.
with identified as (
    select
        decisions.*,
        md5(concat_ws(
            '|', phase, shop_status, shop_moved, shop_carried, esp_status, esp_moved, time_order, chosen, rule, set_esp,
            set_shop, coalesce(exception, ''), coalesce(esp_write, ''), coalesce(shop_write, ''), coalesce(skipped, ''),
            coalesce(shop_event, ''), coalesce(esp_event, '')
        )) as fingerprint
    from (
        select * from decisions
        union all by name
        select * from sms_decisions
    ) as decisions
)

select
    identified.*,
    last.fingerprint is not null and identified.fingerprint = last.fingerprint as is_same,
    true as is_last,
    if(
        is_same,
        last.decision_id,
        md5(concat_ws('|', run.run_id, identified.address, identified.channel))
    ) as decision_id,
    run.run_id,
    run.at as decided_at,
    case when identified.esp_write is null then run.at end as esp_acknowledged_at,
    case when identified.shop_write is null then run.at end as shop_acknowledged_at
from identified
cross join run
left join (
    select
        address,
        channel,
        decision_id,
        fingerprint
    from scoped_decisions
    where is_last
) as last on identified.address = last.address and identified.channel = last.channel
where
    not is_same
    or identified.esp_write is not null
    or identified.shop_write is not null
    or identified.suppression is not null
